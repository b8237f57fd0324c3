//! Reads and writes `.npz` archives of little-endian float arrays in C order, and of bytes in
//! packed goldens. Everything else is refused with the file, the member, what was found and what to do.
//!
//! The content is not trusted: the size that a member may unpack to is capped, and a header
//! is believed only when shape, item size and the bytes that are there agree.

mod array;
mod error;
mod write;

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use npyz::{DType, NpyHeader, Order};
use sha2::{Digest as _, Sha256};

use array::hexadecimal;

pub use array::{Array, Data, sha256, sha256_f32};
pub use error::{ArchiveError, ArrayError, Error};
pub use write::write;

/// The most that one member may unpack to where nothing is known of it: 512 MiB.
const MEMBER_CAP: u64 = 1 << 29;
/// The most that all members together may unpack to: 1 GiB.
pub const ARCHIVE_CAP: u64 = 1 << 30;
/// The longest header that is parsed; NumPy writes 128 bytes.
const HEADER_CAP: usize = 4096;
/// The most members in one archive.
const MEMBERS_CAP: usize = 4096;
/// Bytes of elements that are decoded at a time.
const PIECE: usize = 1 << 13;

/// The arrays of one archive, by name.
pub type Arrays = BTreeMap<String, Array>;

/// Reads all arrays of an archive of which nothing is known.
///
/// # Errors
/// As [`read_known`].
pub fn read(path: &Path) -> Result<Arrays, Error> {
    read_known(path, |_| Some(MEMBER_CAP))
}

/// Reads all arrays of an archive. `size` says how many bytes of elements an array has;
/// `None` refuses it, and one that is longer is refused before it is unpacked further.
///
/// # Errors
/// [`Error`], when the file is missing, truncated, not a zip archive, or holds anything but
/// little-endian float32 or float64 arrays in C order.
pub fn read_known(path: &Path, size: impl Fn(&str) -> Option<u64>) -> Result<Arrays, Error> {
    read_all(path, size, Wanted { digest: true, bytes: false })
}

/// As [`read_known`], and arrays of bytes too.
///
/// # Errors
/// As [`read_known`].
pub fn read_packed(path: &Path, size: impl Fn(&str) -> Option<u64>) -> Result<Arrays, Error> {
    read_all(path, size, Wanted { digest: true, bytes: true })
}

fn read_all(path: &Path, size: impl Fn(&str) -> Option<u64>, wanted: Wanted) -> Result<Arrays, Error> {
    let file = loom_core::file::open(path).map_err(|error| Error::Open { path: path.into(), error })?;
    let broken = |error: ArchiveError| Error::Archive { path: path.into(), error };
    let mut archive = zip::ZipArchive::new(std::io::BufReader::new(file)).map_err(|e| broken(e.into()))?;
    if archive.len() > MEMBERS_CAP {
        return Err(broken(ArchiveError::Members { found: archive.len(), most: MEMBERS_CAP }));
    }
    let mut arrays = Arrays::new();
    let mut room = ARCHIVE_CAP;
    for i in 0..archive.len() {
        let entry = archive.by_index(i).map_err(|e| broken(e.into()))?;
        let name = entry.name().map_err(|e| broken(e.into()))?.to_string();
        let wrong = |error| Error::Member { path: path.into(), member: name.clone(), error };
        let Some(stem) = name.strip_suffix(".npy") else {
            return Err(wrong(ArrayError::Name));
        };
        let known = size(stem).ok_or_else(|| wrong(ArrayError::Unlisted))?;
        let array = member(path, &name, entry, known, &mut room, wanted)?;
        if arrays.insert(stem.to_string(), array).is_some() {
            return Err(wrong(ArrayError::Twice));
        }
    }
    Ok(arrays)
}

/// Reads the arrays of these names, and leaves the others of the archive alone; one that is not
/// there is left out.
///
/// # Errors
/// As [`read_known`], for what is read.
pub fn read_some(path: &Path, names: &[&str]) -> Result<Arrays, Error> {
    let file = loom_core::file::open(path).map_err(|error| Error::Open { path: path.into(), error })?;
    let broken = |error: ArchiveError| Error::Archive { path: path.into(), error };
    let mut archive = zip::ZipArchive::new(std::io::BufReader::new(file)).map_err(|e| broken(e.into()))?;
    let (mut arrays, mut room) = (Arrays::new(), ARCHIVE_CAP);
    for &stem in names {
        let name = format!("{stem}.npy");
        match archive.by_name(&name) {
            Ok(entry) => {
                arrays.insert(stem.to_string(), member(path, &name, entry, MEMBER_CAP, &mut room, Wanted::default())?);
            }
            Err(zip::result::ZipError::FileNotFound) => {}
            Err(e) => return Err(broken(e.into())),
        }
    }
    Ok(arrays)
}

/// What is read beside arrays of floats.
#[derive(Clone, Copy, Default)]
struct Wanted {
    /// The digests of elements.
    digest: bool,
    /// Arrays of bytes.
    bytes: bool,
}

/// Reads one member of at most `known` bytes of elements, and takes what it unpacks to from `room`.
fn member(
    path: &Path,
    name: &str,
    entry: impl Read,
    known: u64,
    room: &mut u64,
    wanted: Wanted,
) -> Result<Array, Error> {
    let wrong = |error| Error::Member { path: path.into(), member: name.into(), error };
    let cap = known.saturating_add(HEADER_CAP as u64).min(MEMBER_CAP).min(*room);
    let (array, read) = parse(entry, cap, wanted).map_err(wrong)?;
    *room -= read;
    Ok(array)
}

/// Reads one `.npy` file.
///
/// # Errors
/// [`Error`], when the file is missing or truncated, or holds anything but a little-endian
/// float32 or float64 array in C order.
pub fn read_npy(path: &Path) -> Result<Array, Error> {
    let file = loom_core::file::open(path).map_err(|error| Error::Open { path: path.into(), error })?;
    let parsed = parse(file, MEMBER_CAP, Wanted { digest: true, bytes: false }).map(|(array, _)| array);
    parsed.map_err(|error| Error::Array { path: path.into(), error })
}

/// Reads one `.npy` document of at most `cap` bytes, with the digest of its elements if that is
/// asked for. Also says how long it is.
fn parse(source: impl Read, cap: u64, wanted: Wanted) -> Result<(Array, u64), ArrayError> {
    let mut source = source.take(cap + 1);
    let array = array(&mut source, wanted);
    if source.limit() == 0 {
        return Err(ArrayError::TooLong { most: cap });
    }
    Ok((array?, cap + 1 - source.limit()))
}

fn array(source: &mut impl Read, wanted: Wanted) -> Result<Array, ArrayError> {
    let mut text = Vec::with_capacity(128);
    source.take(12).read_to_end(&mut text).map_err(ArrayError::Read)?;
    let declared = match *text {
        [0x93, b'N', b'U', b'M', b'P', b'Y', 1, _, a, b, ..] => 10 + usize::from(u16::from_le_bytes([a, b])),
        [0x93, b'N', b'U', b'M', b'P', b'Y', 2 | 3, _, a, b, c, d] => {
            usize::try_from(u32::from_le_bytes([a, b, c, d])).unwrap_or(usize::MAX).saturating_add(12)
        }
        _ => return Err(ArrayError::Magic { found: text }),
    };
    let most = declared.min(1 << 17);
    source.take(most.saturating_sub(text.len()) as u64).read_to_end(&mut text).map_err(ArrayError::Read)?;
    if text.len() < most {
        return Err(ArrayError::HeaderCut { needed: declared, found: text.len() });
    }
    // The header is a Python literal; only the flat dictionary that NumPy writes is parsed.
    let count = |c: u8| text.iter().filter(|b| **b == c).count();
    if text.len() != declared || declared > HEADER_CAP || count(b'[') > 0 || count(b'{') != 1 || count(b'(') != 1 {
        return Err(ArrayError::HeaderStrange { bytes: declared });
    }
    let (item, shape) =
        plain(&text[10..]).filter(|(item, _)| *item > 1 || wanted.bytes).map_or_else(|| described(&text), Ok)?;
    let needed = shape.iter().try_fold(item, |n: usize, &d| n.checked_mul(d));
    let mut hash = wanted.digest.then(Sha256::new);
    let wanted = needed.unwrap_or(0);
    let (data, held) = if item == 4 {
        let (data, held) = elements(source, wanted, f32::from_le_bytes, &mut hash).map_err(ArrayError::Read)?;
        (Data::F32(data), held)
    } else if item == 1 {
        let (data, held) = elements(source, wanted, |[byte]| byte, &mut hash).map_err(ArrayError::Read)?;
        (Data::U8(data), held)
    } else {
        let (data, held) = elements(source, wanted, f64::from_le_bytes, &mut hash).map_err(ArrayError::Read)?;
        (Data::F64(data), held)
    };
    if needed != Some(held) {
        return Err(ArrayError::Length { shape, item, needed, found: held });
    }
    Ok(Array { shape, data, sha256: hash.map_or_else(String::new, |hash| hexadecimal(&hash.finalize())) })
}

/// Item size and shape of a header in version 1 as NumPy spells it, to the letter; anything else is for
/// [`described`], whose parser takes longer than most arrays.
fn plain(header: &[u8]) -> Option<(usize, Vec<usize>)> {
    let text = std::str::from_utf8(header).ok()?;
    let starts = [(4, "{'descr': '<f4"), (8, "{'descr': '<f8"), (1, "{'descr': '|u1")];
    let item = starts.into_iter().find(|(_, start)| text.starts_with(start))?;
    let rest = text[item.1.len()..].strip_prefix("', 'fortran_order': False, 'shape': (")?;
    let extents = rest.trim_end_matches(['\n', ' ']).strip_suffix("), }")?;
    if !extents.is_empty() && !extents.contains(',') {
        return None;
    }
    let extent = |(i, text): (usize, &str)| {
        let digits = if i == 0 { text } else { text.strip_prefix(' ')? };
        digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
    };
    Some((item.0, extents.split_terminator(',').enumerate().map(extent).collect::<Option<_>>()?))
}

/// Item size and shape of any header.
fn described(text: &[u8]) -> Result<(usize, Vec<usize>), ArrayError> {
    let header = NpyHeader::from_reader(text).map_err(ArrayError::Header)?;
    if header.uses_pickled_array() {
        return Err(ArrayError::Pickled);
    }
    if header.order() != Order::C && header.shape().len() > 1 {
        return Err(ArrayError::Fortran { shape: header.shape().to_vec() });
    }
    let DType::Plain(dtype) = header.dtype() else {
        return Err(ArrayError::Structured);
    };
    let dtype = dtype.to_string();
    let item = match dtype.as_str() {
        "<f4" => 4,
        "<f8" => 8,
        ">f4" | ">f8" => return Err(ArrayError::BigEndian { dtype }),
        _ => return Err(ArrayError::Dtype { dtype }),
    };
    let shape = header.shape().iter().map(|&n| usize::try_from(n)).collect::<Result<Vec<_>, _>>();
    Ok((item, shape.map_err(|_| ArrayError::Extent { shape: header.shape().to_vec() })?))
}

/// Reads `wanted` bytes of elements piece by piece, so that a length is believed only as far as
/// bytes are there, and the rest to its end. Also says how many bytes there are.
fn elements<T, const N: usize>(
    source: &mut impl Read,
    wanted: usize,
    decode: fn([u8; N]) -> T,
    hash: &mut Option<Sha256>,
) -> std::io::Result<(Vec<T>, usize)> {
    let mut data = Vec::with_capacity(wanted.min(1 << 20) / N);
    let mut piece = Vec::with_capacity(PIECE);
    let mut left = wanted;
    while left > 0 {
        piece.clear();
        source.take(left.min(PIECE) as u64).read_to_end(&mut piece)?;
        if piece.is_empty() {
            break;
        }
        data.extend(piece.as_chunks().0.iter().map(|bytes| decode(*bytes)));
        hash.iter_mut().for_each(|hash| hash.update(&piece));
        left -= piece.len();
    }
    let rest = std::io::copy(source, &mut std::io::sink())?;
    Ok((data, (wanted - left).saturating_add(usize::try_from(rest).unwrap_or(usize::MAX))))
}

/// Moves a position of an array of `shape` to the next in C order; the last wraps to the first.
pub fn advance(at: &mut [usize], shape: &[usize]) {
    for (i, n) in at.iter_mut().zip(shape).rev() {
        *i += 1;
        if *i < *n {
            break;
        }
        *i = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(dict: &str) -> Vec<u8> {
        let dict = format!("{dict}{}\n", " ".repeat(117 - dict.len()));
        [b"\x93NUMPY\x01\x00v\x00".as_slice(), dict.as_bytes()].concat()
    }

    #[test]
    fn what_is_read_at_once_reads_as_the_parser_does() {
        for (item, shape, text) in [
            (8, vec![], "()"),
            (4, vec![0], "(0,)"),
            (8, vec![100, 32], "(100, 32)"),
            (4, vec![2, 3, 4, 5], "(2, 3, 4, 5)"),
        ] {
            let text = header(&format!("{{'descr': '<f{item}', 'fortran_order': False, 'shape': {text}, }}"));
            assert_eq!(plain(&text[10..]), Some((item, shape)));
            assert_eq!(plain(&text[10..]), described(&text).ok());
        }
    }

    #[test]
    fn other_spellings_are_left_to_the_parser() {
        for dict in [
            "{'descr': '<f4', 'fortran_order': True, 'shape': (2, 2), }",
            "{'descr': '>f4', 'fortran_order': False, 'shape': (2,), }",
            "{'descr': '<f2', 'fortran_order': False, 'shape': (2,), }",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (2), }",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (+2,), }",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (2,,), }",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (2,)}",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999,), }",
            "{'shape': (2,), 'fortran_order': False, 'descr': '<f4'}",
        ] {
            assert_eq!(plain(&header(dict)[10..]), None, "{dict}");
        }
    }
}
