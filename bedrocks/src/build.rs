//! Joins a model and a planet's arrays into a network, and picks what it is fed.

use std::collections::BTreeMap;

use loom_core::{ChildSpec, LayerSpec, Network, NetworkSpec, Tensor, WeightTable};

use crate::model::InputSpec;
use crate::npz::{Array, Arrays, Data, advance};
use crate::planets::Planet;
use crate::relayout;

/// Names of arrays in a golden file that are not weights.
pub const OUTPUTS: [&str; 2] = ["output", "output_f64"];

/// Why arrays and a model do not become a network.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Error {
    /// The arrays of a layer are not its weights.
    #[error(transparent)]
    Layout(#[from] relayout::Error),
    /// An array is of no layer.
    #[error("array {array} belongs to no layer of the model")]
    Stray {
        /// Its name.
        array: String,
    },
    /// The core refuses the model, or its weights.
    #[error(transparent)]
    Core(#[from] loom_core::Error),
}

/// Why an array of a fixture is no input of a model.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum InputError {
    /// The array is not there.
    #[error("the fixture has no array {array}")]
    Missing {
        /// Its name.
        array: String,
    },
    /// The array is narrower than what the model sees of it.
    #[error("fixture array {array} has shape {shape:?}; a slice of {take:?} does not fit its axes after the first")]
    Slice {
        /// Its name.
        array: String,
        /// Its shape.
        shape: Vec<usize>,
        /// How far the model sees along each axis after the first.
        take: Vec<usize>,
    },
    /// An element is none that a network is fed.
    #[error("fixture array {array} holds {value} at {at:?}; inputs must be finite")]
    NotFinite {
        /// The array's name.
        array: String,
        /// The element as float32.
        value: f32,
        /// Its position.
        at: Vec<usize>,
    },
    /// The core refuses the slice.
    #[error(transparent)]
    Core(#[from] loom_core::Error),
}

/// Every layer with its path, containers before what they hold.
#[must_use]
pub fn layers(spec: &NetworkSpec) -> Vec<(String, LayerSpec)> {
    fn visit(path: String, layer: &LayerSpec, found: &mut Vec<(String, LayerSpec)>) {
        found.push((path.clone(), layer.clone()));
        for (name, ChildSpec { layer, .. }) in layer.children() {
            if let Some(layer) = layer {
                visit(format!("{path}.{name}"), &layer, found);
            }
        }
    }
    let mut found = Vec::new();
    for cell in &spec.cells {
        visit(format!("layers.{}", spec.index(cell.at).unwrap_or_default()), &cell.layer, &mut found);
    }
    found
}

/// The weight table of a model: every layer's arrays in Loom's layout.
///
/// # Errors
/// Those of [`relayout::stores`], and an array that no layer uses.
pub fn weights(spec: &NetworkSpec, planet: &Planet, arrays: &Arrays) -> Result<WeightTable, Error> {
    let mut rest: Arrays = arrays
        .iter()
        .filter(|(name, _)| !OUTPUTS.contains(&name.as_str()))
        .map(|(k, v)| (k.clone(), v.clone()))
        .collect();
    let mut table = WeightTable::new();
    for (path, layer) in layers(spec) {
        let stores = relayout::stores(planet, &path, &layer, &mut rest)?;
        if !stores.is_empty() {
            table.insert(path, stores);
        }
    }
    match rest.keys().next() {
        Some(name) => Err(Error::Stray { array: name.clone() }),
        None => Ok(table),
    }
}

/// The network of a model with a planet's arrays.
///
/// # Errors
/// Those of [`weights`] and of [`Network::build`].
pub fn network(spec: NetworkSpec, planet: &Planet, arrays: &Arrays) -> Result<Network, Error> {
    let mut table = weights(&spec, planet, arrays)?;
    Ok(Network::build(spec, &mut table)?)
}

/// The same network, fed otherwise: layers that read an input of the network in place of the layer
/// before them, and residual layers that add one. Version 1 of `.entity` holds neither.
///
/// # Errors
/// Those of [`Network::build`].
pub fn fed(
    network: &Network,
    reads: &BTreeMap<usize, usize>,
    skips: &BTreeMap<usize, usize>,
) -> loom_core::Result<Network> {
    let mut spec = network.spec().clone();
    for i in 0..spec.cells.len() {
        let index = spec.index(spec.cells[i].at).unwrap_or_default();
        spec.cells[i].input = reads.get(&index).copied();
        spec.cells[i].skip = skips.get(&index).copied();
    }
    let mut table = WeightTable::new();
    for (path, role, store) in network.stores() {
        table.entry(path.to_string()).or_default().insert(role, store.clone());
    }
    Network::build(spec, &mut table)
}

/// The slice of a fixture array that a model sees, rounded to f32: the first extents of
/// every axis but the batch axis.
///
/// # Errors
/// The array's shape when it is narrower than the slice, or the position of
/// an element that is not finite.
pub fn input(spec: &InputSpec, fixture: &Arrays) -> Result<Tensor, InputError> {
    let name = &spec.array;
    let array = fixture.get(name).ok_or_else(|| InputError::Missing { array: name.clone() })?;
    let Array { shape, data, .. } = array;
    let mut out = shape.clone();
    if spec.take.len() >= shape.len() || out[1..].iter().zip(&spec.take).any(|(have, want)| want > have) {
        return Err(InputError::Slice { array: name.clone(), shape: shape.clone(), take: spec.take.clone() });
    }
    out[1..=spec.take.len()].copy_from_slice(&spec.take);
    let mut values = Vec::with_capacity(out.iter().product());
    // The last axis is read in runs.
    let (rows, run) = (out[..out.len() - 1].to_vec(), out[out.len() - 1]);
    let mut at = vec![0; rows.len()];
    for _ in 0..rows.iter().product::<usize>() {
        let row = at.iter().zip(shape).fold(0, |row, (i, n)| row * n + i);
        let start = row * shape[rows.len()];
        match data {
            Data::F32(data) => values.extend_from_slice(&data[start..start + run]),
            Data::F64(data) => values.extend(data[start..start + run].iter().map(|&value| value as f32)),
            Data::U8(data) => values.extend(data[start..start + run].iter().map(|&byte| f32::from(byte))),
        }
        let read = &values[values.len() - run..];
        if let Some(i) = read.iter().position(|value| !value.is_finite()) {
            at.push(i);
            return Err(InputError::NotFinite { array: name.clone(), value: read[i], at });
        }
        advance(&mut at, &rows);
    }
    Ok(Tensor::new(out, values)?)
}
