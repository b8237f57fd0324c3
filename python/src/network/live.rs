//! What runs of a network, and what it keeps: across threads, and across forks.

use std::process;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use loom_core::{Network, State};
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

use super::{PyNetwork, wrong};
use crate::work;

/// What runs, in the process that it was made in.
pub(super) struct Live {
    owner: u32,
    pub(super) network: Arc<Network>,
    /// The pieces of work on the network.
    busy: Arc<AtomicUsize>,
    pub(super) kept: Kept,
    /// Counts the calls that took `kept` out.
    calls: u64,
}

impl Live {
    pub(super) fn of(network: Network) -> Self {
        Live { owner: process::id(), network: Arc::new(network), busy: Arc::default(), kept: Kept::fresh(), calls: 0 }
    }
}

/// What survives from one call of `decode` to the next.
pub(super) enum Kept {
    Here(Box<State>),
    /// With the call of this number.
    Out(u64),
    /// Gone, and why.
    Lost(&'static str),
}

impl Kept {
    pub(super) fn fresh() -> Self {
        Kept::Here(Box::default())
    }
}

/// A network to work on, for as long as this lives.
pub(super) struct Work {
    pub(super) network: Arc<Network>,
    busy: Arc<AtomicUsize>,
}

impl Drop for Work {
    fn drop(&mut self) {
        self.busy.fetch_sub(1, Ordering::Release);
    }
}

impl PyNetwork {
    pub(super) fn live(&self, _held: Python<'_>) -> MutexGuard<'_, Live> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The network, made anew in a forked child where the parent was at work on it: what a thread was
    /// about to fill in would never be filled in.
    pub(super) fn work(&self, py: Python<'_>) -> PyResult<Work> {
        let forked = {
            let mut live = self.live(py);
            if live.busy.load(Ordering::Acquire) == 0 {
                live.owner = process::id();
            }
            live.owner != process::id()
        };
        if forked {
            let checkpoint = Arc::clone(&self.checkpoint);
            let network = work::run(py, move || checkpoint.network())?.map_err(wrong)?;
            let mut live = self.live(py);
            if live.owner != process::id() {
                let used = |state: &State| state.widest() > 0;
                let kept = match &live.kept {
                    Kept::Here(state) if !used(state) => Kept::fresh(),
                    _ => Kept::Lost("the process was forked while the network was at work"),
                };
                *live = Live { kept, ..Live::of(network) };
            }
        }
        let live = self.live(py);
        live.busy.fetch_add(1, Ordering::AcqRel);
        Ok(Work { network: Arc::clone(&live.network), busy: Arc::clone(&live.busy) })
    }

    /// Takes out what `decode` keeps; waits while another thread has it.
    pub(super) fn take(&self, py: Python<'_>) -> PyResult<(Box<State>, u64)> {
        loop {
            {
                let mut live = self.live(py);
                let call = live.calls + 1;
                match std::mem::replace(&mut live.kept, Kept::Out(call)) {
                    Kept::Here(state) => {
                        live.calls = call;
                        return Ok((state, call));
                    }
                    Kept::Lost(why) => {
                        live.kept = Kept::Lost(why);
                        return Err(PyRuntimeError::new_err(format!(
                            "what decode had kept is lost: {why}; call reset() and give the sequence from its start"
                        )));
                    }
                    other => live.kept = other,
                }
            }
            py.detach(|| std::thread::sleep(Duration::from_millis(1)));
            py.check_signals()?;
        }
    }

    /// Puts back what a call took out, unless it was reset meanwhile.
    pub(super) fn put(&self, py: Python<'_>, call: u64, kept: Kept) {
        let mut live = self.live(py);
        if matches!(live.kept, Kept::Out(current) if current == call) {
            live.kept = kept;
        }
    }

    pub(super) fn copy(&self, py: Python<'_>) -> PyResult<Self> {
        let work = self.work(py)?;
        let live = self.live(py);
        let kept = match &live.kept {
            Kept::Here(state) => Kept::Here(state.clone()),
            Kept::Out(_) => Kept::Lost("the network was copied while another thread was decoding"),
            Kept::Lost(why) => Kept::Lost(why),
        };
        let live = Live {
            owner: live.owner,
            network: Arc::clone(&work.network),
            busy: Arc::clone(&live.busy),
            kept,
            calls: 0,
        };
        Ok(Self { checkpoint: Arc::clone(&self.checkpoint), format: self.format, live: Mutex::new(live) })
    }
}
