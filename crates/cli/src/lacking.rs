//! What registries lack of releases: kept in the ledger, told at the end of a run.

use std::fmt::Write as _;
use std::path::Path;

use launchway_manifest::Family;
use launchway_plan::Plan;
use launchway_release::{Entry, Lack, Ledger};

use crate::failure::Failure;
use crate::toolbox;

/// How many references are named before the rest is counted.
const NAMED: usize = 8;

/// Takes the end of a run into the ledger, and gives back what other releases lack.
pub(crate) fn settle(
    state: &Path,
    family: &Family,
    plan: &Plan,
    lacks: &[Lack],
) -> Result<Vec<Entry>, Failure> {
    let mut ledger = Ledger::load(state, &family.name.value);
    let before = ledger.clone();
    ledger.settle(plan, lacks, &toolbox::now());
    if ledger != before {
        ledger
            .save(state, &family.name.value)
            .map_err(|error| Failure::caused("cannot keep the ledger of the family", &error))?;
    }
    let version = plan.version.as_ref().map(ToString::to_string);
    let others = ledger.besides(version.as_deref(), &plan.registries);
    Ok(others.cloned().collect())
}

/// What is known to be lacking of other releases than the plan's.
pub(crate) fn besides(state: &Path, family: &Family, plan: &Plan) -> Vec<Entry> {
    let version = plan.version.as_ref().map(ToString::to_string);
    let ledger = Ledger::load(state, &family.name.value);
    let others = ledger.besides(version.as_deref(), &plan.registries);
    others.cloned().collect()
}

/// What a registry lacks of the release that was just run; why stands above.
pub(crate) fn text(lack: &Lack, version: &str) -> String {
    let mut text = format!(
        "{} still lacks {} of {version}:\n",
        lack.registry,
        references(lack.references.len()),
    );
    for reference in lack.references.iter().take(NAMED) {
        let _ = writeln!(text, "  {reference}");
    }
    if let Some(more) = lack.references.len().checked_sub(NAMED + 1) {
        let _ = writeln!(text, "  and {} more", more + 1);
    }
    text
}

/// A reminder of what an earlier release lacks.
pub(crate) fn reminder(entry: &Entry) -> String {
    format!(
        "{} lacks {} of {} since {}; release {} again to bring them there",
        entry.registry,
        references(entry.references.len()),
        entry.version,
        entry.since,
        entry.version,
    )
}

fn references(count: usize) -> String {
    match count {
        1 => "1 reference".to_owned(),
        count => format!("{count} references"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lists_are_cut() {
        let lack = |count: usize| Lack {
            registry: "b.io/x".to_owned(),
            why: "no connection".to_owned(),
            references: (0..count)
                .map(|at| format!("b.io/x/y:{at}").parse().unwrap())
                .collect(),
        };
        assert_eq!(
            text(&lack(1), "v1.0.0"),
            "b.io/x still lacks 1 reference of v1.0.0:\n  b.io/x/y:0\n"
        );
        assert_eq!(text(&lack(8), "v1.0.0").lines().count(), 9);
        let long = text(&lack(11), "v1.0.0");
        assert_eq!(long.lines().count(), 10);
        assert!(long.ends_with("  and 3 more\n"), "{long}");
    }
}
