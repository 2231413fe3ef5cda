//! What the registries lack of a release, after as much of its plan as could be done.

use std::collections::{BTreeMap, BTreeSet};

use launchway_model::{Reference, Tag};

use crate::Node;
use crate::value::{Action, NodeState, Plan};

/// The references that each registry lacks, by its place in the plan: what the plan was to write
/// and nobody has written. Of a registry that could not be asked nothing is known, so it is taken
/// to lack everything that the release has elsewhere, and the rolling tags that move elsewhere.
pub fn lacking(plan: &Plan, done: &BTreeSet<Reference>) -> BTreeMap<usize, BTreeSet<Reference>> {
    let mut lacking: BTreeMap<usize, BTreeSet<Reference>> = BTreeMap::new();
    for action in &plan.actions {
        let Some((registry, reference)) = written(action) else {
            continue;
        };
        if !done.contains(reference) {
            let here = lacking.entry(registry).or_default();
            here.insert(reference.clone());
        }
    }
    for degraded in &plan.degraded {
        let moves = |node: &Node, tag: &Tag| {
            plan.actions.iter().any(|action| {
                matches!(action, Action::Roll { node: id, reference, .. }
                    if *id == node.id && reference.tag.as_ref() == Some(tag))
            })
        };
        let everything = references(plan, degraded.registry, moves);
        if !everything.is_empty() {
            lacking.insert(degraded.registry, everything);
        }
    }
    lacking
}

/// Every reference of a registry that a plan is about, whether it stands there already or not.
pub fn concerned(plan: &Plan, registry: usize) -> BTreeSet<Reference> {
    references(plan, registry, |_, _| true)
}

/// With the rolling tags that `rolls` takes.
fn references(
    plan: &Plan,
    registry: usize,
    rolls: impl Fn(&Node, &Tag) -> bool,
) -> BTreeSet<Reference> {
    let asked = plan.graph.asked_for();
    let mut all = BTreeSet::new();
    for node in &plan.graph.nodes {
        let state = plan.nodes.get(&node.id).map(|planned| &planned.state);
        let Ok(repository) = plan.registries[registry].repository(&node.repository) else {
            continue;
        };
        if matches!(state, None | Some(NodeState::NotNeeded)) {
            continue;
        }
        all.insert(repository.with_tag(node.content_tag.clone()));
        if !asked.contains(&node.id) || plan.version.is_none() {
            continue;
        }
        let release = node.release_tags.iter();
        all.extend(release.map(|tag| repository.with_tag(tag.clone())));
        if plan.graph.may_roll() {
            let rolling = node.rolling_tags.iter().map(|rolling| &rolling.tag);
            let moving = rolling.filter(|tag| rolls(node, tag));
            all.extend(moving.map(|tag| repository.with_tag(tag.clone())));
        }
    }
    if let Some((node, tag)) = plan.graph.record_tag()
        && let Ok(repository) = plan.registries[registry].repository(&node.repository)
    {
        all.insert(repository.with_tag(tag));
    }
    all
}

/// What an action writes, and where.
fn written(action: &Action) -> Option<(usize, &Reference)> {
    match action {
        Action::Push {
            registry,
            content_tag: reference,
            ..
        }
        | Action::Copy {
            to: registry,
            content_tag: reference,
            ..
        }
        | Action::Tag {
            registry,
            reference,
            ..
        }
        | Action::Roll {
            registry,
            reference,
            ..
        }
        | Action::Record {
            registry,
            reference,
        } => Some((*registry, reference)),
        Action::Build { .. }
        | Action::Graft { .. }
        | Action::Lint { .. }
        | Action::Smoke { .. }
        | Action::Verify { .. } => None,
    }
}
