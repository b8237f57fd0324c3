//! Transposed convolution over 1, 2 or 3 axes:
//! `y[b,f,o] = act(f32(sum x[b,c,i] W[f,c,t] + bias[f]))` over all `i*stride - padding + t = o`.
//!
//! No kernel flip; weights are `[filters, channels, k…]`, filters first. The sum runs over
//! channels, then input positions, then kernel positions, each row-major.
//! Stages: the sum with its bias, the activation.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[cfg(feature = "gpu")]
use super::Recorder;
#[cfg(feature = "gpu")]
use super::conv::three;
use super::conv::{check_axes, one, roles};
use super::{Activation, Family, Layer, RoleShape, Run, believable, elements, holdable, positive, shift};
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
    /// Extent of the kernel, the same on every axis.
    pub kernel_size: usize,
    /// Step between the places that input positions write to.
    #[serde(default = "one")]
    pub stride: usize,
    /// Positions cut from either side of every output axis.
    #[serde(default)]
    pub padding: usize,
    /// Positions added at the end of every output axis.
    #[serde(default)]
    pub output_padding: usize,
    /// Extent of the output where it is not
    /// `(input - 1) stride - 2 padding + kernel + output_padding`.
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
        let reach = |n: usize| n.saturating_sub(1).saturating_mul(self.stride);
        let full = |n: usize| reach(n).saturating_add(self.kernel_size).saturating_add(self.output_padding);
        let cut = self.padding.saturating_mul(2);
        let computed = || self.input.iter().map(|&n| full(n).saturating_sub(cut)).collect();
        self.output.clone().unwrap_or_else(computed)
    }

    /// The axes of one sample.
    fn sample(&self) -> Vec<usize> {
        [self.in_channels].into_iter().chain(self.input.iter().copied()).collect()
    }

    /// The pairs (input position, kernel position) of one axis that meet at output `o`.
    fn meeting(&self, o: usize, input: usize) -> Vec<(usize, usize)> {
        let meets = |i: usize| (o + self.padding).checked_sub(i * self.stride).filter(|&t| t < self.kernel_size);
        (0..input).filter_map(|i| meets(i).map(|t| (i, t))).collect()
    }
}

impl<const N: usize> Family for ConvTransposedSpec<N> {
    fn check(&self) -> std::result::Result<(), ConfigError> {
        positive(&[
            ("in_channels", self.in_channels),
            ("filters", self.filters),
            ("kernel_size", self.kernel_size),
            ("stride", self.stride),
        ])?;
        believable(&[("padding", self.padding), ("output_padding", self.output_padding)])?;
        check_axes::<N>("input", &self.input)?;
        check_axes::<N>("output", &self.output_extents())?;
        let positions = element_count(&self.output_extents()).unwrap_or(usize::MAX);
        holdable("the output", &[positions, self.filters])?;
        holdable("the meetings of one sample", &[positions, self.kernel_size.saturating_pow(N as u32)])
    }

    fn roles(&self) -> Vec<RoleShape> {
        roles::<N>(self.filters, self.in_channels, self.kernel_size, self.bias)
    }

    fn terms(&self) -> usize {
        self.in_channels.saturating_mul(self.kernel_size.saturating_pow(N as u32)).saturating_mul(2)
    }

    fn makes(&self, shape: &[usize]) -> usize {
        let batch = elements(shape).div_ceil(elements(&self.sample()).max(1));
        let positions = elements(&self.output_extents());
        // A pair of positions takes as much as four elements, a list of them as much as six.
        let meetings =
            elements(&[positions, self.kernel_size.saturating_pow(N as u32).saturating_mul(4).saturating_add(6)]);
        elements(&[batch, positions, self.filters, 2]).saturating_add(meetings)
    }

    fn forward(&self, run: &mut Run<'_>, layer: &Layer, x: &Tensor, _: Option<&Tensor>) -> Result<Tensor> {
        let volume = element_count(&self.input).unwrap_or(0);
        let batch = layer.units(x.shape(), "samples", &self.sample())?;
        let out = self.output_extents();
        let positions: usize = out.iter().product();
        let kernel = self.kernel_size.pow(N as u32);
        let (w, bias) = (&layer.weights()[&Role::Weight], layer.vector(Role::Bias));
        // For each output position, the flat (input, kernel) positions that meet there.
        let meetings: Vec<Vec<(usize, usize)>> = (0..positions)
            .map(|mut o| {
                let mut pairs = vec![(0, 0)];
                let mut steps = (1, 1);
                for axis in (0..N).rev() {
                    let here = self.meeting(o % out[axis], self.input[axis]);
                    o /= out[axis];
                    let (si, st) = steps;
                    pairs = here
                        .iter()
                        .flat_map(|&(i, t)| pairs.iter().map(move |&(pi, pt)| (i * si + pi, t * st + pt)))
                        .collect();
                    steps = (si * self.input[axis], st * self.kernel_size);
                }
                pairs
            })
            .collect();
        let planes = run.cpu.map(batch * self.filters, |plane| {
            let (b, f) = (plane / self.filters, plane % self.filters);
            let bias = shift(&bias, f);
            let mut filter = vec![0.0; self.in_channels * kernel];
            w.decode(f * filter.len(), &mut filter);
            let element = |pairs: &Vec<(usize, usize)>| {
                let mut sum = 0.0;
                for c in 0..self.in_channels {
                    let x = &x.data()[(b * self.in_channels + c) * volume..][..volume];
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
        recorder.within(layer, volume.saturating_mul(self.in_channels).saturating_mul(2))?;
        let y = recorder.tape.array([batch, self.filters].into_iter().chain(out.iter().copied()).collect());
        let bias = recorder.vector(layer, Role::Bias)?;
        for piece in recorder.pieces(layer, &layer.weights()[&Role::Weight], Sums::Rounded)? {
            let (first, filters) = (piece.rows.start, piece.rows.len());
            let bias = if bias == NONE { NONE } else { bias + 2 * first as u32 };
            let mut args = vec![x.at, y.at, self.in_channels as u32, filters as u32, self.filters as u32, first as u32];
            let steps = [three(&self.input, 1), three(&out, 1), three(&[self.kernel_size; N], 1)];
            args.extend(steps.into_iter().chain([three(&[self.stride; N], 1), three(&[self.padding; N], 0)]).flatten());
            args.extend([bias, self.activation as u32]);
            recorder.tape.weighted(CONV_TRANSPOSED, batch * filters * positions, args, &piece);
        }
        Ok(y)
    }
}
