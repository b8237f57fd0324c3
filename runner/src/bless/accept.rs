//! How a dump becomes goldens: its files are packed with those of the other planets, and their entries written.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

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

    /// Moves the files into the goldens and rewrites their entries in the index, and no others.
    /// Files of models that the manifest no longer has are removed.
    ///
    /// # Errors
    /// When the index or another planet's file of a model cannot be read, or a file cannot be written.
    pub(crate) fn accept(self, golden: &Path) -> anyhow::Result<()> {
        let Ready { bedrock, asked, files } = self;
        if files.is_empty() {
            return Ok(());
        }
        let (path, to) = (index_path(golden, &bedrock), golden.join(&bedrock));
        let mut index = match path.exists() {
            true => read_index(golden, &bedrock)?,
            false => Index::default(),
        };
        let of = |file: &str| file.split_once('/').map_or("fixture", |(planet, _)| planet).to_string();
        let is_gone = |file: &&String| asked.get(&of(file)).is_some_and(|asked| !asked.contains(file));
        let gone: Vec<String> = index.files.keys().filter(is_gone).cloned().collect();
        // Files of a model are made of each other: all of a model that is touched are packed anew.
        let model = |file: &str| file.split_once('/').map_or("", |(_, model)| model).to_string();
        let touched: BTreeSet<String> =
            files.iter().map(|new| &new.path).chain(&gone).map(|file| model(file)).collect();
        let mut whole: BTreeMap<String, Arrays> = BTreeMap::new();
        for file in index.files.keys().filter(|file| touched.contains(&model(file)) && !gone.contains(file)) {
            if !files.iter().any(|new| new.path == *file) {
                let arrays = golden_arrays(golden, &bedrock, file, &index);
                whole.insert(
                    file.clone(),
                    arrays.context("files of one model are made of each other; bless this one too")?,
                );
            }
        }
        // Entries that are replaced name no maker when the new makers get their ids.
        index.files.retain(|file, _| !gone.contains(file) && !files.iter().any(|new| new.path == *file));
        for Accepted { planet, path, arrays, maker, handler, seed } in files {
            let made = index.maker(&planet, maker);
            let entries = arrays.iter().map(|(name, array)| (name.clone(), ArrayEntry::of(array))).collect();
            index.files.insert(path.clone(), FileEntry { made, handler, seed, arrays: entries });
            whole.insert(path, arrays);
        }
        for model in &touched {
            let path = |planet: &str| if model.is_empty() { "fixture.npz".into() } else { format!("{planet}/{model}") };
            let planets = if model.is_empty() { &PLANETS[..1] } else { PLANETS };
            let found: Vec<(&str, &Arrays)> =
                planets.iter().filter_map(|planet| Some((planet.id, whole.get(&path(planet.id))?))).collect();
            for ((planet, _), Packed { held, mut kept }) in found.iter().zip(pack(&found)) {
                write_atomically(&to.join(path(planet)), &npz::write(&held)?)?;
                let Some(entry) = index.files.get_mut(&path(planet)) else { continue };
                entry.arrays.iter_mut().for_each(|(name, array)| array.kept = kept.remove(name));
            }
        }
        for file in &gone {
            match std::fs::remove_file(to.join(file)) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                    return Err(e).with_context(|| format!("{}", to.join(file).display()));
                }
                _ => {}
            }
        }
        let text = serde_yaml::to_string(&index)?;
        write_atomically(&path, format!("# Written by `bedrock bless`; do not edit.\n{text}").as_bytes())
    }
}
