//! `bedrock bench kernels`: how fast the matrix kernel is in every dtype, beside named rivals.
//!
//! Ours and a rival's product are timed in turn, pair by pair, so that a ratio holds while the
//! machine's speed drifts; medians are shown. A product is one forward of a dense layer
//! without bias. Nothing here judges: speed has no verdict.

use std::path::Path;
use std::time::Instant;

use anyhow::Context as _;
use comfy_table::CellAlignment;
use loom_core::{
    Cpu, Dtype, Isa, LayerSpec, Network, NetworkSpec, Numerics, Role, State, Storage, Tensor, Threads, Vectors,
    WeightStore,
};

use crate::rivals::Rivals;
use crate::{median, noise, table};

/// What to measure.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Dtypes; all when empty.
    pub dtypes: Vec<Dtype>,
    /// Threads.
    pub threads: usize,
    /// Timed pairs of each measurement.
    pub pairs: usize,
    /// Outputs and depth of the matrix times vector product.
    pub vector: usize,
    /// Extents of the square products of two matrices.
    pub squares: Vec<usize>,
}

/// Rows, outputs and depth of a dense layer that is measured beside the original runtime.
const BATCH: [usize; 3] = [16, 1024, 1024];

/// A dense layer in a dtype and what it is fed.
struct Ours {
    network: Network,
    x: Tensor,
    cpu: Cpu,
}

impl Ours {
    fn new([rows, outs, depth]: [usize; 3], dtype: Dtype, threads: usize) -> anyhow::Result<Self> {
        let spec: LayerSpec = serde_json::from_value(
            serde_json::json!({ "dense": { "input_dim": depth, "output_dim": outs, "bias": false } }),
        )?;
        let store = WeightStore::f32(vec![outs, depth], noise(outs * depth, 7))?;
        let mut table = [("layers.0".to_string(), [(Role::Weight, store)].into())].into();
        let network = Network::build(NetworkSpec::stack(vec![spec]), &mut table)?;
        let storage = Storage { dtype, numerics: Numerics::Standard, vectors: Vectors::Float32 };
        let threads = if threads == 1 { Threads::Single } else { Threads::Multi };
        let cpu = Cpu::with(Isa::best(), threads).context("this processor's best instruction set is gone")?;
        Ok(Self { network: network.morph(&storage)?, x: Tensor::new(vec![rows, depth], noise(rows * depth, 11))?, cpu })
    }

    /// Seconds of one product.
    fn run(&self) -> anyhow::Result<f64> {
        let start = Instant::now();
        let y = self.network.run(std::slice::from_ref(&self.x), &mut State::default(), &self.cpu)?;
        let seconds = start.elapsed().as_secs_f64();
        std::hint::black_box(y);
        Ok(seconds)
    }
}

/// One measurement: our median seconds, how many times those of our f32 they are less, and the
/// same for each rival.
struct Measured {
    seconds: f64,
    plain: f64,
    rivals: Vec<Option<f64>>,
}

fn measure(
    plan: &Plan,
    shape: [usize; 3],
    dtype: Dtype,
    plain: &Ours,
    names: &[&str],
    rivals: &mut Option<Rivals>,
) -> anyhow::Result<Measured> {
    let ours = Ours::new(shape, dtype, plan.threads)?;
    // Panels are packed, and threads woken, before anything counts.
    ours.run()?;
    ours.run()?;
    plain.run()?;
    let (mut seconds, mut ratios) = (Vec::new(), Vec::new());
    for _ in 0..plan.pairs {
        let (a, b) = (ours.run()?, plain.run()?);
        seconds.push(a);
        ratios.push(b / a);
    }
    let mut found = Vec::new();
    for name in names {
        let mut ratios = Vec::new();
        if let Some(rivals) = rivals.as_mut().filter(|rivals| rivals.installed.contains_key(*name)) {
            // Building a rival's layer pushes ours out of the caches, so both warm up.
            rivals.run(name, shape, dtype)?;
            ours.run()?;
            for _ in 0..plan.pairs {
                let a = ours.run()?;
                if let Some(b) = rivals.run(name, shape, dtype)? {
                    ratios.push(b / a);
                }
            }
        }
        found.push((!ratios.is_empty()).then(|| median(ratios)));
    }
    Ok(Measured { seconds: median(seconds), plain: median(ratios), rivals: found })
}

/// Measures and returns the tables. `python` runs the rivals; without it ours stand alone.
///
/// # Errors
/// When the rivals' process cannot be started or ends early.
pub fn kernels(plan: &Plan, python: Option<&Path>, script: &Path) -> anyhow::Result<String> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(plan.threads).build()?;
    let mut rivals = python.map(|python| Rivals::start(python, script, plan.threads)).transpose()?;
    let mut text = format!("{} on {} thread(s), medians of {} pairs", Isa::best(), plan.threads, plan.pairs);
    match &rivals {
        None => text.push_str("; no rivals (give --python)"),
        Some(rivals) => {
            rivals.installed.iter().for_each(|(name, version)| text.push_str(&format!("; {name} {version}")));
        }
    }
    text.push('\n');
    let dtypes: Vec<Dtype> = if plan.dtypes.is_empty() { Dtype::ALL.to_vec() } else { plan.dtypes.clone() };
    let mut table =
        table(&["shape", "dtype", "ms", "GMAC/s", "weights GB/s", "× our f32", "× numpy", "× torch", "× loom"]);
    let gemv = [1, plan.vector, plan.vector];
    let shapes = [gemv, BATCH].into_iter().chain(plan.squares.iter().map(|&n| [n, n, n]));
    for shape in shapes {
        let plain = pool.install(|| Ours::new(shape, Dtype::Float32, plan.threads))?;
        for &dtype in &dtypes {
            // The others compute in f32 alone, whatever we do; Loom is too slow for products of large matrices.
            let names: &[&str] = match (dtype, shape == gemv || shape == BATCH) {
                (Dtype::Float32, true) => &["numpy", "torch", "loom"],
                (Dtype::Float32, false) => &["numpy", "torch"],
                (_, true) => &["loom"],
                (_, false) => &[],
            };
            let measured = pool.install(|| measure(plan, shape, dtype, &plain, names, &mut rivals))?;
            let [rows, outs, depth] = shape;
            let work = (rows * outs * depth) as f64;
            let bytes = (outs * depth * dtype.bits()) as f64 / 8.0;
            let rival = |name: &str| {
                let found = names.iter().position(|n| *n == name).and_then(|i| measured.rivals[i]);
                found.map_or(
                    "—".into(),
                    |ratio| if ratio < 10.0 { format!("{ratio:.2}") } else { format!("{ratio:.0}") },
                )
            };
            table.add_row(vec![
                format!("{rows}×{depth}·{depth}×{outs}"),
                dtype.to_string(),
                format!("{:.3}", measured.seconds * 1e3),
                format!("{:.2}", work / measured.seconds / 1e9),
                format!("{:.2}", bytes / measured.seconds / 1e9),
                format!("{:.2}", measured.plain),
                rival("numpy"),
                rival("torch"),
                rival("loom"),
            ]);
        }
    }
    for column in 2..table.column_count() {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    text.push_str(&table.to_string());
    text.push_str("\n× a rival: how many times faster ours is; NumPy and PyTorch compute in float32.\n");
    Ok(text)
}
