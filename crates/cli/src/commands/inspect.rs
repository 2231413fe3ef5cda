//! `launchway inspect`.

use clap::Args;
use launchway_model::Platform;
use launchway_oci::spec::{Descriptor, History, ImageConfig};
use launchway_transfer::{Body, Image, Inspected, Places, config_bytes, document, inspect};
use serde_json::{Value, json};

use super::Result;
use crate::family::{NetworkArguments, parse_platform};
use crate::places;
use crate::report::text::{clean, cut, size};
use crate::settings::Settings;
use crate::toolbox;

/// Show what an image is, where it is
///
/// Its digest and media type, its platforms with their sizes, and for one platform (this machine's, unless
/// another is asked for) how it runs and what its layers come from.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// A reference, oci:DIR[:TAG], oci-archive:FILE[:TAG] or docker-archive:FILE[:REFERENCE]
    reference: String,
    /// The image for this platform
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<String>,
    /// Print the manifest or index, byte for byte
    #[arg(long, conflicts_with = "config")]
    raw: bool,
    /// Print the image's configuration, byte for byte; an index needs --platform
    #[arg(long)]
    config: bool,
    #[command(flatten)]
    network: NetworkArguments,
}

const EXAMPLES: &str = "\
Examples:
  launchway inspect debian:12
  launchway inspect debian:12 --platform linux/arm64 --format json
  launchway inspect debian:12 --raw | jq .manifests
  launchway inspect docker-archive:app.tar --config | jq .config.Env";

/// How much of an instruction is shown.
const COLUMNS: usize = 100;

pub(crate) fn run(arguments: &Arguments, settings: &Settings) -> Result {
    let location = places::parse("REFERENCE", &arguments.reference)?;
    let platform = arguments
        .platform
        .as_deref()
        .map(parse_platform)
        .transpose()?;
    let reporter = toolbox::asking_reporter(settings);
    let client = toolbox::asking_client(settings, &arguments.network, &reporter)?;
    let opened = Places::new(client).source(&location);
    let failed = |error| places::failure(&error, places::exit_of_question(&error));
    if arguments.raw || arguments.config {
        let work = async {
            let found = document(&opened, platform.as_ref()).await?;
            if arguments.raw {
                return Ok(found.raw.bytes.to_vec());
            }
            config_bytes(&opened, &found).await
        };
        let bytes = toolbox::block_here(work)?.map_err(failed)?;
        super::print_bytes(&bytes);
        return Ok(());
    }
    let work = inspect(&opened, platform.as_ref(), &settings.host_platform);
    let found = toolbox::block_here(work)?.map_err(failed)?;
    if settings.json {
        super::print_json(&as_json(&location.to_string(), &found));
    } else {
        super::print(&as_text(&location.to_string(), &found, platform.as_ref()));
    }
    Ok(())
}

fn as_json(name: &str, found: &Inspected) -> Value {
    let platform = |platform: &Option<Platform>| platform.as_ref().map(ToString::to_string);
    let entries: Vec<Value> = found
        .entries
        .iter()
        .map(|entry| {
            json!({
                "platform": platform(&entry.platform),
                "attestation": entry.attestation,
                "digest": entry.descriptor.digest,
                "mediaType": entry.descriptor.media_type,
                "size": entry.size,
                "annotations": entry.descriptor.annotations,
            })
        })
        .collect();
    let image = found.image.as_ref().map(|image| {
        let layers: Vec<Value> = layers(image)
            .into_iter()
            .map(|(layer, history)| {
                json!({
                    "digest": layer.digest,
                    "mediaType": layer.media_type,
                    "size": layer.size,
                    "created-by": history.and_then(|one| one.created_by.clone()),
                })
            })
            .collect();
        json!({
            "platform": platform(&image.platform),
            "digest": image.document.digest().to_string(),
            "mediaType": image.document.raw.media_type,
            "size": image.size,
            "config": image.config,
            "layers": layers,
        })
    });
    json!({
        "schema": "launchway.inspect.v1",
        "reference": name,
        "digest": found.root.digest().to_string(),
        "mediaType": found.root.raw.media_type,
        "annotations": found.root.annotations(),
        "subject": found.root.subject().map(|subject| subject.to_string()),
        "manifests": entries,
        "image": image,
        "referrers": found.referrers,
    })
}

fn as_text(name: &str, found: &Inspected, asked: Option<&Platform>) -> String {
    let mut text = String::new();
    let mut row = |label: &str, value: &str| {
        text.push_str(&format!("{label:<12} {}\n", clean(value)));
    };
    row("name", name);
    row("digest", &found.root.digest().to_string());
    row("media type", &found.root.raw.media_type);
    if let Some(subject) = found.root.subject() {
        row("refers to", &subject.to_string());
    }
    match &found.referrers {
        Some(all) if all.is_empty() => {}
        Some(all) => row("referrers", &kinds(all)),
        None => row("referrers", "could not be asked"),
    }
    for (label, value) in found.root.annotations().into_iter().flatten() {
        row("annotation", &format!("{label}={value}"));
    }
    if !found.entries.is_empty() {
        text.push('\n');
        let name_of = |entry: &launchway_transfer::Entry| match &entry.platform {
            Some(platform) => platform.to_string(),
            None if entry.attestation => "attestation".to_owned(),
            None => "other".to_owned(),
        };
        let names = found.entries.iter().map(|entry| name_of(entry).len());
        let width = names.max().unwrap_or(0);
        for entry in &found.entries {
            text.push_str(&format!(
                "{:<width$}  {:>9}  {}\n",
                name_of(entry),
                size(entry.size),
                entry.descriptor.digest
            ));
        }
    }
    if let Some(image) = &found.image {
        text.push('\n');
        text.push_str(&image_text(
            image,
            found.entries.is_empty() && asked.is_none(),
        ));
    }
    text
}

/// What refers, by kind.
fn kinds(all: &[Descriptor]) -> String {
    let mut kinds = std::collections::BTreeMap::new();
    for one in all {
        let kind = one.artifact_type.as_deref().unwrap_or(&one.media_type);
        *kinds.entry(kind).or_insert(0) += 1;
    }
    let list: Vec<String> = kinds
        .iter()
        .map(|(kind, number)| format!("{number} {kind}"))
        .collect();
    list.join(", ")
}

fn image_text(image: &Image, is_root: bool) -> String {
    let mut text = String::new();
    let mut row = |label: &str, value: &str| {
        text.push_str(&format!("{label:<12} {}\n", clean(value)));
    };
    if let Some(platform) = &image.platform {
        row("platform", &platform.to_string());
    }
    if !is_root {
        row("digest", &image.document.digest().to_string());
    }
    row("size", &size(image.size));
    if let Some(config) = &image.config {
        config_rows(config, &mut row);
    } else if let Body::Manifest(manifest) = &image.document.body {
        let kind = manifest.artifact_type.as_deref();
        row("artifact", kind.unwrap_or(&manifest.config.media_type));
    }
    let layers = layers(image);
    if !layers.is_empty() {
        text.push('\n');
    }
    for (layer, history) in layers {
        let made = history.and_then(|one| one.created_by.as_deref());
        let made = made.or_else(|| title(layer)).unwrap_or_default();
        let made = cut(&clean(&made.replace('\n', " ")), COLUMNS);
        let digest = layer.digest.get(..19).unwrap_or(&layer.digest);
        text.push_str(format!("{digest}  {:>9}  {made}", size(layer.size)).trim_end());
        text.push('\n');
    }
    text
}

fn title(layer: &Descriptor) -> Option<&str> {
    let annotations = layer.annotations.as_ref()?;
    Some(annotations.get("org.opencontainers.image.title")?.as_str())
}

fn config_rows(config: &ImageConfig, row: &mut impl FnMut(&str, &str)) {
    if let Some(created) = &config.created {
        row("created", created);
    }
    let words = |words: &[String]| serde_json::to_string(words).unwrap_or_default();
    let run = &config.config;
    if let Some(entrypoint) = &run.entrypoint {
        row("entrypoint", &words(entrypoint));
    }
    if let Some(cmd) = &run.cmd {
        row("cmd", &words(cmd));
    }
    for (label, value) in [("user", &run.user), ("workdir", &run.working_dir)] {
        if let Some(value) = value.as_deref().filter(|value| !value.is_empty()) {
            row(label, value);
        }
    }
    for port in run.exposed_ports.iter().flatten() {
        row("port", port.0);
    }
    for volume in run.volumes.iter().flatten() {
        row("volume", volume.0);
    }
    for variable in run.env.iter().flatten() {
        row("env", variable);
    }
    for (name, value) in run.labels.iter().flatten() {
        row("label", &format!("{name}={value}"));
    }
}

/// The layers with the instructions they come from, where the history fits them.
fn layers(image: &Image) -> Vec<(&Descriptor, Option<&History>)> {
    let Body::Manifest(manifest) = &image.document.body else {
        return Vec::new();
    };
    let history = image.config.iter().flat_map(|config| &config.history);
    let filled: Vec<&History> = history
        .filter(|one| one.empty_layer != Some(true))
        .collect();
    let fits = filled.len() == manifest.layers.len();
    let layers = manifest.layers.iter().enumerate();
    layers
        .map(|(at, layer)| (layer, filled.get(at).copied().filter(|_| fits)))
        .collect()
}
