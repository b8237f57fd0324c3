//! The repository's rules as tests.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use loom_bedrocks::BEDROCKS;
use loom_bedrocks::planets::PLANETS;
use loom_core::{LayerKind, LayerSpec};
use loom_runner::stages::golden::{Core, core_path, cost_path, index_path, read_index, yaml};
use loom_runner::stages::manifest::{self, Manifests};
use loom_runner::stages::plan;

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
fn goldens_are_exactly_what_the_indexes_list() {
    let golden = root().join("golden");
    let mut expected = BTreeSet::new();
    for bedrock in BEDROCKS {
        let index = read_index(&golden, bedrock).expect("an index");
        let core: Core = yaml(&core_path(&golden, bedrock)).expect("digests");
        assert_eq!(core.unexplained(), None, "{bedrock}");
        for (path, text) in [
            (index_path(&golden, bedrock), serde_yaml::to_string(&index)),
            (core_path(&golden, bedrock), serde_yaml::to_string(&core)),
        ] {
            let written = fs::read_to_string(&path).expect("a file");
            let (first, rest) = written.split_once('\n').expect("lines");
            assert!(first.starts_with("# Written by `bedrock bless"), "{}", path.display());
            assert!(rest == text.expect("yaml"), "{} is not as bless writes it", path.display());
        }
        expected.insert(index_path(&golden, bedrock));
        expected.insert(core_path(&golden, bedrock));
        expected.insert(cost_path(&golden, bedrock));
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
        let index = read_index(&root().join("golden"), &manifest.bedrock).expect("an index");
        let mut asked: BTreeSet<String> = BTreeSet::from(["fixture.npz".into()]);
        for model in &manifest.models {
            asked.extend(model.planets(manifest).iter().map(|planet| format!("{}/{}.npz", planet.id, model.id())));
        }
        assert_eq!(index.files.keys().cloned().collect::<BTreeSet<_>>(), asked, "{}", manifest.bedrock);
        let arrays: BTreeSet<&String> = index.files["fixture.npz"].arrays.keys().collect();
        assert_eq!(arrays, manifest.fixture.keys().collect(), "fixture arrays of {}", manifest.bedrock);
        for (id, maker) in &index.makers {
            assert!(!maker.accepted.is_empty() && !maker.packages.is_empty());
            assert!(index.files.values().any(|file| file.made == *id), "{}: {id} made nothing", manifest.bedrock);
        }
    }
}

/// The files of the package that a file imports, by the rule of `planetbridging/sources.py`:
/// `from X import name` is X/name, or else X.
fn imports(package: &Path, file: &str) -> Vec<String> {
    let mut found = Vec::new();
    for line in fs::read_to_string(package.join(file)).expect("a source").lines() {
        let Some((module, names)) = line.trim_start().strip_prefix("from .").and_then(|l| l.split_once(" import "))
        else {
            continue;
        };
        let more = module.chars().take_while(|c| *c == '.').count();
        let mut folder: Vec<&str> = file.split('/').collect();
        folder.truncate(folder.len() - 1 - more);
        folder.extend(module[more..].split('.').filter(|part| !part.is_empty()));
        let folder = folder.join("/");
        for name in names.split(',').map(|name| name.split(" as ").next().unwrap_or_default().trim()) {
            let places = [
                format!("{folder}/{name}.py"),
                format!("{folder}/{name}/__init__.py"),
                format!("{folder}.py"),
                format!("{folder}/__init__.py"),
            ];
            let place = places.iter().map(|place| place.trim_start_matches('/')).find(|at| package.join(at).is_file());
            found.push(place.unwrap_or_else(|| panic!("{file}: nothing is at {line:?}")).to_string());
        }
    }
    found
}

/// The digest that `planetbridging.dump` records of the sources of a planet's file, or of a fixture.
fn handler(package: &Path, file: Option<(&str, &manifest::Model)>) -> String {
    fn kinds(layer: &LayerSpec, found: &mut BTreeSet<&'static str>) {
        found.insert(layer.kind().name());
        layer.children().iter().filter_map(|(_, child)| child.layer.as_ref()).for_each(|layer| kinds(layer, found));
    }
    let mut open = vec!["fixtures.py".to_string()];
    if let Some((planet, model)) = file {
        open.push(format!("planets/{planet}/__init__.py"));
        let mut names = BTreeSet::new();
        model.layers.iter().for_each(|layer| kinds(layer, &mut names));
        let own = names.iter().flat_map(|k| [format!("weights/{k}.py"), format!("planets/{planet}/kinds/{k}.py")]);
        open.extend(own.filter(|file| package.join(file).is_file()));
    }
    let mut sources = BTreeSet::new();
    while let Some(file) = open.pop() {
        if sources.insert(file.clone()) {
            open.extend(imports(package, &file));
        }
    }
    let bytes: Vec<u8> = sources.iter().flat_map(|file| fs::read(package.join(file)).expect("a source")).collect();
    loom_bedrocks::npz::sha256(&bytes)
}

/// The goldens that other sources computed than those in `package`, by the command that dumps them anew.
fn stale(manifests: &Manifests, package: &Path) -> BTreeMap<String, BTreeSet<String>> {
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for manifest in &manifests.bedrocks {
        let bedrock = &manifest.bedrock;
        let index = read_index(&root().join("golden"), bedrock).expect("an index");
        let planet = |file: &str| file.split_once('/').map_or("fixture", |(planet, _)| planet).to_string();
        let is_stale = |file: &String| {
            let model = file
                .trim_end_matches(".npz")
                .split_once('/')
                .map(|(planet, id)| (planet, manifest.models.iter().find(|model| model.id() == id).expect("a model")));
            handler(package, model) != index.files[file].handler
        };
        let (stale, fresh): (Vec<&String>, Vec<&String>) = index.files.keys().partition(|file| is_stale(file));
        for file in stale {
            let planet = planet(file);
            let one = match file.trim_end_matches(".npz").split_once('/') {
                Some((_, model)) if fresh.iter().any(|file| file.starts_with(&format!("{planet}/"))) => {
                    format!(" --model {model}")
                }
                _ => String::new(),
            };
            let which = format!("{bedrock} --planet {planet}{one}");
            let command = format!("bedrock drift {which} && bedrock bless {which} --accept \"<why>\"");
            found.entry(command).or_default().insert(format!("golden/{bedrock}/{file}"));
        }
    }
    found
}

#[test]
fn goldens_were_dumped_by_the_handlers_that_are_here() {
    let manifests = manifest::load(&root().join("manifests"), &[]).expect("manifests");
    let stale = stale(&manifests, &root().join("python/planetbridging"));
    let lines = stale.iter().map(|(command, files)| {
        format!("{}\n    {command}", files.iter().map(String::as_str).collect::<Vec<_>>().join("\n"))
    });
    let count: usize = stale.values().map(BTreeSet::len).sum();
    assert!(count == 0, "{count} goldens were dumped by other sources:\n{}", lines.collect::<Vec<_>>().join("\n"));
}

/// A change of a source makes the files stale that depend on it, all of them and no others.
#[test]
fn a_handler_covers_what_its_file_is_made_of() {
    let manifests = manifest::load(&root().join("manifests"), &["dense".into(), "mixer".into()]).expect("manifests");
    let folder = tempfile::tempdir().expect("a folder");
    for path in files(&root().join("python/planetbridging")).iter().filter(|p| p.extension().is_some_and(|e| e == "py"))
    {
        let to = folder.path().join(path.strip_prefix(root().join("python/planetbridging")).expect("within"));
        fs::create_dir_all(to.parent().expect("a parent")).expect("a folder");
        fs::copy(path, to).expect("copied");
    }
    let after = |file: &str| {
        let path = folder.path().join(file);
        let before = fs::read_to_string(&path).unwrap_or_default();
        fs::write(&path, format!("{before}# changed\n")).expect("written");
        let found = stale(&manifests, folder.path());
        match before.is_empty() {
            true => fs::remove_file(&path).expect("removed"),
            false => fs::write(&path, before).expect("written"),
        }
        found.into_values().flatten().collect::<BTreeSet<String>>()
    };
    let all: BTreeSet<String> = manifests
        .bedrocks
        .iter()
        .flat_map(|m| {
            let index = read_index(&root().join("golden"), &m.bedrock).expect("an index");
            index.files.into_keys().map(|file| format!("golden/{}/{file}", m.bedrock))
        })
        .collect();
    let some = |keep: &dyn Fn(&str) -> bool| all.iter().filter(|file| keep(file)).cloned().collect::<BTreeSet<_>>();
    assert_eq!(after("engines.py"), BTreeSet::new());
    assert_eq!(after("fixtures.py"), all);
    assert_eq!(after("weights/__init__.py"), some(&|file| !file.ends_with("/fixture.npz")));
    assert_eq!(after("planets/jax/__init__.py"), some(&|file| file.contains("/jax/")));
    let mixers = some(&|file| file.starts_with("golden/mixer/"));
    assert!(after("weights/lstm.py").is_subset(&mixers) && !after("weights/lstm.py").is_empty());
    // What kinds share is followed by import.
    let shared = after("planets/jax/kinds/_recurrent.py");
    assert!(!shared.is_empty() && shared.iter().all(|file| file.contains("/jax/") && mixers.contains(file)));
    assert_eq!(after("planets/naming/jax/recurrent.py"), shared);
    // A new kind leaves all files as they are.
    for file in ["weights/mamba.py", "planets/jax/kinds/mamba.py", "planets/naming/jax/mamba.py"] {
        assert_eq!(after(file), BTreeSet::new(), "{file}");
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
    for library in ["core", "bedrocks", "bridge", "bench", "runner"] {
        for path in files(&root().join(library).join("src")).iter().filter(|p| p.extension().is_some_and(|e| e == "rs"))
        {
            let lines = sentences(&fs::read_to_string(path).expect("a file"));
            let name = path.strip_prefix(root()).expect("within").display();
            found.extend(
                lines.into_iter().map(|line| format!("{name}:{line}: an error that is a text; make it an enum")),
            );
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn no_test_is_ignored_and_no_file_has_outgrown_itself() {
    for (folder, most) in
        [("core", 510), ("bedrocks", 400), ("bench", 400), ("bridge", 400), ("runner/src", 400), ("runner/tests", 460)]
    {
        for path in files(&root().join(folder)).iter().filter(|path| path.extension().is_some_and(|e| e == "rs")) {
            let text = fs::read_to_string(path).expect("a file");
            assert!(!text.contains(concat!("#[", "ignore")), "{} ignores a test", path.display());
            let lines = text.lines().count();
            assert!(lines <= most, "{} has {lines} lines: ask what two things it holds", path.display());
        }
    }
}
