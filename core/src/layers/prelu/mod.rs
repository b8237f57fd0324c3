//! PReLU (He et al., 2015): `y = x`, or `slope * x` below zero, the slopes repeated as NumPy does; one rounding.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[cfg(feature = "gpu")]
use super::Recorder;
use super::walk::{self, check_shape, squeezed};
use super::{Family, Layer, RoleShape, Run, rounded};
use crate::error::{ConfigError, Result};
#[cfg(feature = "gpu")]
use crate::gpu::{GpuArray, Kernel, kernels};
use crate::role::Role;
use crate::tensor::Tensor;

#[cfg(feature = "gpu")]
kernels! {
    PRELU = Kernel::weightless("prelu", &[walk::WALK, include_str!("gpu.wgsl")]);
}

/// Configuration of a leaky ReLU whose slopes are weights.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PReluSpec {
    /// The axes of the slopes, aligned with the last axes of the input; an extent of 1 fits any: `[64, 1, 1]` is a
    /// slope for each channel. The array itself leaves extents of 1 out.
    pub shape: Vec<usize>,
}

impl Family for PReluSpec {
    fn check(&self) -> std::result::Result<(), ConfigError> {
        check_shape(&self.shape)
    }

    fn roles(&self) -> Vec<RoleShape> {
        vec![RoleShape::new(Role::Slope, squeezed(&self.shape))]
    }

    fn forward(&self, run: &mut Run<'_>, layer: &Layer, x: &Tensor, _: Option<&Tensor>) -> Result<Tensor> {
        let slope = layer.vector(Role::Slope);
        let bent = |at: usize, v: f32| rounded(f64::from(v) * slope[at]);
        walk::meet(run, layer, &self.shape, x, |at, v| if v < 0.0 { bent(at, v) } else { v })
    }

    #[cfg(feature = "gpu")]
    fn record(
        &self,
        recorder: &mut Recorder<'_>,
        layer: &Layer,
        x: &GpuArray,
        _: Option<&GpuArray>,
    ) -> Result<GpuArray> {
        walk::record(recorder, layer, &self.shape, x, PRELU, &[], &[Role::Slope])
    }
}
