//! Builds that are stopped at any moment, in any way: no process, no mount, no control group and no secret stays.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::lab::{BUSYBOX, Lab};

/// Longer than any machine needs; reaching it is a failure.
const PATIENCE: Duration = Duration::from_secs(60);

const VALUE: &str = "a-secret-of-a-killed-build";

#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    Interrupt,
    Terminate,
    Kill,
    /// The process between Launchway and the step.
    KillHelper,
    Hangup,
}

/// Steps that are hard to stop: they ignore signals, leave their session, fork twice, stop themselves, hold a cache.
fn stubborn(marker: &str) -> String {
    format!(
        "RUN --mount=type=cache,target=/c --mount=type=tmpfs,target=/t --mount=type=secret,id=s trap '' TERM INT HUP QUIT; \
         busybox setsid busybox sh -c 'busybox sleep {marker} & busybox sleep {marker} &' ; \
         (busybox sleep {marker} >/dev/null 2>&1 &) ; \
         busybox sh -c 'kill -STOP $$; busybox sleep {marker}' & \
         echo started; while true; do busybox sleep {marker}; done\n"
    )
}

#[test]
fn stubborn_steps_go_however_the_build_is_stopped() {
    const NAME: &str = "stubborn_steps_go_however_the_build_is_stopped";
    for (number, way) in [
        Way::Interrupt,
        Way::Terminate,
        Way::Kill,
        Way::KillHelper,
        Way::Hangup,
    ]
    .into_iter()
    .enumerate()
    {
        let marker = marker(number);
        let Some(lab) = Lab::with_busybox(NAME, &format!("{BUSYBOX}{}", stubborn(&marker))) else {
            return;
        };
        let mut build = start(&lab);
        wait_until("the step runs", || processes(&marker).len() > 2);
        stop(&mut build, way);
        nothing_is_left(&lab, &marker, way);
    }
}

/// The same at moments that nobody chose: while files are copied, layers written, steps started and ended.
#[test]
fn builds_stopped_at_any_moment_leave_nothing() {
    const NAME: &str = "builds_stopped_at_any_moment_leave_nothing";
    let marker = marker(90);
    let dockerfile = format!(
        "{BUSYBOX}COPY many /many\n\
         RUN --mount=type=cache,target=/c --mount=type=secret,id=s busybox cp -r /many /c/m; busybox cp -r /many /copy\n\
         RUN busybox dd if=/dev/zero of=/big bs=1M count=30 2>/dev/null; busybox sh -c 'busybox sleep 0.1; :' {marker}\n\
         COPY many /again\nRUN --mount=type=bind,target=/m busybox rm -rf /copy /c; busybox true\n"
    );
    let Some(lab) = Lab::with_busybox(NAME, &dockerfile) else {
        return;
    };
    for number in 0..300 {
        lab.write(
            &format!("many/{}/{number}", number % 7),
            &"x".repeat(500 * number % 9000),
        );
    }
    let begun = Instant::now();
    lab.build(&["--secret", &secret(&lab)]);
    let whole = begun.elapsed();
    // A spread of moments that differs from run to run; which they are is told when it fails.
    let mut random = u64::from(std::process::id()) * 2_654_435_761 % 1_000_003;
    for round in 0..16 {
        random = random * 48_271 % 2_147_483_647;
        let moment = whole.mul_f64(f64::from(u32::try_from(random % 1100).unwrap_or(0)) / 1000.0);
        let way = [Way::Kill, Way::KillHelper, Way::Interrupt, Way::Terminate][round % 4];
        let mut build = start(&lab);
        std::thread::sleep(moment);
        eprintln!("round {round}: {way:?} after {moment:?} of {whole:?}");
        stop(&mut build, way);
        nothing_is_left(&lab, &marker, way);
    }
    // What was left is no obstacle, and is gone: everything is built as if nothing had been.
    let image = lab.image(&["--secret", &secret(&lab)]);
    let other = Lab::with_busybox(NAME, &dockerfile).expect("it was there before");
    for number in 0..300 {
        other.write(
            &format!("many/{}/{number}", number % 7),
            &"x".repeat(500 * number % 9000),
        );
    }
    let fresh = other.image(&["--secret", &secret(&other)]);
    let paths = |image: &launchway_testkit::flatten::Image| {
        image.entries.keys().cloned().collect::<Vec<_>>()
    };
    assert_eq!(paths(&image), paths(&fresh));
    assert_eq!(temporary(&lab), Vec::<String>::new());
}

fn marker(number: usize) -> String {
    (9_000_000 + u64::from(std::process::id()) * 100 + u64::try_from(number).unwrap_or(0))
        .to_string()
}

fn secret(lab: &Lab) -> String {
    let file = lab.path("the-secret");
    fs::write(&file, VALUE).expect("writing the secret");
    format!("id=s,src={}", file.display())
}

fn start(lab: &Lab) -> Child {
    lab.command(&["--no-cache", "--secret", &secret(lab)])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("starting launchway")
}

fn stop(build: &mut Child, way: Way) {
    let id = build.id();
    let signal = |name: &str, id: u32| {
        let _ = Command::new("kill")
            .args([&format!("-{name}"), &id.to_string()])
            .stderr(Stdio::null())
            .status();
    };
    match way {
        Way::Interrupt => signal("INT", id),
        Way::Terminate => signal("TERM", id),
        Way::Hangup => signal("HUP", id),
        Way::Kill => signal("KILL", id),
        Way::KillHelper => {
            for child in children(id) {
                signal("KILL", child);
            }
        }
    }
    let begun = Instant::now();
    while build.try_wait().expect("waiting for launchway").is_none() {
        assert!(
            begun.elapsed() < PATIENCE,
            "launchway does not end after {way:?}"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn children(id: u32) -> Vec<u32> {
    fs::read_dir(format!("/proc/{id}/task"))
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|task| fs::read_to_string(task.path().join("children")).ok())
        .flat_map(|text| {
            text.split_whitespace()
                .filter_map(|id| id.parse().ok())
                .collect::<Vec<_>>()
        })
        .collect()
}

#[track_caller]
fn nothing_is_left(lab: &Lab, marker: &str, way: Way) {
    wait_until(&format!("no process is left after {way:?}"), || {
        processes(marker).is_empty()
    });
    // Processes that hold a mount of the state directory would hold it in a namespace of their own.
    let state = lab.state().display().to_string();
    wait_until(&format!("no mount is left after {way:?}"), || {
        let mut tables = fs::read_dir("/proc")
            .expect("reading /proc")
            .flatten()
            .filter_map(|entry| fs::read_to_string(entry.path().join("mountinfo")).ok());
        !tables.any(|table| table.contains(&state))
    });
    // A secret never was in a file.
    for entry in fs::read_dir("/dev/shm").into_iter().flatten().flatten() {
        let text = fs::read(entry.path()).unwrap_or_default();
        assert!(!String::from_utf8_lossy(&text).contains(VALUE), "{entry:?}");
    }
}

/// The command lines that hold the marker.
fn processes(marker: &str) -> Vec<String> {
    fs::read_dir("/proc")
        .expect("reading /proc")
        .flatten()
        .filter_map(|entry| fs::read(entry.path().join("cmdline")).ok())
        .filter(|line| {
            line.split(|byte| *byte == 0)
                .any(|word| word == marker.as_bytes())
        })
        .map(|line| String::from_utf8_lossy(&line).into_owned())
        .collect()
}

/// What stands in the store's temporary folder.
fn temporary(lab: &Lab) -> Vec<String> {
    ["root", "rootless", "single"]
        .map(|kind| lab.state().join(kind).join("store/tmp"))
        .iter()
        .filter_map(|folder| fs::read_dir(folder).ok())
        .flatten()
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        // Held while somebody works there; the file itself stays.
        .filter(|name| name != "lock")
        .collect()
}

fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < PATIENCE, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
