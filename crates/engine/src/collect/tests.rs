//! Looking, deciding and removing together, over a store on the disk.

use std::fs;
use std::path::Path;

use launchway_oci::{CommitOptions, Compression, Flavour, Layer, Origin, Stack, Store};

use super::*;

struct World {
    folder: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    fn state(&self) -> &Path {
        self.folder.path()
    }

    fn store(&self) -> Store {
        Store::open(&self.folder.path().join("store"), Flavour::User).unwrap()
    }
}

fn layer(store: &Store, content: &str) -> Layer {
    let working = store.new_layer().unwrap();
    fs::write(working.upper().join("file"), content).unwrap();
    let options = CommitOptions {
        compress: Some(Compression::Gzip),
        ..CommitOptions::default()
    };
    store
        .commit_layer(working, &Stack::default(), &options)
        .unwrap()
}

fn all() -> Policy {
    Policy {
        all: true,
        ..Policy::default()
    }
}

const NOW: i64 = i64::MAX / 2;

#[test]
fn what_another_process_began_to_use_stays_with_what_it_needs() {
    let world = World::new();
    let state = world.state();
    let diff_id = {
        let maker = world.store();
        layer(&maker, "other");
        layer(&maker, "one").diff_id
    };
    let store = world.store();
    let found = inventory(&store, state).unwrap();
    assert!(found.items.iter().all(|item| !item.is_held), "{found:?}");
    let removals = decide(&found.items, &all(), NOW);
    assert_eq!(removals.len(), 4);
    // Between looking and removing somebody takes one of them.
    let user = world.store();
    let used = user.layer(&diff_id).unwrap();
    let freed = remove(&store, state, &found.items, removals).unwrap();
    assert_eq!(freed.removed.len(), 2, "{freed:?}");
    assert_eq!(freed.kept.len(), 2, "the layer and its blob: {freed:?}");
    assert_eq!(fs::read(used.dir.join("file")).unwrap(), b"one");
    let blob = user.compressed(&diff_id, Compression::Gzip).unwrap();
    user.verify_blob(&blob.digest.parse().unwrap()).unwrap();
    drop(user);
    let found = inventory(&store, state).unwrap();
    let removals = decide(&found.items, &all(), NOW);
    remove(&store, state, &found.items, removals).unwrap();
    assert_eq!(inventory(&store, state).unwrap().total, 0);
}

#[test]
fn a_repository_in_use_stays() {
    let world = World::new();
    let folder = world.state().join("repositories");
    for name in ["one", "two"] {
        fs::create_dir_all(folder.join(name)).unwrap();
        fs::write(folder.join(name).join("HEAD"), "ref: refs/heads/main").unwrap();
    }
    let lock = fs::File::create(folder.join("one.lock")).unwrap();
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let store = world.store();
    let collect = || {
        let found = inventory(&store, world.state()).unwrap();
        let removals = decide(&found.items, &all(), NOW);
        remove(&store, world.state(), &found.items, removals).unwrap()
    };
    let freed = collect();
    assert_eq!(freed.removed.len(), 1, "{freed:?}");
    assert!(folder.join("one/HEAD").exists() && !folder.join("two").exists());
    drop(lock);
    assert_eq!(collect().removed.len(), 1);
}

#[test]
fn names_whose_image_is_gone_and_foreign_files_are_told_apart() {
    let world = World::new();
    let digest = {
        let maker = world.store();
        let digest = maker.put_blob(br#"{"schemaVersion":2}"#).unwrap();
        maker.name_image("h/x:1", &digest, Origin::Pulled).unwrap();
        digest
    };
    // What somebody else put there is none of ours.
    let foreign = world.state().join("store/blobs/sha256/notes.txt");
    fs::write(&foreign, "keep").unwrap();
    fs::write(world.state().join("notes"), "keep").unwrap();
    let store = world.store();
    fs::remove_file(store.blob_path(&digest)).unwrap();
    let found = inventory(&store, world.state()).unwrap();
    let removals = decide(&found.items, &Policy::default(), NOW);
    assert_eq!(removals.len(), 1, "{removals:?}");
    assert_eq!(removals[0].why, Reason::Dead);
    remove(&store, world.state(), &found.items, removals).unwrap();
    let found = inventory(&store, world.state()).unwrap();
    let everything = decide(&found.items, &all(), NOW);
    remove(&store, world.state(), &found.items, everything).unwrap();
    assert!(foreign.exists() && world.state().join("notes").exists());
}
