//! Checkpoints that nobody wrote in good faith: cut, flipped, and made to mislead. Every one is
//! refused with what and where, or is the same network; nothing panics.

use loom_core::format::{Checkpoint, Fault, Format, OnLoss, Open, Reading, reseal};
use loom_core::{Dtype, Error, LayerSpec, Network, NetworkSpec, Role, WeightStore, WeightTable, Weights};

/// A small network with a nested layer and weights that end within a byte.
fn network() -> Network {
    let layers: Vec<LayerSpec> = serde_json::from_str(
        r#"[{"dense": {"input_dim": 3, "output_dim": 3, "bias": false}},
            {"sequential": {"steps": [{"layer": {"dense": {"input_dim": 3, "output_dim": 3, "bias": false}}}]}},
            {"residual": {}}]"#,
    )
    .expect("layers");
    let store = |v: f32| WeightStore::f32(vec![3, 3], (0..9).map(|i| v * (i as f32 - 4.0)).collect()).expect("finite");
    let mut table = WeightTable::new();
    table.insert("layers.0".into(), Weights::from([(Role::Weight, store(0.1))]));
    table.insert("layers.1.sequential_layers.0".into(), Weights::from([(Role::Weight, store(-0.2))]));
    Network::build(NetworkSpec::stack(layers), &mut table).expect("a network")
}

fn bytes(dtype: Dtype, format: Format) -> Vec<u8> {
    use loom_core::{Numerics, Storage, Vectors};
    let storage = Storage { dtype, numerics: Numerics::Loom, vectors: Vectors::Stored };
    let network = network().morph(&storage).expect("in range");
    Checkpoint::of(&network).expect("a checkpoint").to_bytes(format, OnLoss::Refuse).expect("held")
}

/// Reads everything there is.
fn read(bytes: &[u8]) -> Result<Checkpoint, Error> {
    let mut checkpoint = Checkpoint::parse(bytes.to_vec(), Reading::Strict)?;
    checkpoint.load()?;
    Ok(checkpoint)
}

#[track_caller]
fn refused(what: &str, bytes: &[u8], expected: &[Fault]) {
    match read(bytes) {
        Ok(_) => panic!("{what} was read"),
        Err(Error::Format { fault, place, what: text }) => {
            assert!(expected.contains(&fault), "{what}: {fault} at {place}: {text}; expected {expected:?}");
            assert!(!place.is_empty() && !text.is_empty(), "{what} without a place");
        }
        Err(other) => panic!("{what}: {other}"),
    }
}

const FORMATS: [Format; 4] = [Format::V1, Format::V2, Format::V2Zstd, Format::Json];

#[test]
fn cut_at_every_byte() {
    for format in FORMATS {
        let whole = bytes(Dtype::Int4, format);
        for n in 0..whole.len() {
            assert!(read(&whole[..n]).is_err(), "{format} cut to {n} of {} bytes", whole.len());
        }
        let mut longer = whole;
        longer.push(b'x');
        assert!(read(&longer).is_err(), "{format} with a byte more");
    }
}

#[test]
fn every_byte_flipped() {
    for format in FORMATS {
        let whole = bytes(Dtype::Int4, format);
        let (mut refused, mut other) = (0, 0);
        for at in 0..whole.len() {
            for bit in [1, 0x20, 0x80] {
                let mut flipped = whole.clone();
                flipped[at] ^= bit;
                match read(&flipped) {
                    Err(_) => refused += 1,
                    // Version 1 and JSON have no digest: another letter case, number or code is
                    // another valid file, which must then be stable.
                    Ok(checkpoint) if !format.is_whole() => {
                        other += 1;
                        let again = checkpoint.to_bytes(format, OnLoss::Refuse).expect("written");
                        let twice = read(&again).expect("read").to_bytes(format, OnLoss::Refuse).expect("written");
                        assert_eq!(again, twice, "{format} byte {at}");
                    }
                    Ok(_) => panic!("{format}: byte {at} flipped by {bit:#x} was read"),
                }
            }
        }
        assert!(refused > other, "{format}: {refused} refused, {other} read");
    }
}

/// A version 1 file with a header of the caller's.
fn v1(header: &str, payload: &[u8]) -> Vec<u8> {
    let mut file = b"ENTITY\0\0\x01\0\0\0".to_vec();
    file.extend_from_slice(&(header.len() as u64).to_le_bytes());
    file.extend_from_slice(header.as_bytes());
    file.extend_from_slice(payload);
    file
}

const LAYER: &str = r#"{"z":0,"y":0,"x":0,"l":0,"type":"Dense","activation":"Linear","dtype":"int4","input_height":3,"output_height":3,"softmax_type":"Standard"}"#;
const BLOB: &str = r#"{"path":"layers.0","offset":0,"length":5,"dtype":"int4","scale":0.5,"native":true}"#;

fn header(grid: &str, layers: &str, blobs: &str) -> String {
    format!(r#"{{"format_version":1,"network":{{"id":"network",{grid},"layers":[{layers}]}},"blobs":[{blobs}]}}"#)
}

const GRID: &str = r#""depth":1,"rows":1,"cols":1,"layers_per_cell":1"#;
const PAYLOAD: [u8; 5] = [0x12, 0x34, 0x56, 0x70, 0x10];

#[test]
fn headers_of_version_1_that_mislead() {
    assert!(read(&v1(&header(GRID, LAYER, BLOB), &PAYLOAD)).is_ok(), "the file that all others are made of");
    let layer = |from: &str, to: &str| {
        assert!(LAYER.contains(from), "{from}");
        header(GRID, &LAYER.replacen(from, to, 1), BLOB)
    };
    let blob = |from: &str, to: &str| {
        assert!(BLOB.contains(from), "{from}");
        header(GRID, LAYER, &BLOB.replacen(from, to, 1))
    };
    let grid = |grid: &str| header(grid, LAYER, BLOB);
    let deep = (0..70).fold(LAYER.to_string(), |inner, _| {
        format!(r#"{{"z":0,"y":0,"x":0,"l":0,"type":"Sequential","sequential_layers":[{inner}]}}"#)
    });
    let whole = header(GRID, LAYER, BLOB);
    let cases: &[(&str, String, &[u8], &[Fault])] = &[
        ("unknown type", layer("Dense", "Densest"), &PAYLOAD, &[Fault::Name]),
        ("unknown activation", layer("Linear", "Linearish"), &PAYLOAD, &[Fault::Name]),
        ("unknown dtype", layer("int4", "int5"), &PAYLOAD, &[Fault::Name]),
        ("unknown softmax", layer("Standard", "Sharp"), &PAYLOAD, &[Fault::Name]),
        ("unknown key of a layer", layer(r#""l":0"#, r#""l":0,"colour":1"#), &PAYLOAD, &[Fault::Key]),
        ("key of a layer twice", layer(r#""l":0"#, r#""l":0,"l":0"#), &PAYLOAD, &[Fault::Key]),
        ("key of version 2", layer(r#""l":0"#, r#""l":0,"eps":0.1"#), &PAYLOAD, &[Fault::Key]),
        ("weights in a header", layer(r#""l":0"#, r#""l":0,"weights":"AAAA""#), &PAYLOAD, &[Fault::Key]),
        ("no type", layer(r#""type":"Dense","#, ""), &PAYLOAD, &[Fault::Key]),
        ("negative size", layer(r#""input_height":3"#, r#""input_height":-3"#), &PAYLOAD, &[Fault::Config]),
        ("fractional size", layer(r#""input_height":3"#, r#""input_height":3.0"#), &PAYLOAD, &[Fault::Json]),
        ("size as text", layer(r#""input_height":3"#, r#""input_height":"3""#), &PAYLOAD, &[Fault::Json]),
        ("size null", layer(r#""input_height":3"#, r#""input_height":null"#), &PAYLOAD, &[Fault::Json]),
        ("size beyond 63 bits", layer(":3,", ":18446744073709551615,"), &PAYLOAD, &[Fault::Limit]),
        (
            "sizes that overflow",
            layer(":3,\"output_height\":3", ":4294967296,\"output_height\":4294967296"),
            &PAYLOAD,
            &[Fault::Config],
        ),
        (
            "sizes beyond the blob",
            layer(":3,\"output_height\":3", ":1000000,\"output_height\":1000000"),
            &PAYLOAD,
            &[Fault::Length],
        ),
        ("float beyond f64", layer(r#""l":0"#, r#""l":0,"temperature":1e999"#), &PAYLOAD, &[Fault::Json]),
        ("position outside", layer(r#""z":0"#, r#""z":1"#), &PAYLOAD, &[Fault::Grid]),
        ("negative position", layer(r#""z":0"#, r#""z":-1"#), &PAYLOAD, &[Fault::Config]),
        ("two layers in one place", header(GRID, &format!("{LAYER},{LAYER}"), BLOB), &PAYLOAD, &[Fault::Grid]),
        ("no layer", header(GRID, "", BLOB), &PAYLOAD, &[Fault::Grid]),
        ("grid of nothing", grid(r#""depth":0,"rows":1,"cols":1,"layers_per_cell":1"#), &PAYLOAD, &[Fault::Grid]),
        (
            "grid that overflows",
            grid(r#""depth":4294967296,"rows":4294967296,"cols":4294967296,"layers_per_cell":1"#),
            &PAYLOAD,
            &[Fault::Grid],
        ),
        (
            "grid beyond the file",
            grid(r#""depth":1000000,"rows":1000,"cols":1,"layers_per_cell":1"#),
            &PAYLOAD,
            &[Fault::Limit],
        ),
        ("grid half there", grid(r#""depth":2,"rows":1,"cols":1,"layers_per_cell":1"#), &PAYLOAD, &[Fault::Grid]),
        ("no extent", grid(r#""depth":1,"rows":1,"cols":1"#), &PAYLOAD, &[Fault::Key]),
        ("unknown key of the grid", grid(&format!("{GRID},\"time\":1")), &PAYLOAD, &[Fault::Key]),
        ("nesting", header(GRID, &deep, BLOB), &PAYLOAD, &[Fault::Nesting]),
        ("unknown path", blob("layers.0", "layer.0"), &PAYLOAD, &[Fault::Path]),
        ("path beyond the grid", blob("layers.0", "layers.1"), &PAYLOAD, &[Fault::Path]),
        ("path of nothing", blob("layers.0", "layers"), &PAYLOAD, &[Fault::Path]),
        ("path with zeros", blob("layers.0", "layers.00"), &PAYLOAD, &[Fault::Path]),
        ("path into a layer without any", blob("layers.0", "layers.0.sequential_layers.0"), &PAYLOAD, &[Fault::Path]),
        ("path of Q4_0", blob("layers.0", "layers.0.q4_0.100"), &PAYLOAD, &[Fault::Path, Fault::Config]),
        ("path of a transformer", blob("layers.0", "transformer.embeddings"), &PAYLOAD, &[Fault::Path, Fault::Config]),
        (
            "bias of a layer beyond the grid",
            blob("layers.0", "bridge.dense.7.biases"),
            &PAYLOAD,
            &[Fault::Path, Fault::Config],
        ),
        (
            "path twice",
            header(GRID, LAYER, &format!("{BLOB},{}", BLOB.replace("\"offset\":0", "\"offset\":5"))),
            &[PAYLOAD, PAYLOAD].concat(),
            &[Fault::Duplicate],
        ),
        ("unknown dtype of a blob", blob("int4", "int5"), &PAYLOAD, &[Fault::Name]),
        ("empty dtype of a blob", blob("int4", ""), &PAYLOAD, &[Fault::Name]),
        ("array as Q4_0", blob("int4", "Q4_0"), &PAYLOAD, &[Fault::Config]),
        ("length too small", blob("\"length\":5", "\"length\":4"), &PAYLOAD[..4], &[Fault::Length]),
        (
            "length too large",
            blob("\"length\":5", "\"length\":6"),
            &[PAYLOAD.as_slice(), &[0]].concat(),
            &[Fault::Length],
        ),
        ("blob beyond the file", blob("\"length\":5", "\"length\":500"), &PAYLOAD, &[Fault::Truncated]),
        (
            "offset and length that wrap",
            blob("\"offset\":0", "\"offset\":18446744073709551615"),
            &PAYLOAD,
            &[Fault::Truncated],
        ),
        ("offset negative", blob("\"offset\":0", "\"offset\":-1"), &PAYLOAD, &[Fault::Json]),
        ("gap", blob("\"offset\":0", "\"offset\":1"), &[PAYLOAD.as_slice(), &[0]].concat(), &[Fault::Overlap]),
        ("bytes of no blob", whole.clone(), &[PAYLOAD, PAYLOAD].concat(), &[Fault::Trailing]),
        ("no blob", header(GRID, LAYER, ""), &[], &[Fault::Missing]),
        ("no scale", blob("\"scale\":0.5,", ""), &PAYLOAD, &[Fault::Scale]),
        ("scale of 0", blob("\"scale\":0.5", "\"scale\":0"), &PAYLOAD, &[Fault::Scale]),
        ("scale beyond f32", blob("\"scale\":0.5", "\"scale\":1e39"), &PAYLOAD, &[Fault::Json]),
        ("scale as text", blob("\"scale\":0.5", "\"scale\":\"NaN\""), &PAYLOAD, &[Fault::Json]),
        ("scale NaN", blob("\"scale\":0.5", "\"scale\":NaN"), &PAYLOAD, &[Fault::Json]),
        ("unused bits", whole.clone(), &[0x12, 0x34, 0x56, 0x70, 0x11], &[Fault::Tail]),
        ("no native", blob(",\"native\":true", ""), &PAYLOAD, &[Fault::Key]),
        ("unknown key of a blob", blob("\"native\":true", "\"native\":true,\"crc\":1"), &PAYLOAD, &[Fault::Key]),
        (
            "format_version 2",
            whole.replace("\"format_version\":1", "\"format_version\":2"),
            &PAYLOAD,
            &[Fault::Version],
        ),
        ("no format_version", whole.replace("\"format_version\":1,", ""), &PAYLOAD, &[Fault::Key]),
        (
            "unknown key of the header",
            whole.replace("\"format_version\":1", "\"format_version\":1,\"x\":1"),
            &PAYLOAD,
            &[Fault::Key],
        ),
        ("a header of null", "null".into(), &PAYLOAD, &[Fault::Json]),
        ("a header of a list", "[]".into(), &PAYLOAD, &[Fault::Json]),
        ("text after the header", format!("{whole}x"), &PAYLOAD, &[Fault::Json]),
    ];
    assert!(cases.len() >= 60, "{}", cases.len());
    for (what, text, payload, expected) in cases {
        refused(what, &v1(text, payload), expected);
    }
    let good = v1(&whole, &PAYLOAD);
    let fixed = |at: usize, byte: u8| {
        let mut file = good.clone();
        file[at] = byte;
        file
    };
    refused("magic", &fixed(7, 1), &[Fault::Magic]);
    refused("version 3", &fixed(8, 3), &[Fault::Version]);
    refused("flags", &fixed(10, 1), &[Fault::Flags]);
    refused("header of 2^56 bytes", &fixed(19, 1), &[Fault::Limit]);
    refused("header beyond the file", &fixed(14, 1), &[Fault::Truncated]);
    refused("invalid UTF-8", &fixed(30, 0xff), &[Fault::Json]);
}

#[test]
fn tables_of_version_2_that_mislead() {
    let good = bytes(Dtype::Int4, Format::V2);
    let meta = u64::from_le_bytes(good[48..56].try_into().expect("eight bytes")) as usize;
    let topology = u64::from_le_bytes(good[16..24].try_into().expect("eight bytes")) as usize;
    let index = meta + topology;
    let (n, len) = (2, good.len());
    assert_eq!(index + 28 * n, len);
    let with = |at: usize, value: &[u8]| {
        let mut file = good.clone();
        file[at..at + value.len()].copy_from_slice(value);
        assert!(reseal(&mut file) || at < 64, "resealed");
        file
    };
    let column = |first: usize, width: usize, i: usize| index + first * n + i * width;
    assert!(read(&with(column(8, 4, 0), &0.5f32.to_le_bytes())).is_ok(), "another scale is another valid file");
    let many = u64::MAX.to_le_bytes();
    let cases: Vec<(&str, Vec<u8>, &[Fault])> = vec![
        ("flags", with(10, &[4, 0]), &[Fault::Flags]),
        ("reserved bytes", with(12, &[1]), &[Fault::Flags]),
        ("topology length", with(16, &many), &[Fault::Overlap]),
        ("topology length expanded", with(24, &many), &[Fault::Limit]),
        ("index length", with(32, &many), &[Fault::Overlap]),
        ("place of the topology", with(48, &many), &[Fault::Overlap]),
        ("file length", with(56, &many), &[Fault::Truncated]),
        ("flag of compression", with(10, &[1, 0]), &[Fault::Compression, Fault::Limit]),
        ("layer number", with(column(0, 4, 1), &u32::MAX.to_le_bytes()), &[Fault::Path]),
        ("layer of no weights", with(column(0, 4, 1), &3u32.to_le_bytes()), &[Fault::Path]),
        ("one layer twice", with(column(0, 4, 1), &0u32.to_le_bytes()), &[Fault::Duplicate, Fault::Length]),
        ("role of another kind", with(column(4, 1, 0), &[Role::Gamma as u8]), &[Fault::Path]),
        ("unknown role", with(column(4, 1, 0), &[63]), &[Fault::Path]),
        ("part of a transformer", with(column(4, 1, 0), &[252]), &[Fault::Path, Fault::Config]),
        ("no roles", with(column(5, 1, 0), &[0]), &[Fault::Path]),
        ("more roles than there are", with(column(5, 1, 0), &[200]), &[Fault::Path]),
        ("unknown dtype", with(column(6, 1, 0), &[21]), &[Fault::Name]),
        ("a role as Q4_0", with(column(6, 1, 0), &[64]), &[Fault::Config, Fault::Name]),
        ("another dtype", with(column(6, 1, 0), &[Dtype::Int8 as u8]), &[Fault::Length]),
        ("scales by row", with(column(7, 1, 0), &[16]), &[Fault::Flags]),
        ("compressed section", with(column(7, 1, 0), &[2]), &[Fault::Compression]),
        ("zero point where none can be", with(column(7, 1, 0), &[4]), &[Fault::Scale, Fault::Length]),
        ("scale of 0", with(column(8, 4, 0), &0f32.to_le_bytes()), &[Fault::Scale]),
        ("scale of NaN", with(column(8, 4, 0), &f32::NAN.to_le_bytes()), &[Fault::Scale]),
        ("scale of infinity", with(column(8, 4, 0), &f32::INFINITY.to_le_bytes()), &[Fault::Scale]),
        ("section beyond the file", with(column(12, 8, 0), &many), &[Fault::Truncated]),
        ("section too short", with(column(12, 8, 0), &1u64.to_le_bytes()), &[Fault::Length]),
        ("unused bits", with(96 + 4, &[0x11]), &[Fault::Tail]),
        ("padding", with(96 + 5, &[1]), &[Fault::Tail]),
        ("strings without end", with(meta, &[0xff, 0xff, 0xff, 0x7f]), &[Fault::Truncated]),
        ("a long number", with(meta, &[0x80, 0]), &[Fault::Limit]),
        ("a grid of nothing", with(meta + 1, &[0]), &[Fault::Grid]),
        ("a grid beyond the file", with(meta + 1, &[0x7f, 0x7f, 0x7f]), &[Fault::Limit]),
    ];
    for (what, file, expected) in &cases {
        refused(what, file, expected);
    }
    let mut silent = good.clone();
    silent[96] ^= 0x10;
    refused("a changed weight", &silent, &[Fault::Digest]);
}

#[test]
fn writers_leave_the_old_file_or_the_new_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("a.entity");
    let checkpoint = Checkpoint::of(&network()).expect("a checkpoint");
    checkpoint.save(&path, Format::V1, OnLoss::Refuse).expect("saved");
    let before = std::fs::read(&path).expect("there");
    // Version 1 has no field for an epsilon of its own: nothing may be written.
    let eps: LayerSpec = serde_json::from_str(r#"{"rmsnorm": {"dim": 2, "eps": 0.5}}"#).expect("a layer");
    let gamma = WeightStore::f32(vec![2], vec![1.0, 2.0]).expect("finite");
    let mut table = [("layers.0".to_string(), Weights::from([(Role::Gamma, gamma)]))].into();
    let other = Network::build(NetworkSpec::stack(vec![eps]), &mut table).expect("a network");
    let other = Checkpoint::of(&other).expect("a checkpoint");
    let error = other.save(&path, Format::V1, OnLoss::Refuse).expect_err("refused");
    assert!(error.to_string().contains("`eps`"), "{error}");
    assert_eq!(std::fs::read(&path).expect("there"), before);
    assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 1, "no temporary file is left");
    other.save(&path, Format::V1, OnLoss::Drop).expect("dropped");
    let (read, format) = Checkpoint::open_format(&path, Open::default()).expect("read");
    assert_eq!(format, Format::V1);
    let spec = serde_json::to_string(read.network().expect("a network").spec()).expect("text");
    assert!(spec.contains("\"eps\":1e-6"), "the default is left: {spec}");
    // A folder that is not there, and a folder in the file's place.
    for path in [folder.path().join("none/a.entity"), folder.path().to_path_buf()] {
        let error = checkpoint.save(&path, Format::V2, OnLoss::Refuse).expect_err("refused");
        assert!(matches!(error, Error::Format { fault: Fault::Io, .. }), "{error}");
    }
}

#[test]
fn layers_left_in_the_file_cannot_run() {
    use loom_core::{Cpu, State, Tensor};
    let checkpoint = read(&bytes(Dtype::Int8, Format::V2)).expect("read");
    let partly = checkpoint.network_with(&[0].into()).expect("a network");
    let x = Tensor::new(vec![1, 3], vec![1.0, 2.0, 3.0]).expect("a shape");
    let error = partly.run(&[x], &mut State::default(), &Cpu::best()).expect_err("not loaded");
    assert!(error.to_string().contains("were not loaded"), "{error}");
    assert!(Checkpoint::of(&partly).is_err());
    assert!(checkpoint.network_with(&[3].into()).is_err());
}

#[test]
fn what_readers_would_not_believe_is_not_written() {
    let layer: LayerSpec = serde_json::from_str(r#"{"residual": {}}"#).expect("a layer");
    let of = |n| {
        let network = Network::build(NetworkSpec::stack(vec![layer.clone(); n]), &mut WeightTable::new());
        Checkpoint::of(&network.expect("a network")).expect("a checkpoint")
    };
    let held = of(65_000).to_bytes(Format::V2, OnLoss::Refuse).expect("held");
    assert!(held.len() < 200 && read(&held).is_ok());
    let error = of(70_000).to_bytes(Format::V2, OnLoss::Refuse).expect_err("too many");
    assert!(matches!(error, Error::Format { fault: Fault::Limit, .. }), "{error}");
}

#[test]
fn a_dtype_changes_no_bias_that_is_not_there() {
    use loom_core::{Numerics, Storage, Vectors};
    let rnn: LayerSpec =
        serde_json::from_str(r#"{"rnn": {"input_size": 2, "hidden_size": 2, "seq_length": 1, "bias": false}}"#)
            .expect("a layer");
    let store = |v: f32| WeightStore::f32(vec![2, 2], vec![v, -v, 2.0 * v, v]).expect("finite");
    let weights = Weights::from([(Role::InputWeight, store(0.3)), (Role::RecurrentWeight, store(-0.1))]);
    let mut table = [("layers.0".to_string(), weights)].into();
    let network = Network::build(NetworkSpec::stack(vec![rnn]), &mut table).expect("a network");
    // The one type that has no code for 0.
    let storage = Storage { dtype: Dtype::Binary, numerics: Numerics::Loom, vectors: Vectors::Stored };
    let by_file = Checkpoint::of(&network).expect("a checkpoint").morphed(&storage).expect("in range");
    let by_network = Checkpoint::of(&network.morph(&storage).expect("in range")).expect("a checkpoint");
    let [a, b] = [by_file, by_network].map(|c| c.to_bytes(Format::V2, OnLoss::Refuse).expect("held"));
    assert_eq!(a, b);
}
