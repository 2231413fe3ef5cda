//! `launchway cache`: what is shown, freed, pinned and looked at again, beside builds that run and die.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use crate::lab::{BUSYBOX, Lab, Outcome, outcome};

const STEPS: &str =
    "COPY f /f\nRUN --mount=type=cache,target=/c echo x > /c/y; echo made > /made\n";

fn cache(lab: &Lab, words: &[&str]) -> Outcome {
    let mut command = Command::new(env!("CARGO_BIN_EXE_launchway"));
    command
        .arg("--state-dir")
        .arg(lab.state())
        .arg("cache")
        .args(words)
        .env("NO_COLOR", "1");
    outcome(&mut command)
}

fn cache_json(lab: &Lab, words: &[&str]) -> serde_json::Value {
    let mut all = vec!["--format", "json"];
    all.extend(words);
    let done = cache(lab, &all);
    assert!(matches!(done.code, Some(0 | 3)), "{}", done.stderr);
    serde_json::from_str(&done.stdout).expect("reading JSON")
}

fn lab(test: &str) -> Option<Lab> {
    let lab = Lab::with_busybox(test, &format!("{BUSYBOX}{STEPS}"))?;
    lab.write("f", "content");
    Some(lab)
}

/// Of the steps of a build, how many came from the cache.
fn cached(lab: &Lab) -> usize {
    let done = lab.build(&["--progress", "plain", "-t", "app:1"]);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    let lines = done.stderr.lines();
    lines.filter(|line| line.ends_with("cached")).count()
}

/// The folder of this user's kind.
fn place(lab: &Lab) -> PathBuf {
    ["root", "rootless", "single"]
        .map(|kind| lab.state().join(kind))
        .into_iter()
        .find(|folder| folder.is_dir())
        .expect("something was built")
}

/// Everything that is kept was last used so many days ago.
fn age(lab: &Lab, days: u64) {
    let then = SystemTime::now() - Duration::from_secs(days * 24 * 3600);
    fn walk(folder: &Path, then: SystemTime) {
        for entry in fs::read_dir(folder).expect("listing a folder").flatten() {
            let kind = entry.file_type().expect("looking at a file");
            if kind.is_dir() {
                walk(&entry.path(), then);
            }
            if kind.is_dir() || kind.is_file() {
                let file = fs::File::open(entry.path()).expect("opening a file");
                file.set_modified(then).expect("setting a time");
            }
        }
    }
    // The times of a layer's own files are its content.
    for part in ["store/blobs", "store/marks", "store/names", "engine"] {
        walk(&place(lab).join(part), then);
    }
    let layers = place(lab).join("store/layers/sha256");
    for home in fs::read_dir(layers).expect("listing the layers").flatten() {
        for name in ["mark", "layer.json"] {
            let file = fs::File::open(home.path().join(name)).expect("opening a file");
            file.set_modified(then).expect("setting a time");
        }
    }
}

#[test]
fn what_is_kept_is_shown_with_what_made_it() {
    let Some(lab) = lab("what_is_kept_is_shown_with_what_made_it") else {
        return;
    };
    let nothing = cache(&lab, &["show"]);
    assert_eq!(nothing.code, Some(0), "{}", nothing.stderr);
    assert!(
        nothing.stdout.contains("total             0"),
        "{}",
        nothing.stdout
    );
    assert!(!lab.state().exists(), "looking makes no folder");

    assert_eq!(cached(&lab), 0);
    let shown = cache_json(&lab, &["show", "--all"]);
    let items = |kind: &str| {
        let kinds = shown["kinds"].as_array().expect("a list");
        let row = kinds.iter().find(|row| row["kind"] == kind);
        row.expect("every kind has a row")["items"].as_u64()
    };
    assert_eq!(items("steps"), Some(3));
    assert_eq!(items("layers"), Some(6), "unpacked and compressed");
    assert_eq!(
        items("images"),
        Some(3),
        "a name, a manifest, a configuration"
    );
    assert_eq!(items("cache-mounts"), Some(1));
    assert_eq!(items("git"), Some(0));
    assert_eq!(shown["reclaimable"], shown["size"]);
    let all = shown["all"].to_string();
    assert!(all.contains("COPY f /f"), "{all}");
    assert!(all.contains("built as docker.io/library/app:1"), "{all}");
    assert!(all.contains("\"about\":\"/c\""), "{all}");
    let text = cache(&lab, &["show", "--all"]).stdout;
    assert!(text.contains("echo made"), "{text}");
}

#[test]
fn what_is_old_goes_and_is_made_again() {
    let Some(lab) = lab("what_is_old_goes_and_is_made_again") else {
        return;
    };
    cached(&lab);
    let young = cache(&lab, &["free", "--older-than", "1d"]);
    assert_eq!(
        (young.code, young.stdout.as_str()),
        (Some(0), ""),
        "{}",
        young.stderr
    );
    assert_eq!(cached(&lab), 3);
    age(&lab, 3);
    let before = cache_json(&lab, &["show"]);
    let dry = cache_json(&lab, &["free", "--older-than", "2d", "--dry-run"]);
    assert_eq!(dry["freed"], before["size"], "{dry}");
    assert_eq!(cache_json(&lab, &["show"])["size"], before["size"]);
    // What is used again is young again, with all it needs.
    assert_eq!(cached(&lab), 3);
    let freed = cache_json(&lab, &["free", "--older-than", "2d"]);
    assert_eq!(
        freed["items"].to_string().matches("cache-mount").count() / 2,
        1,
        "{freed}"
    );
    assert_eq!(cached(&lab), 3);
    let all = cache_json(&lab, &["free", "--all"]);
    assert_eq!(all["left"], 0, "{all}");
    assert_eq!(cached(&lab), 0);
}

#[test]
fn what_is_pinned_stays() {
    let Some(lab) = lab("what_is_pinned_stays") else {
        return;
    };
    cached(&lab);
    let wrong = cache(&lab, &["pin", "other:1"]);
    assert_eq!(wrong.code, Some(2), "{}", wrong.stderr);
    let pinned = cache(&lab, &["pin", "app:1"]);
    assert_eq!(pinned.code, Some(0), "{}", pinned.stderr);
    assert_eq!(pinned.stdout, "pinned image docker.io/library/app:1\n");
    age(&lab, 100);
    let freed = cache_json(&lab, &["free", "--all"]);
    let items = freed["items"].to_string();
    assert!(
        !items.contains("\"layer ") && !items.contains("\"image "),
        "{items}"
    );
    // The steps are gone, the layers they made are found to be the same.
    assert_eq!(cached(&lab), 0);
    assert_eq!(cache(&lab, &["unpin", "app:1"]).code, Some(0));
    assert_eq!(cache(&lab, &["unpin", "app:1"]).code, Some(2));
    assert_eq!(cache_json(&lab, &["free", "--all"])["left"], 0);
}

#[test]
fn what_is_damaged_is_dropped_and_made_again() {
    let Some(lab) = lab("what_is_damaged_is_dropped_and_made_again") else {
        return;
    };
    cached(&lab);
    let whole = cache(&lab, &["verify"]);
    assert_eq!(
        (whole.code, whole.stdout.as_str()),
        (Some(0), ""),
        "{}",
        whole.stderr
    );
    let made = || {
        let layers = place(&lab).join("store/layers/sha256");
        fs::read_dir(layers)
            .expect("listing the layers")
            .flatten()
            .map(|home| home.path().join("fs/made"))
            .find(|path| path.exists())
            .expect("a step made it")
    };
    fs::write(made(), "other").expect("writing a file");
    let damaged = cache_json(&lab, &["verify"]);
    assert_eq!(
        damaged["damaged"].as_array().map(Vec::len),
        Some(1),
        "{damaged}"
    );
    assert_eq!(cached(&lab), 2);
    assert_eq!(fs::read(made()).expect("it was made again"), b"made\n");
    assert_eq!(cache(&lab, &["verify"]).code, Some(0));
}

/// A build that runs keeps what it uses, whatever is freed beside it.
#[test]
fn what_a_build_uses_is_not_freed() {
    let Some(lab) = lab("what_a_build_uses_is_not_freed") else {
        return;
    };
    let wait = "RUN --mount=type=cache,target=/go until [ -e /go/on ]; do busybox sleep 0.05; done; cat /f\n";
    let wait = wait.replace("cat ", "busybox cat ");
    lab.write("Dockerfile", &format!("{BUSYBOX}{STEPS}{wait}"));
    let mut command = lab.command(&["--progress", "plain"]);
    let child = command
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("starting launchway");
    let mounts = || place(&lab).join("engine/cache-mounts");
    let started = std::time::Instant::now();
    let go = loop {
        assert!(
            started.elapsed() < Duration::from_secs(60),
            "the step never ran"
        );
        std::thread::sleep(Duration::from_millis(50));
        if !lab.state().is_dir() {
            continue;
        }
        let found = fs::read_dir(mounts()).into_iter().flatten().flatten();
        let mut roots = found.map(|entry| entry.path());
        if let Some(root) = roots.find(|root| {
            fs::read_to_string(root.join("about")).is_ok_and(|id| id.trim() == "/go")
                && root.join("0").is_dir()
        }) {
            break root.join("0");
        }
    };
    let shown = cache_json(&lab, &["show", "--all"]);
    assert!(
        shown["all"].to_string().contains("\"in-use\":true"),
        "{shown}"
    );
    for _ in 0..3 {
        let freed = cache_json(&lab, &["free", "--all"]);
        assert_eq!(freed["items"].as_array().map(Vec::len), Some(0), "{freed}");
    }
    fs::write(go.join("on"), "").expect("writing a file");
    let output = child.wait_with_output().expect("waiting for launchway");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert_eq!(cache_json(&lab, &["free", "--all"])["left"], 0);
}

/// Builds and collections that are killed at any moment leave nothing that is not whole.
#[test]
fn kills_leave_nothing_half() {
    let Some(lab) = lab("kills_leave_nothing_half") else {
        return;
    };
    let start = |words: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_launchway"));
        command.arg("--state-dir").arg(lab.state()).args(words);
        command.arg(if words[0] == "cache" {
            "--all".into()
        } else {
            lab.context()
        });
        command.stdout(std::process::Stdio::null());
        command.stderr(std::process::Stdio::null());
        command.spawn().expect("starting launchway")
    };
    for round in 0_u64..24 {
        lab.write("f", &format!("content {}", round % 3));
        let mut build = start(&["dockerfile", "build"]);
        let mut other = start(&["dockerfile", "build"]);
        let mut free = start(&["cache", "free"]);
        // A different moment each time: from the first files to after the end.
        std::thread::sleep(Duration::from_millis(round * 17 % 320));
        for child in [&mut build, &mut free] {
            let _ = child.kill();
            child.wait().expect("waiting for launchway");
        }
        let status = other.wait().expect("waiting for launchway");
        assert!(
            status.success(),
            "the one that was not killed is done, round {round}"
        );
    }
    let damaged = cache_json(&lab, &["verify"]);
    assert_eq!(
        damaged["damaged"].as_array().map(Vec::len),
        Some(0),
        "{damaged}"
    );
    cached(&lab);
    let tmp = fs::read_dir(place(&lab).join("store/tmp")).expect("listing a folder");
    let names: Vec<_> = tmp.flatten().map(|entry| entry.file_name()).collect();
    assert_eq!(names, ["lock"], "what the dead left was removed");
    assert_eq!(cache_json(&lab, &["free", "--all"])["left"], 0);
}

/// Bounds of the environment work at the end of a build, and are told.
#[test]
fn builds_keep_within_bounds() {
    let Some(lab) = lab("builds_keep_within_bounds") else {
        return;
    };
    cached(&lab);
    age(&lab, 40);
    lab.write("f", "changed");
    let _ = fs::remove_file(place(&lab).join("tidied"));
    let off = outcome(lab.command(&[]).env("LAUNCHWAY_CACHE_MAX_AGE", "off"));
    assert_eq!(off.code, Some(0), "{}", off.stderr);
    assert!(!off.stderr.contains("freed"), "{}", off.stderr);
    let not_due = lab.build(&[]);
    assert!(
        !not_due.stderr.contains("freed"),
        "once a day: {}",
        not_due.stderr
    );
    let _ = fs::remove_file(place(&lab).join("tidied"));
    let due = lab.build(&[]);
    assert!(due.stderr.contains("note: freed "), "{}", due.stderr);
    assert!(due.stderr.contains("not used for long"), "{}", due.stderr);
    let wrong = outcome(lab.command(&[]).env("LAUNCHWAY_CACHE_MIN_FREE", "much"));
    assert_eq!(wrong.code, Some(2), "{}", wrong.stderr);
    assert!(
        wrong.stderr.contains("LAUNCHWAY_CACHE_MIN_FREE"),
        "{}",
        wrong.stderr
    );
}
