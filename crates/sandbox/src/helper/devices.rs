//! `/proc`, `/sys` and `/dev`, and what of them a command must not see or change: the same as in Docker's containers.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, chmodat, fstat, makedev, mkdirat, mknodat, openat, symlinkat,
};
use rustix::io::Errno;
use rustix::mount::{OpenTreeFlags, open_tree};

use super::mounts::{clone_tree, mount_at, mount_on, new_file_system};
use super::resolve::{open_in_root, open_path};
use super::scratch::Scratch;
use super::{Refused, Step, cgroup_view, sys};

/// Shown empty.
const MASKED: [&str; 12] = [
    "proc/acpi",
    "proc/asound",
    "proc/interrupts",
    "proc/kcore",
    "proc/keys",
    "proc/latency_stats",
    "proc/sched_debug",
    "proc/scsi",
    "proc/timer_list",
    "proc/timer_stats",
    "sys/devices/virtual/powercap",
    "sys/firmware",
];

/// Shown, but not to be written.
const READ_ONLY: [&str; 5] = [
    "proc/bus",
    "proc/fs",
    "proc/irq",
    "proc/sys",
    "proc/sysrq-trigger",
];

/// The devices there are: name, major and minor number. Only these mounts allow devices at all: a node that a command
/// makes cannot be opened.
const NODES: [(&str, u32, u32); 6] = [
    ("null", 1, 3),
    ("zero", 1, 5),
    ("full", 1, 7),
    ("random", 1, 8),
    ("urandom", 1, 9),
    ("tty", 5, 0),
];

const LINKS: [(&str, &str); 6] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("core", "/proc/kcore"),
    ("ptmx", "pts/ptmx"),
];

pub(super) const LOCKED_DOWN: u64 =
    sys::MOUNT_NO_SETUID | sys::MOUNT_NO_DEVICES | sys::MOUNT_NO_EXEC;

pub(super) fn mount_kernel_file_systems(
    root: BorrowedFd<'_>,
    scratch: &Scratch,
    shm_size: Option<u64>,
) -> Result<(), Refused> {
    let proc = process_files().step("mounting the process information")?;
    mount_at(root, proc.as_fd(), Path::new("/proc"), true).step("mounting on /proc")?;
    let sys = system_files(scratch)?;
    mount_at(root, sys.as_fd(), Path::new("/sys"), true).step("mounting on /sys")?;
    cgroup_view::mount(root);
    let nodes = Nodes::new();
    device_files(root, shm_size, &nodes)?;
    for path in READ_ONLY {
        protect(root, path).step(format_args!("protecting /{path}"))?;
    }
    for path in MASKED {
        mask(root, path, scratch, &nodes)?;
    }
    for path in throttling(root) {
        mask(root, &path, scratch, &nodes)?;
    }
    Ok(())
}

/// How hot each processor was tells one tenant of a machine what the others do.
fn throttling(root: BorrowedFd<'_>) -> Vec<String> {
    const PROCESSORS: &str = "sys/devices/system/cpu";
    let Ok(directory) = open_in_root(
        root,
        Path::new(PROCESSORS),
        OFlags::RDONLY | OFlags::DIRECTORY,
    )
    .and_then(|handle| rustix::fs::Dir::read_from(&handle)) else {
        return Vec::new();
    };
    directory
        .flatten()
        .filter_map(|entry| entry.file_name().to_str().ok().map(str::to_owned))
        .filter(|name| {
            name.strip_prefix("cpu").is_some_and(|number| {
                !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit())
            })
        })
        .map(|name| format!("{PROCESSORS}/{name}/thermal_throttle"))
        .collect()
}

/// Shows the processes of this sandbox. A user namespace may only have that where the host's own view is unmasked;
/// otherwise the host's view is all there is, and it is no more than the user could see anyway.
fn process_files() -> std::io::Result<OwnedFd> {
    match new_file_system("proc", &[], LOCKED_DOWN) {
        Err(Errno::PERM) => clone_tree(Path::new("/proc"), LOCKED_DOWN),
        other => other.map_err(Into::into),
    }
}

/// A user namespace with the host's network may not mount its own, and gets the host's with all that is mounted there.
fn system_files(scratch: &Scratch) -> Result<OwnedFd, Refused> {
    match new_file_system("sysfs", &[], LOCKED_DOWN | sys::MOUNT_READ_ONLY) {
        Err(Errno::PERM) => {}
        other => return other.step("mounting the system information"),
    }
    match clone_tree(Path::new("/sys"), LOCKED_DOWN | sys::MOUNT_READ_ONLY) {
        Ok(host) => Ok(host),
        // Builds hardly ever look there.
        Err(_) => scratch.empty_directory(),
    }
}

fn device_files(root: BorrowedFd<'_>, shm_size: Option<u64>, nodes: &Nodes) -> Result<(), Refused> {
    let memory = |mode, size, attributes| {
        new_file_system(
            "tmpfs",
            &[("mode", Some(mode)), ("size", Some(size))],
            attributes,
        )
    };
    let devices = memory(
        "0755",
        "65536k",
        sys::MOUNT_NO_SETUID | sys::MOUNT_NO_DEVICES,
    )
    .step("mounting the device files")?;
    let fill = || {
        for (name, ..) in NODES {
            openat(
                &devices,
                name,
                OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC,
                Mode::from_raw_mode(0o666),
            )?;
        }
        // As with runc, there is no core where the kernel was built without it.
        let core = Path::new("/proc/kcore").exists();
        for (name, target) in LINKS
            .into_iter()
            .filter(|(name, _)| *name != "core" || core)
        {
            symlinkat(target, &devices, name)?;
        }
        for name in ["pts", "shm", "mqueue"] {
            mkdirat(&devices, name, Mode::from_raw_mode(0o755))?;
        }
        Ok::<_, Errno>(())
    };
    fill().step("preparing the device files")?;
    mount_at(root, devices.as_fd(), Path::new("/dev"), true).step("mounting on /dev")?;

    let inside = |name: &str, mount: BorrowedFd<'_>| {
        let place = openat(
            &devices,
            name,
            OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .step(format_args!("opening /dev/{name}"))?;
        mount_on(mount, place.as_fd()).step(format_args!("mounting on /dev/{name}"))
    };
    for (name, ..) in NODES {
        match nodes.mount(name) {
            Ok(node) => inside(name, node.as_fd())?,
            // Without a terminal device programs behave as without a terminal, which there is not anyway.
            Err(Errno::NOENT) if name == "tty" => {}
            Err(error) => return Err(error).step(format_args!("making /dev/{name}")),
        }
    }
    let options = [
        ("newinstance", None),
        ("ptmxmode", Some("0666")),
        ("mode", Some("0620")),
        ("gid", Some("5")),
    ];
    // Group 5 owns terminals; a user namespace with a single id does not have it.
    let terminals = new_file_system(
        "devpts",
        &options,
        sys::MOUNT_NO_SETUID | sys::MOUNT_NO_EXEC,
    )
    .or_else(|_| {
        new_file_system(
            "devpts",
            &options[..3],
            sys::MOUNT_NO_SETUID | sys::MOUNT_NO_EXEC,
        )
    })
    .step("mounting the terminals")?;
    inside("pts", terminals.as_fd())?;
    let size = shm_size.map_or_else(|| String::from("65536k"), |size| size.to_string());
    let shared = memory("1777", &size, LOCKED_DOWN).step("mounting the shared memory")?;
    inside("shm", shared.as_fd())?;
    // Kernels may be built without message queues.
    if let Ok(queues) = new_file_system("mqueue", &[], LOCKED_DOWN) {
        inside("mqueue", queues.as_fd())?;
    }
    Ok(())
}

/// Where device nodes come from: a file system of our own, so that a command that changes their modes or owners does not
/// change the host's. A user namespace may not make nodes; there the host's are shown, which belong to nobody inside.
struct Nodes(Option<OwnedFd>);

impl Nodes {
    fn new() -> Self {
        let make = || {
            // Not on the mount: here devices are what it is for.
            let own = new_file_system(
                "tmpfs",
                &[("mode", Some("0755")), ("size", Some("4k"))],
                sys::MOUNT_NO_SETUID | sys::MOUNT_NO_EXEC,
            )?;
            for (name, major, minor) in NODES {
                mknodat(
                    &own,
                    name,
                    FileType::CharacterDevice,
                    Mode::from_raw_mode(0o666),
                    makedev(major, minor),
                )?;
                chmodat(&own, name, Mode::from_raw_mode(0o666), AtFlags::empty())?;
            }
            Ok::<_, Errno>(own)
        };
        Self(make().ok())
    }

    /// A mount of one node.
    fn mount(&self, name: &str) -> rustix::io::Result<OwnedFd> {
        match &self.0 {
            Some(own) => open_tree(
                own,
                name,
                OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC,
            ),
            None => host_node(OsStr::new(name)),
        }
    }
}

/// A mount of one of the host's device nodes.
fn host_node(name: &OsStr) -> rustix::io::Result<OwnedFd> {
    let node = open_tree(
        rustix::fs::CWD,
        Path::new("/dev").join(name),
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC,
    )?;
    if FileType::from_raw_mode(fstat(&node)?.st_mode) == FileType::CharacterDevice {
        Ok(node)
    } else {
        Err(Errno::NODEV)
    }
}

/// Covers a path with a read-only mount of itself.
fn protect(root: BorrowedFd<'_>, path: &str) -> std::io::Result<()> {
    let place = match open_path(root, Path::new(path)) {
        Ok(place) => place,
        Err(Errno::NOENT) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    let mount = open_tree(
        &place,
        "",
        OpenTreeFlags::OPEN_TREE_CLONE
            | OpenTreeFlags::OPEN_TREE_CLOEXEC
            | OpenTreeFlags::AT_RECURSIVE
            | OpenTreeFlags::AT_EMPTY_PATH,
    )?;
    sys::set_mount_attributes(mount.as_fd(), LOCKED_DOWN | sys::MOUNT_READ_ONLY)?;
    Ok(mount_on(mount.as_fd(), place.as_fd())?)
}

fn mask(root: BorrowedFd<'_>, path: &str, scratch: &Scratch, nodes: &Nodes) -> Result<(), Refused> {
    let doing = || format!("masking /{path}");
    let place = match open_path(root, Path::new(path)) {
        Ok(place) => place,
        Err(Errno::NOENT) => return Ok(()),
        Err(error) => return Err(error).step(doing()),
    };
    let kind = FileType::from_raw_mode(fstat(&place).step(doing())?.st_mode);
    let cover = if kind == FileType::Directory {
        scratch.empty_directory()?
    } else {
        nodes.mount("null").step(doing())?
    };
    mount_on(cover.as_fd(), place.as_fd()).step(doing())
}
