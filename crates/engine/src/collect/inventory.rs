//! What is there: the store's things and the engine's own, with what they need.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use launchway_context::Context;
use launchway_model::Digest;
use launchway_oci::{
    BlobContent, Hasher, Origin, Store, Survey, blob_name, disk_usage, image_name, layer_name,
};

use rustix::fs::FlockOperation;

use super::item::{Item, ItemId, Kind};
use super::pins::pins;
use crate::EngineError;
use crate::cache::read_entry;

/// Everything that is kept, and what of it somebody has pinned without it being there.
#[derive(Clone, Debug, Default)]
pub struct Inventory {
    pub items: Vec<Item>,
    pub total: u64,
}

/// Looks at everything that a store and the engine over it keep.
pub fn inventory(store: &Store, state: &Path) -> Result<Inventory, EngineError> {
    let survey = store.survey()?;
    let mut items = Vec::new();
    let steps = steps(state)?;
    let mut made_by: BTreeMap<Digest, String> = BTreeMap::new();
    for step in &steps {
        if let Some(text) = &step.text {
            made_by.entry(step.diff_id.clone()).or_insert(text.clone());
        }
    }
    add_images(&mut items, &survey);
    add_layers(&mut items, &survey, &made_by);
    let present: BTreeSet<ItemId> = items.iter().map(|item| item.id.clone()).collect();
    for step in steps {
        let layer = ItemId::new(layer_name(&step.diff_id));
        items.push(Item {
            is_dead: !present.contains(&layer),
            needs: vec![layer],
            ..item(
                step_name(&step.key),
                Kind::Steps,
                step.size,
                step.used,
                step.text.unwrap_or_default(),
            )
        });
    }
    items.extend(known_files(state)?);
    items.extend(cache_mounts(state)?);
    items.extend(downloads(state)?);
    items.extend(repositories(state)?);
    for item in items.iter_mut().filter(|item| item.kind == Kind::Images) {
        // A name whose document is gone names nothing. Documents may well name what was never here.
        let is_name = item.id.split().0 == "image";
        item.is_dead = is_name && !item.needs.iter().all(|id| present.contains(id));
    }
    let pinned: BTreeSet<ItemId> = pins(state)?.into_iter().flat_map(|pin| pin.items).collect();
    let door = store.shut_door()?;
    for item in &mut items {
        item.is_held |= door.is_held(item.id.as_str());
        item.is_pinned = pinned.contains(&item.id);
    }
    drop(door);
    let total = items.iter().map(|item| item.size).sum();
    Ok(Inventory { items, total })
}

fn item(name: String, kind: Kind, size: u64, used: i64, about: String) -> Item {
    Item {
        id: ItemId::new(name),
        kind,
        size,
        used,
        about,
        needs: Vec::new(),
        follows: false,
        is_dead: false,
        is_pinned: false,
        is_held: false,
    }
}

fn add_images(items: &mut Vec<Item>, survey: &Survey) {
    for name in &survey.names {
        let how = match name.origin {
            Origin::Built => "built as",
            Origin::Pulled => "pulled as",
        };
        let about = format!("{how} {}", name.reference);
        items.push(Item {
            needs: vec![ItemId::new(blob_name(&name.digest))],
            ..item(
                image_name(&name.reference),
                Kind::Images,
                0,
                name.used,
                about,
            )
        });
    }
}

fn add_layers(items: &mut Vec<Item>, survey: &Survey, made_by: &BTreeMap<Digest, String>) {
    let mut of_layer: BTreeMap<&Digest, &Digest> = BTreeMap::new();
    for layer in &survey.layers {
        for blob in &layer.blobs {
            of_layer.entry(blob).or_insert(&layer.diff_id);
        }
        let about = match made_by.get(&layer.diff_id) {
            Some(text) => text.clone(),
            None if layer.was_pulled => "pulled".to_owned(),
            None => String::new(),
        };
        let needs = layer.blobs.iter().map(|blob| ItemId::new(blob_name(blob)));
        items.push(Item {
            needs: needs.collect(),
            ..item(
                layer_name(&layer.diff_id),
                Kind::Layers,
                layer.size,
                layer.used,
                about,
            )
        });
    }
    for blob in &survey.blobs {
        let size = if blob.is_linked { 0 } else { blob.size };
        let name = blob_name(&blob.digest);
        items.push(match &blob.content {
            BlobContent::Layer => {
                let about = match of_layer.get(&blob.digest) {
                    Some(diff_id) => match made_by.get(*diff_id) {
                        Some(text) => format!("compressed: {text}"),
                        None => format!("compressed layer {}", short(diff_id.hex())),
                    },
                    None => String::new(),
                };
                Item {
                    follows: true,
                    ..item(name, Kind::Layers, size, blob.used, about)
                }
            }
            BlobContent::Document {
                what,
                blobs,
                layers,
            } => {
                let blobs = blobs.iter().map(|blob| ItemId::new(blob_name(blob)));
                let layers = layers.iter().map(|layer| ItemId::new(layer_name(layer)));
                Item {
                    needs: blobs.chain(layers).collect(),
                    follows: true,
                    ..item(name, Kind::Images, size, blob.used, (*what).to_owned())
                }
            }
        });
    }
}

fn short(hex: &str) -> &str {
    hex.get(..12).unwrap_or(hex)
}

/// Where it is kept what the files of contexts hold.
pub(crate) const KNOWN_FILES: &str = "contexts";

/// Lets a context that will be there for other builds know its files, under a name made of its path.
pub(crate) fn know_files(context: &Context, state: &Path) {
    if !context.stays() {
        return;
    }
    let path = fs::canonicalize(context.path()).unwrap_or_else(|_| context.path().to_owned());
    let name = Hasher::digest(path.as_os_str().as_encoded_bytes());
    context.know_files_by(state.join(KNOWN_FILES).join(name.hex()));
}

/// Writes down what a context knows by now. Without it the next build reads what this one has read; that is all.
pub(crate) fn save_known_files(context: &Context, store: &Store) {
    let put = |path: &Path, bytes: &[u8]| store.put_file(path, bytes).map_err(io::Error::other);
    let _ = context.save_known_files(&put);
}

/// They are hints for steps, and count as such.
fn known_files(state: &Path) -> Result<Vec<Item>, EngineError> {
    let mut items = Vec::new();
    for (name, path) in listed(&state.join(KNOWN_FILES))? {
        let size = blocks(&path);
        items.push(item(
            format!("context {name}"),
            Kind::Steps,
            size,
            used(&path),
            "what the files of a context hold".to_owned(),
        ));
    }
    Ok(items)
}

struct Step {
    key: String,
    diff_id: Digest,
    text: Option<String>,
    size: u64,
    used: i64,
}

/// The name under which a step's entry is held.
pub(crate) fn step_name(key: &str) -> String {
    format!("step {key}")
}

/// The name under which a cache mount is held; `hash` is that of its id.
pub(crate) fn cache_mount_name(hash: &str) -> String {
    format!("cache-mount {hash}")
}

/// How the name of a download begins.
pub(super) const DOWNLOAD: &str = "download ";

/// The name under which a download is held; `hash` is that of its URL.
pub(crate) fn download_name(hash: &str) -> String {
    format!("{DOWNLOAD}{hash}")
}

fn steps(state: &Path) -> Result<Vec<Step>, EngineError> {
    let mut steps = Vec::new();
    for (key, path) in listed(&state.join("steps"))? {
        // What begins with a dot is being written.
        if key.starts_with('.') {
            continue;
        }
        let entry = fs::read_to_string(&path).ok();
        let Some((diff_id, made)) = entry.and_then(|text| read_entry(&text)) else {
            continue;
        };
        steps.push(Step {
            key,
            diff_id,
            text: made.map(|made| made.text),
            size: blocks(&path),
            used: used(&path),
        });
    }
    Ok(steps)
}

fn cache_mounts(state: &Path) -> Result<Vec<Item>, EngineError> {
    let mut items = Vec::new();
    for (hash, path) in listed(&state.join("cache-mounts"))? {
        let size = disk_usage(&path).map_err(EngineError::io("look at a cache mount"))?;
        let about = path.join("about");
        let id = fs::read_to_string(&about).unwrap_or_default();
        let used = used(&about).max(used(&path));
        items.push(item(
            cache_mount_name(&hash),
            Kind::CacheMounts,
            size,
            used,
            id.trim_end().to_owned(),
        ));
    }
    Ok(items)
}

fn downloads(state: &Path) -> Result<Vec<Item>, EngineError> {
    let mut found: BTreeMap<String, Item> = BTreeMap::new();
    for (name, path) in listed(&state.join("downloads"))? {
        if name.starts_with('.') {
            continue;
        }
        let hash = name.split(['-', '.']).next().unwrap_or_default();
        let entry = found
            .entry(hash.to_owned())
            .or_insert_with(|| item(download_name(hash), Kind::Downloads, 0, 0, String::new()));
        entry.size += blocks(&path);
        if name.ends_with(".json") {
            entry.used = entry.used.max(used(&path));
            if let Some(url) = crate::web::url_of(&path) {
                entry.about = url;
            }
        }
    }
    Ok(found.into_values().collect())
}

fn repositories(state: &Path) -> Result<Vec<Item>, EngineError> {
    let mut items = Vec::new();
    for (name, path) in listed(&state.join(REPOSITORIES))? {
        if !path.is_dir() {
            continue;
        }
        let size = disk_usage(&path).map_err(EngineError::io("look at a git repository"))?;
        items.push(Item {
            is_held: repository_lock(state, &name)?.is_none(),
            ..item(
                format!("git {name}"),
                Kind::Git,
                size,
                repository_used(state, &name),
                "a copy of a repository".to_owned(),
            )
        });
    }
    Ok(items)
}

/// Where copies of git repositories are kept, one directory each, with a lock beside it that is held by
/// who uses it.
pub(crate) const REPOSITORIES: &str = "repositories";

/// The lock of a repository; none while somebody uses it.
pub(crate) fn repository_lock(state: &Path, name: &str) -> Result<Option<fs::File>, EngineError> {
    let path = state.join(REPOSITORIES).join(format!("{name}.lock"));
    let opened = fs::File::options().read(true).open(&path);
    let file = match opened {
        Ok(file) => file,
        // Nobody has ever used it under a lock: what is locked is nothing.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            fs::File::create(&path).map_err(EngineError::io("lock a git repository"))?
        }
        Err(error) => return Err(EngineError::io("lock a git repository")(error)),
    };
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(file)),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(EngineError::io("lock a git repository")(error.into())),
    }
}

/// Who uses a repository makes its lock anew, and who fetches changes the directory.
pub(crate) fn repository_used(state: &Path, name: &str) -> i64 {
    let folder = state.join(REPOSITORIES);
    used(&folder.join(name)).max(used(&folder.join(format!("{name}.lock"))))
}

/// When a thing of the engine was last used: its files are touched then.
pub(crate) fn used(path: &Path) -> i64 {
    fs::symlink_metadata(path).map_or(0, |metadata| metadata.mtime())
}

fn blocks(path: &Path) -> u64 {
    fs::symlink_metadata(path).map_or(0, |metadata| metadata.blocks() * 512)
}

/// The entries of a folder by name, sorted; none where there is no folder.
pub(crate) fn listed(folder: &Path) -> Result<Vec<(String, PathBuf)>, EngineError> {
    let failed = |error| EngineError::io(format!("list {}", folder.display()))(error);
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(failed)?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.map_err(failed)?;
        if let Ok(name) = entry.file_name().into_string() {
            found.push((name, entry.path()));
        }
    }
    found.sort();
    Ok(found)
}
