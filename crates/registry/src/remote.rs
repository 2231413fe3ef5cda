//! Blobs that are handed on as they come, to a registry or wherever else they are wanted; nothing
//! is stored here.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt as _, Stream, StreamExt as _};
use http::Method;
use launchway_model::{Digest, Repository};
use tokio::sync::mpsc;

use crate::RegistryError;
use crate::answer::Failure;
use crate::auth::{Access, Actions};
use crate::core::Core;
use crate::fetch::{Fetch, Sink, Unfetched};
use crate::source::{BlobReadError, BlobReader, BlobStream, Verified};
use crate::transport::Request;

/// How many pieces wait to be handed on.
const AHEAD: usize = 4;

impl Core {
    /// Asks how large a blob is.
    pub(crate) async fn blob_size(
        &self,
        repository: &Repository,
        digest: &Digest,
    ) -> Result<u64, RegistryError> {
        let mut tries = self.tries(&Method::HEAD, repository, &format!("blobs/{digest}"));
        loop {
            tries.start().await?;
            let asked = async {
                let url = self.url(repository, &format!("blobs/{digest}"))?;
                let request = Request::new(Method::HEAD, url);
                let access = Access::to(repository, Actions::Pull);
                let answer = self.ask(&access, &request).await?;
                let length = answer.text("content-length");
                length.and_then(|text| text.parse().ok()).ok_or_else(|| {
                    Failure::permanent("the registry does not say how large the blob is".to_owned())
                })
            };
            match asked.await {
                Ok(size) => return Ok(size),
                Err(failure) => tries.again(failure).await?,
            }
        }
    }

    /// Reads a blob piece by piece, checked on its way.
    pub(crate) fn blob_reader(
        self: Arc<Self>,
        repository: &Repository,
        digest: &Digest,
        size: u64,
    ) -> Verified {
        let wrong = Arc::new(AtomicUsize::new(0));
        let remote = RemoteBlob {
            core: self,
            repository: repository.clone(),
            digest: digest.clone(),
            size,
            wrong: Arc::clone(&wrong),
        };
        Verified::new(Arc::new(remote), digest.clone(), size, wrong)
    }
}

/// A blob in a registry, read piece by piece.
#[derive(Debug)]
struct RemoteBlob {
    core: Arc<Core>,
    repository: Repository,
    digest: Digest,
    size: u64,
    /// How often the content was wrong; so many sources are passed over.
    wrong: Arc<AtomicUsize>,
}

impl BlobReader for RemoteBlob {
    fn read_from(&self, offset: u64) -> BlobStream {
        let (sender, receiver) = mpsc::channel(AHEAD);
        let core = Arc::clone(&self.core);
        let (repository, digest, size) = (self.repository.clone(), self.digest.clone(), self.size);
        let wrong = self.wrong.load(Ordering::Relaxed);
        let pump = async move {
            let sources = core.sources_of(&repository);
            let first = wrong.min(sources.len() - 1);
            let mut fetch = Fetch::new(&core, &repository, &digest, size, offset);
            let mut sink = Handed(sender);
            let error = match fetch.run(&sources[first..], &mut sink).await {
                Ok(_) => return,
                Err(Unfetched::Failed(error)) => BlobReadError::Registry(error),
                Err(Unfetched::TooMuch(_)) => BlobReadError::WrongContent {
                    want: digest,
                    got: format!("more than {size} bytes"),
                },
            };
            // Nobody is left to be told when the stream was dropped.
            let _ = sink.0.send(Err(error)).await;
        };
        Pumped {
            pump: Some(pump.boxed()),
            pieces: receiver,
        }
        .boxed()
    }
}

/// Gives pieces to whoever reads the stream.
struct Handed(mpsc::Sender<Result<Bytes, BlobReadError>>);

impl Sink for Handed {
    async fn take(&mut self, piece: Bytes) -> Result<(), Failure> {
        self.0
            .send(Ok(piece))
            .await
            .map_err(|_| Failure::permanent("nobody takes the blob any more"))
    }
}

/// A stream of what a future sends; the future runs only while the stream is read, and ends with it.
struct Pumped {
    pump: Option<BoxFuture<'static, ()>>,
    pieces: mpsc::Receiver<Result<Bytes, BlobReadError>>,
}

impl Stream for Pumped {
    type Item = Result<Bytes, BlobReadError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(pump) = &mut self.pump
            && pump.poll_unpin(context).is_ready()
        {
            self.pump = None;
        }
        self.pieces.poll_recv(context)
    }
}
