//! The size tables beside what the real suite wrote: `golden/loom-0.80/lucy_sizes.json` holds the
//! file sizes of the original's complete run.

use std::path::Path;

use loom_core::format::{FORMATS, Format};
use loom_runner::render;
use loom_runner::sizes::{self, Sizes};
use loom_runner::stages::manifest::lucy::Lucy;
use serde_json::Value;

fn measured() -> (Lucy, Vec<Vec<Sizes>>) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let lucy = Lucy::load(&root.join("manifests")).expect("lucy.yaml");
    let sizes = sizes::measure(&lucy, &|| ()).expect("sizes");
    (lucy, sizes)
}

#[test]
fn as_the_original_and_smaller() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let text = std::fs::read_to_string(root.join("golden/loom-0.80/lucy_sizes.json")).expect("recorded sizes");
    let recorded: Value = serde_json::from_str(&text).expect("JSON");
    let (lucy, sizes) = measured();
    assert_eq!(FORMATS, [Format::Json, Format::V1, Format::V2, Format::V2Zstd]);
    assert_eq!((lucy.suites.len(), sizes.iter().flatten().count()), (26, 546));
    let mut savings = Vec::new();
    for (suite, rows) in lucy.suites.iter().zip(&sizes) {
        let theirs = &recorded[&suite.id];
        assert_eq!(theirs["weights"], suite.weights, "{}", suite.id);
        for (row, sizes) in lucy.dtypes.iter().zip(rows) {
            let at = format!("{} {}", suite.title, row.name);
            let [json, v1, v2, zstd] = sizes.files.map(|n| n as f64);
            let native = sizes.native as f64;
            let their = |i: usize| theirs["json_entity_bytes"][&row.name][i].as_f64().expect("a size");
            if row.name == "Float32" {
                let payload = their(1) - 20.0 - theirs["float32_header"].as_f64().expect("a size");
                assert_eq!(native, payload, "payload of {at}");
            }
            // Headers differ by the digits of scales, tile sizes, and keys that say nothing.
            for (ours, theirs) in [(json, their(0)), (v1, their(1))] {
                assert!((ours / theirs - 1.0).abs() < 0.015, "{at}: {ours} bytes, recorded {theirs}");
            }
            assert!(v2 < v1 && zstd <= v2, "{at}: {v1} {v2} {zstd}");
            let topology = 1.0 - native / v1;
            assert!(
                topology < 0.9 || v1 / v2 >= 4.0,
                "{at}: {topology:.2} of version 1 is topology, v2 is {v2} of {v1}"
            );
            savings.push(sizes.saving());
            if suite.id == "dense_3" {
                assert!(v2 - native <= 6.0 * 1024.0, "{at}: header of {} bytes", v2 - native);
            }
            // The payload of a residual stack is nothing, and that of four bits hardly shrinks.
            if suite.id == "dense_3" && row.name == "Int4" {
                assert!(zstd - native <= 2.5 * 1024.0, "{at}: header of {} bytes with zstd", zstd - native);
            }
        }
    }
    let mean = savings.iter().sum::<f64>() / savings.len() as f64;
    assert!((mean - 27.6).abs() <= 0.3, "mean saving {mean}");
}

#[test]
fn the_committed_tables_are_what_the_manifest_gives() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let (lucy, sizes) = measured();
    let committed = std::fs::read_to_string(root.join("reports/sizes.md")).expect("reports/sizes.md");
    assert!(committed == render::sizes::render(&lucy, &sizes), "run `bedrock sizes`");
}
