//! What one run in the sandbox consists of. Owns the description only; it knows nothing of how the kernel is asked.

use std::ffi::OsString;
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

/// One command and everything it may see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunSpec {
    /// Layer directories in overlayfs form, the topmost first. May be empty when `upper` holds the whole root.
    pub lower: Vec<PathBuf>,
    pub stacking: Stacking,
    /// Where changes go. `None` gives the command a throw-away upper directory in memory, which the kernel's overlayfs
    /// alone can do.
    pub upper: Option<PathBuf>,
    /// Overlayfs' work directory, on the file system of `upper`. Required when `upper` is given.
    pub work: Option<PathBuf>,
    /// Mounted over the root, shallow targets first and otherwise in this order.
    pub mounts: Vec<MountSpec>,
    /// The command. A first word without a slash is looked up in the `PATH` of `env`, inside the root.
    pub argv: Vec<OsString>,
    /// The whole environment of the command: nothing is inherited and nothing is added.
    pub env: Vec<(OsString, OsString)>,
    /// The working directory inside the root. It must exist.
    pub cwd: PathBuf,
    pub user: UserIds,
    /// Name of the machine as the command sees it.
    pub hostname: String,
    pub network: Network,
    /// File to show as `/etc/resolv.conf`. `None` shows the host's, if it has one.
    pub resolv_conf: Option<PathBuf>,
    /// File to show as `/etc/hosts`. `None` shows a generated one that knows `localhost` and `hostname`.
    pub hosts: Option<PathBuf>,
    /// More lines of the generated `/etc/hosts`.
    pub extra_hosts: Vec<(String, IpAddr)>,
    /// Bytes in `/dev/shm`. `None` is Docker's 64 MiB.
    pub shm_size: Option<u64>,
    /// What the run may use at most.
    pub limits: Limits,
    /// After this long the whole process tree is killed.
    pub timeout: Option<Duration>,
    /// Sets `no_new_privs`. Off in BuildKit's RUN, where `sudo` must work.
    pub no_new_privileges: bool,
}

impl RunSpec {
    /// A run as root with the host's network, an empty environment and `/` as working directory, whose changes are
    /// thrown away.
    #[must_use]
    pub fn new(lower: Vec<PathBuf>, argv: Vec<OsString>) -> Self {
        Self {
            lower,
            stacking: Stacking::Overlay,
            upper: None,
            work: None,
            mounts: Vec::new(),
            argv,
            env: Vec::new(),
            cwd: PathBuf::from("/"),
            user: UserIds::default(),
            hostname: String::from("buildkitsandbox"),
            network: Network::Host,
            resolv_conf: None,
            hosts: None,
            extra_hosts: Vec::new(),
            shm_size: None,
            limits: Limits::default(),
            timeout: None,
            no_new_privileges: false,
        }
    }
}

/// How layers become one root file system.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Stacking {
    /// The kernel's overlayfs.
    #[default]
    Overlay,
    /// The program `fuse-overlayfs`, at an absolute path.
    Fuse { program: PathBuf },
    /// Not at all: `lower` is empty, and `upper` holds a copy of the whole root.
    Copy,
}

/// Something mounted into the root for the length of one run. Targets are resolved inside the root, links included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MountSpec {
    /// A file or directory of the host. Device nodes below it are never usable.
    Bind {
        source: PathBuf,
        target: PathBuf,
        read_only: bool,
    },
    /// A part of other layers, stacked by overlayfs and seen nowhere else. Device nodes below it are never usable.
    Layers(LayersMount),
    /// An empty directory in memory; `size` is in bytes and `mode` holds the 12 permission bits.
    Tmpfs {
        target: PathBuf,
        size: Option<u64>,
        mode: u32,
    },
    /// A file that cannot be changed and stands in memory only, in mounts that nothing outside of the run can see. `mode`
    /// holds the 12 permission bits.
    File {
        content: Content,
        target: PathBuf,
        mode: u32,
        uid: u32,
        gid: u32,
    },
}

/// What of other layers is mounted where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayersMount {
    /// The topmost first; at least one.
    pub lower: Vec<PathBuf>,
    /// The upper and the work directory for changes; without them nothing can be changed.
    pub changes: Option<(PathBuf, PathBuf)>,
    /// What of the layers is mounted, relative to their root and free of links; empty for all.
    pub path: PathBuf,
    /// A directory, as opposed to anything else.
    pub directory: bool,
    pub target: PathBuf,
}

impl MountSpec {
    pub(crate) fn target(&self) -> &PathBuf {
        match self {
            Self::Bind { target, .. } | Self::Tmpfs { target, .. } | Self::File { target, .. } => {
                target
            }
            Self::Layers(layers) => &layers.target,
        }
    }
}

/// Bytes that may be a secret: they are not shown when what holds them is printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Content(pub Vec<u8>);

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

/// Processes and threads that a run may have at once when nothing else is said. No build that we know of comes near it,
/// and a machine survives it.
pub const DEFAULT_PIDS: u32 = 16_384;

/// What a run may use at most. A limit that is given is kept, or the run is refused.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Bytes.
    pub memory: Option<u64>,
    /// Bytes of memory and swap together; `u64::MAX` is no limit. `None` is twice `memory`, if the kernel counts swap.
    pub memory_and_swap: Option<u64>,
    pub pids: Pids,
    /// Thousandths of a processor.
    pub cpus: Option<u64>,
    /// Limits of each process, by the names Docker gives them.
    pub resources: Vec<ResourceLimit>,
    /// The control group to make that of the run in, below the root of each hierarchy. `None` is the caller's.
    pub cgroup_parent: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pids {
    /// [`DEFAULT_PIDS`], where the machine can do it.
    #[default]
    Default,
    Limit(u32),
    Unlimited,
}

/// `None` is no limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResourceLimit {
    pub name: String,
    pub soft: Option<u64>,
    pub hard: Option<u64>,
}

/// The limits that a run came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LimitsHit {
    /// The kernel killed a process for want of memory.
    pub memory: bool,
    /// A process could not be started.
    pub pids: bool,
}

/// Numeric identity of the command.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserIds {
    pub uid: u32,
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// The network namespace of the caller.
    Host,
    /// A network namespace of its own in which only the loopback interface is up.
    None,
}

/// How the command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    Code(i32),
    /// Killed by this signal; 9 also when it was killed through [`crate::Killer`].
    Signal(i32),
    TimedOut,
}

impl Exit {
    #[must_use]
    pub fn success(self) -> bool {
        self == Self::Code(0)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    Stdout,
    Stderr,
}
