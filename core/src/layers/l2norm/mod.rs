//! Rows of length one: `y = x / max(|x|, eps)`, or `y = x / sqrt(|x|^2 + eps)`; in f64 with one rounding.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[cfg(feature = "gpu")]
use super::Recorder;
use super::norm::{check_eps, squares};
use super::{Family, Layer, Run, positive, rounded};
use crate::error::{ConfigError, Result};
#[cfg(feature = "gpu")]
use crate::gpu::{GpuArray, Kernel, kernels};
use crate::tensor::Tensor;

#[cfg(feature = "gpu")]
kernels! {
    L2NORM = Kernel::weightless("l2norm", &[super::norm::ROW, include_str!("gpu.wgsl")]);
}

/// What keeps a row of zeros from being divided by zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Guard {
    /// A length below eps counts as eps: PyTorch, Keras.
    #[default]
    Floor,
    /// Eps is added to the squares.
    Inside,
}

/// Configuration of an L2 normalisation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct L2NormSpec {
    /// Elements of a row.
    pub dim: usize,
    /// See `guard`.
    #[serde(default = "tiny")]
    pub eps: f64,
    /// What eps does.
    #[serde(default)]
    pub guard: Guard,
}

fn tiny() -> f64 {
    1e-12
}

impl Family for L2NormSpec {
    fn check(&self) -> std::result::Result<(), ConfigError> {
        positive(&[("dim", self.dim)])?;
        check_eps(self.eps)
    }

    fn terms(&self) -> usize {
        self.dim
    }

    fn forward(&self, _: &mut Run<'_>, layer: &Layer, x: &Tensor, _: Option<&Tensor>) -> Result<Tensor> {
        layer.units(x.shape(), "rows", &[self.dim])?;
        let mut y = Vec::with_capacity(x.len());
        for row in x.data().chunks_exact(self.dim) {
            let squares = squares(row);
            let length = match self.guard {
                Guard::Inside => (squares + self.eps).sqrt(),
                Guard::Floor if squares.sqrt() < self.eps => self.eps,
                Guard::Floor => squares.sqrt(),
            };
            y.extend(row.iter().map(|&v| rounded(f64::from(v) / length)));
        }
        Ok(Tensor::of(x.shape().to_vec(), y))
    }

    #[cfg(feature = "gpu")]
    fn record(
        &self,
        recorder: &mut Recorder<'_>,
        layer: &Layer,
        x: &GpuArray,
        _: Option<&GpuArray>,
    ) -> Result<GpuArray> {
        let rows = layer.units(&x.shape, "rows", &[self.dim])?;
        recorder.within(layer, self.dim.saturating_mul(2))?;
        let y = recorder.tape.array(x.shape.clone());
        let [low, high] = recorder.tape.real(self.eps);
        recorder.tape.op(L2NORM, rows, [x.at, y.at, self.dim as u32, low, high, self.guard as u32]);
        Ok(y)
    }
}
