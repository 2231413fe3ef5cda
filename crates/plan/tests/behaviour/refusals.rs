//! Answers that are none, and what must not be overwritten.

use launchway_plan::Action;

use crate::shown::{done, expect, same, shown};
use crate::world::{DEV, World};

#[test]
fn a_registry_without_a_certain_answer_is_left_alone() {
    let world = World::new(DEV)
        .released()
        .version("1.1.0")
        .pin("PI_VERSION", "0.76.0");
    expect(
        &world.holds("b dev:latest-pi unknown"),
        "base: on a
         dev/feature/opencode: on a
         dev/feature/pi: make, PI_VERSION 0.75.0 → 0.76.0; base unchanged
         dev/base: on a
         dev/pi: make, PI_VERSION 0.75.0 → 0.76.0; base unchanged
         build dev/feature/pi
         graft dev/pi
         push a:dev/feature/pi a:dev/pi
         smoke dev/base dev/pi
         tag a:v1.1.0 a:v1.1.0-pi
         verify a
         roll a:latest-pi*
         record a
         ! b: down",
    );
    let plan = World::new(DEV).holds("a unlisted").plan();
    same(
        shown(&plan).lines().last().unwrap(),
        "! a: the tags of docker.io/me/dev could not be listed",
    );
}

#[test]
fn later_only_the_registry_that_was_down_is_resumed() {
    let world = World::new(DEV).holds("b @base unknown").released();
    same(
        &done(&world.holds("b @base absent").plan()),
        "copy a>b:base a>b:dev/base a>b:dev/pi
         tag b:v1.0.0 b:v1.0.0-pi
         verify b
         roll b:latest b:latest-pi b:base-latest
         record b",
    );
}

#[test]
fn listings_matter_only_where_rolling_tags_may_move() {
    for change in [
        |world: &mut World| world.request.promote = false,
        |world: &mut World| world.request.version = Some("1.0.0-rc.1".parse().unwrap()),
    ] {
        let mut world = World::new(DEV).holds("a unlisted");
        change(&mut world);
        assert_eq!(world.plan().degraded, []);
    }
}

#[test]
fn nothing_is_decided_when_nobody_answers() {
    same(
        &World::new(DEV)
            .holds("a @base unknown\nb dev:v1.0.0 unknown")
            .refusal(),
        "unknown
         LW0303 cannot tell what docker.io/me holds: down
         an unknown answer never overwrites and never rebuilds
         > check the registry's address, the credentials and the network, then run again
         LW0303 cannot tell what ghcr.io/me holds: down
         an unknown answer never overwrites and never rebuilds
         > check the registry's address, the credentials and the network, then run again",
    );
}

#[test]
fn registries_on_one_host_are_told_apart() {
    let shared = DEV.replace("ghcr.io/me", "docker.io/you");
    let world = World::new(&shared).holds("b @base unknown");
    let plan = world.plan();
    assert_eq!(plan.degraded.len(), 1);
    assert!(plan.is_degraded(1));
    let world = World::new(&shared).holds("a unlisted");
    assert!(world.plan().is_degraded(0));
    assert!(!world.plan().is_degraded(1));
}

#[test]
fn two_registries_never_share_a_reference() {
    let mut world = World::new(DEV);
    world.registries = vec![world.registries[0].clone(); 2];
    let launchway_plan::Decision::Refused(problems) = launchway_plan::decide(
        world.graph(),
        &world.registries,
        &launchway_plan::Inventory::default(),
    ) else {
        panic!("a plan");
    };
    let text = crate::shown::told(&problems);
    assert!(
        text.starts_with("LW0309 `dev/pi` on docker.io/me and `base` on docker.io/me")
            || text.starts_with("LW0309 `base` on docker.io/me and `base` on docker.io/me"),
        "{text}"
    );
    assert!(text.contains("> name each registry once"), "{text}");
    world.registries.clear();
    let launchway_plan::Decision::Refused(problems) =
        launchway_plan::decide(world.graph(), &[], &launchway_plan::Inventory::default())
    else {
        panic!("a plan");
    };
    same(
        &crate::shown::told(&problems),
        "LW0306 there is no registry to publish to\n> name one under `registries`",
    );
}

#[test]
fn a_foreign_content_tag_is_refused() {
    let world = World::new(DEV);
    let tag = world.graph().nodes[0].content_tag.to_string();
    let hash = world.graph().nodes[0].hash.to_string();
    same(
        &world.clone().holds("b @base foreign x").refusal(),
        &format!(
            "refused
             LW0301 ghcr.io/me/dev:{tag} exists, but was not made from the inputs of `base`
             it carries no input hash: another program pushed it
             > delete that tag, or choose another `content-tag`"
        ),
    );
    let other = world.graph().nodes[1].hash.to_string();
    same(
        &world
            .clone()
            .holds("b @base dev/feature/opencode x")
            .refusal(),
        &format!(
            "refused
             LW0301 ghcr.io/me/dev:{tag} exists, but was not made from the inputs of `base`
             its inputs have the hash {other}, these have {hash}
             > delete that tag, or choose another `content-tag`"
        ),
    );
    // What is not needed may hold what it likes.
    let done_before = world.released().holds("a @dev/feature/pi foreign x");
    assert!(done_before.plan().is_empty());
    let left_out = World::new(DEV).holds("a @dev/pi foreign x").only(&["base"]);
    assert!(!left_out.plan().is_empty());
}

#[test]
fn a_release_tag_with_other_content_is_refused() {
    same(
        &World::new(DEV).holds("a dev:v1.0.0 foreign x").refusal(),
        "refused
         LW0302 docker.io/me/dev:v1.0.0 is published already, with other content
         it carries no input hash: another program pushed it
         > release tags are immutable: release under a new version, for a rebuild with a letter (1.2.3b)",
    );
    same(
        &World::new(DEV).released().pin("PI_VERSION", "0.76.0").refusal(),
        "refused
         LW0302 docker.io/me/dev:v1.0.0-pi is published already, with other content
         since then: PI_VERSION 0.75.0 → 0.76.0; base unchanged
         > release tags are immutable: release under a new version, for a rebuild with a letter (1.2.3b)
         LW0302 ghcr.io/me/dev:v1.0.0-pi is published already, with other content
         since then: PI_VERSION 0.75.0 → 0.76.0; base unchanged
         > release tags are immutable: release under a new version, for a rebuild with a letter (1.2.3b)",
    );
    // The very same content under it is success, even pushed by hand.
    let world = World::new(DEV).holds(
        "a @dev/pi dev/pi x
         a dev:v1.0.0-pi foreign x",
    );
    let tags_pi_on_a = world.plan().actions.iter().any(|action| {
        matches!(action, Action::Tag { node, registry: 0, .. } if node.as_str() == "dev/pi")
    });
    assert!(!tags_pi_on_a);
    // A variant that was left out is nobody's business.
    let world = World::new(DEV)
        .holds("a dev:v1.0.0-pi foreign x")
        .only(&["base"]);
    assert!(!world.plan().is_empty());
}

#[test]
fn a_variant_nobody_has_is_told_with_the_nearest() {
    let problems = |names: &[&str]| {
        let world = World::new(DEV).only(names);
        let error = launchway_plan::graph(&world.family, &world.facts, &world.pins, &world.request);
        crate::shown::told(&error.unwrap_err())
    };
    same(
        &problems(&["pii", "zzzzzz"]),
        "LW0304 no variant is named `pii`
         > did you mean `pi`?
         LW0304 no variant is named `zzzzzz`
         > the variants are base, pi",
    );
}

#[test]
fn tags_that_meet_are_refused() {
    // Which the family file cannot show: the suffix of one variant is the start of another's tag.
    let world = World::new(&DEV.replace(
        "rolling = [\"base-latest\"]",
        "rolling = [\"v{major}-pi\"]\ntags = [\"v{version}-x\"]",
    ));
    assert_eq!(world.plan().graph.nodes.len(), 5);
    let mut world = World::new(DEV);
    let mut twin = world.family.images[1].clone();
    twin.name = "twin".parse().unwrap();
    let targets: Vec<_> = world.facts.targets.clone().into_iter().collect();
    for (mut key, facts) in targets {
        if key.image.as_str() == "dev" {
            key.image = twin.name.clone();
            world.facts.targets.insert(key, facts);
        }
    }
    world.family.images.push(twin);
    let text = world.problems();
    assert!(
        text.starts_with(
            "LW0309 `twin/base` and `dev/base` would both be published as dev:v1.0.0\n"
        ),
        "{text}"
    );
}

#[test]
fn what_was_not_observed_is_an_error() {
    let mut world = World::new(DEV);
    world
        .facts
        .targets
        .retain(|key, _| key.target.as_deref() != Some("pi"));
    same(
        &world.problems(),
        "LW0308 nothing is known of the Dockerfile of `dev` on linux/amd64",
    );
    let world = World::new(DEV).target("base", |facts| {
        facts.external.insert("debian:12".into());
    });
    same(
        &world.problems(),
        "LW0308 the digest of `debian:12` is not known",
    );
    let text = DEV.replace("content-tag", "hash = \"concat\"\ncontent-tag");
    let mut world = World::new(&text);
    world.facts.legacy.clear();
    same(
        &world.problems(),
        "LW0308 the hash of `base` by its older recipe is not known",
    );
    let text = DEV.replace(
        "run = [\"true\"]",
        "run = [\"true\"]\nstdout = \"{PI_VERSION}\"",
    );
    let mut world = World::new(&text);
    world.pins.versions.clear();
    let problems = world.problems();
    assert!(
        problems.starts_with("LW0307 fill {PI_VERSION}"),
        "{problems}"
    );
}
