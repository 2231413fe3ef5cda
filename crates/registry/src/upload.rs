//! One upload at a registry (distribution-spec, "Pushing blobs"): sent in one request, gone on with
//! where it broke off, or in chunks where a request may not be longer.
//!
//! How far the registry is, only the registry knows. So after every break it is asked, and an
//! answer that cannot be true (more than was sent) ends the upload: a new one is begun.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, LOCATION, RANGE};
use http::{HeaderValue, Method, StatusCode};
use launchway_model::Repository;
use reqwest::Url;

use crate::answer::Failure;
use crate::auth::{Access, Actions};
use crate::body::{Broken, OnProgress, Payload};
use crate::core::Core;
use crate::endpoint::{authority, same_server};
use crate::range::received;
use crate::source::BlobReadError;
use crate::transport::{Answer, Request};
use crate::{BlobSource, ClientEvent, Direction, ErrorClass};

/// How often progress is told, in bytes.
const TELL: u64 = 1024 * 1024;
/// The first length of a chunk that is tried when a whole blob is too long.
const CHUNK: u64 = 64 * 1024 * 1024;
/// A registry that finds less than this too long takes nothing.
const SHORTEST_CHUNK: u64 = 64 * 1024;
/// How often in one try the registry may correct where we are.
const CORRECTIONS: u32 = 3;
/// The header by which a registry asks for chunks of a length (distribution-spec 1.1).
const CHUNK_MIN_LENGTH: &str = "oci-chunk-min-length";

/// Why a try to send came to nothing.
#[derive(Debug)]
pub(crate) enum Unsent {
    Failed(Failure),
    /// The source of the blob gave up, not the registry.
    Broken(BlobReadError),
}

impl From<Failure> for Unsent {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// An upload that was begun.
pub(crate) struct Upload<'a> {
    core: &'a Core,
    repository: &'a Repository,
    blob: &'a BlobSource,
    /// Where it goes on; changes with every answer.
    location: Url,
    /// The shortest chunk, when there have to be chunks.
    shortest: u64,
    /// How much the registry has, as far as it said.
    at: u64,
    /// The most that was ever handed to the network.
    handed: Arc<AtomicU64>,
    progress: OnProgress,
    /// Whether it went on after a break. Then a refusal may be due to that alone.
    is_resumed: bool,
    /// Whether the registry could not even be asked how far it is.
    is_mute: bool,
    /// Nothing can be done with it any more.
    is_over: bool,
}

impl<'a> Upload<'a> {
    /// Takes up what a registry began.
    pub(crate) async fn begun(
        core: &'a Core,
        repository: &'a Repository,
        blob: &'a BlobSource,
        answer: Answer,
    ) -> Result<Self, Failure> {
        let location = location(core, &answer)?
            .ok_or_else(|| Failure::permanent("the registry names no place for the upload"))?;
        let shortest = answer
            .text(CHUNK_MIN_LENGTH)
            .and_then(|length| length.trim().parse().ok())
            .unwrap_or(0);
        answer.drain().await;
        let handed = Arc::new(AtomicU64::new(0));
        Ok(Self {
            core,
            repository,
            blob,
            location,
            shortest,
            at: 0,
            progress: progress_of(core, repository, blob, &handed),
            handed,
            is_resumed: false,
            is_mute: false,
            is_over: false,
        })
    }

    /// How much the registry has, as far as it said.
    pub(crate) fn stored(&self) -> u64 {
        self.at
    }

    /// Whether the registry would not go on with it after a break. Some say how far they are and
    /// then refuse the rest.
    pub(crate) fn refused_to_resume(&self) -> bool {
        self.is_over && self.is_resumed
    }

    /// Whether all of it was sent, so that only the answer may be missing.
    pub(crate) fn may_be_complete(&self) -> bool {
        self.handed.load(Ordering::Relaxed) >= self.blob.size
    }

    /// Asks the registry how far it is. False when the upload cannot go on, because the registry
    /// forgot it, cannot tell, or tells what cannot be.
    pub(crate) async fn find_out(&mut self) -> Result<bool, Failure> {
        if self.is_over {
            return Ok(false);
        }
        let request = Request::new(Method::GET, self.location.clone());
        let answer = match self.core.ask(&self.access(), &request).await {
            Ok(answer) => answer,
            Err(failure) if failure.class.is_retryable() && !self.is_mute => {
                self.is_mute = true;
                return Err(failure);
            }
            Err(_) => return Ok(false),
        };
        self.is_mute = false;
        let has = answer.text(RANGE.as_str()).and_then(received);
        if let Some(location) = location(self.core, &answer)? {
            self.location = location;
        }
        answer.drain().await;
        let possible = self.handed.load(Ordering::Relaxed).min(self.blob.size);
        match has.filter(|has| *has <= possible) {
            Some(has) => {
                self.at = has;
                self.is_resumed = true;
                Ok(true)
            }
            None => Ok(false),
        }
    }

    /// Sends what is missing and completes the upload.
    pub(crate) async fn send(&mut self) -> Result<(), Unsent> {
        let mut corrections = 0;
        loop {
            let left = self.blob.size - self.at;
            let length = match self.core.knowledge.longest_body(self.repository.host()) {
                Some(longest) if left > longest.max(self.shortest) => longest.max(self.shortest),
                _ => left,
            };
            let is_last = length == left;
            let failure = match self.send_part(length, is_last).await {
                Ok(answer) if is_last && answer.status() == StatusCode::CREATED => {
                    answer.drain().await;
                    return Ok(());
                }
                // The next try asks whether the blob is there.
                Ok(answer) if is_last => {
                    return Err(self.begin_anew(
                        Failure::transient("nothing says that the blob was stored")
                            .with_status(answer.status().as_u16()),
                    ));
                }
                Ok(answer) => {
                    self.take_in(answer, length).await?;
                    continue;
                }
                Err(Unsent::Broken(error)) => return Err(Unsent::Broken(error)),
                Err(Unsent::Failed(failure)) => failure,
            };
            match failure.status {
                Some(413) if length > SHORTEST_CHUNK.max(self.shortest) => {
                    let shorter = (length / 2).min(CHUNK);
                    let shorter = shorter.max(SHORTEST_CHUNK).max(self.shortest);
                    self.core
                        .knowledge
                        .remember_longest_body(self.repository.host(), shorter);
                }
                // Not where the registry is: it tells where that is.
                Some(416) if corrections < CORRECTIONS => {
                    corrections += 1;
                    if !self.find_out().await? {
                        return Err(self.begin_anew(failure));
                    }
                }
                // The registry forgot the upload it had begun; a new one can be.
                Some(404 | 416) => return Err(self.begin_anew(failure)),
                _ if failure.class == ErrorClass::Permanent && self.is_resumed => {
                    return Err(self.begin_anew(failure));
                }
                _ => return Err(failure.into()),
            }
        }
    }

    /// Another try may work, with another upload.
    fn begin_anew(&mut self, failure: Failure) -> Unsent {
        self.is_over = true;
        Unsent::Failed(Failure {
            class: ErrorClass::Transient,
            ..failure
        })
    }

    /// Sends one part: a chunk, or what completes the upload.
    async fn send_part(&self, length: u64, is_last: bool) -> Result<Answer, Unsent> {
        let mut location = self.location.clone();
        let method = if is_last {
            let digest = self.blob.digest.to_string();
            location.query_pairs_mut().append_pair("digest", &digest);
            Method::PUT
        } else {
            Method::PATCH
        };
        let broken = Broken::default();
        let payload = match length {
            0 => {
                (self.progress)(self.at);
                Payload::Bytes(Bytes::new())
            }
            size => Payload::Blob {
                body: self.blob.body.clone(),
                from: self.at,
                size,
                progress: Arc::clone(&self.progress),
                broken: Arc::clone(&broken),
            },
        };
        let mut request = Request::new(method, location)
            .header(
                CONTENT_TYPE,
                HeaderValue::from_static("application/octet-stream"),
            )
            .header(CONTENT_LENGTH, HeaderValue::from(length))
            .payload(payload);
        if length > 0 && (self.at > 0 || !is_last) {
            let range = format!("{}-{}", self.at, self.at + length - 1);
            let range = HeaderValue::from_str(&range).expect("numbers make a header value");
            request = request.header(CONTENT_RANGE, range);
        }
        let result = self.core.ask(&self.access(), &request).await;
        let reason = broken
            .lock()
            .expect("no holder of the reason panics")
            .take();
        match (result, reason) {
            (Ok(answer), _) => Ok(answer),
            (Err(_), Some(error)) => Err(Unsent::Broken(error)),
            (Err(failure), None) => Err(Unsent::Failed(failure)),
        }
    }

    /// Reads what a registry says to a chunk: where it goes on, and how much it took.
    async fn take_in(&mut self, answer: Answer, length: u64) -> Result<(), Unsent> {
        let sent = self.at + length;
        let has = match answer.text(RANGE.as_str()) {
            Some(range) => received(range),
            None => Some(sent),
        };
        if let Some(location) = location(self.core, &answer)? {
            self.location = location;
        }
        answer.drain().await;
        match has.filter(|has| (self.at + 1..=sent).contains(has)) {
            Some(has) => {
                self.at = has;
                Ok(())
            }
            None => Err(self.begin_anew(Failure::transient(
                "the registry took another part than the one that was sent",
            ))),
        }
    }

    /// Tells the registry that nothing more comes. It would find out by itself, so nothing depends
    /// on the answer.
    pub(crate) async fn cancel(self) {
        let ours = self.core.url(self.repository, "");
        if self.is_over || !ours.is_ok_and(|ours| same_server(&ours, &self.location)) {
            return;
        }
        let request = Request::new(Method::DELETE, self.location.clone());
        if let Ok(answer) = self.core.ask(&self.access(), &request).await {
            answer.drain().await;
        }
    }

    fn access(&self) -> Access {
        Access::to(self.repository, Actions::Push)
    }
}

/// Where an upload goes on: the answer's Location, absolute or not, with its query.
fn location(core: &Core, answer: &Answer) -> Result<Option<Url>, Failure> {
    let Some(location) = answer.text(LOCATION.as_str()) else {
        return Ok(None);
    };
    let mut location = answer.url.join(location).map_err(|_| {
        Failure::permanent("the registry names a place for the upload that is no address")
    })?;
    // A registry behind a proxy that ends TLS may not know that it is reached by TLS.
    if location.scheme() == "http"
        && answer.url.scheme() == "https"
        && authority(&location) == authority(&answer.url)
    {
        let upgraded = location.set_scheme("https");
        debug_assert!(upgraded.is_ok(), "http can become https");
    }
    core.transport
        .endpoints
        .check_sent_to(&answer.url, &location)?;
    Ok(Some(location))
}

fn progress_of(
    core: &Core,
    repository: &Repository,
    blob: &BlobSource,
    handed: &Arc<AtomicU64>,
) -> OnProgress {
    let emit = Arc::clone(&core.transport.emit);
    let (repository, digest, total) = (repository.clone(), blob.digest.clone(), blob.size);
    let told = AtomicU64::new(0);
    let handed = Arc::clone(handed);
    Arc::new(move |done| {
        handed.fetch_max(done, Ordering::Relaxed);
        let last = told.load(Ordering::Relaxed);
        // Going back means that a part is being sent again.
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
