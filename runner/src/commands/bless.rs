//! `bedrock bless`.

use std::path::PathBuf;

use anyhow::bail;
use clap::Args;

use super::dump::{self, PythonArgs};
use crate::bless;
use crate::lock::Lock;
use crate::places::{End, Folders, Mistake, Places, first_of, print, print_lines};
use crate::render::terminal;
use crate::stages::manifest::Manifests;
use crate::stages::plan::{Case, Check};
use crate::stages::{golden, plan};

/// Dump planets anew, show what changed, and accept it; the only way goldens change.
#[derive(Debug, Args)]
pub(crate) struct BlessArgs {
    /// Bedrocks; all when absent.
    bedrocks: Vec<String>,
    /// A planet, or `fixture` for the input arrays; may be given several times.
    #[arg(long, value_name = "ID", required_unless_present = "core")]
    planet: Vec<String>,
    /// Bless the digests of our own outputs instead.
    #[arg(long, conflicts_with_all = ["planet", "from"])]
    core: bool,
    /// Why the new numbers are right; kept in the index.
    #[arg(long, value_name = "WHY", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    accept: String,
    /// Keep the numbers and record the present sources, if the new dump equals the one in DIR, which the goldens' own
    /// sources made on this machine.
    #[arg(long, value_name = "DIR", conflicts_with = "core")]
    same_as: Option<PathBuf>,
    /// How Python is run.
    #[command(flatten)]
    python: PythonArgs,
    /// Where things lie.
    #[command(flatten)]
    folders: Folders,
}

pub(crate) fn run(args: &BlessArgs) -> anyhow::Result<End> {
    let places = Places::find(&args.folders)?;
    let manifests = places.load(&args.bedrocks)?;
    if args.accept.trim().is_empty() {
        bail!(Mistake("--accept needs a reason".into()));
    }
    if args.core {
        return bless_core(&places, &manifests, &args.python.model, &args.accept);
    }
    if let Some(before) = args.same_as.as_ref().filter(|before| !before.is_dir()) {
        bail!(Mistake(format!("--same-as {}: no such folder", before.display())));
    }
    // Goldens that are kept are read before the dump, and may not change until they are written.
    let early = args.same_as.is_some().then(|| Lock::take(&places.golden)).transpose()?;
    // Everything is dumped, read, checked and packed before anything is written.
    let mut ready = Vec::new();
    let models = &args.python.model;
    dump::each(&places, &manifests, &args.planet, &args.python, false, |manifest, planet, dumped| {
        if let Some(before) = &args.same_as {
            ready.push(bless::unmoved(&places.golden, manifest, planet, models, dumped, before, &args.accept)?);
            return Ok(());
        }
        print_lines(&bless::drift(&places.golden, manifest, planet, models, dumped)?)?;
        ready.push(bless::ready(manifest, planet, models, dumped, &args.accept)?);
        Ok(())
    })?;
    let _lock = early.map_or_else(|| Lock::take(&places.golden), Ok)?;
    let joined = bless::Ready::joined(ready).into_iter();
    let prepared: Vec<bless::Prepared> =
        joined.map(|ready| ready.prepare(&places.golden)).collect::<anyhow::Result<_>>()?;
    prepared.into_iter().try_for_each(bless::Prepared::commit)?;
    Ok(End::Green)
}

fn bless_core(places: &Places, manifests: &Manifests, models: &glob::Pattern, why: &str) -> anyhow::Result<End> {
    let cases = plan::all(manifests).map_err(Mistake::of)?;
    // The digests are what is about to change, so only the arrays they come from are verified:
    // those of the first planet of each model, as the kernel check uses.
    let has = |case: &&Case| case.check() == Check::Kernel && models.matches(case.model().id());
    let arrays: Vec<Case> = cases.iter().filter(has).cloned().collect();
    if arrays.is_empty() {
        bail!(Mistake(format!("no model of these bedrocks matches {:?}", models.as_str())));
    }
    let goldens = golden::load(&places.golden, &arrays).map_err(|problems| anyhow::anyhow!(first_of(&problems)))?;
    let (mut changed, mut recosted) = (0, 0);
    for manifest in &manifests.bedrocks {
        let _lock = Lock::take(&places.golden)?;
        let mut lines = bless::core(&places.golden, &cases, &goldens, manifest, models, why)?;
        changed += lines.len();
        let fidelity: Vec<&Case> = cases
            .iter()
            .filter(|case| case.check() == Check::Fidelity && case.manifest.bedrock == manifest.bedrock)
            .filter(|case| models.matches(case.model().id()))
            .collect();
        let bar = terminal::bar(fidelity.len());
        let costs = bless::costs(&places.golden, manifest, &fidelity, &goldens, &|| bar.inc(1))?;
        bar.finish_and_clear();
        recosted += costs.len();
        lines.extend(costs);
        print_lines(&lines)?;
    }
    print(&format!("{changed} digests changed, {recosted} costs"))?;
    Ok(End::Green)
}
