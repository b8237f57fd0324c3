//! The flat packing order of the original: one f32 array per layer.
//!
//! Roles follow each other in the order of [`LayerSpec::roles`], except that an LSTM packs
//! gate by gate (input matrix, recurrent matrix, bias of i, then of f, g, o). Query and key
//! norms are not part of the array.

use crate::layers::{LayerSpec, RoleShape};
use crate::store::{Role, WeightStore, Weights};
use crate::tensor::element_count;

/// Splits a flat array into the roles of `spec`.
///
/// # Errors
/// A sentence with both lengths when the array is not as long as the roles need, or the
/// position of an element that is not finite.
pub fn unpack(spec: &LayerSpec, flat: &[f32]) -> Result<Weights, String> {
    spec.check()?;
    let mut roles = spec.roles();
    roles.retain(|role| !matches!(role.role, Role::QNorm | Role::KNorm));
    let size = |role: &RoleShape| element_count(&role.shape).ok_or("a role's shape overflows");
    let sizes = roles.iter().map(size).collect::<Result<Vec<_>, _>>()?;
    let total: usize = sizes.iter().sum();
    if total != flat.len() {
        return Err(format!("{} weights where {} needs {total}", flat.len(), spec.kind().name()));
    }
    let blocks = if matches!(spec, LayerSpec::Lstm(_)) { 4 } else { 1 };
    let mut parts = vec![Vec::new(); roles.len()];
    let mut rest = flat;
    for _ in 0..blocks {
        for (part, size) in parts.iter_mut().zip(&sizes) {
            let (head, tail) = rest.split_at(size / blocks);
            part.extend_from_slice(head);
            rest = tail;
        }
    }
    let mut weights = Weights::new();
    for (role, part) in roles.into_iter().zip(parts) {
        let store = WeightStore::f32(role.shape, part).map_err(|e| format!("{}: {e}", role.role))?;
        weights.insert(role.role, store);
    }
    Ok(weights)
}
