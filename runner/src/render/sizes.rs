//! From measured sizes to `reports/sizes.md`.

use std::fmt::Write as _;

use super::kib;
use crate::sizes::Sizes;
use crate::stages::manifest::lucy::{Lucy, SEVEN, Suite};

const LEGEND: &str = "\
Rendered by `bedrock sizes` from `manifests/lucy.yaml`; do not edit. Each stack has seven layers in each cell and seeded
weights, stored in every dtype as the original runtime stores them, in KiB of 1024 bytes.

- **Weights (native)**: the packed codes, one array for each layer.
- **Weights (f32 master)**: four bytes for each weight, what training holds beside them.
- **Peak network bytes**: the packed codes in memory, and input and output of the layer where those are largest.
- **GPU weights**, **GPU arrays**, **GPU peak**: on a device, the packed codes; everything else of a run in f64 arithmetic
  (input, output, what lies between, gains and biases as f64, tables, guards); and both with the kernels' parameters.
- **JSON ckpt**, **.entity ckpt**: the original's formats, to the byte; **saving**: how much smaller the second is.
- **v2**, **v2+zstd**: `.entity` version 2 (`docs/entity-v2.md`), plain and with compressed sections.

";

/// The document.
#[must_use]
pub fn render(lucy: &Lucy, sizes: &[Vec<Sizes>]) -> String {
    let mut text = String::from("# Sizes\n\n");
    text.push_str(LEGEND);
    published(&mut text, lucy, sizes);
    averages(&mut text, lucy, sizes);
    // Those with published figures stand first.
    for wanted in [true, false] {
        for (suite, rows) in lucy.suites.iter().zip(sizes).filter(|(suite, _)| has_published(suite) == wanted) {
            table(&mut text, lucy, suite, rows);
        }
    }
    text
}

fn has_published(suite: &Suite) -> bool {
    !suite.published.is_empty()
}

/// Ours beside what was published.
fn published(text: &mut String, lucy: &Lucy, sizes: &[Vec<Sizes>]) {
    text.push_str("## Beside the published figures\n\nOurs, and in brackets what Lucy 0.80 published. Its scales have other digits, and its tile sizes are those of\nthe machine that trained.\n\n");
    text.push_str(
        "| stack | DType | JSON ckpt | .entity ckpt | saving | v2 | v2+zstd |\n|---|---|--:|--:|--:|--:|--:|\n",
    );
    for (suite, rows) in lucy.suites.iter().zip(sizes).filter(|(suite, _)| has_published(suite)) {
        for (row, sizes) in lucy.dtypes.iter().zip(rows) {
            let Some(published) = suite.published.get(&row.dtype) else { continue };
            let [json, v1, v2, zstd] = sizes.files.map(kib);
            let _ = writeln!(
                text,
                "| {} | {} | {json} ({:.2}) | {v1} ({:.2}) | {:.1} % ({:.1} %) | {v2} | {zstd} |",
                suite.title,
                row.name,
                published.json,
                published.entity,
                sizes.saving(),
                100.0 * (1.0 - published.entity / published.json)
            );
        }
    }
}

/// How the formats compare over all rows and over each stack's.
fn averages(text: &mut String, lucy: &Lucy, sizes: &[Vec<Sizes>]) {
    text.push_str("\n## Averages\n\n");
    let flat = || sizes.iter().flatten();
    let n = flat().count().max(1) as f64;
    let total = |i: usize| flat().map(|sizes| sizes.files[i]).sum::<u64>();
    let ratio = |i: usize, j: usize| {
        flat().map(|sizes| 1.0 - sizes.files[i] as f64 / sizes.files[j] as f64).sum::<f64>() / n * 100.0
    };
    let _ = writeln!(
        text,
        "Over {} rows: .entity is {:.2} % smaller than JSON, v2 {:.2} % and v2+zstd {:.2} % smaller than .entity. All files",
        flat().count(),
        ratio(1, 0),
        ratio(2, 1),
        ratio(3, 1)
    );
    let _ = writeln!(
        text,
        "together: JSON {} B, .entity {} B, v2 {} B, v2+zstd {} B.\n",
        total(0),
        total(1),
        total(2),
        total(3)
    );
    text.push_str(
        "| stack | weights | .entity saving | v2 against .entity | v2+zstd against .entity |\n|---|--:|--:|--:|--:|\n",
    );
    for (suite, rows) in lucy.suites.iter().zip(sizes) {
        let mean = |f: &dyn Fn(&Sizes) -> f64| rows.iter().map(f).sum::<f64>() / rows.len().max(1) as f64;
        let over = |i: usize| mean(&|sizes| 100.0 * (1.0 - sizes.files[i] as f64 / sizes.files[1] as f64));
        let _ = writeln!(
            text,
            "| {} | {} | {:.1} % | {:.1} % | {:.1} % |",
            suite.title,
            suite.weights,
            mean(&Sizes::saving),
            over(2),
            over(3)
        );
    }
    text.push('\n');
}

/// Every dtype of one stack.
fn table(text: &mut String, lucy: &Lucy, suite: &Suite, rows: &[Sizes]) {
    let layers = SEVEN * suite.grid.iter().product::<usize>();
    let _ = writeln!(text, "## {}\n\n{layers} layers, {} weights.\n", suite.title, suite.weights);
    text.push_str("| DType | Weights (native) | Weights (f32 master) | Peak network bytes | GPU weights | GPU arrays | GPU peak | JSON ckpt | .entity ckpt | saving | v2 | v2+zstd |\n|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n");
    for (row, sizes) in lucy.dtypes.iter().zip(rows) {
        let [json, v1, v2, zstd] = sizes.files.map(kib);
        let [weights, arrays, whole] = sizes.device.map_or(std::array::from_fn(|_| "—".into()), |of| of.map(kib));
        let (native, master, peak) = (kib(sizes.native), kib(4 * sizes.weights as u64), kib(sizes.peak));
        let _ = writeln!(
            text,
            "| {} | {native} | {master} | {peak} | {weights} | {arrays} | {whole} | {json} | {v1} | {:.1} % | {v2} | {zstd} |",
            row.name,
            sizes.saving()
        );
    }
    text.push('\n');
}
