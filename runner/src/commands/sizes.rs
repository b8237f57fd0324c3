//! `bedrock sizes`.

use clap::Args;

use crate::places::{End, Folders, Mistake, Places, print};
use crate::render::{self, terminal};
use crate::stages::manifest::lucy::Lucy;
use crate::{sizes, write_atomically};

/// Build the stacks of lucy.yaml in every dtype and write reports/sizes.md: what they take in
/// memory and in every checkpoint format.
#[derive(Debug, Args)]
pub(crate) struct SizesArgs {
    /// Where things lie.
    #[command(flatten)]
    folders: Folders,
}

pub(crate) fn run(args: &SizesArgs) -> anyhow::Result<End> {
    let places = Places::find(&args.folders)?;
    let lucy = Lucy::load(&places.manifests).map_err(Mistake::of)?;
    let bar = terminal::bar(lucy.suites.len() * lucy.dtypes.len());
    let sizes = sizes::measure(&lucy, &|| bar.inc(1))?;
    bar.finish_and_clear();
    let path = places.reports.join("sizes.md");
    write_atomically(&path, render::sizes::render(&lucy, &sizes).as_bytes())?;
    let rows = sizes.iter().map(Vec::len).sum::<usize>();
    print(&format!("{}: {} stacks, {rows} rows", path.display(), sizes.len()))?;
    Ok(End::Green)
}
