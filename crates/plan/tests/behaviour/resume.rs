//! What is done first, and what is left after anything was done before.

use launchway_plan::{Action, Phase};

use crate::shown::{done, expect, same};
use crate::world::{DEV, World};

#[test]
fn a_cold_release_does_everything_in_order() {
    expect(
        &World::new(DEV),
        "base: make, not published yet
         dev/feature/opencode: make, not published yet
         dev/feature/pi: make, not published yet
         dev/base: make, not published yet
         dev/pi: make, not published yet
         build base dev/feature/opencode dev/feature/pi
         graft dev/base dev/pi
         push a:base b:base a:dev/feature/opencode b:dev/feature/opencode a:dev/feature/pi b:dev/feature/pi a:dev/base b:dev/base a:dev/pi b:dev/pi
         smoke dev/base dev/pi
         tag a:v1.0.0 b:v1.0.0 a:v1.0.0-pi b:v1.0.0-pi
         verify a b
         roll a:latest b:latest a:latest-pi b:latest-pi a:base-latest b:base-latest
         record a b",
    );
}

#[test]
fn a_finished_release_plans_to_nothing() {
    expect(
        &World::new(DEV).released(),
        "base: on a
         dev/feature/opencode: -
         dev/feature/pi: -
         dev/base: on a
         dev/pi: on a",
    );
}

/// Carries out what `chosen` takes of a cold release, and plans again.
#[track_caller]
fn left(chosen: impl Fn(usize, &Action) -> bool, want: &str) {
    let world = World::new(DEV).partly(chosen);
    same(&done(&world.plan()), want);
}

#[test]
fn every_partial_state_resumes_with_what_is_left() {
    // The base and a feature were pushed, to the first registry only.
    left(
        |at, action| action.phase() == Phase::Publish && (at == 5 || at == 7),
        "build dev/feature/pi
         graft dev/base dev/pi
         copy a>b:base a>b:dev/feature/opencode
         push a:dev/feature/pi b:dev/feature/pi a:dev/base b:dev/base a:dev/pi b:dev/pi
         smoke dev/base dev/pi
         tag a:v1.0.0 b:v1.0.0 a:v1.0.0-pi b:v1.0.0-pi
         verify a b
         roll a:latest b:latest a:latest-pi b:latest-pi a:base-latest b:base-latest
         record a b",
    );
    // Everything is pushed, nothing tagged.
    left(
        |_, action| action.phase() <= Phase::Publish,
        "smoke dev/base dev/pi
         tag a:v1.0.0 b:v1.0.0 a:v1.0.0-pi b:v1.0.0-pi
         verify a b
         roll a:latest b:latest a:latest-pi b:latest-pi a:base-latest b:base-latest
         record a b",
    );
    // One variant is tagged everywhere, the other nowhere.
    left(
        |_, action| {
            let tag = |text: &str| matches!(action, Action::Tag { reference, .. } if reference.to_string().ends_with(text));
            action.phase() <= Phase::Smoke || tag(":v1.0.0")
        },
        "smoke dev/pi
         tag a:v1.0.0-pi b:v1.0.0-pi
         verify a b
         roll a:latest b:latest a:latest-pi b:latest-pi a:base-latest b:base-latest
         record a b",
    );
    // A release tag on one registry has seen the test pass; it is not repeated for the other.
    left(
        |_, action| {
            action.phase() <= Phase::Smoke || matches!(action, Action::Tag { registry: 0, .. })
        },
        "tag b:v1.0.0 b:v1.0.0-pi
         verify a b
         roll a:latest b:latest a:latest-pi b:latest-pi a:base-latest b:base-latest
         record a b",
    );
    // Only the rolling tags are left, or some of them.
    left(
        |_, action| action.phase() <= Phase::Verify,
        "verify a b
         roll a:latest b:latest a:latest-pi b:latest-pi a:base-latest b:base-latest
         record a b",
    );
    left(
        |_, action| match action {
            Action::Roll { node, registry, .. } => *registry == 0 && node.as_str() != "base",
            _ => true,
        },
        "verify a b
         roll b:latest b:latest-pi a:base-latest b:base-latest
         record a b",
    );
}

#[test]
fn what_one_registry_has_is_copied_to_the_other() {
    let world = World::new(DEV).partly(|_, action| {
        !matches!(
            action,
            Action::Push { registry: 1, .. }
                | Action::Tag { registry: 1, .. }
                | Action::Roll { registry: 1, .. }
        )
    });
    expect(
        &world,
        "base: on a
         dev/feature/opencode: -
         dev/feature/pi: -
         dev/base: on a
         dev/pi: on a
         copy a>b:base a>b:dev/base a>b:dev/pi
         tag b:v1.0.0 b:v1.0.0-pi
         verify b
         roll b:latest b:latest-pi b:base-latest
         record b",
    );
}

#[test]
fn a_lost_content_tag_is_put_back_from_the_release_tag() {
    let world = World::new(DEV).released().holds(
        "a @dev/pi absent
         b @dev/pi absent",
    );
    same(
        &done(&world.plan()),
        "copy a>a:dev/pi b>b:dev/pi
         verify a b
         record a b",
    );
    // Other bytes of the same inputs: the release tag can not move, so the content tag does.
    let world = World::new(DEV).released().holds("a @dev/pi dev/pi again");
    same(
        &done(&world.plan()),
        "copy a>a:dev/pi*
         verify a
         record a",
    );
}

#[test]
fn a_version_bump_builds_one_feature_and_grafts_again() {
    let world = World::new(DEV)
        .released()
        .version("1.1.0")
        .pin("OPENCODE_VERSION", "1.1.0");
    expect(
        &world,
        "base: on a
         dev/feature/opencode: make, OPENCODE_VERSION 1.0.0 → 1.1.0; base unchanged
         dev/feature/pi: on a
         dev/base: make, OPENCODE_VERSION 1.0.0 → 1.1.0; base unchanged
         dev/pi: make, OPENCODE_VERSION 1.0.0 → 1.1.0; base unchanged
         build dev/feature/opencode
         graft dev/base dev/pi
         push a:dev/feature/opencode b:dev/feature/opencode a:dev/base b:dev/base a:dev/pi b:dev/pi
         smoke dev/base dev/pi
         tag a:v1.1.0 b:v1.1.0 a:v1.1.0-pi b:v1.1.0-pi
         verify a b
         roll a:latest* b:latest* a:latest-pi* b:latest-pi*
         record a b",
    );
    let world = World::new(DEV)
        .released()
        .version("1.1.0")
        .pin("PI_VERSION", "0.76.0");
    same(
        &done(&world.plan()),
        "build dev/feature/pi
         graft dev/pi
         push a:dev/feature/pi b:dev/feature/pi a:dev/pi b:dev/pi
         smoke dev/base dev/pi
         tag a:v1.1.0 b:v1.1.0 a:v1.1.0-pi b:v1.1.0-pi
         verify a b
         roll a:latest-pi* b:latest-pi*
         record a b",
    );
}

#[test]
fn reasons_name_what_changed_once() {
    let before = World::new(DEV).released().version("1.1.0");
    let reason = |world: World, node: &str| {
        let plan = world.plan();
        let planned = plan.nodes.iter().find(|(id, _)| id.as_str() == node);
        planned.unwrap().1.reason.clone()
    };
    let base = || {
        before
            .clone()
            .target("base", |facts| facts.instructions.push("RUN x".into()))
    };
    assert_eq!(reason(base(), "base"), "instructions changed");
    assert_eq!(reason(base(), "dev/feature/pi"), "base changed");
    assert_eq!(reason(base(), "dev/pi"), "base changed");
    let feature = |world: &World| {
        let changed = |facts: &mut launchway_plan::TargetFacts| {
            facts.instructions.push("RUN x".into());
        };
        world.clone().target("dev:pi", changed)
    };
    assert_eq!(
        reason(feature(&before), "dev/pi"),
        "pi/instructions changed; base unchanged"
    );
    let external = || {
        let mut world = before.clone().target("base", |facts| {
            facts.external.insert("debian:12".into());
        });
        world
            .pins
            .bases
            .insert("debian:12".into(), crate::world::sha("debian"));
        world
    };
    assert_eq!(reason(external(), "base"), "debian:12 is new");
    let labelled = DEV.replace(
        "from = \"base\"\n",
        "from = \"base\"\nlabels = { maker = \"me\" }\n",
    );
    let mut world = World::new(&labelled).version("1.1.0");
    world.inventory = before.inventory.clone();
    assert_eq!(reason(world, "dev/pi"), "settings is new; base unchanged");
    let mut world = World::new(&DEV.replace("[\"opencode\", \"pi\"]", "[\"pi\", \"opencode\"]"))
        .version("1.1.0");
    world.inventory = before.inventory.clone();
    assert_eq!(reason(world, "dev/pi"), "features changed; base unchanged");
}
