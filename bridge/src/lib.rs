//! The layer stream: a live model as one JSON document, as the original bridge reads it.
//!
//! [`read`] takes the document apart as it comes, so that numbers are never held as text;
//! [`model`] checks the layers against each other and makes weights of their arrays; [`Model::run`]
//! feeds the network. Source: `stream.md` sections 2, 3 and 5.

mod answer;
mod model;
mod read;
mod seeds;

pub use answer::Answer;
pub use model::{Forward, Model, mix, model};
pub use read::{Layer, Payload, Refusal, Request, read};
