//! `launchway cache verify`.

use clap::Args;
use launchway_engine::Cancellation;
use launchway_engine::collect::verify;
use serde_json::json;

use super::{Result, places, short, unusable};
use crate::commands::{print, print_json};
use crate::failure::{Exit, Failure};
use crate::report::text;
use crate::settings::Settings;

/// Hash everything that is kept again, and drop what is damaged
///
/// Blobs and downloads are hashed, and the tar of each layer is made once more from its files. What is damaged is
/// removed, so that the next build makes or fetches it again; then the exit code is 3. What is whole is
/// not looked at again after the machine was restarted.
#[derive(Args)]
pub(super) struct Arguments {}

pub(super) fn run(_: &Arguments, settings: &Settings) -> Result {
    let places = places(settings)?;
    let (mut looked_at, mut damaged, mut in_use) = (0, Vec::new(), 0);
    for place in &places {
        let inventory = place.inventory()?;
        let cancellation = Cancellation::default();
        let done = verify(
            &place.store,
            &place.engine,
            &inventory,
            &cancellation,
            &mut |_| {},
        )
        .map_err(unusable)?;
        looked_at += done.looked_at;
        in_use += done.freed.kept.len();
        for id in done.damaged {
            if !settings.json {
                print(&format!("damaged {}\n", short(&id)));
            }
            damaged.push((place.name, id));
        }
    }
    if settings.json {
        let damaged: Vec<_> = damaged
            .iter()
            .map(|(folder, id)| json!({ "folder": folder, "name": id.as_str() }))
            .collect();
        print_json(&json!({
            "schema": "launchway.cache-verify.v1",
            "looked-at": looked_at,
            "damaged": damaged,
            "in-use": in_use,
        }));
    } else {
        let things = text::count(looked_at, "thing", "things");
        eprintln!("{things} looked at, {} damaged", damaged.len());
    }
    if in_use > 0 {
        eprintln!(
            "warning: {in_use} of the damaged stay, because a build uses them: run it again later"
        );
    }
    if damaged.is_empty() {
        return Ok(());
    }
    Err(Failure::Silent(Exit::Differs))
}
