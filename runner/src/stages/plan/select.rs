//! The cases that a call asks for.

use glob::Pattern;
use loom_bedrocks::planets::PLANETS;
use loom_core::{Dtype, Numerics};

use super::case::{Case, Check};
use super::{PlanError, pattern};
use crate::stages::manifest::unknown;

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
    pub(crate) fn is_whole(&self) -> bool {
        self.models.is_empty()
            && self.planets.is_empty()
            && self.checks.is_empty()
            && self.dtypes.is_empty()
            && self.numerics.is_empty()
            && self.filter.is_none()
            && self.shard.is_none()
    }

    fn globs(texts: &[String]) -> Result<Vec<Pattern>, PlanError> {
        texts.iter().map(|text| pattern(text)).collect()
    }
}

/// The cases of `all` that were asked for.
///
/// # Errors
/// The user's mistake: an unknown name or a bad glob.
pub fn select(cases: &[Case], selection: &Selection) -> Result<Vec<Case>, PlanError> {
    for planet in &selection.planets {
        if !PLANETS.iter().any(|known| known.id == planet) {
            return Err(unknown("planet", planet, PLANETS.iter().map(|p| p.id)).into());
        }
    }
    let models = Selection::globs(&selection.models)?;
    for (glob, text) in models.iter().zip(&selection.models) {
        if !cases.iter().any(|case| glob.matches(case.model().id())) {
            return Err(unknown("model", text, cases.iter().map(|case| case.model().id())).into());
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
