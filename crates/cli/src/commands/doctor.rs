//! `launchway doctor`.

use std::path::Path;

use clap::Args;
use launchway_git::{find_git, find_ssh, is_new_enough};
use launchway_sandbox::{Finding, FindingState, host_findings};
use serde_json::json;

use super::Result;
use crate::failure::{Exit, Failure};
use crate::settings::Settings;

/// Say what this machine can build, and what is missing
#[derive(Args)]
pub(crate) struct Arguments {}

pub(crate) fn run(_: &Arguments, settings: &Settings) -> Result {
    let mut findings = host_findings(&settings.state, Path::new("/proc/self/exe"));
    findings.extend(programs(settings));
    let word = |state: FindingState| match state {
        FindingState::Ok => "ok",
        FindingState::Limited => "limited",
        FindingState::Broken => "broken",
    };
    if settings.json {
        let rows: Vec<_> = findings
            .iter()
            .map(|one| json!({ "name": one.name, "state": word(one.state), "detail": one.detail, "remedy": one.remedy }))
            .collect();
        super::print_json(&json!({ "schema": "launchway.doctor.v1", "findings": rows }));
    } else {
        let width = findings.iter().map(|one| one.name.len()).max().unwrap_or(0);
        let mut text = String::new();
        for one in &findings {
            text.push_str(&format!(
                "{:<8} {:<width$}  {}\n",
                word(one.state),
                one.name,
                one.detail
            ));
            if let Some(remedy) = &one.remedy {
                text.push_str(&format!("{:<8} {:<width$}  → {remedy}\n", "", ""));
            }
        }
        super::print(&text);
    }
    if findings.iter().any(|one| one.state == FindingState::Broken) {
        return Err(Failure::Silent(Exit::Failed));
    }
    Ok(())
}

/// The programs that only some Dockerfiles need.
fn programs(settings: &Settings) -> [Finding; 3] {
    let environment = settings.environment_text();
    let finding = |name, found: bool, detail: String, remedy: &str| Finding {
        name,
        state: match found {
            true => FindingState::Ok,
            false => FindingState::Limited,
        },
        detail,
        remedy: (!found).then(|| remedy.to_owned()),
    };
    let git = find_git(&environment);
    let usable = git
        .as_ref()
        .is_some_and(|(version, _)| is_new_enough(*version));
    let told = match git {
        None => "not installed: no repository can be added or be a build context".to_owned(),
        Some((_, text)) if usable => text,
        Some((_, text)) => format!("{text} is too old: no repository can be added"),
    };
    let ssh = find_ssh(&environment);
    let told_of_ssh = match ssh {
        true => "installed",
        false => "not installed: no repository over ssh, no keys for --mount=type=ssh",
    };
    let bundle = settings.ca_bundle();
    let told_of_bundle = bundle.as_ref().map_or_else(
        || "none found: registries over https and --host-ca do not work".to_owned(),
        |path| path.display().to_string(),
    );
    [
        finding(
            "certificates",
            bundle.is_some(),
            told_of_bundle,
            "apt-get install ca-certificates, or set SSL_CERT_FILE",
        ),
        finding("git", usable, told, "apt-get install git (2.31 or newer)"),
        finding(
            "ssh",
            ssh,
            told_of_ssh.to_owned(),
            "apt-get install openssh-client",
        ),
    ]
}
