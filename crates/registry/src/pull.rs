//! Blobs for this machine: streamed to a file and hashed as they pass, or read whole when they are
//! small.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::Shared;
use http::Method;
use launchway_model::{Digest, Repository};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::RegistryError;
use crate::answer::Failure;
use crate::core::{Core, Download};
use crate::fetch::{Fetch, Sink, Unfetched};
use crate::verify::{Hasher, digest_of};

/// How many pieces of a download wait between the network and the disk.
const AHEAD: usize = 16;

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
            let first = wanted_at.iter().flatten().next();
            part_of(first.map_or(Path::new(""), |path| path))
        };
        let tries = self.tries(&Method::GET, &repository, &format!("blobs/{digest}"));
        let content = self
            .download_to(&repository, &digest, size, &part)
            .await
            .map_err(|error| match error {
                Undone::Failed(error) => error,
                Undone::Here(failure) => tries.give_up(failure),
            })?;
        let targets = {
            let mut wanted_at = wanted_at.lock().expect("no holder of the list panics");
            wanted_at.take().unwrap_or_default()
        };
        tokio::task::spawn_blocking(move || content.place(&targets))
            .await
            .map_err(io::Error::other)
            .and_then(|placed| placed)
            .map_err(|error| tries.give_up(disk(&error)))
    }

    /// Downloads into one file, whose content is verified when this returns. What one source gave
    /// wrong is asked of the next; the registry itself may be wrong once, when it is the only one.
    async fn download_to(
        &self,
        repository: &Repository,
        digest: &Digest,
        size: u64,
        part: &Path,
    ) -> Result<Content, Undone> {
        let sources = self.sources_of(repository);
        let mut first = 0;
        let mut was_wrong = false;
        loop {
            let mut file = FileSink::open(part.to_owned(), digest);
            let mut fetch = Fetch::new(self, repository, digest, size, 0);
            let (by, wrong) = match fetch.run(&sources[first..], &mut file).await {
                Ok(by) => match file.finish().await {
                    Ok((content, got)) if got == *digest => return Ok(content),
                    Ok((_, got)) => (by, wrong_content(digest, &got.to_string())),
                    Err(error) => return Err(Undone::Here(disk(&error))),
                },
                Err(Unfetched::TooMuch(by)) => {
                    file.discard().await;
                    (
                        by,
                        wrong_content(digest, &format!("more than {size} bytes")),
                    )
                }
                Err(Unfetched::Failed(error)) => {
                    file.discard().await;
                    return Err(Undone::Failed(error));
                }
            };
            if first + by + 1 < sources.len() {
                self.distrust(&sources[first + by], &wrong);
            }
            match next_source(first + by, sources.len(), was_wrong) {
                Some(next) => first = next,
                None => return Err(Undone::Here(wrong)),
            }
            was_wrong = true;
        }
    }

    pub(crate) async fn read_blob(
        &self,
        repository: &Repository,
        digest: &Digest,
        limit: u64,
    ) -> Result<Bytes, RegistryError> {
        let mut was_wrong = false;
        for mirror in self.mirrors_of(repository) {
            let trial = self.trial(&mirror);
            match trial.judge(self.read_blob_once(&mirror, digest, limit).await) {
                Some(Ok(bytes)) => return Ok(bytes),
                Some(Err(wrong)) => {
                    self.distrust(&mirror, &wrong);
                    was_wrong = true;
                }
                None => {}
            }
        }
        let mut tries = self.tries(&Method::GET, repository, &format!("blobs/{digest}"));
        loop {
            tries.start().await?;
            match self.read_blob_once(repository, digest, limit).await {
                Ok(Ok(bytes)) => return Ok(bytes),
                Ok(Err(_)) if !was_wrong => was_wrong = true,
                Ok(Err(failure)) => return Err(tries.give_up(failure)),
                Err(failure) => tries.again(failure).await?,
            }
        }
    }

    /// One try to read a small blob; the inner failure is content that is wrong.
    async fn read_blob_once(
        &self,
        repository: &Repository,
        digest: &Digest,
        limit: u64,
    ) -> Result<Result<Bytes, Failure>, Failure> {
        let answer = self.get_blob(repository, digest, 0).await?;
        let bytes = answer.bytes(limit).await?.ok_or_else(|| {
            Failure::permanent(format!("the blob is larger than the {limit} bytes read"))
        })?;
        let got = digest_of(digest.algorithm(), &bytes);
        if got != *digest {
            return Ok(Err(wrong_content(digest, &got.to_string())));
        }
        Ok(Ok(bytes))
    }
}

/// Why a download came to nothing.
enum Undone {
    Failed(RegistryError),
    /// On this machine, or judged by it.
    Here(Failure),
}

/// Who is asked after a source gave wrong content; None when that was enough.
fn next_source(wrong: usize, sources: usize, was_wrong_before: bool) -> Option<usize> {
    if wrong + 1 < sources {
        Some(wrong + 1)
    } else if was_wrong_before {
        None
    } else {
        Some(wrong)
    }
}

fn wrong_content(want: &Digest, got: &str) -> Failure {
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

fn disk(error: &io::Error) -> Failure {
    Failure::permanent(format!("cannot store the blob: {error}"))
}

/// A message to the thread that writes and hashes.
enum Piece {
    Data(Bytes),
    Finish,
}

/// Writes and hashes on a blocking thread, so that neither holds up the network. Dropping it
/// removes the file too, but a moment later.
struct FileSink {
    pieces: mpsc::Sender<Piece>,
    /// Gone once its result was taken.
    thread: Option<JoinHandle<io::Result<Written>>>,
}

/// What the thread wrote and its digest; None when it was told to give up.
type Written = Option<(Content, Digest)>;

async fn joined(thread: JoinHandle<io::Result<Written>>) -> io::Result<Written> {
    thread.await.map_err(io::Error::other)?
}

impl FileSink {
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

impl Sink for FileSink {
    async fn take(&mut self, piece: Bytes) -> Result<(), Failure> {
        if self.pieces.send(Piece::Data(piece)).await.is_ok() {
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
