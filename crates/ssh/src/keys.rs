//! Keys that were given as files, in an `ssh-agent` of their own.
//!
//! OpenSSH's programs are used rather than a library: git needs them anyway for repositories that
//! are reached over ssh, they know every kind of key, and no private key is in our memory for longer
//! than it takes to hand it over.

use std::io::{self, Read, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::AgentError;

/// A running `ssh-agent`. It watches over a `cat` that ends when we do, however that happens, and the
/// agent ends a few seconds after that, where nobody is left to end it.
pub(crate) struct KeyAgent {
    socket: PathBuf,
    watched: Child,
    agent: Option<Pid>,
}

impl KeyAgent {
    pub(crate) fn start(directory: &Path, keys: &[Vec<u8>]) -> Result<Self, AgentError> {
        let socket = directory.join("keys");
        // What is watched tells its variables first, and with them which process the agent is.
        let mut watched = Command::new("ssh-agent")
            .arg("-a")
            .arg(&socket)
            .args(["cat", "/proc/self/environ", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| missing("ssh-agent", "start ssh-agent", error))?;
        let told = watched.stdout.take();
        let mut agent = Self {
            socket,
            watched,
            agent: None,
        };
        agent.agent = Some(process(told).map_err(AgentError::io("start ssh-agent"))?);
        for key in keys {
            agent.add(key)?;
        }
        Ok(agent)
    }

    pub(crate) fn socket(&self) -> &Path {
        &self.socket
    }

    /// Hands a key over without a file on the way, and without a question for its passphrase.
    fn add(&self, key: &[u8]) -> Result<(), AgentError> {
        let mut child = Command::new("ssh-add")
            .args(["-q", "-"])
            .env("SSH_AUTH_SOCK", &self.socket)
            .env("SSH_ASKPASS", "false")
            .env("SSH_ASKPASS_REQUIRE", "force")
            .env("LC_ALL", "C")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| missing("ssh-add", "start ssh-add", error))?;
        let mut input = child.stdin.take();
        if let Some(input) = &mut input {
            // What is no key is not read to its end.
            let _ = input.write_all(key);
            if !key.ends_with(b"\n") {
                let _ = input.write_all(b"\n");
            }
        }
        drop(input);
        let output = child
            .wait_with_output()
            .map_err(AgentError::io("wait for ssh-add"))?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        let said = said.lines().last().unwrap_or_default().trim();
        Err(AgentError::Key(match said {
            "" => "it has a passphrase, or is no private key".to_owned(),
            said => format!("ssh-add says: {said}"),
        }))
    }
}

impl Drop for KeyAgent {
    fn drop(&mut self) {
        if let Some(agent) = self.agent {
            let _ = kill_process(agent, Signal::TERM);
        }
        drop(self.watched.stdin.take());
        let _ = self.watched.wait();
    }
}

/// The process of the agent, out of the variables of what it watches.
fn process(told: Option<impl Read>) -> io::Result<Pid> {
    let mut told = told.ok_or(io::ErrorKind::BrokenPipe)?;
    let mut known = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        if let Some(agent) = agent_in(&known) {
            return Ok(agent);
        }
        match told.read(&mut buffer)? {
            0 => return Err(io::Error::other("it opened no socket")),
            length => known.extend_from_slice(&buffer[..length]),
        }
    }
}

fn agent_in(variables: &[u8]) -> Option<Pid> {
    const NAME: &[u8] = b"SSH_AGENT_PID=";
    let mut whole = variables.split_inclusive(|byte| *byte == 0);
    let variable = whole.find(|variable| variable.starts_with(NAME) && variable.ends_with(&[0]))?;
    let number = std::str::from_utf8(&variable[NAME.len()..variable.len() - 1]).ok()?;
    Pid::from_raw(number.parse().ok()?)
}

fn missing(program: &'static str, act: &'static str, error: io::Error) -> AgentError {
    match error.kind() {
        io::ErrorKind::NotFound => AgentError::NotInstalled(program),
        _ => AgentError::io(act)(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_agent_is_found_among_variables() {
        for (variables, number) in [
            (&b"PATH=/bin\0SSH_AGENT_PID=12\0X=1\0"[..], Some(12)),
            (b"SSH_AGENT_PID=12\0", Some(12)),
            // What follows has not come yet.
            (b"X=1\0SSH_AGENT_PID=1", None),
            (b"X=SSH_AGENT_PID=1\0", None),
            (b"SSH_AGENT_PID=x\0", None),
            (b"SSH_AGENT_PID=0\0", None),
            (b"", None),
        ] {
            let found = agent_in(variables).map(|pid| pid.as_raw_nonzero().get());
            assert_eq!(found, number, "{variables:?}");
        }
    }
}
