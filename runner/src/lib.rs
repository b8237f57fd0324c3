//! The conformance runner, as a pipeline of stages in which data moves right only:
//!
//! `manifest → plan → golden → run → compare → judge → report → render`
//!
//! `plan`, `compare`, `judge` and `render` are pure. Only `run` touches threads and fences
//! panics; only `golden` writes under the golden folder; only `report` under the reports.

pub mod bless;
pub mod commands;
pub mod cost;
pub mod ending;
pub mod lock;
pub mod places;
pub mod plain;
mod random;
pub mod render;
pub mod sizes;
pub mod stages;
pub mod stream;
pub mod values;

use std::path::Path;

use anyhow::Context as _;

/// Replaces a file as a whole, as [`loom_core::file`] does, and makes its folder where that is not
/// there.
///
/// # Errors
/// Whatever the file system says, with the path.
pub fn write_atomically(path: &Path, content: &[u8]) -> anyhow::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let made = folder.map_or(Ok(()), std::fs::create_dir_all);
    made.and_then(|()| loom_core::file::replace(path, content))
        .with_context(|| format!("cannot write {}", path.display()))
}
