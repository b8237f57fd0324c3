//! Blessing: what is accepted, what is left alone, and what is said when a dump fails. The Python
//! is a shell script.
#![cfg(unix)]

#[path = "../common/mod.rs"]
mod common;
mod digests;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use common::Project;
use loom_bedrocks::npz::{self, Arrays, sha256};
use loom_runner::stages::golden::{self, Core, FileId, Index, core_path, read_index, yaml};

const ONE: &str = "sklearn/linear_16_4.npz";
const RUN: &[&str] = &["--bedrock", "dense", "--model", "linear_16_4", "--no-report"];
const OTHER: &str = "sklearn/linear_32_4.npz";

impl Project {
    /// The arrays of a golden file of dense, whole.
    fn arrays(&self, file: &str) -> Arrays {
        let id = FileId { bedrock: "dense".into(), path: file.into() };
        golden::read(&self.path("golden"), &id, &self.index()).expect("a golden")
    }

    /// A dump of files of the numbers that are committed, made by `handler` with one package.
    fn dump(&self, files: &[&str], handler: &str) -> PathBuf {
        let folder = self.path(&format!("dump-{handler}"));
        for file in files {
            let bytes = npz::write(&self.arrays(file)).expect("an archive");
            let to = folder.join("dense").join(file);
            fs::create_dir_all(to.parent().expect("a parent")).expect("a folder");
            fs::write(&to, &bytes).expect("written");
            let meta = format!(
                r#"{{"packages": {{"numpy": "{handler}"}}, "flags": {{}}, "handler": "{handler}", "seed": 7, "sha256": "{}"}}"#,
                sha256(&bytes)
            );
            fs::write(to.with_extension("json"), meta).expect("written");
        }
        folder
    }

    /// A Python that is a shell script.
    fn python(&self, script: &str) -> String {
        let path = self.path("python");
        common::script(&path, script);
        path.display().to_string()
    }

    fn run(&self, args: &[&str]) -> (Option<i32>, String) {
        let output = self.command(args).output().expect("a run");
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        (output.status.code(), said)
    }

    #[track_caller]
    fn passes(&self, args: &[&str]) -> String {
        let (status, said) = self.run(args);
        assert_eq!(status, Some(0), "{said}");
        said
    }

    /// Runs what must fail, and checks that no golden was touched.
    #[track_caller]
    fn fails(&self, args: &[&str], status: i32) -> String {
        let before = content(&self.path("golden"));
        let (found, said) = self.run(args);
        assert_eq!(found, Some(status), "{said}");
        assert!(before == content(&self.path("golden")), "goldens were touched:\n{said}");
        said
    }

    #[track_caller]
    fn bless(&self, from: &Path, model: &str, why: &str) {
        let from = from.display().to_string();
        self.passes(&["bless", "dense", "--planet", "sklearn", "--model", model, "--accept", why, "--from", &from]);
    }

    /// What `bless` says when the dump is this script.
    #[track_caller]
    fn refused(&self, script: &str) -> String {
        let python = self.python(script);
        self.fails(&["bless", "dense", "--planet", "sklearn", "--accept", "why", "--python", &python], 1)
    }

    fn index(&self) -> Index {
        read_index(&self.path("golden"), "dense").expect("an index")
    }

    fn core(&self) -> Core {
        yaml(&core_path(&self.path("golden"), "dense")).expect("digests")
    }
}

fn content(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(content(&path));
        } else {
            found.push((path.clone(), fs::read(path).expect("a file")));
        }
    }
    found.sort();
    found
}

#[test]
fn blessing_one_model_changes_its_entry_alone() {
    let project = Project::new();
    let before = project.index();
    project.bless(&project.dump(&[ONE], "abc"), "linear_16_4", "a reason");
    let after = project.index();
    let entry = &after.files[ONE];
    assert_eq!((entry.handler.as_str(), entry.seed), ("abc", Some(7)));
    let maker = &after.makers[&entry.made];
    assert_eq!((maker.accepted.as_str(), maker.packages["numpy"].as_str()), ("a reason", "abc"));
    assert_eq!(entry.arrays, before.files[ONE].arrays);
    for (file, entry) in before.files.iter().filter(|(file, _)| *file != ONE) {
        assert_eq!(&after.files[file], entry, "{file}");
        assert_eq!(after.makers[&entry.made], before.makers[&entry.made], "{file}");
    }
    project.passes(RUN);
}

#[test]
fn makers_are_shared_and_go_with_their_last_file() {
    let project = Project::new();
    let makers = project.index().makers.len();
    let id = |file: &str| project.index().files[file].made.clone();
    project.bless(&project.dump(&[ONE], "abc"), "linear_16_4", "a reason");
    project.bless(&project.dump(&[OTHER], "abc"), "linear_32_4", "a reason");
    assert_eq!(id(ONE), id(OTHER));
    assert_eq!(project.index().makers.len(), makers + 1);
    let own = id(ONE);
    assert_ne!(own, "sklearn");
    // Another reason is another maker; the one before has a file left.
    project.bless(&project.dump(&[ONE], "abc"), "linear_16_4", "a better reason");
    assert_eq!((project.index().makers.len(), id(OTHER)), (makers + 2, own.clone()));
    project.bless(&project.dump(&[OTHER], "abc"), "linear_32_4", "a better reason");
    assert_eq!(project.index().makers.len(), makers + 1);
    assert!(!project.index().makers.contains_key(&own));
    assert_eq!(id(ONE), id(OTHER));
    // All at once: one maker under the plain name.
    let all: Vec<String> = project.index().files.keys().filter(|f| f.starts_with("sklearn/")).cloned().collect();
    project.bless(&project.dump(&all.iter().map(String::as_str).collect::<Vec<_>>(), "def"), "*", "all anew");
    assert_eq!((project.index().makers.len(), id(ONE)), (makers, "sklearn".into()));
}

#[test]
fn an_index_with_a_maker_that_is_not_there_is_refused() {
    let project = Project::new();
    let path = project.path("golden/dense/index.yaml");
    let text = fs::read_to_string(&path).expect("an index").replacen("made: sklearn", "made: sklearm", 1);
    fs::write(&path, text).expect("written");
    let said = project.fails(&["verify"], 1);
    for part in ["index.yaml", ONE, "\"sklearm\"", "fixture, jax, pytorch, sklearn"] {
        assert!(said.contains(part), "{part} is not in {said}");
    }
}

#[test]
fn half_a_dump_is_not_accepted() {
    let project = Project::new();
    let from = project.dump(&[ONE, OTHER], "abc");
    let dumped = from.display().to_string();
    let bless = ["bless", "dense", "--planet", "sklearn", "--model", "linear_*", "--accept", "why", "--from", &dumped];
    let json = from.join("dense/sklearn/linear_32_4.json");
    let meta = fs::read_to_string(&json).expect("a file");
    for (content, expected) in [
        (None, "No such file"),
        (Some("{".to_string()), "EOF"),
        (Some(meta.replace("sha256\": \"", "sha256\": \"0")), "its SHA-256 is not the one"),
    ] {
        match content {
            None => fs::remove_file(&json).expect("removed"),
            Some(content) => fs::write(&json, content).expect("written"),
        }
        let said = project.fails(&bless, 1);
        for part in [expected, "linear_32_4.npz", "the dump is not whole", "Nothing was accepted"] {
            assert!(said.contains(part), "{part} is not in {said}");
        }
    }
    fs::write(&json, meta).expect("written");
    project.passes(&bless);
}

/// Files of one model are made of each other; blessing one leaves what the others say.
#[test]
fn a_file_that_others_are_made_of_is_blessed_alone() {
    let project = Project::new();
    let shared = "pytorch/mlp_64_96_32_gelu.npz";
    let made = |file: &str, array: &str| project.index().files[file].arrays[array].kept.clone();
    let other = "jax/mlp_64_96_32_gelu.npz";
    let kept = made(other, "layers.0.weight").expect("made of another");
    assert_eq!((kept.of.as_str(), kept.axes.as_deref(), kept.differs), ("pytorch", Some(&[1, 0][..]), false));
    assert!(made(other, "output_f64").is_some_and(|kept| kept.of == "pytorch" && kept.differs));
    assert!(made(other, "output").is_some_and(|kept| kept.of == "jax" && kept.differs));
    let (ours, theirs) = (project.arrays(shared), project.arrays(other));
    // Another number of PyTorch's alone: the others keep theirs, and what they are made of moves to the next.
    let from = project.dump(&[shared], "abc");
    let mut changed = ours.clone();
    let npz::Data::F32(mut values) = changed["layers.0.weight"].data.clone() else { unreachable!("float32") };
    values[7] = 3.5;
    let shape = changed["layers.0.weight"].shape.clone();
    changed.insert("layers.0.weight".into(), npz::Array::of(shape, npz::Data::F32(values)));
    let file = from.join("dense").join(shared);
    let bytes = npz::write(&changed).expect("an archive");
    let meta = fs::read_to_string(file.with_extension("json")).expect("a file");
    let was = sha256(&fs::read(&file).expect("a file"));
    fs::write(file.with_extension("json"), meta.replace(&was, &sha256(&bytes))).expect("written");
    fs::write(&file, &bytes).expect("written");
    let from = from.display().to_string();
    let bless = ["bless", "dense", "--planet", "pytorch", "--model", "mlp_64_96_32_gelu", "--accept", "why", "--from"];
    let said = project.passes(&[&bless[..], &[&from]].concat());
    assert!(said.contains("layers.0.weight: max") && said.lines().count() == 1, "{said}");
    assert_eq!(project.arrays(shared), changed);
    assert_eq!(project.arrays(other), theirs);
    assert!(made(other, "layers.0.weight").is_none_or(|kept| kept.of == "tensorflow"));
    let all = ["pytorch", "tensorflow", "jax"].map(|planet| format!("{planet}/mlp_64_96_32_gelu.npz"));
    let whole = project.dump(&all.each_ref().map(String::as_str), "def").display().to_string();
    // Broken, it can only be blessed with those that are made of it.
    fs::write(project.path("golden/dense").join(shared), b"PK").expect("written");
    let said = project.fails(&[&bless[..], &[&from]].concat(), 1);
    assert!(said.contains(other) && said.contains("cannot be read; bless it too"), "{said}");
    project.passes(
        &[&bless[..3], &["pytorch", "--planet", "tensorflow", "--planet", "jax"], &bless[4..], &[&whole]].concat(),
    );
    assert_eq!((project.arrays(shared), project.arrays(other)), (changed, theirs));
}

/// What no golden can be is refused before anything is packed.
#[test]
fn arrays_without_elements_are_not_accepted() {
    let project = Project::new();
    for shape in [vec![0, 16], vec![1; 12]] {
        let from = project.dump(&[ONE], "abc");
        let mut arrays = project.arrays(ONE);
        let elements = npz::Data::F32(vec![0.5; shape.iter().product()]);
        arrays.insert("layers.0.weight".into(), npz::Array::of(shape, elements));
        let (file, bytes) = (from.join("dense").join(ONE), npz::write(&arrays).expect("an archive"));
        let meta = fs::read_to_string(file.with_extension("json")).expect("a file");
        let was = sha256(&fs::read(&file).expect("a file"));
        fs::write(file.with_extension("json"), meta.replace(&was, &sha256(&bytes))).expect("written");
        fs::write(&file, bytes).expect("written");
        let from = from.display().to_string();
        let bless =
            ["bless", "dense", "--planet", "sklearn", "--model", "linear_16_4", "--accept", "w", "--from", &from];
        let said = project.fails(&bless, 1);
        assert!(said.contains("layers.0.weight has shape") && said.contains("at most 6 axes"), "{said}");
    }
}

/// Sources that were moved and compute the same need no processor of the kind that made the goldens.
#[test]
fn sources_that_compute_the_same_are_recorded_without_new_numbers() {
    let project = Project::new();
    let before = project.index();
    let sources = &before.files[ONE].handler;
    let golden = fs::read(project.path("golden/dense").join(ONE)).expect("a golden");
    let new = project.dump(&[ONE], "moved").display().to_string();
    let bless = |before: &Path, from: &str| {
        let before = before.display().to_string();
        let args = ["bless", "dense", "--planet", "sklearn", "--model", "linear_16_4", "--accept", "moved"];
        [&args[..], &["--same-as", &before, "--from", from]].concat().into_iter().map(String::from).collect::<Vec<_>>()
    };
    let fails = |before: &Path, from: &str| {
        let args = bless(before, from);
        project.fails(&args.iter().map(String::as_str).collect::<Vec<_>>(), 1)
    };
    let said = fails(&project.dump(&[ONE], "older"), &new);
    assert!(said.contains("dumped by sources older") && said.contains(sources), "{said}");
    // Another model's file in its place.
    let old = project.dump(&[ONE], sources);
    let (file, meta) =
        (Path::new(&new).join("dense").join(ONE), Path::new(&new).join("dense/sklearn/linear_16_4.json"));
    let whole = (fs::read(&file).expect("a file"), fs::read(&meta).expect("a file"));
    let other = project.dump(&[OTHER], "moved").join("dense").join(OTHER);
    fs::copy(&other, &file).expect("copied");
    fs::copy(other.with_extension("json"), &meta).expect("copied");
    let said = fails(&old, &new);
    assert!(said.contains("linear_16_4.npz: layers.0.bias") && said.contains("other numbers"), "{said}");
    fs::write(&file, whole.0).expect("written");
    fs::write(&meta, whole.1).expect("written");
    let args = bless(&old, &new);
    project.passes(&args.iter().map(String::as_str).collect::<Vec<_>>());
    let after = project.index();
    assert_eq!((after.files[ONE].handler.as_str(), &after.files[ONE].arrays), ("moved", &before.files[ONE].arrays));
    let (maker, was) = (&after.makers[&after.files[ONE].made], &before.makers[&before.files[ONE].made]);
    assert_eq!((maker.accepted.as_str(), &maker.packages), ("moved", &was.packages));
    assert!(golden == fs::read(project.path("golden/dense").join(ONE)).expect("a golden"));
    project.passes(RUN);
}

/// Of two planets that are asked for, the second fails: the first is not accepted either.
#[test]
fn planets_are_accepted_together() {
    let project = Project::new();
    let from = project.dump(&[ONE], "abc").display().to_string();
    let planets = ["bless", "dense", "--planet", "sklearn", "--planet", "jax", "--model", "linear_16_4"];
    let said = project.fails(&[&planets[..], &["--accept", "why", "--from", &from]].concat(), 1);
    assert!(said.contains("jax/linear_16_4"), "{said}");
}

#[test]
fn a_failed_dump_says_what_it_was() {
    let project = Project::new();
    let pip = "-m pip install -r python/requirements/sklearn.txt";

    let said = project.refused("echo dense/sklearn/a >&2; echo 'the dump of sklearn cannot start: jax 1 is installed, 2 is pinned; pip' >&2; exit 3");
    assert!(said.contains("dense/sklearn/a"), "{said}");
    assert!(said.contains("error: the dump of sklearn cannot start: jax 1 is installed, 2 is pinned; pip"), "{said}");

    let said = project.refused("echo 'dense/x: Flax cells always have biases' >&2; exit 2");
    assert!(said.contains("error: the dump of sklearn refuses: dense/x: Flax cells always have biases"), "{said}");
    assert!(!said.contains("pip"), "{said}");

    let traceback = "echo 'Traceback (most recent call last):' >&2; echo 'ZeroDivisionError: division by zero' >&2;";
    let said = project.refused(&format!("{traceback} echo 'the dump of sklearn failed in dense/x' >&2; exit 1"));
    let whole = "Traceback (most recent call last):\nZeroDivisionError: division by zero\nerror: the dump of sklearn failed in dense/x";
    assert!(said.contains(whole) && !said.contains("pip"), "{said}");

    // Python's own ends: something does not compile, a package of the dump itself is missing.
    let said = project.refused("echo 'SyntaxError: invalid syntax' >&2; exit 1");
    assert!(said.contains("SyntaxError: invalid syntax\nerror: the dump of sklearn failed (exit status: 1)"), "{said}");
    assert!(said.contains("what it printed is above") && !said.contains("pip"), "{said}");
    let said = project.refused("echo \"ModuleNotFoundError: No module named 'numpy'\" >&2; exit 1");
    assert!(said.contains("the dump of sklearn cannot start: numpy is not installed") && said.contains(pip), "{said}");
    let said = project.refused("echo \"ModuleNotFoundError: No module named 'planetbridging.wieghts'\" >&2; exit 1");
    assert!(said.contains("failed (exit status: 1)") && !said.contains("pip"), "{said}");

    let said = project.refused("echo dense/sklearn/a >&2; kill -9 $$");
    assert!(said.contains("was ended (signal: 9") && said.contains("dense/sklearn/a"), "{said}");
    let said = project.refused("exit 2");
    assert!(said.contains("failed (exit status: 2)"), "{said}");
    // A dump that says it is done and is not.
    let said = project.refused("exit 0");
    assert!(said.contains("No such file"), "{said}");
}

/// Only what is to be accepted needs the pinned versions.
#[test]
fn drift_takes_any_version() {
    let project = Project::new();
    let python = project.python("echo \"$@\" >&2; exit 3");
    let args = ["dense", "--planet", "sklearn", "--python", &python];
    assert!(project.fails(&[&["drift"][..], &args].concat(), 1).contains("--any-version"));
    assert!(!project.fails(&[&["bless", "--accept", "why"][..], &args].concat(), 1).contains("--any-version"));
}

/// Four runs read and write one index.
#[test]
fn blessings_at_once_lose_no_entry() {
    let project = Project::new();
    let planets = ["pytorch", "tensorflow", "jax", "sklearn"];
    let file = |planet: &str| format!("{planet}/linear_16_4.npz");
    for round in ["first", "second", "third", "fourth"] {
        let files = planets.map(file);
        let dump = project.dump(&files.each_ref().map(String::as_str), round);
        let start = |planet| {
            let args = ["bless", "dense", "--planet", planet, "--model", "linear_16_4", "--accept", round, "--from"];
            project.command(&args).arg(&dump).stdout(Stdio::null()).spawn().expect("a run")
        };
        let runs: Vec<Child> = planets.into_iter().map(start).collect();
        for mut run in runs {
            assert!(run.wait().expect("an end").success());
        }
        let index = project.index();
        for planet in planets {
            assert_eq!(index.makers[&index.files[&file(planet)].made].accepted, round, "{planet}");
        }
    }
}
