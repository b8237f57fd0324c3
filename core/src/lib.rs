//! The Loom runtime: layers in a volumetric `(z, y, x, l)` grid, and arithmetic that gives
//! the same bits on every machine.
//!
//! A [`Network`] is built from a [`NetworkSpec`] (topology) and one [`Weights`] table per
//! layer, and run on a [`Cpu`] with a [`State`] that holds whatever survives a call:
//!
//! ```
//! use loom_core::{Cpu, LayerSpec, Network, NetworkSpec, Role, State, Tensor, WeightStore, Weights};
//!
//! let dense: LayerSpec = serde_json::from_str(r#"{"dense": {"input_dim": 2, "output_dim": 1}}"#)?;
//! let mut weights = Weights::new();
//! weights.insert(Role::Weight, WeightStore::f32(vec![1, 2], vec![3.0, 4.0])?);
//! weights.insert(Role::Bias, WeightStore::f32(vec![1], vec![0.5])?);
//! let mut table = [("layers.0".to_string(), weights)].into();
//! let network = Network::build(NetworkSpec::stack(vec![dense]), &mut table)?;
//!
//! let x = Tensor::new(vec![1, 2], vec![1.0, 10.0])?;
//! let y = network.run(&[x], &mut State::default(), &Cpu::scalar())?;
//! assert_eq!(y.data(), [43.5]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Invariants: the crate knows no manifest, planet, terminal or clock; every sum inside an
//! output element runs in f64 in ascending order and is rounded to f32 once per documented
//! stage; no result depends on the instruction set or on the number of threads.

mod activation;
pub mod backend;
mod coord;
pub mod dtype;
mod error;
mod fault;
pub mod file;
pub mod format;
#[cfg(feature = "gpu")]
pub mod gpu;
pub mod layers;
pub mod math;
mod network;
mod random;
mod role;
mod store;
mod tensor;

pub use activation::Activation;
pub use backend::{Cpu, Isa, Threads};
pub use coord::{Coord, Extents};
pub use dtype::{Affine, Dtype, Magnitudes, Numerics};
pub use error::{ConfigError, Error, PackingError, Problem, Result, RuleError};
pub use layers::{ChildSpec, Layer, LayerKind, LayerSpec, RoleShape, State};
#[cfg(feature = "gpu")]
pub use network::footprint;
pub use network::{CellSpec, Network, NetworkSpec};
pub use random::SplitMix64;
pub use role::Role;
pub use store::{Scales, Storage, Vectors, WeightStore, WeightTable, Weights};
pub use tensor::Tensor;
