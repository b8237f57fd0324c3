//! Integers of 2 to 64 bits, signed and unsigned.
//!
//! `loom`: `round(w / scale)`, half away from zero, the quotient in single precision. Scale
//! max/127 from 8 bits up, max/7 for four, max/1 for two. Unsigned types of 16 bits and more
//! keep the magnitude alone, the smaller ones clamp negative weights to 0. Where the original
//! wraps around, this codec saturates; NaN gives 0.
//!
//! `standard`: symmetric, full range: scale max/(2^(bits-1) - 1), round to nearest even in
//! f64, saturating. Unsigned codes stand 2^(bits-1) higher (a mid-range zero point), so that
//! sign survives. NaN gives the code of 0.

use super::{Codec, Numerics, max_abs, max_scale, scaled};

/// `round(w / scale)` of the original: half away from zero.
fn rounded(weight: f32, scale: f32) -> f64 {
    f64::from(weight / scale).round()
}

/// `value` cut to `low..=high` (NaN becomes 0), as a number that is exact at both ends.
fn clamped(value: f64, low: i128, high: i128) -> i128 {
    (value as i128).clamp(low, high)
}

/// The scale of both signed and unsigned types.
fn scale(bits: u32, numerics: Numerics, weights: &[f32]) -> f32 {
    match (numerics, bits) {
        (Numerics::Loom, 2) => max_scale(weights, 1.0),
        (Numerics::Loom, 4) => max_scale(weights, 7.0),
        (Numerics::Loom, _) => max_scale(weights, 127.0),
        (Numerics::Standard, _) => match max_abs(weights) {
            0.0 => 1.0,
            max => (f64::from(max) / ((1i128 << (bits - 1)) - 1) as f64) as f32,
        },
    }
}

fn standard_code(bits: u32, weight: f32, scale: f32) -> i128 {
    let half = 1i128 << (bits - 1);
    clamped((f64::from(weight) / f64::from(scale)).round_ties_even(), -half, half - 1)
}

/// Half a step; the quotient may have been rounded to f32 before it was rounded to a code.
fn step(weight: f32, scale: f32) -> f64 {
    0.5 * f64::from(scale) + f64::from(weight.abs()) * f64::from(f32::EPSILON)
}

fn mask(bits: u32) -> u64 {
    u64::MAX >> (64 - bits)
}

/// A two's complement type of the given width.
pub(super) struct Signed(pub(super) u32);

impl Codec for Signed {
    fn scale(&self, numerics: Numerics, weights: &[f32]) -> f32 {
        scale(self.0, numerics, weights)
    }

    fn encode(&self, numerics: Numerics, weight: f32, scale: f32) -> u64 {
        let half = 1i128 << (self.0 - 1);
        let code = match numerics {
            Numerics::Loom => clamped(rounded(weight, scale), -half, half - 1),
            Numerics::Standard => standard_code(self.0, weight, scale),
        };
        code as u64 & mask(self.0)
    }

    fn decode(&self, numerics: Numerics, code: u64, scale: f32) -> f64 {
        let unused = 64 - self.0;
        let value = (code << unused) as i64 >> unused;
        match numerics {
            Numerics::Loom => scaled(f64::from(value as f32), scale),
            Numerics::Standard => scaled(value as f64, scale),
        }
    }

    fn bound(&self, _: Numerics, weight: f32, scale: f32) -> f64 {
        step(weight, scale)
    }
}

/// An unsigned type of the given width.
pub(super) struct Unsigned(pub(super) u32);

impl Codec for Unsigned {
    fn scale(&self, numerics: Numerics, weights: &[f32]) -> f32 {
        scale(self.0, numerics, weights)
    }

    fn encode(&self, numerics: Numerics, weight: f32, scale: f32) -> u64 {
        let top = i128::from(mask(self.0));
        match numerics {
            Numerics::Loom if self.0 >= 16 => clamped(rounded(weight, scale).abs(), 0, top) as u64,
            Numerics::Loom => clamped(rounded(weight, scale), 0, top) as u64,
            Numerics::Standard => (standard_code(self.0, weight, scale) + (1i128 << (self.0 - 1))) as u64,
        }
    }

    fn decode(&self, numerics: Numerics, code: u64, scale: f32) -> f64 {
        match numerics {
            Numerics::Loom => scaled(f64::from(code as f32), scale),
            Numerics::Standard => scaled((i128::from(code) - (1i128 << (self.0 - 1))) as f64, scale),
        }
    }

    fn bound(&self, numerics: Numerics, weight: f32, scale: f32) -> f64 {
        match numerics {
            // Sixteen bits and more keep the magnitude, fewer cut at 0.
            Numerics::Loom if weight < 0.0 && self.0 >= 16 => 2.0 * f64::from(-weight) + 0.5 * f64::from(scale),
            Numerics::Loom if weight < 0.0 => f64::from(-weight),
            _ => step(weight, scale),
        }
    }
}
