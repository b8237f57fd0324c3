//! The original bridge's protocol: a live model in, an `.entity` and what it computes out.
//!
//! [`serve`] takes a layer stream, one JSON document, as the original's program `loom-stream` does:
//! the same answer, the same file. What the original does carelessly is refused with the place.
//! [`serve_arrays`] takes weights as arrays by role. Neither knows of standard input, exit codes or
//! signals: both can be called from any thread of any program. Source: `stream.md`.
//!
//! A document passes once, from text to f32 ([`request`]); its layers become structs of their
//! kinds, which make configurations and weights of themselves ([`kinds`]); the network is stored
//! ([`Stored`]) and run ([`Model::run`]).

mod answer;
mod arrays;
mod document;
mod entity;
mod error;
mod feed;
pub mod kinds;
mod model;
pub mod request;
mod run;

pub use answer::{Answer, Outputs};
pub use arrays::{ArrayOptions, LiveModel, Source, serve_arrays};
pub use document::{Options, serve};
pub use entity::{Stored, Version};
pub use error::{At, Error, FixtureError, Flaw, LayerError, TooSmall};
pub use model::{Forward, Model, mix};
pub use run::{Opener, Run, cpu};
