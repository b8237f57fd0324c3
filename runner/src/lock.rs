//! One writer at a time in a folder, so that what several runs read, merge and write is not lost.

use std::fs::{File, TryLockError};
use std::io::IsTerminal as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;

use crate::places::complain;

/// How long a run waits for another before it says so.
const SILENT: Duration = Duration::from_secs(1);

/// A folder that is this run's to write in, until it is dropped or the process ends, however it does.
#[derive(Debug)]
pub(crate) struct Lock(#[expect(dead_code, reason = "the lock is the open file's")] Option<File>);

impl Lock {
    /// Makes the folder where it is not there, and waits until no other run has it.
    ///
    /// # Errors
    /// When there can be no such folder.
    pub(crate) fn take(folder: &Path) -> anyhow::Result<Self> {
        let named = || format!("cannot write in {}", folder.display());
        std::fs::create_dir_all(folder).with_context(named)?;
        // The folder itself is locked; where folders cannot be (Windows, some networks), a file in it.
        let beside = || File::options().create(true).append(true).open(folder.join(".lock"));
        let locked = File::open(folder).and_then(|file| wait(file, folder));
        match locked.or_else(|_| beside().and_then(|file| wait(file, folder))) {
            Ok(file) => Ok(Self(Some(file))),
            Err(e) => {
                complain(&format!("{} cannot be locked ({e}): let no other run write in it now", folder.display()));
                Ok(Self(None))
            }
        }
    }
}

fn wait(file: File, folder: &Path) -> std::io::Result<File> {
    let start = Instant::now();
    while start.elapsed() < SILENT {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(10)),
            Err(TryLockError::Error(e)) => return Err(e),
        }
    }
    if std::io::stderr().is_terminal() {
        complain(&format!("waiting for another run that writes in {}", folder.display()));
    }
    file.lock()?;
    Ok(file)
}
