//! A checkpoint in memory: what every format reads into and is written from.
//!
//! A [`Checkpoint`] keeps the topology as the file has it and the weights as packed codes, most
//! of which may still lie in the file. [`Checkpoint::network`] makes a network of it and
//! [`Checkpoint::of`] is the way back. What version 1 has no field for is kept all the same;
//! writing says so.

#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use rayon::prelude::*;

use super::blob::{Blob, BlobId, Coding, Encoding, Part};
use super::fault::Fault;
use super::kinds::Has;
use super::layer::is_kept_by_bridge;
use super::path::LayerPath;
use super::record::{Key, Record};
use super::source::Section;
use super::topology::Topology;
use super::transformer::{Decoder, Dims, Transformer};
use super::{check, layer, morph, transformer};
use crate::dtype::Dtype;
use crate::error::{Error, Problem, Result};
use crate::layers::QkNorm;
use crate::network::Network;
use crate::role::Role;
use crate::store::{Storage, WeightStore, WeightTable, Weights};

/// A checkpoint.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    pub(super) topology: Topology,
    pub(super) decoder: Option<(Decoder, Option<Dims>)>,
    pub(super) blobs: BTreeMap<BlobId, Blob>,
}

impl Checkpoint {
    /// A network's topology and weights. Nothing is copied.
    ///
    /// # Errors
    /// [`Error::Format`] when layers were left in another file, [`Error::Document`] when a rule of
    /// metacognition cannot be written.
    pub fn of(network: &Network) -> Result<Self> {
        let topology = Topology::of_spec(network.spec())?;
        let paths: BTreeMap<String, LayerPath> =
            topology.walk().into_iter().map(|(path, _)| (path.to_string(), path)).collect();
        if let Some(layer) = network.layers().find(|layer| !layer.is_loaded()) {
            return Err(Fault::Missing.at(layer.path(), "its weights were not loaded; load this layer too"));
        }
        let mut tables: BTreeMap<&str, Weights> = BTreeMap::new();
        for (path, role, store) in network.stores() {
            tables.entry(path).or_default().insert(role, store.clone());
        }
        let mut checkpoint = Self { topology, decoder: None, blobs: BTreeMap::new() };
        for (path, weights) in tables {
            if let Some(path) = paths.get(path) {
                checkpoint.put(path, weights);
            }
        }
        Ok(checkpoint)
    }

    /// Takes the weights of a layer, whose record then names the dtype of its matrices.
    pub(super) fn put(&mut self, path: &LayerPath, weights: Weights) {
        let ours = || weights.iter().filter(|(role, _)| !role.is_outside_array());
        let main = ours().find(|(role, _)| !role.is_vector()).or_else(|| ours().next());
        if let Some(dtype) = main.map(|(_, store)| store.dtype()) {
            self.topology.change(path, &mut |record| record.dtype = dtype);
        }
        for (role, store) in weights {
            self.blobs.insert(BlobId::Layer(path.clone(), Part::Role(role)), Blob::of_store(role, &store));
        }
    }

    /// Sets a size in a layer's record that follows from the others: the original's bridge writes
    /// some that other files leave out.
    pub fn set_size(&mut self, path: &LayerPath, key: Key, size: usize) {
        self.topology.change(path, &mut |record| record.set_size(key, size));
    }

    /// The topology.
    #[must_use]
    pub fn topology(&self) -> &Topology {
        &self.topology
    }

    /// What the transformer section says, where there is one.
    #[must_use]
    pub fn decoder(&self) -> Option<(&Decoder, Option<&Dims>)> {
        self.decoder.as_ref().map(|(decoder, dims)| (decoder, dims.as_ref()))
    }

    /// The blobs in the order in which this crate writes them.
    pub fn blobs(&self) -> impl Iterator<Item = (&BlobId, &Blob)> {
        self.blobs.iter()
    }

    /// Whether any blob is still compressed.
    pub(super) fn is_compressed(&self) -> bool {
        self.blobs.values().any(|blob| blob.section.zstd)
    }

    /// The bytes of a blob.
    ///
    /// # Errors
    /// [`Error::Format`] when the file cannot be read, or the blob has changed since it was written.
    pub fn bytes(&self, id: &BlobId) -> Result<Bytes> {
        let blob = self.blobs.get(id).ok_or_else(|| Fault::Missing.at(id, "there is no such blob"))?;
        blob.read(id)
    }

    /// The one blob of a layer of the grid as version 1 and JSON have it, how it is coded, and
    /// whether it is packed in the layer's dtype (otherwise it is a float32 master).
    ///
    /// # Errors
    /// [`Error::Format`] when the layer has no such blob, as with Q4_0, or as [`Checkpoint::bytes`].
    pub fn layer_blob(&self, index: usize) -> Result<(Bytes, Coding, bool)> {
        let id = |part| BlobId::Layer(LayerPath::top(index), part);
        for (part, native) in [(Part::Array, true), (Part::Master, false)] {
            if let Some(blob) = self.blobs.get(&id(part)) {
                return Ok((blob.read(&id(part))?, blob.coding, native));
            }
        }
        let path = LayerPath::top(index);
        let record = self.topology.find(&path);
        let record = record.ok_or_else(|| Fault::Missing.at(&path, "there is no such layer"))?;
        let (coding, bytes) = layer::array(self, &path, record)?;
        Ok((bytes, coding, true))
    }

    /// Reads every section, in parallel, so that all digests, unused bits and weights are checked
    /// and nothing is left in the file.
    ///
    /// # Errors
    /// As [`Checkpoint::bytes`], for the first blob that fails, and [`Checkpoint::check_weights`].
    pub fn load(&mut self) -> Result<()> {
        self.load_of(&|_| true)?;
        self.check_weights()
    }

    fn load_of(&mut self, wanted: &(dyn Fn(&BlobId) -> bool + Sync)) -> Result<()> {
        let mut sections: BTreeMap<*const Section, (&BlobId, Arc<Section>)> = BTreeMap::new();
        for (id, blob) in self.blobs.iter().filter(|(id, _)| wanted(id)) {
            sections.entry(Arc::as_ptr(&blob.section)).or_insert((id, Arc::clone(&blob.section)));
        }
        let mut sections: Vec<_> = sections.into_values().collect();
        sections.sort_by_key(|(id, _)| *id);
        let read = |(id, section): &(&BlobId, Arc<Section>)| {
            Ok((Arc::as_ptr(section) as usize, Arc::new(Section::memory(section.read(id)?))))
        };
        let loaded: Result<Vec<_>> = sections.par_iter().map(read).collect();
        let loaded: BTreeMap<usize, Arc<Section>> = loaded?.into_iter().collect();
        let mut fresh = Vec::new();
        for (id, blob) in &mut self.blobs {
            if let Some(section) = loaded.get(&(Arc::as_ptr(&blob.section) as usize)) {
                blob.section = Arc::clone(section);
                fresh.push(id.clone());
            }
        }
        fresh.iter().try_for_each(|id| check::check_tail(self, id))
    }

    /// The network, with the weights of every layer.
    ///
    /// # Errors
    /// [`Error::Format`], [`Error::Document`] or [`Error::Layer`] for what is wrong with the file,
    /// a layer, or a weight.
    pub fn network(&self) -> Result<Network> {
        self.network_of(None)
    }

    /// The network with the weights of some layers of the grid, and of all layers inside them.
    /// Running one of the others is an error; their weights stay in the file.
    ///
    /// # Errors
    /// As [`Checkpoint::network`]; [`Error::Format`] when there is no such layer.
    pub fn network_with(&self, layers: &BTreeSet<usize>) -> Result<Network> {
        if let Some(index) = layers.iter().find(|&&index| index >= self.topology.layers.len()) {
            let last = self.topology.layers.len() - 1;
            return Err(
                Fault::Path.at(format!("layers.{index}"), format!("there is no such layer; the last is {last}"))
            );
        }
        self.network_of(Some(layers))
    }

    fn network_of(&self, layers: Option<&BTreeSet<usize>>) -> Result<Network> {
        let wanted = |path: &LayerPath| layers.is_none_or(|layers| layers.contains(&path.index));
        let mut checkpoint = self.clone();
        checkpoint.load_of(&|id| matches!(id, BlobId::Layer(path, _) if wanted(path)))?;
        let spec = checkpoint.topology.spec(&|path| checkpoint.has(path))?;
        let walk = checkpoint.topology.walk();
        let weights = |(path, record): &(LayerPath, &Record)| {
            let mut weights = Weights::new();
            for stored in layer::stored(&checkpoint, path, record)? {
                let store = stored.store(path).map_err(|source| match source {
                    Error::Format { .. } => source,
                    source => Error::Layer {
                        at: spec.cells[path.index].at,
                        path: path.to_string(),
                        kind: record.kind.name(),
                        problem: Box::new(Problem::Store { role: stored.role, source: Box::new(source) }),
                    },
                })?;
                weights.insert(stored.role, store);
            }
            Ok((path.to_string(), weights))
        };
        let some: Vec<_> = walk.into_iter().filter(|(path, _)| wanted(path)).collect();
        let table: Result<Vec<_>> = some.par_iter().map(weights).collect();
        let mut table: WeightTable = table?.into_iter().filter(|(_, weights)| !weights.is_empty()).collect();
        Network::build_with(spec, &mut table, layers)
    }

    /// The stores of one layer, by role; masters are stored in their layer's dtype, Q4_0 becomes
    /// float32.
    ///
    /// # Errors
    /// As [`Checkpoint::network`]; [`Error::Format`] when no layer has the path.
    pub fn stores(&self, path: &LayerPath) -> Result<Weights> {
        let record = self.topology.find(path).ok_or_else(|| Fault::Path.at(path, "no layer has this path"))?;
        layer::stored(self, path, record)?.into_iter().map(|stored| Ok((stored.role, stored.store(path)?))).collect()
    }

    /// The same checkpoint with its weights stored in another type: what [`Network::morph`] does,
    /// for a file. Under `loom` the weights become masters, which are stored when written.
    ///
    /// # Errors
    /// [`Error::Layer`] when a weight is beyond the range of the type, and as [`Checkpoint::network`].
    pub fn morphed(&self, storage: &Storage) -> Result<Self> {
        self.morphed_at(storage, 1.0)
    }

    /// As [`Checkpoint::morphed`], by a scale of the caller's under `loom`. The original takes a
    /// scale of 1 for none and chooses one; so does this.
    ///
    /// # Errors
    /// As [`Checkpoint::morphed`].
    pub fn morphed_at(&self, storage: &Storage, scale: f32) -> Result<Self> {
        morph::at(self, storage, scale)
    }

    /// The transformer that the checkpoint describes. Sizes of its section fill in what its layers
    /// leave out, as in the original; the final norm has the epsilon of the others.
    ///
    /// # Errors
    /// [`crate::Error::Format`] when there is no transformer section, or its sizes contradict the
    /// weights; as [`Checkpoint::network`].
    pub fn transformer(&self) -> Result<Transformer> {
        transformer::of(self)
    }

    /// A blob that belongs to no layer, as one row of float32.
    ///
    /// # Errors
    /// [`crate::Error::Format`] when there is no such blob, it is one of a layer, or a weight is not finite.
    pub fn global(&self, id: &BlobId) -> Result<WeightStore> {
        transformer::global(self, id)
    }

    /// Checks that every code of every blob is a finite weight of its type, and of masters also that
    /// what will be stored of them is. Sections are read, in parallel, and not kept. Writing does
    /// not look at weights: files of the original that have such codes are written as they are.
    ///
    /// # Errors
    /// [`Error::Format`] with the fault [`Fault::NonFinite`] or [`Fault::Code`] for the first blob
    /// that has another code; as [`Checkpoint::bytes`].
    pub fn check_weights(&self) -> Result<()> {
        check::check_weights(self)
    }

    /// The number of weights in a blob; 0 when there is no such blob.
    #[must_use]
    pub fn weights(&self, id: &BlobId) -> usize {
        check::count(self, id)
    }

    /// Marks every layer as the original's training does, which takes the size from its host's
    /// caches. Nothing here reads it.
    pub fn set_tile_size(&mut self, size: usize) {
        self.topology.visit_mut(&mut |record| {
            record.set_flag(Key::UseTiling, true);
            record.set_size(Key::TileSize, size);
        });
    }

    /// What the original holds after it has loaded this checkpoint: its defaults filled in, the
    /// dtype of each blob in its layer, and what it does not read forgotten.
    #[must_use]
    pub fn as_loom(&self) -> Self {
        let mut loom = self.clone();
        for record in &mut loom.topology.layers {
            Arc::make_mut(record).filled_in();
        }
        loom.name_dtypes();
        loom
    }

    /// Puts the dtype of each blob into its layer.
    pub(super) fn name_dtypes(&mut self) {
        for (id, blob) in &self.blobs {
            let dtype = match (id, blob.coding.encoding) {
                (BlobId::Layer(_, Part::Array), Encoding::Codes(dtype, _)) => dtype,
                (BlobId::Layer(_, Part::Q4(_)), _) => Dtype::Int4,
                _ => continue,
            };
            if let BlobId::Layer(path, _) = id {
                self.topology.change(path, &mut |record| record.dtype = dtype);
            }
        }
    }

    /// The blobs of one layer, not of those inside it.
    pub(super) fn layer_blobs(&self, path: &LayerPath) -> impl Iterator<Item = (&BlobId, &Blob)> + use<'_> {
        let path = path.clone();
        let from = BlobId::Layer(path.clone(), Part::Array);
        let of = move |(id, _): &(&BlobId, &Blob)| matches!(id, BlobId::Layer(known, _) if *known == path);
        self.blobs.range(from..).take_while(of)
    }

    /// The parts of one layer.
    pub(super) fn parts(&self, path: &LayerPath) -> impl Iterator<Item = Part> + use<'_> {
        self.layer_blobs(path).filter_map(|(id, _)| match id {
            BlobId::Layer(_, part) => Some(*part),
            _ => None,
        })
    }

    /// The roles that a layer has weights for.
    fn has(&self, path: &LayerPath) -> Has {
        let Some(record) = self.topology.find(path) else { return Has::default() };
        let blob = |part| self.blobs.get(&BlobId::Layer(path.clone(), part));
        let has = |role| blob(Part::Role(role)).is_some();
        let gain = blob(Part::Role(Role::QNorm)).map(|blob| blob.gains);
        let qk_norm = match gain {
            None => QkNorm::None,
            Some(gains) if gains == record.head_width() => QkNorm::Shared,
            Some(_) => QkNorm::PerHead,
        };
        let whole = blob(Part::Array).is_some() || blob(Part::Master).is_some();
        let role = record.bias_role();
        // An array holds biases as version 1 has them, unless they stand beside it.
        let bias = if whole && !is_kept_by_bridge(record, role) {
            None
        } else {
            Some(has(role) || blob(Part::Biases).is_some())
        };
        Has { qk_norm, bias }
    }
}
