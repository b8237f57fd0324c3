//! What stands where a file is expected or is written: links, pipes, devices, full disks, other runs.
#![cfg(unix)]

mod common;

use std::fs::{self, File};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, symlink};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use common::{Project, root};

const BEDROCK: &str = env!("CARGO_BIN_EXE_bedrock");
const RUN: &[&str] = &["--bedrock", "dense", "--model", "linear_16_4", "--lane", "cpu", "--dtype", "float32"];

impl Project {
    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).expect("a file")
    }

    /// The end of a run that must not wait for anything.
    #[track_caller]
    fn run(&self, args: &[&str]) -> (i32, String) {
        let mut child = self.command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("a run");
        let ended = ends(&mut child, Duration::from_secs(60));
        assert!(ended, "{args:?} is still running");
        said(&child.wait_with_output().expect("an end"))
    }

    #[track_caller]
    fn refuses(&self, args: &[&str], status: i32, parts: &[&str]) {
        let (code, message) = self.run(args);
        assert_eq!(code, status, "{args:?}: {message}");
        parts.iter().for_each(|part| assert!(message.contains(part), "{part:?} is not in:\n{message}"));
        assert!(!message.contains("panicked"), "{message}");
    }

    #[track_caller]
    fn runs(&self, args: &[&str]) -> String {
        let (code, message) = self.run(args);
        assert_eq!(code, 0, "{args:?}: {message}");
        message
    }

    /// The ids of a lane's rows.
    fn ids(&self, reports: &str) -> Vec<String> {
        let report: serde_json::Value =
            serde_json::from_str(&self.text(&format!("{reports}/cpu.json"))).expect("a report");
        let rows = report["rows"].as_array().expect("rows").iter();
        rows.map(|row| row["id"].as_str().expect("an id").to_string()).collect()
    }
}

/// Whether a child ends in this time; it is ended when it does not.
fn ends(child: &mut Child, within: Duration) -> bool {
    let start = Instant::now();
    while start.elapsed() < within {
        if child.try_wait().expect("a child").is_some() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let _ = child.kill();
    false
}

fn said(output: &Output) -> (i32, String) {
    let message = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    (output.status.code().unwrap_or(-1), message)
}

fn pipe(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().expect("mkfifo").success());
}

fn full() -> File {
    File::options().write(true).open("/dev/full").expect("a full device")
}

fn recorded(name: &str) -> String {
    root().join("golden/loom-0.80/entity/layers/dense").join(name).display().to_string()
}

#[test]
fn outputs_are_written_through_links_and_replace_no_device() {
    let project = Project::new();
    let source = recorded("int4.entity");
    fs::write(project.path("real.entity"), "old").expect("written");
    symlink("real.entity", project.path("link.entity")).expect("a link");
    project.runs(&["entity", "convert", &source, "link.entity", "--to", "v1"]);
    assert!(fs::symlink_metadata(project.path("link.entity")).expect("there").is_symlink());
    assert_eq!(fs::read(project.path("real.entity")).expect("there"), fs::read(&source).expect("there"));
    pipe(&project.path("pipe.entity"));
    symlink("pipe.npy", project.path("link.npy")).expect("a link");
    pipe(&project.path("pipe.npy"));
    fs::write(project.path("x.json"), "[[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]]").expect("written");
    project.refuses(&["entity", "convert", &source, "pipe.entity"], 1, &["pipe.entity: ", "is a pipe"]);
    let run = ["entity", "run", &source, "--input", "x.json", "--output", "link.npy"];
    project.refuses(&run, 1, &["cannot write link.npy", "is a pipe"]);
    for name in ["pipe.entity", "pipe.npy"] {
        assert!(fs::symlink_metadata(project.path(name)).expect("there").file_type().is_fifo());
    }
    // No message names the temporary file.
    let (code, message) = project.run(&["entity", "convert", &source, "none/a.entity"]);
    assert!(code == 1 && message.contains("none/a.entity") && !message.contains(".tmp"), "{message}");
    project.refuses(&["entity", "check", "pipe.entity"], 1, &["pipe.entity: error io", "is a pipe"]);
    project.refuses(&["entity", "run", "pipe.entity", "--input", "x.json"], 1, &["is a pipe"]);
    project.refuses(&["entity", "run", &source, "--input", "pipe.npy"], 1, &["pipe.npy: is a pipe"]);
}

#[test]
fn modes_and_the_umask_hold() {
    use std::os::unix::fs::PermissionsExt as _;
    let project = Project::new();
    fs::write(project.path("private.entity"), "old").expect("written");
    fs::set_permissions(project.path("private.entity"), fs::Permissions::from_mode(0o640)).expect("set");
    let script = format!(
        "umask 077; for f in private fresh; do {BEDROCK} entity convert {} $f.entity; done; {BEDROCK} {}",
        recorded("int4.entity"),
        RUN.join(" ")
    );
    let (code, message) = said(&project.program("sh", &["-c", &script]).output().expect("a run"));
    assert_eq!(code, 0, "{message}");
    for (name, mode) in [("private.entity", 0o640), ("fresh.entity", 0o600), ("reports/cpu.json", 0o600)] {
        assert_eq!(fs::metadata(project.path(name)).expect("there").mode() & 0o777, mode, "{name}");
    }
}

#[test]
fn pipes_and_devices_in_place_of_what_is_read() {
    for (name, status) in [
        ("manifests/dense.yaml", 2),
        ("manifests/_defaults.yaml", 2),
        ("golden/dense/index.yaml", 1),
        ("golden/dense/core.yaml", 1),
        ("golden/dense/fixture.npz", 1),
        ("golden/dense/sklearn/linear_16_4.npz", 1),
    ] {
        for device in [false, true] {
            let project = Project::new();
            fs::remove_file(project.path(name)).expect("removed");
            // The project is found by a file of this name.
            let folders = ["--manifests", "manifests", "--golden", "golden"];
            let what = if device { "is a device" } else { "is a pipe" };
            match device {
                true => symlink("/dev/zero", project.path(name)).expect("a link"),
                false => pipe(&project.path(name)),
            }
            project.refuses(&[RUN, &folders].concat(), status, &[name, what]);
            assert!(!project.path("reports").exists());
        }
    }
    let project = Project::new();
    fs::create_dir(project.path("reports")).expect("a folder");
    pipe(&project.path("reports/cpu.json"));
    project.refuses(RUN, 1, &["reports/cpu.json", "is a pipe"]);
    fs::remove_file(project.path("manifests/lucy.yaml")).expect("removed");
    symlink("lucy.yaml", project.path("manifests/lucy.yaml")).expect("a link");
    project.refuses(&["sizes"], 2, &["lucy.yaml", "symbolic links"]);
}

#[test]
fn links_in_circles_in_the_golden_folder() {
    let project = Project::new();
    for name in ["a", "b"] {
        symlink(".", project.path("golden/dense").join(name)).expect("a link");
    }
    symlink("/", project.path("golden/dense/jax/everything")).expect("a link");
    let links = ["golden/dense/a: no index lists it", "dense/b: no index", "golden/dense/jax/everything: no index"];
    project.refuses(&["verify"], 1, &links);
}

#[test]
fn text_with_a_mark_is_read_and_utf16_is_told() {
    let project = Project::new();
    let source = recorded("int4.entity");
    let marked = |text: &str| [b"\xef\xbb\xbf", text.as_bytes()].concat();
    let wide = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
    let x = "[[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]]";
    fs::write(project.path("x.json"), marked(x)).expect("written");
    fs::write(project.path("wide.json"), wide(x)).expect("written");
    let run = |input| ["entity", "run", &source, "--input", input];
    project.runs(&run("x.json"));
    project.refuses(&run("wide.json"), 1, &["wide.json", "is UTF-16 text; save it as UTF-8"]);
    let json = fs::read_to_string(recorded("int4.json")).expect("a vector");
    fs::write(project.path("net.json"), marked(&json)).expect("written");
    fs::write(project.path("wide.json"), wide(&json)).expect("written");
    // The original refuses marks in checkpoints, and so do we.
    project.refuses(&["entity", "check", "net.json"], 1, &["error json", "a byte order mark before the document"]);
    project.refuses(&["entity", "check", "wide.json"], 1, &["error magic", "save UTF-16 text as UTF-8"]);
    let manifest = project.text("manifests/dense.yaml");
    fs::write(project.path("manifests/dense.yaml"), marked(&manifest)).expect("written");
    project.runs(&[RUN, &["--list"]].concat());
    fs::write(project.path("manifests/dense.yaml"), wide(&manifest)).expect("written");
    project.refuses(RUN, 2, &["manifests/dense.yaml", "is UTF-16 text; save it as UTF-8"]);
    let request = r#"{"bedrock": "dense", "root": ""}"#;
    for (bytes, what) in [
        (marked(request), "models_dir or output_path required"),
        (wide(request), "the document is UTF-16 text; send UTF-8"),
        (b"\xef\xbb\xbf".to_vec(), "stdin JSON required"),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_loom-stream"));
        let pipes = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = pipes.spawn().expect("a run");
        // A byte at a time, as a slow writer sends it.
        let mut input = child.stdin.take().expect("a pipe");
        for byte in bytes.chunks(1) {
            std::io::Write::write_all(&mut input, byte).expect("written");
        }
        drop(input);
        let (code, message) = said(&child.wait_with_output().expect("an end"));
        assert!(code == 1 && message.contains(what), "{code} {message}");
    }
}

#[test]
fn a_standard_error_that_takes_nothing_changes_no_exit_status() {
    let project = Project::new();
    let status = |program: &str, args: &[&str]| {
        let mut command = project.program(program, args);
        command.stdout(Stdio::null()).stderr(full()).status().expect("a run").code()
    };
    let stream = env!("CARGO_BIN_EXE_loom-stream");
    assert_eq!(status(BEDROCK, &["--bedrock", "nowhere"]), Some(2));
    assert_eq!(status(BEDROCK, &["--no-such-option"]), Some(2));
    assert_eq!(status(BEDROCK, &["entity", "inspect", "none.entity"]), Some(1));
    assert_eq!(status(BEDROCK, &[RUN, &["--ulp", "0"]].concat()), Some(1));
    assert_eq!(status(stream, &[]), Some(1));
    assert_eq!(status(stream, &["--no-such-option"]), Some(2));
}

#[test]
fn a_full_standard_output_loses_no_report() {
    let project = Project::new();
    let ended = project.command(RUN).stdout(full()).stderr(Stdio::null()).status().expect("a run");
    assert_eq!(ended.code(), Some(1));
    assert!(project.ids("reports").contains(&"dense/linear_16_4/parity/jax".to_string()));
    assert!(project.path("reports/PROGRESS.md").exists());
    let help = project.command(&["--help"]).stdout(full()).stderr(Stdio::null()).status().expect("a run");
    assert_eq!(help.code(), Some(1));
}

#[test]
fn a_run_waits_for_another_that_writes_the_same_reports() {
    let project = Project::new();
    fs::create_dir(project.path("reports")).expect("a folder");
    let held = File::open(project.path("reports")).expect("a folder");
    held.lock().expect("locked");
    let mut child = project.command(RUN).stdout(Stdio::null()).spawn().expect("a run");
    // Longer than such a run takes.
    std::thread::sleep(Duration::from_secs(3));
    assert!(child.try_wait().expect("a child").is_none(), "it did not wait");
    assert!(!project.path("reports/cpu.json").exists(), "it wrote");
    drop(held);
    assert!(ends(&mut child, Duration::from_secs(60)) && child.wait().expect("an end").success());
    assert!(!project.ids("reports").is_empty());
}

#[test]
fn runs_at_once_lose_no_rows() {
    let project = Project::new();
    let models = ["linear_16_4", "linear_32_4", "mlp_*_relu", "mlp_*_tanh"];
    let ids = |reports: &str| project.ids(reports);
    let run = |model: &str, reports: &str| {
        let mut command = project.command(&["--bedrock", "dense", "--lane", "cpu", "--check", "parity"]);
        command.args(["--model", model, "--reports", reports]).stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().expect("a run")
    };
    for model in models {
        assert!(run(model, "one-by-one").wait().expect("an end").success());
    }
    for round in 0..4 {
        let reports = format!("reports{round}");
        let mut runs: Vec<Child> = models.iter().map(|model| run(model, &reports)).collect();
        runs.iter_mut().for_each(|run| assert!(ends(run, Duration::from_secs(120))));
        assert_eq!(ids(&reports), ids("one-by-one"));
        // Rendered from all of them, whoever was last.
        assert_eq!(project.text(&format!("{reports}/PROGRESS.md")), project.text("one-by-one/PROGRESS.md"));
    }
}

#[test]
fn progress_that_is_not_of_the_reports_beside_it_is_told_and_mended() {
    let project = Project::new();
    project.runs(RUN);
    let old = project.text("reports/PROGRESS.md");
    assert_eq!(project.runs(&["render"]), "");
    assert_eq!(project.text("reports/PROGRESS.md"), old);
    // As a run leaves them that was ended between the two.
    let other = ["--bedrock", "dense", "--model", "linear_32_4", "--lane", "cpu", "--dtype", "float32"];
    project.runs(&other);
    let new = project.text("reports/PROGRESS.md");
    assert_ne!(new, old);
    let told = "reports/PROGRESS.md was not rendered from the reports beside it";
    let verified = |project: &Project| project.run(&["verify"]).1.contains(told);
    assert!(!verified(&project));
    fs::write(project.path("reports/PROGRESS.md"), &old).expect("written");
    assert!(verified(&project));
    assert!(project.runs(&other).contains(told), "the next run says so");
    assert_eq!(project.text("reports/PROGRESS.md"), new);
    fs::remove_file(project.path("reports/PROGRESS.md")).expect("removed");
    assert!(verified(&project));
    project.runs(&["render"]);
    assert_eq!(project.text("reports/PROGRESS.md"), new);
    assert!(!verified(&project));
    // Another lane's report counts as well.
    fs::write(project.path("reports/gpu-x.json"), "{}").expect("written");
    assert!(verified(&project));
}

#[test]
fn a_share_says_that_it_is_one_and_keeps_what_is_there() {
    let project = Project::new();
    let share = |share| ["--bedrock", "dense", "--check", "parity", "--lane", "cpu", "--shard", share];
    let whole = ["--bedrock", "dense", "--check", "parity", "--lane", "cpu", "--reports", "whole"];
    let first = project.runs(&share("1/2"));
    assert!(first.contains("\nshare 1 of 2: green: "), "{first}");
    let half = project.ids("reports").len();
    assert!(project.runs(&share("2/2")).contains("\nshare 2 of 2: green: "));
    let said = project.runs(&whole);
    assert!(!said.contains("share"), "{said}");
    assert_eq!(project.ids("reports"), project.ids("whole"));
    assert!(half < project.ids("whole").len());
    let json = project.runs(&[&share("1/2")[..], &["--format", "json", "--no-report"]].concat());
    assert!(json.contains("\"share\": \"1 of 2\""));
    let junit = project.runs(&[&share("1/2")[..], &["--format", "junit", "--no-report"]].concat());
    assert!(junit.contains("name=\"bedrock, share 1 of 2\""), "{junit}");
    // Without a check the least numbers of cases would be asked of a whole bedrock.
    let all = project.runs(&["--bedrock", "dense", "--lane", "cpu", "--shard", "1/40", "--no-report"]);
    assert!(all.contains("share 1 of 40: green: ") && !all.contains("min_cases"), "{all}");
}
