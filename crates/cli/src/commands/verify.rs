//! `launchway verify`.

use clap::Args;
use launchway_engine::Cancellation;
use launchway_release::{prepare, until_cancelled, verify};
use serde_json::json;

use super::Result;
use crate::failure::{Exit, Failure};
use crate::family::FamilyArguments;
use crate::settings::Settings;
use crate::toolbox;

/// Check that a release is on every registry as it should be
///
/// Every tag exists, tags that belong together have one digest, rolling tags stand at this release, and no
/// platform is missing. Exit code 3 when something differs, 4 when a registry gives no answer.
#[derive(Args)]
pub(crate) struct Arguments {
    /// The released version, such as v1.2.3
    version: String,
    /// Do not look at rolling tags: for a release that is not the newest any more, or was not promoted
    #[arg(long)]
    no_rolling: bool,
    #[command(flatten)]
    family: FamilyArguments,
}

pub(crate) fn run(arguments: &Arguments, settings: &Settings) -> Result {
    let project = arguments.family.load(settings)?;
    let registries = arguments.family.registries(&project)?;
    let platforms = arguments.family.platforms()?;
    let client = toolbox::client(
        settings,
        &arguments.family.network,
        Some(&project.family),
        None,
    )?;
    let release = prepare::release_of(&project.family, &arguments.version)
        .map_err(|problem| Failure::diagnosed(vec![*problem], project.sources.clone()))?;
    let cancellation = Cancellation::default();
    let work = async {
        let platforms = platforms.as_deref();
        let rolling = !arguments.no_rolling;
        let found = verify::verify(
            &client,
            &project.family,
            &registries,
            &release,
            platforms,
            rolling,
        );
        Ok(found.await)
    };
    let found = toolbox::block_on(&cancellation, until_cancelled(&cancellation, work))?
        .map_err(|error| Failure::release(&error, &project.sources))?;
    let mut worst = None;
    let mut rows = Vec::new();
    let width = found
        .iter()
        .map(|one| one.reference.to_string().len())
        .max()
        .unwrap_or(0);
    let mut text = String::new();
    for one in &found {
        let (word, detail) = match &one.finding {
            verify::Finding::Good { digest } => ("ok", digest.to_string()),
            verify::Finding::Differs { why } => ("differs", why.clone()),
            verify::Finding::Unknown { why } => ("unknown", why.clone()),
        };
        match (&one.finding, worst) {
            (verify::Finding::Unknown { .. }, None) => worst = Some(Exit::Unknown),
            (verify::Finding::Differs { .. }, _) => worst = Some(Exit::Differs),
            _ => {}
        }
        rows.push(json!({ "reference": one.reference.to_string(), "rolling": one.rolling, "state": word, "detail": detail }));
        text.push_str(&format!(
            "{word:<8} {:<width$}  {detail}\n",
            one.reference.to_string()
        ));
    }
    if settings.json {
        super::print_json(
            &json!({ "schema": "launchway.verify.v1", "version": release.version.to_string(), "references": rows }),
        );
    } else {
        super::print(&text);
    }
    match worst {
        None if found.is_empty() => Err(Failure::usage(
            "the family has no release tags to verify",
            "give an image `tags`",
        )),
        None => {
            eprintln!("{} references verified", found.len());
            Ok(())
        }
        Some(exit) => Err(Failure::Silent(exit)),
    }
}
