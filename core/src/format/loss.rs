//! What a format has no field for: refused by name, or dropped when the caller says so.

#![forbid(unsafe_code)]

use std::fmt::Display;

use super::fault::Fault;
use super::path::LayerPath;
use super::record::{Key, Record, Value};
use crate::error::{Error, Result};

/// Which format is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    V1,
    Json,
}

impl Target {
    fn name(self) -> &'static str {
        match self {
            Target::V1 => ".entity version 1",
            Target::Json => "a JSON checkpoint",
        }
    }
}

/// What writing would lose.
#[derive(Clone, Debug, Default)]
pub(super) struct Losses {
    /// Whether it may be lost.
    drop: bool,
    found: Vec<String>,
    /// What cannot be dropped: a layer would be another one.
    held: Vec<String>,
}

impl Losses {
    pub(super) fn new(drop: bool) -> Self {
        Self { drop, found: Vec::new(), held: Vec::new() }
    }

    pub(super) fn into_found(mut self) -> Vec<String> {
        self.held.append(&mut self.found);
        self.held
    }

    pub(super) fn lose(&mut self, place: impl Display, what: impl Display) {
        self.found.push(format!("{place}: {what}"));
    }

    /// Notes the keys of a record that only version 2 has; `false` where nothing is left of the layer without them.
    pub(super) fn record(&mut self, path: &LayerPath, record: &Record) -> bool {
        for (key, value) in record.fields().iter().filter(|(key, _)| key.since() > 1) {
            match (key, value) {
                (Key::Configuration, Value::Text(text)) => {
                    self.held.push(format!("{path}: the {} layer {}", record.kind().name(), shortened(text)));
                }
                (Key::CombineAxis | Key::CombineProduct, _) => self.held.push(format!("{path}: `{}`", key.name())),
                _ => self.lose(path, format_args!("`{}`", key.name())),
            }
        }
        !record.has(Key::Configuration)
    }

    /// Takes such keys out of a record that is about to be written.
    pub(super) fn drop_from(&self, record: &mut Record) {
        Key::ALL.iter().filter(|key| key.since() > 1).for_each(|key| record.remove(*key));
    }

    /// Notes an error that is no more than a loss, but cannot be dropped either: weights.
    pub(super) fn refuse(&mut self, error: Error) -> Result<()> {
        match error {
            Error::Format { fault: Fault::Loss, place, what } if !self.drop => {
                self.found.push(format!("{place}: {what}"));
                Ok(())
            }
            other => Err(other),
        }
    }

    /// `Err` when something would be lost that may not be.
    pub(super) fn check(&self, target: Target) -> Result<()> {
        const SHOWN: usize = 8;
        let droppable: &[String] = if self.drop { &[] } else { &self.found };
        let all: Vec<&str> = self.held.iter().chain(droppable).map(String::as_str).collect();
        if all.is_empty() {
            return Ok(());
        }
        let mut what = format!("has no field for {}", all[..all.len().min(SHOWN)].join("; "));
        if all.len() > SHOWN {
            what.push_str(&format!("; and {} more", all.len() - SHOWN));
        }
        what.push_str(match self.held.is_empty() {
            true => ". Write version 2, or ask for the loss to be dropped",
            false => ". Write version 2",
        });
        Err(Fault::Loss.at(target.name(), what))
    }
}

/// A text, or its beginning where it is long.
fn shortened(text: &str) -> String {
    const MOST: usize = 80;
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_string(),
    }
}
