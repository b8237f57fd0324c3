//! Negative controls of the dtypes: each fault planted in stored weights must turn fidelity
//! and the snapshot red, on cases that are green without it.

use std::path::Path;

use loom_core::{Affine, Dtype, Network, Numerics, Role, Scales, WeightStore, Weights};
use loom_runner::stages::golden::{self, Goldens};
use loom_runner::stages::judge::{Label, judge};
use loom_runner::stages::manifest;
use loom_runner::stages::plan::{self, Case};
use loom_runner::stages::planted::{Faithful, Planted};
use loom_runner::stages::run::{Config, run, to_the_end};

/// Changes the weights of the layer at `layers.<index>` once they are stored in a dtype.
struct Stored<F: Fn(&Network, &WeightStore) -> WeightStore + Sync>(&'static str, F);

impl<F: Fn(&Network, &WeightStore) -> WeightStore + Sync> Planted for Stored<F> {
    fn stored(&self, _: &Case, network: Network) -> Network {
        // The f32 network passes through here as float32; only dtypes are at fault.
        let changed = network.with_weights(&mut |layer| {
            let mut weights: Weights = layer.weights().clone();
            if layer.path() == self.0 {
                let store = &weights[&Role::Weight];
                let changed = (self.1)(&network, store);
                weights.insert(Role::Weight, changed);
            }
            Ok(weights)
        });
        changed.expect("the same shapes")
    }
}

fn affine(store: &WeightStore) -> Affine {
    let Scales::Tensor(affine) = store.scales();
    affine
}

/// The same store with other bytes, scale or type.
fn with(store: &WeightStore, dtype: Dtype, numerics: Numerics, affine: Affine, bytes: Vec<u8>) -> WeightStore {
    WeightStore::packed(dtype, numerics, store.shape().to_vec(), Scales::Tensor(affine), bytes).expect("finite weights")
}

fn with_codes(store: &WeightStore, codes: impl Iterator<Item = u64>) -> WeightStore {
    with(store, store.dtype(), store.numerics(), affine(store), store.dtype().pack(codes))
}

fn labels(cases: &[Case], goldens: &Goldens, fault: &dyn Planted) -> Vec<Label> {
    let config = Config { jobs: 1, ..Config::default() };
    let seen = run(cases, goldens, &config, fault, &to_the_end).expect("a run");
    cases.iter().zip(seen).map(|(case, seen)| judge(case, &seen.expect("an observation")).label).collect()
}

/// Fidelity and snapshot of a model in a dtype are green as they are and DIFF with the fault.
#[track_caller]
fn turns_red(model: &str, stored: &str, fault: &dyn Planted) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let bedrock = model.split('/').next().expect("a bedrock").to_string();
    let manifests = manifest::load(&root.join("manifests"), &[bedrock]).expect("manifests");
    let ids = ["fidelity", "snapshot"].map(|check| format!("{model}/{check}/{stored}"));
    let cases = plan::all(&manifests).expect("a plan").into_iter().filter(|case| ids.contains(&case.id));
    let cases: Vec<Case> = cases.collect();
    assert_eq!(cases.len(), 2, "{model} {stored}");
    let goldens = golden::load(&root.join("golden"), &cases).expect("goldens");
    assert!(labels(&cases, &goldens, &Faithful).iter().all(|label| !label.is_red()), "{model} is red without a fault");
    assert_eq!(labels(&cases, &goldens, fault), [Label::Diff; 2], "{model} {stored}");
}

#[test]
fn nibble_order_swapped() {
    let swap = |_: &Network, store: &WeightStore| {
        let bytes = store.bytes().iter().map(|byte| byte.rotate_left(4)).collect();
        with(store, store.dtype(), store.numerics(), affine(store), bytes)
    };
    for stored in ["int4/standard", "uint4/standard", "fp4/loom"] {
        turns_red("dense/mlp_32_64_32_16_8_relu", stored, &Stored("layers.0", swap));
    }
}

#[test]
fn sign_extension_dropped() {
    let unsigned = |_: &Network, store: &WeightStore| {
        let dtype = match store.dtype() {
            Dtype::Int8 => Dtype::Uint8,
            Dtype::Int4 => Dtype::Uint4,
            _ => Dtype::Uint16,
        };
        let affine = Affine { zero_point: 0, ..affine(store) };
        with(store, dtype, Numerics::Loom, affine, store.bytes().to_vec())
    };
    for stored in ["int16/standard", "int8/standard", "int4/loom"] {
        turns_red("dense/mlp_64_32_16_4_relu", stored, &Stored("layers.1", unsigned));
    }
}

#[test]
fn scale_of_the_wrong_layer() {
    let other = |network: &Network, store: &WeightStore| {
        let stores = network.stores();
        let (.., other) =
            stores.iter().find(|(path, role, _)| *path == "layers.1" && *role == Role::Weight).expect("it");
        with(store, store.dtype(), store.numerics(), affine(other), store.bytes().to_vec())
    };
    for stored in ["int8/standard", "fp8e4m3/standard", "ternary/standard", "int4/loom"] {
        turns_red("dense/mlp_digits_64_32_10", stored, &Stored("layers.0", other));
    }
}

#[test]
fn zero_point_off_by_one() {
    let shifted = |_: &Network, store: &WeightStore| {
        let mut affine = affine(store);
        affine.zero_point += 1;
        with(store, store.dtype(), store.numerics(), affine, store.bytes().to_vec())
    };
    for stored in ["uint16/standard", "uint8/standard", "uint4/standard", "uint2/standard"] {
        turns_red("dense/mlp_64_96_32_gelu", stored, &Stored("layers.0", shifted));
    }
}

#[test]
fn fp4_table_entry_wrong() {
    // Code 1 (and 9, its negative) decodes as code 2 does.
    let entry = |_: &Network, store: &WeightStore| {
        with_codes(store, store.codes().map(|code| if code & 7 == 1 { code + 1 } else { code }))
    };
    for stored in ["fp4/standard", "fp4/loom"] {
        turns_red("dense/mlp_128_256_16_silu", stored, &Stored("layers.0", entry));
    }
}

#[test]
fn last_element_of_an_odd_row_lost() {
    let lost = |_: &Network, store: &WeightStore| {
        let depth: usize = store.shape()[1..].iter().product();
        assert!(depth % 2 == 1, "an odd row");
        let codes = store.codes().enumerate().map(|(i, code)| if i % depth == depth - 1 { 0 } else { code });
        with_codes(store, codes)
    };
    for stored in ["int4/standard", "int8/standard", "uint4/standard"] {
        turns_red("cnn1/conv1_3x50_k7_tanh", stored, &Stored("layers.0", lost));
    }
}
