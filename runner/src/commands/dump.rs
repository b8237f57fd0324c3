//! How planets are dumped for `bless` and `drift`.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::Args;
use loom_bedrocks::planets::PLANETS;

use crate::places::{Mistake, Places};
use crate::stages::manifest::{Manifest, Manifests, unknown};
use crate::{bless, ending};

/// Which models are dumped, and how.
#[derive(Clone, Debug, Args)]
pub(super) struct PythonArgs {
    /// The Python that has the planets installed.
    #[arg(long, value_name = "FILE", env = "BEDROCK_PYTHON", default_value = "python3")]
    pub(super) python: PathBuf,
    /// Only the models whose id matches.
    #[arg(long, value_name = "GLOB", default_value = "*")]
    pub(super) model: glob::Pattern,
    /// Use a dump that `python -m planetbridging.dump` made elsewhere.
    #[arg(long, value_name = "DIR")]
    pub(super) from: Option<PathBuf>,
}

/// Dumps each planet, or takes the dump that was named, and hands every bedrock to `each`.
pub(super) fn each(
    places: &Places,
    manifests: &Manifests,
    planets: &[String],
    python: &PythonArgs,
    any_version: bool,
    mut each: impl FnMut(&Manifest, &str, &Path) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let known = || PLANETS.iter().map(|p| p.id).chain(["fixture"]);
    if let Some(planet) = planets.iter().find(|planet| !known().any(|id| id == *planet)) {
        bail!(Mistake::of(unknown("planet", planet, known())));
    }
    for planet in planets {
        let has = |m: &&Manifest| !bless::files(m, planet, &python.model).is_empty();
        let bedrocks: Vec<&Manifest> = manifests.bedrocks.iter().filter(has).collect();
        if bedrocks.is_empty() {
            bail!(Mistake(format!("{planet} has no model of these bedrocks")));
        }
        if let Some(from) = python.from.as_ref().filter(|from| !from.is_dir()) {
            bail!(Mistake(format!("--from {}: no such folder", from.display())));
        }
        let folder = ending::Scratch::new().context("cannot make a temporary folder")?;
        let dumped = match &python.from {
            Some(from) => from,
            None => {
                let dump = bless::Dump {
                    python: &python.python,
                    package: &places.root.join("python"),
                    manifests: &places.manifests,
                    planet,
                    bedrocks: &bedrocks,
                    models: &python.model,
                    any_version,
                };
                dump.run(folder.path())?;
                folder.path()
            }
        };
        for manifest in bedrocks {
            each(manifest, planet, dumped)?;
        }
    }
    Ok(())
}
