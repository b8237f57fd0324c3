//! An array made of elements of another, axis by axis: slices, transposes, padding, nearest neighbours. No
//! arithmetic: bits are copied.

#[cfg(feature = "gpu")]
use super::Recorder;
use super::elements;
#[cfg(feature = "gpu")]
use crate::gpu::{GpuArray, Kernel, kernels};

#[cfg(feature = "gpu")]
kernels! {
    PICK = Kernel::weightless("pick", &[include_str!("pick.wgsl")]);
}

/// Where nothing is picked.
const OUTSIDE: u32 = u32::MAX;

/// Which elements are picked.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Pick {
    /// For each axis of the result, the slowest first, what each of its positions adds to the place of an element;
    /// [`OUTSIDE`] where there is none.
    axes: Vec<Vec<u32>>,
    /// What stands where nothing is picked.
    fill: f32,
}

/// From position to position along each axis of an array of this shape.
fn steps(shape: &[usize]) -> impl Iterator<Item = usize> + '_ {
    (0..shape.len()).map(|axis| elements(&shape[axis + 1..]))
}

impl Pick {
    /// Every element of an array of this shape.
    pub(super) fn all(shape: &[usize]) -> Self {
        let axes = shape.iter().zip(steps(shape)).map(|(&n, step)| (0..n).map(|i| (i * step) as u32).collect());
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

    fn walk(&self, axes: &[Vec<u32>], at: usize, x: &[f32], y: &mut Vec<f32>) {
        let element = |&step: &u32| if step == OUTSIDE { self.fill } else { x[at + step as usize] };
        match axes {
            [] => y.push(x[at]),
            [last] => y.extend(last.iter().map(element)),
            [first, rest @ ..] => {
                for &step in first {
                    match step {
                        OUTSIDE => y.extend(std::iter::repeat_n(self.fill, rest.iter().map(Vec::len).product())),
                        step => self.walk(rest, at + step as usize, x, y),
                    }
                }
            }
        }
    }
}

#[cfg(feature = "gpu")]
impl Recorder<'_> {
    /// What `pick` makes of `x`.
    pub(super) fn pick(&mut self, x: &GpuArray, pick: &Pick) -> GpuArray {
        let y = self.tape.array(pick.shape());
        let mut args = vec![x.at, y.at, pick.fill.to_bits(), pick.axes.len() as u32];
        for axis in pick.axes.iter().rev() {
            args.extend([axis.len() as u32, self.tape.constant(axis.clone())]);
        }
        self.tape.op(PICK, y.len(), args);
        y
    }
}
