//! Why an image could not be read, copied or looked at.

use std::io;
use std::path::PathBuf;

use launchway_diagnostics::Code;
use launchway_model::Digest;
use launchway_registry::{BlobReadError, ErrorClass, RegistryError};

use crate::codes;

/// Why moving or reading an image failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TransferError {
    #[error(transparent)]
    Registry(#[from] RegistryError),
    #[error("{place} has no {what}")]
    Missing { place: String, what: String },
    #[error("{tag:?} cannot be a tag of {place}: {reason}")]
    Tag {
        place: String,
        tag: String,
        reason: &'static str,
    },
    #[error("{place} holds no {what}")]
    Absent {
        place: String,
        what: String,
        /// What is there instead.
        there: Vec<String>,
    },
    #[error("{place} has nothing for {}", wanted.join(", "))]
    NoPlatform {
        place: String,
        wanted: Vec<String>,
        there: Vec<String>,
    },
    #[error("{place} is {found}, not {wanted}")]
    OtherDigest {
        place: String,
        wanted: Digest,
        found: Digest,
    },
    #[error("{place}: the document {digest} cannot be used: {reason}")]
    Document {
        place: String,
        digest: String,
        reason: String,
    },
    #[error("cannot {act} {path}", path = path.display())]
    Io {
        act: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error("{path} cannot be used: {reason}", path = path.display())]
    Local {
        path: PathBuf,
        reason: String,
        help: String,
    },
    #[error("cannot read the blob {digest}")]
    Blob {
        digest: Digest,
        source: BlobReadError,
    },
    #[error("cannot use the local store")]
    Store(#[source] Box<launchway_oci::StoreError>),
    #[error("{place} takes one image of one platform, and there are {}", there.join(", "))]
    OneImage { place: String, there: Vec<String> },
}

impl TransferError {
    /// The stable code of this failure.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Registry(error) => error.code(),
            Self::Blob {
                source: BlobReadError::Registry(error),
                ..
            } => error.code(),
            Self::Missing { .. } => launchway_registry::codes::MISSING,
            Self::Tag { .. } => codes::LOCATION,
            Self::Absent { .. } => codes::NOT_HERE,
            Self::NoPlatform { .. } => codes::NO_PLATFORM,
            Self::OtherDigest { .. } => codes::OTHER_DIGEST,
            Self::Document { .. } => codes::DOCUMENT,
            Self::Io { .. } | Self::Local { .. } | Self::Blob { .. } | Self::Store(_) => {
                codes::LOCAL
            }
            Self::OneImage { .. } => codes::ONE_IMAGE,
        }
    }

    /// What can be done about it, where that is known.
    #[must_use]
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Missing { .. } => Some(MISSING_HELP.to_owned()),
            Self::Absent { there, .. } if there.is_empty() => None,
            Self::Absent { there, .. } => Some(format!("there are {}", there.join(", "))),
            Self::NoPlatform { there, .. } if there.is_empty() => {
                Some("it says no platform at all; leave --platform out".to_owned())
            }
            Self::NoPlatform { there, .. } => Some(format!("there are {}", there.join(", "))),
            Self::OneImage { there, .. } => {
                let first = there.first()?;
                Some(format!("choose one: --platform {first}"))
            }
            Self::Local { help, .. } if !help.is_empty() => Some(help.clone()),
            Self::Registry(error)
            | Self::Blob {
                source: BlobReadError::Registry(error),
                ..
            } => registry_help(error),
            _ => None,
        }
    }

    /// Whether the place said that there is no such thing, as against a place that could not be
    /// asked.
    #[must_use]
    pub fn is_absence(&self) -> bool {
        match self {
            Self::Missing { .. } | Self::Absent { .. } | Self::NoPlatform { .. } => true,
            Self::Registry(error) => error.class == ErrorClass::Missing,
            _ => false,
        }
    }

    /// Whether nobody can tell: a registry gave no answer, or refused one.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        let class = match self {
            Self::Registry(error)
            | Self::Blob {
                source: BlobReadError::Registry(error),
                ..
            } => error.class,
            _ => return false,
        };
        class != ErrorClass::Missing
    }
}

const MISSING_HELP: &str = "check the spelling; some registries say the same of private repositories when nobody is logged in";

fn registry_help(error: &RegistryError) -> Option<String> {
    Some(match error.class {
        ErrorClass::Auth => {
            "log in with an account that may do this here: docker login HOST".to_owned()
        }
        ErrorClass::Missing => MISSING_HELP.to_owned(),
        ErrorClass::Throttled => {
            "wait, or log in: most registries give more to those they know".to_owned()
        }
        ErrorClass::Transient => {
            "check the host and the network, then run the same command again".to_owned()
        }
        ErrorClass::Permanent => return None,
    })
}

/// Gives an `io::Error` its act and its path.
pub(crate) trait At<T> {
    fn at(self, act: &'static str, path: &std::path::Path) -> Result<T, TransferError>;
}

impl<T, E: Into<io::Error>> At<T> for Result<T, E> {
    fn at(self, act: &'static str, path: &std::path::Path) -> Result<T, TransferError> {
        self.map_err(|error| TransferError::Io {
            act,
            path: path.to_owned(),
            source: error.into(),
        })
    }
}
