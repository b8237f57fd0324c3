//! One file of the golden folder: what it holds, made whole and held against the index.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use loom_bedrocks::npz::{self, Array, Arrays};

use super::packing::{self, UnpackError};
use super::{ArrayEntry, FileEntry, FileId, Index};

/// Why a golden file is not what is needed; each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The index does not list it.
    #[error("{path}: {}; {cure}", if *there { "the index does not list it" } else { "not dumped yet" })]
    Unlisted {
        /// The file.
        path: PathBuf,
        /// Whether there is a file.
        there: bool,
        /// What to do.
        cure: String,
    },
    /// It cannot be read.
    #[error("{error}; {cure}")]
    Read {
        /// Why, with the file.
        error: npz::Error,
        /// What to do.
        cure: String,
    },
    /// It lacks an array.
    #[error("{path}: array {array} is missing; {cure}")]
    Missing {
        /// The file.
        path: PathBuf,
        /// The array.
        array: String,
        /// What to do.
        cure: String,
    },
    /// An array cannot be made of what the index names.
    #[error("{path}: array {array} {error}; {cure}")]
    Unpack {
        /// The file.
        path: PathBuf,
        /// The array.
        array: String,
        /// Why.
        error: UnpackError,
        /// What to do.
        cure: String,
    },
    /// An array has another dtype or shape than the index says.
    #[error("{path}: array {array} is {} {:?}; the index says {} {:?}; {cure}", found.0, found.1, wanted.0, wanted.1)]
    Form {
        /// The file.
        path: PathBuf,
        /// The array.
        array: String,
        /// Its dtype and shape.
        found: (&'static str, Vec<usize>),
        /// Those of the index.
        wanted: (String, Vec<usize>),
        /// What to do.
        cure: String,
    },
    /// An array has other elements than the index says.
    #[error(
        "{path}: array {array} has digest {}, the index says {}: its content was changed{}; {cure}",
        short(found),
        short(wanted),
        of.as_ref().map_or_else(String::new, |of| format!(", or that of {of} which it is made of"))
    )]
    Content {
        /// The file.
        path: PathBuf,
        /// The array.
        array: String,
        /// The digest of its elements.
        found: String,
        /// That of the index.
        wanted: String,
        /// The planet whose array it is made of.
        of: Option<String>,
        /// What to do.
        cure: String,
    },
}

fn short(digest: &str) -> &str {
    digest.get(..12).unwrap_or(digest)
}

/// What files hold, or why they cannot be read.
pub(super) type Held = BTreeMap<FileId, Result<Arrays, Box<FileError>>>;

/// The arrays of a file, or everything that is wrong with it.
pub(super) type Verified = Result<Arrays, Vec<FileError>>;

/// Reads and verifies one file, and those that it is made of.
///
/// # Errors
/// Everything that is wrong with it.
pub fn read(folder: &Path, id: &FileId, index: &Index) -> Result<Arrays, Vec<FileError>> {
    let files = index.made_of(id).into_iter().chain([id.clone()]);
    let mut held: Held = files.map(|id| (id.clone(), held(folder, &id, index))).collect();
    if let Some(unread) = held.iter().find(|(_, held)| held.is_err()).map(|(id, _)| id.clone())
        && let Some(Err(error)) = held.remove(&unread)
    {
        return Err(vec![*error]);
    }
    verified(folder, id, index, &held)
}

/// What one file holds.
pub(super) fn held(folder: &Path, id: &FileId, index: &Index) -> Result<Arrays, Box<FileError>> {
    let path = folder.join(&id.bedrock).join(&id.path);
    let Some(FileEntry { arrays: entries, .. }) = index.files.get(&id.path) else {
        return Err(FileError::Unlisted { there: path.exists(), path, cure: id.cure() }.into());
    };
    let size = |array: &str| entries.get(array).and_then(ArrayEntry::held_bytes);
    npz::read_packed(&path, size).map_err(|error| FileError::Read { error, cure: id.cure() }.into())
}

/// Makes the arrays of one file whole, and holds them against the index.
pub(super) fn verified(folder: &Path, id: &FileId, index: &Index, held: &Held) -> Verified {
    let path = || folder.join(&id.bedrock).join(&id.path);
    let Some(Ok(own)) = held.get(id) else { return Err(Vec::new()) };
    let (planet, model) = id.path.split_once('/').unwrap_or(("", ""));
    let (mut arrays, mut problems) = (Arrays::new(), Vec::new());
    // What is made of an array of its own file comes after that.
    let (last, first): (Vec<_>, Vec<_>) =
        index.files[&id.path].arrays.iter().partition(|(_, entry)| entry.is_made_of(planet));
    for (name, entry) in first.into_iter().chain(last) {
        let (array, cure) = (name.clone(), id.cure());
        let made = match &entry.kept {
            None => own.get(name).cloned().ok_or(FileError::Missing { path: path(), array, cure }),
            Some(kept) => {
                let of = FileId { path: format!("{}/{model}", kept.of), ..id.clone() };
                // What is wrong with that file, or with that array of this one, is told there.
                if matches!(held.get(&of), Some(Err(_))) || of == *id && !arrays.contains_key(&kept.array) {
                    continue;
                }
                let theirs = if of == *id { Some(&arrays) } else { held.get(&of).and_then(|held| held.as_ref().ok()) };
                let whole = theirs.and_then(|of| of.get(&kept.array));
                packing::unpack(kept, whole, own.get(name), (entry.is_float64(), &entry.shape))
                    .map_err(|error| FileError::Unpack { path: path(), array, error, cure })
            }
        };
        match made.map_err(Box::new).and_then(|made| agrees(made, name, entry, &path, id)) {
            Ok(made) => drop(arrays.insert(name.clone(), made)),
            Err(error) => problems.push(*error),
        }
    }
    if problems.is_empty() { Ok(arrays) } else { Err(problems) }
}

/// The array, if it is what the index says.
fn agrees(
    made: Array,
    name: &str,
    entry: &ArrayEntry,
    path: &dyn Fn() -> PathBuf,
    id: &FileId,
) -> Result<Array, Box<FileError>> {
    let (array, cure) = (name.to_string(), id.cure());
    if made.dtype() != entry.dtype || made.shape != entry.shape {
        let (found, wanted) = ((made.dtype(), made.shape), (entry.dtype.clone(), entry.shape.clone()));
        return Err(FileError::Form { path: path(), array, found, wanted, cure }.into());
    }
    if made.sha256 != entry.sha256 {
        let (found, wanted) = (made.sha256, entry.sha256.clone());
        let of = entry.kept.as_ref().map(|kept| kept.of.clone());
        return Err(FileError::Content { path: path(), array, found, wanted, of, cure }.into());
    }
    Ok(made)
}
