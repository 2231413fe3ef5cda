//! Which rolling tags move.

use crate::shown::{done, expect, same};
use crate::world::{DEV, World};

/// The rolling tags that move, and the remarks.
fn rolls(world: &World) -> String {
    let plan = world.plan();
    let all = done(&plan);
    let moved = all.lines().find_map(|line| line.strip_prefix("roll "));
    let mut text = vec![moved.unwrap_or("none").to_owned()];
    text.extend(plan.remarks.iter().map(|remark| format!("# {remark}")));
    text.join("\n")
}

/// One registry, and lines for major and minor versions.
fn lines() -> String {
    DEV.replace(", \"ghcr.io/me\"", "").replace(
        "rolling = [\"latest{suffix}\"]",
        "rolling = [\"latest{suffix}\", \"v{major}{suffix}\", \"v{major}.{minor}{suffix}\"]",
    )
}

#[test]
fn nothing_moves_when_asked_so_or_for_a_prerelease() {
    let mut world = World::new(DEV);
    world.request.promote = false;
    same(
        &rolls(&world),
        "none\n# rolling tags stay where they are, as asked",
    );
    assert!(done(&world.plan()).contains("tag a:v1.0.0 b:v1.0.0 a:v1.0.0-pi"));
    same(
        &rolls(&World::new(DEV).version("1.0.0-rc.1")),
        "none\n# rolling tags stay where they are: 1.0.0-rc.1 is a prerelease",
    );
    let mut world = World::new(DEV);
    world.request.version = None;
    expect(
        &world,
        "base: make, not published yet
         dev/feature/opencode: make, not published yet
         dev/feature/pi: make, not published yet
         dev/base: make, not published yet
         dev/pi: make, not published yet
         build base dev/feature/opencode dev/feature/pi
         graft dev/base dev/pi
         push a:base b:base a:dev/feature/opencode b:dev/feature/opencode a:dev/feature/pi b:dev/feature/pi a:dev/base b:dev/base a:dev/pi b:dev/pi
         smoke dev/base dev/pi",
    );
}

#[test]
fn promotion_can_follow_later() {
    let mut world = World::new(DEV);
    world.request.promote = false;
    let mut world = world.released();
    world.request.promote = true;
    same(
        &done(&world.plan()),
        "verify a b
         roll a:latest b:latest a:latest-pi b:latest-pi a:base-latest b:base-latest
         record a b",
    );
}

#[test]
fn rolling_tags_never_go_backwards() {
    for (version, listed, want) in [
        (
            "1.2.3",
            "v1.2.2 v1.2.2-pi",
            "a:latest a:v1 a:v1.2 a:latest-pi a:v1-pi a:v1.2-pi a:base-latest",
        ),
        // A newer patch of the same line.
        (
            "1.2.3",
            "v1.2.4",
            "a:latest-pi a:v1-pi a:v1.2-pi
             # latest stays where it is: 1.2.4 is newer
             # v1 stays where it is: 1.2.4 is newer
             # v1.2 stays where it is: 1.2.4 is newer
             # base-latest stays where it is: 1.2.4 is newer",
        ),
        // A newer minor or major version leaves the older lines to move.
        (
            "1.2.3",
            "v1.3.0 v1.3.0-pi",
            "a:v1.2 a:v1.2-pi
             # latest stays where it is: 1.3.0 is newer
             # v1 stays where it is: 1.3.0 is newer
             # latest-pi stays where it is: 1.3.0 is newer
             # v1-pi stays where it is: 1.3.0 is newer
             # base-latest stays where it is: 1.3.0 is newer",
        ),
        (
            "1.2.3",
            "v2.0.0 v10.0.0 v9.0.0 v2.0.0-pi",
            "a:v1 a:v1.2 a:v1-pi a:v1.2-pi
             # latest stays where it is: 10.0.0 is newer
             # latest-pi stays where it is: 2.0.0 is newer
             # base-latest stays where it is: 10.0.0 is newer",
        ),
        // A letter is a rebuild, newer than the version without.
        (
            "1.2.3",
            "v1.2.3b",
            "a:latest-pi a:v1-pi a:v1.2-pi
             # latest stays where it is: 1.2.3b is newer
             # v1 stays where it is: 1.2.3b is newer
             # v1.2 stays where it is: 1.2.3b is newer
             # base-latest stays where it is: 1.2.3b is newer",
        ),
        (
            "1.2.3c",
            "v1.2.3 v1.2.3b v1.2.3b-pi",
            "a:latest a:v1 a:v1.2 a:latest-pi a:v1-pi a:v1.2-pi a:base-latest",
        ),
        // Prereleases are followed by nothing; another program's tags are no releases.
        (
            "1.2.3",
            "v2.0.0-rc.1 2.0.0 v2 v2.0 v2.0.0.1 xv2.0.0",
            "a:latest a:v1 a:v1.2 a:latest-pi a:v1-pi a:v1.2-pi a:base-latest",
        ),
        // `v2.0.0-pi` is a release of the variant, and no version of the one without suffix.
        (
            "1.2.3",
            "v2.0.0-pi",
            "a:latest a:v1 a:v1.2 a:v1-pi a:v1.2-pi
             # latest-pi stays where it is: 2.0.0 is newer
             # base-latest stays where it is: 2.0.0 is newer",
        ),
    ] {
        let listed: String = listed
            .split(' ')
            .map(|tag| format!("a dev:{tag} listed\n"))
            .collect();
        let world = World::new(&lines()).version(version).holds(&listed);
        same(&rolls(&world), want);
    }
}

#[test]
fn only_touches_the_variants_it_names() {
    expect(
        &World::new(DEV).only(&["pi"]),
        "base: make, not published yet
         dev/feature/opencode: make, not published yet
         dev/feature/pi: make, not published yet
         dev/base: -
         dev/pi: make, not published yet
         build base dev/feature/opencode dev/feature/pi
         graft dev/pi
         push a:base b:base a:dev/feature/opencode b:dev/feature/opencode a:dev/feature/pi b:dev/feature/pi a:dev/pi b:dev/pi
         smoke dev/pi
         tag a:v1.0.0-pi b:v1.0.0-pi
         verify a b
         roll a:latest-pi b:latest-pi
         record a b
         # the rolling tags of base wait for dev/base",
    );
    // The last variant takes the base along, on the registry where all are.
    let world = World::new(DEV).only(&["pi"]).released().only(&["base"]);
    same(
        &rolls(&world),
        "a:latest b:latest a:base-latest b:base-latest",
    );
    // A variant without release tags counts as released when its content is there.
    let untagged = DEV.replace("tags = [\"v{version}{suffix}\"]\n", "");
    same(
        &rolls(&World::new(&untagged).only(&["pi"])),
        "a:latest-pi b:latest-pi
         # the rolling tags of base wait for dev/base",
    );
    // Another image is touched only when something asked for is built on it.
    let tools = format!(
        "{DEV}\n[image.tools]\ndockerfile = \"Dockerfile.tools\"\nrepository = \"tools\"\ntags = [\"v{{version}}\"]\n"
    );
    let plan = World::new(&tools).only(&["pi"]).plan();
    assert!(!done(&plan).contains("tools"), "{}", done(&plan));
    assert!(done(&World::new(&tools).plan()).contains("a:tools"));
}

#[test]
fn an_other_content_under_a_rolling_tag_is_moved_over() {
    let world = World::new(DEV).released().holds(
        "a dev:latest foreign x
         b dev:latest-pi dev/pi again",
    );
    same(&rolls(&world), "a:latest* b:latest-pi*");
}
