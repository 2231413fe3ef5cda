//! Which version may move what: parts of a family, prereleases, older and letter releases.

use crate::lab::{Lab, built};

#[test]
fn a_part_of_the_family_can_be_released_first() {
    let Some(lab) = Lab::new("a_part_of_the_family_can_be_released_first") else {
        return;
    };
    let registry = lab.registry("registry");
    let family = lab.family(&[&registry.prefix()], &registry.host);
    let machine = lab.machine("a");
    let events = machine.release(&family, &["v1.0.0", "--only", "two"]);
    assert_eq!(
        built(&events),
        ["base", "tool/feature/one", "tool/feature/two"]
    );
    let names = registry.names();
    assert!(names.contains(&"v1.0.0-two".to_owned()));
    assert!(names.contains(&"latest-two".to_owned()));
    for missing in ["v1.0.0", "latest", "v1.0.0-all", "base-latest"] {
        assert!(
            !names.contains(&missing.to_owned()),
            "{missing} in {names:?}"
        );
    }
    let events = machine.release(&family, &["v1.0.0"]);
    assert_eq!(built(&events), ["tool/feature/three"]);
    assert!(registry.names().contains(&"base-latest".to_owned()));
    machine.text(&family, &["verify", "v1.0.0"]).expect(0);
    machine
        .text(&family, &["release", "v1.0.1", "--only", "tow"])
        .expect(2)
        .says("did you mean `two`?");
}

#[test]
fn rolling_tags_follow_the_newest_stable_release() {
    let Some(lab) = Lab::new("rolling_tags_follow_the_newest_stable_release") else {
        return;
    };
    let registry = lab.registry("registry");
    let family = lab.family(&[&registry.prefix()], &registry.host);
    let machine = lab.machine("a");
    let bump = |to: &str| {
        let toml = family.read("launchway.toml");
        let lines: Vec<String> = toml
            .lines()
            .map(|line| match line.starts_with("ONE_VERSION") {
                true => format!("ONE_VERSION = \"{to}\""),
                false => line.to_owned(),
            })
            .collect();
        family.write("launchway.toml", &(lines.join("\n") + "\n"));
    };
    let follows = |rolling: &str| -> Vec<String> {
        let tags = registry.tags();
        let digest = tags.get(rolling).cloned();
        tags.iter()
            .filter(|(tag, at)| {
                Some(*at) == digest.as_ref() && tag.contains('.') && !tag.contains("record")
            })
            .map(|(tag, _)| tag.clone())
            .collect()
    };

    // Not asked to, and nothing to follow yet.
    machine.release(&family, &["v1.0.0", "--no-promote"]);
    assert!(follows("latest").is_empty());
    machine
        .text(&family, &["verify", "v1.0.0", "--no-rolling"])
        .expect(0);
    // Asked now: only rolling tags are left to do.
    let events = machine.release(&family, &["v1.0.0"]);
    assert!(built(&events).is_empty());
    assert_eq!(follows("latest"), ["v1.0.0"]);

    // A prerelease moves nothing.
    bump("1.1.0-rc");
    machine.release(&family, &["v1.1.0-rc.1"]);
    assert_eq!(follows("latest"), ["v1.0.0"]);
    assert!(registry.tags().contains_key("v1.1.0-rc.1-all"));
    machine.text(&family, &["verify", "v1.1.0-rc.1"]).expect(0);

    bump("2.0.0");
    machine.release(&family, &["v2.0.0"]);
    assert_eq!(
        (follows("latest"), follows("v1")),
        (vec!["v2.0.0".to_owned()], vec!["v1.0.0".to_owned()])
    );

    // A release of an older line moves that line only.
    bump("1.2.0");
    let done = machine.text(&family, &["release", "v1.2.0"]);
    done.expect(0).says("2.0.0 is newer");
    assert_eq!(
        (follows("latest"), follows("v1")),
        (vec!["v2.0.0".to_owned()], vec!["v1.2.0".to_owned()])
    );

    // A letter is a rebuild, newer than what it rebuilds.
    bump("2.0.0 again");
    machine.release(&family, &["v2.0.0b"]);
    assert_eq!(follows("latest"), ["v2.0.0b"]);
    machine.text(&family, &["verify", "v2.0.0b"]).expect(0);

    // Another content under a released version is refused, and says why.
    bump("3.0.0");
    let before = registry.tags();
    let done = machine.text(&family, &["release", "v2.0.0b"]);
    done.expect(1)
        .says("LW0302")
        .says("ONE_VERSION 2.0.0 again → 3.0.0");
    assert_eq!(registry.tags(), before);
}
