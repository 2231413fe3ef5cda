//! What the client tells while it works.

use std::time::Duration;

use launchway_model::{Digest, RegistryHost, Repository};

/// One thing that happened. Never holds a header value, a token or the query of an URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientEvent {
    /// A request was answered, or failed on its way.
    Request {
        method: String,
        host: RegistryHost,
        /// The path without the query.
        path: String,
        /// None when no answer came.
        status: Option<u16>,
        elapsed: Duration,
    },
    /// A request will be made again after a pause.
    Retry {
        /// The request in words, for example `GET ghcr.io/v2/…`.
        request: String,
        pause: Duration,
        reason: String,
    },
    /// A blob has moved on; `done` never exceeds `total`, and falls back when a transfer starts over.
    BlobProgress {
        repository: Repository,
        digest: Digest,
        direction: Direction,
        done: u64,
        total: u64,
    },
}

/// Which way a blob travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    Pull,
    Push,
}
