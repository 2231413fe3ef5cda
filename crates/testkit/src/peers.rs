//! Other people's tools, for tests that show we get along with them: crane, skopeo, oras, docker.
//!
//! They come from the project's `peers` script when it is there (named by `LAUNCHWAY_PEERS`, or in
//! the folder that is shared between checkouts), and otherwise from `PATH`. A machine without them
//! runs the tests all the same: such a test says what it lacks and passes.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Names the `peers` script.
pub const PEERS_VARIABLE: &str = "LAUNCHWAY_PEERS";

/// Names a file that collects what tests could not run here.
pub const SKIPPED_VARIABLE: &str = "LAUNCHWAY_SKIPPED";

/// A command that runs the tool, ready for arguments; `None` when this machine does not have it.
pub fn tool(name: &str) -> Option<Command> {
    let from_script = script().map(|script| {
        let mut command = Command::new(script);
        command.args(["run", name]);
        command
    });
    let from_path = || on_path(name).then(|| Command::new(name));
    // It starts itself once more to unpack a layer, and as the script starts it, by the script's
    // own loader, it does not find itself.
    if name == "buildah" {
        return from_path();
    }
    from_script
        .filter(|command| answers(command, name))
        .or_else(from_path)
}

/// The docker command line, pointed at a daemon that answers; `None` when there is none. Such a
/// daemon has to accept plain HTTP on 127.0.0.0/8, which docker does by default.
pub fn docker() -> Option<Command> {
    if !on_path("docker") {
        return None;
    }
    let mut command = Command::new("docker");
    if std::env::var_os("DOCKER_HOST").is_none()
        && let Some(host) = variable_of_script("DOCKER_HOST")
    {
        command.env("DOCKER_HOST", host);
    }
    let mut probe = copy_of(&command);
    probe.args(["version", "--format", "{{.Server.Version}}"]);
    succeeds(probe).then_some(command)
}

/// Host and port of the peers' registry, which has `library/debian:bookworm-slim`; `None` when there
/// is none.
pub fn registry() -> Option<String> {
    let named = std::env::var("PEERS_REGISTRY").ok();
    let registry = named.or_else(|| variable_of_script("PEERS_REGISTRY"))?;
    std::net::TcpStream::connect(&registry)
        .is_ok()
        .then_some(registry)
}

/// Tells on standard error that a test cannot run here, and why. Where [`SKIPPED_VARIABLE`] names a
/// file, it is written there too, for runners that keep the output of tests that pass to themselves.
pub fn skipped(test: &str, lacks: &str) {
    let line = format!("{test}: this machine has no {lacks} (set {PEERS_VARIABLE})\n");
    eprint!("skipped {line}");
    if let Some(path) = std::env::var_os(SKIPPED_VARIABLE)
        && let Ok(mut file) = File::options().append(true).create(true).open(path)
    {
        // Nothing is lost when this fails: the line is on standard error, too.
        let _ = file.write_all(line.as_bytes());
    }
}

fn script() -> Option<PathBuf> {
    let named = std::env::var_os(PEERS_VARIABLE).map(PathBuf::from);
    let shared = || {
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2)?;
        Some(workspace.join("../shared/tools/peers"))
    };
    named.or_else(shared).filter(|path| path.is_file())
}

/// The script may be there before what it runs is.
fn answers(command: &Command, name: &str) -> bool {
    let mut probe = copy_of(command);
    probe.arg(match name {
        "crane" | "oras" | "cosign" => "version",
        _ => "--version",
    });
    succeeds(probe)
}

fn variable_of_script(name: &str) -> Option<String> {
    let output = Command::new(script()?).arg("env").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let value = text
        .split_whitespace()
        .find_map(|word| word.strip_prefix(name)?.strip_prefix('='))?;
    Some(value.to_owned())
}

/// Whether a program of this name is on the `PATH`.
pub fn on_path(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| directory.join(name).is_file())
}

fn succeeds(mut command: Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

fn copy_of(command: &Command) -> Command {
    let mut copy = Command::new(command.get_program());
    copy.args(command.get_args());
    for (name, value) in command.get_envs() {
        if let Some(value) = value {
            copy.env(name, value);
        }
    }
    copy
}
