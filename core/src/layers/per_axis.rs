//! Numbers for the axes of windows as configurations have them: one for all, one for each, or two for the sides of each.

use std::borrow::Cow;
use std::fmt;
use std::ops::RangeInclusive;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::value::SeqAccessDeserializer;
use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::LARGEST;
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
