//! `bedrock verify`.

use anyhow::bail;
use clap::Args;
use loom_bedrocks::BEDROCKS;

use crate::places::{End, Folders, Mistake, Places, print};
use crate::stages::{golden, plan, report};

/// Check every golden file against its index, without Python.
#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// Where things lie.
    #[command(flatten)]
    folders: Folders,
}

pub(crate) fn run(args: &VerifyArgs) -> anyhow::Result<End> {
    let places = Places::find(&args.folders)?;
    let cases = plan::all(&places.load(&[])?).map_err(Mistake::of)?;
    let needed = golden::needed(&cases);
    let mut problems = golden::load(&places.golden, &cases).err().unwrap_or_default();
    problems.extend(golden::strays(&places.golden, &BEDROCKS, &needed));
    problems.extend(report::stale(&places.reports)?.map(|what| format!("{what}; render it: bedrock render")));
    if !problems.is_empty() {
        bail!("{}", problems.join("\n"));
    }
    print(&format!("{} golden files are what their indexes say", needed.len()))?;
    Ok(End::Green)
}
