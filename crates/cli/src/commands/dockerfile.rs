//! `launchway dockerfile build`: one plain Dockerfile, with buildx's flags.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, Subcommand};
use launchway_context::{Context, ContextError, JunkRules, read_ignore_rules};
use launchway_diagnostics::SourceMap;
use launchway_engine::{BuildOptions, Cancellation, Secrets};
use launchway_model::{Platform, Reference};
use launchway_oci::{ArchiveImage, Compression, write_archive, write_layout};
use launchway_registry::ClientEvent;
use launchway_release::{Puller, single};

use super::Result;
use crate::failure::Failure;
use crate::family::{NetworkArguments, parse_platform, warn};
use crate::settings::{Settings, read};
use crate::toolbox::{self, Builder};

/// Build one plain Dockerfile, outside of any family
#[derive(Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Build a Dockerfile with the native engine
    ///
    /// The flags are those of `docker buildx build`. Nothing needs a daemon. Without --output or --push
    /// the result stays in the local store, and its digest is printed.
    Build(Box<Build>),
}

#[derive(Args)]
struct Build {
    /// The folder with the files that COPY and ADD take
    context: PathBuf,
    /// The Dockerfile [default: CONTEXT/Dockerfile]
    #[arg(long, short, value_name = "FILE")]
    file: Option<PathBuf>,
    /// The value of an ARG; without a value it is taken from the environment
    #[arg(long, value_name = "NAME[=VALUE]")]
    build_arg: Vec<String>,
    /// The stage to build
    #[arg(long, value_name = "STAGE")]
    target: Option<String>,
    /// The platforms to build for, separated by commas [default: this machine's]
    #[arg(long, value_delimiter = ',', value_name = "PLATFORM")]
    platform: Vec<String>,
    /// An image that stands for a name in FROM and --from: NAME=docker-image://REFERENCE
    #[arg(long, value_name = "NAME=docker-image://REFERENCE")]
    build_context: Vec<String>,
    /// A secret for RUN --mount=type=secret: id=ID[,src=FILE][,env=VARIABLE]
    #[arg(long, value_name = "id=ID[,src=FILE]")]
    secret: Vec<String>,
    /// A label of the image
    #[arg(long, value_name = "NAME=VALUE")]
    label: Vec<String>,
    /// Build without the step cache
    #[arg(long)]
    no_cache: bool,
    /// What RUN steps see of the network: host, none, or default (which is host)
    #[arg(long, default_value = "default", value_parser = ["default", "host", "none"], value_name = "MODE")]
    network: String,
    /// Where the result goes: type=oci,dest=FILE or type=oci,dest=DIR,tar=false or type=docker,dest=FILE
    #[arg(long, short, value_name = "type=TYPE,dest=PATH")]
    output: Vec<String>,
    /// A name for the result
    #[arg(long, short, value_name = "REFERENCE")]
    tag: Vec<String>,
    /// Push to the names given with --tag
    #[arg(long)]
    push: bool,
    /// How layers are compressed
    #[arg(long, default_value = "gzip", value_parser = ["gzip", "zstd"], value_name = "CODEC")]
    compression: String,
    /// RUN steps trust the certificate authorities of this machine; no trace stays in the image
    #[arg(long)]
    host_ca: bool,
    #[command(flatten)]
    registries: NetworkArguments,
}

/// Where a result goes.
enum Output {
    OciArchive(PathBuf),
    OciLayout(PathBuf),
    Docker(PathBuf),
}

pub(crate) fn run(arguments: &Arguments, settings: &Settings) -> Result {
    let Command::Build(arguments) = &arguments.command;
    let outputs = arguments
        .output
        .iter()
        .map(|text| parse_output(text))
        .collect::<Result<Vec<_>>>()?;
    let references = arguments
        .tag
        .iter()
        .map(|text| parse_reference("--tag", text))
        .collect::<Result<Vec<_>>>()?;
    if arguments.push && references.is_empty() {
        return Err(Failure::usage(
            "--push needs a name to push to",
            "give one with --tag",
        ));
    }
    let platforms = if arguments.platform.is_empty() {
        vec![settings.host_platform.clone()]
    } else {
        arguments
            .platform
            .iter()
            .map(|text| parse_platform(text))
            .collect::<Result<Vec<Platform>>>()?
    };
    let (build, sources) = read_build(arguments, settings, platforms)?;
    let builder = Builder::open(settings)?;
    let mut build = build;
    build.options.host_ca = builder.host_ca(arguments.host_ca, settings)?;
    let reporter = toolbox::reporter(settings);
    let on_transfer = reporter.on_release();
    // Of what the client tells, a build shows what it waits for.
    let client_events: toolbox::ClientEvents = Arc::new(move |event| {
        if !matches!(
            event,
            ClientEvent::Request { .. } | ClientEvent::BlobProgress { .. }
        ) {
            on_transfer(launchway_release::Event::Transfer(event));
        }
    });
    let client = toolbox::client(settings, &arguments.registries, None, Some(client_events))?;
    let puller = Puller::new(client, builder.store.clone());
    let cancellation = Cancellation::default();
    let events = reporter.on_build();
    let result = toolbox::block_on(&cancellation, async {
        let image = single::build(build, &puller, &builder.engine, &cancellation, events).await?;
        if arguments.push {
            image.push(&puller, &references).await?;
        }
        Ok(image)
    })?;
    reporter.finish();
    let image = result.map_err(|error| Failure::release(&error, &sources))?;
    warn(&image.warnings, &sources, settings);
    for output in &outputs {
        write(output, &image, &references, &builder)?;
    }
    if settings.json {
        let event = serde_json::json!({
            "event": "built",
            "time": toolbox::now(),
            "digest": image.digest().to_string(),
            "media-type": image.descriptor.media_type,
            "size": image.descriptor.size,
            "tags": references.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "pushed": arguments.push,
        });
        super::print(&format!("{event}\n"));
    } else {
        super::print(&format!("{}\n", image.digest()));
    }
    Ok(())
}

fn read_build(
    arguments: &Build,
    settings: &Settings,
    platforms: Vec<Platform>,
) -> Result<(single::SingleBuild, SourceMap)> {
    let path = arguments
        .file
        .clone()
        .unwrap_or_else(|| arguments.context.join("Dockerfile"));
    let bytes = std::fs::read(&path).map_err(|error| {
        Failure::usage(
            format!("cannot read {}: {error}", path.display()),
            "name the Dockerfile with --file, and the folder it copies from as the context",
        )
    })?;
    let text = String::from_utf8(bytes).map_err(|_| {
        Failure::usage(
            format!("{} is not UTF-8 text", path.display()),
            "save it as UTF-8",
        )
    })?;
    let mut sources = SourceMap::new();
    let source = sources.add(path.display().to_string(), text.clone());
    let parsed = launchway_dockerfile::parse(source, &text);
    let Some(dockerfile) = parsed.dockerfile else {
        return Err(Failure::diagnosed(parsed.diagnostics, sources));
    };
    warn(&parsed.diagnostics, &sources, settings);
    let no_context = |error: ContextError| Failure::caused("cannot use the build context", &error);
    let rules = read_ignore_rules(&arguments.context, &path).map_err(no_context)?;
    // A plain Dockerfile is built from exactly what buildx would see; only families leave junk out.
    let context =
        Context::open(&arguments.context, rules, JunkRules::none()).map_err(no_context)?;
    let build_args = pairs(&arguments.build_arg, settings);
    let epoch = match build_args.get("SOURCE_DATE_EPOCH") {
        Some(text) => Some(text.parse().map_err(|_| {
            Failure::usage(
                format!("SOURCE_DATE_EPOCH={text} is no number of seconds"),
                "give seconds since 1970",
            )
        })?),
        None => settings.epoch,
    };
    let compression = if arguments.compression == "zstd" {
        Compression::Zstd
    } else {
        Compression::Gzip
    };
    let options = BuildOptions {
        host_ca: None,
        epoch,
        epoch_is_asked: epoch.is_some(),
        created: Some(
            epoch
                .and_then(toolbox::timestamp)
                .unwrap_or_else(toolbox::now),
        ),
        no_cache: arguments.no_cache,
        unpinned_urls: true,
        network: if arguments.network == "none" {
            launchway_sandbox::Network::None
        } else {
            launchway_sandbox::Network::Host
        },
        timeout: None,
        compress: Some(compression),
        labels: arguments
            .label
            .iter()
            .map(|text| {
                let (name, value) = text.split_once('=').unwrap_or((text, ""));
                (name.to_owned(), value.to_owned())
            })
            .collect(),
    };
    let build = single::SingleBuild {
        dockerfile,
        context,
        target: arguments.target.clone(),
        build_args,
        platforms,
        build_platform: settings.host_platform.clone(),
        named: named_contexts(&arguments.build_context)?,
        secrets: secrets(&arguments.secret, settings)?,
        options,
        compression,
    };
    Ok((build, sources))
}

/// `NAME=VALUE`, or `NAME` for a variable of the environment; one that is not set is left out.
fn pairs(given: &[String], settings: &Settings) -> BTreeMap<String, String> {
    given
        .iter()
        .filter_map(|text| match text.split_once('=') {
            Some((name, value)) => Some((name.to_owned(), value.to_owned())),
            None => Some((
                text.clone(),
                settings.variable(text)?.to_string_lossy().into_owned(),
            )),
        })
        .collect()
}

fn parse_reference(flag: &str, text: &str) -> Result<Reference> {
    text.parse()
        .map_err(|error: launchway_model::ReferenceError| {
            let pointer = format!("{}^", " ".repeat(error.at));
            Failure::usage(
                format!("{flag}: {error}\n  {text}\n  {pointer}"),
                "a reference has the form HOST/NAME:TAG",
            )
        })
}

fn named_contexts(given: &[String]) -> Result<BTreeMap<String, Reference>> {
    given
        .iter()
        .map(|text| {
            let wrong = || {
                Failure::usage(
                    format!("--build-context {text} cannot be used"),
                    "only images can be named contexts for now: NAME=docker-image://REFERENCE",
                )
            };
            let (name, value) = text.split_once('=').ok_or_else(wrong)?;
            let reference = value.strip_prefix("docker-image://").ok_or_else(wrong)?;
            Ok((
                name.to_owned(),
                parse_reference("--build-context", reference)?,
            ))
        })
        .collect()
}

fn secrets(given: &[String], settings: &Settings) -> Result<Secrets> {
    let mut secrets = Secrets::new();
    for text in given {
        let fields: BTreeMap<&str, &str> = text
            .split(',')
            .filter_map(|field| field.split_once('='))
            .collect();
        let Some(id) = fields.get("id") else {
            return Err(Failure::usage(
                "--secret has no id",
                "write it as id=ID,src=FILE or id=ID,env=VARIABLE",
            ));
        };
        let file = fields.get("src").or_else(|| fields.get("source"));
        let variable = fields.get("env").copied().or(file.is_none().then_some(*id));
        let value = match (file, variable.and_then(|name| settings.variable(name))) {
            (Some(file), _) => read(Path::new(file))?,
            (None, Some(value)) => value.to_string_lossy().into_owned().into_bytes(),
            (None, None) => {
                return Err(Failure::usage(
                    format!("the secret `{id}` has no value"),
                    "give src=FILE, or env=VARIABLE for a variable that is set",
                ));
            }
        };
        secrets.insert((*id).to_owned(), value);
    }
    Ok(secrets)
}

fn parse_output(text: &str) -> Result<Output> {
    let fields: BTreeMap<&str, &str> = text
        .split(',')
        .filter_map(|field| field.split_once('='))
        .collect();
    let help =
        "write it as type=oci,dest=FILE, type=oci,dest=DIR,tar=false or type=docker,dest=FILE";
    let wrong = |why: &str| Failure::usage(format!("--output {text}: {why}"), help);
    let destination = PathBuf::from(
        fields
            .get("dest")
            .ok_or_else(|| wrong("there is no dest"))?,
    );
    match fields.get("type").copied() {
        Some("oci") if fields.get("tar") == Some(&"false") => Ok(Output::OciLayout(destination)),
        Some("oci") => Ok(Output::OciArchive(destination)),
        Some("docker") => Ok(Output::Docker(destination)),
        Some(other @ ("local" | "tar")) => {
            Err(wrong(&format!("the type {other} is not supported yet")))
        }
        _ => Err(wrong("unknown type")),
    }
}

fn write(
    output: &Output,
    image: &single::SingleImage,
    references: &[Reference],
    builder: &Builder,
) -> Result {
    let images = [ArchiveImage {
        descriptor: image.descriptor.clone(),
        names: references.iter().map(ToString::to_string).collect(),
    }];
    match output {
        Output::OciLayout(folder) => write_layout(&builder.store, &images, folder)
            .map_err(|error| Failure::caused(format!("cannot write {}", folder.display()), &error)),
        Output::OciArchive(path) | Output::Docker(path) => {
            let failed = |error: &dyn std::error::Error| {
                Failure::caused(format!("cannot write {}", path.display()), error)
            };
            // Written beside its place and moved there when whole.
            let partial = path.with_extension("part");
            let file = std::fs::File::create(&partial).map_err(|error| failed(&error))?;
            let mut out = std::io::BufWriter::with_capacity(1 << 20, file);
            let written = write_archive(&builder.store, &images, &mut out)
                .map_err(|error| failed(&error))
                .and_then(|()| std::io::Write::flush(&mut out).map_err(|error| failed(&error)))
                .and_then(|()| std::fs::rename(&partial, path).map_err(|error| failed(&error)));
            if written.is_err() {
                let _ = std::fs::remove_file(&partial);
            }
            written
        }
    }
}
