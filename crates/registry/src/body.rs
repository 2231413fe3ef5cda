//! Bodies that can be sent again from any place, and that tell how far they are.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::StreamExt as _;
use http_body::{Frame, SizeHint};
use tokio::sync::mpsc;

use crate::BlobBody;
use crate::answer::Failure;
use crate::source::{BlobReadError, BlobStream};

/// How much is read and sent at a time. Half of it makes twice as many turns between the thread that
/// reads and the one that sends, and costs a fifth more processor time; twice as much, and the
/// allocator gives each piece back to the kernel.
const PIECE: usize = 512 * 1024;
/// How many pieces wait between the file and the network.
const AHEAD: usize = 2;

/// Told, after each piece, how many bytes of the blob have been handed to the network.
pub(crate) type OnProgress = Arc<dyn Fn(u64) + Send + Sync>;

/// How far a body is.
#[derive(Debug, Default)]
pub(crate) struct Sent {
    /// What was handed to the network.
    bytes: AtomicU64,
    /// Whether the next piece is still being waited for on this side: then a silence is not the
    /// registry's.
    waits: AtomicBool,
}

impl Sent {
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    pub(crate) fn waits_for_its_source(&self) -> bool {
        self.waits.load(Ordering::Relaxed)
    }
}

/// Why a body broke off on this side. A broken connection looks the same from the outside.
pub(crate) type Broken = Arc<Mutex<Option<BlobReadError>>>;

/// What a request sends.
#[derive(Clone)]
pub(crate) enum Payload {
    Bytes(Bytes),
    Blob {
        body: BlobBody,
        /// Where in the blob the body begins.
        from: u64,
        /// How long the body is.
        size: u64,
        progress: OnProgress,
        broken: Broken,
    },
}

impl Payload {
    /// Whether the body is made by other requests, which the one that sends it must not keep waiting.
    pub(crate) fn needs_requests(&self) -> bool {
        matches!(
            self,
            Self::Blob {
                body: BlobBody::Stream(_),
                ..
            }
        )
    }

    /// A fresh body, from its first byte, and the count of what it has handed over.
    pub(crate) fn start(&self) -> Result<(reqwest::Body, Arc<Sent>), Failure> {
        let sent = Arc::new(Sent::default());
        let body = match self {
            Self::Bytes(bytes) => return Ok((reqwest::Body::from(bytes.clone()), sent)),
            Self::Blob {
                body,
                from,
                size,
                progress,
                broken,
            } => Upload {
                pieces: match body {
                    BlobBody::Bytes(bytes) => Pieces::Memory(bytes.slice(*from as usize..)),
                    BlobBody::File(path) => Pieces::File(read_ahead(
                        open_at(path, *from).map_err(Failure::permanent)?,
                        path,
                    )),
                    BlobBody::Stream(reader) => Pieces::Stream(Mutex::new(reader.read_from(*from))),
                },
                from: *from,
                size: *size,
                sent: Arc::clone(&sent),
                progress: Arc::clone(progress),
                broken: Arc::clone(broken),
            },
        };
        Ok((reqwest::Body::wrap(body), sent))
    }
}

fn open_at(path: &Path, from: u64) -> Result<File, String> {
    let open = || {
        let mut file = File::open(path)?;
        file.seek(SeekFrom::Start(from))?;
        Ok(file)
    };
    open().map_err(|error: io::Error| format!("cannot open {}: {error}", path.display()))
}

/// Reads a file on a blocking thread, never more than a few pieces ahead; stops when nobody takes
/// them any more.
fn read_ahead(mut file: File, path: &Path) -> mpsc::Receiver<Result<Bytes, BlobReadError>> {
    let (sender, receiver) = mpsc::channel(AHEAD);
    let path = path.to_owned();
    tokio::task::spawn_blocking(move || {
        loop {
            let mut piece = Vec::with_capacity(PIECE);
            let read = file.by_ref().take(PIECE as u64).read_to_end(&mut piece);
            let message = match read {
                Ok(0) => return,
                Ok(_) => Ok(Bytes::from(piece)),
                Err(error) => Err(BlobReadError::Local(format!(
                    "cannot read {}: {error}",
                    path.display()
                ))),
            };
            let broken = message.is_err();
            if sender.blocking_send(message).is_err() || broken {
                return;
            }
        }
    });
    receiver
}

enum Pieces {
    Memory(Bytes),
    File(mpsc::Receiver<Result<Bytes, BlobReadError>>),
    /// Never locked: a stream may not be shared between threads, and a body has to say it can be.
    Stream(Mutex<BlobStream>),
}

struct Upload {
    pieces: Pieces,
    from: u64,
    size: u64,
    sent: Arc<Sent>,
    progress: OnProgress,
    broken: Broken,
}

impl Upload {
    fn left(&self) -> u64 {
        self.size.saturating_sub(self.sent.bytes())
    }

    /// Ends the body before its end, so that nobody takes it for complete.
    fn break_off(&self, error: BlobReadError) -> io::Error {
        let text = error.to_string();
        *self.broken.lock().expect("no holder of the reason panics") = Some(error);
        io::Error::other(text)
    }
}

impl http_body::Body for Upload {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let this = self.get_mut();
        let left = this.left();
        if left == 0 {
            return Poll::Ready(None);
        }
        let piece = match &mut this.pieces {
            Pieces::Memory(rest) if rest.is_empty() => None,
            Pieces::Memory(rest) => Some(Ok(rest.split_to(rest.len().min(PIECE)))),
            Pieces::File(receiver) => match receiver.poll_recv(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(piece) => piece,
            },
            Pieces::Stream(stream) => {
                let stream = stream.get_mut().expect("it is never locked");
                let piece = stream.poll_next_unpin(context);
                this.sent.waits.store(piece.is_pending(), Ordering::Relaxed);
                match piece {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(piece) => piece,
                }
            }
        };
        Poll::Ready(Some(match piece {
            None => Err(this.break_off(BlobReadError::Local(format!(
                "the source ended {left} bytes too early"
            )))),
            Some(Err(error)) => Err(this.break_off(error)),
            Some(Ok(mut piece)) => {
                // A chunk may end in the middle of a piece.
                piece.truncate(usize::try_from(left).unwrap_or(usize::MAX));
                let length = piece.len() as u64;
                let sent = this.sent.bytes.fetch_add(length, Ordering::Relaxed) + length;
                (this.progress)(this.from + sent);
                Ok(Frame::data(piece))
            }
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.left() == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left())
    }
}
