//! `bedrock entity` on files and names that mean harm: nothing reaches the terminal as more than text,
//! nothing that differs is called the same, nothing small takes much.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use loom_core::format::{BlobId, Checkpoint, Format, OnLoss, Open, save};
use loom_core::{LayerSpec, Network, NetworkSpec, WeightTable};

fn recorded(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../golden/loom-0.80/entity").join(name)
}

fn entity(folder: &Path, args: &[&str]) -> (Option<i32>, String) {
    said(Command::new(env!("CARGO_BIN_EXE_bedrock")).arg("entity").args(args).current_dir(folder).output())
}

fn said(output: std::io::Result<Output>) -> (Option<i32>, String) {
    let output = output.expect("a run");
    let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    assert!(!text.contains("panicked"), "{text}");
    (output.status.code(), text)
}

/// A text that a terminal would obey, and that forges a line.
const EVIL: &str = "\\u001b]0;owned\\u0007\\nfine.json: ok identical\\u009b31m\\u202e";

#[test]
fn texts_of_files_are_never_obeyed() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    let json = std::fs::read_to_string(recorded("layers/kmeans/float32.json")).expect("a recorded file");
    let mode = json.find("\"softmax_type\"").expect("a key");
    let with = |key: &str| format!("{}\"{key}\": \"{EVIL}\",\n{}", &json[..mode], &json[mode..]);
    std::fs::write(at("plain.json"), &json).expect("written");
    std::fs::write(at("combine.json"), with("combine_mode")).expect("written");
    std::fs::write(at("unknown.json"), with(EVIL)).expect("written");
    for args in [
        vec!["diff", "combine.json", "plain.json"],
        vec!["diff", "plain.json", "combine.json"],
        vec!["inspect", "combine.json"],
        vec!["inspect", "combine.json", "--json"],
        vec!["check", "combine.json", "unknown.json"],
        vec!["inspect", "unknown.json"],
        vec!["convert", "unknown.json", "out.entity"],
    ] {
        let (_, text) = entity(folder.path(), &args);
        assert!(text.chars().all(|c| c == '\n' || !c.is_control() && c != '\u{202e}'), "{args:?}: {text:?}");
        assert!(!text.lines().any(|line| line.starts_with("fine.json")), "{args:?}: {text}");
        assert!(text.contains("owned"), "{args:?} shows what is there: {text}");
    }
    let (_, shown) = entity(folder.path(), &["inspect", "combine.json", "--json"]);
    assert!(serde_json::from_str::<serde_json::Value>(&shown).is_ok(), "{shown}");
}

#[cfg(unix)]
#[test]
fn names_of_files_forge_no_lines() {
    let folder = tempfile::tempdir().expect("a folder");
    let name = "a.entity\nfine.entity: ok identical\x1b[31m.entity";
    std::fs::copy(recorded("layers/dense/int4.entity"), folder.path().join(name)).expect("copied");
    std::fs::write(folder.path().join("x\x1b.json"), "{").expect("written");
    for args in [
        vec!["check", name],
        vec!["inspect", name],
        vec!["diff", name, name],
        vec!["diff", name, "none\nfine.entity: ok identical"],
        vec!["convert", name, "b\nfine.entity: c\x1b.entity"],
        vec!["convert", name, "none/\nfine.entity: c\x1b.entity"],
        vec!["run", name, "--input", "x\x1b.json"],
        vec!["run", name, "--input", "none\nfine.entity: ok identical\x1b.npy"],
    ] {
        let (_, text) = entity(folder.path(), &args);
        assert!(!text.is_empty() && !text.contains('\x1b'), "{args:?}: {text:?}");
        assert!(!text.lines().any(|line| line.starts_with("fine.entity")), "{args:?}: {text}");
    }
}

#[test]
fn everything_that_differs_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    let file = std::fs::read(recorded("transformer/int4_untied.entity")).expect("a recorded file");
    std::fs::write(at("a.entity"), &file).expect("written");
    let checkpoint = Checkpoint::open(&at("a.entity"), Open::default()).expect("read");
    let differs = |what: &str, told: &str| {
        for args in [["diff", "a.entity", "b.entity"], ["diff", "b.entity", "a.entity"]] {
            let (code, text) = entity(folder.path(), &args);
            assert_eq!(code, Some(1), "{what}: {text}");
            assert!(text.contains(told) && !text.contains("same weights"), "{what}: {text}");
        }
    };
    // One bit of one weight, in every blob that there is.
    for (id, _) in checkpoint.blobs() {
        let bytes = checkpoint.bytes(id).expect("bytes");
        let places: Vec<usize> =
            (0..file.len() - bytes.len() + 1).filter(|&i| file[i..i + bytes.len()] == *bytes).collect();
        let mut other = file.clone();
        // Q4_0 is padded; its first scale stands behind two numbers. A quarter of a float's mantissa.
        let i = places[places.len() - 1] + if id.to_string().contains("q4_0") { 8 } else { bytes.len() - 4 };
        other[i + 2] ^= 0x10;
        std::fs::write(at("b.entity"), other).expect("written");
        let name = id.to_string();
        let told = if matches!(id, BlobId::Layer(..)) { "layers." } else { &name };
        differs(&name, told);
    }
    let text = String::from_utf8_lossy(&file).into_owned();
    for (from, to) in [("\"vocab_size\":", "vocab_size"), ("\"weight_dtype\":\"", "weight_dtype")] {
        let place = text.find("\"transformer\"").expect("a section");
        let i = place + text[place..].find(from).expect("a key") + from.len();
        let mut other = file.clone();
        other[i] = if other[i] == b'1' { b'2' } else { b'1' };
        std::fs::write(at("b.entity"), other).expect("written");
        differs(to, to);
    }
    let mut tiled = checkpoint.clone();
    tiled.set_tile_size(64);
    tiled.save(&at("b.entity"), Format::V2, OnLoss::Refuse).expect("written");
    differs("tiles", "tile_size");
    let json = std::fs::read_to_string(recorded("layers/meta/float32.json")).expect("a recorded file");
    std::fs::write(at("a.entity"), &json).expect("written");
    let threshold = json.find("\"Threshold\": ").expect("a rule") + "\"Threshold\": ".len();
    std::fs::write(at("b.entity"), format!("{}1{}", &json[..threshold], &json[threshold..])).expect("written");
    differs("a rule", "meta_rules");
}

fn network(layers: Vec<LayerSpec>) -> Network {
    Network::build(NetworkSpec::stack(layers), &mut WeightTable::new()).expect("a network")
}

fn layer(json: &str) -> LayerSpec {
    serde_json::from_str(json).expect("a layer")
}

/// The program with as much address space as it may have, in KiB.
#[cfg(target_os = "linux")]
fn limited(folder: &Path, kib: u32, args: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new("sh");
    command.arg("-c").arg(format!("ulimit -v {kib}; exec \"$0\" entity \"$@\"")).arg(env!("CARGO_BIN_EXE_bedrock"));
    said(command.args(args).env("RAYON_NUM_THREADS", "2").current_dir(folder).output())
}

#[cfg(target_os = "linux")]
#[test]
fn small_files_take_little_memory() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    std::fs::write(at("x.json"), "[[1, 2, 3, 4]]").expect("written");
    let twice = r#"{"parallel": {"branches": [{"layer": {"residual": {}}}, {"layer": {"residual": {}}}]}}"#;
    save(&network(vec![layer(twice); 60]), &at("double.entity"), Format::V2).expect("written");
    let (code, text) = limited(folder.path(), 2 << 20, &["run", "double.entity", "--input", "x.json"]);
    assert!(code == Some(1) && text.contains("a run may hold"), "{code:?}: {text}");
    let (code, text) =
        limited(folder.path(), 2 << 20, &["run", "double.entity", "--input", "x.json", "--elements", "1000"]);
    assert!(code == Some(1) && text.contains("may hold 1000"), "{code:?}: {text}");

    // As many layers as a file of this size may describe.
    save(&network(vec![layer(r#"{"residual": {}}"#); 65_536]), &at("many.entity"), Format::V2).expect("written");
    assert!(std::fs::metadata(at("many.entity")).expect("a file").len() < 300);
    for args in [
        vec!["check", "many.entity"],
        vec!["inspect", "many.entity"],
        vec!["inspect", "many.entity", "--json"],
        vec!["diff", "many.entity", "many.entity"],
        vec!["convert", "many.entity", "many.json"],
        vec!["convert", "many.entity", "many.v1", "--to", "v1"],
        vec!["run", "many.entity", "--input", "x.json"],
    ] {
        let (code, text) = limited(folder.path(), 1 << 20, &args);
        assert_eq!(code, Some(0), "{args:?}: {}", &text[..text.len().min(300)]);
    }
    let (code, text) = entity(folder.path(), &["check", "many.entity", "--budget", "1"]);
    assert!(code == Some(1) && text.starts_with("many.entity: error limit: "), "{text}");
}

#[test]
fn inputs_and_sizes() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    std::fs::write(at("x.json"), "[[1, 2, 3, 4]]").expect("written");
    let file = recorded("layers/grid222/float32.entity");
    let path = file.to_str().expect("UTF-8");
    let (code, text) = entity(folder.path(), &["run", path, "--input", "x.json", "--input", "x.json"]);
    assert!(code == Some(1) && text.contains("2 inputs were given, and the network reads 1"), "{text}");
    std::fs::copy(&file, at("a.entity")).expect("copied");
    let before = std::fs::metadata(at("a.entity")).expect("a file").len();
    let (_, text) = entity(folder.path(), &["convert", "a.entity", "a.entity", "--to", "v2"]);
    let after = std::fs::metadata(at("a.entity")).expect("a file").len();
    assert!(before != after && text.contains(&format!("{after} bytes (from {before})")), "{text}");
    assert_eq!(Checkpoint::open(&at("a.entity"), Open::default()).expect("read").topology().layers().len(), 16);
}
