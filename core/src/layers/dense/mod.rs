//! Fully connected layer: `y[b,o] = act(f32(sum_i x[b,i] W[o,i] + bias[o]))`.
//!
//! Stages: the sum with its bias (one rounding), the activation (one rounding).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[cfg(feature = "gpu")]
use super::Recorder;
use super::{Activation, Family, Layer, RoleShape, Run, elements, leading, on, positive};
use crate::error::{ConfigError, Result};
#[cfg(feature = "gpu")]
use crate::gpu::GpuArray;
use crate::role::Role;
use crate::tensor::Tensor;

/// Configuration of a fully connected layer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DenseSpec {
    /// Features read for each row.
    pub input_dim: usize,
    /// Features written for each row.
    pub output_dim: usize,
    /// The activation.
    #[serde(default)]
    pub activation: Activation,
    /// Whether there is a bias.
    #[serde(default = "on")]
    pub bias: bool,
}

impl Family for DenseSpec {
    fn check(&self) -> std::result::Result<(), ConfigError> {
        self.activation.check()?;
        positive(&[("input_dim", self.input_dim), ("output_dim", self.output_dim)])
    }

    fn roles(&self) -> Vec<RoleShape> {
        let mut roles = vec![RoleShape::new(Role::Weight, [self.output_dim, self.input_dim])];
        if self.bias {
            roles.push(RoleShape::new(Role::Bias, [self.output_dim]));
        }
        roles
    }

    fn terms(&self) -> usize {
        self.input_dim.saturating_mul(2)
    }

    fn makes(&self, shape: &[usize]) -> usize {
        elements(&[elements(shape).div_ceil(self.input_dim), self.output_dim])
    }

    fn forward(&self, run: &mut Run<'_>, layer: &Layer, x: &Tensor, _: Option<&Tensor>) -> Result<Tensor> {
        let rows = layer.units(x.shape(), "rows", &[self.input_dim])?;
        let mut y = layer.linear(&run.cpu, x.data(), self.input_dim, Role::Weight, Role::Bias);
        y.iter_mut().for_each(|v| *v = self.activation.apply(*v));
        Ok(Tensor::of(leading(x.shape(), self.input_dim, rows, self.output_dim), y))
    }

    #[cfg(feature = "gpu")]
    fn record(
        &self,
        recorder: &mut Recorder<'_>,
        layer: &Layer,
        x: &GpuArray,
        _: Option<&GpuArray>,
    ) -> Result<GpuArray> {
        let rows = layer.units(&x.shape, "rows", &[self.input_dim])?;
        let y = recorder.linear(layer, x, Role::Weight, Role::Bias, self.activation)?;
        Ok(y.reshaped(leading(&x.shape, self.input_dim, rows, self.output_dim)))
    }
}
