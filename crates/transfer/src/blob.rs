//! Bytes on their way between a blob's source and a file here.

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use futures_util::stream::{self, StreamExt as _};
use launchway_model::Digest;
use launchway_oci::Hasher;
use launchway_oci::spec::Descriptor;
use launchway_registry::{BlobBody, BlobReadError, BlobReader, BlobStream};
use tokio::sync::mpsc;

use crate::place::Place;
use crate::{Blob, TransferError};

/// How much is read at a time.
const PIECE: usize = 256 * 1024;
/// How many pieces wait between the two sides.
const AHEAD: usize = 4;
/// The largest configuration that is read.
const SMALL: u64 = 8 * 1024 * 1024;

/// A part of a file, such as an entry of a tar.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct FileRange {
    pub(crate) path: PathBuf,
    pub(crate) start: u64,
    pub(crate) length: u64,
}

impl fmt::Debug for FileRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}+{}]", self.path.display(), self.start, self.length)
    }
}

impl FileRange {
    pub(crate) fn open(&self, offset: u64) -> io::Result<io::Take<File>> {
        let mut file = File::open(&self.path)?;
        file.seek(SeekFrom::Start(self.start + offset))?;
        Ok(file.take(self.length.saturating_sub(offset)))
    }
}

impl BlobReader for FileRange {
    fn read_from(&self, offset: u64) -> BlobStream {
        let part = self.clone();
        let (sender, receiver) = mpsc::channel(AHEAD);
        tokio::task::spawn_blocking(move || {
            let failed = |error: io::Error| {
                BlobReadError::Local(format!("cannot read {}: {error}", part.path.display()))
            };
            let mut file = match part.open(offset) {
                Ok(file) => file,
                Err(error) => {
                    // Nobody wants to know any more when the stream is gone.
                    let _ = sender.blocking_send(Err(failed(error)));
                    return;
                }
            };
            loop {
                let mut piece = Vec::with_capacity(PIECE);
                let read = file.by_ref().take(PIECE as u64).read_to_end(&mut piece);
                let message = match read {
                    Ok(0) => return,
                    Ok(_) => Ok(Bytes::from(piece)),
                    Err(error) => Err(failed(error)),
                };
                let over = message.is_err();
                if sender.blocking_send(message).is_err() || over {
                    return;
                }
            }
        });
        stream::unfold(receiver, |mut receiver| async move {
            let piece = receiver.recv().await?;
            Some((piece, receiver))
        })
        .boxed()
    }
}

/// The pieces of a blob on the blocking side, hashed as they pass.
pub(crate) struct Incoming {
    pieces: mpsc::Receiver<Result<Bytes, BlobReadError>>,
    current: Bytes,
    hasher: Option<Hasher>,
    left: u64,
    failure: Option<BlobReadError>,
}

impl Incoming {
    /// Whether all of it came and is what it should be.
    pub(crate) fn check(mut self, digest: &Digest) -> Result<(), TransferError> {
        let refused = |source| TransferError::Blob {
            digest: digest.clone(),
            source,
        };
        if self.failure.is_none() && self.left == 0 {
            // Readers that check the content say so at its end.
            while let Some(piece) = self.pieces.blocking_recv() {
                match piece {
                    Ok(piece) if piece.is_empty() => {}
                    Ok(_) => {
                        self.failure = Some(BlobReadError::WrongContent {
                            want: digest.clone(),
                            got: "more than its size".to_owned(),
                        });
                        break;
                    }
                    Err(error) => {
                        self.failure = Some(error);
                        break;
                    }
                }
            }
        }
        if let Some(failure) = self.failure {
            return Err(refused(failure));
        }
        if self.left > 0 {
            return Err(refused(BlobReadError::Local(format!(
                "the source ended {} bytes too early",
                self.left
            ))));
        }
        match self.hasher.map(Hasher::finish) {
            Some(got) if got != *digest => Err(refused(BlobReadError::WrongContent {
                want: digest.clone(),
                got: got.to_string(),
            })),
            _ => Ok(()),
        }
    }

    /// Whether reading ended because of the source, and not of what was done with it.
    pub(crate) fn is_broken(&self) -> bool {
        self.failure.is_some() || self.left > 0
    }
}

impl Read for Incoming {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            if self.left == 0 || self.failure.is_some() {
                return Ok(0);
            }
            match self.pieces.blocking_recv() {
                None => return Ok(0),
                Some(Err(error)) => {
                    self.failure = Some(error);
                    return Err(io::Error::other("the source broke off"));
                }
                Some(Ok(piece)) => {
                    if piece.len() as u64 > self.left {
                        self.failure = Some(BlobReadError::Local(
                            "the source gave more bytes than the blob has".to_owned(),
                        ));
                        return Err(io::Error::other("the source is too long"));
                    }
                    self.left -= piece.len() as u64;
                    if let Some(hasher) = &mut self.hasher {
                        hasher.update(&piece);
                    }
                    self.current = piece;
                }
            }
        }
        let length = self.current.len().min(buffer.len());
        buffer[..length].copy_from_slice(&self.current.split_to(length));
        Ok(length)
    }
}

/// Runs `take` on a blocking thread over the bytes of a blob, which come from wherever they are.
pub(crate) async fn pour<T: Send + 'static>(
    blob: &Blob,
    take: impl FnOnce(Incoming) -> T + Send + 'static,
) -> Result<T, TransferError> {
    let (mut stream, is_verified) = open(&blob.body);
    let (sender, pieces) = mpsc::channel(AHEAD);
    let incoming = Incoming {
        pieces,
        current: Bytes::new(),
        hasher: (!is_verified).then(|| Hasher::with(blob.digest.algorithm())),
        left: blob.size,
        failure: None,
    };
    let thread = tokio::task::spawn_blocking(move || take(incoming));
    while let Some(piece) = stream.next().await {
        let over = piece.is_err();
        // The other side has ended for a reason of its own, which it tells.
        if sender.send(piece).await.is_err() || over {
            break;
        }
    }
    drop(sender);
    thread.await.map_err(|error| TransferError::Blob {
        digest: blob.digest.clone(),
        source: BlobReadError::Local(format!("the writing ended early: {error}")),
    })
}

/// The bytes of a body, and whether they are checked on their way.
fn open(body: &BlobBody) -> (BlobStream, bool) {
    match body {
        BlobBody::Bytes(bytes) => {
            let bytes = bytes.clone();
            (stream::once(async move { Ok(bytes) }).boxed(), false)
        }
        BlobBody::File(path) => {
            let part = FileRange {
                path: path.clone(),
                start: 0,
                length: u64::MAX,
            };
            (part.read_from(0), false)
        }
        BlobBody::Stream(reader) => (reader.read_from(0), reader.is_verified()),
    }
}

/// Reads a small blob whole and checks it.
pub(crate) async fn read_small(
    place: &dyn Place,
    descriptor: &Descriptor,
) -> Result<Vec<u8>, TransferError> {
    let refused = |reason: String| TransferError::Document {
        place: place.shown(),
        digest: descriptor.digest.clone(),
        reason,
    };
    let digest: Digest = descriptor
        .digest
        .parse()
        .map_err(|error| refused(format!("its digest is none: {error}")))?;
    if descriptor.size > SMALL {
        return Err(refused(format!(
            "a configuration has at most {} MiB",
            SMALL / 1024 / 1024
        )));
    }
    let blob = Blob {
        body: place.blob(&digest, descriptor.size)?,
        digest,
        size: descriptor.size,
        sibling: None,
    };
    let digest = blob.digest.clone();
    let (bytes, checked) = pour(&blob, move |mut incoming| {
        let mut bytes = Vec::new();
        // What went wrong is told by the check below.
        let _ = incoming.read_to_end(&mut bytes);
        let checked = incoming.check(&digest);
        (bytes, checked)
    })
    .await?;
    checked.map(|()| bytes)
}

/// Writes a blob to a file and checks it; the file is there when this fails, too.
pub(crate) fn write_checked(
    mut incoming: Incoming,
    mut file: File,
    path: &Path,
    digest: &Digest,
) -> Result<(), TransferError> {
    let written = io::copy(&mut incoming, &mut file).and_then(|_| file.flush());
    if let Err(source) = written
        && !incoming.is_broken()
    {
        return Err(TransferError::Io {
            act: "write",
            path: path.to_owned(),
            source,
        });
    }
    incoming.check(digest)
}

/// Does something that waits for the disk on a thread where that holds up nobody.
pub(crate) async fn blocking<T: Send + 'static>(
    what: &Path,
    work: impl FnOnce() -> Result<T, TransferError> + Send + 'static,
) -> Result<T, TransferError> {
    let what = what.to_owned();
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| {
            Err(TransferError::Io {
                act: "work with",
                path: what,
                source: io::Error::other(error),
            })
        })
}
