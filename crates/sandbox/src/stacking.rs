//! Which way of stacking layers works here, found out by trying.

use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags, mkdirat, openat, unlinkat};
use rustix::io::Errno;
use rustix::mount::{FsOpenFlags, fsconfig_create, fsconfig_set_flag, fsconfig_set_string, fsopen};

use crate::helper::fuse::{self, Layers};
use crate::helper::{Refused, overlay, sys};
use crate::spec::Stacking;
use crate::user_namespace::{self, IdMapping};

/// What the user asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StackingWish {
    /// The best that works.
    #[default]
    Auto,
    Overlay,
    Fuse,
    Copy,
}

/// The way that is used, and why none before it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StackingChoice {
    pub stacking: Stacking,
    /// Better ways that do not work here, the best first.
    pub passed_over: Vec<PassedOver>,
}

/// A way of stacking layers that does not work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PassedOver {
    pub name: &'static str,
    /// In a sentence without an end.
    pub why: String,
    /// What to do about it.
    pub remedy: String,
}

impl Stacking {
    /// `overlayfs`, `fuse-overlayfs` or `copy`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Overlay => "overlayfs",
            Self::Fuse { .. } => "fuse-overlayfs",
            Self::Copy => "copy",
        }
    }
}

impl fmt::Display for PassedOver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.why)
    }
}

/// Tries what there is, on the file system of `directory`, which exists. Needs the right to mount, and a process with a
/// single thread.
///
/// # Errors
/// When what the user asked for does not work.
pub fn choose_stacking(directory: &Path, wish: StackingWish) -> Result<StackingChoice, PassedOver> {
    let chosen = |stacking, passed_over| StackingChoice {
        stacking,
        passed_over,
    };
    let fuse = || {
        let program = find_program().ok_or_else(fuse_missing)?;
        try_fuse(directory, &program).map(|()| Stacking::Fuse { program })
    };
    match wish {
        StackingWish::Copy => Ok(chosen(Stacking::Copy, Vec::new())),
        StackingWish::Overlay => {
            try_overlay(directory).map(|()| chosen(Stacking::Overlay, Vec::new()))
        }
        StackingWish::Fuse => fuse().map(|stacking| chosen(stacking, Vec::new())),
        StackingWish::Auto => {
            let Err(overlay) = try_overlay(directory) else {
                return Ok(chosen(Stacking::Overlay, Vec::new()));
            };
            Ok(match fuse() {
                Ok(stacking) => chosen(stacking, vec![overlay]),
                Err(fuse) => chosen(Stacking::Copy, vec![overlay, fuse]),
            })
        }
    }
}

/// Mounts an overlay and does in it what steps do: changes a file, removes one, replaces a directory.
pub(crate) fn try_overlay(directory: &Path) -> Result<(), PassedOver> {
    let refused = |refused: Refused| overlay_refused(directory, &refused);
    let place = Place::make(directory).map_err(|error| refused(error.into()))?;
    let root = mount_overlay(&place).map_err(refused)?;
    exercise(&root, &place).map_err(refused)
}

pub(crate) fn try_installed_fuse(directory: &Path) -> Result<(), PassedOver> {
    try_fuse(directory, &find_program().ok_or_else(fuse_missing)?)
}

pub(crate) fn try_fuse(directory: &Path, program: &Path) -> Result<(), PassedOver> {
    let refused = |refused: Refused| fuse_refused(&refused);
    let place = Place::make(directory).map_err(|error| refused(error.into()))?;
    let lower = [place.path("lower")];
    let (upper, work) = (place.path("upper"), place.path("work"));
    let layers = Layers {
        lower: &lower,
        upper: &upper,
        work: &work,
    };
    let (root, daemon) = fuse::mount(program, &layers, sys::MOUNT_NO_DEVICES).map_err(refused)?;
    let done = exercise(&root, &place);
    drop(root);
    daemon.end();
    done.map_err(refused)
}

/// `fuse-overlayfs` in the directories of `PATH`, and where systems keep it.
pub(crate) fn find_program() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/bin".into(), "/bin".into()])
        .map(|directory| directory.join("fuse-overlayfs"))
        .find(|program| program.is_absolute() && program.is_file())
}

impl From<io::Error> for Refused {
    fn from(source: io::Error) -> Self {
        Self {
            step: String::from("preparing a trial of it"),
            source,
        }
    }
}

/// Directories to try it with, removed afterwards.
struct Place(PathBuf);

impl Place {
    fn make(directory: &Path) -> io::Result<Self> {
        let mut number = 0_u32;
        let place = loop {
            let own = format!("stacking-{}-{number}", std::process::id());
            let own = directory.join(own);
            match fs::create_dir(&own) {
                Ok(()) => break Self(own),
                // A process that was killed left it, or one of another namespace has the same number.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => number += 1,
                Err(error) => return Err(error),
            }
        };
        for name in ["lower/removed-directory", "upper", "work"] {
            fs::create_dir_all(place.path(name))?;
        }
        for name in ["changed", "removed", "removed-directory/file"] {
            fs::write(place.path("lower").join(name), "1")?;
        }
        Ok(place)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // The kernel keeps its work directory from everybody but root; what stays is empty.
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn mount_overlay(place: &Place) -> Result<OwnedFd, Refused> {
    let step = |step: &'static str| {
        move |errno: Errno| Refused {
            step: step.to_owned(),
            source: errno.into(),
        }
    };
    let open = |name: &str| -> Result<(OwnedFd, String), Refused> {
        let directory = fs::File::open(place.path(name)).map_err(Refused::from)?;
        let short = format!("/proc/self/fd/{}", directory.as_raw_fd());
        Ok((directory.into(), short))
    };
    let (lower, upper, work) = (open("lower")?, open("upper")?, open("work")?);
    let context =
        fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).map_err(step("opening overlayfs"))?;
    let configure = || {
        match fsconfig_set_string(&context, "lowerdir+", lower.1.as_str()) {
            // Known since Linux 6.7.
            Err(Errno::INVAL) => fsconfig_set_string(&context, "lowerdir", lower.1.as_str())?,
            other => other?,
        }
        fsconfig_set_string(&context, "upperdir", upper.1.as_str())?;
        fsconfig_set_string(&context, "workdir", work.1.as_str())?;
        for (key, value) in overlay::SETTINGS {
            fsconfig_set_string(&context, key, value)?;
        }
        for flag in overlay::flags(true) {
            fsconfig_set_flag(&context, flag)?;
        }
        fsconfig_create(&context)?;
        overlay::finish(context.as_fd())
    };
    configure().map_err(|errno| Refused {
        step: format!("mounting it{}", overlay::messages(context.as_fd())),
        source: errno.into(),
    })
}

fn exercise(root: &OwnedFd, place: &Place) -> Result<(), Refused> {
    let doing = |what: &str| {
        let step = format!("{what} in it");
        move |source: Errno| Refused {
            step,
            source: source.into(),
        }
    };
    openat(
        root,
        "changed",
        OFlags::WRONLY | OFlags::APPEND | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .and_then(|file| rustix::io::write(&file, b"2"))
    .map_err(doing("changing a file"))?;
    unlinkat(root, "removed", AtFlags::empty()).map_err(doing("removing a file"))?;
    let directory = "removed-directory";
    unlinkat(root, Path::new(directory).join("file"), AtFlags::empty())
        .and_then(|()| unlinkat(root, directory, AtFlags::REMOVEDIR))
        .and_then(|()| mkdirat(root, directory, Mode::from_raw_mode(0o755)))
        .map_err(doing("replacing a directory"))?;
    let upper = place.path("upper");
    // fuse-overlayfs has other marks where it cannot make this one; layers in the store need this one.
    let marked = |name: &str| {
        fs::symlink_metadata(upper.join(name))
            .is_ok_and(|found| found.file_type().is_char_device() && found.rdev() == 0)
    };
    let changed = fs::read(upper.join("changed")).is_ok_and(|text| text == b"12");
    let hides = [
        "trusted.overlay.opaque",
        "user.overlay.opaque",
        "user.fuseoverlayfs.opaque",
    ]
    .iter()
    .any(|name| {
        rustix::fs::getxattr(upper.join(directory), OsStr::new(name), &mut [0_u8; 8][..]).is_ok()
    });
    if changed && marked("removed") && hides {
        Ok(())
    } else {
        Err(doing("finding the marks of removed files")(
            Errno::OPNOTSUPP,
        ))
    }
}

const SAME_RESULT: &str = "or leave it: the result is the same, only slower";

fn overlay_refused(directory: &Path, refused: &Refused) -> PassedOver {
    let kind = file_system_of(directory);
    let (why, remedy) = overlay_obstacle(
        kind.as_deref(),
        refused.source.raw_os_error(),
        user_namespace::id_mapping() != IdMapping::Host,
        directory,
    );
    PassedOver {
        name: "overlayfs",
        why: format!("{why} ({refused})"),
        remedy,
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.step, self.source)
    }
}

/// What keeps the kernel from it, and what to do.
fn overlay_obstacle(
    kind: Option<&str>,
    errno: Option<i32>,
    in_namespace: bool,
    directory: &Path,
) -> (String, String) {
    let place = directory.display();
    match (kind, errno) {
        (Some(kind), _) => (
            format!("{place} is on {kind}, which cannot hold changes of an overlay"),
            format!(
                "keep layers on a local disk (--state-dir); in a container, on a volume; {SAME_RESULT}"
            ),
        ),
        (None, Some(libc::ENODEV)) => (
            String::from("the kernel does not have it, or its module is not loaded"),
            format!("as root: modprobe overlay; {SAME_RESULT}"),
        ),
        (None, Some(libc::EPERM | libc::EACCES)) if in_namespace => (
            String::from("the kernel does not let users mount it"),
            format!(
                "use Linux 5.11 or newer, or give the container the right to mount; {SAME_RESULT}"
            ),
        ),
        (None, Some(libc::EPERM | libc::EACCES)) => (
            String::from("mounting is forbidden here"),
            format!(
                "in a container: --security-opt apparmor=unconfined --cap-add SYS_ADMIN; {SAME_RESULT}"
            ),
        ),
        (None, Some(libc::ENOSPC)) => (
            String::from("the disk is full"),
            format!("make room in {place}"),
        ),
        (None, _) => (
            format!("the kernel does not stack layers on the file system of {place}"),
            format!("keep layers on ext4, xfs or btrfs (--state-dir); {SAME_RESULT}"),
        ),
    }
}

/// File systems that cannot hold the upper directory of an overlay: another overlay, which is what a container's own files
/// are on, and those of other machines.
pub(crate) fn file_system_of(directory: &Path) -> Option<String> {
    const UNFIT: [(u64, &str); 5] = [
        (0x794c_7630, "overlayfs"),
        (0x6969, "NFS"),
        (0xff53_4d42, "CIFS"),
        (0xfe53_4d42, "SMB"),
        (0x0102_1997, "9p"),
    ];
    // The width of the field differs between processors; the numbers have 32 bits.
    let kind = rustix::fs::statfs(directory).ok()?.f_type as u64 & 0xffff_ffff;
    let row = UNFIT.iter().find(|row| row.0 == kind)?;
    Some(row.1.to_owned())
}

fn fuse_missing() -> PassedOver {
    PassedOver {
        name: "fuse-overlayfs",
        why: String::from("the program is not installed"),
        remedy: String::from("install the Debian package fuse-overlayfs"),
    }
}

fn fuse_refused(refused: &Refused) -> PassedOver {
    let (why, remedy) = fuse_obstacle(refused.source.raw_os_error());
    PassedOver {
        name: "fuse-overlayfs",
        why: format!("{why} ({refused})"),
        remedy,
    }
}

fn fuse_obstacle(errno: Option<i32>) -> (String, String) {
    match errno {
        Some(libc::ENOENT | libc::ENODEV | libc::ENXIO) => (
            format!("there is no {}", fuse::DEVICE),
            String::from("as root: modprobe fuse; in a container: --device /dev/fuse"),
        ),
        Some(libc::EPERM | libc::EACCES) => (
            format!("{} is not to be used by this process", fuse::DEVICE),
            String::from("in a container: --device /dev/fuse; as root: chmod 666 /dev/fuse"),
        ),
        Some(libc::EOPNOTSUPP) => (
            String::from("the file system of the state directory does not hold its marks"),
            String::from("keep layers on a local disk (--state-dir); in a container, on a volume"),
        ),
        _ => (
            String::from("it does not work here"),
            String::from("run `launchway doctor`; keep layers on another disk (--state-dir)"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_another_process_has_is_left_alone() {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let make = || Place::make(folder.path()).expect("room for a trial");
        let (one, other) = (make(), make());
        assert_ne!(one.0, other.0);
        drop(one);
        assert!(other.path("lower/changed").is_file());
    }

    #[test]
    fn every_obstacle_has_a_name_and_a_remedy() {
        let place = Path::new("/state");
        for (kind, errno, in_namespace, why, remedy) in [
            (
                Some("NFS"),
                libc::EINVAL,
                false,
                "/state is on NFS",
                "local disk",
            ),
            (
                None,
                libc::ENODEV,
                false,
                "does not have it",
                "modprobe overlay",
            ),
            (None, libc::EPERM, true, "does not let users", "Linux 5.11"),
            (None, libc::EPERM, false, "forbidden here", "--security-opt"),
            (None, libc::ENOSPC, true, "the disk is full", "make room"),
            (None, libc::EINVAL, true, "file system of /state", "ext4"),
        ] {
            let (found, help) = overlay_obstacle(kind, Some(errno), in_namespace, place);
            assert!(found.contains(why), "{errno}: {found}");
            assert!(help.contains(remedy), "{errno}: {help}");
        }
        for (errno, why, remedy) in [
            (libc::ENOENT, "there is no /dev/fuse", "modprobe fuse"),
            (libc::EACCES, "not to be used", "--device /dev/fuse"),
            (libc::EIO, "does not work", "doctor"),
        ] {
            let (found, help) = fuse_obstacle(Some(errno));
            assert!(
                found.contains(why) && help.contains(remedy),
                "{errno}: {found}, {help}"
            );
        }
    }
}
