//! JSON text as the original writes it: key order fixed, shortest decimals, HTML-safe strings.
//!
//! Source: the observed output of Loom 0.80. Floats take the shortest decimal that reads back
//! to the same number of their own width, in scientific notation below 1e-6 and from 1e21 on.

#![forbid(unsafe_code)]

use std::fmt::{LowerExp, Write as _};

use super::record::{Key, Record, RuleRecord, Value, activation_name, kind_name};

/// Which text is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    /// No white space, as in the header of `.entity`.
    Compact,
    /// Two spaces for each level, one element in each line, as in JSON checkpoints.
    Indented,
}

/// A document that is written: kept whole, or handed on as it grows.
pub(super) struct Writer<'o> {
    text: String,
    out: Option<&'o mut dyn std::io::Write>,
    failed: Option<std::io::Error>,
    style: Style,
    depth: usize,
    /// Whether something stands before the next element of the innermost list or object.
    begun: bool,
}

/// Text that is kept before it is handed on.
const KEPT: usize = 1 << 16;

impl<'o> Writer<'o> {
    pub(super) fn new(style: Style) -> Self {
        Self { text: String::new(), out: None, failed: None, style, depth: 0, begun: false }
    }

    pub(super) fn to(style: Style, out: &'o mut dyn std::io::Write) -> Self {
        Self { out: Some(out), ..Self::new(style) }
    }

    /// Hands on what is left.
    pub(super) fn flush(mut self) -> std::io::Result<()> {
        self.hand_on();
        self.failed.map_or(Ok(()), Err)
    }

    fn hand_on(&mut self) {
        let Some(out) = &mut self.out else { return };
        if self.failed.is_none() {
            self.failed = out.write_all(self.text.as_bytes()).err();
        }
        self.text.clear();
    }

    pub(super) fn finish(self) -> String {
        self.text
    }

    fn separate(&mut self) {
        if self.text.len() > KEPT {
            self.hand_on();
        }
        if self.begun {
            self.text.push(',');
        }
        self.line();
        self.begun = true;
    }

    fn line(&mut self) {
        if self.style == Style::Indented {
            self.text.push('\n');
            (0..self.depth).for_each(|_| self.text.push_str("  "));
        }
    }

    pub(super) fn key(&mut self, name: &str) {
        self.separate();
        quote(&mut self.text, name);
        self.text.push_str(if self.style == Style::Indented { ": " } else { ":" });
    }

    /// A bracketed list or object whose elements `fill` writes.
    pub(super) fn inside(&mut self, brackets: [char; 2], fill: impl FnOnce(&mut Self)) {
        self.text.push(brackets[0]);
        let outer = std::mem::replace(&mut self.begun, false);
        self.depth += 1;
        fill(self);
        self.depth -= 1;
        if std::mem::replace(&mut self.begun, outer) {
            self.line();
        }
        self.text.push(brackets[1]);
    }

    pub(super) fn object(&mut self, fill: impl FnOnce(&mut Self)) {
        self.inside(['{', '}'], fill);
    }

    pub(super) fn list<T>(&mut self, items: &[T], mut each: impl FnMut(&mut Self, usize, &T)) {
        self.inside(['[', ']'], |w| {
            for (i, item) in items.iter().enumerate() {
                w.separate();
                each(w, i, item);
            }
        });
    }

    pub(super) fn display(&mut self, value: impl std::fmt::Display) {
        // Writing to a string cannot fail.
        let _ = write!(self.text, "{value}");
    }

    pub(super) fn string(&mut self, value: &str) {
        quote(&mut self.text, value);
    }

    /// Text that needs no escapes, such as Base64.
    pub(super) fn plain(&mut self, fill: impl FnOnce(&mut String)) {
        self.text.push('"');
        fill(&mut self.text);
        self.text.push('"');
    }

    pub(super) fn f64(&mut self, value: f64) {
        number(&mut self.text, value, value.abs() < 1e-6, value.abs() >= 1e21);
    }

    pub(super) fn f32(&mut self, value: f32) {
        number(&mut self.text, value, value.abs() < 1e-6, value.abs() >= 1e21);
    }

    /// One layer; `extra` writes the keys between `gumbel_noise` and `parallel_branches`.
    pub(super) fn record(&mut self, record: &Record, position: [i64; 4], at: &Place<'_>, extra: Extra<'_>) {
        self.object(|w| {
            for (name, value) in ["z", "y", "x", "l"].iter().zip(position) {
                w.key(name);
                w.display(value);
            }
            for (name, value) in [
                ("type", kind_name(record.kind)),
                ("activation", activation_name(record.activation)),
                ("dtype", record.dtype.name()),
            ] {
                w.key(name);
                w.string(value);
            }
            let (before, after): (Vec<_>, Vec<_>) =
                record.fields().iter().partition(|(key, _)| *key < Key::ParallelBranches);
            for (key, value) in before {
                w.field(*key, value, at, extra);
            }
            extra(w, at);
            for (key, value) in after {
                w.field(*key, value, at, extra);
            }
        });
    }

    fn field(&mut self, key: Key, value: &Value, at: &Place<'_>, extra: Extra<'_>) {
        self.key(key.name());
        match value {
            Value::Int(v) => self.display(v),
            Value::Float(v) => self.f64(*v),
            Value::Set => self.display(true),
            Value::Text(v) => self.string(v),
            Value::Ints(v) => self.list(v, |w, _, v| w.display(v)),
            Value::Bools(v) => self.list(v, |w, _, v| w.display(v)),
            Value::Rules(v) => self.list(v, |w, _, rule| w.rule(rule)),
            Value::Layer(layer) => self.record(layer, layer.at, &at.inner(key, None), extra),
            Value::Layers(layers) => {
                self.list(layers, |w, i, layer| w.record(layer, layer.at, &at.inner(key, Some(i)), extra));
            }
        }
    }

    fn rule(&mut self, rule: &RuleRecord) {
        self.object(|w| {
            w.key("Condition");
            w.display(rule.condition);
            w.key("Threshold");
            w.f64(rule.threshold);
            w.key("Command");
            w.f32(rule.command);
            w.key("Param");
            w.f32(rule.param);
            w.key("Cooldown");
            w.display(rule.cooldown);
            w.key("SelfOnly");
            w.display(rule.self_only);
        });
    }
}

/// What a layer has beside its record.
pub(super) type Extra<'a> = &'a dyn Fn(&mut Writer<'_>, &Place<'_>);

/// Where a record stands, as its path, made only when asked for.
pub(super) struct Place<'a> {
    outer: Option<&'a Place<'a>>,
    name: &'static str,
    index: Option<usize>,
}

impl Place<'_> {
    pub(super) fn top(index: usize) -> Place<'static> {
        Place { outer: None, name: "layers", index: Some(index) }
    }

    fn inner(&self, key: Key, index: Option<usize>) -> Place<'_> {
        Place { outer: Some(self), name: key.name(), index }
    }

    pub(super) fn path(&self) -> String {
        let last = match self.index {
            Some(i) => format!("{}.{i}", self.name),
            None => self.name.to_string(),
        };
        self.outer.map_or(last.clone(), |outer| format!("{}.{last}", outer.path()))
    }
}

fn number<T: std::fmt::Display + LowerExp>(text: &mut String, value: T, small: bool, large: bool) {
    let plain = value.to_string();
    if !(small || large) || plain.trim_start_matches('-') == "0" {
        text.push_str(&plain);
        return;
    }
    let scientific = format!("{value:e}");
    match scientific.split_once('e') {
        Some((digits, exponent)) if large => {
            let _ = write!(text, "{digits}e+{exponent}");
        }
        _ => text.push_str(&scientific),
    }
}

fn quote(text: &mut String, value: &str) {
    text.push('"');
    for c in value.chars() {
        match c {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            '\u{8}' => text.push_str("\\b"),
            '\u{c}' => text.push_str("\\f"),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            '\0'..='\u{1f}' | '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                let _ = write!(text, "\\u{:04x}", u32::from(c));
            }
            c => text.push(c),
        }
    }
    text.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_as_the_original_writes_them() {
        let f32_text = |v: f32| {
            let mut w = Writer::new(Style::Compact);
            w.f32(v);
            w.finish()
        };
        for (value, text) in [
            (1.0, "1"),
            (-0.0, "-0"),
            (0.000_984_252, "0.000984252"),
            (1e-6, "0.000001"),
            (9.9e-7, "9.9e-7"),
            (6.8382e-41, "6.8382e-41"),
            (1e20, "100000000000000000000"),
            (1e21, "1e+21"),
            (1.5e22, "1.5e+22"),
            (f32::MAX, "3.4028235e+38"),
        ] {
            assert_eq!(f32_text(value), text);
        }
        let mut w = Writer::new(Style::Compact);
        w.f64(0.1);
        assert_eq!(w.finish(), "0.1");
    }

    #[test]
    fn strings_are_safe_in_html() {
        let mut text = String::new();
        quote(&mut text, "<a href=\"x\">&'/\u{7f}\u{2028}é\u{1}\u{8}");
        assert_eq!(text, "\"\\u003ca href=\\\"x\\\"\\u003e\\u0026'/\u{7f}\\u2028é\\u0001\\b\"");
    }
}
