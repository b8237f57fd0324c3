//! Gated recurrent unit (Cho et al., 2014), gates in the order r, z, n; `h_{-1} = 0`:
//! `r = sigmoid(x W_r + h R_r + b_r)`, `z` likewise, `h_t = (1 - z) n + z h_{t-1}`.
//!
//! Planets differ in where r acts: after the product, `n = tanh(x W_n + b_n + r (h R_n + c))` (PyTorch, Flax, Keras's
//! default), or before it, `n = tanh(x W_n + (r h) R_n + b_n)` (the paper, ONNX's default). Weights of one are not those
//! of the other.
//!
//! Every step's `h` is an output. Stages: the sums of r and z with their biases, `h R_n + c` or `r h`, the sum of n, `h`: one
//! rounding each.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[cfg(feature = "gpu")]
use super::Recorder;
use super::rnn::{self, check_sizes, roles};
use super::{Family, Layer, RoleShape, Run, on, rounded, shift};
use crate::backend::{Rows, matmul};
use crate::error::{ConfigError, Result};
#[cfg(feature = "gpu")]
use crate::gpu::{GpuArray, Kernel, Sums, kernels};
use crate::math::{sigmoid, tanh};
use crate::role::Role;
use crate::tensor::Tensor;

#[cfg(feature = "gpu")]
kernels! {
    GRU = Kernel::weighted("gru", &[include_str!("gpu.wgsl")]).grouped(1, 128);
}

/// Where the reset gate acts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Reset {
    /// On the product of the state with its matrix: PyTorch, Flax, Keras's `reset_after=True`.
    #[default]
    AfterProduct,
    /// On the state: the paper, Keras's `reset_after=False`, ONNX's `linear_before_reset=0`.
    BeforeProduct,
}

/// Configuration of a GRU layer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GruSpec {
    /// Features read at each step.
    pub input_size: usize,
    /// Features written at each step.
    pub hidden_size: usize,
    /// Steps of a sequence.
    pub seq_length: usize,
    /// Where the reset gate acts.
    #[serde(default)]
    pub reset: Reset,
    /// Whether the gates have biases.
    #[serde(default = "on")]
    pub bias: bool,
}

impl Family for GruSpec {
    fn check(&self) -> std::result::Result<(), ConfigError> {
        check_sizes(self.input_size, self.hidden_size, self.seq_length)
    }

    fn roles(&self) -> Vec<RoleShape> {
        let mut roles = roles(3, self.input_size, self.hidden_size, self.bias);
        if self.bias && self.reset == Reset::AfterProduct {
            roles.push(RoleShape::new(Role::RecurrentBias, [self.hidden_size]));
        }
        roles
    }

    fn terms(&self) -> usize {
        self.input_size.saturating_add(self.hidden_size).saturating_mul(2)
    }

    fn makes(&self, shape: &[usize]) -> usize {
        rnn::makes(4, self.input_size, self.hidden_size, shape)
    }

    fn forward(&self, run: &mut Run<'_>, layer: &Layer, x: &Tensor, _: Option<&Tensor>) -> Result<Tensor> {
        let (steps, n) = (self.seq_length, self.hidden_size);
        let batch = layer.units(x.shape(), "sequences", &[steps, self.input_size])?;
        let (bias, recurrent_bias) = (layer.vector(Role::Bias), layer.vector(Role::RecurrentBias));
        let rows = Rows::packed(x.data(), self.input_size);
        let from_x: Vec<f64> = matmul(&run.cpu, rows, layer.matrix(Role::InputWeight), |_, sum| sum);
        let product = |h: &[f32]| -> Vec<f64> {
            matmul(&run.cpu, Rows::packed(h, n), layer.matrix(Role::RecurrentWeight), |_, sum| sum)
        };
        let mut h = vec![0.0f32; batch * n];
        let mut y = vec![0.0f32; batch * steps * n];
        for t in 0..steps {
            let from_h = product(&h);
            let gate = |b: usize, j: usize, gate: usize| {
                let row = gate * n + j;
                let sum = from_x[(b * steps + t) * 3 * n + row] + from_h[b * 3 * n + row];
                sigmoid(f64::from(rounded(sum + shift(&bias, row))))
            };
            let reset = match self.reset {
                Reset::AfterProduct => None,
                Reset::BeforeProduct => {
                    let reset = |i: usize| rounded(gate(i / n, i % n, 0) * f64::from(h[i]));
                    Some(product(&(0..batch * n).map(reset).collect::<Vec<f32>>()))
                }
            };
            let renewed = |i: usize| {
                let (b, j, row) = (i / n, i % n, 2 * n + i % n);
                let rest = match &reset {
                    Some(sums) => sums[b * 3 * n + row],
                    None => gate(b, j, 0) * f64::from(rounded(from_h[b * 3 * n + row] + shift(&recurrent_bias, j))),
                };
                let sum = from_x[(b * steps + t) * 3 * n + row] + rest;
                let (z, new) = (gate(b, j, 1), tanh(f64::from(rounded(sum + shift(&bias, row)))));
                rounded((1.0 - z) * new + z * f64::from(h[i]))
            };
            h = (0..batch * n).map(renewed).collect();
            for (b, h) in h.chunks_exact(n).enumerate() {
                y[(b * steps + t) * n..][..n].copy_from_slice(h);
            }
        }
        Ok(Tensor::of(vec![batch, steps, n], y))
    }

    #[cfg(feature = "gpu")]
    fn record(
        &self,
        recorder: &mut Recorder<'_>,
        layer: &Layer,
        x: &GpuArray,
        _: Option<&GpuArray>,
    ) -> Result<GpuArray> {
        let (steps, hidden) = (self.seq_length, self.hidden_size);
        let batch = layer.units(&x.shape, "sequences", &[steps, self.input_size])?;
        // A workgroup has 128 invocations, each with a unit at a time, in two turns.
        let rounds = hidden.div_ceil(128).saturating_mul(2);
        recorder.within(layer, steps.saturating_mul(rounds).saturating_mul(hidden + 1))?;
        let (bias, own) = (recorder.vector(layer, Role::Bias)?, recorder.vector(layer, Role::RecurrentBias)?);
        let from_x = recorder.sums(layer, x, Role::InputWeight)?;
        let y = recorder.tape.array(vec![batch, steps, hidden]);
        let [z, reset] = [(); 2].map(|()| recorder.tape.reserve(2 * batch * hidden));
        let piece = recorder.whole(layer, &layer.weights()[&Role::RecurrentWeight], Sums::Exact)?;
        let [samples, steps, hidden] = [batch, steps, hidden].map(|n| n as u32);
        let before = u32::from(self.reset == Reset::BeforeProduct);
        let numbers = [samples, steps, hidden, 3 * hidden, from_x, bias, own, y.at, z, reset, before];
        recorder.tape.weighted(GRU, batch.div_ceil(4), numbers, &piece);
        Ok(y)
    }
}
