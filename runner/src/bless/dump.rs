//! Runs `python -m planetbridging.dump`, and says what it says when it fails.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};

use anyhow::{Context as _, anyhow};
use glob::Pattern;

use crate::ending;
use crate::stages::manifest::Manifest;

/// The exit statuses of the dump, beside 0.
const FAILED: i32 = 1;
const MISTAKE: i32 = 2;
const PACKAGES: i32 = 3;

/// What is dumped, and by whom.
pub(crate) struct Dump<'a> {
    /// The Python that has the planet installed.
    pub python: &'a Path,
    /// The folder of the package `planetbridging`.
    pub package: &'a Path,
    /// The folder of the manifests.
    pub manifests: &'a Path,
    /// A planet, or `fixture`.
    pub planet: &'a str,
    /// The bedrocks.
    pub bedrocks: &'a [&'a Manifest],
    /// The models.
    pub models: &'a Pattern,
    /// Whether packages may be of other versions than pinned: not for what is to be accepted.
    pub any_version: bool,
}

impl Dump<'_> {
    /// Dumps into a folder. What the dump prints goes to stderr as it comes.
    ///
    /// # Errors
    /// When Python cannot be started or the dump fails: with the dump's own last line where it
    /// is a message of its, which then names the package, the mistake or the model.
    pub(crate) fn run(&self, out: &Path) -> anyhow::Result<()> {
        let Dump { python, planet, .. } = *self;
        let mut command = Command::new(python);
        command.args(["-m", "planetbridging.dump", "--planet", planet, "--manifests"]).arg(self.manifests);
        command.arg("--out").arg(out).args(["--model", self.models.as_str()]);
        for bedrock in self.bedrocks {
            command.args(["--bedrock", &bedrock.bedrock]);
        }
        if self.any_version {
            command.arg("--any-version");
        }
        command.env("PYTHONPATH", self.package).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut last = Vec::new();
        let status = ending::status(&mut command, |child| {
            let Some(stderr) = child.stderr.take() else { return };
            let mut lines = BufReader::new(stderr);
            let mut line = Vec::new();
            while lines.read_until(b'\n', &mut line).unwrap_or(0) > 0 {
                // The last line is held back: it may be the message of the error.
                let _ = std::io::stderr().write_all(&last);
                last = std::mem::take(&mut line);
            }
        })
        .with_context(|| format!("cannot start {}; give --python or BEDROCK_PYTHON", python.display()))?;
        let said = String::from_utf8_lossy(&last).trim_end().to_string();
        if status.success() {
            let _ = std::io::stderr().write_all(&last);
            return Ok(());
        }
        let message = self.failure(status, &said);
        if !message.contains(&said) {
            let _ = std::io::stderr().write_all(&last);
        }
        Err(anyhow!(message))
    }

    /// One sentence for a dump that failed with `status` after printing `said`.
    fn failure(&self, status: ExitStatus, said: &str) -> String {
        let planet = self.planet;
        // The fixtures need NumPy and scikit-learn's digits.
        let needs = if planet == "fixture" { "sklearn" } else { planet };
        let pip = format!("{} -m pip install -r python/requirements/{needs}.txt", self.python.display());
        let own = format!("the dump of {planet} ");
        let absent = said.strip_prefix("ModuleNotFoundError: No module named ").map(|name| name.trim_matches('\''));
        match (status.code(), absent) {
            (Some(FAILED), _) if said.starts_with(&own) => said.into(),
            (Some(MISTAKE), _) if !said.is_empty() => format!("the dump of {planet} refuses: {said}"),
            (Some(PACKAGES), _) if !said.is_empty() => said.into(),
            (Some(FAILED), _) if said.starts_with("ImportError: the extension module") => {
                let pip = format!("{} -m pip install -e ./python", self.python.display());
                format!(
                    "the dump of {planet} cannot start: the extension module of planetbridging cannot be loaded; {pip}"
                )
            }
            // Python ends so where what the package itself imports is missing.
            (Some(FAILED), Some(name)) if !name.starts_with("planetbridging") => {
                format!("the dump of {planet} cannot start: {name} is not installed; {pip}")
            }
            (Some(_), _) => format!("the dump of {planet} failed ({status}); what it printed is above"),
            (None, _) => format!("the dump of {planet} was ended ({status}) after printing {said:?}"),
        }
    }
}
