//! What trials say about the machine, in findings for people.

use std::io;
use std::path::Path;

use crate::host::Finding;
use crate::obstacle::{Act, Facts, Obstacle, obstacle};
use crate::trial::Trial;

/// The names of limits, as steps have them.
const LIMITS: [&str; 3] = ["memory", "pids", "cpus"];

pub(crate) fn findings(trials: &[Trial], facts: &Facts, store: &Path) -> Vec<Finding> {
    if trials.is_empty() {
        return vec![Finding::limited(
            "trial",
            "what a build needs could not be tried",
            "let this program start itself: keep it where programs may be run, and leave room in the home directory",
        )];
    }
    let of = |name: &str| trials.iter().find(|trial| trial.name == name);
    // Without it nothing works.
    let needed = |name, trial: &Trial, act, fine: &str| match in_the_way(trial, act, facts) {
        None => Finding::ok(name, fine),
        Some(found) => Finding::broken(name, found.what, found.remedy),
    };
    let helpful = |name, trial: &Trial, act, fine: &str| match in_the_way(trial, act, facts) {
        None => Finding::ok(name, fine),
        Some(found) => Finding::limited(name, found.what, found.remedy),
    };
    let mut findings = Vec::new();
    if let Some(trial) = of("map-ids") {
        findings.push(needed("user-namespaces", trial, Act::MapIds, ""));
    } else if let Some(trial) = of("user-namespaces") {
        findings.push(needed("user-namespaces", trial, Act::UserNamespace, "work"));
    }
    if let Some(trial) = of("mounts") {
        findings.push(needed("mounts", trial, Act::Mount, "work"));
    }
    if let Some(trial) = of("namespaces") {
        findings.push(needed("namespaces", trial, Act::Namespaces, "work"));
    }
    if let Some(trial) = of("proc") {
        let fine = "steps see their own processes only";
        findings.push(helpful("proc", trial, Act::MountProc, fine));
    }
    if let Some(trial) = of("network-namespace") {
        let fine = "works (RUN --network=none)";
        findings.push(helpful("network-namespace", trial, Act::Namespaces, fine));
    }
    findings.extend(of("store").map(|trial| unwritable(trial, store)));
    findings.extend(of("overlayfs").map(|overlay| stacking("overlayfs", overlay)));
    // A way that is not taken is of no interest.
    if of("overlayfs").is_some_and(|overlay| overlay.errno != 0) {
        findings.extend(of("fuse-overlayfs").map(|fuse| stacking("fuse-overlayfs", fuse)));
    }
    findings.extend(of("seccomp").map(filter));
    findings.extend(limits(trials, facts));
    findings
}

fn in_the_way(trial: &Trial, act: Act, facts: &Facts) -> Option<Obstacle> {
    (trial.errno != 0).then(|| obstacle(act, &io::Error::from_raw_os_error(trial.errno), facts))
}

fn unwritable(trial: &Trial, store: &Path) -> Finding {
    Finding::broken(
        "state-directory",
        format!("{} cannot be written: {}", store.display(), trial.why),
        "give another one (--state-dir)",
    )
}

fn stacking(name: &'static str, trial: &Trial) -> Finding {
    if trial.errno == 0 {
        Finding::ok(name, "stacks layers")
    } else {
        Finding::limited(name, trial.why.clone(), trial.remedy.clone())
    }
}

fn filter(trial: &Trial) -> Finding {
    if trial.errno == 0 {
        Finding::ok("seccomp", "filters can be set")
    } else {
        Finding::broken(
            "seccomp",
            format!("no syscall filter can be set ({})", trial.why),
            "use a kernel with CONFIG_SECCOMP_FILTER, and amd64 or arm64",
        )
    }
}

/// One finding for all limits of control groups.
fn limits(trials: &[Trial], facts: &Facts) -> Option<Finding> {
    let tried: Vec<(&str, &Trial)> = LIMITS
        .into_iter()
        .filter_map(|limit| {
            let trial = trials
                .iter()
                .find(|trial| trial.name.strip_prefix("cgroup-") == Some(limit))?;
            Some((limit, trial))
        })
        .collect();
    let (_, first) = tried.first()?;
    let refused: Vec<&str> = tried
        .iter()
        .filter(|(_, trial)| trial.errno != 0)
        .map(|(limit, _)| *limit)
        .collect();
    let why = tried
        .iter()
        .find(|(_, trial)| trial.errno != 0)
        .map_or(first.why.as_str(), |(_, trial)| trial.why.as_str());
    Some(if refused.is_empty() {
        Finding::ok(
            "cgroup",
            format!("steps can be limited ({})", LIMITS.join(", ")),
        )
    } else {
        Finding::limited(
            "cgroup",
            format!("no limits for steps on {} ({why})", refused.join(", ")),
            if facts.groups_of_version_2 {
                "with systemd: systemd-run --user --scope -p Delegate=yes launchway …; \
                 in a container: --cgroupns=private and a writable /sys/fs/cgroup"
            } else {
                "run as root, or boot with systemd.unified_cgroup_hierarchy=1, whose groups users can be given; \
                 in a container: a writable /sys/fs/cgroup"
            },
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::FindingState::{Broken, Limited, Ok};

    fn trial(name: &str, errno: i32) -> Trial {
        Trial {
            name: name.into(),
            errno,
            why: "why not".into(),
            remedy: "do this".into(),
        }
    }

    #[test]
    fn trials_become_findings() {
        let facts = Facts {
            apparmor: Some(1),
            ..Facts::default()
        };
        let cases = [
            ("user-namespaces", 0, Some(("user-namespaces", Ok, "work"))),
            (
                "user-namespaces",
                libc::EPERM,
                Some(("user-namespaces", Broken, "AppArmor")),
            ),
            (
                "map-ids",
                libc::EPERM,
                Some(("user-namespaces", Broken, "AppArmor")),
            ),
            ("mounts", libc::EACCES, Some(("mounts", Broken, "AppArmor"))),
            (
                "namespaces",
                libc::EINVAL,
                Some(("namespaces", Broken, "refuses")),
            ),
            ("proc", libc::EPERM, Some(("proc", Limited, "hidden"))),
            (
                "network-namespace",
                libc::ENOSPC,
                Some(("network-namespace", Limited, "too many")),
            ),
            (
                "store",
                libc::EACCES,
                Some(("state-directory", Broken, "/store cannot")),
            ),
            ("overlayfs", 1, Some(("overlayfs", Limited, "why not"))),
            ("fuse-overlayfs", 1, None),
            ("seccomp", libc::EINVAL, Some(("seccomp", Broken, "filter"))),
            (
                "cgroup-pids",
                1,
                Some(("cgroup", Limited, "limits for steps on pids (why not)")),
            ),
            ("cgroup-pids", 0, Some(("cgroup", Ok, "can be limited"))),
        ];
        for (name, errno, expected) in cases {
            let found = findings(&[trial(name, errno)], &facts, Path::new("/store"));
            let found = found.first();
            let seen = found.map(|one| (one.name, one.state));
            assert_eq!(seen, expected.map(|one| (one.0, one.1)), "{name} {errno}");
            if let (Some(found), Some(expected)) = (found, expected) {
                assert!(
                    found.detail.contains(expected.2),
                    "{name}: {}",
                    found.detail
                );
                assert_eq!(found.remedy.is_none(), found.state == Ok, "{name}");
            }
        }
    }

    #[test]
    fn limits_have_the_remedy_of_their_version() {
        for (groups_of_version_2, words) in [(true, "Delegate=yes"), (false, "unified_cgroup")] {
            let facts = Facts {
                groups_of_version_2,
                ..Facts::default()
            };
            let refused = [trial("cgroup-memory", 1), trial("cgroup-cpus", 0)];
            let found = findings(&refused, &facts, Path::new("/store"));
            let remedy = found.first().and_then(|one| one.remedy.clone());
            assert!(
                remedy.is_some_and(|remedy| remedy.contains(words)),
                "{words}"
            );
        }
    }

    #[test]
    fn the_second_way_is_told_when_the_first_fails() {
        let both = [trial("overlayfs", 1), trial("fuse-overlayfs", 0)];
        let found = findings(&both, &Facts::default(), Path::new("/store"));
        let names: Vec<&str> = found.iter().map(|one| one.name).collect();
        assert_eq!(names, ["overlayfs", "fuse-overlayfs"]);
    }
}
