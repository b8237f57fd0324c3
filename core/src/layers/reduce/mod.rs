//! The mean, the sum, the largest or the smallest element over some axes of any extent: global pools, means over a
//! sequence. Sums run row-major in f64, one rounding.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[cfg(feature = "gpu")]
use super::Recorder;
use super::axes::{check_named, named};
use super::walk::Walk;
use super::{Family, Layer, Run, elements, rounded};
use crate::error::{ConfigError, Problem, Result};
#[cfg(feature = "gpu")]
use crate::gpu::{GpuArray, Kernel, kernels};
use crate::tensor::Tensor;

#[cfg(feature = "gpu")]
kernels! {
    REDUCE = Kernel::weightless("reduce", &[super::walk::WALK, include_str!("gpu.wgsl")]);
}

/// What is made of the elements that become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReduceOp {
    /// Their mean.
    Mean,
    /// Their sum.
    Sum,
    /// The largest.
    Max,
    /// The smallest.
    Min,
}

/// Configuration of a reduction.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReduceSpec {
    /// What is made of the elements.
    pub op: ReduceOp,
    /// The axes that vanish: 1 is the first after the batch, -1 the last.
    pub axes: Vec<i64>,
    /// Whether they stay, with an extent of 1.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub keep: bool,
}

/// How an input is reduced.
struct Plan {
    shape: Vec<usize>,
    /// From output to output.
    outputs: Walk,
    /// Over the elements of one.
    elements: Walk,
    /// How many those are.
    count: usize,
}

impl ReduceSpec {
    fn plan(&self, layer: &Layer, x: &[usize]) -> Result<Plan> {
        let wrong = |what: ConfigError| layer.error(Problem::Config(what));
        let axes = named(&self.axes, x.len()).map_err(wrong)?;
        let kept: Vec<usize> = (0..x.len()).filter(|axis| !axes.contains(axis)).collect();
        let shape = match self.keep {
            true => x.iter().enumerate().map(|(axis, &n)| if axes.contains(&axis) { 1 } else { n }).collect(),
            false => kept.iter().map(|&axis| x[axis]).collect(),
        };
        let count = axes.iter().map(|&axis| x[axis]).product();
        if count == 0 {
            return Err(wrong(ConfigError::View { what: "a reduction of no elements".into(), extent: 0 }));
        }
        Ok(Plan { shape, outputs: Walk::over(x, &kept), elements: Walk::over(x, &axes), count })
    }
}

impl Family for ReduceSpec {
    fn check(&self) -> std::result::Result<(), ConfigError> {
        check_named(&self.axes)
    }

    fn terms(&self) -> usize {
        // The extents are those of the input.
        1 << 10
    }

    fn makes(&self, shape: &[usize]) -> usize {
        elements(shape).saturating_mul(3)
    }

    fn forward(&self, run: &mut Run<'_>, layer: &Layer, x: &Tensor, _: Option<&Tensor>) -> Result<Tensor> {
        let plan = self.plan(layer, x.shape())?;
        let (outputs, places) = (plan.outputs.places(), plan.elements.places());
        let count = elements(&plan.shape);
        let y = run.cpu.map(count, |o| {
            let these = places.iter().map(|at| x.data()[outputs[o] + at]);
            let extreme = |is_kept: fn(f32, f32) -> bool| {
                let first = x.data()[outputs[o]];
                these.clone().fold(first, |kept, v| if kept.is_nan() || is_kept(kept, v) { kept } else { v })
            };
            match self.op {
                ReduceOp::Mean => rounded(these.fold(0.0, |sum, v| sum + f64::from(v)) / plan.count as f64),
                ReduceOp::Sum => rounded(these.fold(0.0, |sum, v| sum + f64::from(v))),
                ReduceOp::Max => rounded(f64::from(extreme(|kept, v| kept >= v))),
                ReduceOp::Min => rounded(f64::from(extreme(|kept, v| kept <= v))),
            }
        });
        Ok(Tensor::of(plan.shape, y))
    }

    #[cfg(feature = "gpu")]
    fn record(
        &self,
        recorder: &mut Recorder<'_>,
        layer: &Layer,
        x: &GpuArray,
        _: Option<&GpuArray>,
    ) -> Result<GpuArray> {
        let plan = self.plan(layer, &x.shape)?;
        let axes = x.shape.len();
        recorder.within(layer, plan.count.saturating_mul(axes.max(1)))?;
        let y = recorder.tape.array(plan.shape);
        let over = plan.elements.args();
        let mut args = vec![x.at, y.at, self.op as u32, plan.count as u32, 5 + over.len() as u32];
        args.extend(over.into_iter().chain(plan.outputs.args()));
        recorder.tape.op(REDUCE, y.len(), args);
        Ok(y)
    }
}
