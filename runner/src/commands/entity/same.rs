//! Whether a checkpoint, written again, is the file it came from; nothing is kept to find out.

use std::fs::File;
use std::io::{BufReader, Read as _, Seek, SeekFrom, Write};
use std::path::Path;

use loom_core::Result;
use loom_core::format::{Checkpoint, Format, OnLoss};

/// Whether writing `checkpoint` gives the bytes of `file`.
///
/// # Errors
/// As [`Checkpoint::write`]. A file that cannot be read again counts as another one.
pub(super) fn is_same(checkpoint: &Checkpoint, format: Format, file: &Path) -> Result<bool> {
    let Ok(original) = File::open(file) else { return Ok(false) };
    let Ok(len) = original.metadata().map(|meta| meta.len()) else { return Ok(false) };
    let mut out =
        Comparison { original: BufReader::new(original), head: vec![0; HEAD], position: 0, end: 0, same: true };
    checkpoint.write(format, OnLoss::Refuse, &mut out)?;
    let mut head = vec![0; HEAD.min(len as usize)];
    let read = out.original.seek(SeekFrom::Start(0)).and_then(|_| out.original.read_exact(&mut head));
    Ok(out.same && out.end == len && read.is_ok() && out.head[..head.len()] == head)
}

/// What a writer may come back to.
const HEAD: usize = 96;

/// Takes what is written and compares it with a file, but for its head, which is kept because a
/// writer comes back to it.
struct Comparison {
    original: BufReader<File>,
    head: Vec<u8>,
    position: u64,
    end: u64,
    same: bool,
}

impl Write for Comparison {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let start = usize::try_from(self.position).unwrap_or(usize::MAX);
        let kept = HEAD.saturating_sub(start).min(bytes.len());
        if kept > 0 {
            self.head[start..start + kept].copy_from_slice(&bytes[..kept]);
            self.original.seek(SeekFrom::Start(self.position + kept as u64))?;
        }
        if self.same {
            let mut expected = vec![0; bytes.len() - kept];
            let read = self.original.read_exact(&mut expected);
            self.same = read.is_ok() && expected == bytes[kept..];
        }
        self.position += bytes.len() as u64;
        self.end = self.end.max(self.position);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Seek for Comparison {
    fn seek(&mut self, to: SeekFrom) -> std::io::Result<u64> {
        self.position = match to {
            SeekFrom::Start(at) => at,
            SeekFrom::Current(by) => self.position.saturating_add_signed(by),
            SeekFrom::End(by) => self.end.saturating_add_signed(by),
        };
        self.original.seek(SeekFrom::Start(self.position))
    }
}
