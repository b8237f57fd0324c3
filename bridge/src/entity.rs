//! The file: where it lies, what its weights are stored in, and what is told of it. Source:
//! `stream.md` section 4.

use std::io;
use std::path::{Component, Path, PathBuf};

use loom_core::format::{BlobId, Checkpoint, Format, Key, LayerPath, OnLoss, Open, Part};
use loom_core::{Dtype, LayerKind, LayerSpec, Network, Numerics, Role, Storage, Vectors};

use crate::answer::Answer;
use crate::error::Error;

/// A version of `.entity`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Version {
    /// What the original reads.
    #[default]
    One,
    /// Ours: checked by digests, both numerics profiles.
    Two,
}

/// How weights are stored, in the file and while the network runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stored {
    /// Their dtype; `None` leaves them float32.
    pub dtype: Option<Dtype>,
    /// The numerics profile of the dtype; `None` is loom in version 1, standard in version 2.
    pub numerics: Option<Numerics>,
    /// The version of the file.
    pub version: Version,
}

/// Where a file goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// Where the request says.
    Asked(PathBuf),
    /// Below the folder of models, by planet and model.
    Named(PathBuf),
}

impl Target {
    /// The place of a model's file below `models`. Source: `stream.md` section 4.1.
    pub(crate) fn named(models: &str, planet: &str, model_id: &str) -> Result<Self, Error> {
        for (field, name) in [("planet", planet), ("model_id", model_id)] {
            if name == ".." || name == "." || name.contains(['/', '\\', '\0']) {
                return Err(Error::Name { field, name: name.into() });
            }
        }
        let folder = Path::new(models).join(planet).join(model_id);
        Ok(Target::Named(clean(&folder.join(format!("{model_id}.stream.entity")))))
    }

    fn path(&self) -> &Path {
        match self {
            Target::Asked(path) | Target::Named(path) => path,
        }
    }

    /// Makes the folder of the file.
    fn make_room(&self) -> Result<(), Error> {
        let path = self.path();
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            let before = if matches!(self, Target::Asked(_)) { "" } else { "entity save: " };
            std::fs::create_dir_all(folder)
                .map_err(|e| Error::Save(format!("{before}mkdir {}: {}", folder.display(), in_original_words(&e))))?;
        }
        match path.is_dir() {
            true => Err(Error::Save(format!("entity save: open {}: is a directory", path.display()))),
            false => Ok(()),
        }
    }
}

impl Stored {
    /// The network with its weights so stored.
    pub(crate) fn network(&self, network: Network) -> Result<Network, Error> {
        let Some(dtype) = self.dtype else { return Ok(network) };
        let default = if self.version == Version::One { Numerics::Loom } else { Numerics::Standard };
        let storage = Storage { dtype, numerics: self.numerics.unwrap_or(default), vectors: Vectors::default() };
        Ok(network.morph(&storage)?)
    }

    /// Writes the file, and answers what is in it.
    pub(crate) fn save(&self, network: &Network, target: &Target) -> Result<Answer, Error> {
        let path = target.path();
        let mut checkpoint = Checkpoint::of(network).map_err(|e| Error::Save(e.to_string()))?;
        say_sizes(network, &mut checkpoint);
        target.make_room()?;
        let format = if self.version == Version::One { Format::V1 } else { Format::V2 };
        checkpoint.save(path, format, OnLoss::Refuse).map_err(|e| Error::Save(format!("entity save: {e}")))?;
        // In another dtype some of a layer's weights lie in the file otherwise than in memory.
        let written = match self.dtype {
            None => checkpoint,
            Some(_) => Checkpoint::open(path, Open::default())
                .map_err(|e| Error::Save(format!("entity save: {}: {e}", path.display())))?,
        };
        let kinds: Vec<LayerKind> = network.layers().map(|layer| layer.spec().kind()).collect();
        // The biases of dense layers stand apart from a layer's weights, and do not count as such.
        let counts = |id: &BlobId| match id {
            BlobId::Layer(path, Part::Role(Role::Bias)) => kinds.get(path.index) != Some(&LayerKind::Dense),
            _ => true,
        };
        Ok(Answer {
            status: "ok",
            entity_path: path.display().to_string(),
            layer_count: written.topology().layers().len(),
            weight_bytes: written.blobs().filter(|(id, _)| counts(id)).map(|(_, blob)| blob.len()).sum(),
            ..Answer::default()
        })
    }
}

/// Puts the sizes into the records of attention that the original's bridge says, though they follow from the others.
fn say_sizes(network: &Network, checkpoint: &mut Checkpoint) {
    for (i, layer) in network.layers().enumerate() {
        if let LayerSpec::Mha(mha) = layer.spec() {
            let query = mha.num_heads * mha.head_dim.unwrap_or(mha.d_model / mha.num_heads);
            let sizes = [(Key::InputHeight, mha.d_model), (Key::OutputHeight, mha.d_model), (Key::QueryDim, query)];
            sizes.into_iter().for_each(|(key, size)| checkpoint.set_size(&LayerPath::top(i), key, size));
        }
    }
}

/// The path without `.` and with `..` resolved by name.
pub(crate) fn clean(path: &Path) -> PathBuf {
    let mut clean = PathBuf::new();
    for part in path.components() {
        match (part, clean.components().next_back()) {
            (Component::CurDir, _) => {}
            (Component::ParentDir, Some(Component::Normal(_))) => {
                clean.pop();
            }
            (Component::ParentDir, Some(Component::RootDir)) => {}
            _ => clean.push(part),
        }
    }
    clean
}

/// An error of the operating system in the original's words.
pub(crate) fn in_original_words(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_lowercase().chain(letters).collect())
}
