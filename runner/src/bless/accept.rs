//! How a dump becomes goldens: its files are packed with those of the other planets, and their entries written.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use glob::Pattern;
use loom_bedrocks::npz::{self, Arrays};
use loom_bedrocks::planets::PLANETS;

use super::{Accepted, Ready, golden_arrays};
use crate::stages::golden::{ArrayEntry, FileEntry, Index, Packed, index_path, pack, read_index};
use crate::stages::manifest::Manifest;
use crate::write_atomically;

impl Ready {
    pub(super) fn of(manifest: &Manifest, planet: &str, files: Vec<Accepted>) -> anyhow::Result<Self> {
        let asked = super::files(manifest, planet, &Pattern::new("*")?);
        Ok(Self { bedrock: manifest.bedrock.clone(), asked: [(planet.to_string(), asked)].into(), files })
    }

    /// Puts dumps of one bedrock together: their files are made of each other.
    pub(crate) fn joined(all: Vec<Self>) -> Vec<Self> {
        let mut joined: BTreeMap<String, Self> = BTreeMap::new();
        for ready in all {
            match joined.get_mut(&ready.bedrock) {
                Some(known) => {
                    known.asked.extend(ready.asked);
                    known.files.extend(ready.files);
                }
                None => drop(joined.insert(ready.bedrock.clone(), ready)),
            }
        }
        joined.into_values().collect()
    }

    /// Packs the files, and those of the same models that stay, and writes nothing. Entries of other files stay as they
    /// are but for what their arrays are made of; files of models that the manifest no longer has are to go.
    ///
    /// # Errors
    /// When the index or another planet's file of a model cannot be read.
    pub(crate) fn prepare(self, golden: &Path) -> anyhow::Result<Prepared> {
        let Ready { bedrock, asked, files } = self;
        let (path, to) = (index_path(golden, &bedrock), golden.join(&bedrock));
        let mut index = match path.exists() {
            true => read_index(golden, &bedrock)?,
            false => Index::default(),
        };
        let of = |file: &str| file.split_once('/').map_or("fixture", |(planet, _)| planet).to_string();
        let is_gone = |file: &&String| asked.get(&of(file)).is_some_and(|asked| !asked.contains(file));
        let gone: Vec<String> = match files.is_empty() {
            true => Vec::new(),
            false => index.files.keys().filter(is_gone).cloned().collect(),
        };
        // Files of a model are made of each other: all of a model that is touched are packed anew.
        let model = |file: &str| file.split_once('/').map(|(_, model)| model.to_string());
        let touched: BTreeSet<String> =
            files.iter().map(|new| &new.path).chain(&gone).filter_map(|file| model(file)).collect();
        let mut whole: BTreeMap<String, Arrays> = BTreeMap::new();
        let stays = |file: &&String| !gone.contains(file) && !files.iter().any(|new| new.path == **file);
        for file in index.files.keys().filter(stays) {
            if model(file).is_some_and(|model| touched.contains(&model)) {
                let arrays = golden_arrays(golden, &bedrock, file, &index);
                let other =
                    || format!("{bedrock}/{file} is packed with what is blessed and cannot be read; bless it too");
                let arrays = arrays.with_context(other)?;
                whole.insert(file.clone(), arrays);
            }
        }
        // Entries that are replaced name no maker when the new makers get their ids.
        index.files.retain(|file, _| !gone.contains(file) && !files.iter().any(|new| new.path == *file));
        let mut written = Vec::new();
        for Accepted { planet, path, arrays, maker, handler, seed } in files {
            let made = index.maker(&planet, maker);
            let entries = arrays.iter().map(|(name, array)| (name.clone(), ArrayEntry::of(array))).collect();
            index.files.insert(path.clone(), FileEntry { made, handler, seed, arrays: entries });
            match model(&path) {
                Some(_) => drop(whole.insert(path, arrays)),
                None => written.push((to.join(path), npz::write(&arrays)?)),
            }
        }
        for model in &touched {
            let path = |planet: &str| format!("{planet}/{model}");
            let found: Vec<(&str, &Arrays)> =
                PLANETS.iter().filter_map(|planet| Some((planet.id, whole.get(&path(planet.id))?))).collect();
            for ((planet, _), Packed { held, mut kept }) in found.iter().zip(pack(&found)) {
                written.push((to.join(path(planet)), npz::write(&held)?));
                let entry = index.files.get_mut(&path(planet)).context("a file without an entry")?;
                entry.arrays.iter_mut().for_each(|(name, array)| array.kept = kept.remove(name));
            }
        }
        written.retain(|(path, bytes)| std::fs::read(path).map_or(true, |there| there != *bytes));
        let text = format!("# Written by `bedrock bless`; do not edit.\n{}", serde_yaml::to_string(&index)?);
        written.push((path, text.into_bytes()));
        Ok(Prepared { written, gone: gone.iter().map(|file| to.join(file)).collect() })
    }
}

/// What is to be written, the index last, and what is to be removed.
pub(crate) struct Prepared {
    written: Vec<(PathBuf, Vec<u8>)>,
    gone: Vec<PathBuf>,
}

impl Prepared {
    /// Writes and removes.
    ///
    /// # Errors
    /// When a file cannot be written or removed.
    pub(crate) fn commit(self) -> anyhow::Result<()> {
        self.written.iter().try_for_each(|(path, bytes)| write_atomically(path, bytes))?;
        for path in self.gone {
            match std::fs::remove_file(&path) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                    return Err(e).with_context(|| path.display().to_string());
                }
                _ => {}
            }
        }
        Ok(())
    }
}
