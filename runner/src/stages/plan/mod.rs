//! From manifests to cases: every case fully resolved, without IO.

use std::fmt;
use std::sync::Arc;

use glob::Pattern;
use loom_bedrocks::planets::{PLANETS, Planet};
use loom_core::{Dtype, Numerics, Storage};
use serde::{Deserialize, Serialize};

use crate::stages::bounds::{DECODED, MARGIN, SEEDS};
use crate::stages::manifest::{
    Band, Expect, Manifest, Manifests, Match, Model, Origin, ParityBands, Reference, unknown,
};

/// The f32 epsilon.
const EPSILON: f64 = f32::EPSILON as f64;

/// A check: what is compared with what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Check {
    /// Planet against our CPU.
    Parity,
    /// Weights in a dtype against the same network in f32.
    Fidelity,
    /// Every fast path against the scalar single core.
    Kernel,
    /// Our bits against the last blessed digest.
    Snapshot,
    /// Written in every format, read again, run again.
    Roundtrip,
}

impl Check {
    /// Every check.
    pub const ALL: [Check; 5] = [Check::Parity, Check::Fidelity, Check::Kernel, Check::Snapshot, Check::Roundtrip];

    /// The name used in case ids.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Check::Parity => "parity",
            Check::Fidelity => "fidelity",
            Check::Kernel => "kernel",
            Check::Snapshot => "snapshot",
            Check::Roundtrip => "roundtrip",
        }
    }
}

/// How the weights of a case are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stored {
    /// The dtype.
    pub dtype: Dtype,
    /// The numerics profile.
    pub numerics: Numerics,
}

impl Stored {
    /// The weights as the planets have them.
    pub const PLAIN: Stored = Stored { dtype: Dtype::Float32, numerics: Numerics::Standard };

    /// Every dtype in both profiles, in the order of every table.
    pub fn all() -> impl Iterator<Item = Stored> {
        let both = |&dtype| Numerics::ALL.into_iter().rev().map(move |numerics| Stored { dtype, numerics });
        Dtype::ALL.iter().flat_map(both)
    }
}

impl fmt::Display for Stored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.dtype, self.numerics)
    }
}

/// What a case compares.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// With what the planet computed.
    Parity(Tolerance),
    /// With its own decoded weights in f32, and with the same network in f32.
    Fidelity,
    /// With the scalar single core, exactly.
    Kernel,
    /// A GPU with the CPU: exactly where its arithmetic allows it, otherwise within a band.
    Device(Tolerance),
    /// With the blessed digest, exactly.
    Snapshot,
    /// With itself after every checkpoint format, exactly.
    Roundtrip,
}

/// A band in numbers, with where it was found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tolerance {
    /// Absolute part.
    pub atol: f64,
    /// Relative part, everything included.
    pub rtol: f64,
    /// Bound of the normalised mean squared error, if any.
    pub nmse: Option<f64>,
    /// Which of the planet's results is meant.
    pub reference: Reference,
    /// Where the band stands.
    pub source: BandSource,
}

/// Where a band was found, nearest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BandSource {
    /// An override of the model.
    Override,
    /// The bedrock's manifest.
    Bedrock,
    /// `_defaults.yaml`.
    Defaults,
    /// `--ulp` of the call: a distance in units in the last place of f32, in place of every part.
    Ulps(u64),
    /// None: exact.
    Exact,
}

impl Tolerance {
    /// No tolerance at all.
    pub const EXACT: Tolerance =
        Tolerance { atol: 0.0, rtol: 0.0, nmse: None, reference: Reference::Float32, source: BandSource::Exact };

    fn resolve(band: Band, terms: usize, source: BandSource) -> Self {
        let floor = |rtol: f64| rtol.max(4.0 * EPSILON);
        let rtol = band.rtol.map_or(0.0, floor) + band.ulps_per_term.map_or(0.0, |n| n * terms as f64 * EPSILON);
        Self { atol: band.atol, rtol, nmse: band.nmse, reference: Reference::Float32, source }
    }

    /// `|a - e|` over the largest that passes, or the distance in units in the last place over theirs; at
    /// most 1 passes, and it is infinite where nothing is allowed. The two differ and are finite.
    #[must_use]
    pub fn excess(&self, ours: f32, expected: f32) -> f64 {
        let (a, e) = (f64::from(ours), f64::from(expected));
        let (distance, allowed) = match self.source {
            BandSource::Ulps(most) => (ulps(ours, expected) as f64, most as f64),
            _ => ((a - e).abs(), self.atol + self.rtol * e.abs()),
        };
        // Written so that a NaN fails.
        if allowed > 0.0 { distance / allowed } else { f64::INFINITY }
    }
}

/// The distance of two floats in representable numbers between them.
#[must_use]
pub fn ulps(a: f32, b: f32) -> u64 {
    let ordered = |v: f32| {
        let bits = i64::from(v.to_bits() as i32);
        if bits < 0 { i64::from(i32::MIN) - bits } else { bits }
    };
    ordered(a).abs_diff(ordered(b))
}

impl fmt::Display for Tolerance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.source == BandSource::Exact {
            return write!(f, "exact");
        }
        if let BandSource::Ulps(most) = self.source {
            write!(f, "{most} ULP")?;
        }
        match (self.atol, self.rtol) {
            _ if matches!(self.source, BandSource::Ulps(_)) => {}
            (atol, 0.0) => write!(f, "|Δ| ≤ {atol:e}")?,
            (0.0, rtol) => write!(f, "|Δ| ≤ {rtol:e}·|e|")?,
            (atol, rtol) => write!(f, "|Δ| ≤ {atol:e} + {rtol:e}·|e|")?,
        }
        if let Some(nmse) = self.nmse {
            write!(f, ", NMSE ≤ {nmse:e}")?;
        }
        match self.reference {
            Reference::Float32 => Ok(()),
            Reference::Float64 => write!(f, " of the planet's float64"),
        }
    }
}

/// A GPU as cases and reports know it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Device {
    /// The last part of case ids, and `gpu-<slug>` the lane.
    #[serde(skip)]
    pub slug: String,
    /// The adapter's name.
    pub adapter: String,
    /// Driver and version.
    pub driver: String,
    /// Vulkan, Metal or DX12.
    pub backend: String,
    /// The arithmetic of the kernels: f64 or f32.
    pub precision: String,
    /// Whether the probe found that f64 is neither fused nor inexact: then every bit must be equal.
    pub exact: bool,
}

impl Device {
    /// The lane's name.
    #[must_use]
    pub fn lane(&self) -> String {
        format!("gpu-{}", self.slug)
    }
}

/// One case.
#[derive(Clone, Debug)]
pub struct Case {
    /// `bedrock/model/check/` and that check's axes.
    pub id: String,
    /// The bedrock's manifest.
    pub manifest: Arc<Manifest>,
    /// The model's position in it.
    pub model: usize,
    /// The planet whose arrays are used.
    pub planet: &'static Planet,
    /// How the weights are stored; f32 in parity cases.
    pub stored: Stored,
    /// What is compared.
    pub kind: Kind,
    /// The expected failure, if a rule speaks of this case.
    pub expect: Option<Expect>,
    /// The GPU that it runs on; `None` is the CPU.
    pub device: Option<Arc<Device>>,
    /// A digest of what the manifest says of the model, shared by its cases.
    said: Arc<str>,
}

impl Case {
    /// The model.
    #[must_use]
    pub fn model(&self) -> &Model {
        &self.manifest.models[self.model]
    }

    /// The check.
    #[must_use]
    pub fn check(&self) -> Check {
        match self.kind {
            Kind::Parity(_) => Check::Parity,
            Kind::Fidelity => Check::Fidelity,
            Kind::Kernel | Kind::Device(_) => Check::Kernel,
            Kind::Snapshot => Check::Snapshot,
            Kind::Roundtrip => Check::Roundtrip,
        }
    }

    /// A short digest of what the manifests say of this case: a row of a report speaks of the
    /// case only while this is the same.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let said = (&self.said, self.storage(), self.kind);
        let mut digest = loom_bedrocks::npz::sha256(format!("{said:?}").as_bytes());
        digest.truncate(8);
        digest
    }

    /// Whether the planet's float64 output is the reference.
    #[must_use]
    pub fn against_float64(&self) -> bool {
        matches!(self.kind, Kind::Parity(tolerance) if tolerance.reference == Reference::Float64)
    }

    /// What the case allows, in words.
    #[must_use]
    pub fn band(&self) -> String {
        match self.kind {
            Kind::Fidelity => format!("NMSE ≤ {DECODED:e}, cost ≤ {MARGIN} × {SEEDS} seeds"),
            _ => self.tolerance().to_string(),
        }
    }

    /// How a network of this case stores its weights.
    #[must_use]
    pub fn storage(&self) -> Storage {
        let Stored { dtype, numerics } = self.stored;
        Storage { dtype, numerics, vectors: self.manifest.vectors }
    }

    /// The tolerance of parity, and of devices without f64; nothing elsewhere.
    #[must_use]
    pub fn tolerance(&self) -> Tolerance {
        match self.kind {
            Kind::Parity(tolerance) | Kind::Device(tolerance) => tolerance,
            Kind::Fidelity | Kind::Kernel | Kind::Snapshot | Kind::Roundtrip => Tolerance::EXACT,
        }
    }
}

/// What the user asked for. Empty lists mean everything.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// Bedrock ids.
    pub bedrocks: Vec<String>,
    /// Globs of model ids.
    pub models: Vec<String>,
    /// Planet ids: parity cases of these alone.
    pub planets: Vec<String>,
    /// Checks.
    pub checks: Vec<Check>,
    /// Dtypes.
    pub dtypes: Vec<Dtype>,
    /// Numerics profiles; parity counts as every one.
    pub numerics: Vec<Numerics>,
    /// Glob of whole case ids.
    pub filter: Option<String>,
    /// The `i`-th of `n` shares, from 1.
    pub shard: Option<(usize, usize)>,
}

impl Selection {
    /// Whether whole bedrocks are asked for, so that their least numbers of cases apply.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.models.is_empty()
            && self.planets.is_empty()
            && self.checks.is_empty()
            && self.dtypes.is_empty()
            && self.numerics.is_empty()
            && self.filter.is_none()
            && self.shard.is_none()
    }

    fn globs(texts: &[String]) -> Result<Vec<Pattern>, String> {
        texts.iter().map(|text| pattern(text)).collect()
    }
}

fn pattern(text: &str) -> Result<Pattern, String> {
    Pattern::new(text).map_err(|e| format!("bad glob {text:?}: {e}"))
}

/// Everything that the manifests ask for, in a fixed order.
///
/// # Errors
/// A rule of `expect:` with a bad glob or that speaks of no case.
pub fn all(manifests: &Manifests) -> Result<Vec<Case>, String> {
    let mut cases = Vec::new();
    for manifest in &manifests.bedrocks {
        let manifest = Arc::new(manifest.clone());
        let first = cases.len();
        for index in 0..manifest.models.len() {
            of_model(manifests, &manifest, index, &mut cases)?;
        }
        expect(&manifest, &mut cases[first..])?;
    }
    Ok(cases)
}

fn of_model(
    manifests: &Manifests,
    manifest: &Arc<Manifest>,
    index: usize,
    cases: &mut Vec<Case>,
) -> Result<(), String> {
    let model = &manifest.models[index];
    let said = format!("{:?}", (&model.layers, &model.inputs, &model.reads, &model.skips));
    let said: Arc<str> = loom_bedrocks::npz::sha256(said.as_bytes()).into();
    let mut add = |check: &str, axes: &dyn fmt::Display, planet, stored, kind| {
        let id = format!("{}/{}/{check}/{axes}", manifest.bedrock, model.id());
        let (manifest, said) = (Arc::clone(manifest), Arc::clone(&said));
        cases.push(Case { id, manifest, model: index, planet, stored, kind, expect: None, device: None, said });
    };
    let planets = model.planets(manifest);
    for planet in &planets {
        let tolerance = parity_band(manifests, manifest, model, planet)?;
        add("parity", &planet.id, planet, Stored::PLAIN, Kind::Parity(tolerance));
    }
    // The rest is about our own numbers, on the arrays of the first planet that has the model.
    let Some(planet) = planets.first() else { return Ok(()) };
    for stored in Stored::all() {
        add("fidelity", &stored, planet, stored, Kind::Fidelity);
        add("kernel", &stored, planet, stored, Kind::Kernel);
        add("snapshot", &stored, planet, stored, Kind::Snapshot);
        add("roundtrip", &stored, planet, stored, Kind::Roundtrip);
    }
    Ok(())
}

fn parity_band(
    manifests: &Manifests,
    manifest: &Manifest,
    model: &Model,
    planet: &Planet,
) -> Result<Tolerance, String> {
    let terms = model.terms();
    let pick = |bands: ParityBands| match model.origin {
        Origin::Original => bands.original,
        Origin::Realistic => bands.realistic,
    };
    let near = pick(manifest.bands.parity).map(|band| Tolerance::resolve(band, terms, BandSource::Bedrock));
    let far = pick(manifests.defaults.bands.parity).map(|band| Tolerance::resolve(band, terms, BandSource::Defaults));
    let missing = || format!("{}: no parity band for {:?} models in _defaults.yaml", manifest.bedrock, model.origin);
    let mut tolerance = near.or(far).ok_or_else(missing)?;
    for rule in &model.overrides {
        if rule.planet.as_deref().map(pattern).transpose()?.is_none_or(|glob| glob.matches(planet.id)) {
            if let Some(band) = rule.band {
                tolerance = Tolerance::resolve(band, terms, BandSource::Override);
            }
            tolerance.reference = rule.reference;
            break;
        }
    }
    Ok(tolerance)
}

/// The kernel cases of `cases` on a GPU.
///
/// # Errors
/// When no band is given for devices whose results may differ, and for bad globs.
pub fn on_device(manifests: &Manifests, cases: &[Case], device: &Arc<Device>) -> Result<Vec<Case>, String> {
    let mut found = Vec::new();
    for case in cases.iter().filter(|case| case.kind == Kind::Kernel) {
        let tolerance = match (device.exact, manifests.defaults.bands.device) {
            (true, _) => Tolerance::EXACT,
            (false, Some(band)) => Tolerance::resolve(band, case.model().terms(), BandSource::Defaults),
            (false, None) => return Err("_defaults.yaml has no band for devices without exact f64".into()),
        };
        let id = format!("{}/{}", case.id, device.slug);
        let mut case = Case { id, kind: Kind::Device(tolerance), device: Some(Arc::clone(device)), ..case.clone() };
        for rule in &case.manifest.expect {
            let matcher = Matcher::new(&rule.r#match)?;
            if rule.r#match.adapter.is_some() && matcher.hits(&case) {
                case.expect = Some(rule.clone());
                break;
            }
        }
        found.push(case);
    }
    Ok(found)
}

/// The globs of a rule.
struct Matcher {
    check: Option<Pattern>,
    model: Option<Pattern>,
    planet: Option<Pattern>,
    dtype: Option<Pattern>,
    numerics: Option<Pattern>,
    adapter: Option<Pattern>,
}

impl Matcher {
    fn new(rule: &Match) -> Result<Self, String> {
        let glob = |text: &Option<String>| text.as_deref().map(pattern).transpose();
        Ok(Self {
            check: glob(&rule.check)?,
            model: glob(&rule.model)?,
            planet: glob(&rule.planet)?,
            dtype: glob(&rule.dtype)?,
            numerics: glob(&rule.numerics)?,
            adapter: glob(&rule.adapter)?,
        })
    }

    fn hits(&self, case: &Case) -> bool {
        let hit = |glob: &Option<Pattern>, name: &str| glob.as_ref().is_none_or(|glob| glob.matches(name));
        let on = case.device.as_ref().map_or("", |device| &device.slug);
        hit(&self.check, case.check().name())
            && hit(&self.model, case.model().id())
            && hit(&self.planet, case.planet.id)
            && hit(&self.dtype, case.stored.dtype.name())
            && hit(&self.numerics, case.stored.numerics.name())
            && hit(&self.adapter, on)
    }
}

fn expect(manifest: &Manifest, cases: &mut [Case]) -> Result<(), String> {
    // Rules of an adapter wait until it is known.
    for (i, rule) in manifest.expect.iter().enumerate().filter(|(_, rule)| rule.r#match.adapter.is_none()) {
        let matcher = Matcher::new(&rule.r#match)?;
        let mut hits = 0;
        for case in cases.iter_mut() {
            if matcher.hits(case) {
                if rule.pin.is_some() && matches!(case.check(), Check::Snapshot | Check::Roundtrip) {
                    return Err(format!(
                        "{}.yaml: expect rule {i}: a digest or a file has no size to pin",
                        manifest.bedrock
                    ));
                }
                case.expect = Some(rule.clone());
                hits += 1;
            }
        }
        if hits == 0 {
            return Err(format!(
                "{}.yaml: expect rule {i} ({}) matches no case; remove it",
                manifest.bedrock, rule.because
            ));
        }
    }
    Ok(())
}

/// The cases of `all` that were asked for.
///
/// # Errors
/// The user's mistake: an unknown name or a bad glob.
pub fn select(cases: &[Case], selection: &Selection) -> Result<Vec<Case>, String> {
    for planet in &selection.planets {
        if !PLANETS.iter().any(|known| known.id == planet) {
            return Err(unknown("planet", planet, PLANETS.iter().map(|p| p.id)));
        }
    }
    let models = Selection::globs(&selection.models)?;
    for (glob, text) in models.iter().zip(&selection.models) {
        if !cases.iter().any(|case| glob.matches(case.model().id())) {
            return Err(unknown("model", text, cases.iter().map(|case| case.model().id())));
        }
    }
    let filter = selection.filter.as_deref().map(pattern).transpose()?;
    let wanted = |case: &&Case| {
        (models.is_empty() || models.iter().any(|glob| glob.matches(case.model().id())))
            && (selection.planets.is_empty()
                || case.check() == Check::Parity && selection.planets.iter().any(|id| id == case.planet.id))
            && (selection.checks.is_empty() || selection.checks.contains(&case.check()))
            && (selection.dtypes.is_empty() || selection.dtypes.contains(&case.stored.dtype))
            && (selection.numerics.is_empty()
                || case.check() == Check::Parity
                || selection.numerics.contains(&case.stored.numerics))
            && filter.as_ref().is_none_or(|glob| glob.matches(&case.id))
    };
    let mut chosen: Vec<Case> = cases.iter().filter(wanted).cloned().collect();
    if let Some((share, of)) = selection.shard {
        chosen = chosen.into_iter().enumerate().filter(|(i, _)| i % of == share - 1).map(|(_, case)| case).collect();
    }
    Ok(chosen)
}
