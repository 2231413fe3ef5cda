//! What can go wrong while building.

use launchway_diagnostics::{Code, Diagnostic, Span};
use launchway_oci::StoreError;
use launchway_sandbox::SandboxError;

/// Why a build did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The user's files or commands are at fault, at a place that can be shown.
    #[error("{}", .0.message)]
    Diagnosed(Box<Diagnostic>),
    /// A base image has a trigger that takes from what the graph was resolved without. It helps to
    /// resolve again, with what is known of the image now.
    #[error("{}", .0.message)]
    Trigger(Box<Diagnostic>),
    #[error("store a layer")]
    Store(#[from] StoreError),
    #[error("run a step in the sandbox")]
    Sandbox(#[from] SandboxError),
    #[error("{act}")]
    Io { act: String, source: std::io::Error },
    /// An image from outside could not be had; the message is the supplier's.
    #[error("get the image {reference}")]
    Image {
        reference: String,
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("interrupted")]
    Cancelled,
}

impl EngineError {
    pub(crate) fn io(act: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Io {
            act: act.into(),
            source,
        }
    }

    pub(crate) fn at(
        code: Code,
        span: Span,
        message: impl Into<String>,
        label: impl Into<String>,
    ) -> Diagnostic {
        Diagnostic::error(code, message).at(span, label)
    }
}

impl From<Diagnostic> for EngineError {
    fn from(diagnostic: Diagnostic) -> Self {
        Self::Diagnosed(Box::new(diagnostic))
    }
}
