//! The fields that a payload and its layers may have, as they are written: what none of them is
//! named stays 0 or empty.

use super::slot::{Object, Slot};

/// Sizes of a payload or of a layer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the field of that name; kinds say what it means to them")]
pub struct Sizes {
    pub index: i64,
    pub input_dim: i64,
    pub output_dim: i64,
    pub input_channels: i64,
    pub in_channels: i64,
    pub filters: i64,
    pub input_length: i64,
    pub input_height: i64,
    pub input_width: i64,
    pub input_depth: i64,
    pub kernel_size: i64,
    pub stride: i64,
    pub padding: i64,
    pub seq_len: i64,
    pub height: i64,
    pub width: i64,
    pub depth: i64,
    pub d_model: i64,
    pub num_heads: i64,
    pub num_kv_heads: i64,
    pub head_dim: i64,
    pub input_size: i64,
    pub hidden_size: i64,
    pub dim: i64,
    pub vocab_size: i64,
    pub embed_dim: i64,
    pub embedding_dim: i64,
    pub intermediate_dim: i64,
}

/// A layer before its kind is known, which may be said after its arrays.
#[derive(Clone, Debug, Default, PartialEq)]
#[expect(missing_docs, reason = "each is the field of that name; kinds say what it means to them")]
pub struct Fields {
    pub kind: String,
    pub activation: String,
    pub sizes: Sizes,
    pub weights: Vec<f32>,
    pub bias: Vec<f32>,
    pub q_weights: Vec<f32>,
    pub k_weights: Vec<f32>,
    pub v_weights: Vec<f32>,
    pub o_weights: Vec<f32>,
    pub q_bias: Vec<f32>,
    pub k_bias: Vec<f32>,
    pub v_bias: Vec<f32>,
    pub o_bias: Vec<f32>,
    pub i_weights: Vec<f32>,
    pub f_weights: Vec<f32>,
    pub g_weights: Vec<f32>,
}

/// The layers of a live model.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Payload {
    /// The bedrock, where the envelope names none.
    pub bedrock: String,
    /// The planet that the model comes from.
    pub planet: String,
    /// The model's name.
    pub model_id: String,
    /// The fixture, where the envelope names none.
    pub fixture_version: String,
    /// What the network is fed, and how wide its answer is.
    pub sizes: Sizes,
    /// The layers, one after the other.
    pub layers: Vec<Fields>,
}

impl Sizes {
    fn slot(&mut self, name: &str) -> Option<&mut i64> {
        Some(match name {
            "index" => &mut self.index,
            "input_dim" => &mut self.input_dim,
            "output_dim" => &mut self.output_dim,
            "input_channels" => &mut self.input_channels,
            "in_channels" => &mut self.in_channels,
            "filters" => &mut self.filters,
            "input_length" => &mut self.input_length,
            "input_height" => &mut self.input_height,
            "input_width" => &mut self.input_width,
            "input_depth" => &mut self.input_depth,
            "kernel_size" => &mut self.kernel_size,
            "stride" => &mut self.stride,
            "padding" => &mut self.padding,
            "seq_len" => &mut self.seq_len,
            "height" => &mut self.height,
            "width" => &mut self.width,
            "depth" => &mut self.depth,
            "d_model" => &mut self.d_model,
            "num_heads" => &mut self.num_heads,
            "num_kv_heads" => &mut self.num_kv_heads,
            "head_dim" => &mut self.head_dim,
            "input_size" => &mut self.input_size,
            "hidden_size" => &mut self.hidden_size,
            "dim" => &mut self.dim,
            "vocab_size" => &mut self.vocab_size,
            "embed_dim" => &mut self.embed_dim,
            "embedding_dim" => &mut self.embedding_dim,
            "intermediate_dim" => &mut self.intermediate_dim,
            _ => return None,
        })
    }
}

impl Object for Fields {
    const WHAT: &'static str = "a layer";

    fn slot(&mut self, name: &str) -> Option<Slot<'_>> {
        Some(match name {
            "kind" => Slot::Text(&mut self.kind),
            "activation" => Slot::Text(&mut self.activation),
            "weights" => Slot::Numbers(&mut self.weights),
            "bias" => Slot::Numbers(&mut self.bias),
            "q_weights" => Slot::Numbers(&mut self.q_weights),
            "k_weights" => Slot::Numbers(&mut self.k_weights),
            "v_weights" => Slot::Numbers(&mut self.v_weights),
            "o_weights" => Slot::Numbers(&mut self.o_weights),
            "q_bias" => Slot::Numbers(&mut self.q_bias),
            "k_bias" => Slot::Numbers(&mut self.k_bias),
            "v_bias" => Slot::Numbers(&mut self.v_bias),
            "o_bias" => Slot::Numbers(&mut self.o_bias),
            "i_weights" => Slot::Numbers(&mut self.i_weights),
            "f_weights" => Slot::Numbers(&mut self.f_weights),
            "g_weights" => Slot::Numbers(&mut self.g_weights),
            _ => return self.sizes.slot(name).map(Slot::Size),
        })
    }
}

impl Object for Payload {
    const WHAT: &'static str = "a layer stream";

    fn slot(&mut self, name: &str) -> Option<Slot<'_>> {
        Some(match name {
            "bedrock" => Slot::Text(&mut self.bedrock),
            "planet" => Slot::Text(&mut self.planet),
            "model_id" => Slot::Text(&mut self.model_id),
            "fixture_version" => Slot::Text(&mut self.fixture_version),
            "layers" => Slot::Layers(&mut self.layers),
            _ => return self.sizes.slot(name).map(Slot::Size),
        })
    }
}
