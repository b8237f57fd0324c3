//! `lucy.yaml`: the seven-layer stacks and what was published of them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use loom_core::{CellSpec, Dtype, Extents, LayerSpec, NetworkSpec};
use schemars::JsonSchema;
use serde::Deserialize;

use super::{ParseError, parse};

/// Layers of a cell.
pub(crate) const SEVEN: usize = 7;

/// `lucy.yaml`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Lucy {
    /// Seed of all weights.
    pub seed: u64,
    /// Weights are uniform between this and its negative.
    pub amplitude: f32,
    /// The tile size that training leaves in every layer, on a machine like this.
    pub tile_size: usize,
    /// The dtypes, in the order of tables.
    pub dtypes: Vec<Row>,
    /// The stacks.
    pub suites: Vec<Suite>,
}

/// One row of every table.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// The dtype, by the name that files have.
    pub dtype: String,
    /// Its name in tables.
    pub name: String,
    /// The scale of every store; 1 means that each layer chooses its own.
    pub scale: f32,
}

/// One stack.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Suite {
    /// Its id.
    pub id: String,
    /// Its name in tables.
    pub title: String,
    /// Cells along z, y and x.
    pub grid: [usize; 3],
    /// The shape of its input.
    pub input: Vec<usize>,
    /// For stacks that read ids: how many there are.
    #[serde(default)]
    pub ids: Option<usize>,
    /// The number of weights that it must have.
    pub weights: usize,
    /// The layers of the first cell, where they differ.
    #[serde(default)]
    pub first_cell: Option<Vec<LayerSpec>>,
    /// The layers of every cell; repeated up to seven.
    pub cell: Vec<LayerSpec>,
    /// Published file sizes in KiB, by dtype.
    #[serde(default)]
    pub published: BTreeMap<String, Published>,
}

/// Published file sizes in KiB.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Published {
    /// The JSON checkpoint.
    pub json: f64,
    /// The `.entity`.
    pub entity: f64,
}

/// Why the stacks cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum LucyError {
    /// The file cannot be read.
    #[error(transparent)]
    Parse(#[from] ParseError),
    /// A row names no dtype.
    #[error("{path}: unknown dtype {found:?}")]
    Dtype {
        /// The file.
        path: PathBuf,
        /// What the row names.
        found: String,
    },
}

impl Lucy {
    /// Reads `lucy.yaml` of a folder of manifests.
    ///
    /// # Errors
    /// The file, and where in it and what is wrong.
    pub fn load(folder: &Path) -> Result<Self, LucyError> {
        let path = folder.join("lucy.yaml");
        let lucy: Lucy = parse(&path)?;
        match lucy.dtypes.iter().find(|row| Dtype::find(&row.dtype).is_none()) {
            Some(row) => Err(LucyError::Dtype { found: row.dtype.clone(), path }),
            None => Ok(lucy),
        }
    }
}

impl Suite {
    /// The topology.
    #[must_use]
    pub fn network(&self) -> NetworkSpec {
        let [depth, rows, cols] = self.grid;
        let extents = Extents { depth, rows, cols, layers_per_cell: SEVEN };
        let mut cells = Vec::new();
        for place in 0..depth * rows * cols {
            let layers = if place == 0 { self.first_cell.as_ref().unwrap_or(&self.cell) } else { &self.cell };
            for (l, layer) in layers.iter().cycle().take(SEVEN).enumerate() {
                let at = extents.position(place * SEVEN + l);
                cells.push(CellSpec { at, disabled: false, input: None, skip: None, layer: layer.clone() });
            }
        }
        NetworkSpec { depth, rows, cols, layers_per_cell: SEVEN, cells }
    }
}
