//! Blobs: the bytes of a checkpoint, what they are for, and how they become weights.

#![forbid(unsafe_code)]

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use super::path::LayerPath;
use super::source::Section;
use crate::dtype::{Affine, Dtype, Numerics};
use crate::error::Result;
use crate::layers::LayerKind;
use crate::role::Role;
use crate::store::{Scales, WeightStore};

/// What the bytes of a blob are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// Packed codes of a dtype.
    Codes(Dtype, Numerics),
    /// Blocks of 32 four-bit codes with a scale each.
    Q4_0,
}

impl fmt::Display for Encoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Encoding::Codes(dtype, _) => dtype.fmt(f),
            Encoding::Q4_0 => f.write_str("Q4_0"),
        }
    }
}

/// How the bytes of a blob become weights.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Coding {
    /// What the bytes are.
    pub encoding: Encoding,
    /// The scale of the whole blob; 0 where a file has none.
    pub scale: f32,
    /// The code of weight 0.
    pub zero_point: u64,
}

impl Coding {
    /// Plain float32.
    pub(super) const F32: Coding =
        Coding { encoding: Encoding::Codes(Dtype::Float32, Numerics::Loom), scale: 1.0, zero_point: 0 };

    pub(super) fn loom(dtype: Dtype, scale: f32) -> Self {
        let affine = dtype.affine(Numerics::Loom, scale);
        Self { encoding: Encoding::Codes(dtype, Numerics::Loom), scale, zero_point: affine.zero_point }
    }

    pub(super) fn of_store(store: &WeightStore) -> Self {
        let Scales::Tensor(Affine { scale, zero_point }) = store.scales();
        Self { encoding: Encoding::Codes(store.dtype(), store.numerics()), scale, zero_point }
    }

    pub(super) fn affine(&self) -> Affine {
        Affine { scale: self.scale, zero_point: self.zero_point }
    }
}

/// What a blob is for its layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// All weights of the layer, as version 1 and JSON have them.
    Array,
    /// The same as float32, to be stored in the layer's dtype.
    Master,
    /// A matrix of a transformer, by the original's key.
    Q4(u32),
    /// The biases beside such matrices, float32.
    Biases,
    /// One role.
    Role(Role),
}

/// What a blob is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BlobId {
    /// Weights of a layer.
    Layer(LayerPath, Part),
    /// The embeddings of a transformer.
    Embeddings,
    /// Its head.
    LmHead,
    /// Its final norm.
    FinalNorm,
}

impl fmt::Display for BlobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BlobId::Layer(path, Part::Array | Part::Master) => path.fmt(f),
            BlobId::Layer(path, Part::Q4(key)) => write!(f, "{path}.q4_0.{key}"),
            BlobId::Layer(path, Part::Biases) => write!(f, "{path}.biases"),
            BlobId::Layer(path, Part::Role(role)) => write!(f, "{path}.{role}"),
            BlobId::Embeddings => f.write_str("transformer.embeddings"),
            BlobId::LmHead => f.write_str("transformer.lm_head"),
            BlobId::FinalNorm => f.write_str("transformer.final_norm"),
        }
    }
}

/// The matrices of a transformer that Q4_0 packs, by the original's keys.
pub(super) const Q4_KEYS: [(u32, LayerKind, Role); 7] = [
    (100, LayerKind::SwiGlu, Role::GateWeight),
    (101, LayerKind::SwiGlu, Role::UpWeight),
    (102, LayerKind::SwiGlu, Role::DownWeight),
    (200, LayerKind::Mha, Role::QWeight),
    (201, LayerKind::Mha, Role::KWeight),
    (202, LayerKind::Mha, Role::VWeight),
    (203, LayerKind::Mha, Role::OWeight),
];

/// One blob: how it is coded, and where its bytes are.
#[derive(Clone, Debug)]
pub struct Blob {
    pub(super) coding: Coding,
    pub(super) section: Arc<Section>,
    /// Its bytes among those of the section.
    pub(super) range: Range<usize>,
    /// Its weights where they do not follow from the layer: the gains of queries and keys, one
    /// for all heads or one for each.
    pub(super) gains: usize,
}

impl Blob {
    pub(super) fn memory(coding: Coding, bytes: Bytes) -> Self {
        let range = 0..bytes.len();
        Self { coding, section: Arc::new(Section::memory(bytes)), range, gains: 0 }
    }

    pub(super) fn of_store(role: Role, store: &WeightStore) -> Self {
        let gains = if role.is_outside_array() { store.len() } else { 0 };
        Self { gains, ..Self::memory(Coding::of_store(store), store.shared_bytes()) }
    }

    /// How it is coded.
    #[must_use]
    pub fn coding(&self) -> Coding {
        self.coding
    }

    /// The number of its bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.range.len()
    }

    /// Whether it has no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.range.is_empty()
    }

    pub(super) fn read(&self, id: &BlobId) -> Result<Bytes> {
        Ok(self.section.read(id)?.slice(self.range.clone()))
    }
}
