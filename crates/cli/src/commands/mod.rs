//! The command line: one file a command, each with its arguments and its function.

mod cache;
mod call;
mod completions;
mod copy;
mod digest;
mod dockerfile;
mod doctor;
mod init;
mod inspect;
mod lint;
mod plan;
mod registry;
mod release;
mod schema;
mod tag;
mod verify;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::failure::Failure;
use crate::settings::Settings;

/// Builds, tests, publishes, promotes and verifies families of container images.
///
/// A family is described in one file, launchway.toml: a base, the features on it, the variants made of
/// them, platforms, registries and tags. `launchway init` writes a first one from your Dockerfiles,
/// `launchway plan` shows what a release would do, and `launchway release` does it.
#[derive(Parser)]
#[command(name = "launchway", version, max_term_width = 100, after_help = AFTER)]
pub(crate) struct Launchway {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    command: Command,
}

const AFTER: &str = "\
Exit codes: 0 done · 1 failed · 2 wrong usage or wrong file · 3 differs · 4 could not tell · 130 interrupted

stdout carries data, stderr carries talk; `--format json` gives data and events as JSON.";

/// Options of every command.
#[derive(Args)]
pub(crate) struct Global {
    /// When to use colour
    #[arg(long, global = true, value_enum, default_value_t = Colour::Auto, value_name = "WHEN", help_heading = "Global options")]
    pub(crate) color: Colour,
    /// How to write: for people, or as JSON (one value, or one event a line)
    #[arg(long, global = true, value_enum, default_value_t = Format::Text, value_name = "FORMAT", help_heading = "Global options")]
    pub(crate) format: Format,
    /// How to show the progress of long work
    #[arg(long, global = true, value_enum, default_value_t = Progress::Auto, value_name = "HOW", help_heading = "Global options")]
    pub(crate) progress: Progress,
    /// Where layers, caches and locks are kept [default: ~/.cache/launchway]
    #[arg(
        long,
        global = true,
        env = "LAUNCHWAY_STATE_DIR",
        value_name = "DIR",
        help_heading = "Global options"
    )]
    pub(crate) state_dir: Option<PathBuf>,
    /// How the layers below a RUN step are stacked
    #[arg(
        long,
        global = true,
        env = "LAUNCHWAY_STACKING",
        value_enum,
        default_value_t = Stacking::Auto,
        value_name = "HOW",
        help_heading = "Global options"
    )]
    pub(crate) stacking: Stacking,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Stacking {
    /// The first of these that works here
    Auto,
    /// The kernel's overlayfs
    Overlayfs,
    /// The program fuse-overlayfs
    FuseOverlayfs,
    /// Not at all: each step works in a copy of the whole file system
    Copy,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Colour {
    Auto,
    Always,
    Never,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    Text,
    Json,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Progress {
    /// A live view on a terminal, plain lines elsewhere
    Auto,
    /// A tree that is drawn anew in place
    #[value(alias = "tty")]
    Live,
    /// A line for each thing that happens
    Plain,
    /// Nothing but the result
    #[value(alias = "none")]
    Quiet,
}

#[derive(Subcommand)]
enum Command {
    Init(init::Arguments),
    Plan(plan::Arguments),
    Tag(tag::Arguments),
    Release(release::Arguments),
    Verify(verify::Arguments),
    Dockerfile(dockerfile::Arguments),
    Copy(copy::Arguments),
    Inspect(inspect::Arguments),
    Lint(lint::Arguments),
    Digest(digest::Arguments),
    Registry(registry::Arguments),
    Cache(cache::Arguments),
    Doctor(doctor::Arguments),
    Schema(schema::Arguments),
    Completions(completions::Arguments),
}

/// Runs a command and gives its exit code.
pub(crate) fn run(arguments: Launchway) -> ExitCode {
    let settings = match Settings::resolve(&arguments.global) {
        Ok(settings) => settings,
        Err(failure) => return failure.report(false),
    };
    let colour = settings.colour;
    let result = match arguments.command {
        Command::Init(arguments) => init::run(&arguments, &settings),
        Command::Plan(arguments) => plan::run(&arguments, &settings),
        Command::Tag(arguments) => tag::run(&arguments, &settings),
        Command::Release(arguments) => release::run(&arguments, &settings),
        Command::Verify(arguments) => verify::run(&arguments, &settings),
        Command::Dockerfile(arguments) => dockerfile::run(&arguments, &settings),
        Command::Copy(arguments) => copy::run(&arguments, &settings),
        Command::Inspect(arguments) => inspect::run(&arguments, &settings),
        Command::Lint(arguments) => lint::run(&arguments, &settings),
        Command::Digest(arguments) => digest::run(&arguments, &settings),
        Command::Cache(arguments) => cache::run(&arguments, &settings),
        Command::Registry(arguments) => registry::run(&arguments, &settings),
        Command::Doctor(arguments) => doctor::run(&arguments, &settings),
        Command::Schema(arguments) => schema::run(&arguments),
        Command::Completions(arguments) => completions::run(&arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(colour),
    }
}

/// What is wrong with a command line, with a word to those who know another builder.
pub(crate) fn meant(mut error: clap::Error) -> clap::Error {
    let named = match error.get(ContextKind::InvalidSubcommand) {
        Some(ContextValue::String(name)) if error.kind() == ErrorKind::InvalidSubcommand => name,
        _ => return error,
    };
    if matches!(named.as_str(), "build" | "buildx" | "bake") {
        let tips = [
            "a Dockerfile is built with `launchway dockerfile build .`",
            "a family of images is built, tested and published with `launchway release VERSION`",
        ];
        let tips = tips.map(|tip| tip.to_owned().into()).to_vec();
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(tips));
    }
    error
}

/// The result of a command.
pub(crate) type Result<T = ()> = std::result::Result<T, Failure>;

/// Writes data to stdout. A reader that went away (`| head`) is no error.
pub(crate) fn print(text: &str) {
    print_bytes(text.as_bytes());
}

pub(crate) fn print_bytes(bytes: &[u8]) {
    use std::io::Write as _;
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(bytes).and_then(|()| out.flush());
}

pub(crate) fn print_json(value: &serde_json::Value) {
    let text = serde_json::to_string_pretty(value).expect("a JSON value always serialises");
    print(&format!("{text}\n"));
}
