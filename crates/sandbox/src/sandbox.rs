//! The caller's side of a run: starts the helper, passes its output on, and tells how it ended.

use std::path::PathBuf;

use crate::error::SandboxError;
use crate::spec::{Exit, RunSpec, Stream};

/// Receives output as it comes, in pieces of no particular shape.
pub type OutputSink = Box<dyn FnMut(Stream, &[u8]) + Send>;

/// What the command reads, and where its output goes.
pub struct Stdio {
    /// `None` is an empty input.
    pub stdin: Option<Vec<u8>>,
    pub output: OutputSink,
}

impl Stdio {
    #[must_use]
    pub fn to(output: impl FnMut(Stream, &[u8]) + Send + 'static) -> Self {
        Self {
            stdin: None,
            output: Box::new(output),
        }
    }
}

/// Starts commands in sandboxes of their own.
#[derive(Clone, Debug)]
pub struct Sandbox {
    helper: PathBuf,
}

impl Sandbox {
    /// `helper_executable` calls [`crate::run_if_helper`] first thing in its `main`; `/proc/self/exe` is the usual one.
    #[must_use]
    pub fn new(helper_executable: PathBuf) -> Self {
        Self {
            helper: helper_executable,
        }
    }

    pub fn spawn(&self, spec: &RunSpec, stdio: Stdio) -> Result<Running, SandboxError> {
        let _ = (&self.helper, spec, stdio.stdin, stdio.output);
        Err(SandboxError::Lost(String::new()))
    }
}

/// A command under way. Dropping it kills the whole process tree.
#[derive(Debug)]
pub struct Running {}

impl Running {
    /// Waits until the command and everything it started are gone and all output was delivered.
    pub fn wait(&mut self) -> Result<Exit, SandboxError> {
        Err(SandboxError::Lost(String::new()))
    }

    #[must_use]
    pub fn killer(&self) -> Killer {
        Killer {}
    }
}

/// Ends a run from elsewhere.
#[derive(Clone, Debug)]
pub struct Killer {}

impl Killer {
    /// Kills the whole process tree at once. Does nothing when it is already gone.
    pub fn kill(&self) {}
}
