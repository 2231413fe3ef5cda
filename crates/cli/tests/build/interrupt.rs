//! A build that is stopped, gently or not, leaves no process, no mount and no half-made layer.

use std::fs;
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::lab::{BUSYBOX, Lab};

/// Longer than any machine needs; reaching it is a failure.
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn an_interrupted_build_stops_its_step() {
    let Some((lab, build, marker)) = start("an_interrupted_build_stops_its_step") else {
        return;
    };
    signal(&build, "INT");
    let output = build.wait_with_output().expect("waiting for launchway");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(130), "{said}");
    nothing_is_left(&lab, &marker);
    assert_eq!(temporary(&lab), Vec::<String>::new());
}

#[test]
fn a_killed_build_takes_its_step_with_it() {
    let Some((lab, mut build, marker)) = start("a_killed_build_takes_its_step_with_it") else {
        return;
    };
    build.kill().expect("killing launchway");
    build.wait().expect("waiting for launchway");
    nothing_is_left(&lab, &marker);
    // The next build works, from what the killed one left.
    lab.write("Dockerfile", &format!("{BUSYBOX}RUN echo done\n"));
    lab.digest(&[]);
}

/// A registry that takes the connection and never answers would be asked again and again.
#[test]
fn an_interrupted_push_is_given_up() {
    let lab = Lab::new("FROM scratch\nCOPY f /f\n");
    lab.write("f", "content");
    let registry = TcpListener::bind("127.0.0.1:0").expect("listening");
    let host = registry.local_addr().expect("an address");
    let build = lab
        .command(&["-t", &format!("{host}/a:1"), "--push"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("starting launchway");
    let asked = registry.accept().expect("it connects");
    signal(&build, "INT");
    // Without the registry the push would fail by itself.
    std::thread::sleep(Duration::from_millis(200));
    drop((asked, registry));
    let output = build.wait_with_output().expect("waiting for launchway");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(130), "{said}");
    assert_eq!(output.stdout, b"", "nothing is told of what was not pushed");
}

/// Starts a build that sleeps in its second step. The number of seconds tells its process apart.
fn start(test: &str) -> Option<(Lab, Child, String)> {
    // Test runners may run each test in a process of its own, whose numbers are neighbours.
    let which = u32::from(test.starts_with("an_interrupted"));
    let marker = (1_000_000 + std::process::id() * 2 + which).to_string();
    let dockerfile = format!("{BUSYBOX}RUN echo running; busybox sleep {marker}\n");
    let lab = Lab::with_busybox(test, &dockerfile)?;
    let build = lab
        .command(&[])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("starting launchway");
    wait_until("the step runs", || !processes(&marker).is_empty());
    Some((lab, build, marker))
}

fn nothing_is_left(lab: &Lab, marker: &str) {
    wait_until("the step's process is gone", || {
        processes(marker).is_empty()
    });
    let state = lab.state().display().to_string();
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("reading the mounts");
    assert!(!mounts.contains(&state), "{mounts}");
}

/// The command lines that hold the marker as a word of its own.
fn processes(marker: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").expect("reading /proc").flatten() {
        let Ok(line) = fs::read(entry.path().join("cmdline")) else {
            continue;
        };
        if line
            .split(|byte| *byte == 0)
            .any(|word| word == marker.as_bytes())
        {
            found.push(String::from_utf8_lossy(&line).into_owned());
        }
    }
    found
}

/// What stands in the store's temporary folder.
fn temporary(lab: &Lab) -> Vec<String> {
    let folders =
        ["root", "rootless", "single"].map(|kind| lab.state().join(kind).join("store/tmp"));
    folders
        .iter()
        .filter_map(|folder| fs::read_dir(folder).ok())
        .flatten()
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        // Held while somebody works there; the file itself stays.
        .filter(|name| name != "lock")
        .collect()
}

pub(crate) fn signal(process: &Child, name: &str) {
    let status = Command::new("sh")
        .args(["-c", &format!("kill -{name} {}", process.id())])
        .status()
        .expect("running sh");
    assert!(status.success());
}

fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < PATIENCE, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
