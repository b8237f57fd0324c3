//! The JSON Schema of what lies in the manifests folder.

use schemars::JsonSchema;

use super::lucy::Lucy;
use super::{Defaults, Manifest};

/// The JSON Schema that editors complete manifests with, ending in a newline.
#[must_use]
pub fn schema() -> String {
    let schema = schemars::schema_for!(SchemaRoot);
    let mut text = serde_json::to_string_pretty(&schema).unwrap_or_default();
    text.push('\n');
    text
}

/// Any kind of file in the manifests folder.
#[derive(JsonSchema)]
#[serde(untagged)]
#[schemars(title = "Planet Bridging manifest")]
#[expect(dead_code, reason = "only its schema is used")]
enum SchemaRoot {
    Manifest(Box<Manifest>),
    Defaults(Defaults),
    Lucy(Box<Lucy>),
}
