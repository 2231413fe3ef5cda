//! `launchway plan`.

use clap::Args;
use launchway_engine::Cancellation;
use launchway_release::{prepare, until_cancelled};

use super::Result;
use crate::failure::Failure;
use crate::family::{FamilyArguments, warn};
use crate::settings::Settings;
use crate::{lacking, show_plan, toolbox, versions};

/// Show what a release would do, and why
///
/// Nothing is built or written. Without a version, the plan is about the images alone; with one, also about release tags and rolling
/// tags. Registries are asked what they hold; an answer that cannot be had is never taken for "absent".
#[derive(Args)]
pub(crate) struct Arguments {
    /// The version to plan a release of, such as v1.2.3
    version: Option<String>,
    /// Only these variants, separated by commas
    #[arg(long, value_delimiter = ',', value_name = "VARIANT")]
    only: Vec<String>,
    /// Leave rolling tags where they are
    #[arg(long)]
    no_promote: bool,
    #[command(flatten)]
    family: FamilyArguments,
}

pub(crate) fn run(arguments: &Arguments, settings: &Settings) -> Result {
    let project = arguments.family.load(settings)?;
    warn(&project.warnings, &project.sources, settings);
    let asked = arguments.family.asked(
        &project,
        arguments.version.clone(),
        &arguments.only,
        !arguments.no_promote,
    )?;
    let client = toolbox::client(
        settings,
        &arguments.family.network,
        Some(&project.family),
        None,
    )?;
    let versions = versions::Observed::new(settings);
    let cancellation = Cancellation::default();
    let work = async {
        let hashed = prepare::hash(&project, &client, &versions, &asked).await?;
        prepare::plan(&client, hashed, &asked.registries).await
    };
    let plan = toolbox::block_on(&cancellation, until_cancelled(&cancellation, work))?
        .map_err(|error| Failure::release(&error, &project.sources))?;
    if settings.json {
        super::print_json(&show_plan::json(&plan));
    } else {
        super::print(&show_plan::text(&plan, settings.colour_stdout));
    }
    for entry in lacking::besides(&settings.state, &project.family, &plan) {
        eprintln!("note: {}", lacking::reminder(&entry));
    }
    Ok(())
}
