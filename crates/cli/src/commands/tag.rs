//! `launchway tag`.

use clap::Args;
use launchway_engine::Cancellation;
use launchway_release::{prepare, until_cancelled};

use super::Result;
use crate::failure::Failure;
use crate::family::FamilyArguments;
use crate::settings::Settings;
use crate::{toolbox, versions};

/// Print the content tag of an image, variant or feature
///
/// It is computed by the same code that builds and publishes, so it is the same on a laptop and in CI.
#[derive(Args)]
pub(crate) struct Arguments {
    /// An image (base), a variant (devbox/omos, or omos where that is clear), or a feature (devbox/feature/pi)
    image: String,
    #[command(flatten)]
    family: FamilyArguments,
}

pub(crate) fn run(arguments: &Arguments, settings: &Settings) -> Result {
    let project = arguments.family.load(settings)?;
    let asked = arguments.family.asked(&project, None, &[], false)?;
    let client = toolbox::client(
        settings,
        &arguments.family.network,
        Some(&project.family),
        None,
    )?;
    let versions = versions::Observed::new(settings);
    let cancellation = Cancellation::default();
    let work = prepare::hash(&project, &client, &versions, &asked);
    let hashed = toolbox::block_on(&cancellation, until_cancelled(&cancellation, work))?
        .map_err(|error| Failure::release(&error, &project.sources))?;
    let Some(node) = hashed.graph.find(&arguments.image) else {
        let known: Vec<&str> = hashed
            .graph
            .nodes
            .iter()
            .map(|node| node.id.as_str())
            .collect();
        let hint = match launchway_diagnostics::closest(&arguments.image, known.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("there are {}", known.join(", ")),
        };
        return Err(Failure::usage(
            format!(
                "no image, variant or feature is called `{}`",
                arguments.image
            ),
            hint,
        ));
    };
    if settings.json {
        super::print_json(&serde_json::json!({
            "node": node.id.to_string(),
            "repository": node.repository,
            "content-tag": node.content_tag.to_string(),
            "input-hash": node.hash.to_string(),
            "inputs": node.inputs,
        }));
    } else {
        super::print(&format!("{}\n", node.content_tag));
    }
    Ok(())
}
