//! `launchway.toml`: from text to a [`Family`], with every problem found, each with its place.
//!
//! This crate owns the file's keys, their meaning and their checks, the JSON Schema, and the starter
//! file. It is pure: it reads no disk, asks no registry and knows no Dockerfile. Whether a path
//! exists or a stage is really there is for others to find out.
//!
//! The keys stand in one table (`keys`), which drives both the check of a document's shape and
//! [`json_schema`]; the two cannot disagree.

mod check;
pub mod codes;
mod document;
mod family;
mod keys;
mod keys_lint;
mod lint;
mod read;
mod schema;
mod shape;
mod starter;
mod template;

pub use family::{
    BuildSettings, Compression, Family, Feature, Flavour, Image, Network, NpmSettings, Overrides,
    Recipe, RegistryPrefix, RegistryPrefixError, RetrySettings, Secret, SmokeAction, SmokeTest,
    SshAgent, Variant, VersionSource,
};
pub use lint::{AllowedFinding, LintSettings};
pub use schema::json_schema;
pub use starter::{FoundDockerfile, starter};
pub use template::{
    Placeholder, TagRenderError, TagTemplate, TagValues, TemplateError, TemplateProblem,
    TextTemplate, UnknownVersion,
};

use launchway_diagnostics::{Diagnostic, SourceId};

/// What was found in a family file.
#[derive(Clone, Debug)]
pub struct Parsed {
    /// There if and only if no diagnostic is an error.
    pub family: Option<Family>,
    /// All problems, in the order of their places.
    pub diagnostics: Vec<Diagnostic>,
}

/// Reads a family file. All problems are reported at once.
pub fn parse(source: SourceId, text: &str) -> Parsed {
    document::parse(source, text)
}
