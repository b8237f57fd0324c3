//! What a run shows on standard output.

use super::JudgeArgs;
use super::lanes::{LaneRun, Lanes};
use crate::places::{End, print, print_styled};
use crate::render::{self, terminal};
use crate::stages::judge::Label;
use crate::stages::plan::{Case, Device};
use crate::stages::report::Row;

/// Red cases that are shown in full; the others get a line.
const SHOWN_IN_FULL: usize = 10;

/// The tables, and each red case.
pub(super) fn table(args: &JudgeArgs, runs: &[LaneRun<'_>], lanes: &Lanes, failures: usize) -> anyhow::Result<()> {
    let mut text = String::new();
    for run in runs {
        if let Some(Device { adapter, driver, precision, .. }) = run.lane.device() {
            text.push_str(&format!("{}: {adapter}, {driver}, {precision}\n", run.lane.name()));
        }
        text.push_str(&terminal::summary(&run.rows, terminal::colour()));
        text.push('\n');
        text.extend(render::distinct(&run.rows).map(|line| line + "\n"));
    }
    print_styled(&text)?;
    let mut text = String::new();
    let all = || runs.iter().flat_map(|run| run.cases.iter().zip(&run.judged));
    let red: Vec<_> = all().filter(|(_, (_, verdict))| verdict.label.is_red()).collect();
    for (case, (observation, verdict)) in red.iter().take(SHOWN_IN_FULL) {
        text.push('\n');
        text.push_str(&render::case::detail(case, observation, verdict, &rerun(args, case)));
    }
    for (case, (_, verdict)) in red.iter().skip(SHOWN_IN_FULL) {
        text.push_str(&format!("{} {}\n", verdict.label.name(), case.id));
    }
    let rows: Vec<Row> = runs.iter().flat_map(|run| run.rows.iter().cloned()).collect();
    for row in rows.iter().filter(|row| matches!(row.label, Label::Skip | Label::Xfail)) {
        text.push_str(&format!("{} {}: {}\n", row.label.name(), row.id, row.reason.as_deref().unwrap_or_default()));
    }
    if let Some(why) = &lanes.absent {
        text.push_str(&format!("SKIP lane gpu: {why}\n"));
    }
    if let Some(share) = args.share() {
        text.push_str(&format!("share {share}: "));
    }
    text.push_str(&terminal::total(&rows, failures));
    print(&text)
}

fn rerun(args: &JudgeArgs, case: &Case) -> String {
    let ulp = args.ulp.map_or_else(String::new, |ulp| format!(" --ulp {ulp}"));
    format!("cargo run --release -- --explain {}{ulp}", case.id)
}

/// How cases are resolved, and what they showed.
pub(super) fn explained(args: &JudgeArgs, runs: &[LaneRun<'_>]) -> anyhow::Result<End> {
    let mut end = End::Green;
    for run in runs {
        for (case, (observation, verdict)) in run.cases.iter().zip(&run.judged) {
            let detail = render::case::detail(case, observation, verdict, &rerun(args, case));
            print(&format!("{}\n{detail}", render::case::explain(case)))?;
            if verdict.label.is_red() {
                end = End::Red;
            }
        }
    }
    Ok(end)
}
