use loom_core::layers::DenseSpec;
use loom_core::{LayerSpec, RoleShape};

use super::{Layer, Link};
use crate::error::{At, Error};
use crate::request::Fields;

/// A dense layer; an empty `bias` is none.
pub(super) struct Dense {
    input_dim: i64,
    output_dim: i64,
    activation: String,
    weights: Vec<f32>,
    bias: Vec<f32>,
}

impl From<Fields> for Dense {
    fn from(fields: Fields) -> Self {
        let Fields { sizes, activation, weights, bias, .. } = fields;
        Self { input_dim: sizes.input_dim, output_dim: sizes.output_dim, activation, weights, bias }
    }
}

impl Layer for Dense {
    fn links(&self) -> Vec<Link> {
        vec![Link { size: "input", given: self.input_dim, next: self.output_dim }]
    }

    fn spec(&self, at: At) -> Result<LayerSpec, Error> {
        Ok(LayerSpec::Dense(DenseSpec {
            input_dim: at.size("input_dim", self.input_dim)?,
            output_dim: at.size("output_dim", self.output_dim)?,
            activation: at.activation(&self.activation)?,
            bias: !self.bias.is_empty(),
        }))
    }

    fn arrays(self: Box<Self>, at: At, roles: &[RoleShape]) -> Result<Vec<Vec<f32>>, Error> {
        at.matrix(roles, self.weights, self.bias)
    }
}
