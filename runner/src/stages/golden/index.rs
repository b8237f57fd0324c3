//! What lies beside the arrays of a bedrock: their index, our blessed digests and the measured costs.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use loom_bedrocks::npz;
use loom_bedrocks::planets::{self, PLANETS};
use serde::{Deserialize, Serialize};

use super::packing::Kept;
use super::{FileId, yaml};
use crate::stages::bounds::Cost;
use crate::stages::plan::Case;

/// What the index knows of one array.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ArrayEntry {
    /// `float32` or `float64`.
    pub dtype: String,
    /// Extents, slowest axis first.
    pub shape: Vec<usize>,
    /// SHA-256 of the elements as little-endian bytes in C order.
    pub sha256: String,
    /// What it is made of, where its file does not hold it whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept: Option<Kept>,
}

/// What files that were accepted together have in common.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Maker {
    /// Why the files were accepted.
    pub accepted: String,
    /// Versions of the packages that computed them.
    pub packages: BTreeMap<String, String>,
    /// Switches that make the planet deterministic.
    pub flags: BTreeMap<String, String>,
}

/// What the index knows of one file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileEntry {
    /// The id of its maker.
    pub made: String,
    /// SHA-256 of the Python sources that computed it.
    pub handler: String,
    /// The model's seed; a fixture has one in each recipe.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// Its arrays.
    pub arrays: BTreeMap<String, ArrayEntry>,
}

/// `golden/<bedrock>/index.yaml`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Index {
    /// Makers by id: the planet or `fixture`, with a number from the second one on.
    pub makers: BTreeMap<String, Maker>,
    /// Files by path within the bedrock's folder.
    pub files: BTreeMap<String, FileEntry>,
}

/// `golden/<bedrock>/core.yaml`: digests of our own outputs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Core {
    /// Why digests were accepted, each model under the reason given last for it.
    pub accepted: Vec<Acceptance>,
    /// SHA-256 of the output's little-endian bytes, by model and `dtype/numerics`.
    pub digests: BTreeMap<String, BTreeMap<String, String>>,
}

/// One reason, and the models whose digests were accepted for it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Acceptance {
    /// The reason.
    pub why: String,
    /// The models, sorted.
    pub models: BTreeSet<String>,
}

/// Why a YAML file of the golden folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// It is not there or not readable, or no text.
    #[error("{path}: {error}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        error: std::io::Error,
    },
    /// The text is not what is expected, at a line and column that the cause has.
    #[error("{path}: {error}")]
    Yaml {
        /// The file.
        path: PathBuf,
        /// The cause.
        error: Box<serde_yaml::Error>,
    },
    /// It lists a file that cannot be a golden.
    #[error("{path}: {file:?} is no golden's path; expected fixture.npz or <planet>/<model>.npz")]
    File {
        /// The index.
        path: PathBuf,
        /// The file that it lists.
        file: String,
    },
    /// It has an array of a dtype that no golden has, or of a shape that no machine holds.
    #[error("{path}: {array} of {file} is {dtype} {shape:?}; expected float32 or float64 of a shape that can be held")]
    Form {
        /// The index.
        path: PathBuf,
        /// The file of the array.
        file: String,
        /// The array.
        array: String,
        /// Its dtype.
        dtype: String,
        /// Its shape.
        shape: Vec<usize>,
    },
    /// It lists more than is read of a file.
    #[error("{path}: the arrays of {file} have {bytes} bytes; expected at most {}", npz::ARCHIVE_CAP)]
    Size {
        /// The index.
        path: PathBuf,
        /// The file.
        file: String,
        /// Bytes of all its arrays.
        bytes: u64,
    },
    /// It has an array made of another that is none, or is not whole itself.
    #[error(
        "{path}: {array} of {file} must be made of an array that an earlier planet's file holds whole, or of one of its own; `git checkout` the index"
    )]
    Kept {
        /// The index.
        path: PathBuf,
        /// The file of the array.
        file: String,
        /// The array.
        array: String,
    },
    /// It lists a file by a maker that it does not have.
    #[error("{path}: {file} is made by {maker:?}, which is not among the makers: {}", known.join(", "))]
    Maker {
        /// The index.
        path: PathBuf,
        /// The file that it lists.
        file: String,
        /// The maker that it names.
        maker: String,
        /// The makers that it has.
        known: Vec<String>,
    },
}

impl Index {
    /// The other files that the arrays of a file are made of.
    pub(super) fn made_of(&self, id: &FileId) -> Vec<FileId> {
        let model = id.path.split_once('/').map_or("", |(_, model)| model);
        let arrays = self.files.get(&id.path).into_iter().flat_map(|entry| entry.arrays.values());
        let kept = arrays.filter_map(|array| array.kept.as_ref());
        let files: BTreeSet<String> =
            kept.map(|kept| format!("{}/{model}", kept.of)).filter(|of| *of != id.path).collect();
        files.into_iter().map(|path| FileId { path, ..id.clone() }).collect()
    }

    /// Whether what an array is made of is there, and is made of nothing that is made of this.
    fn can_make(&self, file: &str, name: &str, entry: &ArrayEntry) -> bool {
        let Some(kept) = &entry.kept else { return true };
        let place = |id: &str| PLANETS.iter().position(|planet| planet.id == id);
        let Some((planet, model)) = file.split_once('/') else { return false };
        let whole = self.files.get(&format!("{}/{model}", kept.of)).and_then(|of| of.arrays.get(&kept.array));
        match (place(&kept.of), place(planet)) {
            (Some(of), Some(own)) if of < own => whole.is_some_and(|whole| whole.kept.is_none()),
            (Some(of), Some(own)) => {
                let elsewhere = |whole: &ArrayEntry| whole.kept.as_ref().is_none_or(|kept| kept.of != planet);
                of == own && kept.array != name && whole.is_some_and(elsewhere)
            }
            _ => false,
        }
    }

    /// The id of a planet's maker of these values: a known one's, or the first that is free.
    /// Makers that no file names any more are removed first.
    pub fn maker(&mut self, planet: &str, maker: Maker) -> String {
        self.makers.retain(|id, _| self.files.values().any(|file| file.made == *id));
        let ours = |id: &str| id.strip_prefix(planet).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'));
        if let Some((id, _)) = self.makers.iter().find(|(id, known)| ours(id) && **known == maker) {
            return id.clone();
        }
        let mut id = planet.to_string();
        let mut number = 1;
        while self.makers.contains_key(&id) {
            number += 1;
            id = format!("{planet}-{number}");
        }
        self.makers.insert(id.clone(), maker);
        id
    }
}

impl Core {
    /// Puts a model under a reason, and takes it from any other.
    pub fn accept(&mut self, model: &str, why: &str) {
        self.forget(model);
        match self.accepted.iter_mut().find(|known| known.why == why) {
            Some(known) => {
                known.models.insert(model.into());
            }
            None => self.accepted.push(Acceptance { why: why.into(), models: [model.into()].into() }),
        }
    }

    /// Whether a model is under exactly one reason.
    #[must_use]
    pub(crate) fn explains(&self, model: &str) -> bool {
        self.accepted.iter().filter(|known| known.models.contains(model)).count() == 1
    }

    /// A model that has digests and not exactly one reason.
    #[must_use]
    pub fn unexplained(&self) -> Option<&str> {
        self.digests.keys().map(String::as_str).find(|model| !self.explains(model))
    }

    /// A digest of a model's digests, by which costs say of which outputs they are.
    #[must_use]
    pub fn digest(&self, model: &str) -> String {
        let digests = self.digests.get(model).into_iter().flatten();
        let text: String = digests.map(|(stored, digest)| format!("{stored} {digest}\n")).collect();
        let mut digest = npz::sha256(text.as_bytes());
        digest.truncate(16);
        digest
    }

    /// Removes a model from the reasons, and reasons that have no model left.
    pub(crate) fn forget(&mut self, model: &str) {
        for known in &mut self.accepted {
            known.models.remove(model);
        }
        self.accepted.retain(|known| !known.models.is_empty());
    }
}

impl ArrayEntry {
    /// The entry of an array that was read.
    #[must_use]
    pub fn of(array: &npz::Array) -> Self {
        Self { dtype: array.dtype().into(), shape: array.shape.clone(), sha256: array.sha256.clone(), kept: None }
    }

    /// Whether it is made of an array of this planet.
    pub(super) fn is_made_of(&self, planet: &str) -> bool {
        self.kept.as_ref().is_some_and(|kept| kept.of == planet)
    }

    /// Whether the elements have 64 bits.
    pub(super) fn is_float64(&self) -> bool {
        self.dtype == "float64"
    }

    /// Bytes of the elements, unless the dtype is none of goldens or the product of extents overflows, zeros aside.
    pub(super) fn bytes(&self) -> Option<u64> {
        let item: u64 = match self.dtype.as_str() {
            "float32" => 4,
            "float64" => 8,
            _ => return None,
        };
        self.shape.iter().try_fold(item, |n, &extent| n.checked_mul(extent.max(1) as u64))
    }

    /// The most bytes of elements that the file holds of it; `None` where it holds none.
    pub(super) fn held_bytes(&self) -> Option<u64> {
        match &self.kept {
            Some(kept) if !kept.differs => None,
            // A difference has up to eight bytes.
            Some(_) => self.bytes()?.checked_mul(2),
            None => self.bytes(),
        }
    }
}

/// `golden/<bedrock>/cost.yaml`: what the seeds showed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Costs {
    /// By model.
    pub models: BTreeMap<String, ModelCosts>,
}

/// The costs of one model.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelCosts {
    /// A digest of the model's blessed digests: of other outputs these costs say nothing.
    pub of: String,
    /// By `dtype/numerics`.
    pub costs: BTreeMap<String, Cost>,
}

impl Costs {
    /// Whether a case was measured, for the outputs that `core` has.
    #[must_use]
    pub(crate) fn knows(&self, case: &Case, core: &Core) -> bool {
        let of = self.models.get(case.model().id());
        of.is_some_and(|of| of.of == core.digest(case.model().id()) && of.costs.contains_key(&case.stored.to_string()))
    }
}

/// Where a bedrock's costs lie.
#[must_use]
pub fn cost_path(golden: &Path, bedrock: &str) -> PathBuf {
    golden.join(bedrock).join("cost.yaml")
}

/// Reads a bedrock's index.
///
/// # Errors
/// When it is missing or unreadable, or names a file that cannot be a golden or a maker that it
/// does not have.
pub fn read_index(folder: &Path, bedrock: &str) -> Result<Index, IndexError> {
    let path = index_path(folder, bedrock);
    let index: Index = yaml(&path)?;
    let plain = |file: &str| match file.split_once('/') {
        None => file == "fixture.npz",
        Some((planet, model)) => {
            planets::find(planet).is_some() && model.strip_suffix(".npz").is_some_and(crate::stages::manifest::is_plain)
        }
    };
    if let Some(file) = index.files.keys().find(|file| !plain(file)) {
        return Err(IndexError::File { file: file.clone(), path });
    }
    for (file, entry) in &index.files {
        if let Some((array, form)) = entry.arrays.iter().find(|(_, array)| array.bytes().is_none()) {
            let (file, array, dtype, shape) = (file.clone(), array.clone(), form.dtype.clone(), form.shape.clone());
            return Err(IndexError::Form { path, file, array, dtype, shape });
        }
        let bytes = entry.arrays.values().filter_map(ArrayEntry::bytes).fold(0, u64::saturating_add);
        if bytes > npz::ARCHIVE_CAP {
            return Err(IndexError::Size { path, file: file.clone(), bytes });
        }
        if let Some((array, _)) = entry.arrays.iter().find(|(name, array)| !index.can_make(file, name, array)) {
            return Err(IndexError::Kept { path, file: file.clone(), array: array.clone() });
        }
    }
    if let Some((file, entry)) = index.files.iter().find(|(_, entry)| !index.makers.contains_key(&entry.made)) {
        let (file, maker) = (file.clone(), entry.made.clone());
        return Err(IndexError::Maker { path, file, maker, known: index.makers.into_keys().collect() });
    }
    Ok(index)
}

/// Where a bedrock's index lies.
#[must_use]
pub fn index_path(folder: &Path, bedrock: &str) -> PathBuf {
    folder.join(bedrock).join("index.yaml")
}

/// Where a bedrock's own digests lie.
#[must_use]
pub fn core_path(folder: &Path, bedrock: &str) -> PathBuf {
    folder.join(bedrock).join("core.yaml")
}
