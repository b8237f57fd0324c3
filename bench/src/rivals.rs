//! Other libraries' products, timed by a script in Python.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context as _, bail};
use loom_core::Dtype;

/// A process that runs other libraries' products.
pub(crate) struct Rivals {
    child: Child,
    ask: ChildStdin,
    answers: BufReader<ChildStdout>,
    /// Versions by library.
    pub(crate) installed: BTreeMap<String, String>,
}

impl Rivals {
    /// Starts the script and asks what is installed.
    pub(crate) fn start(python: &Path, script: &Path, threads: usize) -> anyhow::Result<Self> {
        let threads = threads.to_string();
        let mut child = Command::new(python)
            .arg(script)
            .envs([("OPENBLAS_NUM_THREADS", &threads), ("BENCH_THREADS", &threads), ("GOMAXPROCS", &threads)])
            // Settings for old BLAS builds would slow a current one.
            .env_remove("OPENBLAS_CORETYPE")
            .env_remove("OPENBLAS_L2_SIZE")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}; give --python or BEDROCK_PYTHON", python.display()))?;
        let (Some(ask), Some(answers)) = (child.stdin.take(), child.stdout.take()) else { bail!("no pipes") };
        let mut rivals = Self { child, ask, answers: BufReader::new(answers), installed: BTreeMap::new() };
        rivals.installed = serde_json::from_str(&rivals.line()?)?;
        Ok(rivals)
    }

    fn line(&mut self) -> anyhow::Result<String> {
        let mut line = String::new();
        if self.answers.read_line(&mut line)? == 0 {
            bail!("the process of the rivals ended early");
        }
        Ok(line)
    }

    /// Seconds of one product, unless the library is not installed.
    pub(crate) fn run(&mut self, name: &str, shape: [usize; 3], dtype: Dtype) -> anyhow::Result<Option<f64>> {
        let [rows, outs, depth] = shape;
        self.ask_for(&format!("{name} {rows} {outs} {depth} {}", dtype as u8))
    }

    /// Seconds of what a line asks for.
    pub(crate) fn ask_for(&mut self, line: &str) -> anyhow::Result<Option<f64>> {
        writeln!(self.ask, "{line}")?;
        self.ask.flush()?;
        Ok(serde_json::from_str(&self.line()?)?)
    }
}

impl Drop for Rivals {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
