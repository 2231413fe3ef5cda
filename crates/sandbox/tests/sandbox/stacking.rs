//! Layers that something else than the kernel stacks.

use std::fs;
use std::path::PathBuf;

use launchway_sandbox::{MountSpec, RunSpec, Stacking};

use crate::common::{Place, place, stdout};

/// `None`, with the reason printed, where it is not installed.
fn fuse() -> Option<Stacking> {
    let program = PathBuf::from("/usr/bin/fuse-overlayfs");
    if !program.exists() {
        eprintln!("skipped: needs fuse-overlayfs (Debian package of this name)");
        return None;
    }
    Some(Stacking::Fuse { program })
}

/// A run that keeps its changes, in one of the two ways.
fn stacked(place: &Place, stacking: Stacking, script: &str) -> RunSpec {
    let mut spec = place.changing(script);
    if stacking == Stacking::Copy {
        let copied = std::process::Command::new("cp")
            .args(["-a", "--"])
            .arg(place.path("layer/."))
            .arg(place.path("upper"))
            .status();
        assert!(
            copied.is_ok_and(|status| status.success()),
            "copying the layer"
        );
        spec.lower.clear();
    }
    spec.stacking = stacking;
    spec
}

fn check(stacking: Stacking) {
    let Some(place) = place() else { return };
    fs::write(place.path("layer/etc/kept"), "kept\n").expect("a file of the test");
    fs::create_dir(place.path("source")).expect("a file of the test");
    let script = "cat /etc/kept; ls /run/deep/er; echo $$; set -- /proc/[0-9]*; echo $#; grep -c . /etc/hosts; \
        echo new > /etc/new; echo more >> /etc/kept; rm /bin/yes; mkdir /run/deep/left";
    let mut spec = stacked(&place, stacking.clone(), script);
    spec.mounts = vec![MountSpec::Bind {
        source: place.path("source"),
        target: "/run/deep/er".into(),
        read_only: true,
    }];
    // The program that stacks is in nobody's sight and reach: the command is number 2 of two.
    assert_eq!(stdout(&spec), "kept\n2\n2\n2\n", "{stacking:?}");
    let upper = |name: &str| place.path("upper").join(name);
    assert_eq!(
        fs::read_to_string(upper("etc/new")).expect("a file of the test"),
        "new\n"
    );
    assert_eq!(
        fs::read_to_string(upper("etc/kept")).expect("a file of the test"),
        "kept\nmore\n"
    );
    // Mount points are gone, but for the directory that the command put something into.
    for gone in [
        "etc/hosts",
        "etc/resolv.conf",
        "run/deep/er",
        "proc",
        "sys",
        "dev",
    ] {
        assert!(!upper(gone).exists(), "{stacking:?}: {gone}");
    }
    assert!(upper("run/deep/left").is_dir(), "{stacking:?}");
    assert_eq!(
        fs::read_to_string(place.path("layer/etc/kept")).expect("a file of the test"),
        "kept\n"
    );
}

#[test]
fn by_fuse_overlayfs() {
    if let Some(stacking) = fuse() {
        check(stacking);
    }
}

#[test]
fn not_at_all() {
    check(Stacking::Copy);
}

#[test]
fn a_program_that_does_not_stack_is_told_about() {
    let Some(place) = place() else { return };
    let spec = stacked(
        &place,
        Stacking::Fuse {
            program: "/bin/false".into(),
        },
        "true",
    );
    let (exit, _) = crate::common::run(&spec);
    let error = exit.expect_err("nothing answers for the mount").to_string();
    assert!(error.contains("with fuse-overlayfs"), "{error}");
}
