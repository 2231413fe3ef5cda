//! Rules that every plan keeps, checked apart from the code that makes plans.

use std::collections::BTreeSet;

use launchway_model::{Platform, Reference};

use crate::decide::writes_to;
use crate::value::{Action, Expect, NodeState, Phase, Plan};
use crate::{Make, Node, NodeId};

/// A rule that a plan breaks: a bug in planning, never the user's fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the plan breaks a rule of its own: {0}")]
pub struct Violation(pub String);

/// Checks a plan before anything of it runs.
pub fn check(plan: &Plan) -> Result<(), Vec<Violation>> {
    let mut violations = Vec::new();
    let mut wrong = |text: String| violations.push(Violation(text));
    names_are_known(plan, &mut wrong);
    phases_are_in_order(plan, &mut wrong);
    parts_come_first(plan, &mut wrong);
    made_is_published(plan, &mut wrong);
    copies_have_a_source(plan, &mut wrong);
    tags_follow_publication(plan, &mut wrong);
    tags_follow_smoke(plan, &mut wrong);
    only_what_was_asked_for_is_tagged(plan, &mut wrong);
    references_are_their_own(plan, &mut wrong);
    references_are_written_once(plan, &mut wrong);
    bases_roll_last(plan, &mut wrong);
    writes_are_verified_and_recorded(plan, &mut wrong);
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

fn state<'p>(plan: &'p Plan, id: &NodeId) -> Option<&'p NodeState> {
    plan.nodes.get(id).map(|planned| &planned.state)
}

fn is_reused(plan: &Plan, id: &NodeId) -> bool {
    matches!(state(plan, id), Some(NodeState::Reuse { .. }))
}

/// What an action writes: whose, where, and which reference.
fn written(action: &Action) -> Option<(&NodeId, usize, &Reference, &Expect)> {
    match action {
        Action::Push {
            node,
            registry,
            content_tag: reference,
            expect,
        }
        | Action::Copy {
            node,
            to: registry,
            content_tag: reference,
            expect,
            ..
        }
        | Action::Tag {
            node,
            registry,
            reference,
            expect,
        }
        | Action::Roll {
            node,
            registry,
            reference,
            expect,
        } => Some((node, *registry, reference, expect)),
        Action::Build { .. }
        | Action::Graft { .. }
        | Action::Lint { .. }
        | Action::Smoke { .. }
        | Action::Verify { .. }
        | Action::Record { .. } => None,
    }
}

fn names_are_known(plan: &Plan, wrong: &mut impl FnMut(String)) {
    for node in &plan.graph.nodes {
        if !plan.nodes.contains_key(&node.id) {
            wrong(format!("nothing is decided about {}", node.id));
        }
    }
    for action in &plan.actions {
        let registries = match action {
            Action::Build { node: id, .. }
            | Action::Graft { node: id, .. }
            | Action::Lint { node: id, .. }
            | Action::Smoke { node: id, .. } => {
                if node(plan, id).is_none() {
                    wrong(format!(
                        "{action:?} is about a node that is not in the graph"
                    ));
                }
                continue;
            }
            Action::Copy { from, to, .. } => vec![*from, *to],
            Action::Push { registry, .. }
            | Action::Tag { registry, .. }
            | Action::Roll { registry, .. }
            | Action::Verify { registry }
            | Action::Record { registry, .. } => vec![*registry],
        };
        if registries.iter().any(|at| *at >= plan.registries.len()) {
            wrong(format!(
                "{action:?} is about a registry that does not exist"
            ));
        }
    }
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
        let Some(node) = node(plan, id) else { continue };
        if matches!(action, Action::Graft { .. }) != matches!(node.make, Make::Graft(_)) {
            wrong(format!("{id} is not made the way the graph says"));
        }
        for part in node.parts() {
            if !is_reused(plan, part) && !made.contains(&(part, platform)) {
                wrong(format!(
                    "{id} needs {part} on {platform}, which is neither made before nor published"
                ));
            }
        }
        if !made.insert((id, platform)) {
            wrong(format!("{id} is made twice for {platform}"));
        }
    }
}

/// What is to be made is made on every platform and pushed to every registry that answered, and
/// nothing else is.
fn made_is_published(plan: &Plan, wrong: &mut impl FnMut(String)) {
    let mut made: BTreeSet<(&NodeId, &Platform)> = BTreeSet::new();
    let mut pushed: BTreeSet<(&NodeId, usize)> = BTreeSet::new();
    for action in &plan.actions {
        match action {
            Action::Build { node, platform } | Action::Graft { node, platform } => {
                made.insert((node, platform));
            }
            Action::Push { node, registry, .. } => {
                pushed.insert((node, *registry));
            }
            _ => {}
        }
    }
    for node in &plan.graph.nodes {
        let (id, to_make) = (&node.id, state(plan, &node.id) == Some(&NodeState::Make));
        for platform in &node.platforms {
            if made.contains(&(id, platform)) != to_make {
                let verb = if to_make { "is not" } else { "need not be" };
                wrong(format!("{id} {verb} made for {platform}"));
            }
        }
        for registry in (0..plan.registries.len()).filter(|at| !plan.is_degraded(*at)) {
            if pushed.contains(&(id, registry)) != to_make {
                let verb = if to_make { "is not" } else { "need not be" };
                wrong(format!(
                    "{id} {verb} pushed to {}",
                    plan.registries[registry]
                ));
            }
        }
    }
}

fn copies_have_a_source(plan: &Plan, wrong: &mut impl FnMut(String)) {
    for action in &plan.actions {
        let Action::Copy {
            node, digest, from, ..
        } = action
        else {
            continue;
        };
        if plan.present.get(&(node.clone(), *from)) != Some(digest) {
            wrong(format!("{action:?} copies what is not there"));
        }
        if !is_reused(plan, node) {
            wrong(format!(
                "{node} is copied, though nothing needs it as it is"
            ));
        }
    }
}

fn tags_follow_publication(plan: &Plan, wrong: &mut impl FnMut(String)) {
    let mut published: BTreeSet<(&NodeId, usize)> = BTreeSet::new();
    let present = plan.present.keys();
    published.extend(present.map(|(node, registry)| (node, *registry)));
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
            Action::Lint { node, .. } | Action::Smoke { node, .. } => {
                if !published.iter().any(|(there, _)| *there == node) {
                    wrong(format!("{node} is tested before it is published"));
                }
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
                if !published.contains(&(node, *registry)) {
                    wrong(format!(
                        "{reference} is written before {node} is published there"
                    ));
                }
                if matches!(action, Action::Roll { .. }) && !verified.contains(registry) {
                    wrong(format!("{reference} moves before its registry is verified"));
                }
            }
            Action::Build { .. } | Action::Graft { .. } | Action::Record { .. } => {}
        }
    }
}

/// Before the first tag that people use, which is a rolling one for a node that has no other.
fn tags_follow_smoke(plan: &Plan, wrong: &mut impl FnMut(String)) {
    for id in &plan.tested {
        if !is_reused(plan, id) {
            wrong(format!("{id} counts as tested, but is not published"));
        }
    }
    let mut judged: BTreeSet<(&NodeId, &Platform)> = BTreeSet::new();
    let mut tested: BTreeSet<(&NodeId, &Platform)> = BTreeSet::new();
    for action in &plan.actions {
        let (id, reference) = match action {
            Action::Lint { node, platform } => {
                judged.insert((node, platform));
                continue;
            }
            Action::Smoke { node, platform } => {
                tested.insert((node, platform));
                continue;
            }
            Action::Tag {
                node, reference, ..
            }
            | Action::Roll {
                node, reference, ..
            } => (node, reference),
            _ => continue,
        };
        let Some(node) = node(plan, id) else { continue };
        if plan.tested.contains(id) {
            continue;
        }
        if matches!(action, Action::Roll { .. }) && !node.release_tags.is_empty() {
            continue;
        }
        for (needed, done, verb) in [
            (!node.smoke.is_empty(), &tested, "tested"),
            (node.lint.is_some(), &judged, "judged"),
        ] {
            let on_all = || node.platforms.iter().all(|one| done.contains(&(id, one)));
            if needed && !on_all() {
                wrong(format!(
                    "{reference} is written before {id} is {verb} on every platform"
                ));
            }
        }
    }
}

fn only_what_was_asked_for_is_tagged(plan: &Plan, wrong: &mut impl FnMut(String)) {
    let asked = plan.graph.asked_for();
    for action in &plan.actions {
        if let Some((id, _, reference, _)) = written(action)
            && matches!(state(plan, id), None | Some(NodeState::NotNeeded))
        {
            wrong(format!("{reference} is written, though {id} is not needed"));
        }
        match action {
            Action::Tag {
                node,
                reference,
                expect,
                ..
            } => {
                if !asked.contains(node) {
                    wrong(format!(
                        "{reference} is written, though nobody asked for {node}"
                    ));
                }
                if *expect != Expect::Absent {
                    wrong(format!(
                        "{reference} is immutable, but would be overwritten"
                    ));
                }
            }
            Action::Roll {
                node, reference, ..
            } => {
                if !asked.contains(node) {
                    wrong(format!("{reference} moves, though nobody asked for {node}"));
                }
                if !plan.graph.may_roll() {
                    wrong(format!(
                        "{reference} moves in a release that promotes nothing"
                    ));
                }
            }
            _ => {}
        }
    }
}

/// Each action writes the references that the graph gives its node, on the registry it names.
fn references_are_their_own(plan: &Plan, wrong: &mut impl FnMut(String)) {
    for action in &plan.actions {
        let Some((id, registry, reference, _)) = written(action) else {
            continue;
        };
        let (Some(node), Some(registry)) = (node(plan, id), plan.registries.get(registry)) else {
            continue;
        };
        let at_home = registry
            .repository(&node.repository)
            .is_ok_and(|repository| repository == reference.repository);
        let is_own = reference.tag.as_ref().is_some_and(|tag| match action {
            Action::Tag { .. } => node.release_tags.contains(tag),
            Action::Roll { .. } => node.rolling_tags.iter().any(|rolling| rolling.tag == *tag),
            _ => node.content_tag == *tag,
        });
        if !at_home || !is_own {
            wrong(format!("{reference} is not a tag of {id} on {registry}"));
        }
    }
}

fn references_are_written_once(plan: &Plan, wrong: &mut impl FnMut(String)) {
    let mut seen: BTreeSet<&Reference> = BTreeSet::new();
    for (_, _, reference, _) in plan.actions.iter().filter_map(written) {
        if !seen.insert(reference) {
            wrong(format!("{reference} is written twice"));
        }
    }
}

/// A base moves after everything, but a base of it moves still later.
fn bases_roll_last(plan: &Plan, wrong: &mut impl FnMut(String)) {
    let bases: BTreeSet<&NodeId> = plan.graph.nodes.iter().filter_map(Node::parent).collect();
    let mut moved: Vec<(&NodeId, &Reference)> = Vec::new();
    for action in &plan.actions {
        let Action::Roll {
            node: id,
            reference,
            ..
        } = action
        else {
            continue;
        };
        let Some(node) = node(plan, id) else { continue };
        for (base, first) in &moved {
            let too_early = !bases.contains(id) || plan.graph.descends(node, base);
            if bases.contains(base) && too_early {
                wrong(format!("{first} moves before {reference}; bases are last"));
            }
        }
        moved.push((id, reference));
    }
}

/// A release is looked at again on each registry it wrote to, and recorded there.
fn writes_are_verified_and_recorded(plan: &Plan, wrong: &mut impl FnMut(String)) {
    if plan.version.is_none() {
        return;
    }
    for (at, registry) in plan.registries.iter().enumerate() {
        let actions = || plan.actions.iter();
        let writes = actions().any(|action| written(action).is_some_and(|(_, to, ..)| to == at));
        let has = |wanted: &Action| actions().any(|action| action == wanted);
        if writes && !has(&Action::Verify { registry: at }) {
            wrong(format!("{registry} is written to, but not verified"));
        }
        let recorded =
            |action: &Action| matches!(action, Action::Record { registry, .. } if *registry == at);
        if writes && !actions().any(recorded) {
            wrong(format!(
                "{registry} is written to, but the release is not recorded there"
            ));
        }
    }
}

fn degraded_registries_are_left_alone(plan: &Plan, wrong: &mut impl FnMut(String)) {
    for degraded in &plan.degraded {
        for action in &plan.actions {
            let reads = matches!(action, Action::Copy { from, .. } if *from == degraded.registry)
                || *action
                    == Action::Verify {
                        registry: degraded.registry,
                    };
            if reads || writes_to(action, degraded.registry) {
                wrong(format!(
                    "{action:?} needs a registry that gave no certain answer"
                ));
            }
        }
    }
}
