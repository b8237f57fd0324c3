//! One meaning taken for another: what planets and formats differ in, and porters mix up, for the kinds that real models
//! are made of.

use loom_core::layers::{
    Combine, Corners, Guard, Interpolation, PadMode, Padding, ReduceOp, Reset, SoftmaxVariant, ViewSpec,
};
use loom_core::{Activation, LayerSpec, NetworkSpec, Role};
use loom_runner::stages::judge::Label;
use loom_runner::stages::planted::Planted;

use super::{Weights, reorder, turns_red};

/// Changes one layer, counted from the front.
struct At<F: Fn(&mut LayerSpec) + Sync>(usize, F);

impl<F: Fn(&mut LayerSpec) + Sync> Planted for At<F> {
    fn spec(&self, spec: &mut NetworkSpec) {
        (self.1)(&mut spec.cells[self.0].layer);
    }
}

/// `fault!(layer, Kind(spec) => change, "case", …)`: the change of that layer turns each case red.
macro_rules! fault {
    ($layer:literal, $kind:ident($spec:ident) => $change:expr, $label:ident: $($case:literal),+ $(,)?) => {
        let fault = At($layer, |layer: &mut LayerSpec| {
            let LayerSpec::$kind($spec) = layer else { unreachable!("{layer:?}") };
            $change;
        });
        $(turns_red($case, &fault, Label::$label);)+
    };
}

#[test]
fn an_activation_for_its_neighbour() {
    fault!(1, Activation(a) => a.function = Activation::Gelu, Diff: "activations/dense_gelu_erf/parity/pytorch", "activations/dense_gelu_erf/parity/jax");
    fault!(1, Activation(a) => a.function = Activation::HardSigmoid { slope: 0.2, offset: 0.5 }, Diff: "activations/dense_hard_sigmoid/parity/tensorflow");
    fault!(1, Activation(a) => a.function = Activation::Silu, Diff: "activations/dense_hard_swish/parity/pytorch");
    fault!(1, Activation(a) => a.function = Activation::Relu, Diff: "activations/dense_relu6/parity/jax");
    fault!(1, Activation(a) => a.function = Activation::Clip { min: None, max: Some(1.25) }, Diff: "activations/dense_clip/parity/pytorch");
    fault!(1, Activation(a) => a.function = Activation::Elu { alpha: 1.0 }, Diff: "activations/dense_elu_alpha/parity/tensorflow");
    fault!(1, Activation(a) => a.function = Activation::Elu { alpha: 1.0 }, Diff: "activations/dense_selu/parity/jax");
    fault!(1, Activation(a) => a.function = Activation::LEAKY_RELU, Diff: "activations/dense_leaky_relu_slope/parity/pytorch");
    fault!(1, Activation(a) => a.function = Activation::Softplus { beta: 1.0 }, Diff: "activations/dense_softplus_beta/parity/pytorch");
    fault!(1, Activation(a) => a.function = Activation::Silu, Diff: "activations/dense_mish/parity/jax");
    fault!(1, Softmax(s) => s.variant = SoftmaxVariant::Standard, Diff: "activations/log_softmax/parity/tensorflow");
}

#[test]
fn slopes_gains_and_statistics_of_other_channels() {
    let backwards = |shape: &[usize], values: &mut Vec<f32>| {
        let n = shape[0];
        reorder(shape, values, |row| n - 1 - row);
    };
    turns_red("activations/conv_prelu_channels/parity/tensorflow", &Weights(&[Role::Slope], backwards), Label::Diff);
    turns_red("affine/channels/parity/jax", &Weights(&[Role::Gamma], backwards), Label::Diff);
    turns_red("affine/positions/parity/pytorch", &Weights(&[Role::Beta], backwards), Label::Diff);
    turns_red("norms/batch_planes/parity/tensorflow", &Weights(&[Role::Mean], backwards), Label::Diff);
    let root = |_: &[usize], values: &mut Vec<f32>| values.iter_mut().for_each(|v| *v = v.sqrt());
    turns_red("norms/batch_rows_eps3/parity/jax", &Weights(&[Role::Variance], root), Label::Diff);
}

#[test]
fn norms_over_something_else() {
    fault!(1, BatchNorm(norm) => norm.eps = 1e-5, Diff: "norms/batch_rows_eps3/parity/tensorflow");
    fault!(1, GroupNorm(norm) => norm.groups = 4, Diff: "norms/group_planes/parity/pytorch");
    fault!(0, GroupNorm(norm) => norm.groups = 1, Diff: "norms/instance_planes/parity/jax");
    fault!(0, L2Norm(norm) => norm.guard = Guard::Floor, Diff: "norms/l2_rows_inside/parity/pytorch");
    fault!(0, RmsNorm(norm) => norm.unit_offset = false, Diff: "norms/rms_unit_offset/parity/tensorflow");
}

#[test]
fn pools_that_count_and_reach_otherwise() {
    fault!(0, Pool(pool) => pool.count_padding = false, Diff: "pooling/average_counting/parity/jax");
    fault!(0, Pool(pool) => pool.count_padding = true, Diff: "pooling/average_same/parity/tensorflow");
    fault!(0, Pool(pool) => pool.ceil = false, Shape: "pooling/average_ceil/parity/pytorch");
    fault!(0, Pool(pool) => pool.padding = Padding::Sides(vec![[1, 1], [1, 0]]), Diff: "pooling/max_same/parity/tensorflow");
    fault!(1, Pool(pool) => pool.op = loom_core::layers::PoolOp::Average, Diff: "pooling/max_2/parity/jax");
    fault!(1, Pool(pool) => pool.op = loom_core::layers::PoolOp::Lp(2.0), Diff: "pooling/lp_3/parity/pytorch");
    fault!(1, Reduce(reduce) => reduce.op = ReduceOp::Sum, Diff: "pooling/global_mean/parity/tensorflow");
    fault!(0, Reduce(reduce) => reduce.axes = vec![2], Shape: "pooling/sum_over_steps/parity/jax");
}

#[test]
fn convolutions_of_other_windows() {
    fault!(0, Cnn2(conv) => { conv.dilation = 1.into(); conv.padding = 1.into(); }, Diff: "convolutions/dilated/parity/pytorch");
    fault!(0, Cnn2(conv) => conv.padding_mode = PadMode::Zeros, Diff: "convolutions/reflect/parity/tensorflow");
    fault!(0, Cnn2(conv) => conv.padding_mode = PadMode::Reflect, Diff: "convolutions/replicate/parity/jax");
    fault!(0, Cnn2(conv) => conv.padding = Padding::Sides(vec![[1, 1], [1, 0]]), Diff: "convolutions/same_s2/parity/jax");
    fault!(0, Cnn1(conv) => conv.padding = Padding::Sides(vec![[3, 3]]), Diff: "convolutions/causal_dilated/parity/pytorch");
    // Filters dealt out to the groups in turn, as a channel shuffle would.
    let dealt = |shape: &[usize], values: &mut Vec<f32>| reorder(shape, values, |row| row % 3 * 3 + row / 3);
    turns_red("convolutions/groups_s2/parity/tensorflow", &Weights(&[Role::Weight], dealt), Label::Diff);
    // A transposed convolution does not turn its kernel.
    let turned = |shape: &[usize], values: &mut Vec<f32>| {
        let window: usize = shape[2..].iter().product();
        values.chunks_exact_mut(window).for_each(<[f32]>::reverse);
    };
    turns_red("convolutions/transposed_3_s2/parity/jax", &Weights(&[Role::Weight], turned), Label::Diff);
    turns_red("convolutions/transposed_groups/parity/pytorch", &Weights(&[Role::Weight], turned), Label::Diff);
}

#[test]
fn views_of_other_elements() {
    fault!(1, View(view) => *view = ViewSpec::Reshape { shape: vec![12, 6] }, Diff: "views/transpose/parity/pytorch");
    fault!(1, View(view) => *view = ViewSpec::Slice { axis: 1, start: 0, stop: Some(1), step: 1 }, Diff: "views/slice_last/parity/jax");
    fault!(1, View(view) => *view = ViewSpec::Take { axis: -1, positions: vec![3, 0, 3, 11] }, Diff: "views/take_flip/parity/tensorflow");
    fault!(0, View(view) => *view = ViewSpec::Pad { sides: vec![[1, 2], [3, 0]], mode: PadMode::Reflect, value: 0.0 }, Diff: "views/pad_reflect/parity/tensorflow");
    fault!(0, Resize(resize) => resize.corners = Corners::HalfPixel, Diff: "views/resize_align/parity/pytorch");
    fault!(0, Resize(resize) => resize.interpolation = Interpolation::Floor, Diff: "views/resize_nearest/parity/jax");
    fault!(0, Resize(resize) => (resize.interpolation, resize.corners) = (Interpolation::Nearest, Corners::HalfPixel), Diff: "views/resize_floor/parity/pytorch");
    fault!(0, OneHot(onehot) => onehot.classes = 10, Error: "views/onehot/parity/jax");
}

#[test]
fn branches_joined_otherwise() {
    fault!(0, Parallel(parallel) => parallel.combine = Combine::Add, Diff: "branches/glu/parity/pytorch");
    fault!(0, Parallel(parallel) => parallel.branches.reverse(), Diff: "branches/split_and_swap/parity/jax");
    fault!(0, Parallel(parallel) => parallel.axis = Some(-1), Shape: "branches/concat_steps/parity/tensorflow");
}

#[test]
fn recurrent_layers_of_another_convention() {
    fault!(0, Gru(gru) => gru.reset = Reset::BeforeProduct, Diff: "recurrent/gru_no_bias/parity/pytorch", "recurrent/gru_no_bias/parity/tensorflow");
    fault!(0, Gru(gru) => gru.reset = Reset::AfterProduct, Error: "recurrent/gru_before/parity/tensorflow");
    fault!(0, Rnn(rnn) => rnn.activation = Activation::Tanh, Diff: "recurrent/rnn_relu/parity/jax");
    fault!(2, View(view) => *view = ViewSpec::Flip { axes: vec![-1] }, Diff: "recurrent/lstm_reverse/parity/pytorch");
    fault!(0, Parallel(parallel) => parallel.branches.reverse(), Error: "recurrent/lstm_bidirectional/parity/tensorflow");
    // z, r, n in place of r, z, n.
    let update_first = |shape: &[usize], values: &mut Vec<f32>| {
        let h = shape[0] / 3;
        reorder(shape, values, |row| [row + h, row.wrapping_sub(h), row][row / h]);
    };
    const GATES: &[Role] = &[Role::InputWeight, Role::RecurrentWeight, Role::Bias];
    for planet in ["pytorch", "tensorflow", "jax"] {
        turns_red(&format!("recurrent/gru/parity/{planet}"), &Weights(GATES, update_first), Label::Diff);
    }
    // The bias inside of the reset gate's product, beside it instead.
    let dropped = |_: &[usize], values: &mut Vec<f32>| values.fill(0.0);
    turns_red("recurrent/gru/parity/tensorflow", &Weights(&[Role::RecurrentBias], dropped), Label::Diff);
}
