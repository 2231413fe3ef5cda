//! The smallest program that can use the sandbox. Tests need it, because the helper is this program started again, and
//! because a test harness has threads and so cannot enter a user namespace.
//!
//! `launchway-sandbox-probe [OPTION…] ROOT COMMAND…` runs a command over a root directory and ends as the command did.
//! Options: `--rootless` enters a user namespace first; `--upper DIR` and `--work DIR` keep the changes; `--uid N`.

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use launchway_sandbox::{Exit, RunSpec, Sandbox, SandboxError, Stdio, Stream};

fn main() -> ExitCode {
    launchway_sandbox::run_if_helper();
    let mut spec = RunSpec::new(Vec::new(), Vec::new());
    let mut words = std::env::args_os().skip(1);
    loop {
        let Some(word) = words.next() else {
            return usage();
        };
        match word.to_str() {
            Some("--rootless") => match launchway_sandbox::enter_user_namespace() {
                Ok(mapping) => println!("ids: {mapping:?}"),
                Err(error) => return complain(&error),
            },
            Some("--upper") => spec.upper = words.next().map(PathBuf::from),
            Some("--work") => spec.work = words.next().map(PathBuf::from),
            Some("--uid") => match words.next().and_then(|word| word.to_str()?.parse().ok()) {
                Some(uid) => spec.user.uid = uid,
                None => return usage(),
            },
            _ => {
                spec.lower = vec![PathBuf::from(word)];
                break;
            }
        }
    }
    spec.argv = words.collect::<Vec<OsString>>();
    match run(&spec) {
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

fn run(spec: &RunSpec) -> Result<Exit, SandboxError> {
    let pass_on = |stream, bytes: &[u8]| {
        // A reader that is gone is no reason to end the command differently.
        let _ = match stream {
            Stream::Stdout => std::io::stdout().write_all(bytes),
            Stream::Stderr => std::io::stderr().write_all(bytes),
        };
    };
    Sandbox::new(PathBuf::from("/proc/self/exe"))
        .spawn(spec, Stdio::to(pass_on))?
        .wait()
}

fn usage() -> ExitCode {
    eprintln!(
        "usage: launchway-sandbox-probe [--rootless] [--upper DIR --work DIR] [--uid N] ROOT COMMAND…"
    );
    ExitCode::from(2)
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
