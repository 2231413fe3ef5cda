//! Arguments that name images, and what every command about them shares.

use launchway_diagnostics::{Diagnostic, SourceMap, Span};
use launchway_transfer::{Location, TransferError, codes};

use crate::failure::{Exit, Failure};

/// Reads the name of a place; `argument` is what the help calls it.
pub(crate) fn parse(argument: &str, text: &str) -> Result<Location, Failure> {
    text.parse()
        .map_err(|error: launchway_transfer::LocationError| {
            let mut sources = SourceMap::new();
            let source = sources.add(argument.to_owned(), text.to_owned());
            let diagnostic = Diagnostic::error(
                codes::LOCATION,
                format!("{argument} names no place that images are in"),
            )
            .at(Span::new(source, error.at), error.reason)
            .help(error.help);
            Failure::diagnosed(vec![diagnostic], sources)
        })
}

/// The same for all of a list; the first that is wrong is told.
pub(crate) fn parse_all(argument: &str, texts: &[String]) -> Result<Vec<Location>, Failure> {
    texts.iter().map(|text| parse(argument, text)).collect()
}

/// A failure of looking at something or moving it, with its code, its causes and its remedy.
pub(crate) fn failure(error: &TransferError, exit: Exit) -> Failure {
    let mut diagnostic = Diagnostic::error(error.code(), error.to_string());
    let mut next = std::error::Error::source(error);
    while let Some(cause) = next {
        diagnostic = diagnostic.note(cause.to_string());
        next = cause.source();
    }
    if let Some(help) = error.help() {
        diagnostic = diagnostic.help(help);
    }
    Failure::Diagnosed {
        diagnostics: vec![diagnostic],
        sources: SourceMap::new(),
        exit,
    }
}

/// The exit code of a question: whether the answer was that there is no such thing, or none came.
pub(crate) fn exit_of_question(error: &TransferError) -> Exit {
    if error.is_unknown() {
        Exit::Unknown
    } else {
        Exit::Failed
    }
}
