//! How plans look, compared as whole texts.

use std::collections::BTreeMap;

use launchway_diagnostics::SourceMap;
use launchway_model::{ContentHasher, Digest};
use launchway_plan::{
    Decision, Facts, Inventory, Observed, Pins, Request, TargetFacts, TargetKey, annotation,
    decide, graph,
};

use super::*;

const FAMILY: &str = r#"
[family]
name = "boxes"
platforms = ["linux/amd64", "linux/arm64"]
registries = ["docker.io/me", "ghcr.io/me"]

[versions]
TOOL_VERSION = "1.2.3"

[image.base]
dockerfile = "Dockerfile.base"
repository = "box"
content-tag = "base-{hash}"
rolling = ["base-latest"]

[image.box]
from = "base"
dockerfile = "Dockerfile"
repository = "box"
release-prefix = "v"
tags = ["v{version}{suffix}"]
rolling = ["latest{suffix}"]

[image.box.lint]
wasted = "5%"
size = "300MB"
deny-warnings = true

[image.box.variant]
plain = { features = ["tool"], suffix = "" }
all = { features = ["tool", "more"] }
"#;

/// Decides about the family; `observe` says what a registry answers about a node's tag.
pub(crate) fn planned(observe: &dyn Fn(&str, &Node, &str) -> Observed) -> Plan {
    let mut sources = SourceMap::default();
    let source = sources.add("launchway.toml", FAMILY);
    let parsed = launchway_manifest::parse(source, FAMILY);
    let family = parsed.family.expect("the family file is right");
    let mut facts = Facts::default();
    for platform in ["linux/amd64", "linux/arm64"] {
        for (image, target) in [("base", None), ("box", Some("tool")), ("box", Some("more"))] {
            let key = TargetKey {
                image: image.parse().unwrap(),
                target: target.map(str::to_owned),
                platform: platform.parse().unwrap(),
            };
            let target = TargetFacts {
                instructions: vec![format!("RUN {image} {target:?}")],
                declared_args: target
                    .map(|_| "TOOL_VERSION".to_owned())
                    .into_iter()
                    .collect(),
                external: Default::default(),
                context: ContentHasher::new("test").finish(),
            };
            facts.targets.insert(key, target);
        }
    }
    let versions = [("TOOL_VERSION".parse().unwrap(), "1.2.3".to_owned())];
    let pins = Pins {
        versions: versions.into(),
        bases: BTreeMap::new(),
    };
    let request = Request {
        version: Some("1.0.0".parse().unwrap()),
        platforms: None,
        images: None,
        only: None,
        promote: true,
    };
    let graph = graph(&family, &facts, &pins, &request).expect("the graph is right");
    let registries: Vec<_> = family.registries.iter().map(|r| r.value.clone()).collect();
    let questions = graph.questions(&registries).unwrap();
    let mut inventory = Inventory::default();
    for reference in questions.references {
        let tag = reference.tag.clone().unwrap();
        let node = graph.nodes.iter().find(|node| {
            let rolling = node.rolling_tags.iter().map(|rolling| &rolling.tag);
            let mut tags = node.release_tags.iter().chain(rolling);
            node.content_tag == tag || tags.any(|other| *other == tag)
        });
        let host = reference.repository.host().to_string();
        let answer = observe(&host, node.unwrap(), tag.as_str());
        inventory.references.insert(reference, answer);
    }
    for reference in questions.bare {
        let host = reference.repository.host().to_string();
        let answer = observe(&host, &graph.nodes[0], "launchway-record");
        inventory.references.insert(reference, answer);
    }
    for repository in questions.repositories {
        inventory.tags.insert(repository, Vec::new());
    }
    match decide(graph, &registries, &inventory) {
        Decision::Plan(mut plan) => {
            // Reasons are worded, and tested, where plans are made.
            for planned in plan.nodes.values_mut() {
                planned.reason = "the reason".to_owned();
            }
            *plan
        }
        other => panic!("{other:?}"),
    }
}

fn digest(node: &Node) -> Digest {
    Digest::sha256([node.id.as_str().len() as u8; 32])
}

pub(crate) fn present(node: &Node) -> Observed {
    let hash = (annotation::INPUT_HASH.to_owned(), node.hash.to_string());
    Observed::Present {
        digest: digest(node),
        annotations: [hash].into(),
    }
}

fn older(byte: u8) -> Observed {
    Observed::Present {
        digest: Digest::sha256([byte; 32]),
        annotations: BTreeMap::new(),
    }
}

/// The text with each node's hash replaced by a short word, because hashes change with the
/// encoding and their place in the text does not.
fn shown(plan: &Plan) -> String {
    let text = text(plan, false);
    for line in text.lines() {
        assert_eq!(line, line.trim_end());
        assert!(width(line) <= COLUMNS, "{line}");
    }
    let nodes = plan.graph.nodes.iter();
    nodes.fold(text, |text, node| {
        text.replace(&node.hash.short(), "HHHHHHHHHHHH")
    })
}

#[test]
fn a_first_release_builds_everything() {
    let plan = planned(&|_, _, _| Observed::Absent);
    assert_eq!(
        shown(&plan),
        "\
plan for v1.0.0
registries  docker.io/me, ghcr.io/me
platforms   linux/amd64, linux/arm64
lint        box: at most 5.0 % wasted, at most 300.0 MB large, warnings are refused

base                 build  base-HHHHHHHHHHHH       the reason
├─ box/feature/tool  build  box-tool-HHHHHHHHHHHH   the reason
├─ box/feature/more  build  box-more-HHHHHHHHHHHH   the reason
├─ box/plain         graft  box-plain-HHHHHHHHHHHH  the reason
└─ box/all           graft  box-all-HHHHHHHHHHHH    the reason

docker.io/me
  push  box:base-HHHHHHHHHHHH       base
  push  box:box-tool-HHHHHHHHHHHH   box/feature/tool
  push  box:box-more-HHHHHHHHHHHH   box/feature/more
  push  box:box-plain-HHHHHHHHHHHH  box/plain
  push  box:box-all-HHHHHHHHHHHH    box/all
  tag   box:v1.0.0                  box/plain
  tag   box:v1.0.0-all              box/all
  move  box:latest                  new → box/plain
  move  box:latest-all              new → box/all
  move  box:base-latest             new → base

ghcr.io/me
  push  box:base-HHHHHHHHHHHH       base
  push  box:box-tool-HHHHHHHHHHHH   box/feature/tool
  push  box:box-more-HHHHHHHHHHHH   box/feature/more
  push  box:box-plain-HHHHHHHHHHHH  box/plain
  push  box:box-all-HHHHHHHHHHHH    box/all
  tag   box:v1.0.0                  box/plain
  tag   box:v1.0.0-all              box/all
  move  box:latest                  new → box/plain
  move  box:latest-all              new → box/all
  move  box:base-latest             new → base

3 to build, 2 to graft; 14 tags to write, 6 to move
"
    );
}

#[test]
fn a_later_release_reuses_copies_and_moves() {
    let plan = planned(&|host, node, tag| match (host, node.id.as_str()) {
        ("docker.io", "base") => present(node),
        ("ghcr.io", "base") if tag == "base-latest" => older(0xcd),
        (_, "box/plain") if tag == "latest" => older(0xef),
        _ => Observed::Absent,
    });
    assert_eq!(
        shown(&plan),
        "\
plan for v1.0.0
registries  docker.io/me, ghcr.io/me
platforms   linux/amd64, linux/arm64
lint        box: at most 5.0 % wasted, at most 300.0 MB large, warnings are refused

base                 reuse  base-HHHHHHHHHHHH       the reason
├─ box/feature/tool  build  box-tool-HHHHHHHHHHHH   the reason
├─ box/feature/more  build  box-more-HHHHHHHHHHHH   the reason
├─ box/plain         graft  box-plain-HHHHHHHHHHHH  the reason
└─ box/all           graft  box-all-HHHHHHHHHHHH    the reason

docker.io/me
  push  box:box-tool-HHHHHHHHHHHH   box/feature/tool
  push  box:box-more-HHHHHHHHHHHH   box/feature/more
  push  box:box-plain-HHHHHHHHHHHH  box/plain
  push  box:box-all-HHHHHHHHHHHH    box/all
  tag   box:v1.0.0                  box/plain
  tag   box:v1.0.0-all              box/all
  move  box:latest                  efefefefefef → box/plain
  move  box:latest-all              new → box/all

ghcr.io/me
  copy  box:base-HHHHHHHHHHHH       base 040404040404 from docker.io/me
  push  box:box-tool-HHHHHHHHHHHH   box/feature/tool
  push  box:box-more-HHHHHHHHHHHH   box/feature/more
  push  box:box-plain-HHHHHHHHHHHH  box/plain
  push  box:box-all-HHHHHHHHHHHH    box/all
  tag   box:v1.0.0                  box/plain
  tag   box:v1.0.0-all              box/all
  move  box:latest                  efefefefefef → box/plain
  move  box:latest-all              new → box/all
  move  box:base-latest             cdcdcdcdcdcd → 040404040404 base

2 to build, 2 to graft, 1 reused; 13 tags to write, 5 to move
"
    );
}

#[test]
fn a_registry_that_is_down_is_named() {
    let plan = planned(&|host, node, _| match host {
        "ghcr.io" => Observed::Unknown {
            why: "GET ghcr.io/v2/ gave no answer within 30 seconds, three times".to_owned(),
        },
        _ => present(node),
    });
    assert_eq!(
        shown(&plan),
        "\
plan for v1.0.0
registries  docker.io/me, ghcr.io/me
platforms   linux/amd64, linux/arm64
lint        box: at most 5.0 % wasted, at most 300.0 MB large, warnings are refused
degraded    ghcr.io/me gave no certain answer, nothing is written there: GET ghcr.io/v2/ gave no
            answer within 30 seconds, three times

base                 reuse  base-HHHHHHHHHHHH       the reason
├─ box/feature/tool  skip   box-tool-HHHHHHHHHHHH   the reason
├─ box/feature/more  skip   box-more-HHHHHHHHHHHH   the reason
├─ box/plain         reuse  box-plain-HHHHHHHHHHHH  the reason
└─ box/all           reuse  box-all-HHHHHHHHHHHH    the reason

nothing to do: v1.0.0 is released on every registry that answered
"
    );
}

#[test]
fn a_finished_release_has_nothing_to_do() {
    let plan = planned(&|_, node, _| present(node));
    let text = shown(&plan);
    let last = text.lines().last();
    assert_eq!(last, Some("nothing to do: v1.0.0 is released everywhere"));
}

#[test]
fn a_long_reason_stands_below_its_node() {
    let mut plan = planned(&|_, _, _| Observed::Absent);
    let planned = plan.nodes.values_mut().next().unwrap();
    planned.reason = "WORD_VERSION 1.0.0 → 1.0.1; ".repeat(5);
    let text = shown(&plan);
    let lines: Vec<&str> = text.lines().skip(5).take(4).collect();
    assert_eq!(
        lines,
        [
            "base                 build  base-HHHHHHHHHHHH",
            "│                    WORD_VERSION 1.0.0 → 1.0.1; WORD_VERSION 1.0.0 → 1.0.1; \
                 WORD_VERSION 1.0.0 →",
            "│                    1.0.1; WORD_VERSION 1.0.0 → 1.0.1; WORD_VERSION 1.0.0 → 1.0.1;",
            "├─ box/feature/tool  build  box-tool-HHHHHHHHHHHH   the reason",
        ]
    );
}

#[test]
fn colour_changes_no_word() {
    let plan = planned(&|_, _, _| Observed::Absent);
    let coloured: String = text(&plan, true).lines().map(|l| clean(l) + "\n").collect();
    assert_eq!(coloured, text(&plan, false));
}
