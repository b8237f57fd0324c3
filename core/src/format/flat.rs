//! The flat packing order of the original: one array per layer.
//!
//! Roles follow each other in the order of [`LayerSpec::roles`], except that an LSTM packs
//! gate by gate (input matrix, recurrent matrix, bias of i, then of f, g, o). Query and key
//! norms are not part of the array.

use std::ops::Range;

use crate::layers::{LayerSpec, RoleShape};
use crate::store::{Role, WeightStore, Weights};
use crate::tensor::element_count;

/// Whether the original keeps a role outside of the array.
#[must_use]
pub fn is_apart(role: Role) -> bool {
    matches!(role, Role::QNorm | Role::KNorm)
}

/// The array's pieces in order: a role, and which of its elements.
fn pieces(spec: &LayerSpec) -> Result<Vec<(RoleShape, Range<usize>)>, String> {
    let mut roles = spec.roles();
    roles.retain(|role| !is_apart(role.role));
    let blocks = if matches!(spec, LayerSpec::Lstm(_)) { 4 } else { 1 };
    let mut pieces = Vec::new();
    for block in 0..blocks {
        for role in &roles {
            let size = element_count(&role.shape).ok_or("a role's shape overflows")? / blocks;
            pieces.push((role.clone(), block * size..(block + 1) * size));
        }
    }
    Ok(pieces)
}

/// Pieces with the stores they come from.
fn stored<'a>(spec: &LayerSpec, weights: &'a Weights) -> Result<Vec<(&'a WeightStore, Range<usize>)>, String> {
    let find = |(RoleShape { role, shape }, range)| {
        let store = weights.get(&role).filter(|store| store.shape() == shape);
        Ok((store.ok_or_else(|| format!("no {role} weights of shape {shape:?}"))?, range))
    };
    pieces(spec)?.into_iter().map(find).collect()
}

/// The weights of a layer in packing order.
///
/// # Errors
/// A sentence when a role is missing or has another shape than the configuration says.
pub fn pack<'a>(spec: &LayerSpec, weights: &'a Weights) -> Result<impl Iterator<Item = f64> + 'a, String> {
    let parts = stored(spec, weights)?;
    Ok(parts.into_iter().flat_map(|(store, range)| store.iter().skip(range.start).take(range.len())))
}

/// The codes of a layer in packing order, across roles without gaps, as the original's files
/// have them.
///
/// # Errors
/// As [`pack`], or when the roles are not of one dtype.
pub fn pack_codes(spec: &LayerSpec, weights: &Weights) -> Result<Vec<u8>, String> {
    let parts = stored(spec, weights)?;
    let Some((first, _)) = parts.first() else { return Ok(Vec::new()) };
    let dtype = first.dtype();
    if let Some((other, _)) = parts.iter().find(|(store, _)| store.dtype() != dtype) {
        return Err(format!("weights of {dtype} and of {}; one array holds one type", other.dtype()));
    }
    Ok(dtype.pack(parts.iter().flat_map(|(store, range)| store.codes().skip(range.start).take(range.len()))))
}

/// Splits a flat array into the roles of `spec`.
///
/// # Errors
/// A sentence with both lengths when the array is not as long as the roles need, or the
/// position of an element that is not finite.
pub fn unpack(spec: &LayerSpec, flat: &[f32]) -> Result<Weights, String> {
    spec.check()?;
    let pieces = pieces(spec)?;
    let total: usize = pieces.iter().map(|(_, range)| range.len()).sum();
    if total != flat.len() {
        return Err(format!("{} weights where {} needs {total}", flat.len(), spec.kind().name()));
    }
    let mut parts: Vec<(RoleShape, Vec<f32>)> = Vec::new();
    let mut rest = flat;
    for (role, range) in pieces {
        let (head, tail) = rest.split_at(range.len());
        rest = tail;
        match parts.iter_mut().find(|(known, _)| known.role == role.role) {
            Some((_, part)) => part.extend_from_slice(head),
            None => parts.push((role, head.to_vec())),
        }
    }
    let mut weights = Weights::new();
    for (role, part) in parts {
        let store = WeightStore::f32(role.shape, part).map_err(|e| format!("{}: {e}", role.role))?;
        weights.insert(role.role, store);
    }
    Ok(weights)
}
