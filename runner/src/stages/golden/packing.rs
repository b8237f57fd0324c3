//! How planets' arrays of one model are kept, so that no number lies there twice.
//!
//! An array that another planet's file holds too, its axes in another order or several gates of a recurrent layer as
//! one, is not kept again: the index names that array. An output that is near another is kept as what it differs by, in
//! units in the last place, byte by byte, which deflates to little. Every array is whole again after
//! [`unpack`], to the bit, which its digest in the index proves.

use std::collections::BTreeMap;

use loom_bedrocks::build::OUTPUTS;
use loom_bedrocks::npz::{self, Array, Arrays, Data};
use serde::{Deserialize, Serialize};

/// What an array is made of where its file does not hold it whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kept {
    /// The planet, an earlier one or the array's own, whose array of the same model it is made of.
    pub of: String,
    /// The name of that array.
    pub array: String,
    /// Axis `axes[i]` of that array is axis `i` of this one; absent: in the same order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub axes: Option<Vec<usize>>,
    /// The first row of that array and the one after the last; absent: all rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<[usize; 2]>,
    /// Whether the file holds what the two differ by.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub differs: bool,
}

/// Why an array cannot be made whole.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnpackError {
    /// What it is made of is not there.
    #[error("is made of {array} of {of}, which is not there")]
    Missing {
        /// The planet.
        of: String,
        /// Its array.
        array: String,
    },
    /// What it is made of has no such axes or rows.
    #[error("is made of axes {axes:?} and rows {rows:?} of an array of shape {shape:?}, which has not all of these")]
    Axes {
        /// The axes named in the index.
        axes: Option<Vec<usize>>,
        /// The rows named in the index.
        rows: Option<[usize; 2]>,
        /// The shape of the array.
        shape: Vec<usize>,
    },
    /// What is made has another shape than the array.
    #[error("would be of shape {made:?} as the index says it is made; the index says {wanted:?}")]
    Shape {
        /// The shape of what is made.
        made: Vec<usize>,
        /// The shape of the array.
        wanted: Vec<usize>,
    },
    /// An array of float64 differs from one of float32.
    #[error("is of float64, and what it is made of has fewer digits")]
    Narrower,
    /// The differences are not those of this array.
    #[error("differences of shape {shape:?} for {elements} elements; expected [bytes of each, {elements}] as uint8")]
    Differences {
        /// The shape found.
        shape: Vec<usize>,
        /// How many elements the array has.
        elements: usize,
    },
}

/// What one planet's file holds, and how its other arrays are made.
#[derive(Debug, Default)]
pub struct Packed {
    /// The members of the file.
    pub held: Arrays,
    /// The arrays that it does not hold whole.
    pub kept: BTreeMap<String, Kept>,
}

/// Packs the arrays of one model, given by planet in the order of all tables.
#[must_use]
pub fn pack(planets: &[(&str, &Arrays)]) -> Vec<Packed> {
    let mut packed: Vec<Packed> = Vec::new();
    for (i, (planet, arrays)) in planets.iter().enumerate() {
        let mut own = Packed::default();
        for (name, array) in *arrays {
            let before = planets[..i].iter().zip(&packed).flat_map(|((of, arrays), packed)| {
                let whole = |(name, _): &(&String, &Array)| !packed.kept.contains_key(*name);
                arrays.iter().filter(whole).map(move |(name, array)| (*of, name, array))
            });
            let found = match OUTPUTS.iter().position(|output| output == name) {
                Some(0) => arrays.get(OUTPUTS[1]).and_then(|exact| near(planet, OUTPUTS[1], exact, array)),
                Some(_) => before
                    .filter(|(_, other, _)| *other == name)
                    .find_map(|(of, _, exact)| near(of, name, exact, array)),
                None => before
                    .filter(|(_, other, _)| is_part(name, other))
                    .find_map(|(of, other, whole)| same(of, other, whole, array).map(|kept| (kept, None))),
            };
            match found {
                Some((kept, differences)) => {
                    own.kept.insert(name.clone(), kept);
                    own.held.extend(differences.map(|differences| (name.clone(), differences)));
                }
                None => {
                    own.held.insert(name.clone(), array.clone());
                }
            }
        }
        packed.push(own);
    }
    packed
}

/// Whether an array of this name may be `other`, or one gate of it.
fn is_part(name: &str, other: &str) -> bool {
    name.strip_prefix(other).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// How `array` is a part of `whole`, if it is.
fn same(of: &str, name: &str, whole: &Array, array: &Array) -> Option<Kept> {
    let rows = *whole.shape.first()?;
    if array.is_empty() || whole.is_empty() || !whole.len().is_multiple_of(array.len()) {
        return None;
    }
    let parts = whole.len() / array.len();
    let height = rows / parts;
    (0..parts).filter(|_| rows.is_multiple_of(parts)).find_map(|part| {
        let rows = (parts > 1).then(|| [part * height, (part + 1) * height]);
        let mut shape = whole.shape.clone();
        shape[0] = height;
        let fits = |axes: &Vec<usize>| axes.iter().map(|&axis| shape[axis]).eq(array.shape.iter().copied());
        let kept = |axes: Vec<usize>| Kept {
            of: of.into(),
            array: name.into(),
            axes: (!axes.is_sorted()).then_some(axes),
            rows,
            differs: false,
        };
        let mut orders = permutations(shape.len()).into_iter().filter(fits).map(kept);
        orders.find(|kept| view(kept, whole, None).is_ok_and(|(_, made)| made.same_bits(&array.data)))
    })
}

/// `array` as what it differs by from `other`, if the differences need less than two thirds of its bytes.
fn near(of: &str, name: &str, other: &Array, array: &Array) -> Option<(Kept, Option<Array>)> {
    let fits = |axes: &Vec<usize>| axes.iter().map(|&axis| other.shape[axis]).eq(array.shape.iter().copied());
    let orders = permutations(other.shape.len()).into_iter().filter(fits);
    let float64 = matches!(array.data, Data::F64(_));
    let one = |axes: Vec<usize>| {
        let axes = (!axes.is_sorted()).then_some(axes);
        let kept = Kept { of: of.into(), array: name.into(), axes, rows: None, differs: true };
        let base = rounded(&view(&kept, other, None).ok()?.1, float64)?;
        let differences: Vec<u64> = ordered(&array.data)?.zip(base).map(|(a, b)| folded(a.wrapping_sub(b))).collect();
        let bytes: usize = differences.iter().map(|&d| bytes(d)).sum();
        Some((bytes, kept, differences))
    };
    let (size, kept, differences) = orders.filter_map(one).min_by_key(|(size, ..)| *size)?;
    let item = if float64 { 8 } else { 4 };
    (3 * size < 2 * item * array.len()).then(|| (kept, Some(planes(&differences))))
}

/// The bytes that a number needs.
fn bytes(number: u64) -> usize {
    (u64::BITS - number.leading_zeros()).div_ceil(8) as usize
}

/// A difference with its sign in the lowest bit, so that small ones are small numbers.
fn folded(difference: i64) -> u64 {
    (difference << 1 ^ difference >> 63).cast_unsigned()
}

fn unfolded(number: u64) -> i64 {
    (number >> 1).cast_signed() ^ -(number & 1).cast_signed()
}

/// Numbers as bytes: all the lowest, then all the next, as many as the largest needs.
fn planes(numbers: &[u64]) -> Array {
    let deep = bytes(numbers.iter().fold(0, |all, number| all | number)).max(1);
    let data = (0..deep).flat_map(|plane| numbers.iter().map(move |number| (number >> (8 * plane)) as u8));
    Array::of(vec![deep, numbers.len()], Data::U8(data.collect()))
}

/// The elements as integers in the order of their values: neighbours differ by 1, and so do -0 and 0. `None` of bytes.
fn ordered(data: &Data) -> Option<Box<dyn Iterator<Item = i64> + '_>> {
    match data {
        Data::F32(data) => {
            Some(Box::new(data.iter().map(|value| i64::from(turned_f32(value.to_bits().cast_signed())))))
        }
        Data::F64(data) => Some(Box::new(data.iter().map(|value| turned_f64(value.to_bits().cast_signed())))),
        Data::U8(_) => None,
    }
}

/// The elements that [`ordered`] gives these integers for.
fn of_ordered(numbers: impl Iterator<Item = i64>, float64: bool) -> Data {
    if float64 {
        return Data::F64(numbers.map(|n| f64::from_bits(turned_f64(n).cast_unsigned())).collect());
    }
    Data::F32(numbers.map(|n| f32::from_bits(turned_f32(n as i32).cast_unsigned())).collect())
}

/// Bits of a float as an integer in the order of values, and back: the magnitude of a negative number is turned round.
fn turned_f32(bits: i32) -> i32 {
    bits ^ (bits >> 31 & i32::MAX)
}

fn turned_f64(bits: i64) -> i64 {
    bits ^ (bits >> 63 & i64::MAX)
}

/// The elements of `base` as [`ordered`] gives them, rounded where the array beside them is of float32.
fn rounded(base: &Data, float64: bool) -> Option<std::vec::IntoIter<i64>> {
    let numbers: Vec<i64> = match base {
        Data::F64(values) if !float64 => {
            ordered(&Data::F32(values.iter().map(|&value| value as f32).collect()))?.collect()
        }
        Data::F32(_) if float64 => return None,
        data => ordered(data)?.collect(),
    };
    Some(numbers.into_iter())
}

/// Every order of `rank` axes, the plain one first.
fn permutations(rank: usize) -> Vec<Vec<usize>> {
    let mut all = vec![Vec::new()];
    for _ in 0..rank {
        let next = |order: &Vec<usize>| {
            let order = order.clone();
            (0..rank)
                .filter(|axis| !order.contains(axis))
                .map(|axis| [&order[..], &[axis]].concat())
                .collect::<Vec<_>>()
        };
        all = all.iter().flat_map(next).collect();
    }
    all
}

/// The rows of an array that are asked for, their axes in the order that is asked for; of this shape, if one is given.
fn view(kept: &Kept, whole: &Array, wanted: Option<&[usize]>) -> Result<(Vec<usize>, Data), UnpackError> {
    let Kept { axes, rows, .. } = kept;
    let wrong = || UnpackError::Axes { axes: axes.clone(), rows: *rows, shape: whole.shape.clone() };
    if whole.is_empty() {
        return Err(wrong());
    }
    let mut shape = whole.shape.clone();
    let mut start = 0;
    if let Some([first, end]) = *rows {
        let height = shape.first_mut().filter(|height| first < end && end <= **height).ok_or_else(wrong)?;
        start = first * (whole.len() / *height);
        *height = end - first;
    }
    let order = axes.clone().unwrap_or_else(|| (0..shape.len()).collect());
    let mut sorted = order.clone();
    sorted.sort_unstable();
    if !sorted.into_iter().eq(0..shape.len()) {
        return Err(wrong());
    }
    let count: usize = shape.iter().product();
    let strides: Vec<usize> = (0..shape.len()).map(|i| shape[i + 1..].iter().product()).collect();
    let (extents, strides): (Vec<usize>, Vec<usize>) = order.iter().map(|&axis| (shape[axis], strides[axis])).unzip();
    if let Some(wanted) = wanted.filter(|wanted| *wanted != extents) {
        return Err(UnpackError::Shape { made: extents, wanted: wanted.to_vec() });
    }
    if axes.is_none() {
        return Ok((extents, whole.data.pick(start..start + count)));
    }
    let mut picked = Vec::with_capacity(count);
    let mut at = vec![0; extents.len()];
    for _ in 0..count {
        picked.push(start + at.iter().zip(&strides).map(|(i, stride)| i * stride).sum::<usize>());
        npz::advance(&mut at, &extents);
    }
    Ok((extents, whole.data.pick(picked)))
}

/// The array that `kept` makes of `whole` and, where they differ, of what the file holds under its name. `form`: whether
/// it is of float64, and its shape.
///
/// # Errors
/// [`UnpackError`], when the two do not fit what the index says.
pub(super) fn unpack(
    kept: &Kept,
    whole: Option<&Array>,
    held: Option<&Array>,
    form: (bool, &[usize]),
) -> Result<Array, UnpackError> {
    let missing = || UnpackError::Missing { of: kept.of.clone(), array: kept.array.clone() };
    let (float64, wanted) = form;
    let (shape, made) = view(kept, whole.ok_or_else(missing)?, Some(wanted))?;
    if !kept.differs {
        return Ok(Array::of(shape, made));
    }
    let elements = shape.iter().product();
    let wrong = |shape: &[usize]| UnpackError::Differences { shape: shape.to_vec(), elements };
    let held = held.ok_or_else(|| wrong(&[]))?;
    let (Data::U8(bytes), [1..=8, n]) = (&held.data, &held.shape[..]) else { return Err(wrong(&held.shape)) };
    if *n != elements {
        return Err(wrong(&held.shape));
    }
    let mut numbers = vec![0u64; elements];
    for (plane, bytes) in bytes.chunks_exact(elements.max(1)).enumerate() {
        numbers.iter_mut().zip(bytes).for_each(|(number, byte)| *number |= u64::from(*byte) << (8 * plane));
    }
    let base = rounded(&made, float64).ok_or(UnpackError::Narrower)?;
    let summed = base.zip(numbers).map(|(base, number)| base.wrapping_add(unfolded(number)));
    Ok(Array::of(shape, of_ordered(summed, float64)))
}

#[cfg(test)]
mod tests;
