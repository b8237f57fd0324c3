//! Soft assignment to cluster centres, row by row:
//! `a = softmax(-|x - c_k|^2 / (2 T^2))`, and either `act(a)` or `act(sum_k a_k c_k)`.
//!
//! Stages: the logits, the assignments, the mixture (one rounding each), the activation.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[cfg(feature = "gpu")]
use super::Recorder;
use super::softmax::softmax_in_place;
use super::{Activation, Family, Layer, RoleShape, Run, elements, leading, positive};
use crate::error::{ConfigError, Result};
#[cfg(feature = "gpu")]
use crate::gpu::{GpuArray, Kernel, Sums, kernels};
use crate::role::Role;
use crate::tensor::Tensor;

#[cfg(feature = "gpu")]
const KMEANS: &[&str] = &[super::softmax::ROW, include_str!("gpu.wgsl")];
#[cfg(feature = "gpu")]
kernels! {
    LOGITS = Kernel::weighted("kmeans_logits", KMEANS);
    ASSIGN = Kernel::weightless("kmeans_assign", KMEANS);
    MIX = Kernel::weighted("kmeans_mix", KMEANS);
}

/// What a [`KMeansSpec`] layer puts out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum KMeansOutput {
    /// How much a row belongs to each cluster.
    #[default]
    Probabilities,
    /// The mixture of centres.
    Features,
}

/// Configuration of a clustering layer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KMeansSpec {
    /// Number of centres.
    pub num_clusters: usize,
    /// Features of a row.
    pub input_dim: usize,
    /// T: the larger, the softer.
    #[serde(default = "unit")]
    pub temperature: f64,
    /// What to put out.
    #[serde(default)]
    pub output: KMeansOutput,
    /// The activation.
    #[serde(default)]
    pub activation: Activation,
}

pub(super) fn unit() -> f64 {
    1.0
}

/// `Err` unless the temperature is a positive number.
pub(super) fn check_temperature(found: f64) -> std::result::Result<(), ConfigError> {
    match found.is_finite() && found > 0.0 {
        true => Ok(()),
        false => Err(ConfigError::Number { field: "temperature", found, expected: "a positive number" }),
    }
}

impl Family for KMeansSpec {
    fn check(&self) -> std::result::Result<(), ConfigError> {
        self.activation.check()?;
        positive(&[("num_clusters", self.num_clusters), ("input_dim", self.input_dim)])?;
        check_temperature(self.temperature)
    }

    fn roles(&self) -> Vec<RoleShape> {
        vec![RoleShape::new(Role::Centers, [self.num_clusters, self.input_dim])]
    }

    fn terms(&self) -> usize {
        self.input_dim.saturating_add(self.num_clusters).saturating_mul(3)
    }

    fn makes(&self, shape: &[usize]) -> usize {
        let assignments = elements(&[elements(shape).div_ceil(self.input_dim), self.num_clusters]);
        elements(&[elements(shape), 3]).saturating_add(assignments)
    }

    fn forward(&self, _: &mut Run<'_>, layer: &Layer, x: &Tensor, _: Option<&Tensor>) -> Result<Tensor> {
        let d = self.input_dim;
        let rows = layer.units(x.shape(), "rows", &[d])?;
        let (centers, clusters) = (&layer.weights()[&Role::Centers], self.num_clusters);
        let mut center = vec![0.0; d];
        // One centre is decoded at a time and serves every row.
        let mut assignments = vec![0.0f32; rows * clusters];
        for k in 0..clusters {
            centers.decode(k * d, &mut center);
            for (row, a) in x.data().chunks_exact(d).zip(assignments.chunks_exact_mut(clusters)) {
                let distance = row.iter().zip(&center).fold(0.0, |sum, (&x, c)| {
                    let delta = f64::from(x) - c;
                    sum + delta * delta
                });
                a[k] = (-distance / (2.0 * self.temperature * self.temperature)) as f32;
            }
        }
        assignments.chunks_exact_mut(clusters).for_each(softmax_in_place);
        if self.output == KMeansOutput::Probabilities {
            assignments.iter_mut().for_each(|a| *a = self.activation.apply(*a));
            return Ok(Tensor::of(leading(x.shape(), d, rows, clusters), assignments));
        }
        let mut mix = vec![0.0; rows * d];
        for k in 0..clusters {
            centers.decode(k * d, &mut center);
            for (mix, a) in mix.chunks_exact_mut(d).zip(assignments.chunks_exact(clusters)) {
                mix.iter_mut().zip(&center).for_each(|(mix, c)| *mix += f64::from(a[k]) * c);
            }
        }
        let y = mix.iter().map(|&mix| self.activation.apply(mix as f32)).collect();
        Ok(Tensor::of(leading(x.shape(), d, rows, d), y))
    }

    #[cfg(feature = "gpu")]
    fn record(
        &self,
        recorder: &mut Recorder<'_>,
        layer: &Layer,
        x: &GpuArray,
        _: Option<&GpuArray>,
    ) -> Result<GpuArray> {
        let (d, clusters) = (self.input_dim, self.num_clusters);
        let rows = layer.units(&x.shape, "rows", &[d])?;
        recorder.within(layer, d.max(clusters.saturating_mul(4)))?;
        let centers = recorder.whole(layer, &layer.weights()[&Role::Centers], Sums::Rounded)?;
        let assignments = recorder.tape.array(leading(&x.shape, d, rows, clusters));
        let [low, high] = recorder.tape.real(2.0 * self.temperature * self.temperature);
        let numbers = [x.at, assignments.at, d as u32, clusters as u32, low, high];
        recorder.tape.weighted(LOGITS, assignments.len(), numbers, &centers);
        let mixes = self.output == KMeansOutput::Features;
        let activation = if mixes { Activation::Linear } else { self.activation };
        recorder.tape.op(ASSIGN, rows, [assignments.at, clusters as u32, Recorder::fused(activation)]);
        if !mixes {
            recorder.finish(&assignments, self.activation);
            return Ok(assignments);
        }
        let y = recorder.tape.array(leading(&x.shape, d, rows, d));
        let numbers = [assignments.at, y.at, d as u32, clusters as u32, Recorder::fused(self.activation)];
        recorder.tape.weighted(MIX, y.len(), numbers, &centers);
        recorder.finish(&y, self.activation);
        Ok(y)
    }
}
