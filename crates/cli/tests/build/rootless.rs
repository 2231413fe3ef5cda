//! Building as a user without privileges.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use launchway_testkit::flatten::{Difference, compare, flatten};
use tempfile::TempDir;

use crate::lab::{BUSYBOX, Lab, is_root, lacking, outcome};

/// A user of its own, so that several runs of the tests do not meet, with the program and a context where it can read them.
struct Account {
    name: String,
    place: TempDir,
}

impl Account {
    /// With subordinate ids or without; nothing, and a word about it, where users cannot be made.
    fn create(test: &str, lab: &Lab, ranges: bool) -> Option<Self> {
        if !is_root() {
            lacking(test, "right to make a user");
            return None;
        }
        if ranges && !Path::new("/usr/bin/newuidmap").exists() {
            lacking(test, "newuidmap (package uidmap)");
            return None;
        }
        // Test runners may run all tests in one process.
        let kind = test.chars().filter(|letter| *letter != '_').count();
        let name = format!("lw{}-{kind}", std::process::id());
        let mut useradd = Command::new("useradd");
        useradd.args(["--no-create-home", "--shell", "/bin/sh"]);
        // Only people are given ids.
        if !ranges {
            useradd.arg("--system");
        }
        let made = useradd.arg(&name).status();
        if !made.is_ok_and(|status| status.success()) {
            lacking(test, "useradd that works");
            return None;
        }
        let account = Self {
            name,
            place: tempfile::tempdir().expect("making a folder"),
        };
        let open = fs::Permissions::from_mode(0o755);
        fs::set_permissions(account.place.path(), open).expect("setting a mode");
        fs::copy(env!("CARGO_BIN_EXE_launchway"), account.path("launchway"))
            .expect("copying the program");
        run(Command::new("cp")
            .arg("-r")
            .arg(lab.context())
            .arg(account.path("context")));
        fs::create_dir(account.path("home")).expect("making a folder");
        run(Command::new("chown")
            .args(["-R", &account.name])
            .arg(account.path("home"))
            .arg(account.path("context")));
        Some(account)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new("setpriv");
        command
            .args(["--reuid", &self.name, "--regid", &self.name])
            .arg("--init-groups")
            .arg(self.path("launchway"))
            .arg("--state-dir")
            .arg(self.path("home/state"))
            .args(words)
            .current_dir(self.path("home"))
            .env("HOME", self.path("home"))
            .env("LAUNCHWAY_CACHE_MIN_FREE", "off")
            .env_remove("SOURCE_DATE_EPOCH")
            .env("NO_COLOR", "1");
        command
    }

    /// `launchway dockerfile build FLAGS CONTEXT`
    fn build(&self, flags: &[&str]) -> Command {
        let mut command = self.command(&["dockerfile", "build"]);
        command.args(flags).arg(self.path("context"));
        command
    }

    /// Files that came out belong to who asked for them, whomever they belong to in the image.
    fn owns(&self, folder: &str, files: &[&str]) {
        let own = fs::metadata(self.path("home")).expect("looking").uid();
        for file in files {
            let found = fs::metadata(self.path(folder).join(file)).expect("looking");
            assert_eq!(found.uid(), own, "{file}");
        }
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        let _ = Command::new("userdel").arg(&self.name).status();
    }
}

fn run(command: &mut Command) {
    assert!(
        command.status().is_ok_and(|status| status.success()),
        "{command:?}"
    );
}

#[test]
fn a_user_builds_what_root_builds() {
    const NAME: &str = "a_user_builds_what_root_builds";
    let steps = "COPY --chown=1000:50 --chmod=4755 f /f\nRUN busybox chown 7:8 /bin && busybox mkdir -p /etc/a && busybox ln /f /g\nRUN busybox rm /g && busybox rmdir /etc/a && busybox id -u > /id\nUSER 1000\nWORKDIR /work\nRUN busybox id -u > id\n";
    let Some(lab) = Lab::with_busybox(NAME, &format!("{BUSYBOX}{steps}")) else {
        return;
    };
    lab.write("f", "f\n");
    let Some(account) = Account::create(NAME, &lab, true) else {
        return;
    };
    let as_root = lab.image(&[]);
    let flags = ["--output=type=oci,tar=false,dest=layout", "--output=files"];
    let built = outcome(&mut account.build(&flags));
    assert_eq!(built.code, Some(0), "{}", built.stderr);
    let as_user = flatten(&account.path("home/layout"), None).expect("reading the layout");
    assert_eq!(compare(&as_root, &as_user), Vec::<Difference>::new());
    account.owns("home/files", &["f", "id", "bin/busybox", "work/id"]);
}

/// One step with everything that can be mounted, and without a network. What it finds is in `/found`.
const MOUNTS: &str = "RUN --mount=type=cache,target=/c busybox touch /c/kept\nRUN --network=none --mount=type=cache,target=/c --mount=type=bind,source=f,target=/b --mount=type=secret,id=s,target=/s --mount=type=tmpfs,target=/t busybox cat /b /s > /t/x && busybox ls /c >> /t/x && busybox grep -c : /proc/net/dev >> /t/x && busybox cp /t/x /found\n";
const FOUND: &str = "of the context\nsecret\nkept\n1\n";

/// Builds what [`MOUNTS`] and other steps say, and gives the folder.
fn build_with_mounts(account: &Account) {
    let flags = ["--secret=id=s,src=../context/secret", "--output=files"];
    let built = outcome(&mut account.build(&flags));
    assert_eq!(built.code, Some(0), "{}", built.stderr);
    let found = fs::read_to_string(account.path("home/files/found")).expect("reading a file");
    assert_eq!(found, FOUND);
    account.owns("home/files", &["found", "bin/busybox"]);
}

#[test]
fn a_user_has_all_mounts() {
    const NAME: &str = "a_user_has_all_mounts";
    let user = "USER 1000\nRUN --mount=type=cache,target=/c,uid=1000 busybox touch /c/own && busybox test \"$(busybox id -u)\" = 1000\n";
    let Some(lab) = Lab::with_busybox(NAME, &format!("{BUSYBOX}{MOUNTS}{user}")) else {
        return;
    };
    lab.write("f", "of the context\n");
    lab.write("secret", "secret\n");
    if let Some(account) = Account::create(NAME, &lab, true) {
        build_with_mounts(&account);
    }
}

#[test]
fn one_id_is_enough_for_files_of_one_owner() {
    const NAME: &str = "one_id_is_enough_for_files_of_one_owner";
    let Some(lab) = Lab::with_busybox(NAME, &format!("{BUSYBOX}{MOUNTS}")) else {
        return;
    };
    lab.write("f", "of the context\n");
    lab.write("secret", "secret\n");
    let Some(account) = Account::create(NAME, &lab, false) else {
        return;
    };
    build_with_mounts(&account);
    // What takes more says so, and `doctor` says what to do.
    let other = format!("{BUSYBOX}USER 1000\nRUN busybox id\n");
    fs::write(account.path("context/Dockerfile"), other).expect("writing a file");
    let refused = outcome(&mut account.build(&[]));
    assert_ne!(refused.code, Some(0), "{}", refused.stderr);
    assert!(
        refused.stderr.contains("launchway doctor"),
        "{}",
        refused.stderr
    );
    let told = outcome(&mut account.command(&["doctor"]));
    let remedy = format!(
        "usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {}",
        account.name
    );
    assert!(told.stdout.contains(&remedy), "{}", told.stdout);
}

#[test]
fn a_user_can_stop_a_build() {
    const NAME: &str = "a_user_can_stop_a_build";
    let marker = (3_000_000 + std::process::id()).to_string();
    let step = format!("RUN busybox sleep {marker}\n");
    let Some(lab) = Lab::with_busybox(NAME, &format!("{BUSYBOX}{step}")) else {
        return;
    };
    let Some(account) = Account::create(NAME, &lab, true) else {
        return;
    };
    let build = account
        .build(&[])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("starting launchway");
    wait_for(&marker, true);
    run(Command::new("kill").args(["-INT", &build.id().to_string()]));
    let output = build.wait_with_output().expect("waiting for launchway");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(130), "{said}");
    wait_for(&marker, false);
}

/// Until a process whose last word is the marker is there, or gone.
fn wait_for(marker: &str, there: bool) {
    let started = Instant::now();
    let found = || {
        let processes = fs::read_dir("/proc").expect("reading /proc").flatten();
        let lines = processes.filter_map(|one| fs::read(one.path().join("cmdline")).ok());
        let end = format!("\0sleep\0{marker}\0");
        lines.into_iter().any(|line| line.ends_with(end.as_bytes()))
    };
    while found() != there {
        // Longer than any machine needs.
        assert!(started.elapsed() < Duration::from_secs(60), "{marker}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn doctor_names_the_limit_that_the_kernel_answers_with() {
    const NAME: &str = "doctor_names_the_limit_that_the_kernel_answers_with";
    let lab = Lab::new("FROM scratch\n");
    // Root of a user namespace may forbid further ones, and then gives up its own rights.
    let script = "echo 0 > /proc/sys/user/max_user_namespaces || exit 77\nexec setpriv --bounding-set -all --inh-caps -all \"$@\"";
    let told = outcome(
        Command::new("unshare")
            .args(["--user", "--map-root-user", "sh", "-c", script, "sh"])
            .arg(env!("CARGO_BIN_EXE_launchway"))
            .arg("--state-dir")
            .arg(lab.state())
            .arg("doctor"),
    );
    if told.stdout.is_empty() {
        return lacking(NAME, "user namespaces");
    }
    assert_eq!(told.code, Some(1), "{}{}", told.stdout, told.stderr);
    for words in [
        "user.max_user_namespaces is 0",
        "sysctl -w user.max_user_namespaces=",
    ] {
        assert!(told.stdout.contains(words), "{}", told.stdout);
    }
}
