//! Records and layer configurations, each made of the other.
//!
//! A record says more than a layer uses, and a configuration more than version 1 has keys for;
//! what is not said is the original's default. A layer that contradicts itself is refused.

#![forbid(unsafe_code)]

use super::codes::{COMMANDS, CONDITIONS, VARIANTS, command_code, condition_code, softmax_name};
use super::record::{Key, Record, RuleRecord, Step, Value};
use super::topology::{Has, LayerPath};
use crate::coord::Coord;
use crate::error::{Error, Result};
use crate::layers::{
    Activation, ChildSpec, Combine, ConvSpec, ConvTransposedSpec, DenseSpec, EmbeddingSpec, KMeansOutput, KMeansSpec,
    LayerKind, LayerNormSpec, LayerSpec, LstmSpec, MetacognitionSpec, MhaSpec, ParallelSpec, QkNorm, ResidualSpec,
    RmsNormSpec, RnnSpec, Rule, SequentialSpec, SoftmaxOver, SoftmaxSpec, SwiGluSpec,
};

impl Record {
    /// The configuration of the layer at `path`.
    pub(super) fn spec(&self, path: &LayerPath, has: &dyn Fn(&LayerPath) -> Has) -> Result<LayerSpec> {
        let wrong = |what: String| Error::Document { path: path.to_string(), what };
        let Has { qk_norm, bias } = has(path);
        let activation = self.activation;
        let (input, output) = (self.size(Key::InputHeight), self.size(Key::OutputHeight));
        let (width, out_width) = (self.size(Key::InputWidth), self.size(Key::OutputWidth));
        let (depth, out_depth) = (self.size(Key::InputDepth), self.size(Key::OutputDepth));
        Ok(match self.kind {
            LayerKind::Dense => LayerSpec::Dense(DenseSpec {
                input_dim: input,
                output_dim: output,
                activation,
                bias: bias.unwrap_or(false),
            }),
            LayerKind::Mha => LayerSpec::Mha(self.mha(qk_norm, bias.unwrap_or(true)).map_err(wrong)?),
            LayerKind::SwiGlu => {
                LayerSpec::SwiGlu(SwiGluSpec { input_dim: input, intermediate_dim: output, bias: bias.unwrap_or(true) })
            }
            LayerKind::RmsNorm => LayerSpec::RmsNorm(RmsNormSpec { dim: self.norm_dim(), eps: self.eps(1e-6) }),
            LayerKind::LayerNorm => LayerSpec::LayerNorm(LayerNormSpec {
                dim: self.norm_dim(),
                eps: self.eps(1e-5),
                beta: bias.unwrap_or(true),
            }),
            LayerKind::Cnn1 => LayerSpec::Cnn1(self.conv([input], [output], bias)),
            LayerKind::Cnn2 => LayerSpec::Cnn2(self.conv([input, width], [output, out_width], bias)),
            LayerKind::Cnn3 => LayerSpec::Cnn3(self.conv([depth, input, width], [out_depth, output, out_width], bias)),
            LayerKind::ConvTransposed1 => LayerSpec::ConvTransposed1(self.conv_transposed([width], [out_width], bias)),
            LayerKind::ConvTransposed2 => {
                LayerSpec::ConvTransposed2(self.conv_transposed([input, width], [output, out_width], bias))
            }
            LayerKind::ConvTransposed3 => LayerSpec::ConvTransposed3(self.conv_transposed(
                [depth, input, width],
                [out_depth, output, out_width],
                bias,
            )),
            LayerKind::Rnn => LayerSpec::Rnn(RnnSpec {
                input_size: input,
                hidden_size: output,
                seq_length: self.size(Key::SeqLength).max(1),
                bias: bias.unwrap_or(true),
            }),
            LayerKind::Lstm => LayerSpec::Lstm(LstmSpec {
                input_size: input,
                hidden_size: output,
                seq_length: self.size(Key::SeqLength).max(1),
                bias: bias.unwrap_or(true),
            }),
            LayerKind::Embedding => LayerSpec::Embedding(EmbeddingSpec {
                vocab_size: self.size(Key::VocabSize),
                embedding_dim: self.size(Key::EmbeddingDim),
                activation,
            }),
            LayerKind::KMeans => LayerSpec::KMeans(KMeansSpec {
                num_clusters: self.size(Key::NumClusters),
                input_dim: input,
                temperature: or(self.float(Key::KmeansTemperature), 1.0),
                output: self.output_mode().map_err(wrong)?,
                activation,
            }),
            LayerKind::Softmax => LayerSpec::Softmax(self.softmax().map_err(wrong)?),
            LayerKind::Residual => LayerSpec::Residual(ResidualSpec { dim: Some(input).filter(|&dim| dim > 0) }),
            LayerKind::Parallel => {
                let gate = self.child(Step::Gate).map(|gate| gate.spec(&path.inner(Step::Gate), has)).transpose()?;
                LayerSpec::Parallel(ParallelSpec {
                    branches: self.nested(Key::ParallelBranches, path, has)?,
                    combine: self.combine().map_err(wrong)?,
                    gate: gate.map(Box::new),
                })
            }
            LayerKind::Sequential => {
                LayerSpec::Sequential(SequentialSpec { steps: self.nested(Key::SequentialLayers, path, has)? })
            }
            LayerKind::Metacognition => {
                let observed = self.child(Step::Observed);
                let observed = observed.map(|layer| layer.spec(&path.inner(Step::Observed), has)).transpose()?;
                let rules: &[RuleRecord] = match self.get(Key::MetaRules) {
                    Some(Value::Rules(rules)) => rules,
                    _ => &[],
                };
                let rules = rules.iter().map(RuleRecord::rule).collect::<std::result::Result<_, _>>().map_err(wrong)?;
                LayerSpec::Metacognition(MetacognitionSpec { observed: observed.map(Box::new), rules })
            }
        })
    }

    /// The record of a layer, in float32 and without a position.
    pub(super) fn of_spec(spec: &LayerSpec, path: &LayerPath) -> Result<Self> {
        let wrong = |what: String| Error::Document { path: path.to_string(), what };
        let mut record = Self::new(spec.kind(), Activation::Linear);
        // What 0.80 holds after a load; its `.entity` leaves a 1 out where it says nothing.
        record.set_size(Key::SeqLength, 1);
        let mut sizes = |pairs: &[(Key, usize)]| pairs.iter().for_each(|(key, size)| record.set_size(*key, *size));
        match spec {
            LayerSpec::Dense(s) => {
                sizes(&[(Key::InputHeight, s.input_dim), (Key::OutputHeight, s.output_dim)]);
                record.activation = s.activation;
            }
            LayerSpec::Mha(s) => {
                let head = s.head_dim.unwrap_or(s.d_model / s.num_heads.max(1));
                let query = s.num_heads.saturating_mul(head);
                sizes(&[
                    (Key::NumHeads, s.num_heads),
                    (Key::NumKvHeads, s.num_kv_heads.unwrap_or(s.num_heads)),
                    (Key::HeadDim, head),
                    (Key::QueryDim, if query == s.d_model { 0 } else { query }),
                    (Key::DModel, s.d_model),
                    (Key::SeqLength, s.seq_length.unwrap_or(0)),
                    (Key::Window, s.window.unwrap_or(0)),
                ]);
                if s.window.is_none() {
                    record.remove(Key::Window);
                }
                record.activation = Activation::Relu;
                record.set_float(Key::RopeFreqBase, if s.rope_base == 10_000.0 { 0.0 } else { s.rope_base });
                record.set_eps(s.eps, 1e-6);
                record.set_flag(Key::Bidirectional, !s.causal);
                record.set_flag(Key::NoRope, !s.rope);
            }
            LayerSpec::SwiGlu(s) => {
                sizes(&[(Key::InputHeight, s.input_dim), (Key::OutputHeight, s.intermediate_dim)]);
                record.activation = Activation::Silu;
            }
            LayerSpec::RmsNorm(s) => {
                sizes(&[(Key::InputHeight, s.dim), (Key::OutputHeight, s.dim)]);
                record.set_eps(s.eps, 1e-6);
            }
            LayerSpec::LayerNorm(s) => {
                sizes(&[(Key::InputHeight, s.dim), (Key::OutputHeight, s.dim)]);
                record.set_eps(s.eps, 1e-5);
            }
            LayerSpec::Cnn1(s) => record.set_conv(s),
            LayerSpec::Cnn2(s) => record.set_conv(s),
            LayerSpec::Cnn3(s) => record.set_conv(s),
            LayerSpec::ConvTransposed1(s) => record.set_conv_transposed(s),
            LayerSpec::ConvTransposed2(s) => record.set_conv_transposed(s),
            LayerSpec::ConvTransposed3(s) => record.set_conv_transposed(s),
            LayerSpec::Rnn(RnnSpec { input_size, hidden_size, seq_length, .. })
            | LayerSpec::Lstm(LstmSpec { input_size, hidden_size, seq_length, .. }) => {
                sizes(&[
                    (Key::InputHeight, *input_size),
                    (Key::OutputHeight, *hidden_size),
                    (Key::SeqLength, *seq_length),
                ]);
                record.activation = Activation::Relu;
            }
            LayerSpec::Embedding(s) => {
                sizes(&[
                    (Key::InputHeight, s.vocab_size),
                    (Key::OutputHeight, s.embedding_dim),
                    (Key::VocabSize, s.vocab_size),
                    (Key::EmbeddingDim, s.embedding_dim),
                ]);
                record.activation = s.activation;
            }
            LayerSpec::KMeans(s) => {
                sizes(&[(Key::InputHeight, s.input_dim), (Key::NumClusters, s.num_clusters)]);
                record.activation = s.activation;
                record.set_float(Key::KmeansTemperature, s.temperature);
                if s.output == KMeansOutput::Features {
                    record.set_text(Key::OutputMode, "features");
                }
            }
            LayerSpec::Softmax(s) => record.set_softmax(s),
            LayerSpec::Residual(s) => {
                let dim = s.dim.unwrap_or(0);
                sizes(&[(Key::InputHeight, dim), (Key::OutputHeight, dim)]);
            }
            LayerSpec::Parallel(s) => {
                record.set(Key::ParallelBranches, Value::Layers(records(&s.branches, path, Step::Branch)?));
                record.set_text(Key::CombineMode, combine_name(s.combine));
                if let Some(gate) = &s.gate {
                    let gate = Record::of_spec(gate, &path.inner(Step::Gate))?;
                    record.set(Key::FilterGate, Value::Layer(Box::new(gate)));
                }
            }
            LayerSpec::Sequential(s) => {
                record.set(Key::SequentialLayers, Value::Layers(records(&s.steps, path, Step::Sequential)?));
            }
            LayerSpec::Metacognition(s) => {
                let rules = s.rules.iter().map(RuleRecord::of_rule).collect::<std::result::Result<_, _>>();
                record.set(Key::MetaRules, Value::Rules(rules.map_err(wrong)?));
                if let Some(observed) = &s.observed {
                    let observed = Record::of_spec(observed, &path.inner(Step::Observed))?;
                    record.set(Key::MetaObservedLayer, Value::Layer(Box::new(observed)));
                }
            }
        }
        Ok(record)
    }

    fn nested(&self, key: Key, path: &LayerPath, has: &dyn Fn(&LayerPath) -> Has) -> Result<Vec<ChildSpec>> {
        let Some(Value::Layers(layers)) = self.get(key) else { return Ok(Vec::new()) };
        let child = |(i, record): (usize, &Record)| {
            let [z, y, x, l] = [Key::TargetZ, Key::TargetY, Key::TargetX, Key::TargetL].map(|key| record.size(key));
            let step = if key == Key::ParallelBranches { Step::Branch(i) } else { Step::Sequential(i) };
            let (layer, link) = match record.has(Key::IsRemoteLink) {
                true => (None, Some(Coord { z, y, x, l })),
                false => (Some(record.spec(&path.inner(step), has)?), None),
            };
            Ok(ChildSpec { disabled: record.has(Key::IsDisabled), layer, link })
        };
        layers.iter().enumerate().map(child).collect()
    }

    fn eps(&self, default: f64) -> f64 {
        if self.has(Key::Eps) { self.float(Key::Eps) } else { default }
    }

    fn set_eps(&mut self, eps: f64, default: f64) {
        if eps != default {
            self.set_float(Key::Eps, eps);
        }
    }

    fn output_mode(&self) -> std::result::Result<KMeansOutput, String> {
        let mode = self.text(Key::OutputMode);
        match mode.to_ascii_lowercase().as_str() {
            "" | "probabilities" => Ok(KMeansOutput::Probabilities),
            "features" => Ok(KMeansOutput::Features),
            _ => Err(format!("unknown output_mode {mode:?}; expected probabilities or features")),
        }
    }

    fn norm_dim(&self) -> usize {
        match self.size(Key::OutputHeight) {
            0 => self.size(Key::InputHeight),
            dim => dim,
        }
    }

    fn conv<const N: usize>(&self, input: [usize; N], output: [usize; N], bias: Option<bool>) -> ConvSpec<N> {
        ConvSpec {
            in_channels: self.size(Key::InputChannels),
            filters: self.size(Key::Filters),
            input: input.to_vec(),
            kernel_size: self.size(Key::KernelSize),
            stride: self.size(Key::Stride).max(1),
            padding: self.size(Key::Padding),
            output: Some(output.to_vec()),
            activation: self.activation,
            bias: bias.unwrap_or(false),
        }
    }

    fn conv_transposed<const N: usize>(
        &self,
        input: [usize; N],
        output: [usize; N],
        bias: Option<bool>,
    ) -> ConvTransposedSpec<N> {
        ConvTransposedSpec {
            in_channels: self.size(Key::InputChannels),
            filters: self.size(Key::Filters),
            input: input.to_vec(),
            kernel_size: self.size(Key::KernelSize),
            stride: self.size(Key::Stride).max(1),
            padding: self.size(Key::Padding),
            output_padding: self.size(Key::OutputPadding),
            output: Some(output.to_vec()),
            activation: self.activation,
            bias: bias.unwrap_or(false),
        }
    }

    /// Sets the sizes of a plane: height alone for one axis, then width, then depth in front.
    fn set_planes(&mut self, one: [Key; 2], input: &[usize], output: &[usize]) {
        let keys: &[[Key; 2]] = &[
            [Key::InputDepth, Key::OutputDepth],
            [Key::InputHeight, Key::OutputHeight],
            [Key::InputWidth, Key::OutputWidth],
        ];
        let keys = match input.len() {
            1 => std::slice::from_ref(&one),
            n => &keys[3 - n..],
        };
        for ((keys, &input), &output) in keys.iter().zip(input).zip(output) {
            self.set_size(keys[0], input);
            self.set_size(keys[1], output);
        }
    }

    fn set_conv<const N: usize>(&mut self, spec: &ConvSpec<N>) {
        self.activation = spec.activation;
        self.set_planes([Key::InputHeight, Key::OutputHeight], &spec.input, &spec.output_extents());
        for (key, size) in [
            (Key::InputChannels, spec.in_channels),
            (Key::Filters, spec.filters),
            (Key::KernelSize, spec.kernel_size),
            (Key::Stride, spec.stride),
            (Key::Padding, spec.padding),
        ] {
            self.set_size(key, size);
        }
    }

    fn set_conv_transposed<const N: usize>(&mut self, spec: &ConvTransposedSpec<N>) {
        self.activation = spec.activation;
        self.set_planes([Key::InputWidth, Key::OutputWidth], &spec.input, &spec.output_extents());
        for (key, size) in [
            (Key::InputChannels, spec.in_channels),
            (Key::Filters, spec.filters),
            (Key::KernelSize, spec.kernel_size),
            (Key::Stride, spec.stride),
            (Key::Padding, spec.padding),
            (Key::OutputPadding, spec.output_padding),
        ] {
            self.set_size(key, size);
        }
    }

    fn mha(&self, qk_norm: QkNorm, bias: bool) -> std::result::Result<MhaSpec, String> {
        let (model, heads, query) = (self.size(Key::DModel), self.size(Key::NumHeads), self.size(Key::QueryDim));
        let head = match self.size(Key::HeadDim) {
            0 => model.checked_div(heads).unwrap_or(0),
            head => head,
        };
        if query != 0 && heads.checked_mul(head) != Some(query) {
            return Err(format!("query_dim {query} is not num_heads {heads} times head_dim {head}"));
        }
        let kv = self.size(Key::NumKvHeads);
        Ok(MhaSpec {
            d_model: model,
            num_heads: heads,
            num_kv_heads: Some(if kv == 0 { heads } else { kv }),
            head_dim: Some(head),
            // The original takes a length of 1 for none.
            seq_length: Some(self.size(Key::SeqLength)).filter(|&length| length > 1),
            causal: !self.has(Key::Bidirectional),
            rope: !self.has(Key::NoRope),
            rope_base: or(self.float(Key::RopeFreqBase), 10_000.0),
            qk_norm,
            eps: self.eps(1e-6),
            window: Some(self.size(Key::Window)).filter(|_| self.has(Key::Window)),
            bias,
        })
    }

    fn softmax(&self) -> std::result::Result<SoftmaxSpec, String> {
        let name = self.text(Key::SoftmaxType);
        let variant = VARIANTS.iter().find(|variant| softmax_name(**variant) == name);
        let variant = variant.ok_or_else(|| format!("no softmax {name:?}"))?;
        let seed = match self.get(Key::Seed) {
            Some(Value::Ints(seed)) => seed.first().copied().unwrap_or(0),
            _ => 0,
        };
        Ok(SoftmaxSpec {
            variant: *variant,
            over: if self.has(Key::SoftmaxOverRows) { SoftmaxOver::Row } else { SoftmaxOver::Tensor },
            temperature: or(self.float(Key::Temperature), 1.0),
            rows: self.size(Key::SoftmaxRows),
            cols: self.size(Key::SoftmaxCols),
            levels: match self.get(Key::HierarchyLevels) {
                Some(Value::Ints(levels)) => levels.iter().map(|&v| usize::try_from(v).unwrap_or(0)).collect(),
                _ => Vec::new(),
            },
            mask: match self.get(Key::Mask) {
                Some(Value::Bools(mask)) => mask.clone(),
                _ => Vec::new(),
            },
            alpha: or(self.float(Key::EntmaxAlpha), 1.5),
            seed,
        })
    }

    fn set_softmax(&mut self, spec: &SoftmaxSpec) {
        self.set_text(Key::SoftmaxType, softmax_name(spec.variant));
        self.set_float(Key::Temperature, spec.temperature);
        self.set_size(Key::SoftmaxRows, spec.rows);
        self.set_size(Key::SoftmaxCols, spec.cols);
        self.set_float(Key::EntmaxAlpha, spec.alpha);
        self.set_flag(Key::SoftmaxOverRows, spec.over == SoftmaxOver::Row);
        if spec.seed != 0 {
            self.set(Key::Seed, Value::Ints(vec![spec.seed]));
        }
        if !spec.mask.is_empty() {
            self.set(Key::Mask, Value::Bools(spec.mask.clone()));
        }
        if !spec.levels.is_empty() {
            self.set(Key::HierarchyLevels, Value::Ints(spec.levels.iter().map(|&v| v as u64).collect()));
        }
    }

    fn combine(&self) -> std::result::Result<Combine, String> {
        let mode = self.text(Key::CombineMode);
        Ok(match mode.to_ascii_lowercase().as_str() {
            "" | "concat" => Combine::Concat,
            "grid_scatter" => Combine::GridScatter,
            "add" => Combine::Add,
            "avg" => Combine::Avg,
            "filter" => Combine::Filter,
            _ => return Err(format!("unknown combine_mode {mode:?}")),
        })
    }
}

fn combine_name(combine: Combine) -> &'static str {
    match combine {
        Combine::Concat => "concat",
        Combine::GridScatter => "grid_scatter",
        Combine::Add => "add",
        Combine::Avg => "avg",
        Combine::Filter => "filter",
    }
}

/// The records of a container's children. A link has the record of an empty residual layer.
fn records(children: &[ChildSpec], path: &LayerPath, step: fn(usize) -> Step) -> Result<Vec<Record>> {
    let record = |(i, child): (usize, &ChildSpec)| {
        let mut record = match (&child.layer, child.link) {
            (Some(layer), _) => Record::of_spec(layer, &path.inner(step(i)))?,
            (None, Some(target)) => {
                let mut record = Record::new(LayerKind::Residual, Activation::Linear);
                record.set_flag(Key::IsRemoteLink, true);
                for (key, at) in [
                    (Key::TargetZ, target.z),
                    (Key::TargetY, target.y),
                    (Key::TargetX, target.x),
                    (Key::TargetL, target.l),
                ] {
                    if at != 0 {
                        record.set_size(key, at);
                    }
                }
                record
            }
            (None, None) => Record::new(LayerKind::Residual, Activation::Linear),
        };
        record.set_flag(Key::IsDisabled, child.disabled);
        Ok(record)
    };
    children.iter().enumerate().map(record).collect()
}

impl RuleRecord {
    fn rule(&self) -> std::result::Result<Rule, String> {
        let condition = CONDITIONS.iter().find(|condition| condition_code(**condition) == self.condition);
        let condition =
            condition.ok_or_else(|| format!("unknown rule condition {}; expected 1 to 8", self.condition))?;
        let command = COMMANDS.iter().find(|command| command_code(**command) == self.command);
        let command = command.ok_or_else(|| {
            let command = self.command;
            format!("rule command {command} leaves a broken or random layer; expected 70, 83, 90 or 101")
        })?;
        let column = || match self.param {
            param if param >= 0.0 && param.fract() == 0.0 && param < 16_777_216.0 => Ok(param as usize),
            param => Err(format!("rule parameter {param} is not a column of the grid")),
        };
        Ok(Rule {
            condition: *condition,
            threshold: self.threshold,
            command: *command,
            cooldown: u64::try_from(self.cooldown)
                .map_err(|_| format!("rule cooldown {} is negative", self.cooldown))?,
            target: if self.self_only { None } else { Some(column()?) },
        })
    }

    fn of_rule(rule: &Rule) -> std::result::Result<Self, String> {
        let column = rule.target.unwrap_or(0);
        if column >= 1 << 24 {
            return Err(format!("rule target {column} is no number that float32 holds"));
        }
        Ok(Self {
            condition: condition_code(rule.condition),
            threshold: rule.threshold,
            command: command_code(rule.command),
            param: column as f32,
            cooldown: i64::try_from(rule.cooldown).map_err(|_| "rule cooldown is beyond 63 bits".to_string())?,
            self_only: rule.target.is_none(),
        })
    }
}

/// `value`, or `default` where the file has 0 or nothing.
fn or(value: f64, default: f64) -> f64 {
    if value == 0.0 { default } else { value }
}
