//! What went wrong with files, as it is shown.

use launchway_context::ContextError;
use launchway_diagnostics::{Diagnostic, Span};
use launchway_oci::StoreError;

use crate::archive::ArchiveError;
use crate::copy::CopyError;
use crate::users::UserError;
use crate::web::DownloadError;
use crate::{EngineError, codes};

pub(crate) fn missing(error: &ContextError, span: Span, from: Option<&str>) -> EngineError {
    let place = match from {
        Some(from) => format!("in `{from}`"),
        None => "in the build context".to_owned(),
    };
    let diagnostic = match error {
        ContextError::Missing { pattern, closest } => {
            let diagnostic =
                Diagnostic::error(codes::SOURCE_MISSING, format!("`{pattern}` is not {place}"))
                    .at(span, "no such file or directory");
            match closest {
                Some(near) => diagnostic.help(format!("did you mean `{near}`?")),
                None if from.is_none() => {
                    diagnostic.help("check the path, and that .dockerignore does not exclude it")
                }
                None => diagnostic,
            }
        }
        ContextError::Excluded { pattern } => Diagnostic::error(
            codes::SOURCE_MISSING,
            match from {
                Some(from) => format!("`{pattern}` is left out of the context `{from}`"),
                None => format!("`{pattern}` is left out of the build context"),
            },
        )
        .at(span, "an ignore rule excludes it")
        .help("add an exception to .dockerignore (`!path`), or copy something else"),
        ContextError::LinkLeaves { path, target } => Diagnostic::error(
            codes::SOURCE_ESCAPES,
            format!("`{}` leads out of the build context", path.display()),
        )
        .at(
            span,
            format!("this symbolic link points to {}", target.display()),
        )
        .help("copy the file into the context; nothing outside it can be read by a build"),
        other => {
            let mut diagnostic = Diagnostic::error(
                codes::SOURCE_MISSING,
                format!("cannot read a source {place}"),
            )
            .at(span, other.to_string());
            if let Some(cause) = std::error::Error::source(other) {
                diagnostic = diagnostic.note(cause.to_string());
            }
            diagnostic
        }
    };
    diagnostic.into()
}

/// Files that were selected and then could not be read.
pub(crate) fn unreadable(error: &ContextError) -> EngineError {
    if matches!(error, ContextError::Stopped) {
        return EngineError::Cancelled;
    }
    let cause = std::error::Error::source(error).map(ToString::to_string);
    EngineError::io(error.to_string())(std::io::Error::other(
        cause.unwrap_or_else(|| error.to_string()),
    ))
}

pub(crate) fn cannot_place(error: CopyError, span: Span) -> EngineError {
    if matches!(error, CopyError::Cancelled) {
        return EngineError::Cancelled;
    }
    let mut diagnostic =
        Diagnostic::error(codes::CANNOT_PLACE, error.to_string()).at(span, "while doing this");
    if let Some(cause) = std::error::Error::source(&error) {
        diagnostic = diagnostic.note(cause.to_string());
    }
    diagnostic.into()
}

/// A file that was written to between its digest and its copy: there is no telling what the step would be.
pub(crate) fn changed_meanwhile(error: EngineError, span: Span) -> EngineError {
    match error {
        EngineError::Store(StoreError::Changed(path)) => Diagnostic::error(
            codes::CANNOT_PLACE,
            format!("`{}` changed while it was copied", path.display()),
        )
        .at(span, "while doing this")
        .help("build again when nothing writes to the context, or leave the file out with .dockerignore")
        .into(),
        other => other,
    }
}

pub(crate) fn unknown_user(error: &UserError, span: Span) -> EngineError {
    Diagnostic::error(codes::UNKNOWN_USER, error.to_string())
        .at(span, "named here")
        .help("create it in an earlier RUN (useradd, groupadd), or use numbers")
        .into()
}

pub(crate) fn not_fetched(url: &str, error: &DownloadError, span: Span) -> EngineError {
    let mut diagnostic = Diagnostic::error(codes::NOT_FETCHED, format!("cannot take {url}"))
        .at(span, error.to_string());
    let mut cause = std::error::Error::source(error);
    while let Some(next) = cause {
        diagnostic = diagnostic.note(next.to_string());
        cause = next.source();
    }
    diagnostic.into()
}

pub(crate) fn bad_archive(error: &ArchiveError, span: Span) -> EngineError {
    let mut diagnostic = Diagnostic::error(codes::BAD_ARCHIVE, "cannot unpack the archive")
        .at(span, "given here")
        .note(error.to_string());
    let mut cause = std::error::Error::source(error);
    while let Some(next) = cause {
        diagnostic = diagnostic.note(next.to_string());
        cause = next.source();
    }
    diagnostic.into()
}
