#![no_main]

use libfuzzer_sys::fuzz_target;
use loom_core::{Affine, Dtype, Numerics, Scales, WeightStore};

// One blob of any type, shape and scale; what decodes encodes to the same codes.
fuzz_target!(|input: (u8, bool, u8, u8, u32, u64, &[u8])| {
    let (dtype, loom, rows, cols, scale, zero_point, bytes) = input;
    let dtype = Dtype::ALL[usize::from(dtype) % Dtype::ALL.len()];
    let numerics = if loom { Numerics::Loom } else { Numerics::Standard };
    let shape = vec![usize::from(rows), usize::from(cols)];
    let scales = Scales::Tensor(Affine { scale: f32::from_bits(scale), zero_point });
    let Ok(store) = WeightStore::packed(dtype, numerics, shape, scales, bytes.to_vec()) else { return };
    let codes: Vec<u64> = store.codes().collect();
    let weights: Vec<f64> = store.iter().collect();
    assert_eq!(codes.len(), weights.len());
    assert!(weights.iter().all(|w| w.is_finite()));
    let _ = store.morph(Dtype::Int8, numerics);
});
