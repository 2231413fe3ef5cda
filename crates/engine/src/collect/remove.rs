//! Removing what was decided, beside builds that run, and safe against being killed at any moment.
//!
//! A thing leaves its place by one rename while the door is shut, so that nobody sees half of it; its
//! files are deleted after that. What a killed process leaves lies among the store's temporary
//! files, where the next one removes it.

use std::collections::BTreeSet;
use std::path::Path;

use launchway_oci::{ShutDoor, Store, TempPath};

use super::decide::Removal;
use super::inventory::{KNOWN_FILES, REPOSITORIES, listed, repository_lock, repository_used, used};
use super::item::{Item, ItemId};
use crate::EngineError;

/// How many things are taken away before others may go on.
const AT_ONCE: usize = 32;

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Freed {
    pub removed: Vec<Removal>,
    /// What somebody began to use meanwhile, and what that needs.
    pub kept: Vec<ItemId>,
}

impl Freed {
    pub fn bytes(&self) -> u64 {
        self.removed.iter().map(|removal| removal.size).sum()
    }
}

/// Carries removals out, in their order. What was used since it was looked at stays.
pub fn remove(
    store: &Store,
    state: &Path,
    items: &[Item],
    removals: Vec<Removal>,
) -> Result<Freed, EngineError> {
    let mut freed = Freed::default();
    let mut stay: BTreeSet<ItemId> = BTreeSet::new();
    let needs = |id: &ItemId| {
        let item = items.iter().find(|item| item.id == *id);
        item.map(|item| item.needs.clone()).unwrap_or_default()
    };
    let mut removals = removals.into_iter().peekable();
    while removals.peek().is_some() {
        let mut away = Vec::new();
        let door = store.shut_door()?;
        for removal in removals.by_ref().take(AT_ONCE) {
            let id = &removal.id;
            let in_use = door.is_held(id.as_str()) || used_now(store, state, id) > removal.used;
            if in_use || stay.contains(id) {
                // What stays keeps what it needs; that comes later in the order.
                stay.extend(needs(id));
                freed.kept.push(id.clone());
                continue;
            }
            let taken = take(store, state, &door, id)?;
            if taken.is_empty() {
                // Somebody else was faster, or locked it a moment ago.
                continue;
            }
            away.extend(taken);
            freed.removed.push(removal);
        }
        drop(door);
        for path in away {
            path.remove()?;
        }
    }
    Ok(freed)
}

/// When a thing was last used by itself.
fn used_now(store: &Store, state: &Path, id: &ItemId) -> i64 {
    match id.split() {
        ("image", reference) => store.name_used(reference),
        ("blob", digest) => digest.parse().map_or(0, |digest| store.blob_used(&digest)),
        ("layer", digest) => digest.parse().map_or(0, |digest| store.layer_used(&digest)),
        ("step", key) => used(&state.join("steps").join(key)),
        ("context", name) => used(&state.join(KNOWN_FILES).join(name)),
        ("cache-mount", hash) => {
            let root = state.join("cache-mounts").join(hash);
            used(&root.join("about")).max(used(&root))
        }
        ("download", hash) => used(&state.join("downloads").join(format!("{hash}.json"))),
        ("git", name) => repository_used(state, name),
        _ => 0,
    }
}

fn take(
    store: &Store,
    state: &Path,
    door: &ShutDoor,
    id: &ItemId,
) -> Result<Vec<TempPath>, EngineError> {
    let taken = match id.split() {
        ("image", reference) => store.take_name(door, reference)?,
        ("blob", digest) => match digest.parse() {
            Ok(digest) => store.take_blob(door, &digest)?,
            Err(_) => None,
        },
        ("layer", digest) => match digest.parse() {
            Ok(digest) => store.take_layer(door, &digest)?,
            Err(_) => None,
        },
        ("step", key) => store.take_away(door, &state.join("steps").join(key))?,
        ("context", name) => store.take_away(door, &state.join(KNOWN_FILES).join(name))?,
        ("cache-mount", hash) => store.take_away(door, &state.join("cache-mounts").join(hash))?,
        ("git", name) => match repository_lock(state, name)? {
            Some(_lock) => store.take_away(door, &state.join(REPOSITORIES).join(name))?,
            None => None,
        },
        ("download", hash) => {
            let folder = state.join("downloads");
            // What is known of it goes first: a file nobody knows is no harm.
            let known = format!("{hash}.json");
            let mut taken = Vec::new();
            taken.extend(store.take_away(door, &folder.join(&known))?);
            for (name, path) in listed(&folder)? {
                if name.starts_with(&format!("{hash}-")) {
                    taken.extend(store.take_away(door, &path)?);
                }
            }
            return Ok(taken);
        }
        _ => None,
    };
    Ok(taken.into_iter().collect())
}
