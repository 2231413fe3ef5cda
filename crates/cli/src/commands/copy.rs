//! `launchway copy`.

use std::time::Instant;

use clap::Args;
use launchway_engine::Cancellation;
use launchway_model::{Digest, Platform};
use launchway_registry::PushOutcome;
use launchway_transfer::{
    Copied, Copy, Count, Destination, Event, Places, Planned, TransferError, copy, plan,
};
use serde_json::{Value, json};

use super::{Progress, Result};
use crate::failure::{Exit, Failure};
use crate::family::{NetworkArguments, parse_platform};
use crate::places;
use crate::report::text::{count, duration, size};
use crate::settings::Settings;
use crate::toolbox;

/// Copy an image between registries, OCI layouts and archives
///
/// All of it goes along as it is: every platform, nested indexes, attestations. Digests do not change. What
/// the destination has is not sent, what another repository of its registry has is mounted, and the tag is
/// written when everything else is there. A copy that broke off is finished by running it again.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Where the image is: a reference, oci:DIR[:TAG], oci-archive:FILE[:TAG] or docker-archive:FILE[:REFERENCE]
    source: String,
    /// Where it goes, written the same way; several are independent of each other
    #[arg(required = true)]
    destination: Vec<String>,
    /// Only these platforms. One gives the image itself; several of more give a new, shorter index
    #[arg(long, value_delimiter = ',', value_name = "PLATFORM")]
    platform: Vec<String>,
    /// Also copy what refers to the image (signatures, SBOMs), and what refers to that
    #[arg(long)]
    referrers: bool,
    /// Show what would be sent, and write nothing
    #[arg(long)]
    dry_run: bool,
    /// How many blobs are under way at once
    #[arg(long, short, default_value_t = 4, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=64))]
    jobs: u8,
    #[command(flatten)]
    network: NetworkArguments,
}

const EXAMPLES: &str = "\
Examples:
  launchway copy debian:12 ghcr.io/me/debian:12                      registry to registry
  launchway copy app@sha256:… oci:images:v1                          into an OCI layout
  launchway copy oci:images:v1 r1.lan/app:v1 r2.lan/app:v1           to two registries
  launchway copy app:v1 docker-archive:app.tar:app:v1 --platform linux/arm64
  launchway copy --referrers --dry-run app:v1 mirror.lan/app:v1      what would be sent?";

pub(crate) fn run(arguments: &Arguments, settings: &Settings) -> Result {
    let source = places::parse("SOURCE", &arguments.source)?;
    let locations = places::parse_all("DESTINATION", &arguments.destination)?;
    let platforms = arguments
        .platform
        .iter()
        .map(|text| parse_platform(text))
        .collect::<Result<Vec<Platform>>>()?;
    let cancellation = Cancellation::default();
    let reporter = toolbox::talk_reporter(settings);
    let client = toolbox::copying_client(settings, &arguments.network, &reporter)?;
    let places = Places::new(client);
    let opened = places.source(&source);
    let destinations = locations
        .iter()
        .map(|location| places.destination(location))
        .collect::<std::result::Result<Vec<Destination>, _>>()
        .map_err(|error| places::failure(&error, Exit::Usage))?;
    let asked = Copy {
        source: opened.place,
        name: opened.name,
        platforms,
        referrers: arguments.referrers,
        parallel: usize::from(arguments.jobs),
    };
    let is_plain = settings.progress == Progress::Plain
        || settings.progress == Progress::Auto && !settings.interactive;
    let tell = move |event: Event| {
        if is_plain && let Some(line) = line(&event) {
            eprintln!("{line}");
        }
    };
    let began = Instant::now();
    let work = async {
        if arguments.dry_run {
            let verdicts = plan(&asked, &destinations).await?;
            Ok(verdicts.into_iter().map(Outcome::planned).collect())
        } else if settings.json {
            let verdicts = copy(&asked, &destinations, &|_| {}).await?;
            Ok(verdicts.into_iter().map(Outcome::copied).collect())
        } else {
            let verdicts = copy(&asked, &destinations, &tell).await?;
            Ok(verdicts.into_iter().map(Outcome::copied).collect())
        }
    };
    let result = toolbox::block_on(&cancellation, toolbox::unless(&cancellation, work))?;
    reporter.finish();
    let outcomes: Vec<Outcome> = match result {
        None => return Err(Failure::interrupted()),
        Some(Err(error)) => return Err(places::failure(&error, exit_of(&error))),
        Some(Ok(outcomes)) => outcomes,
    };
    let names: Vec<String> = locations.iter().map(ToString::to_string).collect();
    if settings.json {
        let rows: Vec<Value> = names
            .iter()
            .zip(&outcomes)
            .map(|(name, outcome)| outcome.json(name))
            .collect();
        super::print_json(&json!({
            "schema": "launchway.copy.v1",
            "source": source.to_string(),
            "dry-run": arguments.dry_run,
            "destinations": rows,
        }));
    } else {
        let words = Words {
            dry_run: arguments.dry_run,
            quiet: settings.progress == Progress::Quiet,
            took: duration(began.elapsed()),
        };
        show(&names, &outcomes, &words);
    }
    finish(outcomes, settings)
}

/// What became of one destination.
enum Outcome {
    Done(Box<Copied>, Vec<(Digest, u64, PushOutcome)>),
    Failed(TransferError),
}

impl Outcome {
    fn copied(verdict: std::result::Result<Copied, TransferError>) -> Self {
        match verdict {
            Ok(copied) => Self::Done(Box::new(copied), Vec::new()),
            Err(error) => Self::Failed(error),
        }
    }

    fn planned(verdict: std::result::Result<Planned, TransferError>) -> Self {
        match verdict {
            Ok(Planned { copied, blobs }) => {
                let blobs = blobs.into_iter();
                let blobs = blobs.map(|(need, outcome)| (need.digest, need.size, outcome));
                Self::Done(Box::new(copied), blobs.collect())
            }
            Err(error) => Self::Failed(error),
        }
    }

    fn json(&self, destination: &str) -> Value {
        match self {
            Self::Done(copied, blobs) => {
                let platforms: Vec<String> =
                    copied.platforms.iter().map(ToString::to_string).collect();
                let number = |count: Count| json!({ "blobs": count.blobs, "bytes": count.bytes });
                let mut value = json!({
                    "destination": destination,
                    "state": if copied.up_to_date { "up-to-date" } else { "copied" },
                    "digest": copied.digest.to_string(),
                    "mediaType": copied.media_type,
                    "platforms": platforms,
                    "shortened": copied.shortened,
                    "sent": number(copied.sent),
                    "mounted": number(copied.mounted),
                    "present": number(copied.present),
                    "documents": copied.documents,
                    "foreign": copied.foreign,
                });
                if !blobs.is_empty() {
                    let rows: Vec<Value> = blobs
                        .iter()
                        .map(|(digest, size, outcome)| {
                            json!({ "digest": digest.to_string(), "size": size, "action": action(*outcome) })
                        })
                        .collect();
                    value["blobs"] = Value::Array(rows);
                }
                value
            }
            Self::Failed(error) => json!({
                "destination": destination,
                "state": "failed",
                "code": error.code().to_string(),
                "error": error.to_string(),
            }),
        }
    }
}

fn action(outcome: PushOutcome) -> &'static str {
    match outcome {
        PushOutcome::AlreadyThere => "present",
        PushOutcome::Mounted => "mount",
        PushOutcome::Uploaded => "send",
    }
}

struct Words {
    dry_run: bool,
    quiet: bool,
    took: String,
}

/// Digests on stdout, the rest on stderr.
fn show(names: &[String], outcomes: &[Outcome], words: &Words) {
    let mut data = String::new();
    for (name, outcome) in names.iter().zip(outcomes) {
        let Outcome::Done(copied, blobs) = outcome else {
            continue;
        };
        match names {
            [_] => data.push_str(&format!("{}\n", copied.digest)),
            _ => data.push_str(&format!("{} {name}\n", copied.digest)),
        }
        if words.quiet {
            continue;
        }
        for (digest, bytes, outcome) in blobs {
            let action = action(*outcome);
            eprintln!("{action:<8} {digest} {}", size(*bytes));
        }
        eprintln!("{}", summary(name, copied, words));
    }
    super::print(&data);
}

fn summary(name: &str, copied: &Copied, words: &Words) -> String {
    if copied.up_to_date {
        return format!("{name} is up to date");
    }
    let mut parts = Vec::new();
    for (count_of, word) in [
        (copied.sent, "sent"),
        (copied.mounted, "mounted"),
        (copied.present, "there before"),
    ] {
        if count_of.blobs > 0 {
            let blobs = count(count_of.blobs, "blob", "blobs");
            parts.push(format!("{blobs} {word} ({})", size(count_of.bytes)));
        }
    }
    parts.push(count(copied.documents, "manifest", "manifests"));
    if copied.foreign > 0 {
        let layers = count(copied.foreign, "layer", "layers");
        parts.push(format!("{layers} left where others give them away"));
    }
    let platforms: Vec<String> = copied.platforms.iter().map(ToString::to_string).collect();
    let platforms = match &platforms[..] {
        [] => String::new(),
        some => format!(" ({})", some.join(", ")),
    };
    let verb = if words.dry_run {
        "would copy"
    } else {
        "copied"
    };
    let took = if words.dry_run {
        String::new()
    } else {
        format!(", {}", words.took)
    };
    let shortened = match copied.shortened {
        true => {
            "\nnote: the index was made anew with fewer platforms, so its digest is not the source's"
        }
        false => "",
    };
    format!(
        "{verb} to {name}{platforms}: {}{took}{shortened}",
        parts.join(", ")
    )
}

fn line(event: &Event) -> Option<String> {
    match event {
        Event::Blob {
            destination,
            digest,
            size: bytes,
            outcome,
        } => {
            let word = match outcome {
                PushOutcome::Uploaded => "sent",
                PushOutcome::Mounted => "mounted",
                PushOutcome::AlreadyThere => return None,
            };
            Some(format!(
                "{destination}: {word} {} {}",
                digest.short(),
                size(*bytes)
            ))
        }
        Event::Manifest { .. } => None,
    }
}

/// Tells what failed; the others are done all the same.
fn finish(outcomes: Vec<Outcome>, settings: &Settings) -> Result {
    let mut errors: Vec<TransferError> = outcomes
        .into_iter()
        .filter_map(|outcome| match outcome {
            Outcome::Failed(error) => Some(error),
            Outcome::Done(..) => None,
        })
        .collect();
    let Some(last) = errors.pop() else {
        return Ok(());
    };
    let mut exit = exit_of(&last);
    for error in &errors {
        if exit_of(error) != exit {
            exit = Exit::Failed;
        }
        places::failure(error, exit).report(settings.colour);
    }
    Err(places::failure(&last, exit))
}

fn exit_of(error: &TransferError) -> Exit {
    match error {
        TransferError::OtherDigest { .. } => Exit::Differs,
        TransferError::OneImage { .. } => Exit::Usage,
        _ => Exit::Failed,
    }
}
