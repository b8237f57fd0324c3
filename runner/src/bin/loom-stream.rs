//! `loom-stream`: a live model in, as JSON on standard input or as arrays in a file; an `.entity`
//! and what it computes out. A drop-in for the binary of the original bridge.

use std::process::ExitCode;

fn main() -> ExitCode {
    loom_runner::stream::main(std::env::args_os())
}
