//! `loom-stream`: a live model in, as JSON on standard input or as arrays in a file; an `.entity`
//! and what it computes out. A drop-in for the binary of the original bridge.

use std::process::ExitCode;

/// musl's own allocator maps and unmaps pages at almost every array.
#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

fn main() -> ExitCode {
    loom_runner::ending::prepare();
    loom_runner::stream::main(std::env::args_os())
}
