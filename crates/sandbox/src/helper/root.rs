//! The root of a run, in whichever way its layers are stacked, and what is left to do when the run is over.

use std::os::fd::{AsFd, OwnedFd};

use super::fuse::{self, Daemon, Layers};
use super::mounts::{self, Target};
use super::overlay;
use super::scratch::{self, Scratch};
use super::stubs::Stubs;
use super::{Refused, Step, devices, sys};
use crate::spec::{RunSpec, Stacking};

/// Everything that is mounted, attached nowhere yet. It goes to the sandbox's first process.
pub(super) struct Root {
    scratch: Scratch,
    targets: Vec<Target>,
    root: OwnedFd,
}

/// What stays with the supervisor.
#[derive(Default)]
pub(super) struct Leftovers {
    daemon: Option<Daemon>,
    stubs: Option<(Stubs, OwnedFd)>,
}

/// Stacks the layers and makes the mount points.
pub(super) fn prepare(spec: &RunSpec) -> Result<(Root, Leftovers), Refused> {
    let scratch = Scratch::mount()?;
    let targets = mounts::plan(spec, &scratch)?;
    let mut leftovers = Leftovers::default();
    let root = match (&spec.stacking, &spec.upper, &spec.work) {
        (Stacking::Overlay, ..) => overlay::mount_root(spec, &scratch, &targets)?,
        (Stacking::Fuse { program }, Some(upper), Some(work)) => {
            let layers = Layers {
                lower: &spec.lower,
                upper,
                work,
            };
            let (root, daemon) = fuse::mount(program, &layers, sys::MOUNT_NO_DEVICES)?;
            leftovers.daemon = Some(daemon);
            root
        }
        (Stacking::Copy, Some(upper), _) => mounts::clone_tree(upper, sys::MOUNT_NO_DEVICES)
            .step(format_args!("mounting the copy {}", upper.display()))?,
        (Stacking::Fuse { .. } | Stacking::Copy, ..) => {
            return Err(std::io::Error::from_raw_os_error(libc::EINVAL))
                .step("finding the upper directory");
        }
    };
    if let (Stacking::Fuse { .. } | Stacking::Copy, Some(upper)) = (&spec.stacking, &spec.upper) {
        let stubs = Stubs::make(root.as_fd(), &targets)?;
        let upper = scratch::open_host_directory(upper).step("opening the upper directory")?;
        leftovers.stubs = Some((stubs, upper));
    }
    let root = Root {
        scratch,
        targets,
        root,
    };
    Ok((root, leftovers))
}

impl Root {
    /// Makes it the root of this process and of all that it starts.
    pub(super) fn enter(self, shm_size: Option<u64>) -> Result<(), Refused> {
        let root = self.root.as_fd();
        mounts::attach_over_root(root).step("attaching the root")?;
        devices::mount_kernel_file_systems(root, &self.scratch, shm_size)?;
        mounts::mount_targets(root, &self.targets)?;
        mounts::pivot(root)
    }
}

impl Leftovers {
    /// To be done when nothing of the run is alive any more.
    pub(super) fn clear(self) -> Result<(), Refused> {
        let in_place = self.daemon.is_none();
        if let Some(daemon) = self.daemon {
            daemon.end();
        }
        let Some((stubs, upper)) = self.stubs else {
            return Ok(());
        };
        if in_place {
            stubs.unmount();
        }
        stubs.remove(upper.as_fd())
    }
}
