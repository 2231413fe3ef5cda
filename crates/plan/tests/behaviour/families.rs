//! Families of other shapes.

use crate::shown::{done, expect, same};
use crate::world::World;

const HEAD: &str =
    "[family]\nname = \"f\"\nplatforms = [\"linux/amd64\"]\nregistries = [\"docker.io/me\"]\n";

fn image(name: &str, keys: &str) -> String {
    format!("[image.{name}]\ndockerfile = \"Dockerfile.{name}\"\nrepository = \"{name}\"\n{keys}\n")
}

const RELEASED: &str = "tags = [\"v{version}\"]\nrolling = [\"latest\"]";

fn family(images: &[String]) -> World {
    World::new(&format!("{HEAD}{}", images.concat()))
}

#[test]
fn one_image_without_a_base() {
    let world = family(&[image("solo", RELEASED)]);
    expect(
        &world,
        "solo: make, not published yet
         build solo
         push a:solo
         tag a:v1.0.0
         verify a
         roll a:latest
         record a",
    );
    assert!(world.released().plan().is_empty());
}

#[test]
fn variants_by_arguments() {
    let variants = "[image.dev.variant]\nbase = { args = {}, suffix = \"\" }\nomos = { args = { INSTALL = \"true\" } }";
    let world = family(&[
        image("base", ""),
        image(
            "dev",
            &format!(
                "from = \"base\"\ntags = [\"v{{version}}{{suffix}}\"]\nrolling = [\"latest{{suffix}}\"]\n{variants}"
            ),
        ),
    ]);
    expect(
        &world,
        "base: make, not published yet
         dev/base: make, not published yet
         dev/omos: make, not published yet
         build base dev/base dev/omos
         push a:base a:dev/base a:dev/omos
         tag a:v1.0.0 a:v1.0.0-omos
         verify a
         roll a:latest a:latest-omos
         record a",
    );
    assert!(world.released().plan().is_empty());
}

#[test]
fn two_images_on_one_base_with_releases_of_its_own() {
    let world = family(&[
        image("base", RELEASED),
        image("one", &format!("from = \"base\"\n{RELEASED}")),
        image("two", &format!("from = \"base\"\n{RELEASED}")),
    ]);
    same(
        &done(&world.plan()),
        "build base one two
         push a:base a:one a:two
         tag a:v1.0.0 a:v1.0.0 a:v1.0.0
         verify a
         roll a:latest a:latest a:latest
         record a",
    );
    let order = |world: &World| -> Vec<String> {
        let rolls = world.plan().actions;
        let nodes = rolls.iter().filter_map(|action| match action {
            launchway_plan::Action::Roll { node, .. } => Some(node.to_string()),
            _ => None,
        });
        nodes.collect()
    };
    assert_eq!(order(&world), ["one", "two", "base"]);
    // A base with releases of its own follows those, not its family's.
    let behind = world.clone().holds("a one:v2.0.0 listed");
    assert_eq!(order(&behind), ["two", "base"]);
    let behind = world.holds("a base:v2.0.0 listed");
    assert_eq!(order(&behind), ["one", "two"]);
}

fn chain() -> World {
    family(&[
        image("base", "rolling = [\"latest\"]"),
        image("mid", "from = \"base\"\nrolling = [\"latest\"]"),
        image(
            "top",
            "from = \"mid\"\ntags = [\"v{version}{suffix}\"]\n[image.top.variant]\na = { args = {}, suffix = \"\" }\nb = { args = { INSTALL = \"b\" } }",
        ),
    ])
}

#[test]
fn a_chain_of_bases_moves_from_the_top_down() {
    let rolls = |world: &World| -> Vec<String> {
        let plan = world.plan();
        let rolled = plan.actions.iter().filter_map(|action| match action {
            launchway_plan::Action::Roll { node, .. } => Some(node.to_string()),
            _ => None,
        });
        rolled.chain(plan.remarks.iter().cloned()).collect()
    };
    assert_eq!(rolls(&chain()), ["mid", "base"]);
    assert_eq!(
        rolls(&chain().only(&["a"])),
        [
            "the rolling tags of mid wait for top/b",
            "the rolling tags of base wait for top/b"
        ]
    );
    assert_eq!(
        rolls(&chain().holds("a top:v1.0.1 listed")),
        ["latest stays where it is: 1.0.1 is newer",]
    );
    assert!(chain().released().plan().is_empty());
    // A change of the lowest base is one of everything above it.
    let changed = chain().released().version("1.1.0").target("base", |facts| {
        facts.instructions.push("RUN x".into());
    });
    expect(
        &changed,
        "base: make, instructions changed
         mid: make, base changed
         top/a: make, not published yet
         top/b: make, not published yet
         build base mid top/a top/b
         push a:base a:mid a:top/a a:top/b
         tag a:v1.1.0 a:v1.1.0-b
         verify a
         roll a:latest* a:latest*
         record a",
    );
}

#[test]
fn tests_run_on_every_platform_before_the_first_tag() {
    let smoke = "[[image.solo.smoke]]\nrun = [\"true\"]";
    let both = HEAD.replace("[\"linux/amd64\"]", "[\"linux/arm64\", \"linux/amd64\"]");
    let solo = |keys: &str| {
        World::new(&format!(
            "{both}{}",
            image("solo", &format!("{keys}\n{smoke}"))
        ))
    };
    same(
        &done(&solo(RELEASED).plan()),
        "build solo/amd64 solo/arm64
         push a:solo
         smoke solo/amd64 solo/arm64
         tag a:v1.0.0
         verify a
         roll a:latest
         record a",
    );
    // Without release tags, before the rolling ones.
    let rolling = solo("rolling = [\"latest\", \"edge\"]");
    same(
        &done(&rolling.plan()),
        "build solo/amd64 solo/arm64
         push a:solo
         smoke solo/amd64 solo/arm64
         verify a
         roll a:latest a:edge
         record a",
    );
    let half = rolling.partly(|_, action| !action_writes(action, "edge"));
    same(&done(&half.plan()), "verify a\nroll a:edge\nrecord a");
    // An unchanged image is tested again under a new version: its tests may have changed.
    same(
        &done(&solo(RELEASED).released().version("1.1.0").plan()),
        "smoke solo/amd64 solo/arm64
         tag a:v1.1.0
         verify a
         record a",
    );
}

fn action_writes(action: &launchway_plan::Action, tag: &str) -> bool {
    matches!(action, launchway_plan::Action::Roll { reference, .. }
        if reference.tag.as_ref().is_some_and(|one| one.as_str() == tag))
}

#[test]
fn published_tags_of_an_older_recipe_are_taken_over() {
    let world = family(&[
        image("base", "hash = \"concat\""),
        image("dev", &format!("from = \"base\"\n{RELEASED}")),
    ]);
    // Pushed by another program, so without annotations.
    let world = world.holds("a @base foreign x");
    expect(
        &world,
        "base: on a
         dev: make, not published yet
         build dev
         push a:dev
         tag a:v1.0.0
         verify a
         roll a:latest
         record a",
    );
}

#[test]
fn a_neutral_feature_is_planned_for_every_platform() {
    let text = crate::world::DEV.replace("[\"linux/amd64\"]", "[\"linux/amd64\", \"linux/arm64\"]")
        + "\n[image.dev.feature.pi]\nneutral = true\n";
    let plan = World::new(&text).plan();
    let neutral = |id: &str| {
        let node = plan
            .graph
            .nodes
            .iter()
            .find(|node| node.id.as_str() == id)
            .unwrap();
        matches!(&node.make, launchway_plan::Make::Build(recipe) if recipe.neutral)
    };
    assert!(neutral("dev/feature/pi"));
    assert!(!neutral("dev/feature/opencode"));
    assert!(done(&plan).starts_with(
        "build base/amd64 base/arm64 dev/feature/opencode/amd64 dev/feature/opencode/arm64 dev/feature/pi/amd64 dev/feature/pi/arm64\n"
    ));
}
