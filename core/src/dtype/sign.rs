//! ternary and binary.
//!
//! `loom`: ternary has scale max|w| and rounds half away from zero, so half of the range
//! becomes 0; binary has scale mean|w| and code 1 for everything that is not negative.
//!
//! `standard`: ternary as BitNet b1.58 (Ma et al., 2024): scale mean|w|, round and clip to
//! -1, 0, 1; binary as XNOR-Net (Rastegari et al., 2016): scale mean|w|, the sign.
//!
//! A NaN becomes 0 in ternary and -1 in binary.

use super::{Affine, Codec, Magnitudes, Numerics, Rule, quotient, scaled};

pub(super) struct Ternary;

impl Codec for Ternary {
    fn scale(&self, numerics: Numerics, weights: &Magnitudes) -> f32 {
        match numerics {
            Numerics::Loom => weights.max_scale(numerics, 1.0),
            Numerics::Standard => weights.mean_scale(numerics),
        }
    }

    fn encode(&self, numerics: Numerics, weight: f64, affine: Affine) -> u64 {
        let q = quotient(numerics, weight, affine.scale);
        let r = if numerics == Numerics::Loom { q.round() } else { q.round_ties_even() };
        (r.clamp(-1.0, 1.0) as i64 & 3) as u64
    }

    fn decode(&self, _: Numerics, code: u64, affine: Affine) -> f64 {
        // Two's complement in two bits.
        scaled(((code << 62) as i64 >> 62) as f64, affine.scale)
    }

    /// What would be -2 is never written.
    fn has(&self, code: u64) -> bool {
        code != 2
    }

    fn rule(&self, _: Numerics) -> Rule {
        Rule::Narrow
    }

    /// Half a step, or what lies beyond the outer values.
    fn bound(&self, _: Numerics, weight: f64, scale: f32) -> f64 {
        let (w, s) = (weight.abs(), f64::from(scale));
        (0.5 * s).max(w - s)
    }
}

pub(super) struct Binary;

impl Codec for Binary {
    fn scale(&self, numerics: Numerics, weights: &Magnitudes) -> f32 {
        weights.mean_scale(numerics)
    }

    fn encode(&self, numerics: Numerics, weight: f64, affine: Affine) -> u64 {
        match numerics {
            // The quotient may underflow to a zero, whose sign does not count.
            Numerics::Loom => u64::from(quotient(numerics, weight, affine.scale) >= 0.0),
            Numerics::Standard => u64::from(weight >= 0.0),
        }
    }

    fn decode(&self, _: Numerics, code: u64, affine: Affine) -> f64 {
        scaled(if code == 1 { 1.0 } else { -1.0 }, affine.scale)
    }

    fn rule(&self, _: Numerics) -> Rule {
        Rule::Narrow
    }

    /// The distance of the magnitude from the mean.
    fn bound(&self, _: Numerics, weight: f64, scale: f32) -> f64 {
        (weight.abs() - f64::from(scale)).abs()
    }
}
