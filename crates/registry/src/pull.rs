//! Blobs on their way here: streamed to a file, hashed as they pass, taken up again where they
//! broke off.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::Shared;
use http::header::{CONTENT_RANGE, RANGE};
use http::{HeaderValue, Method, StatusCode};
use launchway_model::{Digest, Repository};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::answer::Failure;
use crate::auth::{Access, Actions};
use crate::core::{Core, Download};
use crate::retry::Tries;
use crate::transport::{Answer, Request};
use crate::verify::{Hasher, digest_of};
use crate::{ClientEvent, Direction, RegistryError};

/// How many pieces of a download wait between the network and the disk.
const AHEAD: usize = 16;
/// A transfer that brought at least this much before it broke off has made progress.
const PROGRESS: u64 = 1024 * 1024;
/// How often progress is told, in bytes.
const TELL: u64 = 1024 * 1024;

impl Core {
    pub(crate) async fn pull_blob(
        self: Arc<Self>,
        repository: &Repository,
        digest: &Digest,
        size: u64,
        to: &Path,
    ) -> Result<(), RegistryError> {
        let key = (repository.clone(), digest.clone());
        let flight = {
            let mut downloads = self
                .downloads
                .lock()
                .expect("no holder of the downloads panics");
            let running = downloads.get(&key).and_then(|download| {
                let flight = download.flight.upgrade()?;
                let mut wanted_at = download
                    .wanted_at
                    .lock()
                    .expect("no holder of the list panics");
                wanted_at.as_mut()?.push(to.to_owned());
                Some(flight)
            });
            match running {
                Some(flight) => flight,
                None => {
                    let wanted_at = Arc::new(Mutex::new(Some(vec![to.to_owned()])));
                    let flight = Arc::clone(&self)
                        .download(key.clone(), size, Arc::clone(&wanted_at))
                        .boxed()
                        .shared();
                    downloads.retain(|_, download| download.flight.upgrade().is_some());
                    if let Some(weak) = Shared::downgrade(&flight) {
                        downloads.insert(
                            key,
                            Download {
                                flight: weak,
                                wanted_at,
                            },
                        );
                    }
                    flight
                }
            }
        };
        flight.await
    }

    /// Downloads once, then puts the content everywhere it is wanted.
    async fn download(
        self: Arc<Self>,
        (repository, digest): (Repository, Digest),
        size: u64,
        wanted_at: Arc<Mutex<Option<Vec<PathBuf>>>>,
    ) -> Result<(), RegistryError> {
        let part = {
            let wanted_at = wanted_at.lock().expect("no holder of the list panics");
            part_of(
                wanted_at
                    .iter()
                    .flatten()
                    .next()
                    .map_or(Path::new(""), |path| path),
            )
        };
        let transfer = Transfer {
            core: &self,
            repository: &repository,
            digest: &digest,
            size,
            part,
        };
        let mut found = None;
        for mirror in self.transport.endpoints.mirrors_of(&repository) {
            let mut tries = self.tries(&Method::GET, &mirror, &format!("blobs/{digest}"));
            if let Ok(content) = transfer.run(&mirror, &mut tries, Patience::Once).await {
                found = Some(content);
                break;
            }
        }
        let mut tries = self.tries(&Method::GET, &repository, &format!("blobs/{digest}"));
        let content = match found {
            Some(content) => content,
            None => {
                transfer
                    .run(&repository, &mut tries, Patience::Policy)
                    .await?
            }
        };
        let targets = {
            let mut wanted_at = wanted_at.lock().expect("no holder of the list panics");
            wanted_at.take().unwrap_or_default()
        };
        tokio::task::spawn_blocking(move || content.place(&targets))
            .await
            .map_err(io::Error::other)
            .and_then(|placed| placed)
            .map_err(|error| {
                tries.give_up(Failure::permanent(format!(
                    "cannot store the blob: {error}"
                )))
            })
    }

    pub(crate) async fn read_blob(
        &self,
        repository: &Repository,
        digest: &Digest,
        limit: u64,
    ) -> Result<Bytes, RegistryError> {
        for mirror in self.transport.endpoints.mirrors_of(repository) {
            if let Ok(bytes) = self.read_blob_once(&mirror, digest, limit).await {
                return Ok(bytes);
            }
        }
        let mut tries = self.tries(&Method::GET, repository, &format!("blobs/{digest}"));
        loop {
            tries.start().await?;
            match self.read_blob_once(repository, digest, limit).await {
                Ok(bytes) => return Ok(bytes),
                Err(failure) => tries.again(failure).await?,
            }
        }
    }

    async fn read_blob_once(
        &self,
        repository: &Repository,
        digest: &Digest,
        limit: u64,
    ) -> Result<Bytes, Failure> {
        let answer = self.get_blob(repository, digest, 0).await?;
        let bytes = answer.bytes(limit).await?.ok_or_else(|| {
            Failure::permanent(format!("the blob is larger than the {limit} bytes read"))
        })?;
        let got = digest_of(digest.algorithm(), &bytes);
        if got != *digest {
            return Err(wrong_content(digest, &got));
        }
        Ok(bytes)
    }

    async fn get_blob(
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

fn wrong_content(want: &Digest, got: &Digest) -> Failure {
    Failure::permanent(format!(
        "content does not match its digest: {want} was asked for, {got} came"
    ))
}

/// Where a download grows until it is verified: beside its target.
fn part_of(to: &Path) -> PathBuf {
    let mut name = to.as_os_str().to_owned();
    name.push(".part");
    PathBuf::from(name)
}

/// How often a source is asked.
#[derive(Clone, Copy)]
enum Patience {
    /// A mirror: the registry itself is the second try.
    Once,
    Policy,
}

/// One blob on its way into one file.
struct Transfer<'a> {
    core: &'a Core,
    repository: &'a Repository,
    digest: &'a Digest,
    size: u64,
    part: PathBuf,
}

impl Transfer<'_> {
    /// Downloads from one source; the content is verified when this returns.
    async fn run(
        &self,
        source: &Repository,
        tries: &mut Tries<'_>,
        patience: Patience,
    ) -> Result<Content, RegistryError> {
        let mut sink = Sink::open(self.part.clone(), self.digest);
        if let Err(error) = self.fill(source, &mut sink, tries, patience).await {
            sink.discard().await;
            return Err(error);
        }
        match sink.finish().await {
            Ok((content, got)) if got == *self.digest => Ok(content),
            Ok((_, got)) => Err(tries.give_up(wrong_content(self.digest, &got))),
            Err(error) => Err(tries.give_up(disk(&error))),
        }
    }

    /// Downloads into the sink, trying as often as allowed.
    async fn fill(
        &self,
        source: &Repository,
        sink: &mut Sink,
        tries: &mut Tries<'_>,
        patience: Patience,
    ) -> Result<(), RegistryError> {
        let mut done = 0;
        loop {
            tries.start().await?;
            let before = done;
            let Err(failure) = self.receive(source, sink, &mut done).await else {
                return Ok(());
            };
            if matches!(patience, Patience::Once) {
                return Err(tries.give_up(failure));
            }
            if done >= before + PROGRESS {
                tries.progressed();
            }
            tries.again(failure).await?;
        }
    }

    /// One try: from where the last one stopped, as far as it goes.
    async fn receive(
        &self,
        source: &Repository,
        sink: &mut Sink,
        done: &mut u64,
    ) -> Result<(), Failure> {
        if *done == self.size && *done > 0 {
            return Ok(());
        }
        let mut answer = match self.core.get_blob(source, self.digest, *done).await {
            Ok(answer) => answer,
            Err(failure) if failure.status == Some(416) && *done > 0 => {
                *done = 0;
                sink.start_over().await?;
                return Err(Failure::transient(
                    "the rest of the blob cannot be asked for",
                ));
            }
            Err(failure) => return Err(failure),
        };
        let goes_on = *done > 0
            && answer.status() == StatusCode::PARTIAL_CONTENT
            && answer
                .text(CONTENT_RANGE.as_str())
                .is_some_and(|range| range.starts_with(&format!("bytes {done}-")));
        if !goes_on {
            if answer.status() == StatusCode::PARTIAL_CONTENT {
                return Err(Failure::permanent("a part came that was not asked for"));
            }
            *done = 0;
            sink.start_over().await?;
        }
        let mut told = *done;
        self.tell(*done);
        while let Some(piece) = answer.piece().await? {
            *done += piece.len() as u64;
            if *done > self.size {
                return Err(Failure::permanent(format!(
                    "content does not match its digest: more than {} bytes came",
                    self.size
                )));
            }
            sink.take(piece).await?;
            if *done >= told + TELL || *done == self.size {
                told = *done;
                self.tell(*done);
            }
        }
        if *done < self.size {
            return Err(Failure::transient(format!(
                "only {done} of {} bytes came",
                self.size
            )));
        }
        Ok(())
    }

    fn tell(&self, done: u64) {
        self.core.emit(ClientEvent::BlobProgress {
            repository: self.repository.clone(),
            digest: self.digest.clone(),
            direction: Direction::Pull,
            done,
            total: self.size,
        });
    }
}

fn disk(error: &io::Error) -> Failure {
    Failure::permanent(format!("cannot store the blob: {error}"))
}

/// A message to the thread that writes and hashes.
enum Piece {
    Data(Bytes),
    StartOver,
    Finish,
}

/// Writes and hashes on a blocking thread, so that neither holds up the network. Dropping it
/// removes the file too, but a moment later.
struct Sink {
    pieces: mpsc::Sender<Piece>,
    /// Gone once its result was taken.
    thread: Option<JoinHandle<io::Result<Written>>>,
}

/// What the thread wrote and its digest; None when it was told to give up.
type Written = Option<(Content, Digest)>;

async fn joined(thread: JoinHandle<io::Result<Written>>) -> io::Result<Written> {
    thread.await.map_err(io::Error::other)?
}

impl Sink {
    fn open(path: PathBuf, digest: &Digest) -> Self {
        let (pieces, mut receiver) = mpsc::channel(AHEAD);
        let algorithm = digest.algorithm();
        let thread = tokio::task::spawn_blocking(move || {
            let mut file = File::create(&path)?;
            let content = Content { path };
            let mut hasher = Hasher::new(algorithm);
            while let Some(piece) = receiver.blocking_recv() {
                match piece {
                    Piece::Data(bytes) => {
                        hasher.update(&bytes);
                        file.write_all(&bytes)?;
                    }
                    Piece::StartOver => {
                        file = File::create(&content.path)?;
                        hasher = Hasher::new(algorithm);
                    }
                    Piece::Finish => return Ok(Some((content, hasher.finish()))),
                }
            }
            Ok(None)
        });
        Self {
            pieces,
            thread: Some(thread),
        }
    }

    async fn send(&mut self, piece: Piece) -> Result<(), Failure> {
        if self.pieces.send(piece).await.is_ok() {
            return Ok(());
        }
        // The thread ended early, and only its result tells why.
        let result = match self.thread.take() {
            Some(thread) => joined(thread).await,
            None => Ok(None),
        };
        Err(match result {
            Err(error) => disk(&error),
            Ok(_) => Failure::permanent("cannot store the blob: nobody takes it any more"),
        })
    }

    async fn take(&mut self, bytes: Bytes) -> Result<(), Failure> {
        self.send(Piece::Data(bytes)).await
    }

    async fn start_over(&mut self) -> Result<(), Failure> {
        self.send(Piece::StartOver).await
    }

    /// Removes the file before returning.
    async fn discard(self) {
        drop(self.pieces);
        // Whether it wrote well no longer matters.
        if let Some(thread) = self.thread {
            let _ = thread.await;
        }
    }

    async fn finish(self) -> io::Result<(Content, Digest)> {
        // When the thread is gone already, its result tells why.
        let _ = self.pieces.send(Piece::Finish).await;
        let result = match self.thread {
            Some(thread) => joined(thread).await?,
            None => None,
        };
        result.ok_or_else(|| io::Error::other("the writing ended early"))
    }
}

/// A file that is removed unless it is put somewhere.
#[derive(Debug)]
struct Content {
    path: PathBuf,
}

impl Content {
    /// Copies to all targets but the first, and moves to the first.
    fn place(self, targets: &[PathBuf]) -> io::Result<()> {
        let Some((first, others)) = targets.split_first() else {
            return Ok(());
        };
        for other in others {
            let part = Content {
                path: part_of(other),
            };
            fs::copy(&self.path, &part.path)?;
            fs::rename(&part.path, other)?;
        }
        fs::rename(&self.path, first)
    }
}

impl Drop for Content {
    fn drop(&mut self) {
        // After it was put somewhere nothing is left to remove; otherwise there is nobody to tell.
        let _ = fs::remove_file(&self.path);
    }
}
