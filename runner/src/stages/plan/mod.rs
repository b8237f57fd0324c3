//! From manifests to cases: every case fully resolved, without IO.

mod case;
mod select;
mod tolerance;

use std::fmt;
use std::sync::Arc;

use glob::{Pattern, PatternError};
use loom_bedrocks::planets::Planet;

use crate::stages::manifest::{Manifest, Manifests, Match, Model, Origin, ParityBands, Unknown};

pub use case::{Case, Check, Device, Kind, Stored};
pub use select::{Selection, select};
pub(crate) use tolerance::ulps;
pub use tolerance::{BandSource, Tolerance};

/// Why there is no plan.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// Nothing says how far a planet's output may be.
    #[error("{bedrock}: no parity band for {origin:?} models in _defaults.yaml")]
    NoBand {
        /// The bedrock.
        bedrock: String,
        /// Where its models without a band come from.
        origin: Origin,
    },
    /// Nothing says how far a device's output may be.
    #[error("_defaults.yaml has no band for devices without exact f64")]
    NoDeviceBand,
    /// A rule pins the size of a difference that has none.
    #[error("{bedrock}.yaml: expect rule {rule}: a digest or a file has no size to pin")]
    Pin {
        /// The bedrock.
        bedrock: String,
        /// The rule's position in the list.
        rule: usize,
    },
    /// A rule speaks of no case.
    #[error("{bedrock}.yaml: expect rule {rule} ({because}) matches no case; remove it")]
    NoCase {
        /// The bedrock.
        bedrock: String,
        /// The rule's position in the list.
        rule: usize,
        /// The reason that it gives.
        because: String,
    },
    /// A glob is none.
    #[error("bad glob {text:?}: {error}")]
    Glob {
        /// The text.
        text: String,
        /// What is wrong in it.
        error: PatternError,
    },
    /// A name is not known.
    #[error(transparent)]
    Unknown(#[from] Unknown),
}

/// Everything that the manifests ask for, in a fixed order.
///
/// # Errors
/// A rule of `expect:` with a bad glob or that speaks of no case.
pub fn all(manifests: &Manifests) -> Result<Vec<Case>, PlanError> {
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
) -> Result<(), PlanError> {
    let model = &manifest.models[index];
    let declared = format!("{:?}", (&model.layers, &model.inputs, &model.reads, &model.skips));
    let model_digest: Arc<str> = loom_bedrocks::npz::sha256(declared.as_bytes()).into();
    let mut add = |check: &str, axes: &dyn fmt::Display, planet, stored, kind| {
        let id = format!("{}/{}/{check}/{axes}", manifest.bedrock, model.id());
        let (manifest, model_digest) = (Arc::clone(manifest), Arc::clone(&model_digest));
        cases.push(Case { id, manifest, model: index, planet, stored, kind, expect: None, device: None, model_digest });
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
) -> Result<Tolerance, PlanError> {
    let terms = model.terms();
    let pick = |bands: ParityBands| match model.origin {
        Origin::Original => bands.original,
        Origin::Realistic => bands.realistic,
    };
    let near = pick(manifest.bands.parity).map(|band| Tolerance::resolve(band, terms, BandSource::Bedrock));
    let far = pick(manifests.defaults.bands.parity).map(|band| Tolerance::resolve(band, terms, BandSource::Defaults));
    let missing = || PlanError::NoBand { bedrock: manifest.bedrock.clone(), origin: model.origin };
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
pub fn on_device(manifests: &Manifests, cases: &[Case], device: &Arc<Device>) -> Result<Vec<Case>, PlanError> {
    let mut found = Vec::new();
    for case in cases.iter().filter(|case| case.kind == Kind::Kernel) {
        let tolerance = match (device.exact, manifests.defaults.bands.device) {
            (true, _) => Tolerance::EXACT,
            (false, Some(band)) => Tolerance::resolve(band, case.model().terms(), BandSource::Defaults),
            (false, None) => return Err(PlanError::NoDeviceBand),
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
    fn new(rule: &Match) -> Result<Self, PlanError> {
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

fn expect(manifest: &Manifest, cases: &mut [Case]) -> Result<(), PlanError> {
    // Rules of an adapter wait until it is known.
    for (i, rule) in manifest.expect.iter().enumerate().filter(|(_, rule)| rule.r#match.adapter.is_none()) {
        let matcher = Matcher::new(&rule.r#match)?;
        let mut hits = 0;
        for case in cases.iter_mut() {
            if matcher.hits(case) {
                if rule.pin.is_some() && matches!(case.check(), Check::Snapshot | Check::Roundtrip) {
                    return Err(PlanError::Pin { bedrock: manifest.bedrock.clone(), rule: i });
                }
                case.expect = Some(rule.clone());
                hits += 1;
            }
        }
        if hits == 0 {
            let (bedrock, because) = (manifest.bedrock.clone(), rule.because.clone());
            return Err(PlanError::NoCase { bedrock, rule: i, because });
        }
    }
    Ok(())
}

fn pattern(text: &str) -> Result<Pattern, PlanError> {
    Pattern::new(text).map_err(|error| PlanError::Glob { text: text.into(), error })
}
