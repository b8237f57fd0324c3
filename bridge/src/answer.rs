//! The answer as JSON: two spaces of indentation, numbers as the original writes them.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::ser::{CharEscape, CompactFormatter, Formatter};

use crate::error::Error;

/// What a call answers; what is zero or empty is left out. Source: `stream.md` section 2.3.
#[derive(Debug, Default, Serialize)]
pub struct Answer {
    /// `ok` or `error`.
    pub status: &'static str,
    /// The file that was written.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub entity_path: String,
    /// Layers in that file.
    #[serde(skip_serializing_if = "is_zero")]
    pub layer_count: usize,
    /// Bytes of their weights, biases of dense layers aside.
    #[serde(skip_serializing_if = "is_zero")]
    pub weight_bytes: usize,
    /// Length of the first row of outputs.
    #[serde(skip_serializing_if = "is_zero")]
    pub output_dim: usize,
    /// Rows of outputs.
    #[serde(skip_serializing_if = "is_zero")]
    pub sample_count: usize,
    /// What the network computed, a row for each sample.
    #[serde(skip_serializing_if = "Vec::is_empty", serialize_with = "widened")]
    pub outputs: Vec<Vec<f32>>,
    /// Why a call was refused.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
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

/// What a network computed, a row for each sample; all numbers are finite.
#[derive(Clone, Debug, PartialEq)]
pub struct Outputs(Vec<Vec<f32>>);

impl Outputs {
    /// Takes the rows of a network's outputs.
    ///
    /// # Errors
    /// The place of a number that is not finite.
    pub fn of(rows: Vec<Vec<f32>>) -> Result<Self, Error> {
        for (row, values) in rows.iter().enumerate() {
            if let Some((column, &value)) = values.iter().enumerate().find(|(_, value)| !value.is_finite()) {
                return Err(Error::NotFinite { row, column, value });
            }
        }
        Ok(Self(rows))
    }
}

impl Answer {
    /// The answer to a call that is refused.
    #[must_use]
    pub fn refused(error: &dyn std::error::Error) -> Self {
        Self { status: "error", message: error.to_string(), ..Self::default() }
    }

    /// Takes what the network computed.
    pub fn fill(&mut self, Outputs(rows): Outputs) {
        self.output_dim = rows.first().map_or(0, Vec::len);
        self.sample_count = rows.len();
        self.outputs = rows;
    }

    /// Writes the document and a newline.
    ///
    /// # Errors
    /// What the writer says.
    pub fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let mut json = serde_json::Serializer::with_formatter(&mut *out, Style::default());
        self.serialize(&mut json)?;
        out.write_all(b"\n")
    }
}

/// Indented; whole numbers without a point, `<`, `>` and `&` escaped.
#[derive(Default)]
struct Style {
    depth: usize,
    /// Whether the array or object that ends has something in it.
    filled: bool,
}

impl Style {
    /// Starts a line: one copy for each of what may be millions of numbers.
    fn line<W: ?Sized + Write>(&self, out: &mut W, first: bool) -> io::Result<()> {
        // The rows of the outputs are the deepest that an answer has.
        match (self.depth, first) {
            (3, false) => out.write_all(b",\n      "),
            (depth, first) => out.write_all(&b",\n      "[usize::from(first)..2 + 2 * depth]),
        }
    }

    fn begin<W: ?Sized + Write>(&mut self, out: &mut W, bracket: &[u8]) -> io::Result<()> {
        self.depth += 1;
        self.filled = false;
        out.write_all(bracket)
    }

    fn end<W: ?Sized + Write>(&mut self, out: &mut W, bracket: &[u8]) -> io::Result<()> {
        self.depth -= 1;
        if self.filled {
            self.line(out, true)?;
        }
        out.write_all(bracket)
    }
}

impl Formatter for Style {
    fn write_f64<W: ?Sized + Write>(&mut self, out: &mut W, value: f64) -> io::Result<()> {
        if value.abs() < 1e15 && value == (value as i64) as f64 {
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
            CompactFormatter.write_string_fragment(out, before)?;
            CompactFormatter.write_char_escape(out, escape)?;
            rest = &after[1..];
        }
        CompactFormatter.write_string_fragment(out, rest)
    }

    fn begin_array<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.begin(out, b"[")
    }

    fn end_array<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.end(out, b"]")
    }

    fn begin_array_value<W: ?Sized + Write>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        self.line(out, first)
    }

    fn end_array_value<W: ?Sized + Write>(&mut self, _: &mut W) -> io::Result<()> {
        self.filled = true;
        Ok(())
    }

    fn begin_object<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.begin(out, b"{")
    }

    fn end_object<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.end(out, b"}")
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        self.line(out, first)
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        out.write_all(b": ")
    }

    fn end_object_value<W: ?Sized + Write>(&mut self, _: &mut W) -> io::Result<()> {
        self.filled = true;
        Ok(())
    }
}
