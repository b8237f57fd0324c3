//! Codes that stand for no finite weight, in every dtype, place and format: refused when they are
//! read whole, checked, or made a network of.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use loom_core::format::{BlobId, Checkpoint, Fault, Format, OnLoss, Part, Reading, reseal};
use loom_core::{
    Affine, Dtype, Error, LayerSpec, Network, NetworkSpec, Numerics, Role, Scales, Storage, Vectors, WeightStore,
    Weights,
};

const LOOM: Numerics = Numerics::Loom;
const STD: Numerics = Numerics::Standard;

/// A dtype, a scale, a code that stands for no finite weight, and how it is refused.
const CASES: [(Dtype, Numerics, f32, u64, Fault); 26] = [
    (Dtype::Float64, LOOM, 1.0, 0x7ff0_0000_0000_0000, Fault::NonFinite),
    (Dtype::Float64, STD, 1.0, 0xfff8_0000_0000_0001, Fault::NonFinite),
    (Dtype::Float32, LOOM, 1.0, 0x7fc0_0000, Fault::NonFinite),
    (Dtype::Float32, STD, 1.0, 0xff80_0000, Fault::NonFinite),
    (Dtype::Float16, LOOM, 1.0, 0x7c00, Fault::NonFinite),
    (Dtype::Float16, STD, 1.0, 0xfe01, Fault::NonFinite),
    (Dtype::BFloat16, LOOM, 1.0, 0x7f80, Fault::NonFinite),
    (Dtype::BFloat16, STD, 1.0, 0xffff, Fault::NonFinite),
    (Dtype::Fp8E4M3, STD, 0.5, 0x7f, Fault::NonFinite),
    (Dtype::Fp8E4M3, LOOM, 2e36, 0x7f, Fault::NonFinite),
    (Dtype::Fp8E5M2, LOOM, 0.5, 0x7c, Fault::NonFinite),
    (Dtype::Fp8E5M2, STD, 0.5, 0xff, Fault::NonFinite),
    (Dtype::Fp4, LOOM, 0.5, 6, Fault::NonFinite),
    (Dtype::Fp4, LOOM, 0.5, 15, Fault::NonFinite),
    (Dtype::Fp4, STD, 1e38, 7, Fault::NonFinite),
    (Dtype::Int8, LOOM, 3e38, 2, Fault::NonFinite),
    (Dtype::Int8, STD, -3e38, 0xfe, Fault::NonFinite),
    (Dtype::Int16, LOOM, 3e38, 2, Fault::NonFinite),
    (Dtype::Int32, LOOM, 3e38, 2, Fault::NonFinite),
    (Dtype::Int64, LOOM, 3e38, 2, Fault::NonFinite),
    (Dtype::Uint16, LOOM, 3e38, 2, Fault::NonFinite),
    (Dtype::Uint8, STD, 3e38, 127 - 1, Fault::NonFinite),
    (Dtype::Int4, LOOM, 3e38, 2, Fault::NonFinite),
    (Dtype::Int2, STD, 3e38, 2, Fault::NonFinite),
    (Dtype::Ternary, LOOM, 0.5, 2, Fault::Code),
    (Dtype::Ternary, STD, 0.5, 2, Fault::Code),
];

/// A checkpoint of one dense layer of 9 by 31 weights, and their packed codes: all 0 or 1, as the
/// weights or the distance from the zero point.
fn dense(dtype: Dtype, numerics: Numerics, scale: f32) -> (Checkpoint, WeightStore) {
    let layer: LayerSpec =
        serde_json::from_str(r#"{"dense": {"input_dim": 31, "output_dim": 9, "bias": false}}"#).expect("a layer");
    let affine = dtype.affine(numerics, scale);
    let codes = dtype.pack((0..9 * 31).map(|i| affine.zero_point + u64::from(i % 7 == 3 || i % 11 == 5)));
    let store = WeightStore::packed(dtype, numerics, vec![9, 31], Scales::Tensor(affine), codes).expect("sound codes");
    let mut table = [("layers.0".to_string(), Weights::from([(Role::Weight, store.clone())]))].into();
    let network = Network::build(NetworkSpec::stack(vec![layer]), &mut table).expect("a network");
    (Checkpoint::of(&network).expect("a checkpoint"), store)
}

/// `file` with other bytes where `from` stands, which it does once.
fn replaced(file: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let places: Vec<usize> = (0..=file.len() - from.len()).filter(|&i| &file[i..i + from.len()] == from).collect();
    assert_eq!(places.len(), 1, "the bytes stand at {places:?}");
    let mut file = file.to_vec();
    file[places[0]..places[0] + to.len()].copy_from_slice(to);
    if file.starts_with(b"ENTITY\0\0\x02") {
        assert!(reseal(&mut file));
    }
    file
}

#[track_caller]
fn fault<T: std::fmt::Debug>(what: &str, done: Result<T, Error>, expected: Fault) {
    match done {
        Err(Error::Format { fault, place, .. }) if fault == expected => assert!(!place.is_empty(), "{what}"),
        other => panic!("{what}: {other:?}"),
    }
}

/// Everything that uses weights refuses them.
#[track_caller]
fn refused(what: &str, file: Vec<u8>, expected: Fault) {
    let read = || Checkpoint::parse(file.clone(), Reading::Strict).expect("nothing but a weight is wrong");
    fault(&format!("{what} loaded"), read().load(), expected);
    fault(&format!("{what} checked"), read().check_weights(), expected);
    let done = if read().decoder().is_some() { read().transformer().map(drop) } else { read().network().map(drop) };
    fault(&format!("{what} as a network"), done, expected);
}

#[test]
fn codes_that_are_no_finite_weights() {
    for (dtype, numerics, scale, code, expected) in CASES {
        let (checkpoint, store) = dense(dtype, numerics, scale);
        let codes: Vec<u64> = store.codes().collect();
        for at in [0, 100, codes.len() - 1] {
            let mut bad = codes.clone();
            bad[at] = code;
            let bad = dtype.pack(bad);
            for format in [Format::V1, Format::V2, Format::Json] {
                let Ok(file) = checkpoint.to_bytes(format, OnLoss::Refuse) else { continue };
                assert!(Checkpoint::parse(file.clone(), Reading::Strict).expect("read").load().is_ok());
                let text = |bytes: &[u8]| STANDARD.encode(bytes).into_bytes();
                let bad = match format {
                    Format::Json => replaced(&file, &text(store.bytes()), &text(&bad)),
                    _ => replaced(&file, store.bytes(), &bad),
                };
                let what = format!("{numerics} {dtype} at {scale:e}, code {code:#x} at {at} in {format}");
                refused(&what, bad, expected);
            }
        }
        // What can be had of a store directly is no other.
        let mut bad = codes;
        bad[5] = code;
        let affine = Affine { scale, ..dtype.affine(numerics, scale) };
        let store = WeightStore::packed(dtype, numerics, vec![9, 31], Scales::Tensor(affine), dtype.pack(bad));
        assert!(matches!(store, Err(Error::NonFinite { index: 5, .. } | Error::Code { index: 5, .. })), "{store:?}");
    }
}

#[test]
fn masters_that_are_not_finite() {
    let (checkpoint, store) = dense(Dtype::Float32, LOOM, 1.0);
    let file = checkpoint.to_bytes(Format::V1, OnLoss::Refuse).expect("held");
    let text = String::from_utf8_lossy(&file).into_owned();
    assert!(text.contains("\"native\":true"));
    let start = 20 + text.find("\"blobs\"").expect("an index") - 20;
    let mut master = file.clone();
    let at = start + text[start..].find("\"native\":true").expect("a blob") + "\"native\":".len();
    master[at..at + 4].copy_from_slice(b"fals");
    // One letter more: the header's length follows.
    master.splice(at + 4..at + 4, *b"e");
    let n = u64::from_le_bytes(file[12..20].try_into().expect("eight bytes")) + 1;
    master[12..20].copy_from_slice(&n.to_le_bytes());
    assert!(Checkpoint::parse(master.clone(), Reading::Strict).expect("read").load().is_ok());
    let mut bad = store.bytes().to_vec();
    bad[40..44].copy_from_slice(&f32::NAN.to_le_bytes());
    refused("a master", replaced(&master, store.bytes(), &bad), Fault::NonFinite);
    // What is stored of a finite master may be no number, as 1e6 in float16.
    bad[40..44].copy_from_slice(&1e6f32.to_le_bytes());
    let file = Checkpoint::parse(replaced(&master, store.bytes(), &bad), Reading::Strict).expect("read");
    assert!(file.check_weights().is_ok());
    let half = Storage { dtype: Dtype::Float16, numerics: LOOM, vectors: Vectors::Stored };
    fault("a master beyond its dtype", file.morphed(&half).expect("a master").check_weights(), Fault::NonFinite);
}

#[test]
fn what_belongs_to_a_transformer_is_checked() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../golden/loom-0.80/entity/transformer/int4_untied.entity");
    let v1 = std::fs::read(path).expect("a recorded file");
    let checkpoint = Checkpoint::parse(v1.clone(), Reading::Strict).expect("read");
    let v2 = checkpoint.to_bytes(Format::V2, OnLoss::Refuse).expect("held");
    let mut seen = 0;
    for (id, _) in checkpoint.blobs() {
        let bytes = checkpoint.bytes(id).expect("bytes");
        let mut bad = bytes.to_vec();
        // The first scale of Q4_0 stands behind two numbers.
        let at = if matches!(id, BlobId::Layer(_, Part::Q4(_))) { 8 } else { bad.len() - 4 };
        bad[at..at + 4].copy_from_slice(&f32::INFINITY.to_le_bytes());
        for (name, file) in [("v1", &v1), ("v2", &v2)] {
            if file.windows(bytes.len()).filter(|window| *window == &bytes[..]).count() != 1 {
                continue;
            }
            seen += 1;
            refused(&format!("{id} in {name}"), replaced(file, &bytes, &bad), Fault::NonFinite);
        }
    }
    assert!(seen >= 12, "{seen} blobs were tried");
}

/// A frame that libzstd and ruzstd expand to different bytes: it has no checksum.
const TWO_READERS: &str = "\
    454e5449545900000200000000000000110000000000000011000000000000001c000000000000001c000000000000001b010000000000\
    0048010000000000008d571315c23b014927e4eea5f3518f5dc81b578dc6f516e6a4dd8853c0fd258728b52ffd6020008d050006502a23\
    00ef6a0efcffffffbf18ff0a2089c6846f8b0fa2f208377cb26f208a3df1f1509790141f0020002000b7951609525a115e332f191b275f\
    2ef6aa85047d2cadbed7d086596e64170b2d291d2ec4161c2595ec6aaf939f9613bb2f456ee7d5ea09ea38b0b4dd7c0d025f2da6a666e5\
    4586d92af7529b700a3462771a2aca09f9b8f950b4ea698d54082fdf51aad6b1715bd1334b6a1598b965ecfc24a5725221be1203760f4e\
    2531010100200ea200010101010008030c03010304041202000000000014030c0227ddf23bbb000000000000009acd7513a7368bb7";

#[test]
fn frames_that_two_readers_may_expand_differently() {
    let file: Vec<u8> = (0..TWO_READERS.len())
        .step_by(2)
        .map(|i| u8::from_str_radix(&TWO_READERS[i..i + 2], 16).expect("hexadecimal digits"))
        .collect();
    let read = |file: Vec<u8>| Checkpoint::parse(file, Reading::Strict)?.load();
    fault("two readers", read(file), Fault::Compression);

    let (checkpoint, _) = dense(Dtype::Float32, STD, 1.0);
    let good = checkpoint.to_bytes(Format::V2Zstd, OnLoss::Refuse).expect("held");
    read(good.clone()).expect("what we write is read");
    let frame = good.windows(4).position(|bytes| bytes == [0x28, 0xb5, 0x2f, 0xfd]).expect("a frame");
    assert_eq!(frame, 96, "the section is compressed, its tables are not");
    assert_eq!(good[frame + 4] & 4, 4, "the frame has a checksum");
    let stored = u64::from_le_bytes(good[48..56].try_into().expect("eight bytes")) as usize - 96;
    let mut other = good.clone();
    other[96 + stored - 1] ^= 1;
    assert!(reseal(&mut other));
    fault("another checksum", read(other), Fault::Compression);
    let mut none = good;
    none[frame + 4] &= !4;
    assert!(reseal(&mut none));
    assert!(read(none).is_err(), "four bytes that are no checksum any more follow the frame");
}
