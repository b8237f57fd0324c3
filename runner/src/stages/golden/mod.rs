//! The golden folder: committed planet outputs, their index and our blessed digests.
//!
//! Nothing is believed that the index does not vouch for: every array that a run needs is
//! checked against its recorded dtype, shape and SHA-256 before any case runs. A missing
//! golden is an error; a run never creates one.

mod file;
mod index;
mod packing;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use loom_bedrocks::npz::Arrays;
use rayon::prelude::*;
use serde::Deserialize;

use crate::stages::bounds::Cost;
use crate::stages::plan::{Case, Check};

use file::{Held, Verified, held, verified};

pub use file::{FileError, read};
pub use index::{
    Acceptance, ArrayEntry, Core, Costs, FileEntry, Index, IndexError, Maker, ModelCosts, core_path, cost_path,
    index_path, read_index,
};
pub use packing::{Kept, Packed, UnpackError, pack};

/// A file of the golden folder that cases need.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId {
    /// The bedrock.
    pub bedrock: String,
    /// The path within its folder: `fixture.npz` or `<planet>/<model>.npz`.
    pub path: String,
}

impl FileId {
    /// The fixture of a bedrock.
    #[must_use]
    pub fn fixture(bedrock: &str) -> Self {
        Self { bedrock: bedrock.into(), path: "fixture.npz".into() }
    }

    /// A planet's arrays of a model.
    #[must_use]
    pub fn model(bedrock: &str, planet: &str, model: &str) -> Self {
        Self { bedrock: bedrock.into(), path: format!("{planet}/{model}.npz") }
    }

    /// What to run to make it anew.
    #[must_use]
    pub fn cure(&self) -> String {
        let which = match self.path.trim_end_matches(".npz").split_once('/') {
            Some((planet, model)) => format!("{planet} --model {model}"),
            None => "fixture".into(),
        };
        format!(
            "`git checkout` it, or dump it anew, with every planet of the model whose file is broken: bedrock bless {} --planet {which} --accept \"<why>\"",
            self.bedrock
        )
    }
}

/// The goldens of a run, all verified.
#[derive(Clone, Debug, Default)]
pub struct Goldens {
    files: BTreeMap<FileId, Arc<Arrays>>,
    cores: BTreeMap<String, Core>,
    costs: BTreeMap<String, Costs>,
}

impl Goldens {
    /// A verified file. [`load`] has read every file that its cases need.
    #[must_use]
    pub fn file(&self, id: &FileId) -> Option<&Arrays> {
        self.files.get(id).map(Arc::as_ref)
    }

    /// The blessed digest of a model in `dtype/numerics`, if there is one.
    #[must_use]
    pub fn digest(&self, bedrock: &str, model: &str, stored: &str) -> Option<&str> {
        self.cores.get(bedrock)?.digests.get(model)?.get(stored).map(String::as_str)
    }

    /// What a case's dtype was measured to cost its model.
    #[must_use]
    pub(crate) fn cost(&self, case: &Case) -> Option<&Cost> {
        let costs = self.costs.get(&case.manifest.bedrock)?.models.get(case.model().id())?;
        costs.costs.get(&case.stored.to_string())
    }

    /// Reads the digests and costs that a bedrock's snapshot and fidelity cases need.
    fn read_own(&mut self, folder: &Path, bedrock: &str, cases: &[Case], problems: &mut Vec<String>) {
        let own = |check| cases.iter().filter(move |case| case.check() == check && case.manifest.bedrock == bedrock);
        let (snapshots, fidelity) = (own(Check::Snapshot), own(Check::Fidelity));
        if snapshots.clone().chain(fidelity.clone()).next().is_none() {
            return;
        }
        let bless = |model: &str| format!("bedrock bless {bedrock} --core --model '{model}' --accept \"<why>\"");
        let path = core_path(folder, bedrock);
        let core = match yaml::<Core>(&path) {
            Ok(core) => core,
            Err(what) => {
                problems.push(format!("{what}; make it: {}", bless("*")));
                return;
            }
        };
        let known = |case: &&Case| {
            core.digests.get(case.model().id()).is_some_and(|of| of.contains_key(&case.stored.to_string()))
        };
        if let Some(model) = core.unexplained() {
            let path = path.display();
            problems.push(format!(
                "{path}: {model} is not under exactly one reason in `accepted`; `git checkout` it, or bless it: {}",
                bless(model)
            ));
        }
        problems.extend(snapshots.filter(|case| !known(case)).map(|case| {
            let (path, model, stored) = (path.display(), case.model().id(), case.stored);
            format!("{path}: no digest of {model} in {stored}; bless it: {}", bless(model))
        }));
        if fidelity.clone().next().is_some() {
            let path = cost_path(folder, bedrock);
            match yaml::<Costs>(&path) {
                Ok(found) => {
                    let stale = |case: &&Case| !found.knows(case, &core);
                    let mut models: Vec<&str> = fidelity.filter(stale).map(|case| case.model().id()).collect();
                    models.dedup();
                    problems.extend(models.into_iter().map(|model| {
                        let path = path.display();
                        format!(
                            "{path}: {model} was not measured, or before its digests changed; do it: {}",
                            bless(model)
                        )
                    }));
                    self.costs.insert(bedrock.to_string(), found);
                }
                Err(what) => problems.push(format!("{what}; make it: {}", bless("*"))),
            }
        }
        self.cores.insert(bedrock.to_string(), core);
    }

    /// The same goldens with one file replaced, for tests that plant faults.
    #[must_use]
    pub fn with(mut self, id: FileId, arrays: Arrays) -> Self {
        self.files.insert(id, Arc::new(arrays));
        self
    }
}

/// The files that cases need, in order and without repeats.
#[must_use]
pub(crate) fn needed(cases: &[Case]) -> Vec<FileId> {
    let mut files: Vec<FileId> = cases
        .iter()
        .flat_map(|case| {
            let bedrock = &case.manifest.bedrock;
            [FileId::fixture(bedrock), FileId::model(bedrock, case.planet.id, case.model().id())]
        })
        .collect();
    files.sort();
    files.dedup();
    files
}

/// Reads and verifies every file that `cases` need.
///
/// # Errors
/// Every problem found: a file that is missing, unreadable, not in the index, or whose
/// content is not what the index says; a model without a blessed digest.
pub fn load(folder: &Path, cases: &[Case]) -> Result<Goldens, Vec<String>> {
    let files = needed(cases);
    let mut bedrocks: Vec<&str> = files.iter().map(|file| file.bedrock.as_str()).collect();
    bedrocks.dedup();
    let mut goldens = Goldens::default();
    let (mut indexes, mut problems) = (BTreeMap::new(), Vec::new());
    for bedrock in bedrocks {
        match read_index(folder, bedrock) {
            Ok(index) => {
                indexes.insert(bedrock, index);
            }
            Err(error) => problems.push(error.to_string()),
        }
        goldens.read_own(folder, bedrock, cases, &mut problems);
    }
    let index_of = |id: &FileId| indexes.get(id.bedrock.as_str());
    let of = |id: &FileId| index_of(id).map_or_else(Vec::new, |index| index.made_of(id));
    let wanted: BTreeSet<FileId> = files.iter().flat_map(of).chain(files.iter().cloned()).collect();
    let held: Held = wanted.par_iter().filter_map(|id| Some((id.clone(), held(folder, id, index_of(id)?)))).collect();
    let whole: Vec<(&FileId, Verified)> =
        files.par_iter().filter_map(|id| Some((id, verified(folder, id, index_of(id)?, &held)))).collect();
    problems.extend(held.values().filter_map(|held| held.as_ref().err()).map(ToString::to_string));
    for (id, whole) in whole {
        match whole {
            Ok(arrays) => drop(goldens.files.insert(id.clone(), Arc::new(arrays))),
            Err(found) => problems.extend(found.iter().map(FileError::to_string)),
        }
    }
    if problems.is_empty() { Ok(goldens) } else { Err(problems) }
}

/// Everything below the golden folder of `bedrocks` that no index lists, and everything that
/// an index lists but no case needs.
#[must_use]
pub(crate) fn strays(folder: &Path, bedrocks: &[&str], needed: &[FileId]) -> Vec<String> {
    let mut found = Vec::new();
    for bedrock in bedrocks {
        let Ok(index) = read_index(folder, bedrock) else { continue };
        let is_needed = |file: &str| needed.iter().any(|id| id.bedrock == *bedrock && id.path == file);
        for file in index.files.keys().filter(|file| !is_needed(file)) {
            found.push(format!("{}: no model of the manifest asks for {file}", index_path(folder, bedrock).display()));
        }
        let root = folder.join(bedrock);
        for path in files_below(&root) {
            let name =
                path.strip_prefix(&root).map(|name| name.to_string_lossy().replace('\\', "/")).unwrap_or_default();
            if !["index.yaml", "core.yaml", "cost.yaml"].contains(&name.as_str()) && !index.files.contains_key(&name) {
                found.push(format!("{}: no index lists it; remove it", path.display()));
            }
        }
    }
    found.sort();
    found
}

/// Everything below a folder that is no folder. Links are not followed: they may lead in circles.
fn files_below(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let is_folder = |entry: &std::fs::DirEntry| entry.file_type().is_ok_and(|kind| kind.is_dir());
    entries.flat_map(|entry| if is_folder(&entry) { files_below(&entry.path()) } else { vec![entry.path()] }).collect()
}

/// The most that is read of a YAML file.
const YAML_CAP: u64 = 16 << 20;

/// Reads a YAML file of the golden folder.
///
/// # Errors
/// The file, and why it cannot be read.
pub fn yaml<T: for<'de> Deserialize<'de>>(path: &Path) -> Result<T, IndexError> {
    let text = loom_core::file::read_text(path, YAML_CAP);
    let text = text.map_err(|error| IndexError::Read { path: path.into(), error })?;
    let options = serde_yaml::options! { budget: serde_yaml::budget! { max_nodes: 1_000_000, max_depth: 16 } };
    serde_yaml::from_str_with_options(&text, options)
        .map_err(|error| IndexError::Yaml { path: path.into(), error: Box::new(error) })
}
