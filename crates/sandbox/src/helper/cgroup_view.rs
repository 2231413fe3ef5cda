//! `/sys/fs/cgroup` as the command sees it: its own group, read-only, so that programs which look how much memory and how
//! many processors there are see the limits of their step.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, mkdirat};

use super::devices::LOCKED_DOWN;
use super::mounts::{mount_at, mount_on, new_file_system};
use super::resolve::open_path;
use super::sys;

const PLACE: &str = "sys/fs/cgroup";

/// A tree of control groups to show: the name of its directory and the options it is mounted with.
#[derive(Debug, PartialEq, Eq)]
enum Tree {
    Unified,
    Split {
        name: String,
        options: Vec<(String, Option<String>)>,
    },
}

/// Mounts what there is. Users without root may not mount trees of version 1; they see none, as in a rootless container.
pub(super) fn mount(root: BorrowedFd<'_>) {
    if open_path(root, Path::new(PLACE)).is_err() {
        return;
    }
    let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let trees = trees(&groups);
    let split = trees.iter().any(|tree| matches!(tree, Tree::Split { .. }));
    let attributes = LOCKED_DOWN | sys::MOUNT_READ_ONLY;
    if !split {
        if trees.contains(&Tree::Unified)
            && let Ok(tree) = new_file_system("cgroup2", &[], attributes)
        {
            let _ = mount_at(root, tree.as_fd(), Path::new(PLACE), true);
        }
        return;
    }
    let Ok(directory) = new_file_system("tmpfs", &[("mode", Some("0755"))], LOCKED_DOWN) else {
        return;
    };
    let mut shown = Vec::new();
    for tree in &trees {
        let Tree::Split { name, options } = tree else {
            continue;
        };
        let options: Vec<(&str, Option<&str>)> = options
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_deref()))
            .collect();
        if let Ok(mounted) = new_file_system("cgroup", &options, attributes)
            && mkdirat(&directory, name.as_str(), Mode::from_raw_mode(0o755)).is_ok()
        {
            shown.push((name, mounted));
        }
    }
    if shown.is_empty()
        || sys::set_mount_attributes(directory.as_fd(), attributes).is_err()
        || mount_at(root, directory.as_fd(), Path::new(PLACE), true).is_err()
    {
        return;
    }
    for (name, mounted) in shown {
        if let Ok(place) = open_path(root, &PathBuf::from(PLACE).join(name)) {
            let _ = mount_on(mounted.as_fd(), place.as_fd());
        }
    }
}

/// From `/proc/self/cgroup`.
fn trees(groups: &str) -> Vec<Tree> {
    groups
        .lines()
        .filter_map(|line| {
            let mut fields = line.splitn(3, ':');
            let (number, controllers) = (fields.next()?, fields.next()?);
            if number == "0" && controllers.is_empty() {
                return Some(Tree::Unified);
            }
            Some(match controllers.strip_prefix("name=") {
                Some(name) => Tree::Split {
                    name: name.to_owned(),
                    options: vec![
                        ("none".to_owned(), None),
                        ("name".to_owned(), Some(name.to_owned())),
                    ],
                },
                None => Tree::Split {
                    name: controllers.to_owned(),
                    options: controllers
                        .split(',')
                        .map(|controller| (controller.to_owned(), None))
                        .collect(),
                },
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trees_of_both_versions() {
        let split = |name: &str, options: &[(&str, Option<&str>)]| Tree::Split {
            name: name.into(),
            options: options
                .iter()
                .map(|(key, value)| ((*key).to_owned(), value.map(str::to_owned)))
                .collect(),
        };
        assert_eq!(trees("0::/\n"), [Tree::Unified]);
        assert_eq!(
            trees("3:cpu,cpuacct:/\n2:memory:/a:b\n1:name=systemd:/\n0::/\n"),
            [
                split("cpu,cpuacct", &[("cpu", None), ("cpuacct", None)]),
                split("memory", &[("memory", None)]),
                split("systemd", &[("none", None), ("name", Some("systemd"))]),
                Tree::Unified,
            ]
        );
        assert_eq!(trees(""), []);
    }
}
