//! Faults planted in the kernels must turn the GPU lane red. A machine without an adapter has
//! nothing to test; LOOM_GPU=required makes that a failure.

#![cfg(feature = "gpu")]

use std::path::Path;

use loom_core::gpu::{Edit, Options};
use loom_runner::stages::device::{GpuLane, chosen};
use loom_runner::stages::judge::{Label, judge};
use loom_runner::stages::plan::{self, Case};
use loom_runner::stages::run::{Config, to_the_end};
use loom_runner::stages::{golden, manifest};

/// The labels of kernel cases whose ids match, on the first adapter, with kernels changed by `edit`.
fn labels(filter: &str, edit: Option<Edit>) -> Option<Vec<(Label, String)>> {
    let required = std::env::var_os("LOOM_GPU").is_some_and(|value| value == "required");
    let adapters = chosen(&[]).expect("a list");
    assert!(!adapters.is_empty() || !required, "LOOM_GPU=required, and no adapter was found");
    let lane = GpuLane::open(adapters.first()?, Options { edit, ..Options::default() }).expect("a device");
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let bedrock = filter.split('/').next().unwrap_or_default().to_string();
    let manifests = manifest::load(&root.join("manifests"), &[bedrock]).expect("manifests");
    let planned = plan::all(&manifests).expect("a plan");
    let filter = glob::Pattern::new(&format!("{filter}/*")).expect("a glob");
    let cases: Vec<Case> = plan::on_device(&manifests, &planned, &lane.device)
        .expect("a plan")
        .into_iter()
        .filter(|case| filter.matches(&case.id))
        .collect();
    assert!(!cases.is_empty(), "{filter} matches no case");
    let goldens = golden::load(&root.join("golden"), &cases).expect("goldens");
    let seen = lane.run(&cases, &goldens, &Config::default(), &to_the_end).expect("pools");
    let judged = cases.iter().zip(seen).map(|(case, seen)| {
        let verdict = judge(case, &seen.expect("it ran"));
        (verdict.label, verdict.reason.unwrap_or_default())
    });
    Some(judged.collect())
}

/// Every case is green without the fault, and red with it.
fn turns_red(filter: &str, edit: Edit) -> Vec<(Label, String)> {
    let Some(faithful) = labels(filter, None) else { return Vec::new() };
    assert!(faithful.iter().all(|(label, _)| !label.is_red()), "{filter} without a fault: {faithful:?}");
    let faulty = labels(filter, Some(edit)).expect("the same adapter");
    assert!(faulty.iter().all(|(label, _)| label.is_red()), "{filter} with the fault: {faulty:?}");
    faulty
}

/// Replaces a part of a kernel's text, which must be there.
fn swap(kernel: &str, wanted: &str, text: String, from: &str, to: &str) -> String {
    if kernel != wanted {
        return text;
    }
    assert!(text.contains(from), "{kernel} has no {from:?}");
    text.replace(from, to)
}

#[test]
fn a_wrong_bound_of_the_workgroup() {
    turns_red("dense/mlp_64_96_32_gelu/kernel/*", |kernel, text| {
        swap(kernel, "dense", text, "if (i >= items) {", "if (i + 1u >= items) {")
    });
}

/// The first units come late at every step, as they may: with the barrier that changes nothing.
fn late(kernel: &str, text: String) -> String {
    let spin = "var seen = 0u;
        for (var i = 0u; local < 32u && i < 400u; i += 1u) { seen = seen ^ bits(arg(6u) + ((seen + i) & 63u)); }
        if (seen == 77u && arg(1u) == 0u) { set_bits(arg(7u), seen); }
        for (var unit = local;";
    swap(kernel, "lstm", text, "for (var unit = local;", spin)
}

#[test]
fn a_missing_barrier() {
    let filter = "lstm/lstm_64_128_64/kernel/float32/*";
    let Some(faithful) = labels(filter, Some(late)) else { return };
    assert!(faithful.iter().all(|(label, _)| *label == Label::Exact), "late, with the barrier: {faithful:?}");
    turns_red(filter, |kernel, text| swap(kernel, "lstm", late(kernel, text), "storageBarrier();", ""));
}

#[test]
fn a_shifted_table() {
    turns_red("dense/mlp_32_128_32_8_relu/kernel/fp8e4m3/*", |kernel, text| {
        swap(kernel, "dense", text, "let t = s.table;", "let t = s.table + 1u;")
    });
}

#[test]
fn an_ignored_last_word() {
    turns_red("cnn1/conv1_3x50_k7_tanh/kernel/int4/*", |kernel, text| {
        swap(
            kernel,
            "conv",
            text,
            "let word = code_word(s, i >> s.log_per_word);",
            "let word = select(code_word(s, i >> s.log_per_word), 0u, (i >> s.log_per_word) == 10u);",
        )
    });
}

#[test]
fn an_uninitialised_tail() {
    let seen = turns_red("dense/mlp_digits_64_32_10/kernel/float32/*", |kernel, text| {
        swap(kernel, "dense", text, "j < min(4u, arg(1u) - o)", "j < select(0u, 4u, o + 4u <= arg(1u))")
    });
    assert!(seen.iter().all(|(label, _)| *label == Label::Unstable), "{seen:?}");
}

#[test]
fn a_write_beyond_the_array() {
    let seen = turns_red("dense/mlp_digits_64_32_10/kernel/float32/*", |kernel, text| {
        swap(kernel, "dense", text, "j < min(4u, arg(1u) - o)", "j < 4u")
    });
    assert!(seen.iter().all(|(_, reason)| reason.contains("guard words")), "{seen:?}");
}

#[test]
fn a_kernel_that_does_not_compile() {
    let seen = turns_red("residual/*/kernel/float32/*", |kernel, text| {
        if kernel == "residual" { text.replace("store(arg(2u)", "stare(arg(2u)") } else { text }
    });
    assert!(seen.iter().all(|(label, _)| *label == Label::Error), "{seen:?}");
}
