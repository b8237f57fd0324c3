//! Batch normalisation by kept statistics (Ioffe and Szegedy, 2015):
//! `y = (x - mean) / sqrt(variance + eps) * gamma + beta`, wholly in f64 with one rounding at the end.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[cfg(feature = "gpu")]
use super::Recorder;
use super::norm::{check_eps, layer_eps};
use super::walk::{self, check_shape, squeezed};
use super::{Family, Layer, RoleShape, Run, on, rounded, shift};
use crate::error::{ConfigError, Result};
#[cfg(feature = "gpu")]
use crate::gpu::{GpuArray, Kernel, kernels};
use crate::role::Role;
use crate::tensor::Tensor;

#[cfg(feature = "gpu")]
kernels! {
    BATCHNORM = Kernel::weightless("batchnorm", &[walk::WALK, include_str!("gpu.wgsl")]);
}

/// Configuration of a batch normalisation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BatchNormSpec {
    /// The axes of the statistics, aligned with the last axes of the input; an extent of 1 fits any: `[64, 1, 1]` is
    /// a mean for each channel of a picture. The arrays themselves leave extents of 1 out.
    pub shape: Vec<usize>,
    /// Added to the variance: 1e-5 in PyTorch and Flax, 1e-3 in Keras.
    #[serde(default = "layer_eps")]
    pub eps: f64,
    /// Whether there is a gain.
    #[serde(default = "on")]
    pub gamma: bool,
    /// Whether there is a shift.
    #[serde(default = "on")]
    pub beta: bool,
}

impl Family for BatchNormSpec {
    fn check(&self) -> std::result::Result<(), ConfigError> {
        check_shape(&self.shape)?;
        check_eps(self.eps)
    }

    fn roles(&self) -> Vec<RoleShape> {
        let roles = [(self.gamma, Role::Gamma), (self.beta, Role::Beta), (true, Role::Mean), (true, Role::Variance)];
        let there = roles.into_iter().filter(|(there, _)| *there);
        there.map(|(_, role)| RoleShape::new(role, squeezed(&self.shape))).collect()
    }

    fn forward(&self, run: &mut Run<'_>, layer: &Layer, x: &Tensor, _: Option<&Tensor>) -> Result<Tensor> {
        let [gamma, beta, mean, variance] =
            [Role::Gamma, Role::Beta, Role::Mean, Role::Variance].map(|role| layer.vector(role));
        let spread: Vec<f64> = variance.iter().map(|v| (v + self.eps).sqrt()).collect();
        walk::meet(run, layer, &self.shape, x, |at, v| {
            let v = (f64::from(v) - mean[at]) / spread[at];
            let v = if self.gamma { v * gamma[at] } else { v };
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
        let eps = recorder.tape.real(self.eps);
        let roles = [Role::Mean, Role::Variance, Role::Gamma, Role::Beta];
        walk::record(recorder, layer, &self.shape, x, BATCHNORM, &eps, &roles)
    }
}
