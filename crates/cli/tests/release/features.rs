//! Features that get in each other's way, and features without machine code.

use launchway_testkit::sha256;

use crate::lab::{Lab, built, content, of_kind, platform, text};
use crate::lab_registry::Registry;

/// A family whose features are given.
fn family(
    lab: &Lab,
    registry: &Registry,
    name: &str,
    stages: &str,
    variant: &str,
) -> crate::lab::Family {
    let family = lab.folder(name);
    family.write(
        "launchway.toml",
        &format!(
            r#"[family]
name = "toolbox"
platforms = ["{}"]
registries = ["{}"]

[image.base]
dockerfile = "Dockerfile.base"
repository = "toolbox"

[image.tool]
from = "base"
dockerfile = "Dockerfile"
repository = "toolbox"
tags = ["{{version}}{{suffix}}"]
rolling = ["latest{{suffix}}"]

[image.tool.variant]
both = {{ features = ["one", "two"]{variant} }}
"#,
            platform(),
            registry.prefix(),
        ),
    );
    let base = format!(
        "FROM {}/library/busybox:1\nENV PATH=/bin\nRUN mkdir /opt\n",
        registry.host
    );
    family.write("Dockerfile.base", &base);
    family.write("Dockerfile", stages);
    family
}

#[test]
fn features_that_change_the_same_path_are_chained() {
    let Some(lab) = Lab::new("features_that_change_the_same_path_are_chained") else {
        return;
    };
    let registry = lab.registry("registry");
    // The third one is in nobody's way, and stays a graft.
    let stages = "FROM base AS one\nRUN echo one > /opt/both; echo 1 > /opt/one\n\
                  FROM base AS two\nRUN cat /opt/both > /opt/seen 2>/dev/null || true; echo two > /opt/both\nENV TWO=2\n\
                  FROM base AS three\nRUN echo 3 > /opt/three\n";
    let family = family(&lab, &registry, "family", stages, "");
    family.edit(
        "launchway.toml",
        "[\"one\", \"two\"]",
        "[\"one\", \"two\", \"three\"]",
    );
    let machine = lab.machine("a");
    let events = machine.release(&family, &["1.0.0"]);
    let conflicts = of_kind(&events, "conflict");
    assert_eq!(conflicts.len(), 1, "{conflicts:?}");
    assert_eq!(conflicts[0]["path"], "/opt/both");
    assert_eq!(conflicts[0]["first"], "tool/feature/one");
    assert_eq!(conflicts[0]["second"], "tool/feature/two");
    assert_eq!(conflicts[0]["node"], "tool/both");
    let image = registry.image("1.0.0-both");
    let line = |text: &str| sha256(format!("{text}\n").as_bytes());
    for (path, wanted) in [
        ("opt/both", "two"),
        ("opt/seen", "one"),
        ("opt/one", "1"),
        ("opt/three", "3"),
    ] {
        assert_eq!(content(&image, path), Some(line(wanted).as_str()), "{path}");
    }
    let env = text(&image.config["config"]["Env"][1]);
    assert_eq!(env, "TWO=2");

    // From elsewhere, after a bump of the third, the conflict is found from what is published.
    let dockerfile = family.read("Dockerfile").replace("echo 3", "echo 33");
    family.write("Dockerfile", &dockerfile);
    let events = lab.machine("b").release(&family, &["1.0.1"]);
    assert_eq!(of_kind(&events, "conflict").len(), 1);
    assert_eq!(built(&events), ["tool/feature/three"]);
    let image = registry.image("1.0.1-both");
    for (path, wanted) in [
        ("opt/both", "two"),
        ("opt/seen", "one"),
        ("opt/three", "33"),
    ] {
        assert_eq!(content(&image, path), Some(line(wanted).as_str()), "{path}");
    }
    // For people, too, the path is named.
    let dockerfile = family.read("Dockerfile").replace("echo 33", "echo 333");
    family.write("Dockerfile", &dockerfile);
    let done = machine.text(&family, &["release", "1.0.2"]);
    done.expect(0).says("/opt/both");
}

#[test]
fn features_that_remove_and_replace_meet_the_right_end() {
    let Some(lab) = Lab::new("features_that_remove_and_replace_meet_the_right_end") else {
        return;
    };
    let registry = lab.registry("registry");
    // The second takes away the folder that the first fills.
    let stages = "FROM base AS one\nRUN echo one > /opt/file\n\
                  FROM base AS two\nRUN rm -r /opt && echo two > /opt\n";
    let family = family(&lab, &registry, "family", stages, "");
    let events = lab.machine("a").release(&family, &["1.0.0"]);
    assert_eq!(of_kind(&events, "conflict").len(), 1);
    let image = registry.image("1.0.0-both");
    assert_eq!(content(&image, "opt"), Some(sha256(b"two\n").as_str()));
    assert!(content(&image, "opt/file").is_none());
}

#[test]
fn what_features_say_must_agree() {
    let Some(lab) = Lab::new("what_features_say_must_agree") else {
        return;
    };
    let registry = lab.registry("registry");
    let stages =
        |one: &str, two: &str| format!("FROM base AS one\n{one}\nFROM base AS two\n{two}\n");
    let machine = lab.machine("a");
    for (at, (one, two, variant, problem)) in [
        ("ENV A=1", "ENV A=2", "", Some("the variable A")),
        (
            "ENTRYPOINT [\"a\"]",
            "ENTRYPOINT [\"b\"]",
            "",
            Some("the entrypoint"),
        ),
        ("USER 1", "USER 2", "", Some("the user")),
        (
            "WORKDIR /opt/a",
            "WORKDIR /opt/b",
            "",
            Some("the working directory"),
        ),
        ("LABEL l=1", "LABEL l=2", "", Some("the label l")),
        ("USER 1", "USER 2", ", user = \"3\"", None),
        (
            "ENTRYPOINT [\"a\"]",
            "ENTRYPOINT [\"b\"]",
            ", entrypoint = [\"c\"]",
            None,
        ),
        ("ENV A=1", "ENV A=1 B=2", "", None),
        ("ENV PATH=/a:$PATH", "ENV PATH=/b:$PATH", "", None),
    ]
    .into_iter()
    .enumerate()
    {
        let family = family(
            &lab,
            &registry,
            &format!("family-{at}"),
            &stages(one, two),
            variant,
        );
        let version = format!("1.0.{at}");
        let done = machine.text(&family, &["release", &version]);
        let tags = registry.tags();
        match problem {
            Some(problem) => {
                done.expect(1)
                    .says(problem)
                    .says("tool/feature/one")
                    .says("tool/feature/two");
                assert!(!tags.contains_key(&format!("{version}-both")));
                assert!(!tags.contains_key("latest-both"), "{one} {two}");
            }
            None => {
                done.expect(0);
                assert_eq!(tags[&format!("{version}-both")], tags["latest-both"]);
            }
        }
    }
    let image = registry.image("1.0.8-both");
    let env = text(&image.config["config"]["Env"][0]);
    assert!(
        ["PATH=/b:/a:/bin", "PATH=/a:/b:/bin"].contains(&env.as_str()),
        "{env}"
    );
    assert_eq!(registry.image("1.0.5-both").config["config"]["User"], "3");
}
