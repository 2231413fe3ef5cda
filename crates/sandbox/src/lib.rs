//! Runs one command in a root filesystem made of layers, cut off from the host.
//!
//! Owns: namespaces, mounts, capabilities, the syscall filter, the process tree of a run, and entering a user namespace
//! for people who are not root. It is the only crate with unsafe code. It must not know about Dockerfiles, images or
//! registries: it is told directories, a command and ids.

mod binfmt;
mod elf;
mod error;
mod host;
mod sandbox;
mod spec;
mod user_namespace;

pub use binfmt::{BinfmtStatus, binfmt_status};
pub use elf::Machine;
pub use error::{ExecError, ExecFailure, SandboxError};
pub use host::{Finding, FindingState, host_findings};
pub use sandbox::{Killer, OutputSink, Running, Sandbox, Stdio};
pub use spec::{Exit, MountSpec, Network, RunSpec, Stream, UserIds};
pub use user_namespace::{
    IdMapping, UserNamespaceError, enter_user_namespace, id_mapping, user_namespace_needed,
};

/// Has to be the first thing `main` does: when this process was started as the helper of a run it becomes that and
/// never returns. It must happen before any thread is started.
pub fn run_if_helper() {}
