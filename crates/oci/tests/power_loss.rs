//! What a loss of power leaves of a store. Names may have reached the disk before contents, files may
//! be cut off, emptied, full of zeros or gone: whatever the store then gives out is whole, and what is
//! not can be made again.

#![expect(clippy::unwrap_used, reason = "a test ends where something fails")]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use common::{Seen, layer, snapshot};
use launchway_model::Digest;
use launchway_oci::{Compression, Flavour, Layer, Origin, Stack, Store};
use proptest::prelude::*;

/// What happens to one file.
#[derive(Clone, Copy, Debug)]
enum Harm {
    Nothing,
    Emptied,
    CutOff,
    Zeroed,
    Gone,
}

fn harm() -> impl Strategy<Value = Harm> {
    prop_oneof![
        6 => Just(Harm::Nothing),
        1 => Just(Harm::Emptied),
        1 => Just(Harm::CutOff),
        1 => Just(Harm::Zeroed),
        1 => Just(Harm::Gone),
    ]
}

fn inflict(harm: Harm, path: &Path) {
    let length = usize::try_from(fs::metadata(path).unwrap().len()).unwrap();
    match harm {
        Harm::Nothing => {}
        Harm::Emptied => fs::write(path, "").unwrap(),
        Harm::CutOff => {
            let bytes = fs::read(path).unwrap();
            fs::write(path, &bytes[..length / 2]).unwrap();
        }
        Harm::Zeroed => fs::write(path, vec![0; length]).unwrap(),
        Harm::Gone => fs::remove_file(path).unwrap(),
    }
}

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    let mut entries: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap())
        .collect();
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        if entry.file_type().unwrap().is_dir() {
            files(&entry.path(), found);
        } else {
            found.push(entry.path());
        }
    }
}

struct World {
    folder: tempfile::TempDir,
    layers: Vec<(Digest, BTreeMap<PathBuf, Seen>)>,
    blobs: Vec<Digest>,
    /// A layer of another program, which came as a blob.
    foreign: (Vec<u8>, Digest),
}

fn root(folder: &Path) -> PathBuf {
    folder.join("store")
}

fn one(layer: &Layer) -> BTreeMap<PathBuf, Seen> {
    snapshot(&Stack {
        layers: vec![layer.clone()],
    })
}

fn make(store: &Store, number: u32) -> Layer {
    let layer = layer(store, &Stack::default(), |upper| {
        for name in 0..4 {
            let path = upper.join(format!("d{number}/f{name}"));
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, vec![b'a' + name; 3_000 * usize::from(name)]).unwrap();
            set_time(&path);
        }
        set_time(&upper.join(format!("d{number}")));
    });
    store.compressed(&layer.diff_id, Compression::Gzip).unwrap();
    layer
}

fn set_time(path: &Path) {
    let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000);
    fs::File::open(path).unwrap().set_modified(time).unwrap();
}

/// A tar as other programs write it; ours would look different.
fn foreign() -> (Vec<u8>, Digest) {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("file"), vec![b'z'; 5_000]).unwrap();
    fs::create_dir(folder.path().join("dir")).unwrap();
    let tar = std::process::Command::new("tar")
        .args(["--format=gnu", "--owner=0", "--group=0", "-cf-", "-C"])
        .arg(folder.path())
        .args(["file", "dir"])
        .output()
        .unwrap();
    assert!(tar.status.success());
    let digest = launchway_oci::Hasher::digest(&tar.stdout);
    (tar.stdout, digest)
}

const TAR: &str = "application/vnd.oci.image.layer.v1.tar";

fn world() -> World {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open_in_boot(&root(folder.path()), Flavour::Trusted, "before").unwrap();
    let mut layers: Vec<_> = (0..2)
        .map(|number| {
            let layer = make(&store, number);
            store.path_index(&layer.diff_id).unwrap();
            (layer.diff_id.clone(), one(&layer))
        })
        .collect();
    let foreign = foreign();
    let blob = store.put_blob(&foreign.0).unwrap();
    let imported = store.import_layer(&blob, TAR, &foreign.1).unwrap();
    layers.push((foreign.1.clone(), one(&imported)));
    let document = store.put_blob(br#"{"schemaVersion":2}"#).unwrap();
    store.name_image("x/y:1", &document, Origin::Built).unwrap();
    let survey = store.survey().unwrap();
    World {
        folder,
        layers,
        blobs: survey.blobs.into_iter().map(|blob| blob.digest).collect(),
        foreign,
    }
}

/// Everything that is given out is whole, and everything can be had again.
fn check(world: &World, store: &Store) -> usize {
    let mut lost = 0;
    for digest in &world.blobs {
        if store.has_blob(digest) {
            store.verify_blob(digest).unwrap();
        } else {
            lost += 1;
        }
    }
    for (diff_id, files) in &world.layers {
        match store.layer(diff_id) {
            Some(layer) => assert_eq!(one(&layer), *files),
            None => lost += 1,
        }
    }
    store.survey().unwrap();
    for number in 0..2 {
        let again = make(store, number);
        assert_eq!(one(&again), world.layers[number as usize].1);
        let index = store.path_index(&again.diff_id).unwrap();
        assert_eq!(index.paths.len(), 5);
    }
    let blob = store.put_blob(&world.foreign.0).unwrap();
    store.verify_blob(&blob).unwrap();
    let imported = store.import_layer(&blob, TAR, &world.foreign.1).unwrap();
    assert_eq!(one(&imported), world.layers[2].1);
    lost
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 80, ..ProptestConfig::default() })]

    #[test]
    fn what_is_given_out_is_whole(harms in prop::collection::vec(harm(), 60)) {
        if !common::is_root() {
            eprintln!("skipped: owners need root");
            return Ok(());
        }
        let world = world();
        let mut all = Vec::new();
        files(&root(world.folder.path()), &mut all);
        prop_assert!(all.len() > 25, "{}", all.len());
        for (path, harm) in all.iter().zip(harms.iter().cycle()) {
            inflict(*harm, path);
        }
        let after = Store::open_in_boot(&root(world.folder.path()), Flavour::Trusted, "after").unwrap();
        check(&world, &after);
    }
}

/// A look is taken once: what was found to be whole is marked so, and later starts believe it.
#[test]
fn what_was_looked_at_is_settled() {
    let world = world();
    let path = root(world.folder.path());
    let open = |boot: &str| Store::open_in_boot(&path, Flavour::Trusted, boot).unwrap();
    let (diff_id, _) = &world.layers[0];
    let file = |store: &Store| store.layer(diff_id).unwrap().dir.join("d0/f3");
    let second = open("second");
    let damaged = file(&second);
    drop(second);
    // From here on it is believed, so that damage done behind the store's back is not seen: by
    // this one can tell that no look was taken.
    fs::write(&damaged, "other").unwrap();
    assert!(open("third").layer(diff_id).is_some());
    // A layer nobody has looked at since the start of the machine is.
    let (diff_id, _) = &world.layers[1];
    let home = path.join("layers/sha256").join(diff_id.hex());
    fs::write(home.join("fs/d1/f3"), "other").unwrap();
    assert!(open("before").layer(diff_id).is_some());
    assert!(open("third").layer(diff_id).is_none());
    assert!(!home.exists(), "what is damaged makes room");
}
