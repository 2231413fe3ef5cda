//! The whole way of a family: what is published, and what a second release does.

use launchway_testkit::flatten;
use launchway_testkit::proxy::Proxy;
use serde_json::Value;

use crate::lab::{Lab, built, content, fields, of_kind, platform, text, tool};
use crate::lab_registry::Registry;

#[test]
fn a_family_is_built_published_promoted_and_then_left_alone() {
    let Some(lab) = Lab::new("a_family_is_built_published_promoted_and_then_left_alone") else {
        return;
    };
    let registry = lab.registry("registry");
    let family = lab.family(&[&registry.prefix()], &registry.host);
    let machine = lab.machine("a");

    let first = machine.json(&family, &["plan", "v1.0.0"]);
    let second = lab.machine("b").json(&family, &["plan", "v1.0.0"]);
    first.expect(0);
    assert_eq!(
        first.stdout, second.stdout,
        "planning twice gives the same bytes"
    );

    let events = machine.release(&family, &["v1.0.0"]);
    assert_eq!(
        built(&events),
        [
            "base",
            "tool/feature/one",
            "tool/feature/three",
            "tool/feature/two"
        ]
    );
    assert_eq!(of_kind(&events, "conflict").len(), 0);
    assert_eq!(
        registry.names(),
        [
            "base-latest",
            "latest",
            "latest-all",
            "latest-three",
            "latest-two",
            "launchway-record-v1.0.0",
            "v1",
            "v1-all",
            "v1-three",
            "v1-two",
            "v1.0.0",
            "v1.0.0-all",
            "v1.0.0-three",
            "v1.0.0-two",
        ]
    );
    let tags = registry.tags();
    for suffix in ["", "-two", "-three", "-all"] {
        let digest = &tags[&format!("v1.0.0{suffix}")];
        assert_eq!(tags[&format!("latest{suffix}")], *digest);
        assert_eq!(tags[&format!("v1{suffix}")], *digest);
    }

    // What is published under content tags is what the plan said, and says what it was made from.
    let plan: Value = serde_json::from_str(&first.stdout).unwrap();
    for node in plan["nodes"].as_array().unwrap() {
        let index = registry.index(&text(&node["content-tag"]));
        let annotations = &index["annotations"];
        assert_eq!(annotations["dev.launchway.input-hash"], node["input-hash"]);
        assert_eq!(annotations["dev.launchway.node"], node["id"]);
    }

    // Each variant holds its features and nothing else.
    for (tag, tools) in [
        ("v1.0.0", &["one"][..]),
        ("v1.0.0-two", &["one", "two"]),
        ("v1.0.0-three", &["one", "three"]),
        ("v1.0.0-all", &["one", "two", "three"]),
    ] {
        let image = registry.image(tag);
        for (name, version) in [("one", "1.0.0"), ("two", "2.0.0"), ("three", "3.0.0")] {
            let found = content(&image, &format!("usr/local/bin/{name}"));
            let wanted = tools.contains(&name).then(|| tool(name, version));
            assert_eq!(found, wanted.as_deref(), "{name} in {tag}");
        }
    }

    // The record tells what was done, and holds the digests.
    let record = record(&registry, "launchway-record-v1.0.0");
    assert_eq!(record["schema"], "launchway.release.v1");
    assert_eq!(record["version"], "1.0.0");
    let nodes = record["nodes"].as_array().unwrap();
    let all = nodes
        .iter()
        .find(|node| node["node"] == "tool/all")
        .unwrap();
    assert_eq!(text(&all["digest"]), tags["v1.0.0-all"]);

    let verified = machine.text(&family, &["verify", "v1.0.0"]);
    verified.expect(0).says("references verified");

    let before = registry.everything();
    let again = machine.text(&family, &["release", "v1.0.0"]);
    again.expect(0).says("nothing to do");
    let elsewhere = lab.machine("b").text(&family, &["release", "v1.0.0"]);
    elsewhere.expect(0).says("nothing to do");
    assert_eq!(registry.everything(), before);
    assert_eq!(
        machine.plan(&family, &["v1.0.0"])["actions"],
        Value::Array(Vec::new())
    );
    // As JSON, too, something is said.
    let silent = machine.json(&family, &["release", "v1.0.0"]);
    silent.expect(0);
    let events = silent.events();
    assert_eq!(of_kind(&events, "finished").len(), 1, "{}", silent.stdout);
}

/// The release record under a tag.
pub(crate) fn record(registry: &Registry, tag: &str) -> Value {
    let manifest = registry.index(tag);
    registry.document("fam/toolbox", &text(&manifest["layers"][0]["digest"]))
}

#[test]
fn a_fresh_machine_builds_only_what_changed() {
    let Some(lab) = Lab::new("a_fresh_machine_builds_only_what_changed") else {
        return;
    };
    let registry = lab.registry("registry");
    let proxy = Proxy::start(&registry.host, Vec::new());
    let prefix = format!("{}/fam", proxy.host());
    let family = lab.family(&[&prefix], &registry.host);
    // Smoke tests run what they test, so they need its layers.
    let toml = family.read("launchway.toml");
    family.write(
        "launchway.toml",
        toml.split("[[image.tool.smoke]]").next().unwrap(),
    );
    lab.machine("first").release(&family, &["v1.0.0"]);
    let before = registry.tags();

    family.edit(
        "launchway.toml",
        "TWO_VERSION = \"2.0.0\"",
        "TWO_VERSION = \"2.0.1\"",
    );
    proxy.take_passed();
    let fresh = lab.machine("fresh");
    let plan = fresh.plan(&family, &["v1.0.1"]);
    let nodes = plan["nodes"].as_array().unwrap();
    let reason = |id: &str| text(&nodes.iter().find(|node| node["id"] == id).unwrap()["reason"]);
    assert_eq!(
        reason("tool/two"),
        "TWO_VERSION 2.0.0 → 2.0.1; base unchanged"
    );
    proxy.take_passed();
    let events = fresh.release(&family, &["v1.0.1"]);
    assert_eq!(built(&events), ["tool/feature/two"]);

    // The layers of the other features stay where they are.
    let layer_of = |feature: &str| -> String {
        let tag = before
            .keys()
            .find(|tag| tag.starts_with(&format!("tool-{feature}-")))
            .unwrap();
        let index = registry.index(tag);
        let manifest = registry.document("fam/toolbox", &text(&index["manifests"][0]["digest"]));
        text(&manifest["layers"].as_array().unwrap().last().unwrap()["digest"])
    };
    let passed = proxy.take_passed();
    for feature in ["one", "three"] {
        let layer = layer_of(feature);
        let pulled = passed
            .iter()
            .any(|one| one.method == "GET" && one.target.contains(&layer));
        assert!(!pulled, "the layer of {feature} was pulled");
    }
    assert!(
        passed.iter().any(|one| one.target.contains("/referrers/")),
        "path indexes are asked for"
    );

    let image = registry.image("v1.0.1-all");
    for (name, version) in [("one", "1.0.0"), ("two", "2.0.1"), ("three", "3.0.0")] {
        let found = content(&image, &format!("usr/local/bin/{name}"));
        assert_eq!(found, Some(tool(name, version).as_str()));
    }
    // What did not change is the same image under a new tag.
    assert_eq!(registry.tags()["v1.0.1-three"], before["v1.0.0-three"]);
    assert_ne!(registry.tags()["v1.0.1-two"], before["v1.0.0-two"]);
}

#[test]
fn a_graft_is_what_a_chain_would_have_been() {
    let Some(lab) = Lab::new("a_graft_is_what_a_chain_would_have_been") else {
        return;
    };
    let registry = lab.registry("registry");
    let family = lab.family(&[&registry.prefix()], &registry.host);
    let machine = lab.machine("a");
    machine.release(&family, &["v1.0.0"]);
    let chain = family
        .read("Dockerfile.tool")
        .replace("FROM base AS two", "FROM one AS two")
        .replace("FROM base AS three", "FROM two AS three");
    family.write("chain/Dockerfile", &chain);
    let context = family.folder.join("chain").display().to_string();
    let tag = format!("{}/chain:1", registry.prefix());
    let base = format!(
        "base=docker-image://{}/toolbox:base-latest",
        registry.prefix()
    );
    let versions = [
        "ONE_VERSION=1.0.0",
        "TWO_VERSION=2.0.0",
        "THREE_VERSION=3.0.0",
    ];
    let mut arguments = vec![
        "dockerfile",
        "build",
        "--build-context",
        &base,
        "--tag",
        &tag,
    ];
    for version in &versions {
        arguments.extend(["--build-arg", version]);
    }
    let layout = lab.path().join("chain-layout");
    let output = format!("type=oci,tar=false,dest={}", layout.display());
    arguments.extend(["--output", &output, &context]);
    machine.run(&arguments).expect(0);
    let chained = flatten::flatten(&layout, Some(&platform())).unwrap();
    let grafted = registry.image("v1.0.0-all");
    let shape = |image: &flatten::Image| -> Vec<String> {
        let entries = image.entries.iter();
        entries
            .map(|(path, entry)| format!("{}: {entry}", String::from_utf8_lossy(path)))
            .collect()
    };
    assert_eq!(shape(&grafted), shape(&chained));
    assert_eq!(
        grafted.config["config"]["Env"],
        chained.config["config"]["Env"]
    );
}

#[test]
fn nothing_to_do_costs_few_requests() {
    /// Today's number; it may go down.
    const REQUESTS: usize = 31;
    let Some(lab) = Lab::new("nothing_to_do_costs_few_requests") else {
        return;
    };
    let registry = lab.registry("registry");
    let proxy = Proxy::start(&registry.host, Vec::new());
    let family = lab.family(&[&format!("{}/fam", proxy.host())], &proxy.host());
    let machine = lab.machine("a");
    machine.release(&family, &["v1.0.0"]);
    proxy.take_passed();
    machine
        .text(&family, &["release", "v1.0.0"])
        .expect(0)
        .says("nothing to do");
    let passed = proxy.take_passed();
    let lines: Vec<String> = passed
        .iter()
        .map(|one| format!("{} {}", one.method, one.target))
        .collect();
    assert!(
        passed.len() <= REQUESTS,
        "{} requests, {REQUESTS} before:\n{}",
        passed.len(),
        lines.join("\n")
    );
    assert!(
        passed
            .iter()
            .all(|one| one.method == "GET" || one.method == "HEAD")
    );
}

#[test]
fn verify_tells_good_from_different_from_unknown() {
    let Some(lab) = Lab::new("verify_tells_good_from_different_from_unknown") else {
        return;
    };
    let mut registry = lab.registry("registry");
    let family = lab.family(&[&registry.prefix()], &registry.host);
    let machine = lab.machine("a");
    machine.release(&family, &["v1.0.0"]);
    let states = |code: i32, arguments: &[&str]| -> Vec<(String, String)> {
        let mut all = vec!["verify", "v1.0.0"];
        all.extend(arguments);
        let done = machine.json(&family, &all);
        done.expect(code);
        let found: Value = serde_json::from_str(&done.stdout).expect("the answer is JSON");
        let rows = found["references"].as_array().unwrap().iter();
        rows.filter(|row| row["state"] != "ok")
            .map(|row| (text(&row["reference"]), text(&row["state"])))
            .collect()
    };
    let differs = |tag: &str| {
        (
            format!("{}/toolbox:{tag}", registry.prefix()),
            "differs".to_owned(),
        )
    };
    assert_eq!(states(0, &[]), []);

    // A rolling tag at something else.
    let rolling = differs("latest-two");
    registry.point("latest-two", "latest-all");
    assert_eq!(states(3, &[]), [rolling]);
    assert_eq!(states(0, &["--no-rolling"]), []);
    registry.point("latest-two", "v1.0.0-two");

    // A release tag at another variant.
    let moved = differs("v1.0.0-two");
    registry.point("v1.0.0-two", "v1.0.0-all");
    assert!(states(3, &["--no-rolling"]).contains(&moved));
    registry.point("v1.0.0-two", "latest-two");
    assert_eq!(states(0, &[]), []);

    // A release tag at a plain manifest of somebody else.
    let manifest = text(&registry.index("v1.0.0-all")["manifests"][0]["digest"]);
    registry.point("v1.0.0-two", &manifest);
    assert!(states(3, &["--no-rolling"]).contains(&moved));
    registry.point("v1.0.0-two", "latest-two");

    // A version that was never released.
    let never = machine.text(&family, &["verify", "v9.9.9"]);
    never.expect(3);

    registry.stop();
    let unknown = machine.text(&family, &["verify", "v1.0.0"]);
    unknown.expect(4);
}

#[test]
fn variants_of_arguments_and_images_without_a_base() {
    let Some(lab) = Lab::new("variants_of_arguments_and_images_without_a_base") else {
        return;
    };
    let registry = lab.registry("registry");
    let family = lab.folder("family");
    family.write(
        "launchway.toml",
        &format!(
            r#"[family]
name = "plain"
platforms = ["{}"]
registries = ["{}"]

[image.toolbox]
dockerfile = "Dockerfile"
repository = "toolbox"
tags = ["{{version}}{{suffix}}"]
rolling = ["latest{{suffix}}"]
labels = {{ team = "tools" }}

[image.toolbox.variant]
small = {{ args = {{ SIZE = "small" }}, suffix = "" }}
large = {{ args = {{ SIZE = "large" }}, cmd = ["cat", "/size"] }}

[image.alone]
dockerfile = "Dockerfile"
repository = "alone"
tags = ["{{version}}"]
"#,
            platform(),
            registry.prefix()
        ),
    );
    let dockerfile = format!(
        "FROM {}/library/busybox:1\nARG SIZE=none\nRUN echo $SIZE > /size\nCMD [\"/bin/sh\"]\n",
        registry.host
    );
    family.write("Dockerfile", &dockerfile);
    let machine = lab.machine("a");
    machine.release(&family, &["1.0.0"]);
    let line = |text: &str| launchway_testkit::sha256(format!("{text}\n").as_bytes());
    let (small, large) = (registry.image("1.0.0"), registry.image("1.0.0-large"));
    assert_eq!(content(&small, "size"), Some(line("small").as_str()));
    assert_eq!(content(&large, "size"), Some(line("large").as_str()));
    assert_eq!(small.config["config"]["Labels"]["team"], "tools");
    assert_eq!(
        large.config["config"]["Cmd"],
        serde_json::json!(["cat", "/size"])
    );
    assert!(registry.tags_of("fam/alone").contains_key("1.0.0"));
    machine
        .text(&family, &["release", "1.0.0"])
        .expect(0)
        .says("nothing to do");
    machine.text(&family, &["verify", "1.0.0"]).expect(0);
}

#[test]
fn events_tell_the_release_in_its_order() {
    let Some(lab) = Lab::new("events_tell_the_release_in_its_order") else {
        return;
    };
    let registry = lab.registry("registry");
    let family = lab.family(&[&registry.prefix()], &registry.host);
    let events = lab.machine("a").release(&family, &["v1.0.0"]);
    let phases: Vec<String> = of_kind(&events, "phase-started")
        .iter()
        .map(|event| text(&event["phase"]))
        .collect();
    assert_eq!(
        phases,
        [
            "make", "publish", "smoke", "tag", "verify", "roll", "record"
        ]
    );
    let at = |kind: &str, first: bool| {
        let mut places = events
            .iter()
            .enumerate()
            .filter(|(_, event)| event["event"] == kind);
        let place = if first {
            places.next()
        } else {
            places.next_back()
        };
        place.unwrap_or_else(|| panic!("there is no {kind}")).0
    };
    for (before, after) in [
        ("push-done", "tagged"),
        ("smoke-done", "tagged"),
        ("tagged", "verified"),
        ("verified", "rolled"),
        ("rolled", "recorded"),
        ("recorded", "finished"),
    ] {
        assert!(
            at(before, false) < at(after, true),
            "{before} comes before {after}"
        );
    }
    // Bases move last.
    let rolled: Vec<String> = of_kind(&events, "rolled")
        .iter()
        .map(|event| text(&event["reference"]))
        .collect();
    assert!(
        rolled.last().unwrap().ends_with(":base-latest"),
        "{rolled:?}"
    );
    // A push starts before it is done.
    let nodes = fields(&events, "push-started", "node");
    assert_eq!(nodes, fields(&events, "push-done", "node"));
    for node in nodes {
        let of = |kind: &str| {
            let mut all = events.iter();
            all.position(|event| event["event"] == kind && event["node"] == node.as_str())
        };
        assert!(of("push-started") < of("push-done"));
    }
}
