//! What the recorded vectors cannot show: the behaviour where we differ from the original on
//! purpose, and the errors.

mod real_models;
mod refusals;

use loom_core::{Cpu, Error, LayerSpec, Network, NetworkSpec, Problem, State, Tensor, WeightStore, WeightTable};
use serde_json::json;

fn spec(layers: serde_json::Value) -> NetworkSpec {
    NetworkSpec::stack(serde_json::from_value::<Vec<LayerSpec>>(layers).expect("layers"))
}

/// Fills every role of every layer with small numbers that differ.
fn fill(spec: &NetworkSpec) -> WeightTable {
    fn visit(path: String, layer: &LayerSpec, table: &mut WeightTable, seed: &mut u32) {
        let mut next = || {
            *seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (*seed >> 8) as f32 / (1 << 24) as f32 - 0.5
        };
        for role in layer.roles() {
            let n = role.shape.iter().product();
            let store = WeightStore::f32(role.shape, (0..n).map(|_| next()).collect()).expect("finite");
            table.entry(path.clone()).or_default().insert(role.role, store);
        }
        for (name, child) in layer.children() {
            if let Some(layer) = child.layer {
                visit(format!("{path}.{name}"), &layer, table, seed);
            }
        }
    }
    let (mut table, mut seed) = (WeightTable::new(), 7);
    for cell in &spec.cells {
        visit(format!("layers.{}", spec.index(cell.at).expect("inside")), &cell.layer, &mut table, &mut seed);
    }
    table
}

fn network(layers: serde_json::Value) -> Network {
    let spec = spec(layers);
    let mut table = fill(&spec);
    Network::build(spec, &mut table).expect("a network")
}

fn wave(shape: &[usize]) -> Tensor {
    let n = shape.iter().product::<usize>();
    Tensor::new(shape.to_vec(), (0..n).map(|i| (0.37 * i as f32).sin()).collect()).expect("a tensor")
}

fn run(network: &Network, x: Tensor) -> Tensor {
    network.run(&[x], &mut State::default(), &Cpu::best()).expect("a run")
}

#[test]
fn batched_attention_equals_one_sample_at_a_time() {
    for causal in [true, false] {
        let net = network(json!([{"mha": {"d_model": 8, "num_heads": 4, "num_kv_heads": 2, "causal": causal}}]));
        let x = wave(&[3, 5, 8]);
        let together = run(&net, x.clone());
        for b in 0..3 {
            let one = Tensor::new(vec![5, 8], x.data()[b * 40..][..40].to_vec()).expect("a sample");
            assert_eq!(run(&net, one).data(), &together.data()[b * 40..][..40], "sample {b}");
        }
    }
}

#[test]
fn decoding_token_by_token_equals_one_prefill_window_included() {
    for window in [None, Some(3)] {
        let net = network(json!([{"mha": {"d_model": 8, "num_heads": 2, "window": window, "qk_norm": "per_head"}}]));
        let x = wave(&[2, 7, 8]);
        let whole = run(&net, x.clone());
        let mut state = State::default();
        for s in 0..7 {
            let token: Vec<f32> = (0..2).flat_map(|b| x.data()[(b * 7 + s) * 8..][..8].to_vec()).collect();
            let token = Tensor::new(vec![2, 1, 8], token).expect("a token");
            let y = net.run(&[token], &mut state, &Cpu::best()).expect("a step");
            for b in 0..2 {
                assert_eq!(y.data()[b * 8..][..8], whole.data()[(b * 7 + s) * 8..][..8], "{window:?} {s} {b}");
            }
        }
    }
}

#[test]
fn a_window_hides_what_lies_before_it() {
    let net = network(json!([{"mha": {"d_model": 4, "num_heads": 1, "window": 2}}]));
    let x = wave(&[1, 6, 4]);
    let mut changed = x.data().to_vec();
    changed[..4].fill(9.0);
    let (a, b) = (run(&net, x), run(&net, Tensor::new(vec![1, 6, 4], changed).expect("a tensor")));
    assert_ne!(a.data()[..8], b.data()[..8]);
    assert_eq!(a.data()[8..], b.data()[8..]);
}

#[test]
fn norms_and_dense_treat_every_leading_position() {
    for layer in [
        json!({"layernorm": {"dim": 4}}),
        json!({"rmsnorm": {"dim": 4}}),
        json!({"dense": {"input_dim": 4, "output_dim": 3, "activation": "tanh"}}),
        json!({"swiglu": {"input_dim": 4, "intermediate_dim": 6}}),
    ] {
        let net = network(json!([layer]));
        let x = wave(&[2, 3, 4]);
        let y = run(&net, x.clone());
        assert_eq!(y.shape()[..2], [2, 3]);
        let flat = run(&net, Tensor::new(vec![6, 4], x.into_data()).expect("rows"));
        assert_eq!(y.data(), flat.data());
    }
}

#[test]
fn recurrent_samples_are_independent() {
    for kind in ["rnn", "lstm"] {
        let net = network(json!([{kind: {"input_size": 3, "hidden_size": 5, "seq_length": 4}}]));
        let x = wave(&[2, 4, 3]);
        let y = run(&net, x.clone());
        assert_eq!(y.shape(), [2, 4, 5]);
        let second = Tensor::new(vec![1, 4, 3], x.data()[12..].to_vec()).expect("a sample");
        assert_eq!(run(&net, second).data(), &y.data()[20..]);
    }
}

#[test]
fn softmax_by_row_and_over_everything() {
    let x = wave(&[2, 3]);
    let sums = |over: &str| {
        let y = run(&network(json!([{"softmax": {"over": over}}])), x.clone());
        y.data().chunks(3).map(|row| row.iter().sum::<f32>()).collect::<Vec<_>>()
    };
    assert!(sums("row").iter().all(|s| (s - 1.0).abs() < 1e-6));
    assert!((sums("tensor").iter().sum::<f32>() - 1.0).abs() < 1e-6);
    let mut state = State::default();
    let gumbel = network(json!([{"softmax": {"variant": "gumbel", "seed": 3}}]));
    let mut call = || gumbel.run(std::slice::from_ref(&x), &mut state, &Cpu::best()).expect("a run");
    let (first, second) = (call(), call());
    assert_ne!(first, second, "every call draws anew");
    assert_eq!(first, run(&gumbel, x.clone()), "and the same from the start");
}

#[test]
fn filter_weighs_branches_by_a_gate_row_for_each_sample() {
    let dense = |out: usize| json!({"dense": {"input_dim": 2, "output_dim": out, "bias": false}});
    let branch = json!({"layer": dense(2)});
    let spec = spec(json!([{"parallel": {"branches": [branch, branch], "combine": "filter", "gate": dense(2)}}]));
    let mut table = fill(&spec);
    let set = |table: &mut WeightTable, path: &str, values: [f32; 4]| {
        let store = WeightStore::f32(vec![2, 2], values.to_vec()).expect("finite");
        table.insert(path.into(), [(loom_core::Role::Weight, store)].into());
    };
    set(&mut table, "layers.0.parallel_branches.0", [1.0, 0.0, 0.0, 1.0]);
    set(&mut table, "layers.0.parallel_branches.1", [-1.0, 0.0, 0.0, -1.0]);
    // The gate favours the branch of the larger input, by a factor that leaves no doubt.
    set(&mut table, "layers.0.filter_gate", [100.0, 0.0, 0.0, 100.0]);
    let net = Network::build(spec, &mut table).expect("a network");
    let x = Tensor::new(vec![2, 2], vec![9.0, 1.0, 1.0, 9.0]).expect("a tensor");
    assert_eq!(run(&net, x).data(), [9.0, 1.0, -1.0, -9.0]);
}

#[test]
fn disabled_branches_and_steps_are_passed_over() {
    let dense = json!({"dense": {"input_dim": 3, "output_dim": 3}});
    let off = json!({"layer": dense, "disabled": true});
    let on = json!({"layer": dense});
    let width = |layers: serde_json::Value| run(&network(layers), wave(&[2, 3])).shape().to_vec();
    assert_eq!(width(json!([{"parallel": {"branches": [on, off]}}])), [2, 3]);
    assert_eq!(width(json!([{"parallel": {"branches": [on, on]}}])), [2, 6]);
    let x = wave(&[2, 3]);
    assert_eq!(run(&network(json!([{"parallel": {"branches": [off]}}])), x.clone()), x);
    assert_eq!(run(&network(json!([{"sequential": {"steps": [off]}}])), x.clone()), x);
}

#[test]
fn transposed_convolution_is_the_adjoint_of_convolution() {
    // <conv x, y> = <x, conv^T y> with W[f,c] and W[c,f] of one channel each.
    let conv = network(
        json!([{"cnn2": {"in_channels": 1, "filters": 1, "input": [5, 6], "kernel_size": 3, "stride": 2, "padding": 1}}]),
    );
    let mut table =
        WeightTable::from([("layers.0".to_string(), conv.layers().next().expect("a layer").weights().clone())]);
    let spec = spec(
        json!([{"convtransposed2": {"in_channels": 1, "filters": 1, "input": [3, 3], "kernel_size": 3, "stride": 2, "padding": 1, "output": [5, 6]}}]),
    );
    let transposed = Network::build(spec, &mut table).expect("a network");
    let (x, y) = (wave(&[1, 1, 5, 6]), wave(&[1, 1, 3, 3]));
    let dot =
        |a: &Tensor, b: &Tensor| a.data().iter().zip(b.data()).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    let (left, right) = (dot(&run(&conv, x.clone()), &y), dot(&x, &run(&transposed, y.clone())));
    assert!((left - right).abs() < 1e-5, "{left} and {right}");
    let padded = network(
        json!([{"convtransposed1": {"in_channels": 2, "filters": 3, "input": [4], "kernel_size": 3, "stride": 2, "padding": 1, "output_padding": 1}}]),
    );
    assert_eq!(run(&padded, wave(&[1, 2, 4])).shape(), [1, 3, 8]);
}

#[test]
fn cells_read_and_add_network_inputs() {
    let mut spec = spec(json!([{"residual": {}}, {"dense": {"input_dim": 2, "output_dim": 2}}, {"residual": {}}]));
    spec.cells[0].skip = Some(1);
    spec.cells[1].disabled = true;
    spec.cells[2].input = Some(1);
    spec.cells[2].skip = Some(0);
    let mut table = fill(&spec);
    let net = Network::build(spec, &mut table).expect("a network");
    let inputs = [wave(&[1, 2]), Tensor::new(vec![1, 2], vec![10.0, 20.0]).expect("a tensor")];
    let y = net.run(&inputs, &mut State::default(), &Cpu::scalar()).expect("a run");
    assert_eq!(y.data(), [10.0, 20.0 + 0.37f32.sin()]);
    let error = net.run(&inputs[..1], &mut State::default(), &Cpu::scalar()).expect_err("an input is missing");
    let missing = Problem::NoInput { index: 1, given: 1 };
    assert!(matches!(&error, Error::Layer { problem, .. } if **problem == missing), "{error}");
}

#[test]
fn two_links_to_one_attention_layer_decode_alike() {
    let link = json!({"link": {"z": 0, "y": 0, "x": 0, "l": 0}});
    let mut spec = spec(json!([{"mha": {"d_model": 4, "num_heads": 2}}, {"parallel": {"branches": [link, link]}}]));
    spec.cells[0].disabled = true;
    let mut table = fill(&spec);
    let net = Network::build(spec, &mut table).expect("a network");
    let mut state = State::default();
    for s in 0..4 {
        let x = Tensor::new(vec![1, 1, 4], (0..4).map(|i| (s * 4 + i) as f32 * 0.1).collect()).expect("a token");
        let y = net.run(&[x], &mut state, &Cpu::best()).expect("a step");
        assert_eq!(y.data()[..4], y.data()[4..], "step {s}");
    }
}

#[test]
fn a_sum_that_is_not_a_number_has_the_same_bits_on_every_path() {
    let net = network(json!([{"dense": {"input_dim": 4, "output_dim": 3, "bias": false}}]));
    for x in [
        [f32::INFINITY, f32::NEG_INFINITY, f32::from_bits(0x7fc0_0005), 0.0],
        [f32::from_bits(0xffc0_0002), 1.0, 1.0, 1.0],
    ] {
        let x = Tensor::new(vec![1, 4], x.to_vec()).expect("a tensor");
        let bits = |cpu: Cpu| -> Vec<u32> {
            let y = net.run(std::slice::from_ref(&x), &mut State::default(), &cpu).expect("a run");
            y.data().iter().map(|v| v.to_bits()).collect()
        };
        assert_eq!(bits(Cpu::scalar()), bits(Cpu::best()));
    }
}

#[test]
fn empty_batches_give_empty_outputs() {
    for (layer, width) in [
        (json!({"dense": {"input_dim": 2, "output_dim": 3}}), 2),
        (json!({"mha": {"d_model": 2, "num_heads": 1}}), 2),
        (json!({"lstm": {"input_size": 2, "hidden_size": 3, "seq_length": 1_000_000}}), 2_000_000),
        (json!({"parallel": {"branches": [{"layer": {"residual": {}}}]}}), 2),
        (json!({"cnn1": {"in_channels": 1, "filters": 1, "input": [2], "kernel_size": 2}}), 2),
    ] {
        let empty = Tensor::new(vec![0, width], Vec::new()).expect("nothing");
        assert!(run(&network(json!([layer])), empty).is_empty());
    }
}

/// Shapes that hold whole units, but of elements that belong to other samples.
#[test]
fn elements_do_not_move_between_samples() {
    let cases = [
        (json!({"dense": {"input_dim": 3, "output_dim": 2}}), vec![vec![3, 3], vec![3], vec![1, 3], vec![2, 5, 3]]),
        (json!({"rmsnorm": {"dim": 3}}), vec![vec![3, 3], vec![3], vec![2, 1, 3], vec![2, 3, 1]]),
        (json!({"layernorm": {"dim": 3}}), vec![vec![3, 3], vec![3], vec![2, 1, 3]]),
        (json!({"swiglu": {"input_dim": 3, "intermediate_dim": 4}}), vec![vec![3, 3], vec![3], vec![2, 5, 3]]),
        (json!({"kmeans": {"input_dim": 3, "num_clusters": 2}}), vec![vec![3, 3], vec![3]]),
        (json!({"mha": {"d_model": 3, "num_heads": 1}}), vec![vec![3, 3], vec![3], vec![2, 4, 3]]),
        (
            json!({"rnn": {"input_size": 3, "hidden_size": 2, "seq_length": 1}}),
            vec![vec![3, 3], vec![3], vec![2, 1, 3]],
        ),
        (
            json!({"lstm": {"input_size": 1, "hidden_size": 2, "seq_length": 3}}),
            vec![vec![2, 3], vec![2, 3, 1], vec![3], vec![3, 1]],
        ),
        (
            json!({"cnn1": {"in_channels": 1, "filters": 2, "input": [3], "kernel_size": 2}}),
            vec![vec![2, 3], vec![2, 1, 3], vec![3]],
        ),
        (
            json!({"convtransposed1": {"in_channels": 1, "filters": 2, "input": [3], "kernel_size": 2}}),
            vec![vec![2, 3], vec![2, 1, 3], vec![3]],
        ),
    ];
    for (layer, good) in cases {
        let net = network(json!([layer]));
        for shape in &good {
            let y = net.run(&[wave(shape)], &mut State::default(), &Cpu::scalar());
            let y = y.unwrap_or_else(|e| panic!("{layer} of {shape:?}: {e}"));
            assert!(!y.is_empty(), "{layer} of {shape:?}");
        }
        for shape in [vec![3, 2], vec![3, 1], vec![2, 6], vec![6], vec![3, 0], vec![0], vec![2, 3, 2], vec![6, 1]] {
            // Three steps of one feature are a sequence.
            if good.contains(&shape) {
                continue;
            }
            let y = net.run(&[wave(&shape)], &mut State::default(), &Cpu::scalar());
            let error = y.expect_err(&format!("{layer} took {shape:?}")).to_string();
            assert!(error.contains(&format!("{shape:?}")) && error.contains("3"), "{error}");
        }
    }
    // Flat samples of a batch stay samples of that batch.
    let net = network(json!([
        {"cnn2": {"in_channels": 2, "filters": 3, "input": [4, 4], "kernel_size": 3}},
        {"dense": {"input_dim": 12, "output_dim": 10}},
        {"dense": {"input_dim": 10, "output_dim": 10}},
    ]));
    assert_eq!(run(&net, wave(&[5, 32])).shape(), [5, 10]);
    assert_eq!(run(&net, wave(&[5, 2, 4, 4])).shape(), [5, 10]);
}
