//! What registries lack when a plan could not be carried out as a whole.

use std::collections::BTreeSet;

use launchway_model::Reference;
use launchway_plan::{Action, Phase, Plan, lacking};

use crate::shown::expect;
use crate::world::{DEV, World};

/// The references that the actions chosen by `done` write, taken out of the plan's; a line for each
/// registry that lacks something, with content tags shortened to their node's prefix.
fn left(plan: &Plan, done: impl Fn(&Action) -> bool) -> String {
    let mut references: BTreeSet<Reference> = BTreeSet::new();
    for action in plan.actions.iter().filter(|action| done(action)) {
        match action {
            Action::Push { content_tag, .. } | Action::Copy { content_tag, .. } => {
                references.insert(content_tag.clone());
            }
            Action::Tag { reference, .. }
            | Action::Roll { reference, .. }
            | Action::Record { reference, .. } => {
                references.insert(reference.clone());
            }
            _ => {}
        }
    }
    let lines = lacking(plan, &references).into_iter().map(|(at, lacks)| {
        let tags = lacks.iter().map(|reference| {
            let tag = reference
                .tag
                .as_ref()
                .expect("everything is tagged")
                .as_str();
            let node = plan
                .graph
                .nodes
                .iter()
                .find(|node| node.content_tag.as_str() == tag);
            node.map_or_else(|| tag.to_owned(), |node| format!("@{}", node.id))
        });
        let tags: BTreeSet<String> = tags.collect();
        let tags: Vec<String> = tags.into_iter().collect();
        format!("{at}: {}\n", tags.join(" "))
    });
    lines.collect()
}

#[test]
fn what_was_planned_and_not_done_is_lacking() {
    let plan = World::new(DEV).plan();
    assert_eq!(left(&plan, |_| true), "");
    let second = |action: &Action| match action {
        Action::Push { registry, .. }
        | Action::Tag { registry, .. }
        | Action::Roll { registry, .. }
        | Action::Record { registry, .. } => *registry == 1,
        _ => false,
    };
    let everything = "@base @dev/base @dev/feature/opencode @dev/feature/pi @dev/pi base-latest \
                      latest latest-pi launchway-record-v1.0.0 v1.0.0 v1.0.0-pi";
    assert_eq!(
        left(&plan, |action| !second(action)),
        format!("1: {everything}\n")
    );
    assert_eq!(
        left(&plan, |action| !second(action)
            || action.phase() < Phase::Roll),
        "1: base-latest latest latest-pi launchway-record-v1.0.0\n"
    );
}

#[test]
fn a_registry_that_could_not_be_asked_lacks_what_the_release_has_elsewhere() {
    let plan = World::new(DEV).released().holds("b @base unknown").plan();
    // Features that nothing needs are not part of it.
    assert_eq!(
        left(&plan, |_| true),
        "1: @base @dev/base @dev/pi launchway-record-v1.0.0 v1.0.0 v1.0.0-pi\n"
    );
    let plan = World::new(DEV).holds("b @base unknown").plan();
    let lacks = left(&plan, |_| true);
    assert!(lacks.contains(" latest latest-pi "), "{lacks}");
}

#[test]
fn a_release_that_lacks_only_its_record_is_completed() {
    let world =
        World::new(DEV).partly(|_, action| !matches!(action, Action::Record { registry: 1, .. }));
    expect(
        &world,
        "base: on a
         dev/feature/opencode: -
         dev/feature/pi: -
         dev/base: on a
         dev/pi: on a
         record b",
    );
}
