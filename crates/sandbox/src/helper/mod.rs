//! The helper: a fresh, single-threaded process of this program that turns an order into a running command.
//!
//! It goes through three processes. The *supervisor* is what the caller started: it leaves the caller's namespaces, stacks the layers,
//! watches the caller and the clock, and reports. Its child is *init*, process 1 of the sandbox, which enters the root
//! and reaps. Init's child becomes the *command*. Init dies with the supervisor, and everything in the sandbox dies with
//! init, so no end of the caller leaves a process or a mount behind.

mod cgroup;
mod cgroup_view;
mod command;
mod devices;
pub(crate) mod fuse;
mod hierarchy;
mod init;
pub(crate) mod mounts;
pub(crate) mod overlay;
mod resolve;
mod root;
mod scratch;
pub(crate) mod seccomp;
mod stubs;
mod supervisor;
pub(crate) mod sys;

use std::ffi::OsStr;
use std::fmt::Display;
use std::io;

use crate::wire::Report;

pub use cgroup::sweep_left_groups;
pub(crate) use cgroup::trial as control_group_trial;

/// First word of the command line of a process that is to be the helper.
pub(crate) const MARKER: &str = "launchway-sandbox";
/// The same, once the program runs from a read-only mount of itself.
const SHIELDED_MARKER: &str = "launchway-sandbox-shielded";
/// First word of the command line of a process that is to try what the machine allows.
pub(crate) const TRIAL_MARKER: &str = "launchway-sandbox-trial";

/// Has to be the first thing `main` does: when this process was started as the helper of a run it becomes that and
/// never returns. It must happen before any thread is started.
pub fn run_if_helper() {
    let name = std::env::args_os().next();
    if name.as_deref() == Some(OsStr::new(MARKER)) {
        supervisor::shield()
    } else if name.as_deref() == Some(OsStr::new(SHIELDED_MARKER)) {
        supervisor::run()
    } else if name.as_deref() == Some(OsStr::new(TRIAL_MARKER)) {
        crate::trial::run()
    }
}

/// A step of the preparation that failed.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) step: String,
    pub(crate) source: io::Error,
}

impl Refused {
    fn report(&self) -> Report {
        // Everything here comes from the kernel; what does not is a sandbox this program cannot build at all.
        Report::Failed {
            step: self.step.clone(),
            errno: self.source.raw_os_error().unwrap_or(libc::ENOSYS),
        }
    }
}

/// Says which step a kernel's answer belongs to.
trait Step<T> {
    fn step(self, step: impl Display) -> Result<T, Refused>;
}

impl<T, E: Into<io::Error>> Step<T> for Result<T, E> {
    fn step(self, step: impl Display) -> Result<T, Refused> {
        self.map_err(|source| Refused {
            step: step.to_string(),
            source: source.into(),
        })
    }
}
