//! `bedrock bench gpu`: products with packed weights beside the device's copy bandwidth, PyTorch and
//! plain f32 kernels; what pipelines cost to make.
//!
//! Work is submitted a number of times and three times as often; the difference is its time without
//! the submission. Medians of pairs.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::Context as _;
use loom_core::gpu::{Adapter, Gpu, GpuState, Options, PlainProduct, Repeat};
use loom_core::{Cpu, Dtype, LayerSpec, Network, NetworkSpec, Numerics, Role, State, Tensor, WeightStore};
use serde::Deserialize;

use crate::{median, noise, table};

/// What to measure.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Extent of the matrices that a single row meets.
    pub vector: usize,
    /// Extent of the square matrices.
    pub square: usize,
    /// Timed pairs.
    pub pairs: usize,
}

/// The dtypes of products with a single row.
const DTYPES: [Dtype; 6] = [Dtype::Float32, Dtype::Float16, Dtype::BFloat16, Dtype::Int8, Dtype::Int4, Dtype::Ternary];

/// PyTorch's figures.
#[derive(Debug, Deserialize)]
struct Torch {
    torch: String,
    device: Option<String>,
    float64: Option<f64>,
    float32: Option<f64>,
    copy: Option<f64>,
}

/// Median seconds of one repetition.
fn seconds(pairs: usize, repeat: Repeat<'_>) -> loom_core::Result<f64> {
    // An idle device runs slowly for a while.
    let start = Instant::now();
    let mut runs = 0;
    while runs < 2 || start.elapsed().as_secs_f64() < 0.5 {
        repeat(8)?;
        runs += 8;
    }
    // Enough for about 20 ms, so that a submission is no part of the difference.
    let times = (0.02 * runs as f64 / start.elapsed().as_secs_f64()).clamp(1.0, 500.0) as usize;
    let timed = |n: usize| -> loom_core::Result<f64> {
        let start = Instant::now();
        repeat(n)?;
        Ok(start.elapsed().as_secs_f64())
    };
    let one = |_| Ok((timed(3 * times)? - timed(times)?) / (2 * times) as f64);
    Ok(median((0..pairs).map(one).collect::<loom_core::Result<Vec<f64>>>()?))
}

/// `layers` dense layers of the same weights, each with bytes of its own, so that no cache holds them all.
fn stack(extent: usize, layers: usize, store: &WeightStore) -> anyhow::Result<Network> {
    let dense = serde_json::json!({ "dense": { "input_dim": extent, "output_dim": extent, "bias": false } });
    let spec: LayerSpec = serde_json::from_value(dense)?;
    let copy = || {
        WeightStore::packed(store.dtype(), store.numerics(), vec![extent; 2], store.scales(), store.bytes().to_vec())
    };
    let mut weights = loom_core::WeightTable::new();
    for layer in 0..layers {
        weights.insert(format!("layers.{layer}"), [(Role::Weight, copy()?)].into());
    }
    Ok(Network::build(NetworkSpec::stack(vec![spec; layers]), &mut weights)?)
}

fn equal(gpu: &Gpu, network: &Network, x: &Tensor) -> anyhow::Result<bool> {
    let x = std::slice::from_ref(x);
    let ours = gpu.run(network, x, &mut GpuState::default())?;
    let cpu = network.run(x, &mut State::default(), &Cpu::best())?;
    Ok(ours.data().iter().zip(cpu.data()).all(|(a, b)| a.to_bits() == b.to_bits()))
}

/// Measures products and pipelines on one adapter; `scratch` is an empty folder for the latter.
///
/// # Errors
/// When the device fails, or PyTorch's process does.
pub fn products(
    plan: &Plan,
    adapter: &Adapter,
    python: Option<&Path>,
    script: &Path,
    scratch: &Path,
) -> anyhow::Result<String> {
    let gpu = Gpu::open(adapter, Options::default())?;
    let mut text = format!(
        "{}, {}, arithmetic in {}, medians of {} pairs\n",
        adapter.name,
        adapter.driver,
        gpu.precision().name(),
        plan.pairs
    );
    let square = plan.square;
    // Large enough for no cache, small enough for every device.
    let size = (plan.vector * plan.vector * 4) as u64;
    let torch = python.map(|python| torch(python, script, square, size)).transpose()?;
    let copy = gpu.repeated_copy(size, |repeat| seconds(plan.pairs, repeat))?;
    let copied = 2.0 * size as f64 / copy;
    text.push_str(&format!("copy of {} MiB: {:.0} GB/s read and written", size >> 20, copied / 1e9));
    if let Some(Torch { torch, device: Some(device), copy: Some(copy), .. }) = &torch {
        text.push_str(&format!("; PyTorch {torch} on {device}: {:.0} GB/s", copy / 1e9));
    }
    text.push_str(&format!("\n\nOne row times {0}×{0} weights\n", plan.vector));
    vectors(plan, &gpu, copied, &mut text)?;
    text.push_str(&format!("\nA product of two {square}×{square} matrices of float32\n"));
    squares(plan, &gpu, torch.as_ref(), &mut text)?;
    text.push_str(&pipelines(adapter, scratch)?);
    Ok(text)
}

fn vectors(plan: &Plan, gpu: &Gpu, copied: f64, text: &mut String) -> anyhow::Result<()> {
    let n = plan.vector;
    let mut rows = table(&["weights", "µs", "GB/s", "of copy", "× f32", "bits"]);
    // Of a size that leaves sums near 1, layer after layer.
    let size = (3.0 / n as f32).sqrt();
    let weights: Vec<f32> = noise(n * n, 7).into_iter().map(|w| w * size).collect();
    let x = Tensor::new(vec![1, n], noise(n, 11))?;
    let plain = WeightStore::f32(vec![n, n], weights.clone())?;
    let mut single = None;
    for dtype in DTYPES {
        let store = plain.morph(dtype, Numerics::Standard)?;
        let bytes = store.bytes().len();
        let layers = (8 * n * n).div_ceil(bytes);
        let network = stack(n, layers, &store)?;
        let all = gpu.repeated(&network, std::slice::from_ref(&x), |repeat| seconds(plan.pairs, repeat))?;
        let one = all / layers as f64;
        let single = *single.get_or_insert(one);
        let same = equal(gpu, &stack(n, 1, &store)?, &x)?;
        row(&mut rows, dtype.name(), one, bytes, copied, single, if same { "the CPU's" } else { "differ" });
    }
    let product = PlainProduct { rows: 1, outs: n, depth: n };
    let (one, _) = gpu.repeated_plain(product, x.data(), &weights, |repeat| seconds(plan.pairs, repeat))?;
    row(&mut rows, "float32, plain f32 sums", one, 4 * n * n, copied, single.unwrap_or(one), "no claim");
    text.push_str(&format!("{rows}\n"));
    Ok(())
}

fn row(rows: &mut comfy_table::Table, name: &str, one: f64, bytes: usize, copied: f64, single: f64, bits: &str) {
    let rate = bytes as f64 / one;
    rows.add_row(vec![
        name.to_string(),
        format!("{:.1}", one * 1e6),
        format!("{:.0}", rate / 1e9),
        format!("{:.0} %", 100.0 * rate / copied),
        format!("{:.2}", single / one),
        bits.to_string(),
    ]);
}

fn squares(plan: &Plan, gpu: &Gpu, torch: Option<&Torch>, text: &mut String) -> anyhow::Result<()> {
    let n = plan.square;
    let (x, w) = (noise(n * n, 3), noise(n * n, 5));
    let network = stack(n, 1, &WeightStore::f32(vec![n, n], w.clone())?)?;
    let input = Tensor::new(vec![n, n], x.clone())?;
    let exact = gpu.repeated(&network, std::slice::from_ref(&input), |repeat| seconds(plan.pairs, repeat))?;
    let same = equal(gpu, &network, &input)?;
    let product = PlainProduct { rows: n, outs: n, depth: n };
    let (plain, _) = gpu.repeated_plain(product, &x, &w, |repeat| seconds(plan.pairs, repeat))?;
    let mut rows = table(&["kernel", "ms", "TFLOP/s", "of torch float64", "bits"]);
    let float64 = torch.and_then(|torch| torch.float64);
    let mut add = |name: &str, one: f64, bits: &str| {
        rows.add_row(vec![
            name.to_string(),
            format!("{:.3}", one * 1e3),
            format!("{:.2}", 2.0 * (n as f64).powi(3) / one / 1e12),
            float64.map_or("—".into(), |rival| format!("{:.0} %", 100.0 * rival / one)),
            bits.to_string(),
        ]);
    };
    add("summed in f64", exact, if same { "the CPU's" } else { "differ" });
    add("plain f32 sums", plain, "no claim");
    for (name, one) in [("torch float64", float64), ("torch float32", torch.and_then(|torch| torch.float32))] {
        if let Some(one) = one {
            add(name, one, "no claim");
        }
    }
    text.push_str(&format!("{rows}\nExactness costs {:.2} times the plain f32 kernel's time.\n", exact / plain));
    Ok(())
}

fn torch(python: &Path, script: &Path, square: usize, size: u64) -> anyhow::Result<Torch> {
    let output = Command::new(python)
        .arg(script)
        .args([square.to_string(), size.to_string()])
        .output()
        .with_context(|| format!("cannot start {}; give --python or BEDROCK_PYTHON", python.display()))?;
    let text = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(text.lines().last().unwrap_or_default())
        .with_context(|| format!("{} says: {}", script.display(), String::from_utf8_lossy(&output.stderr)))
}

/// How long all pipelines take to make, without and with what an earlier process kept.
fn pipelines(adapter: &Adapter, scratch: &Path) -> anyhow::Result<String> {
    let made = |_| -> anyhow::Result<(usize, f64)> {
        let options = Options { cache: Some(scratch.to_path_buf()), ..Options::default() };
        let gpu = Gpu::open(adapter, options)?;
        let start = Instant::now();
        let count = gpu.compile_all()?;
        let time = start.elapsed().as_secs_f64();
        gpu.save_pipelines()?;
        Ok((count, time))
    };
    let ((count, cold), (_, warm)) = (made(0)?, made(1)?);
    Ok(format!(
        "\n{count} pipelines: {cold:.2} s without a cache, {warm:.2} s with it (a driver may keep one of its own)\n"
    ))
}
