//! `cargo xtask bench`: Launchway beside other builders, with the same work on the same machine.

mod contestants;
mod family;

use anyhow::Result;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand)]
enum What {
    /// The example's four variants: cold, after a version bump, and with nothing to do
    Family(family::Arguments),
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    match &arguments.what {
        What::Family(arguments) => family::run(arguments),
    }
}
