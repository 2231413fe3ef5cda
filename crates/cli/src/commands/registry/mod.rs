//! `launchway registry`.

mod gc;
mod list;
mod serve;
mod upstream;

use clap::{Args, Subcommand};

use super::Result;
use crate::settings::Settings;

/// Serve images from a folder as a registry, and list what registries hold
#[derive(Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Serve(serve::Arguments),
    Gc(gc::Arguments),
    Tags(list::Tags),
    Repositories(list::Repositories),
}

pub(crate) fn run(arguments: &Arguments, settings: &Settings) -> Result {
    match &arguments.command {
        Command::Serve(arguments) => serve::run(arguments, settings),
        Command::Gc(arguments) => gc::run(arguments, settings),
        Command::Tags(arguments) => list::tags(arguments, settings),
        Command::Repositories(arguments) => list::repositories(arguments, settings),
    }
}
