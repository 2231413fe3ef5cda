//! `RUN`.

use launchway_diagnostics::{Diagnostic, Spanned};

use super::flags::Takes;
use super::instruction::Reader;
use super::words::Split;
use crate::{CommandLine, MountFlag, Run, RunNetwork, codes, mount};

const FLAGS: [(&str, Takes); 4] = [
    ("mount", Takes::Values),
    ("network", Takes::Value),
    ("security", Takes::Value),
    (
        "device",
        Takes::Refused("devices of the host are not given to steps"),
    ),
];

pub(super) fn read(reader: &mut Reader, split: &Split<'_>) -> Option<Run> {
    let flags = reader.flags(split, &FLAGS);
    let mut mounts: Vec<MountFlag> = Vec::new();
    for flag in flags.values("mount") {
        match mount::parse(&flag, reader.escape, &mut reader.problems) {
            Ok(mount) => mounts.push(mount),
            Err(problem) => reader.problems.push(problem),
        }
    }
    let network = match flags.values("network").next() {
        None => RunNetwork::Default,
        Some(value) => network(&value, &mut reader.problems),
    };
    if let Some(value) = flags.values("security").next() {
        security(&value, &mut reader.problems);
    }
    let command = reader.command(split.arguments)?;
    // A shell that is told nothing does nothing; a list has to name a program.
    if matches!(&command, CommandLine::Exec(arguments) if arguments.is_empty()) {
        reader.arguments(split, "needs a command", "write `RUN command …`");
        return None;
    }
    let heredocs = match command {
        CommandLine::Shell(_) => split.arguments.heredocs().to_vec(),
        CommandLine::Exec(_) => Vec::new(),
    };
    Some(Run {
        command,
        heredocs,
        mounts,
        network,
    })
}

fn network(value: &Spanned<String>, problems: &mut Vec<Diagnostic>) -> RunNetwork {
    match value.as_str() {
        "default" => RunNetwork::Default,
        "none" => RunNetwork::None,
        "host" => RunNetwork::Host,
        _ => {
            problems.push(
                Diagnostic::error(codes::BAD_FLAG, "--network has no such mode")
                    .at(value.span, "not `default`, `none` or `host`"),
            );
            RunNetwork::Default
        }
    }
}

fn security(value: &Spanned<String>, problems: &mut Vec<Diagnostic>) {
    match value.as_str() {
        "sandbox" => {}
        "insecure" => problems.push(
            Diagnostic::error(codes::NOT_SUPPORTED, "RUN --security=insecure")
                .at(value.span, "steps never run without the sandbox"),
        ),
        _ => problems.push(
            Diagnostic::error(codes::BAD_FLAG, "--security has no such mode")
                .at(value.span, "not `sandbox`"),
        ),
    }
}
