//! Accepting new numbers: planets' dumps, and digests of our own outputs.
//!
//! The only code that writes under the golden folder. A dump is made whole in a temporary
//! folder, compared with what is there, read and checked, and only then moved in, each file
//! atomically, the index last. What a file says of its origin is the file's own: blessing
//! one model leaves the entries of all others as they are.

mod accept;
mod cost;
mod dump;

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, bail};
use glob::Pattern;
use loom_bedrocks::npz::{self, Arrays, Data};
use rayon::prelude::*;

use crate::places::first_of;
use crate::stages::golden::{self, Core, FileId, Goldens, Index, Maker, core_path, index_path, read_index, yaml};
use crate::stages::manifest::Manifest;
use crate::stages::observation::Failure;
use crate::stages::plan::{Case, Check};
use crate::stages::run;
use crate::write_atomically;

pub(crate) use accept::Prepared;
pub(crate) use cost::costs;
pub(crate) use dump::Dump;

/// What the `.json` beside a dumped file says of it.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Meta {
    packages: BTreeMap<String, String>,
    flags: BTreeMap<String, String>,
    handler: String,
    seed: Option<u64>,
    /// Of the file as a whole.
    sha256: String,
}

/// The files that a planet, or `fixture`, contributes to a bedrock.
#[must_use]
pub(crate) fn files(manifest: &Manifest, planet: &str, models: &Pattern) -> Vec<String> {
    if planet == "fixture" {
        return vec!["fixture.npz".into()];
    }
    let has = |model: &&crate::stages::manifest::Model| {
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
            let c =
                crate::stages::compare::compare(&[old.len()], new, old, None, &crate::stages::plan::Tolerance::EXACT);
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
pub(crate) fn drift(
    golden: &Path,
    manifest: &Manifest,
    planet: &str,
    models: &Pattern,
    dumped: &Path,
) -> anyhow::Result<Vec<String>> {
    let mut lines = Vec::new();
    let index = match index_path(golden, &manifest.bedrock).exists() {
        true => read_index(golden, &manifest.bedrock)?,
        false => Index::default(),
    };
    for file in files(manifest, planet, models) {
        let new = npz::read(&dumped.join(&manifest.bedrock).join(&file))?;
        let listed = index.files.contains_key(&file);
        let old = listed.then(|| golden_arrays(golden, &manifest.bedrock, &file, &index)).transpose();
        let old = match old {
            Ok(old) => old,
            Err(error) => {
                lines.push(format!("{}/{file}: the golden cannot be read: {error:#}", manifest.bedrock));
                continue;
            }
        };
        lines.extend(changes(&format!("{}/{file}", manifest.bedrock), old.as_ref(), &new));
    }
    Ok(lines)
}

/// The arrays of a golden file, verified.
fn golden_arrays(golden: &Path, bedrock: &str, file: &str, index: &Index) -> anyhow::Result<Arrays> {
    let id = FileId { bedrock: bedrock.into(), path: file.into() };
    golden::read(golden, &id, index)
        .map_err(|problems| anyhow::anyhow!(first_of(&problems.iter().map(ToString::to_string).collect::<Vec<_>>())))
}

/// The most axes of an array: a batch, channels, three extents, and one more.
const MOST_AXES: usize = 6;

/// Refuses what no golden may hold.
fn check_dump(arrays: &Arrays) -> anyhow::Result<()> {
    for (name, array) in arrays {
        let bad = match &array.data {
            Data::F32(data) => data.iter().position(|v| !v.is_finite()),
            Data::F64(data) => data.iter().position(|v| !v.is_finite()),
            Data::U8(_) => None,
        };
        if array.is_empty() || array.shape.len() > MOST_AXES {
            bail!("array {name} has shape {:?}; expected elements, and at most {MOST_AXES} axes", array.shape);
        }
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

/// Dumps of one bedrock, read and checked, that may become goldens.
pub(crate) struct Ready {
    bedrock: String,
    /// All that the manifest asks of each planet, dumped this time or not.
    asked: BTreeMap<String, Vec<String>>,
    files: Vec<Accepted>,
}

/// A dumped file that is whole.
struct Dumped {
    meta: Meta,
    arrays: Arrays,
}

impl Dumped {
    fn read(path: &Path) -> anyhow::Result<Self> {
        let half = || format!("{}: the dump is not whole; dump it anew. Nothing was accepted", path.display());
        let meta = std::fs::read(path.with_extension("json")).with_context(half)?;
        let meta: Meta = serde_json::from_slice(&meta).with_context(half)?;
        let bytes = std::fs::read(path).with_context(half)?;
        if npz::sha256(&bytes) != meta.sha256 {
            return Err(anyhow::anyhow!("its SHA-256 is not the one in the .json beside it")).with_context(half);
        }
        let arrays = npz::read(path)?;
        check_dump(&arrays).with_context(|| format!("{}", path.display()))?;
        Ok(Self { meta, arrays })
    }
}

/// A file that is accepted: its arrays, what made them, and what the index says of them.
struct Accepted {
    /// A planet, or `fixture`.
    planet: String,
    path: String,
    arrays: Arrays,
    maker: Maker,
    handler: String,
    seed: Option<u64>,
}

/// Reads and checks what a dump holds of the files that the manifest asks for; writes nothing.
///
/// # Errors
/// When a file is missing from the dump, is not what was dumped, or holds what no golden may hold.
pub(crate) fn ready(
    manifest: &Manifest,
    planet: &str,
    models: &Pattern,
    dumped: &Path,
    why: &str,
) -> anyhow::Result<Ready> {
    let from = dumped.join(&manifest.bedrock);
    let mut read = Vec::new();
    for file in files(manifest, planet, models) {
        let Dumped { meta, arrays } = Dumped::read(&from.join(&file))?;
        let Meta { packages, flags, handler, seed, .. } = meta;
        let maker = Maker { accepted: why.into(), packages, flags };
        read.push(Accepted { planet: planet.into(), path: file, arrays, maker, handler, seed });
    }
    Ready::of(manifest, planet, read)
}

/// The goldens as they are, under the sources of a dump that is equal to `before` in every array. `before` is a dump of
/// the same machine by the sources that the goldens were made by: planets differ in last bits from one processor to
/// another, and sources that were only moved need no processor of the goldens' kind.
///
/// # Errors
/// When a dump is not whole, `before` was not made by the goldens' sources, or an array differs.
pub(crate) fn unmoved(
    golden: &Path,
    manifest: &Manifest,
    planet: &str,
    models: &Pattern,
    dumped: &Path,
    before: &Path,
    why: &str,
) -> anyhow::Result<Ready> {
    let bedrock = &manifest.bedrock;
    let index = read_index(golden, bedrock).map_err(anyhow::Error::msg)?;
    let mut read = Vec::new();
    for file in files(manifest, planet, models) {
        let (old, new) = (before.join(bedrock).join(&file), dumped.join(bedrock).join(&file));
        let Some(entry) = index.files.get(&file) else {
            bail!("{}: not blessed yet, so there is nothing to keep; bless it without --same-as", new.display());
        };
        let (was, is) = (Dumped::read(&old)?, Dumped::read(&new)?);
        if was.meta.handler != entry.handler {
            let (found, wanted) = (&was.meta.handler, &entry.handler);
            bail!(
                "{}: dumped by sources {found}, the golden by {wanted}; dump it from a checkout with those sources",
                old.display()
            );
        }
        if let Some(line) = changes(&format!("{bedrock}/{file}"), Some(&was.arrays), &is.arrays).first() {
            bail!("{line} beside {}; the sources compute other numbers, which --same-as cannot accept", old.display());
        }
        let maker = Maker { accepted: why.into(), ..index.makers[&entry.made].clone() };
        let arrays = golden_arrays(golden, bedrock, &file, &index)?;
        let Meta { handler, seed, .. } = is.meta;
        read.push(Accepted { planet: planet.into(), path: file, arrays, maker, handler, seed });
    }
    Ready::of(manifest, planet, read)
}

/// Blesses the digests of our own outputs of some models of one bedrock; returns a line for each
/// change. Models whose digests stay keep the reason for which they were accepted.
///
/// # Errors
/// When a model cannot be run or the file cannot be written.
pub(crate) fn core(
    golden: &Path,
    cases: &[Case],
    goldens: &Goldens,
    manifest: &Manifest,
    models: &Pattern,
    why: &str,
) -> anyhow::Result<Vec<String>> {
    let bedrock = &manifest.bedrock;
    let path = core_path(golden, bedrock);
    let old: Core = if path.exists() { yaml(&path)? } else { Core::default() };
    let mut new = old.clone();
    let known = |model: &str| manifest.models.iter().any(|known| known.id() == model);
    for model in old.digests.keys().filter(|model| !known(model)) {
        new.digests.remove(model);
        new.forget(model);
    }
    let of_bedrock = |case: &&Case| case.check() == Check::Snapshot && case.manifest.bedrock == *bedrock;
    let snapshots: Vec<&Case> =
        cases.iter().filter(of_bedrock).filter(|case| models.matches(case.model().id())).collect();
    let digests: Vec<Result<String, Failure>> = snapshots.par_iter().map(|case| run::digest(case, goldens)).collect();
    let mut found: BTreeMap<&str, BTreeMap<String, String>> = BTreeMap::new();
    let mut lines = Vec::new();
    for (case, digest) in snapshots.iter().zip(digests) {
        let (model, stored, digest) = (case.model().id(), case.stored.to_string(), digest?);
        match old.digests.get(model).and_then(|of| of.get(&stored)) {
            None => lines.push(format!("{bedrock}/{model} {stored}: new")),
            Some(before) if *before != digest => {
                lines.push(format!("{bedrock}/{model} {stored}: other bits than before"))
            }
            Some(_) => {}
        }
        found.entry(model).or_default().insert(stored, digest);
    }
    for (model, digests) in found {
        let moved = old.digests.get(model) != Some(&digests);
        new.digests.insert(model.into(), digests);
        if moved || !new.explains(model) {
            new.accept(model, why);
        }
    }
    if new == old {
        return Ok(lines);
    }
    let text = serde_yaml::to_string(&new)?;
    write_atomically(&path, format!("# Written by `bedrock bless --core`; do not edit.\n{text}").as_bytes())?;
    Ok(lines)
}
