//! What real models are made of, beside the original's kinds: each held against numbers worked out by hand, or against
//! another layer that must do the same to the last bit.

use loom_core::{Network, Role, Tensor, WeightStore, WeightTable};
use serde_json::{Value, json};

use super::{fill, network, run, spec, wave};

fn tensor(shape: &[usize], data: &[f32]) -> Tensor {
    Tensor::new(shape.to_vec(), data.to_vec()).expect("a tensor")
}

/// Counts from 1.
fn counted(shape: &[usize]) -> Tensor {
    let n = shape.iter().product::<usize>();
    tensor(shape, &(1..=n).map(|i| i as f32).collect::<Vec<_>>())
}

fn of(layer: Value, x: Tensor) -> Tensor {
    run(&network(json!([layer])), x)
}

#[track_caller]
fn gives(layer: Value, x: Tensor, shape: &[usize], data: &[f32]) {
    let y = of(layer, x);
    assert_eq!((y.shape(), y.data()), (shape, data));
}

/// Two layers with the same bits; `fill` makes the weights of the second of those of the first.
#[track_caller]
fn same(one: Value, other: Value, x: &Tensor, turn: impl Fn(&[f32]) -> Vec<f32>) {
    let one = spec(json!([one]));
    let mut table = fill(&one);
    let mut turned = WeightTable::new();
    let other = spec(json!([other]));
    let shape = other.cells[0].layer.roles().into_iter().find(|role| role.role == Role::Weight).expect("weights").shape;
    let mut stores = table["layers.0"].clone();
    let weight = WeightStore::f32(shape, turn(&stores[&Role::Weight].to_f32())).expect("finite");
    stores.insert(Role::Weight, weight);
    turned.insert("layers.0".into(), stores);
    let a = run(&Network::build(one, &mut table).expect("a network"), x.clone());
    let b = run(&Network::build(other, &mut turned).expect("a network"), x.clone());
    assert_eq!(a, b);
}

#[test]
fn a_grouped_convolution_is_one_whose_other_weights_are_zero() {
    let conv = |groups: usize| json!({"cnn2": {"in_channels": 4, "filters": 6, "groups": groups, "input": [5, 6], "kernel_size": 3, "padding": 1, "stride": 2, "bias": true, "activation": "gelu_erf"}});
    same(conv(2), conv(1), &wave(&[3, 4, 5, 6]), |w| {
        let mut whole = Vec::new();
        for (f, w) in w.chunks_exact(2 * 9).enumerate() {
            let zeros = vec![0.0; 2 * 9];
            whole.extend(if f < 3 { [w, &zeros].concat() } else { [&zeros, w].concat() });
        }
        whole
    });
}

#[test]
fn a_dilated_or_rectangular_kernel_is_a_square_one_with_zeros() {
    let conv = |kernel: Value, dilation: Value, behind: usize| json!({"cnn2": {"in_channels": 2, "filters": 3, "input": [7, 6], "kernel_size": kernel, "dilation": dilation, "padding": [[2, 1], [0, behind]]}});
    same(conv(json!([2, 3]), json!([3, 1]), 2), conv(json!(4), json!(1), 3), &wave(&[2, 2, 7, 6]), |w| {
        w.chunks_exact(6)
            .flat_map(|w| {
                let mut whole = vec![0.0; 16];
                for (t, &v) in w.iter().enumerate() {
                    whole[t / 3 * 3 * 4 + t % 3] = v;
                }
                whole
            })
            .collect()
    });
    let turned = |kernel: Value, dilation: Value| json!({"convtransposed1": {"in_channels": 2, "filters": 2, "input": [5], "kernel_size": kernel, "dilation": dilation, "stride": 2, "padding": [[1, 0]]}});
    same(turned(json!(2), json!(3)), turned(json!(4), json!(1)), &wave(&[2, 2, 5]), |w| {
        w.chunks_exact(2).flat_map(|w| [w[0], 0.0, 0.0, w[1]]).collect()
    });
}

#[test]
fn a_padding_mode_is_a_view_before_the_convolution() {
    for mode in ["reflect", "replicate", "circular"] {
        let conv = json!({"cnn2": {"in_channels": 2, "filters": 3, "input": [4, 5], "kernel_size": 3, "padding": [[1, 2], [0, 3]], "padding_mode": mode}});
        let view = json!({"view": {"pad": {"sides": [[1, 2], [0, 3]], "mode": mode}}});
        let plain = json!({"cnn2": {"in_channels": 2, "filters": 3, "input": [7, 8], "kernel_size": 3}});
        let (whole, parts) = (spec(json!([conv])), spec(json!([view, plain])));
        let mut table = fill(&whole);
        let mut moved = WeightTable::from([("layers.1".into(), table["layers.0"].clone())]);
        let x = wave(&[2, 2, 4, 5]);
        let a = run(&Network::build(whole, &mut table).expect("a network"), x.clone());
        assert_eq!(a, run(&Network::build(parts, &mut moved).expect("a network"), x), "{mode}");
    }
}

#[test]
fn pools() {
    let x = || counted(&[1, 4, 4]);
    let pool = |more: Value| {
        let mut spec = json!({"op": "max", "input": [4, 4], "kernel_size": 2});
        spec.as_object_mut().expect("a map").extend(more.as_object().expect("a map").clone());
        json!({"pool": spec})
    };
    gives(pool(json!({})), x(), &[1, 2, 2], &[6.0, 8.0, 14.0, 16.0]);
    gives(pool(json!({"op": "average"})), x(), &[1, 2, 2], &[3.5, 5.5, 11.5, 13.5]);
    gives(pool(json!({"op": {"lp": 1.0}})), x(), &[1, 2, 2], &[14.0, 22.0, 46.0, 54.0]);
    // Corners see one element in four; with padding counted they divide by four all the same.
    let padded = json!({"op": "average", "padding": 1});
    gives(pool(padded), x(), &[1, 3, 3], &[1.0, 2.5, 4.0, 7.0, 8.5, 10.0, 13.0, 14.5, 16.0]);
    let counts = json!({"op": "average", "padding": 1, "count_padding": true});
    gives(pool(counts), x(), &[1, 3, 3], &[0.25, 1.25, 1.0, 3.5, 8.5, 5.0, 3.25, 7.25, 4.0]);
    // A last window that reaches out: of 3 positions behind the second window two are left.
    let line = |ceil: bool| json!({"pool": {"op": "average", "input": [5], "kernel_size": 2, "ceil": ceil}});
    gives(line(false), counted(&[1, 5]), &[1, 2], &[1.5, 3.5]);
    gives(line(true), counted(&[1, 5]), &[1, 3], &[1.5, 3.5, 5.0]);
    // One that would begin in the padding behind the input is none.
    let far =
        json!({"pool": {"op": "max", "input": [4], "kernel_size": 2, "stride": 3, "padding": [[0, 1]], "ceil": true}});
    gives(far, counted(&[1, 4]), &[1, 2], &[2.0, 4.0]);
    let dilated = json!({"pool": {"op": "max", "input": [5], "kernel_size": 2, "dilation": 3, "stride": 1}});
    gives(dilated, tensor(&[1, 5], &[9.0, 1.0, 5.0, 2.0, 3.0]), &[1, 2], &[9.0, 3.0]);
}

#[test]
fn a_mean_over_pairs_is_a_depthwise_convolution_by_a_quarter() {
    let pool = of(json!({"pool": {"op": "average", "input": [6, 4], "kernel_size": 2}}), wave(&[2, 3, 6, 4]));
    let spec = spec(
        json!([{"cnn2": {"in_channels": 3, "filters": 3, "groups": 3, "input": [6, 4], "kernel_size": 2, "stride": 2}}]),
    );
    let weight = WeightStore::f32(vec![3, 1, 2, 2], vec![0.25; 12]).expect("finite");
    let mut table = WeightTable::from([("layers.0".into(), [(Role::Weight, weight)].into())]);
    assert_eq!(pool, run(&Network::build(spec, &mut table).expect("a network"), wave(&[2, 3, 6, 4])));
}

#[test]
fn reductions_and_views() {
    let reduce = |op: &str, axes: Value| json!({"reduce": {"op": op, "axes": axes}});
    gives(reduce("sum", json!([1])), counted(&[1, 2, 3]), &[1, 3], &[5.0, 7.0, 9.0]);
    gives(reduce("mean", json!([-1])), counted(&[2, 2, 3]), &[2, 2], &[2.0, 5.0, 8.0, 11.0]);
    gives(reduce("max", json!([1, 2])), counted(&[2, 2, 3]), &[2], &[6.0, 12.0]);
    gives(reduce("min", json!([2, -2])), counted(&[2, 2, 3]), &[2], &[1.0, 7.0]);
    let view = |view: Value| json!({ "view": view });
    let x = || counted(&[1, 2, 3]);
    gives(view(json!({"transpose": {"axes": [2, 1]}})), x(), &[1, 3, 2], &[1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
    gives(view(json!({"slice": {"axis": 2, "start": -2}})), x(), &[1, 2, 2], &[2.0, 3.0, 5.0, 6.0]);
    gives(
        view(json!({"take": {"axis": 1, "positions": [1, 0, 1]}})),
        x(),
        &[1, 3, 3],
        &[4.0, 5.0, 6.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0],
    );
    gives(view(json!({"flip": {"axes": [-1]}})), x(), &[1, 2, 3], &[3.0, 2.0, 1.0, 6.0, 5.0, 4.0]);
    let pad = |mode: &str| view(json!({"pad": {"sides": [[2, 1]], "mode": mode}}));
    let line = || counted(&[1, 3]);
    gives(pad("zeros"), line(), &[1, 6], &[0.0, 0.0, 1.0, 2.0, 3.0, 0.0]);
    gives(pad("reflect"), line(), &[1, 6], &[3.0, 2.0, 1.0, 2.0, 3.0, 2.0]);
    gives(pad("replicate"), line(), &[1, 6], &[1.0, 1.0, 1.0, 2.0, 3.0, 3.0]);
    gives(pad("circular"), line(), &[1, 6], &[2.0, 3.0, 1.0, 2.0, 3.0, 1.0]);
    gives(
        json!({"onehot": {"classes": 3}}),
        tensor(&[4], &[1.0, 2.9, -0.5, 7.0]),
        &[4, 3],
        &[0.0, 1.0, 0.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0],
    );
}

#[test]
fn resizes() {
    let resize = |n: usize, out: usize, how: &str, corners: &str| json!({"resize": {"input": [n], "output": [out], "interpolation": how, "corners": corners}});
    let x = || tensor(&[1, 2], &[0.0, 8.0]);
    gives(resize(2, 4, "linear", "half_pixel"), x(), &[1, 4], &[0.0, 2.0, 6.0, 8.0]);
    gives(resize(2, 5, "linear", "align"), x(), &[1, 5], &[0.0, 2.0, 4.0, 6.0, 8.0]);
    gives(resize(2, 4, "linear", "asymmetric"), x(), &[1, 4], &[0.0, 4.0, 8.0, 8.0]);
    gives(resize(2, 4, "nearest", "half_pixel"), x(), &[1, 4], &[0.0, 0.0, 8.0, 8.0]);
    // Position 1 of 3 lies between the two elements.
    gives(resize(2, 3, "nearest", "align"), x(), &[1, 3], &[0.0, 8.0, 8.0]);
    gives(resize(2, 3, "nearest_down", "align"), x(), &[1, 3], &[0.0, 0.0, 8.0]);
    // 0, 5/3 and 10/3: PyTorch's nearest and nearest-exact take different elements.
    gives(resize(5, 3, "floor", "asymmetric"), counted(&[1, 5]), &[1, 3], &[1.0, 2.0, 4.0]);
    gives(resize(5, 3, "nearest", "half_pixel"), counted(&[1, 5]), &[1, 3], &[1.0, 3.0, 5.0]);
}

#[test]
fn products_repeat_extents_of_one_and_concat_takes_an_axis() {
    let mean = json!({"layer": {"reduce": {"op": "mean", "axes": [2], "keep": true}}});
    let same = json!({"layer": {"activation": {"function": "linear"}}});
    let gate = json!({"parallel": {"combine": "product", "branches": [same, mean]}});
    gives(gate, counted(&[1, 2, 3]), &[1, 2, 3], &[2.0, 4.0, 6.0, 20.0, 25.0, 30.0]);
    let beside = json!({"parallel": {"axis": -1, "branches": [same, mean]}});
    gives(beside, counted(&[1, 2, 3]), &[1, 2, 4], &[1.0, 2.0, 3.0, 2.0, 4.0, 5.0, 6.0, 5.0]);
    let below =
        json!({"parallel": {"axis": 1, "branches": [same, {"layer": {"view": {"slice": {"axis": 1, "stop": 1}}}}]}});
    gives(below, counted(&[2, 2, 2]), &[2, 3, 2], &[1.0, 2.0, 3.0, 4.0, 1.0, 2.0, 5.0, 6.0, 7.0, 8.0, 5.0, 6.0]);
}

#[test]
fn branches_that_do_not_fit_say_which_and_how() {
    let same = json!({"layer": {"activation": {"function": "linear"}}});
    let half = json!({"layer": {"view": {"slice": {"axis": -1, "stop": 2}}}});
    for (combine, part) in [
        ("product", "branch 1 has shape [1, 2, 2], which cannot multiply with [1, 2, 3]"),
        ("concat", "cannot concatenate"),
    ] {
        let axis = if combine == "concat" { json!(1) } else { Value::Null };
        let net = network(json!([{"parallel": {"combine": combine, "axis": axis, "branches": [same, half]}}]));
        let run = net.run(&[counted(&[1, 2, 3])], &mut loom_core::State::default(), &loom_core::Cpu::scalar());
        let error = run.expect_err("refused").to_string();
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn norms_of_planes_rows_and_kept_statistics() {
    let x = || tensor(&[1, 2, 2], &[1.0, 3.0, 10.0, 30.0]);
    let group = |groups: usize| json!({"groupnorm": {"channels": 2, "groups": groups, "input": [2], "eps": 0.0, "gamma": false, "beta": false}});
    gives(group(2), x(), &[1, 2, 2], &[-1.0, 1.0, -1.0, 1.0]);
    let y = of(group(1), x());
    assert!((y.data().iter().sum::<f32>()).abs() < 1e-6 && y.data()[0] < y.data()[2], "{y:?}");
    let rows = json!({"l2norm": {"dim": 2}});
    gives(rows, tensor(&[2, 2], &[3.0, 4.0, 0.0, 0.0]), &[2, 2], &[0.6, 0.8, 0.0, 0.0]);
    let inside = json!({"l2norm": {"dim": 2, "eps": 11.0, "guard": "inside"}});
    gives(inside, tensor(&[1, 2], &[3.0, 4.0]), &[1, 2], &[0.5, 4.0 / 6.0]);
    let spec = spec(json!([{"batchnorm": {"shape": [2, 1], "eps": 1.0}}]));
    let two = |values: [f32; 2]| WeightStore::f32(vec![2], values.to_vec()).expect("finite");
    let stores = [
        (Role::Mean, two([1.0, 20.0])),
        (Role::Variance, two([3.0, 99.0])),
        (Role::Gamma, two([2.0, 5.0])),
        (Role::Beta, two([0.5, -1.0])),
    ];
    let mut table = WeightTable::from([("layers.0".into(), stores.into())]);
    let y = run(&Network::build(spec, &mut table).expect("a network"), x());
    assert_eq!(y.data(), [0.5, 2.5, -6.0, 4.0]);
}

#[test]
fn log_softmax_is_the_logarithm_of_softmax() {
    let x = wave(&[3, 5]);
    let (log, plain) = (of(json!({"softmax": {"variant": "log"}}), x.clone()), of(json!({"softmax": {}}), x));
    for (log, plain) in log.data().iter().zip(plain.data()) {
        assert!((log - plain.ln()).abs() < 1e-6, "{log} and {plain}");
    }
    // What softmax rounds to 0 keeps its logarithm.
    gives(json!({"softmax": {"variant": "log"}}), tensor(&[1, 2], &[0.0, 2000.0]), &[1, 2], &[-2000.0, 0.0]);
}

#[test]
fn a_gain_of_one_more() {
    let plain = spec(json!([{"rmsnorm": {"dim": 4}}]));
    let offset = spec(json!([{"rmsnorm": {"dim": 4, "unit_offset": true}}]));
    let gains = |by: f32| {
        let gains = [0.25f32, -0.5, 0.0, 1.0].map(|g| g + by).to_vec();
        WeightTable::from([(
            "layers.0".into(),
            [(Role::Gamma, WeightStore::f32(vec![4], gains).expect("finite"))].into(),
        )])
    };
    let build = |spec, mut table| Network::build(spec, &mut table).expect("a network");
    assert_eq!(run(&build(plain, gains(1.0)), wave(&[3, 4])), run(&build(offset, gains(0.0)), wave(&[3, 4])));
}
