use loom_core::layers::EmbeddingSpec;
use loom_core::{Activation, LayerSpec, RoleShape};

use super::{Layer, Link};
use crate::error::{At, Error};
use crate::request::Fields;

/// A table that is looked up.
pub(super) struct Embedding {
    vocab_size: i64,
    embedding_dim: i64,
    weights: Vec<f32>,
}

impl From<Fields> for Embedding {
    fn from(fields: Fields) -> Self {
        let Fields { sizes, weights, .. } = fields;
        Self { vocab_size: sizes.vocab_size, embedding_dim: sizes.embedding_dim, weights }
    }
}

impl Layer for Embedding {
    fn links(&self) -> Vec<Link> {
        vec![Link::same("vocab", self.vocab_size), Link::same("embed_dim", self.embedding_dim)]
    }

    fn spec(&self, at: At) -> Result<LayerSpec, Error> {
        Ok(LayerSpec::Embedding(EmbeddingSpec {
            vocab_size: at.size("vocab_size", self.vocab_size)?,
            embedding_dim: at.size("embedding_dim", self.embedding_dim)?,
            activation: Activation::Linear,
        }))
    }

    fn arrays(self: Box<Self>, at: At, roles: &[RoleShape]) -> Result<Vec<Vec<f32>>, Error> {
        at.matrix(roles, self.weights, Vec::new())
    }
}
