//! The ids a user was given, and the programs that map them: what of it is missing.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use rustix::process::geteuid;

use crate::host::Finding;
use crate::trial::Trial;
use crate::user_namespace;

const NAME: &str = "subuid";
const CONSEQUENCE: &str = "without them images with several owners or a USER cannot be built";
const INSTALL: &str = "as root: apt-get install uidmap";

/// What is known of the user who builds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Owner {
    label: String,
    /// Stands in `/etc/passwd`; `newuidmap` maps for nobody else.
    known: bool,
    /// How many user and group ids there are.
    ids: (Option<u32>, Option<u32>),
    tools: [(&'static str, Tool); 2],
}

/// A program that maps ids.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Tool {
    Missing,
    /// Without the setuid bit and without a capability.
    Powerless(PathBuf),
    Usable,
}

impl Owner {
    pub(crate) fn of_this_process() -> Self {
        let uid = geteuid().as_raw();
        let user = user_namespace::user_name(uid);
        let count = |file| user_namespace::sub_range(file, uid, user.as_deref()).map(|(_, n)| n);
        let ids = (count("/etc/subuid"), count("/etc/subgid"));
        Self {
            known: user.is_some(),
            label: user.unwrap_or_else(|| uid.to_string()),
            ids,
            tools: ["newuidmap", "newgidmap"].map(|name| (name, tool(name))),
        }
    }
}

fn tool(name: &str) -> Tool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let Some(program) = std::env::split_paths(&path)
        .map(|directory| directory.join(name))
        .find(|program| program.is_file())
    else {
        return Tool::Missing;
    };
    let setuid = fs::metadata(&program).is_ok_and(|found| found.permissions().mode() & 0o4000 != 0);
    let capable = || rustix::fs::getxattr(&program, "security.capability", &mut [0_u8; 64][..]);
    if setuid || capable().is_ok() {
        Tool::Usable
    } else {
        Tool::Powerless(program)
    }
}

pub(crate) fn finding(owner: &Owner, trials: &[Trial]) -> Finding {
    let label = &owner.label;
    let (Some(uids), Some(gids)) = owner.ids else {
        let file = match owner.ids {
            (None, None) => "/etc/subuid and /etc/subgid",
            (None, _) => "/etc/subuid",
            (_, None) | (_, Some(_)) => "/etc/subgid",
        };
        return Finding::limited(
            NAME,
            format!("{label} has no ids of its own in {file}; {CONSEQUENCE}"),
            if owner.known {
                format!(
                    "as root: usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {label}; \
                     apt-get install uidmap"
                )
            } else {
                format!("as root: useradd --uid {label} NAME; apt-get install uidmap")
            },
        );
    };
    let missing: Vec<&str> = owner
        .tools
        .iter()
        .filter(|tool| tool.1 == Tool::Missing)
        .map(|tool| tool.0)
        .collect();
    if !missing.is_empty() {
        let detail = format!(
            "{label} has ids, but {} is missing; {CONSEQUENCE}",
            missing.join(" and ")
        );
        return Finding::limited(NAME, detail, INSTALL);
    }
    for (_, tool) in &owner.tools {
        if let Tool::Powerless(program) = tool {
            let program = program.display();
            return Finding::limited(
                NAME,
                format!("{label} has ids, but {program} is not setuid; {CONSEQUENCE}"),
                format!("as root: chmod u+s {program}"),
            );
        }
    }
    // They are there and do not work: on a disk without setuid, or where no new privileges are allowed.
    match trials.iter().find(|trial| trial.name == "newuidmap") {
        Some(trial) if trial.errno != 0 => Finding::limited(
            NAME,
            format!(
                "{label} has ids, but mapping them fails ({}); {CONSEQUENCE}",
                trial.why
            ),
            if owner.known {
                "let setuid programs work here: without no-new-privileges, and with newuidmap on a disk that is not \
                 mounted nosuid"
                    .to_owned()
            } else {
                format!(
                    "as root: useradd --uid {label} NAME (ids are mapped for users of /etc/passwd only)"
                )
            },
        ),
        _ => Finding::ok(
            NAME,
            format!("{label} has {uids} user and {gids} group ids"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::FindingState;

    #[test]
    fn what_is_missing_is_named() {
        let many = Some(65536);
        let usable = [("newuidmap", Tool::Usable), ("newgidmap", Tool::Usable)];
        let gone = [("newuidmap", Tool::Missing), ("newgidmap", Tool::Missing)];
        let plain = [
            ("newuidmap", Tool::Usable),
            ("newgidmap", Tool::Powerless("/usr/bin/newgidmap".into())),
        ];
        let failed = Trial {
            name: "newuidmap".into(),
            errno: 1,
            why: "newuidmap: write to uid_map failed".into(),
            ..Trial::default()
        };
        let stranger = Trial {
            why: "newuidmap: Cannot determine your user name.".into(),
            ..failed.clone()
        };
        for (ids, tools, trials, what, remedy) in [
            (
                (many, many),
                &usable,
                vec![stranger],
                "Cannot determine",
                Some("useradd --uid 4711"),
            ),
            ((many, many), &usable, vec![], "65536 user and 65536", None),
            ((None, None), &usable, vec![], "subuid and", Some("usermod")),
            (
                (None, None),
                &gone,
                vec![],
                "has no ids",
                Some("useradd --uid 4711"),
            ),
            (
                (many, None),
                &usable,
                vec![],
                "in /etc/subgid",
                Some("usermod"),
            ),
            (
                (many, many),
                &gone,
                vec![],
                "newuidmap and newgidmap is missing",
                Some("install uidmap"),
            ),
            (
                (many, many),
                &plain,
                vec![],
                "/usr/bin/newgidmap is not setuid",
                Some("chmod u+s /usr/bin/newgidmap"),
            ),
            (
                (many, many),
                &usable,
                vec![failed],
                "write to uid_map failed",
                Some("no-new-privileges"),
            ),
        ] {
            let known = remedy.is_none_or(|remedy| !remedy.contains("useradd"));
            let owner = Owner {
                label: if known { "anna" } else { "4711" }.into(),
                known,
                ids,
                tools: tools.clone(),
            };
            let found = finding(&owner, &trials);
            assert!(found.detail.contains(what), "{what}: {}", found.detail);
            assert_eq!(found.state == FindingState::Ok, remedy.is_none(), "{what}");
            let given = found.remedy.unwrap_or_default();
            assert!(
                given.contains(remedy.unwrap_or_default()),
                "{what}: {given}"
            );
        }
    }

    #[test]
    fn a_program_without_rights_is_seen() {
        assert_eq!(tool("launchway-no-such-program"), Tool::Missing);
        // Every system has it, and nobody gives it rights.
        assert!(matches!(tool("true"), Tool::Powerless(_)));
    }
}
