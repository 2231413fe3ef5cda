use proptest::collection::{btree_set, vec};
use proptest::prelude::*;

use super::*;

const NOW: i64 = 1_000_000;

fn item(id: &str, kind: Kind, size: u64, age: i64, needs: &[&str]) -> Item {
    Item {
        id: ItemId::new(id),
        kind,
        size,
        used: NOW - age,
        about: String::new(),
        needs: needs.iter().map(|id| ItemId::new(*id)).collect(),
        follows: false,
        is_dead: false,
        is_pinned: false,
        is_held: false,
    }
}

/// A base image, two steps on it, and a cache mount:
///
/// ```text
/// name → manifest → config → base → base blob
///            ↘ base blob          step1 → one → one blob    step2 → two
/// ```
fn world() -> Vec<Item> {
    let follows = |item: Item| Item {
        follows: true,
        ..item
    };
    vec![
        item("image debian", Kind::Images, 0, 50, &["blob manifest"]),
        follows(item(
            "blob manifest",
            Kind::Images,
            1,
            50,
            &["blob config", "blob base"],
        )),
        follows(item("blob config", Kind::Images, 1, 50, &["layer base"])),
        item("layer base", Kind::Layers, 100, 50, &["blob base"]),
        follows(item("blob base", Kind::Layers, 30, 90, &[])),
        item("step 1", Kind::Steps, 1, 20, &["layer one"]),
        item("layer one", Kind::Layers, 200, 40, &["blob one"]),
        follows(item("blob one", Kind::Layers, 60, 40, &[])),
        item("step 2", Kind::Steps, 1, 10, &["layer two"]),
        item("layer two", Kind::Layers, 300, 10, &[]),
        item("cache-mount c", Kind::CacheMounts, 500, 30, &[]),
    ]
}

fn with(change: impl Fn(&mut Item)) -> Vec<Item> {
    let mut items = world();
    items.iter_mut().for_each(change);
    items
}

fn gone(items: &[Item], policy: &Policy) -> String {
    let removals = decide(items, policy, NOW);
    let names: Vec<String> = removals.iter().map(|one| one.id.to_string()).collect();
    names.join(", ")
}

fn kinds(kinds: &[Kind]) -> BTreeSet<Kind> {
    kinds.iter().copied().collect()
}

#[test]
fn nothing_goes_without_a_rule() {
    assert_eq!(gone(&world(), &Policy::default()), "");
}

#[test]
fn the_oldest_go_first_and_nothing_goes_after_what_it_needs() {
    let keep = |keep| Policy {
        keep_size: Some(keep),
        ..Policy::default()
    };
    let base = "image debian, blob manifest, blob config, layer base, blob base";
    for (size, want) in [
        (1_194, String::new()),
        (1_193, "image debian, blob manifest, blob config".to_owned()),
        (1_190, base.to_owned()),
        (1_062, base.to_owned()),
        (1_061, format!("{base}, cache-mount c")),
        (561, format!("{base}, cache-mount c, step 1")),
        (
            560,
            format!("{base}, cache-mount c, step 1, layer one, blob one"),
        ),
        (
            0,
            format!("{base}, cache-mount c, step 1, layer one, blob one, step 2, layer two"),
        ),
    ] {
        // What follows the name goes with it only when it must: the name itself is of no size.
        let got = gone(&world(), &keep(size));
        assert_eq!(got, want, "{size}");
    }
}

#[test]
fn age_is_that_of_the_youngest_use() {
    let older = |age| Policy {
        older_than: Some(age),
        ..Policy::default()
    };
    // The layer of step 1 was itself used long ago.
    assert_eq!(
        gone(&world(), &older(35)),
        "image debian, blob manifest, blob config, layer base, blob base"
    );
    assert_eq!(
        gone(&world(), &older(30)),
        "image debian, blob manifest, blob config, layer base, blob base, cache-mount c"
    );
    assert_eq!(gone(&world(), &older(51)), "");
    let removals = decide(&world(), &older(35), NOW);
    assert_eq!(removals[0].why, Reason::Unused(50));
}

#[test]
fn what_is_pinned_or_held_stays_with_all_it_needs() {
    let all = Policy {
        all: true,
        ..Policy::default()
    };
    let pinned = with(|item| item.is_pinned = item.id.as_str() == "image debian");
    assert_eq!(
        gone(&pinned, &all),
        "cache-mount c, step 1, layer one, blob one, step 2, layer two"
    );
    let held = with(|item| item.is_held = item.kind == Kind::Layers);
    assert_eq!(
        gone(&held, &all),
        "image debian, blob manifest, blob config, cache-mount c, step 1, step 2"
    );
    let spared = Policy {
        spare: Some(25),
        ..all
    };
    assert_eq!(
        gone(&world(), &spared),
        "image debian, blob manifest, blob config, layer base, blob base, cache-mount c"
    );
}

#[test]
fn of_one_kind_what_needs_it_goes_too() {
    let of = |chosen: &[Kind]| Policy {
        kinds: kinds(chosen),
        all: true,
        ..Policy::default()
    };
    assert_eq!(gone(&world(), &of(&[Kind::CacheMounts])), "cache-mount c");
    assert_eq!(gone(&world(), &of(&[Kind::Steps])), "step 1, step 2");
    assert_eq!(gone(&world(), &of(&[Kind::Downloads])), "");
    let layers = gone(&world(), &of(&[Kind::Layers]));
    assert_eq!(
        layers,
        "image debian, blob manifest, blob config, layer base, blob base, step 1, layer one, blob one, step 2, layer two"
    );
    let images = gone(&world(), &of(&[Kind::Images]));
    assert_eq!(images, "image debian, blob manifest, blob config");
}

#[test]
fn what_is_of_no_use_goes_in_any_case() {
    let dead = with(|item| item.is_dead = item.id.as_str() == "step 2");
    assert_eq!(gone(&dead, &Policy::default()), "step 2");
    let other = Policy {
        kinds: kinds(&[Kind::Layers]),
        ..Policy::default()
    };
    assert_eq!(gone(&dead, &other), "");
}

#[test]
fn so_much_is_freed_as_is_asked_for() {
    let free = |bytes| Policy {
        free_bytes: Some(bytes),
        ..Policy::default()
    };
    assert_eq!(gone(&world(), &free(0)), "");
    assert_eq!(
        gone(&world(), &free(1)),
        "image debian, blob manifest, blob config"
    );
    let removals = decide(&world(), &free(400), NOW);
    assert_eq!(removals.iter().map(|one| one.size).sum::<u64>(), 632);
}

/// Things of which each needs some of those after it.
fn items() -> impl Strategy<Value = Vec<Item>> {
    let one = (
        0..Kind::ALL.len(),
        0..100_u64,
        0..100_i64,
        vec(0..12_usize, 0..4),
        (0..8_u8, any::<bool>()),
    );
    vec(one, 0..14).prop_map(|all| {
        let count = all.len();
        all.into_iter()
            .enumerate()
            .map(|(at, (kind, size, age, needs, (flags, follows)))| {
                let needs: Vec<String> = needs
                    .iter()
                    .map(|step| at + 1 + step)
                    .filter(|to| *to < count)
                    .map(|to| format!("x {to}"))
                    .collect();
                let needs: Vec<&str> = needs.iter().map(String::as_str).collect();
                Item {
                    follows,
                    is_pinned: flags == 0,
                    is_held: flags == 1,
                    is_dead: flags == 2,
                    ..item(&format!("x {at}"), Kind::ALL[kind], size, age, &needs)
                }
            })
            .collect()
    })
}

fn policy() -> impl Strategy<Value = Policy> {
    (
        btree_set(prop::sample::select(Kind::ALL.to_vec()), 0..3),
        prop::bool::weighted(0.2),
        prop::option::of(0..100_i64),
        prop::option::of(0..800_u64),
        prop::option::of(0..800_u64),
        prop::option::of(0..60_i64),
    )
        .prop_map(
            |(kinds, all, older_than, keep_size, free_bytes, spare)| Policy {
                kinds,
                all,
                older_than,
                keep_size,
                free_bytes,
                spare,
            },
        )
}

/// Everything that leads to a thing, itself included.
fn users<'i>(items: &'i [Item], id: &ItemId) -> Vec<&'i Item> {
    let mut found: Vec<&Item> = items.iter().filter(|item| item.id == *id).collect();
    let mut at = 0;
    while at < found.len() {
        let id = found[at].id.clone();
        for item in items {
            if item.needs.contains(&id) && !found.iter().any(|one| one.id == item.id) {
                found.push(item);
            }
        }
        at += 1;
    }
    found
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn nothing_goes_that_should_stay(items in items(), policy in policy()) {
        let removals = decide(&items, &policy, NOW);
        let gone: BTreeSet<&ItemId> = removals.iter().map(|one| &one.id).collect();
        prop_assert_eq!(gone.len(), removals.len(), "nothing goes twice");
        let meant = |item: &Item| policy.kinds.is_empty() || policy.kinds.contains(&item.kind);
        let mut so_far: BTreeSet<&ItemId> = BTreeSet::new();
        for removal in &removals {
            let users = users(&items, &removal.id);
            for user in &users {
                prop_assert!(!user.is_pinned && !user.is_held, "{:?} leads to {:?}", user, removal);
                if let Some(spare) = policy.spare {
                    prop_assert!(user.used <= NOW - spare);
                }
                if user.id != removal.id && user.needs.contains(&removal.id) {
                    prop_assert!(so_far.contains(&user.id), "{:?} after {:?}", user, removal);
                }
            }
            let item = users[0];
            match removal.why {
                Reason::All => prop_assert!(policy.all && meant(item)),
                Reason::Unused(_) => {
                    let limit = NOW - policy.older_than.unwrap();
                    prop_assert!(meant(item) && users.iter().all(|user| user.used <= limit));
                }
                Reason::Space => prop_assert!(meant(item)),
                Reason::Dead => prop_assert!(item.is_dead && meant(item)),
                Reason::Needs => prop_assert!(item.needs.iter().any(|id| gone.contains(id))),
                Reason::Follows => {
                    prop_assert!(item.follows);
                    prop_assert!(users.len() > 1 && users[1..].iter().all(|user| gone.contains(&user.id)));
                }
            }
            so_far.insert(&removal.id);
        }
        // What stays has all that it needs.
        for item in items.iter().filter(|item| !gone.contains(&item.id)) {
            for id in &item.needs {
                prop_assert!(!gone.contains(id), "{:?} lost {}", item, id);
            }
        }
    }

    #[test]
    fn as_much_goes_as_was_asked_for(items in items(), policy in policy()) {
        let removals = decide(&items, &policy, NOW);
        let gone: BTreeSet<&ItemId> = removals.iter().map(|one| &one.id).collect();
        let left: Vec<Item> = items.iter().filter(|item| !gone.contains(&item.id)).cloned().collect();
        let stays = |item: &Item| {
            users(&items, &item.id).iter().any(|user| {
                user.is_pinned
                    || user.is_held
                    || policy.spare.is_some_and(|spare| user.used > NOW - spare)
            })
        };
        let meant = |item: &Item| policy.kinds.is_empty() || policy.kinds.contains(&item.kind);
        let could_go = left.iter().any(|item| meant(item) && !stays(item));
        if policy.all {
            prop_assert!(!could_go);
        }
        if let Some(age) = policy.older_than {
            for item in left.iter().filter(|item| meant(item) && !stays(item)) {
                let youngest = users(&left, &item.id).iter().map(|user| user.used).max().unwrap();
                prop_assert!(youngest > NOW - age || users(&items, &item.id).iter().any(|user| user.used > NOW - age));
            }
        }
        if let Some(keep) = policy.keep_size {
            let size: u64 = left.iter().filter(|item| meant(item)).map(|item| item.size).sum();
            prop_assert!(size <= keep || !could_go);
        }
        if let Some(free) = policy.free_bytes {
            let freed: u64 = removals.iter().map(|one| one.size).sum();
            prop_assert!(freed >= free || !could_go);
        }
        // The same rules find nothing more, but for what is to be freed anew.
        let again = Policy { free_bytes: None, ..policy.clone() };
        if policy.free_bytes.is_none() && policy.older_than.is_none() {
            prop_assert_eq!(decide(&left, &again, NOW), []);
        }
    }
}
