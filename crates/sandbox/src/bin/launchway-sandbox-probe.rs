//! The smallest program that can use the sandbox: tests start their runs through it, as it is what the helper runs from.
//!
//! `launchway-sandbox-probe ROOT COMMAND…` runs a command over a root directory whose changes are thrown away, and ends
//! as the command did. With `--rootless` in front it first enters a user namespace.

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use launchway_sandbox::{Exit, RunSpec, Sandbox, SandboxError, Stdio, Stream};

fn main() -> ExitCode {
    launchway_sandbox::run_if_helper();
    let mut words = std::env::args_os().skip(1).peekable();
    if words.next_if(|word| word == "--rootless").is_some() {
        match launchway_sandbox::enter_user_namespace() {
            Ok(mapping) => eprintln!("ids: {mapping:?}"),
            Err(error) => return complain(&error),
        }
    }
    let Some(root) = words.next().map(PathBuf::from) else {
        eprintln!("usage: launchway-sandbox-probe [--rootless] ROOT COMMAND…");
        return ExitCode::from(2);
    };
    match run(root, words.collect()) {
        Ok(Exit::Code(code)) => ExitCode::from(u8::try_from(code).unwrap_or(1)),
        Ok(other) => {
            eprintln!("{other:?}");
            ExitCode::FAILURE
        }
        Err(SandboxError::Exec(error)) => {
            complain(&error);
            ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(126))
        }
        Err(error) => complain(&error),
    }
}

fn run(root: PathBuf, command: Vec<OsString>) -> Result<Exit, SandboxError> {
    let spec = RunSpec::new(vec![root], command);
    let pass_on = |stream, bytes: &[u8]| {
        // A reader that is gone is no reason to end the command differently.
        let _ = match stream {
            Stream::Stdout => std::io::stdout().write_all(bytes),
            Stream::Stderr => std::io::stderr().write_all(bytes),
        };
    };
    Sandbox::new(PathBuf::from("/proc/self/exe"))
        .spawn(&spec, Stdio::to(pass_on))?
        .wait()
}

fn complain(error: &dyn std::error::Error) -> ExitCode {
    eprint!("{error}");
    let mut source = error.source();
    while let Some(cause) = source {
        eprint!(": {cause}");
        source = cause.source();
    }
    eprintln!();
    ExitCode::FAILURE
}
