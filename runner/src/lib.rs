//! The conformance runner, as a pipeline of stages in which data moves right only:
//!
//! `manifest → plan → golden → run → compare → judge → report → render`
//!
//! `plan`, `compare`, `judge` and `render` are pure. Only `run` touches threads and fences
//! panics; only `golden` writes under the golden folder; only `report` under the reports.

pub mod bench;
pub mod bless;
pub mod cli;
pub mod compare;
#[cfg(feature = "gpu")]
pub mod device;
pub mod entity;
pub mod gain;
pub mod golden;
pub mod judge;
pub mod judging;
pub mod manifest;
pub mod places;
pub mod plain;
pub mod plan;
pub mod render;
pub mod report;
pub mod roundtrip;
pub mod run;
pub mod sizes;
pub mod stream;
pub mod terminal;

use std::io::Write as _;
use std::path::Path;

/// Replaces a file as a whole: a temporary file beside it, synced, then renamed. Readers
/// see the old content or the new one, never a part.
///
/// # Errors
/// Whatever the file system says, with the path.
pub fn write_atomically(path: &Path, content: &[u8]) -> anyhow::Result<()> {
    use anyhow::Context as _;
    let write = || -> std::io::Result<()> {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        std::fs::create_dir_all(folder)?;
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(content)?;
        file.as_file().sync_all()?;
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            file.as_file().set_permissions(std::fs::Permissions::from_mode(0o644))?;
        }
        file.persist(path)?;
        Ok(())
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}
