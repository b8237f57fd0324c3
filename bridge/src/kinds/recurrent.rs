use loom_core::layers::{LstmSpec, RnnSpec};
use loom_core::{Activation, LayerSpec, RoleShape};

use super::{Layer, Link};
use crate::error::{At, Error};
use crate::request::{Fields, Sizes};

/// The sizes of a recurrent layer.
struct Extents {
    input_size: i64,
    hidden_size: i64,
    seq_len: i64,
}

/// An Elman layer: its one array is packed as a gate of an LSTM.
pub(super) struct Rnn {
    extents: Extents,
    weights: Vec<f32>,
}

/// An LSTM; each gate is `W_ih`, then `W_hh`, then the bias.
pub(super) struct Lstm {
    extents: Extents,
    i_weights: Vec<f32>,
    f_weights: Vec<f32>,
    g_weights: Vec<f32>,
    o_weights: Vec<f32>,
}

impl Extents {
    fn links(&self) -> Vec<Link> {
        vec![
            Link::same("input_size", self.input_size),
            Link::same("hidden_size", self.hidden_size),
            Link::same("seq_len", self.seq_len),
        ]
    }

    fn checked(&self, at: At) -> Result<[usize; 3], Error> {
        Ok([
            at.size("input_size", self.input_size)?,
            at.size("hidden_size", self.hidden_size)?,
            at.size("seq_len", self.seq_len)?,
        ])
    }
}

impl From<Sizes> for Extents {
    fn from(Sizes { input_size, hidden_size, seq_len, .. }: Sizes) -> Self {
        Self { input_size, hidden_size, seq_len }
    }
}

impl From<Fields> for Rnn {
    fn from(Fields { sizes, weights, .. }: Fields) -> Self {
        Self { extents: sizes.into(), weights }
    }
}

impl From<Fields> for Lstm {
    fn from(Fields { sizes, i_weights, f_weights, g_weights, o_weights, .. }: Fields) -> Self {
        Self { extents: sizes.into(), i_weights, f_weights, g_weights, o_weights }
    }
}

impl Layer for Rnn {
    fn links(&self) -> Vec<Link> {
        self.extents.links()
    }

    fn spec(&self, at: At) -> Result<LayerSpec, Error> {
        let [input_size, hidden_size, seq_length] = self.extents.checked(at)?;
        Ok(LayerSpec::Rnn(RnnSpec { input_size, hidden_size, seq_length, activation: Activation::Tanh, bias: true }))
    }

    fn arrays(self: Box<Self>, at: At, roles: &[RoleShape]) -> Result<Vec<Vec<f32>>, Error> {
        at.gates(roles, [("weights", self.weights)])
    }
}

impl Layer for Lstm {
    fn links(&self) -> Vec<Link> {
        self.extents.links()
    }

    fn spec(&self, at: At) -> Result<LayerSpec, Error> {
        let [input_size, hidden_size, seq_length] = self.extents.checked(at)?;
        Ok(LayerSpec::Lstm(LstmSpec { input_size, hidden_size, seq_length, bias: true }))
    }

    fn arrays(self: Box<Self>, at: At, roles: &[RoleShape]) -> Result<Vec<Vec<f32>>, Error> {
        let Self { i_weights, f_weights, g_weights, o_weights, .. } = *self;
        let gates =
            [("i_weights", i_weights), ("f_weights", f_weights), ("g_weights", g_weights), ("o_weights", o_weights)];
        at.gates(roles, gates)
    }
}
