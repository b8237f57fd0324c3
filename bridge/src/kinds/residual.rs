use loom_core::layers::ResidualSpec;
use loom_core::{LayerSpec, RoleShape};

use super::{Layer, Link};
use crate::error::{At, Error};
use crate::request::Fields;

/// The sum of two inputs: it has no weights, and refuses any.
pub(super) struct Residual {
    dim: i64,
    weights: Vec<f32>,
}

impl From<Fields> for Residual {
    fn from(Fields { sizes, weights, .. }: Fields) -> Self {
        Self { dim: sizes.dim, weights }
    }
}

impl Layer for Residual {
    fn links(&self) -> Vec<Link> {
        vec![Link::same("dim", self.dim)]
    }

    fn spec(&self, at: At) -> Result<LayerSpec, Error> {
        Ok(LayerSpec::Residual(ResidualSpec { dim: Some(at.size("dim", self.dim)?) }))
    }

    fn arrays(self: Box<Self>, at: At, roles: &[RoleShape]) -> Result<Vec<Vec<f32>>, Error> {
        at.packed(roles, self.weights)
    }
}
