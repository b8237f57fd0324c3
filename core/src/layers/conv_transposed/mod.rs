//! Transposed convolution over 1, 2 or 3 axes:
//! `y[b,f,o] = act(f32(sum x[b,c,i] W[f,c,t] + bias[f]))` over all `i*stride - padding + t*dilation = o`,
//! c over the channels of the filter's group.
//!
//! No kernel flip; weights are `[filters, channels of a group, k…]`, filters first. The sum runs over
//! channels, then input positions, then kernel positions, each row-major.
//! Stages: the sum with its bias, the activation.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[cfg(feature = "gpu")]
use super::Recorder;
use super::axes::Axis;
#[cfg(feature = "gpu")]
use super::axes::three;
#[cfg(feature = "gpu")]
use super::conv::numbers;
use super::conv::{check_groups, is_one, one, roles};
use super::per_axis::{Padding, PerAxis, check_extents, check_windows, is_once, none, once};
use super::{Activation, Family, Layer, RoleShape, Run, believable, elements, holdable, shift};
use crate::error::{ConfigError, Result};
#[cfg(feature = "gpu")]
use crate::gpu::{GpuArray, Kernel, NONE, Sums, kernels};
use crate::role::Role;
use crate::tensor::{Tensor, element_count};

#[cfg(feature = "gpu")]
kernels! {
    CONV_TRANSPOSED = Kernel::weighted("conv_transposed", &[include_str!("gpu.wgsl")]);
}

/// Configuration of a transposed convolution over `N` axes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "ConvTransposedSpec{N}")]
pub struct ConvTransposedSpec<const N: usize> {
    /// Channels read.
    pub in_channels: usize,
    /// Channels written.
    pub filters: usize,
    /// Extent of the input along each axis, slowest first.
    pub input: Vec<usize>,
    /// Extent of the kernel.
    pub kernel_size: PerAxis,
    /// Step between the places that input positions write to.
    #[serde(default = "once")]
    pub stride: PerAxis,
    /// Positions cut from the sides of every output axis.
    #[serde(default = "none")]
    pub padding: Padding,
    /// Step between the places of the kernel.
    #[serde(default = "once", skip_serializing_if = "is_once")]
    pub dilation: PerAxis,
    /// Into how many groups channels and filters are divided; a filter sees the channels of its group alone.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub groups: usize,
    /// Positions added at the end of every output axis.
    #[serde(default)]
    pub output_padding: usize,
    /// Extent of the output where it is not
    /// `(input - 1) stride - padding + reach of the kernel + output_padding`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<Vec<usize>>,
    /// The activation.
    #[serde(default)]
    pub activation: Activation,
    /// Whether each filter has a bias.
    #[serde(default)]
    pub bias: bool,
}

impl<const N: usize> ConvTransposedSpec<N> {
    /// The extent of the output along each axis.
    #[must_use]
    pub fn output_extents(&self) -> Vec<usize> {
        self.axes().iter().map(|axis| axis.output).collect()
    }

    /// The axes of the convolution that this one turns around: its windows are our inputs.
    fn axes(&self) -> Vec<Axis> {
        let said = |i: usize| self.output.as_ref().and_then(|output| output.get(i)).copied();
        let computed = |axis: Axis| {
            let reach = axis.input.saturating_sub(1).saturating_mul(axis.stride).saturating_add(axis.reach());
            let [before, behind] = axis.sides;
            reach.saturating_add(self.output_padding).saturating_sub(before).saturating_sub(behind)
        };
        let numbers = [&self.kernel_size, &self.stride, &self.dilation];
        Axis::each(&self.input, numbers, &self.padding, |i, axis| said(i).unwrap_or_else(|| computed(axis)))
    }

    /// Places of the kernel.
    fn volume(&self) -> usize {
        (0..N).fold(1, |volume, axis| volume.saturating_mul(self.kernel_size.along(axis)))
    }

    /// Channels that a filter sees.
    fn channels(&self) -> usize {
        self.in_channels / self.groups.max(1)
    }

    /// The axes of one sample.
    fn sample(&self) -> Vec<usize> {
        [self.in_channels].into_iter().chain(self.input.iter().copied()).collect()
    }
}

/// The pairs (input position, place of the kernel) of one axis that meet at output `o`.
fn meeting(axis: &Axis, o: usize) -> Vec<(usize, usize)> {
    let meets = |i: usize| {
        let t = (o + axis.sides[0]).checked_sub(i * axis.stride)?;
        (t.is_multiple_of(axis.dilation) && t / axis.dilation < axis.kernel).then_some((i, t / axis.dilation))
    };
    (0..axis.input).filter_map(meets).collect()
}

impl<const N: usize> Family for ConvTransposedSpec<N> {
    fn check(&self) -> std::result::Result<(), ConfigError> {
        check_extents("input", &self.input, N..=N)?;
        check_groups(self.groups, self.in_channels, self.filters)?;
        check_windows([&self.kernel_size, &self.stride, &self.dilation], &self.padding, N)?;
        self.activation.check()?;
        believable(&[("output_padding", self.output_padding)])?;
        check_extents("output", &self.output_extents(), N..=N)?;
        let positions = element_count(&self.output_extents()).unwrap_or(usize::MAX);
        holdable("the output", &[positions, self.filters])?;
        holdable("the meetings of one sample", &[positions, self.volume()])
    }

    fn roles(&self) -> Vec<RoleShape> {
        roles::<N>(self.filters, self.channels(), &self.kernel_size, self.bias)
    }

    fn terms(&self) -> usize {
        self.channels().saturating_mul(self.volume()).saturating_mul(2)
    }

    fn makes(&self, shape: &[usize]) -> usize {
        let batch = elements(shape).div_ceil(elements(&self.sample()).max(1));
        let positions = elements(&self.output_extents());
        // A pair of positions takes as much as four elements, a list of them as much as six.
        let meetings = elements(&[positions, self.volume().saturating_mul(4).saturating_add(6)]);
        elements(&[batch, positions, self.filters, 2]).saturating_add(meetings)
    }

    fn forward(&self, run: &mut Run<'_>, layer: &Layer, x: &Tensor, _: Option<&Tensor>) -> Result<Tensor> {
        let volume = element_count(&self.input).unwrap_or(0);
        let batch = layer.units(x.shape(), "samples", &self.sample())?;
        let out = self.output_extents();
        let positions: usize = out.iter().product();
        let (axes, kernel, channels) = (self.axes(), self.volume(), self.channels());
        let (w, bias) = (&layer.weights()[&Role::Weight], layer.vector(Role::Bias));
        // For each output position, the flat (input, kernel) positions that meet there.
        let meetings: Vec<Vec<(usize, usize)>> = (0..positions)
            .map(|mut o| {
                let mut pairs = vec![(0, 0)];
                let mut steps = (1, 1);
                for axis in (0..N).rev() {
                    let here = meeting(&axes[axis], o % out[axis]);
                    o /= out[axis];
                    let (si, st) = steps;
                    pairs = here
                        .iter()
                        .flat_map(|&(i, t)| pairs.iter().map(move |&(pi, pt)| (i * si + pi, t * st + pt)))
                        .collect();
                    steps = (si * axes[axis].input, st * axes[axis].kernel);
                }
                pairs
            })
            .collect();
        let planes = run.cpu.map(batch * self.filters, |plane| {
            let (b, f) = (plane / self.filters, plane % self.filters);
            let first = b * self.in_channels + f / (self.filters / self.groups) * channels;
            let bias = shift(&bias, f);
            let mut filter = vec![0.0; channels * kernel];
            w.decode(f * filter.len(), &mut filter);
            let element = |pairs: &Vec<(usize, usize)>| {
                let mut sum = 0.0;
                for c in 0..channels {
                    let x = &x.data()[(first + c) * volume..][..volume];
                    let w = &filter[c * kernel..][..kernel];
                    for &(i, t) in pairs {
                        sum += f64::from(x[i]) * w[t];
                    }
                }
                self.activation.apply((sum + bias) as f32)
            };
            meetings.iter().map(element).collect::<Vec<f32>>()
        });
        let shape = [batch, self.filters].into_iter().chain(out.iter().copied()).collect();
        Ok(Tensor::of(shape, planes.concat()))
    }

    #[cfg(feature = "gpu")]
    fn record(
        &self,
        recorder: &mut Recorder<'_>,
        layer: &Layer,
        x: &GpuArray,
        _: Option<&GpuArray>,
    ) -> Result<GpuArray> {
        let volume = element_count(&self.input).unwrap_or(0);
        let batch = layer.units(&x.shape, "samples", &self.sample())?;
        let out = self.output_extents();
        let positions: usize = out.iter().product();
        recorder.within(layer, volume.saturating_mul(self.channels()).saturating_mul(2))?;
        let y = recorder.tape.array([batch, self.filters].into_iter().chain(out.iter().copied()).collect());
        let bias = recorder.vector(layer, Role::Bias)?;
        for piece in recorder.pieces(layer, &layer.weights()[&Role::Weight], Sums::Rounded)? {
            let (first, filters) = (piece.rows.start, piece.rows.len());
            let bias = if bias == NONE { NONE } else { bias + 2 * first as u32 };
            let mut args = vec![x.at, y.at, self.in_channels as u32, filters as u32, self.filters as u32, first as u32];
            args.extend(numbers(three(&self.axes())).chain([bias, Recorder::fused(self.activation)]));
            args.extend([self.channels(), self.filters / self.groups].map(|n| n as u32));
            recorder.tape.weighted(CONV_TRANSPOSED, batch * filters * positions, args, &piece);
        }
        recorder.finish(&y, self.activation);
        Ok(y)
    }
}
