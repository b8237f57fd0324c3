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
    (r#"{"activation": {"function": "gelu_erf"}}"#, &[5, 40]),
    (r#"{"activation": {"function": "hard_swish"}}"#, &[5, 40]),
    (r#"{"activation": {"function": "hard_sigmoid"}}"#, &[5, 40]),
    (r#"{"activation": {"function": {"hard_sigmoid": {"slope": 0.2, "offset": 0.4}}}}"#, &[5, 40]),
    (r#"{"activation": {"function": "relu6"}}"#, &[5, 40]),
    (r#"{"activation": {"function": {"clip": {"min": -0.3, "max": 1.5}}}}"#, &[5, 40]),
    (r#"{"activation": {"function": {"clip": {"max": 0.5}}}}"#, &[5, 40]),
    (r#"{"activation": {"function": {"elu": {"alpha": 0.7}}}}"#, &[5, 40]),
    (r#"{"activation": {"function": "selu"}}"#, &[5, 40]),
    (r#"{"activation": {"function": {"leaky_relu": {"slope": 0.3}}}}"#, &[5, 40]),
    (r#"{"activation": {"function": "softplus"}}"#, &[5, 40]),
    (r#"{"activation": {"function": {"softplus": {"beta": 3.0}}}}"#, &[5, 40]),
    (r#"{"activation": {"function": "mish"}}"#, &[5, 40]),
    (r#"{"activation": {"function": "silu"}}"#, &[5, 40]),
    (r#"{"dense": {"input_dim": 12, "output_dim": 9, "activation": "gelu_erf"}}"#, &[2, 3, 12]),
    (r#"{"embedding": {"vocab_size": 3, "embedding_dim": 5, "activation": "mish"}}"#, &[2, 9]),
    (r#"{"kmeans": {"num_clusters": 3, "input_dim": 4, "activation": "elu"}}"#, &[5, 4]),
    (r#"{"prelu": {"shape": [3, 1]}}"#, &[2, 3, 5]),
    (r#"{"affine": {"shape": [3, 1, 1]}}"#, &[2, 3, 2, 4]),
    (r#"{"affine": {"shape": [4, 5], "gain": false}}"#, &[3, 4, 5]),
    (r#"{"affine": {"shape": [2, 1, 5], "shift": false}}"#, &[3, 2, 4, 5]),
    (r#"{"batchnorm": {"shape": [3, 1, 1], "eps": 9.0}}"#, &[2, 3, 2, 4]),
    (r#"{"batchnorm": {"shape": [6], "eps": 9.0, "gamma": false, "beta": false}}"#, &[5, 6]),
    (r#"{"groupnorm": {"channels": 6, "groups": 3, "input": [2, 5]}}"#, &[2, 6, 2, 5]),
    (r#"{"groupnorm": {"channels": 4, "groups": 4, "input": [7], "gamma": false, "beta": false}}"#, &[2, 4, 7]),
    (r#"{"l2norm": {"dim": 6}}"#, &[4, 6]),
    (r#"{"l2norm": {"dim": 6, "eps": 0.5, "guard": "inside"}}"#, &[4, 6]),
    (r#"{"rmsnorm": {"dim": 7, "unit_offset": true}}"#, &[3, 7]),
    (r#"{"pool": {"op": "max", "input": [5, 6], "kernel_size": 3, "stride": 2, "padding": 1}}"#, &[2, 3, 5, 6]),
    (r#"{"pool": {"op": "max", "input": [9], "kernel_size": 2, "dilation": 3, "stride": 2, "ceil": true}}"#, &[2, 9]),
    (
        r#"{"pool": {"op": "average", "input": [5, 6], "kernel_size": [2, 3], "stride": [1, 2], "padding": [[1, 0], [1, 1]]}}"#,
        &[2, 3, 5, 6],
    ),
    (
        r#"{"pool": {"op": "average", "input": [5, 6], "kernel_size": 3, "stride": 2, "padding": 1, "ceil": true, "count_padding": true}}"#,
        &[2, 5, 6],
    ),
    (r#"{"pool": {"op": "average", "input": [4, 3, 5], "kernel_size": 2}}"#, &[2, 1, 4, 3, 5]),
    (r#"{"pool": {"op": {"lp": 2.0}, "input": [7], "kernel_size": 3}}"#, &[2, 7]),
    (r#"{"pool": {"op": {"lp": 1.0}, "input": [7], "kernel_size": 3}}"#, &[2, 7]),
    (r#"{"pool": {"op": {"lp": 3.5}, "input": [7], "kernel_size": 3}}"#, &[2, 7]),
    (r#"{"reduce": {"op": "mean", "axes": [2, 3]}}"#, &[2, 3, 4, 5]),
    (r#"{"reduce": {"op": "sum", "axes": [1, -1], "keep": true}}"#, &[2, 3, 4, 5]),
    (r#"{"reduce": {"op": "max", "axes": [1]}}"#, &[2, 6, 4]),
    (r#"{"reduce": {"op": "min", "axes": [-1]}}"#, &[2, 6, 4]),
    (r#"{"view": {"reshape": {"shape": [3, -1]}}}"#, &[2, 6, 4]),
    (r#"{"view": {"transpose": {"axes": [3, 1, 2]}}}"#, &[2, 3, 4, 5]),
    (r#"{"view": {"slice": {"axis": -1, "start": 1, "stop": -1, "step": 2}}}"#, &[2, 3, 7]),
    (r#"{"view": {"take": {"axis": 1, "positions": [2, 0, 2]}}}"#, &[2, 3, 4]),
    (r#"{"view": {"flip": {"axes": [1]}}}"#, &[2, 3, 4]),
    (r#"{"view": {"squeeze": {"axes": [1]}}}"#, &[2, 1, 4]),
    (r#"{"view": {"unsqueeze": {"axis": -1}}}"#, &[2, 4]),
    (r#"{"view": {"pad": {"sides": [[1, 2], [0, 1]], "value": 1.5}}}"#, &[2, 3, 4]),
    (r#"{"view": {"pad": {"sides": [[2, 1]], "mode": "reflect"}}}"#, &[2, 3, 4]),
    (r#"{"view": {"pad": {"sides": [[2, 5]], "mode": "replicate"}}}"#, &[2, 3, 4]),
    (r#"{"view": {"pad": {"sides": [[3, 4]], "mode": "circular"}}}"#, &[2, 3, 4]),
    (
        r#"{"resize": {"input": [3, 4], "output": [5, 9], "interpolation": "linear", "corners": "half_pixel"}}"#,
        &[2, 2, 3, 4],
    ),
    (r#"{"resize": {"input": [5], "output": [3], "interpolation": "linear", "corners": "align"}}"#, &[2, 5]),
    (
        r#"{"resize": {"input": [2, 3, 2], "output": [4, 4, 4], "interpolation": "linear", "corners": "asymmetric"}}"#,
        &[2, 2, 3, 2],
    ),
    (
        r#"{"resize": {"input": [3, 4], "output": [5, 9], "interpolation": "nearest", "corners": "half_pixel"}}"#,
        &[2, 3, 4],
    ),
    (
        r#"{"resize": {"input": [3, 4], "output": [5, 9], "interpolation": "floor", "corners": "asymmetric"}}"#,
        &[2, 3, 4],
    ),
    (r#"{"gru": {"input_size": 3, "hidden_size": 5, "seq_length": 4}}"#, &[6, 4, 3]),
    (r#"{"gru": {"input_size": 3, "hidden_size": 130, "seq_length": 3, "bias": false}}"#, &[2, 3, 3]),
    (r#"{"gru": {"input_size": 3, "hidden_size": 5, "seq_length": 4, "reset": "before_product"}}"#, &[5, 4, 3]),
    (r#"{"rnn": {"input_size": 3, "hidden_size": 5, "seq_length": 4, "activation": "relu"}}"#, &[6, 4, 3]),
    (r#"{"onehot": {"classes": 4}}"#, &[3, 5]),
    (r#"{"softmax": {"variant": "log"}}"#, &[3, 5]),
    (
        r#"{"cnn2": {"in_channels": 4, "filters": 6, "groups": 2, "input": [5, 6], "kernel_size": [3, 2], "stride": [1, 2], "dilation": [1, 2], "padding": [[1, 0], [2, 1]], "bias": true, "activation": "hard_swish"}}"#,
        &[2, 4, 5, 6],
    ),
    (
        r#"{"cnn1": {"in_channels": 3, "filters": 3, "groups": 3, "input": [9], "kernel_size": 3, "padding": 2, "padding_mode": "reflect"}}"#,
        &[2, 3, 9],
    ),
    (
        r#"{"cnn2": {"in_channels": 2, "filters": 3, "input": [4, 5], "kernel_size": 3, "padding": [1, 2], "padding_mode": "circular", "bias": true}}"#,
        &[2, 2, 4, 5],
    ),
    (
        r#"{"convtransposed2": {"in_channels": 4, "filters": 2, "groups": 2, "input": [3, 4], "kernel_size": [2, 3], "padding": [[0, 1], [1, 1]], "stride": [2, 1], "dilation": [1, 2], "output_padding": 1, "bias": true, "activation": "elu"}}"#,
        &[2, 4, 3, 4],
    ),
    (
        r#"{"parallel": {"combine": "product", "branches": [{"layer": {"dense": {"input_dim": 4, "output_dim": 4}}}, {"layer": {"rmsnorm": {"dim": 4}}}, {"layer": {"softmax": {}}}]}}"#,
        &[3, 4],
    ),
    (
        r#"{"parallel": {"combine": "product", "branches": [{"layer": {"activation": {"function": "relu"}}}, {"layer": {"reduce": {"op": "mean", "axes": [2, 3], "keep": true}}}]}}"#,
        &[2, 3, 4, 5],
    ),
    (
        r#"{"parallel": {"axis": 1, "branches": [{"layer": {"activation": {"function": "relu"}}}, {"layer": {"reduce": {"op": "mean", "axes": [1], "keep": true}}}]}}"#,
        &[2, 3, 4, 5],
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
