//! The two errors of this crate: a client that cannot be made, and a request that failed.

use std::fmt;

use launchway_diagnostics::Code;

/// Why a client could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("cannot set up HTTP: {0}")]
    Http(String),
    #[error(
        "the mirror prefix {prefix:?} is no repository path: it has lower-case letters, digits and '/'"
    )]
    MirrorPrefix { prefix: String },
    #[error("the user agent holds characters that no header can carry")]
    UserAgent,
}

/// What kind of failure it was, and so what can be done about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorClass {
    /// The network or the registry stumbled; the same request may succeed later.
    Transient,
    /// The registry limits how often it may be asked.
    Throttled,
    /// The credentials are missing, wrong or not enough.
    Auth,
    /// The registry says that there is no such thing.
    Missing,
    /// Asking again cannot help.
    Permanent,
}

impl ErrorClass {
    /// Whether the same request may be made again.
    pub fn is_retryable(self) -> bool {
        matches!(self, Self::Transient | Self::Throttled)
    }
}

/// A request that failed for good: all tries are used up, or no other try can help.
///
/// Holds no secret: neither header values nor the queries of URLs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistryError {
    pub class: ErrorClass,
    /// The request in words: method, host and path.
    pub request: String,
    /// The status of the last answer, when there was one.
    pub status: Option<u16>,
    /// What the registry or the network said.
    pub detail: String,
    /// How many tries were made; zero when the request was refused here.
    pub attempts: u32,
    /// A code that says more than that of the class.
    pub(crate) narrower: Option<Code>,
}

impl fmt::Display for RegistryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {}: ", self.request)?;
        if let Some(status) = self.status {
            write!(f, "answered {status}")?;
            if !self.detail.is_empty() {
                write!(f, ", ")?;
            }
        }
        write!(f, "{}", self.detail)?;
        if self.attempts > 1 {
            write!(f, " (tried {} times)", self.attempts)?;
        }
        Ok(())
    }
}

impl std::error::Error for RegistryError {}
