//! The lane's report: one row for each case, deterministic to the byte, replaced atomically.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use loom_bedrocks::npz;
use loom_core::file;
use serde::{Deserialize, Serialize};

use super::bounds;
use super::judge::{Label, Verdict};
use super::observation::Observation;
use super::plan::{Case, Check, Device, Kind};

/// What a report says of one case.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// The case.
    pub id: String,
    /// Its label.
    pub label: Label,
    /// Whether the reference is the planet's float64 output, not its float32 output.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub float64: bool,
    /// Elements compared, where a difference of them is shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub elements: Option<usize>,
    /// Largest `|a - e|`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_abs: Option<f64>,
    /// Largest distance in units in the last place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_ulp: Option<u64>,
    /// Normalised mean squared error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nmse: Option<f64>,
    /// Cosine of the angle between a dtype's output and that of f32.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cosine: Option<f64>,
    /// NMSE beside the f32 run of the same decoded weights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decoded: Option<f64>,
    /// Bits of packed codes for each weight.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bits: Option<f64>,
    /// The first digits of our output's digest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// The checkpoint formats that hold the network, all of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<String>,
    /// The first thing that the others have no field for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lacks: Option<String>,
    /// What is allowed over what was measured; absent where nothing differs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub headroom: Option<f64>,
    /// Largest distance of the planet from its own f64 result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub planet_error: Option<f64>,
    /// Largest distance of ours from the planet's f64 result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub our_error: Option<f64>,
    /// The band, where the check does not have the same one for every case.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub band: Option<String>,
    /// `Case::fingerprint` when the case ran.
    pub fingerprint: String,
    /// Why, where that is not plain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl Row {
    /// Whether a checkpoint format of that name holds the network, in roundtrip rows.
    #[must_use]
    pub fn holds(&self, format: &str) -> bool {
        self.held.as_deref().is_some_and(|held| held.split(' ').any(|name| name == format))
    }

    /// The label shown to people.
    #[must_use]
    pub fn shown(&self) -> String {
        let suffix = if self.float64 { " (f64)" } else { "" };
        format!("{}{suffix}", self.label.name())
    }

    /// The row of a judged case.
    #[must_use]
    pub fn new(case: &Case, observation: &Observation, verdict: &Verdict) -> Self {
        let mut row = Row {
            id: case.id.clone(),
            label: verdict.label,
            float64: case.against_float64(),
            elements: None,
            max_abs: None,
            max_ulp: None,
            nmse: None,
            cosine: None,
            decoded: None,
            digest: None,
            bits: None,
            held: None,
            lacks: None,
            headroom: None,
            planet_error: None,
            our_error: None,
            band: matches!(case.check(), Check::Parity | Check::Kernel)
                .then(|| case.band())
                .filter(|band| band != "exact"),
            fingerprint: case.fingerprint(),
            reason: verdict.reason.clone(),
        };
        if let Observation::Roundtrip(seen) = observation {
            row.held = Some(seen.held.iter().map(|format| format.name()).collect::<Vec<_>>().join(" "));
            row.lacks = seen.lacks.as_deref().map(first_lacking);
        }
        if let Observation::Path(_, c) = observation
            && case.device.is_some()
            && !c.exact
        {
            row.elements = Some(c.shape.iter().product());
            (row.max_abs, row.max_ulp, row.nmse) = (Some(c.max_abs), Some(c.max_ulp), Some(c.nmse));
        }
        if let Observation::Digest(ours, _) = observation {
            row.digest = Some(ours.chars().take(8).collect());
        }
        if let Observation::Fidelity(seen) = observation {
            let output = &seen.output;
            (row.max_abs, row.nmse) = (Some(short(output.max_abs)), Some(short(output.nmse)));
            (row.cosine, row.decoded) = (Some(short(seen.cosine)), Some(short(seen.decoded.nmse)));
            row.bits = seen.bits.map(short);
            // What differs by the last digits of f32 alone has room that says nothing.
            let bound = seen.cost.bound().filter(|bound| *bound > bounds::FLOOR && output.nmse > 0.0);
            row.headroom = bound.map(|bound| short(bound / output.nmse));
        }
        if let Observation::Compared(c) = observation {
            row.elements = Some(c.shape.iter().product());
            (row.planet_error, row.our_error) = (c.planet_error, c.our_error);
            if matches!(case.kind, Kind::Parity(_)) {
                (row.max_abs, row.max_ulp, row.nmse) = (Some(c.max_abs), Some(c.max_ulp), Some(c.nmse));
                let by_nmse = case.tolerance().nmse.map_or(f64::INFINITY, |bound| bound / c.nmse);
                row.headroom = (!c.exact).then(|| by_nmse.min(1.0 / c.excess));
            }
        }
        row
    }

    /// Bedrock, model, check and the rest of the id.
    #[must_use]
    pub fn parts(&self) -> [&str; 4] {
        let mut parts = self.id.splitn(4, '/');
        std::array::from_fn(|_| parts.next().unwrap_or_default())
    }
}

/// Six digits: there are thousands of such numbers, and tables show three.
fn short(value: f64) -> f64 {
    format!("{value:.5e}").parse().unwrap_or(value)
}

/// The first thing that a format has no field for, without the layer it stands in.
fn first_lacking(what: &str) -> String {
    let what = what.trim_start_matches("has no field for ");
    let first = what.split(['.', ';']).find(|part| part.contains(": ")).unwrap_or(what);
    first.split_once(": ").map_or(first, |(_, what)| what).to_string()
}

/// Everything one lane has shown, in the order of the plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LaneReport {
    /// Where the cases ran.
    pub lane: String,
    /// Which part of the selected cases this is, where it is a share of them: printed, and in no file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share: Option<String>,
    /// The GPU, in its lanes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<Device>,
    /// One row for each case.
    pub rows: Vec<Row>,
}

impl LaneReport {
    /// The document: one row to a line, so that changes read well.
    #[must_use]
    pub(crate) fn to_json(&self) -> String {
        let device = self.device.as_ref().and_then(|device| serde_json::to_string(device).ok());
        let device = device.map_or_else(String::new, |device| format!("\"device\": {device}, "));
        let share = self.share.as_ref().map_or_else(String::new, |share| format!("\"share\": \"{share}\", "));
        let mut text = format!("{{\"lane\": {}, {share}{device}\"rows\": [\n", serde_json::json!(self.lane));
        for (i, row) in self.rows.iter().enumerate() {
            let comma = if i + 1 < self.rows.len() { "," } else { "" };
            let row = serde_json::to_string(row).unwrap_or_default();
            let _ = writeln!(text, "  {row}{comma}");
        }
        text.push_str("]}\n");
        text
    }

    /// Puts this run's rows in the place of earlier ones. The result follows `plan`; rows of
    /// cases that the manifests no longer ask for, or ask for otherwise, are dropped, and all rows of
    /// another driver.
    #[must_use]
    pub(crate) fn merged(self, earlier: Option<LaneReport>, plan: &[Case]) -> LaneReport {
        let mut rows: std::collections::BTreeMap<String, Row> = earlier
            .into_iter()
            .filter(|earlier| earlier.device == self.device)
            .flat_map(|report| report.rows)
            .chain(self.rows)
            .map(|row| (row.id.clone(), row))
            .collect();
        let rows =
            plan.iter().filter_map(|case| rows.remove(&case.id).filter(|row| row.fingerprint == case.fingerprint()));
        let rows = rows.collect();
        LaneReport { lane: self.lane, share: None, device: self.device, rows }
    }
}

/// The name of the processor's lane.
pub(crate) const CPU: &str = "cpu";

/// The most that is read of a report.
const SIZE_CAP: u64 = 1 << 28;

/// The first line of PROGRESS.md, by which it can be told whether it was rendered from the reports
/// that lie beside it.
///
/// # Errors
/// When a report is unreadable.
pub(crate) fn stamp(folder: &Path) -> anyhow::Result<String> {
    let mut seen = Vec::new();
    for lane in std::iter::once(CPU.to_string()).chain(gpu_lanes(folder)?) {
        let path = path(folder, &lane);
        match file::read(&path, SIZE_CAP) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            bytes => {
                let digest = npz::sha256(&bytes.with_context(|| path.display().to_string())?);
                seen.extend_from_slice(format!("{lane} {digest}\n").as_bytes());
            }
        }
    }
    let digest = npz::sha256(&seen);
    Ok(format!("<!-- of reports with SHA-256 {} -->", digest.get(..16).unwrap_or(&digest)))
}

/// What is wrong with PROGRESS.md, where it is not that of the reports beside it: a run was ended
/// between the two, or someone has changed one of them.
///
/// # Errors
/// When one of them is unreadable.
pub fn stale(folder: &Path) -> anyhow::Result<Option<String>> {
    let progress = folder.join("PROGRESS.md");
    let text = match file::read(&progress, SIZE_CAP) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound && !path(folder, CPU).exists() => return Ok(None),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        text => text.with_context(|| progress.display().to_string())?,
    };
    let fits = text.starts_with(format!("{}\n", stamp(folder)?).as_bytes());
    Ok((!fits).then(|| format!("{} was not rendered from the reports beside it", progress.display())))
}

/// Where a lane's report lies.
#[must_use]
pub fn path(folder: &Path, lane: &str) -> PathBuf {
    folder.join(format!("{lane}.json"))
}

/// Reads the reports of all GPU lanes, by name.
///
/// # Errors
/// When one is unreadable.
pub fn devices(folder: &Path) -> anyhow::Result<Vec<LaneReport>> {
    gpu_lanes(folder)?.iter().filter_map(|lane| read(folder, lane).transpose()).collect()
}

/// The GPU lanes that have a report, in order.
fn gpu_lanes(folder: &Path) -> anyhow::Result<Vec<String>> {
    let mut lanes: Vec<String> = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten() {
        let name = entry?.file_name().to_string_lossy().into_owned();
        lanes.extend(name.strip_suffix(".json").filter(|lane| lane.starts_with("gpu-")).map(String::from));
    }
    lanes.sort();
    Ok(lanes)
}

/// Reads a lane's report, if there is one.
///
/// # Errors
/// When it is there but unreadable.
pub fn read(folder: &Path, lane: &str) -> anyhow::Result<Option<LaneReport>> {
    let path = path(folder, lane);
    let name = || format!("{} cannot be read; run all bedrocks to write it anew", path.display());
    let text = match file::read_text(&path, SIZE_CAP) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        text => text.with_context(name)?,
    };
    let mut report: LaneReport = serde_json::from_str(&text).with_context(name)?;
    if report.lane != lane {
        return Err(anyhow::anyhow!("it is the report of lane {}", report.lane)).with_context(name);
    }
    // The lane's name says it; without it the device is another one than that which runs.
    if let (Some(device), Some(slug)) = (&mut report.device, lane.strip_prefix("gpu-")) {
        device.slug = slug.into();
    }
    Ok(Some(report))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rows_of_a_device_survive_a_run_of_some_cases() {
        let manifests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../manifests");
        let manifests = crate::stages::manifest::load(&manifests, &["dense".into()]).expect("manifests");
        let text = |text: &str| text.to_string();
        let device = std::sync::Arc::new(Device {
            slug: text("an-adapter"),
            adapter: text("An Adapter"),
            driver: text("1.0"),
            backend: text("Vulkan"),
            precision: text("f64"),
            exact: true,
        });
        let planned = crate::stages::plan::all(&manifests).expect("a plan");
        let plan = crate::stages::plan::on_device(&manifests, &planned, &device).expect("a plan");
        let row = |case: &Case| {
            Row::new(
                case,
                &Observation::Skipped(text("a test")),
                &crate::stages::judge::judge(case, &Observation::Skipped(text("a test"))),
            )
        };
        let of = |cases: &[Case]| LaneReport {
            lane: device.lane(),
            share: None,
            device: Some((*device).clone()),
            rows: cases.iter().map(row).collect(),
        };
        let folder = tempfile::tempdir().expect("a folder");
        let all = of(&plan);
        std::fs::write(path(folder.path(), &device.lane()), all.to_json()).expect("written");
        let earlier = read(folder.path(), &device.lane()).expect("readable");
        assert_eq!(earlier.as_ref(), Some(&all));
        assert_eq!(of(&plan[..3]).merged(earlier, &plan), all);
        // A file under another lane's name is not that lane's.
        std::fs::copy(path(folder.path(), &device.lane()), path(folder.path(), "gpu-other")).expect("copied");
        let error = read(folder.path(), "gpu-other").expect_err("refused");
        assert!(format!("{error:#}").contains("it is the report of lane gpu-an-adapter"), "{error:#}");
    }
}
