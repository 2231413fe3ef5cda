//! The program is killed without warning at many moments of a release, and run again.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::process::ExitStatusExt as _;
use std::process::Stdio;
use std::time::Duration;

use launchway_testkit::proxy::{Harm, Proxy, Rule};

use crate::lab::{Lab, content, of_kind, platform, tool, wait_until};
use crate::lab_registry::Registry;

/// The variants and what they are called in tags.
const SUFFIXES: [&str; 4] = ["", "-two", "-three", "-all"];

/// Every rolling tag stands for something whole, and that is a release: the one before, or the new
/// one once all of that is there.
fn check(
    registry: &Registry,
    whole: &mut BTreeSet<String>,
    before: &BTreeMap<String, String>,
    version: &str,
) {
    let tags = registry.tags();
    // What was whole once stays so, as blobs are never removed.
    for (tag, digest) in &tags {
        if !tag.starts_with("launchway-record") && whole.insert(digest.clone()) {
            registry
                .try_image(digest, &platform())
                .unwrap_or_else(|error| panic!("{tag}: {error}"));
        }
    }
    let released = |suffix: &str| tags.get(&format!("{version}{suffix}"));
    let complete = SUFFIXES.iter().all(|suffix| released(suffix).is_some());
    for suffix in SUFFIXES {
        let rolling = format!("latest{suffix}");
        let Some(now) = tags.get(&rolling) else {
            assert!(!before.contains_key(&rolling), "{rolling} is gone");
            continue;
        };
        if before.get(&rolling) != Some(now) {
            assert_eq!(
                Some(now),
                released(suffix),
                "{rolling} stands for no release"
            );
            assert!(
                complete,
                "{rolling} moved before all of {version} was there"
            );
        }
    }
}

#[test]
fn killed_at_any_moment_a_release_is_finished_by_running_again() {
    let Some(lab) = Lab::new("killed_at_any_moment_a_release_is_finished_by_running_again") else {
        return;
    };
    let registry = lab.registry("registry");
    // Requests take their time, so that there are moments between them.
    let slow = || vec![Rule::new("*", "", Harm::Delay(Duration::from_millis(4)))];
    let proxy = Proxy::start(&registry.host, slow());
    let family = lab.family(&[&format!("{}/fam", proxy.host())], &proxy.host());
    let machine = lab.machine("a");
    let mut whole_images = BTreeSet::new();
    let mut version_of_one = "1.0.0".to_owned();
    machine.release(&family, &["v1.0.0"]);
    let whole = proxy.take_passed().len();

    // A moment is a request: the program is killed once so many have come, and a bit later.
    let moments = [
        (whole / 8, 0),
        (whole / 4, 1),
        (whole / 3, 3),
        (whole * 2 / 5, 0),
        (whole / 2, 2),
        (whole * 3 / 5, 0),
        (whole * 2 / 3, 5),
        (whole * 3 / 4, 1),
        (whole * 4 / 5, 0),
        (whole * 7 / 8, 2),
        (whole * 9 / 10, 0),
    ];
    for (round, (moment, later)) in moments.into_iter().enumerate() {
        let (version, bumped) = (format!("v1.{}.0", round + 1), format!("1.{}.0", round + 1));
        family.edit(
            "launchway.toml",
            &format!("ONE_VERSION = \"{version_of_one}\""),
            &format!("ONE_VERSION = \"{bumped}\""),
        );
        version_of_one = bumped;
        // The base changes in some rounds, so that everything is built again.
        family.write("etc/motd", &format!("welcome {}\n", round / 2));
        let before = registry.tags();
        proxy.take_passed();
        let file = family.file();
        let mut child = machine
            .command(&["--format", "json", "release", &version, "--file", &file])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("starting launchway");
        wait_until("the moment comes", || {
            proxy.count() >= moment || matches!(child.try_wait(), Ok(Some(_)))
        });
        std::thread::sleep(Duration::from_millis(later));
        // It may be done already; that is a moment, too.
        let _ = child.kill();
        let status = child.wait().expect("waiting for launchway");
        assert!(status.signal() == Some(9) || status.success(), "{status}");
        check(&registry, &mut whole_images, &before, &version);

        machine.release(&family, &[&version]);
        check(&registry, &mut whole_images, &before, &version);
        let tags = registry.tags();
        for suffix in SUFFIXES {
            assert_eq!(
                tags[&format!("latest{suffix}")],
                tags[&format!("{version}{suffix}")]
            );
        }
        let image = registry.image(&format!("{version}-all"));
        assert_eq!(
            content(&image, "usr/local/bin/one"),
            Some(tool("one", &version_of_one).as_str())
        );
    }
    machine
        .text(&family, &["release", &format!("v{version_of_one}")])
        .expect(0)
        .says("nothing to do");
    machine
        .text(&family, &["verify", &format!("v{version_of_one}")])
        .expect(0);

    // The store that went through all this gives the same as a new one.
    let other = lab.registry("other");
    let family = {
        let text = family
            .read("launchway.toml")
            .replace(&proxy.host(), &other.host);
        let copy = lab.family(&[&other.prefix()], &registry.host);
        copy.write("launchway.toml", &text);
        copy.write(
            "Dockerfile.base",
            &copy
                .read("Dockerfile.base")
                .replace(&registry.host, &proxy.host()),
        );
        copy.write(
            "etc/motd",
            &format!("welcome {}\n", (moments.len() - 1) / 2),
        );
        copy
    };
    let version = format!("v{version_of_one}");
    machine.release(&family, &[&version]);
    let old = other.tags()[&format!("{version}-all")].clone();
    assert_eq!(old, registry.tags()[&format!("{version}-all")]);
}

#[test]
fn killed_while_a_step_runs_nothing_is_left_behind() {
    let Some(lab) = Lab::new("killed_while_a_step_runs_nothing_is_left_behind") else {
        return;
    };
    let registry = lab.registry("registry");
    let family = lab.family(&[&registry.prefix()], &registry.host);
    let mark = format!("31{}", std::process::id());
    family.edit(
        "Dockerfile.tool",
        "ARG TWO_VERSION\n",
        &format!("ARG TWO_VERSION\nRUN touch /opt/half && sleep {mark}\n"),
    );
    let machine = lab.machine("a");
    let running = || {
        let processes = std::fs::read_dir("/proc").expect("reading /proc").flatten();
        processes
            .filter_map(|process| std::fs::read(process.path().join("cmdline")).ok())
            .any(|line| {
                line.starts_with(b"sleep\0")
                    && line.windows(mark.len()).any(|part| part == mark.as_bytes())
            })
    };
    let file = family.file();
    let mut child = machine
        .command(&["release", "v1.0.0", "--file", &file])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("starting launchway");
    wait_until("the step runs", running);
    child.kill().expect("killing launchway");
    child.wait().expect("waiting for launchway");
    wait_until("the step is gone, too", || !running());
    let mounts = std::fs::read_to_string("/proc/self/mounts").expect("reading the mounts");
    assert!(
        !mounts.contains(&machine.state.display().to_string()),
        "{mounts}"
    );

    family.edit(
        "Dockerfile.tool",
        &format!("RUN touch /opt/half && sleep {mark}\n"),
        "",
    );
    let events = machine.release(&family, &["v1.0.0"]);
    assert_eq!(of_kind(&events, "rolled").len(), 9);
    assert!(
        !registry
            .image("v1.0.0-all")
            .entries
            .contains_key(&b"opt/half"[..])
    );
}

#[test]
fn interrupted_politely_it_stops_and_says_so() {
    let Some(lab) = Lab::new("interrupted_politely_it_stops_and_says_so") else {
        return;
    };
    let registry = lab.registry("registry");
    for (method, part) in [
        ("PUT", "/blobs/uploads/"),
        ("PUT", "/manifests/v1.0.0"),
        ("HEAD", "/manifests/tool-"),
    ] {
        let lab = Lab::new("interrupted_politely_it_stops_and_says_so").unwrap();
        let rules = vec![Rule::new(method, part, Harm::Delay(Duration::from_millis(700))).times(3)];
        let target = lab.empty_registry("target");
        let proxy = Proxy::start(&target.host, rules);
        let family = lab.family(&[&format!("{}/fam", proxy.host())], &registry.host);
        let machine = lab.machine("a");
        let file = family.file();
        let child = machine
            .command(&["release", "v1.0.0", "--file", &file])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("starting launchway");
        wait_until("the slow request comes", || proxy.harmed() > 0);
        let pid = child.id().to_string();
        let kill = std::process::Command::new("kill")
            .args(["-INT", &pid])
            .status();
        assert!(kill.expect("running kill").success());
        let output = child.wait_with_output().expect("waiting for launchway");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(130), "{method} {part}: {said}");
        assert!(said.contains("run the same command again"), "{said}");
        assert!(
            !target.names().iter().any(|tag| tag.contains("latest")),
            "{method} {part}"
        );
        proxy.set_rules(Vec::new());
        machine.release(&family, &["v1.0.0"]);
    }
}

#[test]
fn a_second_release_is_told_about_the_first() {
    let Some(lab) = Lab::new("a_second_release_is_told_about_the_first") else {
        return;
    };
    let registry = lab.registry("registry");
    let rules = vec![Rule::new("*", "", Harm::Delay(Duration::from_secs(1))).times(2)];
    let proxy = Proxy::start(&registry.host, rules);
    let family = lab.family(&[&format!("{}/fam", proxy.host())], &proxy.host());
    let machine = lab.machine("a");
    let file = family.file();
    let mut first = machine
        .command(&["release", "v1.0.0", "--file", &file])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("starting launchway");
    wait_until("the first is at work", || proxy.count() > 0);
    let second = machine.text(&family, &["release", "v1.0.0"]);
    second
        .expect(1)
        .says("LW0609")
        .says(&format!("process {}", first.id()));
    assert!(first.wait().expect("waiting for launchway").success());
}
