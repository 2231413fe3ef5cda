//! `launchway dockerfile build`: one plain Dockerfile, with buildx's flags.

mod contexts;
mod output;
mod write;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, Subcommand};
use launchway_context::{Context, ContextError, JunkRules, read_ignore_rules};
use launchway_diagnostics::SourceMap;
use launchway_engine::{BuildOptions, Cancellation, Secrets};
use launchway_model::{Platform, Reference};
use launchway_oci::Compression;
use launchway_registry::ClientEvent;
use launchway_release::{Puller, single};

use self::output::{Output, Target};
use self::write::Built;
use super::Result;
use crate::failure::Failure;
use crate::family::{NetworkArguments, parse_platform, warn};
use crate::limits::LimitArguments;
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
    /// What a name in FROM, --from and from= stands for: NAME=DIR, NAME=oci-layout://DIR[:TAG|@DIGEST],
    /// NAME=docker-image://REFERENCE or NAME=https://HOST/FILE
    #[arg(long, value_name = "NAME=CONTEXT")]
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
    /// Where the result goes: DIR, - or type=TYPE,dest=PATH
    ///
    /// DIR is short for type=local,dest=DIR, and - for type=tar,dest=-, the files as a tar on stdout.
    /// The types are
    ///   local      the files of the image in a folder, laid over what is there
    ///   tar        the files of the image as a tar
    ///   oci        the image as an OCI layout in one file, or with tar=false in a folder
    ///   docker     the same file; `docker load` takes it
    ///   image      the image stays in the local store; with push=true it is pushed to name=REFERENCE
    ///   registry   the same as type=image,push=true
    ///   cacheonly  nothing but the step cache
    /// A value with a comma is quoted with its name: type=local,"dest=a,b".
    #[arg(long, short, value_name = "type=TYPE,dest=PATH", verbatim_doc_comment)]
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
    limits: LimitArguments,
    #[command(flatten)]
    registries: NetworkArguments,
}

pub(crate) fn run(arguments: &Arguments, settings: &Settings) -> Result {
    let Command::Build(arguments) = &arguments.command;
    let outputs = arguments
        .output
        .iter()
        .map(|text| output::parse(text))
        .collect::<Result<Vec<_>>>()?;
    write::check(&outputs, settings.json)?;
    let references = arguments
        .tag
        .iter()
        .map(|text| parse_reference("--tag", text))
        .collect::<Result<Vec<_>>>()?;
    let pushed = pushed(arguments.push, &outputs, &references)?;
    let platforms = if arguments.platform.is_empty() {
        vec![settings.host_platform.clone()]
    } else {
        arguments
            .platform
            .iter()
            .map(|text| parse_platform(text))
            .collect::<Result<Vec<Platform>>>()?
    };
    let compression = compression(&arguments.compression, &outputs)?;
    // An image is made when something takes it, and when nothing else is wanted.
    let packs = outputs.is_empty()
        || !pushed.is_empty()
        || outputs.iter().any(|output| output.to.is_image());
    let (mut build, sources) = read_build(arguments, settings, platforms)?;
    build.options.compress = packs.then_some(compression);
    let builder = Builder::open(settings)?;
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
    let epoch = build.options.epoch.filter(|_| build.options.epoch_is_asked);
    let result = toolbox::block_on(&cancellation, async {
        let image = single::build(build, &puller, &builder.engine, &cancellation, events).await?;
        let packed = match packs {
            true => Some(image.pack(&puller, compression).await?),
            false => None,
        };
        let built = Built {
            image: &image,
            packed: packed.as_ref(),
            names: &references,
            store: &builder.store,
            epoch,
            cancellation: &cancellation,
        };
        // This thread has nothing else to do; what was asked to be cancelled meanwhile is seen.
        let written = tokio::task::block_in_place(|| {
            outputs.iter().try_for_each(|output| built.write(output))
        });
        if written.is_ok()
            && let Some(packed) = &packed
        {
            packed.push(&puller, &pushed).await?;
        }
        Ok((image, packed, written))
    })?;
    reporter.finish();
    let (image, packed, written) = result.map_err(|error| Failure::release(&error, &sources))?;
    warn(&image.warnings, &sources, settings);
    written?;
    let digest = packed.as_ref().map(|packed| packed.digest().to_string());
    if settings.json {
        let mut event = serde_json::json!({
            "event": "built",
            "time": toolbox::now(),
            "tags": references.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "pushed": !pushed.is_empty(),
        });
        if let Some(packed) = &packed {
            event["digest"] = packed.digest().to_string().into();
            event["media-type"] = packed.descriptor.media_type.clone().into();
            event["size"] = packed.descriptor.size.into();
        }
        super::print(&format!("{event}\n"));
    } else if let Some(digest) = digest {
        // An archive on stdout must not be followed by anything.
        if outputs.iter().any(|output| output.to.is_stdout()) {
            eprintln!("{digest}");
        } else {
            super::print(&format!("{digest}\n"));
        }
    }
    Ok(())
}

/// The names to push to: those of the outputs that push, or else those of --tag.
fn pushed(flag: bool, outputs: &[Output], tags: &[Reference]) -> Result<Vec<Reference>> {
    let mut wanted = Vec::new();
    let mut pushes = flag;
    if flag {
        wanted.extend_from_slice(tags);
    }
    for output in outputs {
        if let Target::Image { names, push: true } = &output.to {
            pushes = true;
            wanted.extend_from_slice(if names.is_empty() { tags } else { names });
        }
    }
    if pushes && wanted.is_empty() {
        return Err(Failure::usage(
            "there is no name to push to",
            "give one with --tag, or with name=REFERENCE in --output",
        ));
    }
    let mut once = Vec::new();
    for name in wanted {
        if !once.contains(&name) {
            once.push(name);
        }
    }
    Ok(once)
}

/// The one compression of the layers: outputs may name it, and have to agree.
fn compression(flag: &str, outputs: &[Output]) -> Result<Compression> {
    let mut named = outputs.iter().filter_map(|output| output.compression);
    let default = if flag == "zstd" {
        Compression::Zstd
    } else {
        Compression::Gzip
    };
    let first = named.next().unwrap_or(default);
    if named.any(|other| other != first) {
        return Err(Failure::usage(
            "the outputs ask for different compressions",
            "build once for each; the second build takes its steps from the cache",
        ));
    }
    Ok(first)
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
        timeout: arguments.limits.timeout(),
        limits: arguments.limits.limits()?,
        extra_hosts: arguments.limits.extra_hosts(),
        no_new_privileges: arguments.limits.no_new_privileges(),
        compress: None,
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
        named: contexts::parse(&arguments.build_context)?,
        secrets: secrets(&arguments.secret, settings)?,
        options,
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
