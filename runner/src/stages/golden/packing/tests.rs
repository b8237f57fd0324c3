//! Packed arrays are whole again to the bit.

use loom_core::SplitMix64;

use super::*;

fn f32s(shape: &[usize], mut value: impl FnMut(usize) -> f32) -> Array {
    Array::of(shape.to_vec(), Data::F32((0..shape.iter().product()).map(&mut value).collect()))
}

fn f64s(shape: &[usize], mut value: impl FnMut(usize) -> f64) -> Array {
    Array::of(shape.to_vec(), Data::F64((0..shape.iter().product()).map(&mut value).collect()))
}

fn named<const N: usize>(arrays: [(&str, Array); N]) -> Arrays {
    arrays.map(|(name, array)| (name.to_string(), array)).into()
}

/// Packs, makes whole again, and returns what was packed.
#[track_caller]
fn there_and_back(planets: &[(&str, &Arrays)]) -> Vec<Packed> {
    let packed = pack(planets);
    let mut whole: BTreeMap<(&str, &str), Array> = BTreeMap::new();
    for ((planet, arrays), packed) in planets.iter().zip(&packed) {
        // Outputs in float32 are made of those in float64.
        for (name, array) in arrays.iter().rev() {
            let made = match packed.kept.get(name) {
                None => packed.held[name].clone(),
                Some(kept) => {
                    let of = whole.get(&(kept.of.as_str(), kept.array.as_str()));
                    unpack(kept, of, packed.held.get(name), (matches!(array.data, Data::F64(_)), &array.shape))
                        .expect("whole")
                }
            };
            assert!(made.data.same_bits(&array.data) && made.shape == array.shape, "{planet} {name}");
            assert_eq!(made.sha256, array.sha256, "{planet} {name}");
            whole.insert((planet, name), made);
        }
    }
    packed
}

#[test]
fn every_float_has_an_integer_of_its_own() {
    let specials =
        [0.0, -0.0, 1.0, -1.0, f64::MIN_POSITIVE, -5e-324, 5e-324, f64::INFINITY, f64::NEG_INFINITY, f64::NAN];
    let data = Data::F64(specials.to_vec());
    let numbers: Vec<i64> = ordered(&data).expect("floats").collect();
    assert!(of_ordered(numbers.iter().copied(), true).same_bits(&data));
    assert_eq!((numbers[0], numbers[1], numbers[5], numbers[6]), (0, -1, -2, 1));
    let data = Data::F32(specials.map(|value| value as f32).to_vec());
    let numbers: Vec<i64> = ordered(&data).expect("floats").collect();
    assert!(of_ordered(numbers.into_iter(), false).same_bits(&data));
    for number in [0, 1, -1, i64::MAX, i64::MIN, 1 << 40] {
        assert_eq!(unfolded(folded(number)), number);
    }
}

/// Square and equal axes, gates of one and of many, zeros of either sign.
#[test]
fn weights_in_any_layout_are_kept_once() {
    let mut random = SplitMix64(7);
    let mut draw = |_| random.bits() as i32 as f32;
    let (square, kernel, gates) = (f32s(&[4, 4], &mut draw), f32s(&[3, 2, 2, 5], &mut draw), f32s(&[12, 4], &mut draw));
    let turned = |array: &Array, axes: &[usize]| {
        let kept =
            Kept { of: String::new(), array: String::new(), axes: Some(axes.to_vec()), rows: None, differs: false };
        let (shape, data) = view(&kept, array, None).expect("axes");
        Array::of(shape, data)
    };
    let gate = |i: usize| turned(&Array::of(vec![4, 4], gates.data.pick(16 * i..16 * (i + 1))), &[1, 0]);
    let first = named([("a.weight", square.clone()), ("b.weight", kernel.clone()), ("c.input_weight", gates.clone())]);
    let second = named([
        ("a.weight", turned(&square, &[1, 0])),
        ("b.weight", turned(&kernel, &[2, 3, 1, 0])),
        ("c.input_weight.i", gate(0)),
        ("c.input_weight.g", gate(2)),
    ]);
    let packed = there_and_back(&[("pytorch", &first), ("jax", &second)]);
    assert!(packed[0].kept.is_empty() && packed[1].held.is_empty());
    assert_eq!(packed[1].kept["c.input_weight.g"].rows, Some([8, 12]));
    // One sign of a zero, and it is another array.
    let mut zeros = first.clone();
    zeros.insert("a.weight".into(), f32s(&[4, 4], |_| 0.0));
    let other = named([("a.weight", f32s(&[4, 4], |i| if i == 5 { -0.0 } else { 0.0 }))]);
    let packed = there_and_back(&[("pytorch", &zeros), ("jax", &other)]);
    assert_eq!((packed[1].kept.len(), packed[1].held.len()), (0, 1));
}

#[test]
fn outputs_near_each_other_are_kept_as_differences() {
    let mut random = SplitMix64(11);
    let base: Vec<f64> = (0..600).map(|_| (random.bits() as i64 as f64) * 1e-19).collect();
    let near = |i: usize| f64::from_bits(base[i].to_bits() + (i as u64 % 5));
    let outputs = |exact: Array| {
        let Data::F64(values) = &exact.data else { unreachable!("float64") };
        let rounded = Data::F32(values.iter().map(|&value| value as f32).collect());
        named([("output", Array::of(exact.shape.clone(), rounded)), ("output_f64", exact.clone())])
    };
    // Channels last, and a zero of the other sign.
    let channels_last = |i: usize| {
        let (row, channel) = (i / 10, i % 10);
        if i == 17 { -0.0 } else { near(channel * 60 + row) }
    };
    let first = outputs(f64s(&[1, 10, 60], |i| if i == 7 * 60 + 1 { 0.0 } else { near(i) }));
    let second = outputs(f64s(&[1, 60, 10], channels_last));
    let far = outputs(f64s(&[1, 10, 60], |i| base[599 - i]));
    let packed = there_and_back(&[("pytorch", &first), ("jax", &second), ("sklearn", &far)]);
    assert_eq!(packed[1].kept["output_f64"].axes.as_deref(), Some(&[0, 2, 1][..]));
    assert_eq!(packed[1].held["output_f64"].shape[1], 600);
    assert!(packed[2].kept.keys().eq(["output"]), "trained apart: whole");
}
