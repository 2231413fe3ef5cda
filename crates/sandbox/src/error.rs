//! What can go wrong around a run. A command that ran and failed is not an error but an [`crate::Exit`].

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use crate::elf::Machine;

#[derive(Debug, Error)]
pub enum SandboxError {
    /// The description of the run cannot be carried out by any kernel.
    #[error("the run description is unusable: {0}")]
    Spec(String),
    #[error("starting the sandbox helper failed")]
    Start(#[source] io::Error),
    /// One step of preparing the sandbox was refused by the kernel.
    #[error("preparing the sandbox failed: {step}")]
    Setup { step: String, source: io::Error },
    /// A limit that was asked for cannot be kept on this machine.
    #[error("the limit of {limit} cannot be kept: {why}")]
    Limit { limit: String, why: String },
    #[error(transparent)]
    Exec(#[from] ExecError),
    /// The helper ended without a report, for instance because something killed it.
    #[error("the sandbox helper ended without a report ({0})")]
    Lost(String),
}

/// The command could not be started inside the root.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("starting {} failed: {cause}", program.display())]
pub struct ExecError {
    pub program: PathBuf,
    pub cause: ExecFailure,
}

impl ExecError {
    /// What a shell would answer: 127 when there is nothing to run, 126 when it cannot be run.
    #[must_use]
    pub fn exit_code(&self) -> i32 {
        match self.cause {
            ExecFailure::NotFound | ExecFailure::NotInPath => 127,
            _ => 126,
        }
    }
}

#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ExecFailure {
    #[error("no such file")]
    NotFound,
    #[error("it is in no directory of PATH")]
    NotInPath,
    #[error("permission denied")]
    PermissionDenied,
    #[error("it is a directory")]
    Directory,
    /// The file is there; what its first line or its program header asks for is not.
    #[error("its interpreter {} does not exist", .0.display())]
    InterpreterMissing(PathBuf),
    /// Neither the kernel nor a registered emulator can run it. The machine is that of the program, or of the
    /// interpreter that a script names.
    #[error("exec format error ({})", .0.map_or_else(|| String::from("not a program"), |machine| format!("a program for {machine}")))]
    Format(Option<Machine>),
    #[error("{}", io::Error::from_raw_os_error(*.0))]
    Other(i32),
}
