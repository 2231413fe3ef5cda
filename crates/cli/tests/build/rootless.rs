//! Building as a user without privileges.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::Command;

use launchway_testkit::flatten::{Difference, compare, flatten};

use crate::lab::{BUSYBOX, Lab, is_root, lacking, outcome};

/// Makes users of its own, so that several runs of the tests do not meet.
struct User(String);

impl User {
    fn create() -> Option<Self> {
        let name = format!("lw{}", std::process::id());
        let made = Command::new("useradd")
            .args(["--no-create-home", "--shell", "/bin/sh", &name])
            .status();
        made.is_ok_and(|status| status.success())
            .then_some(Self(name))
    }
}

impl Drop for User {
    fn drop(&mut self) {
        let _ = Command::new("userdel").arg(&self.0).status();
    }
}

#[test]
fn a_user_builds_what_root_builds() {
    const NAME: &str = "a_user_builds_what_root_builds";
    let steps = "COPY --chown=1000:50 --chmod=4755 f /f\nRUN busybox chown 7:8 /bin && busybox mkdir -p /etc/a && busybox ln /f /g\nRUN busybox rm /g && busybox rmdir /etc/a && busybox id -u > /id\nUSER 1000\nWORKDIR /work\nRUN busybox id -u > id\n";
    let Some(lab) = Lab::with_busybox(NAME, &format!("{BUSYBOX}{steps}")) else {
        return;
    };
    lab.write("f", "f\n");
    if !is_root() {
        return lacking(NAME, "right to make a user");
    }
    if !Path::new("/usr/bin/newuidmap").exists() {
        return lacking(NAME, "newuidmap (package uidmap)");
    }
    let Some(user) = User::create() else {
        return lacking(NAME, "useradd that works");
    };
    let as_root = lab.image(&[]);

    // The program and the context have to be where the user can read them.
    let place = tempfile::tempdir().expect("making a folder");
    let open = |path: &Path| {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("setting a mode");
    };
    open(place.path());
    let program = place.path().join("launchway");
    fs::copy(env!("CARGO_BIN_EXE_launchway"), &program).expect("copying the program");
    let context = place.path().join("context");
    let run = |command: &mut Command| {
        assert!(
            command.status().is_ok_and(|status| status.success()),
            "{command:?}"
        );
    };
    run(Command::new("cp")
        .arg("-r")
        .arg(lab.context())
        .arg(&context));
    let home = place.path().join("home");
    fs::create_dir(&home).expect("making a folder");
    run(Command::new("chown")
        .arg("-R")
        .arg(&user.0)
        .arg(&home)
        .arg(&context));
    let layout = home.join("layout");
    let files = home.join("files");
    let line = format!(
        "cd {home} && HOME={home} exec {program} --state-dir {home}/state dockerfile build --output type=oci,tar=false,dest={layout} --output {files} {context}",
        home = home.display(),
        program = program.display(),
        layout = layout.display(),
        files = files.display(),
        context = context.display(),
    );
    let built = outcome(Command::new("su").args([user.0.as_str(), "-c", &line]));
    assert_eq!(built.code, Some(0), "{}", built.stderr);
    let as_user = flatten(&layout, None).expect("reading the layout");
    assert_eq!(compare(&as_root, &as_user), Vec::<Difference>::new());
    // Files that come out belong to who asked for them, whomever they belong to in the image.
    let own = fs::metadata(&home).expect("looking").uid();
    for file in ["f", "id", "bin/busybox", "work/id"] {
        let found = fs::metadata(files.join(file)).expect("looking");
        assert_eq!(found.uid(), own, "{file}");
    }
}
