//! Convolution (cross-correlation, no kernel flip) over 1, 2 or 3 axes:
//! `y[b,f,o] = act(f32(sum_{c,t} x[b,c,o*stride+t*dilation-padding] W[f,c,t] + bias[f]))`, c over the channels of
//! the filter's group.
//!
//! Channel first: `[batch, channels, depth, height, width]`. The sum runs over channels,
//! then kernel positions row-major; positions outside the input count as zeros,
//! unless a padding mode puts elements of the input there.
//! Stages: the sum with its bias, the activation.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[cfg(feature = "gpu")]
use super::Recorder;
use super::axes::{Axis, three, touching};
use super::per_axis::{Padding, PerAxis, check_extents, check_windows, is_once, none, once};
use super::pick::Pick;
use super::view::PadMode;
use super::{Activation, Family, Layer, RoleShape, Run, elements, holdable, positive, rounded, shift};
use crate::backend::{Cpu, MatRef, Rows, exact_dot, matmul};
use crate::dtype::{Affine, Rule};
use crate::error::{ConfigError, Result};
#[cfg(feature = "gpu")]
use crate::gpu::{GpuArray, Kernel, NONE, Sums, kernels};
use crate::role::Role;
use crate::store::{Scales, WeightStore};
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
    /// Extent of the kernel.
    pub kernel_size: PerAxis,
    /// Step between windows.
    #[serde(default = "once")]
    pub stride: PerAxis,
    /// What lies before and behind the input.
    #[serde(default = "none")]
    pub padding: Padding,
    /// What stands there.
    #[serde(default, skip_serializing_if = "is_zeros")]
    pub padding_mode: PadMode,
    /// Step between the places of a window.
    #[serde(default = "once", skip_serializing_if = "is_once")]
    pub dilation: PerAxis,
    /// Into how many groups channels and filters are divided; a filter sees the channels of its group alone.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub groups: usize,
    /// Extent of the output where it is not `(input + padding - reach of the kernel) / stride + 1`;
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

pub(super) fn is_one(n: &usize) -> bool {
    *n == 1
}

fn is_zeros(mode: &PadMode) -> bool {
    *mode == PadMode::Zeros
}

/// The roles of a convolution, transposed or not: `[filters, channels of a group, kernel…]` and a bias.
pub(super) fn roles<const N: usize>(filters: usize, channels: usize, kernel: &PerAxis, bias: bool) -> Vec<RoleShape> {
    let mut shape = vec![filters, channels];
    shape.extend((0..N).map(|axis| kernel.along(axis)));
    let mut roles = vec![RoleShape::new(Role::Weight, shape)];
    if bias {
        roles.push(RoleShape::new(Role::Bias, [filters]));
    }
    roles
}

/// `Err` unless groups divide channels and filters.
pub(super) fn check_groups(groups: usize, channels: usize, filters: usize) -> std::result::Result<(), ConfigError> {
    positive(&[("in_channels", channels), ("filters", filters), ("groups", groups)])?;
    match [("in_channels", channels), ("filters", filters)].into_iter().find(|(_, n)| !n.is_multiple_of(groups)) {
        Some((field, found)) => Err(ConfigError::Groups { field, found, groups }),
        None => Ok(()),
    }
}

/// Arguments of a kernel for three axes: one number of each, in turn.
#[cfg(feature = "gpu")]
pub(super) fn numbers(axes: [Axis; 3]) -> impl Iterator<Item = u32> {
    let of: [fn(&Axis) -> usize; 6] =
        [|a| a.input, |a| a.output, |a| a.kernel, |a| a.stride, |a| a.sides[0], |a| a.dilation];
    of.into_iter().flat_map(move |number| axes.map(|axis| number(&axis) as u32))
}

impl<const N: usize> ConvSpec<N> {
    /// The extent of the output along each axis.
    #[must_use]
    pub fn output_extents(&self) -> Vec<usize> {
        self.axes().iter().map(|axis| axis.output).collect()
    }

    fn axes(&self) -> Vec<Axis> {
        let said = |i: usize| self.output.as_ref().and_then(|output| output.get(i)).copied();
        let numbers = [&self.kernel_size, &self.stride, &self.dilation];
        Axis::each(&self.input, numbers, &self.padding, |i, axis| said(i).unwrap_or_else(|| axis.windows(false)))
    }

    /// The axes of one sample.
    fn sample(&self) -> Vec<usize> {
        [self.in_channels].into_iter().chain(self.input.iter().copied()).collect()
    }

    /// Places of a window.
    fn volume(&self) -> usize {
        (0..N).fold(1, |volume, axis| volume.saturating_mul(self.kernel_size.along(axis)))
    }

    /// Elements under one window.
    fn window(&self) -> usize {
        (self.in_channels / self.groups.max(1)).saturating_mul(self.volume())
    }

    /// Elements of the padded input, where padding is made of elements. Also of an empty batch each axis has a table.
    fn copied(&self, batch: usize) -> usize {
        match self.padding_mode {
            PadMode::Zeros => 0,
            _ => self.axes().iter().fold(batch.max(1), |all, axis| all.saturating_mul(axis.padded())),
        }
        .saturating_mul(self.in_channels)
    }

    /// The same axes, and which elements of `[batch, channels, input…]` are read, where padding is made of elements.
    fn laid_out(&self, batch: usize) -> std::result::Result<([Axis; 3], Option<Pick>), ConfigError> {
        let mut axes = self.axes();
        if self.padding_mode == PadMode::Zeros || self.padding.is_none() {
            return Ok((three(&axes), None));
        }
        let whole: Vec<usize> = [batch].into_iter().chain(self.sample()).collect();
        let mut pick = Pick::all(&whole);
        for (i, axis) in axes.iter_mut().enumerate() {
            pick = pick.along(i + 2, self.padding_mode.positions(axis.input, axis.sides)?.into_iter());
            *axis = Axis { input: axis.padded(), sides: [0; 2], ..*axis };
        }
        Ok((three(&axes), Some(pick)))
    }

    /// Copies every window of the planes of some channels into rows of `window()` elements.
    fn windows(&self, x: &[f32], [z, y, x_axis]: [Axis; 3]) -> Vec<f32> {
        let volume = z.input * y.input * x_axis.input;
        let positions = z.output * y.output * x_axis.output;
        let mut rows = Vec::with_capacity(positions * self.window());
        for (oz, oy, ox) in triples([z, y, x_axis].map(|axis| axis.output)) {
            // Of a line of the window, what lies in the input; zeros stand before and behind it.
            let (inside_z, inside_y, inside) = (z.inside(oz), y.inside(oy), x_axis.inside(ox));
            let first = if inside.is_empty() { 0 } else { x_axis.position(ox, inside.start) };
            for x in x.chunks_exact(volume) {
                for tz in 0..z.kernel {
                    for ty in 0..y.kernel {
                        let end = rows.len() + x_axis.kernel;
                        if inside_z.contains(&tz) && inside_y.contains(&ty) && !inside.is_empty() {
                            rows.resize(end - x_axis.kernel + inside.start, 0.0);
                            let line = &x[(z.position(oz, tz) * y.input + y.position(oy, ty)) * x_axis.input + first..];
                            match x_axis.dilation {
                                1 => rows.extend_from_slice(&line[..inside.len()]),
                                step => rows.extend(line.iter().step_by(step).take(inside.len())),
                            }
                        }
                        rows.resize(end, 0.0);
                    }
                }
            }
        }
        rows
    }

    /// The plane of filter `f`, of a sample, where filters see few channels.
    fn grouped(&self, cpu: &Cpu, x: &[f32], axes: [Axis; 3], w: &WeightStore, f: usize, bias: f64) -> Vec<f32> {
        let [z, y, last] = axes;
        let (volume, places) = (z.input * y.input * last.input, self.volume());
        let channels = self.in_channels / self.groups;
        let first = f / (self.filters / self.groups) * channels;
        let planes = &x[first * volume..(first + channels) * volume];
        let emit = |sum: f64| self.activation.apply(rounded(sum + bias));
        if w.rule() == Rule::Narrow {
            let (rows, Scales::Tensor(Affine { scale, .. })) = (self.windows(planes, axes), w.scales());
            let mut numbers = vec![0; self.window()];
            w.look_up(&w.numbers(), f * numbers.len(), &mut numbers);
            let windows = rows.chunks_exact(numbers.len());
            return windows.map(|row| emit(exact_dot(row, &numbers) * f64::from(scale))).collect();
        }
        let mut weights = vec![0.0; self.window()];
        w.decode(f * weights.len(), &mut weights);
        let mut out = Vec::with_capacity(z.output * y.output * last.output);
        let mut sums = vec![0.0; last.output];
        for line in 0..z.output * y.output {
            sums.fill(0.0);
            for (plane, weights) in planes.chunks_exact(volume).zip(weights.chunks_exact(places)) {
                touching(axes, line, plane, |t, windows, from| {
                    cpu.add_products(&mut sums[windows], from, last.stride, weights[t]);
                });
            }
            out.extend(sums.iter().map(|&sum| emit(sum)));
        }
        out
    }
}

fn triples([d, h, w]: [usize; 3]) -> impl Iterator<Item = (usize, usize, usize)> {
    (0..d).flat_map(move |z| (0..h).flat_map(move |y| (0..w).map(move |x| (z, y, x))))
}

impl<const N: usize> Family for ConvSpec<N> {
    fn check(&self) -> std::result::Result<(), ConfigError> {
        check_extents("input", &self.input, N..=N)?;
        check_groups(self.groups, self.in_channels, self.filters)?;
        check_windows([&self.kernel_size, &self.stride, &self.dilation], &self.padding, N)?;
        self.activation.check()?;
        let positions = element_count(&self.output_extents()).unwrap_or(usize::MAX);
        holdable("the output", &[positions, self.filters])?;
        holdable("the windows of one sample", &[positions, self.window()])?;
        for (axis, &input) in self.axes().iter().zip(&self.input) {
            self.padding_mode.check(input, axis.sides)?;
        }
        match &self.output {
            Some(output) => check_extents("output", output, N..=N),
            None => self.axes().iter().try_for_each(Axis::check),
        }
    }

    fn roles(&self) -> Vec<RoleShape> {
        roles::<N>(self.filters, self.in_channels / self.groups.max(1), &self.kernel_size, self.bias)
    }

    fn terms(&self) -> usize {
        self.window().saturating_mul(2)
    }

    fn makes(&self, shape: &[usize]) -> usize {
        let batch = elements(shape).div_ceil(elements(&self.sample()).max(1));
        let positions = elements(&self.output_extents());
        let windows = elements(&[batch.min(rayon::current_num_threads()), positions, self.window()]);
        elements(&[batch, positions, self.filters, 3]).saturating_add(windows).saturating_add(self.copied(batch))
    }

    fn forward(&self, run: &mut Run<'_>, layer: &Layer, x: &Tensor, _: Option<&Tensor>) -> Result<Tensor> {
        let batch = layer.units(x.shape(), "samples", &self.sample())?;
        let out = self.output_extents();
        let positions: usize = out.iter().product();
        let (axes, pick) = self.laid_out(batch).map_err(|what| layer.error(what.into()))?;
        let padded = pick.map(|pick| pick.of(x.data()));
        let x = padded.as_deref().unwrap_or(x.data());
        let sample = axes.iter().fold(self.in_channels, |all, axis| all * axis.input);
        let bias = layer.vector(Role::Bias);
        let shape = [batch, self.filters].into_iter().chain(out.iter().copied()).collect();
        if self.groups > 1 {
            let (cpu, w) = (run.cpu, &layer.weights()[&Role::Weight]);
            let planes = cpu.map(batch * self.filters, |plane| {
                let (b, f) = (plane / self.filters, plane % self.filters);
                self.grouped(&cpu, &x[b * sample..(b + 1) * sample], axes, w, f, shift(&bias, f))
            });
            return Ok(Tensor::of(shape, planes.concat()));
        }
        let w: MatRef<'_> = layer.matrix(Role::Weight);
        // One sample at a time on each core; a lone sample is shared inside the product.
        let cpu = if batch > 1 { run.cpu.single() } else { run.cpu };
        let samples = run.cpu.map(batch, |b| {
            let rows = self.windows(&x[b * sample..(b + 1) * sample], axes);
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
        recorder.room(layer, self.copied(batch))?;
        let (axes, pick) = self.laid_out(batch).map_err(|what| layer.error(what.into()))?;
        let padded = pick.map(|pick| recorder.pick(layer, x, &pick)).transpose()?;
        let x = padded.as_ref().unwrap_or(x);
        let y = recorder.tape.array([batch, self.filters].into_iter().chain(out.iter().copied()).collect());
        let bias = recorder.vector(layer, Role::Bias)?;
        let together = [self.in_channels / self.groups, self.filters / self.groups].map(|n| n as u32);
        for piece in recorder.pieces(layer, &layer.weights()[&Role::Weight], Sums::Exact)? {
            let (first, filters) = (piece.rows.start, piece.rows.len());
            let bias = if bias == NONE { NONE } else { bias + 2 * first as u32 };
            let mut args = vec![x.at, y.at, self.in_channels as u32, filters as u32, self.filters as u32, first as u32];
            args.extend(numbers(axes).chain([bias, Recorder::fused(self.activation)]).chain(together));
            recorder.tape.weighted(CONV, batch * filters * positions, args, &piece);
        }
        recorder.finish(&y, self.activation);
        Ok(y)
    }
}
