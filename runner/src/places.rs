//! Where a call finds things and says things.

use std::io::Write as _;
use std::path::PathBuf;

use anyhow::{Context as _, bail};
use clap::Args;
use loom_bedrocks::BEDROCKS;

use crate::plain::plain;
use crate::stages::manifest::{self, Manifests, unknown};

/// How a call ended, where it did not go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Everything is as it should be.
    Green,
    /// Something is red.
    Red,
}

/// A mistake of the user: exit status 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Mistake(pub String);

impl Mistake {
    /// The mistake that an error tells.
    #[must_use]
    pub fn of(error: impl std::error::Error) -> Self {
        Self(error.to_string())
    }
}

/// Prints to standard output, without what a terminal would obey. A reader that goes
/// away, as `head` does, changes no verdict.
///
/// # Errors
/// When it cannot be written for another reason.
pub fn print(text: &str) -> anyhow::Result<()> {
    print_styled(&plain(text))
}

/// As [`print()`], of text that has colours of ours and nothing of a file.
///
/// # Errors
/// As [`print()`].
pub(crate) fn print_styled(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    let end = if text.ends_with('\n') { "" } else { "\n" };
    match out.write_all(text.as_bytes()).and_then(|()| out.write_all(end.as_bytes())).and_then(|()| out.flush()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        written => Ok(written?),
    }
}

/// Prints to standard error, with nothing that a terminal obeys. That it is closed or full changes nothing.
pub fn complain(text: &str) {
    let text = plain(text);
    let end = if text.ends_with('\n') { "" } else { "\n" };
    let _ = std::io::stderr().lock().write_all(format!("{text}{end}").as_bytes());
}

/// Where things lie.
#[derive(Clone, Debug, Default, Args)]
pub struct Folders {
    /// Folder of manifests [default: manifests of the nearest project above].
    #[arg(long, value_name = "DIR", global = true)]
    pub manifests: Option<PathBuf>,
    /// Folder of goldens [default: golden of the same project].
    #[arg(long, value_name = "DIR", global = true)]
    pub golden: Option<PathBuf>,
    /// Folder of reports [default: reports of the same project].
    #[arg(long, value_name = "DIR", global = true)]
    pub reports: Option<PathBuf>,
}

/// The folders of a call, found.
#[derive(Debug)]
pub struct Places {
    /// The project.
    pub root: PathBuf,
    /// Manifests.
    pub manifests: PathBuf,
    /// Goldens.
    pub golden: PathBuf,
    /// Reports.
    pub reports: PathBuf,
}

impl Places {
    /// Folders that are not named belong to the nearest project at or above the working folder.
    ///
    /// # Errors
    /// A [`Mistake`] when there is no project.
    pub fn find(folders: &Folders) -> anyhow::Result<Self> {
        let here = std::env::current_dir().context("the working folder is gone")?;
        let root = here.ancestors().find(|folder| folder.join("manifests/_defaults.yaml").is_file());
        let root = match (root, &folders.manifests, &folders.golden) {
            (Some(root), ..) => root.to_path_buf(),
            (None, Some(_), Some(_)) => here,
            _ => bail!(Mistake(format!(
                "no manifests/_defaults.yaml in {} or above it; go to the project, or give --manifests and --golden",
                here.display()
            ))),
        };
        // Paths in messages are relative where the call is made in the project itself.
        let root = if root == std::path::absolute(".").unwrap_or_default() { PathBuf::new() } else { root };
        let or = |folder: &Option<PathBuf>, name: &str| folder.clone().unwrap_or_else(|| root.join(name));
        Ok(Self {
            manifests: or(&folders.manifests, "manifests"),
            golden: or(&folders.golden, "golden"),
            reports: or(&folders.reports, "reports"),
            root,
        })
    }

    /// Those of the project at or above the working folder.
    ///
    /// # Errors
    /// As [`Places::find`].
    pub fn here() -> anyhow::Result<Self> {
        Self::find(&Folders::default())
    }

    /// Reads the manifests of `bedrocks`, or all.
    ///
    /// # Errors
    /// A [`Mistake`]: an unknown bedrock, or what is wrong with the manifests.
    pub fn load(&self, bedrocks: &[String]) -> anyhow::Result<Manifests> {
        if let Some(id) = bedrocks.iter().find(|id| !BEDROCKS.contains(&id.as_str())) {
            bail!(Mistake::of(unknown("bedrock", id, BEDROCKS.into_iter())));
        }
        manifest::load(&self.manifests, bedrocks).map_err(|e| Mistake::of(e).into())
    }
}

/// The first problems, and how many more there are.
#[must_use]
pub(crate) fn first_of(problems: &[String]) -> String {
    const SHOWN: usize = 8;
    let mut text = problems.iter().take(SHOWN).cloned().collect::<Vec<_>>().join("\n");
    if problems.len() > SHOWN {
        text.push_str(&format!("\n… and {} more; `bedrock verify` lists them all", problems.len() - SHOWN));
    }
    text
}

/// Prints lines, if there are any.
///
/// # Errors
/// When standard output cannot be written.
pub(crate) fn print_lines(lines: &[String]) -> anyhow::Result<()> {
    if lines.is_empty() { Ok(()) } else { print(&lines.join("\n")) }
}
