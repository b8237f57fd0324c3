//! The conformance runner: stages through which cases go, and the commands of `bedrock` over them.
//!
//! [`stages`] read, run and judge; they write nothing. Under the golden folder only `bless` writes, under the reports
//! only the commands that judge, render and measure sizes.

mod bless;
pub mod commands;
mod cost;
pub mod ending;
mod lock;
pub mod places;
mod plain;
pub mod render;
pub mod sizes;
pub mod stages;
pub mod stream;
mod values;

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
