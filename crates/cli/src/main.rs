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
    allow_many_files();
    match commands::Launchway::try_parse() {
        Ok(arguments) => commands::run(arguments),
        Err(error) => commands::meant(error).exit(),
    }
}

/// A connection takes up to three descriptors, and a walk down a tree one for each directory; the usual soft limit of
/// 1024 is for programs that use select(2). Where it cannot be raised, connections wait for each other.
fn allow_many_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    let _ = setrlimit(Resource::Nofile, raised);
}
