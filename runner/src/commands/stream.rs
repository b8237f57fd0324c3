//! `bedrock stream`.

use clap::Args;

use crate::places::End;
use crate::stream;

/// Make an `.entity` of a live model and run it, as `loom-stream` does.
///
/// Reads one JSON document from standard input: the envelope with the layer stream of a bedrock.
/// With --npz, weights are arrays in a file and the manifest says what they belong to.
#[derive(Debug, Args)]
pub(crate) struct StreamCallArgs {
    /// The options that `loom-stream` has.
    #[command(flatten)]
    call: stream::StreamArgs,
}

pub(crate) fn run(args: &StreamCallArgs) -> anyhow::Result<End> {
    Ok(if stream::run(&args.call, args.call.opener()) { End::Green } else { End::Red })
}
