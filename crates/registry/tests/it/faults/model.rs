//! A registry that does everything right, in memory, and remembers what it was told.
//!
//! It is written from the distribution specification, apart from the embedded registry, so that
//! the client is not tested against its own people's reading of it.

use std::collections::BTreeMap;

use bytes::Bytes;
use launchway_testkit::http::{Answer, Seen};
use launchway_testkit::sha256;

use crate::support::{INDEX, MANIFEST};

pub(super) const PASSWORD: &str = "p4ssw0rd-of-mine";
pub(super) const USER: &str = "user-of-mine";
/// What every token begins with.
pub(super) const TOKEN: &str = "t0ken-of-the-registry-";
/// Tags come in pages of this many.
const PAGE: usize = 2;

/// What a request is about; faults are laid on one kind of request each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Role {
    Token,
    Ping,
    HeadManifest,
    GetManifest,
    PutManifest,
    DeleteManifest,
    HeadBlob,
    GetBlob,
    Mount,
    BeginUpload,
    UploadStatus,
    Chunk,
    FinishUpload,
    CancelUpload,
    Tags,
    Catalog,
    Referrers,
    Unknown,
}

impl Role {
    pub(super) fn of(seen: &Seen) -> Self {
        let parts: Vec<&str> = seen.path().split('/').collect();
        match (seen.method.as_str(), parts.as_slice()) {
            (_, ["", "token"]) => Self::Token,
            ("GET", ["", "v2", ""]) => Self::Ping,
            ("HEAD", ["", "v2", _, "manifests", _]) => Self::HeadManifest,
            ("GET", ["", "v2", _, "manifests", _]) => Self::GetManifest,
            ("PUT", ["", "v2", _, "manifests", _]) => Self::PutManifest,
            ("DELETE", ["", "v2", _, "manifests", _]) => Self::DeleteManifest,
            ("POST", ["", "v2", _, "blobs", "uploads", ""]) => {
                if seen.query().contains("mount=") {
                    Self::Mount
                } else {
                    Self::BeginUpload
                }
            }
            ("GET", ["", "v2", _, "blobs", "uploads", _]) => Self::UploadStatus,
            ("PATCH", ["", "v2", _, "blobs", "uploads", _]) => Self::Chunk,
            ("PUT", ["", "v2", _, "blobs", "uploads", _]) => Self::FinishUpload,
            ("DELETE", ["", "v2", _, "blobs", "uploads", _]) => Self::CancelUpload,
            ("HEAD", ["", "v2", _, "blobs", _]) => Self::HeadBlob,
            ("GET", ["", "v2", _, "blobs", _]) => Self::GetBlob,
            ("GET", ["", "v2", _, "tags", "list"]) => Self::Tags,
            ("GET", ["", "v2", "_catalog"]) => Self::Catalog,
            ("GET", ["", "v2", _, "referrers", _]) => Self::Referrers,
            _ => Self::Unknown,
        }
    }

    /// Whether a success of this kind has a body.
    pub(super) fn reads(self) -> bool {
        matches!(
            self,
            Self::Token
                | Self::GetManifest
                | Self::GetBlob
                | Self::Tags
                | Self::Catalog
                | Self::Referrers
        )
    }

    /// Whether redirects of such requests are followed.
    pub(super) fn is_safe(self) -> bool {
        self.reads() || matches!(self, Self::Ping | Self::HeadManifest | Self::HeadBlob)
    }

    pub(super) fn has_upload(self) -> bool {
        matches!(self, Self::PutManifest | Self::Chunk | Self::FinishUpload)
    }
}

/// What the registry holds. Keys begin with the repository.
#[derive(Clone, Debug, Default)]
pub(super) struct Model {
    pub(super) host: String,
    pub(super) blobs: BTreeMap<(String, String), Bytes>,
    pub(super) manifests: BTreeMap<(String, String), Bytes>,
    pub(super) tags: BTreeMap<(String, String), String>,
    uploads: BTreeMap<String, Vec<u8>>,
    begun: u32,
    tokens: u32,
    /// Whether it has the list of referrers of the specification's version 1.1.
    pub(super) keeps_referrers: bool,
    /// Whether it mounts blobs, rather than to answer 202.
    pub(super) mounts: bool,
}

fn key(repository: &str, name: &str) -> (String, String) {
    (repository.to_owned(), name.to_owned())
}

fn kind_of(bytes: &[u8]) -> &'static str {
    let is_index = bytes.windows(11).any(|words| words == b"\"manifests\"");
    if is_index { INDEX } else { MANIFEST }
}

fn refused(status: u16, code: &str) -> Answer {
    Answer::status(status).error(code, "said the model")
}

impl Model {
    /// An empty registry that has everything of the specification's version 1.1.
    pub(super) fn new() -> Self {
        Self {
            keeps_referrers: true,
            mounts: true,
            ..Self::default()
        }
    }

    pub(super) fn put_blob(&mut self, repository: &str, bytes: &[u8]) {
        let bytes = Bytes::copy_from_slice(bytes);
        self.blobs.insert(key(repository, &sha256(&bytes)), bytes);
    }

    pub(super) fn put(&mut self, repository: &str, tag: Option<&str>, bytes: &[u8]) {
        let digest = sha256(bytes);
        if let Some(tag) = tag {
            self.tags.insert(key(repository, tag), digest.clone());
        }
        let bytes = Bytes::copy_from_slice(bytes);
        self.manifests.insert(key(repository, &digest), bytes);
    }

    /// What stands behind a tag or a digest, if anything does.
    pub(super) fn manifest(&self, repository: &str, name: &str) -> Option<&Bytes> {
        let digest = self.tags.get(&key(repository, name));
        let digest = digest.map_or(name, String::as_str);
        self.manifests.get(&key(repository, digest))
    }

    /// The challenge for somebody who shows no token.
    pub(super) fn challenge(&self) -> Answer {
        let realm = format!("http://{}/token", self.host);
        refused(401, "UNAUTHORIZED").header(
            "www-authenticate",
            format!(r#"Bearer realm="{realm}",service="model""#),
        )
    }

    pub(super) fn is_known(&self, seen: &Seen) -> bool {
        let shown = seen.header("authorization").unwrap_or_default();
        shown.starts_with(&format!("Bearer {TOKEN}"))
    }

    /// Answers somebody who may do everything.
    pub(super) fn answer(&mut self, seen: &Seen, whole: bool) -> Answer {
        let parts: Vec<&str> = seen.path().split('/').collect();
        let repository = parts.get(2).copied().unwrap_or_default();
        let name = parts.last().copied().unwrap_or_default();
        match Role::of(seen) {
            Role::Token => {
                self.tokens += 1;
                Answer::status(200).body(format!(
                    r#"{{"token":"{TOKEN}{}","expires_in":300}}"#,
                    self.tokens
                ))
            }
            Role::Ping => Answer::status(200).body("{}"),
            Role::HeadManifest | Role::GetManifest => match self.manifest(repository, name) {
                Some(bytes) => Answer::status(200)
                    .header("content-type", kind_of(bytes))
                    .header("docker-content-digest", sha256(bytes))
                    .header("content-length", bytes.len().to_string())
                    .body(bytes.clone()),
                None => refused(404, "MANIFEST_UNKNOWN"),
            },
            Role::PutManifest => self.put_manifest(repository, name, seen, whole),
            Role::DeleteManifest => {
                let tag = self.tags.remove(&key(repository, name));
                let digest = self.manifests.remove(&key(repository, name));
                if tag.is_none() && digest.is_none() {
                    return refused(404, "MANIFEST_UNKNOWN");
                }
                self.tags.retain(|_, digest| digest != name);
                Answer::status(202)
            }
            Role::HeadBlob => match self.blobs.get(&key(repository, name)) {
                Some(bytes) => Answer::status(200)
                    .header("content-length", bytes.len().to_string())
                    .header("docker-content-digest", name),
                None => refused(404, "BLOB_UNKNOWN"),
            },
            Role::GetBlob => self.blob(repository, name, seen),
            Role::Mount => {
                let query = seen.query().replace("%3A", ":");
                let wanted = |name: &str| {
                    let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
                    let found = pairs.find(|(found, _)| *found == name);
                    found.map_or("", |(_, value)| value).to_owned()
                };
                let (digest, from) = (wanted("mount"), wanted("from"));
                match self.blobs.get(&key(&from, &digest)).cloned() {
                    Some(bytes) if self.mounts => {
                        self.blobs.insert(key(repository, &digest), bytes);
                        Answer::status(201)
                            .header("location", format!("/v2/{repository}/blobs/{digest}"))
                            .header("docker-content-digest", digest)
                    }
                    _ => self.begin(repository),
                }
            }
            Role::BeginUpload => self.begin(repository),
            Role::UploadStatus => match self.uploads.get(name) {
                Some(bytes) => progress(repository, name, bytes.len()).code(204),
                None => refused(404, "BLOB_UPLOAD_UNKNOWN"),
            },
            Role::Chunk => self.chunk(repository, name, seen),
            Role::FinishUpload => self.finish(repository, name, seen, whole),
            Role::CancelUpload => {
                self.uploads.remove(name);
                Answer::status(204)
            }
            Role::Tags => {
                let all = self.tags.keys().filter(|(found, _)| found == repository);
                let all = all.map(|(_, tag)| tag.clone()).collect();
                page(seen, "tags", all)
            }
            Role::Catalog => page(
                seen,
                "repositories",
                ["a", "b", "c"].map(str::to_owned).into(),
            ),
            Role::Referrers if self.keeps_referrers => {
                let listed: Vec<String> = self
                    .manifests
                    .iter()
                    .filter(|((found, _), _)| found == repository)
                    .filter_map(|((_, digest), bytes)| entry(name, digest, bytes))
                    .collect();
                Answer::status(200)
                    .header("content-type", INDEX)
                    .body(format!(
                        r#"{{"schemaVersion":2,"mediaType":"{INDEX}","manifests":[{}]}}"#,
                        listed.join(",")
                    ))
            }
            Role::Referrers | Role::Unknown => Answer::status(404),
        }
    }

    fn put_manifest(&mut self, repository: &str, name: &str, seen: &Seen, whole: bool) -> Answer {
        let digest = sha256(&seen.body);
        let is_tag = !name.contains(':');
        if !whole || (!is_tag && name != digest) {
            return refused(400, "DIGEST_INVALID");
        }
        self.put(repository, is_tag.then_some(name), &seen.body);
        let answer = Answer::status(201)
            .header("location", format!("/v2/{repository}/manifests/{digest}"))
            .header("docker-content-digest", digest);
        match subject_of(&seen.body) {
            Some(subject) if self.keeps_referrers => answer.header("oci-subject", subject),
            _ => answer,
        }
    }

    fn blob(&self, repository: &str, digest: &str, seen: &Seen) -> Answer {
        let Some(bytes) = self.blobs.get(&key(repository, digest)) else {
            return refused(404, "BLOB_UNKNOWN");
        };
        let from = seen.header("range").and_then(|range| {
            let (first, _) = range.strip_prefix("bytes=")?.split_once('-')?;
            first.parse::<usize>().ok()
        });
        match from {
            None => Answer::status(200)
                .header("docker-content-digest", digest)
                .body(bytes.clone()),
            Some(from) if from >= bytes.len() => Answer::status(416),
            Some(from) => Answer::status(206)
                .header(
                    "content-range",
                    format!("bytes {from}-{}/{}", bytes.len() - 1, bytes.len()),
                )
                .body(bytes.slice(from..)),
        }
    }

    fn begin(&mut self, repository: &str) -> Answer {
        self.begun += 1;
        let id = format!("u{}", self.begun);
        self.uploads.insert(id.clone(), Vec::new());
        progress(repository, &id, 0)
    }

    fn chunk(&mut self, repository: &str, id: &str, seen: &Seen) -> Answer {
        let Some(bytes) = self.uploads.get_mut(id) else {
            return refused(404, "BLOB_UPLOAD_UNKNOWN");
        };
        let first = seen
            .header("content-range")
            .and_then(|range| range.split_once('-')?.0.parse::<usize>().ok());
        if first.is_some_and(|first| first != bytes.len()) {
            return progress(repository, id, bytes.len()).code(416);
        }
        bytes.extend_from_slice(&seen.body);
        progress(repository, id, bytes.len())
    }

    fn finish(&mut self, repository: &str, id: &str, seen: &Seen, whole: bool) -> Answer {
        let Some(bytes) = self.uploads.get_mut(id) else {
            return refused(404, "BLOB_UPLOAD_UNKNOWN");
        };
        bytes.extend_from_slice(&seen.body);
        if !whole {
            return refused(400, "SIZE_INVALID");
        }
        let wanted = seen.query().replace("%3A", ":");
        let wanted = wanted.rsplit("digest=").next().unwrap_or_default();
        let bytes = self.uploads.remove(id).unwrap_or_default();
        if sha256(&bytes) != wanted {
            return refused(400, "DIGEST_INVALID");
        }
        self.put_blob(repository, &bytes);
        Answer::status(201)
            .header("location", format!("/v2/{repository}/blobs/{wanted}"))
            .header("docker-content-digest", wanted)
    }
}

/// One page of a list of names.
fn page(seen: &Seen, field: &str, mut names: Vec<String>) -> Answer {
    let last = seen.query().rsplit_once("last=");
    let last = last.map_or("", |(_, last)| last);
    names.retain(|name| name.as_str() > last);
    let more = names.len() > PAGE;
    names.truncate(PAGE);
    let listed: Vec<String> = names.iter().map(|name| format!("{name:?}")).collect();
    let answer = Answer::status(200).body(format!(r#"{{"{field}":[{}]}}"#, listed.join(",")));
    match names.last() {
        Some(last) if more => answer.header(
            "link",
            format!("<{}?n={PAGE}&last={last}>; rel=\"next\"", seen.path()),
        ),
        _ => answer,
    }
}

fn progress(repository: &str, id: &str, length: usize) -> Answer {
    let last = length.saturating_sub(1);
    Answer::status(202)
        .header("location", format!("/v2/{repository}/blobs/uploads/{id}"))
        .header("docker-upload-uuid", id)
        .header("range", format!("0-{last}"))
}

/// The subject of a manifest.
fn subject_of(bytes: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(bytes).ok()?;
    let (_, after) = text.split_once("\"subject\"")?;
    let (_, after) = after.split_once("\"digest\":\"")?;
    Some(after.split('"').next()?.to_owned())
}

/// The entry of a manifest in the list of referrers of a subject.
fn entry(subject: &str, digest: &str, bytes: &Bytes) -> Option<String> {
    (subject_of(bytes)? == subject).then(|| {
        format!(
            r#"{{"mediaType":"{}","digest":"{digest}","size":{}}}"#,
            kind_of(bytes),
            bytes.len()
        )
    })
}
