//! Runs of people who are not root. The probe enters the user namespace, since a test harness has threads.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Output};

use crate::common::{Place, place};

/// An id that certainly has no ranges.
const NOBODY: u32 = 4_000_001;

/// Gives the place to a user and runs the probe as that user.
fn probe_as(place: &Place, uid: u32, words: &[&str]) -> Output {
    for entry in [
        "",
        "layer",
        "layer/bin",
        "layer/etc",
        "layer/tmp",
        "upper",
        "work",
    ] {
        chown(place.path(entry), Some(uid), Some(uid)).expect("giving away a directory");
    }
    // The program may be where only root looks.
    let program = place.path("probe");
    if !program.exists() {
        fs::copy(crate::common::probe(), &program).expect("copying the probe");
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755))
            .expect("making the probe executable");
    }
    Command::new(program)
        .args(words)
        .uid(uid)
        .gid(uid)
        .current_dir("/")
        .output()
        .expect("starting the probe")
}

fn allowed() -> bool {
    let forbidden =
        |path: &str, value: &str| fs::read_to_string(path).is_ok_and(|text| text.trim() == value);
    let refused = forbidden("/proc/sys/user/max_user_namespaces", "0")
        || forbidden("/proc/sys/kernel/unprivileged_userns_clone", "0")
        || forbidden(
            "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
            "1",
        );
    if refused {
        eprintln!("skipped: this machine keeps users from creating namespaces");
    }
    !refused
}

#[test]
fn with_a_single_id() {
    let Some(place) = place() else { return };
    if !allowed() {
        return;
    }
    let (layer, upper, work) = (place.path("layer"), place.path("upper"), place.path("work"));
    let keep = [
        "--rootless",
        "--upper",
        upper.to_str().unwrap(),
        "--work",
        work.to_str().unwrap(),
        layer.to_str().unwrap(),
    ];
    let script = "id -u; cat /proc/self/uid_map; echo $$; ls /proc | grep -c '^[0-9]'; echo x > /etc/new; rm /bin/yes; \
        rm -r /tmp; mkdir /tmp; head -c 1 /dev/zero | wc -c; grep CapEff /proc/self/status; ls -d /sys/class; \
        cat /etc/shadow 2>/dev/null; unshare -U true || echo confined";
    let words: Vec<&str> = keep.into_iter().chain(["/bin/sh", "-c", script]).collect();
    let output = probe_as(&place, NOBODY, &words);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[..2], ["ids: Single", "0"], "{text}");
    assert_eq!(
        lines[2].split_whitespace().collect::<Vec<_>>(),
        ["0", "4000001", "1"],
        "{text}"
    );
    assert!(text.contains("CapEff:\t00000000a80425fb"), "{text}");
    assert!(text.ends_with("/sys/class\nconfined\n"), "{text}");
    assert_eq!(place.changes(), ["bin", "bin/yes", "etc", "etc/new", "tmp"]);
    assert_eq!(
        fs::metadata(place.path("upper/etc/new")).unwrap().uid(),
        NOBODY
    );
    let mut opaque = [0; 8];
    let length = rustix::fs::getxattr(
        place.path("upper/tmp"),
        "user.overlay.opaque",
        &mut opaque[..],
    )
    .unwrap();
    assert_eq!(&opaque[..length], b"y");

    // Another user does not exist there, which is said.
    let words = [
        "--rootless",
        "--uid",
        "1000",
        layer.to_str().unwrap(),
        "/bin/true",
    ];
    let output = probe_as(&place, NOBODY, &words);
    assert!(!output.status.success());
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(complaint.contains("becoming user 1000"), "{complaint}");

    // Nor is anything kept without an upper directory, and exit codes come through.
    let words = [
        "--rootless",
        layer.to_str().unwrap(),
        "/bin/sh",
        "-c",
        "touch /x; exit 9",
    ];
    assert_eq!(probe_as(&place, NOBODY, &words).status.code(), Some(9));
    assert!(!place.path("layer/x").exists());
}

#[test]
fn with_ranges_of_ids() {
    let Some(place) = place() else { return };
    if !allowed() {
        return;
    }
    let Some(user) = User::create() else {
        eprintln!(
            "skipped: needs a useradd that gives ranges of ids, and newuidmap (package uidmap)"
        );
        return;
    };
    let (uid, name) = (user.uid, &user.name);
    let (layer, upper, work) = (place.path("layer"), place.path("upper"), place.path("work"));
    let script = "id -u; touch /tmp/file; chown 33:34 /tmp/file; stat -c '%u %g' /tmp/file; mkdir /d; chown 1000 /d";
    let words = [
        "--rootless",
        "--upper",
        upper.to_str().unwrap(),
        "--work",
        work.to_str().unwrap(),
        layer.to_str().unwrap(),
        "/bin/sh",
        "-c",
        script,
    ];
    let output = probe_as(&place, uid, &words);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{name}: {text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(
        text.starts_with("ids: Range") && text.ends_with("0\n33 34\n"),
        "{text}"
    );
    let owner = fs::metadata(place.path("upper/d")).unwrap().uid();
    assert!(owner != 1000 && owner != uid, "an id of the range: {owner}");

    let words = [
        "--rootless",
        "--uid",
        "1000",
        layer.to_str().unwrap(),
        "/bin/id",
        "-u",
    ];
    let output = probe_as(&place, uid, &words);
    assert!(
        String::from_utf8_lossy(&output.stdout).ends_with("1000\n"),
        "{output:?}"
    );
}

/// A user of this test alone, with ranges of ids; removed with it.
struct User {
    name: String,
    uid: u32,
}

impl User {
    fn create() -> Option<Self> {
        if !["/usr/bin/newuidmap", "/bin/newuidmap"]
            .iter()
            .any(|tool| Path::new(tool).exists())
        {
            return None;
        }
        let name = format!("lws{}", std::process::id());
        let made = Command::new("useradd")
            .args(["--no-create-home", "--shell", "/bin/sh", &name])
            .status();
        if !made.is_ok_and(|status| status.success()) {
            return None;
        }
        let mut user = Self { name, uid: 0 };
        let users = fs::read_to_string("/etc/passwd").expect("reading the users");
        user.uid = users
            .lines()
            .find_map(|line| {
                let mut fields = line.split(':');
                (fields.next()? == user.name).then(|| fields.nth(1)?.parse().ok())?
            })
            .expect("a user that was made is listed");
        let ranges = |file: &str| {
            let text = fs::read_to_string(file).unwrap_or_default();
            text.lines()
                .any(|row| row.split(':').next() == Some(user.name.as_str()))
        };
        (ranges("/etc/subuid") && ranges("/etc/subgid")).then_some(user)
    }
}

impl Drop for User {
    fn drop(&mut self) {
        let _ = Command::new("userdel").arg(&self.name).status();
    }
}
