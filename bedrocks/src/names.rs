//! Names that are not known, in words.

use std::collections::BTreeSet;
use std::fmt;

/// A name that is not known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Unknown {
    /// What it should be the name of.
    pub what: &'static str,
    /// The name.
    pub name: String,
    /// The names that are known.
    pub known: BTreeSet<String>,
}

/// The error of a name that is not among `known`.
#[must_use]
pub fn unknown<'a>(what: &'static str, name: &str, known: impl Iterator<Item = &'a str>) -> Unknown {
    Unknown { what, name: name.into(), known: known.map(String::from).collect() }
}

/// `unknown planet "pytroch"; did you mean "pytorch"?`, or some of the known names.
impl fmt::Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 16;
        let Self { what, name, known } = self;
        if name.len() > 64 {
            return write!(f, "unknown {what} of {} characters", name.len());
        }
        let nearest = known.iter().min_by_key(|candidate| distance(name, candidate));
        if let Some(candidate) = nearest.filter(|candidate| distance(name, candidate) <= 1 + name.len() / 4) {
            return write!(f, "unknown {what} {name:?}; did you mean {candidate:?}?");
        }
        let shown: Vec<&str> = known.iter().take(SHOWN).map(String::as_str).collect();
        write!(f, "unknown {what} {name:?}; expected one of {}", shown.join(", "))?;
        if known.len() > SHOWN {
            write!(f, " and {} more (bedrock --list)", known.len() - SHOWN)?;
        }
        Ok(())
    }
}

/// The edit distance of two short names.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, cb) in b.iter().enumerate() {
            let above = row[j + 1];
            row[j + 1] = (diagonal + usize::from(ca != *cb)).min(above + 1).min(row[j] + 1);
            diagonal = above;
        }
    }
    row[b.len()]
}
