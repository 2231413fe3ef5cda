//! The root of a run: layers, mounts over them, and what of a run is left in the upper directory.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, chown, symlink};
use std::path::PathBuf;

use crate::common::{place, stdout};
use launchway_sandbox::{LayersMount, MountSpec, RunSpec};

#[test]
fn mount_points_leave_no_trace() {
    let Some(place) = place() else { return };
    let etc = place.path("layer/etc");
    fs::set_permissions(&etc, fs::Permissions::from_mode(0o2751)).unwrap();
    chown(&etc, Some(5), Some(6)).unwrap();
    fs::write(place.path("secret"), "s3cret").unwrap();
    fs::create_dir(place.path("cache")).unwrap();
    // A dangling link as mount point, as images of Debian have it.
    symlink(
        "../run/systemd/resolve/stub-resolv.conf",
        place.path("layer/etc/resolv.conf"),
    )
    .unwrap();
    rustix::fs::utimensat(
        rustix::fs::CWD,
        &etc,
        &rustix::fs::Timestamps {
            last_access: rustix::fs::Timespec {
                tv_sec: 5,
                tv_nsec: 0,
            },
            last_modification: rustix::fs::Timespec {
                tv_sec: 1_000_000,
                tv_nsec: 7,
            },
        },
        rustix::fs::AtFlags::empty(),
    )
    .unwrap();
    let mounts = vec![
        MountSpec::Bind {
            source: place.path("secret"),
            target: "/run/secrets/token".into(),
            read_only: true,
        },
        MountSpec::Bind {
            source: place.path("cache"),
            target: "/var/cache/deep/er".into(),
            read_only: false,
        },
        MountSpec::Tmpfs {
            target: "/etc/new/tmp".into(),
            size: None,
            mode: 0o1777,
        },
        MountSpec::Tmpfs {
            target: "/var/cache/deep/er/inside".into(),
            size: None,
            mode: 0o700,
        },
    ];
    let with = |script: &str| RunSpec {
        mounts: mounts.clone(),
        ..place.changing(script)
    };

    let seen = stdout(&with(
        "cat /run/secrets/token; stat -c ' %a %u %g %Y' /etc; echo x > /var/cache/deep/er/kept; echo y > /etc/new/tmp/gone; \
         echo z > /var/cache/deep/er/inside/gone; stat -c %a /etc/new/tmp; grep -c nameserver /etc/resolv.conf",
    ));
    let (text, rest) = seen.split_once('\n').expect("lines");
    assert_eq!(text, "s3cret 2751 5 6 1000000");
    assert!(rest.starts_with("1777\n"), "{rest}");
    assert_eq!(place.changes(), Vec::<String>::new());
    assert_eq!(fs::read_to_string(place.path("cache/kept")).unwrap(), "x\n");
    assert!(!place.path("layer/run").exists());

    // A change beside a mount point is a change, and only that.
    stdout(&with("echo x > /etc/own"));
    assert_eq!(place.changes(), ["etc", "etc/own"]);
    let copied = fs::metadata(place.path("upper/etc")).unwrap();
    assert_eq!(
        (copied.mode() & 0o7777, copied.uid(), copied.gid()),
        (0o2751, 5, 6)
    );

    // So is one in a directory that only exists for the mount.
    stdout(&with("echo x > /run/secrets/beside"));
    assert_eq!(
        place.changes(),
        ["etc", "etc/own", "run", "run/secrets", "run/secrets/beside"]
    );
}

#[test]
fn mount_points_that_exist_stay_as_they_are() {
    let Some(place) = place() else { return };
    for (file, content) in [
        ("etc/hosts", "image\n"),
        ("etc/resolv.conf", "image\n"),
        ("etc/hostname", "image\n"),
    ] {
        fs::write(place.path("layer").join(file), content).unwrap();
    }
    for directory in ["proc", "sys", "dev"] {
        fs::create_dir(place.path("layer").join(directory)).unwrap();
    }
    fs::write(place.path("layer/dev/null"), "not a device").unwrap();
    let output = stdout(
        &place.changing("cat /etc/hosts /etc/hostname; echo built > /etc/hostname; cat /dev/null"),
    );
    assert!(output.starts_with("127.0.0.1"), "{output}");
    assert!(output.ends_with("\nimage\n"), "{output}");
    // BuildKit does not mount this one: a command may write it.
    assert_eq!(place.changes(), ["etc", "etc/hostname"]);
}

#[test]
fn removals_and_replacements() {
    let Some(place) = place() else { return };
    fs::create_dir_all(place.path("layer/old/inner")).unwrap();
    fs::write(place.path("layer/old/inner/file"), "1").unwrap();
    fs::write(place.path("layer/gone"), "1").unwrap();
    fs::create_dir_all(place.path("layer/home/user")).unwrap();
    stdout(
        &place
            .changing("rm /gone && rm -r /old && mkdir /old && touch /old/new && mv /home /moved"),
    );
    let gone = fs::symlink_metadata(place.path("upper/gone")).unwrap();
    assert!(
        gone.file_type().is_char_device() && gone.rdev() == 0,
        "a whiteout"
    );
    let mut opaque = [0; 8];
    let length = rustix::fs::getxattr(
        place.path("upper/old"),
        "trusted.overlay.opaque",
        &mut opaque[..],
    )
    .unwrap();
    assert_eq!(&opaque[..length], b"y");
    assert!(place.path("upper/old/new").exists() && place.path("upper/moved/user").exists());
}

#[test]
fn what_is_thrown_away_can_be_written() {
    let Some(place) = place() else { return };
    let listing = |place: &crate::common::Place| fs::read_dir(place.path("layer")).unwrap().count();
    let before = listing(&place);
    assert_eq!(
        stdout(&place.script("echo x > /new && rm /bin/ls && cat /new && stat -c %a /")),
        "x\n755\n"
    );
    assert_eq!(listing(&place), before);
    assert!(place.path("layer/bin/ls").is_symlink());
}

#[test]
fn stacks_of_layers() {
    let Some(place) = place() else { return };
    let mut lower = vec![place.path("layer")];
    for number in 0..300 {
        // Names that the kernel's older interface would trip over.
        let layer = place.path(&format!("{number}:,\\ {}", "x".repeat(200)));
        fs::create_dir_all(layer.join("all")).unwrap();
        fs::write(layer.join("all").join(number.to_string()), "").unwrap();
        fs::write(layer.join("top"), number.to_string()).unwrap();
        lower.insert(0, layer);
    }
    let spec = RunSpec {
        lower,
        ..place.changing("ls /all | wc -l; cat /top; cat /proc/self/mounts")
    };
    let output = stdout(&spec);
    assert!(output.starts_with("300\n299"), "{output}");
    assert!(
        !output.contains(place.directory.path().to_str().unwrap()),
        "paths of the host are nobody's business"
    );
}

#[test]
fn a_root_in_the_upper_directory_alone() {
    let Some(place) = place() else { return };
    fs::rename(place.path("layer/bin"), place.path("upper/bin")).unwrap();
    let spec = RunSpec {
        lower: Vec::new(),
        ..place.changing("echo works > /file; cat /file /etc/hosts")
    };
    assert!(stdout(&spec).starts_with("works\n127.0.0.1"));
    assert!(!place.path("upper/etc").exists() && place.path("upper/file").exists());
}

#[test]
fn binds() {
    let Some(place) = place() else { return };
    fs::create_dir_all(place.path("data/sub")).unwrap();
    fs::write(place.path("data/file"), "data\n").unwrap();
    fs::write(place.path("layer/etc/passwd"), "root").unwrap();
    symlink("/../../../../../../srv", place.path("layer/outside")).unwrap();
    let bind = |target: &str, read_only| MountSpec::Bind {
        source: place.path("data"),
        target: PathBuf::from(target),
        read_only,
    };
    let cases: &[(&str, MountSpec, &str, &str)] = &[
        (
            "read-only",
            bind("/data", true),
            "cat /data/file; echo x > /data/new || echo refused",
            "data\nrefused\n",
        ),
        (
            "writable",
            bind("/data", false),
            "echo x > /data/new && cat /data/new",
            "x\n",
        ),
        (
            "through a link",
            bind("/outside/x", true),
            "ls /srv/x/file; ls /srv",
            "/srv/x/file\nx\n",
        ),
        (
            "over a file",
            MountSpec::Bind {
                source: place.path("data/file"),
                target: "/etc/passwd".into(),
                read_only: true,
            },
            "cat /etc/passwd",
            "data\n",
        ),
        (
            "memory",
            MountSpec::Tmpfs {
                target: "/m".into(),
                size: Some(65536),
                mode: 0o700,
            },
            "stat -c %a /m; dd if=/dev/zero of=/m/x bs=1k count=100 2>/dev/null || echo full",
            "700\nfull\n",
        ),
    ];
    for (name, mount, script, expected) in cases {
        let spec = RunSpec {
            mounts: vec![mount.clone()],
            ..place.script(script)
        };
        assert_eq!(stdout(&spec), *expected, "{name}");
    }
    assert!(place.path("data/new").exists());
    assert!(!PathBuf::from("/srv/x").exists());
}

#[test]
fn parts_of_other_layers() {
    let Some(place) = place() else { return };
    fs::create_dir_all(place.path("one/deep/inner")).unwrap();
    fs::write(place.path("one/deep/file"), "one\n").unwrap();
    fs::write(place.path("one/deep/below"), "below\n").unwrap();
    fs::write(place.path("one/aside"), "aside\n").unwrap();
    symlink("/etc/passwd", place.path("one/deep/out")).unwrap();
    symlink("../../../../aside", place.path("one/deep/up")).unwrap();
    fs::create_dir_all(place.path("two/deep")).unwrap();
    fs::write(place.path("two/deep/file"), "two\n").unwrap();
    fs::create_dir(place.path("changes")).unwrap();
    fs::create_dir(place.path("changing")).unwrap();
    fs::write(place.path("layer/etc/passwd"), "of the root\n").unwrap();
    let mount = |layers: &[&str], path: &str, directory, writable: bool| {
        MountSpec::Layers(LayersMount {
            lower: layers.iter().map(|layer| place.path(layer)).collect(),
            changes: writable.then(|| (place.path("changes"), place.path("changing"))),
            path: path.into(),
            directory,
            target: "/data".into(),
        })
    };
    let cases: &[(&str, MountSpec, &str, &str)] = &[
        (
            "all of several",
            mount(&["two", "one"], "", true, false),
            "cat /data/deep/file /data/deep/below /data/aside; echo x > /data/new || echo refused",
            "two\nbelow\naside\nrefused\n",
        ),
        (
            "a folder of several",
            mount(&["two", "one"], "deep", true, false),
            "cat /data/file /data/below; cat /data/../aside || echo apart; rm /data/file || echo refused",
            "two\nbelow\napart\nrefused\n",
        ),
        (
            "a folder of one",
            mount(&["one"], "deep/inner", true, false),
            "ls -A /data; mkdir /data/x || echo refused",
            "refused\n",
        ),
        (
            "a file",
            mount(&["two", "one"], "deep/file", false, false),
            "cat /data; echo x > /data || echo refused",
            "two\nrefused\n",
        ),
        (
            "links lead to the root, as everywhere",
            mount(&["one"], "deep", true, false),
            "cat /data/out; cat /data/up || echo nothing",
            "of the root\nnothing\n",
        ),
        (
            "changes go elsewhere",
            mount(&["two", "one"], "deep", true, true),
            "echo new > /data/file && rm /data/below && cat /data/file && ls /data/below || echo gone",
            "new\ngone\n",
        ),
    ];
    for (name, mount, script, expected) in cases {
        let spec = RunSpec {
            mounts: vec![mount.clone()],
            ..place.script(script)
        };
        assert_eq!(stdout(&spec), *expected, "{name}");
    }
    assert_eq!(fs::read(place.path("two/deep/file")).unwrap(), b"two\n");
    assert_eq!(fs::read(place.path("one/deep/below")).unwrap(), b"below\n");
    assert_eq!(fs::read(place.path("changes/deep/file")).unwrap(), b"new\n");
}
