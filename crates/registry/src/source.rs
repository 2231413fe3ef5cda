//! Where the bytes of a blob come from while it is sent: anything that can be read again from any
//! place, and the check that goes along.
//!
//! An upload that breaks off goes on from where the registry says it is, so a source is asked for
//! its bytes from an offset, as often as needed. It never has to hold them.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt as _};
use launchway_model::Digest;

use crate::RegistryError;
use crate::verify::Hasher;

/// The bytes of a blob in pieces of any length. Nothing is read before it is polled, and dropping
/// it ends the reading.
pub type BlobStream = BoxStream<'static, Result<Bytes, BlobReadError>>;

/// Something that gives the bytes of one blob, as often as it is asked, from any place.
pub trait BlobReader: fmt::Debug + Send + Sync {
    /// The bytes from an offset to the end.
    fn read_from(&self, offset: u64) -> BlobStream;

    /// Whether the streams check the content themselves, and end in
    /// [`BlobReadError::WrongContent`] in place of the last piece when it is not what its digest
    /// says. Other content is checked where it is sent.
    fn is_verified(&self) -> bool {
        false
    }
}

/// Why a source gave no bytes, or no more.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BlobReadError {
    /// Something on this machine; in words, with the name of what could not be read.
    #[error("{0}")]
    Local(String),
    /// A registry, after all the tries it is given.
    #[error(transparent)]
    Registry(RegistryError),
    /// What came is not what was asked for. Another try may come from another place.
    #[error("content does not match its digest: {want} was asked for, {got} came")]
    WrongContent { want: Digest, got: String },
}

/// Hash states are kept at least this far from each other, in bytes.
const STEP: u64 = 4 * 1024 * 1024;
/// How many hash states are kept at most.
const STATES: u64 = 1024;

/// Checks what a source gives against a digest. The last piece is handed on only when all of it
/// was right, so that nobody downstream ever completes the wrong content.
///
/// The hash states at some places are kept: a stream from the middle starts reading at the last
/// of them, so that every byte counts, whichever stream it came by.
pub(crate) struct Verified {
    inner: Arc<dyn BlobReader>,
    digest: Digest,
    size: u64,
    states: Arc<Mutex<Vec<(u64, Hasher)>>>,
    /// How often the whole content was wrong.
    wrong: Arc<AtomicUsize>,
}

impl fmt::Debug for Verified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verified")
            .field("inner", &self.inner)
            .field("digest", &self.digest)
            .finish_non_exhaustive()
    }
}

impl Verified {
    /// `wrong` is counted up whenever the content turns out to be wrong.
    pub(crate) fn new(
        inner: Arc<dyn BlobReader>,
        digest: Digest,
        size: u64,
        wrong: Arc<AtomicUsize>,
    ) -> Self {
        Self {
            inner,
            digest,
            size,
            states: Arc::default(),
            wrong,
        }
    }

    /// The last kept state that is not behind the offset.
    fn state_before(&self, offset: u64) -> (u64, Hasher) {
        let states = self.states.lock().expect("no holder of the states panics");
        let before = states.iter().rev().find(|(at, _)| *at <= offset);
        before
            .cloned()
            .unwrap_or_else(|| (0, Hasher::new(self.digest.algorithm())))
    }
}

impl BlobReader for Verified {
    fn read_from(&self, offset: u64) -> BlobStream {
        let (at, hasher) = self.state_before(offset);
        let pass = Pass {
            source: self.inner.read_from(at),
            digest: self.digest.clone(),
            size: self.size,
            states: Arc::clone(&self.states),
            wrong: Arc::clone(&self.wrong),
            at,
            wanted_from: offset,
            hasher: Some(hasher),
        };
        stream::unfold(pass, |mut pass| async move {
            let piece = pass.next().await?;
            Some((piece, pass))
        })
        .boxed()
    }

    fn is_verified(&self) -> bool {
        true
    }
}

/// One reading of a source.
struct Pass {
    source: BlobStream,
    digest: Digest,
    size: u64,
    states: Arc<Mutex<Vec<(u64, Hasher)>>>,
    wrong: Arc<AtomicUsize>,
    /// How far the source was read.
    at: u64,
    /// What lies before was handed on by another stream.
    wanted_from: u64,
    /// Gone when the stream is over.
    hasher: Option<Hasher>,
}

impl Pass {
    async fn next(&mut self) -> Option<Result<Bytes, BlobReadError>> {
        loop {
            let hasher = self.hasher.as_mut()?;
            let mut piece = match self.source.next().await {
                Some(Ok(piece)) => piece,
                Some(Err(error)) => {
                    self.hasher = None;
                    return Some(Err(error));
                }
                None if self.at == self.size => {
                    // Only an empty blob comes here: the end of others is their last piece.
                    return self.end().err().map(Err);
                }
                None => {
                    self.hasher = None;
                    return Some(Err(BlobReadError::Local(format!(
                        "the source ended after {} of {} bytes",
                        self.at, self.size
                    ))));
                }
            };
            if piece.is_empty() {
                continue;
            }
            hasher.update(&piece);
            let from = self.at;
            self.at += piece.len() as u64;
            if self.at > self.size {
                return Some(Err(self.refuse(format!("more than {} bytes", self.size))));
            }
            if self.at == self.size {
                if let Err(error) = self.end() {
                    return Some(Err(error));
                }
            } else {
                self.keep();
            }
            if self.at > self.wanted_from {
                let passed_over = self.wanted_from.saturating_sub(from);
                return Some(Ok(piece.split_off(passed_over as usize)));
            }
        }
    }

    /// Judges the whole content.
    fn end(&mut self) -> Result<(), BlobReadError> {
        let Some(hasher) = self.hasher.take() else {
            return Ok(());
        };
        let got = hasher.finish();
        if got == self.digest {
            return Ok(());
        }
        Err(self.refuse(got.to_string()))
    }

    fn refuse(&mut self, got: String) -> BlobReadError {
        self.hasher = None;
        self.states
            .lock()
            .expect("no holder of the states panics")
            .clear();
        self.wrong.fetch_add(1, Ordering::Relaxed);
        BlobReadError::WrongContent {
            want: self.digest.clone(),
            got,
        }
    }

    fn keep(&self) {
        let Some(hasher) = &self.hasher else { return };
        let step = STEP.max(self.size / STATES);
        let mut states = self.states.lock().expect("no holder of the states panics");
        let last = states.last().map_or(0, |(at, _)| *at);
        if self.at >= last + step {
            states.push((self.at, hasher.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::digest_of;
    use futures_util::FutureExt as _;
    use launchway_model::Algorithm;

    /// Gives one content in pieces, and notes where it was asked to begin.
    #[derive(Debug)]
    struct Memory {
        content: Bytes,
        piece: usize,
        asked: Mutex<Vec<u64>>,
    }

    impl BlobReader for Memory {
        fn read_from(&self, offset: u64) -> BlobStream {
            self.asked.lock().unwrap().push(offset);
            let rest = self.content.slice(offset as usize..);
            let pieces: Vec<_> = rest
                .chunks(self.piece)
                .map(|piece| Ok(Bytes::copy_from_slice(piece)))
                .collect();
            stream::iter(pieces).boxed()
        }
    }

    fn content(length: usize) -> Bytes {
        (0..length).map(|at| (at / 1000 + at) as u8).collect()
    }

    fn verified(given: Bytes, want: &Bytes) -> (Verified, Arc<Memory>) {
        let memory = Arc::new(Memory {
            content: given,
            piece: 1 << 20,
            asked: Mutex::default(),
        });
        let digest = digest_of(Algorithm::Sha512, want);
        let wrong = Arc::new(AtomicUsize::new(0));
        let source = Arc::clone(&memory) as Arc<dyn BlobReader>;
        let size = want.len() as u64;
        (Verified::new(source, digest, size, wrong), memory)
    }

    fn drain(reader: &Verified, from: u64, at_most: usize) -> (Vec<u8>, Option<BlobReadError>) {
        let mut stream = reader.read_from(from);
        let mut all = Vec::new();
        while all.len() < at_most {
            match stream.next().now_or_never().unwrap() {
                Some(Ok(piece)) => all.extend_from_slice(&piece),
                Some(Err(error)) => {
                    let over = stream.next().now_or_never().unwrap();
                    assert_eq!(over, None);
                    return (all, Some(error));
                }
                None => break,
            }
        }
        (all, None)
    }

    #[test]
    fn the_last_piece_of_wrong_content_never_comes() {
        let want = content(3 << 20);
        let mut turned = want.to_vec();
        turned[5] ^= 1;
        for (given, want, passes) in [
            (want.clone(), want.clone(), true),
            (turned.into(), want.clone(), false),
            (want.slice(1..), want.clone(), false),
            (content((3 << 20) - 1), want.clone(), false),
            // More than enough: the rest is not looked at.
            (content((3 << 20) + 1), want.clone(), true),
            (Bytes::new(), Bytes::new(), true),
            (Bytes::new(), want.clone(), false),
        ] {
            let (reader, _) = verified(given, &want);
            let (all, error) = drain(&reader, 0, usize::MAX);
            assert_eq!(error.is_none(), passes, "{error:?}");
            assert_eq!(all == want, passes);
            assert!(passes || all.len() < want.len());
        }
    }

    #[test]
    fn a_stream_from_the_middle_is_judged_as_a_whole() {
        let want = content(20 << 20);
        let (reader, memory) = verified(want.clone(), &want);
        let (first, _) = drain(&reader, 0, 11 << 20);
        let from = 10 << 20;
        assert_eq!(first[..from], want[..from]);
        let (rest, error) = drain(&reader, from as u64, usize::MAX);
        assert_eq!((rest == want[from..], error), (true, None));
        // Not from the start again, but from the last state that was kept before.
        assert_eq!(*memory.asked.lock().unwrap(), [0, 8 << 20]);

        let mut turned = want.to_vec();
        turned[3] ^= 1;
        let (reader, _) = verified(turned.into(), &want);
        drain(&reader, 0, 11 << 20);
        let (_, error) = drain(&reader, from as u64, usize::MAX);
        assert!(matches!(error, Some(BlobReadError::WrongContent { .. })));
        assert_eq!(reader.wrong.load(Ordering::Relaxed), 1);
    }
}
