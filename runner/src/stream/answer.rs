//! The answer as JSON: two spaces of indentation, numbers as the original writes them.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::ser::{CharEscape, CompactFormatter, Formatter, PrettyFormatter};

/// What a call answers; what is zero or empty is left out. Source: `stream.md` section 2.3.
#[derive(Debug, Default, Serialize)]
pub(super) struct Answer {
    pub(super) status: &'static str,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) entity_path: String,
    #[serde(skip_serializing_if = "is_zero")]
    pub(super) layer_count: usize,
    #[serde(skip_serializing_if = "is_zero")]
    pub(super) weight_bytes: usize,
    #[serde(skip_serializing_if = "is_zero")]
    pub(super) output_dim: usize,
    #[serde(skip_serializing_if = "is_zero")]
    pub(super) sample_count: usize,
    #[serde(skip_serializing_if = "Vec::is_empty", serialize_with = "widened")]
    pub(super) outputs: Vec<Vec<f32>>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) message: String,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands out references")]
fn is_zero(n: &usize) -> bool {
    *n == 0
}

/// The outputs as f64, whose shortest decimals readers of f64 expect.
fn widened<S: serde::Serializer>(rows: &[Vec<f32>], serializer: S) -> Result<S::Ok, S::Error> {
    struct Row<'a>(&'a [f32]);
    impl Serialize for Row<'_> {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.collect_seq(self.0.iter().map(|v| f64::from(*v)))
        }
    }
    serializer.collect_seq(rows.iter().map(|row| Row(row)))
}

impl Answer {
    /// Writes the document and a newline.
    pub(super) fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let mut json = serde_json::Serializer::with_formatter(&mut *out, Style(PrettyFormatter::new()));
        self.serialize(&mut json)?;
        out.write_all(b"\n")
    }
}

/// Indented; whole numbers without a point, `<`, `>` and `&` escaped.
struct Style<'a>(PrettyFormatter<'a>);

impl Formatter for Style<'_> {
    fn write_f64<W: ?Sized + Write>(&mut self, out: &mut W, value: f64) -> io::Result<()> {
        if value == value.trunc() && value.abs() < 1e15 {
            // Negative zero keeps its sign.
            return write!(out, "{value:.0}");
        }
        CompactFormatter.write_f64(out, value)
    }

    fn write_string_fragment<W: ?Sized + Write>(&mut self, out: &mut W, fragment: &str) -> io::Result<()> {
        let mut rest = fragment;
        while let Some(at) = rest.find(['<', '>', '&']) {
            let (before, after) = rest.split_at(at);
            let escape = CharEscape::AsciiControl(after.as_bytes()[0]);
            self.0.write_string_fragment(out, before)?;
            self.0.write_char_escape(out, escape)?;
            rest = &after[1..];
        }
        self.0.write_string_fragment(out, rest)
    }

    fn begin_array<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.begin_array(out)
    }

    fn end_array<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.end_array(out)
    }

    fn begin_array_value<W: ?Sized + Write>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        self.0.begin_array_value(out, first)
    }

    fn end_array_value<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.end_array_value(out)
    }

    fn begin_object<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.begin_object(out)
    }

    fn end_object<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.end_object(out)
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        self.0.begin_object_key(out, first)
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.begin_object_value(out)
    }

    fn end_object_value<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.end_object_value(out)
    }
}
