//! Where control groups can be made, read from what the kernel says about this process.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// What a control group can limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Controller {
    Memory,
    Pids,
    Cpu,
}

impl Controller {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Pids => "pids",
            Self::Cpu => "cpu",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    /// One tree for each controller.
    One,
    /// One tree for all.
    Two,
}

/// One tree of control groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hierarchy {
    pub(super) version: Version,
    pub(super) mount: PathBuf,
    /// The group of this process, below `mount`.
    pub(super) own: PathBuf,
    pub(super) controllers: Vec<Controller>,
}

const ALL: [Controller; 3] = [Controller::Memory, Controller::Pids, Controller::Cpu];

/// The trees of this process.
pub(super) fn of_this_process() -> Vec<Hierarchy> {
    let read = |path: &str| std::fs::read(path).unwrap_or_default();
    hierarchies(
        &read("/proc/self/mountinfo"),
        &read("/proc/self/cgroup"),
        &|mount| {
            let text = std::fs::read_to_string(mount.join("cgroup.controllers"));
            let text = text.unwrap_or_default();
            named(text.split_whitespace())
        },
    )
}

fn named<'a>(words: impl Iterator<Item = &'a str>) -> Vec<Controller> {
    let words: Vec<&str> = words.collect();
    ALL.into_iter()
        .filter(|controller| words.contains(&controller.name()))
        .collect()
}

/// From `/proc/self/mountinfo` and `/proc/self/cgroup`; the last argument tells the controllers of a tree of version 2.
fn hierarchies(
    mounts: &[u8],
    groups: &[u8],
    unified: &dyn Fn(&Path) -> Vec<Controller>,
) -> Vec<Hierarchy> {
    let groups = String::from_utf8_lossy(groups);
    // The group in the tree with this controller; in that of version 2 with none.
    let own = |controller: Option<Controller>| {
        groups.lines().find_map(|line| {
            let mut fields = line.splitn(3, ':');
            let (number, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
            let matches = match controller {
                None => number == "0" && controllers.is_empty(),
                Some(controller) => controllers.split(',').any(|name| name == controller.name()),
            };
            matches.then(|| PathBuf::from(path))
        })
    };
    let mut found: Vec<Hierarchy> = Vec::new();
    for line in mounts.split(|byte| *byte == b'\n') {
        let line = String::from_utf8_lossy(line);
        let Some((before, after)) = line.split_once(" - ") else {
            continue;
        };
        let mut before = before.split(' ').skip(3);
        let (Some(root), Some(mount)) = (before.next(), before.next()) else {
            continue;
        };
        let mut after = after.split(' ');
        let (kind, options) = (after.next().unwrap_or(""), after.nth(1).unwrap_or(""));
        let mount = unescape(mount);
        let (version, controllers) = match kind {
            "cgroup2" => (Version::Two, unified(&mount)),
            "cgroup" => (Version::One, named(options.split(','))),
            _ => continue,
        };
        let Some(group) = (match version {
            Version::Two => own(None),
            Version::One => controllers.first().and_then(|first| own(Some(*first))),
        }) else {
            continue;
        };
        // Where only a part of the tree is shown, that part is where we can be.
        let own = group
            .strip_prefix(unescape(root))
            .map_or_else(|_| PathBuf::new(), Path::to_owned);
        if !found
            .iter()
            .any(|other| other.version == version && other.controllers == controllers)
        {
            found.push(Hierarchy {
                version,
                mount,
                own,
                controllers,
            });
        }
    }
    found
}

/// Blanks and the like are written in octal.
fn unescape(text: &str) -> PathBuf {
    let bytes = text.as_bytes();
    let mut plain = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let octal = (bytes[at] == b'\\')
            .then(|| text.get(at + 1..at + 4))
            .flatten()
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match octal {
            Some(byte) => {
                plain.push(byte);
                at += 4;
            }
            None => {
                plain.push(bytes[at]);
                at += 1;
            }
        }
    }
    PathBuf::from(OsStr::from_bytes(&plain))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trees() {
        let hierarchy = |version, mount: &str, own: &str, controllers: &[Controller]| Hierarchy {
            version,
            mount: mount.into(),
            own: own.into(),
            controllers: controllers.to_vec(),
        };
        let all = |_: &Path| ALL.to_vec();
        let none = |_: &Path| Vec::new();
        // A machine with version 2 alone.
        assert_eq!(
            hierarchies(
                b"25 24 0:22 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n",
                b"0::/user.slice/user-1000.slice/session-2.scope\n",
                &all
            ),
            [hierarchy(
                Version::Two,
                "/sys/fs/cgroup",
                "user.slice/user-1000.slice/session-2.scope",
                &ALL
            )]
        );
        // Both at once, and a controller that shares its tree.
        assert_eq!(
            hierarchies(
                b"30 1 0:26 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
                  31 1 0:27 / /sys/fs/cgroup/memory rw shared:9 - cgroup cgroup rw,memory\n\
                  32 1 0:28 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd\n\
                  33 1 0:29 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n",
                b"3:cpu,cpuacct:/\n2:memory:/jobs/one\n1:name=systemd:/\n0::/\n",
                &none
            ),
            [
                hierarchy(
                    Version::One,
                    "/sys/fs/cgroup/cpu,cpuacct",
                    "",
                    &[Controller::Cpu]
                ),
                hierarchy(
                    Version::One,
                    "/sys/fs/cgroup/memory",
                    "jobs/one",
                    &[Controller::Memory]
                ),
                hierarchy(Version::Two, "/sys/fs/cgroup/unified", "", &[]),
            ]
        );
        // In a container that sees its own part, at a place with a blank in its name.
        assert_eq!(
            hierarchies(
                b"31 1 0:27 /docker/abc /mnt/my\\040groups ro - cgroup cgroup rw,memory\n",
                b"2:memory:/docker/abc/child\n",
                &none
            ),
            [hierarchy(
                Version::One,
                "/mnt/my groups",
                "child",
                &[Controller::Memory]
            )]
        );
        assert_eq!(hierarchies(b"", b"", &all), []);
    }
}
