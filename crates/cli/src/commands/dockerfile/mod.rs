//! `launchway dockerfile build`: one plain Dockerfile, with buildx's flags.

mod agreed;
mod annotations;
mod compatible;
mod contexts;
mod input;
mod lint;
mod metadata;
mod output;
mod predefined;
mod repository;
mod secrets;
mod ssh;
mod write;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use clap::{Args, Subcommand};
use launchway_diagnostics::SourceMap;
use launchway_engine::{BuildOptions, Cancellation};
use launchway_model::{Platform, Reference};
use launchway_oci::Origin;
use launchway_registry::ClientEvent;
use launchway_release::{Puller, ReleaseError, single};

use self::compatible::CompatibleArguments;
use self::input::{Given, Input};
use self::lint::Judged;
use self::output::{Output, Target};
use self::predefined::EPOCH;
use self::repository::Keys;
use self::write::Built;
use super::Result;
use super::call::Call;
use crate::commands::Progress;
use crate::failure::Failure;
use crate::family::{NetworkArguments, parse_platform, warn};
use crate::limits::LimitArguments;
use crate::settings::Settings;
use crate::tidy;
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
    #[command(after_help = EXAMPLES)]
    Build(Box<Build>),
}

const EXAMPLES: &str = "\
Examples:
  launchway dockerfile build .                       build what the folder holds
  launchway dockerfile build -t ghcr.io/me/app:v1 --push .
                                                     and push it
  launchway dockerfile build -t app -o type=docker,dest=- . | docker load
                                                     into Docker
  launchway dockerfile build -o out --target files . the files of a stage in a folder
  launchway dockerfile build --check .               what is seldom meant in the Dockerfile
  launchway dockerfile build 'https://host/app.git#main:images/web'
                                                     out of a Git repository";

#[derive(Args)]
struct Build {
    /// The folder with the files that COPY and ADD take; - for a tar of it, or a Dockerfile alone, from
    /// stdin; a URL of one of these; or a Git repository, as URL#REF:FOLDER
    context: PathBuf,
    /// The Dockerfile; - for stdin [default: CONTEXT/Dockerfile]
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
    /// NAME=docker-image://REFERENCE, NAME=https://HOST/FILE or a Git repository: NAME=URL#REF:FOLDER
    #[arg(long, value_name = "NAME=CONTEXT")]
    build_context: Vec<String>,
    /// A secret for RUN --mount=type=secret: id=ID[,src=FILE][,env=VARIABLE]
    #[arg(long, value_name = "id=ID[,src=FILE]")]
    secret: Vec<String>,
    /// An agent for RUN --mount=type=ssh and for repositories: ID, ID=SOCKET or ID=KEYFILE[,KEYFILE…]
    ///
    /// `default` alone is the agent of SSH_AUTH_SOCK. Steps and git can ask it for its public keys and
    /// have things signed, nothing else. Keys must have no passphrase.
    #[arg(long, value_name = "default|ID[=SOCKET|KEYFILE[,KEYFILE…]]")]
    ssh: Vec<String>,
    /// A label of the image
    #[arg(long, value_name = "NAME=VALUE")]
    label: Vec<String>,
    /// An annotation of the image: KEY=VALUE, or with a place before it, as in index:KEY=VALUE
    #[arg(long, value_name = "[TYPE:]KEY=VALUE")]
    annotation: Vec<String>,
    /// Build without the step cache
    #[arg(long)]
    no_cache: bool,
    /// Build these stages without the step cache
    #[arg(long, value_delimiter = ',', value_name = "STAGE")]
    no_cache_filter: Vec<String>,
    /// What RUN steps see of the network: host, none, or default (which is host)
    #[arg(long, default_value = "default", value_parser = ["default", "host", "none"], value_name = "MODE")]
    network: String,
    /// Check the Dockerfile and build nothing; the same as --call=check
    #[arg(long)]
    check: bool,
    /// What to do: build, check, outline (what the target takes) or targets; `,format=json` for JSON
    #[arg(long, default_value = "build", value_name = "METHOD[,format=json]")]
    call: String,
    /// Judge what was built by the rules of `launchway lint` before it is written or pushed; what is
    /// denied goes nowhere, and the exit code is 1
    #[arg(long)]
    lint: bool,
    /// Where the result goes: DIR, - or type=TYPE,dest=PATH
    ///
    /// DIR is short for type=local,dest=DIR, and - for type=tar,dest=-, the files as a tar on stdout.
    /// The types are
    ///   local      the files of the image in a folder, laid over what is there
    ///   tar        the files of the image as a tar
    ///   oci        the image as an OCI layout in one file, or with tar=false in a folder
    ///   docker     the same file; `docker load` takes it
    ///   image      the image in the local store; with push=true it is pushed to name=REFERENCE
    ///   registry   the same as type=image,push=true
    ///   cacheonly  nothing but the step cache
    /// name=REFERENCE names the image in that result alone, instead of --tag. A value with a comma is
    /// quoted with its name: type=local,"dest=a,b".
    #[arg(long, short, value_name = "type=TYPE,dest=PATH", verbatim_doc_comment)]
    output: Vec<String>,
    /// A name for the result
    #[arg(long, short, value_name = "REFERENCE")]
    tag: Vec<String>,
    /// Push to the names given with --tag
    #[arg(long)]
    push: bool,
    /// Show nothing, and print the id of the image: the digest of its configuration
    #[arg(long, short)]
    quiet: bool,
    /// Write the id of the image to a file
    #[arg(long, value_name = "FILE")]
    iidfile: Option<PathBuf>,
    /// Write what came of the build to a file, as JSON with buildx's keys
    #[arg(long, value_name = "FILE")]
    metadata_file: Option<PathBuf>,
    /// How layers are compressed
    #[arg(long, default_value = "gzip", value_parser = ["gzip", "zstd", "uncompressed"], value_name = "CODEC")]
    compression: String,
    /// RUN steps trust the certificate authorities of this machine; no trace stays in the image
    #[arg(long)]
    host_ca: bool,
    #[command(flatten)]
    registries: NetworkArguments,
    #[command(flatten)]
    limits: LimitArguments,
    #[command(flatten, next_help_heading = "Flags of buildx that do little here")]
    compatible: CompatibleArguments,
}

pub(crate) fn run(arguments: &Arguments, settings: &Settings) -> Result {
    let Command::Build(arguments) = &arguments.command;
    if arguments.quiet {
        let quiet = Settings {
            progress: Progress::Quiet,
            ..settings.clone()
        };
        return build(arguments, &quiet);
    }
    build(arguments, settings)
}

fn build(arguments: &Build, settings: &Settings) -> Result {
    let mut told = arguments.compatible.check()?;
    let call = Call::parse(&arguments.call, arguments.check, settings.json)?;
    let outputs = arguments
        .output
        .iter()
        .map(|text| output::parse(text))
        .collect::<Result<Vec<_>>>()?;
    write::check(&outputs, settings.json, arguments.compatible.may_delete())?;
    check_files(arguments, &outputs)?;
    let references = arguments
        .tag
        .iter()
        .map(|text| parse_reference("--tag", text))
        .collect::<Result<Vec<_>>>()?;
    let pushed = agreed::pushed(arguments.push, &outputs, &references)?;
    let platforms = platforms(arguments, settings)?;
    let mut annotations = arguments.annotation.clone();
    for output in &outputs {
        annotations.extend_from_slice(&output.annotations);
    }
    let given_args = pairs(&arguments.build_arg, settings);
    let index = predefined::is_index(&given_args, platforms.len())?;
    let annotations = annotations::parse(&annotations, !index)?;
    let packing = agreed::packing(&arguments.compression, &outputs)?;
    // An image is made when something takes it, and when nothing else is wanted.
    let packs = outputs.is_empty()
        || !pushed.is_empty()
        || arguments.iidfile.is_some()
        || outputs.iter().any(|output| output.to.is_image());
    let keys = Keys {
        secrets: secrets::read_all(&arguments.secret, settings)?,
        agents: ssh::agents(&arguments.ssh, settings)?,
        keep_git_dir: repository::keeps_git_dir(&given_args),
    };
    let given = Given::of(&arguments.context)?;
    let file = arguments.file.as_deref();
    let early = given
        .needs_store(file)
        .then(|| Builder::open(settings))
        .transpose()?;
    let mut input = input::open(&given, file, early.as_ref(), &keys)?;
    let held = input.held.take();
    let (mut build, sources) = read_build(arguments, settings, platforms, input, keys)?;
    if let Some(call) = call {
        return call.run(&build, &sources, &arguments.registries, settings);
    }
    build.index = index;
    build.options.compress = packs.then_some(packing.compression);
    let epoch = build.options.epoch;
    agreed::rewrite_timestamps(&outputs, &mut build.options, &mut told)?;
    if !settings.json && !matches!(settings.progress, Progress::Quiet) {
        for line in told {
            eprintln!("warning: {line}");
        }
    }
    let builder = match early {
        Some(builder) => builder,
        None => Builder::open(settings)?,
    };
    input::keeps_out(&build.context, &builder.state)?;
    build.options.host_ca = builder.host_ca(arguments.host_ca, settings)?;
    let reporter = toolbox::reporter(settings);
    let on_transfer = reporter.on_release();
    // Of what the client tells, a build shows what it waits for and what travels.
    let client_events: toolbox::ClientEvents = Arc::new(move |event| {
        if !matches!(event, ClientEvent::Request { .. }) {
            on_transfer(launchway_release::Event::Transfer(event));
        }
    });
    let client = toolbox::client(settings, &arguments.registries, None, Some(client_events))?;
    let puller = Puller::new(client, builder.store.clone());
    let cancellation = Cancellation::default();
    let events = reporter.on_build();
    let result = toolbox::block_on(&cancellation, async {
        let image = single::build(build, &puller, &builder.engine, &cancellation, events).await?;
        // Who interrupts while layers are compressed or travel waits for neither.
        let interrupted = || ReleaseError::Cancelled;
        let packed = match packs {
            true => {
                let pack = image.pack(&puller, packing, &annotations);
                let packed = toolbox::unless(&cancellation, pack).await;
                Some(packed.ok_or_else(interrupted)??)
            }
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
        let (judged, written) = tokio::task::block_in_place(|| {
            let mut judged = match arguments.lint {
                true => lint::judge(&image, packed.as_ref(), &builder.store, settings),
                false => Judged::nothing(),
            };
            let verdict = std::mem::replace(&mut judged.verdict, Ok(()));
            let written =
                verdict.and_then(|()| outputs.iter().try_for_each(|output| built.write(output)));
            (judged, written)
        });
        if written.is_ok()
            && let Some(packed) = packed.as_ref().filter(|_| !pushed.is_empty())
        {
            let push = packed.push(&puller, &pushed);
            let sent = toolbox::unless(&cancellation, push).await;
            sent.ok_or_else(interrupted)??;
        }
        Ok((image, packed, judged, written))
    })?;
    reporter.finish();
    let (image, packed, judged, written) =
        result.map_err(|error| Failure::release(&error, &sources))?;
    warn(&image.warnings, &sources, settings);
    drop(held);
    if settings.json || written.is_err() || !matches!(settings.progress, Progress::Quiet) {
        judged.tell(settings);
    }
    written?;
    if let (Some(path), Some(packed)) = (&arguments.iidfile, &packed) {
        metadata::write(path, &metadata::image_id(packed))?;
    }
    if let Some(path) = &arguments.metadata_file {
        let names = agreed::names(&pushed, &references, &outputs);
        let told = metadata::metadata(packed.as_ref(), &names);
        let text = serde_json::to_string_pretty(&told).expect("a JSON value always serialises");
        metadata::write(path, &format!("{text}\n"))?;
    }
    let shown = packed.as_ref().map(|packed| match arguments.quiet {
        true => metadata::image_id(packed),
        false => packed.digest().to_string(),
    });
    if let Some(packed) = &packed {
        let own = outputs.iter().flat_map(|output| match &output.to {
            Target::Image { names, .. } => names.as_slice(),
            _ => &[],
        });
        for reference in references.iter().chain(own) {
            let name = toolbox::image_name(reference);
            let named = builder
                .store
                .name_image(&name, packed.digest(), Origin::Built);
            named.map_err(|error| Failure::caused("cannot remember the image's name", &error))?;
        }
    }
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
    } else if let Some(digest) = shown {
        // An archive on stdout must not be followed by anything.
        if outputs.iter().any(|output| output.to.is_stdout()) {
            eprintln!("{digest}");
        } else {
            super::print(&format!("{digest}\n"));
        }
    }
    tidy::after(&builder, settings);
    Ok(())
}

/// The small files that are asked for: an id needs an image, and a stale one must not be taken for
/// this build's.
fn check_files(arguments: &Build, outputs: &[Output]) -> Result {
    if arguments.iidfile.is_some() {
        let files_alone = outputs
            .iter()
            .any(|output| matches!(output.to, Target::Tar { .. } | Target::Local { .. }));
        if files_alone {
            return Err(Failure::usage(
                "--iidfile is about an image, and an output writes files alone",
                "leave one of them out, or build twice: the second build takes its steps from the cache",
            ));
        }
    }
    for path in [&arguments.iidfile, &arguments.metadata_file]
        .into_iter()
        .flatten()
    {
        write::check_file(path)?;
    }
    let stale = arguments.iidfile.as_deref().and_then(write::replaceable);
    if let Some(path) = stale.filter(|path| path.is_file()) {
        std::fs::remove_file(&path).map_err(|error| {
            Failure::caused(format!("cannot replace {}", path.display()), &error)
        })?;
    }
    Ok(())
}

/// The platforms asked for, by the flag or as docker's variable has it.
fn platforms(arguments: &Build, settings: &Settings) -> Result<Vec<Platform>> {
    let default = settings.variable("DOCKER_DEFAULT_PLATFORM");
    let named: Vec<String> = match (arguments.platform.as_slice(), default) {
        ([], Some(default)) => vec![default.to_string_lossy().into_owned()],
        (named, _) => named.to_vec(),
    };
    let mut found = Vec::new();
    for text in named {
        let platform = match text.as_str() {
            "local" => settings.host_platform.clone(),
            text => parse_platform(text)?,
        };
        if !found.contains(&platform) {
            found.push(platform);
        }
    }
    if found.is_empty() {
        found.push(settings.host_platform.clone());
    }
    Ok(found)
}

fn read_build(
    arguments: &Build,
    settings: &Settings,
    platforms: Vec<Platform>,
    input: Input,
    keys: Keys,
) -> Result<(single::SingleBuild, SourceMap)> {
    let mut sources = SourceMap::new();
    let source = sources.add(input.name, input.text.clone());
    let parsed = launchway_dockerfile::parse(source, &input.text);
    let Some(dockerfile) = parsed.dockerfile else {
        return Err(Failure::diagnosed(parsed.diagnostics, sources));
    };
    warn(&parsed.diagnostics, &sources, settings);
    let mut build_args = pairs(&arguments.build_arg, settings);
    // As with buildx, the variable is an argument too; one that is empty is none.
    if let Some(epoch) = settings.epoch {
        build_args
            .entry(EPOCH.to_owned())
            .or_insert_with(|| epoch.to_string());
    }
    let checks = super::call::settings_of(&dockerfile, &build_args)?;
    let first = platforms.first().unwrap_or(&settings.host_platform);
    let epoch = predefined::epoch(&mut build_args, &dockerfile, first, input.time)?;
    let no_cache_stages: BTreeSet<String> = arguments.no_cache_filter.iter().cloned().collect();
    for name in &no_cache_stages {
        let known = |stage: &launchway_dockerfile::Stage| {
            stage.index.to_string() == *name
                || stage
                    .name
                    .as_ref()
                    .is_some_and(|own| own.value.eq_ignore_ascii_case(name))
        };
        if !dockerfile.stages.iter().any(known) {
            eprintln!("warning: --no-cache-filter {name}: the Dockerfile has no such stage");
        }
    }
    let options = BuildOptions {
        host_ca: None,
        epoch,
        epoch_is_asked: epoch.is_some(),
        created: Some(
            epoch
                .and_then(toolbox::timestamp)
                .unwrap_or_else(toolbox::now),
        ),
        created_by_steps: epoch.is_none(),
        no_cache: arguments.no_cache,
        no_cache_stages,
        unpinned_urls: true,
        network: if arguments.network == "none" {
            launchway_sandbox::Network::None
        } else {
            launchway_sandbox::Network::Host
        },
        host_network: arguments.network == "host" || arguments.compatible.allows_host_network(),
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
        context: input.context,
        target: arguments.target.clone(),
        build_args,
        platform_is_asked: !arguments.platform.is_empty()
            || settings.variable("DOCKER_DEFAULT_PLATFORM").is_some(),
        platforms,
        index: false,
        build_platform: settings.host_platform.clone(),
        named: contexts::parse(&arguments.build_context)?,
        secrets: keys.secrets,
        agents: keys.agents,
        checks,
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

/// A name for what is built.
fn parse_reference(flag: &str, text: &str) -> Result<Reference> {
    let reference = text
        .parse()
        .map_err(|error: launchway_model::ReferenceError| {
            let pointer = format!("{}^", " ".repeat(error.at));
            Failure::usage(
                format!("{flag}: {error}\n  {text}\n  {pointer}"),
                "a reference has the form HOST/NAME:TAG",
            )
        })?;
    match &reference {
        Reference {
            digest: Some(_), ..
        } => Err(Failure::usage(
            format!("{flag}: {reference} has a digest, and what is built has its own"),
            "leave out what begins with the @",
        )),
        _ => Ok(reference),
    }
}
