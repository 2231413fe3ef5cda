//! What images are held to, in lines of the plan.

use std::collections::BTreeMap;

use launchway_lint::{Limit, Policy};
use launchway_model::Platform;
use launchway_plan::Plan;

use crate::report::text::{count, size};

/// For each image that is judged, its name and what it is held to, on each platform where they differ.
pub(super) fn held_to(plan: &Plan) -> Vec<String> {
    let mut told: Vec<String> = Vec::new();
    for node in &plan.graph.nodes {
        let Some(lint) = &node.lint else { continue };
        for line in lines(node.image.as_str(), &lint.policies) {
            if !told.contains(&line) {
                told.push(line);
            }
        }
    }
    told
}

fn lines(image: &str, policies: &BTreeMap<Platform, Policy>) -> Vec<String> {
    let told = policies.iter();
    let told: Vec<_> = told
        .map(|(platform, policy)| (platform, words(policy)))
        .collect();
    match told.as_slice() {
        [(_, first), rest @ ..] if rest.iter().all(|(_, words)| words == first) => {
            vec![format!("{image}: {first}")]
        }
        told => told
            .iter()
            .map(|(platform, words)| format!("{image} ({platform}): {words}"))
            .collect(),
    }
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

    #[test]
    fn platforms_are_told_apart_where_they_differ() {
        let policy = Policy::default();
        let platform = |name: &str| -> Platform { name.parse().unwrap() };
        let mut policies = BTreeMap::from([
            (platform("linux/amd64"), policy.clone()),
            (platform("linux/arm64"), policy.clone()),
        ]);
        assert_eq!(lines("box", &policies), ["box: no budget"]);
        let larger = Budgets {
            size: Some(2_000_000),
            ..policy.budgets.clone()
        };
        let larger = Policy {
            budgets: larger,
            ..policy
        };
        policies.insert(platform("linux/arm64"), larger);
        assert_eq!(
            lines("box", &policies),
            [
                "box (linux/amd64): no budget",
                "box (linux/arm64): at most 2.0 MB large"
            ]
        );
    }
}
