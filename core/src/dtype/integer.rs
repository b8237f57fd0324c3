//! Integers of 2 to 64 bits, signed and unsigned.
//!
//! `loom`: `round(w / scale)`, half away from zero, the quotient in single precision. Scale
//! max/127 from 8 bits up, max/7 for four, max/1 for two. Unsigned types of 16 bits and more
//! keep the magnitude alone, the smaller ones clamp negative weights to 0. Where the original
//! wraps around, this codec saturates; NaN gives 0.
//!
//! `standard`: symmetric, full range: scale `max / (2^(bits-1) - 1)`, rounded up to f32 (the
//! absmax rule of Jacob et al., 2018, without an offset); round to nearest even in f64, saturating. Unsigned codes stand 2^(bits-1) higher
//! (a mid-range zero point), so that sign survives. NaN gives the code of 0. Codes of 32 and
//! 64 bits are multiplied by the scale exactly and rounded once to f64.

use super::{Affine, Codec, Magnitudes, Numerics, Rule, Sign, quotient, scaled};
use crate::math::two_to;

/// `value` cut to `low..=high` (NaN becomes 0), as a number that is exact at both ends.
fn clamped(value: f64, low: i128, high: i128) -> i128 {
    // Most numbers fit 64 bits, and 128 are slow to convert.
    let whole = if value.abs() < 2f64.powi(62) { i128::from(value as i64) } else { value as i128 };
    whole.clamp(low, high)
}

/// The scale of both signed and unsigned types.
fn scale(bits: u32, numerics: Numerics, weights: &Magnitudes) -> f32 {
    match (numerics, bits) {
        (Numerics::Loom, 2) => weights.max_scale(numerics, 1.0),
        (Numerics::Loom, 4) => weights.max_scale(numerics, 7.0),
        (Numerics::Loom, _) => weights.max_scale(numerics, 127.0),
        (Numerics::Standard, _) => weights.max_scale(numerics, steps(bits)),
    }
}

/// The largest code of a signed type.
fn steps(bits: u32) -> f64 {
    ((1i128 << (bits - 1)) - 1) as f64
}

/// The rounded quotient, before it is cut to the type's range.
fn rounded(numerics: Numerics, weight: f64, scale: f32) -> f64 {
    let q = quotient(numerics, weight, scale);
    if numerics == Numerics::Loom { q.round() } else { q.round_ties_even() }
}

/// Half a step; `loom` rounds the quotient to f32 before it rounds it to a code.
fn half_step(numerics: Numerics, weight: f64, scale: f32) -> f64 {
    let early = if numerics == Numerics::Loom { f64::from(f32::EPSILON) } else { f64::EPSILON };
    0.5 * f64::from(scale) + weight.abs() * early
}

fn mask(bits: u32) -> u64 {
    u64::MAX >> (64 - bits)
}

/// Sums of up to eight bits are exact; from 32 bits on, full-range codes do not fit f32.
fn rule(bits: u32, numerics: Numerics, sign: Sign) -> Rule {
    match (bits, numerics) {
        (..=8, _) => Rule::Narrow,
        (32.., Numerics::Standard) => Rule::WideInteger(sign),
        _ => Rule::Integer(sign),
    }
}

/// `(code - zero point) * scale` as [`rule`] has it.
fn value(bits: u32, numerics: Numerics, number: i128, scale: f32) -> f64 {
    match (bits, numerics) {
        (32.., Numerics::Standard) => product(number, scale),
        // Numbers of 128 bits are slow to convert, and few need them.
        (_, Numerics::Loom) => {
            scaled(f64::from(i64::try_from(number).map_or(number as f32, |number| number as f32)), scale)
        }
        _ => scaled(i64::try_from(number).map_or(number as f64, |number| number as f64), scale),
    }
}

/// `number * scale`, exact and then rounded once to f64.
pub(crate) fn product(number: i128, scale: f32) -> f64 {
    if !scale.is_finite() {
        return number as f64 * f64::from(scale);
    }
    // The scale is m 2^e with a whole m of at most 24 bits, so number * m is a whole number.
    let (biased, fraction) = ((scale.to_bits() >> 23 & 0xff) as i32, i128::from(scale.to_bits() & 0x7f_ffff));
    let (m, e) = if biased == 0 { (fraction, -149) } else { (fraction | 0x80_0000, biased - 150) };
    let m = if scale < 0.0 { -m } else { m };
    (number * m) as f64 * two_to(e.into())
}

/// A two's complement type of the given width.
pub(super) struct Signed(pub(super) u32);

impl Codec for Signed {
    fn scale(&self, numerics: Numerics, weights: &Magnitudes) -> f32 {
        scale(self.0, numerics, weights)
    }

    fn encode(&self, numerics: Numerics, weight: f64, affine: Affine) -> u64 {
        let half = 1i128 << (self.0 - 1);
        clamped(rounded(numerics, weight, affine.scale), -half, half - 1) as u64 & mask(self.0)
    }

    fn decode(&self, numerics: Numerics, code: u64, affine: Affine) -> f64 {
        let unused = 64 - self.0;
        let number = i128::from((code << unused) as i64 >> unused) - i128::from(affine.zero_point);
        value(self.0, numerics, number, affine.scale)
    }

    fn rule(&self, numerics: Numerics) -> Rule {
        rule(self.0, numerics, Sign::Signed)
    }

    fn bound(&self, numerics: Numerics, weight: f64, scale: f32) -> f64 {
        half_step(numerics, weight, scale)
    }
}

/// An unsigned type of the given width.
pub(super) struct Unsigned(pub(super) u32);

impl Codec for Unsigned {
    fn scale(&self, numerics: Numerics, weights: &Magnitudes) -> f32 {
        scale(self.0, numerics, weights)
    }

    fn zero_point(&self, numerics: Numerics) -> u64 {
        if numerics == Numerics::Loom { 0 } else { 1 << (self.0 - 1) }
    }

    fn encode(&self, numerics: Numerics, weight: f64, affine: Affine) -> u64 {
        let (r, top) = (rounded(numerics, weight, affine.scale), i128::from(mask(self.0)));
        let zero = i128::from(affine.zero_point);
        match numerics {
            Numerics::Loom if self.0 >= 16 => clamped(r.abs(), 0, top) as u64,
            _ => (clamped(r, -zero, top - zero) + zero) as u64,
        }
    }

    fn decode(&self, numerics: Numerics, code: u64, affine: Affine) -> f64 {
        value(self.0, numerics, i128::from(code) - i128::from(affine.zero_point), affine.scale)
    }

    fn rule(&self, numerics: Numerics) -> Rule {
        rule(self.0, numerics, Sign::Unsigned)
    }

    fn bound(&self, numerics: Numerics, weight: f64, scale: f32) -> f64 {
        match numerics {
            // Sixteen bits and more keep the magnitude, fewer cut at 0.
            Numerics::Loom if weight < 0.0 && self.0 >= 16 => -2.0 * weight + 0.5 * f64::from(scale),
            Numerics::Loom if weight < 0.0 => -weight,
            _ => half_step(numerics, weight, scale),
        }
    }
}
