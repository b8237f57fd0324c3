//! What a bedrock is: models, the planets' conventions, the relayout of their arrays into
//! Loom's, and the networks built of them. Knows no runner.

pub mod build;
pub mod model;
pub mod names;
pub mod npz;
pub mod planets;
pub mod relayout;

/// The bedrocks, in the order of every table.
pub const BEDROCKS: [&str; 21] = [
    "dense",
    "cnn1",
    "cnn2",
    "cnn3",
    "mha",
    "lstm",
    "rnn",
    "layernorm",
    "embedding",
    "rmsnorm",
    "swiglu",
    "residual",
    "mixer",
    "activations",
    "affine",
    "norms",
    "pooling",
    "convolutions",
    "views",
    "branches",
    "recurrent",
];

/// Those of the original bridge, first in every table: the models that its layer stream can say.
#[must_use]
pub fn of_the_original() -> &'static [&'static str] {
    &BEDROCKS[..13]
}
