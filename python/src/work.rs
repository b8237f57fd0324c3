//! Where long work runs: on threads that belong to this process, while the calling thread listens for
//! signals.
//!
//! A forked child inherits a pool whose threads do not exist there; it gets a pool of its own.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};

/// How often the calling thread looks for signals.
const PERIOD: Duration = Duration::from_millis(50);
/// What a main thread has: networks nest.
const STACK: usize = 8 << 20;

/// The pool and the process that it belongs to. Locked only while the interpreter is held, which a
/// fork holds too: no child finds it locked.
static POOL: Mutex<Option<(u32, Arc<ThreadPool>)>> = Mutex::new(None);

fn pool(_held: Python<'_>) -> PyResult<Arc<ThreadPool>> {
    let mut slot = POOL.lock().unwrap_or_else(PoisonError::into_inner);
    match slot.as_ref() {
        Some((owner, pool)) if *owner == process::id() => return Ok(Arc::clone(pool)),
        _ => {}
    }
    let fresh = ThreadPoolBuilder::new().stack_size(STACK).thread_name(|i| format!("loom-{i}")).build();
    let fresh = fresh.map_err(|e| PyRuntimeError::new_err(format!("the threads of Loom cannot be started: {e}")))?;
    let fresh = Arc::new(fresh);
    // The parent's pool is not dropped: that would wait for threads that are not here.
    std::mem::forget(slot.replace((process::id(), Arc::clone(&fresh))));
    Ok(fresh)
}

/// Leaves a pool to the work that nobody waits for any more.
fn abandon(_held: Python<'_>, pool: &Arc<ThreadPool>) {
    let mut slot = POOL.lock().unwrap_or_else(PoisonError::into_inner);
    slot.take_if(|(_, current)| Arc::ptr_eq(current, pool));
}

/// Does `job` with the interpreter released. A signal whose handler raises ends the wait: the job, which
/// owns all that it works on, then ends by itself and its result is dropped.
///
/// # Errors
/// What the handler raised; RuntimeError where the job panicked.
pub(crate) fn run<T: Send + 'static>(py: Python<'_>, job: impl FnOnce() -> T + Send + 'static) -> PyResult<T> {
    let (pool, owner) = (pool(py)?, process::id());
    let (done, mut waiting) = sync_channel(1);
    pool.spawn(move || {
        // Nobody may be waiting any more.
        let _ = done.send(catch_unwind(AssertUnwindSafe(job)));
    });
    loop {
        let (answer, receiver) = py.detach(move || (waiting.recv_timeout(PERIOD), waiting));
        waiting = receiver;
        match answer {
            Ok(Ok(result)) => return Ok(result),
            Ok(Err(panic)) => return Err(internal(said(&*panic))),
            Err(RecvTimeoutError::Disconnected) => return Err(internal("a thread has gone")),
            Err(RecvTimeoutError::Timeout) => {
                py.check_signals().inspect_err(|_| abandon(py, &pool))?;
                if process::id() != owner {
                    std::mem::forget(pool);
                    return Err(PyRuntimeError::new_err(
                        "a signal handler forked amid this call; it ends in the parent",
                    ));
                }
            }
        }
    }
}

fn internal(what: &str) -> PyErr {
    PyRuntimeError::new_err(format!("an error inside Loom, please report it: {what}"))
}

fn said(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic without words")
}
