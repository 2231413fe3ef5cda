//! Plans that were spoilt on purpose: the checker finds each fault.

use std::collections::BTreeSet;

use launchway_plan::{Action, Degraded, Expect, NodeState, Plan, check};

use crate::world::{DEV, World, sha};

/// A cold release, with both kinds of tags and tests.
fn cold() -> Plan {
    World::new(DEV).plan()
}

/// A release that copies everything from the first registry to the second.
fn copying() -> Plan {
    World::new(DEV)
        .holds("b @base unknown")
        .released()
        .holds("b @base absent")
        .plan()
}

#[track_caller]
fn finds(mut plan: Plan, spoil: impl Fn(&mut Plan), want: &str) {
    assert_eq!(check(&plan), Ok(()));
    spoil(&mut plan);
    let violations = check(&plan).expect_err(want);
    let texts: Vec<String> = violations.iter().map(ToString::to_string).collect();
    let found = texts.iter().any(|text| text.contains(want));
    assert!(found, "{want} is not among\n{}", texts.join("\n"));
}

fn position(plan: &Plan, wanted: impl Fn(&Action) -> bool) -> usize {
    plan.actions.iter().position(wanted).unwrap()
}

fn last(plan: &Plan, wanted: impl Fn(&Action) -> bool) -> usize {
    plan.actions.iter().rposition(wanted).unwrap()
}

#[test]
fn actions_out_of_order_are_found() {
    let is_tag = |action: &Action| matches!(action, Action::Tag { .. });
    let is_roll = |action: &Action| matches!(action, Action::Roll { .. });
    let is_push = |action: &Action| matches!(action, Action::Push { .. });
    finds(
        cold(),
        |plan| {
            let (tag, roll) = (last(plan, is_tag), position(plan, is_roll));
            plan.actions.swap(tag, roll);
        },
        "stands after an action of a later phase",
    );
    finds(
        cold(),
        |plan| plan.actions.swap(0, 1),
        "dev/feature/opencode needs base on linux/amd64, which is neither made before nor published",
    );
    finds(
        cold(),
        |plan| {
            let at = position(plan, |action| matches!(action, Action::Graft { .. }));
            let graft = plan.actions.remove(at);
            plan.actions.insert(0, graft);
        },
        "dev/base needs dev/feature/opencode",
    );
    finds(
        cold(),
        |plan| {
            let (first, base) = (position(plan, is_roll), last(plan, is_roll));
            plan.actions.swap(first, base);
        },
        "base-latest moves before",
    );
    finds(
        cold(),
        |plan| {
            let (push, tag) = (position(plan, is_push), position(plan, is_tag));
            let tag = plan.actions.remove(tag);
            plan.actions.insert(push, tag);
        },
        "v1.0.0 is written before dev/base is published there",
    );
}

#[test]
fn actions_that_are_missing_are_found() {
    type Wanted = fn(&Action) -> bool;
    let cases: [(Wanted, &str); 8] = [
        (
            |action| matches!(action, Action::Build { node, .. } if node.as_str() == "base"),
            "base is not made for linux/amd64",
        ),
        (
            |action| matches!(action, Action::Graft { .. }),
            "dev/base is not made for linux/amd64",
        ),
        (
            |action| matches!(action, Action::Push { registry: 1, .. }),
            "base is not pushed to ghcr.io/me",
        ),
        (
            |action| matches!(action, Action::Push { node, .. } if node.as_str() == "dev/pi"),
            "v1.0.0-pi is written before dev/pi is published there",
        ),
        (
            |action| matches!(action, Action::Smoke { .. }),
            "v1.0.0 is written before dev/base is tested on every platform",
        ),
        (
            |action| matches!(action, Action::Verify { .. }),
            "docker.io/me/dev:latest moves before its registry is verified",
        ),
        (
            |action| matches!(action, Action::Verify { registry: 1 }),
            "ghcr.io/me is written to, but not verified",
        ),
        (
            |action| matches!(action, Action::Record { .. }),
            "docker.io/me is written to, but the release is not recorded there",
        ),
    ];
    for (wanted, want) in cases {
        finds(
            cold(),
            |plan| {
                let at = position(plan, wanted);
                plan.actions.remove(at);
            },
            want,
        );
    }
    finds(
        cold(),
        |plan| {
            let base = plan.graph.nodes[0].id.clone();
            plan.nodes.remove(&base);
        },
        "nothing is decided about base",
    );
}

#[test]
fn actions_too_many_are_found() {
    let again = |plan: &mut Plan, wanted: fn(&Action) -> bool| {
        let at = position(plan, wanted);
        let action = plan.actions[at].clone();
        plan.actions.insert(at, action);
    };
    finds(
        cold(),
        |plan| again(plan, |action| matches!(action, Action::Build { .. })),
        "base is made twice for linux/amd64",
    );
    finds(
        cold(),
        |plan| again(plan, |action| matches!(action, Action::Tag { .. })),
        "docker.io/me/dev:v1.0.0 is written twice",
    );
    finds(
        copying(),
        |plan| {
            let action = cold().actions[0].clone();
            plan.actions.insert(0, action);
        },
        "base need not be made for linux/amd64",
    );
    finds(
        World::new(DEV).only(&["pi"]).plan(),
        |plan| {
            let tag = cold().actions.into_iter().find(
                |action| matches!(action, Action::Tag { node, .. } if node.as_str() == "dev/base"),
            );
            let at = position(plan, |action| matches!(action, Action::Tag { .. }));
            plan.actions.insert(at, tag.unwrap());
        },
        "though nobody asked for dev/base",
    );
}

#[test]
fn wrong_places_and_expectations_are_found() {
    finds(
        cold(),
        |plan| {
            for action in &mut plan.actions {
                if let Action::Tag { expect, .. } = action {
                    *expect = Expect::Digest(sha("x"));
                }
            }
        },
        "v1.0.0 is immutable, but would be overwritten",
    );
    finds(
        cold(),
        |plan| {
            for action in &mut plan.actions {
                if let Action::Tag { reference, .. } = action {
                    *reference = "docker.io/me/dev:other".parse().unwrap();
                }
            }
        },
        "docker.io/me/dev:other is not a tag of dev/base on docker.io/me",
    );
    finds(
        cold(),
        |plan| {
            for action in &mut plan.actions {
                if let Action::Push { registry, .. } = action {
                    *registry = 0;
                }
            }
        },
        "is not a tag of base on docker.io/me",
    );
    finds(
        cold(),
        |plan| {
            let reference = "ghcr.io/me/dev:launchway-record-v1.0.0".parse().unwrap();
            plan.actions.push(Action::Record {
                registry: 7,
                reference,
            });
        },
        "is about a registry that does not exist",
    );
    finds(
        cold(),
        |plan| plan.graph.request.promote = false,
        "latest moves in a release that promotes nothing",
    );
    finds(
        cold(),
        |plan| plan.tested = BTreeSet::from([plan.graph.nodes[3].id.clone()]),
        "dev/base counts as tested, but is not published",
    );
    finds(
        copying(),
        |plan| plan.present.clear(),
        "copies what is not there",
    );
    finds(
        copying(),
        |plan| {
            for planned in plan.nodes.values_mut() {
                planned.state = NodeState::NotNeeded;
            }
        },
        "is written, though base is not needed",
    );
    finds(
        copying(),
        |plan| {
            plan.degraded.push(Degraded {
                registry: 1,
                why: "down".to_owned(),
            });
        },
        "needs a registry that gave no certain answer",
    );
    finds(
        copying(),
        |plan| {
            plan.degraded.push(Degraded {
                registry: 0,
                why: "down".to_owned(),
            });
        },
        "Copy",
    );
}

#[test]
fn a_release_that_skips_its_lint_is_found() {
    let held = || World::new(&format!("{DEV}\n[lint]\nwasted = \"5%\"\n")).plan();
    let is_lint = |action: &Action| matches!(action, Action::Lint { .. });
    let judged = held();
    assert!(judged.actions.iter().any(is_lint));
    assert!(!cold().actions.iter().any(is_lint), "nobody asked");
    finds(
        held(),
        |plan| plan.actions.retain(|action| !is_lint(action)),
        "v1.0.0 is written before dev/base is judged on every platform",
    );
    finds(
        held(),
        |plan| {
            let at = position(plan, is_lint);
            let lint = plan.actions.remove(at);
            plan.actions.push(lint);
        },
        "stands after an action of a later phase",
    );
}
