//! Blobs on their way to a registry: not sent when they are there, mounted when another repository
//! of the registry has them, else sent.

use std::fs;
use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::Shared;
use http::header::CONTENT_LENGTH;
use http::{HeaderValue, Method, StatusCode};
use launchway_model::{Digest, Repository};

use crate::answer::Failure;
use crate::auth::{Access, Actions};
use crate::core::Core;
use crate::fetch::PROGRESS;
use crate::manifests::CONTENT_DIGEST;
use crate::source::{BlobReadError, Verified};
use crate::transport::{Answer, Request};
use crate::upload::{Unsent, Upload};
use crate::{BlobBody, BlobSource, ErrorClass, PushOutcome, RegistryError};

/// From how many repositories a mount is tried.
const MOUNTS: usize = 3;

impl Core {
    pub(crate) async fn blob_exists(
        &self,
        repository: &Repository,
        digest: &Digest,
    ) -> Result<bool, RegistryError> {
        if self.knowledge.blob(repository, digest) == Some(true) {
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
            // Anything but this is no registry's answer. To send a blob that is there does no harm.
            Ok(answer) => answer.status() == StatusCode::OK && !answer.is_page(),
            Err(failure) if failure.class == ErrorClass::Missing => false,
            Err(failure) => return Err(failure),
        };
        self.knowledge.remember_blob(repository, digest, present);
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
                    let sources = self.mount_sources(repository, &blob.digest, mount_from);
                    let flight = Arc::clone(&self)
                        .push(repository.clone(), blob.clone(), sources)
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

    /// The repositories to mount from: those that have the blob or should have it come first, those
    /// known to lack it not at all. Mounting works within one registry only.
    fn mount_sources(
        &self,
        repository: &Repository,
        digest: &Digest,
        mount_from: &[Repository],
    ) -> Vec<MountSource> {
        let mut sources: Vec<MountSource> = mount_from
            .iter()
            .filter(|source| source.host() == repository.host() && *source != repository)
            .filter_map(|source| {
                let known = self.knowledge.blob(source, digest);
                let is_likely = known.unwrap_or_else(|| self.knowledge.is_named(source, digest));
                (known != Some(false)).then(|| MountSource {
                    repository: source.clone(),
                    is_likely,
                })
            })
            .collect();
        sources.sort_by_key(|source| !source.is_likely);
        sources.truncate(MOUNTS);
        sources
    }

    async fn push(
        self: Arc<Self>,
        repository: Repository,
        blob: BlobSource,
        sources: Vec<MountSource>,
    ) -> Result<PushOutcome, RegistryError> {
        let known = self.knowledge.blob(&repository, &blob.digest);
        if known == Some(true) {
            return Ok(PushOutcome::AlreadyThere);
        }
        let what = format!("blobs/{}", blob.digest);
        let mut tries = self.tries(&Method::PUT, &repository, &what);
        check_size(&blob).map_err(|failure| tries.give_up(failure))?;
        let blob = checked(blob);
        let mut push = Push {
            core: &self,
            repository: &repository,
            blob: &blob,
            sources,
            is_absent: known == Some(false),
            upload: None,
            may_resume: true,
        };
        let mut was_wrong = false;
        let mut was_begun = false;
        let mut reached = 0;
        loop {
            tries.start().await?;
            let result = push.once().await;
            // To begin and to send are two requests, and what the first one took is not held
            // against the second. Only once: beginning anew is no progress.
            if push.upload.is_some() && !was_begun {
                was_begun = true;
                tries.progressed();
            }
            let error = match result {
                Ok(outcome) => {
                    self.knowledge
                        .remember_blob(&repository, &blob.digest, true);
                    return Ok(outcome);
                }
                Err(error) => error,
            };
            match error {
                Unsent::Failed(failure) => {
                    let stored = push.upload.as_ref().map_or(0, Upload::stored);
                    if stored >= reached + PROGRESS {
                        tries.progressed();
                    }
                    reached = reached.max(stored);
                    if let Err(error) = tries.again(failure).await {
                        // The answer to the last try may have been lost, too.
                        if error.class.is_retryable() && push.was_stored().await {
                            return Ok(PushOutcome::Uploaded);
                        }
                        return Err(error);
                    }
                }
                Unsent::Broken(error) => {
                    push.cancel().await;
                    match error {
                        // Another source may have the right content, or the same at another time.
                        BlobReadError::WrongContent { .. } if !was_wrong => was_wrong = true,
                        BlobReadError::Registry(error) => return Err(error),
                        error => return Err(tries.give_up(Failure::permanent(error.to_string()))),
                    }
                }
            }
        }
    }
}

/// A repository that may have the blob.
#[derive(Debug)]
struct MountSource {
    repository: Repository,
    is_likely: bool,
}

/// One blob on its way into one repository, over any number of tries.
struct Push<'a> {
    core: &'a Core,
    repository: &'a Repository,
    blob: &'a BlobSource,
    /// Where a mount was not tried yet.
    sources: Vec<MountSource>,
    /// The repository said that it has no such blob.
    is_absent: bool,
    /// What was begun and may go on.
    upload: Option<Upload<'a>>,
    may_resume: bool,
}

impl Push<'_> {
    /// One try, from where the last one stopped.
    async fn once(&mut self) -> Result<PushOutcome, Unsent> {
        // A lost answer may hide a finished upload.
        if self.may_be_stored() && self.is_there().await? {
            return Ok(PushOutcome::Uploaded);
        }
        if let Some(upload) = &mut self.upload {
            self.may_resume &= !upload.refused_to_resume();
            if !self.may_resume || !upload.find_out().await? {
                self.upload = None;
            }
        }
        if self.upload.is_none() {
            // What another repository should have is mounted without asking first: when it works
            // that is all there is to say.
            let asks_first = self.sources.first().is_none_or(|source| !source.is_likely);
            if asks_first && !self.is_absent && self.is_there().await? {
                return Ok(PushOutcome::AlreadyThere);
            }
            if self.mount().await? {
                return Ok(PushOutcome::Mounted);
            }
            if !self.is_absent && self.is_there().await? {
                self.cancel().await;
                return Ok(PushOutcome::AlreadyThere);
            }
        }
        if self.upload.is_none() {
            let answer = self.begin(None).await?;
            self.upload = Some(Upload::begun(self.core, self.repository, self.blob, answer).await?);
        }
        if let Some(upload) = &mut self.upload {
            upload.send().await?;
        }
        Ok(PushOutcome::Uploaded)
    }

    /// Whether all of the blob was sent, so that the registry may have it.
    fn may_be_stored(&self) -> bool {
        self.upload.as_ref().is_some_and(Upload::may_be_complete)
    }

    /// Whether the registry has what was sent, although nothing came back.
    async fn was_stored(&mut self) -> bool {
        self.may_be_stored() && self.is_there().await.unwrap_or(false)
    }

    async fn is_there(&mut self) -> Result<bool, Failure> {
        let present = self
            .core
            .head_blob(self.repository, &self.blob.digest)
            .await?;
        self.is_absent = !present;
        Ok(present)
    }

    /// Tries to mount from one source after the other; a source that cannot be mounted from is not
    /// tried again. What a refusal begins is kept.
    async fn mount(&mut self) -> Result<bool, Failure> {
        while let Some(source) = self.sources.first() {
            let from = source.repository.clone();
            // Every refusal leaves an upload behind. When one guess was wrong, the others are
            // checked before.
            if !source.is_likely
                && self.upload.is_some()
                && !self
                    .core
                    .head_blob(&from, &self.blob.digest)
                    .await
                    .unwrap_or(false)
            {
                self.sources.remove(0);
                continue;
            }
            match self.begin(Some(&from)).await {
                Ok(answer) if answer.status() == StatusCode::CREATED => {
                    let told = answer.text(CONTENT_DIGEST).map(str::parse::<Digest>);
                    if let Some(Ok(told)) = told
                        && told.algorithm() == self.blob.digest.algorithm()
                        && told != self.blob.digest
                    {
                        return Err(Failure::permanent(format!(
                            "the registry mounted {told} instead of {}",
                            self.blob.digest
                        )));
                    }
                    answer.drain().await;
                    self.cancel().await;
                    return Ok(true);
                }
                Ok(answer) => {
                    self.cancel().await;
                    let upload = Upload::begun(self.core, self.repository, self.blob, answer);
                    self.upload = Some(upload.await?);
                }
                Err(failure) if failure.class.is_retryable() => return Err(failure),
                // The source may not be ours to read; the blob can still be sent.
                Err(_) => {}
            }
            self.sources.remove(0);
        }
        Ok(false)
    }

    /// Begins an upload, or asks for a mount.
    async fn begin(&self, mount: Option<&Repository>) -> Result<Answer, Failure> {
        let mut url = self.core.url(self.repository, "blobs/uploads/")?;
        let mut access = Access::to(self.repository, Actions::Push);
        if let Some(from) = mount {
            url.query_pairs_mut()
                .append_pair("mount", &self.blob.digest.to_string())
                .append_pair("from", from.path());
            access = access.and_pull(from);
        }
        // Some servers want to be told that there is no body.
        let request =
            Request::new(Method::POST, url).header(CONTENT_LENGTH, HeaderValue::from_static("0"));
        self.core.ask(&access, &request).await
    }

    /// Leaves what was begun, and says so.
    async fn cancel(&mut self) {
        if let Some(upload) = self.upload.take() {
            upload.cancel().await;
        }
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
