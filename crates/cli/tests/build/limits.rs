//! Limits of RUN steps: what is told when a step comes to one, and that the cache does not know them.

use crate::lab::{BUSYBOX, Lab, is_root, lacking};

/// Whether this machine can keep limits for us; says so when it cannot.
fn can_limit(test: &str) -> bool {
    let can = is_root();
    if !can {
        lacking(test, "root, which can always make control groups");
    }
    can
}

#[test]
fn a_step_that_needs_too_much_memory_says_so() {
    let name = "a_step_that_needs_too_much_memory_says_so";
    let script = "RUN busybox dd if=/dev/zero of=/dev/null bs=64M count=1\n";
    let Some(lab) = Lab::with_busybox(name, &format!("{BUSYBOX}{script}")) else {
        return;
    };
    if !can_limit(name) {
        return;
    }
    let outcome = lab.build(&["--memory", "16m"]);
    assert_eq!(outcome.code, Some(1), "{}", outcome.stderr);
    for words in [
        "error[LW0540]: a RUN step ran out of memory: it came to its limit of 16m",
        "Dockerfile:4:1",
        "raise --memory",
    ] {
        assert!(outcome.stderr.contains(words), "{}", outcome.stderr);
    }
    // Within its limits it builds, and without limits nothing is built again.
    let epoch = ["--build-arg", "SOURCE_DATE_EPOCH=1000000000"];
    let with = |more: &[&'static str]| [&epoch, more].concat();
    let limited = with(&["--memory", "1g", "--pids-limit", "50", "--cpus", "1.5"]);
    assert_eq!(lab.digest(&epoch), lab.digest(&limited));
    let outcome = lab.build(&with(&["--ulimit", "nofile=99", "--shm-size", "1m"]));
    assert!(
        outcome.stderr.contains("CACHED") || outcome.stderr.contains("cached"),
        "{}",
        outcome.stderr
    );
}

#[test]
fn a_bomb_is_stopped_by_its_limit() {
    let name = "a_bomb_is_stopped_by_its_limit";
    let script =
        "RUN bomb() { bomb | bomb & }; bomb; wait; sleep 1; busybox true | busybox false\n";
    let Some(lab) = Lab::with_busybox(name, &format!("{BUSYBOX}{script}")) else {
        return;
    };
    if !can_limit(name) {
        return;
    }
    let outcome = lab.build(&["--pids-limit", "30"]);
    assert_eq!(outcome.code, Some(1), "{}", outcome.stderr);
    assert!(
        outcome.stderr.contains("error[LW0541]") && outcome.stderr.contains("limit of 30"),
        "{}",
        outcome.stderr
    );
}

#[test]
fn a_step_has_its_time() {
    let name = "a_step_has_its_time";
    // What was started is gone as well, whatever it does against it.
    let marker = (5_000_000 + std::process::id()).to_string();
    let script = format!(
        "RUN trap '' TERM INT HUP; busybox setsid busybox sleep {marker} & wait; sleep 9999\n"
    );
    let Some(lab) = Lab::with_busybox(name, &format!("{BUSYBOX}{script}")) else {
        return;
    };
    let outcome = lab.build(&["--step-timeout", "500ms"]);
    assert_eq!(outcome.code, Some(1), "{}", outcome.stderr);
    assert!(
        outcome.stderr.contains("LW0512") && outcome.stderr.contains("--step-timeout"),
        "{}",
        outcome.stderr
    );
    let left = std::process::Command::new("pgrep")
        .args(["-f", &format!("sleep {marker}")])
        .output()
        .expect("running pgrep");
    assert!(left.stdout.is_empty());
}

#[test]
fn flags_reach_the_step() {
    let name = "flags_reach_the_step";
    let script = "RUN busybox grep -q '^10.0.0.5.registry.lan$' /etc/hosts\n\
        RUN [ $(ulimit -n) = 99 ]\n\
        RUN busybox df -k /dev/shm | busybox grep -q ' 2048 '\n\
        RUN busybox grep -q 'NoNewPrivs:.1' /proc/self/status\n";
    let Some(lab) = Lab::with_busybox(name, &format!("{BUSYBOX}{script}")) else {
        return;
    };
    let digest = lab.digest(&[
        "--add-host",
        "registry.lan:10.0.0.5",
        "--ulimit",
        "nofile=99",
        "--shm-size",
        "2m",
        "--security-opt",
        "no-new-privileges",
    ]);
    assert!(digest.starts_with("sha256:"));
    // Hosts and privileges are part of what a step is.
    let outcome = lab.build(&["--ulimit", "nofile=99", "--shm-size", "2m"]);
    assert_eq!(outcome.code, Some(1), "{}", outcome.stderr);
}

#[test]
fn wrong_limits_are_refused_before_anything_is_built() {
    let lab = Lab::new("FROM scratch\n");
    for (flags, words) in [
        (&["--memory", "lots"][..], "not a size"),
        (&["--memory", "1m"][..], "least memory"),
        (&["--memory-swap", "1g"][..], "needs one of memory"),
        (
            &["--memory", "2g", "--memory-swap", "1g"][..],
            "cannot be below",
        ),
        (&["--cpus", "0"][..], "number of processors"),
        (&["--pids-limit", "-2"][..], "number of processes"),
        (&["--ulimit", "files=3"][..], "no limit `files`"),
        (&["--ulimit", "nofile=9:3"][..], "above the hard one"),
        (&["--step-timeout", "0s"][..], "90s"),
        (&["--add-host", "here"][..], "NAME:ADDRESS"),
        (&["--cgroup-parent", "a/../../b"][..], "not a control group"),
        (
            &["--security-opt", "seccomp=unconfined"][..],
            "no-new-privileges",
        ),
    ] {
        let outcome = lab.build(flags);
        assert_eq!(outcome.code, Some(2), "{flags:?}: {}", outcome.stderr);
        assert!(
            outcome.stderr.contains(words),
            "{flags:?}: {}",
            outcome.stderr
        );
    }
    assert!(!lab.state().exists());
}
