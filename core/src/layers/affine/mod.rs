//! A gain and a shift, repeated as NumPy does: `y = x * gamma + beta` in f64 with one rounding.
//!
//! By channel (`shape: [64, 1, 1]`), by feature (`[64]`) or by position (`[T, 64]`): batch norm that was not fused,
//! LayerScale, tables of positions, any constant that is added or multiplied.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[cfg(feature = "gpu")]
use super::Recorder;
use super::walk::{self, check_shape, squeezed};
use super::{Family, Layer, RoleShape, Run, on, rounded, shift};
use crate::error::{ConfigError, Result};
#[cfg(feature = "gpu")]
use crate::gpu::{GpuArray, Kernel, kernels};
use crate::role::Role;
use crate::tensor::Tensor;

#[cfg(feature = "gpu")]
kernels! {
    AFFINE = Kernel::weightless("affine", &[walk::WALK, include_str!("gpu.wgsl")]);
}

/// Configuration of a gain and a shift.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AffineSpec {
    /// The axes of gain and shift, aligned with the last axes of the input; an extent of 1 fits any. The arrays
    /// themselves leave extents of 1 out.
    pub shape: Vec<usize>,
    /// Whether there is a gain.
    #[serde(default = "on")]
    pub gain: bool,
    /// Whether there is a shift.
    #[serde(default = "on")]
    pub shift: bool,
}

impl Family for AffineSpec {
    fn check(&self) -> std::result::Result<(), ConfigError> {
        check_shape(&self.shape)
    }

    fn roles(&self) -> Vec<RoleShape> {
        let roles = [(self.gain, Role::Gamma), (self.shift, Role::Beta)].into_iter().filter(|(there, _)| *there);
        roles.map(|(_, role)| RoleShape::new(role, squeezed(&self.shape))).collect()
    }

    fn forward(&self, run: &mut Run<'_>, layer: &Layer, x: &Tensor, _: Option<&Tensor>) -> Result<Tensor> {
        let (gamma, beta) = (layer.vector(Role::Gamma), layer.vector(Role::Beta));
        walk::meet(run, layer, &self.shape, x, |at, v| {
            let v = f64::from(v);
            let v = if self.gain { v * gamma[at] } else { v };
            rounded(v + shift(&beta, at))
        })
    }

    #[cfg(feature = "gpu")]
    fn record(
        &self,
        recorder: &mut Recorder<'_>,
        layer: &Layer,
        x: &GpuArray,
        _: Option<&GpuArray>,
    ) -> Result<GpuArray> {
        walk::record(recorder, layer, &self.shape, x, AFFINE, &[], &[Role::Gamma, Role::Beta])
    }
}
