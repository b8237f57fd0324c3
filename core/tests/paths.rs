//! Every layer kind, in every dtype and profile, at sizes that fit no vector: scalar, vector and
//! multi-core paths give the same bits.

use loom_core::{
    Cpu, Dtype, Isa, LayerKind, LayerSpec, Network, NetworkSpec, Numerics, SplitMix64, State, Storage, Tensor, Threads,
    Vectors, WeightStore, WeightTable,
};
use proptest::prelude::*;
use serde_json::json;

fn values(n: usize, seed: u32) -> Vec<f32> {
    let mut random = SplitMix64(seed.into());
    (0..n).map(|_| (random.unit() - 0.5) as f32).collect()
}

/// A layer of each kind and an input for it. `a`, `b` and `c` are sizes from 1 to 9.
fn layers(a: usize, b: usize, c: usize) -> Vec<(LayerSpec, Vec<usize>)> {
    let dense = json!({ "dense": { "input_dim": a, "output_dim": a, "activation": "gelu" } });
    let conv = |n: usize| json!({ "in_channels": a, "filters": b, "input": vec![c + 2; n], "kernel_size": 2, "stride": 1 + a % 2, "padding": 1, "bias": true });
    let conv_shape = |n: usize| [vec![2, a], vec![c + 2; n]].concat();
    let grouped = |n: usize| json!({ "in_channels": 2 * a, "filters": 4, "groups": 2, "input": vec![c + 2; n], "kernel_size": vec![2; n], "dilation": 1 + b % 2, "stride": 1 + a % 3, "padding": vec![[1, 0]; n], "bias": true, "activation": "hard_swish" });
    let grouped_shape = |n: usize| [vec![2, 2 * a], vec![c + 2; n]].concat();
    let specs = vec![
        (
            json!({ "dense": { "input_dim": 7 * a + 3, "output_dim": 5 * b + 1, "activation": "tanh" } }),
            vec![c, 7 * a + 3],
        ),
        (json!({ "mha": { "d_model": 2 * a * b, "num_heads": b, "qk_norm": "per_head" } }), vec![2, c, 2 * a * b]),
        (json!({ "swiglu": { "input_dim": 3 * a, "intermediate_dim": 5 * b } }), vec![c, 3 * a]),
        (json!({ "rmsnorm": { "dim": a * b } }), vec![c, a * b]),
        (json!({ "layernorm": { "dim": a * b } }), vec![c, a * b]),
        (json!({ "cnn1": conv(1) }), conv_shape(1)),
        (json!({ "cnn2": conv(2) }), conv_shape(2)),
        (json!({ "cnn3": conv(3) }), conv_shape(3)),
        (json!({ "convtransposed1": conv(1) }), conv_shape(1)),
        (json!({ "convtransposed2": conv(2) }), conv_shape(2)),
        (json!({ "convtransposed3": conv(3) }), conv_shape(3)),
        (json!({ "rnn": { "input_size": a, "hidden_size": 3 * b, "seq_length": c } }), vec![2, c, a]),
        (json!({ "lstm": { "input_size": a, "hidden_size": 3 * b, "seq_length": c } }), vec![2, c, a]),
        (json!({ "embedding": { "vocab_size": a, "embedding_dim": b } }), vec![c, 3]),
        (json!({ "kmeans": { "num_clusters": b, "input_dim": a, "output": "features" } }), vec![c, a]),
        (json!({ "softmax": {} }), vec![c, a]),
        (json!({ "parallel": { "branches": [{ "layer": dense }, { "layer": dense }] } }), vec![c, a]),
        (json!({ "sequential": { "steps": [{ "layer": dense }, { "layer": { "residual": {} } }] } }), vec![c, a]),
        (json!({ "residual": {} }), vec![c, a]),
        (json!({ "metacognition": { "observed": dense } }), vec![c, a]),
        (json!({ "activation": { "function": { "elu": { "alpha": 0.5 } } } }), vec![c, a]),
        (json!({ "prelu": { "shape": [a, 1] } }), vec![2, a, c]),
        (json!({ "affine": { "shape": [b, a] } }), vec![c, b, a]),
        (json!({ "batchnorm": { "shape": [a, 1, 1], "eps": 4.0 } }), vec![2, a, b, c]),
        (json!({ "groupnorm": { "channels": 2 * a, "groups": 2, "input": [b] } }), vec![c, 2 * a, b]),
        (json!({ "l2norm": { "dim": a } }), vec![c, a]),
        (
            json!({ "pool": { "op": "average", "input": [c + 1, b + 2], "kernel_size": [2, 3], "stride": 1 + a % 2, "padding": [[1, 0], [0, 1]] } }),
            vec![2, a, c + 1, b + 2],
        ),
        (json!({ "pool": { "op": "max", "input": [a + b], "kernel_size": 2 } }), vec![c, a + b]),
        (json!({ "reduce": { "op": "mean", "axes": [-1, 1] } }), vec![c, a, 2, b]),
        (json!({ "view": { "transpose": { "axes": [2, 1] } } }), vec![c, a, b]),
        (
            json!({ "resize": { "input": [a, b], "output": [b, c], "interpolation": "linear", "corners": "half_pixel" } }),
            vec![2, a, b],
        ),
        (json!({ "onehot": { "classes": a } }), vec![c, b]),
        (json!({ "gru": { "input_size": a, "hidden_size": 2 * b, "seq_length": c } }), vec![2, c, a]),
        // Configurations that other code runs.
        (
            json!({ "gru": { "input_size": a, "hidden_size": b, "seq_length": c, "reset": "before_product" } }),
            vec![3, c, a],
        ),
        (json!({ "rnn": { "input_size": a, "hidden_size": b, "seq_length": c, "activation": "relu" } }), vec![2, c, a]),
        (json!({ "cnn2": grouped(2) }), grouped_shape(2)),
        (json!({ "cnn1": grouped(1) }), grouped_shape(1)),
        (json!({ "convtransposed2": grouped(2) }), grouped_shape(2)),
        (json!({ "dense": { "input_dim": a, "output_dim": b, "activation": "gelu_erf" } }), vec![c, a]),
        (
            json!({ "parallel": { "combine": "product", "branches": [{ "layer": dense }, { "layer": dense }] } }),
            vec![c, a],
        ),
        (json!({ "parallel": { "axis": -1, "branches": [{ "layer": dense }, { "layer": dense }] } }), vec![2, c, a]),
        (json!({ "softmax": { "variant": "log" } }), vec![c, a]),
        (json!({ "rmsnorm": { "dim": a * b, "unit_offset": true } }), vec![c, a * b]),
    ];
    specs.into_iter().map(|(spec, shape)| (serde_json::from_value(spec).expect("a layer"), shape)).collect()
}

fn weights(path: String, spec: &LayerSpec, seed: u32, table: &mut WeightTable) {
    let roles = spec.roles();
    if !roles.is_empty() {
        let store = |(i, role): (usize, loom_core::RoleShape)| {
            let n = role.shape.iter().product();
            let data = values(n, seed.wrapping_add(97 * i as u32));
            (role.role, WeightStore::f32(role.shape, data).expect("finite weights"))
        };
        table.insert(path.clone(), roles.into_iter().enumerate().map(store).collect());
    }
    for (name, child) in spec.children() {
        weights(format!("{path}.{name}"), &child.layer.expect("no links"), seed, table);
    }
}

#[test]
fn every_kind_is_there() {
    let kinds: Vec<LayerKind> = layers(2, 3, 4).iter().map(|(spec, _)| spec.kind()).collect();
    let missing: Vec<&LayerKind> = LayerKind::ALL.iter().filter(|kind| !kinds.contains(kind)).collect();
    assert!(missing.is_empty(), "`layers` in core/tests/paths.rs has no layer of {missing:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn every_layer_gives_the_same_bits_on_every_path(a in 1usize..10, b in 1usize..10, c in 1usize..10, seed: u32) {
        for (spec, shape) in layers(a, b, c) {
            let mut table = WeightTable::new();
            weights("layers.0".into(), &spec, seed, &mut table);
            let kind = spec.kind().name();
            let plain = Network::build(NetworkSpec::stack(vec![spec]), &mut table).expect("a network");
            let data = values(shape.iter().product(), !seed);
            // An embedding takes ids.
            let data = if kind == "embedding" { data.iter().map(|v| (v * 20.0).trunc()).collect() } else { data };
            let x = [Tensor::new(shape, data).expect("the shape")];
            for &dtype in Dtype::ALL {
                for (numerics, vectors) in [(Numerics::Standard, Vectors::Stored), (Numerics::Loom, Vectors::Float32)] {
                    let network = plain.morph(&Storage { dtype, numerics, vectors }).expect("in range");
                    let run = |cpu: Cpu| network.run(&x, &mut State::default(), &cpu).expect("an output").into_data();
                    let want = run(Cpu::scalar());
                    for isa in Isa::available() {
                        for threads in [Threads::Single, Threads::Multi] {
                            let got = run(Cpu::with(isa, threads).expect("available"));
                            let same = want.iter().zip(&got).all(|(a, b)| a.to_bits() == b.to_bits());
                            prop_assert!(same && want.len() == got.len(), "{kind} {dtype} {numerics} on {isa} {threads:?}");
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn standard_keeps_vectors_in_f32_unless_asked_and_loom_shares_one_scale() {
    let spec: LayerSpec =
        serde_json::from_value(json!({ "mha": { "d_model": 8, "num_heads": 2, "qk_norm": "shared" } }))
            .expect("a layer");
    let mut table = WeightTable::new();
    weights("layers.0".into(), &spec, 5, &mut table);
    let plain = Network::build(NetworkSpec::stack(vec![spec]), &mut table).expect("a network");
    let stored = |dtype, numerics, vectors| plain.morph(&Storage { dtype, numerics, vectors }).expect("in range");
    let of = |network: &Network| -> Vec<(String, bool, Dtype, loom_core::Scales)> {
        let entry = |(_, role, store): (&str, loom_core::Role, &WeightStore)| {
            (role.to_string(), role.is_vector(), store.dtype(), store.scales())
        };
        network.stores().into_iter().map(entry).collect()
    };
    for (role, is_vector, dtype, _) in of(&stored(Dtype::Int4, Numerics::Standard, Vectors::Float32)) {
        assert_eq!(dtype, if is_vector { Dtype::Float32 } else { Dtype::Int4 }, "{role}");
    }
    for (role, _, dtype, _) in of(&stored(Dtype::Int4, Numerics::Standard, Vectors::Stored)) {
        assert_eq!(dtype, Dtype::Int4, "{role}");
    }
    for (role, _, dtype, _) in of(&stored(Dtype::Float64, Numerics::Standard, Vectors::Float32)) {
        assert_eq!(dtype, Dtype::Float64, "{role}");
    }
    let loom = of(&stored(Dtype::Int4, Numerics::Loom, Vectors::Float32));
    let shared = loom.iter().find(|(role, ..)| role == "q_weight").expect("the role").3;
    for (role, _, dtype, scales) in &loom {
        match role.as_str() {
            "q_norm" | "k_norm" => assert_eq!(*dtype, Dtype::Float32, "{role}"),
            _ => assert_eq!((*dtype, *scales), (Dtype::Int4, shared), "{role}"),
        }
    }
}

#[test]
fn stores_refuse_what_they_cannot_hold() {
    use loom_core::{Affine, Error, Scales};
    let unit = |zero_point| Scales::Tensor(Affine { scale: 1.0, zero_point });
    let packed = |dtype, numerics, scales, bytes: Vec<u8>| WeightStore::packed(dtype, numerics, vec![3], scales, bytes);
    let short = packed(Dtype::Int4, Numerics::Standard, unit(0), vec![0]).expect_err("too short");
    assert!(matches!(&short, Error::Packed { needed: Some(2), given: 1, .. }), "{short}");
    for (dtype, numerics, zero_point) in [
        (Dtype::Int8, Numerics::Standard, 5),
        (Dtype::Uint8, Numerics::Loom, 1),
        (Dtype::Uint8, Numerics::Standard, 256),
        (Dtype::Float32, Numerics::Standard, 1),
    ] {
        let bytes = vec![0; dtype.packed_len(3).expect("a length")];
        let error = packed(dtype, numerics, unit(zero_point), bytes).expect_err("a zero point it cannot have");
        assert!(matches!(error, Error::ZeroPoint { .. }), "{error}");
    }
    let nan = packed(Dtype::Fp8E4M3, Numerics::Standard, unit(0), vec![0, 0x7f, 0]).expect_err("a NaN");
    assert!(matches!(nan, Error::NonFinite { index: 1, .. }), "{nan}");
    let large = WeightStore::f32(vec![2], vec![1.0, 1e6]).expect("finite");
    let error = large.morph(Dtype::Float16, Numerics::Standard).expect_err("beyond the range");
    assert!(
        matches!(error, Error::Unrepresentable { index: 1, .. }) && error.to_string().contains("wider range"),
        "{error}"
    );
}

/// Written in version 2 and read again, each gives the same bytes and bits; version 1 and JSON hold it or say what they
/// have no field for.
#[test]
fn every_layer_goes_through_version_2() {
    use loom_core::format::{Checkpoint, Format, OnLoss, Reading};
    for (spec, shape) in layers(3, 2, 4) {
        let mut table = WeightTable::new();
        weights("layers.0".into(), &spec, 9, &mut table);
        let (name, original) = (spec.kind().name(), spec.kind() <= LayerKind::Metacognition);
        let plain = Network::build(NetworkSpec::stack(vec![spec.clone()]), &mut table).expect("a network");
        for (dtype, vectors) in [(Dtype::Float32, Vectors::Float32), (Dtype::Int4, Vectors::Stored)] {
            let network = plain.morph(&Storage { dtype, numerics: Numerics::Standard, vectors }).expect("in range");
            let checkpoint = Checkpoint::of(&network).expect("a checkpoint");
            let bytes = checkpoint.to_bytes(Format::V2, OnLoss::Refuse).expect(name);
            let read = Checkpoint::parse(bytes.clone(), Reading::Strict).expect(name);
            assert_eq!(read.to_bytes(Format::V2, OnLoss::Refuse).expect(name), bytes, "{name}");
            let again = read.network().expect(name);
            let x = [Tensor::new(shape.clone(), values(shape.iter().product(), 3)).expect("the shape")];
            let run = |network: &Network| network.run(&x, &mut State::default(), &Cpu::best()).expect("an output");
            assert_eq!(run(&network), run(&again), "{name}");
            for format in [Format::V1, Format::Json] {
                if let Err(error) = checkpoint.to_bytes(format, OnLoss::Refuse) {
                    assert!(error.to_string().contains("has no field for"), "{name}: {error}");
                }
                // A layer that would be another one without its configuration is never dropped.
                if !original {
                    let error = checkpoint.to_bytes(format, OnLoss::Drop).expect_err(name).to_string();
                    assert!(error.contains(&format!("layers.0: the {name} layer {{")), "{error}");
                }
            }
        }
    }
}
