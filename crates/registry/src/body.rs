//! Bodies that can be sent again from their start, and that tell how far they are.

use std::fs::File;
use std::io::{self, Read};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::sync::mpsc;

use crate::BlobBody;
use crate::answer::Failure;

/// How much is read and sent at a time.
const PIECE: usize = 256 * 1024;
/// How many pieces wait between the file and the network.
const AHEAD: usize = 2;

/// Told, after each piece, how many bytes have been handed to the network.
pub(crate) type OnProgress = Arc<dyn Fn(u64) + Send + Sync>;

/// What a request sends.
#[derive(Clone)]
pub(crate) enum Payload {
    Bytes(Bytes),
    Blob {
        body: BlobBody,
        size: u64,
        progress: OnProgress,
    },
}

impl Payload {
    /// A fresh body, from the first byte, and the count of what it has handed over.
    pub(crate) fn start(&self) -> Result<(reqwest::Body, Arc<AtomicU64>), Failure> {
        let sent = Arc::new(AtomicU64::new(0));
        let body = match self {
            Self::Bytes(bytes) => return Ok((reqwest::Body::from(bytes.clone()), sent)),
            Self::Blob {
                body,
                size,
                progress,
            } => Upload {
                pieces: match body {
                    BlobBody::Bytes(bytes) => Pieces::Memory(bytes.clone()),
                    BlobBody::File(path) => {
                        let file = File::open(path).map_err(|error| {
                            Failure::permanent(format!("cannot open {}: {error}", path.display()))
                        })?;
                        Pieces::File(read_ahead(file))
                    }
                },
                size: *size,
                sent: Arc::clone(&sent),
                progress: Arc::clone(progress),
            },
        };
        Ok((reqwest::Body::wrap(body), sent))
    }
}

/// Reads a file on a blocking thread, never more than a few pieces ahead; stops when nobody takes
/// them any more.
fn read_ahead(mut file: File) -> mpsc::Receiver<io::Result<Bytes>> {
    let (sender, receiver) = mpsc::channel(AHEAD);
    tokio::task::spawn_blocking(move || {
        loop {
            let mut piece = Vec::with_capacity(PIECE);
            let read = file.by_ref().take(PIECE as u64).read_to_end(&mut piece);
            let message = match read {
                Ok(0) => return,
                Ok(_) => Ok(Bytes::from(piece)),
                Err(error) => Err(error),
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
    File(mpsc::Receiver<io::Result<Bytes>>),
}

struct Upload {
    pieces: Pieces,
    size: u64,
    sent: Arc<AtomicU64>,
    progress: OnProgress,
}

impl http_body::Body for Upload {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let this = self.get_mut();
        let piece = match &mut this.pieces {
            Pieces::Memory(rest) if rest.is_empty() => None,
            Pieces::Memory(rest) => Some(Ok(rest.split_to(rest.len().min(PIECE)))),
            Pieces::File(receiver) => match receiver.poll_recv(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(piece) => piece,
            },
        };
        Poll::Ready(match piece {
            None => None,
            Some(Err(error)) => Some(Err(error)),
            Some(Ok(piece)) => {
                let sent =
                    this.sent.fetch_add(piece.len() as u64, Ordering::Relaxed) + piece.len() as u64;
                (this.progress)(sent);
                Some(Ok(Frame::data(piece)))
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        self.size == 0 || self.sent.load(Ordering::Relaxed) >= self.size
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.size.saturating_sub(self.sent.load(Ordering::Relaxed)))
    }
}
