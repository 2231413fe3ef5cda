//! What a run may use at most, and what comes of wanting more.

use std::fs;
use std::path::Path;
use std::process::Command;

use launchway_sandbox::{
    Content, Exit, Limits, MountSpec, Pids, ResourceLimit, RunSpec, SandboxError,
};

use crate::common::{Place, eventually, place, run, start, stdout};

/// Groups of steps, anywhere on this machine, whose names hold a text.
fn groups(text: &str) -> Vec<String> {
    let output = Command::new("find")
        .args(["/sys/fs/cgroup", "-type", "d", "-name"])
        .arg(format!("launchway-step-{text}*"))
        .output()
        .expect("running find");
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .map(str::to_owned)
        .collect()
}

/// `None`, with a word about it, where groups cannot limit this.
fn limited(place: &Place, script: &str, limits: Limits) -> Option<RunSpec> {
    let spec = RunSpec {
        limits,
        ..place.script(script)
    };
    let quick = RunSpec {
        argv: crate::common::words(&["/bin/true"]),
        ..spec.clone()
    };
    match run(&quick).0 {
        Err(SandboxError::Limit { limit, why }) => {
            assert!(std::env::var_os("CI").is_none(), "in CI nothing is skipped");
            eprintln!("skipped: this machine keeps no limit of {limit}: {why}");
            None
        }
        other => {
            assert!(matches!(other, Ok(Exit::Code(0))), "{other:?}");
            Some(spec)
        }
    }
}

#[test]
fn memory() {
    let Some(place) = place() else { return };
    // All of it in one buffer.
    let script = "dd if=/dev/zero of=/dev/null bs=64M count=1 2>/dev/null";
    let limits = Limits {
        memory: Some(16 << 20),
        ..Limits::default()
    };
    let Some(spec) = limited(&place, script, limits) else {
        return;
    };
    let (mut running, output) = start(&spec, None);
    let exit = running.wait();
    assert!(
        !matches!(exit, Ok(Exit::Code(0))) && exit.is_ok(),
        "{exit:?} {output:?}"
    );
    assert!(running.limits_hit().memory, "{exit:?} {output:?}");

    // The same without a limit is no trouble, and nothing is told.
    let (mut running, output) = start(&place.script(script), None);
    let exit = running.wait();
    assert!(matches!(exit, Ok(Exit::Code(0))), "{exit:?} {output:?}");
    assert!(!running.limits_hit().memory);
}

/// Files in memory count: the shared memory and everything else that is no disk.
#[test]
fn shared_memory() {
    let Some(place) = place() else { return };
    let fill = "dd if=/dev/zero of=/dev/shm/big bs=1M count=100 2>/dev/null; wc -c < /dev/shm/big";
    assert_eq!(stdout(&place.script(fill)).trim(), (64 << 20).to_string());
    let larger = RunSpec {
        shm_size: Some(80 << 20),
        ..place.script(fill)
    };
    assert_eq!(stdout(&larger).trim(), (80 << 20).to_string());
    let limits = Limits {
        memory: Some(16 << 20),
        ..Limits::default()
    };
    let Some(spec) = limited(&place, &format!("{fill} || true"), limits) else {
        return;
    };
    let (mut running, _) = start(&spec, None);
    let _ = running.wait();
    assert!(running.limits_hit().memory);
}

#[test]
fn processes() {
    let Some(place) = place() else { return };
    let limits = Limits {
        pids: Pids::Limit(20),
        ..Limits::default()
    };
    // A bomb: each one starts two more, until none can be started.
    let script = "bomb() { bomb | bomb & }; bomb 2>/dev/null; sleep 0.3; exit 0";
    let Some(spec) = limited(&place, script, limits) else {
        return;
    };
    let (mut running, output) = start(&spec, None);
    let exit = running.wait();
    assert!(running.limits_hit().pids, "{exit:?} {output:?}");
    // The usual limit is a limit, too.
    let group = "cat /proc/self/cgroup";
    let usual = stdout(&place.script(group));
    assert!(
        usual
            .lines()
            .all(|line| line.ends_with(":/") || line.contains("name=")),
        "{usual}"
    );
}

#[test]
fn processors() {
    let Some(place) = place() else { return };
    let limits = Limits {
        cpus: Some(100),
        ..Limits::default()
    };
    // How much of the processor it had is what the kernel says, not a clock.
    let script = "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done";
    let Some(spec) = limited(&place, script, limits) else {
        return;
    };
    assert!(matches!(run(&spec).0, Ok(Exit::Code(0))));
}

#[test]
fn resources() {
    let Some(place) = place() else { return };
    let limit = |name: &str, soft, hard| ResourceLimit {
        name: name.into(),
        soft,
        hard,
    };
    let script = "ulimit -Sn; ulimit -Hn; ulimit -Sc; ulimit -Ss";
    let spec = RunSpec {
        limits: Limits {
            resources: vec![
                limit("nofile", Some(100), Some(200)),
                limit("stack", Some(1 << 20), None),
            ],
            ..Limits::default()
        },
        ..place.script(script)
    };
    assert_eq!(stdout(&spec), "100\n200\n0\n1024\n");
    // No core files unless they are asked for.
    let crash = "kill -SEGV $$";
    let (exit, _) = run(&place.changing(crash));
    assert!(matches!(exit, Ok(Exit::Signal(11))), "{exit:?}");
    assert_eq!(place.changes(), Vec::<String>::new());
}

#[test]
fn a_limit_that_cannot_be_kept_is_refused() {
    let Some(place) = place() else { return };
    let spec = RunSpec {
        limits: Limits {
            pids: Pids::Limit(9),
            // A file stands where the group would be.
            cgroup_parent: Some("cgroup.procs/inner".into()),
            ..Limits::default()
        },
        ..place.script("true")
    };
    let (exit, _) = run(&spec);
    assert!(
        matches!(&exit, Err(SandboxError::Limit { limit, .. }) if limit == "pids"),
        "{exit:?}"
    );
}

/// A run whose helper is killed leaves a group; the next run removes it, and never one that is in use.
#[test]
fn groups_go() {
    let Some(place) = place() else { return };
    let (mut running, output) = start(&place.script("echo up; sleep 1000"), None);
    eventually("the start", || output.lock().unwrap().stdout == "up\n");
    let helper = running.helper_id();
    let mine = groups(&format!("{helper}-"));
    if mine.is_empty() {
        eprintln!("skipped: this machine lets us make no control groups");
        running.killer().kill();
        return;
    }
    // Another run leaves it alone.
    assert_eq!(stdout(&place.script("echo x")), "x\n");
    assert_eq!(groups(&format!("{helper}-")), mine);
    let killed = Command::new("kill")
        .args(["-KILL", &helper.to_string()])
        .status();
    assert!(killed.expect("running kill").success());
    assert!(running.wait().is_err());
    // Another test's run may be the next one, and the kernel takes its time to end what is in the group.
    eventually("the end of the group", || {
        assert_eq!(stdout(&place.script("echo x")), "x\n");
        groups(&format!("{helper}-")).is_empty()
    });

    // One that ends as it should leaves nothing in the first place.
    let (mut running, _) = start(&place.script("true"), None);
    let helper = running.helper_id();
    assert!(running.wait().is_ok());
    assert_eq!(groups(&format!("{helper}-")), Vec::<String>::new());
}

#[test]
fn files_in_memory() {
    let Some(place) = place() else { return };
    let file = |target: &str, mode, uid| MountSpec::File {
        content: Content(b"#!/bin/sh\necho ran\n".to_vec()),
        target: target.into(),
        mode,
        uid,
        gid: 5,
    };
    let spec = RunSpec {
        mounts: vec![
            file("/run/secrets/one", 0o400, 0),
            file("/dev/pipes/script", 0o755, 7),
        ],
        ..place.changing(
            "stat -c '%n %a %u:%g' /run/secrets/one /dev/pipes/script; /dev/pipes/script; \
             (echo x > /run/secrets/one) 2>/dev/null || echo unchangeable; \
             /run/secrets/one 2>/dev/null || echo not executable",
        )
    };
    assert_eq!(
        stdout(&spec),
        "/run/secrets/one 400 0:5\n/dev/pipes/script 755 7:5\nran\nunchangeable\nnot executable\n"
    );
    assert_eq!(place.changes(), Vec::<String>::new());
    // What holds it does not show it.
    assert!(!format!("{spec:?}").contains("echo ran"));
    assert!(!Path::new("/run/secrets/one").exists());
    assert!(fs::read_dir("/dev/shm").is_ok_and(|mut entries| {
        entries.all(|entry| {
            entry.is_ok_and(|entry| {
                !entry
                    .file_name()
                    .to_string_lossy()
                    .starts_with("launchway-")
            })
        })
    }));
}
