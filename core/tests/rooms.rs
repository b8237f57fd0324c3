//! The order of the core's rooms: a file uses its own room and those named before it. Inside a room, files form no
//! circle but where a reason is written.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The rooms, each of which may use those before it.
const ROOMS: &[&str] = &[
    "math",
    "dtype",
    "random",
    "file",
    "coord",
    "role",
    "fault",
    "error",
    "activation",
    "tensor",
    "store",
    "backend",
    "gpu",
    "layers",
    "network",
    "format",
];

/// Rooms whose files use each other in a circle, and why.
const CIRCLES: &[(&str, &str)] = &[
    ("format", "a record holds records, a checkpoint is read and written by every format and says so in its methods"),
    ("gpu", "a device makes pipelines, and pipelines are made with what the device allows"),
    ("layers", "the list of kinds names each family, a layer holds layers, and families run layers"),
];

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// What a file is as a module, `None` for the crate's root and for tests.
fn module(path: &Path) -> Option<Vec<String>> {
    let relative = path.strip_prefix(source()).expect("below src").with_extension("");
    let mut parts: Vec<String> = relative.iter().map(|part| part.to_str().expect("a name").to_string()).collect();
    if parts.iter().any(|part| part == "tests") || parts == ["lib"] {
        return None;
    }
    parts.pop_if(|last| last == "mod");
    Some(parts)
}

/// The code of a file, without comments and without its tests.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).expect("a source");
    let text = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
    text.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n")
}

/// Every path of a text that begins with `crate` or `super`, those of a group one by one.
fn paths(text: &str) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    for start in ["crate::", "super::"] {
        for (at, _) in text.match_indices(start) {
            let continues = text[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':');
            if !continues {
                path(&text[at..], &mut Vec::new(), &mut found);
            }
        }
    }
    found
}

/// Reads the path at the start of a text, behind `before`, and returns what follows it.
fn path<'a>(text: &'a str, before: &mut Vec<String>, found: &mut Vec<Vec<String>>) -> &'a str {
    let depth = before.len();
    let mut rest = text.trim_start();
    loop {
        if let Some(group) = rest.strip_prefix('{') {
            rest = group;
            while !rest.trim_start().starts_with('}') && !rest.is_empty() {
                let after = path(rest, before, found);
                rest = after.trim_start().strip_prefix(',').unwrap_or(after);
                if after.len() == text.len() {
                    break;
                }
            }
            rest = rest.trim_start().strip_prefix('}').unwrap_or(rest);
            break;
        }
        let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        if end == 0 {
            // A glob, or no path.
            found.push(before.clone());
            rest = rest.get(1..).unwrap_or_default();
            break;
        }
        before.push(rest[..end].to_string());
        rest = &rest[end..];
        match rest.strip_prefix("::") {
            Some(more) => rest = more,
            None => {
                found.push(before.clone());
                break;
            }
        }
    }
    before.truncate(depth);
    rest
}

struct House {
    /// The code of each module that has a file.
    modules: BTreeMap<Vec<String>, String>,
}

impl House {
    fn new() -> Self {
        let mut found = Vec::new();
        files(&source(), &mut found);
        Self { modules: found.iter().filter_map(|path| Some((module(path)?, code(path)))).collect() }
    }

    /// The file that a path of a module leads to: the deepest module on it, or the one below from which that module
    /// takes the name.
    fn target(&self, from: &[String], path: &[String]) -> Option<Vec<String>> {
        let mut at: Vec<String> = if path[0] == "crate" { Vec::new() } else { from.to_vec() };
        let mut names = path.iter().skip(usize::from(path[0] == "crate")).peekable();
        while names.next_if(|name| *name == "super").is_some() {
            at.pop()?;
        }
        while let Some(name) = names.peek() {
            let deeper: Vec<String> = at.iter().cloned().chain([(*name).clone()]).collect();
            if !self.modules.contains_key(&deeper) {
                break;
            }
            at = deeper;
            names.next();
        }
        let below = names.next().and_then(|name| {
            let text = self.modules.get(&at)?;
            let children = self.modules.keys().filter(|other| other.len() == at.len() + 1 && other.starts_with(&at));
            let takes = |child: &&Vec<String>| {
                let uses = format!("use {}::", child[at.len()]);
                text.split(';').filter_map(|line| line.split_once(&uses)).any(|(_, names)| {
                    names.split(|c: char| !c.is_alphanumeric() && c != '_').any(|taken| taken == name)
                })
            };
            children.into_iter().find(takes).cloned()
        });
        Some(below.unwrap_or(at)).filter(|at| self.modules.contains_key(at))
    }

    /// The files that a file uses.
    fn uses(&self, from: &Vec<String>) -> BTreeSet<Vec<String>> {
        let found = paths(&self.modules[from]);
        found.iter().filter_map(|path| self.target(from, path)).filter(|other| other != from).collect()
    }

    /// Whether a file is reached from itself by others of its room.
    fn is_in_a_circle(&self, start: &Vec<String>) -> bool {
        let (mut seen, mut next) = (BTreeSet::new(), vec![start.clone()]);
        while let Some(at) = next.pop() {
            for other in self.uses(&at).into_iter().filter(|other| other[0] == start[0]) {
                if other == *start {
                    return true;
                }
                if seen.insert(other.clone()) {
                    next.push(other);
                }
            }
        }
        false
    }
}

#[test]
fn a_file_uses_only_rooms_that_are_named_before_its_own() {
    let house = House::new();
    let place = |room: &str| ROOMS.iter().position(|known| *known == room);
    let mut wrong = Vec::new();
    for from in house.modules.keys() {
        let Some(own) = place(&from[0]) else {
            wrong.push(format!("{} has no place among the rooms", from[0]));
            continue;
        };
        for path in paths(&house.modules[from]).iter().filter(|path| path[0] == "crate") {
            match path.get(1).and_then(|room| place(room)) {
                Some(other) if other <= own => {}
                _ => wrong.push(format!("src/{} uses {}", from.join("/"), path.join("::"))),
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn files_form_circles_only_where_a_reason_is_written() {
    let house = House::new();
    let circled: BTreeSet<&str> =
        house.modules.keys().filter(|from| house.is_in_a_circle(from)).map(|from| from[0].as_str()).collect();
    assert_eq!(circled, CIRCLES.iter().map(|(room, _)| *room).collect());
}
