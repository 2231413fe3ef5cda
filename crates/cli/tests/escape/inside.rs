//! What a RUN step tries from inside.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::process::{Child, Command};

use crate::lab::{BUSYBOX, Lab};
use crate::outside::{Outside, device_nodes};

/// One attempt: a name, and a shell line that succeeds only if it got through. `@SECRET@` is a file of the host,
/// `@PID@` a process of the host, `@MAJOR@` and `@MINOR@` the host's disk.
const ATTEMPTS: &[(&str, &str)] = &[
    ("read a path of the host", "cat @SECRET@"),
    ("the root of process 1", "cat /proc/1/root@SECRET@"),
    (
        "the roots of all processes",
        "for p in /proc/[0-9]*; do cat $p/root@SECRET@ && exit 0; done; false",
    ),
    ("the directory of process 1", "ls /proc/1/cwd/"),
    ("the program of process 1", "head -c 4 /proc/1/exe"),
    (
        "overwriting the program of process 1",
        "sh -c ': >> /proc/1/exe'",
    ),
    ("the memory of process 1", "head -c 1 /proc/1/mem"),
    (
        "the environment of process 1",
        "cat /proc/1/environ | grep .",
    ),
    (
        "the files of process 1",
        "for f in /proc/1/fd/*; do readlink $f && exit 0; done; false",
    ),
    (
        "files left open for us",
        "for f in 3 4 5 6 7 8 9 10 11 12 13 14 15 16; do [ -e /proc/$$/fd/$f ] && exit 0; done; false",
    ),
    (
        "out through files left open",
        "for f in 3 4 5 6 7 8 9 10 11 12; do cat /proc/self/fd/$f/../../../../../../..@SECRET@ && exit 0; done; false",
    ),
    (
        "above the root",
        "cat ../../../../../../../../../..@SECRET@",
    ),
    (
        "out of a chroot in a chroot",
        "mkdir -p /jail/bin && cp /bin/busybox /jail/bin/ && chroot /jail /bin/busybox sh -c \
         'cd /proc/self/fd 2>/dev/null; cat ../../../../../../../..@SECRET@'",
    ),
    ("mount a file system", "mount -t tmpfs none /tmp"),
    ("mount a folder again", "mkdir -p /m && mount --bind / /m"),
    ("make /sys writable", "mount -o remount,rw /sys"),
    (
        "make /proc/sys writable",
        "mount -o remount,bind,rw /proc/sys",
    ),
    (
        "uncover what is masked",
        "umount /proc/acpi || umount /sys/firmware || umount /proc/keys",
    ),
    ("uncover what is read-only", "umount /proc/sys"),
    ("unmount /dev", "umount -l /dev"),
    (
        "the program to call on a crash",
        "echo '|/x' > /proc/sys/kernel/core_pattern",
    ),
    (
        "the program to load modules",
        "echo /x > /proc/sys/kernel/modprobe",
    ),
    (
        "the program for events",
        "echo /x > /sys/kernel/uevent_helper",
    ),
    ("the system request key", "echo h > /proc/sysrq-trigger"),
    ("caches of the kernel", "echo 1 > /proc/sys/vm/drop_caches"),
    (
        "the program for empty control groups",
        "for f in $(find /sys/fs/cgroup -name release_agent); do echo /x > $f && exit 0; done; false",
    ),
    (
        "a control group of one's own",
        "mkdir /sys/fs/cgroup/x || mkdir /sys/fs/cgroup/*/x",
    ),
    (
        "higher limits for oneself",
        "for f in $(find /sys/fs/cgroup -name pids.max); do echo max > $f && exit 0; done; false",
    ),
    (
        "another control group",
        "for f in $(find /sys/fs/cgroup -name cgroup.procs); do echo 0 > $f && exit 0; done; false",
    ),
    ("the kernel's log", "dmesg | grep ."),
    ("a new user namespace", "unshare -U true"),
    ("a new mount namespace", "unshare -m true"),
    (
        "the namespaces of process 1",
        "nsenter -t 1 -m true || nsenter -t 1 -n true",
    ),
    ("the host's name", "hostname owned"),
    ("a network of its own", "ip link add dummy9 type dummy"),
    ("a process of the host", "kill -0 @PID@ && kill -9 @PID@"),
    (
        "the host's disk",
        "for d in / /dev /dev/shm /tmp /run; do mkdir -p $d; mknod $d/disk b @MAJOR@ @MINOR@; \
         head -c 1 $d/disk && exit 0; done; false",
    ),
    (
        "the memory of the machine",
        "mknod /mem c 1 1 && head -c 1 /mem",
    ),
    (
        "the kernel's messages",
        "mknod /kmsg c 1 11 && echo x > /kmsg",
    ),
    (
        "tunnels",
        "mkdir -p /dev/net; mknod /dev/net/tun c 10 200 && : < /dev/net/tun",
    ),
    ("a terminal", ": < /dev/tty"),
    (
        "to be spared when memory is out",
        "echo -1000 > /proc/self/oom_score_adj",
    ),
    ("more open files", "ulimit -Hn 2000000"),
    (
        "to switch the syscall filter off",
        "grep -q 'Seccomp:.0' /proc/self/status",
    ),
];

/// Acts that are allowed in a container, whose effect must end at its walls.
const HARMS: &str = "chmod 600 /dev/null /dev/zero /dev/full /dev/random /dev/urandom /dev/tty; \
     chown 7:7 /dev/null /dev/zero; touch -d @1 /dev/null; chmod 666 /dev/null; \
     kill -9 1; kill -STOP 1; kill -9 -1 2>/dev/null; true";

#[test]
fn nothing_of_the_host_is_reached() {
    const NAME: &str = "nothing_of_the_host_is_reached";
    let outside = Outside::new();
    let mut bystander = Bystander::start();
    let disk = fs::metadata(outside.path())
        .expect("looking at a folder")
        .dev();
    let fill = |text: &str| {
        text.replace("@SECRET@", &outside.secret().display().to_string())
            .replace("@PID@", &bystander.0.id().to_string())
            .replace("@MAJOR@", &rustix::fs::major(disk).to_string())
            .replace("@MINOR@", &rustix::fs::minor(disk).to_string())
    };
    let mut script = String::new();
    for (name, attempt) in ATTEMPTS {
        script.push_str(&format!(
            "attempt \"{name}\" <<'EOT'\n{}\nEOT\n",
            fill(attempt)
        ));
    }
    let dockerfile = format!(
        "{BUSYBOX}RUN busybox mkdir -p /tmp && busybox --install -s /bin\nCOPY attempts /\n\
         RUN sh /attempts\nRUN {HARMS}\n"
    );
    let Some(lab) = Lab::with_busybox(NAME, &dockerfile) else {
        return;
    };
    lab.write(
        "attempts",
        &format!(
            "attempt() {{ if timeout 10 sh 2>/dev/null >/dev/null; then echo \"ESCAPED: $1\"; else echo \"held: $1\"; fi; }}\n{script}"
        ),
    );
    let nodes = device_nodes();
    let outcome = lab.build(&["--no-cache"]);
    assert_eq!(device_nodes(), nodes);
    assert!(bystander.lives(), "a process of the host was killed");
    outside.untouched();
    let escaped: Vec<&str> = outcome
        .stderr
        .lines()
        .filter(|line| line.contains("ESCAPED"))
        .collect();
    assert!(escaped.is_empty(), "{escaped:#?}");
    let held = outcome.stderr.matches("held: ").count();
    assert_eq!(held, ATTEMPTS.len(), "{}", outcome.stderr);
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
}

/// The attempts are attempts: without walls they get through. Those that a host refuses as well, or that would do it harm,
/// are left out.
#[test]
fn the_attempts_work_where_there_are_no_walls() {
    let outside = Outside::new();
    for name in [
        "read a path of the host",
        "the program of process 1",
        "above the root",
    ] {
        let (_, attempt) = ATTEMPTS
            .iter()
            .find(|(other, _)| *other == name)
            .expect("an attempt of that name");
        let attempt = attempt.replace("@SECRET@", &outside.secret().display().to_string());
        let done = Command::new("sh")
            .args(["-c", &attempt])
            .output()
            .expect("running sh");
        assert!(
            done.status.success() || name.contains("process 1"),
            "{name}"
        );
    }
}

/// CVE-2024-21626: a working directory that leads through a file which the sandbox's helper left open.
#[test]
fn a_working_directory_in_proc() {
    const NAME: &str = "a_working_directory_in_proc";
    let outside = Outside::new();
    let up = "../".repeat(12);
    let secret = outside.secret().display().to_string();
    let Some(lab) = Lab::with_busybox(NAME, "FROM scratch\n") else {
        return;
    };
    for number in 3..14 {
        for path in [
            format!("/proc/self/fd/{number}"),
            format!("/proc/1/fd/{number}"),
        ] {
            lab.write(
                "Dockerfile",
                &format!(
                    "{BUSYBOX}WORKDIR {path}\nRUN busybox pwd; busybox cat {up}{} && echo ESCAPED; true\n",
                    secret.trim_start_matches('/')
                ),
            );
            let outcome = lab.build(&[]);
            assert!(
                !outcome.stderr.contains("\nESCAPED"),
                "{path}: {}",
                outcome.stderr
            );
            assert!(
                !outcome
                    .stderr
                    .lines()
                    .any(|line| line.ends_with(" ESCAPED") && !line.contains("RUN")),
                "{path}: {}",
                outcome.stderr
            );
        }
    }
    outside.untouched();
}

/// CVE-2025-31133 and its kin: an image whose own /proc, /sys and /dev are links to elsewhere, so that what is protected
/// would be somewhere else.
#[test]
fn an_image_with_links_for_proc_sys_and_dev() {
    const NAME: &str = "an_image_with_links_for_proc_sys_and_dev";
    let outside = Outside::new();
    let host = outside.folder().display().to_string();
    let checks = "(echo x > /proc/sys/kernel/core_pattern) 2>/dev/null && echo ESCAPED; \
         [ -s /proc/keys ] && echo ESCAPED; busybox ls /sys/firmware 2>/dev/null | busybox grep . && echo ESCAPED; \
         [ -c /dev/null ] || echo ESCAPED; echo checked";
    for (number, links) in [
        format!("ln -s {host} /proc && ln -s {host} /sys && ln -s {host} /dev"),
        "mkdir /else && ln -s else /proc && ln -s ../../else2 /sys && ln -s /proc /dev".to_owned(),
        "ln -s / /proc; ln -s /proc/self/root /sys; ln -s ../../../.. /dev".to_owned(),
        format!("mkdir /dev && ln -s {host}/secret /dev/null && mkdir /proc && ln -s {host}/secret /proc/keys"),
    ]
    .iter()
    .enumerate()
    {
        let Some(lab) = Lab::with_busybox(NAME, "FROM scratch\n") else {
            return;
        };
        // Made beside the root of the step, where these names are still free.
        let make = links.replace(" /", " /root/");
        lab.write(
            "Dockerfile",
            &format!(
                "{BUSYBOX}RUN busybox mkdir /root && cd /root && (busybox --install -s /bin; {make})\n\
                 FROM scratch\nCOPY --from=0 /root/ /\nCOPY --chmod=755 busybox /bin/\n\
                 SHELL [\"/bin/busybox\", \"sh\", \"-c\"]\nRUN {checks}\n"
            ),
        );
        let outcome = lab.build(&[]);
        let said: Vec<&str> = outcome
            .stderr
            .lines()
            .filter(|line| line.ends_with("ESCAPED") && !line.contains("RUN"))
            .collect();
        assert!(said.is_empty(), "{number}: {}", outcome.stderr);
        outside.untouched();
    }
}

/// A script whose interpreter is the helper's own program, as in CVE-2019-5736.
#[test]
fn the_program_that_builds_is_not_overwritten() {
    const NAME: &str = "the_program_that_builds_is_not_overwritten";
    let dockerfile = format!(
        "{BUSYBOX}RUN busybox printf '#!/proc/self/exe\\n' > /trap; busybox chmod 755 /trap; /trap; true\n\
         RUN [\"/trap\"]\n"
    );
    let Some(lab) = Lab::with_busybox(NAME, &dockerfile) else {
        return;
    };
    let program = env!("CARGO_BIN_EXE_launchway");
    let about = |path: &str| {
        let about = fs::metadata(path).expect("looking at the program");
        (about.len(), about.mtime_nsec(), about.ino())
    };
    let before = about(program);
    let _ = lab.build(&[]);
    lab.write(
        "Dockerfile",
        &format!(
            "{BUSYBOX}RUN for i in 1 2 3 4 5 6 7 8; do for p in /proc/[0-9]*; do (busybox printf x >> $p/exe) 2>/dev/null; done; done; true\n"
        ),
    );
    lab.digest(&[]);
    assert_eq!(about(program), before);
}

/// A process of the host that attempts are aimed at.
struct Bystander(Child);

impl Bystander {
    fn start() -> Self {
        Self(
            Command::new("sleep")
                .arg("3600")
                .spawn()
                .expect("starting sleep"),
        )
    }

    fn lives(&mut self) -> bool {
        self.0.try_wait().expect("looking at sleep").is_none()
    }
}

impl Drop for Bystander {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
