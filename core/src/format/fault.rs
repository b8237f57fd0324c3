//! What can be wrong with a file, and where.

use std::fmt;

use crate::error::{Error, Result};
pub use crate::fault::Fault;

impl Fault {
    pub(super) fn at(self, place: impl fmt::Display, what: impl fmt::Display) -> Error {
        Error::Format { fault: self, place: place.to_string(), what: what.to_string() }
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
