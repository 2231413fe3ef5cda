//! `launchway schema`.

use clap::Args;
use launchway_manifest::json_schema;

use super::Result;

/// Print the JSON Schema of launchway.toml
#[derive(Args)]
pub(crate) struct Arguments {}

pub(crate) fn run(_: &Arguments) -> Result {
    super::print_json(&json_schema());
    Ok(())
}
