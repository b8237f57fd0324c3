//! The scale and zero point that a dtype's rule gives for weights, worked out again without the
//! codecs: a store whose scale is another one is red whatever its codes say.
//!
//! Rules: the absmax of integers, FP8 and FP4 (`standard`: the largest code's value; `loom`: what the
//! original divides by), the mean magnitude of binary and of BitNet's ternary. Types that use no scale
//! have 1; the original writes max/127 beside them.

use loom_core::{Dtype, Layer, Network, Numerics, Role, Scales, Storage, Vectors, WeightStore};

use super::plan::Stored;

/// The largest relative distance of two scales that differ by their roundings to f32 alone.
const ROUNDING: f64 = 1e-6;

/// What a type's scale is made of.
#[derive(Clone, Copy, Debug, PartialEq)]
enum ScaleRule {
    /// 1, whatever the weights are.
    One,
    /// The largest magnitude over a number of steps.
    Largest(f64),
    /// The mean magnitude.
    Mean,
}

fn rule(stored: Stored) -> ScaleRule {
    use Dtype::*;
    let largest_code = |bits: i32| ScaleRule::Largest(2f64.powi(bits - 1) - 1.0);
    match (stored.numerics, stored.dtype) {
        (_, Float32) => ScaleRule::One,
        (_, Binary) | (Numerics::Standard, Ternary) => ScaleRule::Mean,
        (Numerics::Standard, Float64 | Float16 | BFloat16) => ScaleRule::One,
        (Numerics::Standard, Fp8E4M3) => ScaleRule::Largest(448.0),
        (Numerics::Standard, Fp8E5M2) => ScaleRule::Largest(57344.0),
        (Numerics::Standard, Fp4) => ScaleRule::Largest(6.0),
        (Numerics::Standard, Int64 | Uint64) => largest_code(64),
        (Numerics::Standard, Int32 | Uint32) => largest_code(32),
        (Numerics::Standard, Int16 | Uint16) => largest_code(16),
        (Numerics::Standard, Int8 | Uint8) => largest_code(8),
        (Numerics::Standard, Int4 | Uint4) => largest_code(4),
        (Numerics::Standard, Int2 | Uint2) => largest_code(2),
        (Numerics::Loom, Int4 | Uint4) => ScaleRule::Largest(7.0),
        (Numerics::Loom, Fp4) => ScaleRule::Largest(3.0),
        (Numerics::Loom, Int2 | Uint2 | Ternary) => ScaleRule::Largest(1.0),
        (Numerics::Loom, _) => ScaleRule::Largest(127.0),
    }
}

/// The scale for weights that share one; 1 where all of them are 0.
fn scale(stored: Stored, sharing: &[&WeightStore]) -> f64 {
    let magnitudes = || sharing.iter().flat_map(|store| store.iter()).map(f64::abs);
    let scale = match rule(stored) {
        ScaleRule::One => 1.0,
        ScaleRule::Largest(steps) => magnitudes().fold(0.0, f64::max) / steps,
        ScaleRule::Mean => magnitudes().sum::<f64>() / magnitudes().count().max(1) as f64,
    };
    if scale == 0.0 { 1.0 } else { scale }
}

/// Half of an unsigned `standard` type's codes stand for negative weights; nothing else is shifted.
fn zero_point(stored: Stored) -> u64 {
    use Dtype::{Uint2, Uint4, Uint8, Uint16, Uint32, Uint64};
    match (stored.numerics, stored.dtype) {
        (Numerics::Standard, Uint64 | Uint32 | Uint16 | Uint8 | Uint4 | Uint2) => 1 << (stored.dtype.bits() - 1),
        _ => 0,
    }
}

/// Whether `storage` puts the weights of a role into its dtype.
#[must_use]
pub(crate) fn is_stored(storage: &Storage, role: Role) -> bool {
    match storage.numerics {
        Numerics::Loom => !role.is_outside_array(),
        Numerics::Standard => storage.vectors == Vectors::Stored || !role.is_vector(),
    }
}

/// The first store of `stored` whose dtype, profile, scale or zero point is not what `storage` and the
/// weights of `plain` ask for, in words.
#[must_use]
pub(crate) fn mismatch(plain: &Network, stored: &Network, storage: &Storage) -> Option<String> {
    let mut found = None;
    // Only to walk the layers: nothing is changed.
    let _ = plain.with_weights(&mut |layer| {
        found = found.take().or_else(|| in_layer(layer, stored, storage));
        Ok(layer.weights().clone())
    });
    found
}

fn in_layer(plain: &Layer, stored: &Network, storage: &Storage) -> Option<String> {
    let whole_layer: Vec<&WeightStore> =
        plain.weights().iter().filter(|(role, _)| is_stored(storage, **role)).map(|(_, store)| store).collect();
    let of_layer = stored.stores().into_iter().filter(|(path, ..)| *path == plain.path());
    for (_, role, store) in of_layer.filter(|(_, role, _)| is_stored(storage, *role)) {
        let own = [plain.weights().get(&role)?];
        let sharing = if storage.numerics == Numerics::Loom { &whole_layer[..] } else { &own[..] };
        let place = format!("{}.{role}", plain.path());
        let wanted = Stored { dtype: storage.dtype, numerics: storage.numerics };
        // The weights of a planet are float32 in both profiles.
        let kept = Stored { dtype: store.dtype(), numerics: store.numerics() };
        if kept != wanted && !(kept.dtype == Dtype::Float32 && wanted.dtype == Dtype::Float32) {
            return Some(format!("{place} is stored as {kept}, expected {wanted}"));
        }
        let Scales::Tensor(affine) = store.scales();
        let (scale, zero_point) = (scale(wanted, sharing), zero_point(wanted));
        if affine.zero_point != zero_point {
            return Some(format!("{place} has zero point {}, its type's rule gives {zero_point}", affine.zero_point));
        }
        let off = (f64::from(affine.scale) - scale).abs() / scale;
        // Written so that a NaN fails; the smallest subnormal is as near as f32 can be.
        if !(off <= ROUNDING || (f64::from(affine.scale) - scale).abs() <= f64::from(f32::from_bits(1))) {
            return Some(format!(
                "{place} has scale {:e}, its weights and its type's rule give {scale:e}",
                affine.scale
            ));
        }
    }
    None
}
