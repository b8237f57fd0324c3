#![no_main]

mod common;

use libfuzzer_sys::fuzz_target;
use loom_core::format::{FORMATS, reseal};

// Digests are made to fit, so that mutations reach what lies behind them.
fuzz_target!(|bytes: &[u8]| {
    common::read(bytes, &[]);
    let mut sealed = bytes.to_vec();
    if reseal(&mut sealed) {
        common::read(&sealed, FORMATS);
    }
});
