//! What the client tells while it works.

use std::time::Duration;

use jiff::Timestamp;
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
    /// A registry limits us: no request goes to it before `until`. Told once for each such time,
    /// however many calls wait for it.
    Limited {
        host: RegistryHost,
        until: Timestamp,
        /// The call that met the limit fails when it still has not gone through by then.
        gives_up: Timestamp,
        /// What the registry answered.
        reason: String,
    },
    /// Another number of requests may be under way to a host at the same time: fewer after it
    /// limited us, one more after it has kept up for a while.
    Concurrency {
        host: RegistryHost,
        from: u32,
        to: u32,
    },
    /// What a registry says is left of a quota: told when it first says so, and again when little
    /// is left and when nothing is.
    Quota {
        host: RegistryHost,
        limit: u64,
        remaining: u64,
        /// How long the limit is counted over.
        window: Option<Duration>,
        /// Whether a tenth of the limit or less is left.
        low: bool,
    },
    /// A mirror failed, and others are asked instead of it until then.
    MirrorRests {
        mirror: RegistryHost,
        until: Timestamp,
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
