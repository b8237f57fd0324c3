//! Where the bytes of a checkpoint are: in memory, in a mapped file, or still in the file.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use rayon::prelude::*;

use super::fault::{Fault, ensure};
use crate::error::Result;

/// How a file is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Access {
    /// By positioned reads, when bytes are needed: what is not asked for stays in the file.
    #[default]
    Read,
    /// Mapped into memory, so that weights are used in place. The file must not be changed while
    /// anything loaded from it lives.
    Map,
}

/// A file or its bytes.
#[derive(Clone, Debug)]
pub(super) enum Source {
    Memory(Bytes),
    File(Arc<File>, u64),
}

impl Source {
    pub(super) fn open(path: &Path, access: Access) -> Result<Self> {
        let named = |e: &std::io::Error| Fault::io(&path.display().to_string(), e);
        let file = crate::file::open(path).map_err(|e| named(&e))?;
        let meta = file.metadata().map_err(|e| named(&e))?;
        match access {
            Access::Read => Ok(Source::File(Arc::new(file), meta.len())),
            Access::Map if meta.len() == 0 => Ok(Source::Memory(Bytes::new())),
            Access::Map => {
                #[expect(unsafe_code, reason = "a mapping is sound while nobody changes the file, as Access::Map says")]
                let map = unsafe { memmap2::Mmap::map(&file) }.map_err(|e| named(&e))?;
                Ok(Source::Memory(Bytes::from_owner(map)))
            }
        }
    }

    pub(super) fn len(&self) -> u64 {
        match self {
            Source::Memory(bytes) => bytes.len() as u64,
            Source::File(_, len) => *len,
        }
    }

    /// Bytes that lie inside the source.
    pub(super) fn read(&self, offset: u64, len: usize) -> Result<Bytes> {
        let end = offset.checked_add(len as u64).filter(|&end| end <= self.len());
        ensure(end.is_some(), || {
            let what = format!("{len} bytes are needed, {} are there", self.len().saturating_sub(offset));
            Fault::Truncated.at(format!("byte {offset}"), what)
        })?;
        match self {
            Source::Memory(bytes) => Ok(bytes.slice(offset as usize..offset as usize + len)),
            Source::File(file, _) => {
                let io = |e: std::io::Error| Fault::io(&format!("byte {offset}"), &e);
                let mut buffer = vec![0; len];
                if len < LARGE {
                    read_at(file, &mut buffer, offset).map_err(io)?;
                    return Ok(buffer.into());
                }
                // Most of the time of a plain read goes into handing out pages; all cores do it.
                let read = |(i, piece): (usize, &mut [u8])| read_at(file, piece, offset + (i * PIECE) as u64);
                buffer.par_chunks_mut(PIECE).enumerate().try_for_each(read).map_err(io)?;
                Ok(buffer.into())
            }
        }
    }
}

/// Bytes that are read in pieces.
const LARGE: usize = 4 << 20;

/// Bytes of a piece.
const PIECE: usize = 2 << 20;

#[cfg(unix)]
fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> std::io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, buffer, offset)
}

#[cfg(windows)]
fn read_at(file: &File, mut buffer: &mut [u8], mut offset: u64) -> std::io::Result<()> {
    while !buffer.is_empty() {
        match std::os::windows::fs::FileExt::seek_read(file, buffer, offset)? {
            0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            n => {
                buffer = &mut buffer[n..];
                offset += n as u64;
            }
        }
    }
    Ok(())
}

/// A stretch of a source that is read and checked as one.
#[derive(Clone, Debug)]
pub(super) struct Section {
    pub(super) source: Source,
    pub(super) offset: u64,
    /// Bytes in the source, padding included.
    pub(super) stored: usize,
    /// Zeros before the content.
    pub(super) padding: usize,
    /// Bytes after expansion.
    pub(super) raw: usize,
    pub(super) zstd: bool,
    /// The XXH3 digest of what is stored.
    pub(super) digest: Option<[u8; 8]>,
}

impl Section {
    /// Bytes that are in memory already.
    pub(super) fn memory(bytes: Bytes) -> Self {
        let len = bytes.len();
        Self { source: Source::Memory(bytes), offset: 0, stored: len, padding: 0, raw: len, zstd: false, digest: None }
    }

    /// The expanded bytes. `place` names the section in errors.
    pub(super) fn read(&self, place: &dyn std::fmt::Display) -> Result<Bytes> {
        let stored = self.source.read(self.offset, self.stored)?;
        if let Some(expected) = self.digest {
            let found = digest(&stored);
            ensure(found == expected, || {
                let what = format!("digest {} is not {} of the index", hex(&found), hex(&expected));
                Fault::Digest.at(place, format!("{what}: the bytes have changed since they were written"))
            })?;
        }
        let (padding, content) = (&stored[..self.padding], stored.slice(self.padding..));
        ensure(padding.iter().all(|&byte| byte == 0), || Fault::Tail.at(place, "the padding before it is not zero"))?;
        if self.zstd { super::zstd::expand(place, &content, self.raw).map(Bytes::from) } else { Ok(content) }
    }
}

/// XXH3 of 64 bits, little-endian: it finds damage as fast as memory is read; it is no proof
/// against forgery.
pub(super) fn digest(bytes: &[u8]) -> [u8; 8] {
    twox_hash::XxHash3_64::oneshot(bytes).to_le_bytes()
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
