//! The original's JSON topology, both dialects (builder and checkpoint) read as one.
//!
//! Names are case-insensitive, as there. What the original takes silently is refused here:
//! an unknown type, activation or key, a cell outside the grid, a missing cell. Its
//! defaults are kept: a sequence length of 0 is 1, a stride of 0 is 1, attention looks back
//! over 512 positions, a softmax normalises the whole tensor.

use serde::Deserialize;

use crate::dtype::Dtype;
use crate::error::Error;
use crate::grid::{CellSpec, ChildSpec, Coord, NetworkSpec};
use crate::layers::{
    Activation, Combine, Command, Condition, ConvSpec, ConvTransposedSpec, DenseSpec, EmbeddingSpec, KMeansOutput,
    KMeansSpec, LayerNormSpec, LayerSpec, LstmSpec, MetacognitionSpec, MhaSpec, ParallelSpec, QkNorm, ResidualSpec,
    RmsNormSpec, RnnSpec, Rule, SequentialSpec, SoftmaxOver, SoftmaxSpec, SoftmaxVariant, SwiGluSpec,
};

/// Positions that the original's attention cache holds.
const CACHE: usize = 512;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    depth: usize,
    rows: usize,
    cols: usize,
    layers_per_cell: usize,
    layers: Vec<Record>,
}

/// One layer with every key that either dialect knows.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Record {
    z: usize,
    y: usize,
    x: usize,
    l: usize,
    r#type: String,
    activation: String,
    dtype: String,
    input_height: usize,
    input_width: usize,
    input_depth: usize,
    output_height: usize,
    output_width: usize,
    output_depth: usize,
    input_channels: usize,
    filters: usize,
    kernel_size: usize,
    stride: usize,
    padding: usize,
    output_padding: usize,
    num_heads: usize,
    num_kv_heads: usize,
    head_dim: usize,
    query_dim: usize,
    d_model: usize,
    seq_length: usize,
    rope_freq_base: f64,
    vocab_size: usize,
    embedding_dim: usize,
    num_clusters: usize,
    kmeans_temperature: f64,
    output_mode: String,
    temperature: f64,
    softmax_type: Option<SoftmaxName>,
    softmax_rows: usize,
    softmax_cols: usize,
    entmax_alpha: f64,
    mask: Vec<bool>,
    hierarchy_levels: Vec<usize>,
    combine_mode: String,
    parallel_branches: Vec<Record>,
    filter_gate: Option<Box<Record>>,
    sequential_layers: Vec<Record>,
    is_disabled: bool,
    is_remote_link: bool,
    target_z: usize,
    target_y: usize,
    target_x: usize,
    target_l: usize,
    meta_observed_layer: Option<Box<Record>>,
    meta_rules: Vec<RuleRecord>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum SoftmaxName {
    Code(u8),
    Name(String),
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct RuleRecord {
    condition: u8,
    threshold: f64,
    command: u8,
    #[serde(default)]
    param: usize,
    #[serde(default)]
    cooldown: u64,
    #[serde(default)]
    self_only: bool,
}

/// Reads a topology. `norms` says which per-head norms the layer at a path has, which the
/// dialect itself cannot say.
///
/// # Errors
/// [`Error::Document`] with the JSON path, or line and column, and what is wrong there.
pub fn parse(json: &str, norms: impl Fn(&str) -> QkNorm) -> Result<NetworkSpec, Error> {
    let document: Document = serde_json::from_str(json).map_err(|e| Error::Document {
        path: format!("line {} column {}", e.line(), e.column()),
        what: e.to_string(),
    })?;
    let mut network = NetworkSpec {
        depth: document.depth,
        rows: document.rows,
        cols: document.cols,
        layers_per_cell: document.layers_per_cell,
        cells: Vec::new(),
    };
    for record in &document.layers {
        let at = Coord { z: record.z, y: record.y, x: record.x, l: record.l };
        let index = network.index(at).ok_or(Error::Position { at, what: "lies outside the grid" })?;
        let layer = record.spec(&format!("layers.{index}"), &norms)?;
        network.cells.push(CellSpec { at, disabled: record.is_disabled, input: None, skip: None, layer });
    }
    Ok(network)
}

impl Record {
    fn spec(&self, path: &str, norms: &dyn Fn(&str) -> QkNorm) -> Result<LayerSpec, Error> {
        let wrong = |what: String| Error::Document { path: path.to_string(), what };
        if !self.dtype.is_empty() && Dtype::find(&self.dtype) != Some(Dtype::Float32) {
            return Err(wrong(format!("dtype {:?}: only float32 topologies are read so far", self.dtype)));
        }
        let activation = self.activation().map_err(wrong)?;
        let (input, output) = (self.input_height, self.output_height);
        let kind = self.r#type.to_ascii_uppercase();
        Ok(match kind.as_str() {
            "DENSE" => LayerSpec::Dense(DenseSpec { input_dim: input, output_dim: output, activation, bias: false }),
            "MHA" | "ATTENTION" | "MULTIHEADATTENTION" => LayerSpec::Mha(self.mha(norms(path)).map_err(wrong)?),
            "SWIGLU" => LayerSpec::SwiGlu(SwiGluSpec { input_dim: input, intermediate_dim: output, bias: true }),
            "RMSNORM" => LayerSpec::RmsNorm(RmsNormSpec { dim: self.norm_dim(), eps: 1e-6 }),
            "LAYERNORM" => LayerSpec::LayerNorm(LayerNormSpec { dim: self.norm_dim(), eps: 1e-5, beta: true }),
            "CNN1" => LayerSpec::Cnn1(self.conv([input], [output], activation)),
            "CNN2" => LayerSpec::Cnn2(self.conv([input, self.input_width], [output, self.output_width], activation)),
            "CNN3" => LayerSpec::Cnn3(self.conv(
                [self.input_depth, input, self.input_width],
                [self.output_depth, output, self.output_width],
                activation,
            )),
            "CONVTRANSPOSED1D" => {
                LayerSpec::ConvTransposed1(self.conv_transposed([self.input_width], [self.output_width], activation))
            }
            "CONVTRANSPOSED2D" => LayerSpec::ConvTransposed2(self.conv_transposed(
                [input, self.input_width],
                [output, self.output_width],
                activation,
            )),
            "CONVTRANSPOSED3D" => LayerSpec::ConvTransposed3(self.conv_transposed(
                [self.input_depth, input, self.input_width],
                [self.output_depth, output, self.output_width],
                activation,
            )),
            "RNN" => {
                let seq_length = self.seq_length.max(1);
                LayerSpec::Rnn(RnnSpec { input_size: input, hidden_size: output, seq_length, bias: true })
            }
            "LSTM" => {
                let seq_length = self.seq_length.max(1);
                LayerSpec::Lstm(LstmSpec { input_size: input, hidden_size: output, seq_length, bias: true })
            }
            "EMBEDDING" => LayerSpec::Embedding(EmbeddingSpec {
                vocab_size: self.vocab_size,
                embedding_dim: self.embedding_dim,
                activation,
            }),
            "KMEANS" => LayerSpec::KMeans(KMeansSpec {
                num_clusters: self.num_clusters,
                input_dim: input,
                temperature: or(self.kmeans_temperature, 1.0),
                output: self.output_mode().map_err(wrong)?,
                activation,
            }),
            "SOFTMAX" => LayerSpec::Softmax(self.softmax().map_err(wrong)?),
            "RESIDUAL" => LayerSpec::Residual(ResidualSpec {}),
            "PARALLEL" => {
                let gate = self.filter_gate.as_ref().map(|gate| gate.spec(&format!("{path}.filter_gate"), norms));
                LayerSpec::Parallel(ParallelSpec {
                    branches: children(&self.parallel_branches, &format!("{path}.parallel_branches"), norms)?,
                    combine: self.combine().map_err(wrong)?,
                    gate: gate.transpose()?.map(Box::new),
                })
            }
            "SEQUENTIAL" => LayerSpec::Sequential(SequentialSpec {
                steps: children(&self.sequential_layers, &format!("{path}.sequential_layers"), norms)?,
            }),
            "META" | "METACOGNITION" => {
                let inner = format!("{path}.meta_observed_layer");
                let observed = self.meta_observed_layer.as_ref().map(|layer| layer.spec(&inner, norms)).transpose()?;
                let rules = self.meta_rules.iter().map(RuleRecord::rule).collect::<Result<_, _>>().map_err(wrong)?;
                LayerSpec::Metacognition(MetacognitionSpec { observed: observed.map(Box::new), rules })
            }
            _ => return Err(wrong(format!("unknown layer type {:?}", self.r#type))),
        })
    }

    fn activation(&self) -> Result<Activation, String> {
        Ok(match self.activation.to_ascii_uppercase().as_str() {
            "" | "LINEAR" | "-1" => Activation::Linear,
            "RELU" | "0" => Activation::Relu,
            "SILU" | "1" => Activation::Silu,
            "GELU" | "2" => Activation::Gelu,
            "TANH" | "3" => Activation::Tanh,
            "SIGMOID" | "4" => Activation::Sigmoid,
            "LEAKYRELU" | "5" => Activation::LeakyRelu,
            "RELU2" | "6" => Activation::Relu2,
            _ => return Err(format!("unknown activation {:?}", self.activation)),
        })
    }

    fn output_mode(&self) -> Result<KMeansOutput, String> {
        match self.output_mode.to_ascii_lowercase().as_str() {
            "" | "probabilities" => Ok(KMeansOutput::Probabilities),
            "features" => Ok(KMeansOutput::Features),
            _ => Err(format!("unknown output_mode {:?}; expected probabilities or features", self.output_mode)),
        }
    }

    fn norm_dim(&self) -> usize {
        if self.output_height == 0 { self.input_height } else { self.output_height }
    }

    fn conv<const N: usize>(&self, input: [usize; N], output: [usize; N], activation: Activation) -> ConvSpec<N> {
        ConvSpec {
            in_channels: self.input_channels,
            filters: self.filters,
            input: input.to_vec(),
            kernel_size: self.kernel_size,
            stride: self.stride.max(1),
            padding: self.padding,
            output: Some(output.to_vec()),
            activation,
            bias: false,
        }
    }

    fn conv_transposed<const N: usize>(
        &self,
        input: [usize; N],
        output: [usize; N],
        activation: Activation,
    ) -> ConvTransposedSpec<N> {
        ConvTransposedSpec {
            in_channels: self.input_channels,
            filters: self.filters,
            input: input.to_vec(),
            kernel_size: self.kernel_size,
            stride: self.stride.max(1),
            padding: self.padding,
            output_padding: self.output_padding,
            output: Some(output.to_vec()),
            activation,
            bias: false,
        }
    }

    fn mha(&self, qk_norm: QkNorm) -> Result<MhaSpec, String> {
        let head =
            if self.head_dim == 0 { self.d_model.checked_div(self.num_heads).unwrap_or(0) } else { self.head_dim };
        if self.query_dim != 0 && self.num_heads.checked_mul(head) != Some(self.query_dim) {
            return Err(format!(
                "query_dim {} is not num_heads {} times head_dim {head}",
                self.query_dim, self.num_heads
            ));
        }
        Ok(MhaSpec {
            d_model: self.d_model,
            num_heads: self.num_heads,
            num_kv_heads: Some(if self.num_kv_heads == 0 { self.num_heads } else { self.num_kv_heads }),
            head_dim: Some(head),
            seq_length: None,
            causal: true,
            rope: true,
            rope_base: or(self.rope_freq_base, 10_000.0),
            qk_norm,
            eps: 1e-6,
            window: Some(CACHE),
            bias: true,
        })
    }

    fn softmax(&self) -> Result<SoftmaxSpec, String> {
        const NAMES: [(&str, SoftmaxVariant); 10] = [
            ("STANDARD", SoftmaxVariant::Standard),
            ("GRID", SoftmaxVariant::Grid),
            ("HIERARCHICAL", SoftmaxVariant::Hierarchical),
            ("TEMPERATURE", SoftmaxVariant::Temperature),
            ("GUMBEL", SoftmaxVariant::Gumbel),
            ("MASKED", SoftmaxVariant::Masked),
            ("SPARSE", SoftmaxVariant::Sparse),
            ("ADAPTIVE", SoftmaxVariant::Adaptive),
            ("MIXTURE", SoftmaxVariant::Mixture),
            ("ENTMAX", SoftmaxVariant::Entmax),
        ];
        let variant = match &self.softmax_type {
            None => Some(SoftmaxVariant::Standard),
            Some(SoftmaxName::Code(code)) => NAMES.get(usize::from(*code)).map(|(_, variant)| *variant),
            Some(SoftmaxName::Name(name)) => {
                NAMES.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, variant)| *variant)
            }
        };
        Ok(SoftmaxSpec {
            variant: variant.ok_or("unknown softmax_type; expected 0 to 9 or a variant's name")?,
            over: SoftmaxOver::Tensor,
            temperature: or(self.temperature, 1.0),
            rows: self.softmax_rows,
            cols: self.softmax_cols,
            levels: self.hierarchy_levels.clone(),
            mask: self.mask.clone(),
            alpha: or(self.entmax_alpha, 1.5),
            seed: 0,
        })
    }

    fn combine(&self) -> Result<Combine, String> {
        Ok(match self.combine_mode.to_ascii_lowercase().as_str() {
            "" | "concat" => Combine::Concat,
            "grid_scatter" => Combine::GridScatter,
            "add" => Combine::Add,
            "avg" => Combine::Avg,
            "filter" => Combine::Filter,
            other => return Err(format!("unknown combine_mode {other:?}")),
        })
    }
}

impl RuleRecord {
    fn rule(&self) -> Result<Rule, String> {
        Ok(Rule {
            condition: match self.condition {
                1 => Condition::StdAbove,
                2 => Condition::StdBelow,
                3 => Condition::MeanAbove,
                4 => Condition::MeanBelow,
                5 => Condition::MaxAbove,
                6 => Condition::ActiveBelow,
                7 => Condition::StdGrowth,
                8 => Condition::GainDrift,
                other => return Err(format!("unknown rule condition {other}; expected 1 to 8")),
            },
            threshold: self.threshold,
            command: match self.command {
                70 => Command::BecomeDense,
                83 => Command::BecomeSoftmax,
                90 => Command::BecomeRmsNorm,
                101 => Command::ResetToIdentity,
                other => {
                    return Err(format!(
                        "rule command {other} leaves a broken or random layer; expected 70, 83, 90 or 101"
                    ));
                }
            },
            cooldown: self.cooldown,
            target: (!self.self_only).then_some(self.param),
        })
    }
}

fn children(records: &[Record], path: &str, norms: &dyn Fn(&str) -> QkNorm) -> Result<Vec<ChildSpec>, Error> {
    let child = |(i, record): (usize, &Record)| {
        let target = Coord { z: record.target_z, y: record.target_y, x: record.target_x, l: record.target_l };
        let (layer, link) = match record.is_remote_link {
            true => (None, Some(target)),
            false => (Some(record.spec(&format!("{path}.{i}"), norms)?), None),
        };
        Ok(ChildSpec { disabled: record.is_disabled, layer, link })
    };
    records.iter().enumerate().map(child).collect()
}

/// `value`, or `default` where the file has 0 or nothing.
fn or(value: f64, default: f64) -> f64 {
    if value == 0.0 { default } else { value }
}
