//! Convolution (cross-correlation, no kernel flip) over 1, 2 or 3 axes:
//! `y[b,f,o] = act(f32(sum_{c,t} x[b,c,o*stride+t-padding] W[f,c,t] + bias[f]))`.
//!
//! Channel first: `[batch, channels, depth, height, width]`. The sum runs over channels,
//! then kernel positions row-major; positions outside the input count as zeros.
//! Stages: the sum with its bias, the activation.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[cfg(feature = "gpu")]
use super::Recorder;
use super::{Activation, Family, LARGEST, Layer, RoleShape, Run, believable, elements, holdable, positive, shift};
use crate::backend::{MatRef, Rows, matmul};
use crate::error::{ConfigError, Result};
#[cfg(feature = "gpu")]
use crate::gpu::{GpuArray, Kernel, NONE, Sums, kernels};
use crate::role::Role;
use crate::tensor::{Tensor, element_count};

#[cfg(feature = "gpu")]
kernels! {
    CONV = Kernel::weighted("conv", &[include_str!("gpu.wgsl")]);
}

/// Configuration of a convolution over `N` axes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "ConvSpec{N}")]
pub struct ConvSpec<const N: usize> {
    /// Channels read.
    pub in_channels: usize,
    /// Channels written.
    pub filters: usize,
    /// Extent of the input along each axis, slowest first.
    pub input: Vec<usize>,
    /// Extent of the kernel, the same on every axis.
    pub kernel_size: usize,
    /// Step between windows.
    #[serde(default = "one")]
    pub stride: usize,
    /// Zeros on either side of every axis.
    #[serde(default)]
    pub padding: usize,
    /// Extent of the output where it is not `(input + 2 padding - kernel) / stride + 1`;
    /// windows beyond the input read zeros.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<Vec<usize>>,
    /// The activation.
    #[serde(default)]
    pub activation: Activation,
    /// Whether each filter has a bias.
    #[serde(default)]
    pub bias: bool,
}

pub(super) fn one() -> usize {
    1
}

/// `Err` unless `extents` names one positive extent per axis.
pub(super) fn check_axes<const N: usize>(
    field: &'static str,
    extents: &[usize],
) -> std::result::Result<(), ConfigError> {
    if extents.len() != N || extents.iter().any(|&n| n == 0 || n > LARGEST) {
        return Err(ConfigError::Extents { field, found: extents.to_vec(), axes: N, most: LARGEST });
    }
    Ok(())
}

/// Extents along three axes, of which the first are `fill` where there are fewer.
#[cfg(feature = "gpu")]
pub(super) fn three(extents: &[usize], fill: u32) -> [u32; 3] {
    let mut three = [fill; 3];
    let first = 3 - extents.len();
    three[first..].iter_mut().zip(extents).for_each(|(slot, &n)| *slot = n as u32);
    three
}

/// The roles of a convolution, transposed or not: `[filters, channels, kernel…]` and a bias.
pub(super) fn roles<const N: usize>(filters: usize, channels: usize, kernel: usize, bias: bool) -> Vec<RoleShape> {
    let mut shape = vec![filters, channels];
    shape.extend([kernel; N]);
    let mut roles = vec![RoleShape::new(Role::Weight, shape)];
    if bias {
        roles.push(RoleShape::new(Role::Bias, [filters]));
    }
    roles
}

impl<const N: usize> ConvSpec<N> {
    /// The extent of the output along each axis.
    #[must_use]
    pub fn output_extents(&self) -> Vec<usize> {
        let padded = |n: usize| n.saturating_add(self.padding.saturating_mul(2));
        let computed = |&n: &usize| padded(n).saturating_sub(self.kernel_size) / self.stride.max(1) + 1;
        self.output.clone().unwrap_or_else(|| self.input.iter().map(computed).collect())
    }

    /// The axes of one sample.
    fn sample(&self) -> Vec<usize> {
        [self.in_channels].into_iter().chain(self.input.iter().copied()).collect()
    }

    /// Elements under one window.
    fn window(&self) -> usize {
        self.in_channels.saturating_mul(self.kernel_size.saturating_pow(N as u32))
    }

    /// Copies every window of one sample into rows of `window()` elements.
    fn windows(&self, x: &[f32], out: &[usize]) -> Vec<f32> {
        let positions: usize = out.iter().product();
        let (k, volume) = (self.kernel_size, self.input.iter().product::<usize>());
        let pad = |extents: &[usize]| {
            let mut three = [1; 3];
            three[3 - N..].copy_from_slice(extents);
            three
        };
        let (input, out, kernel) = (pad(&self.input), pad(out), pad(&[k; N]));
        let at = |o: usize, t: usize, axis: usize| {
            // Axes that the kind does not have are of extent 1, without stride or padding.
            if axis < 3 - N {
                Some(0)
            } else {
                (o * self.stride + t).checked_sub(self.padding).filter(|&i| i < input[axis])
            }
        };
        let mut rows = Vec::with_capacity(positions * self.window());
        for (oz, oy, ox) in triples(out) {
            // Of a line of the window, what lies in the input; zeros stand before and behind it.
            let first = ox * self.stride;
            let before = self.padding.saturating_sub(first).min(kernel[2]);
            let line = (first + before).saturating_sub(self.padding)..(first + kernel[2]).saturating_sub(self.padding);
            let line = line.start.min(input[2])..line.end.min(input[2]);
            for c in 0..self.in_channels {
                let x = &x[c * volume..(c + 1) * volume];
                for tz in 0..kernel[0] {
                    for ty in 0..kernel[1] {
                        let end = rows.len() + kernel[2];
                        if let Some((z, y)) = at(oz, tz, 0).zip(at(oy, ty, 1)) {
                            rows.resize(end - kernel[2] + before, 0.0);
                            rows.extend_from_slice(&x[(z * input[1] + y) * input[2]..][line.clone()]);
                        }
                        rows.resize(end, 0.0);
                    }
                }
            }
        }
        rows
    }
}

fn triples([d, h, w]: [usize; 3]) -> impl Iterator<Item = (usize, usize, usize)> {
    (0..d).flat_map(move |z| (0..h).flat_map(move |y| (0..w).map(move |x| (z, y, x))))
}

impl<const N: usize> Family for ConvSpec<N> {
    fn check(&self) -> std::result::Result<(), ConfigError> {
        positive(&[
            ("in_channels", self.in_channels),
            ("filters", self.filters),
            ("kernel_size", self.kernel_size),
            ("stride", self.stride),
        ])?;
        check_axes::<N>("input", &self.input)?;
        believable(&[("padding", self.padding)])?;
        let positions = element_count(&self.output_extents()).unwrap_or(usize::MAX);
        holdable("the output", &[positions, self.filters])?;
        holdable("the windows of one sample", &[positions, self.window()])?;
        if let Some(output) = &self.output {
            return check_axes::<N>("output", output);
        }
        match self.input.iter().find(|&&n| n + 2 * self.padding < self.kernel_size) {
            Some(&input) => Err(ConfigError::Kernel { kernel: self.kernel_size, input, padding: self.padding }),
            None => Ok(()),
        }
    }

    fn roles(&self) -> Vec<RoleShape> {
        roles::<N>(self.filters, self.in_channels, self.kernel_size, self.bias)
    }

    fn terms(&self) -> usize {
        self.window().saturating_mul(2)
    }

    fn makes(&self, shape: &[usize]) -> usize {
        let batch = elements(shape).div_ceil(elements(&self.sample()).max(1));
        let positions = elements(&self.output_extents());
        let windows = elements(&[batch.min(rayon::current_num_threads()), positions, self.window()]);
        elements(&[batch, positions, self.filters, 3]).saturating_add(windows)
    }

    fn forward(&self, run: &mut Run<'_>, layer: &Layer, x: &Tensor, _: Option<&Tensor>) -> Result<Tensor> {
        let sample = element_count(&self.input).unwrap_or(0) * self.in_channels;
        let batch = layer.units(x.shape(), "samples", &self.sample())?;
        let out = self.output_extents();
        let positions: usize = out.iter().product();
        let bias = layer.vector(Role::Bias);
        let w: MatRef<'_> = layer.matrix(Role::Weight);
        // One sample at a time on each core; a lone sample is shared inside the product.
        let cpu = if batch > 1 { run.cpu.single() } else { run.cpu };
        let samples = run.cpu.map(batch, |b| {
            let rows = self.windows(&x.data()[b * sample..(b + 1) * sample], &out);
            let y: Vec<f32> = matmul(&cpu, Rows::packed(&rows, self.window()), w, |f, sum| {
                self.activation.apply((sum + shift(&bias, f)) as f32)
            });
            let mut planes = vec![0.0; y.len()];
            for (p, filters) in y.chunks_exact(self.filters).enumerate() {
                for (f, v) in filters.iter().enumerate() {
                    planes[f * positions + p] = *v;
                }
            }
            planes
        });
        let shape = [batch, self.filters].into_iter().chain(out.iter().copied()).collect();
        Ok(Tensor::of(shape, samples.concat()))
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
        let out = self.output_extents();
        let positions: usize = out.iter().product();
        recorder.within(layer, self.window().saturating_mul(2))?;
        let y = recorder.tape.array([batch, self.filters].into_iter().chain(out.iter().copied()).collect());
        let bias = recorder.vector(layer, Role::Bias)?;
        for piece in recorder.pieces(layer, &layer.weights()[&Role::Weight], Sums::Exact)? {
            let (first, filters) = (piece.rows.start, piece.rows.len());
            let bias = if bias == NONE { NONE } else { bias + 2 * first as u32 };
            let mut args = vec![x.at, y.at, self.in_channels as u32, filters as u32, self.filters as u32, first as u32];
            let steps = [three(&self.input, 1), three(&out, 1), three(&[self.kernel_size; N], 1)];
            args.extend(steps.into_iter().chain([three(&[self.stride; N], 1), three(&[self.padding; N], 0)]).flatten());
            args.extend([bias, self.activation as u32]);
            recorder.tape.weighted(CONV, batch * filters * positions, args, &piece);
        }
        Ok(y)
    }
}
