//! `launchway doctor`.

use clap::Args;
use launchway_sandbox::{FindingState, host_findings};
use serde_json::json;

use super::Result;
use crate::failure::{Exit, Failure};
use crate::settings::Settings;

/// Say what this machine can build, and what is missing
#[derive(Args)]
pub(crate) struct Arguments {}

pub(crate) fn run(_: &Arguments, settings: &Settings) -> Result {
    let findings = host_findings(&settings.state);
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
