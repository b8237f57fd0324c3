//! `bedrock entity` as people call it: files in, lines and files out, mistakes named.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn recorded(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../golden/loom-0.80/entity").join(name)
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn run(&self, args: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bedrock"));
        command.arg("entity").args(args).current_dir(self.0.path()).output().expect("a run")
    }

    #[track_caller]
    fn says(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("UTF-8")
    }

    #[track_caller]
    fn refuses(&self, args: &[&str], parts: &[&str]) {
        let output = self.run(args);
        let message = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(1), "{args:?}: {message}");
        parts.iter().for_each(|part| assert!(message.contains(part), "{part:?} is not in:\n{message}"));
        assert!(!message.contains("panicked"), "{message}");
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

#[test]
fn check_says_one_line_for_each_file() {
    let folder = Folder::new();
    let good = std::fs::read(recorded("layers/dense/int4.entity")).expect("a vector");
    std::fs::write(folder.path("good.entity"), &good).expect("written");
    let json = std::fs::read_to_string(recorded("layers/dense/int4.json")).expect("a vector");
    std::fs::write(folder.path("spaced.json"), json.replace(": ", ":   ")).expect("written");
    std::fs::write(folder.path("cut.entity"), &good[..good.len() - 1]).expect("written");
    std::fs::write(folder.path("other.entity"), b"PK\x03\x04").expect("written");
    let output = folder.run(&["check", "good.entity", "spaced.json", "cut.entity", "other.entity", "none.entity"]);
    assert_eq!(output.status.code(), Some(1));
    let lines = String::from_utf8(output.stdout).expect("UTF-8");
    let lines: Vec<&str> = lines.lines().collect();
    assert_eq!(lines[0], "good.entity: ok identical");
    assert_eq!(lines[1], "spaced.json: ok rewritten");
    for (line, start) in lines[2..].iter().zip([
        "cut.entity: error truncated: ",
        "other.entity: error magic: ",
        "none.entity: error io: ",
    ]) {
        assert!(line.starts_with(start), "{line}");
    }
    assert_eq!(lines.len(), 5);
    assert!(folder.says(&["check", "good.entity", "spaced.json"]).lines().count() == 2);
}

#[test]
fn convert_and_back_is_the_same_file() {
    let folder = Folder::new();
    let source = recorded("layers/parallel/ternary.entity");
    folder.says(&["convert", text(&source), "a.entity", "--zstd"]);
    folder.says(&["convert", "a.entity", "b.entity", "--to", "v1"]);
    let [before, after] = [source.clone(), folder.path("b.entity")].map(|path| std::fs::read(path).expect("a file"));
    assert_eq!(before, after);
    folder.says(&["convert", "b.entity", "c.json"]);
    assert_eq!(std::fs::read(folder.path("c.json")).ok(), std::fs::read(recorded("layers/parallel/ternary.json")).ok());
    assert_eq!(folder.says(&["diff", "a.entity", "c.json"]), "same topology, same weights\n");
    folder.says(&["convert", "a.entity", "d.entity", "--dtype", "int8"]);
    let output = folder.run(&["diff", "a.entity", "d.entity"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stdout).contains("max |Δ|"));
    folder.refuses(&["convert", "a.entity", "e.json", "--zstd"], &["--zstd is for v2"]);
    folder.says(&["convert", "a.entity", "u.entity", "--dtype", "uint8"]);
    folder.refuses(&["convert", "u.entity", "f.entity", "--to", "v1"], &["version 1", "would be read as"]);
    assert!(!folder.path("f.entity").exists() && !folder.path("e.json").exists());
}

#[test]
fn run_reads_and_writes_arrays() {
    let folder = Folder::new();
    let file = recorded("layers/grid222/float32.entity");
    std::fs::write(folder.path("x.json"), "[[0.5, -0.25, 1, 2], [1, 2, 3, 4]]").expect("written");
    let nested = folder.says(&["run", text(&file), "--input", "x.json"]);
    let rows: Vec<Vec<f32>> = serde_json::from_str(&nested).expect("nested arrays");
    assert_eq!((rows.len(), rows[0].len()), (2, 4));
    folder.says(&["run", text(&file), "--input", "x.json", "--output", "y.npy"]);
    let y = loom_bedrocks::npz::read_npy(&folder.path("y.npy")).expect("an array");
    assert_eq!(y.shape, [2, 4]);
    assert_eq!(y.data, loom_bedrocks::npz::Data::F32(rows.concat()));
    folder.says(&["run", text(&file), "--input", "y.npy", "--output", "z.json"]);
    std::fs::write(folder.path("ragged.json"), "[[1, 2], [3]]").expect("written");
    std::fs::write(folder.path("words.json"), "[\"one\"]").expect("written");
    std::fs::write(folder.path("narrow.json"), "[[1, 2, 3]]").expect("written");
    for (input, part) in [
        ("ragged.json", "ragged"),
        ("words.json", "where a number"),
        ("narrow.json", "4 elements each"),
        ("none.npy", "none.npy"),
        ("x.txt", ".npy, .npz or .json"),
    ] {
        folder.refuses(&["run", text(&file), "--input", input], &[part]);
    }
    folder.refuses(&["run", text(&file), "--input", "x.json", "--output", "y.txt"], &["an output is"]);
}

/// A message that ends with its cause once is not followed by the cause again.
#[test]
fn the_cause_is_told_once_where_an_array_is_not_there() {
    let (folder, file) = (Folder::new(), recorded("layers/dense/int4.entity"));
    std::fs::create_dir(folder.path("folder.npy")).expect("made");
    for (input, cause) in [("none.npy", "os error 2"), ("none.npz", "os error 2"), ("folder.npy", "is a folder")] {
        let output = folder.run(&["run", text(&file), "--input", input]);
        let message = String::from_utf8(output.stderr).expect("UTF-8");
        assert!(message.starts_with(&format!("error: {input}: ")), "{message}");
        assert_eq!(message.matches(cause).count(), 1, "{message}");
    }
}

#[test]
fn inspect_shows_every_layer() {
    let folder = Folder::new();
    let file = recorded("transformer/int4_untied.entity");
    let shown = folder.says(&["inspect", text(&file)]);
    for part in
        ["grid 1×1×1", "llama_style_decoder", "q4_0.203", "q_norm", "transformer.lm_head", "4 layers, 7904 weights"]
    {
        assert!(shown.contains(part), "{part:?} is not in:\n{shown}");
    }
    let json: serde_json::Value =
        serde_json::from_str(&folder.says(&["inspect", text(&file), "--json"])).expect("JSON");
    assert_eq!(json["layers"].as_array().map(Vec::len), Some(4));
    assert_eq!(json["layers"][1]["settings"]["d_model"], "32");
}
