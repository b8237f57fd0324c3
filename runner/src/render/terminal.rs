//! What people see while and after a run: a progress bar, tables, and each miss in full.

use std::fmt::Write as _;
use std::io::IsTerminal as _;

use comfy_table::{Attribute, Cell, CellAlignment, Color, ContentArrangement, Table, presets};
use indicatif::{ProgressBar, ProgressStyle};
use loom_bedrocks::BEDROCKS;
use loom_bedrocks::planets::PLANETS;
use loom_core::{Dtype, Numerics, Vectors};

use crate::cost::{MARGIN, SEEDS};
use crate::render::{ByStored, Tally, fidelity, small};
use crate::stages::compare::{Comparison, WorstWeight};
use crate::stages::judge::{DECODED, Label, Observation, Verdict};
use crate::stages::plan::{BandSource, Case, Check, Stored};
use crate::stages::report::Row;

/// A bar on a terminal, nothing in a pipe.
#[must_use]
pub fn bar(cases: usize) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:32} {pos}/{len} cases {elapsed}")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(cases as u64).with_style(style)
}

/// Whether standard output wants colour: a terminal, and `NO_COLOR` is not set.
#[must_use]
pub fn colour() -> bool {
    std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

fn table(headers: Vec<&str>, colour: bool) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED);
    table.set_content_arrangement(ContentArrangement::Disabled);
    if !colour {
        table.force_no_tty();
    }
    table.set_header(headers);
    table
}

fn painted(text: String, red: bool, colour: bool) -> Cell {
    // What was not judged is neither green nor red.
    match (colour && (red || text != "—" && !text.contains("not judged")), red) {
        (false, _) => Cell::new(text),
        (true, true) => Cell::new(text).fg(Color::Red).add_attribute(Attribute::Bold),
        (true, false) => Cell::new(text).fg(Color::Green),
    }
}

/// The result of a run: a row for each bedrock, or for each model when there is one bedrock.
/// On a narrow terminal the columns that say least are left out, rather than words broken.
#[must_use]
pub fn summary(rows: &[Row], colour: bool) -> String {
    let width = Table::new().width().map_or(usize::MAX, usize::from);
    let fits = |table: &Table| table.lines().next().is_some_and(|line| line.chars().count() <= width);
    let board = |left_out| board(rows, colour, left_out);
    let mut text = (0..3).map(board).find(fits).unwrap_or_else(|| board(3)).to_string();
    if rows.iter().any(|row| row.parts()[2] == "fidelity") {
        let dtypes = |left_out| dtypes(rows, colour, left_out);
        text.push('\n');
        text.push_str(&(0..2).map(dtypes).find(fits).unwrap_or_else(|| dtypes(2)).to_string());
    }
    text
}

/// A row for each dtype: the largest NMSE and least headroom in each profile, then kernel and
/// snapshot; without those two (1), or without headroom as well (2).
fn dtypes(rows: &[Row], colour: bool, left_out: usize) -> Table {
    let by = ByStored::new(rows);
    let profiles: Vec<Numerics> = Numerics::ALL
        .into_iter()
        .rev()
        .filter(|&numerics| Dtype::ALL.iter().any(|&dtype| !by.rows("fidelity", Stored { dtype, numerics }).is_empty()))
        .collect();
    let mut headers = vec!["dtype".to_string()];
    for numerics in &profiles {
        headers.push(format!("NMSE {numerics}"));
        headers.extend((left_out < 2).then(|| "headroom".to_string()));
    }
    let ran = |check: &&str| left_out < 1 && rows.iter().any(|row| row.parts()[2] == *check);
    let checks: Vec<&str> = ["kernel", "snapshot", "roundtrip"].into_iter().filter(ran).collect();
    headers.extend(checks.iter().map(|check| check.to_string()));
    let mut table = table(headers.iter().map(String::as_str).collect(), colour);
    for &dtype in Dtype::ALL {
        let mut cells = vec![Cell::new(dtype)];
        let mut any = false;
        for &numerics in &profiles {
            let tally = Tally::of(by.rows("fidelity", Stored { dtype, numerics }).iter().copied());
            any |= tally.total() > 0;
            cells.push(
                painted(fidelity(&tally).replace("**", ""), tally.red > 0, colour).set_alignment(CellAlignment::Right),
            );
            if left_out < 2 {
                cells.push(Cell::new(tally.room()).set_alignment(CellAlignment::Right));
            }
        }
        for check in &checks {
            let both = profiles.iter().flat_map(|&numerics| by.rows(check, Stored { dtype, numerics }).iter().copied());
            let tally = Tally::of(both);
            cells.push(painted(plain(&tally), tally.red > 0, colour));
        }
        if any {
            table.add_row(cells);
        }
    }
    table
}

/// The table, without fidelity, kernel and snapshot (1), or without the numbers as well and with green
/// out of all in place of labels (2); a single bedrock's models keep their labels, and at last
/// nothing else (3).
fn board(rows: &[Row], colour: bool, left_out: usize) -> Table {
    let mut bedrocks: Vec<&str> = rows.iter().map(|row| row.parts()[0]).collect();
    bedrocks.dedup();
    let planets: Vec<_> = PLANETS
        .iter()
        .filter(|planet| rows.iter().any(|row| row.parts()[2] == "parity" && row.parts()[3] == planet.id))
        .collect();
    let single = bedrocks.len() == 1;
    let mut headers = vec![if single { "model" } else { "bedrock" }];
    headers.extend(planets.iter().map(|planet| planet.id));
    let numbers = !planets.is_empty() && left_out < 2;
    if numbers {
        headers.extend(["worst |Δ|", "headroom"]);
    }
    let ran = |check: &&str| rows.iter().any(|row| row.parts()[2] == *check);
    let checks = ["fidelity", "kernel", "snapshot", "roundtrip"]
        .into_iter()
        .filter(|check| ran(check) && (left_out < 1 || planets.is_empty()));
    let checks: Vec<&'static str> = checks.collect();
    headers.extend(&checks);
    let mut table = table(headers, colour);
    let mut keys: Vec<&str> = if single { rows.iter().map(|row| row.parts()[1]).collect() } else { Vec::new() };
    keys.dedup();
    if !single {
        keys = BEDROCKS.into_iter().filter(|id| bedrocks.contains(id)).collect();
    }
    for key in keys {
        let mine = |row: &&Row| row.parts()[usize::from(single)] == key;
        let of = |check: &'static str| rows.iter().filter(mine).filter(move |row| row.parts()[2] == check);
        let mut cells = vec![Cell::new(key)];
        for planet in &planets {
            let tally = Tally::of(of("parity").filter(|row| row.parts()[3] == planet.id));
            let text = match of("parity").find(|row| row.parts()[3] == planet.id) {
                Some(row) if single => match row.max_abs {
                    Some(max_abs) if left_out < 3 => format!("{} {}", row.shown(), small(max_abs)),
                    _ => row.shown(),
                },
                _ if left_out > 1 && tally.total() > 0 => format!("{}/{}", tally.total() - tally.red, tally.total()),
                _ => plain(&tally),
            };
            cells.push(painted(text, tally.red > 0, colour));
        }
        let parity = Tally::of(of("parity"));
        if numbers {
            cells.push(Cell::new(small(parity.worst)).set_alignment(CellAlignment::Right));
            cells.push(Cell::new(parity.room()).set_alignment(CellAlignment::Right));
        }
        for check in &checks {
            let tally = Tally::of(of(check));
            cells.push(painted(plain(&tally), tally.red > 0, colour));
        }
        table.add_row(cells);
    }
    table
}

fn plain(tally: &Tally) -> String {
    tally.labels().replace("**", "")
}

/// The last line of a run. `failures` are reasons to be red that no case shows.
#[must_use]
pub fn total(rows: &[Row], failures: usize) -> String {
    let tally = Tally::of(rows.iter());
    let verdict = if tally.red + failures == 0 { "green" } else { "RED" };
    let mut text = format!("{verdict}: {} case{}", tally.total(), if tally.total() == 1 { "" } else { "s" });
    let counts = [
        (tally.exact, "EXACT"),
        (tally.pass, "PASS"),
        (tally.pass_f64, "PASS (f64)"),
        (tally.excused, "XFAIL or SKIP"),
        (tally.unjudged, "not judged"),
        (tally.red, "red"),
    ];
    for (n, name) in counts.iter().filter(|(n, _)| *n > 0) {
        let _ = write!(text, ", {n} {name}");
    }
    text
}

/// Everything about one red case, or one that is explained.
#[must_use]
pub fn detail(case: &Case, observation: &Observation, verdict: &Verdict, rerun: &str) -> String {
    let mut text = format!("{} {}\n", verdict.label.name(), case.id);
    let mut line = |name: &str, value: String| {
        let _ = writeln!(text, "  {name:<10} {value}");
    };
    if let Some(reason) = &verdict.reason {
        line("why", reason.clone());
    }
    if let Observation::Fidelity(seen) = observation {
        let Comparison { shape, nmse, max_abs, .. } = &seen.output;
        line(
            "compared",
            format!("{} elements of shape {shape:?} with the same network in f32", shape.iter().product::<usize>()),
        );
        line("output", format!("NMSE {nmse:.3e}, cosine {:.6}, largest |Δ| {max_abs:.3e}", seen.cosine));
        if let Some(WorstWeight { place, index, weight, stored, excess }) = &seen.weight {
            let text =
                format!("{place}[{index}] is {weight:e}, stored as {stored:e}: {excess:.3} of its codec's bound");
            line("weights", format!("worst: {text}"));
        }
        if let Some(bits) = seen.bits {
            line("bits", format!("{bits:.3} for each weight, scales not counted"));
        }
        line(
            "computed",
            format!("NMSE {:.3e} beside its decoded weights in f32, at most {DECODED:e}", seen.decoded.nmse),
        );
        line("seeds", format!("the worst of {SEEDS} costs NMSE {:.3e}", seen.cost.seen));
        match seen.cost.bound() {
            Some(bound) => line("bound", format!("NMSE ≤ {bound:.3e}")),
            None => line("bound", format!("not judged: {:.3e} would let other networks pass", MARGIN * seen.cost.seen)),
        }
    }
    if let Observation::Compared(c) | Observation::Path(_, c) = observation {
        let elements: usize = c.shape.iter().product();
        line("compared", format!("{elements} elements of shape {:?}", c.shape));
        if let Some(point) = c.nonfinite.or(c.worst) {
            let place = unravel(point.index, &c.shape);
            line(
                "worst at",
                format!(
                    "{place:?} (flat {}): ours {:?}, expected {:?}",
                    point.index, point.ours as f32, point.expected as f32
                ),
            );
        }
        line(
            "largest",
            format!(
                "|Δ| {:.3e}, relative {:.3e}, {} ULP (each over all elements); NMSE {:.3e}",
                c.max_abs, c.max_rel, c.max_ulp, c.nmse
            ),
        );
        if let (Some(planet), Some(ours)) = (c.planet_error, c.our_error) {
            let whose = match (planet, ours) {
                (p, o) if o > 3.0 * p => "the error is ours, or the model is not the planet's",
                (p, o) if p > 3.0 * o => "the error is the planet's float32",
                _ => "both err alike",
            };
            line("whose", format!("|planet − f64| {planet:.3e}, |ours − f64| {ours:.3e}: {whose}"));
        }
        let tolerance = case.tolerance();
        if c.outliers > 0 && tolerance.source != BandSource::Exact {
            line("outside", format!("{} of {elements} elements", c.outliers));
        }
        let nmse = tolerance.nmse.filter(|bound| c.nmse > *bound).map(|_| format!("nmse {:.3e}", c.nmse));
        let atol = (c.outliers > 0).then(|| format!("atol {:.3e}", c.needed_atol.max(0.0)));
        let needed: Vec<String> = atol.into_iter().chain(nmse).collect();
        if !needed.is_empty() && tolerance.source != BandSource::Exact {
            line("would pass", format!("{} with the rest of the band as it is", needed.join(" and ")));
        }
    }
    line("band", format!("{} ({})", case.band(), source(case)));
    line("again", rerun.into());
    text
}

fn source(case: &Case) -> String {
    let bedrock = &case.manifest.bedrock;
    match case.tolerance().source {
        BandSource::Override => format!("override of the model in manifests/{bedrock}.yaml"),
        BandSource::Bedrock => format!("bands of manifests/{bedrock}.yaml"),
        BandSource::Defaults => "manifests/_defaults.yaml".into(),
        BandSource::Ulps(_) => "--ulp of the call".into(),
        BandSource::Exact if case.check() == Check::Fidelity => {
            "runner/src/cost.rs, golden/".to_string() + &case.manifest.bedrock + "/cost.yaml"
        }
        BandSource::Exact => "this check takes no tolerance".into(),
    }
}

/// Position on every axis of a flat index.
fn unravel(index: usize, shape: &[usize]) -> Vec<usize> {
    let mut rest = index;
    let mut place: Vec<usize> = shape
        .iter()
        .rev()
        .map(|&n| {
            let at = rest % n.max(1);
            rest /= n.max(1);
            at
        })
        .collect();
    place.reverse();
    place
}

/// A case as the manifests resolve it.
#[must_use]
pub fn explain(case: &Case) -> String {
    let (model, bedrock) = (case.model(), &case.manifest.bedrock);
    let mut text = format!("{}\n", case.id);
    let mut line = |name: &str, value: String| {
        let _ = writeln!(text, "  {name:<10} {value}");
    };
    line(
        "check",
        match case.check() {
            Check::Parity => {
                let precision = if case.against_float64() { "float64, rounded to float32," } else { "float32" };
                format!("parity: what {} computed in {precision} against our CPU", case.planet.title)
            }
            Check::Fidelity => format!("fidelity: weights in {} against the same network in f32", case.stored),
            Check::Kernel => match &case.device {
                None => "kernel: every fast path against the scalar single core, bit for bit".into(),
                Some(device) => format!("kernel: {} ({}) against our CPU", device.adapter, device.driver),
            },
            Check::Snapshot => "snapshot: our bits against the last blessed digest".into(),
            Check::Roundtrip => "roundtrip: written in every checkpoint format, read, written and run again".into(),
        },
    );
    line("manifest", format!("manifests/{bedrock}.yaml:{}", model.id.referenced.line()));
    for input in &model.inputs {
        let take = if input.take.is_empty() {
            "all of it".into()
        } else {
            format!("first {:?} after the batch axis", input.take)
        };
        line("input", format!("golden/{bedrock}/fixture.npz: {}, {take}", input.array));
    }
    line("arrays", format!("golden/{bedrock}/{}/{}.npz", case.planet.id, model.id()));
    line("weights", format!("{:?}", model.weights));
    for (i, layer) in model.layers.iter().enumerate() {
        line(&format!("layer {i}"), serde_json::to_string(layer).unwrap_or_default());
    }
    line("terms", format!("{} rounded terms behind an output element at most", model.terms()));
    let vectors = match (case.stored.numerics, case.manifest.vectors) {
        (Numerics::Loom, _) => "all weights of a layer share one scale",
        (Numerics::Standard, Vectors::Float32) => "each matrix has its scale; gains, shifts and biases stay f32",
        (Numerics::Standard, Vectors::Stored) => "each matrix, gain, shift and bias has its scale",
    };
    line("stored", format!("{}: {vectors}", case.stored));
    line("band", format!("{} ({})", case.band(), source(case)));
    let applies = |glob: &str| glob::Pattern::new(glob).is_ok_and(|glob| glob.matches(case.planet.id));
    for rule in model.overrides.iter().filter(|rule| rule.planet.as_deref().is_none_or(applies)) {
        line("override", rule.why.clone());
    }
    if let Some(rule) = &case.expect {
        line("expect", format!("{:?}: {}", rule.outcome, rule.because));
    }
    text
}

/// The labels of a run as JUnit, for CI.
///
/// # Errors
/// When the document cannot be written as XML.
pub fn junit(rows: &[Row], failures: &[String], share: Option<&str>) -> anyhow::Result<String> {
    use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};
    let name = share.map_or("bedrock".into(), |share| format!("bedrock, share {share}"));
    let mut report = Report::new(name);
    for bedrock in BEDROCKS {
        let mut suite = TestSuite::new(bedrock);
        for row in rows.iter().filter(|row| row.parts()[0] == bedrock) {
            let reason = || row.reason.clone().unwrap_or_else(|| format!("band: {}", row.band));
            let status = match row.label {
                Label::Skip | Label::Unjudged => {
                    let mut status = TestCaseStatus::skipped();
                    status.set_message(reason());
                    status
                }
                label if !label.is_red() => TestCaseStatus::success(),
                label => {
                    let kind = if label == Label::Error { NonSuccessKind::Error } else { NonSuccessKind::Failure };
                    let mut status = TestCaseStatus::non_success(kind);
                    status.set_type(label.name()).set_message(reason());
                    status
                }
            };
            let mut case = TestCase::new(row.id.clone(), status);
            case.set_classname(bedrock);
            suite.add_test_case(case);
        }
        if suite.test_cases.is_empty() {
            continue;
        }
        report.add_test_suite(suite);
    }
    if !failures.is_empty() {
        let mut suite = TestSuite::new("run");
        for failure in failures {
            let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
            status.set_message(failure.clone());
            suite.add_test_case(TestCase::new(failure.clone(), status));
        }
        report.add_test_suite(suite);
    }
    Ok(report.to_string()?)
}
