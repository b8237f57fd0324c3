//! The transformer section: a stack of decoder blocks between embeddings and a head.
//!
//! The grid holds four layers for each block (norm, attention, norm, feed-forward) and says
//! nothing of the skips between them: `x += attention(norm(x))`, then `x += ffn(norm(x))`. Source:
//! `entity.md` section 7, `lucy.md` B5.

#![forbid(unsafe_code)]

use super::blob::BlobId;
use super::check;
use super::checkpoint::Checkpoint;
use super::fault::{Fault, ensure};
use super::path::LayerPath;
use super::record::{Key, Record, Shape, Value};
use crate::dtype::Dtype;
use crate::error::Result;
use crate::layers::{ChildSpec, LayerKind, LayerSpec, ResidualSpec, RmsNormSpec, SequentialSpec};
use crate::network::{Network, NetworkSpec};
use crate::role::Role;
use crate::store::{WeightStore, WeightTable, Weights};

macro_rules! sections {
    ($(#[$doc:meta])* $name:ident { $($field:ident $shape:ident $required:literal $field_doc:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Default, PartialEq)]
        pub struct $name { $(#[doc = $field_doc] pub $field: sections!(@type $shape),)* }

        impl $name {
            /// Names, shapes, and whether files always have the key.
            pub(super) const KEYS: &'static [(&'static str, Shape, bool)] =
                &[$((stringify!($field), Shape::$shape, $required),)*];

            pub(super) fn values(&self) -> Vec<Option<Value>> {
                vec![$(sections!(@value self.$field, $shape),)*]
            }

            pub(super) fn set(&mut self, index: usize, value: Value) {
                let mut at = 0..;
                $(if at.next() == Some(index) { sections!(@set self.$field, value, $shape) })*
            }
        }
    };
    (@type Int) => { u64 };
    (@type Float) => { f64 };
    (@type Bool) => { bool };
    (@type Text) => { String };
    (@value $field:expr, Int) => { Some(Value::Int(i64::try_from($field).unwrap_or(i64::MAX))).filter(|_| $field != 0) };
    (@value $field:expr, Float) => { Some(Value::Float($field)).filter(|_| $field != 0.0) };
    (@value $field:expr, Bool) => { $field.then_some(Value::Set) };
    (@value $field:expr, Text) => { Some(Value::Text($field.as_str().into())).filter(|_| !$field.is_empty()) };
    (@set $field:expr, $value:ident, Int) => { if let Value::Int(v) = &$value { $field = u64::try_from(*v).unwrap_or(0) } };
    (@set $field:expr, $value:ident, Float) => { if let Value::Float(v) = &$value { $field = *v } };
    (@set $field:expr, $value:ident, Bool) => { $field = matches!(&$value, Value::Set) };
    (@set $field:expr, $value:ident, Text) => { if let Value::Text(v) = &$value { $field = v.to_string() } };
}

sections! {
    /// What a transformer section says, beside its sizes.
    Decoder {
        architecture Text true "For example `llama_style_decoder`.",
        hidden_size Int true "Features of a position.",
        vocab_size Int true "Rows of the embeddings.",
        lm_head_tied Bool false "Whether the head is the embeddings.",
        has_final_norm Bool false "Whether a norm follows the last block.",
        weight_dtype Text false "The type that the matrices were stored in.",
    }
}

sections! {
    /// The sizes of a transformer.
    Dims {
        num_layers Int true "Blocks.",
        num_heads Int true "Query heads.",
        num_kv_heads Int true "Key/value heads.",
        head_dim Int true "Features of a head.",
        query_dim Int false "Features of all query heads; 0 means heads times `head_dim`.",
        kv_dim Int false "Features of all key/value heads; 0 means heads times `head_dim`.",
        intermediate_size Int true "Features between the projections of the feed-forward block.",
        rms_norm_eps Float false "Epsilon of the norms.",
        rope_freq_base Float false "Base of the rotation frequencies.",
        activation Text false "For example `Silu`.",
    }
}

impl Decoder {
    /// What the section says, sizes included, in words: keys and values in the order of files.
    #[must_use]
    pub fn settings(&self, dims: Option<&Dims>) -> Vec<(String, String)> {
        let words = |value: Option<Value>| match value {
            Some(Value::Int(v)) => v.to_string(),
            Some(Value::Float(v)) => v.to_string(),
            Some(Value::Text(v)) => v.to_string(),
            Some(_) => "true".into(),
            None => String::new(),
        };
        let own = Self::KEYS.iter().zip(self.values()).map(|((name, ..), value)| ((*name).to_string(), words(value)));
        let of_dims = dims.map(|dims| Dims::KEYS.iter().zip(dims.values()));
        let sizes = of_dims.into_iter().flatten().map(|((name, ..), value)| (format!("dims.{name}"), words(value)));
        own.chain(dims.map(|_| ("dims".to_string(), "there".to_string()))).chain(sizes).collect()
    }
}

/// Layers of a block.
const BLOCK: [LayerKind; 4] = [LayerKind::RmsNorm, LayerKind::Mha, LayerKind::RmsNorm, LayerKind::SwiGlu];

/// A transformer as a checkpoint describes it.
#[derive(Clone, Debug)]
pub struct Transformer {
    decoder: Network,
    embeddings: WeightStore,
    head: Option<WeightStore>,
    final_norm: Option<WeightStore>,
}

impl Transformer {
    /// Rows of features `[positions, hidden]` to rows of features, the final norm included.
    #[must_use]
    pub fn decoder(&self) -> &Network {
        &self.decoder
    }

    /// The embeddings `[vocab, hidden]`.
    #[must_use]
    pub fn embeddings(&self) -> &WeightStore {
        &self.embeddings
    }

    /// The head `[vocab, hidden]`: the embeddings where the two are tied.
    #[must_use]
    pub fn head(&self) -> &WeightStore {
        self.head.as_ref().unwrap_or(&self.embeddings)
    }

    /// The gain of the final norm `[hidden]`, where there is one.
    #[must_use]
    pub fn final_norm(&self) -> Option<&WeightStore> {
        self.final_norm.as_ref()
    }
}

fn plain(id: &BlobId, shape: Vec<usize>, bytes: bytes::Bytes) -> Result<WeightStore> {
    WeightStore::plain(Dtype::Float32, shape, bytes).map_err(|e| Fault::of_weights(id, e))
}

/// As [`Checkpoint::transformer`].
pub(super) fn of(checkpoint: &Checkpoint) -> Result<Transformer> {
    let missing = || Fault::Missing.at("transformer", "the checkpoint has no transformer section");
    let (section, dims) = checkpoint.decoder().ok_or_else(missing)?;
    let hidden = usize::try_from(section.hidden_size).unwrap_or(0);
    let table = |id: BlobId| -> Result<WeightStore> {
        let bytes = checkpoint.bytes(&id)?;
        let n = bytes.len() / 4;
        let rows = n.checked_div(hidden).unwrap_or(0);
        ensure(hidden > 0 && rows * hidden == n && rows as u64 == section.vocab_size, || {
            let (vocab, hidden) = (section.vocab_size, section.hidden_size);
            Fault::Length.at(&id, format!("{n} numbers where vocab_size {vocab} times hidden_size {hidden} are needed"))
        })?;
        plain(&id, vec![rows, hidden], bytes)
    };
    let embeddings = table(BlobId::Embeddings)?;
    let head = if section.lm_head_tied { None } else { Some(table(BlobId::LmHead)?) };
    let final_norm = match section.has_final_norm {
        false => None,
        true => {
            let bytes = checkpoint.bytes(&BlobId::FinalNorm)?;
            ensure(bytes.len() == 4 * hidden, || {
                Fault::Length.at(BlobId::FinalNorm, format!("{} bytes for {hidden} gains", bytes.len()))
            })?;
            Some(plain(&BlobId::FinalNorm, vec![hidden], bytes)?)
        }
    };
    let sized = with_sizes(checkpoint, dims);
    // Other sizes need other blobs.
    check::check_index(&sized)?;
    let decoder = stack(&sized, dims, final_norm.as_ref())?;
    Ok(Transformer { decoder, embeddings, head, final_norm })
}

/// As [`Checkpoint::global`].
pub(super) fn global(checkpoint: &Checkpoint, id: &BlobId) -> Result<WeightStore> {
    let of_layer = matches!(id, BlobId::Layer(..));
    ensure(!of_layer, || Fault::Path.at(id, "belongs to a layer; ask for the stores of that layer"))?;
    let bytes = checkpoint.bytes(id)?;
    plain(id, vec![bytes.len() / 4], bytes)
}

/// The checkpoint with what the section says of its layers.
fn with_sizes(checkpoint: &Checkpoint, dims: Option<&Dims>) -> Checkpoint {
    let mut sized = checkpoint.clone();
    let Some(dims) = dims else { return sized };
    let query = match dims.query_dim {
        0 => dims.num_heads.saturating_mul(dims.head_dim),
        query => query,
    };
    sized.topology.visit_mut(&mut |record: &mut Record| {
        match record.kind {
            LayerKind::Mha => {
                if record.raw(Key::QueryDim) == 0 {
                    record.set_size(Key::QueryDim, usize::try_from(query).unwrap_or(0));
                }
                if !record.has(Key::RopeFreqBase) {
                    record.set_float(Key::RopeFreqBase, dims.rope_freq_base);
                }
                // Positions come from the input, so that a cache can go on.
                record.remove(Key::SeqLength);
            }
            LayerKind::RmsNorm if dims.rms_norm_eps != 0.0 && !record.has(Key::Eps) => {
                record.set_float(Key::Eps, dims.rms_norm_eps);
            }
            _ => {}
        }
    });
    sized
}

/// The blocks with their skips, and the final norm.
fn stack(checkpoint: &Checkpoint, dims: Option<&Dims>, final_norm: Option<&WeightStore>) -> Result<Network> {
    let layers = checkpoint.topology.layers();
    let expected = BLOCK.iter().cycle().take(layers.len());
    ensure(
        layers.len().is_multiple_of(BLOCK.len()) && layers.iter().map(|layer| layer.kind()).eq(expected.copied()),
        || Fault::Config.at("transformer", "its layers are not blocks of RMSNorm, MultiHeadAttention, RMSNorm, SwiGLU"),
    )?;
    let plain = checkpoint.network()?;
    let mut steps = Vec::new();
    let mut table = WeightTable::new();
    let residual = || ChildSpec::from(LayerSpec::Residual(ResidualSpec::default()));
    let layers: Vec<_> = plain.layers().collect();
    for (i, pair) in layers.chunks_exact(2).enumerate() {
        let inner = SequentialSpec { steps: pair.iter().map(|layer| layer.spec().clone().into()).collect() };
        let inner = ChildSpec::from(LayerSpec::Sequential(inner));
        steps.push(LayerSpec::Sequential(SequentialSpec { steps: vec![inner, residual()] }));
        for (j, layer) in pair.iter().enumerate() {
            let path = format!("{}.sequential_layers.0.sequential_layers.{j}", LayerPath::top(i));
            table.insert(path, layer.weights().clone());
        }
    }
    if let Some(gain) = final_norm {
        let eps = dims.map_or(0.0, |dims| dims.rms_norm_eps);
        let eps = if eps == 0.0 { 1e-6 } else { eps };
        table.insert(LayerPath::top(steps.len()).to_string(), Weights::from([(Role::Gamma, gain.clone())]));
        steps.push(LayerSpec::RmsNorm(RmsNormSpec { dim: gain.len(), eps, unit_offset: false }));
    }
    Network::build(NetworkSpec::stack(steps), &mut table)
}
