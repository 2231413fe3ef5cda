//! What this machine lets the sandbox do, for people to read: by looking, and by trying in a process that ends with it.

use std::path::Path;

use rustix::process::geteuid;

use crate::binfmt::{BinfmtStatus, binfmt_status};
use crate::obstacle::Facts;
use crate::subordinate::{self, Owner};
use crate::trial::{self, Trial};
use crate::tried;
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

/// Looks at everything the sandbox needs, and tries it. `store` is the directory (or where it will be) layers are kept in.
/// `helper_executable` calls [`crate::run_if_helper`] first thing in its `main`; `/proc/self/exe` is the usual one.
#[must_use]
pub fn host_findings(store: &Path, helper_executable: &Path) -> Vec<Finding> {
    let trials = existing(store).map_or_else(Vec::new, |directory| {
        trial::try_all(helper_executable, directory)
    });
    findings(store, &trials)
}

fn findings(store: &Path, trials: &[Trial]) -> Vec<Finding> {
    let needed = user_namespace::user_namespace_needed();
    let mut findings = vec![kernel(), privileges(needed)];
    if needed {
        findings.push(subordinate::finding(&Owner::of_this_process(), trials));
    }
    findings.extend(tried::findings(trials, &Facts::of_this_host(), store));
    if trials.iter().all(|trial| trial.name != "seccomp") {
        findings.push(syscall_filter());
    }
    findings.extend(["amd64", "arm64"].map(emulation));
    findings.push(file_system(store));
    findings.push(space(store));
    findings
}

impl Finding {
    pub(crate) fn ok(name: &'static str, detail: impl Into<String>) -> Self {
        Self {
            name,
            state: FindingState::Ok,
            detail: detail.into(),
            remedy: None,
        }
    }

    pub(crate) fn limited(
        name: &'static str,
        detail: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            name,
            state: FindingState::Limited,
            detail: detail.into(),
            remedy: Some(remedy.into()),
        }
    }

    pub(crate) fn broken(
        name: &'static str,
        detail: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
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
        let findings = findings(Path::new("/nonexistent/store"), &[]);
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
