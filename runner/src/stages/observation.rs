//! What running a case showed: numbers, no opinion.

use loom_bedrocks::build;
use loom_core::format::Format;

use super::bounds::Cost;
use super::compare::{Comparison, WorstWeight};

/// What running a case showed.
#[derive(Clone, Debug, PartialEq)]
pub enum Observation {
    /// Two arrays were compared.
    Compared(Comparison),
    /// A network in a dtype was compared with itself in f32.
    Fidelity(Box<Fidelity>),
    /// A fast path, named, was compared with the reference.
    Path(String, Comparison),
    /// The shapes differ: ours, expected.
    Shape(Vec<usize>, Vec<usize>),
    /// Checkpoints were written, read, written and run again.
    Roundtrip(Roundtrip),
    /// Two runs on a device gave other bits, or a kernel wrote where it must not: which, and what.
    Unstable(String),
    /// A digest was compared: ours, blessed.
    Digest(String, String),
    /// The host cannot run it.
    Skipped(String),
    /// It could not be run or judged.
    Failed(String),
}

/// How faithfully a dtype keeps a network.
#[derive(Clone, Debug, PartialEq)]
pub struct Fidelity {
    /// The output beside that of the same network with its decoded weights in f32: is it computed right?
    pub decoded: Comparison,
    /// The output beside that of the same network in f32: what does the type cost?
    pub output: Comparison,
    /// Cosine of the angle between the two outputs.
    pub cosine: f64,
    /// What seeds of this model in this dtype cost.
    pub cost: Cost,
    /// A scale, zero point or type that is not what the weights ask for, in words.
    pub scale: Option<String>,
    /// The stored weight that is furthest from the original one, of what its codec allows.
    pub weight: Option<WorstWeight>,
    /// Bits of packed codes for each weight of the network; absent where it has none.
    pub bits: Option<f64>,
}

/// What the formats made of a network.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Roundtrip {
    /// The formats that hold it.
    pub held: Vec<Format>,
    /// What the others have no field for.
    pub lacks: Option<String>,
    /// The first format that gave something else back, and how.
    pub broken: Option<String>,
}

/// Why a case could not be run: the sentence that an ERROR case shows.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Failure {
    /// The core refuses the network, its weights or its inputs.
    #[error(transparent)]
    Core(#[from] loom_core::Error),
    /// The arrays of a golden are not the weights of its model.
    #[error("{file}: {error}")]
    Weights {
        /// The golden.
        file: String,
        /// What is wrong.
        error: Box<build::Error>,
    },
    /// An array of the fixture is not what the model is fed.
    #[error(transparent)]
    Input(#[from] build::InputError),
    /// The goldens lack what the case needs, or it is of another kind.
    #[error("{0}")]
    Golden(String),
    /// The case came to where it cannot be run.
    #[error("{0}")]
    Misplaced(&'static str),
    /// Something panicked.
    #[error("the case panicked: {0}")]
    Panic(String),
}
