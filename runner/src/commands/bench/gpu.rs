//! `bedrock bench gpu`.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use anyhow::bail;
use clap::Args;
use loom_bedrocks::BEDROCKS;
use loom_bench::{gpu, table};
use loom_core::Dtype;

use crate::ending::Scratch;
use crate::places::{Mistake, Places, first_of, print};
use crate::stages::device::{self, GpuLane, references};
use crate::stages::golden::{self, Goldens};
use crate::stages::manifest::Manifests;
use crate::stages::plan::{self, Case};
use crate::stages::run::Config;

/// Products with packed weights on a GPU beside its copy bandwidth, plain f32 kernels and PyTorch
/// where a Python that has it is given; what pipelines cost to make.
#[derive(Debug, Args)]
pub(crate) struct GpuArgs {
    /// The GPU, by its number or a part of its name in `bedrock gpu list` [default: the first].
    #[arg(long, value_name = "GPU")]
    adapter: Option<String>,
    /// Extent of the matrices that a single row meets: a multiple of 128.
    #[arg(long, value_name = "N", default_value_t = 8192, value_parser = clap::value_parser!(u16).range(128..=16384))]
    vector: u16,
    /// Extent of the square matrices: a multiple of 64.
    #[arg(long, value_name = "N", default_value_t = 2048, value_parser = clap::value_parser!(u16).range(64..=8192))]
    square: u16,
    /// Timed pairs of each measurement.
    #[arg(long, value_name = "N", default_value_t = 11, value_parser = clap::value_parser!(u16).range(1..))]
    pairs: u16,
    /// Show what each bedrock costs in each dtype instead.
    #[arg(long)]
    lane: bool,
    /// The Python that has PyTorch installed; without it ours stand alone.
    #[arg(long, value_name = "FILE", env = "BEDROCK_PYTHON")]
    python: Option<PathBuf>,
}

pub(crate) fn run(args: &GpuArgs) -> anyhow::Result<()> {
    let wanted: Vec<String> = args.adapter.iter().cloned().collect();
    let adapters = device::chosen(&wanted).map_err(Mistake::of)?;
    let adapter = adapters.first().ok_or_else(|| Mistake(device::ABSENT.into()))?;
    let [vector, square, pairs] = [args.vector, args.square, args.pairs].map(usize::from);
    if !vector.is_multiple_of(128) || !square.is_multiple_of(64) {
        bail!(Mistake("--vector must be a multiple of 128, --square of 64".into()));
    }
    let places = Places::here()?;
    let text = if args.lane {
        let manifests = places.load(&[])?;
        let planned = plan::all(&manifests).map_err(Mistake::of)?;
        let goldens = golden::load(&places.golden, &planned).map_err(|p| anyhow::anyhow!(first_of(&p)))?;
        let lane = GpuLane::open(adapter, device::options())?;
        bedrocks(&lane, &planned, &manifests, &goldens)?
    } else {
        let plan = gpu::Plan { vector, square, pairs };
        let (script, scratch) = (places.root.join("python/bench/gpu.py"), Scratch::new()?);
        gpu::products(&plan, adapter, args.python.as_deref(), &script, scratch.path())?
    };
    print(&text)
}

/// What each bedrock costs in each dtype: milliseconds of the second of two runs, both profiles, every
/// cell twice.
fn bedrocks(lane: &GpuLane, planned: &[Case], manifests: &Manifests, goldens: &Goldens) -> anyhow::Result<String> {
    let cases = plan::on_device(manifests, planned, &Arc::clone(&lane.device))?;
    let mut headers = vec!["ms"];
    headers.extend(BEDROCKS);
    headers.push("all");
    let mut rows = table(&headers);
    let mut cost = vec![vec![0.0; BEDROCKS.len()]; Dtype::ALL.len()];
    for (b, bedrock) in BEDROCKS.iter().enumerate() {
        let mine: Vec<Case> = cases.iter().filter(|case| case.manifest.bedrock == *bedrock).cloned().collect();
        let found = references(&mine, goldens, &Config::default())?;
        for (d, dtype) in Dtype::ALL.iter().enumerate() {
            let of = mine.iter().zip(&found).filter(|(case, _)| case.stored.dtype == *dtype);
            let cells: Vec<_> = of.filter_map(|(_, r)| r.as_ref().ok()).map(|r| (&r.network, &r.inputs[..])).collect();
            for _ in 0..2 {
                let start = Instant::now();
                let mut failed = None;
                lane.gpu().run_all(&cells, &mut |_, ran| failed = failed.take().or(ran.err()));
                if let Some(error) = failed {
                    return Err(error.into());
                }
                cost[d][b] = start.elapsed().as_secs_f64() * 1e3;
            }
        }
    }
    let line = |name: &str, values: Vec<f64>| {
        let all: f64 = values.iter().sum();
        let cells = values.iter().chain([&all]).map(|v| format!("{v:.0}"));
        std::iter::once(name.to_string()).chain(cells).collect::<Vec<_>>()
    };
    for (d, dtype) in Dtype::ALL.iter().enumerate() {
        rows.add_row(line(dtype.name(), cost[d].clone()));
    }
    let sums = (0..BEDROCKS.len()).map(|b| cost.iter().map(|of| of[b]).sum()).collect();
    rows.add_row(line("all", sums));
    Ok(format!("{}: milliseconds on the device and in the driver\n{rows}\n", lane.device.lane()))
}
