//! `launchway cache free`.

use std::time::Duration;

use clap::Args;
use launchway_engine::collect::{Freed, Policy, Reason, Removal, decide, remove};
use serde_json::json;

use super::{KindArgument, Result, Thing, places, unusable};
use crate::commands::{print, print_json};
use crate::quantity::{Amount, age, amount};
use crate::report::text;
use crate::settings::Settings;
use crate::tidy;

/// Free what is kept, the longest unused first
///
/// Without a rule it does what builds do once a day. What is pinned, what a build uses now, and what
/// these need stays in any case; so does everything that Launchway did not make. It is safe beside
/// builds that run.
///
/// A thing is as young as the last use of anything that needs it: the layers of an image that is built
/// every day are never old. With --kind, what needs a thing of that kind goes with it.
#[derive(Args)]
pub(super) struct Arguments {
    /// Free what was not used for so long: 12h, 7d, 2w
    #[arg(long, value_name = "AGE", value_parser = age)]
    older_than: Option<Duration>,
    /// Free the oldest until no more than this is left: 10GB, 20% (of the disk)
    #[arg(long, value_name = "SIZE", value_parser = amount)]
    keep_size: Option<Amount>,
    /// Free the oldest until this much of the disk is free: 50GB, 20%
    #[arg(long, value_name = "SIZE", value_parser = amount)]
    min_free: Option<Amount>,
    /// Free everything
    #[arg(long, conflicts_with_all = ["older_than", "keep_size", "min_free"])]
    all: bool,
    /// Only these kinds, separated by commas
    #[arg(long, value_enum, value_delimiter = ',', value_name = "KIND")]
    kind: Vec<KindArgument>,
    /// Show what would go, and remove nothing
    #[arg(long)]
    dry_run: bool,
}

pub(super) fn run(arguments: &Arguments, settings: &Settings) -> Result {
    let bounds = tidy::bounds(settings)?;
    let places = places(settings)?;
    let now = tidy::now();
    let mut done: Vec<(&'static str, Removal)> = Vec::new();
    let (mut in_use, mut left) = (0, 0);
    for place in &places {
        let disk = tidy::disk(&place.engine)
            .map_err(|error| crate::failure::Failure::caused("cannot look at the disk", &error))?;
        let inventory = place.inventory()?;
        let mut policy = policy(arguments, disk);
        if policy == Policy::default() {
            policy = tidy::policy(bounds, disk, true);
        }
        policy.kinds = arguments.kind.iter().map(|kind| (*kind).into()).collect();
        let removals = decide(&inventory.items, &policy, now);
        let freed = if arguments.dry_run {
            Freed {
                removed: removals,
                kept: Vec::new(),
            }
        } else {
            remove(&place.store, &place.engine, &inventory.items, removals).map_err(unusable)?
        };
        in_use += freed.kept.len();
        left += inventory.total - freed.bytes();
        done.extend(freed.removed.into_iter().map(|one| (place.name, one)));
    }
    let bytes: u64 = done.iter().map(|(_, removal)| removal.size).sum();
    if settings.json {
        let items: Vec<_> = done
            .iter()
            .map(|(folder, removal)| {
                let mut thing = Thing::removed(folder, removal).json();
                thing["why"] = why(removal.why).into();
                thing
            })
            .collect();
        print_json(&json!({
            "schema": "launchway.cache-free.v1",
            "removed": !arguments.dry_run,
            "items": items,
            "freed": bytes,
            "left": left,
            "in-use": in_use,
        }));
        return Ok(());
    }
    let mut out = String::new();
    for (folder, removal) in &done {
        out.push_str(&Thing::removed(folder, removal).line("", now));
    }
    print(&out);
    let verb = if arguments.dry_run {
        "would be freed"
    } else {
        "freed"
    };
    eprintln!(
        "{} {verb} in {}, {} left",
        text::size(bytes),
        text::count(done.len(), "thing", "things"),
        text::size(left)
    );
    if in_use > 0 {
        let things = text::count(in_use, "thing", "things");
        eprintln!("note: {things} stay, because a build began to use them");
    }
    Ok(())
}

fn policy(arguments: &Arguments, disk: tidy::Disk) -> Policy {
    let lacking = |free: Amount| free.of(disk.total).saturating_sub(disk.free);
    Policy {
        all: arguments.all,
        older_than: arguments
            .older_than
            .map(|age| i64::try_from(age.as_secs()).unwrap_or(i64::MAX)),
        keep_size: arguments.keep_size.map(|size| size.of(disk.total)),
        free_bytes: arguments.min_free.map(lacking),
        ..Policy::default()
    }
}

fn why(reason: Reason) -> &'static str {
    match reason {
        Reason::All => "all",
        Reason::Unused(_) => "unused",
        Reason::Space => "space",
        Reason::Dead => "of-no-use",
        Reason::Needs => "needs-what-goes",
        Reason::Follows => "not-needed-any-more",
    }
}
