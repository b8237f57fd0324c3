//! Reads `.npz` archives of little-endian float arrays in C order. Everything else is
//! refused with the file, the member, what was found and what to do.
//!
//! The content is not trusted: the size that a member may unpack to is capped, and a header
//! is believed only when shape, item size and the bytes that are there agree.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use npyz::{DType, NpyHeader, Order};
use sha2::{Digest, Sha256};

/// The most that one member may unpack to where nothing is known of it: 512 MiB.
const MEMBER_CAP: u64 = 1 << 29;
/// The most that all members together may unpack to: 1 GiB.
const ARCHIVE_CAP: u64 = 1 << 30;
/// The longest header that is parsed; NumPy writes 128 bytes.
const HEADER_CAP: usize = 4096;
/// The most members in one archive.
const MEMBERS_CAP: usize = 4096;

/// The elements of an [`Array`].
#[derive(Clone, Debug, PartialEq)]
pub enum Data {
    /// 32-bit floats.
    F32(Vec<f32>),
    /// 64-bit floats.
    F64(Vec<f64>),
}

/// An array with the digest of its content.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    /// Extents, slowest axis first.
    pub shape: Vec<usize>,
    /// Elements in C order.
    pub data: Data,
    /// SHA-256 of the elements as little-endian bytes in C order, in hexadecimal; empty where
    /// [`read_some`] has read them.
    pub sha256: String,
}

impl Array {
    /// The name of the element type: `float32` or `float64`.
    #[must_use]
    pub fn dtype(&self) -> &'static str {
        match self.data {
            Data::F32(_) => "float32",
            Data::F64(_) => "float64",
        }
    }

    /// The number of elements.
    #[must_use]
    pub fn len(&self) -> usize {
        match &self.data {
            Data::F32(data) => data.len(),
            Data::F64(data) => data.len(),
        }
    }

    /// Whether there are no elements.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The arrays of one archive, by name.
pub type Arrays = BTreeMap<String, Array>;

/// Why an archive cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file is not there or not readable.
    #[error("{path}: {source}")]
    Open {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// The archive itself is broken.
    #[error("{path}: not a readable .npz archive ({what}); restore it from version control or dump it again")]
    Archive {
        /// The file.
        path: PathBuf,
        /// The cause.
        what: String,
    },
    /// A file of one array is not what is accepted.
    #[error("{path}: {what}")]
    Array {
        /// The file.
        path: PathBuf,
        /// What was found, what is expected and what to do.
        what: String,
    },
    /// One array is not what is accepted.
    #[error("{path}: member {member}: {what}")]
    Member {
        /// The file.
        path: PathBuf,
        /// The member's name.
        member: String,
        /// What was found, what is expected and what to do.
        what: String,
    },
}

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
    let file = File::open(path).map_err(|source| Error::Open { path: path.into(), source })?;
    let broken = |what: String| Error::Archive { path: path.into(), what };
    let mut archive = zip::ZipArchive::new(std::io::BufReader::new(file)).map_err(|e| broken(e.to_string()))?;
    if archive.len() > MEMBERS_CAP {
        return Err(broken(format!("{} members, more than {MEMBERS_CAP}", archive.len())));
    }
    let mut arrays = Arrays::new();
    let mut room = ARCHIVE_CAP;
    for i in 0..archive.len() {
        let entry = archive.by_index(i).map_err(|e| broken(e.to_string()))?;
        let name = entry.name().map_err(|e| broken(e.to_string()))?.to_string();
        let wrong = |what: &str| Error::Member { path: path.into(), member: name.clone(), what: what.into() };
        let Some(stem) = name.strip_suffix(".npy") else {
            return Err(wrong("is not an .npy array; an .npz holds nothing else"));
        };
        let known = size(stem).ok_or_else(|| wrong("is not in the index"))?;
        let array = member(path, &name, entry, known, &mut room, true)?;
        if arrays.insert(stem.to_string(), array).is_some() {
            return Err(wrong("occurs twice"));
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
    let file = File::open(path).map_err(|source| Error::Open { path: path.into(), source })?;
    let broken = |what: String| Error::Archive { path: path.into(), what };
    let mut archive = zip::ZipArchive::new(std::io::BufReader::new(file)).map_err(|e| broken(e.to_string()))?;
    let (mut arrays, mut room) = (Arrays::new(), ARCHIVE_CAP);
    for &stem in names {
        let name = format!("{stem}.npy");
        match archive.by_name(&name) {
            Ok(entry) => {
                arrays.insert(stem.to_string(), member(path, &name, entry, MEMBER_CAP, &mut room, false)?);
            }
            Err(zip::result::ZipError::FileNotFound) => {}
            Err(e) => return Err(broken(e.to_string())),
        }
    }
    Ok(arrays)
}

/// Reads one member of at most `known` bytes of elements, and takes what it unpacks to from `room`.
fn member(path: &Path, name: &str, entry: impl Read, known: u64, room: &mut u64, digest: bool) -> Result<Array, Error> {
    let wrong = |what: String| Error::Member { path: path.into(), member: name.into(), what };
    let cap = known.saturating_add(HEADER_CAP as u64).min(MEMBER_CAP).min(*room);
    let mut bytes = Vec::new();
    entry.take(cap + 1).read_to_end(&mut bytes).map_err(|e| wrong(format!("cannot be unpacked: {e}")))?;
    if bytes.len() as u64 > cap {
        return Err(wrong(format!("unpacks to more than {cap} bytes")));
    }
    *room -= bytes.len() as u64;
    parse(&bytes, digest).map_err(wrong)
}

/// Reads one `.npy` file.
///
/// # Errors
/// [`Error`], when the file is missing or truncated, or holds anything but a little-endian
/// float32 or float64 array in C order.
pub fn read_npy(path: &Path) -> Result<Array, Error> {
    let open = |source| Error::Open { path: path.into(), source };
    let mut bytes = Vec::new();
    File::open(path).map_err(open)?.take(MEMBER_CAP + 1).read_to_end(&mut bytes).map_err(open)?;
    let wrong = |what: String| Error::Array { path: path.into(), what };
    if bytes.len() as u64 > MEMBER_CAP {
        return Err(wrong(format!("is longer than {MEMBER_CAP} bytes")));
    }
    parse(&bytes, true).map_err(wrong)
}

/// Reads one `.npy` document, with the digest of its elements if that is asked for.
fn parse(bytes: &[u8], digest: bool) -> Result<Array, String> {
    let declared = match bytes {
        [0x93, b'N', b'U', b'M', b'P', b'Y', 1, _, a, b, ..] => 10 + usize::from(u16::from_le_bytes([*a, *b])),
        [0x93, b'N', b'U', b'M', b'P', b'Y', 2 | 3, _, a, b, c, d, ..] => {
            usize::try_from(u32::from_le_bytes([*a, *b, *c, *d])).unwrap_or(usize::MAX).saturating_add(12)
        }
        _ => return Err("does not start as an .npy array of version 1, 2 or 3".into()),
    };
    if declared > bytes.len() {
        return Err(format!("is truncated: its header needs {declared} bytes, {} are there", bytes.len()));
    }
    // The header is a Python literal; only the flat dictionary that NumPy writes is parsed.
    let text = &bytes[..declared];
    let count = |c: u8| text.iter().filter(|b| **b == c).count();
    if declared > HEADER_CAP || count(b'[') > 0 || count(b'{') != 1 || count(b'(') != 1 {
        return Err("has a header that NumPy does not write for a plain array".into());
    }
    let mut rest = bytes;
    let header = NpyHeader::from_reader(&mut rest).map_err(|e| format!("has a header that cannot be read: {e}"))?;
    if header.uses_pickled_array() {
        return Err("holds pickled Python objects, which are never loaded; save it as float32 or float64".into());
    }
    if header.order() != Order::C && header.shape().len() > 1 {
        return Err("is in Fortran order; save it with numpy.ascontiguousarray".into());
    }
    let DType::Plain(dtype) = header.dtype() else {
        return Err("is a structured array; expected float32 or float64".into());
    };
    let dtype = dtype.to_string();
    let item = match dtype.as_str() {
        "<f4" => 4,
        "<f8" => 8,
        ">f4" | ">f8" => {
            return Err(format!("is big-endian ({dtype}); save it with array.astype(array.dtype.newbyteorder('<'))"));
        }
        _ => return Err(format!("has dtype {dtype}; expected <f4 or <f8")),
    };
    let shape = header.shape().iter().map(|&n| usize::try_from(n)).collect::<Result<Vec<_>, _>>();
    let shape = shape.map_err(|_| "has an extent beyond this machine's address space".to_string())?;
    let needed = shape.iter().try_fold(item, |n: usize, &d| n.checked_mul(d));
    if needed != Some(rest.len()) {
        let needed = needed.map_or_else(|| "more than can be counted".to_string(), |n| n.to_string());
        let word = if needed.parse::<usize>().is_ok_and(|n| n < rest.len()) { "too long" } else { "truncated" };
        return Err(format!("is {word}: shape {shape:?} of {dtype} needs {needed} bytes, {} are there", rest.len()));
    }
    let data = if item == 4 {
        Data::F32(rest.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect())
    } else {
        Data::F64(rest.as_chunks().0.iter().map(|b| f64::from_le_bytes(*b)).collect())
    };
    Ok(Array { shape, data, sha256: if digest { sha256(rest) } else { String::new() } })
}

/// Moves a position of an array of `shape` to the next in C order; the last wraps to the first.
pub(crate) fn advance(at: &mut [usize], shape: &[usize]) {
    for (i, n) in at.iter_mut().zip(shape).rev() {
        *i += 1;
        if *i < *n {
            break;
        }
        *i = 0;
    }
}

/// The SHA-256 of `bytes` in hexadecimal.
#[must_use]
pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::with_capacity(64), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The SHA-256 of `values` as little-endian bytes, in hexadecimal.
#[must_use]
pub fn sha256_f32(values: &[f32]) -> String {
    let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    sha256(&bytes)
}
