//! float64, float32, float16 and bfloat16. The value is the code itself; no scale is used.
//!
//! `loom` truncates the mantissa of float16 and bfloat16, has no float16 subnormals, turns
//! NaN into infinity, and still computes a scale for all but float32 because its files carry
//! one. `standard` rounds to nearest even (crate `half`) and its scale is 1.

use half::{bf16, f16};

use super::{Affine, Codec, Magnitudes, Numerics, Rule};

fn unused_scale(numerics: Numerics, weights: &Magnitudes) -> f32 {
    match numerics {
        Numerics::Loom => weights.max_scale(numerics, 127.0),
        Numerics::Standard => 1.0,
    }
}

/// A double as a single that rounds on to a narrower type as the double itself would: where
/// digits are lost, the last bit is set, so that no tie appears that was none (Boldo and
/// Melquiond, 2008). The crate's own `from_f64` drops the lower 32 bits.
fn to_odd(value: f64) -> f32 {
    let nearest = value as f32;
    if f64::from(nearest) == value || value.is_nan() {
        return nearest;
    }
    let away = f64::from(nearest).abs() > value.abs();
    f32::from_bits((nearest.to_bits() - u32::from(away)) | 1)
}

pub(super) struct Float64;

impl Codec for Float64 {
    fn scale(&self, numerics: Numerics, weights: &Magnitudes) -> f32 {
        unused_scale(numerics, weights)
    }

    fn encode(&self, _: Numerics, weight: f64, _: Affine) -> u64 {
        weight.to_bits()
    }

    fn decode(&self, _: Numerics, code: u64, _: Affine) -> f64 {
        f64::from_bits(code)
    }

    fn rule(&self, _: Numerics) -> Rule {
        Rule::Ieee
    }

    fn bound(&self, _: Numerics, _: f64, _: f32) -> f64 {
        0.0
    }
}

pub(super) struct Float32;

impl Codec for Float32 {
    fn scale(&self, _: Numerics, _: &Magnitudes) -> f32 {
        1.0
    }

    fn encode(&self, _: Numerics, weight: f64, _: Affine) -> u64 {
        u64::from((weight as f32).to_bits())
    }

    fn decode(&self, _: Numerics, code: u64, _: Affine) -> f64 {
        f64::from(f32::from_bits(code as u32))
    }

    fn rule(&self, _: Numerics) -> Rule {
        Rule::Ieee
    }

    /// Half a step of 24 bits; nothing for weights that came as f32.
    fn bound(&self, _: Numerics, weight: f64, _: f32) -> f64 {
        (weight.abs() * 2f64.powi(-24)).max(2f64.powi(-150))
    }
}

pub(super) struct Float16;

impl Codec for Float16 {
    fn scale(&self, numerics: Numerics, weights: &Magnitudes) -> f32 {
        unused_scale(numerics, weights)
    }

    fn encode(&self, numerics: Numerics, weight: f64, _: Affine) -> u64 {
        match numerics {
            Numerics::Loom => super::fp8::truncated(weight as f32, 5, 10, 0x7c00),
            Numerics::Standard => u64::from(f16::from_f32(to_odd(weight)).to_bits()),
        }
    }

    fn decode(&self, _: Numerics, code: u64, _: Affine) -> f64 {
        f64::from(f16::from_bits(code as u16).to_f32())
    }

    fn rule(&self, _: Numerics) -> Rule {
        Rule::Ieee
    }

    /// Half a step of 11 bits, or a whole one where it truncates; beyond 65504 there is only infinity.
    fn bound(&self, numerics: Numerics, weight: f64, _: f32) -> f64 {
        let w = weight.abs();
        match numerics {
            _ if w > 65504.0 => f64::INFINITY,
            Numerics::Standard => (w / 2048.0).max(f64::from(2f32.powi(-25))),
            Numerics::Loom => (w / 1024.0).max(f64::from(2f32.powi(-14))),
        }
    }
}

pub(super) struct BFloat16;

impl Codec for BFloat16 {
    fn scale(&self, numerics: Numerics, weights: &Magnitudes) -> f32 {
        unused_scale(numerics, weights)
    }

    fn encode(&self, numerics: Numerics, weight: f64, _: Affine) -> u64 {
        match numerics {
            Numerics::Loom => u64::from((weight as f32).to_bits() >> 16),
            Numerics::Standard => u64::from(bf16::from_f32(to_odd(weight)).to_bits()),
        }
    }

    fn decode(&self, _: Numerics, code: u64, _: Affine) -> f64 {
        f64::from(f32::from_bits((code as u32) << 16))
    }

    fn rule(&self, _: Numerics) -> Rule {
        Rule::Bfloat
    }

    /// Half a step of 8 bits, or a whole one where it truncates; a weight may round to infinity.
    fn bound(&self, numerics: Numerics, weight: f64, _: f32) -> f64 {
        let w = weight.abs();
        match numerics {
            Numerics::Standard if w > 3.38e38 => f64::INFINITY,
            Numerics::Standard => (w / 256.0).max(2f64.powi(-134)),
            Numerics::Loom => (w / 128.0).max(2f64.powi(-133)),
        }
    }
}
