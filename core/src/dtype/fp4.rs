//! fp4: a sign and one of eight magnitudes.
//!
//! `loom`: 0, 0.75, 1, 1.5, 2, 3 (codes 6 and 7 read as infinity and NaN); scale max/3, the
//! nearest magnitude in f32 distance, the smaller of two equally near; NaN and infinity give
//! code 0, negative zero is never written.
//!
//! `standard`: OCP E2M1: 0, 0.5, 1, 1.5, 2, 3, 4, 6; scale max/6, round to nearest even
//! code, saturating; the type has no NaN, so NaN gives code 0.

use super::{Affine, Codec, Magnitudes, Numerics, quotient, scaled};

const LOOM: [f32; 8] = [0.0, 0.75, 1.0, 1.5, 2.0, 3.0, f32::INFINITY, f32::NAN];
const OCP: [f32; 8] = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0];

pub(super) struct Fp4;

impl Codec for Fp4 {
    fn scale(&self, numerics: Numerics, weights: &Magnitudes) -> f32 {
        weights.max_scale(numerics, if numerics == Numerics::Loom { 3.0 } else { 6.0 })
    }

    fn encode(&self, numerics: Numerics, weight: f64, affine: Affine) -> u64 {
        let q = quotient(numerics, weight, affine.scale);
        if q.is_nan() || (numerics == Numerics::Loom && q.is_infinite()) {
            return 0;
        }
        let (table, finite) = match numerics {
            Numerics::Loom => (&LOOM, 6),
            Numerics::Standard => (&OCP, 8),
        };
        // The original measures distances in f32 and does not saturate first: far beyond the
        // table all distances are equal, and the first magnitude wins.
        let largest = f64::from(table[finite - 1]);
        let distance = |code: usize| match numerics {
            Numerics::Loom => f64::from((q.abs() as f32 - table[code]).abs()),
            Numerics::Standard => (q.abs().min(largest) - f64::from(table[code])).abs(),
        };
        let code = (1..finite).fold(0, |best, code| {
            let (to_best, to_code) = (distance(best), distance(code));
            let even_tie = numerics == Numerics::Standard && to_code == to_best && code % 2 == 0;
            if to_code < to_best || even_tie { code } else { best }
        });
        let negative_zero = code == 0 && numerics == Numerics::Loom;
        if q.is_sign_negative() && !negative_zero { code as u64 | 8 } else { code as u64 }
    }

    fn decode(&self, numerics: Numerics, code: u64, Affine { scale, .. }: Affine) -> f64 {
        let table = if numerics == Numerics::Loom { &LOOM } else { &OCP };
        let magnitude = f64::from(table[code as usize & 7]);
        // A file without a scale is read by the original as if it were 1, for this type alone.
        let scale = if numerics == Numerics::Loom && scale == 0.0 { 1.0 } else { scale };
        scaled(if code & 8 != 0 { -magnitude } else { magnitude }, scale)
    }

    /// Half of the gap between the neighbouring magnitudes.
    fn bound(&self, numerics: Numerics, weight: f64, scale: f32) -> f64 {
        let (w, s) = (weight.abs(), f64::from(scale));
        s * match numerics {
            Numerics::Loom if w < 0.75 * s => 0.375,
            Numerics::Loom if w < 2.0 * s => 0.25,
            Numerics::Loom => 0.5,
            Numerics::Standard if w < 2.0 * s => 0.25,
            Numerics::Standard if w < 4.0 * s => 0.5,
            Numerics::Standard => 1.0,
        }
    }
}
