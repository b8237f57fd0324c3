//! Files of the operating system: replaced as a whole or not at all, read where they are regular
//! files and of a size that was agreed on, and nothing temporary left behind.
//!
//! A replacement is written beside its target, synced, renamed, and the folder is synced. A symbolic
//! link stays a link: what it points to is replaced, or made where that is not there yet. The
//! permissions of a file that was there are kept, and its owner and group where the system allows
//! it; a new file follows the umask. Further hard links of a file keep the old content: the new one
//! is another file. Access lists and extended attributes are not carried over.

#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::fs::{self, File, Metadata};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

/// Symbolic links that are followed, one after the other; Linux follows as many.
const MOST_LINKS: usize = 40;

/// Names that are tried for a temporary file.
const MOST_NAMES: usize = 1 << 16;

/// The next content of a file, which takes its place when it is finished, and of which nothing is
/// left when it is dropped before.
#[derive(Debug)]
pub struct Replacement {
    file: File,
    temporary: Listed,
    target: PathBuf,
    old: Option<Metadata>,
    finished: bool,
}

impl Replacement {
    /// Starts the next content of the file at `path`, or of that which a link there points to.
    ///
    /// # Errors
    /// Where `path` is there and no regular file, links lead nowhere, or no file can be made
    /// beside it. The path itself is not in the message.
    pub fn create(path: &Path) -> io::Result<Self> {
        let (target, old) = resolve(path)?;
        let folder = target.parent().unwrap_or(Path::new(""));
        let mut options = File::options();
        options.write(true).create_new(true);
        #[cfg(unix)]
        {
            use std::os::unix::fs::OpenOptionsExt as _;
            // The kernel takes the umask off. What replaces a file is nobody else's until it does.
            options.mode(if old.is_some() { 0o600 } else { 0o666 });
        }
        let (temporary, file) = listed(|| {
            static NEXT: AtomicU32 = AtomicU32::new(0);
            for _ in 0..MOST_NAMES {
                let n = NEXT.fetch_add(1, Ordering::Relaxed);
                let path = folder.join(format!(".tmp{}-{n}", std::process::id()));
                match options.open(&path) {
                    Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                    opened => return Ok((path, opened?)),
                }
            }
            Err(io::Error::new(io::ErrorKind::AlreadyExists, "old files .tmp* fill the folder; remove them"))
        })?;
        Ok(Self { file, temporary, target, old, finished: false })
    }

    /// Puts the content in its place.
    ///
    /// # Errors
    /// What the file system says; the old content is still there then.
    pub fn finish(mut self) -> io::Result<()> {
        #[cfg(unix)]
        if let Some(old) = &self.old {
            keep_rights(&self.file, old)?;
        }
        self.file.sync_all()?;
        let renamed = {
            let _paths = paths();
            fs::rename(&self.temporary.0, &self.target)
        };
        renamed?;
        self.finished = true;
        // The name is as durable as the content. Not every file system can do that.
        #[cfg(unix)]
        let _ = File::open(self.target.parent().filter(|f| !f.as_os_str().is_empty()).unwrap_or(Path::new(".")))
            .and_then(|folder| folder.sync_all());
        Ok(())
    }
}

impl Drop for Replacement {
    fn drop(&mut self) {
        if !self.finished {
            let _ = fs::remove_file(&self.temporary.0);
        }
    }
}

impl Write for Replacement {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Seek for Replacement {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file.seek(to)
    }
}

/// Replaces a file by `content`.
///
/// # Errors
/// As [`Replacement::create`] and [`Replacement::finish`].
pub fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut new = Replacement::create(path)?;
    new.write_all(content)?;
    new.finish()
}

/// Where a file is written that is named `path`, and what is there.
fn resolve(path: &Path) -> io::Result<(PathBuf, Option<Metadata>)> {
    let old = match fs::metadata(path) {
        Ok(meta) => Some(regular(meta, "which no file may take the place of; give the name of a regular file")?),
        Err(e) if e.kind() == io::ErrorKind::NotFound => None,
        Err(e) => return Err(e),
    };
    let mut target = path.to_path_buf();
    for _ in 0..=MOST_LINKS {
        match fs::read_link(&target) {
            Ok(next) => target = target.parent().unwrap_or(Path::new("")).join(next),
            // Links below /proc may name what has no name any more.
            Err(_) if old.is_some() && fs::symlink_metadata(&target).is_err() => {
                return Err(io::Error::new(io::ErrorKind::NotFound, "is a link to a file that has no name any more"));
            }
            Err(_) => return Ok((target, old)),
        }
    }
    Err(io::Error::new(
        io::ErrorKind::InvalidInput,
        format!("more than {MOST_LINKS} symbolic links, one after the other"),
    ))
}

/// Gives a new file the permissions of an old one, and its owner and group where that is allowed.
#[cfg(unix)]
fn keep_rights(file: &File, old: &Metadata) -> io::Result<()> {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, fchown};
    let new = file.metadata()?;
    if (new.uid(), new.gid()) != (old.uid(), old.gid()) {
        let _ = fchown(file, Some(old.uid()), Some(old.gid())).or_else(|_| fchown(file, None, Some(old.gid())));
    }
    let mode = old.mode() & 0o777;
    if new.mode() & 0o777 == mode { Ok(()) } else { file.set_permissions(fs::Permissions::from_mode(mode)) }
}

/// `meta` of a regular file, or what it is instead and what follows from that.
fn regular(meta: Metadata, so: &str) -> io::Result<Metadata> {
    if meta.is_file() {
        return Ok(meta);
    }
    let what = if meta.is_dir() { "a folder" } else { special(&meta) };
    Err(io::Error::new(io::ErrorKind::InvalidInput, format!("is {what}, {so}")))
}

#[cfg(unix)]
fn special(meta: &Metadata) -> &'static str {
    use std::os::unix::fs::FileTypeExt as _;
    match meta.file_type() {
        kind if kind.is_fifo() => "a pipe",
        kind if kind.is_socket() => "a socket",
        kind if kind.is_char_device() || kind.is_block_device() => "a device",
        _ => "something else than a file",
    }
}

#[cfg(not(unix))]
fn special(_: &Metadata) -> &'static str {
    "something else than a file"
}

/// Opens a regular file. Whatever else is there (a pipe, a device) is not opened: that could wait
/// for ever.
///
/// # Errors
/// What the system says, or that it is no regular file. The path is not in the message.
pub fn open(path: &Path) -> io::Result<File> {
    let so = "not a regular file";
    regular(fs::metadata(path)?, so)?;
    let file = File::open(path)?;
    regular(file.metadata()?, so)?;
    Ok(file)
}

/// Reads a regular file of at most `most` bytes.
///
/// # Errors
/// As [`open`], and that it is longer.
pub fn read(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let file = open(path)?;
    let size = file.metadata()?.len();
    let mut bytes = Vec::with_capacity(size.min(most).try_into().unwrap_or(0));
    if size <= most {
        file.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    }
    match size.max(bytes.len() as u64) {
        size if size > most => {
            Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("has {size} bytes; at most {most} are read")))
        }
        _ => Ok(bytes),
    }
}

/// Reads a regular file of at most `most` bytes as UTF-8, without a byte order mark.
///
/// # Errors
/// As [`read`], and that it is no UTF-8, or UTF-16.
pub fn read_text(path: &Path, most: u64) -> io::Result<String> {
    let bytes = read(path, most)?;
    let text = utf8(&bytes).map_err(|what| io::Error::new(io::ErrorKind::InvalidData, what))?;
    Ok(text.into())
}

/// What text is where it is not UTF-8.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    /// UTF-16.
    #[error("is UTF-16 text; save it as UTF-8")]
    Utf16,
    /// Something else.
    #[error("is not UTF-8 at byte {at}; save it as UTF-8")]
    NotUtf8 {
        /// The first byte that no UTF-8 has there.
        at: usize,
    },
}

/// Bytes as UTF-8, without a byte order mark.
///
/// # Errors
/// What they are instead, and what to do.
pub fn utf8(bytes: &[u8]) -> Result<&str, TextError> {
    if is_utf16(bytes) {
        return Err(TextError::Utf16);
    }
    let text = bytes.strip_prefix(BOM).unwrap_or(bytes);
    std::str::from_utf8(text).map_err(|e| TextError::NotUtf8 { at: bytes.len() - text.len() + e.valid_up_to() })
}

/// The byte order mark that some editors put before UTF-8.
pub const BOM: &[u8] = b"\xef\xbb\xbf";

/// Whether text begins as UTF-16 does: with its byte order mark, or with a character of ASCII in two bytes.
#[must_use]
pub fn is_utf16(bytes: &[u8]) -> bool {
    match bytes {
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => true,
        [0, other, ..] | [other, 0, ..] => *other != 0,
        _ => false,
    }
}

/// A temporary file or folder of this process; it is taken off the list when it is dropped.
#[derive(Debug)]
pub struct Listed(PathBuf);

impl Drop for Listed {
    fn drop(&mut self) {
        paths().remove(&self.0);
    }
}

static PATHS: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());
static FIRST: OnceLock<fn()> = OnceLock::new();

fn paths() -> MutexGuard<'static, BTreeSet<PathBuf>> {
    PATHS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes a temporary file or folder, whose path `make` returns, and puts it on the list.
///
/// # Errors
/// Those of `make`.
pub fn listed<T>(make: impl FnOnce() -> io::Result<(PathBuf, T)>) -> io::Result<(Listed, T)> {
    FIRST.get().into_iter().for_each(|first| first());
    let mut paths = paths();
    let (path, made) = make()?;
    paths.insert(path.clone());
    Ok((Listed(path), made))
}

/// Has `arm` called before anything temporary is made: programs that clean up when they are ended
/// by a signal get ready there. A library must not.
pub fn before_temporaries(arm: fn()) {
    let _ = FIRST.set(arm);
}

/// Removes every temporary file and folder of this process. From then on none is made or put in its
/// place: whoever tries waits for the end of the process, which must follow.
pub fn abandon() {
    let paths = paths();
    for path in paths.iter() {
        // Something may still be at work in a folder.
        for _ in 0..3 {
            let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
            if removed.is_ok() {
                break;
            }
        }
    }
    std::mem::forget(paths);
}
