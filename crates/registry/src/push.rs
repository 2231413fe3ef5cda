//! Blobs on their way to a registry: not sent when they are there, mounted when a sibling
//! repository has them, else sent in one stream.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::FutureExt as _;
use futures_util::future::Shared;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, LOCATION};
use http::{HeaderValue, Method, StatusCode};
use launchway_model::{Digest, Repository};
use reqwest::Url;

use crate::answer::Failure;
use crate::auth::{Access, Actions};
use crate::body::{Broken, OnProgress, Payload};
use crate::core::Core;
use crate::endpoint::authority;
use crate::manifests::CONTENT_DIGEST;
use crate::source::Verified;
use crate::transport::{Answer, Request};
use crate::{BlobBody, BlobSource, ClientEvent, Direction, ErrorClass, PushOutcome, RegistryError};

/// How often progress is told, in bytes.
const TELL: u64 = 1024 * 1024;

impl Core {
    pub(crate) async fn blob_exists(
        &self,
        repository: &Repository,
        digest: &Digest,
    ) -> Result<bool, RegistryError> {
        if self.known(repository, digest) == Some(true) {
            return Ok(true);
        }
        let mut tries = self.tries(&Method::HEAD, repository, &format!("blobs/{digest}"));
        loop {
            tries.start().await?;
            match self.head_blob(repository, digest).await {
                Ok(present) => return Ok(present),
                Err(failure) => tries.again(failure).await?,
            }
        }
    }

    /// One try to ask for a blob; the answer is remembered.
    async fn head_blob(&self, repository: &Repository, digest: &Digest) -> Result<bool, Failure> {
        let url = self.url(repository, &format!("blobs/{digest}"))?;
        let request = Request::new(Method::HEAD, url);
        let result = self
            .ask(&Access::to(repository, Actions::Pull), &request)
            .await;
        let present = match result {
            Ok(_) => true,
            Err(failure) if failure.class == ErrorClass::Missing => false,
            Err(failure) => return Err(failure),
        };
        self.remember(repository, digest, present);
        Ok(present)
    }

    pub(crate) async fn push_blob(
        self: Arc<Self>,
        repository: &Repository,
        blob: &BlobSource,
        mount_from: &[Repository],
    ) -> Result<PushOutcome, RegistryError> {
        let key = (repository.clone(), blob.digest.clone());
        let flight = {
            let mut uploads = self
                .uploads
                .lock()
                .expect("no holder of the uploads panics");
            let running = uploads.get(&key).and_then(|upload| upload.upgrade());
            match running.filter(|flight| flight.peek().is_none()) {
                Some(flight) => flight,
                None => {
                    let source = self.mount_source(repository, &blob.digest, mount_from);
                    let flight = Arc::clone(&self)
                        .upload(repository.clone(), blob.clone(), source)
                        .boxed()
                        .shared();
                    uploads.retain(|_, upload| upload.upgrade().is_some());
                    if let Some(weak) = Shared::downgrade(&flight) {
                        uploads.insert(key, weak);
                    }
                    flight
                }
            }
        };
        flight.await
    }

    /// The repository to mount from: one that is known to have the blob, else the first that is
    /// not known to lack it. Mounting works within one registry only.
    fn mount_source(
        &self,
        repository: &Repository,
        digest: &Digest,
        mount_from: &[Repository],
    ) -> Option<Repository> {
        let mut perhaps = None;
        for source in mount_from {
            if source.host() != repository.host() || source == repository {
                continue;
            }
            match self.known(source, digest) {
                Some(true) => return Some(source.clone()),
                None => perhaps = perhaps.or(Some(source)),
                Some(false) => {}
            }
        }
        perhaps.cloned()
    }

    async fn upload(
        self: Arc<Self>,
        repository: Repository,
        blob: BlobSource,
        mut source: Option<Repository>,
    ) -> Result<PushOutcome, RegistryError> {
        let known = self.known(&repository, &blob.digest);
        if known == Some(true) {
            return Ok(PushOutcome::AlreadyThere);
        }
        let what = format!("blobs/{}", blob.digest);
        let mut tries = self.tries(&Method::PUT, &repository, &what);
        check_size(&blob).map_err(|failure| tries.give_up(failure))?;
        let blob = checked(blob);
        // A lost answer may hide a finished upload, so the question comes again with every try.
        let mut ask_first = known.is_none();
        loop {
            tries.start().await?;
            let result = self
                .push_once(&repository, &blob, &mut source, ask_first)
                .await;
            match result {
                Ok(outcome) => {
                    self.remember(&repository, &blob.digest, true);
                    return Ok(outcome);
                }
                Err(failure) => tries.again(failure).await?,
            }
            ask_first = true;
        }
    }

    /// One try to bring a blob into a repository. A source that cannot be mounted from is not
    /// tried again.
    async fn push_once(
        &self,
        repository: &Repository,
        blob: &BlobSource,
        source: &mut Option<Repository>,
        ask_first: bool,
    ) -> Result<PushOutcome, Failure> {
        if ask_first && self.head_blob(repository, &blob.digest).await? {
            return Ok(PushOutcome::AlreadyThere);
        }
        let mut begun = None;
        if let Some(from) = source.take() {
            match self.begin(repository, Some((&from, &blob.digest))).await {
                Ok(answer) if answer.status() == StatusCode::CREATED => {
                    let told = answer.text(CONTENT_DIGEST).map(str::parse::<Digest>);
                    if let Some(Ok(told)) = told
                        && told.algorithm() == blob.digest.algorithm()
                        && told != blob.digest
                    {
                        return Err(Failure::permanent(format!(
                            "the registry mounted {told} instead of {}",
                            blob.digest
                        )));
                    }
                    answer.drain().await;
                    return Ok(PushOutcome::Mounted);
                }
                Ok(answer) => begun = Some(answer),
                Err(failure) if failure.class.is_retryable() => {
                    *source = Some(from);
                    return Err(failure);
                }
                // The source may not be ours to read; the blob can still be sent.
                Err(_) => {}
            }
        }
        let answer = match begun {
            Some(answer) => answer,
            None => self.begin(repository, None).await?,
        };
        let location = self.location(&answer)?;
        answer.drain().await;
        self.send(repository, blob, location).await?;
        Ok(PushOutcome::Uploaded)
    }

    /// Begins an upload, or asks for a mount.
    async fn begin(
        &self,
        repository: &Repository,
        mount: Option<(&Repository, &Digest)>,
    ) -> Result<Answer, Failure> {
        let mut url = self.url(repository, "blobs/uploads/")?;
        let mut access = Access::to(repository, Actions::Push);
        if let Some((from, digest)) = mount {
            url.query_pairs_mut()
                .append_pair("mount", &digest.to_string())
                .append_pair("from", from.path());
            access = access.and_pull(from);
        }
        // Some servers want to be told that there is no body.
        let request =
            Request::new(Method::POST, url).header(CONTENT_LENGTH, HeaderValue::from_static("0"));
        self.ask(&access, &request).await
    }

    /// Where an upload goes on: the answer's Location, absolute or not, with its query.
    fn location(&self, answer: &Answer) -> Result<Url, Failure> {
        let mut location = answer
            .text(LOCATION.as_str())
            .and_then(|location| answer.url.join(location).ok())
            .ok_or_else(|| Failure::permanent("the registry names no place for the upload"))?;
        // A registry behind a proxy that ends TLS may not know that it is reached by TLS.
        if location.scheme() == "http"
            && answer.url.scheme() == "https"
            && authority(&location) == authority(&answer.url)
        {
            let upgraded = location.set_scheme("https");
            debug_assert!(upgraded.is_ok(), "http can become https");
        }
        self.transport
            .endpoints
            .check_sent_to(&answer.url, &location)?;
        Ok(location)
    }

    /// Sends the blob in one stream.
    async fn send(
        &self,
        repository: &Repository,
        blob: &BlobSource,
        mut location: Url,
    ) -> Result<(), Failure> {
        location
            .query_pairs_mut()
            .append_pair("digest", &blob.digest.to_string());
        let broken = Broken::default();
        let payload = Payload::Blob {
            body: blob.body.clone(),
            from: 0,
            size: blob.size,
            progress: self.progress_of(repository, blob),
            broken: Arc::clone(&broken),
        };
        let request = Request::new(Method::PUT, location)
            .header(
                CONTENT_TYPE,
                HeaderValue::from_static("application/octet-stream"),
            )
            .header(CONTENT_LENGTH, HeaderValue::from(blob.size))
            .payload(payload);
        let access = Access::to(repository, Actions::Push);
        let answer = self.ask(&access, &request).await.map_err(|failure| {
            let broken = broken
                .lock()
                .expect("no holder of the reason panics")
                .take();
            if let Some(error) = broken {
                return Failure::permanent(error.to_string());
            }
            match failure.status {
                // The registry forgot the upload it had begun; a new one can be.
                Some(404) => Failure {
                    class: ErrorClass::Transient,
                    ..failure
                },
                _ => failure,
            }
        })?;
        answer.drain().await;
        Ok(())
    }

    fn progress_of(&self, repository: &Repository, blob: &BlobSource) -> OnProgress {
        let emit = Arc::clone(&self.transport.emit);
        let (repository, digest, total) = (repository.clone(), blob.digest.clone(), blob.size);
        let told = AtomicU64::new(0);
        Arc::new(move |done| {
            let last = told.load(Ordering::Relaxed);
            // Going back means that the body is being sent again.
            if done == total || done < last || done >= last + TELL {
                told.store(done, Ordering::Relaxed);
                emit(ClientEvent::BlobProgress {
                    repository: repository.clone(),
                    digest: digest.clone(),
                    direction: Direction::Push,
                    done: done.min(total),
                    total,
                });
            }
        })
    }
}

/// The same blob, its content checked before the upload is complete. What is here already is the
/// business of the registry, which has to check it as well.
fn checked(blob: BlobSource) -> BlobSource {
    match blob.body {
        BlobBody::Stream(reader) if !reader.is_verified() => BlobSource {
            body: BlobBody::Stream(Arc::new(Verified::new(
                reader,
                blob.digest.clone(),
                blob.size,
                Arc::default(),
            ))),
            ..blob
        },
        _ => blob,
    }
}

/// A body of another size than announced would break the request off in the middle.
fn check_size(blob: &BlobSource) -> Result<(), Failure> {
    let size = match &blob.body {
        BlobBody::Stream(_) => return Ok(()),
        BlobBody::Bytes(bytes) => bytes.len() as u64,
        BlobBody::File(path) => fs::metadata(path)
            .map_err(|error| {
                Failure::permanent(format!("cannot read {}: {error}", path.display()))
            })?
            .len(),
    };
    if size == blob.size {
        return Ok(());
    }
    Err(Failure::permanent(format!(
        "the blob has {size} bytes where {} were announced",
        blob.size
    )))
}
