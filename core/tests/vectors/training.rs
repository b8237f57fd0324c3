//! Training in storage types: an f32 master, its codes under a scale that stays, plain SGD.
//!
//! The core has no backward pass yet; these few lines of one for two dense layers exist to
//! show that our codes under a frozen scale move as the original's do.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use loom_core::format::topology;
use loom_core::layers::QkNorm;
use loom_core::{Affine, Cpu, Dtype, Magnitudes, Network, NetworkSpec, Numerics, Role, State, Tensor, WeightStore};
use serde_json::Value;

use crate::common::{TOLERANCE, distance, floats, list, tensor, text};
use crate::dtypes::{dtype, overflows_integer};

/// A layer's master weights in one type.
struct Stored {
    dtype: Dtype,
    affine: Affine,
    master: Vec<f32>,
}

impl Stored {
    /// A scale of exactly 1 asks for one to be chosen, once and for all.
    fn new(dtype: Dtype, master: Vec<f32>, scale: f32) -> Self {
        let chosen = || dtype.choose(Numerics::Loom, &Magnitudes::of(master.iter().map(|&w| f64::from(w))));
        let affine = if scale == 1.0 { chosen() } else { dtype.affine(Numerics::Loom, scale) };
        Self { dtype, affine, master }
    }

    fn store(&self, shape: &[usize]) -> Result<WeightStore, String> {
        let master = WeightStore::f32(shape.to_vec(), self.master.clone()).map_err(|e| e.to_string())?;
        master.quantised(self.dtype, Numerics::Loom, self.affine).map_err(|e| e.to_string())
    }

    fn effective(&self) -> Result<Vec<f32>, String> {
        Ok(self.store(&[self.master.len()])?.to_f32())
    }

    /// `master -= rate * clipped gradient`. Unsigned masters are kept within what their codes can
    /// say: all of them in training, those of 16 bits and more in updates of the codes alone.
    fn update(&mut self, gradient: &[f32], rate: f32, clip: f32, least_bits: usize) {
        let top = match self.dtype {
            Dtype::Uint64 | Dtype::Uint32 => Some(1_048_576.0),
            Dtype::Uint16 => Some(65535.0),
            Dtype::Uint8 => Some(255.0),
            Dtype::Uint4 => Some(15.0),
            Dtype::Uint2 => Some(3.0),
            _ => None,
        };
        let top = top.filter(|_| self.dtype.bits() >= least_bits);
        for (w, g) in self.master.iter_mut().zip(gradient) {
            let g = if clip > 0.0 { g.clamp(-clip, clip) } else { *g };
            *w -= rate * g;
            if let Some(top) = top {
                *w = w.clamp(0.0, self.affine.scale * top);
            }
        }
    }
}

/// Recorded gradients on one layer.
pub(crate) fn native_update(vector: &Value) -> Result<(), String> {
    let number = |key: &str| vector[key].as_f64().unwrap_or(0.0) as f32;
    let scale = vector["scale"].as_f64().unwrap_or(1.0) as f32;
    let mut layer = Stored::new(dtype(text(&vector["dtype"]))?, floats(&vector["master"]), scale);
    let same = |layer: &Stored, recorded: &Value, when: &str| {
        let recorded = floats(recorded);
        for (i, (ours, theirs)) in layer.effective()?.iter().zip(&recorded).enumerate() {
            // Where the original's integer wraps around, ours saturates.
            let overflows = overflows_integer(layer.dtype, f64::from(layer.master[i] / layer.affine.scale).round());
            if ours != theirs && !overflows {
                return Err(format!("effective weight {i} {when} is {ours}, recorded {theirs}"));
            }
        }
        Ok(())
    };
    same(&layer, &vector["effective_before"], "before")?;
    for (i, step) in list(&vector["steps"]).iter().enumerate() {
        if step["applied"].as_bool() == Some(true) {
            layer.update(&floats(&step["gradient"]), number("learning_rate"), number("clip"), 16);
        }
        same(&layer, &step["effective_weights"], &format!("after step {i}"))?;
    }
    Ok(())
}

/// Five epochs of two dense layers.
pub(crate) fn train(vector: &Value) -> Result<(), String> {
    let dtype = dtype(text(&vector["dtype"]))?;
    let spec = topology::parse(&vector["network"].to_string(), |_| QkNorm::None).map_err(|e| e.to_string())?;
    let recorded = &vector["train"];
    let config = &recorded["config"];
    let number = |key: &str| config[key].as_f64().unwrap_or(0.0) as f32;
    let (x, target) = (tensor(&recorded["input"])?, tensor(&recorded["target"])?);
    let preset = vector["initial_scale"].as_f64().unwrap_or(1.0) as f32;
    let weights = list(&vector["weights"]).iter().map(|w| Stored::new(dtype, floats(&w["values"]), preset));
    let mut layers: Vec<Stored> = weights.collect();

    let (mut history, mut outputs) = (Vec::new(), Vec::new());
    for _ in 0..number("Epochs") as usize {
        let (hidden, y) = forward(&spec, &layers, &x)?;
        outputs.push(y.data().to_vec());
        let n = y.len() as f32;
        let errors = || y.data().iter().zip(target.data()).map(|(y, t)| y - t);
        history.push(errors().fold(0.0, |sum, e| sum + f64::from(e) * f64::from(e)) / f64::from(n));
        let g: Vec<f32> = errors().map(|e| e * (2.0 / n)).collect();
        // A tanh layer and a linear one.
        let w = layers[1].effective()?;
        let (batch, wide, outs) = (x.batch(), hidden.len() / x.batch(), y.len() / x.batch());
        let mut dh = vec![0.0f32; hidden.len()];
        for (i, dh) in dh.iter_mut().enumerate() {
            let (b, j) = (i / wide, i % wide);
            let sum = (0..outs).fold(0.0, |s, o| s + f64::from(g[b * outs + o]) * f64::from(w[o * wide + j]));
            let h = f64::from(hidden.data()[i]);
            *dh = sum as f32 * (1.0 - h * h) as f32;
        }
        let gradient = |g: &[f32], x: &[f32]| {
            let (outs, ins) = (g.len() / batch, x.len() / batch);
            let element = |i: usize| {
                let (o, k) = (i / ins, i % ins);
                (0..batch).fold(0.0, |s, b| s + f64::from(g[b * outs + o]) * f64::from(x[b * ins + k])) as f32
            };
            (0..outs * ins).map(element).collect::<Vec<f32>>()
        };
        let steps = [gradient(&dh, x.data()), gradient(&g, hidden.data())];
        for (layer, step) in layers.iter_mut().zip(&steps) {
            layer.update(step, number("LearningRate"), number("GradientClip"), 0);
        }
    }
    let (_, after) = forward(&spec, &layers, &x)?;
    for (ours, name) in [(&outputs[0], "output_before"), (&after.into_data(), "output_after")] {
        let worst = distance(ours, &floats(&recorded[name]));
        if worst.is_nan() || worst > TOLERANCE {
            return Err(format!("{name} is off by {worst:e}"));
        }
    }
    for (epoch, (ours, theirs)) in history.iter().zip(list(&recorded["loss_history"])).enumerate() {
        let theirs = theirs.as_f64().unwrap_or(f64::NAN);
        if (ours - theirs).abs() > TOLERANCE * theirs.max(1.0) || theirs.is_nan() {
            return Err(format!("loss of epoch {epoch} is {ours}, recorded {theirs}"));
        }
    }
    for (i, layer) in layers.iter().enumerate() {
        let scale = recorded["scales_after"][i].as_f64().unwrap_or(f64::NAN) as f32;
        if scale.to_bits() != layer.affine.scale.to_bits() && dtype != Dtype::Float32 {
            return Err(format!("scale of layer {i} is {}, recorded {scale}", layer.affine.scale));
        }
        let saved = STANDARD.decode(text(&recorded["saved_weights_b64"][i])).map_err(|e| e.to_string())?;
        let store = layer.store(&[layer.master.len()])?;
        let near = match dtype {
            // The master itself: sums of other order move its last bits.
            Dtype::Float32 | Dtype::Float64 => {
                let theirs = dtype.dequantise(Numerics::Loom, &saved, store.len(), layer.affine);
                let theirs = theirs.map_err(|e| e.to_string())?;
                distance(&store.to_f32(), &theirs.iter().map(|w| *w as f32).collect::<Vec<_>>()) <= TOLERANCE
            }
            _ => store.bytes() == saved,
        };
        if !near {
            return Err(format!("saved codes of layer {i} are {:02x?}, recorded {saved:02x?}", store.bytes()));
        }
    }
    Ok(())
}

/// The hidden activations and the output.
fn forward(spec: &NetworkSpec, layers: &[Stored], x: &Tensor) -> Result<(Tensor, Tensor), String> {
    let mut x = x.clone();
    let mut outputs = Vec::new();
    for (cell, layer) in spec.cells.iter().zip(layers) {
        let shape = cell.layer.roles().remove(0).shape;
        let stack = NetworkSpec::stack(vec![cell.layer.clone()]);
        let mut table = [("layers.0".to_string(), [(Role::Weight, layer.store(&shape)?)].into())].into();
        let network = Network::build(stack, &mut table).map_err(|e| e.to_string())?;
        x = network.run(&[x], &mut State::default(), &Cpu::best()).map_err(|e| e.to_string())?;
        outputs.push(x.clone());
    }
    let y = outputs.pop().ok_or("no layers")?;
    Ok((outputs.pop().ok_or("one layer")?, y))
}
