use loom_core::layers::SwiGluSpec;
use loom_core::{LayerSpec, RoleShape};

use super::{Layer, Link};
use crate::error::{At, Error};
use crate::request::Fields;

/// A gated feed-forward block: gate, up and down matrices, then their shifts.
pub(super) struct SwiGlu {
    input_dim: i64,
    intermediate_dim: i64,
    weights: Vec<f32>,
}

impl From<Fields> for SwiGlu {
    fn from(Fields { sizes, weights, .. }: Fields) -> Self {
        Self { input_dim: sizes.input_dim, intermediate_dim: sizes.intermediate_dim, weights }
    }
}

impl Layer for SwiGlu {
    fn links(&self) -> Vec<Link> {
        vec![Link::same("input", self.input_dim), Link::same("intermediate", self.intermediate_dim)]
    }

    fn spec(&self, at: At) -> Result<LayerSpec, Error> {
        Ok(LayerSpec::SwiGlu(SwiGluSpec {
            input_dim: at.size("input_dim", self.input_dim)?,
            intermediate_dim: at.size("intermediate_dim", self.intermediate_dim)?,
            bias: true,
        }))
    }

    fn arrays(self: Box<Self>, at: At, roles: &[RoleShape]) -> Result<Vec<Vec<f32>>, Error> {
        at.packed(roles, self.weights)
    }
}
