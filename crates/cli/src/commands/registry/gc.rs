//! `launchway registry gc`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use launchway_registry_server::{CollectOptions, collect};

use crate::commands::{Result, print};
use crate::failure::Failure;
use crate::settings::Settings;

/// Remove blobs that no manifest leads to
///
/// Every manifest stays, also one without a tag, with everything it points at; delete manifests
/// first (DELETE by digest). Nobody may serve the folder meanwhile. stdout has a line for each blob
/// that was removed: its repository and digest.
#[derive(Args)]
pub(crate) struct Arguments {
    /// The folder with the images
    #[arg(long, value_name = "DIR")]
    root: PathBuf,
    /// Only show what would be removed
    #[arg(long)]
    dry_run: bool,
    /// Keep blobs that are younger: their manifest may be about to come
    #[arg(long, default_value_t = 24, value_name = "HOURS")]
    older_than: u32,
}

pub(crate) fn run(arguments: &Arguments, settings: &Settings) -> Result {
    let root = &arguments.root;
    if !root.join("repositories").is_dir() {
        return Err(Failure::usage(
            format!("{} holds no registry", root.display()),
            "name the folder that was given to `launchway registry serve --root`",
        ));
    }
    let options = CollectOptions {
        older_than: Duration::from_secs(u64::from(arguments.older_than) * 60 * 60),
        look_only: arguments.dry_run,
    };
    let done =
        collect(root, options).map_err(|error| Failure::caused("nothing is collected", &error))?;
    if settings.json {
        let blobs: Vec<_> = done
            .blobs
            .iter()
            .map(|(repository, digest)| {
                serde_json::json!({"repository": repository, "digest": digest})
            })
            .collect();
        let text = serde_json::json!({
            "schema": "launchway.registry-gc.v1",
            "removed": !arguments.dry_run,
            "blobs": blobs,
            "freed": done.freed,
            "young": done.young,
        });
        print(&format!("{text}\n"));
        return Ok(());
    }
    for (repository, digest) in &done.blobs {
        let repository = match repository.as_str() {
            "" => "(no repository)",
            name => name,
        };
        print(&format!("{repository}  {digest}\n"));
    }
    let verb = if arguments.dry_run {
        "would be"
    } else {
        "were"
    };
    eprintln!(
        "{} blobs {verb} removed, {} bytes {verb} freed; {} stay because they are young",
        done.blobs.len(),
        done.freed,
        done.young
    );
    Ok(())
}
