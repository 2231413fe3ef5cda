//! The step cache: what a step with these inputs gave the last time.
//!
//! One small file a step, named by the hash of the step's inputs: the layer's diff id in the first
//! line, and in the second what made it, for people. The parent enters the hash by its layers, so a
//! step that gave the same bytes again does not rebuild what follows it.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use launchway_model::{ContentHasher, Digest, InputHash};
use launchway_oci::{Layer, Store};
use serde::{Deserialize, Serialize};

use crate::collect::step_name;

/// What is remembered of how a step was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Made {
    /// The instruction as written, on one line.
    pub(crate) text: String,
    pub(crate) took: Duration,
    /// The time that the build which made it states, RFC 3339.
    pub(crate) created: Option<String>,
}

/// What a step gave.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    pub(crate) layer: Layer,
    pub(crate) created: Option<String>,
}

/// The second line of an entry.
#[derive(Serialize, Deserialize)]
struct MadeLine {
    text: String,
    took_ms: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    created: Option<String>,
}

pub(crate) struct StepCache {
    dir: PathBuf,
}

impl StepCache {
    pub(crate) fn open(state: &Path) -> std::io::Result<Self> {
        let dir = state.join("steps");
        fs::create_dir_all(&dir)?;
        Ok(Self { dir })
    }

    /// The layer that a step gave; absent when it never ran or its layer is gone.
    pub(crate) fn get(&self, key: &InputHash, store: &Store) -> Option<Known> {
        let name = key.to_string();
        store.hold(&step_name(&name)).ok()?;
        let path = self.dir.join(name);
        let text = fs::read_to_string(&path).ok()?;
        let (diff_id, made) = read_entry(&text)?;
        let layer = store.layer(&diff_id)?;
        touch(&path);
        let created = made.and_then(|made| made.created);
        Some(Known { layer, created })
    }

    pub(crate) fn put(&self, key: &InputHash, layer: &Layer, made: &Made) -> std::io::Result<()> {
        let path = self.dir.join(key.to_string());
        let mut file = tempfile::Builder::new()
            .prefix(&format!(".{key}."))
            .tempfile_in(&self.dir)?;
        let line = MadeLine {
            text: made.text.clone(),
            took_ms: u64::try_from(made.took.as_millis()).unwrap_or(u64::MAX),
            created: made.created.clone(),
        };
        let line = serde_json::to_string(&line).map_err(std::io::Error::from)?;
        file.write_all(format!("{}\n{line}\n", layer.diff_id).as_bytes())?;
        file.persist(path)?;
        Ok(())
    }
}

/// Says that something was used now. What cannot be touched only looks older than it is.
pub(crate) fn touch(path: &Path) {
    let _ = fs::File::options()
        .write(true)
        .open(path)
        .and_then(|file| file.set_modified(SystemTime::now()));
}

/// Reads an entry. One that is cut off is none: its end is the end of a line.
pub(crate) fn read_entry(text: &str) -> Option<(Digest, Option<Made>)> {
    let (first, rest) = text.split_once('\n')?;
    let made = match rest.strip_suffix('\n') {
        Some(line) => {
            let line: MadeLine = serde_json::from_str(line).ok()?;
            Some(Made {
                text: line.text,
                took: Duration::from_millis(line.took_ms),
                created: line.created,
            })
        }
        // Entries of earlier versions have one line.
        None if rest.is_empty() => None,
        None => return None,
    };
    Some((first.parse().ok()?, made))
}

/// Starts the hash of a step on top of some layers. Those that changed nothing do not count.
pub(crate) fn step_key(kind: &str, below: &[Layer]) -> ContentHasher {
    let mut hasher = ContentHasher::new("launchway/step/1");
    hasher.text("kind", kind);
    let below: Vec<String> = below
        .iter()
        .filter(|layer| layer.entries > 0)
        .map(|layer| layer.diff_id.to_string())
        .collect();
    hasher.list("below", &below);
    hasher
}

#[cfg(test)]
mod tests {
    use launchway_oci::{CommitOptions, Flavour, Stack};

    use super::*;

    #[test]
    fn another_process_finds_what_was_put_and_nothing_whose_layer_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("store"), Flavour::User).unwrap();
        let working = store.new_layer().unwrap();
        fs::write(working.upper().join("file"), "x").unwrap();
        let options = CommitOptions::default();
        let layer = store
            .commit_layer(working, &Stack::default(), &options)
            .unwrap();
        let key = step_key("test", &[]).finish();
        let made = Made {
            text: "RUN make\t\"x\"".to_owned(),
            took: Duration::from_millis(1_500),
            created: Some("2026-11-29T02:30:00Z".to_owned()),
        };

        let cache = StepCache::open(folder.path()).unwrap();
        assert!(cache.get(&key, &store).is_none());
        cache.put(&key, &layer, &made).unwrap();
        // As another process would: from the disk alone.
        let again = StepCache::open(folder.path()).unwrap();
        let known = again.get(&key, &store).unwrap();
        assert_eq!(known.layer.diff_id, layer.diff_id);
        assert_eq!(known.created, made.created);
        let names = fs::read_dir(folder.path().join("steps")).unwrap().count();
        assert_eq!(names, 1, "nothing temporary stays");

        let path = folder.path().join("steps").join(key.to_string());
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(
            read_entry(&text).unwrap(),
            (layer.diff_id.clone(), Some(made.clone()))
        );
        // However much of it a loss of power leaves, it is what it was or nothing.
        let first = text.find('\n').unwrap() + 1;
        for length in (0..text.len()).filter(|length| *length != first) {
            fs::write(&path, &text[..length]).unwrap();
            assert!(again.get(&key, &store).is_none(), "{length}");
        }
        fs::write(&path, "damaged").unwrap();
        assert!(again.get(&key, &store).is_none());
        cache.put(&key, &layer, &made).unwrap();
        let empty = Store::open(&folder.path().join("other"), Flavour::User).unwrap();
        assert!(again.get(&key, &empty).is_none(), "its layer is not here");
    }

    #[test]
    fn keys_tell_kinds_and_layers_apart() {
        let key = |kind| step_key(kind, &[]).finish().to_string();
        assert_eq!(key("run"), key("run"));
        assert_ne!(key("run"), key("copy"));
    }
}
