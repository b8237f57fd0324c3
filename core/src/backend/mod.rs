//! Where layers run. [`Cpu`] names an instruction set and whether work is spread over cores;
//! neither ever changes a result.

mod exact;
mod limits;
mod lines;
mod matmul;
mod panels;
mod simd;

use std::fmt;
use std::str::FromStr;

use crate::error::Error;

pub(crate) use exact::dot as exact_dot;
pub(crate) use matmul::{MatRef, Rows, matmul};
pub(crate) use panels::Panels;

/// An instruction set of the matrix kernels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Isa {
    /// Plain Rust loops that decode the row-major store code by code: the reference.
    Scalar,
    /// AVX2 with FMA and F16C: 4 outputs of f64 to a register.
    Avx2,
    /// AVX-512 (F, BW, DQ, VL): 8 outputs of f64 to a register.
    Avx512,
}

impl Isa {
    /// Every instruction set, slowest first.
    pub const ALL: [Isa; 3] = [Isa::Scalar, Isa::Avx2, Isa::Avx512];

    /// The name used on command lines.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Isa::Scalar => "scalar",
            Isa::Avx2 => "avx2",
            Isa::Avx512 => "avx512",
        }
    }

    /// Whether this processor has it.
    #[must_use]
    pub fn is_available(self) -> bool {
        simd::is_available(self)
    }

    /// What this processor has, slowest first; [`Isa::Scalar`] is always there.
    #[must_use]
    pub fn available() -> Vec<Isa> {
        Isa::ALL.into_iter().filter(|isa| isa.is_available()).collect()
    }

    /// The fastest that this processor has.
    #[must_use]
    pub fn best() -> Isa {
        Isa::ALL.into_iter().rev().find(|isa| isa.is_available()).unwrap_or(Isa::Scalar)
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Isa {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Isa::ALL.into_iter().find(|isa| isa.name() == text).ok_or_else(|| Error::UnknownIsa { found: text.into() })
    }
}

/// Whether the work inside one layer is spread over cores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Threads {
    /// The calling thread does everything.
    Single,
    /// Outputs are divided among the threads of the current rayon pool.
    Multi,
}

/// A way to run layers on the CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cpu {
    isa: Isa,
    threads: Threads,
}

impl Cpu {
    /// The scalar, single-core reference that every other path is compared with.
    #[must_use]
    pub fn scalar() -> Self {
        Self { isa: Isa::Scalar, threads: Threads::Single }
    }

    /// The fastest instruction set of this processor, on every thread of the current pool.
    #[must_use]
    pub fn best() -> Self {
        Self { isa: Isa::best(), threads: Threads::Multi }
    }

    /// A chosen path, or `None` when this processor lacks the instruction set.
    #[must_use]
    pub fn with(isa: Isa, threads: Threads) -> Option<Self> {
        isa.is_available().then_some(Self { isa, threads })
    }

    /// The instruction set.
    #[must_use]
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// Whether work is spread over cores.
    #[must_use]
    pub fn threads(&self) -> Threads {
        self.threads
    }
}
