//! `launchway cache pin` and `launchway cache unpin`.

use clap::Args;
use launchway_engine::collect::{self, ItemId, PinError};
use launchway_model::Reference;
use serde_json::json;

use super::{Place, Result, places, short, unusable};
use crate::commands::{print, print_json};
use crate::failure::Failure;
use crate::report::text;
use crate::settings::Settings;

/// Keep something whatever its age, with all it needs
///
/// An image that is pinned by its name keeps what the name stands for, also when that changes.
#[derive(Args)]
pub(super) struct Pin {
    /// An image's name, or a digest or key of `cache show --all`, or its first eight digits
    #[arg(required = true)]
    what: Vec<String>,
}

/// Take a pin back
#[derive(Args)]
pub(super) struct Unpin {
    /// What was pinned
    #[arg(required = true)]
    what: Vec<String>,
}

pub(super) fn pin(arguments: &Pin, settings: &Settings) -> Result {
    let places = places(settings)?;
    let mut pinned = Vec::new();
    for what in &arguments.what {
        let before = pinned.len();
        for place in &places {
            let items = pin_in(place, what)?;
            pinned.extend(items.into_iter().map(|item| (place.name, item)));
        }
        if pinned.len() == before {
            return Err(unknown(what));
        }
        if !settings.json {
            for (_, item) in &pinned[before..] {
                print(&format!("pinned {}\n", text::clean(&short(item))));
            }
        }
    }
    if settings.json {
        let items: Vec<_> = pinned
            .iter()
            .map(|(folder, item)| json!({ "folder": folder, "name": item.as_str() }))
            .collect();
        print_json(&json!({ "schema": "launchway.cache-pin.v1", "pinned": items }));
    }
    Ok(())
}

/// What is pinned in one place; nothing where nothing is called so.
fn pin_in(place: &Place, what: &str) -> Result<Vec<ItemId>> {
    let inventory = place.inventory()?;
    for name in spellings(what) {
        match collect::pin(&place.engine, &inventory.items, &name) {
            Ok(pin) => return Ok(pin.items.into_iter().collect()),
            Err(PinError::Unknown(_)) => {}
            Err(PinError::Engine(error)) => return Err(unusable(error)),
            Err(error @ PinError::Ambiguous { .. }) => {
                return Err(Failure::usage(
                    error.to_string(),
                    "write more of its digits",
                ));
            }
        }
    }
    Ok(Vec::new())
}

/// What was typed, and the image's full name, if it is one.
fn spellings(what: &str) -> Vec<String> {
    let mut spellings = vec![what.to_owned()];
    if let Ok(reference) = what.parse::<Reference>() {
        spellings.push(crate::toolbox::image_name(&reference));
    }
    spellings.dedup();
    spellings
}

fn unknown(what: &str) -> Failure {
    Failure::usage(
        format!("nothing that is kept is called {what}"),
        "`launchway cache show --all` lists what is kept",
    )
}

pub(super) fn unpin(arguments: &Unpin, settings: &Settings) -> Result {
    let places = places(settings)?;
    for what in &arguments.what {
        let mut found = false;
        for place in &places {
            for name in spellings(what) {
                found |= collect::unpin(&place.engine, &name).map_err(unusable)?;
            }
        }
        if !found {
            return Err(Failure::usage(
                format!("{what} is not pinned"),
                "`launchway cache show` lists what is pinned",
            ));
        }
        if !settings.json {
            print(&format!("unpinned {what}\n"));
        }
    }
    if settings.json {
        print_json(&json!({ "schema": "launchway.cache-unpin.v1", "unpinned": arguments.what }));
    }
    Ok(())
}
