//! Whatever the registries hold: a plan is sound, and carried out it leaves nothing to do.

use launchway_plan::{Decision, Observed, check, to_json};
use proptest::prelude::*;

use crate::world::{DEV, World, sha};

/// What may stand under one reference.
#[derive(Clone, Copy, Debug)]
enum Held {
    Absent,
    Right,
    /// Other bytes of the same inputs.
    Again,
    Foreign,
    Unknown,
}

fn held() -> impl Strategy<Value = Held> {
    prop_oneof![
        8 => Just(Held::Absent),
        8 => Just(Held::Right),
        1 => Just(Held::Again),
        1 => Just(Held::Foreign),
        1 => Just(Held::Unknown),
    ]
}

/// Families of several shapes; the last has a chain of bases and registries on one host.
fn shape(at: usize) -> World {
    let chain = DEV.replace("ghcr.io/me", "docker.io/me/below").replace(
        "[image.dev]\nfrom = \"base\"",
        "[image.mid]\nfrom = \"base\"\ndockerfile = \"Dockerfile.mid\"\nrepository = \"mid\"\ntags = [\"v{version}\", \"{version}\"]\nrolling = [\"latest\", \"v{major}\"]\n[image.dev]\nfrom = \"mid\"",
    );
    let older = DEV.replace("content-tag", "hash = \"concat\"\ncontent-tag");
    World::new([DEV, &chain, &older][at])
}

/// Fills the registries: `states` is what stands under each reference that matters, in their order.
fn fill(world: &mut World, states: &[Held]) {
    let graph = world.graph();
    let mut at = 0;
    for registry in world.registries.clone() {
        for node in &graph.nodes {
            let rolling = node.rolling_tags.iter().map(|rolling| &rolling.tag);
            let tags = std::iter::once(&node.content_tag)
                .chain(&node.release_tags)
                .chain(rolling);
            for tag in tags {
                let reference = registry
                    .repository(&node.repository)
                    .unwrap()
                    .with_tag(tag.clone());
                let made = |digest: String| Observed::Present {
                    digest: sha(&digest),
                    annotations: crate::world::annotations(node),
                };
                let observed = match states[at % states.len()] {
                    Held::Absent => Observed::Absent,
                    Held::Right => made(node.hash.to_string()),
                    Held::Again => made(format!("{} again", node.hash)),
                    Held::Foreign => Observed::Present {
                        digest: sha("foreign"),
                        annotations: Default::default(),
                    },
                    Held::Unknown => Observed::Unknown {
                        why: "down".to_owned(),
                    },
                };
                world.inventory.insert(reference, observed);
                at += 1;
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_plan_is_sound_and_leaves_nothing_to_do(
        at in 0_usize..3,
        states in prop::collection::vec(held(), 1..60),
        sparse in any::<bool>(),
        only in prop::option::of(prop::sample::subsequence(vec!["base", "pi"], 1..=2)),
        promote in any::<bool>(),
        version in prop::option::of(prop::sample::select(vec!["1.0.0", "1.0.0b", "2.0.0-rc.1"])),
        newer in any::<bool>(),
        unlisted in any::<bool>(),
    ) {
        let mut world = shape(at);
        world.request.version = version.map(|version| version.parse().unwrap());
        world.request.promote = promote;
        if let Some(only) = only {
            world = world.only(&only);
        }
        // Most inventories without foreign tags, so that many are not refused.
        let states: Vec<Held> = states
            .into_iter()
            .map(|held| match held {
                Held::Foreign | Held::Unknown if sparse => Held::Absent,
                other => other,
            })
            .collect();
        fill(&mut world, &states);
        if newer {
            world = world.holds("a dev:v1.0.1 listed\nb dev:v3.0.0-pi listed");
        }
        if unlisted {
            world.unlisted.insert(1);
        }
        let Decision::Plan(plan) = world.decide() else {
            return Ok(());
        };
        prop_assert_eq!(check(&plan), Ok(()));
        let Decision::Plan(again) = world.decide() else {
            panic!("decided otherwise the second time");
        };
        prop_assert_eq!(to_json(&plan), to_json(&again));
        world.apply(&plan, |_, _| true);
        let Decision::Plan(after) = world.decide() else {
            panic!("refused after it was done");
        };
        prop_assert_eq!(check(&after), Ok(()));
        prop_assert!(after.is_empty(), "{}", crate::shown::shown(&after));
    }

    #[test]
    fn stopping_anywhere_and_going_on_gives_the_same_end(
        at in 0_usize..3,
        stop in 0_usize..60,
    ) {
        let finished = shape(at).released();
        let mut world = shape(at).partly(|at, _| at < stop);
        let plan = world.plan();
        world.apply(&plan, |_, _| true);
        prop_assert_eq!(world.inventory, finished.inventory);
    }
}
