//! The GPU lanes in PROGRESS.md.

use std::fmt::Write as _;

use loom_bedrocks::BEDROCKS;

use super::{Tally, small};
use crate::stages::judge::Label;
use crate::stages::report::{LaneReport, Row};

const LEGEND: &str = "\
Every model in every dtype and profile, computed on a GPU from the same packed codes as on our CPU, twice over memory
that held other things, with guard words around every array. EXACT: every bit of the output is the CPU's. A device that
has f64 and leaves products and sums apart must be EXACT; another one computes in f32 and PASSes within the band of
`_defaults.yaml`. UNSTABLE: two runs gave other bits, or a guard was overwritten. Each lane's file was written where the
device is; llvmpipe is Mesa's Vulkan on the processor.

";

/// A row for each lane, and what in it is not EXACT.
pub(super) fn lanes(text: &mut String, devices: &[LaneReport]) {
    text.push_str("## GPUs\n\n");
    text.push_str(LEGEND);
    if devices.is_empty() {
        text.push_str("No GPU lane has run yet.\n\n");
        return;
    }
    text.push_str("| lane | adapter | backend | driver | arithmetic | must be exact | cells | EXACT | worst ULP |\n|---|---|---|---|---|---|--:|--:|--:|\n");
    for lane in devices {
        let Some(device) = &lane.device else { continue };
        let total = Tally::of(lane.rows.iter());
        let exact = 100.0 * total.exact as f64 / total.total().max(1) as f64;
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} | {} | {} ({exact:.1} %) | {} |",
            lane.lane,
            device.adapter,
            device.backend,
            device.driver,
            device.precision,
            if device.exact { "yes" } else { "no" },
            total.total(),
            total.exact,
            worst(lane.rows.iter())
        );
    }
    text.push('\n');
    for lane in devices {
        exceptions(text, lane);
    }
}

/// The largest distance in units in the last place; 0 where all bits are equal.
fn worst<'a>(rows: impl Iterator<Item = &'a Row>) -> u64 {
    rows.filter_map(|row| row.max_ulp).max().unwrap_or(0)
}

/// What is not EXACT, and how many cells each bedrock has.
fn exceptions(text: &mut String, lane: &LaneReport) {
    let counted = BEDROCKS.map(|bedrock| {
        let mine = Tally::of(lane.rows.iter().filter(|row| row.parts()[0] == bedrock));
        format!("{bedrock} {}", if mine.exact == mine.total() { mine.exact.to_string() } else { mine.labels() })
    });
    let _ = writeln!(text, "{}, EXACT cells by bedrock: {}.\n", lane.lane, counted.join(", "));
    for row in lane.rows.iter().filter(|row| row.label != Label::Exact) {
        let far = row.max_abs.map_or_else(String::new, |d| format!(" largest |Δ| {}", small(d)));
        let _ =
            writeln!(text, "- `{}` {}:{far} {}", row.id, row.label.name(), row.reason.as_deref().unwrap_or_default());
    }
}
