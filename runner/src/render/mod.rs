//! From reports to what people read: PROGRESS.md, sizes.md, a terminal's tables, JUnit. Same reports,
//! same bytes; only [`terminal`] asks what it writes to.

pub mod case;
mod gpus;
pub mod junit;
pub mod markdown;
pub mod sizes;
pub mod terminal;

use std::collections::{BTreeMap, BTreeSet};

use crate::stages::judge::Label;
use crate::stages::plan::Stored;
use crate::stages::report::Row;

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
    /// Computed right, the cost not judged.
    pub unjudged: usize,
    /// Everything red.
    pub red: usize,
    /// Largest `|Δ|`.
    pub worst: f64,
    /// Smallest headroom.
    pub headroom: f64,
    /// Largest NMSE of what was judged.
    pub nmse: f64,
    /// Smallest cosine of what was judged.
    pub cosine: f64,
    /// Largest NMSE beside the run of the decoded weights.
    pub decoded: f64,
}

impl Tally {
    /// Counts rows.
    #[must_use]
    pub fn of<'a>(rows: impl Iterator<Item = &'a Row>) -> Self {
        let start = Tally { headroom: f64::INFINITY, cosine: 1.0, ..Tally::default() };
        rows.fold(start, |mut tally, row| {
            match row.label {
                Label::Exact => tally.exact += 1,
                Label::Pass if row.float64 => tally.pass_f64 += 1,
                Label::Pass => tally.pass += 1,
                Label::Xfail | Label::Skip => tally.excused += 1,
                Label::Unjudged => tally.unjudged += 1,
                _ => tally.red += 1,
            }
            tally.decoded = tally.decoded.max(row.decoded.unwrap_or(0.0));
            if row.label == Label::Unjudged {
                return tally;
            }
            tally.worst = tally.worst.max(row.max_abs.unwrap_or(0.0));
            tally.headroom = tally.headroom.min(row.headroom.unwrap_or(f64::INFINITY));
            tally.nmse = tally.nmse.max(row.nmse.unwrap_or(0.0));
            tally.cosine = tally.cosine.min(row.cosine.unwrap_or(1.0));
            tally
        })
    }

    /// How many rows there were.
    #[must_use]
    pub(crate) fn total(&self) -> usize {
        self.exact + self.pass + self.pass_f64 + self.excused + self.unjudged + self.red
    }

    /// `3 EXACT 9 PASS`, or a dash for nothing.
    #[must_use]
    pub fn labels(&self) -> String {
        let counts = [
            (self.exact, "EXACT"),
            (self.pass, "PASS"),
            (self.pass_f64, "PASS(f64)"),
            (self.excused, "excused"),
            (self.unjudged, "not judged"),
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
        h if h >= 100.0 => "> 100×".into(),
        h if h >= 1.0 => format!("{h:.1}×"),
        h => format!("{h:.2}×"),
    })
}

/// A number of small size in three digits.
#[must_use]
pub fn small(value: f64) -> String {
    if value == 0.0 { "0".into() } else { format!("{value:.2e}") }
}

/// Rows by check and by what follows it in their ids, which is the dtype and profile but in parity.
pub(crate) struct ByStored<'a>(BTreeMap<&'a str, BTreeMap<&'a str, Vec<&'a Row>>>);

impl<'a> ByStored<'a> {
    pub(crate) fn new(rows: &'a [Row]) -> Self {
        let mut by: BTreeMap<&str, BTreeMap<&str, Vec<&Row>>> = BTreeMap::new();
        for row in rows {
            let [.., check, rest] = row.parts();
            by.entry(check).or_default().entry(rest).or_default().push(row);
        }
        Self(by)
    }

    /// Rows of one check in one dtype and profile.
    pub(crate) fn rows(&self, check: &str, stored: Stored) -> &[&'a Row] {
        let rows = self.0.get(check).and_then(|of| of.get(stored.to_string().as_str()));
        rows.map_or(&[], Vec::as_slice)
    }
}

/// EXACT, or the largest NMSE, or what is red.
pub(crate) fn fidelity(tally: &Tally) -> String {
    match tally {
        _ if tally.total() == 0 => "—".into(),
        Tally { red: 1.., .. } => format!("**{} red**", tally.red),
        Tally { excused: 1.., exact: 0, pass: 0, unjudged: 0, .. } => "SKIP".into(),
        Tally { unjudged: 1.., exact: 0, pass: 0, .. } => "not judged".into(),
        Tally { pass: 0, .. } => "EXACT".into(),
        _ => ratio(tally.nmse),
    }
}

/// A share of something: decimals where it is neither tiny nor huge.
#[must_use]
pub(crate) fn ratio(value: f64) -> String {
    match value {
        v if !(1e-2..1e4).contains(&v) => small(v),
        v if v < 1.0 => format!("{v:.3}"),
        v if v < 100.0 => format!("{v:.2}"),
        v => format!("{v:.0}"),
    }
}

/// How many different outputs the snapshot check has seen.
#[must_use]
pub(crate) fn distinct(rows: &[Row]) -> Option<String> {
    let digests = rows.iter().filter_map(|row| row.digest.as_deref());
    let (count, distinct) = (digests.clone().count(), digests.collect::<BTreeSet<&str>>().len());
    (count > 0).then(|| {
        format!("snapshot: {count} outputs, {distinct} of them different: types that hold a model's weights alike compute alike.")
    })
}

/// Bytes as KiB with two decimals; the unit is the text's.
#[must_use]
pub fn kib(bytes: u64) -> String {
    format!("{:.2}", bytes as f64 / 1024.0)
}
