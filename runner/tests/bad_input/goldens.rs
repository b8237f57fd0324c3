//! Goldens that are not what their index says, or that no golden can be.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use loom_bedrocks::npz;
use loom_runner::stages::golden::{ArrayEntry, Index, Kept, yaml};
use loom_runner::write_atomically;

use super::RUN;
use super::common::Project;

const MODEL: &str = "golden/dense/sklearn/linear_16_4.npz";

impl Project {
    /// Rewrites an archive with one member replaced by `bytes`.
    fn member(&self, name: &str, member: &str, bytes: &[u8]) {
        let path = self.path(name);
        let mut old = zip::ZipArchive::new(fs::File::open(&path).expect("a file")).expect("an archive");
        let mut new = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
        let options = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
        for i in 0..old.len() {
            let mut entry = old.by_index(i).expect("a member");
            let entry_name = entry.name().expect("a name").to_string();
            new.start_file(&entry_name, options).expect("a member");
            if entry_name == format!("{member}.npy") {
                new.write_all(bytes).expect("written");
            } else {
                std::io::copy(&mut entry, &mut new).expect("copied");
            }
        }
        fs::write(&path, new.finish().expect("an archive").into_inner()).expect("written");
    }

    /// Makes the index agree with what the archive holds whole now.
    fn reindex(&self, file: &str) {
        let path = self.path("golden/dense/index.yaml");
        let mut index: Index = yaml(&path).expect("an index");
        let arrays = npz::read_packed(&self.path("golden/dense").join(file), |_| Some(1 << 20)).expect("arrays");
        let entry = index.files.get_mut(file).expect("an entry");
        let whole = arrays.iter().filter(|(_, array)| !matches!(array.data, npz::Data::U8(_)));
        entry.arrays.extend(whole.map(|(name, array)| (name.clone(), ArrayEntry::of(array))));
        write_atomically(&path, serde_yaml::to_string(&index).expect("yaml").as_bytes()).expect("written");
    }
}

/// An `.npy` document with the given header fields.
fn npy(descr: &str, fortran: bool, shape: &str, data: &[u8]) -> Vec<u8> {
    let fortran = if fortran { "True" } else { "False" };
    let mut header = format!("{{'descr': '{descr}', 'fortran_order': {fortran}, 'shape': {shape}, }}");
    while !(header.len() + 11).is_multiple_of(64) {
        header.push(' ');
    }
    header.push('\n');
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.as_bytes());
    bytes.extend(data);
    bytes
}

fn floats(n: usize, value: f32) -> Vec<u8> {
    (0..n).flat_map(|_| value.to_le_bytes()).collect()
}

#[test]
fn missing_golden() {
    let project = Project::new();
    fs::remove_file(project.path(MODEL)).expect("removed");
    project.refuses(RUN, 1, &[MODEL, "No such file", "bedrock bless dense --planet sklearn --model linear_16_4"]);
}

#[test]
fn missing_index() {
    let project = Project::new();
    fs::remove_file(project.path("golden/dense/index.yaml")).expect("removed");
    project.refuses(RUN, 1, &["golden/dense/index.yaml", "No such file"]);
}

#[test]
fn missing_digest_of_ours() {
    let project = Project::new();
    project.replace("golden/dense/core.yaml", "  linear_16_4:", "  another_model:");
    project.refuses(RUN, 1, &["golden/dense/core.yaml", "no digest of linear_16_4", "bless dense --core"]);
}

#[test]
fn wrong_digest() {
    let project = Project::new();
    project.member(MODEL, "layers.0.bias", &npy("<f4", false, "(4,)", &floats(4, 0.5)));
    project.refuses(RUN, 1, &[MODEL, "layers.0.bias", "digest", "its content was changed", "git checkout"]);
}

#[test]
fn truncated_archive() {
    let project = Project::new();
    let bytes = fs::read(project.path(MODEL)).expect("a file");
    for keep in [0, 1, bytes.len() / 2, bytes.len() - 1] {
        fs::write(project.path(MODEL), &bytes[..keep]).expect("written");
        project.refuses(RUN, 1, &[MODEL, "not a readable .npz archive"]);
    }
}

#[test]
fn truncated_member() {
    let project = Project::new();
    project.member(MODEL, "layers.0.bias", &npy("<f4", false, "(4,)", &floats(3, 0.5)));
    project.refuses(RUN, 1, &[MODEL, "layers.0.bias", "truncated", "needs 16 bytes, 12 are there"]);
    project.member(MODEL, "layers.0.bias", b"\x93NUMPY\x01\x00\xff\xff{'descr'");
    project.refuses(RUN, 1, &[MODEL, "layers.0.bias", "header needs 65545 bytes"]);
    project.member(MODEL, "layers.0.bias", b"PK\x03\x04");
    project.refuses(RUN, 1, &[MODEL, "layers.0.bias", "does not start as an .npy array"]);
}

#[test]
fn absurd_shapes() {
    let project = Project::new();
    for shape in
        ["(4294967296, 4294967296, 4)", "(18446744073709551615,)", "(1000000000000,)", "(0, 18446744073709551615)"]
    {
        project.member(MODEL, "layers.0.bias", &npy("<f4", false, shape, &floats(4, 0.5)));
        project.refuses(RUN, 1, &[MODEL, "layers.0.bias"]);
    }
}

#[test]
fn headers_that_would_take_for_ever_to_parse() {
    let project = Project::new();
    for shape in [format!("{}{}", "[".repeat(40), "]".repeat(40)), "{".repeat(26), "9".repeat(2_000), "(".repeat(900)] {
        project.member(MODEL, "layers.0.bias", &npy("<f4", false, &shape, &floats(4, 0.5)));
        project.refuses(RUN, 1, &[MODEL, "layers.0.bias", "a header that NumPy does not write"]);
    }
}

#[test]
fn members_that_unpack_to_more_than_the_index_says() {
    let project = Project::new();
    project.member(MODEL, "layers.0.bias", &npy("<f4", false, "(4,)", &vec![0; 64 << 20]));
    project.refuses(RUN, 1, &[MODEL, "layers.0.bias", "unpacks to more than 4112 bytes"]);
}

#[test]
fn an_index_that_leaves_the_golden_folder() {
    let project = Project::new();
    project.replace("golden/dense/index.yaml", "sklearn/linear_16_4.npz:", "sklearn/../../../victim.npz:");
    project.refuses(RUN, 1, &["golden/dense/index.yaml", "victim.npz", "no golden's path"]);
}

#[test]
fn goldens_that_are_not_finite() {
    let project = Project::new();
    for (array, item) in [("output", 4), ("output_f64", 8)] {
        let project = Project::new();
        let nan =
            if item == 4 { floats(400, f32::NAN) } else { (0..400).flat_map(|_| f64::NAN.to_le_bytes()).collect() };
        project.member(MODEL, "output", &npy("<f4", false, "(100, 4)", &floats(400, 0.0)));
        project.member(MODEL, array, &npy(&format!("<f{item}"), false, "(100, 4)", &nan));
        project.reindex("sklearn/linear_16_4.npz");
        project.refuses(RUN, 1, &["ERROR dense/linear_16_4/parity/sklearn", "flat index 0", "dump a finite model"]);
    }
    let zeros: Vec<u8> = vec![0; 3200];
    project.member(MODEL, "output", &npy("<f4", false, "(100, 4)", &floats(400, 0.0)));
    project.member(MODEL, "output_f64", &npy("<f8", false, "(400,)", &zeros));
    project.reindex("sklearn/linear_16_4.npz");
    project.refuses(RUN, 1, &["ERROR dense/linear_16_4/parity/sklearn", "output_f64 has shape [400]"]);
}

type Change<'a> = &'a dyn Fn(&mut Kept);

/// What an index says an array is made of is checked before anything is made of it.
#[test]
fn arrays_made_of_what_is_not_there() {
    const FILE: &str = "jax/mlp_64_96_32_gelu.npz";
    let run = ["--bedrock", "dense", "--model", "mlp_64_96_32_gelu", "--no-report"];
    let project = Project::new();
    let path = project.path("golden/dense/index.yaml");
    let good = fs::read_to_string(&path).expect("an index");
    let with = |change: Change<'_>, array: &str| {
        let mut index: Index = serde_yaml::from_str(&good).expect("an index");
        let entry = index.files.get_mut(FILE).and_then(|file| file.arrays.get_mut(array)).expect("an array");
        change(entry.kept.as_mut().expect("made of another"));
        fs::write(&path, serde_yaml::to_string(&index).expect("yaml")).expect("written");
    };
    let cases: [(Change<'_>, &str); 9] = [
        (&|kept| kept.of = "sklearn".into(), "an earlier planet's file holds whole"),
        (&|kept| kept.of = "jax".into(), "an earlier planet's file holds whole"),
        (&|kept| kept.of = "mars".into(), "an earlier planet's file holds whole"),
        (&|kept| kept.array = "layers.9.weight".into(), "an earlier planet's file holds whole"),
        (&|kept| kept.axes = Some(vec![0, 0]), "is made of axes Some([0, 0])"),
        (&|kept| kept.axes = Some(vec![1, 0, 2]), "is made of axes Some([1, 0, 2])"),
        (&|kept| kept.rows = Some([5, usize::MAX]), "which has not all of these"),
        (&|kept| kept.axes = None, "would be of shape [96, 64]"),
        (&|kept| kept.differs = true, "differences of shape []"),
    ];
    for (change, says) in cases {
        with(change, "layers.0.weight");
        project.refuses(&run, 1, &["golden/dense", FILE, "layers.0.weight", says, "git checkout"]);
    }
    // In a circle within one file.
    with(&|kept| (kept.of, kept.array) = ("jax".into(), "output".into()), "output_f64");
    project.refuses(&run, 1, &[FILE, "an earlier planet's file holds whole, or of one of its own"]);
    fs::write(&path, &good).expect("written");
    let file = format!("golden/dense/{FILE}");
    for (shape, bytes) in [("(9, 1024)", 9216), ("(1, 7)", 7), ("(1024,)", 1024), ("(0, 1024)", 0)] {
        project.member(&file, "output", &npy("|u1", false, shape, &vec![0; bytes]));
        project.refuses(&run, 1, &[FILE, "array output differences of shape", "git checkout"]);
    }
    project.member(&file, "output", &npy("|u1", false, "(1, 1024)", &[1; 1024]));
    project.refuses(&run, 1, &[FILE, "output has digest", "or that of jax which it is made of"]);
    project.member(&file, "output", &npy("<f4", false, "(32, 32)", &floats(1024, 0.0)));
    project.refuses(&run, 1, &[FILE, "array output differences of shape [32, 32]"]);
    let shared = "golden/dense/pytorch/mlp_64_96_32_gelu.npz";
    fs::remove_file(project.path(shared)).expect("removed");
    project.refuses(&run, 1, &[shared, "No such file", "every planet of the model whose file is broken"]);
    let output = project.command(&run).output().expect("a run");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!said.contains(FILE), "the cause alone is told: {said}");
}

#[test]
fn strays_in_the_golden_folder() {
    let project = Project::new();
    fs::write(project.path("golden/dense/jax/extra.npz"), b"").expect("written");
    project.refuses(&["verify"], 1, &["golden/dense/jax/extra.npz: no index lists it"]);
}

#[test]
fn pickled_objects() {
    let project = Project::new();
    project.member(MODEL, "layers.0.bias", &npy("|O", false, "(1,)", b"cos\nsystem\n(S'true'\ntR."));
    project.refuses(RUN, 1, &[MODEL, "layers.0.bias", "pickled Python objects", "save it as float32"]);
}

#[test]
fn fortran_order() {
    let project = Project::new();
    project.member(MODEL, "layers.0.weight", &npy("<f4", true, "(16, 4)", &floats(64, 0.5)));
    project.refuses(RUN, 1, &[MODEL, "layers.0.weight", "Fortran order", "ascontiguousarray"]);
}

#[test]
fn big_endian() {
    let project = Project::new();
    project.member(MODEL, "layers.0.bias", &npy(">f4", false, "(4,)", &floats(4, 0.5)));
    project.refuses(RUN, 1, &[MODEL, "layers.0.bias", "big-endian (>f4)", "newbyteorder"]);
}

#[test]
fn other_dtypes() {
    let project = Project::new();
    project.member(MODEL, "layers.0.bias", &npy("<i4", false, "(4,)", &floats(4, 0.5)));
    project.refuses(RUN, 1, &[MODEL, "layers.0.bias", "dtype <i4", "expected <f4 or <f8"]);
}

#[test]
fn wrong_shape() {
    let project = Project::new();
    project.member(MODEL, "layers.0.bias", &npy("<f4", false, "(5,)", &floats(5, 0.5)));
    project.refuses(RUN, 1, &[MODEL, "layers.0.bias", "float32 [5]", "the index says float32 [4]"]);
    project.reindex("sklearn/linear_16_4.npz");
    project.refuses(
        RUN,
        1,
        &["ERROR dense/linear_16_4/parity/sklearn", "layers.0.bias", "[5]", "needs [4]", "no report was written"],
    );
}

#[test]
fn nan_in_weights() {
    let project = Project::new();
    project.member(MODEL, "layers.0.bias", &npy("<f4", false, "(4,)", &floats(4, f32::NAN)));
    project.reindex("sklearn/linear_16_4.npz");
    project.refuses(
        RUN,
        1,
        &[
            "ERROR dense/linear_16_4/parity/sklearn",
            MODEL,
            "layers.0.bias",
            "element 0 is NaN",
            "no report was written",
        ],
    );
}

/// An index cannot ask for more than any file holds, nor for what no golden has.
#[test]
fn an_index_that_asks_for_too_much() {
    let project = Project::new();
    let index = project.path("golden/dense/index.yaml");
    let good = fs::read_to_string(&index).expect("an index");
    let with = |form: (&str, &[usize]), says: &[&str]| {
        let mut changed: Index = serde_yaml::from_str(&good).expect("an index");
        let file = changed.files.get_mut("sklearn/linear_16_4.npz").expect("a file");
        let entry = file.arrays.get_mut("layers.0.bias").expect("an array");
        (entry.dtype, entry.shape) = (form.0.into(), form.1.to_vec());
        fs::write(&index, serde_yaml::to_string(&changed).expect("yaml")).expect("written");
        project.refuses(RUN, 1, &[&["index.yaml", "sklearn/linear_16_4.npz"], says].concat());
    };
    with(("uint8", &[4]), &["layers.0.bias", "expected float32 or float64"]);
    with(("float32", &[0, 1 << 63, 4]), &["layers.0.bias", "of a shape that can be held"]);
    with(("float32", &[1 << 40]), &["4398046516160 bytes; expected at most 1073741824"]);
}

/// Goldens for other programs: every array whole.
#[test]
fn goldens_are_written_whole_elsewhere() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let folder = tempfile::tempdir().expect("a folder");
    let verify = |whole: &Path| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bedrock"));
        let output = command.current_dir(&root).args(["verify", "--whole"]).arg(whole).output().expect("a run");
        (output.status.code(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
    };
    let (status, said) = verify(folder.path());
    assert!(status == Some(0) && said.contains("files written below"), "{said}");
    let index: Index = yaml(&root.join("golden/lstm/index.yaml")).expect("an index");
    for (file, entry) in &index.files {
        let arrays = npz::read(&folder.path().join("lstm").join(file)).expect("floats alone");
        assert!(arrays.keys().eq(entry.arrays.keys()), "{file}");
        for (name, array) in arrays {
            assert_eq!(array.sha256, entry.arrays[&name].sha256, "{file}: {name}");
        }
    }
    // A folder that is not there yet, in a copy of the goldens.
    let copy = tempfile::tempdir().expect("a folder");
    let golden = copy.path().join("golden");
    copied(&root.join("golden"), &golden);
    for whole in [golden.clone(), golden.join("lstm/whole")] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bedrock"));
        command.current_dir(&root).args(["verify", "--golden"]).arg(&golden).arg("--whole").arg(&whole);
        let output = command.output().expect("a run");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(2) && said.contains("is among the goldens"), "{said}");
    }
    assert!(!golden.join("lstm/whole").exists());
}

fn copied(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        match entry.file_type().expect("a type").is_dir() {
            true => copied(&entry.path(), &target),
            false => drop(fs::copy(entry.path(), target).expect("copied")),
        }
    }
}
