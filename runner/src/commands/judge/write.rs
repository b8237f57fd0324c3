//! What a run writes into the folder of reports.

use super::JudgeArgs;
use super::lanes::LaneRun;
use crate::commands::render;
use crate::lock::Lock;
use crate::places::{Mistake, Places, complain};
use crate::stages::judge::Label;
use crate::stages::plan;
use crate::stages::report::{self, CPU};
use crate::write_atomically;

/// Writes the reports, or says why not: a case could not be judged, or others than those of the
/// manifests were. A run of everything starts afresh; another one keeps earlier rows of the cases
/// that it did not run. Of several runs at once each waits for the one before.
pub(super) fn reports(
    places: &Places,
    args: &JudgeArgs,
    runs: &[LaneRun<'_>],
    everything: bool,
    red: bool,
) -> anyhow::Result<Option<&'static str>> {
    let unjudged = runs.iter().flat_map(|run| &run.rows).any(|row| row.label == Label::Error);
    let why_not = match () {
        () if unjudged => Some("a case could not be judged"),
        () if args.fail_fast && red => Some("the run stopped at the first red case"),
        () if args.ulp.is_some() => Some("--ulp replaces the bands"),
        () if args.isa.is_some() => Some("--isa was given"),
        () => None,
    };
    if args.no_report || why_not.is_some() {
        return Ok(why_not.filter(|_| !args.no_report));
    }
    let manifests = places.load(&[])?;
    let planned = plan::all(&manifests).map_err(Mistake::of)?;
    let _lock = Lock::take(&places.reports)?;
    if let Some(what) = report::stale(&places.reports)? {
        complain(&format!("{what}; this run renders it"));
    }
    for run in runs {
        let lane = run.lane.name();
        let planned = run.lane.plan(&manifests, &planned).map_err(Mistake::of)?;
        let earlier = if everything { None } else { report::read(&places.reports, &lane)? };
        let report = run.report().merged(earlier, &planned);
        write_atomically(&report::path(&places.reports, &lane), report.to_json().as_bytes())?;
    }
    // A machine that runs a GPU lane alone has no report of the CPU to render beside it.
    if !runs.is_empty() && report::path(&places.reports, CPU).is_file() {
        render::progress(&places.reports, &manifests)?;
    }
    Ok(None)
}
