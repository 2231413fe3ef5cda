//! Steps are remembered across processes, and only what decides their result makes them run again.

use std::fs;
use std::time::{Duration, SystemTime};

use crate::lab::{BUSYBOX, Lab};

/// A secret of either value gives the same key, so the value must not reach the image.
const STEPS: &str = "ARG WORD=one\nCOPY f /f\nRUN --mount=type=secret,id=token cat /run/secrets/token > /dev/null; echo $WORD > /word\n";

#[test]
fn only_what_decides_a_step_runs_it_again() {
    const NAME: &str = "only_what_decides_a_step_runs_it_again";
    let steps = STEPS.replace("cat ", "busybox cat ");
    let Some(lab) = Lab::with_busybox(NAME, &format!("{BUSYBOX}{steps}")) else {
        return;
    };
    lab.write("f", "content");
    fs::write(lab.path("token-1"), "first").expect("writing a secret");
    fs::write(lab.path("token-2"), "second").expect("writing a secret");
    let secret = |number: u32| {
        let file = lab.path(&format!("token-{number}"));
        format!("id=token,src={}", file.display())
    };
    let (first, second) = (secret(1), secret(2));
    // How many of the three steps are taken from the cache.
    let cached = |flags: &[&str]| {
        let outcome = lab.build(flags);
        assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
        outcome
            .stderr
            .lines()
            .filter(|line| line.ends_with("cached") || line.contains(" CACHED"))
            .count()
    };

    assert_eq!(cached(&["--secret", &first]), 0, "nothing is known yet");
    assert_eq!(cached(&["--secret", &first]), 3, "the same again");
    assert_eq!(cached(&["--secret", &second]), 3, "another secret");
    let proxy = ["--secret", &first, "--build-arg", "HTTP_PROXY=http://p:1"];
    assert_eq!(cached(&proxy), 3, "a proxy");
    let later = SystemTime::now() + Duration::from_secs(3600);
    let file = fs::File::options()
        .append(true)
        .open(lab.context().join("f"))
        .expect("opening a file");
    file.set_modified(later).expect("setting a time");
    assert_eq!(cached(&["--secret", &first]), 3, "another time of a file");
    assert_eq!(
        cached(&["--secret", &first, "--no-cache"]),
        0,
        "asked not to"
    );
    let argument = ["--secret", &first, "--build-arg", "WORD=two"];
    assert_eq!(cached(&argument), 2, "another argument runs what sees it");
    lab.write("f", "changed");
    assert_eq!(
        cached(&["--secret", &first]),
        1,
        "another content of a file"
    );
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    fs::set_permissions(lab.context().join("f"), mode).expect("setting a mode");
    assert_eq!(cached(&["--secret", &first]), 1, "another mode of a file");
}

#[test]
fn what_buildkit_is_told_of_steps_decides_them() {
    const NAME: &str = "what_buildkit_is_told_of_steps_decides_them";
    let steps = "RUN --mount=type=cache,target=/c busybox cat /c/seen > /seen; echo x >> /c/seen\n\
        RUN busybox hostname > /name\n";
    let Some(lab) = Lab::with_busybox(NAME, &format!("{BUSYBOX}{steps}")) else {
        return;
    };
    let folder = lab.path("files");
    let shown = folder.display().to_string();
    let of = |argument: &str, fresh: bool| {
        let _ = fs::remove_dir_all(&folder);
        let mut flags = vec!["-o", &shown, "--build-arg", argument];
        if fresh {
            flags.push("--no-cache");
        }
        let outcome = lab.build(&flags);
        assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
        let read = |name: &str| fs::read_to_string(folder.join(name)).expect("reading");
        (read("seen").lines().count(), read("name").trim().to_owned())
    };
    let usual = |seen| (seen, "buildkitsandbox".to_owned());
    assert_eq!(of("x=y", true), usual(0));
    assert_eq!(
        of("BUILDKIT_CACHE_MOUNT_NS=", true),
        usual(1),
        "no namespace"
    );
    assert_eq!(
        of("BUILDKIT_CACHE_MOUNT_NS=a", false),
        usual(0),
        "a cache of its own"
    );
    assert_eq!(of("BUILDKIT_CACHE_MOUNT_NS=a", true), usual(1));
    assert_eq!(of("x=y", true), usual(2));
    // The host name is part of the step, as in BuildKit.
    let named = of("BUILDKIT_SANDBOX_HOSTNAME=one", false);
    assert_eq!(named.1, "one");
    assert_eq!(of("BUILDKIT_SANDBOX_HOSTNAME=", false).1, "buildkitsandbox");
    let long = format!("BUILDKIT_SANDBOX_HOSTNAME={}", "x".repeat(65));
    assert_eq!(lab.build(&["--build-arg", &long]).code, Some(1));
}

#[test]
fn the_owners_of_another_stage_are_part_of_a_copy() {
    let dockerfile = |owner: &str| {
        format!("FROM scratch AS a\nCOPY --chown={owner} f /f\nFROM scratch\nCOPY --from=a /f /f\n")
    };
    let lab = Lab::new(&dockerfile("5:6"));
    lab.write("f", "f");
    let owner = || {
        let image = lab.image(&[]);
        let entry = &image.entries[&b"f".to_vec()];
        (entry.uid, entry.gid)
    };
    assert_eq!(owner(), (5, 6));
    lab.write("Dockerfile", &dockerfile("7:8"));
    assert_eq!(owner(), (7, 8));
}
