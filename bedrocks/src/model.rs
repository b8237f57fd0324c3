//! A model as a manifest declares it: its layers, what it is fed, where its weights come from.

use std::collections::BTreeMap;

use loom_core::{LayerSpec, NetworkSpec};
use schemars::JsonSchema;
use serde::Deserialize;

/// The topology and inputs of a model.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct InputSpec {
    /// The fixture array.
    pub array: String,
    /// The first extents of every axis but the batch axis; absent means all of the array.
    #[serde(default)]
    pub take: Vec<usize>,
}

/// Where a model's weights come from. The dump makes them; the runner only reads arrays.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum WeightsRecipe {
    /// The original bridge's draws: float32 normals times 0.02, seeded by the model's id.
    Original {},
    /// Weights of ordinary size: matrices `gain / sqrt(fan in)`, gains near 1, small shifts.
    Normal {
        /// Multiplies the matrices.
        #[serde(default)]
        gain: Option<f64>,
    },
    /// Trained by the planet itself: mean squared error, Adam.
    Trained {
        /// Passes over the training rows.
        epochs: u32,
        /// Rows of one step.
        batch_size: u32,
        /// Adam's step size.
        learning_rate: f64,
    },
}

/// How a fixture array is made. The dump makes it; the runner reads `fixture.npz`.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum FixtureRecipe {
    /// The test rows of one of the original bridge's fixtures.
    Original(String),
    /// The last rows of scikit-learn's handwritten digits.
    Digits {
        /// How many.
        rows: usize,
    },
    /// Normal numbers.
    Normal {
        /// Extents, batch first.
        shape: Vec<usize>,
        /// Seed of NumPy's default generator.
        seed: u64,
        /// Standard deviation; 1 when absent.
        #[serde(default)]
        scale: Option<f64>,
        /// Mean; 0 when absent.
        #[serde(default)]
        offset: Option<f64>,
    },
    /// Whole numbers from 0 on.
    Integers {
        /// Extents, batch first.
        shape: Vec<usize>,
        /// The first number that does not occur.
        below: u64,
        /// Seed of NumPy's default generator.
        seed: u64,
    },
}

/// The network of a model: `layers` in one cell, with the inputs that some of them read.
#[must_use]
pub fn network_spec(
    layers: &[LayerSpec],
    reads: &BTreeMap<usize, usize>,
    skips: &BTreeMap<usize, usize>,
) -> NetworkSpec {
    let mut spec = NetworkSpec::stack(layers.to_vec());
    for (l, cell) in spec.cells.iter_mut().enumerate() {
        cell.input = reads.get(&l).copied();
        cell.skip = skips.get(&l).copied();
    }
    spec
}
