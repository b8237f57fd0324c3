//! `bedrock drift`.

use clap::Args;

use super::dump::{self, PythonArgs};
use crate::bless;
use crate::places::{End, Folders, Places, print, print_lines};

/// Dump planets into a temporary folder and compare with the goldens; changes nothing.
#[derive(Debug, Args)]
pub(crate) struct DriftArgs {
    /// Bedrocks; all when absent.
    bedrocks: Vec<String>,
    /// A planet, or `fixture`; may be given several times.
    #[arg(long, value_name = "ID", required = true)]
    planet: Vec<String>,
    /// How Python is run.
    #[command(flatten)]
    python: PythonArgs,
    /// Where things lie.
    #[command(flatten)]
    folders: Folders,
}

pub(crate) fn run(args: &DriftArgs) -> anyhow::Result<End> {
    let places = Places::find(&args.folders)?;
    let manifests = places.load(&args.bedrocks)?;
    let mut drifted = 0;
    dump::each(&places, &manifests, &args.planet, &args.python, true, |manifest, planet, dumped| {
        let lines = bless::drift(&places.golden, manifest, planet, &args.python.model, dumped)?;
        drifted += lines.len();
        print_lines(&lines)
    })?;
    print(&format!("{drifted} array{} drifted", if drifted == 1 { "" } else { "s" }))?;
    Ok(if drifted == 0 { End::Green } else { End::Red })
}
