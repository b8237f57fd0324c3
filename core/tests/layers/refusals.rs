//! What is refused, and in which words.

use loom_core::{Cpu, Error, LayerSpec, Network, NetworkSpec, Problem, State, WeightStore, WeightTable};
use serde_json::json;

use super::{fill, network, spec, wave};

#[track_caller]
fn refused(spec: NetworkSpec, table: Option<WeightTable>, part: &str) {
    let mut table = table.unwrap_or_else(|| fill(&spec));
    let error = Network::build(spec, &mut table).expect_err("refused").to_string();
    assert!(error.contains(part), "{error}");
}

#[test]
fn grids_are_filled_exactly() {
    let dense = json!([{"dense": {"input_dim": 2, "output_dim": 2}}, {"residual": {}}]);
    let mut twice = spec(dense.clone());
    twice.cells[1].at.l = 0;
    refused(twice, Some(WeightTable::new()), "grid position (0,0,0,0): holds two layers");
    let mut outside = spec(dense.clone());
    outside.cells[1].at.z = 1;
    refused(outside, Some(WeightTable::new()), "(1,0,0,1): lies outside the grid");
    let mut missing = spec(dense.clone());
    missing.cols = 2;
    refused(missing, Some(WeightTable::new()), "(0,0,1,0): has no layer");
    let mut huge = spec(dense.clone());
    (huge.depth, huge.rows, huge.cols) = (usize::MAX, usize::MAX, 3);
    refused(huge, Some(WeightTable::new()), "their product must fit");
    let mut empty = spec(dense);
    empty.rows = 0;
    refused(empty, Some(WeightTable::new()), "every extent must be at least 1");
}

#[test]
fn errors_carry_the_coordinate_and_say_what_was_expected() {
    let dense = json!([{"residual": {}}, {"dense": {"input_dim": 2, "output_dim": 3}}]);
    refused(
        spec(dense.clone()),
        Some(WeightTable::new()),
        "dense at (0,0,0,1) (layers.1): no weight weights; expected shape [3, 2]",
    );
    let mut wrong = fill(&spec(dense.clone()));
    let stores = wrong.get_mut("layers.1").expect("stores");
    stores.insert(loom_core::Role::Bias, WeightStore::f32(vec![2], vec![0.0; 2]).expect("finite"));
    refused(spec(dense.clone()), Some(wrong), "bias has shape [2]; expected [3]");
    let mut stray = fill(&spec(dense.clone()));
    stray.insert("layers.7".into(), stray["layers.1"].clone());
    refused(spec(dense.clone()), Some(stray), "\"layers.7\", but no layer has that path");
    let mut extra = fill(&spec(dense.clone()));
    extra.insert("layers.0".into(), extra["layers.1"].clone());
    refused(spec(dense.clone()), Some(extra), "residual at (0,0,0,0) (layers.0): has no weight weights");
    let net = network(dense);
    let error = net.run(&[wave(&[3])], &mut State::default(), &Cpu::scalar()).expect_err("refused").to_string();
    assert!(error.contains("(0,0,0,1)") && error.contains("[3] is no batch of rows (2 elements each)"), "{error}");
    assert!(WeightStore::f32(vec![2], vec![1.0, f32::NAN]).expect_err("NaN").to_string().contains("element 1 is NaN"));
}

#[test]
fn configurations_that_contradict_themselves() {
    let bad = [
        (json!([{"mha": {"d_model": 8, "num_heads": 3}}]), "give head_dim"),
        (json!([{"mha": {"d_model": 8, "num_heads": 4, "num_kv_heads": 3}}]), "not a multiple of num_kv_heads"),
        (json!([{"mha": {"d_model": 8, "num_heads": 4, "causal": false, "window": 2}}]), "a window needs causal"),
        (
            json!([{"cnn2": {"in_channels": 1, "filters": 1, "input": [4], "kernel_size": 2}}]),
            "expected 2 extents from 1",
        ),
        (
            json!([{"cnn1": {"in_channels": 1, "filters": 1, "input": [4], "kernel_size": 7}}]),
            "a window reaches over 7 positions, and an axis of 4 has 4",
        ),
        (
            json!([{"cnn1": {"in_channels": 1, "filters": 1, "input": [4], "kernel_size": 2, "stride": 0}}]),
            "stride is 0",
        ),
        (json!([{"layernorm": {"dim": 4, "eps": -1.0}}]), "eps is -1"),
        (json!([{"softmax": {"temperature": 0.0}}]), "temperature is 0"),
        (json!([{"parallel": {"branches": [], "combine": "filter"}}]), "needs a gate"),
        (
            json!([{"cnn1": {"in_channels": 3, "filters": 2, "input": [4], "kernel_size": 2, "groups": 2}}]),
            "in_channels is 3, which 2 groups do not divide",
        ),
        (
            json!([{"cnn2": {"in_channels": 1, "filters": 1, "input": [4, 4], "kernel_size": [2, 2, 2]}}]),
            "kernel_size is [2, 2, 2]; expected 2 extents",
        ),
        (
            json!([{"cnn2": {"in_channels": 1, "filters": 1, "input": [4, 4], "kernel_size": 2, "padding": [[1, 0]]}}]),
            "padding is [1, 0]; expected a number, or one or two for each of 2 axes",
        ),
        (
            json!([{"cnn1": {"in_channels": 1, "filters": 1, "input": [3], "kernel_size": 2, "padding": 3, "padding_mode": "reflect"}}]),
            "padding of 3 by its own elements does not fit an axis of 3",
        ),
        (json!([{"activation": {"function": {"clip": {"min": 2.0, "max": 1.0}}}}]), "min is 2; it must be at most max"),
        (json!([{"activation": {"function": {"softplus": {"beta": 0.0}}}}]), "beta is 0"),
        (json!([{"affine": {"shape": []}}]), "shape is []"),
        (json!([{"groupnorm": {"channels": 5, "groups": 2}}]), "channels is 5, which 2 groups do not divide"),
        (json!([{"pool": {"op": "max", "input": [2, 2, 2, 2], "kernel_size": 1}}]), "expected 3 extents"),
        (json!([{"pool": {"op": {"lp": -1.0}, "input": [4], "kernel_size": 2}}]), "lp is -1"),
        (json!([{"reduce": {"op": "mean", "axes": [0]}}]), "axis 0 is the batch"),
        (json!([{"view": {"reshape": {"shape": [-1, -1]}}}]), "of whose extents one may be -1"),
        (json!([{"view": {"slice": {"axis": 1, "step": 0}}}]), "step is 0"),
        (
            json!([{"resize": {"input": [2], "output": [0], "interpolation": "linear", "corners": "align"}}]),
            "output is [0]",
        ),
        (
            json!([{"parallel": {"branches": [], "combine": "add", "axis": 1}}]),
            "an axis is only used with combine: concat",
        ),
        (json!([{"sequential": {"steps": [{}]}}]), "either `layer` or `link`"),
        (json!([{"sequential": {"steps": [{"link": {"z": 0, "y": 0, "x": 0, "l": 9}}]}}]), "outside the grid"),
        (json!([{"sequential": {"steps": [{"link": {"z": 0, "y": 0, "x": 0, "l": 0}}]}}]), "circle"),
    ];
    for (layers, part) in bad {
        refused(spec(layers), Some(WeightTable::new()), part);
    }
    assert!(
        serde_json::from_str::<LayerSpec>(r#"{"dense": {"input_dim": 1, "output_dim": 1, "biass": true}}"#).is_err()
    );
    assert!(serde_json::from_str::<LayerSpec>(r#"{"denze": {}}"#).is_err());
    for (layer, part) in [
        (r#"{"activation": {"function": "gelu_err"}}"#, "unknown variant `gelu_err`, expected one of `linear`"),
        (r#"{"activation": {"function": {"elu": {"beta": 1}}}}"#, "unknown field `beta`, expected `alpha`"),
        (r#"{"activation": {"function": 3}}"#, "expected the name of an activation, or its name with its numbers"),
        (
            r#"{"pool": {"op": "max", "input": [4], "kernel_size": "3"}}"#,
            "expected a number, or a list with one for each axis",
        ),
        (
            r#"{"pool": {"op": "max", "input": [4], "kernel_size": 3, "padding": [[1, 2, 3]]}}"#,
            "expected a number, or two: before and behind",
        ),
    ] {
        let error = serde_json::from_str::<LayerSpec>(layer).expect_err(layer).to_string();
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn a_rule_that_cannot_be_applied_is_an_error_not_a_broken_layer() {
    let rule = json!({"condition": "std_above", "threshold": 0.0, "command": "reset_to_identity"});
    let observed = json!({"dense": {"input_dim": 3, "output_dim": 2}});
    let net = network(json!([{"metacognition": {"observed": observed, "rules": [rule]}}]));
    let error = net.run(&[wave(&[2, 3])], &mut State::default(), &Cpu::scalar()).expect_err("refused").to_string();
    assert!(error.contains("rule 0") && error.contains("cannot be applied to a dense layer"), "{error}");
}

#[test]
fn absurd_sizes_are_refused_before_anything_is_computed() {
    let huge = 1u64 << 61;
    let bad = [
        json!({"dense": {"input_dim": huge, "output_dim": huge}}),
        json!({"dense": {"input_dim": 1 << 20, "output_dim": 1 << 20}}),
        json!({"layernorm": {"dim": huge}}),
        json!({"embedding": {"vocab_size": huge, "embedding_dim": 4}}),
        json!({"mha": {"d_model": 4, "num_heads": 1, "seq_length": huge + 4}}),
        json!({"mha": {"d_model": 4, "num_heads": 2, "head_dim": huge * 4}}),
        json!({"lstm": {"input_size": 2, "hidden_size": 2, "seq_length": huge}}),
        json!({"rnn": {"input_size": 2, "hidden_size": huge, "seq_length": 2}}),
        json!({"swiglu": {"input_dim": 2, "intermediate_dim": huge}}),
        json!({"kmeans": {"num_clusters": huge, "input_dim": 2}}),
        json!({"cnn1": {"in_channels": 1, "filters": 1, "input": [4], "kernel_size": 2, "padding": huge * 4}}),
        json!({"cnn1": {"in_channels": 1, "filters": 1, "input": [4], "kernel_size": 2, "output": [10_995_116_277_760u64]}}),
        json!({"cnn3": {"in_channels": 1, "filters": 1, "input": [4, 4, 4], "kernel_size": 1 << 22, "padding": 1 << 22}}),
        json!({"convtransposed1": {"in_channels": 1, "filters": 1, "input": [4], "kernel_size": 2, "output_padding": huge}}),
        json!({"cnn1": {"in_channels": 1, "filters": 1, "input": [4], "kernel_size": [huge], "dilation": [huge], "padding": [[huge, huge]]}}),
        json!({"affine": {"shape": [huge, huge]}}),
        json!({"groupnorm": {"channels": huge, "groups": 1, "input": [huge]}}),
        json!({"pool": {"op": "average", "input": [1 << 29, 4], "kernel_size": 1 << 29, "padding": 1 << 29}}),
        json!({"pool": {"op": "max", "input": [4], "kernel_size": 2, "dilation": huge, "padding": huge}}),
        json!({"view": {"pad": {"sides": [[huge, 0]]}}}),
        json!({"view": {"reshape": {"shape": [huge]}}}),
        json!({"resize": {"input": [4], "output": [huge], "interpolation": "linear", "corners": "align"}}),
        json!({"onehot": {"classes": huge}}),
        json!({"convtransposed1": {"in_channels": 1, "filters": 1, "input": [4], "kernel_size": 2, "stride": huge * 4 + 1}}),
    ];
    for layer in bad {
        let layer: LayerSpec = serde_json::from_value(layer).expect("a layer");
        assert!(layer.check().is_err(), "{layer:?}");
        let _ = (layer.roles(), layer.terms());
    }
}

#[test]
fn links_that_double_at_every_cell_are_refused() {
    let link = |l: usize| json!({"link": {"z": 0, "y": 0, "x": 0, "l": l}});
    let mut layers = vec![json!({"residual": {}})];
    layers.extend((0..40).map(|l| json!({"parallel": {"branches": [link(l), link(l)], "combine": "add"}})));
    refused(spec(json!(layers)), Some(WeightTable::new()), "unfold into more than");
}

#[test]
fn a_state_belongs_to_one_network() {
    let (a, b) = (
        network(json!([{"mha": {"d_model": 4, "num_heads": 1}}])),
        network(json!([{"mha": {"d_model": 6, "num_heads": 1}}])),
    );
    let mut state = State::default();
    a.run(&[wave(&[1, 1, 4])], &mut state, &Cpu::scalar()).expect("a run");
    assert_eq!(b.run(&[wave(&[1, 1, 6])], &mut state, &Cpu::scalar()), Err(Error::ForeignState));
}

#[test]
fn inputs_that_no_cell_reads_are_refused() {
    let net = network(json!([{"dense": {"input_dim": 2, "output_dim": 2}}]));
    let inputs = [wave(&[1, 2]), wave(&[1, 2])];
    let error = net.run(&inputs, &mut State::default(), &Cpu::scalar()).expect_err("two inputs for a network of one");
    assert_eq!(error, Error::Inputs { given: 2, reads: 1 });
    assert_eq!(net.inputs(), 1);
}

/// Small networks that ask for more elements than can be had.
#[test]
fn runs_hold_no_more_elements_than_they_may() {
    let twice = json!({"parallel": {"branches": [{"layer": {"residual": {}}}, {"layer": {"residual": {}}}]}});
    let wide = |layer: serde_json::Value| network(json!([layer]));
    let cases = [
        (network(serde_json::Value::Array(vec![twice.clone(); 60])), vec![1, 4]),
        (network(json!([{"sequential": {"steps": vec![json!({"layer": twice.clone()}); 60]}}])), vec![1, 4]),
        (
            wide(
                json!({"cnn1": {"in_channels": 1, "filters": 1, "input": [1], "kernel_size": 1, "output": [1 << 30]}}),
            ),
            vec![1, 1],
        ),
        (
            wide(json!({"convtransposed1":
                {"in_channels": 1, "filters": 1, "input": [1], "kernel_size": 1, "output": [1 << 30]}})),
            vec![1, 1],
        ),
        (
            wide(json!({"metacognition": {
                "observed": {"rmsnorm": {"dim": 1 << 15}},
                "rules": [{"condition": "max_above", "threshold": -1.0, "command": "become_dense", "cooldown": 0}],
            }})),
            vec![1, 1 << 15],
        ),
        (wide(json!({"embedding": {"vocab_size": 1, "embedding_dim": 1 << 20}})), vec![1, 4096]),
        (wide(json!({"dense": {"input_dim": 1, "output_dim": 1 << 20}})), vec![4096, 1]),
        (wide(json!({"kmeans": {"input_dim": 1, "num_clusters": 1 << 20}})), vec![4096, 1]),
        (wide(json!({"mha": {"d_model": 1, "num_heads": 1}})), vec![1, 1 << 20, 1]),
        (wide(json!({"swiglu": {"input_dim": 1, "intermediate_dim": 1 << 20}})), vec![4096, 1]),
        (wide(json!({"lstm": {"input_size": 1, "hidden_size": 1 << 10, "seq_length": 1 << 18}})), vec![1, 1 << 18]),
    ];
    for (net, shape) in cases {
        let start = std::time::Instant::now();
        let error = net.run(&[wave(&shape)], &mut State::default(), &Cpu::best()).expect_err("too much");
        let Error::Layer { problem, .. } = &error else { panic!("{error}") };
        assert!(matches!(**problem, Problem::Room { most: State::ELEMENTS, .. }), "{error}");
        assert!(start.elapsed().as_secs() < 60, "{error}");
    }
    let net = network(serde_json::Value::Array(vec![twice; 3]));
    let mut state = State::default();
    state.allow(63);
    assert!(net.run(&[wave(&[1, 4])], &mut state, &Cpu::scalar()).is_err());
    state.allow(1 << 10);
    assert_eq!(net.run(&[wave(&[1, 4])], &mut state, &Cpu::scalar()).expect("allowed").len(), 32);
}
