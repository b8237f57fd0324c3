//! Table look-up: ids of any shape to `[…, dim]`, then the activation.
//!
//! An id arrives as f32 and is truncated toward zero. An id below 0 or beyond the table
//! (NaN too) gives a row of zeros: the original's rule, which files rely on.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[cfg(feature = "gpu")]
use super::Recorder;
use super::{Activation, Family, Layer, RoleShape, Run, elements, positive};
use crate::error::{ConfigError, Result};
#[cfg(feature = "gpu")]
use crate::gpu::{GpuArray, Kernel, Sums, kernels};
use crate::role::Role;
use crate::tensor::Tensor;

#[cfg(feature = "gpu")]
kernels! {
    EMBEDDING = Kernel::weighted("embedding", &[include_str!("gpu.wgsl")]);
}

/// Configuration of an embedding table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EmbeddingSpec {
    /// Rows of the table.
    pub vocab_size: usize,
    /// Features of a row.
    pub embedding_dim: usize,
    /// The activation.
    #[serde(default)]
    pub activation: Activation,
}

impl Family for EmbeddingSpec {
    fn check(&self) -> std::result::Result<(), ConfigError> {
        self.activation.check()?;
        positive(&[("vocab_size", self.vocab_size), ("embedding_dim", self.embedding_dim)])
    }

    fn roles(&self) -> Vec<RoleShape> {
        vec![RoleShape::new(Role::Weight, [self.vocab_size, self.embedding_dim])]
    }

    fn makes(&self, shape: &[usize]) -> usize {
        elements(&[elements(shape), self.embedding_dim])
    }

    fn forward(&self, _: &mut Run<'_>, layer: &Layer, x: &Tensor, _: Option<&Tensor>) -> Result<Tensor> {
        let (table, width) = (&layer.weights()[&Role::Weight], self.embedding_dim);
        let mut row = vec![0.0; width];
        let mut y = Vec::with_capacity(x.len() * self.embedding_dim);
        for id in x.data() {
            let id = id.trunc();
            let known = id >= 0.0 && (id as usize) < self.vocab_size;
            if known {
                table.decode(id as usize * width, &mut row)
            } else {
                row.fill(0.0)
            }
            y.extend(row.iter().map(|&v| self.activation.apply(v as f32)));
        }
        let shape = x.shape().iter().copied().chain([self.embedding_dim]).collect();
        Ok(Tensor::of(shape, y))
    }

    #[cfg(feature = "gpu")]
    fn record(
        &self,
        recorder: &mut Recorder<'_>,
        layer: &Layer,
        x: &GpuArray,
        _: Option<&GpuArray>,
    ) -> Result<GpuArray> {
        let width = self.embedding_dim;
        let y = recorder.tape.array(x.shape.iter().copied().chain([width]).collect());
        for piece in recorder.pieces(layer, &layer.weights()[&Role::Weight], Sums::Rounded)? {
            let (first, end) = (piece.rows.start as u32, piece.rows.end as u32);
            let numbers =
                [x.at, y.at, width as u32, self.vocab_size as u32, first, end, Recorder::fused(self.activation)];
            recorder.tape.weighted(EMBEDDING, y.len(), numbers, &piece);
        }
        recorder.finish(&y, self.activation);
        Ok(y)
    }
}
