//! Checkpoints. Readers of foreign input live here and only here.
//!
//! A [`Checkpoint`] is what every format reads into and is written from: JSON and `.entity`
//! version 1, which are the original's to the byte, and `.entity` version 2, which is ours
//! (`docs/entity-v2.md`). It keeps what a file says; [`Checkpoint::network`] makes a network of it,
//! [`Checkpoint::of`] is the way back:
//!
//! ```
//! use loom_core::format::{Checkpoint, Format, Reading, OnLoss};
//! # use loom_core::{Network, NetworkSpec, Role, WeightStore, Weights};
//! # let dense = serde_json::from_str(r#"{"dense": {"input_dim": 2, "output_dim": 1, "bias": false}}"#)?;
//! # let weights = Weights::from([(Role::Weight, WeightStore::f32(vec![1, 2], vec![3.0, 4.0])?)]);
//! # let network = Network::build(NetworkSpec::stack(vec![dense]), &mut [("layers.0".into(), weights)].into())?;
//! let bytes = Checkpoint::of(&network)?.to_bytes(Format::V1, OnLoss::Refuse)?;
//! let checkpoint = Checkpoint::parse(bytes.clone(), Reading::Strict)?;
//! assert_eq!(checkpoint.to_bytes(Format::V1, OnLoss::Refuse)?, bytes);
//! let same = checkpoint.network()?;
//! # assert_eq!(same.stores().len(), 1);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Hostile input: all lengths are checked against the file and the topology before anything is
//! allocated. A file of n bytes takes at most n for its bytes, 256 n for weights that are
//! compressed, and what a [`Budget`] lets it describe: 64 n bytes and 64 MiB unless the caller says
//! otherwise. What is made of it, a network, text or another file, takes no more each. Files are
//! replaced as a whole.

mod blob;
mod budget;
mod check;
mod checkpoint;
mod codes;
mod fault;
mod file;
mod json;
mod kinds;
mod layer;
mod loss;
mod morph;
mod parse;
mod path;
mod q4;
mod record;
mod source;
mod text;
pub mod topology;
mod transformer;
mod v1;
mod v2;
mod zstd;

pub use blob::{Blob, BlobId, Coding, Encoding, Part};
pub use budget::Budget;
pub use checkpoint::Checkpoint;
pub use fault::Fault;
pub use file::{FORMATS, Format, OnLoss, Open, Stream, load, save};
pub use parse::Reading;
pub use path::{LayerPath, Step};
pub use q4::encode as q4_0;
pub use record::{Key, Record, activation_name, kind_name};
pub use source::Access;
pub use topology::Topology;
pub use transformer::{Decoder, Dims, Transformer};
#[doc(hidden)]
pub use v2::reseal;
