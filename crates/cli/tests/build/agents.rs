//! `RUN --mount=type=ssh`: what a step can do with an agent, and what it cannot.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::lab::{BUSYBOX, Lab, lacking};

/// A lab whose images have `ssh-add`, and a key.
fn lab(test: &str, steps: &str) -> Option<(Lab, String)> {
    let program = "/usr/bin/ssh-add";
    if !Path::new(program).exists() {
        lacking(test, "openssh-client");
        return None;
    }
    let lab = Lab::with_busybox(test, &format!("{BUSYBOX}COPY root /\n{steps}"))?;
    let key = lab.path("key");
    let made = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-C", "test", "-f"])
        .arg(&key)
        .status();
    assert!(made.is_ok_and(|status| status.success()));
    let root = lab.context().join("root");
    let needed = Command::new("ldd")
        .arg(program)
        .output()
        .expect("running ldd");
    let needed = String::from_utf8_lossy(&needed.stdout).into_owned();
    let libraries = needed
        .split_whitespace()
        .filter(|word| word.starts_with('/'));
    for file in libraries.chain([program]) {
        let to = root.join(file.trim_start_matches('/'));
        fs::create_dir_all(to.parent().expect("it is in the root")).expect("making a folder");
        fs::copy(file, to).expect("copying a file");
    }
    let etc = root.join("etc");
    fs::create_dir_all(&etc).expect("making a folder");
    fs::write(
        etc.join("passwd"),
        "root:x:0:0::/:/bin/sh\napp:x:1000:1000::/:/bin/sh\n",
    )
    .expect("writing");
    let public = fs::read_to_string(key.with_extension("pub")).expect("reading");
    let body = public.split(' ').nth(1).expect("a public key").to_owned();
    Some((lab, body))
}

const STEPS: &str = "\
RUN --mount=type=ssh ssh-add -L > /keys
RUN --mount=type=ssh if ssh-add -D; then exit 9; fi; ssh-add -L > /still
RUN --mount=type=ssh,id=other if ssh-add -L; then exit 9; else exit 0; fi
USER app
RUN --mount=type=ssh if ssh-add -L; then exit 9; else exit 0; fi
RUN --mount=type=ssh,uid=1000 ssh-add -L
RUN --mount=type=ssh,mode=0666 ssh-add -L
RUN test -z \"$SSH_AUTH_SOCK\" && test ! -e /run/buildkit
";

#[test]
fn a_step_lists_keys_and_changes_nothing() {
    let Some((lab, public)) = lab("a_step_lists_keys_and_changes_nothing", STEPS) else {
        return;
    };
    let key = lab.path("key");
    let flag = format!("default={}", key.display());
    let image = lab.image(&["--ssh", &flag]);
    let content = |path: &[u8]| {
        image
            .entries
            .get(path)
            .map(ToString::to_string)
            .unwrap_or_default()
    };
    assert_eq!(content(b"keys"), content(b"still"));
    assert!(!image.entries.keys().any(|path| path.starts_with(b"run")));
    // The same again comes from the cache, whoever holds the key, and no key is anywhere.
    let secret = fs::read_to_string(&key).expect("reading");
    let line = secret.lines().nth(2).expect("a line of the key");
    for text in [line, &public] {
        let found = Command::new("grep")
            .args(["-rlF", text])
            .arg(lab.state().join(state_folder(&lab)).join("engine"))
            .output()
            .expect("running grep");
        assert_eq!(String::from_utf8_lossy(&found.stdout), "");
    }
    let found = Command::new("grep")
        .args(["-rlF", line])
        .arg(lab.state())
        .output()
        .expect("running grep");
    assert_eq!(String::from_utf8_lossy(&found.stdout), "");
    // A user's own agent does as well as a file.
    let socket = lab.path("agent");
    let mut agent = Command::new("ssh-agent")
        .args(["-D", "-a"])
        .arg(&socket)
        .stdout(std::process::Stdio::null())
        .spawn()
        .expect("starting an agent");
    while !socket.exists() {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    let added = Command::new("ssh-add")
        .arg("-q")
        .arg(&key)
        .env("SSH_AUTH_SOCK", &socket)
        .status();
    assert!(added.is_ok_and(|status| status.success()));
    let built = crate::lab::outcome(
        lab.command(&["--no-cache", "--ssh", "default"])
            .env("SSH_AUTH_SOCK", &socket),
    );
    let _ = agent.kill();
    let _ = agent.wait();
    assert_eq!(built.code, Some(0), "{}", built.stderr);
}

/// The one folder of the state: its name says how ids are mapped.
fn state_folder(lab: &Lab) -> String {
    let entries = fs::read_dir(lab.state())
        .expect("listing the state")
        .flatten();
    let mut names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.next().expect("a folder")
}

#[test]
fn what_is_wrong_with_an_agent() {
    let steps = "RUN --mount=type=ssh,required,id=deploy true\n";
    let Some((lab, _)) = lab("what_is_wrong_with_an_agent", steps) else {
        return;
    };
    let key = lab.path("key");
    let locked = lab.path("locked");
    let made = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "passphrase", "-f"])
        .arg(&locked)
        .status();
    assert!(made.is_ok_and(|status| status.success()));
    let with = |path: &Path| format!("deploy={}", path.display());
    for (flags, code, words) in [
        (vec![], 1, &["LW0521", "`deploy` was not given"][..]),
        (vec![with(&locked)], 1, &["LW0522", "passphrase"]),
        (vec![with(&lab.path("nothing"))], 1, &["cannot read"]),
        (vec!["deploy".to_owned()], 2, &["SSH_AUTH_SOCK is not set"]),
        (vec![with(&key), with(&key)], 2, &["given twice"]),
        (vec!["=x".to_owned()], 2, &["no id"]),
    ] {
        let flags: Vec<&str> = flags
            .iter()
            .flat_map(|flag| ["--ssh", flag.as_str()])
            .collect();
        let outcome = crate::lab::outcome(lab.command(&flags).env_remove("SSH_AUTH_SOCK"));
        assert_eq!(outcome.code, Some(code), "{flags:?}: {}", outcome.stderr);
        for words in words {
            assert!(
                outcome.stderr.contains(words),
                "{flags:?}: {}",
                outcome.stderr
            );
        }
    }
}
