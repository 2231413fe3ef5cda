//! `launchway cache`.

mod free;
mod pin;
mod show;
mod verify;

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use launchway_engine::EngineError;
use launchway_engine::collect::{Inventory, Item, ItemId, Kind, Removal, inventory};
use launchway_oci::{Flavour, Store};
use launchway_sandbox::IdMapping;

use super::Result;
use crate::failure::Failure;
use crate::quantity::ago;
use crate::report::text;
use crate::settings::Settings;

/// Show what is kept between builds, free it, pin what has to stay
///
/// Layers, what steps gave, images, cache mounts and downloads are kept so that the next build need not
/// make or fetch them again. All of it can be made or fetched again: to free it costs time, and nothing
/// else. Builds free what was not used for 30 days by themselves, and more when the disk is full.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  launchway cache show --all                     each thing, and what made it
  launchway cache free --older-than 7d           what was not used for a week
  launchway cache free --keep-size 10GB --dry-run
                                                 what would go to leave 10 GB
  launchway cache pin docker.io/library/debian:12
                                                 an image that always stays

What builds do by themselves:
  LAUNCHWAY_CACHE_MAX_AGE    how long something stays without use [30d]
  LAUNCHWAY_CACHE_MAX_SIZE   how large the cache may be [50% of the disk]
  LAUNCHWAY_CACHE_MIN_FREE   how much of the disk stays free, before a build too
                             [10%, at most 10GB]
  Each can be off.";

#[derive(Subcommand)]
enum Command {
    Show(show::Arguments),
    Free(free::Arguments),
    Pin(pin::Pin),
    Unpin(pin::Unpin),
    Verify(verify::Arguments),
}

pub(crate) fn run(arguments: &Arguments, settings: &Settings) -> Result {
    match &arguments.command {
        Command::Show(arguments) => show::run(arguments, settings),
        Command::Free(arguments) => free::run(arguments, settings),
        Command::Pin(arguments) => pin::pin(arguments, settings),
        Command::Unpin(arguments) => pin::unpin(arguments, settings),
        Command::Verify(arguments) => verify::run(arguments, settings),
    }
}

/// The kinds as they are typed.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum KindArgument {
    /// Manifests, configurations and the names they were built or pulled under
    Images,
    /// What steps gave, by what they were made of
    Steps,
    /// Unpacked layers and their compressed forms
    Layers,
    /// What RUN --mount=type=cache keeps
    CacheMounts,
    /// Files that ADD fetched
    Downloads,
    /// Copies of git repositories
    Git,
}

impl From<KindArgument> for Kind {
    fn from(kind: KindArgument) -> Self {
        match kind {
            KindArgument::Images => Self::Images,
            KindArgument::Steps => Self::Steps,
            KindArgument::Layers => Self::Layers,
            KindArgument::CacheMounts => Self::CacheMounts,
            KindArgument::Downloads => Self::Downloads,
            KindArgument::Git => Self::Git,
        }
    }
}

/// One of the folders in which things are kept: there is one for each way ids are mapped.
struct Place {
    name: &'static str,
    store: Store,
    engine: PathBuf,
}

impl Place {
    fn inventory(&self) -> Result<Inventory> {
        inventory(&self.store, &self.engine).map_err(unusable)
    }
}

fn unusable(error: EngineError) -> Failure {
    match error {
        EngineError::Cancelled => Failure::interrupted(),
        error => Failure::caused("cannot look after the cache", &error),
    }
}

/// Opens every place that exists and that this user can look after. What belongs to somebody else is
/// left alone: to open it would leave files there that its owner could not remove.
fn places(settings: &Settings) -> Result<Vec<Place>> {
    use std::os::unix::fs::MetadataExt as _;
    if !settings.state.is_dir() {
        return Ok(Vec::new());
    }
    let mapping = launchway_sandbox::enter_user_namespace()
        .map_err(|error| Failure::caused("cannot set up a user namespace to look from", &error))?;
    let all = [
        ("root", Flavour::Trusted),
        ("rootless", Flavour::User),
        ("single", Flavour::User),
    ];
    let mut places = Vec::new();
    for (name, flavour) in all {
        let folder = settings.state.join(name);
        let Ok(metadata) = std::fs::metadata(folder.join("store")) else {
            continue;
        };
        let can = match mapping {
            IdMapping::Host => true,
            // Marks of the real root cannot be seen from inside a user namespace.
            IdMapping::Range { .. } => name != "root",
            IdMapping::Single => name == "single",
        };
        if !can || metadata.uid() != 0 {
            eprintln!(
                "note: {} is left alone: it is not this user's",
                folder.display()
            );
            continue;
        }
        let store = Store::open(&folder.join("store"), flavour)
            .map_err(|error| Failure::caused("cannot open the local store", &error))?;
        places.push(Place {
            name,
            store,
            engine: folder.join("engine"),
        });
    }
    Ok(places)
}

/// The name of a thing, short enough for a line: `layer 3f9c1a2b7d04`.
fn short(id: &ItemId) -> String {
    let text = id.as_str();
    let Some((word, name)) = text.split_once(' ') else {
        return text.to_owned();
    };
    if word == "image" {
        return text.to_owned();
    }
    let digits = name.rsplit(':').next().unwrap_or(name);
    format!("{word} {}", digits.get(..12).unwrap_or(digits))
}

/// What is told of a thing, whether it stays or goes.
struct Thing<'a> {
    folder: &'static str,
    kind: Kind,
    id: &'a ItemId,
    size: u64,
    used: i64,
    about: &'a str,
}

impl<'a> Thing<'a> {
    fn kept(place: &Place, item: &'a Item) -> Self {
        Self {
            folder: place.name,
            kind: item.kind,
            id: &item.id,
            size: item.size,
            used: item.used,
            about: &item.about,
        }
    }

    fn removed(folder: &'static str, removal: &'a Removal) -> Self {
        Self {
            folder,
            kind: removal.kind,
            id: &removal.id,
            size: removal.size,
            used: removal.used,
            about: &removal.about,
        }
    }

    fn json(&self) -> serde_json::Value {
        serde_json::json!({
            "folder": self.folder,
            "kind": self.kind.word(),
            "name": self.id.as_str(),
            "size": self.size,
            "used": crate::toolbox::timestamp(self.used),
            "about": self.about,
        })
    }

    /// A line, with notes between the name and what it is about.
    fn line(&self, notes: &str, now: i64) -> String {
        let about = text::cut(&text::clean(self.about), 80);
        let text = format!(
            "{:<12}  {:>9}  {:<15}  {}{notes}  {about}",
            self.kind,
            text::size(self.size),
            ago(now - self.used),
            short(self.id),
        );
        format!("{}\n", text.trim_end())
    }
}
