//! What small files may cost: every byte that lives while they are read and used is counted.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use loom_core::format::{Budget, Checkpoint, FORMATS, Fault, Format, OnLoss, Open, Reading};
use loom_core::{Cpu, Error, State, Tensor};
use sha2::{Digest as _, Sha256};

/// Counts the bytes that live, and the most that ever lived.
struct Counting;

static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

fn grown(by: usize) {
    PEAK.fetch_max(LIVE.fetch_add(by, Relaxed) + by, Relaxed);
}

#[expect(unsafe_code, reason = "an allocator is unsafe to implement; this one hands everything to the system's")]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        grown(layout.size());
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Relaxed);
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        grown(size);
        LIVE.fetch_sub(layout.size(), Relaxed);
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// Tests of one process share the counters.
static ALONE: Mutex<()> = Mutex::new(());

/// What `work` returns, and the most bytes that lived beyond those before it.
fn peak<T>(work: impl FnOnce() -> T) -> (T, usize) {
    let before = LIVE.load(Relaxed);
    PEAK.store(before, Relaxed);
    let made = work();
    (made, PEAK.load(Relaxed).saturating_sub(before))
}

fn varint(mut v: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while v >= 128 {
        bytes.push(v as u8 | 128);
        v >>= 7;
    }
    bytes.push(v as u8);
    bytes
}

/// A record of version 2: a kind, and fields by ascending id.
fn record(kind: u8, fields: &[(u64, Vec<u8>)]) -> Vec<u8> {
    let values: Vec<u8> = fields.iter().flat_map(|(id, value)| [varint(*id), value.clone()].concat()).collect();
    [vec![kind, 7, 1], varint(fields.len() as u64), values].concat()
}

/// A container with children that are all the same.
fn container(kind: u8, field: u64, n: u64, child: &[u8]) -> Vec<u8> {
    record(kind, &[(field, [varint(n), child.repeat(n as usize)].concat())])
}

const PARALLEL: u8 = 16;
const RESIDUAL: u8 = 18;

/// A topology of strings and one record that stands `times` times.
fn topology(strings: &[&[u8]], record: &[u8], times: u64) -> Vec<u8> {
    let mut bytes = varint(strings.len() as u64);
    strings.iter().for_each(|text| bytes.extend([varint(text.len() as u64), text.to_vec()].concat()));
    [1, 1, 1, times].into_iter().for_each(|extent| bytes.extend(varint(extent)));
    bytes.extend([varint(0), record.to_vec()].concat());
    if times > 1 {
        bytes.extend([varint(1), varint(times - 1)].concat());
    }
    bytes.push(0);
    bytes
}

/// A file of version 2 without weights, compressed or not.
fn file(topology: &[u8], index: &[u8], zstd: bool) -> Vec<u8> {
    let squeeze = |raw: &[u8]| {
        if !zstd {
            return raw.to_vec();
        }
        let mut compressor = zstd::bulk::Compressor::new(3).expect("a compressor");
        compressor.include_checksum(true).expect("a setting");
        compressor.compress(raw).expect("compressed")
    };
    let (stored, stored_index) = (squeeze(topology), squeeze(index));
    let mut head = b"ENTITY\0\0\x02\0".to_vec();
    head.extend([if zstd { 3 } else { 0 }, 0, 0, 0, 0, 0]);
    let end = 96 + stored.len() + stored_index.len();
    for n in [stored.len(), topology.len(), stored_index.len(), index.len(), 96, end] {
        head.extend((n as u64).to_le_bytes());
    }
    let mut hasher = Sha256::new();
    [&head, &stored, &stored_index].into_iter().for_each(|part| hasher.update(part));
    let digest = hasher.finalize();
    head.extend_from_slice(&digest);
    [head, stored, stored_index].concat()
}

/// Bytes that compress badly, so that the whole does not expand beyond what is read.
fn noise(n: usize) -> Vec<u8> {
    let mut state = 1u64;
    let letter = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        b'0' + (state >> 59) as u8
    };
    (0..n).map(letter).collect()
}

/// Everything that can be done with a checkpoint.
fn use_it(bytes: Vec<u8>, open: Open) -> Result<(), Error> {
    let mut checkpoint = Checkpoint::parse_with(bytes, open)?;
    checkpoint.load()?;
    for &format in FORMATS {
        match checkpoint.to_bytes(format, OnLoss::Refuse) {
            Ok(_) | Err(Error::Format { fault: Fault::Loss | Fault::Limit | Fault::Missing, .. }) => {}
            Err(other) => return Err(other),
        }
    }
    let network = match checkpoint.network() {
        Ok(network) => network,
        // Links, sizes and the like that a file may say and a network may not have.
        Err(Error::Layer { .. } | Error::Document { .. }) => return Ok(()),
        Err(other) => return Err(other),
    };
    let x = Tensor::new(vec![1, 4], vec![1.0, 2.0, 3.0, 4.0])?;
    match network.run(&[x], &mut State::default(), &Cpu::scalar()) {
        Ok(_) | Err(Error::Layer { .. }) => Ok(()),
        Err(other) => Err(other),
    }
}

/// Files of a few bytes that describe much; `true` where that is more than the budget.
fn greedy() -> Vec<(&'static str, Vec<u8>, bool)> {
    let empty = record(RESIDUAL, &[]);
    let gates = |n: usize| (0..n).fold(record(RESIDUAL, &[]), |inner, _| record(PARALLEL, &[(72, inner)]));
    let json = |layer: &str, n: usize| {
        let layers = vec![layer; n].join(",");
        format!(r#"{{"depth":1,"rows":1,"cols":1,"layers_per_cell":{n},"layers":[{layers}]}}"#).into_bytes()
    };
    let long = [b'A'; 20_000];
    let text = record(0, &[(24, varint(0))]);
    let mask = |n: u64| [varint(n), vec![0; n.div_ceil(8) as usize]].concat();
    vec![
        ("a layer that stands 65,536 times", file(&topology(&[], &empty, 65_536), &[], false), false),
        (
            "400 children, 60,001 times",
            file(&topology(&[], &container(PARALLEL, 31, 400, &empty), 60_001), &[], false),
            true,
        ),
        (
            "2,500 children, 60,001 times",
            file(&topology(&[], &container(PARALLEL, 31, 2_500, &empty), 60_001), &[], false),
            true,
        ),
        ("60 gates in each other, 60,000 times", file(&topology(&[], &gates(60), 60_000), &[], false), true),
        ("60 gates in each other, 60 times", file(&topology(&[], &gates(60), 60), &[], false), false),
        ("4 million children", file(&topology(&[], &container(PARALLEL, 31, 4_000_000, &empty), 1), &[], false), true),
        (
            "30,000 children, compressed",
            file(&topology(&[&noise(2_000)], &container(PARALLEL, 31, 30_000, &empty), 1), &[], true),
            false,
        ),
        (
            "4 million children, compressed",
            file(&topology(&[&noise(100_000)], &container(PARALLEL, 31, 4_000_000, &empty), 1), &[], true),
            true,
        ),
        ("a text in 20,001 layers", file(&topology(&[&long], &text, 20_001), &[], false), true),
        ("a text in 200 layers", file(&topology(&[&long], &text, 200), &[], false), false),
        (
            "a mask of a million, 1,000 times",
            file(&topology(&[], &record(15, &[(70, mask(1_000_000))]), 1_000), &[], false),
            true,
        ),
        ("an index of sections for nothing", file(&topology(&[], &empty, 1), &[0; 28 * 400_000], true), true),
        ("layers of JSON that say nothing", json("{}", 60_000), false),
        (
            "a grid of JSON without layers",
            b"{\"depth\":1,\"rows\":1,\"cols\":1,\"layers_per_cell\":65000}".to_vec(),
            false,
        ),
    ]
}

#[test]
fn memory_is_a_multiple_of_the_file() {
    let _alone = ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    for (what, bytes, beyond) in greedy() {
        let most = Budget::default().bytes as usize + 64 * bytes.len();
        for reading in [Reading::Strict, Reading::Loom] {
            let open = Open { reading, ..Open::default() };
            let n = bytes.len();
            let (used, peak) = peak(|| use_it(bytes.clone(), open));
            let limit = matches!(used, Err(Error::Format { fault: Fault::Limit, .. }));
            // Version 2 is read in one way alone; what is no file of this reading is refused for that.
            assert!(limit || !beyond, "{what} ({n} bytes): {used:?}");
            assert!(!limit || beyond, "{what} ({n} bytes): {used:?}");
            assert!(peak <= most, "{what}: {n} bytes took {peak}; at most {most}");
        }
    }
}

#[test]
fn a_budget_can_be_raised_and_lowered() {
    let _alone = ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let bytes = file(&topology(&[], &container(PARALLEL, 31, 400, &record(RESIDUAL, &[])), 200), &[], false);
    let with = |budget: Budget| Checkpoint::parse_with(bytes.clone(), Open { budget, ..Open::default() });
    match with(Budget::default()) {
        Err(Error::Format { fault: Fault::Limit, what, .. }) => assert!(what.contains("raise the budget"), "{what}"),
        other => panic!("{other:?}"),
    }
    let read = with(Budget { bytes: 256 << 20, ..Budget::default() }).expect("a raised budget");
    assert_eq!(read.topology().walk().len(), 401 * 200);
    let small = file(&topology(&[], &record(RESIDUAL, &[]), 2), &[], false);
    let open = Open { budget: Budget { bytes: Budget::LAYER, per_byte: 0 }, ..Open::default() };
    assert!(Checkpoint::parse_with(small, open).is_err(), "two layers for the price of one");
}

/// Twice as many layers may take little more than twice as long: no list is searched for each.
#[test]
fn time_is_linear_in_layers() {
    let _alone = ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let dense = [vec![0, 7, 1], varint(2), varint(1), varint(1), varint(4), varint(1)].concat();
    let build = |n: u64| {
        // The section of each child stands at byte 96 + 4 i and holds 0.5.
        let mut index = Vec::new();
        (0..n).for_each(|_| index.extend(1u32.to_le_bytes()));
        for column in [0, 1, 1, 0] {
            index.extend(vec![column; n as usize]);
        }
        (0..n).for_each(|_| index.extend(1f32.to_le_bytes()));
        (0..n).for_each(|_| index.extend(4u64.to_le_bytes()));
        index.extend(vec![0; 8 * n as usize]);
        let topology = topology(&[], &container(PARALLEL, 31, n, &dense), 1);
        let tables = file(&topology, &index, false);
        let mut bytes = tables[..96].to_vec();
        (0..n).for_each(|_| bytes.extend(0.5f32.to_le_bytes()));
        let meta = bytes.len() as u64;
        bytes.extend(&tables[96..]);
        bytes[48..56].copy_from_slice(&meta.to_le_bytes());
        let end = bytes.len() as u64;
        bytes[56..64].copy_from_slice(&end.to_le_bytes());
        assert!(loom_core::format::reseal(&mut bytes));
        bytes
    };
    let took = |n: u64| {
        let bytes = build(n);
        let start = std::time::Instant::now();
        let mut checkpoint = Checkpoint::parse(bytes, Reading::Strict).expect("read");
        checkpoint.load().expect("loaded");
        let _ = checkpoint.to_bytes(Format::V2, OnLoss::Refuse).expect("written");
        let _ = checkpoint.to_bytes(Format::Json, OnLoss::Refuse).expect("written");
        let _ = checkpoint.network();
        start.elapsed().as_secs_f64()
    };
    took(1_000);
    let (few, many) = (took(4_000), took(64_000));
    assert!(
        many < 100.0 * few,
        "16 times as many layers took {:.0} times as long ({few:.3} s, {many:.3} s)",
        many / few
    );
}
