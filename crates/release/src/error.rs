//! What can go wrong in a release.

use std::sync::Arc;

use launchway_diagnostics::Diagnostic;
use launchway_engine::EngineError;
use launchway_model::Reference;
use launchway_oci::StoreError;
use launchway_registry::RegistryError;

use crate::merge::Disagreement;

/// Why a part of a release failed. Cheap to clone: several parts may wait for the same thing.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ReleaseError {
    /// The user's files are at fault, at places that can be shown.
    #[error("{}", .0.first().map_or("the family has problems", |problem| problem.message.as_str()))]
    Diagnosed(Arc<Vec<Diagnostic>>),
    /// No certain answer could be had.
    #[error("{}", .0.first().map_or("no registry could be asked", |problem| problem.message.as_str()))]
    Unknown(Arc<Vec<Diagnostic>>),
    /// `what` is the act that failed.
    #[error("{what}")]
    Engine {
        what: String,
        #[source]
        source: Arc<EngineError>,
    },
    #[error(transparent)]
    Registry(#[from] RegistryError),
    #[error("use the local store")]
    Store(#[source] Arc<StoreError>),
    #[error("{what}")]
    Io {
        what: String,
        #[source]
        source: Arc<std::io::Error>,
    },
    #[error(transparent)]
    Disagreement(#[from] Disagreement),
    #[error("{reference} changed while the release ran: expected {expected}, found {found}")]
    Moved {
        reference: Reference,
        expected: String,
        found: String,
    },
    #[error("{reference} is not what the registry should hold: {why}")]
    Differs { reference: Reference, why: String },
    #[error("smoke test `{test}` of {node} on {platform} failed: {why}")]
    Smoke {
        node: String,
        platform: String,
        test: String,
        why: String,
    },
    #[error("{node} on {platform} does not pass the lint: {why}")]
    Lint {
        node: String,
        platform: String,
        why: String,
    },
    #[error("{0}")]
    Broken(String),
    #[error("interrupted")]
    Cancelled,
}

impl ReleaseError {
    pub(crate) fn engine(what: impl Into<String>) -> impl FnOnce(EngineError) -> Self {
        move |source| match source {
            EngineError::Diagnosed(diagnostic) | EngineError::Trigger(diagnostic) => {
                Self::Diagnosed(Arc::new(vec![*diagnostic]))
            }
            EngineError::Cancelled => Self::Cancelled,
            source => Self::Engine {
                what: what.into(),
                source: Arc::new(source),
            },
        }
    }

    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Io {
            what: what.into(),
            source: Arc::new(source),
        }
    }
}

impl From<StoreError> for ReleaseError {
    fn from(error: StoreError) -> Self {
        Self::Store(Arc::new(error))
    }
}
