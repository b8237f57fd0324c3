//! float64, float32, float16 and bfloat16. The value is the code itself; no scale is used.
//!
//! `loom` truncates the mantissa of float16 and bfloat16, has no float16 subnormals, turns
//! NaN into infinity, and still computes a scale for all but float32 because its files carry
//! one. `standard` rounds to nearest even (crate `half`) and its scale is 1.

use half::{bf16, f16};

use super::{Codec, Numerics, max_scale};

fn unused_scale(numerics: Numerics, weights: &[f32]) -> f32 {
    match numerics {
        Numerics::Loom => max_scale(weights, 127.0),
        Numerics::Standard => 1.0,
    }
}

pub(super) struct Float64;

impl Codec for Float64 {
    fn scale(&self, numerics: Numerics, weights: &[f32]) -> f32 {
        unused_scale(numerics, weights)
    }

    fn encode(&self, _: Numerics, weight: f32, _: f32) -> u64 {
        f64::from(weight).to_bits()
    }

    fn decode(&self, _: Numerics, code: u64, _: f32) -> f64 {
        f64::from_bits(code)
    }

    fn bound(&self, _: Numerics, _: f32, _: f32) -> f64 {
        0.0
    }
}

pub(super) struct Float32;

impl Codec for Float32 {
    fn scale(&self, _: Numerics, _: &[f32]) -> f32 {
        1.0
    }

    fn encode(&self, _: Numerics, weight: f32, _: f32) -> u64 {
        u64::from(weight.to_bits())
    }

    fn decode(&self, _: Numerics, code: u64, _: f32) -> f64 {
        f64::from(f32::from_bits(code as u32))
    }

    fn bound(&self, _: Numerics, _: f32, _: f32) -> f64 {
        0.0
    }
}

pub(super) struct Float16;

impl Codec for Float16 {
    fn scale(&self, numerics: Numerics, weights: &[f32]) -> f32 {
        unused_scale(numerics, weights)
    }

    fn encode(&self, numerics: Numerics, weight: f32, _: f32) -> u64 {
        match numerics {
            Numerics::Loom => super::fp8::truncated(weight, 5, 10, 0x7c00),
            Numerics::Standard => u64::from(f16::from_f32(weight).to_bits()),
        }
    }

    fn decode(&self, _: Numerics, code: u64, _: f32) -> f64 {
        f64::from(f16::from_bits(code as u16).to_f32())
    }

    /// Half a step of 11 bits, or a whole one where it truncates; beyond 65504 there is only infinity.
    fn bound(&self, numerics: Numerics, weight: f32, _: f32) -> f64 {
        let w = f64::from(weight.abs());
        match numerics {
            _ if w > 65504.0 => f64::INFINITY,
            Numerics::Standard => (w / 2048.0).max(f64::from(2f32.powi(-25))),
            Numerics::Loom => (w / 1024.0).max(f64::from(2f32.powi(-14))),
        }
    }
}

pub(super) struct BFloat16;

impl Codec for BFloat16 {
    fn scale(&self, numerics: Numerics, weights: &[f32]) -> f32 {
        unused_scale(numerics, weights)
    }

    fn encode(&self, numerics: Numerics, weight: f32, _: f32) -> u64 {
        match numerics {
            Numerics::Loom => u64::from(weight.to_bits() >> 16),
            Numerics::Standard => u64::from(bf16::from_f32(weight).to_bits()),
        }
    }

    fn decode(&self, _: Numerics, code: u64, _: f32) -> f64 {
        f64::from(f32::from_bits((code as u32) << 16))
    }

    /// Half a step of 8 bits, or a whole one where it truncates; a weight may round to infinity.
    fn bound(&self, numerics: Numerics, weight: f32, _: f32) -> f64 {
        let w = f64::from(weight.abs());
        match numerics {
            Numerics::Standard if w > 3.38e38 => f64::INFINITY,
            Numerics::Standard => (w / 256.0).max(2f64.powi(-134)),
            Numerics::Loom => (w / 128.0).max(2f64.powi(-133)),
        }
    }
}
