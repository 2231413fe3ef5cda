//! What overlayfs really leaves in an upper directory, and that the stack of layers is the tree
//! overlayfs shows. Needs root for the mounts, which live in a namespace of their own.

#![expect(clippy::unwrap_used, reason = "a test ends where something fails")]

mod common;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{is_root, layer, listing, snapshot, store};
use launchway_oci::{CommitOptions, EntryKind, Layer, Stack, Store};

const CLAMP: i64 = 1_600_000_000;

/// Runs a shell script in an overlay over the stack and commits what it did. Returns the layer and
/// what `find` saw in the overlay at the end, when overlays can be mounted here.
fn run(store: &Store, below: &Stack, script: &str, ignore: &[&str]) -> (Layer, BTreeSet<String>) {
    run_by(Way::Overlay, store, below, script, ignore)
}

/// How the layers below a script are stacked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Overlay,
    Fuse,
    Copy,
}

fn run_by(
    way: Way,
    store: &Store,
    below: &Stack,
    script: &str,
    ignore: &[&str],
) -> (Layer, BTreeSet<String>) {
    let working = match way {
        Way::Overlay => store.new_layer_on(below).unwrap(),
        Way::Fuse => store.new_layer_on(below).unwrap().for_fuse(),
        Way::Copy => store.new_layer_with_all_of(below).unwrap(),
    };
    let merged = tempfile::tempdir().unwrap();
    let lower: Vec<_> = below
        .lower_dirs()
        .iter()
        .map(|directory| directory.display().to_string())
        .collect();
    let layers = format!(
        "lowerdir={},upperdir={},workdir={}",
        lower.join(":"),
        working.upper().display(),
        working.work().display(),
    );
    let (place, upper) = (merged.path().display(), working.upper().display());
    let (mount, leave) = match way {
        Way::Overlay => (
            format!(
                "mount -t overlay overlay -o {layers},redirect_dir=off,metacopy=off,index=off,xino=off {place}"
            ),
            "true",
        ),
        Way::Fuse => (
            format!(
                "fuse-overlayfs -f -o {layers} {place} 2>/dev/null & served=$!; until mountpoint -q {place}; do sleep 0.01; done"
            ),
            "cd /; umount $OLDPWD; wait $served",
        ),
        Way::Copy => (format!("mount --bind {upper} {place}"), "true"),
    };
    let list = r"find . -mindepth 1 -printf '%P %y %m %U %G %l\n'";
    let whole = format!("set -e; {mount}; cd {place}; ( {script} ) >&2; {list}; {leave}");
    let output = Command::new("unshare")
        .args(["-m", "--propagation", "private", "sh", "-c", &whole])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    let options = CommitOptions {
        clamp_mtime: Some(CLAMP),
        ignore: ignore.iter().map(PathBuf::from).collect(),
        ..CommitOptions::default()
    };
    let layer = store.commit_layer(working, below, &options).unwrap();
    let seen = String::from_utf8(output.stdout).unwrap();
    (layer, seen.lines().map(str::to_owned).collect())
}

fn can_mount() -> bool {
    let possible = is_root()
        && Command::new("unshare")
            .args(["-m", "true"])
            .status()
            .is_ok_and(|status| status.success());
    if !possible {
        eprintln!("skipped: mounting an overlay needs root");
    }
    possible
}

/// The stack in the form `find` prints.
fn shown(stack: &Stack) -> BTreeSet<String> {
    snapshot(stack)
        .iter()
        .map(|(path, seen)| {
            let (kind, mode, link) = match seen.entry.kind {
                EntryKind::File => ('f', seen.entry.mode, ""),
                EntryKind::Dir => ('d', seen.entry.mode, ""),
                EntryKind::Symlink => ('l', 0o777, seen.content.as_str()),
                EntryKind::Fifo => ('p', seen.entry.mode, ""),
                EntryKind::CharDevice => ('c', seen.entry.mode, ""),
                EntryKind::BlockDevice => ('b', seen.entry.mode, ""),
                EntryKind::Socket => ('s', seen.entry.mode, ""),
            };
            let entry = &seen.entry;
            format!(
                "{} {kind} {mode:o} {} {} {link}",
                path.display(),
                entry.uid,
                entry.gid
            )
        })
        .collect()
}

const BASE: &str = "
    mkdir -p etc usr/bin var/lib/x tmp; chmod 1777 tmp
    echo root > etc/passwd; echo h > etc/hosts; chmod 640 etc/passwd
    echo tool > usr/bin/tool; ln usr/bin/tool usr/bin/alias
    ln -s usr/bin bin; echo 1 > var/lib/x/1; echo 2 > var/lib/x/2
    mkdir empty; mkfifo pipe; mknod null c 1 3; setfattr -n user.a -v 1 etc/hosts || true
    touch usr/bin/ping; setcap cap_net_raw+ep usr/bin/ping 2>/dev/null || true
";

/// What a script does, the stubs that are to be ignored, and what its layer lists.
type Change = (
    &'static str,
    &'static str,
    &'static [&'static str],
    &'static [&'static str],
);

const CHANGES: &[Change] = &[
    ("nothing", "true", &[], &[]),
    ("reading", "cat etc/passwd; ls -R", &[], &[]),
    (
        "a new file",
        "echo x > etc/new",
        &[],
        &["d etc", "f etc/new"],
    ),
    (
        "writing the same again",
        "cp -p etc/passwd t; cat t > etc/passwd; rm t",
        &[],
        &[],
    ),
    (
        "touching",
        "touch -d @5 etc/passwd",
        &[],
        &["d etc", "f etc/passwd"],
    ),
    (
        "a mode there and back",
        "chmod 600 etc/passwd; chmod 640 etc/passwd",
        &[],
        &[],
    ),
    (
        "another mode",
        "chmod 600 etc/passwd",
        &[],
        &["d etc", "f etc/passwd"],
    ),
    (
        "a directory's mode there and back",
        "chmod 700 usr/bin; chmod 755 usr/bin",
        &[],
        &[],
    ),
    (
        "a directory's mode",
        "chmod 700 usr/bin",
        &[],
        &["d usr", "d usr/bin"],
    ),
    (
        "made and removed again",
        "mkdir etc/d; touch etc/d/x; rm -r etc/d",
        &[],
        &[],
    ),
    ("a removal", "rm etc/hosts", &[], &["d etc", "w etc/hosts"]),
    ("a removed tree", "rm -r var", &[], &["w var"]),
    (
        "removed and made again",
        "rm -r var/lib/x; mkdir var/lib/x; echo 3 > var/lib/x/3",
        &[],
        &["d var", "d var/lib", "o var/lib/x", "f var/lib/x/3"],
    ),
    (
        "a file over a directory",
        "rm -r var; echo f > var",
        &[],
        &["f var"],
    ),
    (
        "a directory over a file",
        "rm etc/hosts; mkdir etc/hosts; touch etc/hosts/x",
        &[],
        &["d etc", "d etc/hosts", "f etc/hosts/x"],
    ),
    (
        "new directories are not opaque",
        "mkdir -p opt/a/b",
        &[],
        &["d opt", "d opt/a", "d opt/a/b"],
    ),
    (
        "another name for an old file",
        "ln etc/passwd etc/second",
        &[],
        &["d etc", "f etc/second"],
    ),
    (
        "a split hard link",
        "echo more >> usr/bin/tool",
        &[],
        &["d usr", "d usr/bin", "f usr/bin/tool"],
    ),
    (
        "a renamed directory",
        "mv var/lib/x var/lib/y || (cp -a var/lib/x var/lib/y && rm -r var/lib/x)",
        &[],
        &[
            "d var",
            "d var/lib",
            "w var/lib/x",
            "d var/lib/y",
            "f var/lib/y/1",
            "f var/lib/y/2",
        ],
    ),
    (
        "mount stubs",
        "touch etc/resolv.conf; mkdir -p proc; mkdir -p run/secrets; touch run/secrets/s",
        &[
            "etc/resolv.conf",
            "proc",
            "run",
            "run/secrets",
            "run/secrets/s",
        ],
        &[],
    ),
    (
        "stubs beside a change",
        "touch etc/resolv.conf etc/new; mkdir run; touch run/kept",
        &["etc/resolv.conf", "run"],
        &["d etc", "f etc/new", "d run", "f run/kept"],
    ),
    (
        "many removals are no hard links",
        "rm etc/hosts etc/passwd var/lib/x/1",
        &[],
        &[
            "d etc",
            "w etc/hosts",
            "w etc/passwd",
            "d var",
            "d var/lib",
            "d var/lib/x",
            "w var/lib/x/1",
        ],
    ),
    (
        "a socket",
        "python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind(\"sock\")' || true",
        &[],
        &[],
    ),
    (
        "devices and pipes",
        "rm pipe; mkfifo -m 600 pipe; rm null; mknod null c 1 3",
        &[],
        &["p pipe"],
    ),
];

#[test]
fn only_changes_enter_a_layer() {
    if !can_mount() {
        return;
    }
    for &(what, script, ignore, want) in CHANGES {
        let (_d, store) = store();
        let (base, _) = run(&store, &base_of(&store), BASE, &[]);
        let below = Stack {
            layers: vec![base_of(&store).layers[0].clone(), base],
        };
        let (layer, seen) = run(&store, &below, script, ignore);
        let mut layers = below.layers.clone();
        layers.push(layer.clone());
        assert_eq!(listing(&store, &layer), want, "{what}");
        assert_eq!(layer.entries == 0, want.is_empty(), "{what}");
        let stack = Stack { layers };
        if ignore.is_empty() && what != "a socket" {
            assert_eq!(shown(&stack), seen, "{what}");
        }
        // The committed directory, mounted again and left alone, shows the same tree.
        let (again, seen) = run(&store, &stack, "true", &[]);
        assert_eq!(shown(&stack), seen, "{what}, mounted again");
        assert_eq!(again.entries, 0, "{what}");
        check_import(&store, &stack);
    }
}

/// An overlay needs something below: a layer that is empty.
fn base_of(store: &Store) -> Stack {
    Stack {
        layers: vec![layer(store, &Stack::default(), |_| {})],
    }
}

/// Pulled into another store, the layers make the same tree.
fn check_import(store: &Store, stack: &Stack) {
    let (_d, other) = common::store();
    let layers = stack.layers.iter().map(|layer| {
        let blob = store
            .compressed(&layer.diff_id, launchway_oci::Compression::Gzip)
            .unwrap();
        let digest = blob.digest.parse().unwrap();
        other.copy_blob(&store.blob_path(&digest), &digest).unwrap();
        other
            .import_layer(&digest, &blob.media_type, &layer.diff_id)
            .unwrap()
    });
    let imported = Stack {
        layers: layers.collect(),
    };
    assert_eq!(snapshot(stack), snapshot(&imported));
}

#[test]
fn the_root_directory_is_an_entry_only_when_it_was_changed() {
    if !can_mount() {
        return;
    }
    let (_d, store) = store();
    let (base, _) = run(&store, &base_of(&store), "chmod 711 .; touch f", &[]);
    assert_eq!(base.entries, 2);
    let below = Stack { layers: vec![base] };
    let root = launchway_oci::Tree::entry(&below, Path::new(""))
        .unwrap()
        .unwrap();
    assert_eq!(root.mode, 0o711);
    let (next, _) = run(&store, &below, "touch g", &[]);
    assert_eq!(next.entries, 1);
}

#[test]
fn the_layer_is_the_same_however_the_others_are_stacked() {
    if !can_mount() {
        return;
    }
    let fuse = Command::new("fuse-overlayfs")
        .arg("--version")
        .output()
        .is_ok_and(|output| output.status.success());
    if !fuse {
        eprintln!("skipped: fuse-overlayfs (package of this name) is not installed");
    }
    let (_d, store) = store();
    let (base, _) = run(&store, &base_of(&store), BASE, &[]);
    let below = Stack {
        layers: vec![base_of(&store).layers[0].clone(), base],
    };
    for &(what, script, ignore, want) in CHANGES {
        let (expected, seen) = run(&store, &below, script, ignore);
        for way in [Way::Fuse, Way::Copy] {
            if way == Way::Fuse && !fuse {
                continue;
            }
            let (layer, other) = run_by(way, &store, &below, script, ignore);
            assert_eq!(listing(&store, &layer), want, "{what}, {way:?}");
            assert_eq!(other, seen, "{what}, {way:?}");
            assert_eq!(layer.diff_id, expected.diff_id, "{what}, {way:?}");
        }
    }
}
