//! What writing and reading files does to links, permissions, and what is no regular file.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use loom_core::file::{Replacement, open, read, read_text, replace, utf8};

/// The names in a folder, in order.
fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).expect("a folder");
    let mut names: Vec<String> =
        entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[track_caller]
fn says(error: &std::io::Error, part: &str) {
    assert!(error.to_string().contains(part), "{part:?} is not in {error}");
}

#[test]
fn a_replacement_that_is_not_finished_leaves_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("a");
    std::fs::write(&path, "old").expect("written");
    let mut new = Replacement::create(&path).expect("made");
    new.write_all(b"new").expect("written");
    assert_eq!(names(folder.path()).len(), 2, "it is written beside its target");
    drop(new);
    assert_eq!((names(folder.path()), read(&path, 9).expect("there")), (vec!["a".to_string()], b"old".to_vec()));
    replace(&path, b"new").expect("written");
    assert_eq!((names(folder.path()), read(&path, 9).expect("there")), (vec!["a".to_string()], b"new".to_vec()));
    says(&replace(&folder.path().join("none/a"), b"").expect_err("no folder"), "No such file");
}

#[test]
fn text_is_utf8_with_or_without_a_mark() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("a.json");
    for (bytes, text) in [(&b"\xef\xbb\xbf{}"[..], "{}"), (b"{}", "{}"), (b"", ""), (b"\xef\xbb\xbf", "")] {
        std::fs::write(&path, bytes).expect("written");
        assert_eq!(read_text(&path, 8).expect("text"), text);
    }
    for bytes in [&b"\xff\xfe{\0}\0"[..], b"\xfe\xff\0{\0}", b"{\0}\0", b"\0{\0}"] {
        std::fs::write(&path, bytes).expect("written");
        says(&read_text(&path, 8).expect_err("UTF-16"), "is UTF-16 text; save it as UTF-8");
    }
    let latin = utf8(b"\xef\xbb\xbfab\xff").expect_err("Latin-1");
    assert_eq!(latin.to_string(), "is not UTF-8 at byte 5; save it as UTF-8");
    std::fs::write(&path, "123456789").expect("written");
    says(&read(&path, 8).expect_err("too long"), "has 9 bytes; at most 8 are read");
}

#[cfg(unix)]
mod unix {
    use super::*;
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).expect("a file").mode() & 0o7777
    }

    #[test]
    fn links_are_written_through() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        std::fs::create_dir(at("deep")).expect("a folder");
        // A chain: beside, into a folder and back out of it, the last one to an absolute path.
        symlink("deep/b", at("a")).expect("a link");
        symlink("../c", at("deep/b")).expect("a link");
        symlink(at("real"), at("c")).expect("a link");
        for content in ["made where nothing was", "replaced"] {
            replace(&at("a"), content.as_bytes()).expect("written");
            assert_eq!(std::fs::read_to_string(at("real")).expect("a file"), content);
        }
        for link in ["a", "deep/b", "c"] {
            assert!(std::fs::symlink_metadata(at(link)).expect("there").is_symlink(), "{link}");
        }
        assert_eq!((names(folder.path()).len(), names(&at("deep")).len()), (4, 1), "nothing temporary is left");
        symlink("y", at("x")).expect("a link");
        symlink("x", at("y")).expect("a link");
        says(&replace(&at("x"), b"").expect_err("a circle"), "symbolic links");
        // The system itself follows 40; a longer chain that ends nowhere is a chain still.
        (0..50).for_each(|i| symlink(format!("n{}", i + 1), at(&format!("n{i}"))).expect("a link"));
        says(&replace(&at("n0"), b"").expect_err("a long chain"), "symbolic links");
        assert!(names(folder.path()).iter().all(|name| !name.starts_with(".tmp")));
    }

    #[test]
    fn permissions_of_a_file_are_kept_and_the_umask_holds_for_a_new_one() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a");
        for kept in [0o600, 0o640, 0o444, 0o666, 0o755] {
            std::fs::write(&path, "old").expect("written");
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(kept)).expect("set");
            replace(&path, b"new").expect("written");
            assert_eq!(mode(&path), kept, "{kept:o}");
            std::fs::remove_file(&path).expect("removed");
        }
        std::fs::File::create(folder.path().join("plain")).expect("made");
        replace(&path, b"new").expect("written");
        assert_eq!(mode(&path), mode(&folder.path().join("plain")), "as the system makes files");
        // Another name of the same file keeps what it had.
        std::fs::hard_link(&path, folder.path().join("b")).expect("a link");
        replace(&path, b"newer").expect("written");
        assert_eq!(std::fs::read(folder.path().join("b")).expect("there"), b"new");
    }

    #[test]
    fn what_is_no_regular_file_is_neither_replaced_nor_opened() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        let made = std::process::Command::new("mkfifo").arg(at("pipe")).status().expect("mkfifo");
        assert!(made.success());
        let _socket = std::os::unix::net::UnixListener::bind(at("socket")).expect("a socket");
        std::fs::create_dir(at("folder")).expect("a folder");
        let places: [(PathBuf, &str); 4] = [
            (at("pipe"), "is a pipe"),
            (at("socket"), "is a socket"),
            (at("folder"), "is a folder"),
            ("/dev/null".into(), "is a device"),
        ];
        for (i, (path, what)) in places.iter().enumerate() {
            let link = at(&format!("link{i}"));
            symlink(path, &link).expect("a link");
            for path in [path, &link] {
                let before = std::fs::metadata(path).expect("there").ino();
                says(&replace(path, b"new").expect_err("refused"), what);
                says(&open(path).expect_err("refused"), what);
                says(&read(path, 8).expect_err("refused"), what);
                assert_eq!(std::fs::metadata(path).expect("there").ino(), before);
            }
        }
        assert!(names(folder.path()).iter().all(|name| !name.starts_with(".tmp")));
    }
}
