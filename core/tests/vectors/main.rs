//! Runs what was recorded from the real Loom 0.80.
//!
//! The folder is named by `LOOM_VECTORS` (default `golden/loom-0.80`). `layers` runs the
//! forward vectors in f32; `dtypes` the quantiser and decode vectors, the forwards and native
//! codes of every layer kind in every type, and training in storage types; `entity` every
//! checkpoint, and the damaged ones.
//!
//! A vector that depends on a defect of the original is skipped by the name of that quirk, and
//! its output must then differ, so that a skip cannot hide a pass.

mod common;
mod dtypes;
mod entity;
mod layers;
mod training;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use common::Tally;

/// A group of vectors.
type Group = fn(&Path) -> Result<Tally, String>;

const GROUPS: [(&str, Group); 3] = [("layers", layers::run), ("dtypes", dtypes::run), ("entity", entity::run)];

fn main() -> ExitCode {
    // nextest lists tests before it runs them; each group is one test.
    let args: Vec<String> = std::env::args().collect();
    if args.iter().any(|a| a == "--list") {
        if !args.iter().any(|a| a == "--ignored") {
            GROUPS.iter().for_each(|(name, _)| println!("{name}: test"));
        }
        return ExitCode::SUCCESS;
    }
    let named = |name: &str| args.iter().any(|a| a == name);
    let any = GROUPS.iter().any(|(name, _)| named(name));
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    // Cargo runs tests in the package's folder; people mean the project's.
    let folder = std::env::var_os("LOOM_VECTORS").map_or_else(|| PathBuf::from("golden/loom-0.80"), PathBuf::from);
    let folder = if folder.exists() { folder } else { root.join(folder) };
    let mut green = true;
    for (name, run) in GROUPS.into_iter().filter(|(name, _)| !any || named(name)) {
        match run(&folder) {
            Ok(Tally { passed, failed, skipped }) => {
                println!("{name}: {passed} passed, {failed} failed, {skipped} skipped");
                green &= failed == 0 && passed > 0;
            }
            Err(what) => {
                eprintln!("{what}");
                green = false;
            }
        }
    }
    if green { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
