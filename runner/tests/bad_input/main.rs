//! Bad input: every mistake ends with a message that names file, place, cause and cure, with
//! the right exit status, and with nothing written.

#[path = "../common/mod.rs"]
mod common;
mod goldens;

use std::fs;
use std::process::Command;

use common::Project;

impl Project {
    /// Runs `bedrock` and checks its exit status, its messages and that it wrote nothing.
    #[track_caller]
    fn refuses(&self, args: &[&str], status: i32, parts: &[&str]) {
        let output = self.command(args).output().expect("a run");
        let message = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(status), "{message}");
        for part in parts {
            assert!(message.contains(part), "{part:?} is not in:\n{message}");
        }
        assert!(!message.contains("panicked"), "{message}");
        assert!(!self.path("reports").exists(), "reports were written:\n{message}");
    }

    fn replace(&self, name: &str, from: &str, to: &str) {
        let text = fs::read_to_string(self.path(name)).expect("a file");
        assert!(text.contains(from), "{name} has no {from:?}");
        fs::write(self.path(name), text.replacen(from, to, 1)).expect("written");
    }
}

const RUN: &[&str] = &["--bedrock", "dense", "--model", "linear_16_4"];

#[test]
fn the_copy_is_green_as_it_is() {
    let project = Project::new();
    let output = project.command(RUN).output().expect("a run");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(project.path("reports/PROGRESS.md").exists());
}

#[test]
fn bands_that_allow_anything() {
    for band in [
        "{ atol: .inf }",
        "{ atol: .nan }",
        "{ atol: -1.0 }",
        "{ atol: 0.0, rtol: 1e308 }",
        "{ atol: 0.0, nmse: .inf }",
    ] {
        let project = Project::new();
        project.replace(
            "manifests/dense.yaml",
            "fixture:",
            &format!("bands: {{ parity: {{ original: {band} }} }}\nfixture:"),
        );
        project.refuses(RUN, 2, &["manifests/dense.yaml: bands:", "a band that means something"]);
    }
    let project = Project::new();
    project.refuses(&["--ulp", "99999999999"], 2, &["--ulp"]);
}

#[test]
fn content_of_a_manifest_that_would_have_no_effect() {
    let cases: &[(&str, &str, &[&str])] = &[
        ("    weights:", "    skips: { 0: 0 }\n    weights:", &["skips: layer 0 is dense, which adds nothing"]),
        (
            "inputs: [{ array: x_test, take: [16] }]",
            "inputs: [{ array: x_test, take: [16] }, { array: x_unit }]",
            &["no layer reads or adds input 1"],
        ),
        (
            "    weights:",
            "    overrides: [{ planet: pytroch, why: a test }]\n    weights:",
            &["override for planet \"pytroch\" matches none"],
        ),
        ("    weights:", "    overrides: [{ why: \" \" }]\n    weights:", &["override: `why` needs a reason"]),
    ];
    for (from, to, parts) in cases {
        let project = Project::new();
        project.replace("manifests/dense.yaml", from, to);
        project.refuses(RUN, 2, &[&["manifests/dense.yaml:", "model linear_16_4"], *parts].concat());
    }
}

#[test]
fn a_reader_that_goes_away_changes_no_verdict() {
    let project = Project::new();
    project.replace("manifests/_defaults.yaml", "original: { atol: 1e-5,", "original: { atol: 1e-12,");
    let bedrock = env!("CARGO_BIN_EXE_bedrock");
    let script = format!("set -o pipefail; {bedrock} --bedrock dense --no-report | head -n 1");
    let status = project.program("bash", &["-c", &script]).output().expect("a run").status;
    assert_eq!(status.code(), Some(1));
}

#[test]
fn rows_of_a_changed_case_do_not_survive_in_the_report() {
    let project = Project::new();
    let run = |args: &[&str]| project.command(args).output().expect("a run");
    assert!(run(RUN).status.success());
    assert!(fs::read_to_string(project.path("reports/cpu.json")).expect("a report").contains("linear_16_4/parity/jax"));
    project.replace("manifests/dense.yaml", "output_dim: 4 }", "output_dim: 4, activation: sigmoid }");
    assert!(run(&["--bedrock", "dense", "--model", "linear_32_4"]).status.success());
    let report = fs::read_to_string(project.path("reports/cpu.json")).expect("a report");
    assert!(!report.contains("linear_16_4/") && report.contains("linear_32_4/parity/jax"));
}

#[test]
fn unknown_names() {
    let project = Project::new();
    project.refuses(&["--bedrock", "dens"], 2, &["unknown bedrock \"dens\"", "did you mean \"dense\"?"]);
    project.refuses(
        &["--bedrock", "dense", "--model", "linear_16_5"],
        2,
        &["unknown model \"linear_16_5\"", "did you mean \"linear_16_4\"?"],
    );
    project.refuses(
        &["--bedrock", "dense", "--planet", "pytroch"],
        2,
        &["unknown planet \"pytroch\"", "did you mean \"pytorch\"?"],
    );
    project.refuses(&["--bedrock", "dense", "--check", "speed"], 2, &["speed", "parity"]);
    project.refuses(
        &["--explain", "dense/linear_16_4/parity/jaxx"],
        2,
        &["unknown case", "did you mean \"dense/linear_16_4/parity/jax\"?"],
    );
    project.refuses(&["--bedrock", "dense", "--shard", "3/2"], 2, &["3/2", "I ≤ N"]);
    project.refuses(&["--isa", "sse9"], 2, &["sse9", "avx512"]);
    project.refuses(&["--dtype", "int3"], 2, &["unknown dtype \"int3\"", "did you mean"]);
    project.refuses(&["--numerics", "std"], 2, &["unknown numerics profile", "loom, standard"]);
    project.refuses(&["--bedrock", "dense", "--dtype", "int4", "--planet", "jax"], 2, &["holds no case"]);
    let bench = &["bench", "kernels", "--dtype", "int4", "--python", "no-such-python"];
    project.refuses(bench, 1, &["no-such-python", "--python or BEDROCK_PYTHON"]);
}

#[test]
fn empty_selection() {
    let project = Project::new();
    project.refuses(&["--bedrock", "dense", "--filter", "nothing/*"], 2, &["holds no case", "--list"]);
    project.refuses(&["--bedrock", "dense", "--model", "linear_16_4", "--shard", "400/400"], 2, &["holds no case"]);
    project.refuses(&["--bedrock", "dense", "--filter", "[a"], 2, &["bad glob"]);
}

#[test]
fn malformed_yaml() {
    let yaml = "manifests/dense.yaml";
    let cases: &[(&str, &str, &[&str])] = &[
        (
            "origin: original",
            "origin: orignal",
            &["orignal", "original", "line 13 column 13", "--> manifests/dense.yaml:13:13"],
        ),
        ("    inputs:", "    input:", &["unknown field", "input"]),
        ("title: Fully", "title: Fully\ntitle: Twice", &["duplicate", "title"]),
        ("models:", "models: [", &["dense.yaml"]),
        ("input_dim: 16,", "input_dim: sixteen,", &["sixteen"]),
        ("input_dim: 16,", "input_dim: 0,", &["dense.yaml:", "model linear_16_4", "input_dim is 0"]),
        ("input_dim: 16,", "input_dims: 16,", &["input_dims"]),
        ("- id: linear_16_4", "- id: linear_32_4", &["model linear_32_4", "occurs twice"]),
        ("array: x_test,", "array: x_tset,", &["unknown fixture array \"x_tset\"", "did you mean \"x_test\"?"]),
        ("bedrock: dense", "bedrock: mha", &["bedrock is \"mha\"", "the file's name says \"dense\""]),
    ];
    for (from, to, parts) in cases {
        let project = Project::new();
        project.replace(yaml, from, to);
        project.refuses(&["--bedrock", "dense"], 2, &[&[yaml], *parts].concat());
    }
    let project = Project::new();
    fs::remove_file(project.path(yaml)).expect("removed");
    project.refuses(&["--bedrock", "dense"], 2, &[yaml, "No such file"]);
}

#[test]
fn a_path_that_leaves_the_golden_folder() {
    let project = Project::new();
    project.replace("manifests/dense.yaml", "- id: linear_16_4", "- id: ../../secret");
    project.refuses(
        &["--bedrock", "dense"],
        2,
        &["manifests/dense.yaml:", "../../secret", "lower-case letters, digits and underscores"],
    );
}

#[test]
fn too_few_cases() {
    let project = Project::new();
    project.replace("manifests/dense.yaml", "parity: 6", "parity: 96");
    let output = project.command(&["--bedrock", "dense", "--no-report"]).output().expect("a run");
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("min_cases of manifests/dense.yaml asks for 96"));
}

#[test]
fn a_rule_that_matches_nothing_and_a_pass_that_was_not_expected() {
    let rule = |glob: &str| {
        format!("expect:\n  - match: {{ model: {glob} }}\n    outcome: diff\n    because: for a test\nfixture:")
    };
    let project = Project::new();
    project.replace("manifests/dense.yaml", "fixture:", &rule("nothing"));
    project.refuses(RUN, 2, &["expect rule 0", "matches no case"]);
    let project = Project::new();
    project.replace("manifests/dense.yaml", "fixture:", &rule("linear_16_4"));
    let args = [RUN, &["--no-report"]].concat();
    project.refuses(&args, 1, &["XPASS dense/linear_16_4/parity/pytorch", "remove the rule"]);
}

#[test]
fn a_skipped_case_is_not_run_and_says_why() {
    let project = Project::new();
    let rule = "expect:\n  - match: { model: linear_16_4, planet: jax }\n    outcome: skip\n    because: needs a bigger machine\nfixture:";
    project.replace("manifests/dense.yaml", "fixture:", rule);
    // Red without the rule: the model is not the planet's any more.
    project.replace("manifests/dense.yaml", "output_dim: 4 }", "output_dim: 4, activation: sigmoid }");
    let args = [RUN, &["--planet", "jax", "--no-report"]].concat();
    project.refuses(
        &args,
        0,
        &["SKIP dense/linear_16_4/parity/jax: needs a bigger machine", "green: 1 case, 1 XFAIL or SKIP"],
    );
}

#[test]
fn outside_a_project() {
    let folder = tempfile::tempdir().expect("a folder");
    let output = Command::new(env!("CARGO_BIN_EXE_bedrock")).current_dir(folder.path()).output().expect("a run");
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("go to the project, or give --manifests and --golden"));
}

#[test]
fn blessing_needs_a_reason_and_a_working_python() {
    let project = Project::new();
    project.refuses(&["bless", "dense", "--planet", "jax"], 2, &["--accept"]);
    project.refuses(&["bless", "dense", "--planet", "jax", "--accept", ""], 2, &["--accept"]);
    let args = ["bless", "dense", "--planet", "jax", "--accept", "why", "--python", "/nowhere/python"];
    project.refuses(&args, 1, &["cannot start /nowhere/python", "BEDROCK_PYTHON"]);
}
