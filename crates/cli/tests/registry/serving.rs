//! `launchway registry serve` as a process of its own.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_launchway");

pub(crate) struct Serving {
    child: Child,
    /// `127.0.0.1:port`.
    pub(crate) host: String,
}

impl Serving {
    /// With flags beside the root and the port.
    pub(crate) fn start(root: &Path, flags: &[&str]) -> Self {
        let mut child = Command::new(PROGRAM)
            .env_clear()
            .env("HOME", root)
            .args(["registry", "serve", "--listen", "127.0.0.1:0", "--root"])
            .arg(root)
            .args(flags)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("starting the registry");
        let stdout = child.stdout.take().expect("stdout is a pipe");
        let mut host = String::new();
        BufReader::new(stdout)
            .read_line(&mut host)
            .expect("reading the registry's address");
        let host = host.trim().to_owned();
        let serving = Self { child, host };
        assert!(!serving.host.is_empty(), "the registry did not start");
        serving
    }

    /// SIGKILL, and its end awaited: the root is free afterwards.
    pub(crate) fn kill(&mut self) {
        // It may have ended by itself; then there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.kill();
    }
}
