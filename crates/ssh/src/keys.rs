//! Keys that were given as files, in an `ssh-agent` of their own.
//!
//! OpenSSH's programs are used rather than a library: git needs them anyway for repositories that
//! are reached over ssh, they know every kind of key, and no private key is in our memory for longer
//! than it takes to hand it over.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::AgentError;

/// How long the agent may take to open its socket.
const PATIENCE: Duration = Duration::from_secs(10);

/// A running `ssh-agent`. It watches over a `cat` that ends when we do, however that happens, and the
/// agent ends a few seconds after that.
pub(crate) struct KeyAgent {
    socket: PathBuf,
    watched: Child,
}

impl KeyAgent {
    pub(crate) fn start(directory: &Path, keys: &[Vec<u8>]) -> Result<Self, AgentError> {
        let socket = directory.join("keys");
        let watched = Command::new("ssh-agent")
            .arg("-a")
            .arg(&socket)
            .arg("cat")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| missing("ssh-agent", "start ssh-agent", error))?;
        let mut agent = Self { socket, watched };
        agent.wait_for_socket()?;
        for key in keys {
            agent.add(key)?;
        }
        Ok(agent)
    }

    pub(crate) fn socket(&self) -> &Path {
        &self.socket
    }

    fn wait_for_socket(&mut self) -> Result<(), AgentError> {
        let started = Instant::now();
        while !self.socket.exists() {
            let ended = self
                .watched
                .try_wait()
                .map_err(AgentError::io("wait for ssh-agent"))?;
            if ended.is_some() || started.elapsed() > PATIENCE {
                let error = io::Error::other("it opened no socket");
                return Err(AgentError::io("start ssh-agent")(error));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
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
        drop(self.watched.stdin.take());
        let _ = self.watched.wait();
    }
}

fn missing(program: &'static str, act: &'static str, error: io::Error) -> AgentError {
    match error.kind() {
        io::ErrorKind::NotFound => AgentError::NotInstalled(program),
        _ => AgentError::io(act)(error),
    }
}
