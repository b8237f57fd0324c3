//! Soft assignment to cluster centres, row by row:
//! `a = softmax(-|x - c_k|^2 / (2 T^2))`, and either `act(a)` or `act(sum_k a_k c_k)`.
//!
//! Stages: the logits, the assignments, the mixture (one rounding each), the activation.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Activation, Family, Layer, RoleShape, Run, leading, positive, softmax_in_place};
use crate::error::Result;
use crate::store::Role;
use crate::tensor::Tensor;

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

/// `Err` with a sentence unless the temperature is a positive number.
pub(super) fn check_temperature(t: f64) -> std::result::Result<(), String> {
    if t.is_finite() && t > 0.0 { Ok(()) } else { Err(format!("temperature is {t}; it must be a positive number")) }
}

impl Family for KMeansSpec {
    fn check(&self) -> std::result::Result<(), String> {
        positive(&[("num_clusters", self.num_clusters), ("input_dim", self.input_dim)])?;
        check_temperature(self.temperature)
    }

    fn roles(&self) -> Vec<RoleShape> {
        vec![RoleShape::new(Role::Centers, [self.num_clusters, self.input_dim])]
    }

    fn terms(&self) -> usize {
        self.input_dim.saturating_add(self.num_clusters).saturating_mul(3)
    }

    fn forward(&self, _: &mut Run<'_>, layer: &Layer, x: &Tensor, _: Option<&Tensor>) -> Result<Tensor> {
        let d = self.input_dim;
        let rows = layer.units(x, "rows", d)?;
        let centers = layer.values(Role::Centers);
        let width = if self.output == KMeansOutput::Features { d } else { self.num_clusters };
        let mut y = Vec::with_capacity(rows * width);
        for row in x.data().chunks_exact(d) {
            let mut a: Vec<f32> = centers
                .chunks_exact(d)
                .map(|c| {
                    let distance = row.iter().zip(c).fold(0.0, |sum, (&x, &c)| {
                        let delta = f64::from(x) - f64::from(c);
                        sum + delta * delta
                    });
                    (-distance / (2.0 * self.temperature * self.temperature)) as f32
                })
                .collect();
            softmax_in_place(&mut a);
            match self.output {
                KMeansOutput::Probabilities => y.extend(a.iter().map(|&a| self.activation.apply(a))),
                KMeansOutput::Features => y.extend((0..d).map(|i| {
                    let mix = a
                        .iter()
                        .enumerate()
                        .fold(0.0, |sum, (k, &a)| sum + f64::from(a) * f64::from(centers[k * d + i]));
                    self.activation.apply(mix as f32)
                })),
            }
        }
        Ok(Tensor::of(leading(x, d, rows, width), y))
    }
}
