//! Joins a model and a planet's arrays into a network, and picks what it is fed.

use std::collections::BTreeMap;

use loom_core::{ChildSpec, LayerSpec, Network, NetworkSpec, Tensor, WeightTable};

use crate::model::InputSpec;
use crate::npz::{Array, Arrays, Data, advance};
use crate::planets::Planet;
use crate::relayout;

/// Names of arrays in a golden file that are not weights.
pub const OUTPUTS: [&str; 2] = ["output", "output_f64"];

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
/// The sentence of [`relayout::stores`], or the name of an array that no layer uses.
pub fn weights(spec: &NetworkSpec, planet: &Planet, arrays: &Arrays) -> Result<WeightTable, String> {
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
        Some(name) => Err(format!("array {name} belongs to no layer of the model")),
        None => Ok(table),
    }
}

/// The network of a model with a planet's arrays.
///
/// # Errors
/// The sentence of [`weights`] or of [`Network::build`].
pub fn network(spec: NetworkSpec, planet: &Planet, arrays: &Arrays) -> Result<Network, String> {
    let mut table = weights(&spec, planet, arrays)?;
    Network::build(spec, &mut table).map_err(|e| e.to_string())
}

/// The same network, fed otherwise: layers that read an input of the network in place of the layer
/// before them, and residual layers that add one. Version 1 of `.entity` holds neither.
///
/// # Errors
/// The sentence of [`Network::build`].
pub fn fed(
    network: &Network,
    reads: &BTreeMap<usize, usize>,
    skips: &BTreeMap<usize, usize>,
) -> Result<Network, String> {
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
    Network::build(spec, &mut table).map_err(|e| e.to_string())
}

/// The slice of a fixture array that a model sees, rounded to f32: the first extents of
/// every axis but the batch axis.
///
/// # Errors
/// A sentence with the array's shape when it is narrower than the slice, or the position of
/// an element that is not finite.
pub fn input(spec: &InputSpec, fixture: &Arrays) -> Result<Tensor, String> {
    let name = &spec.array;
    let Array { shape, data, .. } = fixture.get(name).ok_or_else(|| format!("the fixture has no array {name}"))?;
    let mut out = shape.clone();
    if spec.take.len() >= shape.len() || out[1..].iter().zip(&spec.take).any(|(have, want)| want > have) {
        return Err(format!(
            "fixture array {name} has shape {shape:?}; a slice of {:?} does not fit its axes after the first",
            spec.take
        ));
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
        }
        let read = &values[values.len() - run..];
        if let Some(i) = read.iter().position(|value| !value.is_finite()) {
            at.push(i);
            return Err(format!("fixture array {name} holds {} at {at:?}; inputs must be finite", read[i]));
        }
        advance(&mut at, &rows);
    }
    Tensor::new(out, values).map_err(|e| e.to_string())
}
