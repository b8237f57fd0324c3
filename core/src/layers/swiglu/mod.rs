//! Gated feed-forward block (Shazeer, 2020):
//! `y = (silu(x G^T + bg) * (x U^T + bu)) D^T + bd`.
//!
//! Stages: gate sum, up sum, their product `f32(g * sigmoid(g) * u)`, down sum.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[cfg(feature = "gpu")]
use super::Activation;
#[cfg(feature = "gpu")]
use super::Recorder;
use super::{Family, Layer, RoleShape, Run, elements, leading, on, positive};
use crate::error::{ConfigError, Result};
#[cfg(feature = "gpu")]
use crate::gpu::{GpuArray, Kernel, kernels};
use crate::math;
use crate::role::Role;
use crate::tensor::Tensor;

#[cfg(feature = "gpu")]
kernels! {
    SWIGLU = Kernel::weightless("swiglu", &[include_str!("gpu.wgsl")]);
}

/// Configuration of a SwiGLU block.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SwiGluSpec {
    /// Width of the model: read and written.
    pub input_dim: usize,
    /// Width between the projections.
    pub intermediate_dim: usize,
    /// Whether the three projections have biases.
    #[serde(default = "on")]
    pub bias: bool,
}

impl Family for SwiGluSpec {
    fn check(&self) -> std::result::Result<(), ConfigError> {
        positive(&[("input_dim", self.input_dim), ("intermediate_dim", self.intermediate_dim)])
    }

    fn roles(&self) -> Vec<RoleShape> {
        let (i, m) = (self.input_dim, self.intermediate_dim);
        let mut roles = vec![
            RoleShape::new(Role::GateWeight, [m, i]),
            RoleShape::new(Role::UpWeight, [m, i]),
            RoleShape::new(Role::DownWeight, [i, m]),
        ];
        if self.bias {
            roles.push(RoleShape::new(Role::GateBias, [m]));
            roles.push(RoleShape::new(Role::UpBias, [m]));
            roles.push(RoleShape::new(Role::DownBias, [i]));
        }
        roles
    }

    fn terms(&self) -> usize {
        self.input_dim.saturating_add(self.intermediate_dim).saturating_mul(2)
    }

    fn makes(&self, shape: &[usize]) -> usize {
        let hidden = elements(&[elements(shape).div_ceil(self.input_dim), self.intermediate_dim, 2]);
        elements(shape).saturating_add(hidden)
    }

    fn forward(&self, run: &mut Run<'_>, layer: &Layer, x: &Tensor, _: Option<&Tensor>) -> Result<Tensor> {
        let (i, m) = (self.input_dim, self.intermediate_dim);
        let rows = layer.units(x.shape(), "rows", &[i])?;
        let mut hidden = layer.linear(&run.cpu, x.data(), i, Role::GateWeight, Role::GateBias);
        let up = layer.linear(&run.cpu, x.data(), i, Role::UpWeight, Role::UpBias);
        for (g, &u) in hidden.iter_mut().zip(&up) {
            let v = f64::from(*g);
            *g = (v * math::sigmoid(v) * f64::from(u)) as f32;
        }
        let y = layer.linear(&run.cpu, &hidden, m, Role::DownWeight, Role::DownBias);
        Ok(Tensor::of(leading(x.shape(), i, rows, i), y))
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
        let gate = recorder.linear(layer, x, Role::GateWeight, Role::GateBias, Activation::Linear)?;
        let up = recorder.linear(layer, x, Role::UpWeight, Role::UpBias, Activation::Linear)?;
        let hidden = recorder.tape.array(gate.shape.clone());
        recorder.tape.op(SWIGLU, hidden.len(), [gate.at, up.at, hidden.at]);
        let y = recorder.linear(layer, &hidden, Role::DownWeight, Role::DownBias, Activation::Linear)?;
        Ok(y.reshaped(leading(&x.shape, self.input_dim, rows, self.input_dim)))
    }
}
