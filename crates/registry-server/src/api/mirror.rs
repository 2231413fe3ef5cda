//! A mirror: what is asked for and not here is fetched, and kept.
//!
//! What a digest names is fetched once. A tag is looked up each time, and when nobody can tell what
//! it stands for now, it stands for what it did before.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use futures_util::stream::{self, StreamExt as _};
use http::StatusCode;
use http::header::{HeaderValue, WARNING};
use launchway_model::{Digest, Tag};
use tokio::sync::watch;

use super::{Inner, blocking};
use crate::Event;
use crate::body::{Body, read_piece};
use crate::document::Document;
use crate::error::{ApiError, Code};
use crate::route::{ManifestReference, RepositoryName};
use crate::store::{
    ContentRule, Hasher, PutManifest, PutManifestError, Repository, UploadFile, random_id,
};
use crate::upstream::{Upstream, UpstreamBlob, UpstreamError};

/// Bytes that are handed to the disk at once. Clients see nothing before it is written, so this is
/// small.
const BATCH: usize = 128 << 10;
/// Bytes that are read from the file at once.
const PIECE: u64 = 512 << 10;

/// A mirror's upstream and what is being fetched from it.
pub(crate) struct Mirror {
    pub(crate) upstream: Arc<dyn Upstream>,
    transfers: Mutex<HashMap<Key, Arc<Slot>>>,
}

type Key = (RepositoryName, Digest);
/// Held while a transfer is looked for or begun.
type Slot = tokio::sync::Mutex<Option<Transfer>>;

/// A blob on its way here.
#[derive(Clone)]
pub(super) struct Transfer {
    pub(super) size: u64,
    file: Arc<File>,
    state: watch::Receiver<State>,
}

#[derive(Clone, Debug)]
struct State {
    written: u64,
    /// How it ended: whole and verified, or not.
    end: Option<Result<(), String>>,
}

/// Whether an answer is what the upstream says now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Freshness {
    Fresh,
    /// The upstream could not be asked.
    Stale,
}

impl Freshness {
    /// What a client is told of it (RFC 7234, section 5.5).
    pub(super) fn header(self) -> Option<(http::HeaderName, HeaderValue)> {
        match self {
            Self::Fresh => None,
            Self::Stale => {
                let text = HeaderValue::from_static("110 - \"Response is Stale\"");
                Some((WARNING, text))
            }
        }
    }
}

impl Mirror {
    pub(super) fn new(upstream: Arc<dyn Upstream>) -> Self {
        Self {
            upstream,
            transfers: Mutex::default(),
        }
    }

    /// A client of several mirrors says which registry it means; it may mean another one.
    pub(super) fn check_namespace(&self, namespace: Option<&str>) -> Result<(), ApiError> {
        match namespace {
            Some(other) if !self.upstream.is_called(other) => Err(ApiError::new(
                Code::NameUnknown,
                format!(
                    "this is a mirror of {}, not of {other}",
                    self.upstream.name()
                ),
            )),
            _ => Ok(()),
        }
    }

    pub(super) fn refusal(&self) -> ApiError {
        let message = format!(
            "this is a mirror of {}, and takes nothing in",
            self.upstream.name()
        );
        ApiError::new(Code::Unsupported, message)
    }

    fn transfers(&self) -> MutexGuard<'_, HashMap<Key, Arc<Slot>>> {
        self.transfers
            .lock()
            .expect("nothing panics while it holds the transfers")
    }

    fn failed(&self, error: &UpstreamError) -> ApiError {
        let message = format!(
            "{} does not answer as it should: {error}",
            self.upstream.name()
        );
        ApiError::new(Code::Unknown, message).status(StatusCode::BAD_GATEWAY)
    }
}

/// Says that something older is served, and why.
pub(super) fn tell_stale(inner: &Inner, mirror: &Mirror, what: &str, error: &UpstreamError) {
    inner.tell(|| Event::Warned {
        reason: format!(
            "{what} is served as it was: {} does not answer as it should: {error}",
            mirror.upstream.name()
        ),
    });
}

/// Makes what is here of a manifest the same as upstream. Afterwards it is answered from here.
pub(super) async fn refresh(
    inner: &Arc<Inner>,
    mirror: &Mirror,
    name: &RepositoryName,
    wanted: &ManifestReference,
) -> Result<Freshness, ApiError> {
    let unknown = || {
        let message = format!("{} has no such manifest in {name}", mirror.upstream.name());
        ApiError::new(Code::ManifestUnknown, message)
    };
    let (tag, digest) = match wanted {
        ManifestReference::Digest(digest) => (None, digest.clone()),
        ManifestReference::Tag(tag) => match mirror.upstream.resolve(name.as_str(), tag).await {
            Ok(Some(digest)) => (Some(tag.clone()), digest),
            Ok(None) => return Err(unknown()),
            Err(error) => {
                if known(inner, name, wanted).await?.is_some() {
                    tell_stale(inner, mirror, &format!("{name}:{tag}"), &error);
                    return Ok(Freshness::Stale);
                }
                return Err(mirror.failed(&error));
            }
        },
    };
    if known(inner, name, wanted).await?.as_ref() == Some(&digest) {
        return Ok(Freshness::Fresh);
    }
    let (media_type, bytes) = match local_manifest(inner, name, &digest).await? {
        Some(here) => here,
        None => {
            // Two who fetch the same manifest at once do no harm; it is small.
            let fetched = mirror.upstream.manifest(name.as_str(), &digest).await;
            let fetched = fetched
                .map_err(|error| mirror.failed(&error))?
                .ok_or_else(unknown)?;
            (fetched.media_type, fetched.bytes)
        }
    };
    keep_manifest(inner, mirror, name, &digest, media_type, bytes, tag).await?;
    Ok(Freshness::Fresh)
}

/// The digest behind a reference, by what is here.
async fn known(
    inner: &Arc<Inner>,
    name: &RepositoryName,
    wanted: &ManifestReference,
) -> Result<Option<Digest>, ApiError> {
    let (name, wanted) = (name.clone(), wanted.clone());
    let found = inner.blocking(move |inner| {
        let Some(repository) = inner.store.repository(&name)? else {
            return Ok(None);
        };
        let snapshot = repository.snapshot()?;
        Ok(match &wanted {
            ManifestReference::Tag(tag) => snapshot.tags.get(tag.as_str()).cloned(),
            ManifestReference::Digest(digest) => snapshot
                .manifests
                .get(digest)
                .map(|info| info.digest.clone()),
        })
    });
    super::stored(found.await)
}

async fn local_manifest(
    inner: &Arc<Inner>,
    name: &RepositoryName,
    digest: &Digest,
) -> Result<Option<(String, Bytes)>, ApiError> {
    let (name, digest) = (name.clone(), digest.clone());
    let found = inner.blocking(move |inner| {
        let Some(repository) = inner.store.repository(&name)? else {
            return Ok(None);
        };
        let Some(info) = repository.snapshot()?.manifests.get(&digest).cloned() else {
            return Ok(None);
        };
        let bytes = repository.read_blob(&digest, crate::MANIFEST_LIMIT)?;
        Ok(bytes.map(|bytes| (info.media_type.clone(), bytes)))
    });
    super::stored(found.await)
}

async fn keep_manifest(
    inner: &Arc<Inner>,
    mirror: &Mirror,
    name: &RepositoryName,
    digest: &Digest,
    media_type: String,
    bytes: Bytes,
    tag: Option<Tag>,
) -> Result<(), ApiError> {
    let wrong = |message: String| mirror.failed(&UpstreamError(message));
    let found = Hasher::of(digest.algorithm(), &bytes);
    if found != *digest {
        return Err(wrong(format!("{digest} was asked for, {found} came")));
    }
    let document = Document::parse(&media_type, &bytes).map_err(wrong)?;
    let put = PutManifest {
        digest: found,
        media_type,
        bytes,
        document,
        tags: tag.into_iter().collect(),
        content: ContentRule::Later,
    };
    let name = name.clone();
    inner
        .blocking(move |inner| inner.store.create_repository(&name)?.put_manifest(put))
        .await
        .map_err(|error| match error {
            PutManifestError::Store(error) => error.into(),
            error @ PutManifestError::Missing(_) => ApiError::new(Code::Unknown, error.to_string()),
        })
}

/// Where a blob is to be had.
pub(super) enum Found {
    Here(File, u64),
    OnItsWay(Transfer),
    /// Only its size, for whoever asks for no more.
    Elsewhere(u64),
}

/// A blob that is not in the repository here.
pub(super) async fn fetch(
    inner: &Arc<Inner>,
    mirror: &Mirror,
    name: &RepositoryName,
    digest: &Digest,
) -> Result<Option<Found>, ApiError> {
    let key = (name.clone(), digest.clone());
    let slot = Arc::clone(mirror.transfers().entry(key.clone()).or_default());
    let mut running = slot.lock().await;
    if let Some(transfer) = running.as_ref().filter(|transfer| transfer.is_good()) {
        return Ok(Some(Found::OnItsWay(transfer.clone())));
    }
    let begun = begin(inner, mirror, &key).await;
    match &begun {
        Ok(Some((Found::OnItsWay(transfer), _))) => *running = Some(transfer.clone()),
        _ => {
            mirror.transfers().remove(&key);
        }
    }
    let Some((found, work)) = begun? else {
        return Ok(None);
    };
    if let Some(work) = work {
        // It goes on when whoever asked for it has left: others may have joined, and somebody will
        // ask again.
        let inner = Arc::clone(inner);
        tokio::spawn(async move {
            work.run(&inner).await;
            if let Some(mirror) = &inner.mirror {
                mirror.transfers().remove(&key);
            }
        });
    }
    Ok(Some(found))
}

/// Whether upstream has a blob, without fetching it.
pub(super) async fn look(
    inner: &Arc<Inner>,
    mirror: &Mirror,
    name: &RepositoryName,
    digest: &Digest,
) -> Result<Option<Found>, ApiError> {
    let (asked, wanted) = (name.clone(), digest.clone());
    let size = inner.blocking(move |inner| match inner.store.repository(&asked)? {
        Some(repository) => Ok(repository.snapshot()?.size_of(&wanted)),
        None => Ok(None),
    });
    let size = super::stored(size.await)?;
    let blob = mirror.upstream.blob(name.as_str(), digest, size).await;
    let blob = blob.map_err(|error| mirror.failed(&error))?;
    Ok(blob.map(|blob| Found::Elsewhere(blob.size)))
}

async fn begin(
    inner: &Arc<Inner>,
    mirror: &Mirror,
    (name, digest): &Key,
) -> Result<Option<(Found, Option<Work>)>, ApiError> {
    // Somebody may have fetched it since it was looked for.
    let (asked, wanted) = (name.clone(), digest.clone());
    let here = inner.blocking(move |inner| {
        let Some(repository) = inner.store.repository(&asked)? else {
            return Ok((None, None));
        };
        let size = repository.snapshot()?.size_of(&wanted);
        Ok((repository.open_blob(&wanted)?, size))
    });
    let (here, size) = super::stored(here.await)?;
    if let Some((file, size)) = here {
        return Ok(Some((Found::Here(file, size), None)));
    }
    let blob = mirror.upstream.blob(name.as_str(), digest, size).await;
    let Some(blob) = blob.map_err(|error| mirror.failed(&error))? else {
        return Ok(None);
    };
    let (asked, algorithm) = (name.clone(), digest.algorithm());
    let made = inner.blocking(move |inner| {
        let repository = inner.store.create_repository(&asked)?;
        let upload = UploadFile::create(inner.store.disk(), &random_id(), algorithm)?;
        let reading = upload.reader()?;
        Ok((repository, upload, reading))
    });
    let (repository, upload, reading) = super::stored(made.await)?;
    let (told, state) = watch::channel(State {
        written: 0,
        end: None,
    });
    let transfer = Transfer {
        size: blob.size,
        file: Arc::new(reading),
        state,
    };
    let work = Work {
        digest: digest.clone(),
        blob,
        repository,
        upload: Some(upload),
        told,
    };
    Ok(Some((Found::OnItsWay(transfer), Some(work))))
}

/// What carries a transfer out.
struct Work {
    digest: Digest,
    blob: UpstreamBlob,
    repository: Arc<Repository>,
    /// Away while a thread writes to it.
    upload: Option<UploadFile>,
    told: watch::Sender<State>,
}

impl Work {
    async fn run(mut self, inner: &Inner) {
        let outcome = match self.receive().await {
            Ok(()) => self.keep().await,
            Err(reason) => Err(reason),
        };
        if let Err(reason) = &outcome {
            inner.tell(|| Event::Warned {
                reason: format!("{} was not fetched: {reason}", self.digest),
            });
        }
        self.told.send_modify(|state| state.end = Some(outcome));
    }

    async fn receive(&mut self) -> Result<(), String> {
        let mut received = 0;
        loop {
            let mut batch = Vec::new();
            let mut size = 0;
            let mut over = false;
            while size < BATCH {
                match self.blob.pieces.next().await {
                    Some(Ok(piece)) => {
                        size += piece.len();
                        batch.push(piece);
                    }
                    Some(Err(error)) => return Err(error.to_string()),
                    None => {
                        over = true;
                        break;
                    }
                }
            }
            received += size as u64;
            if received > self.blob.size || (over && received < self.blob.size) {
                return Err(format!(
                    "{} bytes were to come, not {received}",
                    self.blob.size
                ));
            }
            self.append(batch).await?;
            self.told.send_modify(|state| state.written = received);
            if over {
                return Ok(());
            }
        }
    }

    async fn append(&mut self, batch: Vec<Bytes>) -> Result<(), String> {
        let Some(mut upload) = self.upload.take() else {
            return Err("the upload is gone".to_owned());
        };
        let (upload, result) = blocking(move || {
            let result = upload.append(&batch);
            (upload, result)
        })
        .await;
        self.upload = Some(upload);
        result.map_err(|error| format!("{error}: {}", error.source))
    }

    /// Puts what came in its place if it is what it was to be.
    async fn keep(&mut self) -> Result<(), String> {
        let Some(mut upload) = self.upload.take() else {
            return Err("the upload is gone".to_owned());
        };
        let repository = Arc::clone(&self.repository);
        let digest = self.digest.clone();
        blocking(move || {
            let size = upload.written();
            let failed = |error: crate::store::StoreError| format!("{error}: {}", error.source);
            let finished = upload.finish(digest.algorithm()).map_err(failed)?;
            let (found, temp) = finished.ok_or("the upload is gone")?;
            if found != digest {
                return Err(format!("{found} came in its place"));
            }
            repository.add_blob(&digest, temp, size).map_err(failed)
        })
        .await
    }
}

impl Transfer {
    fn is_good(&self) -> bool {
        !matches!(self.state.borrow().end, Some(Err(_)))
    }

    /// A part of the blob, as it comes. The last byte of all waits until the whole is verified, so
    /// that nobody ever completes the wrong content.
    pub(super) fn body(self, part: Range<u64>) -> Body {
        let length = part.end - part.start;
        let reading = stream::unfold(Some((self, part)), async |rest| {
            let (mut transfer, mut part) = rest?;
            if part.is_empty() {
                return None;
            }
            let piece = transfer.piece(&part).await;
            let rest = match &piece {
                Ok(piece) => {
                    part.start += piece.len() as u64;
                    Some((transfer, part))
                }
                Err(_) => None,
            };
            Some((piece, rest))
        });
        Body::stream(reading.boxed(), length)
    }

    async fn piece(&mut self, part: &Range<u64>) -> io::Result<Bytes> {
        let start = part.start;
        let size = self.size;
        let ready = |state: &State| match &state.end {
            Some(Ok(())) => size,
            Some(Err(_)) => u64::MAX,
            None => state.written.min(size.saturating_sub(1)),
        };
        let state = self
            .state
            .wait_for(|state| ready(state) > start)
            .await
            .map_err(|_| io::Error::other("the transfer was given up"))?
            .clone();
        if let Some(Err(reason)) = state.end {
            return Err(io::Error::other(reason));
        }
        let length = PIECE.min(ready(&state).min(part.end) - start);
        let file = Arc::clone(&self.file);
        blocking(move || read_piece(&file, start, length)).await
    }
}
