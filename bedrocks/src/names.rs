//! Names that are not known, in words.

use std::collections::BTreeSet;

/// `unknown planet "pytroch"; did you mean "pytorch"?`, or some of the known names.
#[must_use]
pub fn unknown<'a>(what: &str, name: &str, known: impl Iterator<Item = &'a str>) -> String {
    const SHOWN: usize = 16;
    let known: BTreeSet<&str> = known.collect();
    if name.len() > 64 {
        return format!("unknown {what} of {} characters", name.len());
    }
    let nearest = known.iter().min_by_key(|candidate| distance(name, candidate));
    if let Some(candidate) = nearest.filter(|candidate| distance(name, candidate) <= 1 + name.len() / 4) {
        return format!("unknown {what} {name:?}; did you mean {candidate:?}?");
    }
    let mut list = known.iter().take(SHOWN).copied().collect::<Vec<_>>().join(", ");
    if known.len() > SHOWN {
        list.push_str(&format!(" and {} more (bedrock --list)", known.len() - SHOWN));
    }
    format!("unknown {what} {name:?}; expected one of {list}")
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
