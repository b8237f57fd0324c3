//! Checkpoints in files: found out by their first bytes, written as a whole or not at all.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::io::{BufWriter, Seek, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::budget::Budget;
use super::checkpoint::Checkpoint;
use super::fault::{Fault, ensure};
use super::loss::Losses;
use super::parse::Reading;
use super::path::LayerPath;
use super::source::{Access, Source};
use super::topology::Topology;
use super::{check, json, v1, v2};
use crate::error::{Error, Result};
use crate::file::{BOM, Replacement};
use crate::network::{Network, NetworkSpec};
use crate::store::WeightTable;

/// A format that checkpoints are written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Format {
    /// JSON, with weights as Base64: the original's transparent lane.
    Json,
    /// `.entity` version 1: what the original reads and writes.
    V1,
    /// `.entity` version 2: smaller, checked by digests, used in place.
    V2,
    /// The same with sections compressed where that makes them smaller.
    V2Zstd,
}

/// Every format, in the order of tables.
pub const FORMATS: &[Format] = &[Format::Json, Format::V1, Format::V2, Format::V2Zstd];

impl Format {
    /// The name used in case ids and on command lines.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Format::Json => "json",
            Format::V1 => "v1",
            Format::V2 => "v2",
            Format::V2Zstd => "v2-zstd",
        }
    }

    /// Whether it holds both numerics profiles and every key, or the original's alone.
    #[must_use]
    pub fn is_whole(self) -> bool {
        matches!(self, Format::V2 | Format::V2Zstd)
    }
}

impl std::fmt::Display for Format {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// How a file is opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Open {
    /// How its bytes are reached.
    pub access: Access,
    /// What is taken.
    pub reading: Reading,
    /// How much it may describe.
    pub budget: Budget,
}

/// What becomes of that which a format has no field for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnLoss {
    /// Nothing is written, and the error names it.
    #[default]
    Refuse,
    /// It is left out: keys, and weights that stand beside a layer's array, such as a bias of a
    /// convolution. Arrays themselves are never left out.
    Drop,
}

impl Checkpoint {
    /// Opens a checkpoint of any format. Of `.entity` only the header is read; weights are read
    /// when they are needed.
    ///
    /// # Errors
    /// [`crate::Error::Format`] with what is wrong and where.
    pub fn open(path: &Path, open: Open) -> Result<Self> {
        Self::open_format(path, open).map(|(checkpoint, _)| checkpoint)
    }

    /// As [`Checkpoint::open`], and also says which format it is.
    ///
    /// # Errors
    /// As [`Checkpoint::open`].
    pub fn open_format(path: &Path, open: Open) -> Result<(Self, Format)> {
        Self::of_source(&Source::open(path, open.access)?, open)
    }

    /// Reads a checkpoint of any format from memory.
    ///
    /// # Errors
    /// As [`Checkpoint::open`].
    pub fn parse(bytes: impl Into<Bytes>, reading: Reading) -> Result<Self> {
        Self::parse_with(bytes, Open { reading, ..Open::default() })
    }

    /// As [`Checkpoint::parse`], with everything that can be chosen but the access.
    ///
    /// # Errors
    /// As [`Checkpoint::open`].
    pub fn parse_with(bytes: impl Into<Bytes>, open: Open) -> Result<Self> {
        Self::of_source(&Source::Memory(bytes.into()), open).map(|(checkpoint, _)| checkpoint)
    }

    fn of_source(source: &Source, open: Open) -> Result<(Self, Format)> {
        let (reading, mut purse) = (open.reading, open.budget.open(source.len()));
        let len = usize::try_from(source.len()).unwrap_or(usize::MAX);
        let start = source.read(0, len.min(64))?;
        let text = start.iter().find(|byte| !byte.is_ascii_whitespace());
        let wide = crate::file::is_utf16(&start);
        if !wide && matches!(text, Some(b'{' | b'[' | b'n' | 0xef)) {
            // The original refuses it, so that no file of ours may have it.
            ensure(!start.starts_with(BOM), || {
                Fault::Json.at("byte 0", "a byte order mark before the document; save it as UTF-8 without one")
            })?;
            return Ok((json::read(&source.read(0, len)?, reading, purse)?, Format::Json));
        }
        ensure(len >= 10 || !v1::MAGIC.starts_with(&start[..len.min(8)]), || {
            Fault::Truncated.at(format!("byte {len}"), "the file ends within the fixed header")
        })?;
        ensure(start.starts_with(v1::MAGIC), || {
            let what = "neither an .entity, which begins with \"ENTITY\", nor a JSON checkpoint";
            let cure = if wide { " in UTF-8; save UTF-16 text as UTF-8" } else { "" };
            Fault::Magic.at("byte 0", format!("{what}{cure}"))
        })?;
        match u16::from_le_bytes([start[8], start[9]]) {
            1 => Ok((v1::read(source, reading, purse)?, Format::V1)),
            2 => {
                let checkpoint = v2::read(source, &mut purse)?;
                let compressed = checkpoint.is_compressed() || start[10..12] != [0, 0];
                Ok((checkpoint, if compressed { Format::V2Zstd } else { Format::V2 }))
            }
            other => Err(Fault::Version.at("byte 8", format!("version {other}; 1 and 2 are known"))),
        }
    }

    /// Writes the checkpoint.
    ///
    /// # Errors
    /// [`crate::Error::Format`]: the fault [`Fault::Loss`] with everything that the format has no
    /// field for; otherwise what is wrong with the weights, or with `out`.
    pub fn write(&self, format: Format, unheld: OnLoss, out: &mut (impl Write + Seek)) -> Result<()> {
        let mut losses = Losses::new(unheld == OnLoss::Drop);
        match format {
            Format::Json => json::write(self, &mut losses, out),
            Format::V1 => v1::write(self, &mut losses, out),
            Format::V2 => v2::write(self, false, out),
            Format::V2Zstd => v2::write(self, true, out),
        }
    }

    /// The bytes of the checkpoint in a format.
    ///
    /// # Errors
    /// As [`Checkpoint::write`].
    pub fn to_bytes(&self, format: Format, unheld: OnLoss) -> Result<Vec<u8>> {
        let mut out = std::io::Cursor::new(Vec::new());
        self.write(format, unheld, &mut out)?;
        Ok(out.into_inner())
    }

    /// Writes a file, as [`crate::file`] does: readers see the old content or the new.
    ///
    /// # Errors
    /// As [`Checkpoint::write`].
    pub fn save(&self, path: &Path, format: Format, unheld: OnLoss) -> Result<()> {
        let io = |e: &std::io::Error| named(path, e);
        let mut out = BufWriter::with_capacity(BUFFER, Replacement::create(path).map_err(|e| io(&e))?);
        self.write(format, unheld, &mut out)?;
        out.into_inner().map_err(|e| io(e.error()))?.finish().map_err(|e| io(&e))
    }

    /// What of the checkpoint a format has no field for, in words; empty when it holds all.
    ///
    /// # Errors
    /// As [`Checkpoint::write`], but for what it would lose.
    pub fn unheld(&self, format: Format) -> Result<Vec<String>> {
        let mut losses = Losses::new(false);
        match format {
            Format::Json => json::plan(self, &mut losses)?,
            Format::V1 => v1::plan(self, &mut losses).map(|_| ())?,
            Format::V2 | Format::V2Zstd => {}
        }
        Ok(losses.into_found())
    }
}

/// Saves a network.
///
/// # Errors
/// As [`Checkpoint::of`] and [`Checkpoint::save`].
pub fn save(network: &Network, path: &Path, format: Format) -> Result<()> {
    Checkpoint::of(network)?.save(path, format, OnLoss::Refuse)
}

/// Loads a network from a checkpoint of any format.
///
/// # Errors
/// As [`Checkpoint::open`] and [`Checkpoint::network`].
pub fn load(path: &Path) -> Result<Network> {
    Checkpoint::open(path, Open::default())?.network()
}

/// A file of version 2 that is written layer by layer, so that no more than one is in memory. It
/// appears under its name when it is finished.
///
/// ```
/// # use loom_core::{NetworkSpec, Role, WeightStore, Weights, format::{Stream, load}};
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("a.entity");
/// # let dense = serde_json::from_str(r#"{"dense": {"input_dim": 2, "output_dim": 2, "bias": false}}"#)?;
/// let spec = NetworkSpec::stack(vec![dense]);
/// let mut stream = Stream::create(&path, &spec, false)?;
/// let weight = WeightStore::f32(vec![2, 2], vec![1.0, 2.0, 3.0, 4.0])?;
/// stream.push(&mut [("layers.0".to_string(), Weights::from([(Role::Weight, weight)]))].into())?;
/// stream.finish()?;
/// assert_eq!(load(&path)?.stores().len(), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Stream {
    path: PathBuf,
    output: v2::Output<BufWriter<Replacement>>,
    /// The topology, and the weights of the layer that is being written.
    checkpoint: Checkpoint,
    nodes: Vec<(u32, LayerPath)>,
    next: usize,
}

impl Stream {
    /// Starts a file for a network of this topology.
    ///
    /// # Errors
    /// [`crate::Error::Format`] when no file can be made beside `path`, [`crate::Error::Document`]
    /// when a rule of metacognition cannot be written.
    pub fn create(path: &Path, spec: &NetworkSpec, compress: bool) -> Result<Self> {
        let topology = Topology::of_spec(spec)?;
        let nodes = v2::nodes(&topology).into_iter().map(|(node, path, _)| (node, path)).collect();
        let file = Replacement::create(path).map_err(|e| named(path, &e))?;
        let output = v2::Output::new(BufWriter::with_capacity(BUFFER, file), compress)?;
        let checkpoint = Checkpoint { topology, decoder: None, blobs: BTreeMap::new() };
        Ok(Self { path: path.into(), output, checkpoint, nodes, next: 0 })
    }

    /// Writes the next layer of the grid and those inside it, taking their weights out of
    /// `weights` by path; what belongs to other layers stays there.
    ///
    /// # Errors
    /// [`crate::Error::Format`] when weights are missing or of another shape, when the grid has
    /// no further layer, or when the file cannot be written.
    pub fn push(&mut self, weights: &mut WeightTable) -> Result<()> {
        let Some((_, first)) = self.nodes.get(self.next) else {
            return Err(Fault::Grid.at(self.path.display(), "every layer of the grid is written already"));
        };
        let index = first.index;
        let of_layer = self.nodes[self.next..].iter().take_while(|(_, path)| path.index == index).count();
        let nodes = &self.nodes[self.next..self.next + of_layer];
        for (_, path) in nodes {
            self.checkpoint.put(path, weights.remove(&path.to_string()).unwrap_or_default());
        }
        let checkpoint = &self.checkpoint;
        checkpoint.blobs.iter().try_for_each(|(id, blob)| check::check_blob(checkpoint, id, blob))?;
        let records =
            nodes.iter().filter_map(|(node, path)| Some((*node, path.clone(), checkpoint.topology.find(path)?)));
        let records: Vec<_> = records.collect();
        records.iter().try_for_each(|(_, path, record)| check::check_layer(checkpoint, path, record))?;
        self.output.layers(checkpoint, &records)?;
        self.checkpoint.blobs.clear();
        self.next += of_layer;
        Ok(())
    }

    /// Writes topology and index, and puts the file in its place.
    ///
    /// # Errors
    /// [`crate::Error::Format`] when layers are missing, or the file cannot be written.
    pub fn finish(self) -> Result<()> {
        if let Some((_, path)) = self.nodes.get(self.next) {
            return Err(Fault::Missing.at(path, "the file is finished before this layer was written"));
        }
        let out = self.output.finish(&self.checkpoint.topology, &self.checkpoint, self.nodes.len() as u32)?;
        let file = out.into_inner().map_err(|e| named(&self.path, e.error()))?;
        file.finish().map_err(|e| named(&self.path, &e))
    }
}

/// Bytes that are gathered before they are written.
const BUFFER: usize = 1 << 16;

fn named(path: &Path, error: &std::io::Error) -> Error {
    Fault::io(&path.display().to_string(), error)
}
