//! Group normalisation (Wu and He, 2018): mean and variance over the channels of a group and all positions,
//! `y = (x - mean) / sqrt(variance + eps) * gamma + beta`, the variance in a second pass over `x - mean`; wholly in
//! f64 with one rounding at the end. As many groups as channels are instance norm, one group normalises a sample.
//!
//! Channel first: `[batch, channels, positions…]`. Sums run over channels, then positions row-major.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[cfg(feature = "gpu")]
use super::Recorder;
use super::norm::{check_eps, layer_eps, moments};
use super::per_axis::check_extents;
use super::{Family, Layer, MOST_AXES, RoleShape, Run, elements, holdable, on, positive, rounded, shift};
use crate::error::{ConfigError, Result};
#[cfg(feature = "gpu")]
use crate::gpu::{GpuArray, Kernel, kernels};
use crate::role::Role;
use crate::tensor::Tensor;

#[cfg(feature = "gpu")]
kernels! {
    GROUPNORM = Kernel::weightless("groupnorm", &[super::norm::ROW, include_str!("gpu.wgsl")]);
}

/// Configuration of a group normalisation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GroupNormSpec {
    /// Channels.
    pub channels: usize,
    /// Into how many groups they are divided.
    pub groups: usize,
    /// Extent of the input along each axis after the channels; none where there is one position.
    #[serde(default)]
    pub input: Vec<usize>,
    /// Added to the variance.
    #[serde(default = "layer_eps")]
    pub eps: f64,
    /// Whether each channel has a gain.
    #[serde(default = "on")]
    pub gamma: bool,
    /// Whether each channel has a shift.
    #[serde(default = "on")]
    pub beta: bool,
}

impl GroupNormSpec {
    /// The axes of one sample.
    fn sample(&self) -> Vec<usize> {
        [self.channels].into_iter().chain(self.input.iter().copied()).collect()
    }

    /// Channels of a group, and positions.
    fn extents(&self) -> (usize, usize) {
        (self.channels / self.groups.max(1), elements(&self.input))
    }
}

impl Family for GroupNormSpec {
    fn check(&self) -> std::result::Result<(), ConfigError> {
        positive(&[("channels", self.channels), ("groups", self.groups)])?;
        if !self.channels.is_multiple_of(self.groups) {
            return Err(ConfigError::Groups { field: "channels", found: self.channels, groups: self.groups });
        }
        check_extents("input", &self.input, 0..=MOST_AXES - 1)?;
        holdable("a sample", &self.sample())?;
        check_eps(self.eps)
    }

    fn roles(&self) -> Vec<RoleShape> {
        let roles = [(self.gamma, Role::Gamma), (self.beta, Role::Beta)].into_iter().filter(|(there, _)| *there);
        roles.map(|(_, role)| RoleShape::new(role, [self.channels])).collect()
    }

    fn terms(&self) -> usize {
        let (channels, positions) = self.extents();
        channels.saturating_mul(positions).saturating_mul(2)
    }

    fn forward(&self, run: &mut Run<'_>, layer: &Layer, x: &Tensor, _: Option<&Tensor>) -> Result<Tensor> {
        let batch = layer.units(x.shape(), "samples", &self.sample())?;
        let (channels, positions) = self.extents();
        let n = channels * positions;
        let (gamma, beta) = (layer.vector(Role::Gamma), layer.vector(Role::Beta));
        let groups = run.cpu.map(batch * self.groups, |g| {
            let x = &x.data()[g * n..(g + 1) * n];
            let (mean, s) = moments(x, self.eps);
            let first = g % self.groups * channels;
            let element = |(k, &v): (usize, &f32)| {
                let c = first + k / positions;
                let v = (f64::from(v) - mean) / s;
                rounded(if self.gamma { v * gamma[c] } else { v } + shift(&beta, c))
            };
            x.iter().enumerate().map(element).collect::<Vec<f32>>()
        });
        Ok(Tensor::of(x.shape().to_vec(), groups.concat()))
    }

    #[cfg(feature = "gpu")]
    fn record(
        &self,
        recorder: &mut Recorder<'_>,
        layer: &Layer,
        x: &GpuArray,
        _: Option<&GpuArray>,
    ) -> Result<GpuArray> {
        let batch = layer.units(&x.shape, "samples", &self.sample())?;
        let (channels, positions) = self.extents();
        recorder.within(layer, channels.saturating_mul(positions).saturating_mul(3))?;
        let (gamma, beta) = (recorder.vector(layer, Role::Gamma)?, recorder.vector(layer, Role::Beta)?);
        let y = recorder.tape.array(x.shape.clone());
        let [low, high] = recorder.tape.real(self.eps);
        let numbers = [self.channels, channels, positions].map(|n| n as u32);
        let args = [x.at, y.at, numbers[0], numbers[1], numbers[2], low, high, gamma, beta];
        recorder.tape.op(GROUPNORM, batch * self.groups, args);
        Ok(y)
    }
}
