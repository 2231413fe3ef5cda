//! One blob on its way here: from which of its sources, from where on, how often.
//!
//! A blob is named by its digest, so its bytes are the same everywhere and always: what breaks off
//! at one source goes on at another, and no validator (`If-Range`) is sent. Whether they really
//! were the same is judged by who takes the pieces, at the end.

use std::future::Future;

use bytes::Bytes;
use http::header::{CONTENT_RANGE, RANGE};
use http::{HeaderValue, Method, StatusCode};
use launchway_model::{Digest, Repository};

use crate::answer::Failure;
use crate::auth::{Access, Actions};
use crate::core::Core;
use crate::range::{ContentRange, content_range};
use crate::transport::{Answer, Request};
use crate::{ClientEvent, Direction, RegistryError};

/// A transfer that brought at least this much before it broke off has made progress, in bytes.
pub(crate) const PROGRESS: u64 = 1024 * 1024;
/// A server may give less than it is asked for, but not much less, or it would be asked for ever.
const CRUMB: u64 = 64 * 1024;
/// How often progress is told, in bytes.
const TELL: u64 = 1024 * 1024;

/// Takes the pieces of a blob in their order.
pub(crate) trait Sink: Send {
    fn take(&mut self, piece: Bytes) -> impl Future<Output = Result<(), Failure>> + Send;
}

/// Why a fetch did not come to its end.
pub(crate) enum Unfetched {
    /// More came than the blob has, from the source with this number.
    TooMuch(usize),
    Failed(RegistryError),
}

/// What went wrong with one try.
enum Stop {
    Source(Failure),
    /// The source is fine, but what it gives cannot be kept.
    Sink(Failure),
    TooMuch,
}

/// A blob that is being fetched.
pub(crate) struct Fetch<'a> {
    core: &'a Core,
    /// Under which name it is told of, whichever source it comes from.
    repository: &'a Repository,
    digest: &'a Digest,
    size: u64,
    /// How much was taken.
    at: u64,
    /// Whether the current source is still trusted to start in the middle.
    ranges: bool,
}

impl<'a> Fetch<'a> {
    pub(crate) fn new(
        core: &'a Core,
        repository: &'a Repository,
        digest: &'a Digest,
        size: u64,
        from: u64,
    ) -> Self {
        Self {
            core,
            repository,
            digest,
            size,
            at: from,
            ranges: true,
        }
    }

    /// Fetches what is left. The last source is tried as often as the policy allows, those before
    /// it (mirrors) once each. Gives the number of the source that gave the last byte.
    pub(crate) async fn run(
        &mut self,
        sources: &[Repository],
        sink: &mut impl Sink,
    ) -> Result<usize, Unfetched> {
        for (number, source) in sources.iter().enumerate() {
            let is_last = number + 1 == sources.len();
            let what = format!("blobs/{}", self.digest);
            let mut tries = self.core.tries(&Method::GET, source, &what);
            let trial = self.core.trial(source);
            self.ranges = true;
            loop {
                if let Err(error) = tries.start().await {
                    if is_last {
                        return Err(Unfetched::Failed(error));
                    }
                    break;
                }
                let before = self.at;
                match self.receive(source, sink).await {
                    Ok(()) if self.at == self.size => {
                        if !is_last {
                            trial.succeeded();
                        }
                        return Ok(number);
                    }
                    // A part that was given in full: the rest is asked for.
                    Ok(()) if self.at >= before + CRUMB => tries.progressed(),
                    Ok(()) if !is_last => break,
                    Ok(()) => {
                        self.ranges = false;
                        let failure = Failure::transient("the rest comes in crumbs");
                        tries.again(failure).await.map_err(Unfetched::Failed)?;
                    }
                    Err(Stop::TooMuch) => return Err(Unfetched::TooMuch(number)),
                    Err(Stop::Sink(failure)) => {
                        return Err(Unfetched::Failed(tries.give_up(failure)));
                    }
                    Err(Stop::Source(failure)) if !is_last => {
                        trial.failed(&failure);
                        break;
                    }
                    Err(Stop::Source(failure)) => {
                        if self.at >= before + PROGRESS {
                            tries.progressed();
                        }
                        tries.again(failure).await.map_err(Unfetched::Failed)?;
                    }
                }
            }
        }
        Err(Unfetched::Failed(
            self.core
                .tries(&Method::GET, self.repository, "blobs/")
                .give_up(Failure::permanent("there is no source to ask")),
        ))
    }

    /// One try: from where the last one stopped, as far as it goes.
    async fn receive(&mut self, source: &Repository, sink: &mut impl Sink) -> Result<(), Stop> {
        if self.at == self.size && self.at > 0 {
            return Ok(());
        }
        let from = if self.ranges { self.at } else { 0 };
        let mut answer = match self.core.get_blob(source, self.digest, from).await {
            Ok(answer) => answer,
            Err(failure) if failure.status == Some(416) && from > 0 => {
                self.ranges = false;
                return Err(Stop::Source(Failure::transient(
                    "the rest of the blob cannot be asked for",
                )));
            }
            Err(failure) => return Err(Stop::Source(failure)),
        };
        let part = self.part(&answer, from)?;
        let until = part.map_or(self.size, |part| part.last + 1);
        // A whole answer where a part was asked for: what is there already is passed over.
        let mut here = if part.is_some() { from } else { 0 };
        let mut told = self.at;
        self.tell();
        while let Some(mut piece) = answer.piece().await.map_err(Stop::Source)? {
            let start = here;
            here += piece.len() as u64;
            if here > self.size {
                return Err(Stop::TooMuch);
            }
            if here <= self.at {
                continue;
            }
            let fresh = piece.split_off((self.at - start) as usize);
            self.at = here;
            sink.take(fresh).await.map_err(Stop::Sink)?;
            if self.at >= told + TELL || self.at == self.size {
                told = self.at;
                self.tell();
            }
        }
        if here < until {
            return Err(Stop::Source(Failure::transient(format!(
                "only {} of {} bytes came",
                self.at, self.size
            ))));
        }
        Ok(())
    }

    /// Which part came; None for the whole.
    fn part(&mut self, answer: &Answer, from: u64) -> Result<Option<ContentRange>, Stop> {
        if answer.status() != StatusCode::PARTIAL_CONTENT {
            return Ok(None);
        }
        if from == 0 {
            return Err(Stop::Source(Failure::permanent(
                "a part came that was not asked for",
            )));
        }
        let named = answer.text(CONTENT_RANGE.as_str()).and_then(content_range);
        let fits = named.filter(|range| {
            range.first == from
                && range.last < self.size
                && range.size.is_none_or(|size| size == self.size)
        });
        if fits.is_none() {
            self.ranges = false;
            return Err(Stop::Source(Failure::transient(
                "another part came than the one asked for",
            )));
        }
        Ok(fits)
    }

    fn tell(&self) {
        self.core.emit(ClientEvent::BlobProgress {
            repository: self.repository.clone(),
            digest: self.digest.clone(),
            direction: Direction::Pull,
            done: self.at,
            total: self.size,
        });
    }
}

impl Core {
    /// Where a blob of a repository can be read: its mirrors, and at last the registry itself.
    pub(crate) fn sources_of(&self, repository: &Repository) -> Vec<Repository> {
        let mut sources = self.mirrors_of(repository);
        sources.push(repository.clone());
        sources
    }

    pub(crate) async fn get_blob(
        &self,
        repository: &Repository,
        digest: &Digest,
        from: u64,
    ) -> Result<Answer, Failure> {
        let url = self.url(repository, &format!("blobs/{digest}"))?;
        let mut request = Request::new(Method::GET, url);
        if from > 0 {
            let range = HeaderValue::from_str(&format!("bytes={from}-"))
                .expect("a number makes a header value");
            request = request.header(RANGE, range);
        }
        self.ask(&Access::to(repository, Actions::Pull), &request)
            .await
    }
}
