//! Programs that are told to end by a signal leave nothing behind, and end by that signal.
#![cfg(unix)]

mod common;

use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use loom_core::format::{Format, save};
use loom_core::{LayerSpec, Network, NetworkSpec, Role, WeightStore, WeightTable, Weights};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A checkpoint of 64 MB.
fn large(path: &Path) {
    let n = 2048;
    let layer = serde_json::json!({"dense": {"input_dim": n, "output_dim": n, "bias": false}});
    let layer: LayerSpec = serde_json::from_value(layer).expect("a layer");
    let mut table = WeightTable::new();
    for i in 0..4 {
        let values = (0..n * n).map(|k| (k % 251) as f32).collect();
        let weights = Weights::from([(Role::Weight, WeightStore::f32(vec![n, n], values).expect("finite"))]);
        table.insert(format!("layers.{i}"), weights);
    }
    let network = Network::build(NetworkSpec::stack(vec![layer; 4]), &mut table).expect("a network");
    save(&network, path, Format::V2).expect("saved");
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).expect("a folder");
    entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect()
}

/// Waits until something holds, or the child has ended, or too much time has passed.
fn until(child: &mut Child, mut holds: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(60) && child.try_wait().expect("a child").is_none() {
        if holds() {
            return true;
        }
        std::thread::sleep(Duration::from_micros(200));
    }
    holds()
}

fn tell(child: &Child, signal: Signal) {
    let _ = kill(Pid::from_raw(child.id() as i32), signal);
}

/// Whether this process ignores a signal, as its children then do from their start: `nohup` has SIGHUP ignored, a shell
/// what runs in its background SIGINT.
fn is_ignored(signal: Signal) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .is_some_and(|mask| mask >> (signal as i32 - 1) & 1 == 1)
}

#[test]
fn a_conversion_that_is_ended_leaves_the_old_file_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let [source, out] = ["big.entity", "out"].map(|name| folder.path().join(name));
    large(&source);
    std::fs::create_dir(&out).expect("a folder");
    let target = out.join("a.entity");
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP].into_iter().filter(|signal| !is_ignored(*signal)) {
        let mut landed = false;
        // One that finishes before the signal arrives says nothing.
        for _ in 0..20 {
            std::fs::write(&target, "old").expect("written");
            let mut command = Command::new(env!("CARGO_BIN_EXE_bedrock"));
            command.args(["entity", "convert"]).args([&source, &target]).stdout(Stdio::null());
            let mut child = command.spawn().expect("a run");
            until(&mut child, || names(&out).len() > 1);
            tell(&child, signal);
            let ended = child.wait().expect("an end");
            assert_eq!(names(&out), ["a.entity"], "{signal}: {ended}");
            if ended.signal() == Some(signal as i32) {
                landed = true;
                assert_eq!(std::fs::read(&target).expect("there"), b"old", "{signal}");
                break;
            }
            assert!(ended.success(), "{signal}: {ended}");
        }
        assert!(landed, "{signal} never came in time");
    }
}

#[test]
fn a_signal_that_is_ignored_from_the_start_stays_ignored() {
    let folder = tempfile::tempdir().expect("a folder");
    let [source, out] = ["big.entity", "out"].map(|name| folder.path().join(name));
    large(&source);
    std::fs::create_dir(&out).expect("a folder");
    let script = "trap '' HUP; exec \"$0\" \"$@\"";
    let mut command = Command::new("sh");
    command.args(["-c", script, env!("CARGO_BIN_EXE_bedrock"), "entity", "convert"]);
    let mut child = command.arg(&source).arg(out.join("a.entity")).stdout(Stdio::null()).spawn().expect("a run");
    assert!(until(&mut child, || !names(&out).is_empty()));
    tell(&child, Signal::SIGHUP);
    assert!(child.wait().expect("an end").success());
    assert_eq!(names(&out), ["a.entity"]);
}

/// A Python that writes into the folder of the dump, starts something, and stays.
fn python(folder: &Path) -> PathBuf {
    let path = folder.join("python");
    let script = format!(
        "while [ \"$1\" != --out ]; do shift; done\necho half > \"$2/half.npz\"\nsleep 600 &\n\
         echo $$ $! > {0}/starting && mv {0}/starting {0}/pids\nwait",
        folder.display()
    );
    common::script(&path, &script);
    path
}

#[test]
fn drift_and_bless_end_their_python_and_remove_its_folder() {
    let root = common::root();
    let calls = [(Signal::SIGTERM, &["drift"][..]), (Signal::SIGINT, &["bless", "--accept", "a test"])];
    for (signal, args) in calls.into_iter().filter(|(signal, _)| !is_ignored(*signal)) {
        let folder = tempfile::tempdir().expect("a folder");
        let temporary = folder.path().join("tmp");
        std::fs::create_dir(&temporary).expect("a folder");
        let mut command = Command::new(env!("CARGO_BIN_EXE_bedrock"));
        command.args(args).args(["--planet", "jax", "dense", "--python"]).arg(python(folder.path()));
        let mut child = command.current_dir(&root).env("TMPDIR", &temporary).spawn().expect("a run");
        let pids = folder.path().join("pids");
        assert!(until(&mut child, || pids.exists()), "Python was not started");
        assert_eq!(names(&temporary).len(), 1);
        tell(&child, signal);
        assert_eq!(child.wait().expect("an end").signal(), Some(signal as i32));
        assert_eq!(names(&temporary), [""; 0], "{signal}");
        for pid in std::fs::read_to_string(&pids).expect("two numbers").split_whitespace() {
            let pid: i32 = pid.parse().expect("a number");
            // What nobody has waited for yet is dead all the same.
            let state = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            let dead = state.contains(") Z ") || kill(Pid::from_raw(pid), None).is_err();
            assert!(dead, "{signal}: {pid} is still there: {state}");
        }
    }
}
