//! Negative controls: each fault planted between the goldens and the network must turn the
//! judge red, on a case that is green without it.

mod kinds;

use std::path::Path;

use loom_bedrocks::npz::{Data, sha256_f32};
use loom_core::format::Format;
use loom_core::math::{pow, sin_cos};
use loom_core::{
    Activation, Cpu, LayerSpec, Network, NetworkSpec, Result, Role, State, Tensor, WeightStore, WeightTable,
};
use loom_runner::stages::golden::{self, FileId, Goldens};
use loom_runner::stages::judge::{Label, judge};
use loom_runner::stages::manifest;
use loom_runner::stages::plan::{self, Case, Kind};
use loom_runner::stages::planted::{Faithful, Planted};
use loom_runner::stages::run::{Config, run, to_the_end};

fn case(id: &str) -> (Case, Goldens) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let bedrock = id.split('/').next().expect("a bedrock").to_string();
    let manifests = manifest::load(&root.join("manifests"), &[bedrock]).expect("manifests");
    let case = plan::all(&manifests).expect("a plan").into_iter().find(|case| case.id == id).expect("the case");
    let goldens = golden::load(&root.join("golden"), std::slice::from_ref(&case)).expect("goldens");
    (case, goldens)
}

fn label(case: &Case, goldens: &Goldens, fault: &dyn Planted) -> Label {
    let config = Config { jobs: 1, ..Config::default() };
    let observations = run(std::slice::from_ref(case), goldens, &config, fault, &to_the_end).expect("a run");
    let observation = observations[0].as_ref().expect("an observation");
    judge(case, observation).label
}

/// The case is green as it is and has label `red` with the fault.
fn turns_red(id: &str, fault: &dyn Planted, red: Label) {
    let (case, goldens) = case(id);
    assert!(!label(&case, &goldens, &Faithful).is_red(), "{id} is red without a fault");
    assert_eq!(label(&case, &goldens, fault), red, "{id}");
}

/// Changes the values of one role of the first layer that has it.
struct Weights<F: Fn(&[usize], &mut Vec<f32>) + Sync>(&'static [Role], F);

impl<F: Fn(&[usize], &mut Vec<f32>) + Sync> Planted for Weights<F> {
    fn weights(&self, table: &mut WeightTable) {
        for role in self.0 {
            let store = table.values_mut().find_map(|stores| stores.get_mut(role)).expect("the role");
            let (shape, mut values) = (store.shape().to_vec(), store.to_f32());
            (self.1)(&shape, &mut values);
            *store = WeightStore::f32(shape, values).expect("finite weights");
        }
    }
}

/// Changes the first layer.
struct Spec<F: Fn(&mut LayerSpec) + Sync>(F);

impl<F: Fn(&mut LayerSpec) + Sync> Planted for Spec<F> {
    fn spec(&self, spec: &mut NetworkSpec) {
        (self.0)(&mut spec.cells[0].layer);
    }
}

/// Rows of a matrix (or elements of a vector) in another order.
fn reorder(shape: &[usize], values: &mut [f32], from: impl Fn(usize) -> usize) {
    let width = values.len() / shape[0];
    let old = values.to_vec();
    for (row, new) in values.chunks_exact_mut(width).enumerate() {
        new.copy_from_slice(&old[from(row) * width..][..width]);
    }
}

#[test]
fn swapped_lstm_gates() {
    let swap = |shape: &[usize], values: &mut Vec<f32>| {
        let h = shape[0] / 4;
        // i and f change places; g and o stay.
        reorder(shape, values, |row| {
            if row < h {
                row + h
            } else if row < 2 * h {
                row - h
            } else {
                row
            }
        });
    };
    let fault = Weights(&[Role::InputWeight, Role::RecurrentWeight, Role::Bias], swap);
    for planet in ["pytorch", "tensorflow", "jax"] {
        turns_red(&format!("lstm/lstm_64_128_64/parity/{planet}"), &fault, Label::Diff);
    }
}

#[test]
fn gates_in_the_order_of_another_framework() {
    // i, f, o, g in place of i, f, g, o.
    let swap = |shape: &[usize], values: &mut Vec<f32>| {
        let h = shape[0] / 4;
        reorder(shape, values, |row| match row / h {
            2 => row + h,
            3 => row - h,
            _ => row,
        });
    };
    let fault = Weights(&[Role::InputWeight, Role::RecurrentWeight, Role::Bias], swap);
    turns_red("lstm/lstm_16_32_steep/parity/jax", &fault, Label::Diff);
}

#[test]
fn transposed_square_kernel() {
    let transpose = |shape: &[usize], values: &mut Vec<f32>| {
        let (n, old) = (shape[0], values.clone());
        assert_eq!(shape, [n, n]);
        (0..n * n).for_each(|i| values[i] = old[i % n * n + i / n]);
    };
    for planet in ["jax", "sklearn", "tensorflow", "pytorch"] {
        let fault = Weights(&[Role::Weight], transpose);
        turns_red(&format!("dense/mlp_16_16_16_16_4_relu/parity/{planet}"), &fault, Label::Diff);
    }
}

#[test]
fn transposed_convolution_kernel() {
    let flip = |shape: &[usize], values: &mut Vec<f32>| {
        let k = shape[2];
        for plane in values.chunks_exact_mut(k * k) {
            let old = plane.to_vec();
            (0..k * k).for_each(|i| plane[i] = old[i % k * k + i / k]);
        }
    };
    turns_red("cnn2/conv2_3x24x32_k5/parity/tensorflow", &Weights(&[Role::Weight], flip), Label::Diff);
}

#[test]
fn dropped_bias() {
    let zero = |_: &[usize], values: &mut Vec<f32>| values.fill(0.0);
    let fault = Weights(&[Role::Bias], zero);
    turns_red("dense/mlp_32_64_32_16_8_relu/parity/sklearn", &fault, Label::Diff);
    turns_red("cnn1/conv1_3x50_k7_tanh/parity/jax", &fault, Label::Diff);
    turns_red("rnn/rnn_64_128_64/parity/pytorch", &fault, Label::Diff);
    turns_red("swiglu/swiglu_64_172_bias/parity/jax", &Weights(&[Role::DownBias], zero), Label::Diff);
}

#[test]
fn one_of_two_recurrent_biases_dropped() {
    let three_quarters = |_: &[usize], values: &mut Vec<f32>| values.iter_mut().for_each(|v| *v *= 0.75);
    turns_red("lstm/lstm_64_128_64/parity/pytorch", &Weights(&[Role::Bias], three_quarters), Label::Diff);
}

#[test]
fn wrong_eps() {
    let eps = |layer: &mut LayerSpec| match layer {
        LayerSpec::LayerNorm(spec) => spec.eps = 1e-5,
        LayerSpec::RmsNorm(spec) => spec.eps = 1e-6,
        _ => unreachable!("a norm"),
    };
    turns_red("layernorm/layernorm_512_eps/parity/pytorch", &Spec(eps), Label::Diff);
    turns_red("rmsnorm/rmsnorm_512_eps/parity/jax", &Spec(eps), Label::Diff);
}

/// Turns the queries by one position more than the keys: `R(s + 1) W = R(s) (R(1) W)`.
#[test]
fn rope_off_by_one_position() {
    let turn = |shape: &[usize], values: &mut Vec<f32>| {
        let (e, width) = (16, values.len() / shape[0]);
        for row in (0..shape[0]).filter(|row| row % e < e / 2) {
            let (sin, cos) = sin_cos(pow(10_000.0, -(2.0 * (row % e) as f64 / e as f64)));
            for column in 0..width {
                let (low, high) = (row * width + column, (row + e / 2) * width + column);
                let (a, b) = (f64::from(values[low]), f64::from(values[high]));
                values[low] = (a * cos - b * sin) as f32;
                values[high] = (a * sin + b * cos) as f32;
            }
        }
    };
    let fault = Weights(&[Role::QWeight, Role::QBias], turn);
    turns_red("mha/mha_128_8_gqa2/parity/pytorch", &fault, Label::Diff);
}

/// A network that pairs channels 2c and 2c + 1 is ours with the rows of q and k reordered.
#[test]
fn interleaved_rope() {
    let interleave = |shape: &[usize], values: &mut Vec<f32>| {
        let e = 16;
        reorder(shape, values, |row| {
            let c = row % e;
            row - c + if c < e / 2 { 2 * c } else { 2 * (c - e / 2) + 1 }
        });
    };
    let fault = Weights(&[Role::QWeight, Role::QBias, Role::KWeight, Role::KBias], interleave);
    turns_red("mha/mha_128_8_gqa2/parity/jax", &fault, Label::Diff);
}

/// Position s also sees s + 1: the last-but-one row of an unmasked run over s + 2 positions.
struct PeeksOneAhead;

impl Planted for PeeksOneAhead {
    fn spec(&self, spec: &mut NetworkSpec) {
        let LayerSpec::Mha(mha) = &mut spec.cells[0].layer else { unreachable!("attention") };
        mha.causal = false;
    }

    fn run(&self, network: &Network, inputs: &[Tensor], cpu: &Cpu) -> Result<Tensor> {
        let [batch, seq, d] = inputs[0].shape() else { unreachable!("[batch, seq, d]") };
        let (batch, seq, d) = (*batch, *seq, *d);
        let mut y = vec![0.0; batch * seq * d];
        for s in 0..seq {
            let n = (s + 2).min(seq);
            let prefix: Vec<f32> = (0..batch).flat_map(|b| inputs[0].data()[b * seq * d..][..n * d].to_vec()).collect();
            let out = network.run(&[Tensor::new(vec![batch, n, d], prefix)?], &mut State::default(), cpu)?;
            for b in 0..batch {
                y[(b * seq + s) * d..][..d].copy_from_slice(&out.data()[(b * n + s) * d..][..d]);
            }
        }
        Tensor::new(vec![batch, seq, d], y)
    }
}

#[test]
fn causal_mask_off_by_one() {
    turns_red("mha/mha_128_8_gqa2/parity/tensorflow", &PeeksOneAhead, Label::Diff);
}

#[test]
fn causal_mask_missing() {
    let open = |layer: &mut LayerSpec| {
        let LayerSpec::Mha(mha) = layer else { unreachable!("attention") };
        mha.causal = false;
    };
    turns_red("mha/mha_128_8_mqa_no_bias/parity/pytorch", &Spec(open), Label::Diff);
}

/// Query head h reads key/value head h mod K in place of h div (H / K).
#[test]
fn gqa_heads_mapped_wrongly() {
    const HEADS: usize = 8;
    const KV: usize = 2;
    // The head whose place under `div` reads the group that `mod` gives to head `h`.
    let place = |h: usize| h % KV * (HEADS / KV) + h / KV;
    let rows = move |shape: &[usize], values: &mut Vec<f32>| {
        let e = shape[0] / HEADS;
        let old: Vec<usize> = (0..HEADS).map(|p| (0..HEADS).find(|&h| place(h) == p).expect("a head")).collect();
        reorder(shape, values, |row| old[row / e] * e + row % e);
    };
    struct Heads<R: Fn(&[usize], &mut Vec<f32>) + Sync>(R);
    impl<R: Fn(&[usize], &mut Vec<f32>) + Sync> Planted for Heads<R> {
        fn weights(&self, table: &mut WeightTable) {
            for stores in table.values_mut() {
                for role in [Role::QWeight, Role::QBias] {
                    let (shape, mut values) = (stores[&role].shape().to_vec(), stores[&role].to_f32());
                    (self.0)(&shape, &mut values);
                    stores.insert(role, WeightStore::f32(shape, values).expect("finite"));
                }
                // The output projection follows its heads: transpose, reorder, transpose back.
                let store = &stores[&Role::OWeight];
                let [d, q] = store.shape() else { unreachable!("a matrix") };
                let (d, q) = (*d, *q);
                let mut t: Vec<f32> =
                    (0..q * d).map(|i| store.iter().nth(i % d * q + i / d).expect("an element") as f32).collect();
                (self.0)(&[q, d], &mut t);
                let back = (0..q * d).map(|i| t[i % q * d + i / q]).collect();
                stores.insert(Role::OWeight, WeightStore::f32(vec![d, q], back).expect("finite"));
            }
        }
    }
    turns_red("mha/mha_128_8_gqa2/parity/pytorch", &Heads(rows), Label::Diff);
}

#[test]
fn stride_ignored() {
    let stride = |layer: &mut LayerSpec| {
        let LayerSpec::Cnn2(conv) = layer else { unreachable!("a convolution") };
        conv.stride = 1.into();
        conv.output = Some(vec![16, 16]);
    };
    turns_red("cnn2/conv2_3x32x32_s2_2layer/parity/jax", &Spec(stride), Label::Diff);
    let shape = |layer: &mut LayerSpec| {
        let LayerSpec::Cnn1(conv) = layer else { unreachable!("a convolution") };
        conv.stride = 1.into();
    };
    turns_red("cnn1/conv1_8x128_k9_s4_gelu/parity/pytorch", &Spec(shape), Label::Shape);
}

#[test]
fn padding_on_the_wrong_side() {
    let shift = |layer: &mut LayerSpec| {
        let LayerSpec::Cnn3(conv) = layer else { unreachable!("a convolution") };
        conv.padding = 1.into();
        conv.output = Some(vec![16; 3]);
    };
    turns_red("cnn3/conv3_2x16_k5/parity/tensorflow", &Spec(shift), Label::Diff);
}

#[test]
fn another_activation() {
    let silu = |layer: &mut LayerSpec| {
        let LayerSpec::Dense(dense) = layer else { unreachable!("dense") };
        dense.activation = Activation::Silu;
    };
    turns_red("dense/mlp_64_96_32_gelu/parity/jax", &Spec(silu), Label::Diff);
}

#[test]
fn a_changed_weight_in_a_golden() {
    let (case, goldens) = case("dense/linear_16_4/parity/pytorch");
    let id = FileId::model("dense", "pytorch", "linear_16_4");
    let mut arrays = goldens.file(&id).expect("the file").clone();
    let array = arrays.get_mut("layers.0.weight").expect("the array");
    let Data::F32(values) = &mut array.data else { unreachable!("float32") };
    values[7] += 1e-3;
    array.sha256 = sha256_f32(values);
    assert_eq!(label(&case, &goldens.with(id, arrays), &Faithful), Label::Diff);
}

#[test]
fn a_changed_tolerance() {
    let (mut case, goldens) = case("dense/linear_16_4/parity/pytorch");
    let Kind::Parity(tolerance) = &mut case.kind else { unreachable!("parity") };
    tolerance.atol = 1e-9;
    assert_eq!(label(&case, &goldens, &Faithful), Label::Diff);
}

#[test]
fn other_bits_than_the_blessed_ones() {
    let nudge = |_: &[usize], values: &mut Vec<f32>| values[0] = f32::from_bits(values[0].to_bits() + 1);
    turns_red("dense/linear_16_4/snapshot/float32/standard", &Weights(&[Role::Weight], nudge), Label::Diff);
}

/// A fast path that adds an ulp to one element.
struct FastPathErrs;

impl Planted for FastPathErrs {
    fn run(&self, network: &Network, inputs: &[Tensor], cpu: &Cpu) -> Result<Tensor> {
        let y = network.run(inputs, &mut State::default(), cpu)?;
        if *cpu == Cpu::scalar() {
            return Ok(y);
        }
        let (shape, mut data) = (y.shape().to_vec(), y.into_data());
        let last = data.len() - 1;
        data[last] = f32::from_bits(data[last].to_bits() ^ 1);
        Tensor::new(shape, data)
    }
}

#[test]
fn a_fast_path_with_one_wrong_bit() {
    turns_red("swiglu/swiglu_128_344/kernel/float32/standard", &FastPathErrs, Label::Diff);
    turns_red("swiglu/swiglu_128_344/kernel/int4/loom", &FastPathErrs, Label::Diff);
}

/// A case that panics is an ERROR, and the others still run.
struct Panics;

impl Planted for Panics {
    fn run(&self, _: &Network, _: &[Tensor], _: &Cpu) -> Result<Tensor> {
        panic!("planted")
    }
}

#[test]
fn a_panic_is_fenced() {
    turns_red("dense/linear_16_4/parity/jax", &Panics, Label::Error);
}

/// Changes one byte of a checkpoint of one format, found by `place`.
struct Bytes(Format, fn(&[u8]) -> usize);

impl Planted for Bytes {
    fn file(&self, format: Format, bytes: &mut Vec<u8>) {
        if format == self.0 {
            let at = (self.1)(bytes);
            bytes[at] ^= 4;
        }
    }
}

#[test]
fn a_changed_byte_of_a_checkpoint() {
    // The exponent of the first weight, or a few codes.
    let payload = |bytes: &[u8]| 23 + u64::from_le_bytes(bytes[12..20].try_into().expect("eight bytes")) as usize;
    let middle = |bytes: &[u8]| bytes.len() / 2;
    let base64 = |bytes: &[u8]| String::from_utf8_lossy(bytes).find("\"weights\": \"").expect("weights") + 16;
    for (format, place) in [
        (Format::V1, payload as fn(&[u8]) -> usize),
        (Format::V2, middle),
        (Format::V2Zstd, middle),
        (Format::Json, base64),
    ] {
        for stored in ["float32/loom", "int4/loom"] {
            let id = format!("lstm/lstm_8_4_8/roundtrip/{stored}");
            turns_red(&id, &Bytes(format, place), Label::Diff);
        }
    }
}
