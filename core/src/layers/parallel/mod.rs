//! Branches on one input, combined. Disabled branches are passed over; none at all: the identity.
//!
//! Sums and products over branches run in f64 in branch order, one rounding.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[cfg(feature = "gpu")]
use super::Recorder;
use super::axes::{check_named, named};
#[cfg(feature = "gpu")]
use super::pick::Pick;
use super::softmax::softmax_in_place;
use super::walk::repeated;
use super::{ChildSpec, Family, Layer, Run, elements, rounded};
use crate::error::{ConfigError, Problem, Result};
#[cfg(feature = "gpu")]
use crate::gpu::{GpuArray, Kernel, NONE, kernels};
use crate::layers::LayerSpec;
use crate::tensor::Tensor;

#[cfg(feature = "gpu")]
const PARALLEL: &[&str] = &[super::softmax::ROW, include_str!("gpu.wgsl")];
#[cfg(feature = "gpu")]
kernels! {
    PLACE = Kernel::weightless("parallel_place", PARALLEL);
    GATE = Kernel::weightless("parallel_gate", PARALLEL);
    SUM = Kernel::weightless("parallel_sum", PARALLEL);
    PRODUCT = Kernel::weightless("parallel_product", PARALLEL);
}

/// How branch outputs become one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Combine {
    /// Side by side in each batch row, or along an axis.
    #[default]
    Concat,
    /// As `concat`; the original keeps a second name for it.
    GridScatter,
    /// Element-wise sum.
    Add,
    /// Element-wise mean.
    Avg,
    /// Element-wise product: gates. An extent of 1 is repeated as far as the other branches reach.
    Product,
    /// Mixture weighted, for each sample, by the softmax of the gate's first outputs.
    Filter,
}

impl Combine {
    fn name(self) -> &'static str {
        match self {
            Combine::Concat | Combine::GridScatter => "concatenate",
            Combine::Add => "add",
            Combine::Avg => "average",
            Combine::Product => "multiply",
            Combine::Filter => "filter",
        }
    }
}

/// Configuration of a parallel container.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ParallelSpec {
    /// The branches.
    pub branches: Vec<ChildSpec>,
    /// How their outputs become one.
    #[serde(default)]
    pub combine: Combine,
    /// The axis along which `concat` puts branches: 1 is the first after the batch, -1 the last. Without it each branch
    /// is one flat row for each sample.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub axis: Option<i64>,
    /// The layer whose outputs weigh the branches in `filter` mode.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gate: Option<Box<LayerSpec>>,
}

impl ParallelSpec {
    /// The shape that branches have together, each with its place and shape: along an axis, or where extents of 1 are
    /// repeated. `None` where they are only counted.
    fn shape(&self, layer: &Layer, shapes: &[(usize, &[usize])]) -> Result<Option<(usize, Vec<usize>)>> {
        let Some((_, first)) = shapes.first() else { return Ok(None) };
        let axis = match self.axis {
            Some(axis) => {
                let wrong = |what| layer.error(Problem::Config(what));
                Some(named(&[axis], first.len()).map_err(wrong)?[0])
            }
            None if self.combine == Combine::Product => None,
            None => return Ok(None),
        };
        let mut whole = first.to_vec();
        for (branch, shape) in &shapes[1..] {
            let fits = |(i, (&a, &b)): (usize, (&usize, &usize))| match axis {
                Some(axis) => i == axis || a == b,
                None => a == b || a == 1 || b == 1,
            };
            if shape.len() != whole.len() || shape[..1] != whole[..1] || !whole.iter().zip(*shape).enumerate().all(fits)
            {
                let (expected, found) = (whole, shape.to_vec());
                return Err(layer.error(Problem::BranchShape {
                    branch: *branch,
                    mode: self.combine.name(),
                    expected,
                    found,
                }));
            }
            for (i, (all, &own)) in whole.iter_mut().zip(*shape).enumerate() {
                *all = if axis == Some(i) { *all + own } else { (*all).max(own) };
            }
        }
        Ok(Some((axis.unwrap_or(0), whole)))
    }

    /// Whether branches, each with its number of elements, can become one.
    fn fit(&self, layer: &Layer, batch: usize, lengths: &[(usize, usize)]) -> Result<()> {
        let whole = matches!(self.combine, Combine::Concat | Combine::GridScatter);
        let first = lengths.first().map_or(0, |(_, n)| *n);
        for &(branch, found) in lengths {
            let expected = if whole { found.next_multiple_of(batch) } else { first };
            if found != expected {
                return Err(layer.error(Problem::Branch { branch, mode: self.combine.name(), expected, found }));
            }
        }
        Ok(())
    }

    /// Whether a gate of `found` outputs weighs `n` branches of `elements` each.
    fn gate_fits(&self, layer: &Layer, batch: usize, n: usize, found: usize, elements: usize) -> Result<()> {
        if found / batch < n || !found.is_multiple_of(batch) || !elements.is_multiple_of(batch) {
            let (branch, expected) = (self.branches.len(), n * batch);
            return Err(layer.error(Problem::Branch { branch, mode: "weigh", expected, found }));
        }
        Ok(())
    }
}

impl Family for ParallelSpec {
    fn check(&self) -> std::result::Result<(), ConfigError> {
        if let Some(axis) = self.axis {
            if !matches!(self.combine, Combine::Concat | Combine::GridScatter) {
                return Err(ConfigError::StrayAxis { combine: self.combine.name() });
            }
            check_named(&[axis])?;
        }
        match (self.combine, &self.gate) {
            (Combine::Filter, None) => Err(ConfigError::NoGate { branches: self.branches.len() }),
            (Combine::Filter, Some(_)) | (_, None) => Ok(()),
            (combine, Some(_)) => Err(ConfigError::StrayGate { combine: combine.name() }),
        }
    }

    fn children(&self) -> Vec<(String, ChildSpec)> {
        let branches = self.branches.iter().cloned().enumerate().map(|(i, b)| (format!("parallel_branches.{i}"), b));
        let gate = self.gate.iter().map(|gate| ("filter_gate".to_string(), (**gate).clone().into()));
        branches.chain(gate).collect()
    }

    fn terms(&self) -> usize {
        self.branches.len()
    }

    fn forward(&self, run: &mut Run<'_>, layer: &Layer, x: &Tensor, _: Option<&Tensor>) -> Result<Tensor> {
        let (branches, gate) = layer.children().split_at(self.branches.len());
        let mut outs = Vec::new();
        let before = run.held;
        for (i, branch) in branches.iter().enumerate().filter(|(_, branch)| !branch.disabled) {
            let y = run.child(branch, x, None)?;
            run.held = run.held.saturating_add(y.len());
            outs.push((i, y));
        }
        let held = std::mem::replace(&mut run.held, before);
        let batch = x.batch().max(1);
        let Some((_, first)) = outs.first() else { return Ok(x.clone()) };
        if outs.iter().all(|(_, y)| y.is_empty()) {
            return Ok(Tensor::of(vec![x.batch(), 0], Vec::new()));
        }
        let lengths: Vec<(usize, usize)> = outs.iter().map(|(i, y)| (*i, y.len())).collect();
        let shapes: Vec<(usize, &[usize])> = outs.iter().map(|(i, y)| (*i, y.shape())).collect();
        let whole = self.shape(layer, &shapes)?;
        let all = match &whole {
            Some((_, shape)) => elements(shape),
            None => lengths.iter().fold(0usize, |sum, (_, n)| sum.saturating_add(*n)),
        };
        let room = || run.room(layer, (held - before).saturating_add(x.len()).saturating_add(all));
        if self.combine == Combine::Product
            && let Some((_, shape)) = whole
        {
            room()?;
            let factors: Vec<(&[f32], Vec<usize>)> = outs
                .iter()
                .map(|(_, y)| (y.data(), repeated(y.shape(), &shape).map(|walk| walk.period()).unwrap_or_default()))
                .collect();
            let product = |i: usize| factors.iter().fold(1.0, |v, (y, at)| v * f64::from(y[at[i % at.len()]]));
            return Ok(Tensor::of(shape, (0..all).map(|i| rounded(product(i))).collect()));
        }
        if whole.is_none() {
            self.fit(layer, batch, &lengths)?;
        }
        if matches!(self.combine, Combine::Concat | Combine::GridScatter) {
            room()?;
            let (outer, shape) = match whole {
                Some((axis, shape)) => (elements(&shape[..axis]).max(1), shape),
                None => (batch, vec![batch, all / batch]),
            };
            let mut data = Vec::with_capacity(all);
            for o in 0..outer {
                for (_, y) in &outs {
                    let width = y.len() / outer;
                    data.extend_from_slice(&y.data()[o * width..(o + 1) * width]);
                }
            }
            return Ok(Tensor::of(shape, data));
        }
        let n = outs.len();
        let weights = match gate {
            [gate] if self.combine == Combine::Filter => {
                let g = run.child(gate, x, None)?;
                self.gate_fits(layer, batch, n, g.len(), first.len())?;
                let width = g.len() / batch;
                let mut weights: Vec<f32> = g.data().chunks_exact(width).flat_map(|row| row[..n].to_vec()).collect();
                weights.chunks_exact_mut(n).for_each(softmax_in_place);
                weights
            }
            _ => Vec::new(),
        };
        let per_sample = (first.len() / batch).max(1);
        let element = |i: usize| {
            let sum = outs.iter().enumerate().fold(0.0, |sum, (k, (_, y))| {
                let v = f64::from(y.data()[i]);
                sum + weights.get(i / per_sample * n + k).map_or(v, |&w| f64::from(w) * v)
            });
            (if self.combine == Combine::Avg { sum / n as f64 } else { sum }) as f32
        };
        Ok(Tensor::of(first.shape().to_vec(), (0..first.len()).map(element).collect()))
    }

    #[cfg(feature = "gpu")]
    fn record(
        &self,
        recorder: &mut Recorder<'_>,
        layer: &Layer,
        x: &GpuArray,
        _: Option<&GpuArray>,
    ) -> Result<GpuArray> {
        let (branches, gate) = layer.children().split_at(self.branches.len());
        let mut outs = Vec::new();
        for (i, branch) in branches.iter().enumerate().filter(|(_, branch)| !branch.disabled) {
            outs.push((i, recorder.child(branch, x, None)?));
        }
        let batch = x.shape.first().copied().unwrap_or(1);
        let lengths: Vec<(usize, usize)> = outs.iter().map(|(i, y)| (*i, y.len())).collect();
        let Some((_, first)) = outs.first() else { return Ok(x.clone()) };
        if lengths.iter().all(|(_, n)| *n == 0) {
            return Ok(recorder.tape.array(vec![batch, 0]));
        }
        let batch = batch.max(1);
        let shapes: Vec<(usize, &[usize])> = outs.iter().map(|(i, y)| (*i, y.shape.as_slice())).collect();
        let whole = self.shape(layer, &shapes)?;
        if self.combine == Combine::Product
            && let Some((_, shape)) = whole
        {
            let mut factors = Vec::new();
            for (_, out) in &outs {
                factors.push(match out.shape == shape {
                    true => out.at,
                    false => recorder.pick(layer, out, &Pick::repeated(&out.shape, &shape))?.at,
                });
            }
            let y = recorder.tape.array(shape);
            let list = recorder.tape.constant(factors);
            recorder.tape.op(PRODUCT, y.len(), [list, outs.len() as u32, y.at]);
            return Ok(y);
        }
        if whole.is_none() {
            self.fit(layer, batch, &lengths)?;
        }
        if matches!(self.combine, Combine::Concat | Combine::GridScatter) {
            let (outer, shape) = match whole {
                Some((axis, shape)) => (elements(&shape[..axis]).max(1), shape),
                None => (batch, vec![batch, lengths.iter().map(|(_, n)| n / batch).sum()]),
            };
            let y = recorder.tape.array(shape);
            let all = y.len() / outer;
            let mut at = 0;
            for (_, out) in &outs {
                let width = out.len() / outer;
                recorder.tape.op(PLACE, out.len(), [out.at, y.at, all as u32, width.max(1) as u32, at as u32]);
                at += width;
            }
            return Ok(y);
        }
        let n = outs.len();
        let weights = match gate {
            [gate] if self.combine == Combine::Filter => {
                let g = recorder.child(gate, x, None)?;
                self.gate_fits(layer, batch, n, g.len(), first.len())?;
                let weights = recorder.tape.reserve(batch * n);
                recorder.tape.op(GATE, batch, [g.at, weights, (g.len() / batch) as u32, n as u32]);
                weights
            }
            _ => NONE,
        };
        let y = recorder.tape.array(first.shape.clone());
        let list = recorder.tape.constant(outs.iter().map(|(_, out)| out.at).collect());
        let divisor = if self.combine == Combine::Avg { n } else { 1 };
        let per_sample = (first.len() / batch).max(1);
        let numbers = [list, n as u32, y.at, divisor as u32, weights, per_sample as u32];
        recorder.tape.op(SUM, y.len(), numbers);
        Ok(y)
    }
}
