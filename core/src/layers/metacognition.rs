//! Watches a layer and changes it by rules.
//!
//! Each forward takes statistics of the input, runs the observed layer, takes statistics of
//! the output and tries the rules in order. A rule whose cooldown has not passed only
//! counts; the others test their condition and, when it holds, execute their command. If
//! any did, the observed layer runs again and that is the output. The network itself never
//! changes: what a rule puts in a layer's place lives in the [`crate::State`].

use std::collections::BTreeMap;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[cfg(feature = "gpu")]
use super::Recorder;
use super::{
    Activation, ChildSpec, DenseSpec, Family, Layer, LayerSpec, Links, RmsNormSpec, Run, SoftmaxOver, SoftmaxSpec,
    elements,
};
use crate::coord::Coord;
use crate::error::{ConfigError, Error, Problem, Result, RuleError};
#[cfg(feature = "gpu")]
use crate::gpu::GpuArray;
use crate::role::Role;
use crate::store::{WeightStore, Weights};
use crate::tensor::Tensor;

/// What a rule tests; the threshold is its only parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    /// Standard deviation of the output above the threshold.
    StdAbove,
    /// Standard deviation of the output below the threshold.
    StdBelow,
    /// Magnitude of the output's mean above the threshold.
    MeanAbove,
    /// Magnitude of the output's mean below the threshold.
    MeanBelow,
    /// Magnitude of the output's maximum above the threshold.
    MaxAbove,
    /// Share of outputs above 1e-6 in magnitude below the threshold.
    ActiveBelow,
    /// Standard deviation of the newest input over that of two inputs before above the threshold.
    StdGrowth,
    /// Ratio of mean magnitudes, output to input, further than the threshold from 1.
    GainDrift,
}

/// What a rule does to its target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// Becomes a linear dense layer: the identity overlaid with the old weights.
    BecomeDense,
    /// Becomes a softmax over the whole tensor.
    BecomeSoftmax,
    /// Becomes an RMS norm whose gain is the head of the old weights.
    BecomeRmsNorm,
    /// A square dense layer becomes the identity, a dense layer of one output the first unit vector.
    ResetToIdentity,
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// What is tested.
    pub condition: Condition,
    /// Its threshold.
    pub threshold: f64,
    /// What is done.
    pub command: Command,
    /// How many forwards must pass before the rule is tested, from the first one on.
    #[serde(default)]
    pub cooldown: u64,
    /// The column x of the target layer (0,0,x,0); absent means the observed layer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<usize>,
}

/// Configuration of a metacognition wrapper.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MetacognitionSpec {
    /// The layer that is watched; without one the wrapper is the identity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed: Option<Box<LayerSpec>>,
    /// The rules, tried in order.
    #[serde(default)]
    pub rules: Vec<Rule>,
}

/// What metacognition remembers in a [`crate::State`].
#[derive(Clone, Debug, Default)]
pub(crate) struct MetaState {
    history: Vec<Statistics>,
    waited: BTreeMap<(usize, usize), u64>,
}

#[derive(Clone, Copy, Debug)]
struct Statistics {
    mean: f32,
    std: f32,
    max: f32,
    active: f32,
}

impl Statistics {
    fn of(x: &[f32]) -> Self {
        let n = x.len().max(1) as f64;
        let sum = |f: fn(f64) -> f64| x.iter().fold(0.0, |sum, &v| sum + f(f64::from(v)));
        let mean = sum(|v| v) / n;
        Self {
            mean: mean as f32,
            std: (sum(|v| v * v) / n - mean * mean).max(0.0).sqrt() as f32,
            max: x.iter().copied().fold(f32::NEG_INFINITY, f32::max),
            active: (x.iter().filter(|v| v.abs() > 1e-6).count() as f64 / n) as f32,
        }
    }
}

impl Rule {
    /// The layer that the command changes, unless the rule points outside the grid.
    fn target<'a>(&self, links: &'a dyn Links, observed: &'a Layer) -> Option<&'a Layer> {
        let Some(x) = self.target else { return Some(observed) };
        let target = links.at(Coord { x, ..Coord::default() })?;
        match (&target.spec, target.children.first()) {
            (LayerSpec::Metacognition(_), Some(child)) => child.layer(links),
            _ => Some(target),
        }
    }

    fn holds(&self, input: Statistics, output: Statistics, history: &[Statistics]) -> bool {
        let t = self.threshold;
        match self.condition {
            Condition::StdAbove => f64::from(output.std) > t,
            Condition::StdBelow => f64::from(output.std) < t,
            Condition::MeanAbove => f64::from(output.mean.abs()) > t,
            Condition::MeanBelow => f64::from(output.mean.abs()) < t,
            Condition::MaxAbove => f64::from(output.max.abs()) > t,
            Condition::ActiveBelow => f64::from(output.active) < t,
            Condition::StdGrowth => match history {
                [.., before, _, last] if before.std != 0.0 => f64::from(last.std / before.std) > t,
                _ => false,
            },
            Condition::GainDrift => {
                let base = input.mean.abs();
                base >= 1e-6 && f64::from((output.mean.abs() / base - 1.0).abs()) > t
            }
        }
    }
}

impl Command {
    /// The name used in messages.
    fn name(self) -> &'static str {
        match self {
            Command::BecomeDense => "BecomeDense",
            Command::BecomeSoftmax => "BecomeSoftmax",
            Command::BecomeRmsNorm => "BecomeRmsNorm",
            Command::ResetToIdentity => "ResetToIdentity",
        }
    }

    /// About how many elements of four bytes [`Command::replacement`] makes.
    fn makes(self, old: &Layer) -> usize {
        let weights = old.weights().values().map(WeightStore::len).fold(0, usize::saturating_add);
        let square = match &old.spec {
            LayerSpec::RmsNorm(RmsNormSpec { dim, .. }) if self == Command::BecomeDense => elements(&[*dim, *dim, 2]),
            _ => 0,
        };
        elements(&[weights, 3]).saturating_add(square)
    }

    /// The layer that takes the place of `old`.
    fn replacement(self, old: &Layer) -> std::result::Result<(LayerSpec, Weights), RuleError> {
        let unfit = || RuleError::Unfit { command: self.name(), kind: old.spec.kind().name() };
        let unstored = |error| RuleError::Store(Box::new(error));
        let dense = |spec: &DenseSpec, data| {
            let spec = DenseSpec { bias: false, ..spec.clone() };
            let store = WeightStore::f32(vec![spec.output_dim, spec.input_dim], data).map_err(unstored)?;
            Ok((LayerSpec::Dense(spec), Weights::from([(Role::Weight, store)])))
        };
        let identity = |outs: usize, ins: usize| {
            let mut data = vec![0.0; outs * ins];
            (0..outs.min(ins)).for_each(|i| data[i * ins + i] = 1.0);
            data
        };
        let flat: Vec<f32> = old.weights().values().flat_map(WeightStore::to_f32).collect();
        match (self, &old.spec) {
            (Command::BecomeSoftmax, _) => {
                let spec = SoftmaxSpec { over: SoftmaxOver::Tensor, ..SoftmaxSpec::default() };
                Ok((LayerSpec::Softmax(spec), Weights::new()))
            }
            (Command::BecomeDense, LayerSpec::Dense(spec)) => {
                let spec = DenseSpec { activation: Activation::Linear, ..spec.clone() };
                Ok((LayerSpec::Dense(spec), old.weights().clone()))
            }
            (Command::BecomeDense, LayerSpec::RmsNorm(RmsNormSpec { dim, .. })) => {
                let mut data = identity(*dim, *dim);
                data[..flat.len().min(dim * dim)].copy_from_slice(&flat[..flat.len().min(dim * dim)]);
                let spec = DenseSpec { input_dim: *dim, output_dim: *dim, activation: Activation::Linear, bias: false };
                dense(&spec, data)
            }
            (Command::BecomeRmsNorm, LayerSpec::Dense(DenseSpec { output_dim: dim, .. })) if flat.len() >= *dim => {
                let gamma = WeightStore::f32(vec![*dim], flat[..*dim].to_vec()).map_err(unstored)?;
                let spec = RmsNormSpec { dim: *dim, eps: super::norm::rms_eps(), unit_offset: false };
                Ok((LayerSpec::RmsNorm(spec), Weights::from([(Role::Gamma, gamma)])))
            }
            (Command::ResetToIdentity, LayerSpec::Dense(spec))
                if spec.output_dim == 1 || spec.output_dim == spec.input_dim =>
            {
                dense(spec, identity(spec.output_dim, spec.input_dim))
            }
            _ => Err(unfit()),
        }
    }
}

impl Family for MetacognitionSpec {
    fn check(&self) -> std::result::Result<(), ConfigError> {
        match self.rules.iter().enumerate().find(|(_, rule)| !rule.threshold.is_finite()) {
            Some((i, rule)) => Err(ConfigError::Threshold { rule: i, found: rule.threshold }),
            None => Ok(()),
        }
    }

    fn children(&self) -> Vec<(String, ChildSpec)> {
        self.observed.iter().map(|layer| ("meta_observed_layer".to_string(), (**layer).clone().into())).collect()
    }

    fn forward(&self, run: &mut Run<'_>, layer: &Layer, x: &Tensor, skip: Option<&Tensor>) -> Result<Tensor> {
        let links = run.links;
        let Some(observed) = layer.children.first().and_then(|child| child.layer(links)) else {
            return Ok(x.clone());
        };
        let input = Statistics::of(x.data());
        let history = &mut run.state.meta.history;
        history.push(input);
        if history.len() > 100 {
            history.remove(0);
        }
        // A second run must find caches as the first one did.
        let before = (!self.rules.is_empty()).then(|| (run.state.caches.clone(), run.visits.clone()));
        let y = run.layer(observed, x, skip)?;
        let output = Statistics::of(y.data());
        let mut fired = false;
        for (i, rule) in self.rules.iter().enumerate() {
            let meta = &mut run.state.meta;
            let waited = meta.waited.entry((layer.site, i)).or_default();
            if *waited < rule.cooldown || !rule.holds(input, output, &meta.history) {
                *waited += 1;
                continue;
            }
            *waited = 0;
            let wrong = |what| -> Error { layer.error(Problem::Rule { rule: i, what }) };
            let target = rule.target(links, observed);
            let target = target.ok_or_else(|| wrong(RuleError::Target { column: rule.target }))?;
            if target.absent {
                return Err(target.error(Problem::NotLoaded));
            }
            let current = run.state.replaced.get(&target.site).map(Arc::clone);
            let old = current.as_deref().unwrap_or(target);
            run.room(layer, rule.command.makes(old).saturating_add(x.len()).saturating_add(y.len()))?;
            let (spec, weights) = rule.command.replacement(old).map_err(wrong)?;
            run.held = run.held.saturating_add(weights.values().map(WeightStore::len).sum());
            run.state.replaced.insert(target.site, Arc::new(target.replaced_by(spec, weights)));
            fired = true;
        }
        match before {
            Some(before) if fired => {
                (run.state.caches, run.visits) = before;
                run.layer(observed, x, skip)
            }
            _ => Ok(y),
        }
    }

    #[cfg(feature = "gpu")]
    fn record(
        &self,
        recorder: &mut Recorder<'_>,
        layer: &Layer,
        x: &GpuArray,
        skip: Option<&GpuArray>,
    ) -> Result<GpuArray> {
        match layer.children().first() {
            None => Ok(x.clone()),
            Some(observed) if self.rules.is_empty() => recorder.child(observed, x, skip),
            Some(_) => {
                Err(layer.error(Problem::NotOnDevice("rules read statistics on the host between layers".into())))
            }
        }
    }
}
