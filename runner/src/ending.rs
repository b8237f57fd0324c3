//! The end of a program that is told to end by Ctrl-C, by SIGTERM or with its terminal: children are
//! ended, what is temporary is removed, and the program ends by that same signal, which its exit
//! status says. A second Ctrl-C waits for nothing.
//!
//! Programs call [`prepare`]; libraries do not. Nothing is set up before something temporary is
//! made, so that other calls pay nothing and end as they always do. On Windows the system's own end
//! is all there is.

use std::io;
use std::path::Path;
use std::process::{Child, Command, ExitStatus};

use loom_core::file;

/// Has this program clean up when it is told to end.
pub fn prepare() {
    #[cfg(unix)]
    file::before_temporaries(unix::arm);
}

/// A folder for what is needed during a call; removed with all that is in it.
#[derive(Debug)]
pub struct Scratch {
    folder: tempfile::TempDir,
    _listed: file::Listed,
}

impl Scratch {
    /// Makes one where the system wants temporary files.
    ///
    /// # Errors
    /// What the system says.
    pub fn new() -> io::Result<Self> {
        let (_listed, folder) =
            file::listed(|| tempfile::tempdir().map(|folder| (folder.path().to_path_buf(), folder)))?;
        Ok(Self { folder, _listed })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.folder.path()
    }
}

/// Runs a program that works in a [`Scratch`], and `watch` beside it; it and what it has started end with this one.
///
/// # Errors
/// When it cannot be started.
pub fn status(command: &mut Command, watch: impl FnOnce(&mut Child)) -> io::Result<ExitStatus> {
    #[cfg(unix)]
    return unix::status(command, watch);
    #[cfg(not(unix))]
    {
        let mut child = command.spawn()?;
        watch(&mut child);
        child.wait()
    }
}

#[cfg(unix)]
mod unix {
    use std::collections::BTreeSet;
    use std::os::unix::process::CommandExt as _;
    use std::sync::atomic::AtomicBool;
    use std::sync::{Arc, Mutex, Once, PoisonError};
    use std::time::{Duration, Instant};

    use nix::sys::signal::{Signal, killpg};
    use nix::unistd::Pid;
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    use signal_hook::{flag, iterator::Signals, low_level};

    use super::{Child, Command, ExitStatus, file, io};

    /// Children, each the first of a process group.
    static CHILDREN: Mutex<BTreeSet<u32>> = Mutex::new(BTreeSet::new());

    /// How long killed children may take to be gone.
    const PATIENCE: Duration = Duration::from_secs(2);

    pub(super) fn status(command: &mut Command, watch: impl FnOnce(&mut Child)) -> io::Result<ExitStatus> {
        command.process_group(0);
        let children = || CHILDREN.lock().unwrap_or_else(PoisonError::into_inner);
        let mut child = {
            let mut children = children();
            let child = command.spawn()?;
            children.insert(child.id());
            child
        };
        watch(&mut child);
        let ended = child.wait();
        children().remove(&child.id());
        ended
    }

    /// The signals that end a program, but for those that it was started to ignore, as `nohup` does.
    fn heeded() -> Vec<i32> {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let mask = status.lines().find_map(|line| u64::from_str_radix(line.strip_prefix("SigIgn:")?.trim(), 16).ok());
        match mask {
            Some(mask) => {
                [SIGINT, SIGTERM, SIGHUP].into_iter().filter(|signal| mask >> (signal - 1) & 1 == 0).collect()
            }
            // Where that cannot be known, the one that is ignored most is left alone.
            None => vec![SIGINT, SIGTERM],
        }
    }

    pub(super) fn arm() {
        static ONCE: Once = Once::new();
        ONCE.call_once(|| {
            let heeded = heeded();
            if heeded.contains(&SIGINT) {
                let again = Arc::new(AtomicBool::new(false));
                let _ = flag::register_conditional_default(SIGINT, Arc::clone(&again));
                let _ = flag::register(SIGINT, again);
            }
            // Without a thread for them the signals must stay what they are.
            if let Ok(mut signals) = Signals::new(&heeded) {
                let wait = move || signals.forever().for_each(end);
                let _ = std::thread::Builder::new().name("signals".into()).spawn(wait);
            }
        });
    }

    fn end(signal: i32) {
        // Neither lock is given back: nothing is started, put in its place or reported any more.
        let children = CHILDREN.lock().unwrap_or_else(PoisonError::into_inner);
        let alive = |child: &u32| {
            i32::try_from(*child).is_ok_and(|child| killpg(Pid::from_raw(child), Signal::SIGKILL).is_ok())
        };
        let start = Instant::now();
        while children.iter().filter(|child| alive(child)).count() > 0 && start.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(1));
        }
        file::abandon();
        let _ = low_level::emulate_default_handler(signal);
        std::process::exit(128 + signal);
    }
}
