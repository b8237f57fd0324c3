//! From the layers of a payload to a network: sizes checked against each other, arrays cut into
//! roles. Messages are the original bridge's where it has one.

use loom_core::format::activation_name;
use loom_core::layers::{
    ConvSpec, DenseSpec, EmbeddingSpec, LayerNormSpec, LstmSpec, MhaSpec, QkNorm, ResidualSpec, RmsNormSpec, RnnSpec,
    SwiGluSpec,
};
use loom_core::{
    Activation, LayerKind, LayerSpec, Network, NetworkSpec, RoleShape, Tensor, WeightStore, WeightTable, Weights,
};

use crate::read::{Layer, Payload};
use loom_bedrocks::build::fed;
use loom_bedrocks::model::InputSpec;

/// A payload as a network.
#[derive(Clone, Debug)]
pub struct Model {
    /// The layers, one after the other.
    pub network: Network,
    /// What the network is fed: arrays of a fixture and the part of each that it sees.
    pub inputs: Vec<InputSpec>,
    /// The width of an answer's rows; `None` is what the network gives.
    pub output_dim: Option<usize>,
    feeding: Feeding,
}

/// How inputs reach the layers, which files do not say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Feeding {
    /// The first layer reads the input, each next the one before.
    Chain,
    /// Every layer adds the two inputs again.
    Residual,
    /// As [`mix`].
    Mixer,
}

/// Makes a network of a payload, whose arrays it takes.
///
/// # Errors
/// A sentence that names the layer, the size or array, and both numbers where two disagree.
pub fn model(bedrock: &str, mut payload: Payload) -> Result<Model, String> {
    let layers = std::mem::take(&mut payload.layers);
    if bedrock == "dense" && (payload.text("planet").is_empty() || payload.text("model_id").is_empty()) {
        return Err("planet and model_id required".into());
    }
    if bedrock == "mixer" {
        let (id, given) = (payload.text("model_id"), layers.len());
        let wanted = if id == "mixer_all_v2" { 16 } else { 10 };
        if given != wanted {
            return Err(format!("mixer stream: want {wanted} layers for {id}, got {given}"));
        }
    } else if layers.is_empty() {
        return Err(if bedrock == "dense" { "layers required".into() } else { format!("{bedrock} stream: no layers") });
    }
    let (mut specs, mut table) = (Vec::new(), WeightTable::new());
    let mut expected: Vec<i64> = links(bedrock).iter().map(|(.., of)| payload.size(of)).collect();
    for (position, mut layer) in layers.into_iter().enumerate() {
        let kind = kind_of(bedrock, &layer, position)?;
        let at = At { bedrock: bedrock.into(), kind, position };
        at.check_index(layer.size("index"))?;
        at.check_links(&layer, &mut expected)?;
        let spec = at.spec(&layer)?;
        spec.check().map_err(|what| format!("{kind} layer {position}: {what}"))?;
        let weights = at.weights(&spec, &mut layer)?;
        if !weights.is_empty() {
            table.insert(format!("layers.{position}"), weights);
        }
        specs.push(spec);
    }
    let inputs = inputs(bedrock, &payload)?;
    let network = Network::build(NetworkSpec::stack(specs), &mut table).map_err(|e| e.to_string())?;
    let default = if bedrock == "mixer" { 8 } else { 0 };
    let output_dim = match payload.size("output_dim") {
        0 => default,
        wanted => positive("output_dim", wanted)?,
    };
    let feeding = match bedrock {
        "mixer" => Feeding::Mixer,
        "residual" => Feeding::Residual,
        _ => Feeding::Chain,
    };
    Ok(Model { network, inputs, output_dim: Some(output_dim).filter(|&n| n > 0), feeding })
}

impl Model {
    /// Runs the network on its inputs by `run` and cuts the rows to the width that was asked for; a
    /// mixer's are filled up with zeros.
    ///
    /// # Errors
    /// Those of `run`, and of an input that is missing.
    pub fn run(
        &self,
        inputs: &[Tensor],
        mut run: impl FnMut(&Network, &[Tensor]) -> Result<Tensor, String>,
    ) -> Result<Vec<Vec<f32>>, String> {
        let samples = inputs.first().and_then(|x| x.shape().first()).copied().unwrap_or(0);
        if samples == 0 {
            return Ok(Vec::new());
        }
        let y = match self.feeding {
            Feeding::Chain => run(&self.network, inputs)?,
            Feeding::Residual => {
                let last = self.network.layers().count() - 1;
                run(&fed(&self.network, &[(last, 0)].into(), &[(last, 1)].into())?, inputs)?
            }
            Feeding::Mixer => mix(&self.network, inputs, &mut run)?,
        };
        let width = y.data().len() / samples;
        let kept = self.output_dim.map_or(width, |wanted| wanted.min(width));
        let filled = if self.feeding == Feeding::Mixer { self.output_dim.unwrap_or(width) } else { kept };
        let row = |row: &[f32]| {
            let mut row = row[..kept].to_vec();
            row.resize(filled.max(kept), 0.0);
            row
        };
        Ok(y.data().chunks_exact(width.max(1)).map(row).collect())
    }
}

/// What runs a network on its inputs.
pub type Forward<'a> = dyn FnMut(&Network, &[Tensor]) -> Result<Tensor, String> + 'a;

/// Runs a flat mixer: an embedding reads the second input in place of the layer before it, and a
/// residual layer adds the output of the last norm, once. Source: `stream.md` section 5.13.
///
/// # Errors
/// Those of `run`, and that of a network that is fed nothing.
pub fn mix(network: &Network, inputs: &[Tensor], run: &mut Forward<'_>) -> Result<Tensor, String> {
    let mut current = inputs.first().ok_or("a mixer reads a volume")?.clone();
    let mut skip: Option<Tensor> = None;
    for layer in network.layers() {
        let kind = layer.spec().kind();
        let mut spec = NetworkSpec::stack(vec![layer.spec().clone()]);
        let mut fed = vec![current];
        match kind {
            LayerKind::Embedding => fed = inputs.get(1).cloned().into_iter().collect(),
            LayerKind::Residual => {
                spec.cells[0].skip = skip.as_ref().map(|_| 1);
                fed.extend(skip.take());
            }
            _ => {}
        }
        let weights = layer.weights().clone();
        let mut table = WeightTable::new();
        if !weights.is_empty() {
            table.insert("layers.0".into(), weights);
        }
        let one = Network::build(spec, &mut table).map_err(|e| e.to_string())?;
        current = run(&one, &fed)?;
        if matches!(kind, LayerKind::LayerNorm | LayerKind::RmsNorm) {
            skip = Some(current.clone());
        }
    }
    Ok(current)
}

/// The kind of a layer: the bedrock's own, or in a mixer what the layer says.
fn kind_of(bedrock: &str, layer: &Layer, position: usize) -> Result<&'static str, String> {
    let known = |name: &str| loom_bedrocks::BEDROCKS.iter().copied().find(|known| *known == name && *known != "mixer");
    if bedrock == "mixer" {
        return known(&layer.kind).ok_or_else(|| format!("mixer layer {position}: unknown kind {:?}", layer.kind));
    }
    if bedrock != "dense" && !layer.kind.is_empty() && layer.kind != bedrock {
        return Err(format!("layer {position}: want kind {bedrock}, got {:?}", layer.kind));
    }
    known(bedrock).ok_or_else(|| format!("unknown bedrock {bedrock:?}"))
}

/// A size of a layer, its name in messages, the size of the payload that it must be.
type Link = (&'static str, &'static str, &'static str);

/// The sizes that tie a bedrock's layers to each other and to the payload.
fn links(bedrock: &str) -> &'static [Link] {
    match bedrock {
        "dense" => &[("input_dim", "input", "input_dim")],
        "cnn1" => &[("in_channels", "in_channels", "input_channels"), ("input_length", "input_length", "seq_len")],
        "cnn2" => &[
            ("in_channels", "in_channels", "input_channels"),
            ("input_height", "input_height", "height"),
            ("input_width", "input_width", "width"),
        ],
        "cnn3" => &[
            ("in_channels", "in_channels", "input_channels"),
            ("input_depth", "input_depth", "depth"),
            ("input_height", "input_height", "height"),
            ("input_width", "input_width", "width"),
        ],
        "mha" => &[("d_model", "d_model", "d_model"), ("seq_len", "seq_len", "seq_len")],
        "lstm" | "rnn" => &[
            ("input_size", "input_size", "input_size"),
            ("hidden_size", "hidden_size", "hidden_size"),
            ("seq_len", "seq_len", "seq_len"),
        ],
        "layernorm" | "rmsnorm" | "residual" => &[("dim", "dim", "dim")],
        "embedding" => &[("vocab_size", "vocab", "vocab_size"), ("embedding_dim", "embed_dim", "embed_dim")],
        "swiglu" => &[("input_dim", "input", "input_dim"), ("intermediate_dim", "intermediate", "intermediate_dim")],
        _ => &[],
    }
}

/// Whose messages are written.
struct At {
    /// The bedrock of the stream; `mixer` where kinds differ.
    bedrock: String,
    /// The layer's kind.
    kind: &'static str,
    /// Its position.
    position: usize,
}

impl At {
    fn check_index(&self, index: i64) -> Result<(), String> {
        let Self { bedrock, position, .. } = self;
        let who = match bedrock.as_str() {
            "dense" => "stream:".to_string(),
            "mixer" => bedrock.clone(),
            _ => format!("{bedrock} stream:"),
        };
        if usize::try_from(index) == Ok(*position) {
            return Ok(());
        }
        Err(format!("{who} layer index {index} != position {position}"))
    }

    /// Checks the sizes of a layer against `expected`, which becomes what the next one must have.
    fn check_links(&self, layer: &Layer, expected: &mut [i64]) -> Result<(), String> {
        for (&(field, shown, _), expected) in links(&self.bedrock).iter().zip(expected) {
            let given = layer.size(field);
            if given != *expected {
                let (bedrock, position) = (&self.bedrock, self.position);
                return Err(match bedrock.as_str() {
                    "dense" => format!("stream: layer {position} {shown} {given} != expected {expected}"),
                    _ => format!("{bedrock} layer {position}: {shown} {given} != expected {expected}"),
                });
            }
            *expected = match (self.bedrock.as_str(), field) {
                ("dense", _) => layer.size("output_dim"),
                ("cnn1" | "cnn2" | "cnn3", "in_channels") => layer.size("filters"),
                ("cnn1" | "cnn2" | "cnn3", _) => windows(layer, given),
                _ => given,
            };
        }
        Ok(())
    }

    /// A size of the layer, at least 1.
    fn size(&self, layer: &Layer, name: &str) -> Result<usize, String> {
        positive(name, layer.size(name)).map_err(|what| format!("{} layer {}: {what}", self.kind, self.position))
    }

    /// The configuration of the layer.
    fn spec(&self, layer: &Layer) -> Result<LayerSpec, String> {
        let size = |name: &str| self.size(layer, name);
        Ok(match self.kind {
            "dense" => LayerSpec::Dense(DenseSpec {
                input_dim: size("input_dim")?,
                output_dim: size("output_dim")?,
                activation: self.activation(layer)?,
                bias: !layer.array("bias").is_empty(),
            }),
            "cnn1" => LayerSpec::Cnn1(self.conv(layer, ["input_length"])?),
            "cnn2" => LayerSpec::Cnn2(self.conv(layer, ["input_height", "input_width"])?),
            "cnn3" => LayerSpec::Cnn3(self.conv(layer, ["input_depth", "input_height", "input_width"])?),
            "mha" => LayerSpec::Mha(MhaSpec {
                d_model: size("d_model")?,
                num_heads: size("num_heads")?,
                num_kv_heads: Some(if layer.size("num_kv_heads") == 0 {
                    size("num_heads")
                } else {
                    size("num_kv_heads")
                }?),
                head_dim: Some(size("head_dim")?),
                seq_length: Some(size("seq_len")?),
                causal: true,
                rope: true,
                rope_base: 10_000.0,
                qk_norm: QkNorm::None,
                eps: 1e-6,
                window: None,
                bias: true,
            }),
            "lstm" | "rnn" => {
                let (input_size, hidden_size) = (size("input_size")?, size("hidden_size")?);
                let seq_length = size("seq_len")?;
                match self.kind {
                    "lstm" => LayerSpec::Lstm(LstmSpec { input_size, hidden_size, seq_length, bias: true }),
                    _ => LayerSpec::Rnn(RnnSpec { input_size, hidden_size, seq_length, bias: true }),
                }
            }
            "layernorm" => LayerSpec::LayerNorm(LayerNormSpec { dim: size("dim")?, eps: 1e-5, beta: true }),
            "rmsnorm" => LayerSpec::RmsNorm(RmsNormSpec { dim: size("dim")?, eps: 1e-6 }),
            "embedding" => LayerSpec::Embedding(EmbeddingSpec {
                vocab_size: size("vocab_size")?,
                embedding_dim: size("embedding_dim")?,
                activation: Activation::Linear,
            }),
            "swiglu" => LayerSpec::SwiGlu(SwiGluSpec {
                input_dim: size("input_dim")?,
                intermediate_dim: size("intermediate_dim")?,
                bias: true,
            }),
            _ => LayerSpec::Residual(ResidualSpec { dim: Some(size("dim")?) }),
        })
    }

    fn conv<const N: usize>(&self, layer: &Layer, axes: [&str; N]) -> Result<ConvSpec<N>, String> {
        let size = |name: &str| self.size(layer, name);
        let padding = usize::try_from(layer.size("padding"));
        Ok(ConvSpec {
            in_channels: size("in_channels")?,
            filters: size("filters")?,
            input: axes.into_iter().map(size).collect::<Result<_, _>>()?,
            kernel_size: size("kernel_size")?,
            stride: size("stride")?,
            padding: padding.map_err(|_| format!("{} layer {}: padding is negative", self.kind, self.position))?,
            output: None,
            activation: self.activation(layer)?,
            // A file of version 1 has no place for one, so zeros count as none.
            bias: layer.array("bias").iter().any(|v| *v != 0.0),
        })
    }

    /// The activation of a name; the original takes what it does not know for none, this does not.
    fn activation(&self, layer: &Layer) -> Result<Activation, String> {
        let name = layer.activation.as_str();
        let found = Activation::ALL.into_iter().find(|known| activation_name(*known).eq_ignore_ascii_case(name));
        match found {
            Some(activation) => Ok(activation),
            None if name.is_empty() => Ok(Activation::Linear),
            None => {
                let known: Vec<String> =
                    Activation::ALL.into_iter().map(|known| activation_name(known).to_ascii_lowercase()).collect();
                Err(format!(
                    "{} layer {}: unknown activation {name:?}; expected one of {}",
                    self.kind,
                    self.position,
                    known.join(", ")
                ))
            }
        }
    }

    /// An array of the layer with `len` elements, in words `shown`.
    fn array(&self, layer: &mut Layer, name: &str, len: usize, shown: &str) -> Result<Vec<f32>, String> {
        let data = layer.take(name);
        if data.len() == len {
            return Ok(data);
        }
        let (kind, position, given) = (self.kind, self.position, data.len());
        Err(match (self.bedrock.as_str(), kind) {
            ("dense", _) => format!("stream: layer {position} {name} len {given} != {shown}"),
            (_, "dense") => format!("dense layer {position}: {name} len {given} != {shown}"),
            _ => format!("layer {position}: {name} len {given} != {shown}"),
        })
    }

    /// The stores of the layer's roles.
    fn weights(&self, spec: &LayerSpec, layer: &mut Layer) -> Result<Weights, String> {
        let roles = spec.roles();
        let count = |shape: &[usize]| shape.iter().product::<usize>();
        let mut parts: Vec<Vec<f32>> = Vec::new();
        match self.kind {
            "dense" | "cnn1" | "cnn2" | "cnn3" | "embedding" => {
                let shape = &roles[0].shape;
                parts.push(self.array(layer, "weights", count(shape), &shown(shape))?);
                if roles.len() > 1 {
                    parts.push(self.array(layer, "bias", shape[0], &shape[0].to_string())?);
                }
            }
            "mha" => {
                for role in &roles {
                    let shape = &role.shape;
                    let name = match role.role.name() {
                        name if name.ends_with("weight") => format!("{name}s"),
                        name => name.to_string(),
                    };
                    parts.push(match shape.len() {
                        1 if layer.array(&name).is_empty() => vec![0.0; shape[0]],
                        _ => self.array(layer, &name, count(shape), &shown(shape))?,
                    });
                }
            }
            "lstm" | "rnn" => {
                let names: &[&str] = if self.kind == "rnn" {
                    &["weights"]
                } else {
                    &["i_weights", "f_weights", "g_weights", "o_weights"]
                };
                let lens: Vec<usize> = roles.iter().map(|role| count(&role.shape) / names.len()).collect();
                parts = vec![Vec::new(); roles.len()];
                for name in names {
                    let len = lens.iter().sum();
                    let gate = self.array(layer, name, len, &len.to_string())?;
                    let mut rest = gate.as_slice();
                    for (part, &len) in parts.iter_mut().zip(&lens) {
                        let (block, after) = rest.split_at(len);
                        part.extend_from_slice(block);
                        rest = after;
                    }
                }
            }
            _ => {
                let lens: Vec<usize> = roles.iter().map(|role| count(&role.shape)).collect();
                let len = lens.iter().sum();
                let mut rest = self.array(layer, "weights", len, &len.to_string())?;
                for len in lens {
                    let after = rest.split_off(len);
                    parts.push(std::mem::replace(&mut rest, after));
                }
            }
        }
        let store = |(role, data): (RoleShape, Vec<f32>)| {
            let store = WeightStore::f32(role.shape, data);
            let store = store.map_err(|e| format!("layer {}: {}: {e}", self.position, role.role))?;
            Ok((role.role, store))
        };
        roles.into_iter().zip(parts).map(store).collect()
    }
}

/// A shape in the original's words: `4×3`, `4×1×3²`.
fn shown(shape: &[usize]) -> String {
    match shape {
        [filters, channels, k, ..] => {
            let power = ["", "²", "³"][(shape.len() - 3).min(2)];
            format!("{filters}×{channels}×{k}{power}")
        }
        _ => shape.iter().map(ToString::to_string).collect::<Vec<_>>().join("×"),
    }
}

/// The windows of a convolution along an axis of `extent`; 0 where it has none.
fn windows(layer: &Layer, extent: i64) -> i64 {
    let [kernel, stride, padding] = ["kernel_size", "stride", "padding"].map(|name| layer.size(name));
    let padded = padding.checked_mul(2).and_then(|both| extent.checked_add(both));
    match padded.and_then(|padded| padded.checked_sub(kernel)) {
        Some(room) if room >= 0 && stride > 0 => room / stride + 1,
        _ => 0,
    }
}

fn positive(name: &str, size: i64) -> Result<usize, String> {
    usize::try_from(size).ok().filter(|&n| n > 0).ok_or_else(|| format!("{name} is {size}; it must be at least 1"))
}

/// What a bedrock's networks are fed. Source: `stream.md` section 7.2.
fn inputs(bedrock: &str, payload: &Payload) -> Result<Vec<InputSpec>, String> {
    let size = |name: &str| positive(name, payload.size(name)).map_err(|what| format!("{bedrock} stream: {what}"));
    let seq = || if payload.size("seq_len") == 0 { Ok(4) } else { size("seq_len") };
    let take = match bedrock {
        "dense" => vec![size("input_dim")?],
        "cnn1" => vec![size("input_channels")?, size("seq_len")?],
        "cnn2" => vec![size("input_channels")?, size("height")?, size("width")?],
        "cnn3" => vec![size("input_channels")?, size("depth")?, size("height")?, size("width")?],
        "mha" => vec![size("seq_len")?, size("d_model")?],
        "lstm" | "rnn" => vec![size("seq_len")?, size("input_size")?],
        "layernorm" | "rmsnorm" | "residual" => vec![seq()?, size("dim")?],
        "swiglu" => vec![seq()?, size("input_dim")?],
        "embedding" => vec![seq()?],
        _ => Vec::new(),
    };
    let names: &[&str] = match bedrock {
        "residual" => &["x_main_test", "x_skip_test"],
        "mixer" => &["x_test", "token_ids_test"],
        _ => &["x_test"],
    };
    Ok(names.iter().map(|name| InputSpec { array: (*name).into(), take: take.clone() }).collect())
}
