//! `launchway`: arguments in, exit code out. Everything else is a command's business.

mod commands;
mod csv;
mod failure;
mod family;
mod lacking;
mod limits;
mod places;
mod quantity;
mod report;
mod settings;
mod show_lint;
mod show_plan;
mod tidy;
mod toolbox;
mod versions;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    // A step of a build runs in a helper process, which is this program under another name.
    launchway_sandbox::run_if_helper();
    let arguments = commands::Launchway::parse();
    commands::run(arguments)
}
