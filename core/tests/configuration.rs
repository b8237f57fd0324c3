//! Layers that version 2 says in JSON, by strangers: every one is refused with what and where, or is a network.

use loom_core::format::{Checkpoint, Format, OnLoss, Reading, reseal};
use loom_core::{Error, Network, NetworkSpec, WeightStore, WeightTable};

/// A file of version 2 whose layers are said in JSON, with one text in place of another of the same length.
fn configured(layers: &str, from: &str, to: &str) -> Result<Network, Error> {
    assert_eq!(from.len(), to.len(), "{from} and {to}");
    let spec = NetworkSpec::stack(serde_json::from_str(layers).expect("layers"));
    let mut table = WeightTable::new();
    for (i, cell) in spec.cells.iter().enumerate() {
        for role in cell.layer.roles() {
            let n = role.shape.iter().product();
            let store = WeightStore::f32(role.shape, vec![0.5; n]).expect("finite");
            table.entry(format!("layers.{i}")).or_default().insert(role.role, store);
        }
    }
    let network = Network::build(spec, &mut table).expect("a network");
    let checkpoint = Checkpoint::of(&network).expect("a checkpoint");
    let mut bytes = checkpoint.to_bytes(Format::V2, OnLoss::Refuse).expect("held");
    let at = bytes.windows(from.len()).position(|window| window == from.as_bytes()).expect("the text");
    bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
    assert!(reseal(&mut bytes), "resealed");
    Checkpoint::parse(bytes, Reading::Strict)?.network()
}

#[test]
fn configurations_in_json_that_mislead() {
    let pool = r#"[{"pool": {"op": "average", "input": [40, 40], "kernel_size": 10}}]"#;
    let affine = r#"[{"affine": {"shape": [3, 1]}}]"#;
    for (layers, from, to, part) in [
        (pool, r#""average""#, r#""averagr""#, "unknown variant `averagr`"),
        (pool, r#""input""#, r#""inpud""#, "unknown field `inpud`"),
        (pool, "[40,40]", "[40, 4]", "is not as it is written"),
        (pool, "[40,40]", "[40,00]", "`configuration` is none of a pool layer"),
        (pool, "[40,40]", "[04,40]", "`configuration` is none of a pool layer"),
        (pool, "[40,40]", "[1,2,3]", "a window reaches over 10 positions"),
        (pool, "[40,40]", "[[0],9]", "`configuration` is none of a pool layer"),
        (pool, r#"e":10}"#, r#"e":99}"#, "a window reaches over 99 positions"),
        (pool, r#"e":10}"#, r#"e":-1}"#, "invalid"),
        (pool, r#"e":10}"#, r#"e":1}}"#, "`configuration` is none of a pool layer"),
        (affine, "[3,1]", "[9,1]", "bytes where"),
        (affine, "[3,1]", "[0,1]", "shape is [0, 1]"),
        (affine, r#""gain":true"#, r#""gain":null"#, "invalid type"),
        // Without a gain, one is there that no role asks for.
        (affine, r#""gain":true,"shift":true"#, r#""gain":false,"shift":tru"#, "`configuration` is none of"),
    ] {
        let error = configured(layers, from, to).expect_err(to).to_string();
        assert!(error.contains(part), "{to}: {error}");
    }
    assert!(configured(pool, "[40,40]", "[80,20]").is_ok(), "another input is another valid file");
}
