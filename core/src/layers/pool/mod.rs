//! Pools over 1 to 3 axes, each leading axis being a batch axis: the largest of a window, its mean, or its norm
//! `(sum |x|^p)^(1/p)`.
//!
//! Places of a window that lie outside the input add nothing; a mean divides by the places in the input, or with
//! `count_padding` by those in the padded input. Sums run over the places row-major in f64, one rounding. A window
//! without a place in the input gives minus infinity as its largest, and otherwise 0.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[cfg(feature = "gpu")]
use super::Recorder;
use super::axes::{Axis, before_planes, three, touching};
use super::per_axis::{Padding, PerAxis, check_extents, check_windows, is_once, none, once};
use super::{Family, Layer, Run, elements, holdable, rounded};
use crate::backend::Cpu;
use crate::error::{ConfigError, Result};
#[cfg(feature = "gpu")]
use crate::gpu::{GpuArray, Kernel, kernels};
use crate::math;
use crate::tensor::Tensor;

#[cfg(feature = "gpu")]
kernels! {
    POOL = Kernel::weightless("pool", &[include_str!("gpu.wgsl")]);
}

/// What a pool makes of a window.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum PoolOp {
    /// The largest element.
    Max,
    /// The mean.
    Average,
    /// `(sum |x|^p)^(1/p)`.
    Lp(f64),
}

/// Configuration of a pool.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PoolSpec {
    /// What is made of a window.
    pub op: PoolOp,
    /// Extent of the input along each axis, slowest first: 1 to 3.
    pub input: Vec<usize>,
    /// Extent of the window.
    pub kernel_size: PerAxis,
    /// From a window to the next; as far as the window reaches where it is not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stride: Option<PerAxis>,
    /// What lies before and behind the input.
    #[serde(default = "none", skip_serializing_if = "Padding::is_none")]
    pub padding: Padding,
    /// From a place of the window to the next.
    #[serde(default = "once", skip_serializing_if = "is_once")]
    pub dilation: PerAxis,
    /// Whether a last window may reach out of the padded input, if it begins in the input or before it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ceil: bool,
    /// Whether a mean counts the padding.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub count_padding: bool,
}

impl PoolSpec {
    /// From a window to the next.
    fn stride(&self) -> &PerAxis {
        self.stride.as_ref().unwrap_or(&self.kernel_size)
    }

    fn axes(&self) -> Vec<Axis> {
        let numbers = [&self.kernel_size, self.stride(), &self.dilation];
        Axis::each(&self.input, numbers, &self.padding, |_, axis| axis.windows(self.ceil))
    }

    /// The pools of one plane.
    fn plane(&self, cpu: &Cpu, axes: [Axis; 3], plane: &[f32]) -> Vec<f32> {
        let [z, y, x] = axes;
        let lines = z.output * y.output;
        if self.op == PoolOp::Max {
            let mut out = vec![f32::NEG_INFINITY; lines * x.output];
            for (line, out) in out.chunks_exact_mut(x.output).enumerate() {
                touching(axes, line, plane, |_, windows, from| cpu.take_most(&mut out[windows], from, x.stride));
                out.iter_mut().for_each(|most| *most = rounded(f64::from(*most)));
            }
            return out;
        }
        let mut out = Vec::with_capacity(lines * x.output);
        let mut sums = vec![0.0; x.output];
        for line in 0..lines {
            sums.fill(0.0);
            touching(axes, line, plane, |_, windows, from| {
                let sums = &mut sums[windows];
                match self.op {
                    PoolOp::Lp(p) => {
                        let terms = from.iter().step_by(x.stride).map(|&v| raised(f64::from(v).abs(), p));
                        sums.iter_mut().zip(terms).for_each(|(sum, term)| *sum += term);
                    }
                    _ => cpu.add_products(sums, from, x.stride, 1.0),
                }
            });
            let places = |axis: Axis, o| if self.count_padding { axis.counted(o) } else { axis.inside(o).len() };
            let across = places(z, line / y.output) * places(y, line % y.output);
            out.extend(sums.iter().enumerate().map(|(o, &sum)| match (self.op, across * places(x, o)) {
                (PoolOp::Lp(p), _) => rounded(root(sum, p)),
                (_, 0) => 0.0,
                (_, count) => rounded(sum / count as f64),
            }));
        }
        out
    }

    /// The shape of the output: the axes before the planes stay.
    fn shape(&self, x: &[usize]) -> Vec<usize> {
        before_planes(x, &self.input).iter().copied().chain(self.axes().iter().map(|axis| axis.output)).collect()
    }
}

/// `v^p` for v >= 0.
fn raised(v: f64, p: f64) -> f64 {
    match p {
        1.0 => v,
        2.0 => v * v,
        p => math::pow(v, p),
    }
}

/// `v^(1/p)` for v >= 0.
fn root(v: f64, p: f64) -> f64 {
    match p {
        1.0 => v,
        2.0 => v.sqrt(),
        p => math::pow(v, 1.0 / p),
    }
}

impl Family for PoolSpec {
    fn check(&self) -> std::result::Result<(), ConfigError> {
        check_extents("input", &self.input, 1..=3)?;
        check_windows([&self.kernel_size, self.stride(), &self.dilation], &self.padding, self.input.len())?;
        if let PoolOp::Lp(found) = self.op
            && !(found.is_finite() && found > 0.0)
        {
            return Err(ConfigError::Number { field: "lp", found, expected: "a positive number" });
        }
        let axes = self.axes();
        axes.iter().try_for_each(Axis::check)?;
        holdable("the output of a plane", &axes.iter().map(|axis| axis.output).collect::<Vec<_>>())?;
        holdable("a window", &axes.iter().map(|axis| axis.kernel).collect::<Vec<_>>())
    }

    fn terms(&self) -> usize {
        elements(&self.axes().iter().map(|axis| axis.kernel).collect::<Vec<_>>())
    }

    fn makes(&self, shape: &[usize]) -> usize {
        elements(&self.shape(shape))
    }

    fn forward(&self, run: &mut Run<'_>, layer: &Layer, x: &Tensor, _: Option<&Tensor>) -> Result<Tensor> {
        let planes = layer.units(x.shape(), "planes", &self.input)?;
        let (axes, n) = (three(&self.axes()), elements(&self.input));
        let cpu = run.cpu;
        let pools = cpu.map(planes, |p| self.plane(&cpu, axes, &x.data()[p * n..(p + 1) * n]));
        Ok(Tensor::of(self.shape(x.shape()), pools.concat()))
    }

    #[cfg(feature = "gpu")]
    fn record(
        &self,
        recorder: &mut Recorder<'_>,
        layer: &Layer,
        x: &GpuArray,
        _: Option<&GpuArray>,
    ) -> Result<GpuArray> {
        layer.units(&x.shape, "planes", &self.input)?;
        recorder.within(layer, self.terms())?;
        let y = recorder.tape.array(self.shape(&x.shape));
        let (operation, exponent) = match self.op {
            PoolOp::Max => (0, 0.0),
            PoolOp::Average => (1, 0.0),
            PoolOp::Lp(1.0) => (2, 0.0),
            PoolOp::Lp(2.0) => (3, 0.0),
            PoolOp::Lp(p) => (4, p),
        };
        let mut args = vec![x.at, y.at, operation, self.count_padding.into()];
        args.extend(recorder.tape.real(exponent));
        for axis in three(&self.axes()) {
            let Axis { input, kernel, stride, dilation, sides, output } = axis;
            args.extend([input, output, kernel, stride, dilation, sides[0], axis.padded()].map(|n| n as u32));
        }
        recorder.tape.op(POOL, y.len(), args);
        Ok(y)
    }
}
