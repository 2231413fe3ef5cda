//! What images are held to, in a line of the plan.

use launchway_lint::{Limit, Policy};
use launchway_plan::Plan;

use crate::report::text::{count, size};

/// For each image that is judged, its name and what it is held to.
pub(super) fn held_to(plan: &Plan) -> Vec<String> {
    let mut told: Vec<String> = Vec::new();
    for node in &plan.graph.nodes {
        let policy = node
            .lint
            .as_ref()
            .and_then(|lint| lint.policies.values().next());
        let Some(policy) = policy else { continue };
        let line = format!("{}: {}", node.image, words(policy));
        if !told.contains(&line) {
            told.push(line);
        }
    }
    told
}

fn words(policy: &Policy) -> String {
    let mut parts = Vec::new();
    match policy.budgets.wasted {
        Some(Limit::Bytes(bytes)) => parts.push(format!("at most {} wasted", size(bytes))),
        Some(Limit::PerMille(share)) => {
            parts.push(format!("at most {}.{} % wasted", share / 10, share % 10));
        }
        None => {}
    }
    if let Some(bytes) = policy.budgets.size {
        parts.push(format!("at most {} large", size(bytes)));
    }
    if parts.is_empty() {
        parts.push("no budget".to_owned());
    }
    if policy.deny_warnings {
        parts.push("warnings are refused".to_owned());
    }
    if !policy.levels.is_empty() {
        parts.push(count(policy.levels.len(), "level set", "levels set"));
    }
    if !policy.allows.is_empty() {
        parts.push(count(policy.allows.len(), "exception", "exceptions"));
    }
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use launchway_lint::{Allow, Budgets, Glob, Rule};

    use super::*;

    #[test]
    fn policies_in_words() {
        let mut policy = Policy::default();
        assert_eq!(words(&policy), "no budget");
        policy.budgets = Budgets {
            wasted: Some(Limit::PerMille(25)),
            size: Some(300_000_000),
        };
        policy.allows.push(Allow {
            rule: Rule::ALL[0],
            path: Some(Glob::new("/x")),
            reason: "known".to_owned(),
        });
        policy.deny_warnings = true;
        assert_eq!(
            words(&policy),
            "at most 2.5 % wasted, at most 300.0 MB large, warnings are refused, 1 exception"
        );
        policy = Policy::default();
        policy.budgets.wasted = Some(Limit::Bytes(50_000_000));
        assert_eq!(words(&policy), "at most 50.0 MB wasted");
    }
}
