//! Topologies as files have them, and as networks have them.
//!
//! A [`Topology`] is a grid of [`Record`]s, which keep every key of a file. A [`NetworkSpec`]
//! is what runs. Reading one from the other refuses what contradicts itself; the original's
//! defaults are kept: a sequence length of 0 is 1, a stride of 0 is 1, a softmax normalises the
//! whole tensor.

#![forbid(unsafe_code)]

use std::sync::Arc;

use super::budget::{Budget, Purse};
use super::fault::{Fault, ensure};
use super::kinds::Has;
use super::parse::{Document, DocumentKind, Reading, document};
use super::path::LayerPath;
use super::record::{Key, Record};
use crate::coord::{Coord, Extents};
use crate::dtype::Dtype;
use crate::error::Result;
use crate::layers::QkNorm;
use crate::network::{CellSpec, NetworkSpec};

/// Layers that even the smallest file may describe; a larger one may describe as many more as it
/// has bytes.
pub(super) const FREE_LAYERS: usize = 1 << 16;

/// A grid of records in forward order.
#[derive(Clone, Debug, PartialEq)]
pub struct Topology {
    /// How far the grid reaches along each axis.
    pub(super) extents: Extents,
    /// One for each place of the grid; equal neighbours may share one.
    pub(super) layers: Vec<Arc<Record>>,
}

impl Topology {
    /// Checks the grid of a document whose file has `bytes` bytes, and puts its layers in order.
    /// Its records are paid for; places that a reading fills in are not.
    pub(super) fn of_document(
        document: &mut Document,
        bytes: usize,
        reading: Reading,
        mut purse: Purse,
    ) -> Result<Self> {
        let (extents, places) = grid(document.extents, bytes)?;
        let mut layers: Vec<Option<Arc<Record>>> = vec![None; places];
        let mut order = Vec::with_capacity(document.records.len());
        for (i, mut record) in std::mem::take(&mut document.records).into_iter().enumerate() {
            let index = coord(record.at).and_then(|at| extents.index(at)).ok_or_else(|| {
                let [z, y, x, l] = record.at;
                Fault::Grid.at(format!("layers[{i}]"), format!("position ({z},{y},{x},{l}) lies outside the grid"))
            })?;
            if reading == Reading::Loom {
                record.filled_in();
            }
            ensure(layers[index].is_none(), || {
                let [z, y, x, l] = record.at;
                Fault::Grid.at(format!("layers[{i}]"), format!("position ({z},{y},{x},{l}) has a layer already"))
            })?;
            record.at = [0; 4];
            layers[index] = Some(Arc::new(record));
            order.push(index);
        }
        for native in &mut document.natives {
            native.top = order[native.top];
        }
        let mut filled = Vec::with_capacity(places);
        let untouched = Arc::new(Record::untouched());
        for (index, layer) in layers.into_iter().enumerate() {
            match layer {
                Some(layer) => filled.push(layer),
                None if reading == Reading::Loom => {
                    purse.spend("topology", untouched.price(0))?;
                    filled.push(Arc::clone(&untouched));
                }
                None => {
                    let at = extents.position(index);
                    let what = format!("position {at} has no layer; every place of the grid needs one");
                    return Err(Fault::Grid.at("layers", what));
                }
            }
        }
        Ok(Self { extents, layers: filled })
    }

    /// How far the grid reaches along each axis.
    #[must_use]
    pub fn extents(&self) -> Extents {
        self.extents
    }

    /// The layers of the grid in forward order.
    #[must_use]
    pub fn layers(&self) -> &[Arc<Record>] {
        &self.layers
    }

    /// Every layer, those inside others included, with its path: in the order of files.
    pub fn walk(&self) -> Vec<(LayerPath, &Record)> {
        fn visit<'a>(path: LayerPath, record: &'a Record, found: &mut Vec<(LayerPath, &'a Record)>) {
            found.push((path.clone(), record));
            record.children().for_each(|(step, child)| visit(path.inner(step), child, found));
        }
        let mut found = Vec::new();
        for (index, record) in self.layers.iter().enumerate() {
            visit(LayerPath::top(index), record, &mut found);
        }
        found
    }

    /// The record at a path.
    #[must_use]
    pub fn find(&self, path: &LayerPath) -> Option<&Record> {
        let mut record: &Record = self.layers.get(path.index)?;
        for step in &path.steps {
            record = record.child(*step)?;
        }
        Some(record)
    }

    /// Changes the record at a path, if there is one.
    pub(super) fn change(&mut self, path: &LayerPath, change: &mut dyn FnMut(&mut Record)) {
        let Some(record) = self.layers.get_mut(path.index) else { return };
        let mut record = Some(Arc::make_mut(record));
        for step in &path.steps {
            record = record.and_then(|record| record.child_mut(*step));
        }
        if let Some(record) = record {
            change(record);
        }
    }

    /// Changes every record, those inside others included.
    pub(super) fn visit_mut(&mut self, change: &mut dyn FnMut(&mut Record)) {
        self.layers.iter_mut().for_each(|record| Arc::make_mut(record).visit_mut(change));
    }

    /// What runs: `has` says which optional roles the layer at a path has weights for.
    ///
    /// # Errors
    /// [`Error::Document`] when a layer contradicts itself.
    pub(super) fn spec(&self, has: &dyn Fn(&LayerPath) -> Has) -> Result<NetworkSpec> {
        let mut cells = Vec::with_capacity(self.layers.len());
        for (index, record) in self.layers.iter().enumerate() {
            let at = self.extents.position(index);
            cells.push(CellSpec {
                at,
                disabled: record.has(Key::IsDisabled),
                input: record.size(Key::ReadsInput).checked_sub(1),
                skip: record.size(Key::AddsInput).checked_sub(1),
                layer: record.spec(&LayerPath::top(index), has)?,
            });
        }
        let Extents { depth, rows, cols, layers_per_cell } = self.extents;
        Ok(NetworkSpec { depth, rows, cols, layers_per_cell, cells })
    }

    /// The records of a network's topology, with every layer in float32.
    pub(super) fn of_spec(spec: &NetworkSpec) -> Result<Self> {
        let extents = spec.extents();
        let mut cells: Vec<_> = spec.cells.iter().filter_map(|cell| Some((spec.index(cell.at)?, cell))).collect();
        cells.sort_by_key(|(index, _)| *index);
        let mut layers = Vec::with_capacity(cells.len());
        for (index, cell) in cells {
            let mut record = Record::of_spec(&cell.layer, &LayerPath::top(index))?;
            record.set_flag(Key::IsDisabled, cell.disabled);
            for (key, input) in [(Key::ReadsInput, cell.input), (Key::AddsInput, cell.skip)] {
                if let Some(input) = input {
                    record.set_size(key, input.saturating_add(1));
                }
            }
            layers.push(Arc::new(record));
        }
        Ok(Self { extents, layers })
    }
}

/// Checked extents and their product, for a file of `bytes` bytes.
pub(super) fn grid(extents: [i64; 4], bytes: usize) -> Result<(Extents, usize)> {
    let [depth, rows, cols, cell] = extents;
    let shown = format!("grid of {depth}x{rows}x{cols} cells with {cell} layers each");
    let [depth, rows, cols, layers_per_cell] = extents.map(|extent| usize::try_from(extent).unwrap_or(0));
    let extents = Extents { depth, rows, cols, layers_per_cell };
    let places = extents
        .places()
        .ok_or_else(|| Fault::Grid.at("topology", format!("{shown}: every extent must be at least 1")))?;
    let most = bytes.saturating_add(FREE_LAYERS);
    ensure(places <= most, || {
        Fault::Limit.at("topology", format!("{shown}: a file of {bytes} bytes may describe {most} layers at most"))
    })?;
    Ok((extents, places))
}

/// A position as a file has it, if none of its numbers is negative.
fn coord(at: [i64; 4]) -> Option<Coord> {
    let [Ok(z), Ok(y), Ok(x), Ok(l)] = at.map(usize::try_from) else { return None };
    Some(Coord { z, y, x, l })
}

/// Reads a topology of the original's network builder. `norms` says which per-head norms the
/// layer at a path has, which the dialect itself cannot say.
///
/// # Errors
/// [`crate::Error::Format`] with line and column, and what is wrong there; [`crate::Error::Document`] when a
/// layer contradicts itself.
pub fn parse(json: &str, norms: impl Fn(&str) -> QkNorm) -> Result<NetworkSpec> {
    let purse = Budget::default().open(json.len() as u64);
    let (mut document, purse) = document(json.as_bytes(), Reading::Builder, DocumentKind::Entity, purse)?;
    let topology = Topology::of_document(&mut document, json.len(), Reading::Builder, purse)?;
    topology.spec(&|path| Has { qk_norm: norms(&path.to_string()), bias: None })
}

/// Sets the dtype of every record.
pub(super) fn set_dtype(topology: &mut Topology, dtype: Dtype) {
    topology.visit_mut(&mut |record| record.dtype = dtype);
}
