//! The same elements in another arrangement: reshape, transpose, slice, flip, take, squeeze, pad. No arithmetic: bits
//! are copied. The batch axis stays where it is.
//!
//! An axis is counted from 1, the first after the batch, or from -1, the last.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[cfg(feature = "gpu")]
use super::Recorder;
use super::axes::{check_named, named};
use super::per_axis::Padding;
use super::pick::Pick;
use super::{Family, LARGEST, Layer, MOST_AXES, Run, elements};
use crate::error::{ConfigError, Problem, Result};
#[cfg(feature = "gpu")]
use crate::gpu::GpuArray;
use crate::tensor::Tensor;

/// What stands in the places that padding adds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PadMode {
    /// Zeros, or the value that is given.
    #[default]
    Zeros,
    /// The input mirrored at its first and last element, which are not repeated.
    Reflect,
    /// The first and the last element.
    Replicate,
    /// The input's other end.
    Circular,
}

impl PadMode {
    /// `Err` when the mode has no element for a side as long as the longer of an axis of `n`.
    pub(super) fn check(self, n: usize, [before, behind]: [usize; 2]) -> std::result::Result<(), ConfigError> {
        let longest = before.max(behind);
        let fits = match self {
            PadMode::Zeros => true,
            PadMode::Reflect => longest < n.max(1),
            PadMode::Replicate => n > 0 || longest == 0,
            PadMode::Circular => longest <= n,
        };
        match fits {
            true => Ok(()),
            false => Err(ConfigError::View { what: format!("padding of {longest} by its own elements"), extent: n }),
        }
    }

    /// For each position of an axis of `n` with these sides, the element that stands there.
    ///
    /// # Errors
    /// As [`PadMode::check`].
    pub(super) fn positions(
        self,
        n: usize,
        [before, behind]: [usize; 2],
    ) -> std::result::Result<Vec<Option<usize>>, ConfigError> {
        self.check(n, [before, behind])?;
        let (n, total) = (n as i64, n + before + behind);
        let element = |i: usize| {
            let at = i as i64 - before as i64;
            let inner = match self {
                PadMode::Zeros => return usize::try_from(at).ok().filter(|_| at < n),
                PadMode::Reflect if at < 0 => -at,
                PadMode::Reflect if at >= n => 2 * n - 2 - at,
                PadMode::Reflect => at,
                PadMode::Replicate => at.clamp(0, n - 1),
                PadMode::Circular => at.rem_euclid(n),
            };
            usize::try_from(inner).ok()
        };
        Ok((0..total).map(element).collect())
    }
}

/// A view: what is done with the elements of each sample.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ViewSpec {
    /// The same elements in a sample of other axes.
    Reshape {
        /// The extents of a sample; one may be -1 and is what the others leave.
        shape: Vec<i64>,
    },
    /// Axes in another order.
    Transpose {
        /// The axis that becomes each axis of the sample: `[2, 1]` turns matrices.
        axes: Vec<i64>,
    },
    /// Every `step`-th position of an axis from `start` up to `stop`.
    Slice {
        /// The axis.
        axis: i64,
        /// The first position; a negative one is counted from the end.
        #[serde(default)]
        start: i64,
        /// The position before which it ends; a negative one is counted from the end.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        stop: Option<i64>,
        /// From one position to the next.
        #[serde(default = "super::conv::one")]
        step: usize,
    },
    /// Positions of an axis in the order given.
    Take {
        /// The axis.
        axis: i64,
        /// The positions.
        positions: Vec<usize>,
    },
    /// Axes backwards.
    Flip {
        /// The axes.
        axes: Vec<i64>,
    },
    /// Leaves out axes of extent 1.
    Squeeze {
        /// The axes.
        axes: Vec<i64>,
    },
    /// Puts in an axis of extent 1.
    Unsqueeze {
        /// Its place among the axes of the result.
        axis: i64,
    },
    /// Puts more before and behind the last axes.
    Pad {
        /// How much, before and behind each of the last axes.
        sides: Vec<[usize; 2]>,
        /// What.
        #[serde(default)]
        mode: PadMode,
        /// The number that stands there in mode `zeros`.
        #[serde(default, skip_serializing_if = "is_zero")]
        value: f32,
    },
}

fn is_zero(value: &f32) -> bool {
    value.to_bits() == 0
}

/// What a view does with an input of some shape.
enum Plan {
    /// The elements stay in order.
    Shape(Vec<usize>),
    Pick(Pick),
}

fn misfit(what: impl Into<String>, extent: usize) -> ConfigError {
    ConfigError::View { what: what.into(), extent }
}

/// The one axis of a name.
fn one_axis(axis: i64, axes: usize) -> std::result::Result<usize, ConfigError> {
    named(&[axis], axes).map(|axes| axes[0])
}

impl ViewSpec {
    fn plan(&self, x: &[usize]) -> std::result::Result<Plan, ConfigError> {
        let all = || Pick::all(x);
        Ok(match self {
            ViewSpec::Reshape { shape } => Plan::Shape(reshaped(shape, x)?),
            ViewSpec::Transpose { axes } => {
                let mut order = vec![0];
                for &axis in axes {
                    order.push(one_axis(axis, x.len())?);
                }
                // Each once, and none left out.
                if named(axes, x.len())?.len() + 1 != x.len() {
                    return Err(misfit(format!("an order of {} axes", axes.len()), x.len().saturating_sub(1)));
                }
                Plan::Pick(all().transposed(&order))
            }
            ViewSpec::Slice { axis, start, stop, step } => {
                let axis = one_axis(*axis, x.len())?;
                let n = x[axis];
                let place = |at: i64| {
                    let at = if at < 0 { at.saturating_add(n as i64) } else { at };
                    usize::try_from(at).ok().filter(|&at| at <= n).ok_or_else(|| misfit(format!("position {at}"), n))
                };
                let (start, stop) = (place(*start)?, stop.map_or(Ok(n), place)?);
                Plan::Pick(all().along(axis, (start..stop.max(start)).step_by(*step).map(Some)))
            }
            ViewSpec::Take { axis, positions } => {
                let axis = one_axis(*axis, x.len())?;
                if let Some(at) = positions.iter().find(|&&at| at >= x[axis]) {
                    return Err(misfit(format!("position {at}"), x[axis]));
                }
                Plan::Pick(all().along(axis, positions.iter().copied().map(Some)))
            }
            ViewSpec::Flip { axes } => {
                let back = |pick: Pick, &axis: &usize| pick.along(axis, (0..x[axis]).rev().map(Some));
                Plan::Pick(named(axes, x.len())?.iter().fold(all(), back))
            }
            ViewSpec::Squeeze { axes } => {
                let axes = named(axes, x.len())?;
                match axes.iter().find(|&&axis| x[axis] != 1) {
                    Some(&axis) => return Err(misfit("squeezing", x[axis])),
                    None => Plan::Shape((0..x.len()).filter(|axis| !axes.contains(axis)).map(|axis| x[axis]).collect()),
                }
            }
            ViewSpec::Unsqueeze { axis } => {
                let mut shape = x.to_vec();
                shape.insert(one_axis(*axis, x.len() + 1)?, 1);
                Plan::Shape(shape)
            }
            ViewSpec::Pad { sides, mode, value } => {
                let first = x.len().checked_sub(sides.len()).filter(|&first| first > 0);
                let first = first.ok_or_else(|| misfit(format!("padding of {} axes", sides.len()), x.len()))?;
                let mut pick = all().filled(*value);
                for (axis, sides) in (first..).zip(sides) {
                    pick = pick.along(axis, mode.positions(x[axis], *sides)?.into_iter());
                }
                Plan::Pick(pick)
            }
        })
    }
}

/// The shape `[batch, shape…]` with what -1 stands for.
fn reshaped(shape: &[i64], x: &[usize]) -> std::result::Result<Vec<usize>, ConfigError> {
    let [batch, sample @ ..] = x else { return Err(misfit("a sample", 0)) };
    let size = elements(sample);
    let given: Vec<usize> = shape.iter().filter_map(|&n| usize::try_from(n).ok()).collect();
    let rest = elements(&given);
    let open = if rest > 0 && size.is_multiple_of(rest) { size / rest } else { 0 };
    let extents = shape.iter().map(|&n| usize::try_from(n).unwrap_or(open));
    let whole: Vec<usize> = [*batch].into_iter().chain(extents).collect();
    match elements(&whole[1..]) == size {
        true => Ok(whole),
        false => Err(misfit(format!("a sample of shape {shape:?}"), size)),
    }
}

impl Family for ViewSpec {
    fn check(&self) -> std::result::Result<(), ConfigError> {
        let (axes, count) = match self {
            ViewSpec::Reshape { shape } => {
                let open = shape.iter().filter(|&&n| n == -1).count();
                let strange = shape.iter().find(|&&n| n < -1 || n == 0 || n > LARGEST as i64);
                return match (strange, open > 1 || shape.len() >= MOST_AXES) {
                    (None, false) => Ok(()),
                    _ => Err(misfit(format!("shape {shape:?}, of whose extents one may be -1,"), MOST_AXES)),
                };
            }
            ViewSpec::Transpose { axes } | ViewSpec::Flip { axes } | ViewSpec::Squeeze { axes } => {
                (axes.clone(), axes.len())
            }
            ViewSpec::Slice { axis, step, .. } => {
                super::positive(&[("step", *step)])?;
                (vec![*axis], 1)
            }
            ViewSpec::Take { axis, positions } => {
                super::believable(&[("positions", positions.len())])?;
                (vec![*axis], 1)
            }
            ViewSpec::Unsqueeze { axis } => (vec![*axis], 1),
            ViewSpec::Pad { sides, value, .. } => {
                Padding::Sides(sides.clone()).check("sides", sides.len())?;
                if !value.is_finite() {
                    let found = f64::from(*value);
                    return Err(ConfigError::Number { field: "value", found, expected: "a finite number" });
                }
                (Vec::new(), sides.len())
            }
        };
        check_named(&axes)?;
        match count < MOST_AXES {
            true => Ok(()),
            false => Err(ConfigError::TooLarge { field: "axes", found: count, most: MOST_AXES - 1 }),
        }
    }

    fn makes(&self, shape: &[usize]) -> usize {
        let mut extents = shape.to_vec();
        match self {
            ViewSpec::Pad { sides, .. } => {
                let first = shape.len().saturating_sub(sides.len());
                for (n, [before, behind]) in extents[first..].iter_mut().zip(sides) {
                    *n = n.saturating_add(*before).saturating_add(*behind);
                }
            }
            ViewSpec::Take { axis, positions } => {
                if let Ok(axis) = one_axis(*axis, shape.len()) {
                    extents[axis] = positions.len();
                }
            }
            _ => {}
        }
        // Each axis has a table, also where another is empty.
        extents.iter().fold(elements(&extents), |all, n| all.saturating_add(*n))
    }

    fn forward(&self, _: &mut Run<'_>, layer: &Layer, x: &Tensor, _: Option<&Tensor>) -> Result<Tensor> {
        match self.plan(x.shape()).map_err(|what| layer.error(Problem::Config(what)))? {
            Plan::Shape(shape) => Ok(Tensor::of(shape, x.data().to_vec())),
            Plan::Pick(pick) => Ok(Tensor::of(pick.shape(), pick.of(x.data()))),
        }
    }

    #[cfg(feature = "gpu")]
    fn record(
        &self,
        recorder: &mut Recorder<'_>,
        layer: &Layer,
        x: &GpuArray,
        _: Option<&GpuArray>,
    ) -> Result<GpuArray> {
        recorder.room(layer, self.makes(&x.shape))?;
        match self.plan(&x.shape).map_err(|what| layer.error(Problem::Config(what)))? {
            Plan::Shape(shape) => Ok(x.reshaped(shape)),
            Plan::Pick(pick) => recorder.pick(layer, x, &pick),
        }
    }
}
