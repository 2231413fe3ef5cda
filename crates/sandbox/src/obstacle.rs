//! What keeps the sandbox from working on this machine, and what to do about it. `doctor` and the errors of builds say the
//! same, because both ask here. Looking and trying happen elsewhere.

use std::fs;
use std::io;

/// What is known of the machine besides the kernel's answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Facts {
    /// `user.max_user_namespaces`
    pub(crate) limit: Option<u64>,
    /// `kernel.unprivileged_userns_clone` of Debian's older kernels
    pub(crate) allowed: Option<u64>,
    /// `kernel.apparmor_restrict_unprivileged_userns` of Ubuntu's kernels
    pub(crate) apparmor: Option<u64>,
    /// `Seccomp` of this process: 2 with a filter
    pub(crate) filtered: bool,
    /// The root of this process is not that of its mount namespace.
    pub(crate) chroot: bool,
    /// Only version 2 of control groups can be handed to users.
    pub(crate) groups_of_version_2: bool,
}

impl Facts {
    pub(crate) fn of_this_host() -> Self {
        let number = |path: &str| fs::read_to_string(path).ok()?.trim().parse().ok();
        Self {
            limit: number("/proc/sys/user/max_user_namespaces"),
            allowed: number("/proc/sys/kernel/unprivileged_userns_clone"),
            apparmor: number("/proc/sys/kernel/apparmor_restrict_unprivileged_userns"),
            filtered: fs::read_to_string("/proc/self/status")
                .is_ok_and(|status| status.contains("\nSeccomp:\t2")),
            groups_of_version_2: fs::exists("/sys/fs/cgroup/cgroup.controllers").unwrap_or(false),
            chroot: !fs::read_to_string("/proc/self/mountinfo").is_ok_and(|mounts| {
                mounts
                    .lines()
                    .any(|line| line.split(' ').nth(4) == Some("/"))
            }),
        }
    }
}

/// What the kernel was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    UserNamespace,
    MapIds,
    Namespaces,
    Mount,
    MountProc,
}

/// What is in the way, in a sentence without an end, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Obstacle {
    pub(crate) what: String,
    pub(crate) remedy: String,
}

impl Obstacle {
    fn new(what: &str, remedy: &str) -> Self {
        Self {
            what: what.to_owned(),
            remedy: remedy.to_owned(),
        }
    }
}

const UNCONFINED: &str =
    "run the container with --security-opt seccomp=unconfined --security-opt apparmor=unconfined";

pub(crate) fn obstacle(act: Act, error: &io::Error, facts: &Facts) -> Obstacle {
    let errno = error.raw_os_error();
    let forbidden = matches!(errno, Some(libc::EPERM | libc::EACCES));
    match act {
        Act::UserNamespace | Act::MapIds => {
            if facts.limit == Some(0) {
                Obstacle::new(
                    "no user namespace may be created (user.max_user_namespaces is 0)",
                    "as root: sysctl -w user.max_user_namespaces=28633",
                )
            } else if facts.allowed == Some(0) && forbidden {
                Obstacle::new(
                    "only root may create user namespaces (kernel.unprivileged_userns_clone is 0)",
                    "as root: sysctl -w kernel.unprivileged_userns_clone=1",
                )
            } else if facts.apparmor == Some(1) && forbidden {
                apparmor()
            } else if errno == Some(libc::ENOSPC) {
                Obstacle::new(
                    "there are too many user namespaces, or they are nested too deeply (user.max_user_namespaces)",
                    "as root: sysctl -w user.max_user_namespaces=28633",
                )
            } else if matches!(errno, Some(libc::EINVAL | libc::ENOSYS))
                && act == Act::UserNamespace
            {
                Obstacle::new(
                    "the kernel has no user namespaces",
                    "use a kernel with CONFIG_USER_NS, or run as root",
                )
            } else if forbidden && facts.filtered {
                Obstacle::new(
                    "a syscall filter forbids user namespaces, as in most containers",
                    UNCONFINED,
                )
            } else if forbidden && facts.chroot {
                Obstacle::new(
                    "a process in a chroot may not create user namespaces",
                    "run it outside of the chroot, or as root",
                )
            } else {
                Obstacle::new(
                    &format!("the kernel refuses a user namespace ({error})"),
                    "run as root, or ask the machine's administrator which security module forbids it",
                )
            }
        }
        Act::Namespaces | Act::Mount if forbidden && facts.apparmor == Some(1) => apparmor(),
        Act::Namespaces if forbidden && facts.filtered => Obstacle::new(
            "a syscall filter forbids namespaces, as in most containers",
            UNCONFINED,
        ),
        Act::Namespaces if errno == Some(libc::ENOSPC) => Obstacle::new(
            "there are too many namespaces (user.max_pid_namespaces, max_net_namespaces and others)",
            "as root: sysctl -w user.max_pid_namespaces=28633 user.max_net_namespaces=28633 user.max_mnt_namespaces=28633",
        ),
        Act::Namespaces => Obstacle::new(
            &format!("the kernel refuses namespaces ({error})"),
            "use a kernel with CONFIG_PID_NS, CONFIG_IPC_NS, CONFIG_UTS_NS and CONFIG_NET_NS",
        ),
        Act::Mount if forbidden => Obstacle::new(
            "mounting is forbidden here, as in most containers",
            "run the container with --security-opt seccomp=unconfined --security-opt apparmor=unconfined, or with --privileged",
        ),
        Act::Mount => Obstacle::new(
            &format!("nothing can be mounted ({error})"),
            "use Linux 5.12 or newer",
        ),
        // Not the end: the host's own view is shown then.
        Act::MountProc => Obstacle::new(
            "parts of /proc are hidden here, so steps see the processes outside of the sandbox, too",
            "run the container with --security-opt systempaths=unconfined",
        ),
    }
}

fn apparmor() -> Obstacle {
    Obstacle::new(
        "AppArmor takes away the rights inside user namespaces (kernel.apparmor_restrict_unprivileged_userns is 1)",
        "give this program an AppArmor profile with `userns,`, or as root: \
         sysctl -w kernel.apparmor_restrict_unprivileged_userns=0",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_obstacle_is_named() {
        let none = Facts::default();
        let filtered = Facts {
            filtered: true,
            ..Facts::default()
        };
        let apparmor = Facts {
            apparmor: Some(1),
            filtered: true,
            ..Facts::default()
        };
        for (act, errno, facts, what, remedy) in [
            (
                Act::UserNamespace,
                libc::ENOSPC,
                Facts {
                    limit: Some(0),
                    ..Facts::default()
                },
                "max_user_namespaces is 0",
                "sysctl -w user.max_user_namespaces",
            ),
            (
                Act::UserNamespace,
                libc::EPERM,
                Facts {
                    allowed: Some(0),
                    ..Facts::default()
                },
                "unprivileged_userns_clone",
                "userns_clone=1",
            ),
            (
                Act::UserNamespace,
                libc::EPERM,
                apparmor.clone(),
                "AppArmor",
                "profile",
            ),
            (
                Act::MapIds,
                libc::EACCES,
                apparmor.clone(),
                "AppArmor",
                "profile",
            ),
            (Act::Mount, libc::EACCES, apparmor, "AppArmor", "profile"),
            (
                Act::UserNamespace,
                libc::ENOSPC,
                none.clone(),
                "too many",
                "sysctl",
            ),
            (
                Act::UserNamespace,
                libc::EINVAL,
                none.clone(),
                "has no user",
                "CONFIG_USER_NS",
            ),
            (
                Act::UserNamespace,
                libc::EPERM,
                filtered.clone(),
                "syscall filter",
                "seccomp=unconfined",
            ),
            (
                Act::UserNamespace,
                libc::EPERM,
                Facts {
                    chroot: true,
                    ..Facts::default()
                },
                "chroot",
                "outside",
            ),
            (
                Act::UserNamespace,
                libc::EPERM,
                none.clone(),
                "refuses",
                "administrator",
            ),
            (
                Act::Namespaces,
                libc::EPERM,
                filtered.clone(),
                "syscall filter",
                "seccomp=unconfined",
            ),
            (
                Act::Namespaces,
                libc::ENOSPC,
                none.clone(),
                "too many",
                "sysctl",
            ),
            (
                Act::Mount,
                libc::EPERM,
                filtered,
                "forbidden here",
                "--privileged",
            ),
            (
                Act::MountProc,
                libc::EPERM,
                none,
                "/proc",
                "systempaths=unconfined",
            ),
        ] {
            let found = obstacle(act, &io::Error::from_raw_os_error(errno), &facts);
            assert!(found.what.contains(what), "{act:?} {errno}: {}", found.what);
            assert!(
                found.remedy.contains(remedy),
                "{act:?} {errno}: {}",
                found.remedy
            );
        }
    }
}
