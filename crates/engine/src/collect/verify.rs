//! Looking at every byte again, and dropping what is damaged, so that it is made anew.

use std::collections::HashMap;
use std::path::Path;

use launchway_oci::{Store, blob_name, layer_name};

use super::decide::{Reason, Removal};
use super::inventory::{DOWNLOAD, Inventory};
use super::item::{Item, ItemId};
use super::remove::{Freed, remove};
use crate::web::is_whole;
use crate::{Cancellation, EngineError};

/// What was looked at.
#[derive(Clone, Debug, Default)]
pub struct Verified {
    pub looked_at: usize,
    /// What is not as it was made, removed unless it is in use.
    pub damaged: Vec<ItemId>,
    pub freed: Freed,
}

/// Hashes every blob, every layer and every download again; what is whole need not be looked at after the next start of
/// the machine. `looking` is told of each.
pub fn verify(
    store: &Store,
    state: &Path,
    inventory: &Inventory,
    cancellation: &Cancellation,
    looking: &mut dyn FnMut(&Item),
) -> Result<Verified, EngineError> {
    let survey = store.survey()?;
    let mut done = Verified::default();
    let items: HashMap<&str, &Item> = inventory
        .items
        .iter()
        .map(|item| (item.id.as_str(), item))
        .collect();
    // Blobs first: a layer that was pulled is compared with its own.
    for blob in &survey.blobs {
        cancellation.check()?;
        let Some(item) = items.get(blob_name(&blob.digest).as_str()) else {
            continue;
        };
        looking(item);
        done.looked_at += 1;
        match store.is_blob_whole(&blob.digest)? {
            Some(true) => store.settle_blob(&blob.digest)?,
            Some(false) => drop_damaged(store, state, item, &mut done)?,
            // Somebody has removed it since.
            None => {}
        }
    }
    for layer in &survey.layers {
        cancellation.check()?;
        let Some(item) = items.get(layer_name(&layer.diff_id).as_str()) else {
            continue;
        };
        looking(item);
        done.looked_at += 1;
        match store.check_layer(&layer.diff_id)? {
            Some(true) => store.settle_layer(&layer.diff_id)?,
            Some(false) => drop_damaged(store, state, item, &mut done)?,
            None => {}
        }
    }
    let downloads = state.join("downloads");
    for item in &inventory.items {
        let Some(name) = item.id.as_str().strip_prefix(DOWNLOAD) else {
            continue;
        };
        cancellation.check()?;
        looking(item);
        done.looked_at += 1;
        let is_whole = is_whole(store, &downloads, name).map_err(|error| EngineError::Io {
            act: "look at a download".to_owned(),
            source: std::io::Error::other(error),
        })?;
        if !is_whole {
            drop_damaged(store, state, item, &mut done)?;
        }
    }
    Ok(done)
}

fn drop_damaged(
    store: &Store,
    state: &Path,
    item: &Item,
    done: &mut Verified,
) -> Result<(), EngineError> {
    let removal = Removal {
        id: item.id.clone(),
        kind: item.kind,
        size: item.size,
        about: item.about.clone(),
        used: i64::MAX,
        why: Reason::Dead,
    };
    let freed = remove(store, state, &[], vec![removal])?;
    done.damaged.push(item.id.clone());
    done.freed.removed.extend(freed.removed);
    done.freed.kept.extend(freed.kept);
    Ok(())
}
