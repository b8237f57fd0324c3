//! Numbers for the axes of windows: one for all, one for each, or two for the sides of each; and what windows along
//! an axis touch.

use std::borrow::Cow;
use std::fmt;
use std::ops::{Range, RangeInclusive};

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::value::SeqAccessDeserializer;
use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::{LARGEST, MOST_AXES};
use crate::error::ConfigError;

/// A number for every axis, or one for each, the slowest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum PerAxis {
    /// The same for all.
    All(usize),
    /// One for each.
    Each(Vec<usize>),
}

/// How much lies before and behind each axis, the slowest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Padding {
    /// The same on either side of all.
    All(usize),
    /// The same on either side of each.
    Each(Vec<usize>),
    /// Before and behind each.
    Sides(Vec<[usize; 2]>),
}

impl From<usize> for PerAxis {
    fn from(n: usize) -> Self {
        PerAxis::All(n)
    }
}

impl From<usize> for Padding {
    fn from(n: usize) -> Self {
        Padding::All(n)
    }
}

impl PerAxis {
    /// The number of an axis; the last there is where a list is too short, which [`PerAxis::check`] refuses.
    pub(super) fn along(&self, axis: usize) -> usize {
        match self {
            PerAxis::All(n) => *n,
            PerAxis::Each(each) => each.get(axis).or(each.last()).copied().unwrap_or(0),
        }
    }

    /// `Err` unless there is a number from 1 to [`LARGEST`] for each of `axes` axes.
    pub(super) fn check(&self, field: &'static str, axes: usize) -> Result<(), ConfigError> {
        match self {
            PerAxis::All(0) => Err(ConfigError::Zero { field }),
            PerAxis::All(n) => super::believable(&[(field, *n)]),
            PerAxis::Each(each) => check_extents(field, each, axes..=axes),
        }
    }

    /// The one number for all axes, if it is one.
    pub(crate) fn same(&self) -> Option<usize> {
        match self {
            PerAxis::All(n) => Some(*n),
            PerAxis::Each(each) => each.first().filter(|first| each.iter().all(|n| n == *first)).copied(),
        }
    }
}

impl Padding {
    /// What lies before and behind an axis.
    pub(super) fn along(&self, axis: usize) -> [usize; 2] {
        match self {
            Padding::All(n) => [*n; 2],
            Padding::Each(each) => [each.get(axis).copied().unwrap_or(0); 2],
            Padding::Sides(sides) => sides.get(axis).copied().unwrap_or([0; 2]),
        }
    }

    /// `Err` unless there are numbers up to [`LARGEST`] for each of `axes` axes.
    pub(super) fn check(&self, field: &'static str, axes: usize) -> Result<(), ConfigError> {
        let (found, count) = match self {
            Padding::All(n) => (vec![*n], axes),
            Padding::Each(each) => (each.clone(), each.len()),
            Padding::Sides(sides) => (sides.concat(), sides.len()),
        };
        match count == axes && found.iter().all(|&n| n <= LARGEST) {
            true => Ok(()),
            false => Err(ConfigError::Sides { field, found, axes, most: LARGEST }),
        }
    }

    /// The one number for all sides, if it is one.
    pub(crate) fn same(&self) -> Option<usize> {
        match self {
            Padding::All(n) => Some(*n),
            Padding::Each(each) => PerAxis::Each(each.clone()).same(),
            Padding::Sides(sides) => PerAxis::Each(sides.concat()).same(),
        }
    }

    /// Whether nothing lies anywhere.
    pub(super) fn is_none(&self) -> bool {
        match self {
            Padding::All(n) => *n == 0,
            Padding::Each(each) => each.iter().all(|&n| n == 0),
            Padding::Sides(sides) => sides.iter().all(|sides| *sides == [0; 2]),
        }
    }
}

/// The serde default of what is 1 along every axis.
pub(super) fn once() -> PerAxis {
    PerAxis::All(1)
}

pub(super) fn is_once(n: &PerAxis) -> bool {
    *n == once()
}

/// The serde default of paddings.
pub(super) fn none() -> Padding {
    Padding::All(0)
}

struct AxesReader;

impl<'de> Visitor<'de> for AxesReader {
    type Value = PerAxis;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number, or a list with one for each axis")
    }

    fn visit_u64<E: serde::de::Error>(self, n: u64) -> Result<PerAxis, E> {
        Ok(PerAxis::All(usize::try_from(n).unwrap_or(usize::MAX)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<PerAxis, A::Error> {
        Vec::deserialize(SeqAccessDeserializer::new(list)).map(PerAxis::Each)
    }
}

impl<'de> Deserialize<'de> for PerAxis {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(AxesReader)
    }
}

/// A number of a list of paddings, or the two of an axis.
#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a number, or two: before and behind")]
enum Side {
    Both(usize),
    Each([usize; 2]),
}

struct PaddingReader;

impl<'de> Visitor<'de> for PaddingReader {
    type Value = Padding;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number, or a list with a number or a pair (before, behind) for each axis")
    }

    fn visit_u64<E: serde::de::Error>(self, n: u64) -> Result<Padding, E> {
        Ok(Padding::All(usize::try_from(n).unwrap_or(usize::MAX)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Padding, A::Error> {
        let sides: Vec<Side> = Vec::deserialize(SeqAccessDeserializer::new(list))?;
        let each: Option<Vec<usize>> =
            sides.iter().map(|s| if let Side::Both(n) = s { Some(*n) } else { None }).collect();
        let pair = |side: Side| match side {
            Side::Both(n) => [n; 2],
            Side::Each(pair) => pair,
        };
        Ok(each.map_or_else(|| Padding::Sides(sides.into_iter().map(pair).collect()), Padding::Each))
    }
}

impl<'de> Deserialize<'de> for Padding {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(PaddingReader)
    }
}

impl JsonSchema for PerAxis {
    fn schema_name() -> Cow<'static, str> {
        "PerAxis".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let number = schemars::json_schema!({ "type": "integer", "minimum": 1 });
        schemars::json_schema!({
            "description": "A number for every axis, or a list with one for each.",
            "anyOf": [number, { "type": "array", "items": number }],
        })
    }
}

impl JsonSchema for Padding {
    fn schema_name() -> Cow<'static, str> {
        "Padding".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let number = schemars::json_schema!({ "type": "integer", "minimum": 0 });
        let pair = schemars::json_schema!({ "type": "array", "items": number, "minItems": 2, "maxItems": 2 });
        schemars::json_schema!({
            "description": "A number for every side, or a list with a number or a pair (before, behind) for each axis.",
            "anyOf": [number, { "type": "array", "items": { "anyOf": [number, pair] } }],
        })
    }
}

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

/// `Err` unless there are as many extents as one of `axes` says, each from 1 to [`LARGEST`].
pub(super) fn check_extents(
    field: &'static str,
    extents: &[usize],
    axes: RangeInclusive<usize>,
) -> Result<(), ConfigError> {
    if axes.contains(&extents.len()) && extents.iter().all(|n| (1..=LARGEST).contains(n)) {
        return Ok(());
    }
    let axes = extents.len().clamp(*axes.start(), *axes.end());
    Err(ConfigError::Extents { field, found: extents.to_vec(), axes, most: LARGEST })
}

/// `Err` unless kernel, stride, dilation and padding have numbers for each of `axes` axes.
pub(super) fn check_windows(
    [kernel, stride, dilation]: [&PerAxis; 3],
    padding: &Padding,
    axes: usize,
) -> Result<(), ConfigError> {
    kernel.check("kernel_size", axes)?;
    stride.check("stride", axes)?;
    dilation.check("dilation", axes)?;
    padding.check("padding", axes)
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
