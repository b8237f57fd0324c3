//! Every kind of layer.

use super::*;

/// One layer of every kind and variant, and its input.
const LAYERS: &[(&str, &[usize])] = &[
    (r#"{"dense": {"input_dim": 7, "output_dim": 5, "activation": "gelu"}}"#, &[3, 7]),
    (r#"{"dense": {"input_dim": 12, "output_dim": 9, "activation": "silu", "bias": false}}"#, &[2, 3, 12]),
    (
        r#"{"cnn1": {"in_channels": 2, "filters": 3, "input": [9], "kernel_size": 3, "stride": 2, "padding": 1, "bias": true, "activation": "leaky_relu"}}"#,
        &[2, 2, 9],
    ),
    (
        r#"{"cnn2": {"in_channels": 2, "filters": 3, "input": [5, 6], "kernel_size": 3, "padding": 2, "output": [4, 9], "activation": "relu2"}}"#,
        &[2, 2, 5, 6],
    ),
    (
        r#"{"cnn3": {"in_channels": 1, "filters": 2, "input": [4, 3, 5], "kernel_size": 2, "activation": "tanh"}}"#,
        &[2, 1, 4, 3, 5],
    ),
    (
        r#"{"convtransposed1": {"in_channels": 2, "filters": 3, "input": [5], "kernel_size": 3, "stride": 2, "bias": true}}"#,
        &[2, 2, 5],
    ),
    (
        r#"{"convtransposed2": {"in_channels": 2, "filters": 1, "input": [3, 4], "kernel_size": 2, "padding": 1, "stride": 2, "output_padding": 1}}"#,
        &[2, 2, 3, 4],
    ),
    (
        r#"{"convtransposed3": {"in_channels": 1, "filters": 2, "input": [2, 3, 2], "kernel_size": 2, "activation": "sigmoid"}}"#,
        &[1, 1, 2, 3, 2],
    ),
    (r#"{"embedding": {"vocab_size": 3, "embedding_dim": 5}}"#, &[2, 9]),
    (r#"{"layernorm": {"dim": 6}}"#, &[4, 6]),
    (r#"{"layernorm": {"dim": 5, "beta": false, "eps": 0.0}}"#, &[4, 5]),
    (r#"{"rmsnorm": {"dim": 7}}"#, &[3, 7]),
    (r#"{"rnn": {"input_size": 3, "hidden_size": 5, "seq_length": 4}}"#, &[6, 4, 3]),
    (r#"{"lstm": {"input_size": 3, "hidden_size": 5, "seq_length": 4, "bias": false}}"#, &[5, 4, 3]),
    (r#"{"lstm": {"input_size": 8, "hidden_size": 140, "seq_length": 3}}"#, &[2, 3, 8]),
    (r#"{"mha": {"d_model": 12, "num_heads": 4, "num_kv_heads": 2, "qk_norm": "per_head"}}"#, &[2, 5, 12]),
    (r#"{"mha": {"d_model": 6, "num_heads": 2, "head_dim": 5, "causal": false, "bias": false}}"#, &[2, 4, 6]),
    (r#"{"mha": {"d_model": 8, "num_heads": 2, "window": 3, "rope": false, "qk_norm": "shared"}}"#, &[1, 6, 8]),
    (r#"{"swiglu": {"input_dim": 6, "intermediate_dim": 10}}"#, &[3, 6]),
    (r#"{"kmeans": {"num_clusters": 3, "input_dim": 4, "temperature": 1.5}}"#, &[5, 4]),
    (r#"{"kmeans": {"num_clusters": 3, "input_dim": 4, "output": "features", "activation": "tanh"}}"#, &[5, 4]),
    (r#"{"softmax": {}}"#, &[3, 7]),
    (r#"{"softmax": {"over": "tensor", "temperature": 0.7}}"#, &[3, 7]),
    (r#"{"softmax": {"variant": "grid", "rows": 2, "cols": 3}}"#, &[3, 7]),
    (r#"{"softmax": {"variant": "hierarchical", "levels": [2, 3]}}"#, &[2, 6]),
    (r#"{"softmax": {"variant": "gumbel", "seed": 7}}"#, &[3, 5]),
    (r#"{"softmax": {"variant": "masked", "mask": [true, false, true]}}"#, &[2, 5]),
    (r#"{"softmax": {"variant": "sparse"}}"#, &[4, 6]),
    (r#"{"softmax": {"variant": "entmax", "alpha": 1.3}}"#, &[4, 6]),
    (r#"{"metacognition": {"observed": {"dense": {"input_dim": 4, "output_dim": 4}}}}"#, &[2, 4]),
    (
        r#"{"sequential": {"steps": [{"layer": {"dense": {"input_dim": 4, "output_dim": 4}}}, {"layer": {"residual": {}}}, {"disabled": true, "layer": {"softmax": {}}}]}}"#,
        &[3, 4],
    ),
    (
        r#"{"parallel": {"branches": [{"layer": {"dense": {"input_dim": 4, "output_dim": 3}}}, {"link": {"z": 0, "y": 0, "x": 0, "l": 1}}]}}"#,
        &[3, 4],
    ),
    (
        r#"{"parallel": {"combine": "add", "branches": [{"layer": {"dense": {"input_dim": 4, "output_dim": 4}}}, {"layer": {"rmsnorm": {"dim": 4}}}]}}"#,
        &[3, 4],
    ),
    (
        r#"{"parallel": {"combine": "avg", "branches": [{"layer": {"dense": {"input_dim": 4, "output_dim": 4}}}, {"layer": {"rmsnorm": {"dim": 4}}}, {"layer": {"softmax": {}}}]}}"#,
        &[3, 4],
    ),
    (
        r#"{"parallel": {"combine": "filter", "gate": {"dense": {"input_dim": 4, "output_dim": 3}}, "branches": [{"layer": {"dense": {"input_dim": 4, "output_dim": 4}}}, {"layer": {"rmsnorm": {"dim": 4}}}]}}"#,
        &[3, 4],
    ),
];

#[test]
fn every_layer_kind_gives_the_bits_of_the_cpu() {
    for gpu in gpus(&Options::default()) {
        for (i, (layer, shape)) in LAYERS.iter().enumerate() {
            // A link needs a layer to lead to.
            let layers =
                if layer.contains("link") { vec![*layer, r#"{"softmax": {"over": "row"}}"#] } else { vec![*layer] };
            let network = network(&layers, i as u64 + 1);
            for (dtype, numerics) in [
                (Dtype::Float32, Numerics::Standard),
                (Dtype::Int8, Numerics::Loom),
                (Dtype::Float64, Numerics::Standard),
            ] {
                let storage = Storage { dtype, numerics, vectors: Vectors::Stored };
                let Ok(network) = network.morph(&storage) else { continue };
                let x = [tensor(shape, 3), tensor(shape, 4)];
                agrees(&gpu, &network, &x, &format!("{layer} in {dtype} {numerics}"));
            }
        }
    }
}

#[test]
fn keys_and_values_stay_on_the_device() {
    for gpu in gpus(&Options::default()) {
        for window in ["", r#", "window": 3"#] {
            let mha = format!(r#"{{"mha": {{"d_model": 12, "num_heads": 3{window}}}}}"#);
            let network = network(&[&mha, r#"{"rmsnorm": {"dim": 12}}"#, &mha], 5);
            let one = |seed| tensor(&[2, 1, 12], seed);
            let calls = [tensor(&[2, 4, 12], 1), one(2), one(3), one(4), one(5), tensor(&[2, 3, 12], 6), one(7)];
            agrees(&gpu, &network, &calls, &mha);
            let mut state = GpuState::default();
            gpu.run(&network, &[one(1)], &mut state).expect("a run");
            let other = self::network(&[&mha], 6);
            assert_eq!(gpu.run(&other, &[one(1)], &mut state), Err(crate::Error::ForeignState));
        }
    }
}

#[test]
fn without_f64_and_without_decorations_results_are_near() {
    let single = Options { precision: Some(Precision::Single), ..Options::default() };
    let plain = Options { plain: true, ..Options::default() };
    for options in [single, plain] {
        for gpu in gpus(&options) {
            let probe = gpu.probe().expect("a probe");
            assert_eq!(probe.double.is_some(), gpu.precision() == Precision::Double);
            for (i, (layer, shape)) in LAYERS.iter().enumerate().filter(|(_, (layer, _))| !layer.contains("link")) {
                let network = network(&[layer], i as u64 + 1);
                let x = [tensor(shape, 3)];
                let y = gpu.run(&network, &x, &mut GpuState::default()).expect(layer);
                let want = network.run(&x, &mut State::default(), &Cpu::scalar()).expect(layer);
                let size = want.data().iter().fold(1e-3f32, |m, v| m.max(v.abs()));
                for (a, b) in y.data().iter().zip(want.data()) {
                    assert!((a - b).abs() <= 2e-4 * size, "{layer} {:?}: {a} beside {b}", gpu.precision());
                }
            }
        }
    }
}
