//! Everything that can go wrong in the core, with data in every variant.

mod config;
mod packing;

use crate::coord::Coord;
use crate::dtype::{Dtype, Numerics};
use crate::fault::Fault;
use crate::role::Role;

pub use config::{ConfigError, RuleError};
pub use packing::PackingError;

/// The result of a core call.
pub type Result<T> = std::result::Result<T, Error>;

/// A core error.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Error {
    /// A shape and a number of elements disagree.
    #[error("shape {shape:?} does not hold {elements} elements")]
    Shape {
        /// The shape given.
        shape: Vec<usize>,
        /// The number of elements given.
        elements: usize,
    },
    /// A weight is NaN or infinite.
    #[error("element {index} is {value}: weights must be finite")]
    NonFinite {
        /// Position in row-major order.
        index: usize,
        /// What stands there.
        value: f64,
    },
    /// A code that stands for no weight.
    #[error("element {index} has code {code}, which stands for no {dtype} weight")]
    Code {
        /// Position in row-major order.
        index: usize,
        /// The code.
        code: u64,
        /// The numerical type.
        dtype: Dtype,
    },
    /// Packed codes and a shape disagree.
    #[error("{given} bytes of {dtype} codes do not hold shape {shape:?}; expected {}", needed.map_or("fewer elements".into(), |n| format!("{n} bytes")))]
    Packed {
        /// The numerical type.
        dtype: Dtype,
        /// The shape given.
        shape: Vec<usize>,
        /// Bytes that the shape needs, unless the number overflows.
        needed: Option<usize>,
        /// Bytes given.
        given: usize,
    },
    /// A zero point that a numerical type cannot have.
    #[error("zero point {zero_point} in {dtype} ({numerics}); expected {}", if *most == 0 { "0".into() } else { format!("at most {most}") })]
    ZeroPoint {
        /// The numerical type.
        dtype: Dtype,
        /// The profile.
        numerics: Numerics,
        /// The zero point given.
        zero_point: u64,
        /// The largest that it can be.
        most: u64,
    },
    /// A finite weight has no finite value in a numerical type.
    #[error(
        "element {index} ({weight:e}) is beyond the range of {dtype} at scale {scale:e}; choose a type with a wider range"
    )]
    Unrepresentable {
        /// Position in row-major order.
        index: usize,
        /// The weight.
        weight: f64,
        /// The numerical type.
        dtype: Dtype,
        /// The scale it was to be stored by.
        scale: f32,
    },
    /// A grid extent is zero, or their product overflows.
    #[error(
        "grid {depth}x{rows}x{cols} with {layers_per_cell} layers per cell: every extent must be at least 1 and their product must fit the machine"
    )]
    GridExtent {
        /// Cells along z.
        depth: usize,
        /// Cells along y.
        rows: usize,
        /// Cells along x.
        cols: usize,
        /// Layers in each cell.
        layers_per_cell: usize,
    },
    /// A layer stands outside the grid, on an occupied place, or a place has none.
    #[error("grid position {at}: {what}")]
    Position {
        /// The position.
        at: Coord,
        /// What is wrong there.
        what: &'static str,
    },
    /// A document is not what the format says.
    #[error("{path}: {what}")]
    Document {
        /// Where in the document, as a JSON path.
        path: String,
        /// What was found and what was expected.
        what: String,
    },
    /// A checkpoint is not what its format says, or cannot be written in it.
    #[error("{place}: {what}")]
    Format {
        /// What class of fault it is.
        fault: Fault,
        /// A byte offset, JSON position, path or key.
        place: String,
        /// What was found, what was expected, and what to do.
        what: String,
    },
    /// Weights were given for a path that no layer has.
    #[error("weights were given for {path:?}, but no layer has that path")]
    StrayWeights {
        /// The path.
        path: String,
    },
    /// More inputs were given than the network reads.
    #[error("{given} inputs were given, and the network reads {reads}; leave the others out")]
    Inputs {
        /// How many were given.
        given: usize,
        /// How many the network has.
        reads: usize,
    },
    /// A state was filled by another network.
    #[error("the state belongs to another network; give each network a State of its own")]
    ForeignState,
    /// No instruction set has this name.
    #[error("unknown instruction set {found:?}; expected scalar, avx2 or avx512")]
    UnknownIsa {
        /// The name given.
        found: String,
    },
    /// A device cannot be used, or failed.
    #[error("{adapter}: {what}")]
    Device {
        /// The adapter's name.
        adapter: String,
        /// What happened.
        what: String,
    },
    /// Something is wrong with one layer.
    #[error("{kind} at {at} ({path}): {problem}")]
    Layer {
        /// The grid position of the layer, or of the container that holds it.
        at: Coord,
        /// The layer's path, for example `layers.3.sequential_layers.1`.
        path: String,
        /// The layer's kind.
        kind: &'static str,
        /// What is wrong.
        problem: Box<Problem>,
    },
}

/// What can be wrong with one layer.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Problem {
    /// The layer's weights were left in the file.
    #[error("its weights were not loaded; load this layer too")]
    NotLoaded,
    /// The configuration contradicts itself.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The layer's weights cannot be looked at as one array.
    #[error(transparent)]
    Packing(#[from] PackingError),
    /// The layer cannot run on a device.
    #[error("cannot run on the device: {0}")]
    NotOnDevice(String),
    /// A role has no weights.
    #[error("no {role} weights; expected shape {expected:?}")]
    MissingWeight {
        /// The role.
        role: Role,
        /// The shape its store must have.
        expected: Vec<usize>,
    },
    /// A role's weights have another shape.
    #[error("{role} has shape {found:?}; expected {expected:?}")]
    WeightShape {
        /// The role.
        role: Role,
        /// The shape the configuration asks for.
        expected: Vec<usize>,
        /// The shape given.
        found: Vec<usize>,
    },
    /// Weights were given for a role that the layer does not have.
    #[error("has no {role} weights in this configuration; remove them or switch them on")]
    UnexpectedWeight {
        /// The role.
        role: Role,
    },
    /// A role's weights cannot be stored.
    #[error("{role}: {source}")]
    Store {
        /// The role.
        role: Role,
        /// What is wrong.
        source: Box<Error>,
    },
    /// The input's axes are not those of what the layer consumes.
    #[error(
        "input of shape {shape:?} is no batch of {unit} ({size} elements each): expected axes that end in {expected:?}, or [batch, {size}]",
        size = expected.iter().product::<usize>()
    )]
    Input {
        /// The input's shape.
        shape: Vec<usize>,
        /// What the layer reads at a time.
        unit: &'static str,
        /// The axes of one unit.
        expected: Vec<usize>,
    },
    /// An array of the layer cannot be repeated along its input.
    #[error("input of shape {shape:?}: its last axes must be {expected:?}, where an extent of 1 stands for any")]
    Broadcast {
        /// The input's shape.
        shape: Vec<usize>,
        /// The shape of the array.
        expected: Vec<usize>,
    },
    /// The run would hold more elements at a time than it may.
    #[error(
        "would make {needed} elements while {held} are held; a run may hold {most} at a time (State::allow raises this)"
    )]
    Room {
        /// Elements that the layer makes.
        needed: usize,
        /// Elements that are held meanwhile.
        held: usize,
        /// The most that may be held.
        most: usize,
    },
    /// A cell reads a network input that was not given.
    #[error("reads network input {index}, but {given} were given")]
    NoInput {
        /// The input asked for.
        index: usize,
        /// How many were given.
        given: usize,
    },
    /// Branches of a container do not fit together.
    #[error("branch {branch} gives {found} elements where {expected} are needed to {mode}")]
    Branch {
        /// The branch.
        branch: usize,
        /// The combine mode.
        mode: &'static str,
        /// Elements needed.
        expected: usize,
        /// Elements given.
        found: usize,
    },
    /// The branches of a container have shapes that do not fit together.
    #[error("branch {branch} has shape {found:?}, which cannot {mode} with {expected:?}")]
    BranchShape {
        /// The branch.
        branch: usize,
        /// The combine mode.
        mode: &'static str,
        /// The shape of those before it.
        expected: Vec<usize>,
        /// Its own shape.
        found: Vec<usize>,
    },
    /// A remote link leads to itself through other links.
    #[error("remote links form a circle through {target}")]
    LinkCircle {
        /// The position that was reached twice.
        target: Coord,
    },
    /// A metacognition rule asks for something that would leave a broken layer.
    #[error("rule {rule}: {what}")]
    Rule {
        /// The rule's position in the list.
        rule: usize,
        /// What is wrong.
        what: RuleError,
    },
}
