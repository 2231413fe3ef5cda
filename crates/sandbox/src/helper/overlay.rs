//! The root file system: layers under an upper directory, and mount points without a trace.
//!
//! A mount point that the layers lack must exist during the run and must not be in the layer that comes of it. So missing
//! ones are put into an extra layer in memory, above the given layers and below the upper directory; the directories on
//! the way there take the attributes of the real ones. The upper directory never sees them, whatever happens to the run.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{
    CWD, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags, fchmod, fchown, fgetxattr,
    flistxattr, fsetxattr, fstat, futimens, mkdirat, openat,
};
use rustix::io::Errno;
use rustix::mount::{
    FsOpenFlags, MountFlags, UnmountFlags, fsconfig_create, fsconfig_set_flag, fsconfig_set_string,
    fsopen, mount, unmount,
};

use super::mounts::{self, Target};
use super::resolve::{open_in_root, open_path, resolve};
use super::scratch::{self, Scratch, create_directory};
use super::{Refused, Step, sys};
use crate::spec::{LayersMount, RunSpec};
use crate::user_namespace::{self, IdMapping};

/// Short names of directories, given to the kernel instead of their paths: those may be long, may contain what
/// overlayfs takes for a separator, and can be read by the command in its list of mounts.
const UPPER: &str = "u";
const WORK: &str = "w";
const STUBS: &str = "s";
/// Where older kernels have to attach what they mount.
const POINT: &str = "m";

/// Mounts the layers of a run, attached nowhere yet.
pub(super) fn mount_root(
    spec: &RunSpec,
    scratch: &Scratch,
    targets: &[Target],
) -> Result<OwnedFd, Refused> {
    let names = scratch.directory("names")?;
    let layers: Vec<String> = (0..spec.lower.len())
        .map(|number| number.to_string())
        .collect();
    for (name, layer) in layers.iter().zip(&spec.lower) {
        scratch.link(names.as_fd(), name, layer)?;
    }
    let stubs = create_directory(names.as_fd(), STUBS.as_ref()).step("preparing mount points")?;
    let (upper, work) = match (&spec.upper, &spec.work) {
        (Some(upper), Some(work)) => {
            // An earlier mount without syncing leaves this so that a crash of the machine is noticed. The layer of a
            // step that a crash interrupted is never used.
            match std::fs::remove_dir_all(work.join("work/incompat")) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(error).step(format_args!(
                        "clearing the work directory {}",
                        work.display()
                    ));
                }
                _ => {}
            }
            (upper.clone(), work.clone())
        }
        _ => {
            scratch.directory("upper")?;
            scratch.directory("work")?;
            (PathBuf::from("../upper"), PathBuf::from("../work"))
        }
    };
    scratch.link(names.as_fd(), UPPER, &upper)?;
    scratch.link(names.as_fd(), WORK, &work)?;
    scratch::work_in(names.as_fd())?;

    let mut below: Vec<&str> = layers.iter().map(String::as_str).collect();
    let before = view(spec, &below)?;
    if spec.upper.is_none()
        && let Some(before) = &before
    {
        let made = scratch::open_host_directory(&upper).step("preparing the upper directory")?;
        copy_attributes(before.as_fd(), made.as_fd()).step("preparing the upper directory")?;
    }
    let any = make_stubs(before.as_ref().map(AsFd::as_fd), stubs.as_fd(), targets)?;
    drop(before);
    if any || below.is_empty() {
        below.insert(0, STUBS);
    }
    overlay(&below, true, sys::MOUNT_NO_DEVICES)
}

/// Mounts a part of other layers, attached nowhere yet.
pub(super) fn mount_part(
    layers: &LayersMount,
    scratch: &Scratch,
    number: usize,
) -> Result<OwnedFd, Refused> {
    let names = scratch.directory(&format!("layers-{number}"))?;
    let mut below: Vec<String> = Vec::new();
    for (at, layer) in layers.lower.iter().enumerate() {
        let name = at.to_string();
        scratch.link(names.as_fd(), &name, layer)?;
        below.push(name);
    }
    let mut attributes = sys::MOUNT_NO_DEVICES;
    if let Some((upper, work)) = &layers.changes {
        scratch.link(names.as_fd(), UPPER, upper)?;
        scratch.link(names.as_fd(), WORK, work)?;
    } else {
        attributes |= sys::MOUNT_READ_ONLY;
        // One layer alone is none that could be mounted.
        if below.len() == 1 {
            create_directory(names.as_fd(), STUBS.as_ref()).step("preparing a mount of layers")?;
            below.push(STUBS.to_owned());
        }
    }
    scratch::work_in(names.as_fd())?;
    let below: Vec<&str> = below.iter().map(String::as_str).collect();
    let whole = overlay(&below, layers.changes.is_some(), attributes)?;
    if layers.path.as_os_str().is_empty() {
        return Ok(whole);
    }
    // Only of what is attached a part can be taken. No path of the run leads there.
    let place = scratch.directory(&format!("whole-{number}"))?;
    mounts::mount_on(whole.as_fd(), place.as_fd())
        .map_err(std::io::Error::from)
        .and_then(|()| {
            let part = open_path(whole.as_fd(), &layers.path)?;
            mounts::clone_handle(part.as_fd(), attributes)
        })
        .step(format_args!(
            "mounting /{} of {} layers",
            layers.path.display(),
            layers.lower.len()
        ))
}

/// The root as it is before the run, to look at. `None` when there is nothing in it.
fn view(spec: &RunSpec, layers: &[&str]) -> Result<Option<OwnedFd>, Refused> {
    let mut stack: Vec<&str> = Vec::new();
    if spec.upper.is_some() {
        stack.push(UPPER);
    }
    stack.extend(layers);
    match stack[..] {
        [] => Ok(None),
        [only] => scratch::open_host_directory(Path::new(only))
            .step("opening the only layer")
            .map(Some),
        _ => overlay(&stack, false, sys::MOUNT_READ_ONLY | sys::MOUNT_NO_DEVICES).map(Some),
    }
}

/// Mounts layers, the topmost first; `writable` over the upper directory.
fn overlay(layers: &[&str], writable: bool, attributes: u64) -> Result<OwnedFd, Refused> {
    let answer = match with_layer_option(layers, writable, attributes) {
        Err(Obstacle::NoLayerOption) => {
            with_option_string(layers, writable, attributes).map_err(|errno| (errno, String::new()))
        }
        Err(Obstacle::Refused(errno, messages)) => Err((errno, messages)),
        Ok(root) => Ok(root),
    };
    answer.map_err(|(errno, messages)| Refused {
        step: format!("mounting {} layers as overlayfs{messages}", layers.len()),
        source: errno.into(),
    })
}

/// Why the newer way of mounting did not work.
enum Obstacle {
    /// The kernel does not know it.
    NoLayerOption,
    /// The kernel's answer and its messages.
    Refused(Errno, String),
}

/// What every mount of layers is told. Without `volatile` the kernel would write the whole file system of the store to
/// the disk at the end of each run, and each time a package manager asks for it.
pub(crate) fn flags(writable: bool) -> Vec<&'static str> {
    let mut flags = Vec::new();
    if user_namespace::id_mapping() != IdMapping::Host {
        flags.push("userxattr");
    }
    if writable {
        flags.push("volatile");
    }
    flags
}

/// Features that would put references to other layers into the upper directory.
pub(crate) const SETTINGS: [(&str, &str); 4] = [
    ("index", "off"),
    ("redirect_dir", "nofollow"),
    ("metacopy", "off"),
    ("xino", "off"),
];

/// The file system that a context was set up for.
pub(crate) fn finish(context: BorrowedFd<'_>) -> rustix::io::Result<OwnedFd> {
    mounts::finish_mount(context, sys::MOUNT_NO_DEVICES)
}

/// One layer per option, which Linux 6.7 and later know: any number of layers, any names.
fn with_layer_option(
    layers: &[&str],
    writable: bool,
    attributes: u64,
) -> Result<OwnedFd, Obstacle> {
    let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).map_err(|errno| match errno {
        Errno::NOSYS => Obstacle::NoLayerOption,
        other => Obstacle::Refused(other, String::new()),
    })?;
    let configure = || {
        fsconfig_set_string(&context, "source", "overlay")?;
        for (key, value) in SETTINGS {
            fsconfig_set_string(&context, key, value)?;
        }
        for flag in flags(writable) {
            fsconfig_set_flag(&context, flag)?;
        }
        if writable {
            fsconfig_set_string(&context, "upperdir", UPPER)?;
            fsconfig_set_string(&context, "workdir", WORK)?;
        }
        fsconfig_create(&context)?;
        mounts::finish_mount(context.as_fd(), attributes)
    };
    for layer in layers {
        fsconfig_set_string(&context, "lowerdir+", *layer).map_err(|errno| match errno {
            Errno::INVAL => Obstacle::NoLayerOption,
            other => Obstacle::Refused(other, messages(context.as_fd())),
        })?;
    }
    configure().map_err(|errno| Obstacle::Refused(errno, messages(context.as_fd())))
}

/// What the kernel has to say about a mount that failed.
pub(crate) fn messages(context: BorrowedFd<'_>) -> String {
    let mut all = String::new();
    let mut buffer = [0; 512];
    while let Ok(length) = rustix::io::read(context, &mut buffer)
        && length > 0
    {
        let text = String::from_utf8_lossy(&buffer[..length]);
        all.push_str(if all.is_empty() { ": " } else { "; " });
        all.push_str(
            text.trim_end()
                .trim_start_matches(['e', 'w', 'i'])
                .trim_start(),
        );
    }
    all
}

/// All layers in one string of at most a page, which is why their names are short.
fn with_option_string(layers: &[&str], writable: bool, attributes: u64) -> Result<OwnedFd, Errno> {
    let mut options: Vec<String> = vec![format!("lowerdir={}", layers.join(":"))];
    options.extend(SETTINGS.map(|(key, value)| format!("{key}={value}")));
    options.extend(flags(writable).into_iter().map(String::from));
    if writable {
        options.push(format!("upperdir={UPPER}"));
        options.push(format!("workdir={WORK}"));
    }
    let options = CString::new(options.join(",")).map_err(|_| Errno::INVAL)?;
    mkdirat(CWD, POINT, Mode::from_raw_mode(0o700)).or_else(|errno| {
        if errno == Errno::EXIST {
            Ok(())
        } else {
            Err(errno)
        }
    })?;
    mount(
        "overlay",
        POINT,
        "overlay",
        MountFlags::empty(),
        Some(options.as_c_str()),
    )?;
    let root = mounts::clone_tree(Path::new(POINT), attributes);
    unmount(POINT, UnmountFlags::DETACH)?;
    root.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
}

/// Creates what the targets lack, and tells whether that was anything.
fn make_stubs(
    before: Option<BorrowedFd<'_>>,
    stubs: BorrowedFd<'_>,
    targets: &[Target],
) -> Result<bool, Refused> {
    let mut seen: Vec<PathBuf> = Vec::new();
    // Directories of the layers that were repeated, with the times they are to show.
    let mut repeated: BTreeMap<PathBuf, Timestamps> = BTreeMap::new();
    for target in targets {
        let doing = || format!("preparing the mount point {}", target.path.display());
        let resolved = match before {
            Some(before) => resolve(before, &target.path),
            None => resolve(stubs, &target.path),
        }
        .step(doing())?;
        let whole = resolved.whole();
        // Below another mount there is nothing the layers could be asked about.
        let covered = seen.iter().any(|other| whole.starts_with(other));
        seen.push(whole.clone());
        if resolved.exists() || covered {
            continue;
        }
        make_stub(before, stubs, &whole, target.directory, &mut repeated).step(doing())?;
    }
    // The deepest first, since creating something changes the times of what it is in.
    for (path, times) in repeated.iter().rev() {
        open_in_root(stubs, path, OFlags::RDONLY | OFlags::DIRECTORY)
            .and_then(|directory| futimens(&directory, times))
            .step("preparing mount points")?;
    }
    Ok(!repeated.is_empty())
}

fn make_stub(
    before: Option<BorrowedFd<'_>>,
    stubs: BorrowedFd<'_>,
    path: &Path,
    directory: bool,
    repeated: &mut BTreeMap<PathBuf, Timestamps>,
) -> rustix::io::Result<()> {
    let mut walked = PathBuf::new();
    let mut at = open_in_root(stubs, &walked, OFlags::RDONLY | OFlags::DIRECTORY)?;
    if !repeated.contains_key(&walked) {
        repeated.insert(walked.clone(), repeat(before, &walked, at.as_fd())?);
    }
    let count = path.components().count();
    for (number, name) in path.components().enumerate() {
        walked.push(name);
        let name = name.as_os_str();
        if number + 1 == count && !directory {
            let how = OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC;
            openat(&at, name, how, Mode::from_raw_mode(0o644))?;
            return Ok(());
        }
        at = match open_in_root(stubs, &walked, OFlags::RDONLY | OFlags::DIRECTORY) {
            Ok(there) => there,
            Err(Errno::NOENT) => {
                let made = create_directory(at.as_fd(), name)?;
                repeated.insert(walked.clone(), repeat(before, &walked, made.as_fd())?);
                made
            }
            Err(errno) => return Err(errno),
        };
    }
    Ok(())
}

/// Gives a directory the attributes it has in the layers, if it is there, and tells the times it has to show.
fn repeat(
    before: Option<BorrowedFd<'_>>,
    path: &Path,
    made: BorrowedFd<'_>,
) -> rustix::io::Result<Timestamps> {
    let epoch = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    let Some(before) = before else {
        return Ok(Timestamps {
            last_access: epoch,
            last_modification: epoch,
        });
    };
    match open_in_root(before, path, OFlags::RDONLY | OFlags::DIRECTORY) {
        Ok(original) => copy_attributes(original.as_fd(), made),
        Err(Errno::NOENT) => Ok(Timestamps {
            last_access: epoch,
            last_modification: epoch,
        }),
        Err(errno) => Err(errno),
    }
}

/// The kernel's limit, both for the value of an extended attribute and for the list of their names.
const LARGEST_ATTRIBUTE: usize = 64 * 1024;

/// Owner, mode and extended attributes, as far as this process may set them. Answers with the times.
fn copy_attributes(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> rustix::io::Result<Timestamps> {
    let status = fstat(from)?;
    // Refused for an owner that does not exist in this user namespace; the copy then shows what can be shown.
    let _ = fchown(
        to,
        Some(Uid::from_raw(status.st_uid)),
        Some(Gid::from_raw(status.st_gid)),
    );
    fchmod(to, Mode::from_raw_mode(status.st_mode & 0o7777))?;
    for name in attribute_names(from) {
        let mut value = vec![0_u8; LARGEST_ATTRIBUTE];
        if let Ok(length) = fgetxattr(from, name.as_c_str(), &mut value[..]) {
            let _ = fsetxattr(to, name.as_c_str(), &value[..length], XattrFlags::empty());
        }
    }
    let time = |seconds, nanoseconds| Timespec {
        tv_sec: seconds,
        tv_nsec: i64::try_from(nanoseconds).unwrap_or(0),
    };
    Ok(Timestamps {
        last_access: time(status.st_atime, status.st_atime_nsec),
        last_modification: time(status.st_mtime, status.st_mtime_nsec),
    })
}

/// Extended attributes that belong to the file and not to the way a layer stores it.
fn attribute_names(file: BorrowedFd<'_>) -> Vec<CString> {
    let mut list = vec![0_u8; LARGEST_ATTRIBUTE];
    let length = flistxattr(file, &mut list[..]).unwrap_or(0);
    list[..length]
        .split(|byte| *byte == 0)
        .filter(|name| {
            !name.is_empty()
                && !name.starts_with(b"trusted.overlay.")
                && !name.starts_with(b"user.overlay.")
        })
        .filter_map(|name| CString::new(name).ok())
        .collect()
}
