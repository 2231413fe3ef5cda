//! The control group of a run: what it may use at most, as far as the kernel keeps it.
//!
//! The supervisor makes the group and removes it; init enters it before anything else, so that all of the run is counted
//! and nothing of the helper is. The supervisor holds a lock on the group's directory for as long as it lives: a group
//! whose lock can be had was left by a run that was killed, and the next one removes it.
//!
//! Once init has changed the root, no path leads to the groups any more: the supervisor keeps them open.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{
    Access, AtFlags, CWD, FlockOperation, Mode, OFlags, accessat, flock, fstat, openat, stat,
    unlinkat,
};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process};

use super::hierarchy::{Controller, Hierarchy, Version, of_this_process};
use crate::spec::{DEFAULT_PIDS, Limits, LimitsHit, Pids};

/// What the names of our groups begin with.
const PREFIX: &str = "launchway-step-";

/// The time in which a share of the processors is counted, in microseconds.
const PERIOD: u64 = 100_000;

/// The directories of one run's group, one for each tree.
pub(super) struct Group {
    directories: Vec<Directory>,
}

struct Directory {
    version: Version,
    path: PathBuf,
    /// The directory above, and the name in it.
    place: OwnedFd,
    name: String,
    /// Holds the lock.
    handle: OwnedFd,
    controllers: Vec<Controller>,
}

/// A limit that was asked for and cannot be kept.
#[derive(Debug)]
pub(super) struct NotKept {
    pub(super) limit: &'static str,
    pub(super) why: String,
}

/// One file of a group and what goes into it.
struct Setting {
    controller: Controller,
    version: Version,
    file: &'static str,
    value: String,
    /// What the limit is called, when it must be kept.
    required: Option<&'static str>,
}

/// Makes the group for a run's limits. `None` when none is needed, or when only the usual ones are and the machine cannot
/// keep those.
pub(super) fn create(limits: &Limits) -> Result<Option<Group>, NotKept> {
    let wanted = [
        (Controller::Memory, limits.memory.map(|_| "memory")),
        (Controller::Cpu, limits.cpus.map(|_| "cpus")),
        (
            Controller::Pids,
            matches!(limits.pids, Pids::Limit(_)).then_some("pids"),
        ),
    ];
    let usual = matches!(limits.pids, Pids::Default);
    if !usual && wanted.iter().all(|(_, limit)| limit.is_none()) {
        return Ok(None);
    }
    let hierarchies = of_this_process();
    // Controllers that share a tree share a group.
    let mut trees: Vec<(&Hierarchy, Vec<Controller>, Option<&'static str>)> = Vec::new();
    for (controller, limit) in wanted {
        if limit.is_none() && !(usual && controller == Controller::Pids) {
            continue;
        }
        let Some(tree) = tree_of(&hierarchies, controller) else {
            match limit {
                None => continue,
                Some(limit) => {
                    return Err(NotKept {
                        limit,
                        why: format!("the kernel has no control groups for {}", controller.name()),
                    });
                }
            }
        };
        match trees.iter_mut().find(|(other, ..)| *other == tree) {
            Some((_, controllers, required)) => {
                controllers.push(controller);
                *required = required.or(limit);
            }
            None => trees.push((tree, vec![controller], limit)),
        }
    }
    let mut group = Group {
        directories: Vec::new(),
    };
    for (tree, controllers, required) in trees {
        match make(tree, &controllers, limits.cgroup_parent.as_deref()) {
            Ok(directory) => group.directories.push(directory),
            Err(why) => match required {
                Some(limit) => return Err(NotKept { limit, why }),
                None => continue,
            },
        }
    }
    group.set(&settings(limits))?;
    Ok(Some(group))
}

/// Which limits a step could have, tried with a group for each.
pub(crate) fn trial() -> [(&'static str, Result<(), String>); 3] {
    let limited = |memory, pids, cpus| Limits {
        memory,
        pids,
        cpus,
        ..Limits::default()
    };
    [
        ("memory", limited(Some(1 << 30), Pids::Unlimited, None)),
        ("pids", limited(None, Pids::Limit(DEFAULT_PIDS), None)),
        ("cpus", limited(None, Pids::Unlimited, Some(1000))),
    ]
    .map(|(limit, limits)| (limit, create(&limits).map(drop).map_err(|not| not.why)))
}

fn tree_of(hierarchies: &[Hierarchy], controller: Controller) -> Option<&Hierarchy> {
    let has = |tree: &&Hierarchy| tree.controllers.contains(&controller);
    let of = |version| {
        hierarchies
            .iter()
            .filter(move |tree| tree.version == version)
            .find(has)
    };
    of(Version::Two).or_else(|| of(Version::One))
}

/// What to write for a set of limits, for both versions.
fn settings(limits: &Limits) -> Vec<Setting> {
    let mut settings = Vec::new();
    let mut add = |controller, version, file, value: u64, required| {
        settings.push(Setting {
            controller,
            version,
            file,
            value: value.to_string(),
            required,
        });
    };
    if let Some(memory) = limits.memory {
        add(
            Controller::Memory,
            Version::Two,
            "memory.max",
            memory,
            Some("memory"),
        );
        add(
            Controller::Memory,
            Version::One,
            "memory.limit_in_bytes",
            memory,
            Some("memory"),
        );
        // As in Docker: as much swap as memory, where nothing else is said. Kernels may not count swap at all.
        let asked = limits.memory_and_swap.map(|_| "memory-swap");
        let both = limits.memory_and_swap.unwrap_or(memory.saturating_mul(2));
        if both != u64::MAX {
            let swap = both.saturating_sub(memory);
            add(
                Controller::Memory,
                Version::Two,
                "memory.swap.max",
                swap,
                asked,
            );
            add(
                Controller::Memory,
                Version::One,
                "memory.memsw.limit_in_bytes",
                both,
                asked,
            );
        }
    }
    let pids = match limits.pids {
        Pids::Default => Some((DEFAULT_PIDS, None)),
        Pids::Limit(pids) => Some((pids, Some("pids"))),
        Pids::Unlimited => None,
    };
    if let Some((pids, required)) = pids {
        for version in [Version::One, Version::Two] {
            add(Controller::Pids, version, "pids.max", pids.into(), required);
        }
    }
    if let Some(cpus) = limits.cpus {
        let quota = cpus.saturating_mul(PERIOD) / 1000;
        add(
            Controller::Cpu,
            Version::One,
            "cpu.cfs_period_us",
            PERIOD,
            Some("cpus"),
        );
        add(
            Controller::Cpu,
            Version::One,
            "cpu.cfs_quota_us",
            quota,
            Some("cpus"),
        );
        settings.push(Setting {
            controller: Controller::Cpu,
            version: Version::Two,
            file: "cpu.max",
            value: format!("{quota} {PERIOD}"),
            required: Some("cpus"),
        });
    }
    settings
}

/// Makes a group for some controllers of a tree, or says why that is impossible.
fn make(
    tree: &Hierarchy,
    controllers: &[Controller],
    parent: Option<&Path>,
) -> Result<Directory, String> {
    let mut why = String::new();
    for place in places(tree, parent) {
        let place = tree.mount.join(place);
        if parent.is_some()
            && let Err(error) = fs::create_dir_all(&place)
        {
            return Err(format!("{}: {error}", place.display()));
        }
        sweep(&place);
        match make_in(tree, &place, controllers) {
            Ok(directory) => return Ok(directory),
            Err(error) if why.is_empty() => why = format!("{}: {error}", place.display()),
            Err(_) => {}
        }
    }
    Err(why)
}

/// The groups in which that of a step may be, the best first. In version 2 a group with processes has no groups with
/// limits below it, so it is the nearest above us that may have them, and that we may write to.
fn places(tree: &Hierarchy, parent: Option<&Path>) -> Vec<PathBuf> {
    match (parent, tree.version) {
        (Some(parent), _) => vec![expand_slice(parent)],
        (None, Version::One) => vec![tree.own.clone()],
        (None, Version::Two) => tree.own.ancestors().map(Path::to_owned).collect(),
    }
}

/// `a-b.slice` stands for `a.slice/a-b.slice`, as systemd has it.
fn expand_slice(parent: &Path) -> PathBuf {
    let text = parent.to_string_lossy();
    let Some(name) = text
        .strip_suffix(".slice")
        .filter(|name| !name.contains('/') && !name.is_empty())
    else {
        return parent.strip_prefix("/").unwrap_or(parent).to_owned();
    };
    let mut path = PathBuf::new();
    let mut prefix = String::new();
    for part in name.split('-') {
        if !prefix.is_empty() {
            prefix.push('-');
        }
        prefix.push_str(part);
        path.push(format!("{prefix}.slice"));
    }
    path
}

fn make_in(tree: &Hierarchy, place: &Path, controllers: &[Controller]) -> io::Result<Directory> {
    // Entering a group takes the right to take a process out of where it is now.
    accessat(
        CWD,
        place.join("cgroup.procs"),
        Access::WRITE_OK,
        AtFlags::EACCESS,
    )?;
    let above = open(place)?;
    for attempt in 0..1000 {
        let name = format!("{PREFIX}{}-{attempt}", std::process::id());
        let path = place.join(&name);
        match fs::create_dir(&path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
            Err(error) => return Err(error),
        }
        let handle = match hold(&path) {
            Ok(Some(handle)) => handle,
            Ok(None) => continue,
            Err(error) => {
                remove(above.as_fd(), &name);
                return Err(error);
            }
        };
        let directory = Directory {
            version: tree.version,
            path,
            place: above.try_clone()?,
            name,
            handle,
            controllers: controllers.to_vec(),
        };
        if tree.version == Version::Two && !directory.has_all() {
            enable(tree, place, controllers);
            if !directory.has_all() {
                remove(above.as_fd(), &directory.name);
                return Err(io::Error::other(
                    "its subgroups get no limits (cgroup.subtree_control)",
                ));
            }
        }
        return Ok(directory);
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

/// Opens a group and locks it. `None` when somebody took it for one that was left behind, and removes it.
fn hold(path: &Path) -> io::Result<Option<OwnedFd>> {
    let handle = match open(path) {
        Err(Errno::NOENT) => return Ok(None),
        other => other?,
    };
    // Never waited for: anybody may lock what he can look at.
    match flock(&handle, FlockOperation::NonBlockingLockExclusive) {
        Err(Errno::WOULDBLOCK | Errno::INTR) => return Ok(None),
        other => other?,
    }
    match stat(path) {
        Ok(found) if found.st_ino == fstat(&handle)?.st_ino => Ok(Some(handle)),
        _ => Ok(None),
    }
}

fn open(path: &Path) -> rustix::io::Result<OwnedFd> {
    openat(
        CWD,
        path,
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )
}

/// Lets the groups below a place have limits; from the top, since each level passes on only what it has.
fn enable(tree: &Hierarchy, place: &Path, controllers: &[Controller]) {
    let mut words = String::new();
    for controller in controllers {
        let _ = write!(words, "+{} ", controller.name());
    }
    let mut levels: Vec<&Path> = place
        .ancestors()
        .take_while(|level| level.starts_with(&tree.mount))
        .collect();
    levels.reverse();
    for level in levels {
        // What comes of it is looked at afterwards.
        let _ = fs::write(level.join("cgroup.subtree_control"), words.trim_end());
    }
}

/// Removes what runs that were killed left here.
fn sweep(place: &Path) {
    let (Ok(entries), Ok(above)) = (fs::read_dir(place), open(place)) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.starts_with(PREFIX) {
            continue;
        }
        let path = entry.path();
        let Ok(handle) = open(&path) else { continue };
        if flock(&handle, FlockOperation::NonBlockingLockExclusive).is_ok() {
            kill_all(&path);
            remove(above.as_fd(), &name);
        }
    }
}

/// Removes the groups that killed runs left where those of this process are made.
pub fn sweep_left_groups() {
    for tree in of_this_process() {
        for place in places(&tree, None) {
            sweep(&tree.mount.join(place));
        }
    }
}

fn kill_all(group: &Path) {
    if fs::write(group.join("cgroup.kill"), "1").is_ok() {
        return;
    }
    for pid in fs::read_to_string(group.join("cgroup.procs"))
        .unwrap_or_default()
        .lines()
        .filter_map(|line| Pid::from_raw(line.parse().ok()?))
    {
        let _ = kill_process(pid, Signal::KILL);
    }
}

/// The kernel may take a moment to see that nobody is left in a group.
fn remove(above: BorrowedFd<'_>, name: &str) {
    for _ in 0..50 {
        match unlinkat(above, name, AtFlags::REMOVEDIR) {
            Err(Errno::BUSY) => {
                std::thread::sleep(Duration::from_millis(2));
            }
            _ => return,
        }
    }
}

impl Directory {
    /// Whether the kernel keeps the limits of all controllers here.
    fn has_all(&self) -> bool {
        let has = |controller: &Controller| {
            let file = match controller {
                Controller::Memory => "memory.max",
                Controller::Pids => "pids.max",
                Controller::Cpu => "cpu.max",
            };
            self.path.join(file).exists()
        };
        self.controllers.iter().all(has)
    }

    fn read(&self, file: &str) -> io::Result<String> {
        let file = openat(
            &self.handle,
            file,
            OFlags::RDONLY | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        io::read_to_string(fs::File::from(file))
    }

    /// The number after a word in one of the group's files.
    fn count(&self, file: &str, word: &str) -> u64 {
        self.read(file)
            .unwrap_or_default()
            .lines()
            .filter_map(|line| line.strip_prefix(word)?.trim().parse::<u64>().ok())
            .next()
            .unwrap_or(0)
    }
}

impl Group {
    fn set(&self, settings: &[Setting]) -> Result<(), NotKept> {
        for directory in &self.directories {
            let of_this = settings.iter().filter(|setting| {
                setting.version == directory.version
                    && directory.controllers.contains(&setting.controller)
            });
            for setting in of_this {
                let path = directory.path.join(setting.file);
                match (fs::write(&path, &setting.value), setting.required) {
                    (Err(error), Some(limit)) => {
                        return Err(NotKept {
                            limit,
                            why: format!("{}: {error}", path.display()),
                        });
                    }
                    (Ok(()), _) | (Err(_), None) => {}
                }
            }
        }
        Ok(())
    }

    /// Moves this process in, and leaves it to the supervisor to remove the group.
    pub(super) fn enter(mut self) -> io::Result<()> {
        for directory in std::mem::take(&mut self.directories) {
            let list = openat(
                directory.handle.as_fd(),
                "cgroup.procs",
                OFlags::WRONLY | OFlags::CLOEXEC,
                Mode::empty(),
            )?;
            rustix::io::write(&list, b"0")?;
        }
        Ok(())
    }

    /// Which limits the run has come to.
    pub(super) fn hit(&self) -> LimitsHit {
        let mut hit = LimitsHit::default();
        for directory in &self.directories {
            let has = |controller| directory.controllers.contains(&controller);
            let events = match directory.version {
                Version::One => "memory.oom_control",
                Version::Two => "memory.events",
            };
            hit.memory |= has(Controller::Memory) && directory.count(events, "oom_kill ") > 0;
            hit.pids |= has(Controller::Pids) && directory.count("pids.events", "max ") > 0;
        }
        hit
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        for directory in &self.directories {
            remove(directory.place.as_fd(), &directory.name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices() {
        for (given, path) in [
            ("/builds/ours", "builds/ours"),
            ("builds", "builds"),
            ("build.slice", "build.slice"),
            ("a-b-c.slice", "a.slice/a-b.slice/a-b-c.slice"),
            ("/a.slice/a-b.slice", "a.slice/a-b.slice"),
        ] {
            assert_eq!(expand_slice(Path::new(given)), Path::new(path), "{given}");
        }
    }

    #[test]
    fn files_of_limits() {
        let limits = Limits {
            memory: Some(1 << 20),
            pids: Pids::Limit(7),
            cpus: Some(1500),
            ..Limits::default()
        };
        let written = |limits: &Limits, version| {
            settings(limits)
                .into_iter()
                .filter(|setting| setting.version == version)
                .map(|setting| format!("{}={}", setting.file, setting.value))
                .collect::<Vec<_>>()
        };
        assert_eq!(
            written(&limits, Version::Two),
            [
                "memory.max=1048576",
                "memory.swap.max=1048576",
                "pids.max=7",
                "cpu.max=150000 100000"
            ]
        );
        assert_eq!(
            written(&limits, Version::One),
            [
                "memory.limit_in_bytes=1048576",
                "memory.memsw.limit_in_bytes=2097152",
                "pids.max=7",
                "cpu.cfs_period_us=100000",
                "cpu.cfs_quota_us=150000"
            ]
        );
        for (memory_and_swap, expected) in [(Some(u64::MAX), None), (Some(1 << 20), Some("0"))] {
            let limits = Limits {
                memory_and_swap,
                ..limits.clone()
            };
            let swap = settings(&limits)
                .into_iter()
                .find(|setting| setting.file == "memory.swap.max");
            assert_eq!(swap.map(|setting| setting.value).as_deref(), expected);
        }
        assert_eq!(
            written(&Limits::default(), Version::Two),
            [format!("pids.max={DEFAULT_PIDS}")]
        );
    }
}
