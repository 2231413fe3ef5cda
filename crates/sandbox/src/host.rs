//! What this machine lets the sandbox do, for people to read. Only looks; nothing is changed or started.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::process::geteuid;

use crate::binfmt::{BinfmtStatus, binfmt_status};
use crate::user_namespace::{self, IdMapping};

/// One fact about the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Short and stable, such as `overlayfs`.
    pub name: &'static str,
    pub state: FindingState,
    /// What was found, in a sentence.
    pub detail: String,
    /// What to do about it, when something can be done.
    pub remedy: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FindingState {
    Ok,
    /// Something does not work, builds in general do.
    Limited,
    /// The native engine cannot work here.
    Broken,
}

/// Free space below which a build of some size is likely to fail.
const LITTLE_SPACE: u64 = 5 << 30;

/// Looks at everything the sandbox needs. `store` is the directory (or where it will be) layers are kept in.
#[must_use]
pub fn host_findings(store: &Path) -> Vec<Finding> {
    let needed = user_namespace::user_namespace_needed();
    let mut findings = vec![kernel(), privileges(needed)];
    if needed {
        findings.push(user_namespaces(&Obstacles::of_this_host()));
        findings.push(id_ranges());
    }
    findings.push(overlayfs());
    findings.push(syscall_filter());
    findings.extend(["amd64", "arm64"].map(emulation));
    findings.push(file_system(store));
    findings.push(space(store));
    findings
}

impl Finding {
    fn ok(name: &'static str, detail: impl Into<String>) -> Self {
        Self {
            name,
            state: FindingState::Ok,
            detail: detail.into(),
            remedy: None,
        }
    }

    fn limited(name: &'static str, detail: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            name,
            state: FindingState::Limited,
            detail: detail.into(),
            remedy: Some(remedy.into()),
        }
    }

    fn broken(name: &'static str, detail: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            name,
            state: FindingState::Broken,
            detail: detail.into(),
            remedy: Some(remedy.into()),
        }
    }
}

fn kernel() -> Finding {
    let release = rustix::system::uname()
        .release()
        .to_string_lossy()
        .into_owned();
    match version(&release) {
        Some(found) if found < (5, 12) => Finding::broken(
            "kernel",
            format!("Linux {release}"),
            "use Linux 5.12 or newer",
        ),
        Some(_) => Finding::ok("kernel", format!("Linux {release}")),
        None => Finding::limited(
            "kernel",
            format!("a kernel that calls itself {release}"),
            "use Linux 5.12 or newer",
        ),
    }
}

fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|character: char| !character.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

fn privileges(needed: bool) -> Finding {
    let detail = match (geteuid().is_root(), needed) {
        (_, false) if user_namespace::id_mapping() != IdMapping::Host => "root of a user namespace",
        (_, false) => "root",
        (true, true) => "root without the right to mount, as in most containers",
        (false, true) => "an ordinary user; builds run in a user namespace",
    };
    Finding::ok("privileges", detail)
}

/// What can keep a user from creating namespaces, as read from /proc.
#[derive(Debug, Default)]
struct Obstacles {
    /// `user.max_user_namespaces`
    limit: Option<u64>,
    /// `kernel.unprivileged_userns_clone` of Debian's older kernels
    allowed: Option<u64>,
    /// `kernel.apparmor_restrict_unprivileged_userns` of Ubuntu's kernels
    apparmor: Option<u64>,
    /// `Seccomp` of this process: 2 with a filter
    filtered: bool,
}

impl Obstacles {
    fn of_this_host() -> Self {
        let number = |path: &str| fs::read_to_string(path).ok()?.trim().parse().ok();
        Self {
            limit: number("/proc/sys/user/max_user_namespaces"),
            allowed: number("/proc/sys/kernel/unprivileged_userns_clone"),
            apparmor: number("/proc/sys/kernel/apparmor_restrict_unprivileged_userns"),
            filtered: fs::read_to_string("/proc/self/status")
                .is_ok_and(|status| status.contains("\nSeccomp:\t2")),
        }
    }
}

fn user_namespaces(obstacles: &Obstacles) -> Finding {
    let name = "user-namespaces";
    if !Path::new("/proc/self/ns/user").exists() {
        return Finding::broken(
            name,
            "the kernel has none",
            "use a kernel with CONFIG_USER_NS, or run as root",
        );
    }
    match obstacles {
        Obstacles { limit: Some(0), .. } => Finding::broken(
            name,
            "none may be created (user.max_user_namespaces is 0)",
            "as root: sysctl -w user.max_user_namespaces=28633",
        ),
        Obstacles {
            allowed: Some(0), ..
        } => Finding::broken(
            name,
            "only root may create them (kernel.unprivileged_userns_clone is 0)",
            "as root: sysctl -w kernel.unprivileged_userns_clone=1",
        ),
        Obstacles {
            apparmor: Some(1), ..
        } => Finding::broken(
            name,
            "AppArmor takes away the rights inside them (kernel.apparmor_restrict_unprivileged_userns is 1)",
            "give this program an AppArmor profile with `userns,`, or as root: \
             sysctl -w kernel.apparmor_restrict_unprivileged_userns=0",
        ),
        Obstacles { filtered: true, .. } => Finding::limited(
            name,
            "this process is under a syscall filter, which in most containers forbids them",
            "run the container with --security-opt seccomp=unconfined --security-opt apparmor=unconfined",
        ),
        _ => Finding::ok(name, "may be created"),
    }
}

fn id_ranges() -> Finding {
    let name = "subuid";
    let uid = geteuid().as_raw();
    let user = user_namespace::user_name(uid);
    let ranges = ["/etc/subuid", "/etc/subgid"]
        .map(|file| user_namespace::sub_range(file, uid, user.as_deref()));
    let label = user.unwrap_or_else(|| uid.to_string());
    let consequence = "without them images with several owners or a USER cannot be built";
    match ranges {
        [Some((_, uids)), Some((_, gids))] => match missing_tools() {
            tools if tools.is_empty() => Finding::ok(
                name,
                format!("{label} has {uids} user and {gids} group ids"),
            ),
            tools => Finding::limited(
                name,
                format!(
                    "{label} has ids, but {} is missing; {consequence}",
                    tools.join(" and ")
                ),
                "install the Debian package uidmap",
            ),
        },
        _ => Finding::limited(
            name,
            format!("{label} has no ids of its own in /etc/subuid and /etc/subgid; {consequence}"),
            format!(
                "as root: usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {label}; install the Debian package uidmap"
            ),
        ),
    }
}

fn missing_tools() -> Vec<&'static str> {
    let directories: Vec<PathBuf> = std::env::var_os("PATH")
        .map(|path| std::env::split_paths(&path).collect())
        .unwrap_or_default();
    ["newuidmap", "newgidmap"]
        .into_iter()
        .filter(|tool| {
            !directories
                .iter()
                .any(|directory| directory.join(tool).is_file())
        })
        .collect()
}

fn overlayfs() -> Finding {
    let name = "overlayfs";
    let known = |text: &str| {
        text.lines()
            .any(|line| line.split_whitespace().last() == Some("overlay"))
    };
    if fs::read_to_string("/proc/filesystems").is_ok_and(|text| known(&text)) {
        return Finding::ok(name, "available");
    }
    let release = rustix::system::uname()
        .release()
        .to_string_lossy()
        .into_owned();
    if Path::new("/lib/modules")
        .join(release)
        .join("kernel/fs/overlayfs")
        .exists()
    {
        return Finding::limited(
            name,
            "a module that is not loaded yet",
            "as root: modprobe overlay",
        );
    }
    Finding::broken(
        name,
        "the kernel does not have it",
        "use a kernel with CONFIG_OVERLAY_FS",
    )
}

fn syscall_filter() -> Finding {
    let name = "seccomp";
    if !Path::new("/proc/sys/kernel/seccomp/actions_avail").exists() {
        return Finding::broken(
            name,
            "the kernel has no syscall filters",
            "use a kernel with CONFIG_SECCOMP_FILTER",
        );
    }
    if !matches!(std::env::consts::ARCH, "x86_64" | "aarch64") {
        return Finding::broken(
            name,
            "there is no syscall filter for this processor",
            "build on amd64 or arm64",
        );
    }
    Finding::ok(name, "available")
}

fn emulation(architecture: &'static str) -> Finding {
    let name = if architecture == "arm64" {
        "run-arm64"
    } else {
        "run-amd64"
    };
    let install = "install the Debian packages qemu-user-static and binfmt-support";
    match binfmt_status(architecture) {
        BinfmtStatus::Native => Finding::ok(name, "by this processor"),
        BinfmtStatus::Missing => Finding::limited(
            name,
            format!("programs for {architecture} cannot be run"),
            install,
        ),
        BinfmtStatus::Emulated { interpreter, flags } if !flags.contains('F') => Finding::limited(
            name,
            format!(
                "{} is registered without flag F, so it is out of reach inside a build",
                interpreter.display()
            ),
            install,
        ),
        BinfmtStatus::Emulated { interpreter, flags } if !flags.contains('C') => Finding {
            name,
            state: FindingState::Ok,
            detail: format!(
                "by {}; registered without flag C, so setuid programs (sudo, su) run as the caller",
                interpreter.display()
            ),
            remedy: Some(String::from(
                "register the emulator with flags FC for builds that use sudo or su",
            )),
        },
        BinfmtStatus::Emulated { interpreter, .. } => {
            Finding::ok(name, format!("by {}", interpreter.display()))
        }
    }
}

/// The nearest directory that exists.
fn existing(store: &Path) -> Option<&Path> {
    store.ancestors().find(|path| path.is_dir())
}

/// Not every file system can hold the upper directory of an overlay.
fn file_system(store: &Path) -> Finding {
    let name = "store";
    let place = store.display();
    match existing(store).and_then(crate::stacking::file_system_of) {
        Some(kind) => Finding::limited(
            name,
            format!(
                "{place} is on {kind}, on which overlayfs stacks no layers; they are stacked in a slower way"
            ),
            "keep layers on a local disk (--state-dir); in a container, on a volume",
        ),
        None => Finding::ok(name, format!("layers are kept in {place}")),
    }
}

fn space(store: &Path) -> Finding {
    let name = "disk";
    let Some(existing) = existing(store) else {
        return Finding::limited(
            name,
            format!("{} is nowhere", store.display()),
            "give another directory for layers",
        );
    };
    match rustix::fs::statvfs(existing) {
        Ok(found) => {
            let free = found.f_bavail.saturating_mul(found.f_frsize);
            let detail = format!("{} GiB free at {}", free >> 30, existing.display());
            if free < LITTLE_SPACE {
                Finding::limited(
                    name,
                    detail,
                    "free some space, or keep layers on another disk",
                )
            } else {
                Finding::ok(name, detail)
            }
        }
        Err(error) => Finding::limited(
            name,
            format!("the space at {} is unknown: {error}", existing.display()),
            "give another directory for layers",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn obstacles_are_named() {
        let cases: &[(Obstacles, FindingState, &str)] = &[
            (Obstacles::default(), FindingState::Ok, "may be created"),
            (
                Obstacles {
                    limit: Some(0),
                    ..Obstacles::default()
                },
                FindingState::Broken,
                "max_user_namespaces",
            ),
            (
                Obstacles {
                    allowed: Some(0),
                    ..Obstacles::default()
                },
                FindingState::Broken,
                "unprivileged_userns_clone",
            ),
            (
                Obstacles {
                    apparmor: Some(1),
                    ..Obstacles::default()
                },
                FindingState::Broken,
                "AppArmor",
            ),
            (
                Obstacles {
                    filtered: true,
                    ..Obstacles::default()
                },
                FindingState::Limited,
                "syscall filter",
            ),
            (
                Obstacles {
                    limit: Some(9),
                    allowed: Some(1),
                    apparmor: Some(0),
                    filtered: false,
                },
                FindingState::Ok,
                "may be created",
            ),
        ];
        for (obstacles, state, words) in cases {
            let finding = user_namespaces(obstacles);
            assert_eq!(finding.state, *state, "{obstacles:?}");
            assert!(
                finding.detail.contains(words),
                "{obstacles:?}: {}",
                finding.detail
            );
            assert_eq!(
                finding.remedy.is_some(),
                *state != FindingState::Ok,
                "{obstacles:?}"
            );
        }
    }

    #[test]
    fn kernel_versions() {
        for (release, expected) in [
            ("6.1.0-18-amd64", Some((6, 1))),
            ("5.4-rc1", Some((5, 4))),
            ("6.18.44-fc-v657", Some((6, 18))),
            ("unknown", None),
        ] {
            assert_eq!(version(release), expected, "{release}");
        }
    }

    #[test]
    fn every_finding_has_its_name_once() {
        let findings = host_findings(Path::new("/nonexistent/store"));
        let mut names: Vec<&str> = findings.iter().map(|finding| finding.name).collect();
        names.sort_unstable();
        let all = names.len();
        names.dedup();
        assert_eq!(names.len(), all);
        assert!(
            findings
                .iter()
                .all(|finding| finding.state == FindingState::Ok || finding.remedy.is_some())
        );
    }
}
