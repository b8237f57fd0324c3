//! `loom-stream` against what was recorded from the original bridge's binary, and against what
//! that does carelessly.
//!
//! The folder is named by `LOOM_VECTORS` (default `golden/loom-0.80`), the program by
//! `PLANETBRIDGING_LOOM_STREAM` (default: the one of this build). Answers must be equal in
//! every field, outputs within a part in a million of the largest, files equal to the byte. A vector
//! that depends on a defect of the original is skipped by the name of that quirk, and its outputs
//! must then differ.

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use libtest_mimic::{Arguments, Failed, Trial};
use serde_json::{Value, json};

/// Vectors that depend on a defect, and its name.
const QUIRKS: [(&str, &str); 2] = [
    ("mixer__mixer_all_v2__pytorch", "the norms of a mixer see the first row alone"),
    ("synthetic__mixer_all_v2", "the norms of a mixer see the first row alone"),
];

fn main() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let folder = std::env::var_os("LOOM_VECTORS").map_or_else(|| PathBuf::from("golden/loom-0.80"), PathBuf::from);
    let folder = if folder.exists() { folder } else { root.join(folder) }.join("stream");
    let args = Arguments::from_args();
    let cases = list(&folder, "index.json");
    let cases = cases["cases"].as_array().cloned().unwrap_or_default();
    let errors = list(&folder, "errors.json").as_array().cloned().unwrap_or_default();
    assert!(!cases.is_empty() && !errors.is_empty(), "{}: no vectors", folder.display());
    let mut trials: Vec<Trial> = CARELESS.iter().map(|&(name, run)| Trial::test(name, run)).collect();
    let mut skipped = 0;
    for case in cases {
        let (folder, name) = (folder.clone(), text(&case, "case").to_string());
        skipped += usize::from(quirk(&name).is_some());
        trials.push(Trial::test(format!("vector {name}"), move || vector(&folder, &case)));
    }
    for case in errors {
        let folder = folder.clone();
        trials.push(Trial::test(format!("error {}", text(&case, "name")), move || refusal(&folder, &case)));
    }
    let list_only = args.list;
    let end = libtest_mimic::run(&args, trials);
    if !list_only {
        let passed = end.num_passed as usize;
        println!("stream: {} passed, {} failed, {skipped} skipped", passed.saturating_sub(skipped), end.num_failed);
    }
    end.exit();
}

fn quirk(case: &str) -> Option<&'static str> {
    QUIRKS.iter().find(|(name, _)| *name == case).map(|(_, quirk)| *quirk)
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

fn list(folder: &Path, name: &str) -> Value {
    let bytes = std::fs::read(folder.join(name)).unwrap_or_default();
    serde_json::from_slice(&bytes).unwrap_or_default()
}

fn unpacked(path: &Path) -> Result<Vec<u8>, Failed> {
    let mut bytes = Vec::new();
    flate2::read::GzDecoder::new(std::fs::File::open(path)?).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// A folder of its own with the fixtures in it.
fn scratch(folder: &Path) -> Result<tempfile::TempDir, Failed> {
    let scratch = tempfile::tempdir()?;
    for bedrock in std::fs::read_dir(folder.join("fixtures"))? {
        let bedrock = bedrock?;
        let to = scratch.path().join("fixtures").join(bedrock.file_name());
        std::fs::create_dir_all(&to)?;
        for file in std::fs::read_dir(bedrock.path())? {
            let file = file?;
            std::fs::copy(file.path(), to.join(file.file_name()))?;
        }
    }
    Ok(scratch)
}

fn call(folder: &Path, args: &[&str], input: &[u8]) -> Result<Output, Failed> {
    call_of(&program(), folder, args, input)
}

fn program() -> PathBuf {
    std::env::var_os("PLANETBRIDGING_LOOM_STREAM")
        .map_or_else(|| env!("CARGO_BIN_EXE_loom-stream").into(), PathBuf::from)
}

fn call_of(program: &Path, folder: &Path, args: &[&str], input: &[u8]) -> Result<Output, Failed> {
    let mut child = Command::new(program)
        .args(args)
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    // A call that refuses its arguments reads nothing.
    let _ = child.stdin.take().expect("a pipe").write_all(input);
    Ok(child.wait_with_output()?)
}

fn vector(folder: &Path, case: &Value) -> Result<(), Failed> {
    let scratch = scratch(folder)?;
    let request = unpacked(&folder.join(text(case, "request")))?;
    let want: Value = serde_json::from_slice(&unpacked(&folder.join(text(case, "response")))?)?;
    let output = call(scratch.path(), &[], &request)?;
    if !output.status.success() || !output.stderr.is_empty() {
        return Err(format!("{}: {output:?}", output.status).into());
    }
    let got: Value = serde_json::from_slice(&output.stdout)?;
    let (Value::Object(mut got), Value::Object(mut want)) = (got, want) else { return Err("not an object".into()) };
    let [ours, theirs] = [&mut got, &mut want].map(|answer| answer.remove("outputs").unwrap_or(json!([])));
    if got != want {
        return Err(format!("answered {got:?}, recorded {want:?}").into());
    }
    let written = std::fs::read(scratch.path().join(got["entity_path"].as_str().unwrap_or_default()))?;
    if written != std::fs::read(folder.join(text(case, "entity")))? {
        return Err("the file has other bytes".into());
    }
    let [ours, theirs] = [&ours, &theirs].map(numbers);
    let largest = theirs.iter().fold(0.0, |most: f64, v| most.max(v.abs()));
    let apart = ours.iter().zip(&theirs).fold(0.0, |most: f64, (a, b)| most.max((a - b).abs()));
    let near = ours.len() == theirs.len() && apart <= 1e-6 * largest;
    match (quirk(text(case, "case")), near) {
        (None, true) | (Some(_), false) => Ok(()),
        (None, false) => Err(format!("outputs are up to {apart:e} apart, of {largest:e}").into()),
        (Some(quirk), true) => Err(format!("skipped for {quirk:?}, and yet the outputs agree").into()),
    }
}

fn numbers(rows: &Value) -> Vec<f64> {
    let rows = rows.as_array().into_iter().flatten().filter_map(Value::as_array);
    rows.flatten().filter_map(Value::as_f64).collect()
}

fn refusal(folder: &Path, case: &Value) -> Result<(), Failed> {
    let scratch = scratch(folder)?;
    let output = call(scratch.path(), &[], text(case, "stdin").as_bytes())?;
    let [out, err] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).to_string());
    let channels = (out.is_empty(), err.is_empty());
    let recorded = (text(case, "stdout").is_empty(), text(case, "stderr").is_empty());
    if output.status.code().map(i64::from) != case["exit"].as_i64() || channels != recorded {
        return Err(format!("{}, stdout {out:?}, stderr {err:?}", output.status).into());
    }
    // Elsewhere the wording is that of the original's JSON library.
    if case["message_is_the_bridges_own"] == json!(true) && out != text(case, "stdout") {
        return Err(format!("stdout {out:?}, recorded {:?}", text(case, "stdout")).into());
    }
    Ok(())
}

/// A test.
type Check = fn() -> Result<(), Failed>;

/// What the original does carelessly, and what this does.
const CARELESS: [(&str, Check); 9] = [
    ("a model id stays inside its folder", || {
        refused(
            &json!({"bedrock": "rmsnorm", "models_dir": "m", "payload": {"planet": "p", "model_id": "../x",
            "dim": 1, "layers": [{"dim": 1, "weights": [1]}]}, "skip_infer": true}),
            "is not a plain file name",
        )
    }),
    ("a short row of inputs is named", || {
        refused(&dense(json!([[1.0]]), json!([1, 2]), ""), "inputs[0] has 1 numbers; the model reads 2")
    }),
    ("an unknown activation is refused", || {
        refused(&dense(json!([[1, 2]]), json!([1, 2]), "swish9"), "unknown activation \"swish9\"; expected one of")
    }),
    ("a stride of 0 is refused", || {
        refused(
            &json!({"bedrock": "cnn1", "models_dir": "m", "skip_infer": true, "payload": {"input_channels": 1, "seq_len": 4,
            "layers": [{"in_channels": 1, "filters": 1, "input_length": 4, "kernel_size": 2, "weights": [1, 2]}]}}),
            "stride is 0; it must be at least 1",
        )
    }),
    ("a bias that the file has no place for is refused", || {
        refused(
            &json!({"bedrock": "cnn1", "models_dir": "m", "skip_infer": true, "payload": {"input_channels": 1, "seq_len": 4,
            "layers": [{"in_channels": 1, "filters": 1, "input_length": 4, "kernel_size": 2, "stride": 1,
            "weights": [1, 2], "bias": [0.5]}]}}),
            "bias",
        )
    }),
    ("a short bias of a projection is refused", || {
        refused(
            &json!({"bedrock": "mha", "models_dir": "m", "skip_infer": true, "payload": {"d_model": 2, "seq_len": 1,
            "layers": [{"d_model": 2, "seq_len": 1, "num_heads": 1, "head_dim": 2, "q_weights": [1, 0, 0, 1],
            "k_weights": [1, 0, 0, 1], "v_weights": [1, 0, 0, 1], "o_weights": [1, 0, 0, 1], "v_bias": [1]}]}}),
            "layer 0: v_bias len 1 != 2",
        )
    }),
    ("samples do not see each other", || {
        // Two equal samples of one position: the original attends from the second to the first.
        let one = |rows: Value| {
            let request = json!({"bedrock": "mha", "models_dir": "m", "inputs": rows, "payload": {"planet": "p",
                "model_id": "m", "d_model": 2, "seq_len": 1, "layers": [{"d_model": 2, "seq_len": 1, "num_heads": 1,
                "head_dim": 2, "q_weights": [1, 2, 3, 4], "k_weights": [1, 0, 0, 1], "v_weights": [1, 0, 0, 1],
                "o_weights": [1, 0, 0, 1]}]}});
            let output = call(tempfile::tempdir()?.path(), &[], request.to_string().as_bytes())?;
            Ok::<Value, Failed>(serde_json::from_slice(&output.stdout)?)
        };
        let both = one(json!([[1, 2], [-3, 4]]))?;
        let second = one(json!([[-3, 4]]))?;
        let same = both["outputs"][1] == second["outputs"][0] && second["outputs"][0] == json!([-3, 4]);
        if same { Ok(()) } else { Err(format!("{both} and {second}").into()) }
    }),
    ("no temporary file is left beside the one that was asked for", || {
        let folder = tempfile::tempdir()?;
        let request = dense(json!([[1, 2]]), json!([1, 2]), "gelu");
        let output = call(folder.path(), &["-entity-version", "2"], request.to_string().as_bytes())?;
        let files: Vec<_> = std::fs::read_dir(folder.path())?.collect::<Result<_, _>>()?;
        let alone = files.len() == 1 && files[0].file_name() == "o.entity";
        if output.status.success() && alone { Ok(()) } else { Err(format!("{output:?}, {files:?}").into()) }
    }),
    ("a GPU is asked for by bedrock beside it", || {
        // Beside the programs, so that one of them can be linked: a copy that another thread's child still holds open
        // for writing can't be started ("Text file busy").
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
        let request = dense(json!([[1, 2]]), json!([1, 2]), "gelu").to_string();
        let [own, bedrock] = [env!("CARGO_BIN_EXE_loom-stream"), env!("CARGO_BIN_EXE_bedrock")].map(Path::new);
        let handed = call_of(own, folder.path(), &["-backend", "gpu"], request.as_bytes())?;
        let asked = call_of(bedrock, folder.path(), &["stream", "--backend", "gpu"], request.as_bytes())?;
        if handed.stdout.is_empty() || (handed.status.code(), &handed.stdout) != (asked.status.code(), &asked.stdout) {
            return Err(format!("{handed:?}, {asked:?}").into());
        }
        let alone = folder.path().join("loom-stream");
        std::fs::hard_link(own, &alone)?;
        let refused = call_of(&alone, folder.path(), &["--backend", "gpu"], request.as_bytes())?;
        let said =
            String::from_utf8_lossy(&refused.stderr).contains("is served by the program bedrock beside this one");
        if refused.status.code() == Some(1) && said { Ok(()) } else { Err(format!("{refused:?}").into()) }
    }),
];

fn dense(inputs: Value, weights: Value, activation: &str) -> Value {
    json!({"bedrock": "dense", "output_path": "o.entity", "inputs": inputs, "payload": {"planet": "p", "model_id": "m",
        "input_dim": 2, "layers": [{"input_dim": 2, "output_dim": 1, "activation": activation, "weights": weights}]}})
}

/// The request must be refused with these words, as JSON on standard output, and leave nothing behind.
fn refused(request: &Value, words: &str) -> Result<(), Failed> {
    let folder = tempfile::tempdir()?;
    let output = call(folder.path(), &[], request.to_string().as_bytes())?;
    let answer: Value = serde_json::from_slice(&output.stdout)?;
    let said = text(&answer, "message").contains(words) && text(&answer, "status") == "error";
    let written = glob::glob(&format!("{}/**/*.entity", folder.path().display()))?.count();
    if output.status.code() == Some(1) && said && written == 0 {
        return Ok(());
    }
    Err(format!("{output:?}").into())
}
