use proptest::prelude::*;

use super::*;
use crate::dtype::{Dtype, Numerics};
use crate::random::SplitMix64;

fn values(n: usize, seed: u32) -> Vec<f32> {
    let mut random = SplitMix64(seed.into());
    // Magnitudes from 2^-20 to 2^20, so that the order of a sum matters.
    (0..n).map(|_| (random.unit() - 0.5) as f32 * 2f32.powi((random.bits() % 40) as i32 - 20)).collect()
}

/// Every path gives the bits of the scalar one.
fn agrees(x: Rows<'_>, w: MatRef<'_>, what: &str) -> Result<(), TestCaseError> {
    let want = matmul(&Cpu::scalar(), x, w, |o, s| s + o as f64);
    for isa in Isa::available() {
        for threads in [Threads::Single, Threads::Multi] {
            let got = matmul(&Cpu { isa, threads }, x, w, |o, s| s + o as f64);
            if want.iter().zip(&got).any(|(a, b)| a.to_bits() != b.to_bits()) {
                let what = format!("{what} on {isa} {threads:?}: {got:?}, scalar {want:?}");
                return Err(TestCaseError::fail(what));
            }
        }
    }
    Ok(())
}

fn store(dtype: Dtype, numerics: Numerics, outs: usize, depth: usize, seed: u32) -> WeightStore {
    let w = values(outs * depth, seed).into_iter().map(|w| w.clamp(-6e4, 6e4)).collect();
    let w = WeightStore::f32(vec![outs, depth], w).expect("finite");
    w.morph(dtype, numerics).expect("in range")
}

proptest! {
    #[test]
    fn every_path_gives_the_same_bits(rows in 0usize..20, depth in 0usize..70, outs in 1usize..80, used in 0usize..70, seed: u32) {
        let used = used.min(depth);
        let (x, w) = (values(rows * depth, seed), values(outs * depth, !seed));
        let x = Rows::strided(&x, rows, used, depth);
        for w in [MatRef::strided(&w, outs, depth, depth), MatRef::columns(&w, outs, depth, outs)] {
            agrees(x, w, "f32")?;
        }
    }

    #[test]
    fn every_path_gives_the_same_bits_in_every_type(rows in 1usize..12, depth in 0usize..80, outs in 1usize..70, used in 0usize..80, seed: u32) {
        let used = used.min(depth);
        let x = values(rows * depth, seed);
        let x = Rows::strided(&x, rows, used, depth);
        for &dtype in Dtype::ALL {
            for numerics in Numerics::ALL {
                let store = store(dtype, numerics, outs, depth, !seed);
                agrees(x, MatRef::store(&store), &format!("{dtype} {numerics}"))?;
            }
        }
    }

    /// The scalar path is what the decoded weights say, whatever the rule of the type.
    #[test]
    fn sums_are_those_of_the_decoded_weights(depth in 0usize..60, outs in 1usize..20, seed: u32) {
        let x: Vec<f32> = values(depth, seed).iter().map(|x| x.clamp(-8.0, 8.0)).collect();
        for &dtype in Dtype::ALL {
            for numerics in Numerics::ALL {
                let store = store(dtype, numerics, outs, depth, !seed);
                let weights: Vec<f64> = store.iter().collect();
                let y = matmul(&Cpu::scalar(), Rows::strided(&x, 1, depth, depth), MatRef::store(&store), |_, sum| sum);
                for (o, y) in y.iter().enumerate() {
                    let terms = || x.iter().zip(&weights[o * depth..]).map(|(x, w)| f64::from(*x) * w);
                    let (want, size) = (terms().sum::<f64>(), terms().map(f64::abs).sum::<f64>());
                    prop_assert!((y - want).abs() <= 1e-6 * size, "{dtype} {numerics}: {y}, decoded weights give {want}");
                }
            }
        }
    }

    /// Inputs of every kind: NaN, infinities, subnormals, the largest numbers.
    #[test]
    fn every_path_gives_the_same_bits_for_every_input(bits in prop::collection::vec(any::<u32>(), 1..70), rows in 1usize..4, seed: u32) {
        let depth = bits.len();
        for keep_all in [false, true] {
            let number = |i: usize| f32::from_bits(bits[i % depth].rotate_left((i / depth) as u32));
            let x = (0..rows * depth).map(number).map(|x| if x.is_finite() || keep_all { x } else { -0.0 });
            let x: Vec<f32> = x.collect();
            for &dtype in Dtype::ALL {
                for numerics in Numerics::ALL {
                    let store = store(dtype, numerics, 17, depth, seed);
                    agrees(Rows::packed(&x, depth), MatRef::store(&store), &format!("{dtype} {numerics}"))?;
                }
            }
        }
    }

    /// Codes that no weight has been rounded to: extremes, odd zero points and scales.
    #[test]
    fn every_code_decodes_alike(seed: u32, scale in prop_oneof![Just(1.0f32), Just(1.7e-39), 1e-30f32..1e3], shift in 0u64..300) {
        let (depth, outs) = (37, 19);
        let x = values(2 * depth, seed);
        let random: Vec<u64> = values(depth * outs, seed ^ 7).into_iter().map(|v| u64::from(v.to_bits()).wrapping_mul(0x9e37_79b9_7f4a_7c15)).collect();
        for &dtype in Dtype::ALL {
            let mask = u64::MAX >> (64 - dtype.bits());
            let mut codes: Vec<u64> = random.iter().map(|code| code & mask).collect();
            codes[..4].copy_from_slice(&[0, mask, mask / 2, mask / 2 + 1]);
            for numerics in Numerics::ALL {
                let mut affine = dtype.affine(numerics, scale);
                if dtype.largest_zero_point(numerics) > 0 {
                    affine.zero_point = affine.zero_point.wrapping_add(shift) & mask;
                }
                // Codes that are no finite weights make no store.
                let sound = |code: u64| dtype.has(code) && dtype.value(numerics, code, affine).is_finite();
                let bytes = dtype.pack(codes.iter().map(|&code| if sound(code) { code } else { 0 }));
                let store = WeightStore::packed(dtype, numerics, vec![outs, depth], Scales::Tensor(affine), bytes).expect("sound codes");
                agrees(Rows::packed(&x, depth), MatRef::store(&store), &format!("{dtype} {numerics} {affine:?}"))?;
            }
        }
    }
}

#[test]
fn large_enough_to_share_gives_the_same_bits() {
    for (rows, depth, outs) in [(1, 300, 1000), (3, 301, 333), (37, 129, 65)] {
        let (x, w) = (values(rows * depth, 7), values(outs * depth, 11));
        let x = Rows::packed(&x, depth);
        agrees(x, MatRef::strided(&w, outs, depth, depth), "f32").expect("the same bits");
        for &dtype in Dtype::ALL {
            agrees(x, MatRef::store(&store(dtype, Numerics::Standard, outs, depth, 13)), dtype.name())
                .expect("the same bits");
        }
    }
}
