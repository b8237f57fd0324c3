//! On every adapter of the machine: the device against the CPU. A machine without one has nothing
//! to test; LOOM_GPU=required makes that a failure.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::*;
use crate::dtype::{Affine, Dtype, Numerics};
use crate::layers::LayerSpec;
use crate::network::{Network, record};
use crate::role::Role;
use crate::store::{Scales, Storage, Vectors, WeightStore, Weights};
use crate::tensor::Tensor;
use crate::{CellSpec, Coord, Cpu, NetworkSpec, State, WeightTable, math};

mod kinds;
mod lone;

fn gpus(options: &Options) -> Vec<Gpu> {
    let found = adapters();
    let required = std::env::var_os("LOOM_GPU").is_some_and(|value| value == "required");
    assert!(!found.is_empty() || !required, "LOOM_GPU=required, and no adapter was found");
    if found.is_empty() {
        println!("skipped: no GPU adapter on this machine");
    }
    found.iter().map(|adapter| Gpu::open(adapter, options.clone()).expect("a device")).collect()
}

/// A stream of numbers of many sizes, all finite.
struct Numbers(u64);

impl Numbers {
    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 ^ (self.0 >> 29)
    }

    fn next(&mut self) -> f32 {
        let bits = self.bits();
        let value = ((bits >> 40) as f32 / (1u64 << 23) as f32 - 1.0) * 2f32.powi((bits % 7) as i32 - 3);
        if bits.is_multiple_of(97) { 0.0 } else { value }
    }

    fn many(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.next()).collect()
    }
}

/// A stack of layers with weights, from JSON.
fn network(layers: &[&str], seed: u64) -> Network {
    let layers: Vec<LayerSpec> = layers.iter().map(|text| serde_json::from_str(text).expect(text)).collect();
    let cells = layers.into_iter().enumerate().map(|(l, layer)| CellSpec {
        at: Coord { l, ..Coord::default() },
        disabled: false,
        input: None,
        skip: None,
        layer,
    });
    let cells: Vec<_> = cells.collect();
    let spec = NetworkSpec { depth: 1, rows: 1, cols: 1, layers_per_cell: cells.len(), cells };
    let (mut table, mut numbers) = (WeightTable::new(), Numbers(seed));
    fn fill(path: String, layer: &LayerSpec, table: &mut WeightTable, numbers: &mut Numbers) {
        let store = |shape: Vec<usize>, numbers: &mut Numbers| {
            let n = shape.iter().product();
            WeightStore::f32(shape, numbers.many(n)).expect("finite")
        };
        let weights: Weights = layer.roles().into_iter().map(|r| (r.role, store(r.shape, numbers))).collect();
        if !weights.is_empty() {
            table.insert(path.clone(), weights);
        }
        for (name, child) in layer.children() {
            if let Some(layer) = child.layer {
                fill(format!("{path}.{name}"), &layer, table, numbers);
            }
        }
    }
    for (i, cell) in spec.cells.iter().enumerate() {
        fill(format!("layers.{i}"), &cell.layer, &mut table, &mut numbers);
    }
    Network::build(spec, &mut table).expect("a network")
}

fn bits(y: &Tensor) -> Vec<u32> {
    y.data().iter().map(|v| v.to_bits()).collect()
}

/// Every bit of `calls` runs on the device is the CPU's.
fn agrees(gpu: &Gpu, network: &Network, inputs: &[Tensor], what: &str) {
    let (mut ours, mut theirs) = (GpuState::default(), State::default());
    for (call, x) in inputs.iter().enumerate() {
        let x = std::slice::from_ref(x);
        let y = gpu.run(network, x, &mut ours).unwrap_or_else(|e| panic!("{what}: {e}"));
        let expected = network.run(x, &mut theirs, &Cpu::scalar()).expect(what);
        assert_eq!(y.shape(), expected.shape(), "{what}, call {call}");
        assert_eq!(bits(&y), bits(&expected), "{what}, call {call}");
    }
}

fn tensor(shape: &[usize], seed: u64) -> Tensor {
    let n = shape.iter().product();
    Tensor::new(shape.to_vec(), Numbers(seed).many(n)).expect("a tensor")
}

/// Every code of every type, odd zero points and scales too, as an embedding's rows.
#[test]
fn every_code_decodes_as_on_the_cpu() {
    for gpu in gpus(&Options::default()) {
        let mut numbers = Numbers(11);
        for &dtype in Dtype::ALL {
            for numerics in Numerics::ALL {
                for scale in [1.0f32, 0.037, 1.7e-39, 3e20] {
                    let mut affine = dtype.affine(numerics, scale);
                    if dtype.largest_zero_point(numerics) > 0 {
                        affine.zero_point ^= 5 & dtype.largest_zero_point(numerics);
                    }
                    let mask = u64::MAX >> (64 - dtype.bits());
                    let all: Vec<u64> = match dtype.bits() {
                        ..=16 => (0..=mask).collect(),
                        _ => [0, 1, mask, mask / 2, mask / 2 + 1]
                            .into_iter()
                            .chain((0..5000).map(|_| numbers.bits() & mask))
                            .collect(),
                    };
                    let finite = |code: &u64| dtype.has(*code) && dtype.value(numerics, *code, affine).is_finite();
                    let codes: Vec<u64> = all.into_iter().filter(finite).collect();
                    decodes(&gpu, dtype, numerics, affine, &codes);
                }
            }
        }
    }
}

fn decodes(gpu: &Gpu, dtype: Dtype, numerics: Numerics, affine: Affine, codes: &[u64]) {
    let width = 7;
    let rows = codes.len().div_ceil(width);
    let padded = codes.iter().copied().chain(std::iter::repeat(codes[0])).take(rows * width);
    let bytes = dtype.pack(padded);
    let store = WeightStore::packed(dtype, numerics, vec![rows, width], Scales::Tensor(affine), bytes);
    let store = store.expect("sound codes");
    let layer = format!(r#"{{"embedding": {{"vocab_size": {rows}, "embedding_dim": {width}}}}}"#);
    let spec = NetworkSpec::stack(vec![serde_json::from_str(&layer).expect("a layer")]);
    let mut table: WeightTable = [("layers.0".to_string(), Weights::from([(Role::Weight, store)]))].into();
    let network = Network::build(spec, &mut table).expect("a network");
    let ids = Tensor::new(vec![rows], (0..rows).map(|i| i as f32).collect()).expect("ids");
    agrees(gpu, &network, &[ids], &format!("{dtype} {numerics} {affine:?}"));
}

#[test]
fn functions_of_math_have_a_twin() {
    const N: usize = 1 << 20;
    let functions: [fn(f64) -> f64; 14] = [
        math::exp,
        math::ln,
        |y| math::pow(10_000.0, y),
        math::sigmoid,
        math::tanh,
        math::gelu,
        |x| math::sin_cos(x).0,
        |x| math::sin_cos(x).1,
        math::expm1,
        |x| math::ln_1p(x.abs()),
        math::erfc,
        math::gelu_erf,
        math::softplus,
        math::mish,
    ];
    for gpu in gpus(&Options::default()) {
        if gpu.precision() == Precision::Single || !gpu.probe().expect("a probe").is_exact() {
            continue;
        }
        for (which, f) in functions.iter().enumerate() {
            let mut numbers = Numbers(which as u64 + 1);
            let edges =
                [0.0, -0.0, 1.0, -1.0, 1e-310, 709.8, -745.2, 0.17, 22.0, f64::INFINITY, f64::NEG_INFINITY, f64::NAN];
            let x: Vec<f64> = edges
                .into_iter()
                .filter(|x| !(6..8).contains(&which) || x.is_finite())
                .chain(std::iter::repeat_with(|| {
                    let spread = [1e-3, 1.0, 30.0, 700.0][(numbers.bits() % 4) as usize];
                    (numbers.bits() as f64 / 2f64.powi(63) - 1.0) * spread
                }))
                .take(N)
                .collect();
            let mut words: Vec<u32> = x.iter().flat_map(|v| [v.to_bits() as u32, (v.to_bits() >> 32) as u32]).collect();
            words.resize(4 * N, 0);
            let words =
                gpu.direct(kernel::TWIN, words, N as u32, &[0, 2 * N as u32, which as u32]).expect("a dispatch");
            for (i, x) in x.iter().enumerate() {
                let got = u64::from(words[2 * (N + i)]) | u64::from(words[2 * (N + i) + 1]) << 32;
                let (got, want) = (f64::from_bits(got), f(*x));
                assert!(
                    got.to_bits() == want.to_bits() || (got.is_nan() && want.is_nan()),
                    "function {which} of {x:e}: {got:e}, the CPU has {want:e}"
                );
            }
        }
    }
}

#[test]
fn large_weights_are_split_over_bindings() {
    for gpu in gpus(&Options { binding: Some(2048), ..Options::default() }) {
        let layers: [(&str, &[usize]); 3] = [
            (r#"{"dense": {"input_dim": 40, "output_dim": 150}}"#, &[3, 40]),
            (r#"{"embedding": {"vocab_size": 150, "embedding_dim": 40}}"#, &[9]),
            (
                r#"{"cnn1": {"in_channels": 40, "filters": 150, "input": [1], "kernel_size": 1, "bias": true}}"#,
                &[3, 40],
            ),
        ];
        for (layer, shape) in layers {
            let network = network(&[layer], 9);
            for dtype in [Dtype::Float32, Dtype::Int8, Dtype::Int2] {
                let storage = Storage { dtype, numerics: Numerics::Standard, vectors: Vectors::Float32 };
                agrees(&gpu, &network.morph(&storage).expect("in range"), &[tensor(shape, 2)], layer);
            }
        }
        let large = network(&[r#"{"dense": {"input_dim": 4, "output_dim": 4}}"#], 1);
        let error = gpu.run(&large, &[tensor(&[2000, 4], 1)], &mut GpuState::default()).expect_err("too large");
        assert!(error.to_string().contains("run fewer samples at a time"), "{error}");
    }
}

/// llvmpipe ends loops early, which no result would show.
#[test]
fn layers_with_longer_loops_than_the_driver_has_are_refused() {
    for gpu in gpus(&Options::default()).iter().filter(|gpu| gpu.limits.turns < usize::MAX) {
        let long = network(&[r#"{"lstm": {"input_size": 2, "hidden_size": 64, "seq_length": 2000}}"#], 1);
        let error = gpu.run(&long, &[tensor(&[1, 2000, 2], 1)], &mut GpuState::default()).expect_err("too long");
        assert!(error.to_string().contains("turns of loops"), "{error}");
        let fits = network(&[r#"{"lstm": {"input_size": 2, "hidden_size": 64, "seq_length": 900}}"#], 1);
        agrees(gpu, &fits, &[tensor(&[1, 900, 2], 1)], "900 steps");
    }
}

#[test]
fn more_axes_than_a_record_of_arguments_holds_are_refused() {
    let flip = network(&[r#"{"view": {"flip": {"axes": [-1]}}}"#], 1);
    for gpu in gpus(&Options::default()) {
        let of = |axes: usize| tensor(&[vec![2; 3], vec![1; axes - 4], vec![3]].concat(), 1);
        agrees(&gpu, &flip, &[of(28)], "28 axes");
        let error = gpu.run(&flip, &[of(29)], &mut GpuState::default()).expect_err("too many").to_string();
        assert!(error.contains("has 29 axes; a kernel copies at most 28"), "{error}");
    }
}

#[test]
fn more_workgroups_than_an_axis_holds() {
    for gpu in gpus(&Options::default()) {
        let network =
            network(&[r#"{"sequential": {"steps": [{"layer": {"residual": {}}}, {"layer": {"residual": {}}}]}}"#], 1);
        agrees(&gpu, &network, &[tensor(&[65_536 * 64 + 77], 1)], "4.2 million elements");
    }
}

#[test]
fn sums_are_exact_for_every_input() {
    for gpu in gpus(&Options::default()) {
        let config = Config { cases: 48, ..Config::default() };
        let inputs = (1usize..9, 1usize..40, 1usize..20, any::<u64>(), 0u32..3);
        TestRunner::new(config)
            .run(&inputs, |(rows, depth, outs, seed, kind)| {
                let layer = format!(r#"{{"dense": {{"input_dim": {depth}, "output_dim": {outs}}}}}"#);
                let network = network(&[&layer], seed);
                let mut numbers = Numbers(!seed);
                let value = |numbers: &mut Numbers| match kind {
                    0 => numbers.next(),
                    // Subnormals and the largest numbers, far apart.
                    1 => Some(f32::from_bits(numbers.bits() as u32)).filter(|v| v.is_finite()).unwrap_or(1.0),
                    _ => f32::from_bits(numbers.bits() as u32 & 0x807f_ffff),
                };
                let x = Tensor::new(vec![rows, depth], (0..rows * depth).map(|_| value(&mut numbers)).collect())
                    .expect("a tensor");
                for &dtype in Dtype::ALL {
                    for numerics in Numerics::ALL {
                        let storage = Storage { dtype, numerics, vectors: Vectors::Float32 };
                        let Ok(network) = network.morph(&storage) else { continue };
                        let ours = gpu.run(&network, std::slice::from_ref(&x), &mut GpuState::default());
                        let theirs = network.run(std::slice::from_ref(&x), &mut State::default(), &Cpu::best());
                        let (ours, theirs) = (ours.expect("a run"), theirs.expect("a run"));
                        for (a, b) in ours.data().iter().zip(theirs.data()) {
                            prop_assert!(
                                a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan()),
                                "{dtype} {numerics}: {a:e} beside {b:e}"
                            );
                        }
                    }
                }
                Ok(())
            })
            .unwrap_or_else(|e| panic!("{e}"));
    }
}

/// Shapes that go through the kernels for lone long rows and for many rows.
#[test]
fn large_products_give_the_bits_of_the_cpu() {
    for gpu in gpus(&Options::default()) {
        for [rows, depth, outs] in [[1, 1024, 70], [1, 2560, 33], [600, 50, 460], [512, 64, 512]] {
            let layer =
                format!(r#"{{"dense": {{"input_dim": {depth}, "output_dim": {outs}, "activation": "leaky_relu"}}}}"#);
            let (fresh, mut used) = (GpuState::default(), std::collections::BTreeSet::new());
            let plain = network(&[&layer], 21);
            let x = tensor(&[rows, depth], 22);
            let mut wide = x.data().to_vec();
            let tiny = wide.iter().map(|v| f32::from_bits(v.to_bits() & 0x807f_ffff)).collect();
            wide[5] = 3e38;
            wide[6] = -1e-40;
            let mut infinite = x.data().to_vec();
            infinite[7] = f32::INFINITY;
            // With weights of one: half way between two f32, where no bound decides.
            let mut tie = vec![0.0; rows * depth];
            (tie[0], tie[depth - 3]) = (1.0 + f32::EPSILON, 0.5 * f32::EPSILON);
            let inputs = [x.data().to_vec(), tie.clone(), wide, infinite, tiny, vec![0.0; rows * depth]];
            // Every rule once, and what its inputs can do on the types that have kernels of their own.
            for &dtype in Dtype::ALL {
                for numerics in Numerics::ALL {
                    let storage = Storage { dtype, numerics, vectors: Vectors::Float32 };
                    let Ok(network) = plain.morph(&storage) else { continue };
                    let tape = record(&network, std::slice::from_ref(&x), &fresh, gpu.limits()).expect("a tape");
                    used.extend(tape.ops.iter().map(|op| op.kernel));
                    let odd = [Dtype::Float16, Dtype::Int4].contains(&dtype) && rows == 1;
                    for data in &inputs[..if odd { 6 } else { 1 }] {
                        let x = Tensor::new(vec![rows, depth], data.clone()).expect("a tensor");
                        agrees(&gpu, &network, &[x], &format!("{rows}×{depth}×{outs} in {dtype} {numerics}"));
                    }
                }
            }
            if rows == 1 {
                let ones = WeightStore::f32(vec![outs, depth], vec![1.0; outs * depth]).expect("finite");
                let mut weights = plain.layers().next().expect("a layer").weights().clone();
                weights.insert(Role::Weight, ones);
                weights.insert(Role::Bias, WeightStore::f32(vec![outs], vec![0.0; outs]).expect("finite"));
                let ones = plain.with_weights(&mut |_| Ok(weights.clone())).expect("the same shapes");
                agrees(&gpu, &ones, &[Tensor::new(vec![1, depth], tie).expect("a tensor")], "a tie");
            }
            let special = if rows == 1 { &[kernel::GEMV, kernel::GEMV_NARROW][..] } else { &[kernel::GEMM] };
            let fits = rows * outs >= 1 << 18 || rows == 1;
            assert!(special.iter().all(|kernel| used.contains(kernel) == fits), "{rows}×{depth}×{outs}: {used:?}");
        }
    }
}

#[test]
fn every_kernel_translates() {
    for kernel in crate::layers::kernels() {
        for precision in [Precision::Double, Precision::Single] {
            if kernel.is_double_only() && precision == Precision::Single {
                continue;
            }
            let text = kernel.source(precision);
            for rule in super::kernel::DecodeRule::ALL {
                if let Err(e) = super::pipeline::spirv(kernel, rule, &text) {
                    panic!("{} {precision:?} {rule:?}: {e}", kernel.name());
                }
            }
        }
    }
}
