//! The way of a text through the parts of this crate: TOML, shape, values, checks.

use std::collections::BTreeSet;

use launchway_diagnostics::{Code, Diagnostic, SourceId, Span};
use toml::de::{DeTable, Error};

use crate::keys::ROOT;
use crate::read::{Reader, Table, family};
use crate::shape::ShapeCheck;
use crate::{Parsed, check, codes};

pub(crate) fn parse(source: SourceId, text: &str) -> Parsed {
    let (document, errors) = DeTable::parse_recoverable(text);
    let root = document.get_ref();
    // The document as a whole has no place that could be shown.
    let head = Span::new(source, 0..0);

    let mut shape = ShapeCheck {
        source,
        text,
        diagnostics: Vec::new(),
    };
    shape.table(root, &ROOT, head);

    let mut reader = Reader {
        source,
        text,
        diagnostics: shape.diagnostics,
        versions: BTreeSet::new(),
        versions_incomplete: !errors.is_empty(),
        unreadable_images: BTreeSet::new(),
    };
    let draft = family(&mut reader, &Table::new(root, &ROOT, source, head));
    let mut diagnostics = reader.diagnostics;

    if errors.is_empty() {
        diagnostics.extend(check::check(&draft));
    } else {
        let broken: Vec<Span> = errors
            .iter()
            .map(|error| syntax_span(source, text, error))
            .collect();
        diagnostics.retain(|problem| is_independent(problem, &broken, text));
        diagnostics.extend(
            errors
                .iter()
                .zip(&broken)
                .map(|(error, span)| syntax(error, *span)),
        );
    }
    diagnostics.sort_by_key(|problem| problem.labels.first().map(|label| label.span));

    let mut family = draft.family;
    let sound = !diagnostics.iter().any(Diagnostic::is_error);
    Parsed {
        family: sound.then(|| {
            family.images = check::bases_first(family.images);
            family
        }),
        diagnostics,
    }
}

/// Whether a problem stands whatever the broken spots were meant to say: it is not about
/// something that is missing, and lies on no broken line.
fn is_independent(problem: &Diagnostic, broken: &[Span], text: &str) -> bool {
    const ABOUT_WHAT_IS_MISSING: [Code; 2] = [codes::MISSING_KEY, codes::ONE_OF];
    let line = |span: Span| {
        let start = span.range().start.min(text.len());
        text.as_bytes()[..start]
            .iter()
            .filter(|byte| **byte == b'\n')
            .count()
    };
    !ABOUT_WHAT_IS_MISSING.contains(&problem.code)
        && !problem
            .labels
            .iter()
            .any(|label| broken.iter().any(|span| line(*span) == line(label.span)))
}

fn syntax(error: &Error, span: Span) -> Diagnostic {
    let problem =
        Diagnostic::error(codes::SYNTAX, "the file is not TOML here").at(span, error.message());
    if error.message() == "duplicate key" {
        problem.help("a key stands once in a table, and a table's head once in the file")
    } else {
        problem
    }
}

/// The place of a syntax error; at least one character where there is one.
fn syntax_span(source: SourceId, text: &str, error: &Error) -> Span {
    let range = error.span().unwrap_or(0..0);
    if range.is_empty() {
        let next = text.get(range.start..).and_then(|rest| rest.chars().next());
        if let Some(next) = next.filter(|c| *c != '\n') {
            return Span::new(source, range.start..range.start + next.len_utf8());
        }
    }
    Span::new(source, range)
}
