//! The store: shared by threads and processes, and clean after those that died.

#![expect(clippy::unwrap_used, reason = "a test ends where something fails")]

mod common;

use std::fs;
use std::io::Write;
use std::path::Path;

use common::{layer, snapshot, store};
use launchway_model::Digest;
use launchway_oci::{
    CommitOptions, Compression, Flavour, Hasher, Layer, Stack, Store, StoreError, Tree,
    UnpackOptions, Whiteouts, resolve, unpack,
};

/// A layer of many files, made in a store of its own.
fn made(files: usize) -> (tempfile::TempDir, Store, Layer) {
    let (directory, store) = store();
    let layer = layer(&store, &Stack::default(), |upper| {
        for number in 0..files {
            let folder = upper.join(format!("d{}", number % 7));
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join(number.to_string()), vec![b'x'; number * 10]).unwrap();
        }
    });
    (directory, store, layer)
}

/// Puts the blob of a layer into another store.
fn carry(from: &Store, into: &Store, layer: &Layer, c: Compression) -> (Digest, String) {
    let blob = from.compressed(&layer.diff_id, c).unwrap();
    let digest = blob.digest.parse().unwrap();
    into.copy_blob(&from.blob_path(&digest), &digest).unwrap();
    (digest, blob.media_type)
}

fn temporary(store: &Store) -> usize {
    let sessions = fs::read_dir(store.root().join("tmp")).unwrap();
    sessions
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir())
        .map(|path| fs::read_dir(path).unwrap().count() - 1)
        .sum()
}

#[test]
fn blobs_are_checked_and_kept() {
    let (_d, store) = store();
    let digest = store.put_blob(b"hello").unwrap();
    assert_eq!(store.read_blob(&digest).unwrap(), b"hello");
    assert_eq!(store.blob_size(&digest).unwrap(), 5);
    store.verify_blob(&digest).unwrap();
    let mut writer = store.blob_writer().unwrap();
    writer.write_all(b"hello").unwrap();
    assert_eq!(writer.finish(Some(&digest)).unwrap(), (digest.clone(), 5));
    let mut writer = store.blob_writer().unwrap();
    writer.write_all(b"other").unwrap();
    let error = writer.finish(Some(&digest)).unwrap_err();
    assert!(matches!(error, StoreError::DigestMismatch { .. }));
    drop(store.blob_writer().unwrap());
    assert_eq!(temporary(&store), 0);
    let missing = Hasher::digest(b"missing");
    assert!(matches!(
        store.read_blob(&missing),
        Err(StoreError::NoBlob(_))
    ));
    fs::write(store.blob_path(&digest), b"damage").unwrap();
    assert!(store.verify_blob(&digest).is_err());
}

#[test]
fn downloads_are_adopted_or_vanish() {
    let (_d, store) = store();
    let digest = Hasher::digest(b"body");
    for _ in 0..2 {
        let temp = store.temp_path();
        fs::write(&temp, b"body").unwrap();
        store.adopt_blob(temp.path(), &digest).unwrap();
        assert!(!temp.path().exists());
    }
    assert!(store.has_blob(&digest));
    let temp = store.temp_path();
    fs::write(&temp, b"partial").unwrap();
    drop(temp);
    let working = store.new_layer().unwrap();
    fs::write(working.upper().join("x"), "").unwrap();
    drop(working);
    assert_eq!(temporary(&store), 0);
}

#[test]
fn what_dead_processes_left_is_removed_and_what_living_ones_do_is_not() {
    let (_d, store) = store();
    let working = store.new_layer().unwrap();
    fs::write(working.upper().join("x"), "").unwrap();
    let dead = store.root().join("tmp/1-0");
    fs::create_dir_all(dead.join("3/fs")).unwrap();
    fs::write(dead.join("lock"), "").unwrap();
    fs::write(dead.join("3/fs/half"), "").unwrap();
    let half_made = store.root().join("tmp/1-1");
    fs::create_dir(&half_made).unwrap();
    let other = Store::open(store.root(), Flavour::Trusted).unwrap();
    assert!(!dead.exists() && !half_made.exists());
    assert!(working.upper().join("x").exists());
    drop(other);
    assert!(working.upper().join("x").exists());
    let root = store.root().to_owned();
    drop(working);
    drop(store);
    let left: Vec<_> = fs::read_dir(root.join("tmp"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(left, ["lock"]);
}

/// While one process ends, the next one may look at what it is taking away.
#[test]
fn stores_are_opened_while_others_are_closed() {
    let (_d, first) = store();
    let root = first.root().to_owned();
    drop(first);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..150 {
                    let store = Store::open(&root, Flavour::Trusted).unwrap();
                    let working = store.new_layer().unwrap();
                    fs::create_dir_all(working.upper().join("a/b")).unwrap();
                }
            });
        }
    });
    assert_eq!(fs::read_dir(root.join("tmp")).unwrap().count(), 1);
}

/// A step can make directories in each other that no path is long enough for.
#[test]
fn what_lies_too_deep_is_refused_and_goes() {
    use rustix::fs::{CWD, Mode, OFlags, mkdirat, openat};
    let (_d, store) = store();
    let working = store.new_layer().unwrap();
    let upper = working.upper().to_owned();
    let open = |at: &std::os::fd::OwnedFd, name: &str| {
        openat(at, name, OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap()
    };
    let mut at = openat(CWD, &upper, OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap();
    let name = "n".repeat(200);
    for _ in 0..100 {
        mkdirat(&at, name.as_str(), Mode::RWXU).unwrap();
        at = open(&at, &name);
    }
    drop(at);
    let error = store
        .commit_layer(working, &Stack::default(), &CommitOptions::default())
        .unwrap_err();
    assert!(
        matches!(error, StoreError::NotRepresentable { .. }),
        "{error:?}"
    );
    assert_eq!(temporary(&store), 0);
}

/// What damage leaves of a layer makes room, and never what another process has put there since.
#[test]
fn a_damaged_layer_is_replaced_by_all_that_come_at_once() {
    let (_d, first) = store();
    let options = CommitOptions {
        clamp_mtime: Some(0),
        ..CommitOptions::default()
    };
    let make = |store: &Store| {
        let working = store.new_layer().unwrap();
        fs::write(working.upper().join("file"), "content").unwrap();
        store
            .commit_layer(working, &Stack::default(), &options)
            .unwrap()
    };
    let home = make(&first).dir.parent().unwrap().to_owned();
    for _ in 0..25 {
        fs::write(home.join("layer.json"), "{").unwrap();
        let open = || Store::open(first.root(), Flavour::Trusted).unwrap();
        let stores: Vec<Store> = (0..4).map(|_| open()).collect();
        std::thread::scope(|scope| {
            for store in &stores {
                scope.spawn(|| {
                    let layer = make(store);
                    for _ in 0..20 {
                        assert!(layer.dir.join("file").exists());
                    }
                });
            }
        });
    }
}

/// Two stores are what two processes are to each other: locks do not know the difference.
#[test]
fn importing_one_layer_at_once_makes_it_once() {
    let (_d1, first, layer) = made(200);
    for round in 0..4 {
        let (directory, second) = store();
        let third = Store::open(&directory.path().join("store"), Flavour::Trusted).unwrap();
        let (blob, media_type) = carry(&first, &second, &layer, Compression::Gzip);
        let import = |store: &Store| store.import_layer(&blob, &media_type, &layer.diff_id);
        let layers = std::thread::scope(|scope| {
            let workers: Vec<_> = [&second, &third, &second, &third]
                .map(|store| scope.spawn(|| import(store).unwrap()))
                .into_iter()
                .collect();
            workers
                .into_iter()
                .map(|worker| worker.join().unwrap())
                .collect::<Vec<_>>()
        });
        for other in layers {
            assert_eq!(other.size, layer.size, "round {round}");
            let stack = |layer: &Layer| Stack {
                layers: vec![layer.clone()],
            };
            assert_eq!(snapshot(&stack(&other)), snapshot(&stack(&layer)));
        }
        assert_eq!(temporary(&second) + temporary(&third), 0);
    }
}

#[test]
fn a_layer_that_is_not_what_it_should_be_leaves_nothing() {
    let (_d1, first, layer) = made(20);
    let (_d2, second) = store();
    let (blob, media_type) = carry(&first, &second, &layer, Compression::Zstd);
    let wrong = Hasher::digest(b"something else");
    let error = second.import_layer(&blob, &media_type, &wrong).unwrap_err();
    assert!(
        matches!(error, StoreError::DigestMismatch { .. }),
        "{error}"
    );
    assert!(second.layer(&wrong).is_none());
    let error = second
        .import_layer(&blob, "application/json", &layer.diff_id)
        .unwrap_err();
    assert!(matches!(error, StoreError::MediaType(_)));
    let mut damaged = second.read_blob(&blob).unwrap();
    let middle = damaged.len() / 2;
    damaged.truncate(middle);
    let damaged = second.put_blob(&damaged).unwrap();
    let error = second.import_layer(&damaged, &media_type, &layer.diff_id);
    assert!(matches!(error, Err(StoreError::Unpack { .. })), "{error:?}");
    assert_eq!(temporary(&second), 0);
    assert!(second.layer(&layer.diff_id).is_none());
}

#[test]
fn pulled_layers_keep_their_blob() {
    let (_d1, first, layer) = made(50);
    let (_d2, second) = store();
    let (blob, media_type) = carry(&first, &second, &layer, Compression::Zstd);
    second
        .import_layer(&blob, &media_type, &layer.diff_id)
        .unwrap();
    let known = second
        .compressed(&layer.diff_id, Compression::Gzip)
        .unwrap();
    assert_eq!(known.digest, blob.to_string());
    assert_eq!(known.media_type, media_type);
    let missing = Hasher::digest(b"missing");
    let error = second.compressed(&missing, Compression::Gzip).unwrap_err();
    assert!(matches!(error, StoreError::NoLayer(_)));
}

/// Another builder's tar cannot be made again from the files, so its blob must not be lost.
#[test]
fn a_foreign_layer_whose_blob_is_gone_has_to_be_pulled_again() {
    let source = tempfile::tempdir().unwrap();
    fs::write(source.path().join("f"), "x").unwrap();
    let output = std::process::Command::new("tar")
        .args(["-c", "--format", "pax", "-C"])
        .arg(source.path())
        .arg("f")
        .output();
    let Ok(output) = output else {
        eprintln!("skipped: tar is not installed");
        return;
    };
    let (_d, store) = store();
    let tar = output.stdout;
    let diff_id = Hasher::digest(&tar);
    let plain = store.put_blob(&tar).unwrap();
    let media_type = "application/vnd.oci.image.layer.v1.tar";
    let layer = store.import_layer(&plain, media_type, &diff_id).unwrap();
    assert_eq!((layer.size, layer.entries), (tar.len() as u64, 1));
    // It came uncompressed: the compressed form is made from the blob.
    let gzip = store.compressed(&diff_id, Compression::Gzip).unwrap();
    assert_eq!(
        gzip.media_type,
        "application/vnd.oci.image.layer.v1.tar+gzip"
    );
    fs::remove_file(store.blob_path(&plain)).unwrap();
    assert_eq!(store.compressed(&diff_id, Compression::Gzip).unwrap(), gzip);
    let error = store.compressed(&diff_id, Compression::Zstd).unwrap_err();
    assert!(matches!(error, StoreError::BlobGone(_)), "{error}");
}

#[test]
fn a_tar_becomes_a_layer_in_one_pass() {
    let (_d1, first, layer) = made(60);
    let blob = first.compressed(&layer.diff_id, Compression::Gzip).unwrap();
    let mut tar = Vec::new();
    let file = fs::File::open(first.blob_path(&blob.digest.parse().unwrap())).unwrap();
    std::io::copy(&mut flate2::read::GzDecoder::new(file), &mut tar).unwrap();
    let (_d2, second) = store();
    let imported = second
        .import_tar(&tar[..], Compression::Gzip, Some(&layer.diff_id))
        .unwrap();
    assert_eq!(imported.entries, layer.entries);
    assert_eq!(
        second
            .compressed(&layer.diff_id, Compression::Gzip)
            .unwrap(),
        blob
    );
    let wrong = Hasher::digest(b"");
    let error = second.import_tar(&tar[..], Compression::Gzip, Some(&wrong));
    assert!(matches!(error, Err(StoreError::DigestMismatch { .. })));
    assert!(
        second
            .import_tar(&tar[..tar.len() / 2], Compression::Zstd, None)
            .is_err()
    );
    assert_eq!(second.layer(&layer.diff_id).unwrap().size, tar.len() as u64);
}

/// What is remembered about a layer is found again by another process, and remade when lost.
#[test]
fn compression_and_index_are_remembered() {
    let (_d, store, layer) = made(30);
    let first = store.compressed(&layer.diff_id, Compression::Gzip).unwrap();
    let index = store.path_index(&layer.diff_id).unwrap();
    let again = Store::open(store.root(), Flavour::Trusted).unwrap();
    assert_eq!(
        again.compressed(&layer.diff_id, Compression::Gzip).unwrap(),
        first
    );
    assert_eq!(again.path_index(&layer.diff_id).unwrap(), index);
    fs::remove_file(store.blob_path(&first.digest.parse().unwrap())).unwrap();
    fs::write(layer.dir.parent().unwrap().join("paths"), "an older form").unwrap();
    assert_eq!(
        again.compressed(&layer.diff_id, Compression::Gzip).unwrap(),
        first
    );
    assert_eq!(again.path_index(&layer.diff_id).unwrap(), index);
}

#[test]
fn a_layer_that_was_altered_is_not_packed_as_the_same() {
    let (_d, store, layer) = made(5);
    fs::write(layer.dir.join("d1/1"), "altered").unwrap();
    let error = store
        .compressed(&layer.diff_id, Compression::Gzip)
        .unwrap_err();
    assert!(
        matches!(error, StoreError::DigestMismatch { .. }),
        "{error}"
    );
}

#[test]
fn paths_are_resolved_inside_the_tree() {
    let (_d, store) = store();
    let layer = layer(&store, &Stack::default(), |upper| {
        let link = |path: &str, target: &str| {
            std::os::unix::fs::symlink(target, upper.join(path)).unwrap();
        };
        fs::create_dir_all(upper.join("usr/bin")).unwrap();
        fs::write(upper.join("usr/bin/sh"), "x").unwrap();
        link("bin", "usr/bin");
        link("abs", "/usr/bin");
        link("up", "../../../../usr");
        link("loop", "loop2");
        link("loop2", "loop");
        link("dangling", "usr/not/there");
    });
    let stack = Stack {
        layers: vec![layer],
    };
    for (path, follow, want) in [
        ("", true, ""),
        ("bin/sh", true, "usr/bin/sh"),
        ("/bin/./sh", true, "usr/bin/sh"),
        ("abs/sh", true, "usr/bin/sh"),
        ("up/bin/../../bin", true, "usr/bin"),
        ("bin", false, "bin"),
        ("abs/new/file", true, "usr/bin/new/file"),
        ("dangling/x", true, "usr/not/there/x"),
        ("../../etc", true, "etc"),
    ] {
        let got = resolve(&stack, Path::new(path), follow).unwrap();
        assert_eq!(got, Path::new(want), "{path}");
    }
    assert!(resolve(&stack, Path::new("loop/x"), true).is_err());
    assert!(stack.entry(Path::new("bin/sh")).unwrap().is_none());
    assert!(stack.entry(Path::new("../x")).is_err());
    assert!(stack.open(Path::new("usr")).is_err());
    assert!(stack.children(Path::new("usr/bin/sh")).is_err());
    assert!(stack.children(Path::new("nowhere")).is_err());
    assert_eq!(stack.children(Path::new("")).unwrap().len(), 7);
}

/// What ADD does with a local archive.
#[test]
fn archives_can_be_unpacked_for_one_owner() {
    let (_d, store, layer) = made(3);
    let blob = store.compressed(&layer.diff_id, Compression::Gzip).unwrap();
    let file = fs::File::open(store.blob_path(&blob.digest.parse().unwrap())).unwrap();
    let target = tempfile::tempdir().unwrap();
    let owner = if common::is_root() { (123, 456) } else { own() };
    let options = UnpackOptions {
        whiteouts: Whiteouts::Plain,
        owner: Some(owner),
    };
    assert_eq!(
        unpack(file, target.path(), &options).unwrap(),
        layer.entries
    );
    use std::os::unix::fs::MetadataExt;
    let metadata = fs::metadata(target.path().join("d1/1")).unwrap();
    assert_eq!((metadata.uid(), metadata.gid()), owner);
}

fn own() -> (u32, u32) {
    (
        rustix::process::geteuid().as_raw(),
        rustix::process::getegid().as_raw(),
    )
}
