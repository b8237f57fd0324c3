//! The manifests: one strict YAML file for each bedrock, read once into typed values.
//!
//! Unknown and duplicate keys, wrong types and oversized documents are refused by the
//! reader with line, column and excerpt; what only makes sense as a whole (a slice of an
//! array that no fixture has, a layer that contradicts itself) by `Manifest::lint`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use loom_bedrocks::model::{FixtureRecipe, InputSpec, WeightsRecipe, network_spec};
use loom_bedrocks::planets::{self, Planet};
use loom_bedrocks::{BEDROCKS, build};
use loom_core::{LayerKind, LayerSpec, NetworkSpec};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_yaml::Spanned;

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

/// Bands by check. Kernel and snapshot take none: they are exact.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Bands {
    /// Planet against our CPU.
    #[serde(default)]
    pub parity: ParityBands,
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
    /// Kernel cases.
    pub kernel: usize,
    /// Snapshot cases.
    pub snapshot: usize,
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
    pub fn terms(&self) -> usize {
        self.layers.iter().map(LayerSpec::terms).sum()
    }
}

/// Whether a name can safely become part of a path.
#[must_use]
pub fn is_plain(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

impl Band {
    /// Says what is wrong with the numbers, if anything is.
    fn check(&self) -> Result<(), String> {
        let parts = [
            ("atol", Some(self.atol), 1.0),
            ("rtol", self.rtol, 0.1),
            ("ulps_per_term", self.ulps_per_term, 64.0),
            ("nmse", self.nmse, 0.1),
        ];
        for (name, value, most) in parts {
            if value.is_some_and(|value| !(0.0..=most).contains(&value)) {
                return Err(format!(
                    "{name} is {}; a band that means something has 0 to {most}",
                    value.unwrap_or_default()
                ));
            }
        }
        Ok(())
    }
}

impl Bands {
    fn check(&self) -> Result<(), String> {
        [self.parity.original, self.parity.realistic].iter().flatten().try_for_each(Band::check)
    }
}

impl Manifest {
    /// Problems that need the whole document to be seen, each with file and line.
    fn lint(&self, path: &Path) -> Vec<String> {
        let mut found = Vec::new();
        let file = path.display();
        let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        if self.bedrock != stem {
            found.push(format!("{file}: bedrock is {:?}; the file's name says {stem:?}", self.bedrock));
        }
        if self.models.is_empty() {
            found.push(format!("{file}: no models; a bedrock needs at least one"));
        }
        for planet in self.planets.iter().filter(|id| planets::find(id).is_none()) {
            found.push(format!("{file}: {}", unknown("planet", planet, planets::PLANETS.iter().map(|p| p.id))));
        }
        if let Err(what) = self.bands.check() {
            found.push(format!("{file}: bands: {what}"));
        }
        for (i, rule) in self.expect.iter().enumerate() {
            let pins = rule.pin.iter().flat_map(|pin| pin.max_abs);
            if rule.because.trim().is_empty() || pins.clone().any(|bound| !(bound >= 0.0 && bound.is_finite())) {
                found.push(format!(
                    "{file}: expect rule {i}: `because` needs a reason, and a pin two finite numbers from 0"
                ));
            }
        }
        let mut seen = BTreeSet::new();
        for model in &self.models {
            let (id, line) = (model.id(), model.id.referenced.line());
            let mut wrong = |what: String| found.push(format!("{file}:{line}: model {id}: {what}"));
            if !is_plain(id) {
                wrong("ids are lower-case letters, digits and underscores, since they name files".into());
            }
            if !seen.insert(id) {
                wrong("occurs twice".into());
            }
            for planet in model.planets.iter().flatten().filter(|id| !self.planets.contains(id)) {
                wrong(unknown("planet", planet, self.planets.iter().map(String::as_str)));
            }
            if model.planets(self).is_empty() {
                wrong("no planet has it".into());
            }
            if model.inputs.is_empty() || model.layers.is_empty() {
                wrong("needs at least one input and one layer".into());
            }
            for (i, _) in model.inputs.iter().enumerate().skip(1) {
                if !model.reads.values().chain(model.skips.values()).any(|input| *input == i) {
                    wrong(format!("no layer reads or adds input {i}"));
                }
            }
            for layer in model.skips.keys().filter_map(|layer| Some((layer, model.layers.get(*layer)?))) {
                if layer.1.kind() != LayerKind::Residual {
                    wrong(format!(
                        "skips: layer {} is {}, which adds nothing; only residual does",
                        layer.0,
                        layer.1.kind().name()
                    ));
                }
            }
            for rule in &model.overrides {
                let glob = rule.planet.as_deref().unwrap_or("*");
                let hits = |planet: &&Planet| glob::Pattern::new(glob).is_ok_and(|glob| glob.matches(planet.id));
                if !model.planets(self).iter().any(hits) {
                    wrong(format!("override for planet {glob:?} matches none that has the model"));
                }
                if let Some(Err(what)) = rule.band.map(|band| band.check()) {
                    wrong(format!("override: {what}"));
                }
                if rule.why.trim().is_empty() {
                    wrong("override: `why` needs a reason".into());
                }
            }
            for input in model.inputs.iter().filter(|input| !self.fixture.contains_key(&input.array)) {
                wrong(unknown("fixture array", &input.array, self.fixture.keys().map(String::as_str)));
            }
            for (key, map) in [("reads", &model.reads), ("skips", &model.skips)] {
                for (layer, input) in map {
                    if *layer >= model.layers.len() || *input >= model.inputs.len() {
                        let (layers, inputs) = (model.layers.len(), model.inputs.len());
                        wrong(format!("{key}: {layer}: {input} is out of range ({layers} layers, {inputs} inputs)"));
                    }
                }
            }
            for (layer_path, layer) in build::layers(&model.network()) {
                if let Err(what) = layer.check() {
                    wrong(format!("{layer_path} ({}): {what}", layer.kind().name()));
                }
            }
        }
        found
    }
}

/// `unknown planet "pytroch"; did you mean "pytorch"?`, or some of the known names.
#[must_use]
pub fn unknown<'a>(what: &str, name: &str, known: impl Iterator<Item = &'a str>) -> String {
    const SHOWN: usize = 16;
    let known: BTreeSet<&str> = known.collect();
    if name.len() > 64 {
        return format!("unknown {what} of {} characters", name.len());
    }
    let nearest = known.iter().min_by_key(|candidate| distance(name, candidate));
    if let Some(candidate) = nearest.filter(|candidate| distance(name, candidate) <= 1 + name.len() / 4) {
        return format!("unknown {what} {name:?}; did you mean {candidate:?}?");
    }
    let mut list = known.iter().take(SHOWN).copied().collect::<Vec<_>>().join(", ");
    if known.len() > SHOWN {
        list.push_str(&format!(" and {} more (bedrock --list)", known.len() - SHOWN));
    }
    format!("unknown {what} {name:?}; expected one of {list}")
}

/// The edit distance of two short names.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, cb) in b.iter().enumerate() {
            let above = row[j + 1];
            row[j + 1] = (diagonal + usize::from(ca != *cb)).min(above + 1).min(row[j] + 1);
            diagonal = above;
        }
    }
    row[b.len()]
}

/// Reads one YAML document strictly.
fn parse<T: for<'de> Deserialize<'de>>(path: &Path) -> Result<T, String> {
    let name = path.display();
    let size = std::fs::metadata(path).map_err(|e| format!("{name}: {e}"))?.len();
    if size > SIZE_CAP {
        return Err(format!("{name}: {size} bytes; a manifest has at most {SIZE_CAP}"));
    }
    let text = std::fs::read_to_string(path).map_err(|e| format!("{name}: {e}"))?;
    let options = serde_yaml::options! {
        strict_booleans: true,
        budget: serde_yaml::budget! { max_nodes: 100_000, max_depth: 64 },
    };
    serde_yaml::from_str_with_options(&text, options).map_err(|e| {
        let text = e.to_string().replace("<input>", &name.to_string());
        format!("{name}: {}", text.trim_start_matches("error: "))
    })
}

/// Reads `_defaults.yaml` and the manifests of `only`, or all 13 when it is empty.
///
/// # Errors
/// Every problem found in every file.
pub fn load(folder: &Path, only: &[String]) -> Result<Manifests, ManifestError> {
    let mut problems = Vec::new();
    let mut keep = |result: Result<_, String>| result.map_err(|what| problems.push(what)).ok();
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
            Err(what) => problems.push(what),
        }
    }
    match defaults {
        Some(defaults) if problems.is_empty() => Ok(Manifests { defaults, bedrocks }),
        _ => Err(ManifestError(problems)),
    }
}

/// The JSON Schema that editors complete manifests with, ending in a newline.
#[must_use]
pub fn schema() -> String {
    let schema = schemars::schema_for!(SchemaRoot);
    let mut text = serde_json::to_string_pretty(&schema).unwrap_or_default();
    text.push('\n');
    text
}

/// Either kind of file in the manifests folder.
#[derive(JsonSchema)]
#[serde(untagged)]
#[schemars(title = "Planet Bridging manifest")]
#[expect(dead_code, reason = "only its schema is used")]
enum SchemaRoot {
    Manifest(Box<Manifest>),
    Defaults(Defaults),
}
