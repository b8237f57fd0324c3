//! `bedrock bench io`: how fast checkpoints are saved and loaded, and what memory it takes.
//!
//! A stack of dense layers, in float32 and in int4. Ours and a rival are timed in turn, pair by
//! pair; medians are shown. The rival of version 2 and 1 is the crate safetensors on the same
//! bytes, that of JSON and of all three the original runtime. Peak memory is the resident size of a
//! process of its own, which does one thing.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, bail};
use comfy_table::CellAlignment;
use loom_core::format::{Access, Checkpoint, Format, OnLoss, Open, Stream};
use loom_core::{
    Dtype, LayerSpec, Network, NetworkSpec, Numerics, Role, SplitMix64, Storage, Vectors, WeightStore, WeightTable,
    Weights,
};
use safetensors::tensor::{SafeTensors, TensorView};

use crate::rivals::Rivals;
use crate::{centred, median, table};

/// What to measure.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Layers.
    pub layers: usize,
    /// Extent of their square matrices.
    pub size: usize,
    /// Timed pairs of each measurement.
    pub pairs: usize,
    /// Where files are written.
    pub folder: PathBuf,
}

impl Plan {
    fn spec(&self) -> NetworkSpec {
        let dense = format!(r#"{{"dense": {{"input_dim": {0}, "output_dim": {0}, "bias": false}}}}"#, self.size);
        // The text is a constant but for a number.
        let layer: LayerSpec = serde_json::from_str(&dense).unwrap_or_else(|e| unreachable!("{e}"));
        NetworkSpec::stack(vec![layer; self.layers])
    }

    fn layer(&self, index: usize) -> anyhow::Result<Weights> {
        let n = self.size * self.size;
        let mut random = SplitMix64(index as u64);
        let store = WeightStore::f32(vec![self.size; 2], (0..n).map(|_| centred(&mut random)).collect())?;
        Ok(Weights::from([(Role::Weight, store)]))
    }

    fn network(&self, dtype: Dtype) -> anyhow::Result<Network> {
        let layers = (0..self.layers).map(|i| Ok((format!("layers.{i}"), self.layer(i)?)));
        let mut table = layers.collect::<anyhow::Result<WeightTable>>()?;
        let network = Network::build(self.spec(), &mut table)?;
        if dtype == Dtype::Float32 {
            return Ok(network);
        }
        Ok(network.morph(&Storage { dtype, numerics: Numerics::Loom, vectors: Vectors::Stored })?)
    }
}

/// Medians of paired times: ours, the rival's, and the ratio of each pair.
struct Pair {
    ours: f64,
    rival: f64,
    ratio: f64,
}

fn paired(
    n: usize,
    mut ours: impl FnMut() -> anyhow::Result<()>,
    mut rival: impl FnMut() -> anyhow::Result<Option<f64>>,
) -> anyhow::Result<Option<Pair>> {
    let (mut left, mut right) = (Vec::new(), Vec::new());
    for i in 0..=n {
        let start = Instant::now();
        ours()?;
        let seconds = start.elapsed().as_secs_f64();
        let Some(other) = rival()? else { return Ok(None) };
        // The first pair warms caches.
        if i > 0 {
            left.push(seconds);
            right.push(other);
        }
    }
    let ratio = median(left.iter().zip(&right).map(|(a, b)| a / b).collect());
    Ok(Some(Pair { ours: median(left), rival: median(right), ratio }))
}

fn timed(f: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<Option<f64>> {
    let start = Instant::now();
    f()?;
    Ok(Some(start.elapsed().as_secs_f64()))
}

/// Measures everything and returns the tables.
///
/// # Errors
/// When files cannot be written, or a rival fails.
pub fn io(plan: &Plan, python: Option<&Path>, script: &Path) -> anyhow::Result<String> {
    let mut text = format!(
        "{} dense layers of {}² in {} ({}); medians of {} pairs\n",
        plan.layers,
        plan.size,
        plan.folder.display(),
        filesystem(&plan.folder),
        plan.pairs
    );
    let mut rivals = match python {
        Some(python) => Some(Rivals::start(python, script, 2)?),
        None => None,
    };
    let mut table = table(&["dtype", "what", "ours", "rival", "rival takes", "ours / rival"]);
    for dtype in [Dtype::Float32, Dtype::Int4] {
        let network = plan.network(dtype)?;
        for row in rows(plan, &network, dtype, rivals.as_mut())? {
            table.add_row(row);
        }
    }
    for i in [2, 4, 5] {
        if let Some(column) = table.column_mut(i) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    text.push_str(&format!("{table}\n"));
    text.push_str(&memory(plan)?);
    Ok(text)
}

fn rows(plan: &Plan, network: &Network, dtype: Dtype, rivals: Option<&mut Rivals>) -> anyhow::Result<Vec<[String; 6]>> {
    let file = |name: &str| plan.folder.join(format!("bench-{dtype}-{name}"));
    let mut rows = Vec::new();
    let mut row = |what: &str, rival: &str, pair: Option<Pair>| {
        let Some(Pair { ours, rival: other, ratio }) = pair else { return };
        let ms = |seconds: f64| format!("{:.1} ms", seconds * 1e3);
        rows.push([dtype.to_string(), what.into(), ms(ours), rival.into(), ms(other), format!("{ratio:.2}")]);
    };
    let checkpoint = Checkpoint::of(network)?;
    beside_safetensors(plan, network, &checkpoint, &file, &mut row)?;
    checkpoint.save(&file("a.json"), Format::Json, OnLoss::Refuse)?;
    if let Some(rivals) = rivals {
        beside_welvet(plan, rivals, &checkpoint, &file, &mut row)?;
    }
    for name in ["a.safetensors", "v2.entity", "v1.entity", "a.json", "ours", "theirs"] {
        let _ = std::fs::remove_file(file(name));
    }
    Ok(rows)
}

/// What gets a row: what was done, the rival, and their times.
type Add<'a> = dyn FnMut(&str, &str, Option<Pair>) + 'a;

/// Versions 2 and 1 beside the crate safetensors; their files stay.
fn beside_safetensors(
    plan: &Plan,
    network: &Network,
    checkpoint: &Checkpoint,
    file: &dyn Fn(&str) -> PathBuf,
    row: &mut Add<'_>,
) -> anyhow::Result<()> {
    let safe = file("a.safetensors");
    let tensors = || -> anyhow::Result<Vec<(String, TensorView<'_>)>> {
        let mut views = Vec::new();
        for (path, _, store) in network.stores() {
            let bytes = store.bytes();
            views.push((path.to_string(), TensorView::new(safetensors::Dtype::U8, vec![bytes.len()], bytes)?));
        }
        Ok(views)
    };
    for (format, name) in [(Format::V2, "v2"), (Format::V1, "v1")] {
        let path = file(&format!("{name}.entity"));
        let pair = paired(
            plan.pairs,
            || Ok(checkpoint.save(&path, format, OnLoss::Refuse)?),
            || timed(|| Ok(safetensors::serialize_to_file(tensors()?, None, &safe)?)),
        )?;
        row(&format!("{name} save"), "safetensors", pair);
        for (access, how) in [(Access::Read, "read"), (Access::Map, "map")] {
            let open = Open { access, ..Open::default() };
            let pair = paired(
                plan.pairs,
                || Checkpoint::open(&path, open)?.network().map(drop).map_err(Into::into),
                || {
                    timed(|| match access {
                        Access::Read => {
                            let bytes = std::fs::read(&safe)?;
                            drop(std::hint::black_box(SafeTensors::deserialize(&bytes)?.tensors()));
                            Ok(())
                        }
                        Access::Map => mapped(&safe, |all| {
                            all.tensors().iter().for_each(|(_, view)| touch(view.data()));
                            Ok(())
                        }),
                    })
                },
            )?;
            row(&format!("{name} load ({how})"), "safetensors", pair);
        }
        let one = [plan.layers / 2].into();
        let pair = paired(
            plan.pairs,
            || Checkpoint::open(&path, Open::default())?.network_with(&one).map(drop).map_err(Into::into),
            || {
                timed(|| {
                    mapped(&safe, |all| {
                        let view = all.tensor(&format!("layers.{}", plan.layers / 2))?;
                        drop(std::hint::black_box(view.data().to_vec()));
                        Ok(())
                    })
                })
            },
        )?;
        row(&format!("{name} one layer of {}", plan.layers), "safetensors", pair);
    }
    Ok(())
}

/// Every format beside the original runtime, on the files that are there.
fn beside_welvet(
    plan: &Plan,
    rivals: &mut Rivals,
    checkpoint: &Checkpoint,
    file: &dyn Fn(&str) -> PathBuf,
    row: &mut Add<'_>,
) -> anyhow::Result<()> {
    let pairs = plan.pairs.min(3);
    let theirs = file("theirs");
    let mut ask = |what: &str, path: &Path| rivals.ask_for(&format!("{what} {}", path.display()));
    for (format, name, load, save) in
        [(Format::V1, "v1.entity", "entity_load", "entity_save"), (Format::Json, "a.json", "json_load", "json_save")]
    {
        let path = file(name);
        let ours = file("ours");
        let pair = paired(
            pairs,
            || Checkpoint::open(&path, Open::default())?.network().map(drop).map_err(Into::into),
            || ask(load, &path),
        )?;
        row(&format!("{format} load (read)"), "welvet", pair);
        let pair = paired(pairs, || Ok(checkpoint.save(&ours, format, OnLoss::Refuse)?), || ask(save, &theirs))?;
        row(&format!("{format} save"), "welvet", pair);
    }
    // Version 2 does for us what version 1 does for the original.
    let (v1, v2, ours) = (file("v1.entity"), file("v2.entity"), file("ours"));
    for (access, how) in [(Access::Read, "read"), (Access::Map, "map")] {
        let open = Open { access, ..Open::default() };
        let load = || Checkpoint::open(&v2, open)?.network().map(drop).map_err(Into::into);
        let pair = paired(pairs, load, || ask("entity_load", &v1))?;
        row(&format!("v2 load ({how})"), "welvet, v1", pair);
    }
    let pair =
        paired(pairs, || Ok(checkpoint.save(&ours, Format::V2, OnLoss::Refuse)?), || ask("entity_save", &theirs))?;
    row("v2 save", "welvet, v1", pair);
    Ok(())
}

/// Reads every byte of mapped memory, as a load that checks weights does.
fn touch(bytes: &[u8]) {
    let sum = bytes.as_chunks::<8>().0.iter().fold(0u64, |sum, b| sum ^ u64::from_le_bytes(*b));
    std::hint::black_box(sum);
}

fn mapped(path: &Path, f: impl FnOnce(SafeTensors<'_>) -> anyhow::Result<()>) -> anyhow::Result<()> {
    let file = std::fs::File::open(path)?;
    #[expect(unsafe_code, reason = "the file is ours, and nobody changes it while it is measured")]
    let map = unsafe { memmap2::Mmap::map(&file) }?;
    f(SafeTensors::deserialize(&map)?)
}

/// What kind of file system a folder is on, as far as it is known.
fn filesystem(folder: &Path) -> String {
    let output = Command::new("stat").args(["-f", "-c", "%T"]).arg(folder).output();
    let name = output.map(|out| String::from_utf8_lossy(&out.stdout).trim().to_string()).unwrap_or_default();
    if name.is_empty() { "unknown file system".into() } else { name }
}

/// What a process does alone to be measured.
const JOBS: [&str; 2] = ["save", "stream"];

/// Peak memory of saving and of streaming, each in a process of its own.
fn memory(plan: &Plan) -> anyhow::Result<String> {
    let mut text = String::new();
    let bytes = 4 * plan.layers * plan.size * plan.size;
    for job in JOBS {
        let program = std::env::current_exe()?;
        let mut command = Command::new(program);
        command.args(["bench", "io", "--job", job, "--folder"]).arg(&plan.folder);
        command.args(["--layers", &plan.layers.to_string(), "--size", &plan.size.to_string()]);
        let output = command.output().context("cannot start a process of its own")?;
        let peak = String::from_utf8_lossy(&output.stdout).trim().parse::<u64>();
        let Ok(peak) = peak else { bail!("{job}: {}", String::from_utf8_lossy(&output.stderr)) };
        let mb = |bytes: f64| format!("{:.0} MB", bytes / 1e6);
        let line = match job {
            "save" => format!("{:.2} times the network of {}", peak as f64 / bytes as f64, mb(bytes as f64)),
            _ => {
                let layer = bytes / plan.layers;
                format!("one layer of {} and {}", mb(layer as f64), mb(peak as f64 - layer as f64))
            }
        };
        text.push_str(&format!("peak memory, {job} v2: {} = {line}\n", mb(peak as f64)));
    }
    Ok(text)
}

/// Does one job and returns the largest resident size of the process, in bytes.
///
/// # Errors
/// When the job is unknown, or the file cannot be written.
pub fn job(plan: &Plan, job: &str) -> anyhow::Result<String> {
    let path = plan.folder.join("bench-job.entity");
    match job {
        "save" => loom_core::format::save(&plan.network(Dtype::Float32)?, &path, Format::V2)?,
        "stream" => {
            let mut stream = Stream::create(&path, &plan.spec(), false)?;
            for i in 0..plan.layers {
                stream.push(&mut [(format!("layers.{i}"), plan.layer(i)?)].into())?;
            }
            stream.finish()?;
        }
        other => bail!("unknown job {other}; expected {}", JOBS.join(" or ")),
    }
    std::fs::remove_file(&path)?;
    let status = std::fs::read_to_string("/proc/self/status").context("peak memory needs /proc")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM")?;
    let kib: u64 = line.trim().trim_end_matches(" kB").trim().parse()?;
    Ok((kib * 1024).to_string())
}
