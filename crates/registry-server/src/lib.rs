//! The embedded registry: the OCI distribution specification (1.1) as a request handler over a
//! directory.
//!
//! This crate owns what an HTTP request means to a registry, and how repositories lie on disk. It
//! knows nothing of the registry client, of families or of releases. [`Registry::handle`] answers a
//! request and touches no socket; [`serve_with`] is the thin loop that gives it connections.
//!
//! # On disk
//!
//! ```text
//! ROOT/repositories/NAME/    a complete OCI image layout: oci-layout, index.json, blobs/ALG/HEX
//! ROOT/blobs/ALG/HEX         every blob once more, as a hard link; how repositories share bytes
//! ROOT/uploads/*.part        what is still on its way in; removed when the root is opened
//! ```
//!
//! * `index.json` is the only truth about which manifests and tags a repository has. It lists every
//!   manifest that was pushed; tags are `org.opencontainers.image.ref.name` annotations. Other tools
//!   read a repository as it is: `skopeo inspect oci:ROOT/repositories/NAME:TAG`. What they write
//!   there is seen by the next request.
//! * A part of a repository's name that is also the name of a file of the layout (`blobs`,
//!   `index.json`, `oci-layout`) gets an underscore appended on disk: the repository `a/blobs` lies
//!   in `a/blobs_`. No legal part ends in an underscore, so two names never meet.
//! * Every file appears by rename or link once it is whole, and (with [`Durability::Disk`]) after
//!   it was flushed. The answer is sent last.
//! * One process at a time: the root directory is held by `flock(2)`, shared when read-only.

mod access;
mod api;
mod body;
mod document;
mod error;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod page;
mod query;
mod range;
mod route;
mod serve;
mod store;
mod tls;
mod upstream;

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response};

pub use access::{Access, Action, Permit, Tokens, Users, UsersError};
pub use body::Body;
pub use serve::{ServeOptions, serve, serve_with};
pub use store::{CollectOptions, Collected, OpenError};
pub use tls::{Tls, TlsError};
pub use upstream::{Upstream, UpstreamBlob, UpstreamError, UpstreamManifest};

/// The largest manifest that is accepted, in bytes. The specification asks for at least 4 MB.
pub const MANIFEST_LIMIT: u64 = 8 << 20;

/// How a registry behaves.
#[derive(Clone)]
pub struct Options {
    /// Refuse everything that would change the root; it may then be a read-only file system.
    pub read_only: bool,
    pub durability: Durability,
    /// How long an upload may lie untouched before it is thrown away.
    pub upload_expiry: Duration,
    /// How long a sender may be silent in the middle of a body before it counts as gone.
    pub body_silence: Duration,
    /// Who may do what; without it, everybody may do everything.
    pub access: Option<Access>,
    /// Be a mirror of this registry: fetch what is asked for and not here, keep it, and take nothing
    /// else in. A mirror needs a root that it may write to; with `read_only` it fetches nothing.
    pub mirror: Option<Arc<dyn Upstream>>,
    /// Told about every answer and every failure of the storage; called on the request's task, so
    /// it has to be quick.
    pub events: Option<EventSink>,
}

/// What hears of events.
pub type EventSink = Arc<dyn Fn(Event) + Send + Sync>;

/// What an acknowledged push survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Loss of power: files and directories are flushed to the disk before the answer is sent.
    Disk,
    /// Death of the process: the operating system has it all, and writes it out in its own time.
    Process,
}

/// What the registry did, for logs.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    Answered {
        method: http::Method,
        path: String,
        status: http::StatusCode,
        /// From the request's head to the answer's head.
        elapsed: Duration,
    },
    /// The answer was a 500; this is why.
    Failed { path: String, reason: String },
    /// Something that somebody should look at, while requests are answered all the same.
    Warned { reason: String },
}

impl Default for Options {
    fn default() -> Self {
        Self {
            read_only: false,
            durability: Durability::Disk,
            upload_expiry: Duration::from_secs(60 * 60),
            body_silence: Duration::from_secs(2 * 60),
            access: None,
            mirror: None,
            events: None,
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("read_only", &self.read_only)
            .field("durability", &self.durability)
            .field("upload_expiry", &self.upload_expiry)
            .field("body_silence", &self.body_silence)
            .field("access", &self.access)
            .finish_non_exhaustive()
    }
}

/// Why a collection ended early. What it removed until then stays removed.
#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error("cannot {act}")]
    Store {
        act: &'static str,
        source: io::Error,
    },
}

/// Removes from a root what nothing in its repository leads to: blobs without a manifest, and what
/// manifests that were deleted have left. Nobody may serve the root meanwhile. Blocks on the disk.
pub fn collect(root: &Path, options: CollectOptions) -> Result<Collected, CollectError> {
    let store = store::Store::open(root, false, Durability::Disk)?;
    store.collect(options).map_err(|error| CollectError::Store {
        act: error.act,
        source: error.source,
    })
}

/// A registry over one root directory. Cloning it is cheap and gives the same registry.
#[derive(Clone)]
pub struct Registry {
    inner: Arc<api::Inner>,
}

impl Registry {
    /// Opens a root, creating it when it is not there and may be written. Blocks on the disk.
    pub fn open(root: &Path, options: Options) -> Result<Self, OpenError> {
        let store = store::Store::open(root, options.read_only, options.durability)?;
        Ok(Self {
            inner: Arc::new(api::Inner::new(store, options)),
        })
    }

    /// Answers one request. Needs a tokio runtime: the disk is read and written on its blocking
    /// threads. Memory per request is bounded, whatever the size of blobs.
    pub async fn handle<B>(&self, request: Request<B>) -> Response<Body>
    where
        B: http_body::Body<Data = Bytes> + Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        self.answer(request, false).await
    }

    /// Like [`Registry::handle`], for a request that came over TLS or not.
    pub(crate) async fn answer<B>(&self, request: Request<B>, secure: bool) -> Response<Body>
    where
        B: http_body::Body<Data = Bytes> + Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let started = Instant::now();
        let method = request.method().clone();
        let path = request.uri().path().to_owned();
        let response = api::answer(&self.inner, request, secure).await;
        self.inner.tell(|| Event::Answered {
            method,
            path,
            status: response.status(),
            elapsed: started.elapsed(),
        });
        response
    }

    pub(crate) fn tell(&self, event: impl FnOnce() -> Event) {
        self.inner.tell(event);
    }

    /// Throws away uploads that nobody has touched for long.
    pub(crate) fn sweep(&self) {
        self.inner.sweep();
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry").finish_non_exhaustive()
    }
}
