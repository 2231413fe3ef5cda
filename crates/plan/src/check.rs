//! Rules that every plan keeps, checked apart from the code that makes plans.

use std::collections::{BTreeMap, BTreeSet};

use launchway_model::{Platform, Reference};

use crate::decide::{parent, writes_to};
use crate::value::{Action, NodeState, Phase, Plan};
use crate::{Make, Node, NodeId};

/// A rule that a plan breaks: a bug in planning, never the user's fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the plan breaks a rule of its own: {0}")]
pub struct Violation(pub String);

/// Checks a plan before anything of it runs.
pub fn check(plan: &Plan) -> Result<(), Vec<Violation>> {
    let mut violations = Vec::new();
    let mut wrong = |text: String| violations.push(Violation(text));
    phases_are_in_order(plan, &mut wrong);
    parts_come_first(plan, &mut wrong);
    tags_follow_publication(plan, &mut wrong);
    tags_follow_smoke(plan, &mut wrong);
    references_are_written_once(plan, &mut wrong);
    bases_roll_last(plan, &mut wrong);
    degraded_registries_are_left_alone(plan, &mut wrong);
    if violations.is_empty() {
        Ok(())
    } else {
        Err(violations)
    }
}

fn node<'p>(plan: &'p Plan, id: &NodeId) -> Option<&'p Node> {
    plan.graph.node(id)
}

fn phases_are_in_order(plan: &Plan, wrong: &mut impl FnMut(String)) {
    let mut last = Phase::Make;
    for action in &plan.actions {
        if action.phase() < last {
            wrong(format!(
                "{action:?} stands after an action of a later phase"
            ));
        }
        last = action.phase();
    }
}

fn parts_come_first(plan: &Plan, wrong: &mut impl FnMut(String)) {
    let mut made: BTreeSet<(&NodeId, &Platform)> = BTreeSet::new();
    for action in &plan.actions {
        let (Action::Build { node: id, platform } | Action::Graft { node: id, platform }) = action
        else {
            continue;
        };
        let Some(node) = node(plan, id) else {
            wrong(format!("{id} is made but not in the graph"));
            continue;
        };
        let parts: Vec<&NodeId> = match &node.make {
            Make::Build(recipe) => recipe.base.iter().map(|(_, id)| id).collect(),
            Make::Graft(recipe) => std::iter::once(&recipe.base)
                .chain(&recipe.features)
                .collect(),
        };
        for part in parts {
            let reused = matches!(
                plan.nodes.get(part).map(|p| &p.state),
                Some(NodeState::Reuse { .. })
            );
            if !reused && !made.contains(&(part, platform)) {
                wrong(format!(
                    "{id} needs {part} on {platform}, which is neither made before nor published"
                ));
            }
        }
        made.insert((id, platform));
    }
}

fn tags_follow_publication(plan: &Plan, wrong: &mut impl FnMut(String)) {
    let mut published: BTreeSet<(&NodeId, usize)> = BTreeSet::new();
    let mut verified: BTreeSet<usize> = BTreeSet::new();
    for action in &plan.actions {
        match action {
            Action::Push { node, registry, .. } => {
                published.insert((node, *registry));
            }
            Action::Copy { node, to, .. } => {
                published.insert((node, *to));
            }
            Action::Verify { registry } => {
                verified.insert(*registry);
            }
            Action::Tag {
                node,
                registry,
                reference,
                ..
            }
            | Action::Roll {
                node,
                registry,
                reference,
                ..
            } => {
                let reused = matches!(
                    plan.nodes.get(node).map(|p| &p.state),
                    Some(NodeState::Reuse { .. })
                );
                if !reused && !published.contains(&(node, *registry)) {
                    wrong(format!(
                        "{reference} is written before {node} is published there"
                    ));
                }
                if matches!(action, Action::Roll { .. }) && !verified.contains(registry) {
                    wrong(format!("{reference} moves before its registry is verified"));
                }
            }
            Action::Build { .. }
            | Action::Graft { .. }
            | Action::Smoke { .. }
            | Action::Record { .. } => {}
        }
    }
}

fn tags_follow_smoke(plan: &Plan, wrong: &mut impl FnMut(String)) {
    let mut tested: BTreeMap<&NodeId, BTreeSet<&Platform>> = BTreeMap::new();
    for action in &plan.actions {
        match action {
            Action::Smoke { node, platform } => {
                tested.entry(node).or_default().insert(platform);
            }
            Action::Tag {
                node: id,
                reference,
                ..
            } => {
                let Some(node) = node(plan, id) else { continue };
                let all = node.smoke.is_empty()
                    || node
                        .platforms
                        .iter()
                        .all(|platform| tested.get(id).is_some_and(|done| done.contains(platform)));
                if !all {
                    wrong(format!(
                        "{reference} is written before {id} is tested on every platform"
                    ));
                }
            }
            _ => {}
        }
    }
}

fn references_are_written_once(plan: &Plan, wrong: &mut impl FnMut(String)) {
    let mut seen: BTreeSet<&Reference> = BTreeSet::new();
    for action in &plan.actions {
        let reference = match action {
            Action::Push { content_tag, .. } | Action::Copy { content_tag, .. } => content_tag,
            Action::Tag { reference, .. } | Action::Roll { reference, .. } => reference,
            _ => continue,
        };
        if !seen.insert(reference) {
            wrong(format!("{reference} is written twice"));
        }
    }
}

fn bases_roll_last(plan: &Plan, wrong: &mut impl FnMut(String)) {
    let bases: BTreeSet<&NodeId> = plan.graph.nodes.iter().filter_map(parent).collect();
    let mut base_moved: Option<&Reference> = None;
    for action in &plan.actions {
        if let Action::Roll {
            node, reference, ..
        } = action
        {
            if bases.contains(node) {
                base_moved = Some(reference);
            } else if let Some(base) = base_moved {
                wrong(format!(
                    "{base} moves before {reference}, which is built on it"
                ));
            }
        }
    }
}

fn degraded_registries_are_left_alone(plan: &Plan, wrong: &mut impl FnMut(String)) {
    for degraded in &plan.degraded {
        for action in plan
            .actions
            .iter()
            .filter(|action| writes_to(action, degraded.registry))
        {
            wrong(format!(
                "{action:?} writes to a registry that gave no certain answer"
            ));
        }
    }
}
