//! Registries that stumble, lie or break off, and what becomes of a release then.

use std::time::Duration;

use launchway_testkit::proxy::{Harm, Proxy, Rule};

use crate::lab::{Family, Lab, Machine, platform};
use crate::lab_registry::Registry;

/// A family behind a proxy; its base comes through the proxy, too.
struct Behind {
    registry: Registry,
    proxy: Proxy,
    family: Family,
    machine: Machine,
    _lab: Lab,
}

fn behind(test: &str) -> Option<Behind> {
    let lab = Lab::new(test)?;
    let registry = lab.registry("registry");
    let proxy = Proxy::start(&registry.host, Vec::new());
    let family = lab.family(&[&format!("{}/fam", proxy.host())], &proxy.host());
    let machine = lab.machine("a");
    Some(Behind {
        registry,
        proxy,
        family,
        machine,
        _lab: lab,
    })
}

impl Behind {
    /// Whatever rolling tag there is stands for something whole that is released.
    fn is_consistent(&self) {
        let tags = self.registry.tags();
        for (tag, digest) in &tags {
            self.registry
                .try_image(digest, &platform())
                .map(|_| ())
                .or_else(|error| {
                    if tag.starts_with("launchway-record") {
                        Ok(())
                    } else {
                        Err(error)
                    }
                })
                .unwrap_or_else(|error| panic!("{tag}: {error}"));
        }
        let rolling: Vec<&String> = tags.keys().filter(|tag| tag.contains("latest")).collect();
        if !rolling.is_empty() {
            for released in ["v1.0.0", "v1.0.0-two", "v1.0.0-three", "v1.0.0-all"] {
                assert!(
                    tags.contains_key(released),
                    "{rolling:?} moved without {released}"
                );
            }
        }
    }
}

/// An HTTP date a moment from now.
fn soon() -> String {
    let output = std::process::Command::new("date")
        .args(["-u", "-d", "+1 second", "+%a, %d %b %Y %H:%M:%S GMT"])
        .env("LC_ALL", "C")
        .output()
        .expect("running date");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

#[test]
fn what_passes_is_tried_again() {
    let Some(behind) = behind("what_passes_is_tried_again") else {
        return;
    };
    let uploads = "/blobs/uploads/";
    let rules = vec![
        // Pulling the base.
        Rule::new("HEAD", "/library/busybox/manifests/1", Harm::status(503)).times(1),
        Rule::new("GET", "/library/busybox/manifests/", Harm::Reset).times(1),
        Rule::new("GET", "/library/busybox/manifests/", Harm::Truncate(100)).times(1),
        Rule::new("GET", "/library/busybox/blobs/", Harm::ResetDownload(100)).times(1),
        Rule::new("GET", "/library/busybox/blobs/", Harm::Truncate(1000)).times(1),
        // Asking what is there.
        Rule::new("HEAD", "/fam/toolbox/manifests/", Harm::status(500)).times(2),
        Rule::new("GET", "/tags/list", Harm::status(502)).times(1),
        // Pushing.
        Rule::new("POST", uploads, Harm::throttle("1")).times(1),
        Rule::new("POST", uploads, Harm::status(504))
            .after(1)
            .times(1),
        Rule::new("PUT", uploads, Harm::ResetUpload(50)).times(1),
        Rule::new("PUT", uploads, Harm::LoseAnswer)
            .after(2)
            .times(1),
        Rule::new("PUT", "/manifests/base-", Harm::throttle(soon())).times(1),
        Rule::new("PUT", "/manifests/sha256", Harm::LoseAnswer).times(2),
        Rule::new("PUT", "/manifests/tool-", Harm::status(500)).times(2),
        // Tagging and rolling.
        Rule::new("PUT", "/manifests/v1.0.0-two", Harm::LoseAnswer).times(1),
        Rule::new("PUT", "/manifests/latest-two", Harm::status(503)).times(2),
        Rule::new("PUT", "/manifests/latest-all", Harm::Reset).times(1),
        Rule::new("*", "", Harm::Delay(Duration::from_millis(5))).times(40),
    ];
    behind.proxy.set_rules(rules);
    let done = behind.machine.json(&behind.family, &["release", "v1.0.0"]);
    done.expect(0);
    let harmed = behind.proxy.take_passed();
    assert!(harmed.iter().filter(|one| one.harmed).count() > 40);
    behind.is_consistent();
    behind.proxy.set_rules(Vec::new());
    behind
        .machine
        .text(&behind.family, &["verify", "v1.0.0"])
        .expect(0);
    behind
        .machine
        .text(&behind.family, &["release", "v1.0.0"])
        .expect(0)
        .says("nothing to do");
}

#[test]
fn what_stays_wrong_fails_clearly_and_is_finished_later() {
    const NAME: &str = "what_stays_wrong_fails_clearly_and_is_finished_later";
    let Some(behind) = behind(NAME) else {
        return;
    };
    let blobs = "/library/busybox/blobs/";
    // The rules, the exit code, and what is said.
    let table: Vec<(Vec<Rule>, i32, &[&str])> = vec![
        (
            vec![Rule::new(
                "HEAD",
                "/library/busybox/manifests/1",
                Harm::status(500),
            )],
            1,
            &["LW0605", "answered 500", "tried 3 times"],
        ),
        (
            vec![Rule::new("*", blobs, Harm::Corrupt)],
            1,
            &["digest", "busybox"],
        ),
        (
            vec![Rule::new("*", blobs, Harm::Truncate(100))],
            1,
            &["busybox"],
        ),
        (
            vec![Rule::new("*", "/library/busybox/", Harm::status(403))],
            1,
            &["403"],
        ),
        (
            vec![Rule::new("*", "/fam/", Harm::status(503))],
            4,
            &["LW03", "answered 503"],
        ),
        (
            vec![Rule::new("GET", "/tags/list", Harm::status(503))],
            4,
            &["LW03"],
        ),
        (
            vec![Rule::new("*", "/fam/", Harm::throttle("86400"))],
            1,
            // The base is on the same host, which asks for peace until tomorrow.
            &["LW0605", "limited until"],
        ),
        (
            vec![Rule::new("POST", "/blobs/uploads/", Harm::status(500))],
            1,
            &["LW04", "answered 500", "tried 3 times"],
        ),
        (
            vec![Rule::new("POST", "/blobs/uploads/", Harm::status(403))],
            1,
            &["LW04", "answered 403"],
        ),
        (
            vec![Rule::new("PUT", "/blobs/uploads/", Harm::ResetUpload(10))],
            1,
            &["LW04"],
        ),
        (
            vec![Rule::new("PUT", "/manifests/sha256", Harm::status(400))],
            1,
            &["LW04", "answered 400"],
        ),
        (
            vec![Rule::new("PUT", "/manifests/tool-all", Harm::status(500))],
            1,
            &["LW04", "answered 500"],
        ),
        (
            vec![Rule::new("PUT", "/manifests/v1.0.0-two", Harm::Reset)],
            1,
            &["LW04"],
        ),
        (
            vec![Rule::new("PUT", "/manifests/latest-two", Harm::status(500))],
            1,
            &["LW04"],
        ),
        (
            vec![Rule::new(
                "PUT",
                "/manifests/launchway-record",
                Harm::status(500),
            )],
            1,
            &["LW04"],
        ),
    ];
    for (rules, code, said) in table {
        let what = format!("{rules:?}");
        let moves = what.contains("latest-two") || what.contains("record");
        behind.proxy.set_rules(rules);
        let done = behind.machine.text(&behind.family, &["release", "v1.0.0"]);
        assert_eq!(done.code, Some(code), "{what}\n{}", done.stderr);
        for part in said {
            assert!(
                done.stderr.contains(part),
                "{what}: {part:?} is not said:\n{}",
                done.stderr
            );
        }
        assert!(!done.stderr.contains("panicked"), "{what}\n{}", done.stderr);
        let tags = behind.registry.tags();
        if !moves {
            let rolling = tags.keys().find(|tag| tag.contains("latest"));
            assert_eq!(rolling, None, "{what}");
        }
        behind.is_consistent();
    }
    behind.proxy.set_rules(Vec::new());
    behind
        .machine
        .text(&behind.family, &["release", "v1.0.0"])
        .expect(0);
    behind
        .machine
        .text(&behind.family, &["verify", "v1.0.0"])
        .expect(0);
    behind.is_consistent();
}
