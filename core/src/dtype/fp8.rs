//! fp8e4m3 and fp8e5m2.
//!
//! `loom`: scale max/127, mantissa truncated, nothing below the smallest normal; its own
//! values for the codes that it calls subnormal (see [`loom_value`]) and for the top codes.
//!
//! `standard`: OCP 8-bit floating point specification 1.0: E4M3 without infinities (largest
//! 448, one NaN for each sign), E5M2 as a short IEEE half (largest 57344). Scale
//! max/largest, round to nearest even, subnormals kept. Overflow policy: saturate to the
//! largest magnitude, infinities included; NaN stays NaN.

use super::{Affine, Codec, Magnitudes, Numerics, quotient, scaled};
use crate::math::two_to;

/// A code of `exponent + mantissa` bits and a sign from a single: mantissa truncated, values
/// below the smallest normal to a signed zero, values beyond the range (NaN too) to `top`.
pub(super) fn truncated(value: f32, exponent: u32, mantissa: u32, top: u64) -> u64 {
    let bits = value.to_bits();
    let sign = u64::from(bits >> 31) << (exponent + mantissa);
    let bias = (1i32 << (exponent - 1)) - 1;
    let e = ((bits >> 23) & 0xff) as i32 - 127 + bias;
    if e >= (1 << exponent) - 1 {
        return sign | top;
    }
    if e <= 0 {
        return sign;
    }
    sign | (e as u64) << mantissa | u64::from((bits & 0x7f_ffff) >> (23 - mantissa))
}

/// A code taken apart: its sign as a factor, the biased exponent and its bias, the mantissa in 0..1.
struct Fields {
    sign: f64,
    bias: i32,
    e: i32,
    m: f64,
}

impl Fields {
    fn of(code: u64, exponent: u32, mantissa: u32) -> Self {
        Self {
            sign: if code >> (exponent + mantissa) & 1 == 1 { -1.0 } else { 1.0 },
            bias: (1 << (exponent - 1)) - 1,
            e: (code >> mantissa) as i32 & ((1 << exponent) - 1),
            m: (code & ((1 << mantissa) - 1)) as f64 / f64::from(1u32 << mantissa),
        }
    }
}

/// What the original reads in a code: exponent 0 counts as a normal binade of its own, except
/// for zero.
fn loom_value(code: u64, exponent: u32, mantissa: u32) -> f64 {
    let Fields { sign, bias, e, m } = Fields::of(code, exponent, mantissa);
    if e == 0 && m == 0.0 {
        return sign * 0.0;
    }
    // That binade is 2^-10 in E4M3 and 2^-15 in E5M2, as recorded from Loom 0.80.
    let e = if e == 0 { -bias - if exponent == 4 { 3 } else { 0 } } else { e - bias };
    sign * two_to(e.into()) * (1.0 + m)
}

/// The OCP value of a code with a finite exponent.
fn ocp_value(code: u64, exponent: u32, mantissa: u32) -> f64 {
    let Fields { sign, bias, e, m } = Fields::of(code, exponent, mantissa);
    sign * if e == 0 { two_to((1 - bias).into()) * m } else { two_to((e - bias).into()) * (1.0 + m) }
}

/// Half a step of the mantissa (a whole one where it truncates), at least that of the smallest
/// normal numbers (or, truncating, those numbers themselves).
fn bound(numerics: Numerics, weight: f64, scale: f32, exponent: u32, mantissa: u32) -> f64 {
    let (w, s) = (weight.abs(), f64::from(scale));
    let normal = s * two_to((2 - (1 << (exponent - 1))).into());
    let step = 1.0 / f64::from(1u32 << mantissa);
    match numerics {
        Numerics::Standard => 0.5 * step * w.max(normal),
        Numerics::Loom => (step * w).max(normal),
    }
}

/// The code nearest to `value`, ties to the even code, saturating at `largest`.
fn nearest(value: f64, exponent: u32, mantissa: u32, largest: u64) -> u64 {
    let sign = u64::from(value.is_sign_negative()) << (exponent + mantissa);
    let magnitude = value.abs();
    // Codes of one sign are ordered as their values: a binary search finds the lower neighbour.
    let (mut low, mut high) = (0, largest);
    while low < high {
        let middle = (low + high).div_ceil(2);
        if ocp_value(middle, exponent, mantissa) <= magnitude { low = middle } else { high = middle - 1 }
    }
    if low == largest {
        return sign | largest;
    }
    let below = magnitude - ocp_value(low, exponent, mantissa);
    let above = ocp_value(low + 1, exponent, mantissa) - magnitude;
    let up = above < below || (above == below && low % 2 == 1);
    sign | (low + u64::from(up))
}

pub(super) struct E4M3;

impl Codec for E4M3 {
    fn scale(&self, numerics: Numerics, weights: &Magnitudes) -> f32 {
        weights.max_scale(numerics, if numerics == Numerics::Loom { 127.0 } else { 448.0 })
    }

    fn encode(&self, numerics: Numerics, weight: f64, affine: Affine) -> u64 {
        let q = quotient(numerics, weight, affine.scale);
        match numerics {
            Numerics::Loom => truncated(q as f32, 4, 3, 0x7f),
            Numerics::Standard if q.is_nan() => 0x7f,
            Numerics::Standard => nearest(q, 4, 3, 0x7e),
        }
    }

    fn decode(&self, numerics: Numerics, code: u64, affine: Affine) -> f64 {
        let value = match (numerics, code & 0x7f) {
            (Numerics::Standard, 0x7f) => f64::NAN,
            (Numerics::Standard, _) => ocp_value(code, 4, 3),
            (Numerics::Loom, _) => loom_value(code, 4, 3),
        };
        scaled(value, affine.scale)
    }

    fn bound(&self, numerics: Numerics, weight: f64, scale: f32) -> f64 {
        bound(numerics, weight, scale, 4, 3)
    }
}

pub(super) struct E5M2;

impl Codec for E5M2 {
    fn scale(&self, numerics: Numerics, weights: &Magnitudes) -> f32 {
        weights.max_scale(numerics, if numerics == Numerics::Loom { 127.0 } else { 57344.0 })
    }

    fn encode(&self, numerics: Numerics, weight: f64, affine: Affine) -> u64 {
        let q = quotient(numerics, weight, affine.scale);
        match numerics {
            Numerics::Loom => truncated(q as f32, 5, 2, 0x7c),
            Numerics::Standard if q.is_nan() => 0x7e,
            Numerics::Standard => nearest(q, 5, 2, 0x7b),
        }
    }

    fn decode(&self, numerics: Numerics, code: u64, affine: Affine) -> f64 {
        let negative = code & 0x80 != 0;
        let value = match (numerics, code & 0x7f) {
            // The original loses the sign of infinity.
            (Numerics::Loom, 0x7c) => f64::INFINITY,
            (Numerics::Standard, 0x7c) => {
                if negative {
                    f64::NEG_INFINITY
                } else {
                    f64::INFINITY
                }
            }
            (_, 0x7d..) => f64::NAN,
            (Numerics::Loom, _) => loom_value(code, 5, 2),
            (Numerics::Standard, _) => ocp_value(code, 5, 2),
        };
        scaled(value, affine.scale)
    }

    fn bound(&self, numerics: Numerics, weight: f64, scale: f32) -> f64 {
        bound(numerics, weight, scale, 5, 2)
    }
}
