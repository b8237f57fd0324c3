//! What people see while and after a run: a progress bar and tables.

use std::fmt::Write as _;
use std::io::IsTerminal as _;

use comfy_table::{Attribute, Cell, CellAlignment, Color, ContentArrangement, Table, presets};
use indicatif::{ProgressBar, ProgressStyle};
use loom_bedrocks::BEDROCKS;
use loom_bedrocks::planets::PLANETS;
use loom_core::{Dtype, Numerics};

use crate::render::{ByStored, Tally, fidelity, small};
use crate::stages::plan::Stored;
use crate::stages::report::Row;

/// A bar on a terminal, nothing in a pipe.
#[must_use]
pub(crate) fn bar(cases: usize) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:32} {pos}/{len} cases {elapsed}")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(cases as u64).with_style(style)
}

/// Whether standard output wants colour: a terminal, and `NO_COLOR` is not set.
#[must_use]
pub(crate) fn colour() -> bool {
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
pub(crate) fn summary(rows: &[Row], colour: bool) -> String {
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
pub(crate) fn total(rows: &[Row], failures: usize) -> String {
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
