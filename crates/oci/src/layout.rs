//! OCI image layouts, as a directory or a tar, read into the store and written from it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, BufReader, Read, Write};
use std::path::Path;

use launchway_model::{Algorithm, Digest, Reference};
use serde::Serialize;

use crate::error::At;
use crate::pipe;
use crate::platform::is_attestation;
use crate::spec::{Descriptor, Index, Manifest, media};
use crate::tar_read::TarReader;
use crate::tar_write::{BLOCK, TarHeader, TarKind, write_header};
use crate::xattr::Xattrs;
use crate::{Store, StoreError, UnpackError};

/// An image for an archive: its manifest or index in the store, and the names it gets.
#[derive(Clone, Debug)]
pub struct ArchiveImage {
    pub descriptor: Descriptor,
    /// Full references (`docker.io/library/x:tag`); none is fine.
    pub names: Vec<String>,
}

const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// Where `docker load` looks for the whole reference; the annotation above holds the tag alone.
const FULL_NAME: &str = "io.containerd.image.name";
const LAYOUT: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;
/// Indexes and manifests are small; more is damage or an attack.
const MAX_DOCUMENT: u64 = 16 << 20;

/// Reads a layout directory: everything its index leads to is put into the store.
///
/// # Errors
/// When the directory is not a layout, or content has another digest than its descriptor says.
pub fn read_layout(store: &Store, directory: &Path) -> Result<Index, StoreError> {
    let marker = directory.join("oci-layout");
    if !marker.is_file() {
        return Err(StoreError::NotALayout {
            path: directory.to_owned(),
            reason: "it has no oci-layout file".to_owned(),
        });
    }
    let path = directory.join("index.json");
    let bytes = fs::read(&path).at("read", &path)?;
    let index = parse_index(&bytes, directory)?;
    let mut seen = BTreeSet::new();
    for descriptor in &index.manifests {
        visit(descriptor, &mut seen, &mut |digest, is_document| {
            let path = directory
                .join("blobs")
                .join(digest.algorithm().as_str())
                .join(digest.hex());
            if !store.has_blob(digest) {
                store.copy_blob(&path, digest)?;
            }
            if is_document {
                document(store, digest).map(Some)
            } else {
                Ok(None)
            }
        })?;
    }
    Ok(index)
}

/// Reads a layout from a tar, likewise; the tar may be compressed.
///
/// # Errors
/// As [`read_layout`].
pub fn read_archive(store: &Store, archive: impl Read + Send) -> Result<Index, StoreError> {
    let name = Path::new("the archive");
    let plain = pipe::decompressed(archive)
        .map_err(|error| StoreError::UnpackArchive(UnpackError::Read(error)))?;
    let bytes = pipe::read_ahead(plain, |tar| read_entries(store, tar))?;
    let bytes = bytes.ok_or_else(|| StoreError::NotALayout {
        path: name.to_owned(),
        reason: "it has no index.json".to_owned(),
    })?;
    let index = parse_index(&bytes, name)?;
    let mut seen = BTreeSet::new();
    for descriptor in &index.manifests {
        visit(descriptor, &mut seen, &mut |digest, is_document| {
            if is_document {
                document(store, digest).map(Some)
            } else {
                store.blob_size(digest).map(|_| None)
            }
        })?;
    }
    Ok(index)
}

/// Stores the blobs of an archive and returns its `index.json`.
fn read_entries(store: &Store, tar: &mut dyn Read) -> Result<Option<Vec<u8>>, StoreError> {
    let mut reader = TarReader::new(tar);
    let mut index = None;
    while let Some(entry) = reader.next_entry().map_err(StoreError::UnpackArchive)? {
        if entry.kind != TarKind::File {
            continue;
        }
        let name = entry.shown();
        let name = name.trim_start_matches("./");
        let read = |error| StoreError::UnpackArchive(UnpackError::Read(error));
        if name == "index.json" {
            let mut bytes = Vec::new();
            let mut body = reader.body().take(MAX_DOCUMENT);
            body.read_to_end(&mut bytes).map_err(read)?;
            index = Some(bytes);
        } else if let Some((algorithm, hex)) = name
            .strip_prefix("blobs/")
            .and_then(|rest| rest.split_once('/'))
            && let Ok(digest) = format!("{algorithm}:{hex}").parse::<Digest>()
            && !store.has_blob(&digest)
        {
            let mut writer = store.blob_writer_with(digest.algorithm())?;
            io::copy(&mut reader.body(), &mut writer).map_err(read)?;
            writer.finish(Some(&digest))?;
        }
    }
    Ok(index)
}

/// Writes images with everything they need as a layout directory.
///
/// # Errors
/// When the store lacks a blob or the disk fails.
pub fn write_layout(
    store: &Store,
    images: &[ArchiveImage],
    directory: &Path,
) -> Result<(), StoreError> {
    for digest in needed(store, images)? {
        let folder = directory.join("blobs").join(digest.algorithm().as_str());
        fs::create_dir_all(&folder).at("make", &folder)?;
        let target = folder.join(digest.hex());
        if target.is_file() {
            continue;
        }
        let source = store.blob_path(&digest);
        // On the same file system a second name is enough; blobs never change.
        if fs::hard_link(&source, &target).is_err() {
            let temp = folder.join(format!(".{}", digest.hex()));
            fs::copy(&source, &temp).at("copy a blob to", &temp)?;
            fs::rename(&temp, &target).at("move a blob to", &target)?;
        }
    }
    fs::create_dir_all(directory).at("make", directory)?;
    for (name, bytes) in [
        ("oci-layout", LAYOUT.to_vec()),
        ("index.json", json(&top_index(images))),
    ] {
        let temp = directory.join(format!(".{name}"));
        let target = directory.join(name);
        fs::write(&temp, bytes).at("write", &temp)?;
        fs::rename(&temp, &target).at("move a file to", &target)?;
    }
    Ok(())
}

/// Writes images as one tar that is an OCI layout and can be loaded by `docker load`.
///
/// # Errors
/// As [`write_layout`].
pub fn write_archive(
    store: &Store,
    images: &[ArchiveImage],
    mut out: impl Write,
) -> Result<(), StoreError> {
    let mut blobs: BTreeMap<(&str, String), Digest> = BTreeMap::new();
    for digest in needed(store, images)? {
        blobs.insert(
            (digest.algorithm().as_str(), digest.hex().to_owned()),
            digest,
        );
    }
    let mut archive = Archive { out: &mut out };
    archive.directory("blobs")?;
    for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
        if blobs.keys().any(|(name, _)| *name == algorithm.as_str()) {
            archive.directory(&format!("blobs/{}", algorithm.as_str()))?;
        }
    }
    for ((algorithm, hex), digest) in &blobs {
        let size = store.blob_size(digest)?;
        let file = BufReader::with_capacity(256 * 1024, store.open_blob(digest)?);
        archive.file(&format!("blobs/{algorithm}/{hex}"), size, file)?;
    }
    let index = json(&top_index(images));
    let loadable = json(&loadable(store, images)?);
    for (name, bytes) in [
        ("index.json", index.as_slice()),
        ("manifest.json", &loadable),
        ("oci-layout", LAYOUT),
    ] {
        archive.file(name, bytes.len() as u64, bytes)?;
    }
    archive.bytes(&[0; 2 * BLOCK])?;
    out.flush().map_err(writing)
}

/// One image of `manifest.json`, which classic Docker engines load from.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Loadable {
    config: String,
    repo_tags: Vec<String>,
    layers: Vec<String>,
}

fn loadable(store: &Store, images: &[ArchiveImage]) -> Result<Vec<Loadable>, StoreError> {
    let mut list = Vec::new();
    for image in images {
        let Some(manifest) = first_image(store, &image.descriptor)? else {
            continue;
        };
        let path =
            |descriptor: &Descriptor| format!("blobs/{}", descriptor.digest.replacen(':', "/", 1));
        list.push(Loadable {
            config: path(&manifest.config),
            // Docker knows its own images by their short names.
            repo_tags: image.names.iter().map(|name| familiar(name)).collect(),
            layers: manifest.layers.iter().map(path).collect(),
        });
    }
    Ok(list)
}

/// The manifest itself or the first image of an index; artifacts and attestations are none.
fn first_image(store: &Store, descriptor: &Descriptor) -> Result<Option<Manifest>, StoreError> {
    let mut stack = vec![descriptor.clone()];
    let mut seen = BTreeSet::new();
    while let Some(descriptor) = stack.pop() {
        if !seen.insert(descriptor.digest.clone()) {
            continue;
        }
        let digest = digest_of(&descriptor)?;
        let bytes = document(store, &digest)?;
        if media::is_index(&descriptor.media_type) {
            let index: Index = parse(&bytes, store, &digest)?;
            stack.extend(index.manifests.into_iter().rev());
            continue;
        }
        let manifest: Manifest = parse(&bytes, store, &digest)?;
        let is_image = matches!(
            manifest.config.media_type.as_str(),
            media::CONFIG | media::DOCKER_CONFIG
        );
        if is_image && !is_attestation(&descriptor) {
            return Ok(Some(manifest));
        }
    }
    Ok(None)
}

fn familiar(name: &str) -> String {
    let short = name.strip_prefix("docker.io/").unwrap_or(name);
    short.strip_prefix("library/").unwrap_or(short).to_owned()
}

fn top_index(images: &[ArchiveImage]) -> Index {
    let mut manifests = Vec::new();
    for image in images {
        if image.names.is_empty() {
            manifests.push(image.descriptor.clone());
        }
        for name in &image.names {
            let tag = name
                .parse::<Reference>()
                .ok()
                .and_then(|reference| reference.tag)
                .map_or_else(|| name.clone(), |tag| tag.to_string());
            let mut descriptor = image.descriptor.clone();
            let annotations = descriptor.annotations.get_or_insert_default();
            annotations.insert(REF_NAME.to_owned(), tag);
            annotations.insert(FULL_NAME.to_owned(), name.clone());
            manifests.push(descriptor);
        }
    }
    Index {
        schema_version: 2,
        media_type: Some(media::INDEX.to_owned()),
        artifact_type: None,
        manifests,
        subject: None,
        annotations: None,
    }
}

/// Every blob the images lead to, without repetition.
fn needed(store: &Store, images: &[ArchiveImage]) -> Result<Vec<Digest>, StoreError> {
    let mut seen = BTreeSet::new();
    let mut found = Vec::new();
    for image in images {
        visit(&image.descriptor, &mut seen, &mut |digest, is_document| {
            store.blob_size(digest)?;
            found.push(digest.clone());
            if is_document {
                document(store, digest).map(Some)
            } else {
                Ok(None)
            }
        })?;
    }
    Ok(found)
}

/// Gets a blob; the bytes of it when it is a document, as the second argument says.
type Fetch<'a> = dyn FnMut(&Digest, bool) -> Result<Option<Vec<u8>>, StoreError> + 'a;

/// Calls `fetch` once for every blob below a descriptor; for documents it gives the bytes back.
/// Indexes may be nested to any depth, so this keeps its own stack.
fn visit(
    descriptor: &Descriptor,
    seen: &mut BTreeSet<String>,
    fetch: &mut Fetch<'_>,
) -> Result<(), StoreError> {
    let mut stack = vec![descriptor.clone()];
    while let Some(descriptor) = stack.pop() {
        if !seen.insert(descriptor.digest.clone()) {
            continue;
        }
        let digest = digest_of(&descriptor)?;
        let is_index = media::is_index(&descriptor.media_type);
        let is_manifest = media::is_manifest(&descriptor.media_type);
        let Some(bytes) = fetch(&digest, is_index || is_manifest)? else {
            continue;
        };
        let damaged = |error: serde_json::Error| StoreError::Damaged {
            path: digest.to_string().into(),
            reason: error.to_string(),
        };
        let children = if is_index {
            let index: Index = serde_json::from_slice(&bytes).map_err(damaged)?;
            index.manifests
        } else {
            let manifest: Manifest = serde_json::from_slice(&bytes).map_err(damaged)?;
            let mut children = vec![manifest.config];
            children.extend(manifest.layers);
            children
        };
        stack.extend(children.into_iter().rev());
    }
    Ok(())
}

fn document(store: &Store, digest: &Digest) -> Result<Vec<u8>, StoreError> {
    if store.blob_size(digest)? > MAX_DOCUMENT {
        return Err(StoreError::Damaged {
            path: store.blob_path(digest),
            reason: "a manifest has at most 16 MiB".to_owned(),
        });
    }
    store.read_blob(digest)
}

fn digest_of(descriptor: &Descriptor) -> Result<Digest, StoreError> {
    descriptor
        .digest
        .parse()
        .map_err(|error| StoreError::Damaged {
            path: (&descriptor.digest).into(),
            reason: format!("a descriptor has no proper digest: {error}"),
        })
}

fn parse<T: serde::de::DeserializeOwned>(
    bytes: &[u8],
    store: &Store,
    digest: &Digest,
) -> Result<T, StoreError> {
    serde_json::from_slice(bytes).map_err(|error| StoreError::Damaged {
        path: store.blob_path(digest),
        reason: error.to_string(),
    })
}

fn parse_index(bytes: &[u8], path: &Path) -> Result<Index, StoreError> {
    serde_json::from_slice(bytes).map_err(|error| StoreError::NotALayout {
        path: path.to_owned(),
        reason: format!("its index.json cannot be read: {error}"),
    })
}

fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("the documents are plain JSON")
}

fn writing(source: io::Error) -> StoreError {
    StoreError::Write {
        what: "archive",
        source,
    }
}

struct Archive<'a> {
    out: &'a mut dyn Write,
}

impl Archive<'_> {
    fn directory(&mut self, name: &str) -> Result<(), StoreError> {
        self.header(name, TarKind::Dir, 0o755, 0)
    }

    fn file(&mut self, name: &str, size: u64, mut body: impl Read) -> Result<(), StoreError> {
        self.header(name, TarKind::File, 0o644, size)?;
        let copied = io::copy(&mut body, &mut self.out).map_err(writing)?;
        if copied != size {
            return Err(writing(io::ErrorKind::UnexpectedEof.into()));
        }
        let padding = (size.wrapping_neg() % BLOCK as u64) as usize;
        self.bytes(&[0; BLOCK][..padding])
    }

    fn header(
        &mut self,
        name: &str,
        kind: TarKind,
        mode: u32,
        size: u64,
    ) -> Result<(), StoreError> {
        let mut header = Vec::with_capacity(BLOCK);
        let entry = TarHeader {
            path: name.as_bytes(),
            kind,
            mode,
            uid: 0,
            gid: 0,
            size,
            mtime: 0,
            link: b"",
            device: (0, 0),
            xattrs: &Xattrs::new(),
        };
        write_header(&mut header, &entry)
            .expect("the names in a layout are short and have no attributes");
        self.bytes(&header)
    }

    fn bytes(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.out.write_all(bytes).map_err(writing)
    }
}

/// Whether a path is a layout directory.
#[must_use]
pub fn is_layout(directory: &Path) -> bool {
    File::open(directory.join("oci-layout")).is_ok() && directory.join("index.json").is_file()
}
