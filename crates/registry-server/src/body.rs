//! The body of an answer: nothing, bytes, a part of a file, or what is still coming.

use std::fmt;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::stream::BoxStream;
use http_body::{Frame, SizeHint};
use tokio::task::JoinHandle;

/// Bytes read from a file at once. Large enough that the hand-over to a blocking thread costs
/// little beside the copy; at most two such pieces are held per download.
const PIECE: u64 = 512 << 10;

/// The body of an answer. An error while it streams ends the connection, which is how a client
/// learns that the rest is missing.
pub struct Body(Kind);

enum Kind {
    Bytes(Bytes),
    File(FilePart),
    /// Pieces as they come, and how many bytes they are yet to bring.
    Stream(BoxStream<'static, io::Result<Bytes>>, u64),
}

struct FilePart {
    file: Arc<File>,
    /// What is not yet being read.
    rest: Range<u64>,
    /// The read under way and how many bytes it will give.
    reading: Option<(JoinHandle<io::Result<Bytes>>, u64)>,
}

impl Body {
    pub(crate) fn empty() -> Self {
        Self(Kind::Bytes(Bytes::new()))
    }

    pub(crate) fn full(bytes: impl Into<Bytes>) -> Self {
        Self(Kind::Bytes(bytes.into()))
    }

    /// Pieces that bring this many bytes in all.
    pub(crate) fn stream(pieces: BoxStream<'static, io::Result<Bytes>>, size: u64) -> Self {
        Self(Kind::Stream(pieces, size))
    }

    pub(crate) fn file(file: File, part: Range<u64>) -> Self {
        Self(Kind::File(FilePart {
            file: Arc::new(file),
            rest: part,
            reading: None,
        }))
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let size = http_body::Body::size_hint(self).exact();
        f.debug_struct("Body").field("size", &size).finish()
    }
}

impl FilePart {
    fn read_ahead(&mut self) {
        if self.reading.is_some() || self.rest.is_empty() {
            return;
        }
        let length = PIECE.min(self.rest.end - self.rest.start);
        let (file, offset) = (Arc::clone(&self.file), self.rest.start);
        self.rest.start += length;
        let read = tokio::task::spawn_blocking(move || read_piece(&file, offset, length));
        self.reading = Some((read, length));
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        self.read_ahead();
        let Some((read, _)) = &mut self.reading else {
            return Poll::Ready(None);
        };
        let result = ready!(Pin::new(read).poll(context)).map_err(io::Error::other);
        self.reading = None;
        let result = result.and_then(|piece| piece);
        if result.is_ok() {
            // The next piece is read while this one is sent.
            self.read_ahead();
        } else {
            self.rest = 0..0;
        }
        Poll::Ready(Some(result))
    }

    fn remaining(&self) -> u64 {
        self.rest.end - self.rest.start + self.reading.as_ref().map_or(0, |(_, length)| *length)
    }
}

pub(crate) fn read_piece(file: &File, mut offset: u64, length: u64) -> io::Result<Bytes> {
    let wanted = usize::try_from(length).map_err(io::Error::other)?;
    let mut piece = Vec::with_capacity(wanted);
    while piece.len() < wanted {
        let read = rustix::io::pread(file, rustix::buffer::spare_capacity(&mut piece), offset)?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        offset += read as u64;
    }
    // The vector may have got more room than was asked for.
    piece.truncate(wanted);
    Ok(piece.into())
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        match &mut self.0 {
            Kind::Bytes(bytes) if bytes.is_empty() => Poll::Ready(None),
            Kind::Bytes(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Kind::File(part) => part
                .poll(context)
                .map(|piece| piece.map(|result| result.map(Frame::data))),
            Kind::Stream(pieces, rest) => pieces.as_mut().poll_next(context).map(|piece| {
                piece.map(|result| {
                    let piece = result?;
                    *rest = rest.saturating_sub(piece.len() as u64);
                    Ok(Frame::data(piece))
                })
            }),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Bytes(bytes) => bytes.is_empty(),
            Kind::File(part) => part.remaining() == 0,
            Kind::Stream(_, rest) => *rest == 0,
        }
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(match &self.0 {
            Kind::Bytes(bytes) => bytes.len() as u64,
            Kind::File(part) => part.remaining(),
            Kind::Stream(_, rest) => *rest,
        })
    }
}
