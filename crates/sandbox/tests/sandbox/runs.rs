//! How commands start, what surrounds them, and how they end.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use crate::common::{eventually, place, processes, run, start, stdout, tiny_program, words};
use launchway_sandbox::{
    BinfmtStatus, ExecFailure, Exit, Machine, MountSpec, RunSpec, SandboxError, UserIds,
    binfmt_status,
};

#[test]
fn exits() {
    let Some(place) = place() else { return };
    for (script, expected) in [
        ("true", Exit::Code(0)),
        ("exit 3", Exit::Code(3)),
        ("exit 255", Exit::Code(255)),
        ("kill -TERM $$", Exit::Signal(15)),
        ("kill -SEGV $$", Exit::Signal(11)),
        // Process 1 of the sandbox is not for commands to kill.
        ("kill -KILL 1; exit 4", Exit::Code(4)),
        // An orphan that ends first must not be taken for the command.
        ("(sh -c 'exit 9' &) ; sleep 0.1; exit 5", Exit::Code(5)),
    ] {
        let (exit, output) = run(&place.script(script));
        assert_eq!(exit.expect(script), expected, "{script}: {output:?}");
    }
}

#[test]
fn commands_that_cannot_start() {
    let Some(place) = place() else { return };
    let layer = place.path("layer");
    let file = |name: &str, mode: u32, content: &[u8]| {
        fs::write(layer.join(name), content).unwrap();
        fs::set_permissions(layer.join(name), fs::Permissions::from_mode(mode)).unwrap();
    };
    file("plain", 0o644, b"text");
    file("garbage", 0o755, b"\x00\x01\x02\x03");
    file("empty", 0o755, b"");
    file("script", 0o755, b"#! /bin/nothing -x\n");
    file("foreign", 0o755, &tiny_program(243));
    file("foreign-script", 0o755, b"#!/foreign\n");
    let mut dynamic = fs::read("/bin/ls").expect("a dynamically linked program of the host");
    file("dynamic", 0o755, &dynamic);
    dynamic.truncate(0);
    let cases: &[(&str, ExecFailure, i32)] = &[
        ("/missing", ExecFailure::NotFound, 127),
        ("missing", ExecFailure::NotInPath, 127),
        ("./bin/missing", ExecFailure::NotFound, 127),
        ("/plain/x", ExecFailure::NotFound, 127),
        ("/plain", ExecFailure::PermissionDenied, 126),
        ("/etc", ExecFailure::Directory, 126),
        ("/garbage", ExecFailure::Format(None), 126),
        ("/empty", ExecFailure::Format(None), 126),
        (
            "/script",
            ExecFailure::InterpreterMissing("/bin/nothing".into()),
            126,
        ),
    ];
    let check = |program: &str, cause: &ExecFailure, code: i32| {
        let mut spec = place.script("");
        spec.argv = words(&[program]);
        match run(&spec).0 {
            Err(SandboxError::Exec(error)) => {
                assert_eq!(
                    (&error.cause, error.exit_code()),
                    (cause, code),
                    "{program}"
                );
            }
            other => panic!("{program}: {other:?}"),
        }
    };
    for (program, cause, code) in cases {
        check(program, cause, *code);
    }
    if binfmt_status("riscv64") == BinfmtStatus::Missing {
        check("/foreign", &ExecFailure::Format(Some(Machine(243))), 126);
        check(
            "/foreign-script",
            &ExecFailure::Format(Some(Machine(243))),
            126,
        );
    }
    let mut spec = place.script("");
    spec.argv = words(&["/dynamic"]);
    match run(&spec).0 {
        Err(SandboxError::Exec(error)) => {
            assert!(
                matches!(&error.cause, ExecFailure::InterpreterMissing(path) if path.is_absolute()),
                "{error}"
            );
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn foreign_programs_run_through_the_emulator() {
    let Some(place) = place() else { return };
    fs::write(place.path("layer/seven"), tiny_program(183)).unwrap();
    fs::set_permissions(place.path("layer/seven"), fs::Permissions::from_mode(0o755)).unwrap();
    let mut spec = place.script("");
    spec.argv = words(&["/seven"]);
    let exit = run(&spec).0;
    match binfmt_status("arm64") {
        status if status.usable_in_sandbox() => assert_eq!(exit.expect("runs"), Exit::Code(7)),
        BinfmtStatus::Missing => match exit {
            Err(SandboxError::Exec(error)) => {
                assert_eq!(error.cause, ExecFailure::Format(Some(Machine(183))))
            }
            other => panic!("{other:?}"),
        },
        other => eprintln!("skipped: the emulator is out of reach inside a sandbox ({other:?})"),
    }
}

#[test]
fn unusable_descriptions() {
    let Some(place) = place() else { return };
    let good = place.script("true");
    let cases: &[(&str, RunSpec)] = &[
        (
            "no command",
            RunSpec {
                argv: Vec::new(),
                ..good.clone()
            },
        ),
        (
            "go together",
            RunSpec {
                upper: Some(place.path("upper")),
                ..good.clone()
            },
        ),
        (
            "not absolute",
            RunSpec {
                cwd: "etc".into(),
                ..good.clone()
            },
        ),
        (
            "not absolute",
            RunSpec {
                lower: vec!["layer".into()],
                ..good.clone()
            },
        ),
        (
            "498",
            RunSpec {
                lower: vec![place.path("layer"); 499],
                ..good.clone()
            },
        ),
    ];
    for (words, spec) in cases {
        let refused = crate::common::sandbox()
            .spawn(spec, launchway_sandbox::Stdio::to(|_, _| {}))
            .map(|_| ());
        match refused {
            Err(SandboxError::Spec(why)) => assert!(why.contains(words), "{why}"),
            other => panic!("{words}: {other:?}"),
        }
    }
    for (words, spec) in [
        (
            "working directory /missing",
            RunSpec {
                cwd: "/missing".into(),
                ..good.clone()
            },
        ),
        (
            "layers as overlayfs",
            RunSpec {
                lower: vec!["/nonexistent".into(), place.path("layer")],
                ..good.clone()
            },
        ),
        (
            "which is to be mounted",
            RunSpec {
                mounts: vec![MountSpec::Bind {
                    source: "/nonexistent".into(),
                    target: "/x".into(),
                    read_only: true,
                }],
                ..good.clone()
            },
        ),
    ] {
        match run(&spec).0 {
            Err(SandboxError::Setup { step, source }) => {
                assert!(step.contains(words), "{step}");
                assert_eq!(source.kind(), std::io::ErrorKind::NotFound, "{step}");
            }
            other => panic!("{words}: {other:?}"),
        }
    }
}

#[test]
fn streams() {
    let Some(place) = place() else { return };
    let (exit, output) =
        run(&place.script("echo out; echo err >&2; echo again > /dev/stdout; cat"));
    assert_eq!(exit.expect("runs"), Exit::Code(0));
    assert_eq!(
        (output.stdout.as_str(), output.stderr.as_str()),
        ("out\nagain\n", "err\n")
    );

    let (mut running, output) = start(&place.script("wc -c; cat"), Some(vec![b'x'; 1_000_000]));
    assert_eq!(running.wait().expect("runs"), Exit::Code(0));
    assert_eq!(output.lock().unwrap().stdout.trim(), "1000000");

    let long = stdout(&place.script("seq 1 300000"));
    assert_eq!(long.lines().count(), 300_000);
    assert!(long.ends_with("300000\n"));
}

#[test]
fn surroundings_of_a_command() {
    let Some(place) = place() else { return };
    let mut spec = place.script("");
    spec.env = vec![
        ("A".into(), "1".into()),
        ("PATH".into(), "/none:/bin".into()),
        ("B".into(), " x=y ".into()),
    ];
    spec.argv = words(&["env"]);
    assert_eq!(stdout(&spec), "A=1\nPATH=/none:/bin\nB= x=y \n");

    let spec = RunSpec {
        cwd: "/etc".into(),
        hostname: "builder".into(),
        ..place.script("pwd; hostname; umask; cat hosts")
    };
    let expected = "/etc\nbuilder\n0022\n127.0.0.1\tlocalhost builder\n::1\tlocalhost ip6-localhost ip6-loopback\n";
    assert_eq!(stdout(&spec), expected);

    let signals = stdout(&RunSpec {
        argv: words(&["grep", "-E", "^Sig(Ign|Blk)", "/proc/self/status"]),
        ..place.script("")
    });
    assert_eq!(
        signals,
        "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n"
    );
    // The fourth is the listing itself.
    assert_eq!(
        stdout(&place.script("ls /proc/self/fd | wc -l")).trim(),
        "4"
    );

    fs::write(place.path("resolv"), "nameserver 192.0.2.1\n").unwrap();
    fs::write(place.path("hosts"), "192.0.2.2 example\n").unwrap();
    let spec = RunSpec {
        resolv_conf: Some(place.path("resolv")),
        hosts: Some(place.path("hosts")),
        ..place.script("cat /etc/resolv.conf /etc/hosts; echo x >> /etc/hosts")
    };
    let (exit, output) = run(&spec);
    assert_eq!(output.stdout, "nameserver 192.0.2.1\n192.0.2.2 example\n");
    assert_eq!(
        exit.expect("runs"),
        Exit::Code(1),
        "the files are not for commands to change"
    );
}

#[test]
fn users() {
    let Some(place) = place() else { return };
    let mut spec = place.script("id -u; id -g; id -G; echo fine > /dev/stderr; touch /etc/x");
    spec.user = UserIds {
        uid: 1234,
        gid: 55,
        groups: vec![55, 77],
    };
    let (exit, output) = run(&spec);
    assert_eq!(output.stdout, "1234\n55\n55 77\n");
    assert!(output.stderr.starts_with("fine\n"), "{output:?}");
    assert_eq!(exit.expect("runs"), Exit::Code(1));
}

#[test]
fn whole_trees_end_with_their_command() {
    let Some(place) = place() else { return };
    // The command's end, the clock, the killer, and the loss of interest: each takes daemons along.
    let marker = |number: u32| {
        (7_000_000 + u64::from(std::process::id()) * 10 + u64::from(number)).to_string()
    };
    let daemons = |number| {
        format!(
            "(setsid sh -c 'setsid sleep {}; true' &) ; sleep 0.05",
            marker(number)
        )
    };
    let left = |number| processes(&marker(number));
    let (exit, _) = run(&place.script(&daemons(1)));
    assert_eq!(exit.expect("runs"), Exit::Code(0));
    assert_eq!(left(1), 0);

    let spec = RunSpec {
        timeout: Some(Duration::from_millis(300)),
        ..place.script(&format!(
            "{}; trap '' TERM INT; sleep {}",
            daemons(2),
            marker(2)
        ))
    };
    assert_eq!(run(&spec).0.expect("runs"), Exit::TimedOut);
    assert_eq!(left(2), 0);

    let (mut running, output) = start(
        &place.script(&format!("{}; echo up; sleep {}", daemons(3), marker(3))),
        None,
    );
    eventually("the command", || {
        output.lock().unwrap().stdout.contains("up")
    });
    assert!(left(3) > 0);
    running.killer().kill();
    running.killer().kill();
    assert_eq!(running.wait().expect("killed"), Exit::Signal(9));
    assert_eq!(running.wait().expect("told again"), Exit::Signal(9));
    assert_eq!(left(3), 0);
    running.killer().kill();

    let (running, output) = start(
        &place.script(&format!("{}; echo up; sleep {}", daemons(4), marker(4))),
        None,
    );
    eventually("the command", || {
        output.lock().unwrap().stdout.contains("up")
    });
    drop(running);
    assert_eq!(left(4), 0);
}

#[test]
fn nothing_outlives_a_caller_that_is_killed() {
    let Some(place) = place() else { return };
    for victim in ["caller", "supervisor", "init"] {
        // The same test may run elsewhere on this machine.
        let marker = format!("{}{}", 20_000_000 + std::process::id(), victim.len());
        let mut caller = std::process::Command::new(crate::common::probe())
            .args([
                "--upper",
                place.path("upper").to_str().unwrap(),
                "--work",
                place.path("work").to_str().unwrap(),
            ])
            .arg(place.path("layer"))
            .args([
                "/bin/sh",
                "-c",
                &format!("(setsid sleep {marker} &); sleep {marker}"),
            ])
            .stderr(std::process::Stdio::null())
            .spawn()
            .expect("starting the caller");
        eventually("the command", || {
            processes(&format!("sleep\0{marker}")) >= 2
        });
        let pid = match victim {
            "caller" => caller.id(),
            "supervisor" => child_of(caller.id()),
            _ => child_of(child_of(caller.id())),
        };
        let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("killing");
        eventually("the end", || processes(&format!("sleep\0{marker}")) == 0);
        assert!(!caller.wait().expect("collecting the caller").success());
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(
            !mounts.contains(place.directory.path().to_str().unwrap()),
            "{mounts}"
        );
        // The directories can be used again.
        assert_eq!(run(&place.changing("true")).0.expect("runs"), Exit::Code(0));
    }
}

fn child_of(pid: u32) -> u32 {
    let list =
        fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).expect("reading children");
    list.split_whitespace()
        .next()
        .expect("a child")
        .parse()
        .expect("a number")
}

#[test]
fn many_at_once() {
    let Some(place) = place() else { return };
    std::thread::scope(|scope| {
        for number in 0..8 {
            let place = &place;
            scope.spawn(move || {
                for _ in 0..5 {
                    assert_eq!(
                        stdout(&place.script(&format!("echo {number} > /x; cat /x"))),
                        format!("{number}\n")
                    );
                }
            });
        }
    });
}
