//! The kernel of lone rows: what it proves of a sum, and what it does where it cannot.

use super::*;

fn in_dtype(network: &Network, dtype: Dtype) -> Network {
    let storage = Storage { dtype, numerics: Numerics::Standard, vectors: Vectors::Float32 };
    network.morph(&storage).expect("weights within the type's range")
}

/// A dense layer without a bias; `w` row by row.
fn dense(depth: usize, w: Vec<f32>) -> Network {
    let outs = w.len() / depth;
    let weights = Weights::from([(Role::Weight, WeightStore::f32(vec![outs, depth], w).expect("finite"))]);
    let layer = format!(r#"{{"dense": {{"input_dim": {depth}, "output_dim": {outs}, "bias": false}}}}"#);
    network(&[&layer], 1).with_weights(&mut |_| Ok(weights.clone())).expect("the same shapes")
}

/// Rows whose rounding is hard to prove, or cannot be, through the kernel of lone rows. By what the
/// products of an output are: sums on both sides of 0, of exactly 0, half way between two f32, growing
/// and shrinking over many binades, of equal terms, of subnormals, falling at once to far below its ulp.
#[test]
fn lone_rows_that_are_hard_to_round_give_the_bits_of_the_cpu() {
    const DEPTH: usize = 4608;
    const FALLEN: f32 = 12.0 * f32::EPSILON;
    let term = |o: usize, k: usize, r: f32| match o % 13 {
        0 => r,
        1 => {
            if k.is_multiple_of(2) {
                0.3
            } else {
                -0.3
            }
        }
        2 => {
            if k < DEPTH / 2 {
                0.75
            } else {
                -0.75
            }
        }
        3 => [1.0, 1.0, -2.0][k % 3],
        4 => [1.0 + f32::EPSILON, 0.5 * f32::EPSILON, 0.0][k.min(2)],
        5 => [1.0 + f32::EPSILON, 0.5 * f32::EPSILON, r * 2f32.powi(-70)][k.min(2)],
        6 => r * 2f32.powi((k * 60 / DEPTH) as i32 - 30),
        7 => r * 2f32.powi(30 - (k * 60 / DEPTH) as i32),
        8 => r * 2f32.powi((k * 7 % 23) as i32 - 11),
        9 => 0.1,
        10 => f32::from_bits(r.to_bits() & 0x807f_ffff),
        11 => match k {
            0 => 1.25,
            40 => -1.25 + FALLEN,
            41 => r * 2f32.powi(-50),
            70 => -FALLEN,
            _ => 0.0,
        },
        _ => {
            if k % 512 == 511 {
                r
            } else {
                -0.0
            }
        }
    };
    let mut numbers = Numbers(5);
    let random = numbers.many(96 * DEPTH);
    let w: Vec<f32> = (0..96 * DEPTH).map(|i| term(i / DEPTH, i % DEPTH, random[i])).collect();
    let plain = dense(DEPTH, w.clone());
    let within = dense(DEPTH, w.into_iter().map(|w| w.clamp(-6e4, 6e4)).collect());
    let networks = [
        in_dtype(&plain, Dtype::Float32),
        in_dtype(&plain, Dtype::BFloat16),
        // Whose largest number is 65,504.
        in_dtype(&within, Dtype::Float16),
    ];
    let ones = Tensor::new(vec![1, DEPTH], vec![1.0; DEPTH]).expect("a tensor");
    for gpu in gpus(&Options::default()) {
        let alike = (0..DEPTH).map(|k| if k % 3 == 0 { -1.5 } else { 0.75 }).collect();
        let tiny = numbers.many(DEPTH).into_iter().map(|v| v * 1e-38).collect();
        let large = numbers.many(DEPTH).into_iter().map(|v| v * 1e37).collect();
        let mut not = numbers.many(DEPTH);
        not[DEPTH - 1] = f32::NAN;
        for (i, x) in [alike, numbers.many(DEPTH), tiny, large, not, vec![-0.0; DEPTH]].into_iter().enumerate() {
            let x = [ones.clone(), Tensor::new(vec![1, DEPTH], x).expect("a tensor")];
            for (which, network) in networks.iter().enumerate() {
                agrees(&gpu, network, &x, &format!("x {i}, network {which}"));
            }
        }
    }
    // Nothing is proved of a sum of 0 or half way between two f32: a fault in what comes then shows.
    let fault: Edit = |_, text| text.replace("put(o, state);", "put(o, state + 1.0lf);");
    for gpu in gpus(&Options { edit: Some(fault), ..Options::default() }) {
        let ours = gpu.run(&plain, std::slice::from_ref(&ones), &mut GpuState::default()).expect("a run");
        let theirs = plain.run(std::slice::from_ref(&ones), &mut State::default(), &Cpu::best()).expect("a run");
        for o in [1, 4] {
            assert_ne!(ours.data()[o].to_bits(), theirs.data()[o].to_bits(), "output {o}");
        }
    }
}

/// Every sum as if nothing were proved.
#[test]
fn lone_rows_without_a_proof_are_summed_in_order() {
    const PROVED: &str = "if (sound && ";
    assert!(kernel::GEMV.source(Precision::Double).contains(PROVED));
    let edit: Edit = |_, text| text.replace(PROVED, "if (bound < 0.0 && ");
    let long = network(&[r#"{"dense": {"input_dim": 8192, "output_dim": 64}}"#], 3);
    let short = [Dtype::BFloat16, Dtype::Float16].map(|dtype| in_dtype(&long, dtype));
    // A recurrent layer asks for the sums themselves.
    let sums = network(&[r#"{"rnn": {"input_size": 1024, "hidden_size": 40, "seq_length": 1}}"#], 5);
    for gpu in gpus(&Options { edit: Some(edit), ..Options::default() }) {
        for network in short.iter().chain([&long]) {
            agrees(&gpu, network, &[tensor(&[1, 8192], 4), tensor(&[1, 8192], 5)], "in order");
        }
        agrees(&gpu, &sums, &[tensor(&[1, 1, 1024], 6)], "sums");
    }
}

/// How many ulps of f64 the CPU's sums of [`near_ties`] lie beside the midpoint of two f32, in turn.
const BESIDE: [i64; 8] = [0, 3, -8, 15, -25, 40, -2000, 2500];

/// What errs in the sums of [`near_ties`].
#[derive(Clone, Copy, PartialEq)]
enum Errs {
    /// A quarter of the terms, each an odd number of half ulps.
    Small,
    /// Every third sum, which rises to another binade, mostly from an odd number of ulps.
    Rises,
}

/// A row, and weights of 8 bits that bring the CPU's sum of each output, which lies between 1 and 2, to
/// [`BESIDE`] a midpoint.
fn near_ties(errs: Errs) -> (Network, Tensor) {
    const DEPTH: usize = 4608;
    const OUTS: usize = 96;
    const DIGITS: usize = 4;
    let mut numbers = Numbers(7);
    let mut unit = || (numbers.bits() >> 40) as f32 / (1u64 << 23) as f32 - 1.0;
    let mut x: Vec<f32> = match errs {
        Errs::Small => (0..DEPTH).map(|k| if k % 4 == 1 { 2f32.powi(-43) } else { unit() }).collect(),
        Errs::Rises => [2f32.powi(-42), 0.25, -0.25].into_iter().cycle().take(DEPTH).collect(),
    };
    let (body, tail) = x.split_at_mut(DEPTH - DIGITS);
    body[0] = 1.0;
    // The last rise has no fall.
    body[DEPTH - DIGITS - 1] = 0.0;
    tail.iter_mut().enumerate().for_each(|(i, x)| *x = 2f32.powi(8 * i as i32 - 42));
    let mut w = Vec::with_capacity(OUTS * DEPTH);
    for o in 0..OUTS {
        let row = w.len();
        w.push(if errs == Errs::Small { 1.5 } else { 1.898_437_5 });
        w.extend((1..body.len()).map(|k| match errs {
            Errs::Small if k % 4 != 1 => (unit() * 127.0).round() * 2f32.powi(-15),
            Errs::Rises if k % 3 != 0 => 1.0,
            _ => ((unit() * 63.0).round() * 2.0 + 1.0) * 2f32.powi(-10),
        }));
        let sum = body.iter().zip(&w[row..]).fold(0.0, |sum, (&x, &w)| sum + f64::from(x) * f64::from(w));
        let spacing = f64::from(f32::EPSILON);
        let midpoint = ((sum / spacing).floor() + 0.5) * spacing;
        // A multiple of the ulp, in digits that the tail weighs.
        let mut left = ((midpoint - sum) / f64::EPSILON) as i64 + BESIDE[o % BESIDE.len()];
        for _ in 0..DIGITS {
            let digit = (left + 128).rem_euclid(256) - 128;
            w.push(digit as f32 * 2f32.powi(-10));
            left = (left - digit) / 256;
        }
    }
    (dense(DEPTH, w), Tensor::new(vec![1, DEPTH], x).expect("a tensor"))
}

#[test]
fn lone_rows_near_a_tie_give_the_bits_of_the_cpu() {
    for errs in [Errs::Small, Errs::Rises] {
        let (network, x) = near_ties(errs);
        for gpu in gpus(&Options::default()) {
            for dtype in [Dtype::BFloat16, Dtype::Float16, Dtype::Float32] {
                agrees(&gpu, &in_dtype(&network, dtype), std::slice::from_ref(&x), &format!("near a tie in {dtype}"));
            }
        }
    }
    // Outputs that a fault reaches, of those that lie beside a midpoint by `BESIDE[which]`.
    let reaches = |errs: Errs, which: usize, fault: Edit| {
        let (network, x) = near_ties(errs);
        let (network, x) = (in_dtype(&network, Dtype::Float16), std::slice::from_ref(&x));
        for gpu in gpus(&Options { edit: Some(fault), ..Options::default() }) {
            let ours = gpu.run(&network, x, &mut GpuState::default()).expect("a run");
            let theirs = network.run(x, &mut State::default(), &Cpu::best()).expect("a run");
            let differs = |o: usize| ours.data()[o].to_bits() != theirs.data()[o].to_bits();
            assert!((which..96).step_by(BESIDE.len()).any(differs), "beside by {}", BESIDE[which]);
        }
    };
    // What lies far enough is proved by all steps, what does not is summed in order.
    reaches(Errs::Small, 7, |_, text| text.replace("put(o, whole);", "put(o, whole + 1.0lf);"));
    reaches(Errs::Small, 1, |_, text| text.replace("put(o, state);", "put(o, state + 1.0lf);"));
    // No part of the proof can be left out.
    reaches(Errs::Small, 0, |_, text| text.replace("(term + grid) - grid == term && ", ""));
    reaches(Errs::Rises, 0, |_, text| text.replace(" && binade <= high(max(abs(sum) - slack, 0.0lf))", ""));
}
