//! `launchway digest`.

use std::io::BufRead as _;

use clap::Args;
use futures_util::{StreamExt as _, stream};
use launchway_transfer::{Places, TransferError, digest};
use serde_json::json;

use super::Result;
use crate::failure::{Exit, Failure};
use crate::family::{NetworkArguments, parse_platform};
use crate::places;
use crate::settings::Settings;
use crate::toolbox;

/// Print the digest that a reference stands for
///
/// With several references, a line for each: the digest and the reference. Nothing is downloaded where the
/// registry tells the digest by itself. Exit code 1 when something is not there, 4 when it could not be
/// asked.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// References, oci:DIR[:TAG], oci-archive:FILE[:TAG], docker-archive:FILE[:REFERENCE], or `-` for lines
    /// of stdin
    #[arg(required = true, value_name = "REFERENCE")]
    references: Vec<String>,
    /// The digest of the image for this platform, instead of that of the index
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<String>,
    #[command(flatten)]
    network: NetworkArguments,
}

const EXAMPLES: &str = "\
Examples:
  launchway digest debian:12
  launchway digest debian:12 --platform linux/arm64
  launchway digest app:v1 app:v2 oci:images:v1
  launchway registry tags app | sed 's/^/app:/' | launchway digest -";

/// How many references are asked about at once.
const PARALLEL: usize = 32;

pub(crate) fn run(arguments: &Arguments, settings: &Settings) -> Result {
    let (texts, several) = texts(&arguments.references)?;
    let locations = places::parse_all("REFERENCE", &texts)?;
    let platform = arguments
        .platform
        .as_deref()
        .map(parse_platform)
        .transpose()?;
    let reporter = toolbox::asking_reporter(settings);
    let client = toolbox::asking_client(settings, &arguments.network, &reporter)?;
    let places = Places::new(client);
    let work = async {
        stream::iter(&locations)
            .map(|location| {
                let (opened, platform) = (places.source(location), platform.as_ref());
                async move { digest(&opened, platform).await }
            })
            .buffered(PARALLEL)
            .collect::<Vec<_>>()
            .await
    };
    let found = toolbox::block_here(work)?;
    let mut text = String::new();
    let mut rows = Vec::new();
    let mut worst: Option<Exit> = None;
    for (name, found) in texts.iter().zip(&found) {
        match found {
            Ok(digest) => {
                match several {
                    true => text.push_str(&format!("{digest} {name}\n")),
                    false => text.push_str(&format!("{digest}\n")),
                }
                rows.push(
                    json!({ "reference": name, "state": "present", "digest": digest.to_string() }),
                );
            }
            Err(error) => {
                let exit = places::exit_of_question(error);
                if worst != Some(Exit::Unknown) {
                    worst = Some(exit);
                }
                let state = match exit {
                    Exit::Unknown => "unknown",
                    _ if error.is_absence() => "absent",
                    _ => "failed",
                };
                rows.push(json!({
                    "reference": name,
                    "state": state,
                    "code": error.code().to_string(),
                    "error": error.to_string(),
                }));
            }
        }
    }
    if settings.json {
        super::print_json(&json!({ "schema": "launchway.digest.v1", "references": rows }));
    } else {
        super::print(&text);
    }
    let errors: Vec<&TransferError> = found.iter().filter_map(|one| one.as_ref().err()).collect();
    let Some(worst) = worst else {
        return Ok(());
    };
    for error in errors {
        // Each is told; the last one's exit code would be that of all.
        places::failure(error, worst).report(settings.colour);
    }
    Err(Failure::Silent(worst))
}

/// What was named, and whether each digest has to be told from the others.
fn texts(given: &[String]) -> Result<(Vec<String>, bool)> {
    let mut texts = Vec::new();
    let mut several = given.len() > 1;
    for text in given {
        if text != "-" {
            texts.push(text.clone());
            continue;
        }
        several = true;
        for line in std::io::stdin().lock().lines() {
            let line =
                line.map_err(|error| Failure::caused("cannot read references from stdin", &error))?;
            let line = line.trim();
            if !line.is_empty() {
                texts.push(line.to_owned());
            }
        }
    }
    Ok((texts, several))
}
