//! What only makes sense of a manifest as a whole, each problem with file and line.

use std::collections::BTreeSet;
use std::path::Path;

use loom_bedrocks::build;
use loom_bedrocks::names::unknown;
use loom_bedrocks::planets::{self, Planet};
use loom_core::LayerKind;

use super::{Band, Bands, Manifest, Model};

/// A part of a band lets everything pass, or is no number.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[error("{part} is {found}; a band that means something has 0 to {most}")]
pub(super) struct BandError {
    part: &'static str,
    found: f64,
    most: f64,
}

impl Band {
    /// Says what is wrong with the numbers, if anything is.
    pub(super) fn check(&self) -> Result<(), BandError> {
        let parts = [
            ("atol", Some(self.atol), 1.0),
            ("rtol", self.rtol, 0.1),
            ("ulps_per_term", self.ulps_per_term, 64.0),
            ("nmse", self.nmse, 0.1),
        ];
        let wrong =
            |(_, value, most): &(_, Option<f64>, f64)| value.is_some_and(|value| !(0.0..=*most).contains(&value));
        match parts.into_iter().find(wrong) {
            Some((part, found, most)) => Err(BandError { part, found: found.unwrap_or_default(), most }),
            None => Ok(()),
        }
    }
}

impl Bands {
    pub(super) fn check(&self) -> Result<(), BandError> {
        [self.parity.original, self.parity.realistic].iter().flatten().try_for_each(Band::check)
    }
}

impl Manifest {
    /// Problems that need the whole document to be seen, each with file and line.
    pub(super) fn lint(&self, path: &Path) -> Vec<String> {
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
            self.lint_planets(model, &mut wrong);
            model.lint_inputs(&mut wrong);
            self.lint_overrides(model, &mut wrong);
            self.lint_names(model, &mut wrong);
            for (layer_path, layer) in build::layers(&model.network()) {
                if let Err(what) = layer.check() {
                    wrong(format!("{layer_path} ({}): {what}", layer.kind().name()));
                }
            }
        }
        found
    }

    /// The planets of a model.
    fn lint_planets(&self, model: &Model, wrong: &mut dyn FnMut(String)) {
        for planet in model.planets.iter().flatten().filter(|id| !self.planets.contains(id)) {
            wrong(unknown("planet", planet, self.planets.iter().map(String::as_str)).to_string());
        }
        if model.planets(self).is_empty() {
            wrong("no planet has it".into());
        }
    }

    /// The overrides of a model.
    fn lint_overrides(&self, model: &Model, wrong: &mut dyn FnMut(String)) {
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
    }

    /// Arrays, layers and inputs that a model names.
    fn lint_names(&self, model: &Model, wrong: &mut dyn FnMut(String)) {
        for input in model.inputs.iter().filter(|input| !self.fixture.contains_key(&input.array)) {
            wrong(unknown("fixture array", &input.array, self.fixture.keys().map(String::as_str)).to_string());
        }
        for (key, map) in [("reads", &model.reads), ("skips", &model.skips)] {
            for (layer, input) in map {
                if *layer >= model.layers.len() || *input >= model.inputs.len() {
                    let (layers, inputs) = (model.layers.len(), model.inputs.len());
                    wrong(format!("{key}: {layer}: {input} is out of range ({layers} layers, {inputs} inputs)"));
                }
            }
        }
    }
}

impl Model {
    /// What it is fed, and that layers take it.
    fn lint_inputs(&self, wrong: &mut dyn FnMut(String)) {
        if self.inputs.is_empty() || self.layers.is_empty() {
            wrong("needs at least one input and one layer".into());
        }
        for (i, _) in self.inputs.iter().enumerate().skip(1) {
            if !self.reads.values().chain(self.skips.values()).any(|input| *input == i) {
                wrong(format!("no layer reads or adds input {i}"));
            }
        }
        for layer in self.skips.keys().filter_map(|layer| Some((layer, self.layers.get(*layer)?))) {
            if layer.1.kind() != LayerKind::Residual {
                wrong(format!(
                    "skips: layer {} is {}, which adds nothing; only residual does",
                    layer.0,
                    layer.1.kind().name()
                ));
            }
        }
    }
}

/// Whether a name can safely become part of a path.
#[must_use]
pub(crate) fn is_plain(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}
