//! `bedrock schema`.

use clap::Args;

use crate::places::{End, print};
use crate::stages::manifest;

/// Print the JSON Schema of the manifests.
#[derive(Debug, Args)]
pub(crate) struct SchemaArgs {}

pub(crate) fn run() -> anyhow::Result<End> {
    print(&manifest::schema())?;
    Ok(End::Green)
}
