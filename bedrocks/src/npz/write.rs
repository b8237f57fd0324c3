//! Archives as NumPy reads them.

use std::io::{Cursor, Write as _};

use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, ZipWriter};

use super::{Arrays, Data};

/// An archive of these arrays, deflated: the same arrays, the same bytes.
///
/// # Errors
/// When the archive would be larger than the format can say.
pub fn write(arrays: &Arrays) -> zip::result::ZipResult<Vec<u8>> {
    let options = SimpleFileOptions::default()
        .compression_method(CompressionMethod::Deflated)
        .compression_level(Some(9))
        .last_modified_time(DateTime::default());
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, array) in arrays {
        archive.start_file(format!("{name}.npy"), options)?;
        let descr = match array.data {
            Data::F32(_) => "<f4",
            Data::F64(_) => "<f8",
            Data::U8(_) => "|u1",
        };
        archive.write_all(&header(descr, &array.shape))?;
        archive.write_all(&array.data.bytes())?;
    }
    Ok(archive.finish()?.into_inner())
}

/// The header of an `.npy` file of version 1, spelled as NumPy does and filled with spaces to a multiple of 64 bytes.
fn header(descr: &str, shape: &[usize]) -> Vec<u8> {
    let extents: Vec<String> = shape.iter().map(ToString::to_string).collect();
    let comma = if shape.len() == 1 { "," } else { "" };
    let mut text =
        format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({}{comma}), }}", extents.join(", "));
    let whole = (10 + text.len() + 1).next_multiple_of(64);
    text.push_str(&" ".repeat(whole - 11 - text.len()));
    text.push('\n');
    let length = u16::try_from(text.len()).expect("a shape has few axes");
    [b"\x93NUMPY\x01\x00".as_slice(), &length.to_le_bytes(), text.as_bytes()].concat()
}
