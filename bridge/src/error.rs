//! Why a request is refused. Messages are the original bridge's where it has one.

use std::fmt;
use std::path::PathBuf;

use loom_bedrocks::build::{self, InputError};
use loom_bedrocks::names::Unknown;
use loom_bedrocks::npz;
use loom_core::{ConfigError, Role};

use crate::entity::in_original_words;
use crate::kinds::{Bedrock, Kind};

/// Why a request is refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The document cannot be read, or its envelope.
    #[error("{0}")]
    Document(String),
    /// The document is text of another encoding.
    #[error("the document is UTF-16 text; send UTF-8")]
    Utf16,
    /// The network computed what JSON has no number for.
    #[error("outputs[{row}][{column}] is {value}, which JSON has no number for")]
    NotFinite {
        /// The sample.
        row: usize,
        /// The place in its row.
        column: usize,
        /// What was computed.
        value: f32,
    },
    /// The payload cannot be read.
    #[error("{0}")]
    Payload(String),
    /// Neither the envelope nor the payload names a bedrock.
    #[error("bedrock required (dense, cnn1, mha, …)")]
    NoBedrock,
    /// No bedrock has this name.
    #[error("unknown bedrock {0:?}")]
    UnknownBedrock(String),
    /// No folder and no file is named.
    #[error("models_dir or output_path required")]
    NoTarget,
    /// A dense stream without names.
    #[error("planet and model_id required")]
    NoNames,
    /// A stream without layers.
    #[error("{}", no_layers(*.0))]
    NoLayers(Bedrock),
    /// A mixer has as many layers as its name says.
    #[error("mixer stream: want {wanted} layers for {id}, got {given}")]
    MixerLayers {
        /// The model.
        id: String,
        /// How many it has.
        wanted: usize,
        /// How many came.
        given: usize,
    },
    /// A layer of a mixer is of no kind.
    #[error("mixer layer {position}: unknown kind {kind:?}")]
    UnknownKind {
        /// Its position.
        position: usize,
        /// What it says.
        kind: String,
    },
    /// A layer is of another kind than its bedrock.
    #[error("layer {position}: want kind {wanted}, got {kind:?}")]
    OtherKind {
        /// Its position.
        position: usize,
        /// The bedrock's.
        wanted: Kind,
        /// What it says.
        kind: String,
    },
    /// Something is wrong with a layer.
    #[error("{0}")]
    Layer(LayerError),
    /// A size of the payload is not positive.
    #[error("{of}{size}")]
    Size {
        /// Whose size it is, as messages begin.
        of: String,
        /// The size.
        size: TooSmall,
    },
    /// Rows were sent to a model that reads two arrays.
    #[error("inputs: {0} reads two arrays; give a fixture")]
    TwoInputs(Bedrock),
    /// A row of inputs does not fit.
    #[error("inputs[{row}] has {given} numbers; the model reads {wanted}")]
    Row {
        /// Its position.
        row: usize,
        /// Its length.
        given: usize,
        /// What fits.
        wanted: usize,
    },
    /// There is nothing to run a dense model on.
    #[error("stream: fixture or inputs required for inference")]
    NoInputs,
    /// The fixture cannot be used.
    #[error("fixture: {0}")]
    Fixture(Box<FixtureError>),
    /// A name would lead out of its folder.
    #[error("{field} {name:?} is not a plain file name")]
    Name {
        /// Its field.
        field: &'static str,
        /// The name.
        name: String,
    },
    /// The file cannot be written.
    #[error("{0}")]
    Save(String),
    /// A name is not known.
    #[error(transparent)]
    Unknown(#[from] Unknown),
    /// A file of arrays cannot be read.
    #[error(transparent)]
    Npz(#[from] npz::Error),
    /// Arrays by role do not become the network of their model.
    #[error(transparent)]
    Arrays(#[from] build::Error),
    /// Arrays in memory are not what the model is fed.
    #[error(transparent)]
    Input(#[from] InputError),
    /// Arrays in a file are not what the model is fed.
    #[error("{path}: {error}")]
    FileInput {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        error: Box<InputError>,
    },
    /// There is nothing to run a model on whose weights are arrays.
    #[error("--fixture names the arrays to run on; --skip-infer runs nothing")]
    NoFixture,
    /// Nothing says where the file of a model goes whose weights are arrays.
    #[error("--output or --models-dir is needed")]
    NoOutput,
    /// A mixer is fed nothing.
    #[error("a mixer reads a volume")]
    NoVolume,
    /// What networks run on cannot be opened.
    #[error(transparent)]
    Backend(Box<dyn std::error::Error + Send + Sync>),
    /// No network can be made of the layers, or run.
    #[error(transparent)]
    Network(#[from] loom_core::Error),
}

/// Why a fixture cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FixtureError {
    /// It is not there or not readable, in the original's words.
    #[error("fixture {0}: open {0}: {1}", path.display(), in_original_words(error))]
    Open {
        /// The file.
        path: PathBuf,
        /// The cause.
        error: std::io::Error,
    },
    /// It is no archive of arrays.
    #[error(transparent)]
    Npz(npz::Error),
    /// It lacks an array.
    #[error("npz: missing {array}.npy")]
    Missing {
        /// The array's name.
        array: String,
    },
    /// An array is not what the model is fed.
    #[error("{path}: {error}")]
    Input {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        error: InputError,
    },
}

impl From<npz::Error> for FixtureError {
    fn from(error: npz::Error) -> Self {
        match error {
            npz::Error::Open { path, error } => FixtureError::Open { path, error },
            other => FixtureError::Npz(other),
        }
    }
}

/// A size that must be at least 1 and is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name} is {given}; it must be at least 1")]
pub struct TooSmall {
    /// Its field.
    pub name: &'static str,
    /// What it is.
    pub given: i64,
}

/// A layer of a stream, which messages name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct At {
    /// The bedrock of the stream; a mixer's layers are of many kinds.
    pub bedrock: Bedrock,
    /// The layer's kind.
    pub kind: Kind,
    /// Its position.
    pub position: usize,
}

/// What is wrong with a layer, and with which.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerError {
    /// The layer.
    pub at: At,
    /// What is wrong.
    pub flaw: Flaw,
}

/// What is wrong with a layer.
#[derive(Clone, Debug, PartialEq)]
pub enum Flaw {
    /// Its index is not its position.
    Index(i64),
    /// A size is not what the layer before, or the payload, says.
    Link {
        /// What messages call the size.
        size: &'static str,
        /// What it is.
        given: i64,
        /// What it must be.
        expected: i64,
    },
    /// An array is too long or too short.
    Length {
        /// Its field.
        array: &'static str,
        /// Its length.
        given: usize,
        /// What fits, in the original's words.
        wanted: String,
    },
    /// A size is not positive.
    Size(TooSmall),
    /// The padding is negative.
    Padding,
    /// The activation is none.
    Activation {
        /// What it says.
        given: String,
        /// The activations that there are.
        known: String,
    },
    /// Its sizes contradict each other.
    Spec(ConfigError),
    /// The weights of a role cannot be kept.
    Store {
        /// The role.
        role: Role,
        /// Why.
        error: loom_core::Error,
    },
}

impl Error {
    /// Whether it is of the document itself: the original tells such an error as text, where it tells
    /// others as an answer.
    #[must_use]
    pub fn is_of_document(&self) -> bool {
        matches!(self, Error::Document(_) | Error::Utf16 | Error::NotFinite { .. })
    }
}

impl fmt::Display for LayerError {
    /// The original words the beginning otherwise for each sort of error and bedrock.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { at: At { bedrock, kind, position }, flaw } = self;
        let is_dense = *bedrock == Bedrock::Of(Kind::Dense);
        match flaw {
            Flaw::Index(index) => {
                match bedrock {
                    Bedrock::Of(Kind::Dense) => f.write_str("stream:")?,
                    Bedrock::Of(kind) => write!(f, "{kind} stream:")?,
                    Bedrock::Mixer => f.write_str("mixer")?,
                }
                write!(f, " layer index {index} != position {position}")
            }
            Flaw::Link { size, given, expected } => {
                match is_dense {
                    true => write!(f, "stream: layer {position}")?,
                    false => write!(f, "{bedrock} layer {position}:")?,
                }
                write!(f, " {size} {given} != expected {expected}")
            }
            Flaw::Length { array, given, wanted } => {
                match kind {
                    Kind::Dense if is_dense => write!(f, "stream: layer {position}")?,
                    Kind::Dense => write!(f, "dense layer {position}:")?,
                    _ => write!(f, "layer {position}:")?,
                }
                write!(f, " {array} len {given} != {wanted}")
            }
            Flaw::Store { role, error } => write!(f, "layer {position}: {role}: {error}"),
            Flaw::Size(size) => write!(f, "{kind} layer {position}: {size}"),
            Flaw::Padding => write!(f, "{kind} layer {position}: padding is negative"),
            Flaw::Activation { given, known } => {
                write!(f, "{kind} layer {position}: unknown activation {given:?}; expected one of {known}")
            }
            Flaw::Spec(what) => write!(f, "{kind} layer {position}: {what}"),
        }
    }
}

fn no_layers(bedrock: Bedrock) -> String {
    match bedrock {
        Bedrock::Of(Kind::Dense) => "layers required".into(),
        bedrock => format!("{bedrock} stream: no layers"),
    }
}
