//! An array made of elements of another, axis by axis: slices, transposes, padding, nearest neighbours. No
//! arithmetic: bits are copied.

use super::elements;
#[cfg(feature = "gpu")]
use super::{Layer, Recorder};
#[cfg(feature = "gpu")]
use crate::error::{Problem, Result};
#[cfg(feature = "gpu")]
use crate::gpu::{GpuArray, Kernel, NONE, kernels};

#[cfg(feature = "gpu")]
kernels! {
    PICK = Kernel::weightless("pick", &[include_str!("pick.wgsl")]);
}

/// Where nothing is picked.
const OUTSIDE: usize = usize::MAX;

/// Which elements are picked.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Pick {
    /// For each axis of the result, the slowest first, what each of its positions adds to the place of an element;
    /// [`OUTSIDE`] where there is none.
    axes: Vec<Vec<usize>>,
    /// What stands where nothing is picked.
    fill: f32,
}

/// From position to position along each axis of an array of this shape.
fn steps(shape: &[usize]) -> impl Iterator<Item = usize> + '_ {
    (0..shape.len()).map(|axis| elements(&shape[axis + 1..]))
}

impl Pick {
    /// The most axes whose extent and table a record of arguments has room for.
    #[cfg(feature = "gpu")]
    const MOST_AXES: usize = 28;

    /// Every element of an array of this shape.
    pub(super) fn all(shape: &[usize]) -> Self {
        let axes = shape.iter().zip(steps(shape)).map(|(&n, step)| (0..n).map(|i| i * step).collect());
        Self { axes: axes.collect(), fill: 0.0 }
    }

    /// An array of the first shape repeated as far as the second reaches, where it has an extent of 1.
    #[cfg(feature = "gpu")]
    pub(super) fn repeated(shape: &[usize], whole: &[usize]) -> Self {
        let axes = shape.iter().zip(whole).enumerate().filter(|(_, (own, all))| own != all);
        axes.fold(Self::all(shape), |pick, (axis, (_, &all))| pick.along(axis, (0..all).map(|_| Some(0))))
    }

    /// The same with other positions of an axis: for each position of the result one of the array, if any.
    pub(super) fn along(mut self, axis: usize, positions: impl Iterator<Item = Option<usize>>) -> Self {
        let old = &self.axes[axis];
        self.axes[axis] = positions.map(|at| at.map_or(OUTSIDE, |at| old[at])).collect();
        self
    }

    /// The same with this where nothing is picked.
    pub(super) fn filled(self, fill: f32) -> Self {
        Self { fill, ..self }
    }

    /// The same with axis `order[i]` as axis `i`.
    pub(super) fn transposed(&self, order: &[usize]) -> Self {
        Self { axes: order.iter().map(|&axis| self.axes[axis].clone()).collect(), fill: self.fill }
    }

    /// The shape of the result.
    pub(super) fn shape(&self) -> Vec<usize> {
        self.axes.iter().map(Vec::len).collect()
    }

    /// The result.
    pub(super) fn of(&self, x: &[f32]) -> Vec<f32> {
        let mut y = Vec::with_capacity(elements(&self.shape()));
        self.walk(&self.axes, 0, x, &mut y);
        y
    }

    fn walk(&self, axes: &[Vec<usize>], at: usize, x: &[f32], y: &mut Vec<f32>) {
        let element = |&step: &usize| if step == OUTSIDE { self.fill } else { x[at + step] };
        match axes {
            [] => y.push(x[at]),
            [last] => y.extend(last.iter().map(element)),
            [first, rest @ ..] => {
                for &step in first {
                    match step {
                        OUTSIDE => y.extend(std::iter::repeat_n(self.fill, rest.iter().map(Vec::len).product())),
                        step => self.walk(rest, at + step, x, y),
                    }
                }
            }
        }
    }
}

#[cfg(feature = "gpu")]
impl Recorder<'_> {
    /// What `pick` makes of a layer's `x`.
    ///
    /// # Errors
    /// The layer's, when the array has more axes than a kernel is told of.
    pub(super) fn pick(&mut self, layer: &Layer, x: &GpuArray, pick: &Pick) -> Result<GpuArray> {
        let axes = pick.axes.len();
        if axes > Pick::MOST_AXES {
            let what = format!("the array has {axes} axes; a kernel copies at most {}", Pick::MOST_AXES);
            return Err(layer.error(Problem::NotOnDevice(what)));
        }
        let y = self.tape.array(pick.shape());
        let mut args = vec![x.at, y.at, pick.fill.to_bits(), axes as u32];
        for axis in pick.axes.iter().rev() {
            // Places of an array that fits a binding fit a word.
            let table = axis.iter().map(|&at| if at == OUTSIDE { NONE } else { at as u32 }).collect();
            args.extend([axis.len() as u32, self.tape.constant(table)]);
        }
        self.tape.op(PICK, y.len(), args);
        Ok(y)
    }
}
