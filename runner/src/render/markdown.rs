//! PROGRESS.md.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use loom_bedrocks::BEDROCKS;
use loom_bedrocks::planets::PLANETS;
use loom_core::format::FORMATS;
use loom_core::{Dtype, Numerics};

use super::{ByStored, Tally, distinct, fidelity, gpus, room, small};
use crate::stages::bounds::{DECODED, MARGIN, SEEDS};
use crate::stages::judge::Label;
use crate::stages::manifest::Manifest;
use crate::stages::plan::Stored;
use crate::stages::report::{LaneReport, Row};

fn of<'a>(report: &'a LaneReport, bedrock: &'a str, check: &'a str) -> impl Iterator<Item = &'a Row> + Clone {
    report.rows.iter().filter(move |row| {
        let [b, _, c, _] = row.parts();
        b == bedrock && c == check
    })
}

/// PROGRESS.md.
#[must_use]
pub(crate) fn progress(report: &LaneReport, devices: &[LaneReport], manifests: &[Manifest]) -> String {
    let mut text = String::from("# Progress\n\n");
    let total = Tally::of(report.rows.iter());
    let _ = writeln!(
        text,
        "Rendered by `bedrock` from `{}.json` and `gpu-*.json`; do not edit.\n\nOn the processor {} cases: {}.",
        report.lane,
        total.total(),
        total.labels()
    );
    let _ = writeln!(text, "{}\n", distinct(&report.rows).unwrap_or_default());
    text.push_str(LEGEND);
    scoreboard(&mut text, report);
    dtypes(&mut text, report);
    gpus::lanes(&mut text, devices);
    checkpoints(&mut text, report);
    for manifest in manifests {
        bedrock(&mut text, report, manifest);
    }
    text.push_str(&not_covered(report, manifests));
    text
}

const LEGEND: &str = "\
- **parity**: what a planet computed in float32 against our CPU. EXACT: every number equal. PASS: within the band of the
  manifest. PASS (f64): within the same band of what the planet computed in float64, for models on which its float32 result
  misses the band by its own error; the list under the table says why. |planet − f64| and |ours − f64| say whose error it is.
- **computed right**: a model with its weights stored in a dtype, run from the packed codes, against the f32 run of the
  same decoded weights, in every case; and each stored weight, scale and zero point against the rule of its type.
- **cost**: the same run against the model in f32. EXACT: the type keeps every output. PASS: within what seeds of this model
  show. Not judged: weights set to zero, turned in sign, halved or moved would cost no more, so a bound says nothing.
- **kernel**: AVX2, AVX-512 and several cores against the scalar single core, every bit; on a GPU against the CPU.
- **snapshot**: our bits against the last blessed digest. **roundtrip**: written in every checkpoint format, read, written
  again (the same bytes) and run (the same bits).
- Headroom: what is allowed over what was measured. Max ULP is large where an output is near 0.

";

/// `336 of 336`: how many rows are EXACT; or what else there is.
fn exact(tally: &Tally) -> String {
    match tally.total() {
        0 => "—".into(),
        total if tally.exact == total => format!("{total} of {total}"),
        _ => tally.labels(),
    }
}

fn scoreboard(text: &mut String, report: &LaneReport) {
    text.push_str("## Scoreboard\n\n| bedrock |");
    for planet in PLANETS {
        let _ = write!(text, " {} |", planet.title);
    }
    text.push_str(
        " worst \\|Δ\\| | least headroom | computed right | cost | kernel EXACT | snapshot EXACT | roundtrip EXACT |\n|---|",
    );
    text.push_str(&"---|".repeat(PLANETS.len()));
    text.push_str("--:|--:|--:|---|--:|--:|--:|\n");
    for bedrock in BEDROCKS {
        let parity = of(report, bedrock, "parity");
        let all = Tally::of(parity.clone());
        let _ = write!(text, "| [{bedrock}](#{bedrock}) |");
        for planet in PLANETS {
            let tally = Tally::of(parity.clone().filter(|row| row.parts()[3] == planet.id));
            let _ = write!(text, " {} |", tally.labels());
        }
        let fidelity = of(report, bedrock, "fidelity");
        let right = match fidelity.clone().count() {
            0 => "—".into(),
            total => format!("{} of {total}", fidelity.clone().filter(|row| computed_right(row)).count()),
        };
        let cost = Tally::of(fidelity).labels();
        let [kernel, snapshot, roundtrip] =
            ["kernel", "snapshot", "roundtrip"].map(|check| exact(&Tally::of(of(report, bedrock, check))));
        let worst = if all.total() == 0 { "—".into() } else { small(all.worst) };
        let _ = writeln!(text, " {worst} | {} | {right} | {cost} | {kernel} | {snapshot} | {roundtrip} |", all.room());
    }
    text.push('\n');
}

/// Whether a fidelity row's output is that of its decoded weights.
fn computed_right(row: &Row) -> bool {
    row.decoded.is_some_and(|nmse| nmse <= DECODED)
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
        let label = if !row.label.is_red() { row.shown() } else { format!("**{}**", row.shown()) };
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
    let mut bands: BTreeMap<&str, usize> = BTreeMap::new();
    rows.iter().for_each(|row| *bands.entry(row.band.as_deref().unwrap_or("exact")).or_default() += 1);
    let bands: Vec<String> = bands.iter().map(|(band, n)| format!("{band} ({n} cases)")).collect();
    let _ = writeln!(text, "Bands: {}.\n", bands.join("; "));
    let mut notes = String::new();
    for model in &manifest.models {
        for rule in &model.overrides {
            let planet = rule.planet.as_deref().unwrap_or("every planet");
            let _ = writeln!(notes, "- `{}`, {planet}: {}.", model.id(), rule.why);
        }
    }
    let mine = report.rows.iter().filter(|row| row.parts()[0] == manifest.bedrock && row.reason.is_some());
    let (unjudged, reasons): (Vec<&Row>, Vec<&Row>) = mine.partition(|row| row.label == Label::Unjudged);
    if !unjudged.is_empty() {
        let mut by: BTreeMap<&str, usize> = BTreeMap::new();
        unjudged.iter().for_each(|row| *by.entry(row.parts()[1]).or_default() += 1);
        let models: Vec<String> = by.iter().map(|(model, n)| format!("`{model}` in {n}")).collect();
        let _ = writeln!(notes, "- Cost not judged, of 42 dtypes and profiles: {}.", models.join(", "));
    }
    for row in reasons {
        let _ = writeln!(notes, "- `{}` {}: {}", row.id, row.label.name(), row.reason.as_deref().unwrap_or_default());
    }
    if !notes.is_empty() {
        notes.push('\n');
        text.push_str(&notes);
    }
}

/// The matrix of bedrocks and dtypes, for each profile.
fn dtypes(text: &mut String, report: &LaneReport) {
    let by = &ByStored::new(&report.rows);
    let _ = writeln!(
        text,
        "## Dtypes\n\n\
Every model with its weights stored in every dtype, computed from the packed codes. **computed**: the largest NMSE (mean squared\n\
error of the output over its mean square) beside the f32 run of the decoded weights; at most {DECODED:e} passes, in every case.\n\
Under each bedrock what the type costs: the largest NMSE beside the model in f32 among the models that are judged, or EXACT.\n\
It may be at most {MARGIN} times the worst of {SEEDS} seeds of the same model: networks with the same rounding errors, their\n\
signs drawn (`runner/src/cost.rs`, `golden/*/cost.yaml`). **not judged**: models on which the type costs so much that zeros,\n\
opposite signs, halved or moved weights would pass as well. Headroom and cosine (the angle between the two outputs) are the\n\
worst of what is judged.\n"
    );
    for numerics in Numerics::ALL.into_iter().rev() {
        let what = match numerics {
            Numerics::Standard => {
                "what the types' names promise; gains, shifts and biases stay f32, but where a bedrock is little else"
            }
            Numerics::Loom => "what the original runtime stores, one scale for a whole layer",
        };
        let _ = writeln!(text, "### {numerics}: {what}\n");
        text.push_str("| dtype | computed |");
        BEDROCKS.iter().for_each(|bedrock| text.push_str(&format!(" {bedrock} |")));
        text.push_str(" not judged | least headroom | least cosine |\n|---|--:|");
        text.push_str(&"--:|".repeat(BEDROCKS.len() + 3));
        text.push('\n');
        for &dtype in Dtype::ALL {
            let rows = by.rows("fidelity", Stored { dtype, numerics });
            let all = Tally::of(rows.iter().copied());
            let computed = if all.total() == 0 { "—".into() } else { small(all.decoded) };
            let _ = write!(text, "| {dtype} | {computed} |");
            for bedrock in BEDROCKS {
                let mine = rows.iter().copied().filter(|row| row.parts()[0] == bedrock);
                let _ = write!(text, " {} |", fidelity(&Tally::of(mine)));
            }
            let judged = all.total() > all.unjudged;
            let cosine = if judged { format!("{:.4}", all.cosine) } else { "—".into() };
            let unjudged =
                if all.unjudged == 0 { "—".into() } else { format!("{} of {}", all.unjudged, all.total()) };
            let _ = writeln!(text, " {unjudged} | {} | {cosine} |", all.room());
        }
        text.push('\n');
    }
    bits(text, by);
}

/// Bits of each weight, smallest and largest among a bedrock's models.
fn bits(text: &mut String, by: &ByStored<'_>) {
    text.push_str("### Bits for each weight\n\nPacked codes of all weights over their number, scales not counted: smallest and largest among a bedrock's models, in the\nstandard profile.\n\n| dtype |");
    BEDROCKS.iter().for_each(|bedrock| text.push_str(&format!(" {bedrock} |")));
    text.push_str("\n|---|");
    text.push_str(&"--:|".repeat(BEDROCKS.len()));
    text.push('\n');
    for &dtype in Dtype::ALL {
        let _ = write!(text, "| {dtype} |");
        for bedrock in BEDROCKS {
            let rows = by.rows("fidelity", Stored { dtype, numerics: Numerics::Standard }).iter();
            let bits = rows.filter(|row| row.parts()[0] == bedrock).filter_map(|row| row.bits);
            let (least, most) = bits.fold((f64::INFINITY, 0.0f64), |(a, b), bits| (a.min(bits), b.max(bits)));
            let _ = match (least, most) {
                (f64::INFINITY, _) => write!(text, " — |"),
                (least, most) if format!("{least:.1}") == format!("{most:.1}") => write!(text, " {least:.1} |"),
                (least, most) => write!(text, " {least:.1}–{most:.1} |"),
            };
        }
        text.push('\n');
    }
    text.push('\n');
}

const CHECKPOINTS: &str = "\
Every model in every dtype and profile, written in each format, read, written again (the same bytes) and run (the same
bits): how many of its networks a format holds. Version 2 must hold all of them, the others at least as many as
`min_cases` of the manifest says. Version 1 and JSON hold what the original runtime can: one dtype and scale for a layer,
stored as it stores them. Where they cannot hold a network they must refuse to write it and say why, which the list under
the table summarises; `bedrock entity convert --drop` leaves it out.

";

/// How many networks each format holds, and what keeps the others out.
fn checkpoints(text: &mut String, report: &LaneReport) {
    text.push_str("## Checkpoints\n\n");
    text.push_str(CHECKPOINTS);
    text.push_str("| bedrock | networks |");
    let columns =
        || Numerics::ALL.into_iter().flat_map(|numerics| FORMATS.iter().map(move |format| (numerics, format)));
    let partial = || columns().filter(|(_, format)| !format.is_whole());
    partial().for_each(|(numerics, format)| text.push_str(&format!(" {format}, {numerics} |")));
    text.push_str(" version 2 |\n|---|--:|");
    text.push_str(&"--:|".repeat(partial().count() + 1));
    text.push('\n');
    for bedrock in BEDROCKS {
        let rows = of(report, bedrock, "roundtrip");
        let _ = write!(text, "| {bedrock} | {} |", rows.clone().count());
        let held = |numerics: Numerics, format: &str| {
            rows.clone().filter(|row| row.id.ends_with(numerics.name()) && row.holds(format)).count()
        };
        for (numerics, format) in partial() {
            let _ = write!(text, " {} |", held(numerics, format.name()));
        }
        let whole = FORMATS
            .iter()
            .filter(|format| format.is_whole())
            .map(|format| Numerics::ALL.into_iter().map(|numerics| held(numerics, format.name())).sum::<usize>());
        let _ = writeln!(text, " {} |", whole.min().unwrap_or(0));
    }
    text.push('\n');
    let mut lacks: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    for row in report.rows.iter().filter(|row| row.id.ends_with(Numerics::Loom.name())) {
        let Some(what) = &row.lacks else { continue };
        lacks.entry(what.clone()).or_default().insert(row.parts()[1]);
    }
    text.push_str("What keeps networks of the original's profile out of JSON or version 1 (the latter does hold biases of dense layers that\nstand in the grid, and norms of queries and keys):\n\n");
    for (what, models) in lacks {
        let models: Vec<String> = models.into_iter().map(|model| format!("`{model}`")).collect();
        let _ = writeln!(text, "- {what}: {}.", models.join(", "));
    }
    text.push('\n');
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
    text.push_str("- Layer kinds without a bedrock (transposed convolutions, kmeans, softmax, parallel, metacognition) are held to\n  the vectors recorded from Loom 0.80 instead (`cargo test -p loom-core --test vectors`).\n");
    text
}
