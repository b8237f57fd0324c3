//! Two arrays in, numbers out. No opinion: that is [`super::judge`]'s.

use loom_core::Network;
use serde::{Deserialize, Serialize};

use super::manifest::Reference;
use super::plan::{Tolerance, ulps};

/// The element that is furthest outside, or nearest to, its allowance.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// Position in C order.
    pub index: usize,
    /// What we computed.
    pub ours: f64,
    /// What was expected.
    pub expected: f64,
}

/// The difference of two arrays of one shape.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    /// Extents, as expected.
    pub shape: Vec<usize>,
    /// Whether every element is equal (-0 equals 0, NaN equals NaN).
    pub exact: bool,
    /// The first element that is NaN or infinite where the other is not, or of another sign.
    pub nonfinite: Option<Point>,
    /// The element with the largest `|a - e|` relative to what is allowed.
    pub worst: Option<Point>,
    /// Largest `|a - e|`.
    pub max_abs: f64,
    /// Largest `|a - e| / |e|` over elements with e ≠ 0.
    pub max_rel: f64,
    /// Largest distance in units in the last place of f32.
    pub max_ulp: u64,
    /// Mean squared error over mean square of the reference.
    pub nmse: f64,
    /// Largest `|a - e| / allowed`; at most 1 passes. Infinite when nothing is allowed.
    pub excess: f64,
    /// Elements beyond their allowance.
    pub outliers: usize,
    /// The smallest `atol` that would pass with the same relative part.
    pub needed_atol: f64,
    /// Largest distance of the planet from its own f64 result, if there is one.
    pub planet_error: Option<f64>,
    /// Largest distance of ours from the planet's f64 result, if there is one.
    pub our_error: Option<f64>,
}

/// Compares `ours` with `planet`, both of `shape`; `exact` is the planet's f64 result, which
/// takes the place of `planet` where the tolerance says so.
#[must_use]
pub fn compare(
    shape: &[usize],
    ours: &[f32],
    planet: &[f32],
    exact: Option<&[f64]>,
    tolerance: &Tolerance,
) -> Comparison {
    let mut c = Comparison {
        shape: shape.to_vec(),
        exact: true,
        nonfinite: None,
        worst: None,
        max_abs: 0.0,
        max_rel: 0.0,
        max_ulp: 0,
        nmse: 0.0,
        excess: 0.0,
        outliers: 0,
        needed_atol: 0.0,
        planet_error: exact.map(|exact| distance(planet, exact)),
        our_error: exact.map(|exact| distance(ours, exact)),
    };
    let rounded: Vec<f32>;
    let expected = match (tolerance.reference, exact) {
        (Reference::Float64, Some(exact)) => {
            rounded = exact.iter().map(|&v| v as f32).collect();
            &rounded
        }
        _ => planet,
    };
    let (mut squares, mut errors) = (0.0, 0.0);
    for (index, (&a, &e)) in ours.iter().zip(expected).enumerate() {
        if a == e || (a.is_nan() && e.is_nan()) {
            squares += if e.is_finite() { f64::from(e) * f64::from(e) } else { 0.0 };
            continue;
        }
        c.exact = false;
        let point = Point { index, ours: f64::from(a), expected: f64::from(e) };
        if !a.is_finite() || !e.is_finite() {
            c.nonfinite.get_or_insert(point);
            c.outliers += 1;
            continue;
        }
        let excess = tolerance.excess(a, e);
        c.max_ulp = c.max_ulp.max(ulps(a, e));
        let (a, e) = (f64::from(a), f64::from(e));
        let delta = (a - e).abs();
        squares += e * e;
        errors += delta * delta;
        c.max_abs = c.max_abs.max(delta);
        if e != 0.0 {
            c.max_rel = c.max_rel.max(delta / e.abs());
        }
        c.needed_atol = c.needed_atol.max(delta - tolerance.rtol * e.abs());
        if excess > 1.0 || excess.is_nan() {
            c.outliers += 1;
        }
        if c.worst.is_none() || excess > c.excess || (excess == c.excess && delta >= c.max_abs) {
            c.excess = excess;
            c.worst = Some(point);
        }
    }
    c.nmse = if errors == 0.0 { 0.0 } else { errors / squares };
    c
}

/// A stored weight beside the one it came from.
#[derive(Clone, Debug, PartialEq)]
pub struct WorstWeight {
    /// The layer's path and the role.
    pub place: String,
    /// Position in row-major order.
    pub index: usize,
    /// The original weight.
    pub weight: f64,
    /// What is stored for it.
    pub stored: f64,
    /// Their distance over what the codec allows; at most 1 passes.
    pub excess: f64,
}

/// Compares the weights of `stored` with those of `plain`, and counts bits.
#[must_use]
pub fn weights(plain: &Network, stored: &Network) -> (Option<WorstWeight>, Option<f64>) {
    let mut worst: Option<WorstWeight> = None;
    let (mut bytes, mut count) = (0, 0);
    for ((path, role, plain), (_, _, store)) in plain.stores().into_iter().zip(stored.stores()) {
        bytes += store.bytes().len();
        count += store.len();
        for (index, (weight, stored)) in plain.iter().zip(store.iter()).enumerate() {
            if weight == stored {
                continue;
            }
            let excess = (stored - weight).abs() / store.error_bound(index, weight);
            if worst.as_ref().is_none_or(|worst| excess.is_nan() || excess > worst.excess) {
                worst = Some(WorstWeight { place: format!("{path}.{role}"), index, weight, stored, excess });
            }
        }
    }
    (worst, (count > 0).then(|| 8.0 * bytes as f64 / count as f64))
}

/// The cosine of the angle between two outputs; 1 where both are zero.
#[must_use]
pub(crate) fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).fold(0.0, |sum, (&a, &b)| sum + f64::from(a) * f64::from(b));
    let (length_a, length_b) = (dot(a, a).sqrt(), dot(b, b).sqrt());
    match (length_a == 0.0, length_b == 0.0) {
        (true, true) => 1.0,
        (false, false) => (dot(a, b) / length_a / length_b).clamp(-1.0, 1.0),
        _ => 0.0,
    }
}

fn distance(values: &[f32], exact: &[f64]) -> f64 {
    values.iter().zip(exact).fold(0.0, |worst: f64, (&v, &e)| {
        let distance = (f64::from(v) - e).abs();
        if distance.is_nan() || distance > worst { distance } else { worst }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stages::plan::BandSource;

    const BAND: Tolerance =
        Tolerance { atol: 0.1, rtol: 0.0, nmse: None, reference: Reference::Float32, source: BandSource::Bedrock };

    #[test]
    fn ulps_cross_zero() {
        assert_eq!(ulps(1.0, 1.0), 0);
        assert_eq!(ulps(1.0, f32::from_bits(1.0f32.to_bits() + 3)), 3);
        assert_eq!(ulps(f32::from_bits(1), -f32::from_bits(1)), 2);
        assert_eq!(ulps(0.0, -0.0), 0);
    }

    #[test]
    fn a_band_in_units_in_the_last_place() {
        let up = |v: f32, n: u32| f32::from_bits(v.to_bits() + n);
        let band = |ulps| Tolerance { atol: 0.0, source: BandSource::Ulps(ulps), ..BAND };
        // 1.99 has units of 2^-24 of itself, 1.01 of 2^-23: a relative band takes one of them for half.
        for v in [1.01f32, 1.99, 1e-20, f32::from_bits(1)] {
            let excess = |n, ulps| compare(&[1], &[up(v, n)], &[v], None, &band(ulps)).excess;
            assert!(excess(2, 2) <= 1.0 && excess(3, 2) > 1.0 && excess(1, 0) > 1.0, "{v}");
        }
    }

    #[test]
    fn special_values() {
        let (nan, inf) = (f32::NAN, f32::INFINITY);
        let same = compare(&[4], &[nan, inf, -inf, -0.0], &[nan, inf, -inf, 0.0], None, &BAND);
        assert!(same.exact && same.nonfinite.is_none());
        for (a, e) in [(nan, 1.0), (1.0, nan), (inf, -inf), (inf, 3.0)] {
            let c = compare(&[2], &[0.0, a], &[0.0, e], None, &BAND);
            assert_eq!(c.nonfinite.map(|p| p.index), Some(1), "{a} against {e}");
        }
    }

    #[test]
    fn numbers() {
        let c = compare(&[3], &[1.0, 2.5, -4.0], &[1.0, 2.0, -4.05], Some(&[1.0, 2.1, -4.0]), &BAND);
        assert_eq!((c.outliers, c.worst.map(|p| p.index)), (1, Some(1)));
        assert_eq!(c.max_abs, 0.5);
        assert!((c.excess - 5.0).abs() < 1e-6 && (c.our_error.unwrap_or(0.0) - 0.4).abs() < 1e-6);
        assert!((c.nmse - 0.2525 / (1.0 + 4.0 + 4.05 * 4.05)).abs() < 1e-6);
    }
}
