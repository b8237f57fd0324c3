//! A case: what is compared with what, fully resolved.

use std::fmt;
use std::sync::Arc;

use loom_bedrocks::planets::Planet;
use loom_core::{Dtype, Numerics, Storage};
use serde::{Deserialize, Serialize};

use super::tolerance::Tolerance;
use crate::stages::bounds::{DECODED, MARGIN, SEEDS};
use crate::stages::manifest::{Expect, Manifest, Model, Reference};

/// A check: what is compared with what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Check {
    /// Planet against our CPU.
    Parity,
    /// Weights in a dtype against the same network in f32.
    Fidelity,
    /// Every fast path against the scalar single core.
    Kernel,
    /// Our bits against the last blessed digest.
    Snapshot,
    /// Written in every format, read again, run again.
    Roundtrip,
}

impl Check {
    /// Every check.
    pub const ALL: [Check; 5] = [Check::Parity, Check::Fidelity, Check::Kernel, Check::Snapshot, Check::Roundtrip];

    /// The name used in case ids.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Check::Parity => "parity",
            Check::Fidelity => "fidelity",
            Check::Kernel => "kernel",
            Check::Snapshot => "snapshot",
            Check::Roundtrip => "roundtrip",
        }
    }
}

/// How the weights of a case are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stored {
    /// The dtype.
    pub dtype: Dtype,
    /// The numerics profile.
    pub numerics: Numerics,
}

impl Stored {
    /// The weights as the planets have them.
    pub(crate) const PLAIN: Stored = Stored { dtype: Dtype::Float32, numerics: Numerics::Standard };

    /// Every dtype in both profiles, in the order of every table.
    pub fn all() -> impl Iterator<Item = Stored> {
        let both = |&dtype| Numerics::ALL.into_iter().rev().map(move |numerics| Stored { dtype, numerics });
        Dtype::ALL.iter().flat_map(both)
    }
}

impl fmt::Display for Stored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.dtype, self.numerics)
    }
}

/// What a case compares.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// With what the planet computed.
    Parity(Tolerance),
    /// With its own decoded weights in f32, and with the same network in f32.
    Fidelity,
    /// With the scalar single core, exactly.
    Kernel,
    /// A GPU with the CPU: exactly where its arithmetic allows it, otherwise within a band.
    Device(Tolerance),
    /// With the blessed digest, exactly.
    Snapshot,
    /// With itself after every checkpoint format, exactly.
    Roundtrip,
}

/// A GPU as cases and reports know it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Device {
    /// The last part of case ids, and `gpu-<slug>` the lane.
    #[serde(skip)]
    pub slug: String,
    /// The adapter's name.
    pub adapter: String,
    /// Driver and version.
    pub driver: String,
    /// Vulkan, Metal or DX12.
    pub backend: String,
    /// The arithmetic of the kernels: f64 or f32.
    pub precision: String,
    /// Whether the probe found that f64 is neither fused nor inexact: then every bit must be equal.
    pub exact: bool,
}

impl Device {
    /// The lane's name.
    #[must_use]
    pub fn lane(&self) -> String {
        format!("gpu-{}", self.slug)
    }
}

/// One case.
#[derive(Clone, Debug)]
pub struct Case {
    /// `bedrock/model/check/` and that check's axes.
    pub id: String,
    /// The bedrock's manifest.
    pub manifest: Arc<Manifest>,
    /// The model's position in it.
    pub model: usize,
    /// The planet whose arrays are used.
    pub planet: &'static Planet,
    /// How the weights are stored; f32 in parity cases.
    pub stored: Stored,
    /// What is compared.
    pub kind: Kind,
    /// The expected failure, if a rule speaks of this case.
    pub expect: Option<Expect>,
    /// The GPU that it runs on; `None` is the CPU.
    pub device: Option<Arc<Device>>,
    /// A digest of what the manifest says of the model, shared by its cases.
    pub(super) model_digest: Arc<str>,
}

impl Case {
    /// The model.
    #[must_use]
    pub fn model(&self) -> &Model {
        &self.manifest.models[self.model]
    }

    /// The check.
    #[must_use]
    pub fn check(&self) -> Check {
        match self.kind {
            Kind::Parity(_) => Check::Parity,
            Kind::Fidelity => Check::Fidelity,
            Kind::Kernel | Kind::Device(_) => Check::Kernel,
            Kind::Snapshot => Check::Snapshot,
            Kind::Roundtrip => Check::Roundtrip,
        }
    }

    /// A short digest of what the manifests say of this case: a row of a report speaks of the
    /// case only while this is the same.
    #[must_use]
    pub(crate) fn fingerprint(&self) -> String {
        let resolved = (&self.model_digest, self.storage(), self.kind);
        let mut digest = loom_bedrocks::npz::sha256(format!("{resolved:?}").as_bytes());
        digest.truncate(8);
        digest
    }

    /// Whether the planet's float64 output is the reference.
    #[must_use]
    pub(crate) fn against_float64(&self) -> bool {
        matches!(self.kind, Kind::Parity(tolerance) if tolerance.reference == Reference::Float64)
    }

    /// What the case allows, in words.
    #[must_use]
    pub fn band(&self) -> String {
        match self.kind {
            Kind::Fidelity => format!("NMSE ≤ {DECODED:e}, cost ≤ {MARGIN} × {SEEDS} seeds"),
            _ => self.tolerance().to_string(),
        }
    }

    /// How a network of this case stores its weights.
    #[must_use]
    pub(crate) fn storage(&self) -> Storage {
        let Stored { dtype, numerics } = self.stored;
        Storage { dtype, numerics, vectors: self.manifest.vectors }
    }

    /// The tolerance of parity, and of devices without f64; nothing elsewhere.
    #[must_use]
    pub fn tolerance(&self) -> Tolerance {
        match self.kind {
            Kind::Parity(tolerance) | Kind::Device(tolerance) => tolerance,
            Kind::Fidelity | Kind::Kernel | Kind::Snapshot | Kind::Roundtrip => Tolerance::EXACT,
        }
    }
}
