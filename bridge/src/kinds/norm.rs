use loom_core::layers::{LayerNormSpec, RmsNormSpec};
use loom_core::{LayerSpec, RoleShape};

use super::{Layer, Link};
use crate::error::{At, Error};
use crate::request::Fields;

/// A layer normalisation: gamma, then beta.
pub(super) struct LayerNorm {
    dim: i64,
    weights: Vec<f32>,
}

/// A root-mean-square normalisation: gamma.
pub(super) struct RmsNorm {
    dim: i64,
    weights: Vec<f32>,
}

impl From<Fields> for LayerNorm {
    fn from(Fields { sizes, weights, .. }: Fields) -> Self {
        Self { dim: sizes.dim, weights }
    }
}

impl From<Fields> for RmsNorm {
    fn from(Fields { sizes, weights, .. }: Fields) -> Self {
        Self { dim: sizes.dim, weights }
    }
}

impl Layer for LayerNorm {
    fn links(&self) -> Vec<Link> {
        vec![Link::same("dim", self.dim)]
    }

    fn spec(&self, at: At) -> Result<LayerSpec, Error> {
        Ok(LayerSpec::LayerNorm(LayerNormSpec { dim: at.size("dim", self.dim)?, eps: 1e-5, beta: true }))
    }

    fn arrays(self: Box<Self>, at: At, roles: &[RoleShape]) -> Result<Vec<Vec<f32>>, Error> {
        at.packed(roles, self.weights)
    }
}

impl Layer for RmsNorm {
    fn links(&self) -> Vec<Link> {
        vec![Link::same("dim", self.dim)]
    }

    fn spec(&self, at: At) -> Result<LayerSpec, Error> {
        Ok(LayerSpec::RmsNorm(RmsNormSpec { dim: at.size("dim", self.dim)?, eps: 1e-6, unit_offset: false }))
    }

    fn arrays(self: Box<Self>, at: At, roles: &[RoleShape]) -> Result<Vec<Vec<f32>>, Error> {
        at.packed(roles, self.weights)
    }
}
