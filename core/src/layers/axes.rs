//! What windows along an axis touch, and axes by the names that configurations give them.

use std::ops::Range;

use super::MOST_AXES;
use super::per_axis::{Padding, PerAxis};
use crate::error::ConfigError;

/// Windows along one axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Axis {
    /// Extent of the input.
    pub(super) input: usize,
    /// Places of a window.
    pub(super) kernel: usize,
    /// From a window to the next.
    pub(super) stride: usize,
    /// From a place of a window to the next.
    pub(super) dilation: usize,
    /// Positions before the input and behind it.
    pub(super) sides: [usize; 2],
    /// Windows.
    pub(super) output: usize,
}

impl Axis {
    /// An axis that a kind does not have.
    pub(super) const ABSENT: Axis = Axis { input: 1, kernel: 1, stride: 1, dilation: 1, sides: [0; 2], output: 1 };

    /// Windows along each axis of an input, of which there are as many as `windows` says.
    pub(super) fn each(
        input: &[usize],
        [kernel, stride, dilation]: [&PerAxis; 3],
        padding: &Padding,
        windows: impl Fn(usize, Axis) -> usize,
    ) -> Vec<Axis> {
        let axis = |(i, &input): (usize, &usize)| {
            let [kernel, stride, dilation] = [kernel, stride, dilation].map(|n| n.along(i));
            let axis = Axis { input, kernel, stride, dilation, sides: padding.along(i), output: 0 };
            Axis { output: windows(i, axis), ..axis }
        };
        input.iter().enumerate().map(axis).collect()
    }

    /// Positions from the first place of a window to the last.
    pub(super) fn reach(&self) -> usize {
        self.kernel.saturating_sub(1).saturating_mul(self.dilation).saturating_add(1)
    }

    /// The input with its sides.
    pub(super) fn padded(&self) -> usize {
        self.input.saturating_add(self.sides[0]).saturating_add(self.sides[1])
    }

    /// Windows that lie wholly within the padded input; with `ceil` also a last one that reaches out of it, if it
    /// begins before the padding behind the input.
    pub(super) fn windows(&self, ceil: bool) -> usize {
        let rest = self.padded().saturating_sub(self.reach());
        match ceil {
            false => (rest / self.stride.max(1)).saturating_add(1),
            true => {
                let windows = rest.div_ceil(self.stride.max(1)).saturating_add(1);
                let last = (windows - 1).saturating_mul(self.stride);
                windows - usize::from(last >= self.input.saturating_add(self.sides[0]))
            }
        }
    }

    /// `Err` unless a window finds its place in the padded input.
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        match self.reach() <= self.padded() {
            true => Ok(()),
            false => Err(ConfigError::Reach { reach: self.reach(), padded: self.padded(), input: self.input }),
        }
    }

    /// The places of window `o` that lie before position `end` of the padded input, and not before `start`.
    fn between(&self, o: usize, start: usize, end: usize) -> Range<usize> {
        let first = o * self.stride;
        let from = start.saturating_sub(first).div_ceil(self.dilation).min(self.kernel);
        from..end.saturating_sub(first).div_ceil(self.dilation).clamp(from, self.kernel)
    }

    /// The places of window `o` that lie in the input.
    pub(super) fn inside(&self, o: usize) -> Range<usize> {
        self.between(o, self.sides[0], self.sides[0] + self.input)
    }

    /// How many places of window `o` lie in the padded input.
    pub(super) fn counted(&self, o: usize) -> usize {
        self.between(o, 0, self.padded()).len()
    }

    /// The position in the input of place `t` of window `o`, which lies in it.
    pub(super) fn position(&self, o: usize, t: usize) -> usize {
        o * self.stride + t * self.dilation - self.sides[0]
    }

    /// The windows whose place `t` lies in the input.
    pub(super) fn meeting(&self, t: usize) -> Range<usize> {
        let before = t * self.dilation;
        let from = self.sides[0].saturating_sub(before).div_ceil(self.stride).min(self.output);
        let end = (self.sides[0] + self.input).saturating_sub(before).div_ceil(self.stride);
        from..end.clamp(from, self.output)
    }
}

/// The axes that a configuration names, ascending: 1 is the first after the batch, -1 the last.
///
/// # Errors
/// The first that is none of `axes`, is the batch, or stands there twice.
pub(super) fn named(names: &[i64], axes: usize) -> Result<Vec<usize>, ConfigError> {
    let mut found = Vec::with_capacity(names.len());
    for &axis in names {
        let place = if axis < 0 { axis + axes as i64 } else { axis };
        match usize::try_from(place) {
            Ok(place) if (1..axes).contains(&place) && !found.contains(&place) => found.push(place),
            _ => return Err(ConfigError::Axis { axis, axes }),
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// `Err` where no input could have such axes.
pub(super) fn check_named(names: &[i64]) -> Result<(), ConfigError> {
    let strange = |axis: &&i64| **axis == 0 || axis.unsigned_abs() > MOST_AXES as u64;
    match names.iter().find(strange) {
        Some(&axis) => Err(ConfigError::Axis { axis, axes: MOST_AXES + 1 }),
        None => Ok(()),
    }
}

/// The axes before the planes of an input whose last axes those are, or which has one flat plane in each sample.
pub(super) fn before_planes<'x>(x: &'x [usize], plane: &[usize]) -> &'x [usize] {
    x.strip_suffix(plane).unwrap_or(&x[..x.len().min(1)])
}

/// Three axes, of which the first are absent where there are fewer.
pub(super) fn three(axes: &[Axis]) -> [Axis; 3] {
    let mut three = [Axis::ABSENT; 3];
    let first = 3 - axes.len();
    three[first..].copy_from_slice(axes);
    three
}

/// What line `line` of the output touches in a plane: `each` is told, row-major, the number of a place of the window,
/// the windows of the line whose place lies in the input, and the plane from where the first of them reads on.
pub(super) fn touching<'p>(
    [z, y, x]: [Axis; 3],
    line: usize,
    plane: &'p [f32],
    mut each: impl FnMut(usize, Range<usize>, &'p [f32]),
) {
    let (oz, oy) = (line / y.output, line % y.output);
    for tz in z.inside(oz) {
        for ty in y.inside(oy) {
            let start = (z.position(oz, tz) * y.input + y.position(oy, ty)) * x.input;
            for tx in 0..x.kernel {
                let windows = x.meeting(tx);
                if !windows.is_empty() {
                    let first = start + x.position(windows.start, tx);
                    each((tz * y.kernel + ty) * x.kernel + tx, windows, &plane[first..start + x.input]);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_meet_the_input_where_counting_says() {
        for (input, kernel, stride, dilation, sides) in
            [(7, 3, 2, 1, [1, 1]), (5, 2, 1, 3, [2, 0]), (6, 3, 4, 2, [0, 3]), (4, 4, 1, 1, [3, 3])]
        {
            let mut axis = Axis { input, kernel, stride, dilation, sides, output: 0 };
            axis.output = axis.windows(false);
            let lies = |o: usize, t: usize| {
                let at = (o * stride + t * dilation) as i64 - sides[0] as i64;
                (0..input as i64).contains(&at)
            };
            for o in 0..axis.output {
                let inside: Vec<usize> = (0..kernel).filter(|&t| lies(o, t)).collect();
                assert_eq!(axis.inside(o).collect::<Vec<_>>(), inside, "{axis:?} at {o}");
                assert_eq!(axis.counted(o), kernel, "{axis:?} at {o}");
            }
            for t in 0..kernel {
                let meeting: Vec<usize> = (0..axis.output).filter(|&o| lies(o, t)).collect();
                assert_eq!(axis.meeting(t).collect::<Vec<_>>(), meeting, "{axis:?}, place {t}");
            }
        }
    }
}
