//! The repository's rules as tests.

mod goldens;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use loom_bedrocks::BEDROCKS;
use loom_bedrocks::planets::PLANETS;
use loom_core::LayerKind;
use loom_runner::stages::manifest;
use loom_runner::stages::plan;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display())) {
        let path = entry.expect("an entry").path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found
}

#[test]
fn the_schema_is_what_the_types_say() {
    let path = root().join("manifests/schema.json");
    let committed = fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(committed, manifest::schema(), "run: cargo run -- schema > manifests/schema.json");
}

#[test]
fn every_bedrock_has_a_manifest_and_every_manifest_a_bedrock() {
    let others = ["_defaults.yaml", "lucy.yaml", "schema.json"].map(String::from);
    let expected: BTreeSet<String> = BEDROCKS.iter().map(|id| format!("{id}.yaml")).chain(others).collect();
    let found: BTreeSet<String> = files(&root().join("manifests"))
        .iter()
        .filter_map(|path| path.file_name()?.to_str().map(String::from))
        .collect();
    assert_eq!(found, expected);
}

#[test]
fn every_planet_has_a_handler_and_pinned_packages() {
    for planet in PLANETS {
        for file in
            [format!("planetbridging/planets/{}/__init__.py", planet.id), format!("requirements/{}.txt", planet.id)]
        {
            assert!(root().join("python").join(&file).is_file(), "python/{file} is missing");
        }
        let pins =
            fs::read_to_string(root().join("python/requirements").join(format!("{}.txt", planet.id))).expect("pins");
        assert!(pins.lines().all(|line| line.contains("==")), "requirements of {} are not pinned", planet.id);
    }
}

#[test]
fn min_cases_are_what_the_manifests_plan() {
    let manifests = manifest::load(&root().join("manifests"), &[]).expect("manifests");
    let cases = plan::all(&manifests).expect("a plan");
    let ids: BTreeSet<&str> = cases.iter().map(|case| case.id.as_str()).collect();
    assert_eq!(ids.len(), cases.len(), "case ids are unique");
    for manifest in &manifests.bedrocks {
        let count = |check: plan::Check| {
            cases.iter().filter(|case| case.manifest.bedrock == manifest.bedrock && case.check() == check).count()
        };
        let planned = [
            count(plan::Check::Parity),
            count(plan::Check::Fidelity),
            count(plan::Check::Kernel),
            count(plan::Check::Snapshot),
            count(plan::Check::Roundtrip),
            count(plan::Check::Kernel),
        ];
        let least = manifest.min_cases;
        assert_eq!(
            [least.parity, least.fidelity, least.kernel, least.snapshot, least.roundtrip, least.gpu],
            planned,
            "min_cases of {}",
            manifest.bedrock
        );
        let reasons: Vec<&str> = manifest.expect.iter().map(|rule| rule.because.as_str()).collect();
        assert!(reasons.is_sorted(), "expect rules of {} are sorted by `because`", manifest.bedrock);
    }
}

#[test]
fn every_layer_kind_has_a_name_of_its_own() {
    let names: BTreeSet<&str> = LayerKind::ALL.iter().map(|kind| kind.name()).collect();
    assert_eq!(names.len(), LayerKind::ALL.len());
}

/// `eprintln!` and the like panic where nobody reads, which changes the exit status.
#[test]
fn the_runner_prints_in_one_place() {
    for path in files(&root().join("runner/src")).into_iter().chain(files(&root().join("bench/src"))) {
        let text = fs::read_to_string(&path).expect("a file");
        let macros = [concat!("print", "!("), concat!("println", "!("), concat!("dbg", "!(")];
        let used = macros.iter().find(|name| text.contains(*name));
        assert!(used.is_none(), "{} uses {used:?}: see print and complain in places.rs", path.display());
    }
}

/// The stages of the judge in their order: each may use those before it, and nothing else of the runner.
#[test]
fn data_moves_right_only() {
    let stages =
        "manifest bounds plan compare observation planted golden oracle roundtrip run judge device report controls";
    let stages: Vec<&str> = stages.split(' ').collect();
    let folder = root().join("runner/src/stages");
    for path in files(&folder) {
        let name = path.strip_prefix(&folder).expect("within").with_extension("").display().to_string();
        let name = name.split(['/', '\\']).next().expect("a name");
        let Some(own) = stages.iter().position(|stage| *stage == name) else {
            assert_eq!(name, "mod", "{} has no place in the order", path.display());
            continue;
        };
        let text = fs::read_to_string(&path).expect("a file");
        for line in text.lines().filter(|line| !line.trim_start().starts_with("//")) {
            let of =
                |before: &str| line.split(before).nth(1).map(|rest| rest.split(|c: char| !c.is_alphanumeric()).next());
            let other = of("crate::").flatten().filter(|room| *room != "stages");
            let later = [of("crate::stages::"), of("super::")].into_iter().flatten().flatten();
            let later = later.filter_map(|stage| stages.iter().position(|known| *known == stage)).any(|at| at > own);
            assert!(other.is_none() && !later, "{}: {}", path.display(), line.trim());
        }
    }
}

#[test]
fn progress_is_rendered_from_the_reports_that_are_here() {
    assert_eq!(
        loom_runner::stages::report::stale(&root().join("reports")).expect("readable"),
        None,
        "run bedrock render"
    );
}

/// What can be called in-process leaves the process to its caller.
#[test]
fn the_bridge_touches_no_process() {
    for path in files(&root().join("bridge/src")) {
        let text = fs::read_to_string(&path).expect("a file");
        let names = ["std::env", "std::process", "io::std", "catch_unwind", "set_hook", "println!", "print!("];
        let used = names.iter().find(|name| text.contains(*name));
        assert!(used.is_none(), "{} uses {used:?}, which is its caller's", path.display());
    }
}

/// The arguments of the type whose angle bracket has just been opened, those within others not told apart.
fn arguments(text: &str) -> Vec<&str> {
    let (mut depth, mut start, mut found) = (0, 0, Vec::new());
    for (at, c) in text.char_indices() {
        match c {
            '<' | '(' | '[' => depth += 1,
            // Of an arrow.
            '>' if text[..at].ends_with(['-', '=']) => {}
            '>' | ')' | ']' if depth > 0 => depth -= 1,
            ',' if depth == 0 => {
                found.push(text[start..at].trim());
                start = at + 1;
            }
            '>' => {
                found.push(text[start..at].trim());
                return found;
            }
            _ => {}
        }
    }
    found
}

/// Where a text has an error that is a sentence and nothing else, by line.
fn sentences(text: &str) -> Vec<usize> {
    let is_text = |error: &str| matches!(error, "String" | "std::string::String" | "&str" | "&'static str");
    let results = text.match_indices("Result<").filter(|(at, start)| match arguments(&text[at + start.len()..])[..] {
        [_, error] | [_, error, ""] => is_text(error),
        _ => false,
    });
    let named = ["type Err = ", "type Error = "].into_iter().flat_map(|start| text.match_indices(start));
    let named = named.filter(|(at, start)| text[at + start.len()..].split(';').next().is_some_and(is_text));
    results.chain(named).map(|(at, _)| text[..at].matches('\n').count() + 1).collect()
}

/// What is wrong is data for whoever calls a library; a sentence is made of it where it is shown.
#[test]
fn no_error_of_a_library_is_a_sentence() {
    assert_eq!(
        sentences("fn a() -> Result<(), String> {\n}\nlet b: Result<\n    Vec<(u8, u8)>,\n    &'static str,\n>;"),
        [1, 3]
    );
    assert_eq!(sentences("    type Err = String;"), [1]);
    assert_eq!(
        sentences("fn a(b: fn() -> Result<String>) -> Result<BTreeMap<u8, String>, Error> { }"),
        Vec::<usize>::new()
    );
    let mut found = Vec::new();
    for library in ["core", "bedrocks", "bridge", "bench", "runner", "python"] {
        for path in files(&root().join(library).join("src")).iter().filter(|path| is_a(path, "rs")) {
            let lines = sentences(&fs::read_to_string(path).expect("a file"));
            let name = path.strip_prefix(root()).expect("within").display();
            found.extend(
                lines.into_iter().map(|line| format!("{name}:{line}: an error that is a text; make it an enum")),
            );
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// The most lines of a file.
const LINES: usize = 400;

/// What is longer, or has files that are: where, and why.
const LONGER: [(&str, &str); 2] =
    [("core/src/format/record.rs", "most of it is a table"), ("python/planetbridging/absorb", "is rebuilt")];

/// Where Rust is that is ours.
const CRATES: [&str; 6] = ["core", "bedrocks", "bench", "bridge", "runner", "python/src"];

/// Where Python is that is held to the same length, beside the files of `python` itself.
const PYTHON: [&str; 3] = ["python/planetbridging", "python/bench", "python/build_backend"];

fn is_a(path: &Path, extension: &str) -> bool {
    path.extension().is_some_and(|own| own == extension)
}

#[test]
fn no_test_is_ignored() {
    for path in CRATES.iter().flat_map(|folder| files(&root().join(folder))).filter(|path| is_a(path, "rs")) {
        let text = fs::read_to_string(&path).expect("a file");
        assert!(!text.contains(concat!("#[", "ignore")), "{} ignores a test", path.display());
    }
}

#[test]
fn no_file_has_outgrown_itself() {
    let rust = CRATES.iter().flat_map(|folder| files(&root().join(folder))).filter(|path| is_a(path, "rs"));
    let beside = fs::read_dir(root().join("python")).expect("a folder").map(|entry| entry.expect("an entry").path());
    let python = PYTHON.iter().flat_map(|folder| files(&root().join(folder))).chain(beside);
    let (mut needed, mut found) = (BTreeSet::new(), Vec::new());
    for path in rust.chain(python.filter(|path| is_a(path, "py"))) {
        let lines = fs::read_to_string(&path).expect("a file").lines().count();
        let name = path.strip_prefix(root()).expect("within");
        match LONGER.iter().find(|(place, _)| name.starts_with(place)) {
            _ if lines <= LINES => {}
            Some((place, _)) => {
                needed.insert(*place);
            }
            None => found.push(format!("{} has {lines} lines: ask what two things it holds", name.display())),
        }
    }
    let needless = LONGER.iter().filter(|(place, _)| !needed.contains(place));
    found.extend(needless.map(|(place, why)| format!("{place} ({why}) needs no exception: nothing there is longer")));
    assert!(found.is_empty(), "{}", found.join("\n"));
}
