//! Problems as text, in the manner of rustc.

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

use crate::controls::{with_marks, without_controls};
use crate::{Diagnostic, Severity, SourceId, SourceMap};

/// Whether escape sequences for colour are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colour {
    Always,
    Never,
}

/// One problem as text, without a final line break.
pub fn render(diagnostic: &Diagnostic, sources: &SourceMap, colour: Colour) -> String {
    let level = match diagnostic.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let title = level
        .primary_title(without_controls(&diagnostic.message))
        .id(diagnostic.code.0);
    let mut group = Group::with_title(title);
    for source in sources_in_order(diagnostic) {
        let text = with_marks(sources.text(source));
        let length = text.len();
        let name = without_controls(sources.name(source));
        let mut snippet = Snippet::source(text).path(name);
        for label in diagnostic
            .labels
            .iter()
            .filter(|label| label.span.source == source)
        {
            let kind = if label.primary {
                AnnotationKind::Primary
            } else {
                AnnotationKind::Context
            };
            let range = label.span.range();
            let range = range.start.min(length)..range.end.min(length);
            let annotation = kind.span(range);
            snippet = snippet.annotation(if label.text.is_empty() {
                annotation
            } else {
                annotation.label(without_controls(&label.text))
            });
        }
        group = group.element(snippet);
    }
    for note in &diagnostic.notes {
        group = group.element(Level::NOTE.message(without_controls(note)));
    }
    for help in &diagnostic.help {
        group = group.element(Level::HELP.message(without_controls(help)));
    }
    let renderer = match colour {
        Colour::Always => Renderer::styled(),
        Colour::Never => Renderer::plain(),
    };
    renderer.render(&[group])
}

/// All problems, one after the other with a blank line between, in the order of their places.
pub fn render_all(diagnostics: &[Diagnostic], sources: &SourceMap, colour: Colour) -> String {
    let mut ordered: Vec<&Diagnostic> = diagnostics.iter().collect();
    ordered.sort_by_key(|diagnostic| diagnostic.labels.first().map(|label| label.span));
    let texts: Vec<String> = ordered
        .into_iter()
        .map(|diagnostic| render(diagnostic, sources, colour))
        .collect();
    texts.join("\n\n")
}

/// The texts that the labels point into: that of a primary label first.
fn sources_in_order(diagnostic: &Diagnostic) -> Vec<SourceId> {
    let mut order: Vec<SourceId> = Vec::new();
    let primary = diagnostic.labels.iter().filter(|label| label.primary);
    let context = diagnostic.labels.iter().filter(|label| !label.primary);
    for label in primary.chain(context) {
        if !order.contains(&label.span.source) {
            order.push(label.span.source);
        }
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Code, Span};

    #[test]
    fn shows_place_reason_and_remedy() {
        let mut sources = SourceMap::new();
        let id = sources.add("launchway.toml", "[family]\nnme = \"x\"\n");
        let diagnostic = Diagnostic::error(Code("LW0101"), "unknown key `nme`")
            .at(Span::new(id, 9..12), "not a key of [family]")
            .help("did you mean `name`?");
        let text = render(&diagnostic, &sources, Colour::Never);
        for part in [
            "error[LW0101]: unknown key `nme`",
            "launchway.toml:2:1",
            "nme = \"x\"",
            "^^^ not a key of [family]",
            "help: did you mean `name`?",
        ] {
            assert!(text.contains(part), "{part:?} is not in:\n{text}");
        }
    }
}
