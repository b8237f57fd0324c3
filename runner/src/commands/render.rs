//! `bedrock render`.

use std::path::Path;

use clap::Args;

use crate::lock::Lock;
use crate::places::{End, Folders, Mistake, Places};
use crate::render;
use crate::stages::manifest::Manifests;
use crate::stages::plan;
use crate::stages::report::{self, CPU, LaneReport};
use crate::write_atomically;

/// Render PROGRESS.md from the reports that are there.
#[derive(Debug, Args)]
pub(crate) struct RenderArgs {
    /// Where things lie.
    #[command(flatten)]
    folders: Folders,
}

pub(crate) fn run(args: &RenderArgs) -> anyhow::Result<End> {
    let places = Places::find(&args.folders)?;
    let manifests = places.load(&[])?;
    let _lock = Lock::take(&places.reports)?;
    progress(&places.reports, &manifests)?;
    Ok(End::Green)
}

/// Renders PROGRESS.md from the reports that are there. The caller holds the folder's [`Lock`].
///
/// # Errors
/// A [`Mistake`] when the CPU's is not there; reports that cannot be read or written.
pub(super) fn progress(reports: &Path, manifests: &Manifests) -> anyhow::Result<()> {
    let missing = || Mistake(format!("{} is not there; run `bedrock` first", report::path(reports, CPU).display()));
    let cpu = report::read(reports, CPU)?.ok_or_else(missing)?;
    // Other machines' lanes may be older than the manifests: what they no longer ask for is left out.
    let planned = plan::all(manifests).map_err(Mistake::of)?;
    let current = |lane: LaneReport| -> anyhow::Result<Option<LaneReport>> {
        let Some(device) = &lane.device else { return Ok(None) };
        let device = std::sync::Arc::new(device.clone());
        Ok(Some(lane.merged(None, &plan::on_device(manifests, &planned, &device).map_err(Mistake::of)?)))
    };
    let devices = report::devices(reports)?.into_iter().filter_map(|lane| current(lane).transpose());
    let text = render::markdown::progress(&cpu, &devices.collect::<anyhow::Result<Vec<_>>>()?, &manifests.bedrocks);
    let text = format!("{}\n{text}", report::stamp(reports)?);
    write_atomically(&reports.join("PROGRESS.md"), text.as_bytes())
}
