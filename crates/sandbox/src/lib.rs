//! Runs one command in a root filesystem made of layers, cut off from the host.
//!
//! Owns: namespaces, mounts, capabilities, the syscall filter, the control group and the process tree of a run, and entering a user namespace
//! for people who are not root. It is the only crate with unsafe code. It must not know about Dockerfiles, images or
//! registries: it is told directories, a command and ids.

mod binfmt;
mod elf;
mod error;
mod helper;
mod host;
mod obstacle;
mod sandbox;
mod spec;
mod stacking;
mod subordinate;
mod trial;
mod tried;
mod user_namespace;
mod wire;

pub use binfmt::{BinfmtStatus, binfmt_status};
pub use elf::Machine;
pub use error::{ExecError, ExecFailure, SandboxError};
pub use helper::{run_if_helper, sweep_left_groups};
pub use host::{Finding, FindingState, host_findings};
pub use sandbox::{Killer, MOST_LAYERS, OutputSink, Running, Sandbox, Stdio};
pub use spec::{
    Content, DEFAULT_PIDS, Exit, LayersMount, Limits, LimitsHit, MountSpec, Network, Pids,
    ResourceLimit, RunSpec, Stacking, Stream, UserIds,
};
pub use stacking::{PassedOver, StackingChoice, StackingWish, choose_stacking};
pub use user_namespace::{
    IdMapping, UserNamespaceError, enter_user_namespace, id_mapping, user_namespace_needed,
};
