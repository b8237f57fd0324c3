//! Walks over axes, and how one array is repeated along another, as NumPy does: shapes are aligned at their last
//! axes, and an extent of 1 fits any.

#[cfg(feature = "gpu")]
use super::Recorder;
use super::per_axis::check_extents;
use super::{Layer, MOST_AXES, Run, elements, holdable};
use crate::error::{ConfigError, Problem, Result};
#[cfg(feature = "gpu")]
use crate::gpu::{GpuArray, Kernel};
#[cfg(feature = "gpu")]
use crate::role::Role;
use crate::tensor::Tensor;

/// Walks in kernels.
#[cfg(feature = "gpu")]
pub(super) const WALK: &str = include_str!("walk.wgsl");

/// The shape of an array without its extents of 1, as planets keep it: `[64, 1, 1]` has 64 numbers.
pub(super) fn squeezed(shape: &[usize]) -> Vec<usize> {
    let kept: Vec<usize> = shape.iter().copied().filter(|&n| n != 1).collect();
    if kept.is_empty() { vec![1] } else { kept }
}

/// `Err` unless there are one to eight axes, every extent is believable and the array can be held.
pub(super) fn check_shape(shape: &[usize]) -> std::result::Result<(), ConfigError> {
    check_extents("shape", shape, 1..=MOST_AXES)?;
    holdable("the array", shape)
}

/// A walk over some axes of an array: where each step of it stands in the array.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Walk {
    /// From the slowest axis on: how far it reaches, and how far a step along it moves in the array.
    axes: Vec<(usize, usize)>,
}

impl Walk {
    /// A walk over axes, each with its reach and its step, the slowest first. Neighbours that are one are joined.
    pub(super) fn new(axes: impl IntoIterator<Item = (usize, usize)>) -> Self {
        let mut joined: Vec<(usize, usize)> = Vec::new();
        for (reach, step) in axes {
            match joined.last_mut() {
                _ if reach == 1 => {}
                Some((outer, far)) if *far == step * reach => (*outer, *far) = (*outer * reach, step),
                _ => joined.push((reach, step)),
            }
        }
        Self { axes: joined }
    }

    /// The axes `axes` of an array of this shape, in their order.
    pub(super) fn over(shape: &[usize], axes: &[usize]) -> Self {
        Self::new(axes.iter().map(|&axis| (shape[axis], shape[axis + 1..].iter().product())))
    }

    /// Where each step stands.
    pub(super) fn places(&self) -> Vec<usize> {
        if self.axes.iter().any(|(reach, _)| *reach == 0) {
            return Vec::new();
        }
        let mut places = vec![0];
        for &(reach, step) in self.axes.iter().rev() {
            let inner = places.clone();
            places = (0..reach).flat_map(|i| inner.iter().map(move |at| at + i * step)).collect();
        }
        places
    }

    /// The places of a repeated array until they begin anew.
    pub(super) fn period(&self) -> Vec<usize> {
        if self.axes.iter().any(|(reach, _)| *reach == 0) {
            return vec![0];
        }
        let first = self.axes.iter().position(|(_, step)| *step != 0).unwrap_or(self.axes.len());
        Self { axes: self.axes[first..].to_vec() }.places()
    }

    /// The arguments of `place` in `walk.wgsl`: how many axes, then reach and step of each from the fastest on.
    #[cfg(feature = "gpu")]
    pub(super) fn args(&self) -> Vec<u32> {
        let axes = self.axes.iter().rev().flat_map(|&(reach, step)| [reach as u32, step as u32]);
        [self.axes.len() as u32].into_iter().chain(axes).collect()
    }
}

/// `f(at, v)` for every element `v` of a layer's input, `at` being the place of the element that it meets in an array
/// of this shape, repeated as NumPy does.
pub(super) fn meet(
    run: &Run<'_>,
    layer: &Layer,
    shape: &[usize],
    x: &Tensor,
    f: impl Fn(usize, f32) -> f32 + Send + Sync,
) -> Result<Tensor> {
    let met = along(layer, shape, x.shape())?.period();
    Ok(Tensor::of(x.shape().to_vec(), run.cpu.elements(x.data(), |i, v| f(met[i % met.len()], v))))
}

/// The same as a dispatch: `kernel` is given x, y, `numbers`, the arrays of `roles`, and the walk.
#[cfg(feature = "gpu")]
pub(super) fn record(
    recorder: &mut Recorder<'_>,
    layer: &Layer,
    shape: &[usize],
    x: &GpuArray,
    kernel: &'static Kernel,
    numbers: &[u32],
    roles: &[Role],
) -> Result<GpuArray> {
    let walk = along(layer, shape, &x.shape)?;
    let y = recorder.tape.array(x.shape.clone());
    let mut args = [&[x.at, y.at], numbers].concat();
    for &role in roles {
        args.push(recorder.vector(layer, role)?);
    }
    args.extend(walk.args());
    recorder.tape.op(kernel, x.len(), args);
    Ok(y)
}

/// `shape` repeated along `x`: where the element that meets each of `x`'s stands. `None` where they do not fit.
pub(super) fn repeated(shape: &[usize], x: &[usize]) -> Option<Walk> {
    let leading = x.len().checked_sub(shape.len())?;
    let fits = shape.iter().zip(&x[leading..]).all(|(&own, &other)| own == 1 || own == other);
    let mut axes = vec![(elements(&x[..leading]), 0)];
    for (i, (&own, &other)) in shape.iter().zip(&x[leading..]).enumerate() {
        axes.push((other, if own == 1 { 0 } else { elements(&shape[i + 1..]) }));
    }
    fits.then(|| Walk::new(axes))
}

/// The same for a layer's input.
///
/// # Errors
/// The layer's, when the shapes do not fit.
fn along(layer: &Layer, shape: &[usize], x: &[usize]) -> Result<Walk> {
    let wrong = || layer.error(Problem::Broadcast { shape: x.to_vec(), expected: shape.to_vec() });
    repeated(shape, x).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_are_aligned_at_their_last_axes() {
        let period = |shape: &[usize], x: &[usize]| repeated(shape, x).map(|walk| walk.period());
        assert_eq!(period(&[2, 1], &[5, 2, 3]), Some(vec![0, 0, 0, 1, 1, 1]));
        assert_eq!(period(&[3], &[2, 3]), Some(vec![0, 1, 2]));
        assert_eq!(period(&[2, 1, 2], &[2, 3, 2]), Some(vec![0, 1, 0, 1, 0, 1, 2, 3, 2, 3, 2, 3]));
        assert_eq!(period(&[1], &[4, 4]), Some(vec![0]));
        assert_eq!((period(&[2], &[3]), period(&[2, 3], &[3])), (None, None));
    }
}
