//! Softmax in eleven variants, over each row (last axis) or over the whole tensor.
//!
//! `z = f32(x / temperature)`; then the maximum is subtracted, exponentials and sums run in
//! f64 and each quotient is rounded once. Sparsemax: Martins and Astudillo, 2016. The
//! entmax variant is the original's mixture of softmax and sparsemax, not true entmax.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[cfg(feature = "gpu")]
use super::Recorder;
use super::kmeans::{check_temperature, unit};
use super::{Family, Layer, Run, elements, rounded};
use crate::error::{ConfigError, Result};
#[cfg(feature = "gpu")]
use crate::gpu::{GpuArray, Kernel, NONE, kernels};
use crate::math;
use crate::random::SplitMix64;
use crate::tensor::Tensor;

/// The softmax of a row.
#[cfg(feature = "gpu")]
pub(super) const ROW: &str = include_str!("row.wgsl");
#[cfg(feature = "gpu")]
kernels! {
    SOFTMAX = Kernel::weightless("softmax", &[ROW, include_str!("gpu.wgsl")]);
}

/// A way to turn logits into weights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SoftmaxVariant {
    /// Plain softmax.
    #[default]
    Standard,
    /// The first `rows * cols` elements as rows of `cols`; what lies beyond becomes 0.
    Grid,
    /// As `grid`, with `cols` the last of `levels`.
    Hierarchical,
    /// Plain softmax; the name says that the temperature matters.
    Temperature,
    /// Gumbel noise is added first; `seed` and the number of the call determine it.
    Gumbel,
    /// Elements whose mask is false get no weight; elements past the mask are kept.
    Masked,
    /// Sparsemax.
    Sparse,
    /// Plain softmax under another name.
    Adaptive,
    /// Plain softmax under another name.
    Mixture,
    /// `(2 - alpha) softmax + (alpha - 1) sparsemax`, alpha clamped to 1..2.
    Entmax,
    /// Log-softmax: `z - max - ln(sum of exp(z - max))`.
    Log,
}

/// What is normalised together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SoftmaxOver {
    /// The last axis.
    #[default]
    Row,
    /// Everything, batch included: what the original does.
    Tensor,
}

/// Configuration of a softmax layer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SoftmaxSpec {
    /// The variant.
    #[serde(default)]
    pub variant: SoftmaxVariant,
    /// What is normalised together.
    #[serde(default)]
    pub over: SoftmaxOver,
    /// Divides the logits.
    #[serde(default = "unit")]
    pub temperature: f64,
    /// Rows of the grid; 0 with any `cols` means one row of everything.
    #[serde(default)]
    pub rows: usize,
    /// Columns of the grid.
    #[serde(default)]
    pub cols: usize,
    /// Levels of the hierarchical variant; the last is the number of columns.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub levels: Vec<usize>,
    /// Which elements the masked variant keeps.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mask: Vec<bool>,
    /// Entmax's alpha.
    #[serde(default = "alpha")]
    pub alpha: f64,
    /// Seed of the Gumbel noise.
    #[serde(default)]
    pub seed: u64,
}

fn alpha() -> f64 {
    1.5
}

impl Default for SoftmaxSpec {
    fn default() -> Self {
        Self {
            variant: SoftmaxVariant::Standard,
            over: SoftmaxOver::Row,
            temperature: unit(),
            rows: 0,
            cols: 0,
            levels: Vec::new(),
            mask: Vec::new(),
            alpha: alpha(),
            seed: 0,
        }
    }
}

impl SoftmaxSpec {
    /// The columns of a grid over `n` elements and how many rows it has, or what is wrong.
    fn grid(&self, n: usize) -> std::result::Result<(usize, usize), ConfigError> {
        let (rows, cols) = match (self.variant, self.levels.last()) {
            (SoftmaxVariant::Hierarchical, Some(&cols)) => (n.checked_div(cols).unwrap_or(0), cols),
            _ => (self.rows, self.cols),
        };
        if rows == 0 || cols == 0 {
            return Ok((1, n.max(1)));
        }
        if (rows - 1).saturating_mul(cols) >= n {
            return Err(ConfigError::Grid { rows, cols, elements: n });
        }
        Ok((rows, cols))
    }

    /// The noise of a call, counted from 1.
    fn noise(&self, call: u64) -> SplitMix64 {
        SplitMix64(self.seed ^ call.wrapping_mul(0xd1b5_4a32_d192_ed03))
    }

    fn apply(&self, x: &mut [f32], noise: &mut SplitMix64) -> std::result::Result<(), ConfigError> {
        x.iter_mut().for_each(|v| *v = (f64::from(*v) / self.temperature) as f32);
        match self.variant {
            SoftmaxVariant::Standard
            | SoftmaxVariant::Temperature
            | SoftmaxVariant::Adaptive
            | SoftmaxVariant::Mixture => {
                softmax_in_place(x);
            }
            SoftmaxVariant::Grid | SoftmaxVariant::Hierarchical => {
                let (rows, cols) = self.grid(x.len())?;
                let used = rows.saturating_mul(cols).min(x.len());
                let (inside, beyond) = x.split_at_mut(used);
                inside.chunks_mut(cols).for_each(softmax_in_place);
                beyond.fill(0.0);
            }
            SoftmaxVariant::Gumbel => {
                x.iter_mut().for_each(|v| *v = (f64::from(*v) + gumbel(noise)) as f32);
                softmax_in_place(x);
            }
            SoftmaxVariant::Masked => {
                x.iter_mut().zip(&self.mask).filter(|(_, keep)| !**keep).for_each(|(v, _)| *v = -1e9);
                softmax_in_place(x);
            }
            SoftmaxVariant::Sparse => sparsemax(x),
            SoftmaxVariant::Entmax => {
                let t = (self.alpha - 1.0).clamp(0.0, 1.0);
                let mut sparse = x.to_vec();
                sparsemax(&mut sparse);
                softmax_in_place(x);
                let mix: Vec<f64> =
                    x.iter().zip(&sparse).map(|(&s, &p)| (1.0 - t) * f64::from(s) + t * f64::from(p)).collect();
                let sum = mix.iter().fold(0.0, |sum, v| sum + v);
                x.iter_mut().zip(&mix).for_each(|(v, m)| *v = (m / sum) as f32);
            }
            SoftmaxVariant::Log => {
                let shift = largest(x);
                let sum = x.iter().fold(0.0, |sum, &v| sum + math::exp(f64::from(v) - shift));
                let log = math::ln(sum);
                x.iter_mut().for_each(|v| *v = rounded(f64::from(*v) - shift - log));
            }
        }
        Ok(())
    }
}

/// The largest element of a row, 0 where all are minus infinity: what a softmax subtracts.
fn largest(row: &[f32]) -> f64 {
    let max = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    if max == f32::NEG_INFINITY { 0.0 } else { f64::from(max) }
}

/// Softmax in place: the maximum subtracted, exponentials and their sum in f64, one
/// rounding of each quotient. A slice of minus infinities becomes uniform.
pub(super) fn softmax_in_place(row: &mut [f32]) {
    let shift = largest(row);
    let exps: Vec<f64> = row.iter().map(|&v| math::exp(f64::from(v) - shift)).collect();
    let sum = exps.iter().fold(0.0, |sum, e| sum + e);
    for (slot, e) in row.iter_mut().zip(&exps) {
        *slot = if sum == 0.0 { 1.0 / exps.len() as f32 } else { (e / sum) as f32 };
    }
}

/// The Euclidean projection onto the simplex.
fn sparsemax(x: &mut [f32]) {
    let mut sorted: Vec<f64> = x.iter().map(|&v| f64::from(v)).collect();
    sorted.sort_by(|a, b| b.total_cmp(a));
    let (mut sum, mut threshold) = (0.0, 0.0);
    for (i, z) in sorted.iter().enumerate() {
        let k = (i + 1) as f64;
        if z - (sum + z - 1.0) / k <= 0.0 {
            break;
        }
        sum += z;
        threshold = (sum - 1.0) / k;
    }
    x.iter_mut().for_each(|v| *v = (f64::from(*v) - threshold).max(0.0) as f32);
}

/// The next number of the standard Gumbel distribution.
fn gumbel(noise: &mut SplitMix64) -> f64 {
    -math::ln(-math::ln(noise.unit().max(1e-10)))
}

impl Family for SoftmaxSpec {
    fn check(&self) -> std::result::Result<(), ConfigError> {
        check_temperature(self.temperature)?;
        match self.alpha.is_finite() {
            true => Ok(()),
            false => Err(ConfigError::Number { field: "alpha", found: self.alpha, expected: "a number" }),
        }
    }

    fn makes(&self, shape: &[usize]) -> usize {
        elements(&[elements(shape), 3])
    }

    fn forward(&self, run: &mut Run<'_>, layer: &Layer, x: &Tensor, _: Option<&Tensor>) -> Result<Tensor> {
        let call = run.state.calls.entry(layer.site).or_default();
        *call += 1;
        let mut noise = self.noise(*call);
        let width = match self.over {
            SoftmaxOver::Row => x.shape().last().copied().unwrap_or(1),
            SoftmaxOver::Tensor => x.len(),
        };
        let mut y = x.data().to_vec();
        for row in y.chunks_mut(width.max(1)) {
            self.apply(row, &mut noise).map_err(|what| layer.error(what.into()))?;
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
        // The tape counts the visits of this run, the state those of earlier ones.
        let visit = recorder.tape.visits.entry(layer.site).and_modify(|n| *n += 1).or_insert(0);
        let call = recorder.tape.state.calls(layer.site) + *visit as u64 + 1;
        let n = x.len();
        let width = match self.over {
            SoftmaxOver::Row => x.shape.last().copied().unwrap_or(1),
            SoftmaxOver::Tensor => n,
        };
        let wrong = |what: ConfigError| layer.error(what.into());
        let sorts = matches!(self.variant, SoftmaxVariant::Sparse | SoftmaxVariant::Entmax);
        recorder.within(layer, width.saturating_mul(if sorts { width + 6 } else { 6 }))?;
        let y = recorder.tape.array(x.shape.clone());
        let (mut variant, mut cols, mut used, mut extra, mut masked) = (0, 0, 0, NONE, 0);
        match self.variant {
            SoftmaxVariant::Standard
            | SoftmaxVariant::Temperature
            | SoftmaxVariant::Adaptive
            | SoftmaxVariant::Mixture => {}
            SoftmaxVariant::Grid | SoftmaxVariant::Hierarchical => {
                let rows;
                (rows, cols) = if n == 0 { (1, 1) } else { self.grid(width).map_err(wrong)? };
                (variant, used) = (1, rows.saturating_mul(cols).min(width));
            }
            SoftmaxVariant::Gumbel => {
                let mut noise = self.noise(call);
                let drawn: Vec<f64> = (0..n).map(|_| gumbel(&mut noise)).collect();
                (variant, extra) = (2, recorder.tape.reals(&drawn));
            }
            SoftmaxVariant::Masked => {
                masked = self.mask.len();
                (variant, extra) = (3, recorder.tape.constant(self.mask.iter().map(|&keep| u32::from(keep)).collect()));
            }
            SoftmaxVariant::Sparse => variant = 4,
            SoftmaxVariant::Entmax => variant = 5,
            SoftmaxVariant::Log => variant = 6,
        }
        let t = (self.alpha - 1.0).clamp(0.0, 1.0);
        let [[t0, t1], [s0, s1], [r0, r1]] = [self.temperature, t, 1.0 - t].map(|v| recorder.tape.real(v));
        let [width, cols, used, masked] = [width, cols, used, masked].map(|n| n as u32);
        let numbers = [x.at, y.at, width, t0, t1, variant, cols, used, extra, masked, s0, s1, r0, r1];
        recorder.tape.op(SOFTMAX, n / (width as usize).max(1), numbers);
        Ok(y)
    }
}
