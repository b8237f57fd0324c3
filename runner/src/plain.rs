//! Text of others before it reaches a terminal: nothing in a file or its name may be obeyed there.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::path::Path;

/// `text` with what a terminal obeys, or what hides text, written out as `\u001b`: control characters
/// but for the line breaks and tabs that our own text has, and marks that turn text around.
#[must_use]
pub(crate) fn plain(text: &str) -> Cow<'_, str> {
    escaped(text, |c| c != '\n' && c != '\t' && is_obeyed(c))
}

/// As [`plain`], for text that has no lines of its own: a line break in it would forge one.
#[must_use]
pub(crate) fn one_line(text: &str) -> Cow<'_, str> {
    escaped(text, is_obeyed)
}

/// A file's name in a line.
#[must_use]
pub(crate) fn name(path: &Path) -> String {
    one_line(&path.to_string_lossy()).into_owned()
}

fn is_obeyed(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{61c}')
}

fn escaped(text: &str, is: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(&is) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            '\n' if is(c) => out.push_str("\\n"),
            // Four digits are enough for all of them, and are what JSON has in strings.
            c if is(c) => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_obeys_is_written_out() {
        assert_eq!(
            plain("a\x1b]0;b\x07\u{9b}31m\u{202e}\r\n\tc é"),
            "a\\u001b]0;b\\u0007\\u009b31m\\u202e\\u000d\n\tc é"
        );
        assert_eq!(one_line("a\n\tb"), "a\\n\\u0009b");
        assert!(matches!(plain("a b\n"), Cow::Borrowed(_)));
        assert_eq!(name(Path::new("x\ny.entity: ok identical")), "x\\ny.entity: ok identical");
        assert!(
            plain(&(0..0x3000).filter_map(char::from_u32).collect::<String>())
                .chars()
                .all(|c| c == '\n' || c == '\t' || !c.is_control())
        );
    }
}
