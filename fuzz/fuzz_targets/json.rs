#![no_main]

mod common;

use libfuzzer_sys::fuzz_target;
use loom_core::format::FORMATS;

fuzz_target!(|text: &[u8]| {
    common::read(text, FORMATS);
});
