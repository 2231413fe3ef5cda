//! The step cache: what a step with these inputs gave the last time.
//!
//! One small file a step, named by the hash of the step's inputs. The parent enters the hash by its
//! layers, so a step that gave the same bytes again does not rebuild what follows it.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use launchway_model::{ContentHasher, Digest, InputHash};
use launchway_oci::{Layer, Store};

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
    pub(crate) fn get(&self, key: &InputHash, store: &Store) -> Option<Layer> {
        let text = fs::read_to_string(self.dir.join(key.to_string())).ok()?;
        let diff_id: Digest = text.trim_end().parse().ok()?;
        store.layer(&diff_id)
    }

    pub(crate) fn put(&self, key: &InputHash, layer: &Layer) -> std::io::Result<()> {
        let path = self.dir.join(key.to_string());
        let mut temporary = self.dir.join(format!(".{key}"));
        temporary.set_extension(std::process::id().to_string());
        let mut file = fs::File::create(&temporary)?;
        writeln!(file, "{}", layer.diff_id)?;
        drop(file);
        fs::rename(temporary, path)
    }
}

/// Starts the hash of a step on top of some layers.
pub(crate) fn step_key(kind: &str, below: &[Layer]) -> ContentHasher {
    let mut hasher = ContentHasher::new("launchway/step/1");
    hasher.text("kind", kind);
    let below: Vec<String> = below
        .iter()
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

        let cache = StepCache::open(folder.path()).unwrap();
        assert!(cache.get(&key, &store).is_none());
        cache.put(&key, &layer).unwrap();
        // As another process would: from the disk alone.
        let again = StepCache::open(folder.path()).unwrap();
        assert_eq!(again.get(&key, &store).unwrap().diff_id, layer.diff_id);
        let names = fs::read_dir(folder.path().join("steps")).unwrap().count();
        assert_eq!(names, 1, "nothing temporary stays");

        fs::write(folder.path().join("steps").join(key.to_string()), "damaged").unwrap();
        assert!(again.get(&key, &store).is_none());
        cache.put(&key, &layer).unwrap();
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
