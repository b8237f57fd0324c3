//! What happens to a case, a stage to a file. Data moves right only:
//!
//! `manifest → plan → golden → run → compare → judge → report`, and then [`crate::render`].
//!
//! `plan`, `compare` and `judge` are pure. Only `run` fences panics, around one case. Nothing here writes a file
//! or prints, and a stage uses only those before it in the list of `tests/tidy/main.rs`.

pub mod bounds;
pub mod compare;
pub mod controls;
#[cfg(feature = "gpu")]
pub mod device;
pub mod golden;
pub mod judge;
pub mod manifest;
pub mod observation;
pub mod oracle;
pub mod plan;
pub mod planted;
pub mod report;
pub mod roundtrip;
pub mod run;
