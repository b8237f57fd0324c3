#![no_main]

mod common;

use libfuzzer_sys::fuzz_target;
use loom_core::format::FORMATS;

// A header, 0xFF, a payload: mutations need not keep the header's length in step.
fuzz_target!(|bytes: &[u8]| {
    let split = bytes.iter().position(|&byte| byte == 0xff).unwrap_or(bytes.len());
    let (header, payload) = (&bytes[..split], bytes.get(split + 1..).unwrap_or_default());
    let mut file = b"ENTITY\0\0\x01\0\0\0".to_vec();
    file.extend_from_slice(&(header.len() as u64).to_le_bytes());
    file.extend_from_slice(header);
    file.extend_from_slice(payload);
    common::read(&file, FORMATS);
});
