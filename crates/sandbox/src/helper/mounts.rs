//! Everything mounted over the root of the layers, and the step into that root.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, StatxFlags, statat, statx};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags,
    fsconfig_create, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, move_mount,
    open_tree, unmount,
};

use super::scratch::Scratch;
use super::{Refused, Step, overlay, resolve, sys};
use crate::spec::{MountSpec, RunSpec};

/// A place in the root that something is mounted on.
pub(super) struct Target {
    pub(super) path: PathBuf,
    /// A directory, as opposed to anything else.
    pub(super) directory: bool,
    /// `None` for the kernel's file systems, which are mounted on their own.
    source: Option<Source>,
}

enum Source {
    Ready(OwnedFd),
    Bind { source: PathBuf, read_only: bool },
    Tmpfs { size: Option<u64>, mode: u32 },
}

/// All mount points of a run, in the order of mounting.
pub(super) fn plan(spec: &RunSpec, scratch: &Scratch) -> Result<Vec<Target>, Refused> {
    let kernel = ["/proc", "/sys", "/dev"];
    let mut targets: Vec<Target> = kernel
        .into_iter()
        .map(|path| Target {
            path: PathBuf::from(path),
            directory: true,
            source: None,
        })
        .collect();

    let file = |path: &str, mount: OwnedFd| Target {
        path: PathBuf::from(path),
        directory: false,
        source: Some(Source::Ready(mount)),
    };
    // Copies, so that the command reads what is meant for it whatever the host's file looks like.
    let host = Path::new("/etc/resolv.conf");
    let resolv_conf = spec.resolv_conf.as_deref();
    let resolv_conf = resolv_conf.or(Some(host).filter(|path| path.exists()));
    if let Some(path) = resolv_conf {
        let content = std::fs::read(path).step(format_args!("reading {}", path.display()))?;
        targets.push(file(
            "/etc/resolv.conf",
            scratch.file("resolv.conf", &content)?,
        ));
    }
    let hosts = match spec.hosts.as_deref() {
        Some(path) => std::fs::read(path).step(format_args!("reading {}", path.display()))?,
        None => hosts(spec).into_bytes(),
    };
    targets.push(file("/etc/hosts", scratch.file("hosts", &hosts)?));

    let mut asked: Vec<&MountSpec> = spec.mounts.iter().collect();
    asked.sort_by_key(|mount| mount.target().components().count());
    for (number, mount) in asked.into_iter().enumerate() {
        targets.push(match mount {
            MountSpec::Bind {
                source,
                target,
                read_only,
            } => {
                let status = statat(CWD, source, AtFlags::empty()).step(format_args!(
                    "looking at {}, which is to be mounted",
                    source.display()
                ))?;
                Target {
                    path: target.clone(),
                    directory: FileType::from_raw_mode(status.st_mode) == FileType::Directory,
                    source: Some(Source::Bind {
                        source: source.clone(),
                        read_only: *read_only,
                    }),
                }
            }
            MountSpec::Layers(layers) => Target {
                path: layers.target.clone(),
                directory: layers.directory,
                source: Some(Source::Ready(overlay::mount_part(layers, scratch, number)?)),
            },
            MountSpec::Tmpfs { target, size, mode } => Target {
                path: target.clone(),
                directory: true,
                source: Some(Source::Tmpfs {
                    size: *size,
                    mode: *mode,
                }),
            },
            MountSpec::File {
                content,
                target,
                mode,
                uid,
                gid,
            } => Target {
                path: target.clone(),
                directory: false,
                source: Some(Source::Ready(scratch.file_with(
                    &format!("file-{number}"),
                    &content.0,
                    (*mode, *uid, *gid),
                )?)),
            },
        });
    }
    Ok(targets)
}

fn hosts(spec: &RunSpec) -> String {
    let mut text = format!(
        "127.0.0.1\tlocalhost {}\n::1\tlocalhost ip6-localhost ip6-loopback\n",
        spec.hostname
    );
    for (name, address) in &spec.extra_hosts {
        text.push_str(&format!("{address}\t{name}\n"));
    }
    text
}

/// Mounts what the run asked for.
pub(super) fn mount_targets(root: BorrowedFd<'_>, targets: &[Target]) -> Result<(), Refused> {
    for target in targets {
        let created;
        let mount = match &target.source {
            None => continue,
            Some(Source::Ready(mount)) => mount,
            Some(Source::Bind { source, read_only }) => {
                let attributes =
                    sys::MOUNT_NO_DEVICES | if *read_only { sys::MOUNT_READ_ONLY } else { 0 };
                created = clone_tree(source, attributes)
                    .step(format_args!("opening {} for mounting", source.display()))?;
                &created
            }
            Some(Source::Tmpfs { size, mode }) => {
                let (size, mode) = (
                    size.map(|size| size.to_string()),
                    format!("{:o}", mode & 0o7777),
                );
                let mut options = vec![("mode", Some(mode.as_str()))];
                options.extend(size.as_deref().map(|size| ("size", Some(size))));
                created = new_file_system(
                    "tmpfs",
                    &options,
                    sys::MOUNT_NO_DEVICES | sys::MOUNT_NO_SETUID,
                )
                .step(format_args!(
                    "mounting a file system in memory for {}",
                    target.path.display()
                ))?;
                &created
            }
        };
        mount_at(root, mount.as_fd(), &target.path, target.directory)
            .step(format_args!("mounting on {}", target.path.display()))?;
    }
    Ok(())
}

/// Mounts on a path inside the root, which is created when it does not exist.
pub(super) fn mount_at(
    root: BorrowedFd<'_>,
    mount: BorrowedFd<'_>,
    path: &Path,
    directory: bool,
) -> rustix::io::Result<()> {
    let place = resolve::mount_point(root, path, directory)?;
    mount_on(mount, place.as_fd())
}

pub(super) fn mount_on(mount: BorrowedFd<'_>, place: BorrowedFd<'_>) -> rustix::io::Result<()> {
    move_mount(
        mount,
        "",
        place,
        "",
        MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH,
    )
}

/// Attaches a mount on the root directory. Paths that start at the root go on below it, so nothing of the host is
/// hidden by that, and nothing finds the mount but who holds it.
pub(super) fn attach_over_root(mount: BorrowedFd<'_>) -> rustix::io::Result<()> {
    move_mount(mount, "", CWD, "/", MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
}

/// A mount of a part of the host, with all mounts below it, attached nowhere yet.
pub(super) fn clone_tree(path: &Path, attributes: u64) -> std::io::Result<OwnedFd> {
    let mount = open_tree(
        CWD,
        path,
        OpenTreeFlags::OPEN_TREE_CLONE
            | OpenTreeFlags::OPEN_TREE_CLOEXEC
            | OpenTreeFlags::AT_RECURSIVE,
    )?;
    sys::set_mount_attributes(mount.as_fd(), attributes)?;
    Ok(mount)
}

/// A mount of what a handle leads to, attached nowhere yet. Its own mount has to be attached.
pub(super) fn clone_handle(handle: BorrowedFd<'_>, attributes: u64) -> std::io::Result<OwnedFd> {
    let mount = open_tree(
        handle,
        "",
        OpenTreeFlags::OPEN_TREE_CLONE
            | OpenTreeFlags::OPEN_TREE_CLOEXEC
            | OpenTreeFlags::AT_EMPTY_PATH,
    )?;
    sys::set_mount_attributes(mount.as_fd(), attributes)?;
    Ok(mount)
}

/// A new file system, attached nowhere yet.
pub(crate) fn new_file_system(
    kind: &str,
    options: &[(&str, Option<&str>)],
    attributes: u64,
) -> rustix::io::Result<OwnedFd> {
    let context = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(&context, "source", kind)?;
    for (key, value) in options {
        match value {
            Some(value) => fsconfig_set_string(&context, *key, *value)?,
            None => fsconfig_set_flag(&context, *key)?,
        }
    }
    fsconfig_create(&context)?;
    finish_mount(context.as_fd(), attributes)
}

pub(super) fn finish_mount(
    context: BorrowedFd<'_>,
    attributes: u64,
) -> rustix::io::Result<OwnedFd> {
    let attributes =
        u32::try_from(attributes).map_or(MountAttrFlags::empty(), MountAttrFlags::from_bits_retain);
    fsmount(context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}

/// Makes the new root the only one there is.
pub(super) fn pivot(root: BorrowedFd<'_>) -> Result<(), Refused> {
    rustix::process::fchdir(root).step("entering the root")?;
    // The old root is put on top of the new one and taken away from there, so no directory is needed for it. On top of
    // the old one is the file system in memory, which has to go first.
    rustix::process::pivot_root(".", ".").step("changing the root")?;
    for _ in 0..2 {
        unmount(".", UnmountFlags::DETACH).step("leaving the host's mounts")?;
    }
    rustix::process::chdir("/").step("entering the root")?;
    check_alone(root).step("checking that the host's files are out of reach")
}

/// A mount on top of the root would be invisible to every path but `/..`, so that is looked at.
fn check_alone(root: BorrowedFd<'_>) -> std::io::Result<()> {
    let mount = |at: BorrowedFd<'_>, path: &str| {
        statx(
            at,
            path,
            AtFlags::EMPTY_PATH,
            StatxFlags::MNT_ID | StatxFlags::BASIC_STATS,
        )
        .map(|status| (status.stx_mnt_id, status.stx_ino))
    };
    let wanted = mount(root, "")?;
    if mount(CWD, "/..")? == wanted && mount(CWD, "..")? == wanted && mount(CWD, ".")? == wanted {
        Ok(())
    } else {
        Err(std::io::Error::from_raw_os_error(libc::EBUSY))
    }
}
