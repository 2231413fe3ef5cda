//! Several registries, one of which is down at the start or dies on the way.

use launchway_testkit::proxy::{Harm, Proxy, Rule};
use serde_json::Value;

use crate::lab::{Lab, Machine, built, of_kind, platform, text};
use crate::lab_registry::Registry;

/// Both registries hold the same release.
#[track_caller]
fn same(one: &Registry, other: &Registry) {
    let published = |registry: &Registry| {
        let mut tags = registry.tags();
        // Records name their registry and the time.
        tags.retain(|tag, _| !tag.starts_with("launchway-record"));
        // Features that nothing asks for are copied when something does.
        tags.retain(|_, digest| {
            let node =
                &registry.document("fam/toolbox", digest)["annotations"]["dev.launchway.node"];
            !text(node).contains("/feature/")
        });
        tags
    };
    assert_eq!(published(one), published(other));
    // The largest variant has every layer that there is.
    other.image_for("v1.0.0-all", &platform());
}

/// The kinds of a plan's actions without repetitions.
fn kinds(plan: &Value) -> Vec<String> {
    let mut kinds: Vec<String> = plan["actions"]
        .as_array()
        .expect("a plan has actions")
        .iter()
        .map(|action| text(&action["action"]))
        .collect();
    kinds.dedup();
    kinds
}

#[test]
fn a_registry_that_is_down_is_finished_later() {
    let Some(lab) = Lab::new("a_registry_that_is_down_is_finished_later") else {
        return;
    };
    let first = lab.registry("first");
    let mut second = lab.empty_registry("second");
    let version = "v1.0.0";
    let family = lab.family(&[&first.prefix(), &second.prefix()], &first.host);
    let machine = lab.machine("a");
    second.stop();
    let done = machine.text(&family, &["release", version]);
    done.expect(1)
        .says("degraded")
        .says(&format!(
            "{} still lacks 22 references of v1.0.0",
            second.prefix()
        ))
        .says("and 14 more");
    assert!(first.names().contains(&"latest-all".to_owned()));
    first.image("v1.0.0-all");
    // Still down: the other one has everything, which is said, and no success.
    let done = machine.text(&family, &["release", version]);
    done.expect(1)
        .says("on every registry that answers")
        .says("degraded");
    let verified = machine.text(&family, &["verify", version]);
    verified.expect(4);

    second.start_again();
    // From another machine, which has none of the layers.
    let other = lab.machine("b");
    let plan = other.plan(&family, &[version]);
    assert_eq!(kinds(&plan), ["copy", "tag", "verify", "roll", "record"]);
    let events = other.release(&family, &[version]);
    assert!(built(&events).is_empty());
    same(&first, &second);
    machine
        .text(&family, &["release", version])
        .expect(0)
        .says("nothing to do");
    machine.text(&family, &["verify", version]).expect(0);
}

#[test]
fn what_a_registry_lacks_of_earlier_releases_is_remembered() {
    let Some(lab) = Lab::new("what_a_registry_lacks_of_earlier_releases_is_remembered") else {
        return;
    };
    let first = lab.registry("first");
    let mut second = lab.empty_registry("second");
    let family = lab.family(&[&first.prefix(), &second.prefix()], &first.host);
    let machine = lab.machine("a");
    second.stop();
    let done = machine.json(&family, &["release", "v1.0.0"]);
    done.expect(1);
    let events = done.events();
    let lacking = &of_kind(&events, "finished")[0]["lacking"];
    assert_eq!(lacking.as_array().map(Vec::len), Some(1), "{lacking}");
    assert_eq!(text(&lacking[0]["registry"]), second.prefix());
    let references = lacking[0]["references"].as_array().unwrap();
    for tag in ["v1.0.0", "v1.0.0-all", "latest", "launchway-record-v1.0.0"] {
        let reference = format!("{}/toolbox:{tag}", second.prefix());
        assert!(references.contains(&reference.into()), "{tag}");
    }

    second.start_again();
    let note = format!(
        "{} lacks {} references of 1.0.0",
        second.prefix(),
        references.len()
    );
    machine
        .text(&family, &["release", "v1.0.1"])
        .expect(0)
        .says(&note);
    machine
        .text(&family, &["plan", "v1.0.1"])
        .expect(0)
        .says(&note);
    let done = machine.text(&family, &["release", "v1.0.0"]);
    done.expect(0);
    let done = machine.text(&family, &["plan", "v1.0.1"]);
    done.expect(0);
    assert!(!done.stderr.contains("lacks"), "{}", done.stderr);
}

#[test]
fn a_record_that_was_never_written_is_added() {
    let Some(lab) = Lab::new("a_record_that_was_never_written_is_added") else {
        return;
    };
    let first = lab.registry("first");
    let proxy = Proxy::start(
        &first.host,
        vec![Rule::new("PUT", "/manifests/launchway-record-", Harm::Die).times(1)],
    );
    let prefix = format!("{}/fam", proxy.host());
    let family = lab.family(&[&prefix], &first.host);
    let machine = lab.machine("a");
    machine
        .text(&family, &["release", "v1.0.0"])
        .expect(1)
        .says("still lacks 1 reference");
    assert!(first.tags().contains_key("latest-all"));
    proxy.set_rules(Vec::new());
    let plan = machine.plan(&family, &["v1.0.0"]);
    assert_eq!(kinds(&plan), ["record"]);
    machine.release(&family, &["v1.0.0"]);
    assert!(first.tags().contains_key("launchway-record-v1.0.0"));
    let done = machine.text(&family, &["release", "v1.0.0"]);
    done.expect(0).says("nothing to do");
}

#[test]
fn with_every_registry_down_nobody_can_tell() {
    let Some(lab) = Lab::new("with_every_registry_down_nobody_can_tell") else {
        return;
    };
    let mut registry = lab.registry("first");
    let bases = lab.registry("bases");
    let family = lab.family(&[&registry.prefix()], &bases.host);
    registry.stop();
    for command in ["plan", "release", "verify"] {
        let done = lab.machine("a").text(&family, &[command, "v1.0.0"]);
        done.expect(4);
    }
}

/// A family on two registries, with a proxy before one of them.
fn dying(
    lab: &Lab,
    rules: Vec<Rule>,
    dying_is_first: bool,
) -> (Registry, Registry, Proxy, crate::lab::Family, Machine) {
    let good = lab.registry("good");
    let dying = lab.empty_registry("dying");
    let proxy = Proxy::start(&dying.host, rules);
    let behind = format!("{}/fam", proxy.host());
    let mut prefixes = [good.prefix(), behind];
    if dying_is_first {
        prefixes.reverse();
    }
    let family = lab.family(&[&prefixes[0], &prefixes[1]], &good.host);
    let machine = lab.machine("a");
    (good, dying, proxy, family, machine)
}

#[test]
fn a_registry_that_dies_on_the_way_stops_only_itself() {
    const NAME: &str = "a_registry_that_dies_on_the_way_stops_only_itself";
    // From the moment of the first such request on it is dead.
    for (method, part, dying_is_first) in [
        ("POST", "/blobs/uploads/", false),
        ("PUT", "/blobs/uploads/", true),
        ("PUT", "/manifests/sha256", false),
        ("PUT", "/manifests/tool-", true),
        ("PUT", "/manifests/v1.0.0-two", false),
        ("PUT", "/manifests/v1.0.0", true),
        ("PUT", "/manifests/latest-two", false),
    ] {
        let Some(lab) = Lab::new(NAME) else {
            return;
        };
        let rules = vec![Rule::new(method, part, Harm::Die).times(1)];
        let (good, dead, proxy, family, machine) = dying(&lab, rules, dying_is_first);
        let done = machine.json(&family, &["release", "v1.0.0"]);
        done.expect(1);
        let events = done.events();
        let failed = of_kind(&events, "registry-failed");
        assert_eq!(failed.len(), 1, "{method} {part}: {failed:?}");
        assert_eq!(
            text(&failed[0]["registry"]),
            format!("{}/fam", proxy.host())
        );
        for tag in ["v1.0.0", "latest", "latest-all", "v1-two", "base-latest"] {
            assert!(good.tags().contains_key(tag), "{tag} after {method} {part}");
        }
        let half = dead.tags();
        if part != "/manifests/latest-two" {
            let rolling = half
                .keys()
                .find(|tag| tag.starts_with("latest") || tag.ends_with("-latest"));
            assert_eq!(rolling, None, "after {method} {part}");
        }
        proxy.set_rules(Vec::new());
        let events = machine.release(&family, &["v1.0.0"]);
        assert!(
            built(&events).is_empty(),
            "{method} {part}: {:?}",
            built(&events)
        );
        same(&good, &dead);
        machine.text(&family, &["verify", "v1.0.0"]).expect(0);
    }
}

#[test]
fn a_registry_that_dies_while_it_is_tested_from_leaves_the_other() {
    let Some(lab) = Lab::new("a_registry_that_dies_while_it_is_tested_from_leaves_the_other")
    else {
        return;
    };
    // The first registry is the one that tests ask; it dies with the first question about a digest
    // after everything is pushed.
    let rules = vec![Rule::new("GET", "/manifests/sha256", Harm::Die).times(1)];
    let (good, dead, proxy, family, machine) = dying(&lab, rules, true);
    let done = machine.text(&family, &["release", "v1.0.0"]);
    done.expect(1);
    assert!(good.tags().contains_key("latest-all"), "{}", done.stderr);
    assert!(!dead.tags().contains_key("latest-all"));
    proxy.set_rules(Vec::new());
    machine.release(&family, &["v1.0.0"]);
    same(&good, &dead);
}

#[test]
fn what_one_registry_cannot_give_is_read_from_the_other() {
    let Some(lab) = Lab::new("what_one_registry_cannot_give_is_read_from_the_other") else {
        return;
    };
    let (first, second) = (lab.registry("first"), lab.empty_registry("second"));
    let proxy = Proxy::start(&first.host, Vec::new());
    let prefix = format!("{}/fam", proxy.host());
    let family = lab.family(&[&prefix, &second.prefix()], &first.host);
    lab.machine("a").release(&family, &["v1.0.0"]);
    family.edit(
        "launchway.toml",
        "TWO_VERSION = \"2.0.0\"",
        "TWO_VERSION = \"2.0.1\"",
    );
    // A machine without layers reads the base from the first registry, which cannot give it.
    let blobs = Rule::new("GET", "/fam/toolbox/blobs/", Harm::status(500));
    proxy.set_rules(vec![blobs]);
    let fresh = lab.machine("fresh");
    fresh.release(&family, &["v1.0.1"]);
    assert!(proxy.harmed() > 0);
    proxy.set_rules(Vec::new());
    fresh.text(&family, &["verify", "v1.0.1"]).expect(0);
    same(&first, &second);
}

#[test]
fn what_no_registry_can_give_stops_the_release() {
    let Some(lab) = Lab::new("what_no_registry_can_give_stops_the_release") else {
        return;
    };
    let first = lab.registry("first");
    let proxy = Proxy::start(&first.host, Vec::new());
    let prefix = format!("{}/fam", proxy.host());
    let family = lab.family(&[&prefix], &first.host);
    lab.machine("a").release(&family, &["v1.0.0"]);
    let before = first.tags();
    family.edit(
        "launchway.toml",
        "TWO_VERSION = \"2.0.0\"",
        "TWO_VERSION = \"2.0.1\"",
    );
    let blobs = Rule::new("GET", "/fam/toolbox/blobs/", Harm::status(500));
    proxy.set_rules(vec![blobs]);
    let fresh = lab.machine("fresh");
    let done = fresh.text(&family, &["release", "v1.0.1"]);
    done.expect(1).says(&proxy.host());
    assert_eq!(first.tags()["latest-two"], before["latest-two"]);
    proxy.set_rules(Vec::new());
    fresh.release(&family, &["v1.0.1"]);
    fresh.text(&family, &["verify", "v1.0.1"]).expect(0);
}
