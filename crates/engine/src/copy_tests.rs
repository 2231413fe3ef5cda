//! What lands where. Sources and layers below are made from short lines such as
//! `d 755 dir`, `f 644 dir/file`, `l dir/link target`.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use launchway_context::Filter;
use launchway_oci::{
    CommitOptions, Compression, Files, Flavour, PlannedLayer, Stack, Store, WorkingLayer,
};

use super::{CopyError, CopyOptions, LayerBuilder, Ownership};
use crate::over::Over;
use crate::permissions::Permissions;

const TIME: i64 = 1_000_000_000;

fn fill(root: &Path, lines: &[&str]) {
    for line in lines {
        let words: Vec<&str> = line.split(' ').collect();
        let path = root.join(words[2]);
        let mode = |text| fs::Permissions::from_mode(u32::from_str_radix(text, 8).unwrap());
        match words[0] {
            "d" => {
                fs::create_dir(&path).unwrap();
                fs::set_permissions(&path, mode(words[1])).unwrap();
            }
            "f" => {
                fs::write(&path, words[2]).unwrap();
                fs::set_permissions(&path, mode(words[1])).unwrap();
                crate::upper::set_mtime(&path, TIME).unwrap();
            }
            "l" => std::os::unix::fs::symlink(words[1], &path).unwrap(),
            "h" => fs::hard_link(root.join(words[1]), &path).unwrap(),
            other => panic!("{other}"),
        }
    }
}

/// Everything below a directory: kind, mode, owner, path, and the target of a link.
fn listing(root: &Path) -> Vec<String> {
    fn walk(root: &Path, at: &Path, found: &mut Vec<String>) {
        let mut names: Vec<_> = fs::read_dir(at)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        names.sort();
        for path in names {
            let metadata = fs::symlink_metadata(&path).unwrap();
            let shown = path.strip_prefix(root).unwrap().display();
            let (mode, owner) = (metadata.mode() & 0o7777, metadata.uid());
            if metadata.is_symlink() {
                found.push(format!(
                    "l {shown} -> {}",
                    fs::read_link(&path).unwrap().display()
                ));
            } else if metadata.is_dir() {
                found.push(format!("d {mode:o} {owner} {shown}"));
                walk(root, &path, found);
            } else {
                found.push(format!("f {mode:o} {owner} {shown} {}", metadata.nlink()));
            }
        }
    }
    let mut found = Vec::new();
    walk(root, root, &mut found);
    found
}

struct Place {
    folder: tempfile::TempDir,
    store: Store,
    below: Stack,
}

/// Nothing where only root could do it: files get other owners.
fn place(source: &[&str], below: &[&str]) -> Option<Place> {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root may give files away");
        return None;
    }
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("source")).unwrap();
    fill(&folder.path().join("source"), source);
    let store = Store::open(&folder.path().join("store"), Flavour::Trusted).unwrap();
    let working = store.new_layer().unwrap();
    fill(working.upper(), below);
    let options = CommitOptions::default();
    let layer = store
        .commit_layer(working, &Stack::default(), &options)
        .unwrap();
    Some(Place {
        folder,
        store,
        below: Stack {
            layers: vec![layer],
        },
    })
}

impl Place {
    fn copy(
        &self,
        source: &str,
        to: &str,
        options: &CopyOptions,
    ) -> Result<Vec<String>, CopyError> {
        let tree = Over::new(&self.folder.path().join("source"), Stack::default());
        let path = Path::new(source);
        let working = self.store.new_layer_on(&self.below).unwrap();
        let mut builder = LayerBuilder::new(working.upper(), &self.below);
        let copied = builder.copy(&tree, path, path, to, options);
        let mut planned = LayerBuilder::planned(&self.below, &self.below).unwrap();
        let planned_copied = planned.copy(&tree, path, path, to, options);
        if let Err(error) = copied {
            assert_eq!(planned_copied.unwrap_err().to_string(), error.to_string());
            return Err(error);
        }
        planned_copied.unwrap();
        let found = listing(working.upper());
        self.compare(working, planned.plan().unwrap());
        Ok(found)
    }

    /// What is filled in memory gives the tar of what is filled on the disk, and the same files.
    fn compare(&self, working: WorkingLayer, plan: PlannedLayer<'_>) {
        let commit = CommitOptions {
            // Whatever the clock says.
            clamp_mtime: Some(TIME),
            compress: Some(Compression::Gzip),
            ..CommitOptions::default()
        };
        let one = self
            .store
            .commit_layer(working, &self.below, &commit)
            .unwrap();
        let other = Store::open(&self.folder.path().join("other"), Flavour::Trusted).unwrap();
        let packed = other
            .commit_planned(plan, &self.below, &commit, Files::WhenNeeded)
            .unwrap();
        assert_eq!(one.diff_id, packed.diff_id);
        packed.unpack().unwrap();
        assert_eq!(listing(&one.dir), listing(&packed.dir));
    }
}

fn options() -> CopyOptions {
    CopyOptions {
        owner: Ownership::Set(7, 8),
        mode: None,
        filter: Filter::default().into(),
        replaces: false,
        implied: BTreeSet::new(),
    }
}

#[test]
fn destinations() {
    let source = [
        "f 640 file",
        "d 750 dir",
        "f 600 dir/inner",
        "d 700 dir/sub",
        "l inner dir/link",
    ];
    let below = [
        "d 711 there",
        "d 700 real",
        "l /real linked",
        "l nowhere dangling",
        "f 644 plain",
    ];
    let cases: [(&str, &str, &[&str]); 10] = [
        ("file", "/new", &["f 640 7 new 1"]),
        (
            "file",
            "/a/b/",
            &["d 755 7 a", "d 755 7 a/b", "f 640 7 a/b/file 1"],
        ),
        ("file", "/a/b", &["d 755 7 a", "f 640 7 a/b 1"]),
        // What is there keeps its mode and owner.
        ("file", "/there", &["d 711 0 there", "f 640 7 there/file 1"]),
        ("file", "/linked/x", &["d 700 0 real", "f 640 7 real/x 1"]),
        ("file", "/dangling", &["f 640 7 nowhere 1"]),
        ("file", "/plain", &["f 640 7 plain 1"]),
        // The outermost directory is made like a parent; those in it are copied.
        (
            "dir",
            "/new",
            &[
                "d 755 7 new",
                "f 600 7 new/inner 1",
                "l new/link -> inner",
                "d 700 7 new/sub",
            ],
        ),
        (
            "dir",
            "/there",
            &[
                "d 711 0 there",
                "f 600 7 there/inner 1",
                "l there/link -> inner",
                "d 700 7 there/sub",
            ],
        ),
        (
            "",
            "/there/",
            &[
                "d 711 0 there",
                "d 750 7 there/dir",
                "f 600 7 there/dir/inner 1",
                "l there/dir/link -> inner",
                "d 700 7 there/dir/sub",
                "f 640 7 there/file 1",
            ],
        ),
    ];
    for (from, to, want) in cases {
        let Some(place) = place(&source, &below) else {
            return;
        };
        assert_eq!(
            place.copy(from, to, &options()).unwrap(),
            want,
            "{from} {to}"
        );
    }
}

#[test]
fn places_that_cannot_be_had() {
    let source = ["f 640 file", "d 750 dir", "d 755 dir/there"];
    let below = ["d 755 there", "d 755 there/file", "f 644 plain"];
    for (from, to, want) in [
        (
            "file",
            "/plain/x",
            "/plain is not a directory, so nothing can be put below it",
        ),
        (
            "file",
            "/there/",
            "/there/file is a directory and cannot be replaced by a file",
        ),
        (
            "dir",
            "/plain",
            "/plain is not a directory, so nothing can be put below it",
        ),
    ] {
        let Some(place) = place(&source, &below) else {
            return;
        };
        let error = place.copy(from, to, &options()).unwrap_err();
        assert_eq!(error.to_string(), want, "{from} {to}");
    }
}

#[test]
fn owners_modes_and_links_of_the_source() {
    let source = ["d 2755 dir", "f 4711 dir/a", "h dir/a dir/b", "f 644 dir/c"];
    let Some(place) = place(&source, &[]) else {
        return;
    };
    let kept = CopyOptions {
        owner: Ownership::Keep,
        ..options()
    };
    // A change of owner would clear the set-user-id bit; it is set afterwards.
    for (options, owner) in [(kept, 0), (options(), 7)] {
        let to = format!("/{owner}");
        let found = place.copy("dir", &to, &options).unwrap();
        let want = [
            format!("f 4711 {owner} {owner}/a 2"),
            format!("f 4711 {owner} {owner}/b 2"),
            format!("f 644 {owner} {owner}/c 1"),
        ];
        for line in want {
            assert!(found.contains(&line), "{line} in {found:?}");
        }
    }
}

#[test]
fn modes_that_are_asked_for() {
    let source = ["d 750 dir", "f 640 dir/f", "d 700 dir/sub"];
    for (mode, want) in [
        (
            "2770",
            [
                "d 750 7 a",
                "d 750 7 a/b",
                "f 2770 7 a/b/f 1",
                "d 2770 7 a/b/sub",
            ],
        ),
        (
            "u=rwX,go=rX",
            [
                "d 755 7 a",
                "d 755 7 a/b",
                "f 644 7 a/b/f 1",
                "d 755 7 a/b/sub",
            ],
        ),
    ] {
        let Some(place) = place(&source, &[]) else {
            return;
        };
        let options = CopyOptions {
            mode: Permissions::parse(mode),
            ..options()
        };
        assert_eq!(place.copy("dir", "/a/b", &options).unwrap(), want, "{mode}");
    }
}

#[test]
fn what_is_left_out() {
    let source = [
        "d 755 dir",
        "d 755 dir/sub",
        "f 644 dir/sub/a.log",
        "f 644 dir/sub/keep.log",
        "f 644 dir/b",
    ];
    for (patterns, want) in [
        (
            &["**/*.log"][..],
            &["d 755 7 to", "f 644 7 to/b 1", "d 755 7 to/sub"][..],
        ),
        (&["sub"], &["d 755 7 to", "f 644 7 to/b 1"]),
        (
            &["sub", "!sub/keep.log"],
            &[
                "d 755 7 to",
                "f 644 7 to/b 1",
                "d 755 7 to/sub",
                "f 644 7 to/sub/keep.log 1",
            ],
        ),
    ] {
        let Some(place) = place(&source, &[]) else {
            return;
        };
        let patterns: Vec<String> = patterns.iter().map(ToString::to_string).collect();
        let options = CopyOptions {
            filter: Filter::excluding(&patterns).into(),
            ..options()
        };
        assert_eq!(
            place.copy("dir", "/to", &options).unwrap(),
            want,
            "{patterns:?}"
        );
    }
}

#[test]
fn times_are_those_of_the_source_and_of_what_is_below() {
    let Some(place) = place(&["f 644 file"], &["d 755 there"]) else {
        return;
    };
    let tree = Over::new(&place.folder.path().join("source"), Stack::default());
    let working = place.store.new_layer_on(&place.below).unwrap();
    let path = Path::new("file");
    LayerBuilder::new(working.upper(), &place.below)
        .copy(&tree, path, path, "/there/", &options())
        .unwrap();
    let copied = working.upper().join("there/file");
    assert_eq!(fs::metadata(copied).unwrap().mtime(), TIME);
    place.copy("file", "/there/", &options()).unwrap();
}

#[test]
fn folders_on_the_way_keep_what_they_are_in_the_image() {
    let source = ["d 711 dir", "d 750 dir/sub", "f 640 dir/sub/f", "f 600 x"];
    let below = ["d 700 to", "d 777 to/dir"];
    let Some(place) = place(&source, &below) else {
        return;
    };
    let root = place.folder.path().join("source");
    let tree = Over::new(&root, Stack::default());
    let selected = launchway_context::select_with_parents(&tree, "dir/*/f", &[]).unwrap();
    let options = CopyOptions {
        filter: selected[0].filter.clone(),
        ..options()
    };
    // The mode of one that was there becomes the source's, its owner stays.
    assert_eq!(
        place.copy("", "/to/", &options).unwrap(),
        [
            "d 700 0 to",
            "d 711 0 to/dir",
            "d 750 7 to/dir/sub",
            "f 640 7 to/dir/sub/f 1",
        ]
    );
}

#[test]
fn a_build_that_is_stopped_copies_no_further() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["source", "upper"] {
        fs::create_dir(folder.path().join(name)).unwrap();
    }
    let source = folder.path().join("source");
    fill(&source, &["d 755 dir", "f 644 dir/file"]);
    let upper = folder.path().join("upper");
    let mut builder = LayerBuilder::new(&upper, &Stack::default());
    builder.cancellation.cancel();
    let tree = Over::new(&source, Stack::default());
    let dir = Path::new("dir");
    let copied = builder.copy(&tree, dir, dir, "/", &CopyOptions::keep_all());
    assert!(matches!(copied, Err(CopyError::Cancelled)), "{copied:?}");
    assert_eq!(listing(&upper), Vec::<String>::new());
}

#[test]
fn what_is_linked_leaves_the_root_as_it_is() {
    let Some(place) = place(&["f 644 file"], &[]) else {
        return;
    };
    let working = place.store.new_layer().unwrap();
    fs::set_permissions(working.upper(), fs::Permissions::from_mode(0o555)).unwrap();
    let options_of_layer = CommitOptions::default();
    let base = place
        .store
        .commit_layer(working, &Stack::default(), &options_of_layer)
        .unwrap();
    assert_eq!(base.entries, 1, "a root of its own");
    let below = Stack { layers: vec![base] };
    let tree = Over::new(&place.folder.path().join("source"), Stack::default());
    let path = Path::new("file");
    let mut builder = LayerBuilder::planned(&below, &Stack::default()).unwrap();
    builder.copy(&tree, path, path, "/to/", &options()).unwrap();
    let layer = place
        .store
        .commit_planned(
            builder.plan().unwrap(),
            &below,
            &options_of_layer,
            Files::Now,
        )
        .unwrap();
    assert_eq!(layer.entries, 2, "`to` and the file in it");
}
