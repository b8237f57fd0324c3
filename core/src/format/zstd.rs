//! Zstandard sections. Reading is pure Rust; writing needs the feature `zstd`.

#![forbid(unsafe_code)]

#[cfg(feature = "zstd")]
use std::cell::RefCell;
use std::fmt::Display;
use std::io::Read as _;

#[cfg(feature = "zstd")]
use zstd::bulk::Compressor;

use super::fault::{Fault, ensure};
use crate::error::Result;

/// How many times its stored length a section may expand to, so that a small file cannot ask for
/// much memory.
pub(super) const MOST_EXPANSION: usize = 256;

/// The largest window of a frame, in bytes.
const LARGEST_WINDOW: u64 = 1 << 27;

/// Expands one frame of exactly `raw` bytes.
pub(super) fn expand(place: &dyn Display, stored: &[u8], raw: usize) -> Result<Vec<u8>> {
    let wrong = |what: String| Fault::Compression.at(place, what);
    ensure(raw / MOST_EXPANSION <= stored.len(), || {
        Fault::Limit
            .at(place, format!("{} bytes expand to {raw}; at most {MOST_EXPANSION} times is read", stored.len()))
    })?;
    let mut rest = stored;
    let window = (raw as u64).max(1 << 10).next_power_of_two().min(LARGEST_WINDOW);
    let decoder = ruzstd::decoding::StreamingDecoder::new_with_max_window_size(&mut rest, window);
    let mut decoder = decoder.map_err(|e| wrong(e.to_string()))?;
    let mut bytes = vec![0; raw];
    decoder.read_exact(&mut bytes).map_err(|e| wrong(e.to_string()))?;
    let more = decoder.read(&mut [0]).map_err(|e| wrong(e.to_string()))?;
    ensure(more == 0, || wrong(format!("expands to more than {raw} bytes")))?;
    // A damaged frame need not look damaged, and two decoders may then expand it to other bytes.
    let (said, found) = (decoder.decoder.get_checksum_from_data(), decoder.decoder.get_calculated_checksum());
    ensure(said.is_some(), || wrong("the frame has no checksum of its content; write it with one".into()))?;
    ensure(said == found, || wrong("the checksum of the frame is not that of its content".into()))?;
    drop(decoder);
    ensure(rest.is_empty(), || Fault::Trailing.at(place, format!("{} bytes follow the frame", rest.len())))?;
    Ok(bytes)
}

/// One frame with its length and checksum, where that is shorter than `raw` and may be read back.
#[cfg(feature = "zstd")]
pub(super) fn shrink(raw: &[u8]) -> Option<Vec<u8>> {
    const LEVEL: i32 = 3;
    // A compressor's tables cost more than a small section. Only an allocation can fail here; the bytes are then
    // stored as they are.
    thread_local!(static COMPRESSOR: RefCell<Option<Compressor<'static>>> = const { RefCell::new(None) });
    let frame = COMPRESSOR.with_borrow_mut(|kept| {
        if kept.is_none() {
            let mut new = Compressor::new(LEVEL).ok()?;
            new.include_checksum(true).ok()?;
            *kept = Some(new);
        }
        kept.as_mut()?.compress(raw).ok()
    })?;
    (frame.len() < raw.len() && raw.len() / MOST_EXPANSION <= frame.len()).then_some(frame)
}

/// Without the feature nothing is compressed.
#[cfg(not(feature = "zstd"))]
pub(super) fn shrink(_: &[u8]) -> Option<Vec<u8>> {
    None
}
