//! What every target asks of a reader: no panic, and what was read is written so that it reads
//! the same again.

use loom_core::format::{Checkpoint, Format, Reading, OnLoss};

/// Reads `bytes`; writes what was read in every format, which must be stable.
pub fn read(bytes: &[u8], formats: &[Format]) {
    for reading in [Reading::Strict, Reading::Loom] {
        let Ok(mut checkpoint) = Checkpoint::parse(bytes.to_vec(), reading) else { continue };
        if checkpoint.load().is_err() {
            continue;
        }
        let _ = checkpoint.network();
        let _ = checkpoint.transformer();
        let _ = checkpoint.as_loom();
        for &format in formats {
            let Ok(written) = checkpoint.to_bytes(format, OnLoss::Refuse) else { continue };
            let again = Checkpoint::parse(written.clone(), Reading::Strict).expect("what we write is read");
            let rewritten = again.to_bytes(format, OnLoss::Refuse).expect("what we wrote is written again");
            assert_eq!(written, rewritten, "{format} is not stable");
        }
    }
}
