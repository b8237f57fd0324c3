//! The golden folder: what is in it, and that it was dumped by the sources that are here.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use loom_bedrocks::BEDROCKS;
use loom_bedrocks::npz::{self, Arrays};
use loom_bedrocks::planets::{PLANETS, Planet};
use loom_core::LayerSpec;
use loom_runner::stages::golden::{self, Core, FileId, core_path, cost_path, index_path, pack, read_index, yaml};
use loom_runner::stages::manifest::{self, Manifests};

use super::{files, root};

/// The most that the goldens may take.
const GOLDEN_CAP: u64 = 30_000_000;

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

/// What `bless` would write of the arrays that are there is what is there.
#[test]
fn goldens_are_packed_as_bless_packs_them() {
    let folder = root().join("golden");
    for bedrock in BEDROCKS {
        let index = read_index(&folder, bedrock).expect("an index");
        let models: BTreeSet<&str> = index.files.keys().filter_map(|file| Some(file.split_once('/')?.1)).collect();
        for model in models {
            let read = |planet: &'static Planet| {
                let id = FileId { bedrock: bedrock.into(), path: format!("{}/{model}", planet.id) };
                let arrays = index.files.contains_key(&id.path).then(|| golden::read(&folder, &id, &index));
                arrays.map(|arrays| (planet.id, arrays.expect("a golden")))
            };
            let whole: Vec<(&str, Arrays)> = PLANETS.iter().filter_map(read).collect();
            let whole: Vec<(&str, &Arrays)> = whole.iter().map(|(planet, arrays)| (*planet, arrays)).collect();
            for ((planet, _), packed) in whole.iter().zip(pack(&whole)) {
                let file = format!("{planet}/{model}");
                let held = fs::read(folder.join(bedrock).join(&file)).expect("a file");
                assert!(npz::write(&packed.held).expect("an archive") == held, "{bedrock}/{file} is packed otherwise");
                for (name, array) in &index.files[&file].arrays {
                    assert_eq!(array.kept.as_ref(), packed.kept.get(name), "{bedrock}/{file}: {name}");
                }
            }
        }
    }
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
