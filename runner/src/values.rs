//! Values that several commands take, as clap reads them.

use loom_core::{Dtype, Numerics};

use crate::stages::manifest::{Unknown, unknown};

/// A dtype on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DtypeArg {
    /// Every dtype.
    All,
    /// One of them.
    One(Dtype),
}

impl DtypeArg {
    /// The dtype, unless all are meant.
    #[must_use]
    pub(crate) fn one(self) -> Option<Dtype> {
        match self {
            DtypeArg::All => None,
            DtypeArg::One(dtype) => Some(dtype),
        }
    }
}

/// A dtype by any of its names, or `all`.
pub(crate) fn dtype(text: &str) -> Result<DtypeArg, Unknown> {
    if text.eq_ignore_ascii_case("all") {
        return Ok(DtypeArg::All);
    }
    let names = || Dtype::ALL.iter().map(|dtype| dtype.name()).chain(["all"]);
    Dtype::find(text).map(DtypeArg::One).ok_or_else(|| unknown("dtype", text, names()))
}

/// A numerics profile by its name.
pub(crate) fn numerics(text: &str) -> Result<Numerics, Unknown> {
    let names = || Numerics::ALL.into_iter().map(Numerics::name);
    let found = Numerics::ALL.into_iter().find(|numerics| numerics.name() == text);
    found.ok_or_else(|| unknown("numerics profile", text, names()))
}
