//! The standard numerics against NumPy and ml_dtypes (`golden/dtypes`, made by
//! `python/oracles/dtypes.py`), and the laws that every codec keeps in both profiles.

use std::path::{Path, PathBuf};

use loom_core::{Dtype, Numerics};
use proptest::prelude::*;
use sha2::{Digest as _, Sha256};

fn oracle(name: &str) -> Vec<u8> {
    let path: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("../golden/dtypes").join(name);
    std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn decoded(dtype: Dtype) -> Vec<f32> {
    (0..1u64 << dtype.bits()).map(|code| dtype.value(Numerics::Standard, code, 1.0) as f32).collect()
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
        let ours: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(ours, String::from_utf8(oracle(&format!("{name}.decode.sha256"))).expect("text").trim(), "{name}");
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
            let code = |bytes: &[u8]| bytes.iter().rev().fold(0u64, |code, byte| code << 8 | u64::from(*byte));
            let theirs = code(&bytes[i as usize * size..][..size]);
            let ours = dtype.codes(&dtype.quantise(Numerics::Standard, &[w], 1.0), 1).expect("one code")[0];
            if w.is_nan() {
                // FP4 has no NaN; ml_dtypes picks a code of its own.
                assert!(dtype == Dtype::Fp4 || dtype.value(Numerics::Standard, ours, 1.0).is_nan(), "{name} of NaN");
                continue;
            }
            let largest = match dtype {
                Dtype::Fp8E4M3 => 448.0,
                Dtype::Fp8E5M2 => 57344.0,
                _ => f64::INFINITY,
            };
            let theirs_value = dtype.value(Numerics::Standard, theirs, 1.0);
            if !theirs_value.is_finite() && largest.is_finite() {
                let ours_value = dtype.value(Numerics::Standard, ours, 1.0);
                assert_eq!(ours_value.abs(), largest, "{name} of {w:e} saturates where ml_dtypes gives {theirs_value}");
                assert_eq!(ours_value.is_sign_negative(), w.is_sign_negative());
                continue;
            }
            assert_eq!(ours, theirs, "{name} of {w:e}");
        }
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
                let scale = dtype.choose_scale(numerics, &w);
                prop_assume!(scale.is_normal());
                let back = dtype.dequantise(numerics, &dtype.quantise(numerics, &w, scale), w.len(), scale).expect("codes");
                for (&w, v) in w.iter().zip(back) {
                    let (error, bound) = ((v - f64::from(w)).abs(), dtype.error_bound(numerics, w, scale));
                    // A weight may round up beyond the last float16.
                    prop_assert!(error <= bound || v.is_infinite() && bound.is_infinite(), "{dtype} {numerics:?}: {w:e} became {v:e}, bound {bound:e}, scale {scale:e}");
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
                let scale = dtype.choose_scale(numerics, &w);
                prop_assume!(scale.is_normal());
                let back = dtype.dequantise(numerics, &dtype.quantise(numerics, &w, scale), w.len(), scale).expect("codes");
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
                let scale = dtype.choose_scale(numerics, &w);
                prop_assume!(scale.is_normal());
                let back = dtype.dequantise(numerics, &dtype.quantise(numerics, &w, scale), w.len(), scale).expect("codes");
                let loses_sign = numerics == Numerics::Loom && (dtype.name().starts_with("uint") || dtype == Dtype::Binary);
                for i in (0..half).filter(|&i| w[i] != 0.0 && !loses_sign) {
                    prop_assert!(back[i] == -back[half + i], "{dtype} {numerics:?}: {:e} and {:e}", back[i], back[half + i]);
                }
            }
        }
    }

    #[test]
    fn packing_keeps_every_code_whatever_the_length(codes in prop::collection::vec(any::<u64>(), 0..40)) {
        for &dtype in Dtype::ALL.iter().filter(|dtype| dtype.bits() < 64) {
            let values: Vec<f32> = codes.iter().map(|c| (c % 3) as f32 - 1.0).collect();
            let bytes = dtype.quantise(Numerics::Standard, &values, 1.0);
            prop_assert_eq!(Some(bytes.len()), dtype.packed_len(values.len()));
            let back = dtype.codes(&bytes, values.len()).expect("codes");
            let one_by_one: Vec<u64> = values.iter().map(|v| dtype.codes(&dtype.quantise(Numerics::Standard, &[*v], 1.0), 1).expect("a code")[0]).collect();
            prop_assert_eq!(back, one_by_one, "{}", dtype);
            prop_assert!(dtype.codes(&bytes, values.len() + 9).is_err());
        }
    }
}

#[test]
fn edges() {
    for &dtype in Dtype::ALL {
        for numerics in Numerics::ALL {
            assert_eq!(dtype.choose_scale(numerics, &[]), 1.0, "{dtype} of nothing");
            assert!(dtype.quantise(numerics, &[], 1.0).is_empty());
            assert_eq!(dtype.choose_scale(numerics, &[0.0, -0.0]), 1.0, "{dtype} of zeros");
            let zeros = dtype.dequantise(numerics, &dtype.quantise(numerics, &[0.0; 5], 1.0), 5, 1.0).expect("codes");
            let zero = if dtype == Dtype::Binary { 1.0 } else { 0.0 };
            assert!(zeros.iter().all(|v| *v == zero), "{dtype} {numerics:?}: {zeros:?}");
            // One outlier takes the range; the others shrink but nothing wraps.
            let outlier = [1e6, -1.0, 0.5];
            let scale = dtype.choose_scale(numerics, &outlier);
            let back = dtype.dequantise(numerics, &dtype.quantise(numerics, &outlier, scale), 3, scale).expect("codes");
            assert!(back[0] > 0.0, "{dtype} {numerics:?}: {back:?}");
            // Infinities saturate at the side they come from, or stay what they are.
            let back =
                dtype.dequantise(numerics, &dtype.quantise(numerics, &[f32::INFINITY], 1.0), 1, 1.0).expect("a code");
            assert!(back[0] >= 0.0, "{dtype} {numerics:?} of infinity: {back:?}");
        }
    }
    assert_eq!(Dtype::find("fp8"), Some(Dtype::Fp8E4M3));
    assert_eq!(Dtype::find("Bf16"), Some(Dtype::BFloat16));
    assert_eq!(Dtype::find("half"), None);
}
