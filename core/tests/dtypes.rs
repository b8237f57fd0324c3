//! The standard numerics against NumPy and ml_dtypes (`golden/dtypes`, made by
//! `python/oracles/dtypes.py`), and the laws that every codec keeps in both profiles.

use std::path::{Path, PathBuf};

use loom_core::{Affine, Dtype, Magnitudes, Numerics};
use proptest::prelude::*;
use sha2::{Digest as _, Sha256};

fn oracle(name: &str) -> Vec<u8> {
    let path: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("../golden/dtypes").join(name);
    std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn decoded(dtype: Dtype) -> Vec<f32> {
    let unit = dtype.affine(Numerics::Standard, 1.0);
    (0..1u64 << dtype.bits()).map(|code| dtype.value(Numerics::Standard, code, unit) as f32).collect()
}

/// The code of one weight at scale 1.
fn code(dtype: Dtype, w: f64) -> u64 {
    let bytes = dtype.quantise(Numerics::Standard, [w], dtype.affine(Numerics::Standard, 1.0));
    dtype.codes(&bytes, 1).expect("one code")[0]
}

/// The value of a code at scale 1.
fn value(dtype: Dtype, code: u64) -> f64 {
    dtype.value(Numerics::Standard, code, dtype.affine(Numerics::Standard, 1.0))
}

fn choose(dtype: Dtype, numerics: Numerics, w: &[f32]) -> Affine {
    dtype.choose(numerics, &Magnitudes::of(w.iter().map(|&w| f64::from(w))))
}

/// Weights there and back.
fn stored(dtype: Dtype, numerics: Numerics, w: &[f32], affine: Affine) -> Vec<f64> {
    let bytes = dtype.quantise(numerics, w.iter().map(|&w| f64::from(w)), affine);
    dtype.dequantise(numerics, &bytes, w.len(), affine).expect("codes")
}

#[test]
fn every_code_of_eight_bits_and_fewer_decodes_as_ml_dtypes_has_it() {
    for name in ["fp8e4m3", "fp8e5m2", "fp4", "int4", "int2"] {
        let ours = decoded(Dtype::find(name).expect("a dtype"));
        let bytes = oracle(&format!("{name}.decode"));
        let theirs: Vec<f32> = bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
        assert_eq!(ours.len(), theirs.len(), "{name}");
        for (code, (a, b)) in ours.iter().zip(&theirs).enumerate() {
            assert!(a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan()), "{name} {code:#x}: {a}, ml_dtypes {b}");
        }
    }
}

#[test]
fn every_code_of_sixteen_bits_decodes_as_numpy_has_it() {
    for name in ["float16", "bfloat16"] {
        let canonical = |v: f32| if v.is_nan() { f32::from_bits(0x7fc0_0000) } else { v };
        let bytes: Vec<u8> =
            decoded(Dtype::find(name).expect("a dtype")).into_iter().flat_map(|v| canonical(v).to_le_bytes()).collect();
        assert_eq!(
            sha256(&bytes),
            String::from_utf8(oracle(&format!("{name}.decode.sha256"))).expect("text").trim(),
            "{name}"
        );
    }
}

#[test]
fn encoding_agrees_on_every_exponent_and_upper_mantissa() {
    for name in ["float16", "bfloat16", "fp8e4m3", "fp8e5m2", "fp4"] {
        let dtype = Dtype::find(name).expect("a dtype");
        let bytes = oracle(&format!("{name}.encode"));
        let size = bytes.len() >> 16;
        for i in 0..1u32 << 16 {
            let w = f32::from_bits(i << 16 | (i.wrapping_mul(40503) & 0xffff));
            let little_endian = |bytes: &[u8]| bytes.iter().rev().fold(0u64, |code, byte| code << 8 | u64::from(*byte));
            let theirs = little_endian(&bytes[i as usize * size..][..size]);
            let ours = code(dtype, f64::from(w));
            if w.is_nan() {
                // FP4 has no NaN; ml_dtypes picks a code of its own.
                assert!(dtype == Dtype::Fp4 || value(dtype, ours).is_nan(), "{name} of NaN");
                continue;
            }
            let largest = match dtype {
                Dtype::Fp8E4M3 => 448.0,
                Dtype::Fp8E5M2 => 57344.0,
                _ => f64::INFINITY,
            };
            let theirs_value = value(dtype, theirs);
            if !theirs_value.is_finite() && largest.is_finite() {
                let ours_value = value(dtype, ours);
                assert_eq!(ours_value.abs(), largest, "{name} of {w:e} saturates where ml_dtypes gives {theirs_value}");
                assert_eq!(ours_value.is_sign_negative(), w.is_sign_negative());
                continue;
            }
            assert_eq!(ours, theirs, "{name} of {w:e}");
        }
    }
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn whole_numbers_round_clip_and_decode_as_numpy_has_it() {
    let oracle: serde_json::Value = serde_json::from_slice(&oracle("whole.json")).expect("JSON");
    for (name, expected) in oracle.as_object().expect("types") {
        let dtype = Dtype::find(name).expect("a dtype");
        let affine = dtype.affine(Numerics::Standard, 0.37);
        let step = if dtype.bits() == 16 { 8.0 } else { 1.0 / 16.0 };
        let weights = (0..1 << 16).map(|i| f64::from((f64::from(i - (1 << 15)) * step * f64::from(0.37f32)) as f32));
        let bytes = dtype.quantise(Numerics::Standard, weights, affine);
        let codes = dtype.codes(&bytes, 1 << 16).expect("codes");
        let width = dtype.bits().div_ceil(8);
        let codes: Vec<u8> = codes.iter().flat_map(|code| code.to_le_bytes()[..width].to_vec()).collect();
        assert_eq!(sha256(&codes), expected["encode"].as_str().expect("a digest"), "encoding {name}");
        let values = (0..1u64 << dtype.bits()).map(|code| dtype.value(Numerics::Standard, code, affine) as f32);
        let values: Vec<u8> = values.flat_map(f32::to_le_bytes).collect();
        assert_eq!(sha256(&values), expected["decode"].as_str().expect("a digest"), "decoding {name}");
    }
}

/// Finite weights from subnormal to huge, and tensors of them.
fn weights() -> impl Strategy<Value = Vec<f32>> {
    let weight = prop_oneof![
        4 => -1.0f32..1.0,
        1 => prop::num::f32::NORMAL.prop_map(|v| v.clamp(-1e30, 1e30)),
        1 => Just(0.0f32),
        1 => Just(-0.0f32),
        1 => -1e-3f32..1e-3,
    ];
    prop::collection::vec(weight, 0..40)
}

proptest! {
    #[test]
    fn stored_weights_stay_within_the_bound(w in weights()) {
        for &dtype in Dtype::ALL {
            for numerics in Numerics::ALL {
                let affine = choose(dtype, numerics, &w);
                prop_assume!(affine.scale.is_normal());
                let back = stored(dtype, numerics, &w, affine);
                for (&w, v) in w.iter().zip(back) {
                    let (error, bound) = ((v - f64::from(w)).abs(), dtype.error_bound(numerics, f64::from(w), affine.scale));
                    // A weight may round up beyond the last float16.
                    prop_assert!(error <= bound || v.is_infinite() && bound.is_infinite(), "{dtype} {numerics:?}: {w:e} became {v:e}, bound {bound:e}, {affine:?}");
                }
            }
        }
    }

    #[test]
    fn larger_weights_never_decode_smaller(mut w in weights()) {
        w.sort_by(f32::total_cmp);
        for &dtype in Dtype::ALL {
            for numerics in Numerics::ALL {
                let magnitude_only = numerics == Numerics::Loom && dtype.name().starts_with("uint") && dtype.bits() >= 16;
                let affine = choose(dtype, numerics, &w);
                prop_assume!(affine.scale.is_normal());
                let back = stored(dtype, numerics, &w, affine);
                prop_assert!(magnitude_only || back.is_sorted_by(|a, b| a <= b), "{dtype} {numerics:?}: {w:?} became {back:?}");
            }
        }
    }

    #[test]
    fn types_with_a_sign_are_symmetric(mut w in weights()) {
        w.extend(w.clone().iter().map(|w| -w));
        let half = w.len() / 2;
        for &dtype in Dtype::ALL {
            for numerics in Numerics::ALL {
                let affine = choose(dtype, numerics, &w);
                prop_assume!(affine.scale.is_normal());
                let back = stored(dtype, numerics, &w, affine);
                let loses_sign = numerics == Numerics::Loom && (dtype.name().starts_with("uint") || dtype == Dtype::Binary);
                for i in (0..half).filter(|&i| w[i] != 0.0 && !loses_sign) {
                    prop_assert!(back[i] == -back[half + i], "{dtype} {numerics:?}: {:e} and {:e}", back[i], back[half + i]);
                }
            }
        }
    }

    #[test]
    fn packing_keeps_every_code_whatever_the_length(codes in prop::collection::vec(any::<u64>(), 0..40)) {
        for &dtype in Dtype::ALL {
            let mask = u64::MAX >> (64 - dtype.bits());
            let codes: Vec<u64> = codes.iter().map(|code| code & mask).collect();
            let bytes = dtype.pack(codes.iter().copied());
            prop_assert_eq!(Some(bytes.len()), dtype.packed_len(codes.len()));
            prop_assert!(dtype.codes(&bytes, codes.len() + 9).is_err());
            prop_assert_eq!(dtype.codes(&bytes, codes.len()).expect("codes"), codes, "{}", dtype);
        }
    }
}

/// A second opinion on FP8 and FP4: the crate microfloat. It follows ml_dtypes, so it gives NaN
/// or infinity where this codec saturates; at ±464, halfway between the largest E4M3 and what
/// would follow it, it stays at 448 where ml_dtypes gives NaN, as we do anyway; and FP4 has no
/// NaN, so that each takes a code of its own.
#[test]
fn microfloat_agrees_but_for_overflow_and_nan() {
    fn compare(dtype: Dtype, largest: f64, theirs: impl Fn(f32) -> u8, back: impl Fn(u8) -> f32) {
        for code in 0..1u64 << dtype.bits() {
            let (a, b) = (value(dtype, code), f64::from(back(code as u8)));
            assert!(a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan()), "{dtype} {code:#x}: {a}, microfloat {b}");
        }
        for i in 0..1u32 << 20 {
            let w = f32::from_bits(i << 12 | (i.wrapping_mul(40503) & 0xfff));
            let ours = code(dtype, f64::from(w));
            if w.is_nan() || f64::from(w.abs()) > largest {
                let expected = if w.is_nan() { f64::NAN } else { largest.copysign(f64::from(w)) };
                let is_nan = expected.is_nan() && (dtype == Dtype::Fp4 || value(dtype, ours).is_nan());
                assert!(value(dtype, ours) == expected || is_nan, "{dtype} of {w:e}");
            } else {
                assert_eq!(ours, u64::from(theirs(w)), "{dtype} of {w:e}");
            }
        }
    }
    use microfloat::{f4e2m1fn, f8e4m3fn, f8e5m2};
    let of = |bits| f8e4m3fn::from_bits(bits).to_f32();
    compare(Dtype::Fp8E4M3, 448.0, |w| f8e4m3fn::from_f32(w).to_bits(), of);
    compare(Dtype::Fp8E5M2, 57344.0, |w| f8e5m2::from_f32(w).to_bits(), |bits| f8e5m2::from_bits(bits).to_f32());
    compare(Dtype::Fp4, 6.0, |w| f4e2m1fn::from_f32(w).to_bits(), |bits| f4e2m1fn::from_bits(bits).to_f32());
}

/// The table and the rules of kernels say what `value` says, whatever the scale.
#[test]
fn tables_hold_every_value() {
    for &dtype in Dtype::ALL.iter().filter(|dtype| dtype.bits() <= 8) {
        for numerics in Numerics::ALL {
            let affine = dtype.affine(numerics, 0.0123);
            for (code, entry) in dtype.table(numerics, affine).into_iter().enumerate() {
                let value = dtype.value(numerics, code as u64, affine) as f32;
                assert!(value.to_bits() == entry.to_bits() || value.is_nan(), "{dtype} {code:#x}");
            }
        }
    }
}

/// Every scale rule of the standard profile, by hand.
#[test]
fn standard_scales_are_what_their_sources_say() {
    let w = [0.5f32, -2.0, 0.25, 1.25];
    let scale = |dtype, w: &[f32]| choose(dtype, Numerics::Standard, w).scale;
    for (dtype, expected) in [
        (Dtype::Int2, 2.0),
        (Dtype::Uint2, 2.0),
        (Dtype::Int4, 2.0 / 7.0),
        (Dtype::Uint4, 2.0 / 7.0),
        (Dtype::Int8, 2.0 / 127.0),
        (Dtype::Uint8, 2.0 / 127.0),
        (Dtype::Int16, 2.0 / 32767.0),
        (Dtype::Uint16, 2.0 / 32767.0),
        (Dtype::Int32, 2.0 / 2147483647.0),
        (Dtype::Int64, 2.0 / 9223372036854775807.0),
        (Dtype::Fp4, 2.0 / 6.0),
        (Dtype::Fp8E4M3, 2.0 / 448.0),
        (Dtype::Fp8E5M2, 2.0 / 57344.0),
        // The mean magnitude.
        (Dtype::Ternary, 1.0),
        (Dtype::Binary, 1.0),
        (Dtype::Float16, 1.0),
        (Dtype::Float64, 1.0),
    ] {
        let s = f64::from(scale(dtype, &w));
        assert!(s >= expected && s <= expected * (1.0 + 2f64.powi(-22)), "{dtype}: {s}, expected {expected}");
    }
    // A mean may be small beside its sum's range, and large beside f32's.
    assert_eq!(scale(Dtype::Binary, &[1e-45, 0.0, 0.0, 0.0]), f32::from_bits(1));
    assert_eq!(scale(Dtype::Ternary, &[3e38, -3e38, 3e38]), 3e38);
}

/// Doubles are rounded once: not to f32 first, which would make a tie of what is above it.
#[test]
fn doubles_are_rounded_once() {
    for (dtype, bits) in [(Dtype::Float16, 11), (Dtype::BFloat16, 8), (Dtype::Fp8E4M3, 4), (Dtype::Fp8E5M2, 3)] {
        let step = 2f64.powi(1 - bits);
        for w in [1.0 + step / 2.0 + 2f64.powi(-40), -(1.0 + 1.5 * step - 2f64.powi(-40))] {
            let expected = (1.0 + step).copysign(w);
            assert_eq!(value(dtype, code(dtype, w)), expected, "{dtype} of {w}");
        }
    }
}

/// Types whose values f32 cannot hold keep more than its 24 bits.
#[test]
fn wide_types_keep_what_single_precision_drops() {
    let fine = 1.0 + 2f64.powi(-30);
    for dtype in [Dtype::Float64, Dtype::Int64, Dtype::Uint64, Dtype::Int32, Dtype::Uint32] {
        let affine = dtype.choose(Numerics::Standard, &Magnitudes::of([fine, -0.3]));
        let back = dtype.dequantise(Numerics::Standard, &dtype.quantise(Numerics::Standard, [fine], affine), 1, affine);
        let back = back.expect("a code")[0];
        let bound = dtype.error_bound(Numerics::Standard, fine, affine.scale);
        assert!((back - fine).abs() <= bound && bound < 2f64.powi(-28), "{dtype}: {back:e}, bound {bound:e}");
        assert!(dtype.is_wide(Numerics::Standard), "{dtype}");
    }
}

#[test]
fn edges() {
    for &dtype in Dtype::ALL {
        for numerics in Numerics::ALL {
            let label = format!("{dtype} {numerics}");
            let unit = dtype.affine(numerics, 1.0);
            assert_eq!(choose(dtype, numerics, &[]).scale, 1.0, "{label} of nothing");
            assert!(dtype.quantise(numerics, [], unit).is_empty());
            assert_eq!(choose(dtype, numerics, &[0.0, -0.0]).scale, 1.0, "{label} of zeros");
            let zero = if dtype == Dtype::Binary { 1.0 } else { 0.0 };
            assert!(stored(dtype, numerics, &[0.0; 5], unit).iter().all(|v| *v == zero), "{label} of zeros");
            // Which types keep the sign of zero.
            let negative = stored(dtype, numerics, &[-0.0], unit)[0];
            let float = matches!(dtype, Dtype::Float64 | Dtype::Float32 | Dtype::Float16 | Dtype::BFloat16);
            let fp8 = matches!(dtype, Dtype::Fp8E4M3 | Dtype::Fp8E5M2);
            let keeps = float || fp8 || (dtype == Dtype::Fp4 && numerics == Numerics::Standard);
            assert_eq!(negative.is_sign_negative(), keeps, "{label} of -0");
            // One outlier takes the range; the others shrink but nothing wraps.
            let outlier = [6e4, -1.0, 0.5];
            let back = stored(dtype, numerics, &outlier, choose(dtype, numerics, &outlier));
            assert!(back[0] > 0.0 && back[0] <= 6.1e4, "{label}: {back:?}");
            // The smallest subnormal is stored within its bound, and in the standard profile no
            // scale underflows.
            let tiny = [f32::from_bits(1), -f32::from_bits(1)];
            let affine = choose(dtype, numerics, &tiny);
            assert!(affine.scale > 0.0 || numerics == Numerics::Loom, "{label}: {affine:?}");
            if affine.scale > 0.0 {
                let back = stored(dtype, numerics, &tiny, affine)[0];
                let bound = dtype.error_bound(numerics, f64::from(tiny[0]), affine.scale);
                assert!(
                    (back - f64::from(tiny[0])).abs() <= bound,
                    "{label} of a subnormal: {back:e}, bound {bound:e}"
                );
            }
            // Beyond the range: saturated at the side it comes from, or what IEEE has.
            for w in [f32::INFINITY, f32::NEG_INFINITY, 3e38, -3e38] {
                let back = stored(dtype, numerics, &[w], unit)[0];
                let loses_sign = numerics == Numerics::Loom
                    && (matches!(dtype, Dtype::Fp8E5M2 | Dtype::Fp4) || dtype.name().starts_with('u'));
                assert!(back == 0.0 || loses_sign || (back > 0.0) == (w > 0.0), "{label} of {w}: {back}");
            }
            // NaN is 0, or NaN where the type has one; loom turns it into its largest code.
            let nan = stored(dtype, numerics, &[f32::NAN], unit)[0];
            let expected = match dtype {
                Dtype::Float64 | Dtype::Float32 => nan.is_nan(),
                Dtype::Binary => nan == -1.0,
                _ if numerics == Numerics::Standard && (float || fp8) => nan.is_nan(),
                Dtype::Float16 => nan.is_infinite(),
                Dtype::BFloat16 => nan.is_nan(),
                Dtype::Fp8E4M3 => nan.abs() == 480.0,
                Dtype::Fp8E5M2 => nan.is_infinite(),
                _ => nan == 0.0,
            };
            assert!(expected, "{label} of NaN: {nan}");
        }
    }
    assert_eq!(Dtype::find("fp8"), Some(Dtype::Fp8E4M3));
    assert_eq!(Dtype::find("Bf16"), Some(Dtype::BFloat16));
    assert_eq!(Dtype::find("half"), None);
}
