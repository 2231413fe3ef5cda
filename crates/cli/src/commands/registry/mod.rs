//! `launchway registry`.

mod serve;

use clap::{Args, Subcommand};

use super::Result;
use crate::settings::Settings;

/// Serve images from a folder, as an OCI registry
#[derive(Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Serve(serve::Arguments),
}

pub(crate) fn run(arguments: &Arguments, settings: &Settings) -> Result {
    match &arguments.command {
        Command::Serve(arguments) => serve::run(arguments, settings),
    }
}
