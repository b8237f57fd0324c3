//! The repository's rules as tests.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use loom_bedrocks::BEDROCKS;
use loom_bedrocks::planets::PLANETS;
use loom_core::LayerKind;
use loom_runner::golden::{Core, Index, core_path, index_path, yaml};
use loom_runner::{manifest, plan};

/// The most that the goldens may take.
const GOLDEN_CAP: u64 = 48 << 20;

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
        for file in [format!("planetbridging/planets/{}.py", planet.id), format!("requirements/{}.txt", planet.id)] {
            assert!(root().join("python").join(&file).is_file(), "python/{file} is missing");
        }
        let pins =
            fs::read_to_string(root().join("python/requirements").join(format!("{}.txt", planet.id))).expect("pins");
        assert!(pins.lines().all(|line| line.contains("==")), "requirements of {} are not pinned", planet.id);
    }
}

#[test]
fn goldens_are_exactly_what_the_indexes_list() {
    let golden = root().join("golden");
    let mut expected = BTreeSet::new();
    for bedrock in BEDROCKS {
        let index: Index = yaml(&index_path(&golden, bedrock)).expect("an index");
        let _: Core = yaml(&core_path(&golden, bedrock)).expect("digests");
        expected.insert(index_path(&golden, bedrock));
        expected.insert(core_path(&golden, bedrock));
        expected.insert(loom_runner::cost::path(&golden, bedrock));
        expected.extend(index.files.keys().map(|file| golden.join(bedrock).join(file)));
    }
    let found: BTreeSet<PathBuf> =
        files(&golden).into_iter().filter(|path| BEDROCKS.iter().any(|id| path.starts_with(golden.join(id)))).collect();
    assert_eq!(found.difference(&expected).collect::<Vec<_>>(), Vec::<&PathBuf>::new(), "stray files");
    assert_eq!(expected.difference(&found).collect::<Vec<_>>(), Vec::<&PathBuf>::new(), "missing files");
    let size: u64 = files(&golden).iter().map(|path| fs::metadata(path).expect("a file").len()).sum();
    assert!(size < GOLDEN_CAP, "golden/ holds {size} bytes, more than {GOLDEN_CAP}");
}

#[test]
fn indexes_hold_what_the_manifests_ask_for_and_nothing_else() {
    let manifests = manifest::load(&root().join("manifests"), &[]).expect("manifests");
    for manifest in &manifests.bedrocks {
        let index: Index = yaml(&index_path(&root().join("golden"), &manifest.bedrock)).expect("an index");
        let mut asked: BTreeSet<String> = BTreeSet::from(["fixture.npz".into()]);
        for model in &manifest.models {
            asked.extend(model.planets(manifest).iter().map(|planet| format!("{}/{}.npz", planet.id, model.id())));
        }
        assert_eq!(index.files.keys().cloned().collect::<BTreeSet<_>>(), asked, "{}", manifest.bedrock);
        let arrays: BTreeSet<&String> = index.files["fixture.npz"].keys().collect();
        assert_eq!(arrays, manifest.fixture.keys().collect(), "fixture arrays of {}", manifest.bedrock);
        for planet in index.made.values() {
            assert!(!planet.accepted.is_empty() && !planet.packages.is_empty());
        }
    }
}

/// The digest that `planetbridging.dump` records of the sources it ran.
#[test]
fn goldens_were_dumped_by_the_handlers_that_are_here() {
    let package = root().join("python/planetbridging");
    let hash = |extra: &[String]| {
        let mut names = vec!["manifest".to_string(), "weights".into()];
        names.extend(extra.iter().cloned());
        names.sort();
        let read = |name: &String| fs::read(package.join(format!("{name}.py"))).expect("a source");
        loom_bedrocks::npz::sha256(&names.iter().flat_map(read).collect::<Vec<u8>>())
    };
    for bedrock in BEDROCKS {
        let index: Index = yaml(&index_path(&root().join("golden"), bedrock)).expect("an index");
        for (planet, made) in &index.made {
            let mut extra = vec!["fixtures".to_string()];
            if planet != "fixture" {
                extra.extend(["planets/chain".into(), format!("planets/{planet}"), format!("planets/naming/{planet}")]);
            }
            assert_eq!(made.handler, hash(&extra), "{bedrock}/{planet}: run bedrock drift, then bless");
        }
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
fn layer_kinds_are_one_list_with_unique_names_and_codes() {
    let names: BTreeSet<&str> = LayerKind::ALL.iter().map(|kind| kind.name()).collect();
    assert_eq!(names.len(), 20);
    let codes: Vec<u8> = LayerKind::ALL.iter().map(|&kind| kind as u8).collect();
    assert_eq!(codes, (0..20).collect::<Vec<u8>>());
}

/// `eprintln!` and the like panic where nobody reads, which changes the exit status.
#[test]
fn the_runner_prints_in_one_place() {
    for path in files(&root().join("runner/src")) {
        let text = fs::read_to_string(&path).expect("a file");
        let macros = [concat!("print", "!("), concat!("println", "!("), concat!("dbg", "!(")];
        let used = macros.iter().find(|name| text.contains(*name));
        assert!(used.is_none(), "{} uses {used:?}: see print and complain in places.rs", path.display());
    }
}

#[test]
fn progress_is_rendered_from_the_reports_that_are_here() {
    assert_eq!(loom_runner::report::stale(&root().join("reports")).expect("readable"), None, "run bedrock render");
}

#[test]
fn no_test_is_ignored_and_no_file_has_outgrown_itself() {
    for folder in ["core", "bedrocks", "runner"] {
        for path in files(&root().join(folder)).iter().filter(|path| path.extension().is_some_and(|e| e == "rs")) {
            let text = fs::read_to_string(path).expect("a file");
            assert!(!text.contains(concat!("#[", "ignore")), "{} ignores a test", path.display());
            let lines = text.lines().count();
            assert!(lines <= 560, "{} has {lines} lines: ask what two things it holds", path.display());
        }
    }
}
