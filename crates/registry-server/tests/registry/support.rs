//! A registry in a directory that goes away, and short ways to ask it things.

use std::path::Path;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use launchway_registry_server::{Durability, Options, Registry};
use launchway_testkit::sha256;
use tempfile::TempDir;

pub(crate) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(crate) const CONFIG: &str = "application/vnd.oci.image.config.v1+json";

pub(crate) struct Fixture {
    pub(crate) directory: TempDir,
    pub(crate) registry: Registry,
}

#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// Tests kill processes and pull no plugs.
pub(crate) fn options() -> Options {
    Options {
        durability: Durability::Process,
        ..Options::default()
    }
}

impl Fixture {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let registry = Registry::open(&directory.path().join("root"), options()).unwrap();
        Self {
            directory,
            registry,
        }
    }

    pub(crate) fn root(&self) -> std::path::PathBuf {
        self.directory.path().join("root")
    }

    pub(crate) async fn ask(&self, method: &str, path: &str) -> Reply {
        ask(&self.registry, method, path, &[], "").await
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.ask("GET", path).await
    }

    pub(crate) async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Reply {
        ask(&self.registry, method, path, headers, body).await
    }

    /// Pushes a blob in one request and gives back its digest.
    pub(crate) async fn blob(&self, repository: &str, bytes: impl Into<Bytes>) -> String {
        let bytes = bytes.into();
        let digest = sha256(&bytes);
        let path = format!("/v2/{repository}/blobs/uploads/?digest={digest}");
        let reply = self.send("POST", &path, &[], bytes).await;
        assert_eq!(reply.status, 201, "{reply:?}");
        digest
    }

    pub(crate) async fn put(
        &self,
        repository: &str,
        reference: &str,
        media_type: &str,
        text: &str,
    ) -> Reply {
        let path = format!("/v2/{repository}/manifests/{reference}");
        let headers = [("content-type", media_type)];
        self.send("PUT", &path, &headers, text.to_owned()).await
    }

    /// Pushes a small image under a tag and gives back its manifest.
    pub(crate) async fn image(&self, repository: &str, tag: &str, salt: &str) -> String {
        let config = format!(
            r#"{{"architecture":"arm64","os":"linux","config":{{}},"rootfs":{{"type":"layers","diff_ids":[]}},"history":[{{"comment":"{salt}"}}]}}"#
        );
        let layer = format!("layer {salt}");
        let (config_size, layer_size) = (config.len(), layer.len());
        let config = self.blob(repository, config).await;
        let layer = self.blob(repository, layer).await;
        let manifest = manifest(&config, config_size, &[(&layer, layer_size)], "");
        let reply = self.put(repository, tag, MANIFEST, &manifest).await;
        assert_eq!(reply.status, 201, "{reply:?}");
        manifest
    }
}

pub(crate) fn manifest(config: &str, size: usize, layers: &[(&str, usize)], more: &str) -> String {
    let layers: Vec<_> = layers
        .iter()
        .map(|(digest, size)| {
            format!(r#"{{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"{digest}","size":{size}}}"#)
        })
        .collect();
    format!(
        r#"{{"schemaVersion":2,"mediaType":"{MANIFEST}","config":{{"mediaType":"{CONFIG}","digest":"{config}","size":{size}}},"layers":[{}]{more}}}"#,
        layers.join(",")
    )
}

pub(crate) fn descriptor(media_type: &str, text: &str) -> String {
    format!(
        r#"{{"mediaType":"{media_type}","digest":"{}","size":{}}}"#,
        sha256(text.as_bytes()),
        text.len()
    )
}

pub(crate) fn index(manifests: &[String], more: &str) -> String {
    format!(
        r#"{{"schemaVersion":2,"mediaType":"{INDEX}","manifests":[{}]{more}}}"#,
        manifests.join(",")
    )
}

pub(crate) async fn ask(
    registry: &Registry,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: impl Into<Bytes>,
) -> Reply {
    let mut request = Request::builder()
        .method(Method::from_bytes(method.as_bytes()).unwrap())
        .uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::new(body.into())).unwrap();
    let response = registry.handle(request).await;
    let (head, body) = response.into_parts();
    Reply {
        status: head.status,
        headers: head.headers,
        body: body.collect().await.unwrap().to_bytes(),
    }
}

impl Reply {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The code of the first error in the body.
    pub(crate) fn code(&self) -> String {
        self.json()["errors"][0]["code"]
            .as_str()
            .unwrap()
            .to_owned()
    }

    #[track_caller]
    pub(crate) fn refused(&self, status: u16, code: &str) {
        assert_eq!(
            (self.status.as_u16(), self.code().as_str()),
            (status, code),
            "{self:?}"
        );
    }
}

/// Every file below a directory, as text relative to it, sorted.
pub(crate) fn files(directory: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut open = vec![directory.to_owned()];
    while let Some(path) = open.pop() {
        for entry in std::fs::read_dir(&path).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                let relative = path.strip_prefix(directory).unwrap();
                found.push(relative.to_str().unwrap().to_owned());
            }
        }
    }
    found.sort();
    found
}
