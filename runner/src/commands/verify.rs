//! `bedrock verify`.

use std::path::{Path, PathBuf};

use anyhow::bail;
use clap::Args;
use loom_bedrocks::{BEDROCKS, npz};

use crate::places::{End, Folders, Mistake, Places, print};
use crate::stages::golden::{self, FileId, Goldens};
use crate::stages::{plan, report};
use crate::write_atomically;

/// Check every golden file against its index, without Python.
#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// Also write every golden file here with all its arrays whole, for numpy.load.
    #[arg(long, value_name = "DIR")]
    whole: Option<PathBuf>,
    /// Where things lie.
    #[command(flatten)]
    folders: Folders,
}

pub(crate) fn run(args: &VerifyArgs) -> anyhow::Result<End> {
    let places = Places::find(&args.folders)?;
    let cases = plan::all(&places.load(&[])?).map_err(Mistake::of)?;
    let needed = golden::needed(&cases);
    let (goldens, mut problems) = match golden::load(&places.golden, &cases) {
        Ok(goldens) => (goldens, Vec::new()),
        Err(problems) => (Goldens::default(), problems),
    };
    problems.extend(golden::strays(&places.golden, &BEDROCKS, &needed));
    problems.extend(report::stale(&places.reports)?.map(|what| format!("{what}; render it: bedrock render")));
    if !problems.is_empty() {
        bail!("{}", problems.join("\n"));
    }
    print(&format!("{} golden files are what their indexes say", needed.len()))?;
    if let Some(folder) = &args.whole {
        write_whole(folder, &places.golden, &needed, &goldens)?;
        print(&format!("{} files written below {}", needed.len(), folder.display()))?;
    }
    Ok(End::Green)
}

fn write_whole(folder: &Path, golden: &Path, files: &[FileId], goldens: &Goldens) -> anyhow::Result<()> {
    let golden = golden.canonicalize()?;
    // What is not there yet lies where the nearest folder above it does.
    let lies = |path: &Path| path.ancestors().find_map(|path| path.canonicalize().ok());
    let among = |path: &Path| lies(path).is_some_and(|path| path.starts_with(&golden));
    let folder = &std::path::absolute(folder)?;
    if among(folder) || BEDROCKS.iter().any(|bedrock| among(&folder.join(bedrock))) {
        bail!(Mistake(format!("--whole {}: is among the goldens, which are kept packed", folder.display())));
    }
    for id in files {
        let Some(arrays) = goldens.file(id) else { bail!("{}: was not loaded", id.path) };
        write_atomically(&folder.join(&id.bedrock).join(&id.path), &npz::write(arrays)?)?;
    }
    Ok(())
}
