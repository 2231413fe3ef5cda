//! `launchway registry tags` and `launchway registry repositories`.

use clap::Args;
use launchway_model::{ReferenceError, RegistryHost};
use launchway_registry::RegistryError;
use launchway_transfer::{Location, TransferError};
use serde_json::json;

use crate::commands::Result;
use crate::failure::Failure;
use crate::family::NetworkArguments;
use crate::places;
use crate::settings::Settings;
use crate::toolbox;

/// List the tags of a repository, in the registry's order
#[derive(Args)]
pub(crate) struct Tags {
    /// A repository, such as ghcr.io/name/app
    repository: String,
    #[command(flatten)]
    network: NetworkArguments,
}

/// List the repositories of a registry, as far as it tells
///
/// Most public registries do not tell.
#[derive(Args)]
pub(crate) struct Repositories {
    /// A registry, with its port if it has one
    host: String,
    #[command(flatten)]
    network: NetworkArguments,
}

pub(crate) fn tags(arguments: &Tags, settings: &Settings) -> Result {
    let location = places::parse("REPOSITORY", &arguments.repository)?;
    let Location::Registry(reference) = location else {
        return Err(Failure::usage(
            format!("{location} is no repository of a registry"),
            "name a repository, such as ghcr.io/name/app",
        ));
    };
    if reference.tag.is_some() || reference.digest.is_some() {
        return Err(Failure::usage(
            format!("{reference} is one image, and tags are listed of a repository"),
            format!("leave the tag out: {}", reference.repository),
        ));
    }
    let reporter = toolbox::asking_reporter(settings);
    let client = toolbox::asking_client(settings, &arguments.network, &reporter)?;
    let tags = toolbox::block_here(client.tags(&reference.repository))?.map_err(not_listed)?;
    let names: Vec<String> = tags.iter().map(ToString::to_string).collect();
    if settings.json {
        crate::commands::print_json(&json!({
            "schema": "launchway.tags.v1",
            "repository": reference.repository.to_string(),
            "tags": names,
        }));
    } else {
        crate::commands::print(&lines(&names));
    }
    Ok(())
}

pub(crate) fn repositories(arguments: &Repositories, settings: &Settings) -> Result {
    let host: RegistryHost = arguments.host.parse().map_err(|error: ReferenceError| {
        let pointer = format!("{}^", " ".repeat(error.at));
        Failure::usage(
            format!("HOST: {error}\n  {}\n  {pointer}", arguments.host),
            "name a registry, with its port if it has one: ghcr.io or 127.0.0.1:5000",
        )
    })?;
    let reporter = toolbox::asking_reporter(settings);
    let client = toolbox::asking_client(settings, &arguments.network, &reporter)?;
    let found = toolbox::block_here(client.catalog(&host))?.map_err(not_listed)?;
    let names: Vec<String> = found.iter().map(ToString::to_string).collect();
    if settings.json {
        crate::commands::print_json(&json!({
            "schema": "launchway.repositories.v1",
            "registry": host.to_string(),
            "repositories": names,
        }));
    } else {
        crate::commands::print(&lines(&names));
    }
    Ok(())
}

fn lines(names: &[String]) -> String {
    names.iter().map(|name| format!("{name}\n")).collect()
}

fn not_listed(error: RegistryError) -> Failure {
    let error = TransferError::from(error);
    places::failure(&error, places::exit_of_question(&error))
}
