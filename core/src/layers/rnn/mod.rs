//! Elman recurrent layer: `h_t = act(x_t W^T + h_{t-1} R^T + b)`, `h_{-1} = 0`, act mostly tanh.
//!
//! Every step's `h` is an output. Stages: the two sums with the bias (one rounding), the
//! activation (one rounding); the recurrence carries the rounded `h`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[cfg(feature = "gpu")]
use super::Recorder;
use super::{Activation, Family, Layer, RoleShape, Run, elements, holdable, on, positive, shift};
use crate::backend::{Rows, matmul};
use crate::error::{ConfigError, Result};
#[cfg(feature = "gpu")]
use crate::gpu::{GpuArray, Kernel, Sums, kernels};
use crate::role::Role;
use crate::tensor::Tensor;

/// The walk over the steps of a sequence.
#[cfg(feature = "gpu")]
pub(super) const SCAN: &str = include_str!("scan.wgsl");
#[cfg(feature = "gpu")]
kernels! {
    RNN = Kernel::weighted("rnn", &[SCAN, include_str!("gpu.wgsl")]).grouped(1, 128);
}

/// Configuration of an Elman recurrent layer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RnnSpec {
    /// Features read at each step.
    pub input_size: usize,
    /// Features written at each step.
    pub hidden_size: usize,
    /// Steps of a sequence.
    pub seq_length: usize,
    /// The activation: one of the original's.
    #[serde(default = "tanh", skip_serializing_if = "is_tanh")]
    pub activation: Activation,
    /// Whether there is a bias.
    #[serde(default = "on")]
    pub bias: bool,
}

fn tanh() -> Activation {
    Activation::Tanh
}

fn is_tanh(activation: &Activation) -> bool {
    *activation == Activation::Tanh
}

/// `Err` unless the sizes of a recurrent layer are believable.
pub(super) fn check_sizes(input: usize, hidden: usize, steps: usize) -> std::result::Result<(), ConfigError> {
    positive(&[("input_size", input), ("hidden_size", hidden), ("seq_length", steps)])?;
    // Four gates for each step at most.
    holdable("a sequence", &[steps, 4, input.max(hidden)])
}

/// The roles of a recurrent layer with `gates` stacked blocks.
pub(super) fn roles(gates: usize, input: usize, hidden: usize, bias: bool) -> Vec<RoleShape> {
    let rows = hidden.saturating_mul(gates);
    let mut roles =
        vec![RoleShape::new(Role::InputWeight, [rows, input]), RoleShape::new(Role::RecurrentWeight, [rows, hidden])];
    if bias {
        roles.push(RoleShape::new(Role::Bias, [rows]));
    }
    roles
}

/// What a recurrent layer with `gates` makes of an input: the sums of all gates in f64, and the
/// states.
pub(super) fn makes(gates: usize, input: usize, hidden: usize, shape: &[usize]) -> usize {
    elements(&[elements(shape).div_ceil(input), hidden, gates.saturating_mul(2).saturating_add(1)])
}

/// A scan over time: what a recurrent layer has in common with the others.
pub(super) struct Scan<'a> {
    pub(super) layer: &'a Layer,
    pub(super) gates: usize,
    pub(super) input: usize,
    pub(super) hidden: usize,
    pub(super) steps: usize,
}

impl Scan<'_> {
    /// Runs `cell(b, z, h)` for every sample `b` at each step: `z` holds the rounded gate
    /// sums and `h` receives the new state. Returns `[batch, steps, hidden]`.
    pub(super) fn run(
        &self,
        run: &Run<'_>,
        x: &Tensor,
        mut cell: impl FnMut(usize, &[f32], &mut [f32]),
    ) -> Result<Tensor> {
        let (cpu, width) = (&run.cpu, self.gates * self.hidden);
        let batch = self.layer.units(x.shape(), "sequences", &[self.steps, self.input])?;
        if batch == 0 {
            return Ok(Tensor::of(vec![0, self.steps, self.hidden], Vec::new()));
        }
        let bias = self.layer.vector(Role::Bias);
        let rows = Rows::packed(x.data(), self.input);
        let from_x: Vec<f64> = matmul(cpu, rows, self.layer.matrix(Role::InputWeight), |_, sum| sum);
        let mut h = vec![0.0; batch * self.hidden];
        let mut y = vec![0.0; batch * self.steps * self.hidden];
        for t in 0..self.steps {
            let rows = Rows::packed(&h, self.hidden);
            let from_h: Vec<f64> = matmul(cpu, rows, self.layer.matrix(Role::RecurrentWeight), |_, sum| sum);
            for b in 0..batch {
                let at = b * self.steps + t;
                let sums = from_x[at * width..][..width].iter().zip(&from_h[b * width..][..width]).enumerate();
                let z: Vec<f32> = sums.map(|(i, (x, h))| ((x + h) + shift(&bias, i)) as f32).collect();
                let h = &mut h[b * self.hidden..][..self.hidden];
                cell(b, &z, h);
                y[at * self.hidden..][..self.hidden].copy_from_slice(h);
            }
        }
        Ok(Tensor::of(vec![batch, self.steps, self.hidden], y))
    }

    /// Records the scan with a kernel that knows the cell, and what that kernel asks for besides.
    #[cfg(feature = "gpu")]
    pub(super) fn record(
        &self,
        recorder: &mut Recorder<'_>,
        kernel: &'static Kernel,
        x: &GpuArray,
        own: u32,
    ) -> Result<GpuArray> {
        let (hidden, width) = (self.hidden, self.gates * self.hidden);
        let batch = self.layer.units(&x.shape, "sequences", &[self.steps, self.input])?;
        // A workgroup has 128 invocations, each with four gate rows at a time.
        let rounds = width.div_ceil(4).div_ceil(128);
        recorder.within(self.layer, self.steps.saturating_mul(rounds).saturating_mul(hidden + 1))?;
        let bias = recorder.vector(self.layer, Role::Bias)?;
        let from_x = recorder.sums(self.layer, x, Role::InputWeight)?;
        let y = recorder.tape.array(vec![batch, self.steps, hidden]);
        let piece = recorder.whole(self.layer, &self.layer.weights()[&Role::RecurrentWeight], Sums::Exact)?;
        let [samples, steps, hidden, width] = [batch, self.steps, hidden, width].map(|n| n as u32);
        let numbers = [samples, steps, hidden, width, from_x, bias, y.at, own];
        recorder.tape.weighted(kernel, batch.div_ceil(4), numbers, &piece);
        Ok(y)
    }
}

impl Family for RnnSpec {
    fn check(&self) -> std::result::Result<(), ConfigError> {
        if self.activation.original().is_none() {
            let known = Activation::ORIGINAL.map(Activation::name);
            return Err(ConfigError::Recurrent { found: self.activation.name(), known: known.join(", ") });
        }
        check_sizes(self.input_size, self.hidden_size, self.seq_length)
    }

    fn roles(&self) -> Vec<RoleShape> {
        roles(1, self.input_size, self.hidden_size, self.bias)
    }

    fn terms(&self) -> usize {
        self.input_size.saturating_add(self.hidden_size).saturating_mul(2)
    }

    fn makes(&self, shape: &[usize]) -> usize {
        makes(1, self.input_size, self.hidden_size, shape)
    }

    fn forward(&self, run: &mut Run<'_>, layer: &Layer, x: &Tensor, _: Option<&Tensor>) -> Result<Tensor> {
        let scan = Scan { layer, gates: 1, input: self.input_size, hidden: self.hidden_size, steps: self.seq_length };
        scan.run(run, x, |_, z, h| {
            h.iter_mut().zip(z).for_each(|(h, &z)| *h = self.activation.apply(z));
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
        let scan = Scan { layer, gates: 1, input: self.input_size, hidden: self.hidden_size, steps: self.seq_length };
        scan.record(recorder, RNN, x, Recorder::fused(self.activation))
    }
}
