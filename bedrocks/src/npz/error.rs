//! Why an archive or an array cannot be read.

use std::path::PathBuf;

use zip::result::ZipError;

/// Why an archive cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file is not there or not readable.
    #[error("{path}: {error}")]
    Open {
        /// The file.
        path: PathBuf,
        /// The cause.
        error: std::io::Error,
    },
    /// The archive itself is broken.
    #[error("{path}: not a readable .npz archive ({error}); restore it from version control or dump it again")]
    Archive {
        /// The file.
        path: PathBuf,
        /// The cause.
        error: ArchiveError,
    },
    /// A file of one array is not what is accepted.
    #[error("{path}: {error}")]
    Array {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        error: ArrayError,
    },
    /// One array is not what is accepted.
    #[error("{path}: member {member}: {error}")]
    Member {
        /// The file.
        path: PathBuf,
        /// The member's name.
        member: String,
        /// What is wrong.
        error: ArrayError,
    },
}

/// What is wrong with an archive as a whole.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// It is no zip archive, or a broken one.
    #[error(transparent)]
    Zip(#[from] ZipError),
    /// It has more members than are read.
    #[error("{found} members, more than {most}")]
    Members {
        /// How many it has.
        found: usize,
        /// The most that are read.
        most: usize,
    },
}

/// What is wrong with one array.
#[derive(Debug, thiserror::Error)]
pub enum ArrayError {
    /// A member of an archive has not the name of an array.
    #[error("is not an .npy array; an .npz holds nothing else")]
    Name,
    /// The caller knows of no such array.
    #[error("is not among what the index says that this file holds")]
    Unlisted,
    /// Two members have this name.
    #[error("occurs twice")]
    Twice,
    /// It is longer than what is read of it.
    #[error("unpacks to more than {most} bytes")]
    TooLong {
        /// The most bytes that are read, its header included.
        most: u64,
    },
    /// Its bytes cannot be had.
    #[error("cannot be read: {0}")]
    Read(std::io::Error),
    /// It does not begin as an array.
    #[error("does not start as an .npy array of version 1, 2 or 3")]
    Magic {
        /// The first bytes that are there, twelve at most.
        found: Vec<u8>,
    },
    /// It ends within its header.
    #[error("is truncated: its header needs {needed} bytes, {found} are there")]
    HeaderCut {
        /// Where the header ends.
        needed: usize,
        /// Bytes that are there.
        found: usize,
    },
    /// Its header is longer or deeper than that of any plain array.
    #[error("has a header that NumPy does not write for a plain array")]
    HeaderStrange {
        /// Where the header ends.
        bytes: usize,
    },
    /// Its header is no dictionary of an array.
    #[error("has a header that cannot be read: {0}")]
    Header(std::io::Error),
    /// It has not as many bytes as its shape asks for.
    #[error("is {}: shape {shape:?} of {}{item} needs {} bytes, {found} are there",
        if needed.is_some_and(|needed| needed < *found) { "too long" } else { "truncated" },
        if *item == 1 { "|u" } else { "<f" },
        needed.map_or("more than can be counted".into(), |n| n.to_string()))]
    Length {
        /// Its shape.
        shape: Vec<usize>,
        /// Bytes of one element.
        item: usize,
        /// Bytes of all, unless the number overflows.
        needed: Option<usize>,
        /// Bytes that are there.
        found: usize,
    },
    /// It holds Python objects.
    #[error("holds pickled Python objects, which are never loaded; save it as float32 or float64")]
    Pickled,
    /// Its first axis is the fastest.
    #[error("is in Fortran order; save it with numpy.ascontiguousarray")]
    Fortran {
        /// Its shape.
        shape: Vec<u64>,
    },
    /// Its elements have fields.
    #[error("is a structured array; expected float32 or float64")]
    Structured,
    /// Its elements are floats with the highest byte first.
    #[error("is big-endian ({dtype}); save it with array.astype(array.dtype.newbyteorder('<'))")]
    BigEndian {
        /// Its dtype as NumPy writes it.
        dtype: String,
    },
    /// Its elements are of another type.
    #[error("has dtype {dtype}; expected <f4 or <f8")]
    Dtype {
        /// Its dtype as NumPy writes it.
        dtype: String,
    },
    /// An extent is larger than what the machine addresses.
    #[error("has an extent beyond this machine's address space")]
    Extent {
        /// Its shape.
        shape: Vec<u64>,
    },
}
