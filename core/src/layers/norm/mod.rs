//! Row normalisations, wholly in f64 with one rounding at the end.
//!
//! RMSNorm (Zhang and Sennrich, 2019): `y = x / sqrt(mean(x^2) + eps) * gamma`, or `* (1 + gamma)`, that sum in f64.
//! LayerNorm (Ba et al., 2016): `y = (x - mean) / sqrt(var + eps) * gamma + beta`, the
//! variance taken in a second pass over `x - mean`, so that a large offset costs nothing.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[cfg(feature = "gpu")]
use super::Recorder;
use super::{Family, Layer, RoleShape, Run, on, positive, shift};
use crate::error::{ConfigError, Result};
#[cfg(feature = "gpu")]
use crate::gpu::{GpuArray, Kernel, kernels};
use crate::role::Role;
use crate::tensor::Tensor;

/// The sums of a row.
#[cfg(feature = "gpu")]
pub(super) const ROW: &str = include_str!("row.wgsl");
#[cfg(feature = "gpu")]
const NORM: &[&str] = &[ROW, include_str!("gpu.wgsl")];
#[cfg(feature = "gpu")]
kernels! {
    RMSNORM = Kernel::weightless("rmsnorm", NORM);
    LAYERNORM = Kernel::weightless("layernorm", NORM);
}

/// Configuration of a root-mean-square normalisation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RmsNormSpec {
    /// Elements normalised together.
    pub dim: usize,
    /// Added to the mean square.
    #[serde(default = "rms_eps")]
    pub eps: f64,
    /// Whether the gain is `1 + gamma`, as Gemma has it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unit_offset: bool,
}

/// Configuration of a layer normalisation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LayerNormSpec {
    /// Elements normalised together.
    pub dim: usize,
    /// Added to the variance.
    #[serde(default = "layer_eps")]
    pub eps: f64,
    /// Whether a shift is added.
    #[serde(default = "on")]
    pub beta: bool,
}

/// The epsilon of an RMS norm that names none.
pub(super) fn rms_eps() -> f64 {
    1e-6
}

/// The epsilon of other norms that name none.
pub(super) fn layer_eps() -> f64 {
    1e-5
}

/// `Err` unless `eps` is finite and not negative.
pub(super) fn check_eps(found: f64) -> std::result::Result<(), ConfigError> {
    match found.is_finite() && found >= 0.0 {
        true => Ok(()),
        false => Err(ConfigError::Number { field: "eps", found, expected: "finite and at least 0" }),
    }
}

/// The sum of a row's squares.
pub(super) fn squares(row: &[f32]) -> f64 {
    row.iter().fold(0.0, |sum, &v| sum + f64::from(v) * f64::from(v))
}

/// The root mean square of a row.
pub(super) fn rms(row: &[f32], eps: f64) -> f64 {
    (squares(row) / row.len() as f64 + eps).sqrt()
}

/// The mean of a row, and the root of its variance and `eps`: the variance in a second pass.
pub(super) fn moments(row: &[f32], eps: f64) -> (f64, f64) {
    let n = row.len() as f64;
    let mean = row.iter().fold(0.0, |sum, &v| sum + f64::from(v)) / n;
    let squares = row.iter().fold(0.0, |sum, &v| {
        let d = f64::from(v) - mean;
        sum + d * d
    });
    (mean, (squares / n + eps).sqrt())
}

#[cfg(feature = "gpu")]
fn record(
    recorder: &mut Recorder<'_>,
    layer: &Layer,
    x: &GpuArray,
    kernel: &'static Kernel,
    (dim, eps, unit_offset): (usize, f64, bool),
) -> Result<GpuArray> {
    let rows = layer.units(&x.shape, "rows", &[dim])?;
    recorder.within(layer, dim.saturating_mul(3))?;
    let (gamma, beta) = (recorder.vector(layer, Role::Gamma)?, recorder.vector(layer, Role::Beta)?);
    let y = recorder.tape.array(x.shape.clone());
    let [low, high] = recorder.tape.real(eps);
    recorder.tape.op(kernel, rows, [x.at, y.at, dim as u32, low, high, gamma, beta, unit_offset.into()]);
    Ok(y)
}

impl Family for RmsNormSpec {
    fn check(&self) -> std::result::Result<(), ConfigError> {
        positive(&[("dim", self.dim)])?;
        check_eps(self.eps)
    }

    fn roles(&self) -> Vec<RoleShape> {
        vec![RoleShape::new(Role::Gamma, [self.dim])]
    }

    fn terms(&self) -> usize {
        self.dim
    }

    fn forward(&self, _: &mut Run<'_>, layer: &Layer, x: &Tensor, _: Option<&Tensor>) -> Result<Tensor> {
        layer.units(x.shape(), "rows", &[self.dim])?;
        let mut gamma = layer.vector(Role::Gamma);
        if self.unit_offset {
            gamma.iter_mut().for_each(|gamma| *gamma += 1.0);
        }
        let mut y = Vec::with_capacity(x.len());
        for row in x.data().chunks_exact(self.dim) {
            let r = rms(row, self.eps);
            y.extend(row.iter().zip(&gamma).map(|(&v, g)| (f64::from(v) / r * g) as f32));
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
        record(recorder, layer, x, RMSNORM, (self.dim, self.eps, self.unit_offset))
    }
}

impl Family for LayerNormSpec {
    fn check(&self) -> std::result::Result<(), ConfigError> {
        positive(&[("dim", self.dim)])?;
        check_eps(self.eps)
    }

    fn roles(&self) -> Vec<RoleShape> {
        let mut roles = vec![RoleShape::new(Role::Gamma, [self.dim])];
        if self.beta {
            roles.push(RoleShape::new(Role::Beta, [self.dim]));
        }
        roles
    }

    fn terms(&self) -> usize {
        self.dim.saturating_mul(2)
    }

    fn forward(&self, _: &mut Run<'_>, layer: &Layer, x: &Tensor, _: Option<&Tensor>) -> Result<Tensor> {
        layer.units(x.shape(), "rows", &[self.dim])?;
        let (gamma, beta) = (layer.vector(Role::Gamma), layer.vector(Role::Beta));
        let mut y = Vec::with_capacity(x.len());
        for row in x.data().chunks_exact(self.dim) {
            let (mean, s) = moments(row, self.eps);
            y.extend(
                row.iter().enumerate().map(|(i, &v)| ((f64::from(v) - mean) / s * gamma[i] + shift(&beta, i)) as f32),
            );
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
        record(recorder, layer, x, LAYERNORM, (self.dim, self.eps, false))
    }
}
