//! Long short-term memory (Hochreiter and Schmidhuber, 1997), gates in the order i, f, g, o:
//! `c_t = sigmoid(f) c_{t-1} + sigmoid(i) tanh(g)`, `h_t = sigmoid(o) tanh(c_t)`, zero start.
//!
//! Every step's `h` is an output. Stages: the gate sums with their biases, `c`, `h`: one
//! rounding each; the recurrence carries the rounded `c` and `h`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[cfg(feature = "gpu")]
use super::Recorder;
use super::rnn::{self, Scan, check_sizes, roles};
use super::{Family, Layer, RoleShape, Run, on};
use crate::error::{ConfigError, Result};
#[cfg(feature = "gpu")]
use crate::gpu::{GpuArray, Kernel, kernels};
use crate::math::{sigmoid, tanh};
use crate::tensor::Tensor;

#[cfg(feature = "gpu")]
kernels! {
    LSTM = Kernel::weighted("lstm", &[super::rnn::SCAN, include_str!("gpu.wgsl")]).grouped(1, 128);
}

/// Configuration of an LSTM layer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LstmSpec {
    /// Features read at each step.
    pub input_size: usize,
    /// Features written at each step.
    pub hidden_size: usize,
    /// Steps of a sequence.
    pub seq_length: usize,
    /// Whether the gates have biases.
    #[serde(default = "on")]
    pub bias: bool,
}

impl Family for LstmSpec {
    fn check(&self) -> std::result::Result<(), ConfigError> {
        check_sizes(self.input_size, self.hidden_size, self.seq_length)
    }

    fn roles(&self) -> Vec<RoleShape> {
        roles(4, self.input_size, self.hidden_size, self.bias)
    }

    fn terms(&self) -> usize {
        self.input_size.saturating_add(self.hidden_size).saturating_mul(2)
    }

    fn makes(&self, shape: &[usize]) -> usize {
        rnn::makes(4, self.input_size, self.hidden_size, shape)
    }

    fn forward(&self, run: &mut Run<'_>, layer: &Layer, x: &Tensor, _: Option<&Tensor>) -> Result<Tensor> {
        let hidden = self.hidden_size;
        let scan = Scan { layer, gates: 4, input: self.input_size, hidden, steps: self.seq_length };
        let batch = layer.units(x.shape(), "sequences", &[self.seq_length, self.input_size])?;
        let mut cells = vec![0.0f32; batch * hidden];
        scan.run(run, x, |b, z, h| {
            let c = &mut cells[b * hidden..][..hidden];
            for j in 0..hidden {
                let [i, f, g, o] = [0, 1, 2, 3].map(|gate| f64::from(z[gate * hidden + j]));
                c[j] = (sigmoid(f) * f64::from(c[j]) + sigmoid(i) * tanh(g)) as f32;
                h[j] = (sigmoid(o) * tanh(f64::from(c[j]))) as f32;
            }
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
        let scan = Scan { layer, gates: 4, input: self.input_size, hidden: self.hidden_size, steps: self.seq_length };
        let batch = layer.units(&x.shape, "sequences", &[self.seq_length, self.input_size])?;
        let cells = recorder.tape.reserve(batch * self.hidden_size);
        scan.record(recorder, LSTM, x, cells)
    }
}
