//! Element-wise activations: computed in f64, rounded to f32 once.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::math;

/// An activation. GELU is its tanh form.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// `v`.
    #[default]
    Linear,
    /// `max(v, 0)`.
    Relu,
    /// `v * sigmoid(v)`.
    Silu,
    /// `v/2 * (1 + tanh(sqrt(2/pi) * (v + 0.044715 v^3)))`.
    Gelu,
    /// `tanh v`.
    Tanh,
    /// `1 / (1 + exp(-v))`.
    Sigmoid,
    /// `v`, or `0.01 v` below zero.
    LeakyRelu,
    /// `max(v, 0)^2`.
    Relu2,
}

impl Activation {
    /// Every activation.
    pub const ALL: [Activation; 8] = [
        Activation::Linear,
        Activation::Relu,
        Activation::Silu,
        Activation::Gelu,
        Activation::Tanh,
        Activation::Sigmoid,
        Activation::LeakyRelu,
        Activation::Relu2,
    ];

    /// The activation of one element.
    #[must_use]
    pub fn apply(self, v: f32) -> f32 {
        let x = f64::from(v);
        match self {
            Activation::Linear => v,
            Activation::Relu => {
                if v < 0.0 {
                    0.0
                } else {
                    v
                }
            }
            Activation::Silu => (x * math::sigmoid(x)) as f32,
            Activation::Gelu => math::gelu(x) as f32,
            Activation::Tanh => math::tanh(x) as f32,
            Activation::Sigmoid => math::sigmoid(x) as f32,
            Activation::LeakyRelu => {
                if v < 0.0 {
                    (0.01 * x) as f32
                } else {
                    v
                }
            }
            Activation::Relu2 => {
                if v < 0.0 {
                    0.0
                } else {
                    v * v
                }
            }
        }
    }
}
