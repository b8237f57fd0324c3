//! Accepting new numbers: planets' dumps, and digests of our own outputs.
//!
//! The only code that writes under the golden folder. A dump is made whole in a temporary
//! folder, compared with what is there, and only then moved in, each file atomically, the
//! index last.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};
use glob::Pattern;
use loom_bedrocks::npz::{self, Arrays, Data};
use rayon::prelude::*;

use crate::golden::{ArrayEntry, Core, Goldens, Index, Provenance, core_path, index_path, read_index, yaml};
use crate::manifest::Manifest;
use crate::plan::{Case, Check};
use crate::{run, write_atomically};

/// What `meta.json` of a dump says.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Meta {
    packages: BTreeMap<String, String>,
    flags: BTreeMap<String, String>,
    handler: String,
    seeds: BTreeMap<String, u64>,
}

/// Runs `python -m planetbridging.dump` for one planet and some bedrocks.
///
/// # Errors
/// When Python cannot be started or the dump fails; its own messages have gone to stderr.
pub fn dump(
    python: &Path,
    package: &Path,
    manifests: &Path,
    planet: &str,
    bedrocks: &[&Manifest],
    models: &Pattern,
    out: &Path,
) -> anyhow::Result<()> {
    let mut command = Command::new(python);
    command.args(["-m", "planetbridging.dump", "--planet", planet, "--manifests"]).arg(manifests).arg("--out").arg(out);
    command.args(["--model", models.as_str()]);
    for bedrock in bedrocks {
        command.args(["--bedrock", &bedrock.bedrock]);
    }
    command.env("PYTHONPATH", package).stdin(Stdio::null()).stdout(Stdio::null());
    let status = crate::ending::status(&mut command)
        .with_context(|| format!("cannot start {}; give --python or BEDROCK_PYTHON", python.display()))?;
    // The fixtures need NumPy and scikit-learn's digits.
    let needs = if planet == "fixture" { "sklearn" } else { planet };
    if !status.success() {
        bail!(
            "the dump of {planet} failed ({status}); are its packages installed? pip install -r python/requirements/{needs}.txt"
        );
    }
    Ok(())
}

/// The files that a planet, or `fixture`, contributes to a bedrock.
#[must_use]
pub fn files(manifest: &Manifest, planet: &str, models: &Pattern) -> Vec<String> {
    if planet == "fixture" {
        return vec!["fixture.npz".into()];
    }
    let has = |model: &&crate::manifest::Model| {
        models.matches(model.id()) && model.planets(manifest).iter().any(|p| p.id == planet)
    };
    manifest.models.iter().filter(has).map(|model| format!("{planet}/{}.npz", model.id())).collect()
}

/// One line for each array that differs between two files.
fn changes(name: &str, old: Option<&Arrays>, new: &Arrays) -> Vec<String> {
    let Some(old) = old else { return vec![format!("{name}: new")] };
    let mut lines = Vec::new();
    for (array, new) in new {
        match old.get(array) {
            None => lines.push(format!("{name}: {array}: new")),
            Some(old) if old.sha256 == new.sha256 && old.shape == new.shape => {}
            Some(old) if old.shape != new.shape || old.dtype() != new.dtype() => {
                lines.push(format!(
                    "{name}: {array}: {} {:?} becomes {} {:?}",
                    old.dtype(),
                    old.shape,
                    new.dtype(),
                    new.shape
                ));
            }
            Some(old) => lines.push(format!("{name}: {array}: {}", difference(&old.data, &new.data))),
        }
    }
    lines.extend(old.keys().filter(|array| !new.contains_key(*array)).map(|array| format!("{name}: {array}: gone")));
    lines
}

/// `max |Δ| 1.2e-7, 3 ULP` of two arrays of one shape and dtype.
fn difference(old: &Data, new: &Data) -> String {
    match (old, new) {
        (Data::F32(old), Data::F32(new)) => {
            let c = crate::compare::compare(&[old.len()], new, old, None, &crate::plan::Tolerance::EXACT);
            format!("max |Δ| {:.3e}, {} ULP", c.max_abs, c.max_ulp)
        }
        (Data::F64(old), Data::F64(new)) => {
            let max = old.iter().zip(new).fold(0.0, |max: f64, (a, b)| max.max((a - b).abs()));
            format!("max |Δ| {max:.3e}")
        }
        _ => "another dtype".into(),
    }
}

/// Compares a dump with the goldens.
///
/// # Errors
/// When a file that the manifests ask for is missing from the dump.
pub fn drift(
    golden: &Path,
    manifest: &Manifest,
    planet: &str,
    models: &Pattern,
    dumped: &Path,
) -> anyhow::Result<Vec<String>> {
    let mut lines = Vec::new();
    for file in files(manifest, planet, models) {
        let new = npz::read(&dumped.join(&manifest.bedrock).join(&file))?;
        let old = npz::read(&golden.join(&manifest.bedrock).join(&file)).ok();
        lines.extend(changes(&format!("{}/{file}", manifest.bedrock), old.as_ref(), &new));
    }
    Ok(lines)
}

/// Refuses what no golden may hold.
fn check_dump(arrays: &Arrays) -> anyhow::Result<()> {
    for (name, array) in arrays {
        let bad = match &array.data {
            Data::F32(data) => data.iter().position(|v| !v.is_finite()),
            Data::F64(data) => data.iter().position(|v| !v.is_finite()),
        };
        if let Some(index) = bad {
            bail!("array {name} is not finite at flat index {index}; nothing was accepted");
        }
    }
    if let (Some(output), Some(exact)) = (arrays.get("output"), arrays.get("output_f64"))
        && output.shape != exact.shape
    {
        bail!("output has shape {:?}, output_f64 {:?}; nothing was accepted", output.shape, exact.shape);
    }
    Ok(())
}

/// Moves a dump into the goldens and rewrites the index. Files of models that the manifest
/// no longer has are removed.
///
/// # Errors
/// When a file that the manifest asks for is missing from the dump, or cannot be written.
pub fn accept(
    golden: &Path,
    manifest: &Manifest,
    planet: &str,
    models: &Pattern,
    dumped: &Path,
    why: &str,
) -> anyhow::Result<()> {
    let (from, to) = (dumped.join(&manifest.bedrock), golden.join(&manifest.bedrock));
    let wanted = files(manifest, planet, models);
    let asked = files(manifest, planet, &Pattern::new("*")?);
    if wanted.is_empty() {
        return Ok(());
    }
    let path = index_path(golden, &manifest.bedrock);
    let mut index = match path.exists() {
        true => read_index(golden, &manifest.bedrock).map_err(anyhow::Error::msg)?,
        false => Index::default(),
    };
    let meta = if planet == "fixture" { from.join("fixture.json") } else { from.join(planet).join("meta.json") };
    let meta = std::fs::read(&meta).with_context(|| format!("{}", meta.display()))?;
    let Meta { packages, flags, handler, mut seeds } = serde_json::from_slice(&meta)?;
    // Seeds of models that were not dumped this time stay as they are.
    let before = index.made.remove(planet).map(|made| made.seeds).unwrap_or_default();
    seeds = before.into_iter().chain(seeds).collect();
    seeds.retain(|model, _| asked.iter().any(|file| *file == format!("{planet}/{model}.npz")));
    index.made.insert(planet.into(), Provenance { accepted: why.into(), packages, flags, handler, seeds });
    // Everything is read before anything is written.
    let mut read = Vec::new();
    for file in &wanted {
        let bytes = std::fs::read(from.join(file)).with_context(|| format!("{}", from.join(file).display()))?;
        let arrays = npz::read(&from.join(file))?;
        check_dump(&arrays).with_context(|| format!("{}", from.join(file).display()))?;
        read.push((file, bytes, arrays.iter().map(|(name, array)| (name.clone(), ArrayEntry::of(array))).collect()));
    }
    let ours =
        |file: &str| if planet == "fixture" { file == "fixture.npz" } else { file.starts_with(&format!("{planet}/")) };
    let gone: Vec<String> = index.files.keys().filter(|file| ours(file) && !asked.contains(file)).cloned().collect();
    for file in gone {
        index.files.remove(&file);
        std::fs::remove_file(to.join(&file)).with_context(|| format!("{}", to.join(&file).display()))?;
    }
    for (file, bytes, entries) in read {
        write_atomically(&to.join(file), &bytes)?;
        index.files.insert(file.clone(), entries);
    }
    let text = serde_yaml::to_string(&index)?;
    write_atomically(&path, format!("# Written by `bedrock bless`; do not edit.\n{text}").as_bytes())
}

/// Blesses the digests of our own outputs of one bedrock; returns a line for each change.
///
/// # Errors
/// When a model cannot be run or the file cannot be written.
pub fn core(golden: &Path, cases: &[Case], goldens: &Goldens, bedrock: &str, why: &str) -> anyhow::Result<Vec<String>> {
    let path = core_path(golden, bedrock);
    let old: Core = if path.exists() { yaml(&path).map_err(anyhow::Error::msg)? } else { Core::default() };
    let mut new = Core { accepted: why.into(), digests: BTreeMap::new() };
    let mut lines = Vec::new();
    let snapshots = cases.iter().filter(|case| case.check() == Check::Snapshot && case.manifest.bedrock == bedrock);
    let snapshots: Vec<&Case> = snapshots.collect();
    let digests: Vec<Result<String, String>> = snapshots.par_iter().map(|case| run::digest(case, goldens)).collect();
    for (case, digest) in snapshots.iter().zip(digests) {
        let (model, stored, digest) = (case.model().id(), case.stored.to_string(), digest.map_err(anyhow::Error::msg)?);
        match old.digests.get(model).and_then(|of| of.get(&stored)) {
            None => lines.push(format!("{bedrock}/{model} {stored}: new")),
            Some(before) if *before != digest => {
                lines.push(format!("{bedrock}/{model} {stored}: other bits than before"))
            }
            Some(_) => {}
        }
        new.digests.entry(model.into()).or_default().insert(stored, digest);
    }
    if new.digests == old.digests {
        return Ok(lines);
    }
    let text = serde_yaml::to_string(&new)?;
    write_atomically(&path, format!("# Written by `bedrock bless --core`; do not edit.\n{text}").as_bytes())?;
    Ok(lines)
}
