//! One layer of a checkpoint's topology, as files have it: every key that the original's two
//! dialects know, and those that only version 2 has.
//!
//! A record holds what a file says, whether or not the layer's kind uses it, so that nothing is
//! lost between reading and writing. [`super::topology`] makes a [`crate::LayerSpec`] of it.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::sync::Arc;

use super::path::Step;
use crate::dtype::Dtype;
use crate::layers::{Activation, LayerKind};

/// How the value of a key looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    Int,
    Float,
    Bool,
    Text,
    Ints,
    Bools,
    Layer,
    Layers,
    Rules,
}

macro_rules! keys {
    ($($variant:ident $name:literal $id:literal $shape:ident $since:literal,)*) => {
        /// A key of a layer's record beside its position, type, activation and dtype. The
        /// discriminant is its id in version 2, and the order that version 1 writes keys in.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Key { $(#[doc = concat!("`", $name, "`")] $variant = $id,)* }

        impl Key {
            /// Every key, by id.
            pub const ALL: &'static [Key] = &[$(Key::$variant,)*];

            /// The name in JSON.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Key::$variant => $name,)* }
            }

            pub(crate) fn shape(self) -> Shape {
                match self { $(Key::$variant => Shape::$shape,)* }
            }

            /// The first version of the format that has it.
            pub(crate) fn since(self) -> u16 {
                match self { $(Key::$variant => $since,)* }
            }
        }
    };
}

keys! {
    InputHeight "input_height" 1 Int 1,
    InputWidth "input_width" 2 Int 1,
    InputDepth "input_depth" 3 Int 1,
    OutputHeight "output_height" 4 Int 1,
    OutputWidth "output_width" 5 Int 1,
    OutputDepth "output_depth" 6 Int 1,
    InputChannels "input_channels" 7 Int 1,
    Filters "filters" 8 Int 1,
    KernelSize "kernel_size" 9 Int 1,
    Stride "stride" 10 Int 1,
    Padding "padding" 11 Int 1,
    OutputPadding "output_padding" 12 Int 1,
    NumHeads "num_heads" 13 Int 1,
    NumKvHeads "num_kv_heads" 14 Int 1,
    HeadDim "head_dim" 15 Int 1,
    QueryDim "query_dim" 16 Int 1,
    DModel "d_model" 17 Int 1,
    SeqLength "seq_length" 18 Int 1,
    RopeFreqBase "rope_freq_base" 19 Float 1,
    VocabSize "vocab_size" 20 Int 1,
    EmbeddingDim "embedding_dim" 21 Int 1,
    NumClusters "num_clusters" 22 Int 1,
    KmeansTemperature "kmeans_temperature" 23 Float 1,
    OutputMode "output_mode" 24 Text 1,
    SoftmaxType "softmax_type" 25 Text 1,
    Temperature "temperature" 26 Float 1,
    SoftmaxRows "softmax_rows" 27 Int 1,
    SoftmaxCols "softmax_cols" 28 Int 1,
    EntmaxAlpha "entmax_alpha" 29 Float 1,
    GumbelNoise "gumbel_noise" 30 Bool 1,
    ParallelBranches "parallel_branches" 31 Layers 1,
    CombineMode "combine_mode" 32 Text 1,
    SequentialLayers "sequential_layers" 33 Layers 1,
    UseTiling "use_tiling" 34 Bool 1,
    TileSize "tile_size" 35 Int 1,
    IsDisabled "is_disabled" 36 Bool 1,
    MetaRules "meta_rules" 37 Rules 1,
    MetaObservedLayer "meta_observed_layer" 38 Layer 1,
    Eps "eps" 64 Float 2,
    Window "window" 65 Int 2,
    Bidirectional "bidirectional" 66 Bool 2,
    NoRope "no_rope" 67 Bool 2,
    SoftmaxOverRows "softmax_over_rows" 68 Bool 2,
    Seed "seed" 69 Ints 2,
    Mask "mask" 70 Bools 2,
    HierarchyLevels "hierarchy_levels" 71 Ints 2,
    FilterGate "filter_gate" 72 Layer 2,
    IsRemoteLink "is_remote_link" 73 Bool 2,
    TargetZ "target_z" 74 Int 2,
    TargetY "target_y" 75 Int 2,
    TargetX "target_x" 76 Int 2,
    TargetL "target_l" 77 Int 2,
    ReadsInput "reads_input" 78 Int 2,
    AddsInput "adds_input" 79 Int 2,
    Configuration "configuration" 80 Text 2,
    CombineAxis "combine_axis" 81 Int 2,
    CombineProduct "combine_product" 82 Bool 2,
}

impl Key {
    /// The key of an id.
    pub(crate) fn find(id: u64) -> Option<Key> {
        Key::ALL.iter().copied().find(|&key| key as u64 == id)
    }
}

/// The value of a key. A value of version 1 that its files leave out (0, false, empty) is never held.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Int(i64),
    Float(f64),
    /// True.
    Set,
    Text(Arc<str>),
    Ints(Vec<u64>),
    Bools(Vec<bool>),
    Layer(Box<Record>),
    Layers(Vec<Record>),
    Rules(Vec<RuleRecord>),
}

impl Value {
    /// Whether files leave it out.
    fn is_default(&self) -> bool {
        match self {
            Value::Int(v) => *v == 0,
            Value::Float(v) => *v == 0.0,
            Value::Set | Value::Layer(_) => false,
            Value::Text(v) => v.is_empty(),
            Value::Ints(v) => v.is_empty(),
            Value::Bools(v) => v.is_empty(),
            Value::Layers(v) => v.is_empty(),
            Value::Rules(v) => v.is_empty(),
        }
    }
}

/// A metacognition rule as files have it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct RuleRecord {
    pub(crate) condition: i64,
    pub(crate) threshold: f64,
    pub(crate) command: f32,
    pub(crate) param: f32,
    pub(crate) cooldown: i64,
    pub(crate) self_only: bool,
}

/// One layer as a file describes it.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// z, y, x, l as a layer inside another has them, mostly zeros. Those of the grid have none
    /// here: theirs follow from their index.
    pub(crate) at: [i64; 4],
    pub(crate) kind: LayerKind,
    pub(crate) activation: Activation,
    pub(crate) dtype: Dtype,
    /// By key, ascending.
    fields: Vec<(Key, Value)>,
}

impl Record {
    pub(crate) fn new(kind: LayerKind, activation: Activation) -> Self {
        let mut record = Self { at: [0; 4], kind, activation, dtype: Dtype::Float32, fields: Vec::new() };
        record.set_text(Key::SoftmaxType, "Standard");
        record
    }

    /// What the original puts in a place of the grid that a document does not mention.
    pub(crate) fn untouched() -> Self {
        Self::new(LayerKind::Dense, Activation::Relu)
    }

    /// The kind of layer.
    #[must_use]
    pub fn kind(&self) -> LayerKind {
        self.kind
    }

    /// The dtype that the record names, which is not always that of the stored weights.
    #[must_use]
    pub fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// The activation.
    #[must_use]
    pub fn activation(&self) -> Activation {
        self.activation
    }

    /// What the record says beside kind, activation and dtype, without the layers inside: keys
    /// and values in words, in the order of files.
    #[must_use]
    pub fn settings(&self) -> Vec<(&'static str, String)> {
        let text = |value: &Value| {
            Some(match value {
                Value::Int(v) => v.to_string(),
                Value::Float(v) => v.to_string(),
                Value::Set => "true".into(),
                Value::Text(v) => v.to_string(),
                Value::Ints(v) => format!("{v:?}"),
                Value::Bools(v) => format!("{v:?}"),
                Value::Rules(v) => format!("{} rules", v.len()),
                Value::Layer(_) | Value::Layers(_) => return None,
            })
        };
        self.fields.iter().filter_map(|(key, value)| Some((key.name(), text(value)?))).collect()
    }

    /// What two records say differently, without the layers inside: the key, and what each says in
    /// words, nothing where it says nothing.
    #[must_use]
    pub fn differences(&self, other: &Record) -> Vec<(&'static str, String, String)> {
        let told = |record: &Record| -> BTreeMap<&'static str, String> {
            let mut told: BTreeMap<_, _> = record.settings().into_iter().collect();
            if let Some(Value::Rules(rules)) = record.get(Key::MetaRules) {
                told.insert(Key::MetaRules.name(), format!("{rules:?}"));
            }
            told.insert("type", kind_name(record.kind).into());
            told.insert("activation", activation_name(record.activation).into());
            told.insert("dtype", record.dtype.name().into());
            if record.at != [0; 4] {
                told.insert("position", format!("{:?}", record.at));
            }
            told
        };
        let (left, mut right) = (told(self), told(other));
        let mut found = Vec::new();
        for (key, a) in left {
            let b = right.remove(key).unwrap_or_default();
            if a != b {
                found.push((key, a, b));
            }
        }
        found.extend(right.into_iter().map(|(key, b)| (key, String::new(), b)));
        found
    }

    pub(crate) fn fields(&self) -> &[(Key, Value)] {
        &self.fields
    }

    pub(crate) fn get(&self, key: Key) -> Option<&Value> {
        self.fields.binary_search_by_key(&key, |(key, _)| *key).ok().map(|i| &self.fields[i].1)
    }

    pub(crate) fn has(&self, key: Key) -> bool {
        self.get(key).is_some()
    }

    /// Sets a key, or removes it where the value is one that files of version 1 leave out.
    pub(crate) fn set(&mut self, key: Key, value: Value) {
        let left_out = key.since() == 1 && value.is_default();
        match (self.fields.binary_search_by_key(&key, |(key, _)| *key), left_out) {
            (Ok(i), true) => {
                self.fields.remove(i);
            }
            (Ok(i), false) => self.fields[i].1 = value,
            (Err(_), true) => {}
            (Err(i), false) => self.fields.insert(i, (key, value)),
        }
    }

    pub(crate) fn remove(&mut self, key: Key) {
        self.fields.retain(|(known, _)| *known != key);
    }

    /// The integer of a key, as the file has it; 0 when absent.
    pub(crate) fn raw(&self, key: Key) -> i64 {
        match self.get(key) {
            Some(Value::Int(v)) => *v,
            _ => 0,
        }
    }

    /// The size of a key; 0 when absent or negative.
    pub(crate) fn size(&self, key: Key) -> usize {
        usize::try_from(self.raw(key)).unwrap_or(0)
    }

    pub(crate) fn float(&self, key: Key) -> f64 {
        match self.get(key) {
            Some(Value::Float(v)) => *v,
            _ => 0.0,
        }
    }

    pub(crate) fn text(&self, key: Key) -> &str {
        match self.get(key) {
            Some(Value::Text(v)) => v,
            _ => "",
        }
    }

    pub(crate) fn set_size(&mut self, key: Key, size: usize) {
        self.set(key, Value::Int(i64::try_from(size).unwrap_or(i64::MAX)));
    }

    pub(crate) fn set_float(&mut self, key: Key, value: f64) {
        self.set(key, Value::Float(value));
    }

    pub(crate) fn set_text(&mut self, key: Key, text: &str) {
        self.set(key, Value::Text(text.into()));
    }

    pub(crate) fn set_flag(&mut self, key: Key, on: bool) {
        if on { self.set(key, Value::Set) } else { self.remove(key) }
    }

    /// The layers inside, in the order of files, each with the last part of its path.
    pub(crate) fn children(&self) -> impl Iterator<Item = (Step, &Record)> {
        self.fields.iter().flat_map(|(key, value)| {
            let layers: &[Record] = match value {
                Value::Layers(layers) => layers,
                Value::Layer(layer) => std::slice::from_ref(layer),
                _ => &[],
            };
            layers.iter().enumerate().filter_map(|(i, layer)| Some((Step::of(*key, i)?, layer)))
        })
    }

    /// The layer inside that a step leads to.
    pub(crate) fn child(&self, step: Step) -> Option<&Record> {
        let (key, index) = step.place();
        match self.get(key)? {
            Value::Layers(layers) => layers.get(index),
            Value::Layer(layer) => Some(layer),
            _ => None,
        }
    }

    pub(crate) fn child_mut(&mut self, step: Step) -> Option<&mut Record> {
        let (key, index) = step.place();
        let field = self.fields.iter_mut().find(|(known, _)| *known == key);
        match &mut field?.1 {
            Value::Layers(layers) => layers.get_mut(index),
            Value::Layer(layer) => Some(layer),
            _ => None,
        }
    }

    /// Changes this record and every one inside, outer ones first.
    pub(crate) fn visit_mut(&mut self, change: &mut dyn FnMut(&mut Record)) {
        change(self);
        for (_, value) in &mut self.fields {
            match value {
                Value::Layers(layers) => layers.iter_mut().for_each(|layer| layer.visit_mut(change)),
                Value::Layer(layer) => layer.visit_mut(change),
                _ => {}
            }
        }
    }

    /// What the original makes of the record when it loads it: its defaults are filled in, and
    /// what it does not read is gone.
    pub(crate) fn filled_in(&mut self) {
        self.visit_mut(&mut |record| {
            if record.raw(Key::SeqLength) <= 0 {
                record.set_size(Key::SeqLength, 1);
            }
            if record.activation == Activation::Relu2 {
                record.activation = Activation::Linear;
            }
            if record.kind == LayerKind::Mha {
                let (heads, model) = (record.raw(Key::NumHeads), record.raw(Key::DModel));
                if record.raw(Key::HeadDim) == 0 && heads > 0 {
                    record.set(Key::HeadDim, Value::Int(model / heads));
                }
                if record.raw(Key::NumKvHeads) == 0 {
                    record.set(Key::NumKvHeads, Value::Int(heads));
                }
            }
        });
        for (_, child) in &mut self.fields {
            match child {
                Value::Layers(layers) => layers.iter_mut().for_each(|l| l.visit_mut(&mut |l| l.at = [0; 4])),
                Value::Layer(layer) => layer.visit_mut(&mut |layer| layer.at = [0; 4]),
                _ => {}
            }
        }
    }
}

/// The activations that records know, with their names, in the order of their codes. Others stand in
/// [`Key::Configuration`].
pub(crate) const ACTIVATIONS: [(Activation, &str); 8] = [
    (Activation::Relu, "ReLU"),
    (Activation::Silu, "Silu"),
    (Activation::Gelu, "GELU"),
    (Activation::Tanh, "Tanh"),
    (Activation::Sigmoid, "Sigmoid"),
    (Activation::LEAKY_RELU, "LeakyReLU"),
    (Activation::Relu2, "ReLU2"),
    (Activation::Linear, "Linear"),
];

/// The name that files have for an activation, or ours where records do not know it.
#[must_use]
pub fn activation_name(activation: Activation) -> &'static str {
    let known = ACTIVATIONS.iter().find(|(known, _)| *known == activation);
    known.map_or(activation.name(), |(_, name)| name)
}

/// The code that files have for an activation: its place among [`ACTIVATIONS`], which a record's always has.
pub(crate) fn activation_code(activation: Activation) -> u8 {
    let code = ACTIVATIONS.iter().position(|(known, _)| *known == activation);
    code.unwrap_or(ACTIVATIONS.len() - 1) as u8
}

/// The names of softmax variants, in the order of their codes.
pub(crate) const SOFTMAXES: [&str; 10] =
    ["Standard", "Grid", "Hierarchical", "Temperature", "Gumbel", "Masked", "Sparse", "Adaptive", "Mixture", "Entmax"];

/// The name that files have for a kind.
#[must_use]
pub fn kind_name(kind: LayerKind) -> &'static str {
    kind.file_name()
}

/// The kind of the original that a name means, in any letter case.
pub(crate) fn find_kind(name: &str) -> Option<LayerKind> {
    const ALIASES: [(LayerKind, &str); 3] =
        [(LayerKind::Mha, "MHA"), (LayerKind::Mha, "ATTENTION"), (LayerKind::Metacognition, "META")];
    let originals = LayerKind::ALL.iter().filter(|kind| kind.is_original());
    let mut known = originals.map(|kind| (*kind, kind_name(*kind))).chain(ALIASES);
    known.find(|(_, known)| known.eq_ignore_ascii_case(name)).map(|(kind, _)| kind)
}

/// The activation of a name, in any letter case; no name means none.
pub(crate) fn find_activation(name: &str) -> Option<Activation> {
    const ALIASES: [(Activation, &str); 2] = [(Activation::LEAKY_RELU, "LEAKY_RELU"), (Activation::Linear, "")];
    let mut known = ACTIVATIONS.into_iter().chain(ALIASES);
    known.find(|(_, known)| known.eq_ignore_ascii_case(name)).map(|(activation, _)| activation)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_and_activation_has_a_name_and_a_code_of_its_own() {
        for (i, kind) in LayerKind::ALL.iter().enumerate() {
            assert_eq!(
                (find_kind(kind_name(*kind)), *kind as usize),
                (Some(*kind).filter(|kind| kind.is_original()), i)
            );
        }
        for (i, (activation, name)) in ACTIVATIONS.into_iter().enumerate() {
            assert_eq!((find_activation(name), activation_code(activation)), (Some(activation), i as u8));
            assert_eq!(activation_name(activation), name);
        }
    }

    #[test]
    fn every_key_has_an_id_of_its_own() {
        let ids: std::collections::BTreeSet<u64> = Key::ALL.iter().map(|key| *key as u64).collect();
        let names: std::collections::BTreeSet<&str> = Key::ALL.iter().map(|key| key.name()).collect();
        assert_eq!([ids.len(), names.len()], [Key::ALL.len(); 2]);
    }
}
