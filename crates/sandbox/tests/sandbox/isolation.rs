//! What a command cannot see or do.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::MetadataExt;

use crate::common::{place, run, stdout};
use launchway_sandbox::{Exit, Network, RunSpec, UserIds};

#[test]
fn capabilities_are_dockers() {
    let Some(place) = place() else { return };
    let root = "CapInh:\t0000000000000000\nCapPrm:\t00000000a80425fb\nCapEff:\t00000000a80425fb\n\
        CapBnd:\t00000000a80425fb\nCapAmb:\t0000000000000000\nNoNewPrivs:\t0\nSeccomp:\t2\n";
    let user = "CapInh:\t0000000000000000\nCapPrm:\t0000000000000000\nCapEff:\t0000000000000000\n\
        CapBnd:\t00000000a80425fb\nCapAmb:\t0000000000000000\nNoNewPrivs:\t0\nSeccomp:\t2\n";
    let script = "grep -E '^(Cap|NoNewPrivs:|Seccomp:)' /proc/self/status";
    assert_eq!(stdout(&place.script(script)), root);
    let as_user = RunSpec {
        user: UserIds {
            uid: 1000,
            gid: 1000,
            groups: vec![],
        },
        ..place.script(script)
    };
    assert_eq!(stdout(&as_user), user);
    let without = RunSpec {
        no_new_privileges: true,
        ..place.script("grep NoNewPrivs /proc/self/status")
    };
    assert_eq!(stdout(&without), "NoNewPrivs:\t1\n");
}

#[test]
fn forbidden_acts() {
    let Some(place) = place() else { return };
    for script in [
        "mount -t tmpfs none /tmp",
        "mount -o remount,rw /sys",
        "umount /proc",
        // Needs no capability: this is the syscall filter's doing.
        "unshare -U true",
        "unshare -m true",
        "hostname other",
        "echo 1 > /proc/sys/kernel/sysrq",
        "echo b > /proc/sysrq-trigger",
        "echo x > /sys/kernel/uevent_helper",
        "mkdir /sys/fs/cgroup/x",
        "ip link add dummy0 type dummy",
    ] {
        let (exit, output) =
            run(&place.script(&format!("{script} 2>/dev/null && exit 0; exit 42")));
        assert_eq!(exit.expect(script), Exit::Code(42), "{script}: {output:?}");
    }
}

#[test]
fn masked_paths_are_empty() {
    let Some(place) = place() else { return };
    let script = "for f in kcore keys timer_list sched_debug latency_stats interrupts; do \
        [ -e /proc/$f ] && head -c 10 /proc/$f; done; for d in /proc/acpi /proc/scsi /sys/firmware; do \
        [ -d $d ] && ls -A $d; done; true";
    assert_eq!(stdout(&place.script(script)), "");
}

#[test]
fn the_host_is_out_of_reach() {
    let Some(place) = place() else { return };
    let host = fs::metadata("/").unwrap();
    fs::write(place.path("host-file"), "host").unwrap();
    let path = place.path("host-file");
    let outside = path.to_str().unwrap();

    // Nothing above the root, and no mount of a file system of the host.
    assert_eq!(
        stdout(&place.script("cd /; cd ..; ls; cd ../../..; ls -d proc")),
        stdout(&place.script("ls /; echo proc"))
    );
    assert_eq!(
        run(&place.script(&format!("cat {outside}")))
            .0
            .expect("runs"),
        Exit::Code(1)
    );
    let kinds = stdout(&place.script("cat /proc/self/mountinfo"));
    for line in kinds.lines() {
        let kind = line
            .split(" - ")
            .last()
            .unwrap_or_default()
            .split(' ')
            .next()
            .unwrap_or_default();
        assert!(
            [
                "overlay", "proc", "sysfs", "tmpfs", "devpts", "mqueue", "cgroup", "cgroup2"
            ]
            .contains(&kind),
            "{line}"
        );
    }

    // A device node can be made, as in Docker, but not opened.
    let (major, minor) = (rustix::fs::major(host.dev()), rustix::fs::minor(host.dev()));
    for place_of_node in ["/disk", "/dev/disk", "/tmp/disk", "/dev/shm/disk"] {
        let script = format!(
            "mknod {place_of_node} b {major} {minor} || exit 5; head -c 1 {place_of_node} 2>/dev/null || exit 6"
        );
        assert_eq!(
            run(&place.script(&script)).0.expect("runs"),
            Exit::Code(6),
            "{place_of_node}"
        );
    }
    assert_eq!(
        run(&place.script("mknod /n c 1 3; echo x > /n"))
            .0
            .expect("runs"),
        Exit::Code(1)
    );
    for node in ["null", "zero", "full", "random", "urandom"] {
        stdout(&place.script(&format!("head -c 1 /dev/{node} > /dev/null")));
    }

    // Process 1 is the helper: what it holds is not for the command.
    for path in ["root", "cwd", "exe", "fd/1", "environ", "mem", "maps"] {
        let script = format!(
            "cat /proc/1/{path} >/dev/null 2>&1 || ls /proc/1/{path}/ >/dev/null 2>&1 || exit 7"
        );
        assert_eq!(
            run(&place.script(&script)).0.expect("runs"),
            Exit::Code(7),
            "{path}"
        );
    }
    assert_eq!(
        stdout(&place.script("ls -d /proc/[0-9]* | wc -l; true"))
            .trim()
            .parse::<u32>()
            .map(|count| count < 10),
        Ok(true)
    );
}

/// A script can make the kernel start the helper's program file inside the sandbox, and then write to it: a way to
/// replace the program that builds.
#[test]
fn the_helper_cannot_be_overwritten() {
    use std::os::unix::fs::PermissionsExt;
    let Some(place) = place() else { return };
    fs::write(place.path("layer/trap"), "#!/proc/self/exe\n").unwrap();
    fs::set_permissions(place.path("layer/trap"), fs::Permissions::from_mode(0o755)).unwrap();
    let before = fs::read(crate::common::probe()).unwrap();
    let mut spec = place.script("");
    spec.argv = crate::common::words(&["/trap"]);
    let _ = run(&spec);
    let script = "for i in 1 2 3 4 5 6 7 8 9; do for p in /proc/[0-9]*; do : 2>/dev/null >> $p/exe; done; done; true";
    let _ = run(&place.script(script));
    assert!(
        fs::read(crate::common::probe()).unwrap() == before,
        "the program file was changed"
    );
}

#[test]
fn network() {
    let Some(place) = place() else { return };
    let alone = RunSpec {
        network: Network::None,
        ..place.script("ip -o link | wc -l; ip -o link; ip -o addr")
    };
    let output = stdout(&alone);
    assert!(output.starts_with("1\n1: lo: <LOOPBACK,UP"), "{output}");
    assert!(output.contains("127.0.0.1"), "{output}");

    let listener = TcpListener::bind("127.0.0.1:0").expect("listening");
    let port = listener.local_addr().unwrap().port();
    let connect = format!("nc -w 2 127.0.0.1 {port} < /dev/null");
    let answer = std::thread::spawn(move || listener.accept().map(drop));
    let refused = RunSpec {
        network: Network::None,
        ..place.script(&connect)
    };
    assert_eq!(run(&refused).0.expect("runs"), Exit::Code(1));
    assert_eq!(run(&place.script(&connect)).0.expect("runs"), Exit::Code(0));
    answer
        .join()
        .unwrap()
        .expect("the second connection arrived");
}

#[test]
fn message_queues_and_names_are_its_own() {
    let Some(place) = place() else { return };
    let own = |name: &str| {
        fs::read_link(format!("/proc/self/ns/{name}"))
            .unwrap()
            .display()
            .to_string()
    };
    let output = stdout(
        &place.script("for n in pid ipc uts mnt cgroup net; do ls -l /proc/self/ns/$n; done"),
    );
    let lines: Vec<&str> = output.lines().collect();
    for (index, name) in ["pid", "ipc", "uts", "mnt", "cgroup"]
        .into_iter()
        .enumerate()
    {
        assert!(
            lines[index].contains(&format!("{name}:[")) && !lines[index].ends_with(&own(name)),
            "{}",
            lines[index]
        );
    }
    assert!(lines[5].ends_with(&own("net")), "{}", lines[5]);
}
