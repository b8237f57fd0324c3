//! From a lane's report to PROGRESS.md. Pure: same report, same bytes.

use std::fmt::Write as _;

use loom_bedrocks::BEDROCKS;
use loom_bedrocks::planets::PLANETS;

use crate::judge::Label;
use crate::manifest::Manifest;
use crate::report::{LaneReport, Row};

/// The labels of one cell of the scoreboard.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Tally {
    /// EXACT.
    pub exact: usize,
    /// PASS.
    pub pass: usize,
    /// PASS against the planet's float64 output.
    pub pass_f64: usize,
    /// XFAIL and SKIP.
    pub excused: usize,
    /// Everything red.
    pub red: usize,
    /// Largest `|Δ|`.
    pub worst: f64,
    /// Smallest headroom.
    pub headroom: f64,
}

impl Tally {
    /// Counts rows.
    #[must_use]
    pub fn of<'a>(rows: impl Iterator<Item = &'a Row>) -> Self {
        let start = Tally { headroom: f64::INFINITY, ..Tally::default() };
        rows.fold(start, |mut tally, row| {
            match row.label {
                Label::Exact => tally.exact += 1,
                Label::Pass if row.float64 => tally.pass_f64 += 1,
                Label::Pass => tally.pass += 1,
                Label::Xfail | Label::Skip => tally.excused += 1,
                _ => tally.red += 1,
            }
            tally.worst = tally.worst.max(row.max_abs.unwrap_or(0.0));
            tally.headroom = tally.headroom.min(row.headroom.unwrap_or(f64::INFINITY));
            tally
        })
    }

    /// How many rows there were.
    #[must_use]
    pub fn total(&self) -> usize {
        self.exact + self.pass + self.pass_f64 + self.excused + self.red
    }

    /// `3 EXACT 9 PASS`, or a dash for nothing.
    #[must_use]
    pub fn labels(&self) -> String {
        let counts = [
            (self.exact, "EXACT"),
            (self.pass, "PASS"),
            (self.pass_f64, "PASS(f64)"),
            (self.excused, "excused"),
            (self.red, "**red**"),
        ];
        let parts: Vec<String> = counts.iter().filter(|(n, _)| *n > 0).map(|(n, name)| format!("{n} {name}")).collect();
        if parts.is_empty() { "—".into() } else { parts.join(" ") }
    }

    /// The smallest headroom, or a dash where nothing differed.
    #[must_use]
    pub fn room(&self) -> String {
        room(self.headroom.is_finite().then_some(self.headroom))
    }
}

fn room(headroom: Option<f64>) -> String {
    headroom.map_or("—".into(), |h| match h {
        h if h >= 100.0 => format!("{h:.0}×"),
        h if h >= 1.0 => format!("{h:.1}×"),
        h => format!("{h:.2}×"),
    })
}

/// A number of small size in three digits.
#[must_use]
pub fn small(value: f64) -> String {
    if value == 0.0 { "0".into() } else { format!("{value:.2e}") }
}

fn of<'a>(report: &'a LaneReport, bedrock: &'a str, check: &'a str) -> impl Iterator<Item = &'a Row> + Clone {
    report.rows.iter().filter(move |row| {
        let [b, _, c, _] = row.parts();
        b == bedrock && c == check
    })
}

/// PROGRESS.md.
#[must_use]
pub fn progress(report: &LaneReport, manifests: &[Manifest]) -> String {
    let mut text = String::from("# Progress\n\n");
    let total = Tally::of(report.rows.iter());
    let _ = writeln!(
        text,
        "Rendered by `bedrock` from `{}.json`; do not edit. {} cases: {} EXACT, {} PASS, {} PASS (f64), {} excused, {} red.\n",
        report.lane,
        total.total(),
        total.exact,
        total.pass,
        total.pass_f64,
        total.excused,
        total.red
    );
    text.push_str(LEGEND);
    scoreboard(&mut text, report);
    for manifest in manifests {
        bedrock(&mut text, report, manifest);
    }
    text.push_str(&not_covered(report, manifests));
    text
}

const LEGEND: &str = "\
**parity** compares what a planet computed in float32 with our CPU. EXACT: every number equal. PASS: within the band.
PASS (f64): within the same band of what the planet computed in float64 from the same numbers, for models on which its
float32 result misses the band by its own error; the list under the table says why. |planet − f64| and |ours − f64| are
the distances from the planet's float64 result: they say whose error it is. Max ULP is large where an output is near 0.
Headroom is what the band allows over what was measured. **kernel** compares the vector and the multi-core paths with
the scalar single core, bit for bit; **snapshot** compares our bits with the last blessed digest.

";

fn scoreboard(text: &mut String, report: &LaneReport) {
    text.push_str("## Scoreboard\n\n| bedrock |");
    for planet in PLANETS {
        let _ = write!(text, " {} |", planet.title);
    }
    text.push_str(" worst \\|Δ\\| | least headroom | kernel | snapshot |\n|---|");
    text.push_str(&"---|".repeat(PLANETS.len()));
    text.push_str("--:|--:|---|---|\n");
    for bedrock in BEDROCKS {
        let parity = of(report, bedrock, "parity");
        let all = Tally::of(parity.clone());
        let _ = write!(text, "| [{bedrock}](#{bedrock}) |");
        for planet in PLANETS {
            let tally = Tally::of(parity.clone().filter(|row| row.parts()[3] == planet.id));
            let _ = write!(text, " {} |", tally.labels());
        }
        let (kernel, snapshot) = (Tally::of(of(report, bedrock, "kernel")), Tally::of(of(report, bedrock, "snapshot")));
        let worst = if all.total() == 0 { "—".into() } else { small(all.worst) };
        let _ = writeln!(text, " {worst} | {} | {} | {} |", all.room(), kernel.labels(), snapshot.labels());
    }
    text.push('\n');
}

fn bedrock(text: &mut String, report: &LaneReport, manifest: &Manifest) {
    let _ = writeln!(text, "## {}\n\n{}.\n", manifest.bedrock, manifest.title);
    text.push_str(
        "| model | planet | label | max \\|Δ\\| | max ULP | headroom | \\|planet − f64\\| | \\|ours − f64\\| |\n",
    );
    text.push_str("|---|---|---|--:|--:|--:|--:|--:|\n");
    let number = |value: Option<f64>| value.map_or("—".into(), small);
    let rows: Vec<&Row> = of(report, &manifest.bedrock, "parity").collect();
    for row in &rows {
        let [_, model, _, planet] = row.parts();
        let ulp = row.max_ulp.map_or("—".into(), |ulp| ulp.to_string());
        let label = if row.label.is_green() { row.shown() } else { format!("**{}**", row.shown()) };
        let _ = writeln!(
            text,
            "| {model} | {planet} | {label} | {} | {ulp} | {} | {} | {} |",
            number(row.max_abs),
            room(row.headroom),
            number(row.planet_error),
            number(row.our_error)
        );
    }
    text.push('\n');
    let mut bands: std::collections::BTreeMap<&str, usize> = std::collections::BTreeMap::new();
    rows.iter().for_each(|row| *bands.entry(&row.band).or_default() += 1);
    let bands: Vec<String> = bands.iter().map(|(band, n)| format!("{band} ({n} cases)")).collect();
    let _ = writeln!(text, "Bands: {}.\n", bands.join("; "));
    let mut notes = String::new();
    for model in &manifest.models {
        for rule in &model.overrides {
            let planet = rule.planet.as_deref().unwrap_or("every planet");
            let _ = writeln!(notes, "- `{}`, {planet}: {}.", model.id(), rule.why);
        }
    }
    let reasons = report.rows.iter().filter(|row| row.parts()[0] == manifest.bedrock && row.reason.is_some());
    for row in reasons {
        let _ = writeln!(notes, "- `{}` {}: {}", row.id, row.label.name(), row.reason.as_deref().unwrap_or_default());
    }
    if !notes.is_empty() {
        notes.push('\n');
        text.push_str(&notes);
    }
}

/// What the run did not show.
fn not_covered(report: &LaneReport, manifests: &[Manifest]) -> String {
    let mut text = String::from("## Not covered\n\n");
    for bedrock in BEDROCKS.iter().filter(|id| of(report, id, "parity").next().is_none()) {
        let _ = writeln!(text, "- {bedrock}: no parity case has run in this lane yet.");
    }
    for planet in PLANETS {
        let absent: Vec<&str> = manifests
            .iter()
            .filter(|m| !m.planets.iter().any(|id| id == planet.id))
            .map(|m| m.bedrock.as_str())
            .collect();
        if !absent.is_empty() {
            let _ = writeln!(text, "- {} has no operator for: {}.", planet.title, absent.join(", "));
        }
        let partly: Vec<&str> = manifests
            .iter()
            .filter(|m| m.planets.iter().any(|id| id == planet.id))
            .flat_map(|m| m.models.iter().filter(|model| !model.planets(m).contains(&planet)).map(|model| model.id()))
            .collect();
        if !partly.is_empty() {
            let _ = writeln!(text, "- {} cannot express: {}.", planet.title, partly.join(", "));
        }
    }
    text.push_str("- Dtypes other than float32, the GPU, checkpoints and live streaming: not built yet.\n");
    text.push_str("- Layer kinds without a bedrock (transposed convolutions, kmeans, softmax, parallel, metacognition) are held to\n  the vectors recorded from Loom 0.80 instead (`cargo test -p loom-core --test vectors`).\n");
    text
}
