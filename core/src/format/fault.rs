//! What can be wrong with a file, and where.

use std::fmt;

use crate::error::{Error, Result};

macro_rules! faults {
    ($($variant:ident $name:literal $doc:literal,)*) => {
        /// A class of what is wrong with a file.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Fault { $(#[doc = $doc] $variant,)* }

        impl Fault {
            /// The name that programs match on.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Fault::$variant => $name,)* }
            }
        }
    };
}

faults! {
    Io "io" "The operating system refused.",
    Truncated "truncated" "The file ends too early.",
    Magic "magic" "The file is of another kind.",
    Version "version" "A version that is not known.",
    Flags "flags" "A flag that is not known.",
    Limit "limit" "More than a reader of this format will take.",
    Json "json" "Text that is not JSON, or a value of the wrong type.",
    Key "key" "A key that is unknown, missing or there twice.",
    Name "name" "A dtype, layer type, activation or variant that is not known.",
    Grid "grid" "A grid or a position that cannot be.",
    Nesting "nesting" "Layers inside layers too deep.",
    Path "path" "A blob's path that no layer has.",
    Duplicate "duplicate" "Two blobs for one thing.",
    Missing "missing" "A layer whose weights are not there.",
    Length "length" "A blob of another length than its layer needs.",
    Overlap "overlap" "Blobs that share bytes, or leave bytes between them.",
    Trailing "trailing" "Bytes after the end.",
    Scale "scale" "A scale or a zero point that cannot be.",
    Tail "tail" "Unused bits that are not zero.",
    Digest "digest" "Bytes that have changed since they were written.",
    Compression "compression" "A compressed section that cannot be expanded.",
    Base64 "base64" "Text that is not Base64.",
    NonFinite "nonfinite" "NaN or infinity where a number is needed.",
    Code "code" "A code that stands for no weight of its dtype.",
    Config "config" "A layer that contradicts itself.",
    Loss "loss" "Something that the target format has no field for.",
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Fault {
    pub(super) fn at(self, place: impl fmt::Display, what: impl Into<String>) -> Error {
        Error::Format { fault: self, place: place.to_string(), what: what.into() }
    }

    /// What is wrong with weights, where it is that; other errors as they are.
    pub(super) fn of_weights(place: impl fmt::Display, error: Error) -> Error {
        match error {
            Error::NonFinite { .. } => Fault::NonFinite.at(place, error.to_string()),
            Error::Code { .. } => Fault::Code.at(place, error.to_string()),
            other => other,
        }
    }

    /// The error of reading or writing a file.
    pub(super) fn io(doing: &str, error: &std::io::Error) -> Error {
        match error.kind() {
            std::io::ErrorKind::UnexpectedEof => Fault::Truncated.at(doing, "the file ends too early"),
            _ => Fault::Io.at(doing, error.to_string()),
        }
    }
}

/// `Err` unless `holds`.
pub(super) fn ensure(holds: bool, error: impl FnOnce() -> Error) -> Result<()> {
    if holds { Ok(()) } else { Err(error()) }
}
