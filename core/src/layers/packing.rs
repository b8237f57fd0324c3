//! The packing order of the original: one array per layer.
//!
//! Roles follow each other in a fixed order, except that an LSTM packs gate by gate (input
//! matrix, recurrent matrix, bias of i, then of f, g, o). Query and key norms are not part of
//! the array.

use std::ops::Range;

use bytes::Bytes;

use super::{LayerKind, LayerSpec, RoleShape};
use crate::dtype::{Dtype, unpack as each_code};
use crate::error::PackingError;
use crate::role::Role;
use crate::store::{WeightStore, Weights};
use crate::tensor::element_count;

/// How a layer's array is laid out.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    /// The roles, in packing order.
    pub(crate) roles: Vec<RoleShape>,
    /// Into how many blocks each role is cut, that take turns.
    blocks: usize,
}

impl Layout {
    fn of_spec(spec: &LayerSpec) -> Result<Self, PackingError> {
        let mut roles = spec.roles();
        roles.retain(|role| !role.role.is_outside_array());
        Self::new(roles, spec.kind())
    }

    /// The layout of an array with these roles.
    pub(crate) fn new(roles: Vec<RoleShape>, kind: LayerKind) -> Result<Self, PackingError> {
        Self { roles, blocks: blocks(kind) }.checked()
    }

    fn checked(self) -> Result<Self, PackingError> {
        let counts: Option<Vec<usize>> = self.roles.iter().map(|role| element_count(&role.shape)).collect();
        // A few bytes for each element must fit as well.
        let total = counts.and_then(|counts| counts.iter().try_fold(0usize, |sum, &n| sum.checked_add(n)));
        match total.and_then(|total| total.checked_mul(64)) {
            Some(_) => Ok(self),
            None => Err(PackingError::Overflow { parts: self.roles.into_iter().map(|role| role.shape).collect() }),
        }
    }

    /// Weights in the array.
    pub(crate) fn count(&self) -> usize {
        self.roles.iter().map(|role| role.shape.iter().product::<usize>()).sum()
    }

    /// The shape of a role of the array.
    pub(crate) fn shape(&self, role: Role) -> Option<&[usize]> {
        self.roles.iter().find(|known| known.role == role).map(|known| known.shape.as_slice())
    }

    /// The array's pieces in order: an index among the roles, and which of its elements.
    fn pieces(&self) -> Vec<(usize, Range<usize>)> {
        let size = |role: &RoleShape| role.shape.iter().product::<usize>() / self.blocks;
        let block = |b: usize| {
            let pieces = self.roles.iter().enumerate();
            pieces.map(move |(i, role)| (i, b * size(role)..(b + 1) * size(role)))
        };
        (0..self.blocks).flat_map(block).collect()
    }

    /// Cuts the packed codes of an array into those of each role. Where pieces end within a byte
    /// they are packed anew; otherwise nothing is copied.
    pub(crate) fn split(&self, bits: usize, array: &Bytes) -> Vec<Bytes> {
        let mut start = 0;
        let mut parts: Vec<Vec<Range<usize>>> = vec![Vec::new(); self.roles.len()];
        for (role, range) in self.pieces() {
            let len = range.len();
            parts[role].push(start..start + len);
            start += len;
        }
        let total = start;
        let part = |ranges: Vec<Range<usize>>| {
            let whole = |r: &Range<usize>| {
                (r.start * bits).is_multiple_of(8) && ((r.end * bits).is_multiple_of(8) || r.end == total)
            };
            match ranges.as_slice() {
                [one] if whole(one) => array.slice(one.start * bits / 8..(one.end * bits).div_ceil(8)),
                many if bits >= 8 => {
                    let pieces: Vec<&[u8]> =
                        many.iter().map(|r| &array[r.start * bits / 8..r.end * bits / 8]).collect();
                    pieces.concat().into()
                }
                many => {
                    let mut codes = Vec::new();
                    many.iter().for_each(|r| each_code(bits, array, r.start, r.len(), |_, code| codes.push(code)));
                    pack(bits, codes).into()
                }
            }
        };
        parts.into_iter().map(part).collect()
    }

    /// Joins the packed codes of each role into one array: the inverse of [`Layout::split`].
    pub(crate) fn join(&self, bits: usize, roles: &[Bytes]) -> Bytes {
        let pieces = self.pieces();
        match (roles, bits) {
            ([one], _) => one.clone(),
            (_, 8..) => {
                let piece = |(i, r): &(usize, Range<usize>)| &roles[*i][r.start * bits / 8..r.end * bits / 8];
                pieces.iter().map(piece).collect::<Vec<_>>().concat().into()
            }
            _ => {
                let mut codes = Vec::new();
                for (i, range) in pieces {
                    each_code(bits, &roles[i], range.start, range.len(), |_, code| codes.push(code));
                }
                pack(bits, codes).into()
            }
        }
    }
}

/// How many gates take turns in the array of a kind.
pub(crate) fn blocks(kind: LayerKind) -> usize {
    if kind == LayerKind::Lstm { 4 } else { 1 }
}

fn pack(bits: usize, codes: Vec<u64>) -> Vec<u8> {
    crate::dtype::pack(bits, codes.into_iter())
}

/// The stores of a layer in the order of its layout.
fn stored<'a>(layout: &Layout, weights: &'a Weights) -> Result<Vec<&'a WeightStore>, PackingError> {
    let find = |RoleShape { role, shape }: &RoleShape| {
        let store = weights.get(role);
        store.filter(|store| store.shape() == shape).ok_or_else(|| PackingError::Missing {
            role: *role,
            expected: shape.clone(),
            found: store.map(|store| store.shape().to_vec()),
        })
    };
    layout.roles.iter().map(find).collect()
}

/// The weights of a layer in packing order.
///
/// # Errors
/// When a role is missing or has another shape than the configuration says.
pub fn pack_weights<'a>(
    spec: &LayerSpec,
    weights: &'a Weights,
) -> Result<impl Iterator<Item = f64> + 'a, PackingError> {
    let layout = Layout::of_spec(spec)?;
    let stores = stored(&layout, weights)?;
    let pieces = layout.pieces();
    Ok(pieces.into_iter().flat_map(move |(i, range)| stores[i].iter().skip(range.start).take(range.len())))
}

/// The codes of a layer in packing order, across roles without gaps, as the original's files
/// have them.
///
/// # Errors
/// As [`pack_weights`], or when the roles are not of one dtype.
pub fn pack_codes(spec: &LayerSpec, weights: &Weights) -> Result<Vec<u8>, PackingError> {
    let layout = Layout::of_spec(spec)?;
    let stores = stored(&layout, weights)?;
    let Some(first) = stores.first() else { return Ok(Vec::new()) };
    let dtype = first.dtype();
    if let Some(other) = stores.iter().find(|store| store.dtype() != dtype) {
        return Err(PackingError::Mixed { first: dtype, other: other.dtype() });
    }
    let bytes: Vec<Bytes> = stores.iter().map(|store| store.shared_bytes()).collect();
    Ok(layout.join(dtype.bits(), &bytes).to_vec())
}

/// Splits a flat array into the roles of `spec`.
///
/// # Errors
/// Both lengths when the array is not as long as the roles need, or the position of an element that is not finite.
pub fn unpack(spec: &LayerSpec, flat: &[f32]) -> Result<Weights, PackingError> {
    spec.check()?;
    let layout = Layout::of_spec(spec)?;
    let total = layout.count();
    if total != flat.len() {
        return Err(PackingError::Length { kind: spec.kind().name(), expected: total, found: flat.len() });
    }
    let array: Bytes = flat.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>().into();
    let mut weights = Weights::new();
    for (role, bytes) in layout.roles.iter().zip(layout.split(32, &array)) {
        let store = WeightStore::plain(Dtype::Float32, role.shape.clone(), bytes);
        let store = store.map_err(|error| PackingError::Store { role: role.role, error: Box::new(error) })?;
        weights.insert(role.role, store);
    }
    Ok(weights)
}
