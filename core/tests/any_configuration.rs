//! Any configuration of the kinds that real models are made of, with sizes from absurdly small to absurdly large, is
//! refused or runs, and runs alike on every path: nothing panics, overflows or allocates by an unchecked size.

use loom_core::{Cpu, LayerSpec, Network, NetworkSpec, SplitMix64, State, Tensor, WeightStore, WeightTable};
use serde_json::{Value, json};

/// Numbers drawn from a seed.
struct Draw(SplitMix64);

impl Draw {
    fn below(&mut self, n: u64) -> u64 {
        (self.0.unit() * n as f64) as u64
    }

    fn one<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize].clone()
    }

    /// Mostly small, seldom absurd.
    fn size(&mut self) -> u64 {
        match self.below(24) {
            0 => 0,
            1 => self.one(&[1 << 16, 1 << 20, 1 << 29, 1 << 30, (1 << 30) + 1, 1 << 40, u64::MAX >> 1, u64::MAX]),
            _ => 1 + self.below(5),
        }
    }

    fn sizes(&mut self, n: u64) -> Vec<u64> {
        (0..n).map(|_| self.size()).collect()
    }

    fn axis(&mut self) -> i64 {
        self.one(&[1, 2, 3, -1, -2, -3, 0, 4, i64::MIN, i64::MAX])
    }

    fn axes(&mut self) -> Vec<i64> {
        (0..self.below(4)).map(|_| self.axis()).collect()
    }

    fn flag(&mut self) -> bool {
        self.below(2) == 0
    }

    fn per_axis(&mut self, n: u64) -> Value {
        if self.flag() { json!(self.size()) } else { json!(self.sizes(n)) }
    }

    fn padding(&mut self, n: u64) -> Value {
        match self.below(4) {
            0 => json!((0..n).map(|_| [self.below(4), self.below(4)]).collect::<Vec<_>>()),
            1 => self.per_axis(n),
            _ => json!(self.below(3)),
        }
    }

    fn conv(&mut self, transposed: bool, n: u64) -> Value {
        let mut conv = json!({
            "in_channels": self.size(), "filters": self.size(), "groups": self.one(&[1, 1, 2, 3]), "input": self.sizes(n),
            "kernel_size": self.per_axis(n), "stride": self.per_axis(n), "dilation": self.per_axis(n),
            "padding": self.padding(n), "bias": self.flag(),
        });
        let mode = self.one(&["zeros", "reflect", "replicate", "circular"]);
        if transposed {
            conv["output_padding"] = json!(self.below(3));
        } else {
            conv["padding_mode"] = json!(mode);
        }
        conv
    }

    /// A layer and, mostly, an input that it takes.
    fn layer(&mut self) -> (Value, Vec<u64>) {
        let n = 1 + self.below(3);
        let batch = self.below(3);
        let planes = |extents: &Value| -> Vec<u64> {
            let extents = extents.as_array().into_iter().flatten().filter_map(Value::as_u64);
            extents.map(|n| n.min(9)).collect()
        };
        match self.below(14) {
            0 | 1 => {
                let conv = self.conv(false, n);
                let channels = conv["in_channels"].as_u64().unwrap_or(1).min(9);
                let shape = [vec![batch, channels], planes(&conv["input"])].concat();
                (json!({ format!("cnn{n}"): conv }), shape)
            }
            2 => {
                let conv = self.conv(true, n);
                let channels = conv["in_channels"].as_u64().unwrap_or(1).min(9);
                let shape = [vec![batch, channels], planes(&conv["input"])].concat();
                (json!({ format!("convtransposed{n}"): conv }), shape)
            }
            3 | 4 => {
                let op = self.one(&[json!("max"), json!("average"), json!({"lp": 2.0}), json!({"lp": 0.0})]);
                let mut pool = json!({
                    "op": op, "input": self.sizes(n), "kernel_size": self.per_axis(n), "padding": self.padding(n),
                    "dilation": self.per_axis(n), "ceil": self.flag(), "count_padding": self.flag(),
                });
                if self.flag() {
                    pool["stride"] = self.per_axis(n);
                }
                let shape = [vec![batch, 2], planes(&pool["input"])].concat();
                (json!({ "pool": pool }), shape)
            }
            5 => {
                let op = self.one(&["mean", "sum", "max", "min"]);
                (json!({"reduce": {"op": op, "axes": self.axes(), "keep": self.flag()}}), vec![batch, 2, 3, 2])
            }
            6..9 => {
                let position = |draw: &mut Self| draw.one(&[0, 1, -1, 3, -9, 9, i64::MIN, i64::MAX]);
                let view = match self.below(8) {
                    0 => json!({"reshape": {"shape": [self.axis(), self.one(&[-1, 2, 6, 0])]}}),
                    1 => json!({"transpose": {"axes": self.axes()}}),
                    2 => {
                        let (start, stop) = (position(self), position(self));
                        json!({"slice": {"axis": self.axis(), "start": start, "stop": stop, "step": self.size()}})
                    }
                    3 => json!({"take": {"axis": self.axis(), "positions": self.sizes(3)}}),
                    4 => json!({"flip": {"axes": self.axes()}}),
                    5 => json!({"squeeze": {"axes": self.axes()}}),
                    6 => json!({"unsqueeze": {"axis": self.axis()}}),
                    _ => {
                        let sides: Vec<[u64; 2]> = (0..n).map(|_| [self.size(), self.below(3)]).collect();
                        json!({"pad": {"sides": sides, "mode": self.one(&["zeros", "reflect", "replicate", "circular"])}})
                    }
                };
                (json!({ "view": view }), vec![batch, self.below(4), 3, 1])
            }
            9 => {
                let (input, output) = (self.sizes(n), self.sizes(n));
                let shape = [vec![batch], planes(&json!(input))].concat();
                let how = self.one(&["floor", "nearest", "nearest_down", "linear"]);
                let corners = self.one(&["half_pixel", "align", "asymmetric"]);
                (json!({"resize": {"input": input, "output": output, "interpolation": how, "corners": corners}}), shape)
            }
            10 => {
                let shape = self.sizes(n);
                let kind = self.one(&["affine", "prelu", "batchnorm"]);
                (json!({ kind: { "shape": shape } }), [vec![batch, 2], planes(&json!(shape))].concat())
            }
            11 => {
                let (channels, input) = (self.size(), self.sizes(n - 1));
                let shape = [vec![batch, channels.min(9)], planes(&json!(input))].concat();
                (json!({"groupnorm": {"channels": channels, "groups": self.size(), "input": input}}), shape)
            }
            12 => (json!({"onehot": {"classes": self.size()}}), vec![batch, 3]),
            _ => {
                let (i, h, t) = (self.size(), self.size(), self.size());
                let reset = self.one(&["after_product", "before_product"]);
                let gru = json!({"input_size": i, "hidden_size": h, "seq_length": t, "reset": reset});
                (json!({ "gru": gru }), vec![batch, t.min(9), i.min(9)])
            }
        }
    }
}

fn weights(layer: &LayerSpec, random: &mut SplitMix64) -> Option<WeightTable> {
    let roles = layer.roles();
    // More is held than this test has memory for.
    let count = |shape: &[usize]| shape.iter().try_fold(1usize, |n, &extent| n.checked_mul(extent));
    if roles.iter().any(|role| count(&role.shape).is_none_or(|n| n > 1 << 16)) {
        return None;
    }
    let mut stores = loom_core::Weights::new();
    for role in roles {
        let n = count(&role.shape).unwrap_or_default();
        let data = (0..n).map(|_| (random.unit() + 0.1) as f32).collect();
        stores.insert(role.role, WeightStore::f32(role.shape, data).expect("finite"));
    }
    Some(if stores.is_empty() { WeightTable::new() } else { [("layers.0".into(), stores)].into() })
}

#[test]
fn is_refused_or_runs_alike_on_every_path() {
    let (mut ran, mut refused) = (0, 0);
    for seed in 0..30_000 {
        let mut draw = Draw(SplitMix64(seed));
        let (layer, shape) = draw.layer();
        let Ok(spec) = serde_json::from_value::<LayerSpec>(layer.clone()) else {
            refused += 1;
            continue;
        };
        let _ = spec.terms();
        if spec.check().is_err() {
            refused += 1;
            continue;
        }
        let Some(mut table) = weights(&spec, &mut draw.0) else { continue };
        let network = Network::build(NetworkSpec::stack(vec![spec]), &mut table).expect("a network");
        let shape: Vec<usize> = shape.into_iter().map(|n| n as usize).collect();
        let data = (0..shape.iter().product()).map(|_| (draw.0.unit() * 6.0 - 2.0) as f32).collect();
        let x = [Tensor::new(shape, data).expect("a tensor")];
        let mut state = State::default();
        state.allow(1 << 20);
        let run = |cpu: Cpu| network.run(&x, &mut state.clone(), &cpu);
        match (run(Cpu::scalar()), run(Cpu::best())) {
            (Ok(a), Ok(b)) => {
                let bits = |t: &Tensor| t.data().iter().map(|v| v.to_bits()).collect::<Vec<u32>>();
                assert_eq!((a.shape(), bits(&a)), (b.shape(), bits(&b)), "{layer}");
                ran += 1;
            }
            (Err(a), Err(b)) => {
                assert_eq!(a, b, "{layer}");
                refused += 1;
            }
            (a, b) => panic!("{layer}: {a:?} and {b:?}"),
        }
    }
    assert!(ran > 5_000 && refused > 5_000, "{ran} ran, {refused} were refused");
}
