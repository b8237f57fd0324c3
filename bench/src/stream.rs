//! `bedrock bench stream`: what a call of `loom-stream` costs, beside the original's binary.
//!
//! The recorded requests of the manifest models, and dense layers made for the purpose. Both programs get the
//! same bytes on standard input, in turn, a few calls at a time, each in a folder of its own; medians of
//! wall and processor time, and the largest resident size. A process that does nothing else starts
//! the calls and reads those off.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, bail};
use comfy_table::CellAlignment;
use flate2::read::GzDecoder;
use loom_core::SplitMix64;
use serde::{Deserialize, Serialize};

use crate::{centred, median, table};

/// What to measure.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The folder of recorded requests.
    pub vectors: PathBuf,
    /// Our program.
    pub ours: PathBuf,
    /// The original's; without it ours stands alone.
    pub original: Option<PathBuf>,
    /// Turns of both programs with each request.
    pub pairs: usize,
}

/// What one call took.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Cost {
    wall_seconds: f64,
    cpu_seconds: f64,
    peak_kib: f64,
}

/// The programs' folders.
const PROGRAMS: [&str; 2] = ["ours", "original"];

/// Extents of the dense layers that are made, with 4 rows of inputs.
const SQUARES: [usize; 4] = [256, 512, 1024, 2048];

/// Runs `program` a few times on this process's standard input, a file, and prints what the calls
/// took. A peak is no less than that of this process.
///
/// # Errors
/// When the program cannot be run or refuses the request.
pub fn job(program: &Path) -> anyhow::Result<String> {
    #[cfg(unix)]
    {
        use nix::sys::resource::{UsageWho, getrusage};
        use nix::sys::time::TimeValLike as _;
        use std::io::Seek as _;
        use std::os::fd::AsFd as _;
        // In a row, after one that warms what starts them.
        const CALLS: usize = 5;
        let mut request = File::from(std::io::stdin().as_fd().try_clone_to_owned()?);
        let (mut costs, mut used) = (Vec::new(), 0);
        for _ in 0..=CALLS {
            request.rewind()?;
            let start = Instant::now();
            let status = Command::new(program).stdout(Stdio::null()).status().context("cannot start the program")?;
            let wall_seconds = start.elapsed().as_secs_f64();
            if !status.success() {
                bail!("{}: {status}", program.display());
            }
            let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
            let micros = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
            let cpu_seconds = (micros - std::mem::replace(&mut used, micros)) as f64 / 1e6;
            costs.push(Cost { wall_seconds, cpu_seconds, peak_kib: usage.max_rss() as f64 });
        }
        Ok(serde_json::to_string(&costs[1..])?)
    }
    #[cfg(not(unix))]
    bail!("{}: processor time and memory of a call are read on Unix only", program.display())
}

/// Measures, and shows a table. `scratch` is an empty folder; `progress` is told how many requests of all are
/// done.
///
/// # Errors
/// When a program cannot be run, or refuses a request.
pub fn stream(plan: &Plan, scratch: &Path, progress: &dyn Fn(usize, usize)) -> anyhow::Result<String> {
    let requests = requests(plan, scratch)?;
    let all = requests.len();
    let rival = ["original ms", "wall ×", "CPU ×", "original MiB", "memory ×"];
    let head = ["request", "KiB", "ours ms", "ours CPU ms", "ours MiB"];
    let shown = if plan.original.is_some() { &rival[..] } else { &[] };
    let mut table = table(&[&head[..], shown].concat());
    table.column_iter_mut().skip(1).for_each(|column| column.set_cell_alignment(CellAlignment::Right));
    let [mut recorded, mut made] = [Vec::new(), Vec::new()];
    for (i, (name, path)) in requests.into_iter().enumerate() {
        let size = path.metadata()?.len();
        // A large request says enough in few calls.
        let pairs = if size > 1 << 24 { plan.pairs.min(3) } else { plan.pairs };
        let [ours, original] = measured(plan, &path, scratch, pairs)?;
        let Some(ours) = ours else { bail!("nothing was measured") };
        let mut row = vec![
            name,
            format!("{}", size.div_ceil(1024)),
            format!("{:.1}", 1e3 * ours.wall_seconds),
            format!("{:.1}", 1e3 * ours.cpu_seconds),
            format!("{:.1}", ours.peak_kib / 1024.0),
        ];
        if let Some(original) = original {
            let ratio = |of: fn(&Cost) -> f64| of(&original) / of(&ours);
            let [wall, cpu, memory] = [ratio(|c| c.wall_seconds), ratio(|c| c.cpu_seconds), ratio(|c| c.peak_kib)];
            if size < 1 << 20 { &mut recorded } else { &mut made }.push(wall);
            row.extend([
                format!("{:.1}", 1e3 * original.wall_seconds),
                format!("{wall:.1}"),
                format!("{cpu:.1}"),
                format!("{:.1}", original.peak_kib / 1024.0),
                format!("{memory:.1}"),
            ]);
        }
        table.add_row(row);
        progress(i + 1, all);
    }
    let end = match recorded.is_empty() {
        true => "--original FILE sets the original's loom-stream beside it\n".to_string(),
        false => format!(
            "median of the wall ratios: {:.1} of recorded requests, {:.1} of large layers\n",
            median(recorded),
            median(made)
        ),
    };
    Ok(format!("{table}\n{end}"))
}

/// The medians of both programs on one request, and the largest of the peaks.
fn measured(plan: &Plan, request: &Path, folder: &Path, pairs: usize) -> anyhow::Result<[Option<Cost>; 2]> {
    let programs = [Some(&plan.ours), plan.original.as_ref()];
    let mut costs: [Vec<Cost>; 2] = Default::default();
    for _ in 0..pairs {
        for ((name, program), costs) in PROGRAMS.iter().zip(programs).zip(&mut costs) {
            if let Some(program) = program {
                costs.extend(calls(program, request, &folder.join(name))?);
            }
        }
    }
    Ok(costs.map(|costs| {
        let of = |field: fn(&Cost) -> f64| costs.iter().map(field).collect::<Vec<f64>>();
        (!costs.is_empty()).then(|| Cost {
            wall_seconds: median(of(|c| c.wall_seconds)),
            cpu_seconds: median(of(|c| c.cpu_seconds)),
            peak_kib: of(|c| c.peak_kib).into_iter().fold(0.0, f64::max),
        })
    }))
}

fn calls(program: &Path, request: &Path, folder: &Path) -> anyhow::Result<Vec<Cost>> {
    let output = Command::new(std::env::current_exe()?)
        .args(["bench", "stream", "--job"])
        .arg(program)
        .current_dir(folder)
        .stdin(File::open(request)?)
        .output()?;
    if !output.status.success() {
        bail!("{}: {}", request.display(), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// The requests as files, by name; their fixtures lie in both programs' folders.
fn requests(plan: &Plan, scratch: &Path) -> anyhow::Result<Vec<(String, PathBuf)>> {
    let mut found = Vec::new();
    let pattern = plan.vectors.join("*__*__*.request.json.gz");
    let mut recorded: Vec<PathBuf> = glob::glob(&pattern.display().to_string())?.collect::<Result<_, _>>()?;
    recorded.sort();
    if recorded.is_empty() {
        bail!("{}: no recorded requests", plan.vectors.display());
    }
    for path in recorded {
        let name = path.file_name().unwrap_or_default().to_string_lossy().replace(".request.json.gz", "");
        let mut text = Vec::new();
        GzDecoder::new(File::open(&path)?).read_to_end(&mut text)?;
        let to = scratch.join(format!("{name}.json"));
        std::fs::write(&to, text)?;
        found.push((name, to));
    }
    for program in PROGRAMS {
        for file in glob::glob(&plan.vectors.join("fixtures/*/*.npz").display().to_string())? {
            let file = file?;
            let to = scratch.join(program).join(file.strip_prefix(&plan.vectors)?);
            std::fs::create_dir_all(to.parent().unwrap_or(scratch))?;
            std::fs::copy(&file, &to)?;
        }
    }
    for extent in SQUARES {
        let name = format!("dense {extent}²");
        let to = scratch.join(format!("square{extent}.json"));
        square(&to, extent)?;
        found.push((name, to));
    }
    Ok(found)
}

/// A dense layer of `extent` by `extent` weights as Python's `json.dumps` writes them: f32, widened.
fn square(path: &Path, extent: usize) -> anyhow::Result<()> {
    let mut out = std::io::BufWriter::new(File::create(path)?);
    let mut random = SplitMix64(0);
    let mut number = || f64::from(centred(&mut random) * 0.1);
    let mut list = |out: &mut dyn std::io::Write, n: usize| -> std::io::Result<()> {
        for i in 0..n {
            write!(out, "{}{}", if i == 0 { "" } else { ", " }, number())?;
        }
        Ok(())
    };
    write!(out, r#"{{"bedrock": "dense", "output_path": "out/square.entity", "inputs": ["#)?;
    for row in 0..4 {
        write!(out, "{}[", if row == 0 { "" } else { ", " })?;
        list(&mut out, extent)?;
        write!(out, "]")?;
    }
    write!(out, r#"], "payload": {{"planet": "p", "model_id": "m", "input_dim": {extent}, "layers": [{{"index": 0, "#)?;
    write!(out, r#""input_dim": {extent}, "output_dim": {extent}, "activation": "linear", "weights": ["#)?;
    list(&mut out, extent * extent)?;
    write!(out, "]}}]}}}}")?;
    out.flush()?;
    Ok(())
}
