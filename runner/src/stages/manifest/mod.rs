//! The manifests: one strict YAML file for each bedrock, read once into typed values.
//!
//! Unknown and duplicate keys, wrong types and oversized documents are refused by the
//! reader with line, column and excerpt; what only makes sense as a whole (a slice of an
//! array that no fixture has, a layer that contradicts itself) by `lint`.

mod lint;
pub mod lucy;
mod schema;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use loom_bedrocks::BEDROCKS;
use loom_bedrocks::model::{FixtureRecipe, InputSpec, WeightsRecipe, network_spec};
use loom_bedrocks::planets::{self, Planet};
use loom_core::{LayerSpec, NetworkSpec, Vectors};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_yaml::Spanned;

pub(crate) use lint::is_plain;
pub(crate) use loom_bedrocks::names::{Unknown, unknown};
pub use schema::schema;

/// The largest manifest that is read.
const SIZE_CAP: u64 = 1 << 20;

/// How far an output may be from its reference.
///
/// `|a - e| <= atol + rtol |e|` for every element, where `rtol` is raised by
/// `ulps_per_term` times the layer's reduction length times the epsilon of f32, and `nmse`
/// bounds the mean squared error over the mean square of the reference as a whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Band {
    /// Absolute part.
    #[serde(default)]
    pub atol: f64,
    /// Relative part; where given, at least 4 epsilons of f32.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rtol: Option<f64>,
    /// Relative part for each term of the longest sum, in units of the f32 epsilon.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ulps_per_term: Option<f64>,
    /// Bound of the normalised mean squared error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nmse: Option<f64>,
}

/// Bands of the parity check, by where a model comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ParityBands {
    /// For models of the original bridge.
    #[serde(default)]
    pub original: Option<Band>,
    /// For the others.
    #[serde(default)]
    pub realistic: Option<Band>,
}

/// Bands by check. Kernel and snapshot take none where they are exact.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Bands {
    /// Planet against our CPU.
    #[serde(default)]
    pub parity: ParityBands,
    /// A GPU without exact f64 against our CPU; only `_defaults.yaml` says it.
    #[serde(default)]
    pub device: Option<Band>,
}

/// Which of a planet's two results ours is held against.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Reference {
    /// What it computed in float32.
    #[default]
    Float32,
    /// What it computed in float64 from the same numbers: for models on which the planet's
    /// own float32 error exceeds the band, which is then not widened.
    Float64,
}

/// A reference or a band for some cases of one model, with its reason.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Override {
    /// Glob of planets; absent means all.
    #[serde(default)]
    pub planet: Option<String>,
    /// The planet's result to be held against.
    #[serde(default)]
    pub reference: Reference,
    /// The band; absent means the bedrock's.
    #[serde(default)]
    pub band: Option<Band>,
    /// Why the rule of the bedrock does not fit.
    pub why: String,
}

/// Where a model comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// The original bridge has it.
    Original,
    /// It covers what the original leaves out.
    Realistic,
}

/// One model.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// Lower-case letters, digits and underscores; also the name of its golden files.
    #[schemars(with = "String")]
    pub id: Spanned<String>,
    /// Where it comes from.
    pub origin: Origin,
    /// The planets that have it; absent means all of the bedrock's.
    #[serde(default)]
    pub planets: Option<Vec<String>>,
    /// What it is fed.
    pub inputs: Vec<InputSpec>,
    /// Layers that read an input in place of the layer before: layer index to input index.
    #[serde(default)]
    pub reads: BTreeMap<usize, usize>,
    /// Residual layers that add an input: layer index to input index.
    #[serde(default)]
    pub skips: BTreeMap<usize, usize>,
    /// Where its weights come from.
    pub weights: WeightsRecipe,
    /// Its layers, in order.
    pub layers: Vec<LayerSpec>,
    /// Bands of its own.
    #[serde(default)]
    pub overrides: Vec<Override>,
}

/// What an expected failure looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The numbers miss their band.
    Diff,
    /// The case fails to run.
    Error,
    /// The case is not executed at all.
    Skip,
    /// The case fails now and then.
    Flaky,
}

/// Which cases a rule speaks of: globs, absent means any.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Match {
    /// Glob of checks.
    #[serde(default)]
    pub check: Option<String>,
    /// Glob of models.
    #[serde(default)]
    pub model: Option<String>,
    /// Glob of planets.
    #[serde(default)]
    pub planet: Option<String>,
    /// Glob of dtypes.
    #[serde(default)]
    pub dtype: Option<String>,
    /// Glob of numerics profiles.
    #[serde(default)]
    pub numerics: Option<String>,
    /// Glob of the names that adapters have in case ids; without one the rule speaks of the CPU,
    /// and of every GPU.
    #[serde(default)]
    pub adapter: Option<String>,
}

/// How bad an expected difference is: outside of it the failure is a failure.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Pin {
    /// Smallest and largest expected `|a - e|`.
    pub max_abs: [f64; 2],
}

/// An expected failure.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Expect {
    /// Which cases.
    pub r#match: Match,
    /// What happens.
    pub outcome: Outcome,
    /// Why; mandatory.
    pub because: String,
    /// The issue that will end it.
    #[serde(default)]
    pub issue: Option<u64>,
    /// How bad a `diff` is.
    #[serde(default)]
    pub pin: Option<Pin>,
    /// What the message of an `error` contains.
    #[serde(default)]
    pub error_contains: Option<String>,
}

/// Fewer planned or executed cases than these make the run red.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MinCases {
    /// Parity cases.
    pub parity: usize,
    /// Fidelity cases.
    pub fidelity: usize,
    /// Kernel cases.
    pub kernel: usize,
    /// Snapshot cases.
    pub snapshot: usize,
    /// Roundtrip cases; version 2 of `.entity` must hold the network of each.
    pub roundtrip: usize,
    /// Networks that JSON checkpoints must hold; they must refuse the others.
    pub json: usize,
    /// Networks that version 1 of `.entity` must hold; it must refuse the others.
    pub v1: usize,
    /// Cells of every GPU lane.
    pub gpu: usize,
}

/// A bedrock's manifest.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The bedrock's id, which is also the file's name.
    pub bedrock: String,
    /// The heading in reports.
    pub title: String,
    /// The planets that have its models.
    pub planets: Vec<String>,
    /// The least number of cases.
    pub min_cases: MinCases,
    /// What dtypes do with gains, shifts and biases in the standard profile.
    #[serde(default)]
    pub vectors: Vectors,
    /// The bedrock's bands.
    #[serde(default)]
    pub bands: Bands,
    /// Expected failures.
    #[serde(default)]
    pub expect: Vec<Expect>,
    /// The arrays of its fixture and how they are made.
    pub fixture: BTreeMap<String, FixtureRecipe>,
    /// Its models.
    pub models: Vec<Model>,
}

/// `_defaults.yaml`.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Defaults {
    /// Bands that hold where nothing nearer names one.
    pub bands: Bands,
}

/// All manifests, in the order of the bedrocks.
#[derive(Clone, Debug)]
pub struct Manifests {
    /// `_defaults.yaml`.
    pub defaults: Defaults,
    /// The bedrocks.
    pub bedrocks: Vec<Manifest>,
}

/// Why a YAML document cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ParseError {
    /// The file is not there or not readable, or no text.
    #[error("{path}: {error}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        error: std::io::Error,
    },
    /// The text is not what is expected, at a line and column that the cause has.
    #[error("{path}: {}", in_file(error, path))]
    Yaml {
        /// The file.
        path: PathBuf,
        /// The cause.
        error: Box<serde_yaml::Error>,
    },
}

/// The error of a document with the name of its file in the excerpt.
fn in_file(error: &serde_yaml::Error, path: &Path) -> String {
    let text = error.to_string().replace("<input>", &path.display().to_string());
    text.trim_start_matches("error: ").into()
}

/// What is wrong with the manifests, one sentence for each place.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct ManifestError(pub Vec<String>);

impl Model {
    /// The id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id.value
    }

    /// The planets that have this model.
    #[must_use]
    pub fn planets<'a>(&'a self, manifest: &'a Manifest) -> Vec<&'static Planet> {
        let ids = self.planets.as_ref().unwrap_or(&manifest.planets);
        planets::PLANETS.iter().filter(|planet| ids.iter().any(|id| id == planet.id)).collect()
    }

    /// The topology.
    #[must_use]
    pub fn network(&self) -> NetworkSpec {
        network_spec(&self.layers, &self.reads, &self.skips)
    }

    /// The longest chain of rounded terms behind an output element, summed over layers.
    #[must_use]
    pub(crate) fn terms(&self) -> usize {
        self.layers.iter().map(LayerSpec::terms).sum()
    }
}

/// Reads one YAML document strictly.
pub(crate) fn parse<T: for<'de> Deserialize<'de>>(path: &Path) -> Result<T, ParseError> {
    let text = loom_core::file::read_text(path, SIZE_CAP);
    let text = text.map_err(|error| ParseError::Read { path: path.into(), error })?;
    let options = serde_yaml::options! {
        strict_booleans: true,
        budget: serde_yaml::budget! { max_nodes: 100_000, max_depth: 64 },
    };
    serde_yaml::from_str_with_options(&text, options)
        .map_err(|error| ParseError::Yaml { path: path.into(), error: Box::new(error) })
}

/// Reads `_defaults.yaml` and the manifests of `only`, or all 13 when it is empty.
///
/// # Errors
/// Every problem found in every file.
pub fn load(folder: &Path, only: &[String]) -> Result<Manifests, ManifestError> {
    let mut problems = Vec::new();
    let mut keep = |result: Result<_, ParseError>| result.map_err(|error| problems.push(error.to_string())).ok();
    let defaults: Option<Defaults> = keep(parse(&folder.join("_defaults.yaml")));
    if let Some(Err(what)) = defaults.map(|defaults| defaults.bands.check()) {
        problems.push(format!("{}: bands: {what}", folder.join("_defaults.yaml").display()));
    }
    let mut bedrocks = Vec::new();
    let wanted = BEDROCKS.iter().filter(|id| only.is_empty() || only.iter().any(|only| only == *id));
    for id in wanted {
        let path: PathBuf = folder.join(format!("{id}.yaml"));
        match parse::<Manifest>(&path) {
            Ok(manifest) => {
                problems.extend(manifest.lint(&path));
                bedrocks.push(manifest);
            }
            Err(error) => problems.push(error.to_string()),
        }
    }
    match defaults {
        Some(defaults) if problems.is_empty() => Ok(Manifests { defaults, bedrocks }),
        _ => Err(ManifestError(problems)),
    }
}
