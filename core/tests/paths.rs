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
