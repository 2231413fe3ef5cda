//! Registries that tests start, stop and look into.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use launchway_testkit::{flatten, sha256};
use serde_json::Value;

use crate::lab::{PROGRAM, files_below, platform, text};
use crate::wire;

/// `launchway registry serve` as a process of its own.
pub(crate) struct Registry {
    child: Option<Child>,
    pub(crate) root: PathBuf,
    /// `127.0.0.1:port`.
    pub(crate) host: String,
}

impl Registry {
    pub(crate) fn start(root: &Path, port: u16) -> Self {
        let mut child = Command::new(PROGRAM)
            .env_clear()
            .env("HOME", root)
            .args(["registry", "serve", "--listen"])
            .arg(format!("127.0.0.1:{port}"))
            .arg("--root")
            .arg(root)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("starting the registry");
        let stdout = child.stdout.take().expect("stdout is a pipe");
        let mut host = String::new();
        BufReader::new(stdout)
            .read_line(&mut host)
            .expect("reading the registry's address");
        let host = host.trim().to_owned();
        assert!(!host.is_empty(), "the registry did not start");
        Self {
            child: Some(child),
            root: root.to_owned(),
            host,
        }
    }

    /// A prefix to publish below.
    pub(crate) fn prefix(&self) -> String {
        format!("{}/fam", self.host)
    }

    pub(crate) fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself; then there is nothing to stop.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Starts again where it was.
    pub(crate) fn start_again(&mut self) {
        let port = self
            .host
            .rsplit(':')
            .next()
            .and_then(|port| port.parse().ok());
        let port = port.expect("the address ends in a port");
        // The port may be held for a moment by connections that are going away.
        let root = self.root.clone();
        *self = Self::start(&root, port);
    }

    /// The tags of `fam/toolbox` with their digests.
    pub(crate) fn tags(&self) -> BTreeMap<String, String> {
        self.tags_of("fam/toolbox")
    }

    pub(crate) fn tags_of(&self, repository: &str) -> BTreeMap<String, String> {
        let path = self
            .root
            .join("repositories")
            .join(repository)
            .join("index.json");
        let Ok(text) = fs::read_to_string(path) else {
            return BTreeMap::new();
        };
        let index: Value = serde_json::from_str(&text).expect("index.json is JSON");
        let manifests = index["manifests"].as_array().cloned().unwrap_or_default();
        manifests
            .iter()
            .filter_map(|one| {
                let tag = one["annotations"]["org.opencontainers.image.ref.name"].as_str()?;
                Some((tag.to_owned(), text_of(&one["digest"])))
            })
            .collect()
    }

    /// The tags without those that hold hashes.
    pub(crate) fn names(&self) -> Vec<String> {
        let tags = self.tags().into_keys();
        tags.filter(|tag| !is_content_tag(tag)).collect()
    }

    /// The bytes of a blob or manifest.
    pub(crate) fn document(&self, repository: &str, digest: &str) -> Value {
        let path = self
            .root
            .join("repositories")
            .join(repository)
            .join("blobs")
            .join(digest.replacen(':', "/", 1));
        let bytes = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert_eq!(sha256(&bytes), digest, "the document is what its name says");
        serde_json::from_slice(&bytes).expect("the document is JSON")
    }

    /// The index under a tag of `fam/toolbox`.
    pub(crate) fn index(&self, tag: &str) -> Value {
        let tags = self.tags();
        let digest = tags
            .get(tag)
            .unwrap_or_else(|| panic!("no tag {tag} in {tags:?}"));
        self.document("fam/toolbox", digest)
    }

    /// The whole image behind a tag or digest of `fam/toolbox`; every digest on the way is checked.
    pub(crate) fn image(&self, tag: &str) -> flatten::Image {
        self.image_for(tag, &platform())
    }

    pub(crate) fn image_for(&self, tag: &str, platform: &str) -> flatten::Image {
        self.try_image(tag, platform)
            .unwrap_or_else(|error| panic!("{tag} for {platform}: {error}"))
    }

    pub(crate) fn try_image(
        &self,
        tag: &str,
        platform: &str,
    ) -> Result<flatten::Image, flatten::FlattenError> {
        let digest = match tag.starts_with("sha256:") {
            true => tag.to_owned(),
            false => self.tags().get(tag).cloned().unwrap_or_default(),
        };
        let repository = self.root.join("repositories/fam/toolbox");
        let layout = tempfile::tempdir().expect("making a folder");
        let blob = repository.join("blobs").join(digest.replacen(':', "/", 1));
        let size = fs::metadata(&blob).map_or(0, |metadata| metadata.len());
        let index = serde_json::json!({
            "schemaVersion": 2,
            "manifests": [{ "mediaType": "application/vnd.oci.image.index.v1+json", "digest": digest, "size": size }],
        });
        fs::write(layout.path().join("index.json"), index.to_string()).expect("writing an index");
        std::os::unix::fs::symlink(repository.join("blobs"), layout.path().join("blobs"))
            .expect("linking the blobs");
        flatten::flatten(layout.path(), Some(platform))
    }

    /// Points a tag of `fam/toolbox` to what another one has.
    pub(crate) fn point(&self, tag: &str, at: &str) {
        let path = |tag: &str| format!("/v2/fam/toolbox/manifests/{tag}");
        let found = wire::get(&self.host, &path(at));
        assert_eq!(found.status, 200, "{at} can be read");
        let media_type = found.header("content-type").unwrap_or_default().to_owned();
        let put = wire::put(&self.host, &path(tag), &media_type, &found.body);
        assert_eq!(put.status, 201, "{tag} can be written");
    }

    /// Everything that is there, for seeing whether anything changed.
    pub(crate) fn everything(&self) -> Vec<String> {
        files_below(&self.root.join("repositories"))
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.stop();
    }
}

fn text_of(value: &Value) -> String {
    text(value)
}

fn is_content_tag(tag: &str) -> bool {
    tag.rsplit('-')
        .next()
        .is_some_and(|last| last.len() == 12 && last.bytes().all(|byte| byte.is_ascii_hexdigit()))
        || tag.starts_with("sha256-")
}
