//! `launchway cache pin` and `launchway cache unpin`.

use clap::Args;
use launchway_engine::collect::{self, PinError};
use launchway_model::Reference;

use super::{Place, Result, places, short, unusable};
use crate::commands::print;
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
    for what in &arguments.what {
        let mut found = false;
        for place in &places {
            found |= pin_in(place, what)?;
        }
        if !found {
            return Err(unknown(what));
        }
    }
    Ok(())
}

fn pin_in(place: &Place, what: &str) -> Result<bool> {
    let inventory = place.inventory()?;
    for name in spellings(what) {
        match collect::pin(&place.engine, &inventory.items, &name) {
            Ok(pin) => {
                for item in &pin.items {
                    print(&format!("pinned {}\n", text::clean(&short(item))));
                }
                return Ok(true);
            }
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
    Ok(false)
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
        print(&format!("unpinned {what}\n"));
    }
    Ok(())
}
