//! What a process of a RUN step sees and may do, here and in BuildKit. Each difference has its reason below.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use launchway_testkit::peers;

use crate::lab::{Lab, lacking};

/// Where we differ on purpose: a fact, or the beginning of several with a star, and why.
const CHOSEN: &[(&str, &str)] = &[
    (
        "stdin",
        "a file that ends at once; runc gives a pipe that does",
    ),
    (
        "pid1.environ",
        "number 1 is the sandbox's own process, which is closed to the command; in runc it is the command",
    ),
    (
        "ns.net",
        "the default is the host's network; BuildKit's is a bridge",
    ),
    (
        "ns.cgroup",
        "a cgroup namespace with control groups of version 1 as well; BuildKit makes one with version 2 only",
    ),
    (
        "mount./etc/resolv.conf",
        "a copy in memory; BuildKit shows a file of the host",
    ),
    (
        "mount./etc/hosts",
        "a copy in memory; BuildKit shows a file of the host",
    ),
    (
        "mount./dev",
        "without devices: only the nodes that are mounted there can be opened",
    ),
    (
        "mount./dev/*",
        "each node is a mount of its own, from a file system that the command cannot write to",
    ),
    ("mount./sys/fs/cgroup", "read-only itself, too"),
    (
        "mount./proc/*",
        "covers carry all locks; runc's carry fewer",
    ),
    (
        "mount./sys/firmware",
        "covers carry all locks; runc's carry fewer",
    ),
    (
        "mount./sys/devices/*",
        "Docker masks it in containers, BuildKit does not",
    ),
    (
        "masked./proc/interrupts",
        "Docker masks it in containers, BuildKit does not",
    ),
    (
        "masked./sys/devices/*",
        "Docker masks it in containers, BuildKit does not",
    ),
    (
        "syscall.socket_alg",
        "closed by Docker's profile since April 2026; older BuildKits leave it open",
    ),
    ("syscall.statmount", "open in Docker's profile of today"),
    ("syscall.listmount", "open in Docker's profile of today"),
    (
        "syscall.open_tree_attr",
        "newer than the profile: which answer it gives depends on BuildKit's age",
    ),
    (
        "limit.*",
        "BuildKit passes on the limits that its daemon has",
    ),
];

#[test]
fn a_step_is_held_as_in_buildkit() {
    const NAME: &str = "a_step_is_held_as_in_buildkit";
    let (Some(mut docker), Some(registry)) = (peers::docker(), peers::registry()) else {
        return lacking(NAME, "docker with BuildKit and a registry with Debian");
    };
    if !crate::lab::is_root() || crate::lab::host_architecture() != "amd64" {
        return lacking(NAME, "root on amd64, whose syscall numbers the probe has");
    }
    let lab = Lab::new(&format!(
        "FROM {registry}/library/debian:bookworm-slim\nCOPY probe.pl /\n\
         RUN perl /probe.pl > /report\nFROM scratch\nCOPY --from=0 /report /\n"
    ));
    lab.write("probe.pl", include_str!("probe.pl"));
    let theirs = lab.path("theirs");
    let output = format!("type=local,dest={}", theirs.display());
    let built = docker
        .args([
            "buildx",
            "build",
            "--no-cache",
            "--progress=quiet",
            "--output",
            &output,
        ])
        .arg(lab.context())
        .output()
        .expect("running docker");
    assert!(
        built.status.success(),
        "{}",
        String::from_utf8_lossy(&built.stderr)
    );
    let ours = lab.path("ours");
    lab.digest(&["--output", &format!("type=local,dest={}", ours.display())]);

    let (theirs, ours) = (facts(&theirs.join("report")), facts(&ours.join("report")));
    assert!(theirs.len() > 150, "{theirs:?}");
    let mut wrong = Vec::new();
    for name in theirs.keys().chain(ours.keys()) {
        let (their, our) = (theirs.get(name), ours.get(name));
        if their != our && !chosen(name) {
            wrong.push(format!("{name}: BuildKit {their:?}, Launchway {our:?}"));
        }
    }
    wrong.sort();
    wrong.dedup();
    assert!(wrong.is_empty(), "{wrong:#?}");

    // Whatever BuildKit does.
    for (name, value) in [
        ("status.CapBnd", "00000000a80425fb"),
        ("status.CapAmb", "0000000000000000"),
        ("status.NoNewPrivs", "0"),
        ("status.Seccomp", "2"),
        ("fds", "0,1,2"),
        ("fds.more", "0"),
        ("session.tty", "0"),
        ("ns.pid", "own"),
        ("ns.mnt", "own"),
        ("ns.ipc", "own"),
        ("ns.uts", "own"),
        ("ns.cgroup", "own"),
        ("syscall.socket_alg", "Operation not permitted"),
        ("syscall.socket_vsock", "Operation not permitted"),
        ("syscall.io_uring_setup", "Operation not permitted"),
        ("syscall.clone_newuser", "Operation not permitted"),
    ] {
        assert_eq!(ours.get(name).map(String::as_str), Some(value), "{name}");
    }
}

fn chosen(name: &str) -> bool {
    CHOSEN
        .iter()
        .any(|(pattern, _)| match pattern.strip_suffix('*') {
            Some(start) => name.starts_with(start),
            None => name == *pattern,
        })
}

/// The facts of a report. Namespaces are told by whether they are this process's own; limits of space are left out of
/// mounts by the probe.
fn facts(report: &Path) -> BTreeMap<String, String> {
    fs::read_to_string(report)
        .expect("reading a report")
        .lines()
        .map(|line| {
            let (name, value) = line.split_once(' ').unwrap_or((line, ""));
            let value = match name.strip_prefix("ns.") {
                Some(kind) => {
                    let host = fs::read_link(format!("/proc/self/ns/{kind}")).ok();
                    let same = host.is_some_and(|host| host.as_os_str() == value);
                    String::from(if same { "the host's" } else { "own" })
                }
                None => value.to_owned(),
            };
            (name.to_owned(), value)
        })
        .collect()
}
