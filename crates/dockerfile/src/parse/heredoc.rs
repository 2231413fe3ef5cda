//! Which heredocs a line announces.

use launchway_diagnostics::Span;

use super::line::Piece;
use super::words::{self, Json};
use crate::Heredoc;
use crate::expand::{ExpandError, Lexer, Mode};

/// Whether a line is of a kind that can have heredocs, and has the characters for one.
pub(crate) fn may_have_heredocs(line: Piece<'_>, escape: char) -> bool {
    if !line.text().contains("<<") {
        return false;
    }
    let mut split = words::split(line, escape);
    if split.name.text().eq_ignore_ascii_case("onbuild") {
        split = words::split(split.arguments, escape);
    }
    let name = split.name.text().to_ascii_lowercase();
    matches!(name.as_str(), "run" | "copy" | "add")
        && words::json(split.arguments.text()) == Json::Malformed
}

/// The heredocs of a line in their order, still without content. A line whose quotes do not match
/// has none, as in Docker.
pub(crate) fn announced(line: Piece<'_>) -> Result<Vec<Heredoc>, (ExpandError, Span)> {
    let mode = Mode {
        keep_quotes: true,
        keep_escapes: true,
        keep_unset: true,
        ..Mode::default()
    };
    let Ok(words) = lex(line.text(), mode) else {
        return Ok(Vec::new());
    };
    let mut found = Vec::new();
    let mut searched = 0;
    for word in words {
        let at = word.find("<<").and_then(|inside| {
            let rest = &line.text()[searched..];
            let start = rest.find(&word[inside..]).map(|at| searched + at)?;
            Some((start, start + word.len() - inside))
        });
        let span = at.map_or(line.span(), |(start, end)| {
            searched = end;
            line.part(start..end).span()
        });
        if let Some(heredoc) = parse_word(&word, span).map_err(|error| (error, span))? {
            found.push(heredoc);
        }
    }
    Ok(found)
}

/// Whether a word, or a whole command, is nothing but one heredoc.
pub(crate) fn delimiter(word: &str) -> Option<String> {
    heredoc_parts(word).ok().flatten().map(|parts| parts.name)
}

struct Parts {
    name: String,
    expand: bool,
    chomp: bool,
}

fn parse_word(word: &str, span: Span) -> Result<Option<Heredoc>, ExpandError> {
    Ok(heredoc_parts(word)?.map(|parts| Heredoc {
        name: parts.name,
        content: String::new(),
        expand: parts.expand,
        chomp: parts.chomp,
        span,
    }))
}

/// `[number]<<[-]delimiter`.
fn heredoc_parts(word: &str) -> Result<Option<Parts>, ExpandError> {
    let Some(rest) = word
        .trim_start_matches(|c: char| c.is_ascii_digit())
        .strip_prefix("<<")
    else {
        return Ok(None);
    };
    let (rest, chomp) = match rest.strip_prefix('-') {
        Some(rest) => (rest, true),
        None => (rest, false),
    };
    let rest = rest.trim_start_matches([' ', '\t', '\r', '\n', '\u{c}']);
    if rest.is_empty() || rest.contains('<') {
        return Ok(None);
    }
    let plain = Mode {
        keep_unset: true,
        ..Mode::default()
    };
    let Ok([name]) = <[String; 1]>::try_from(lex(rest, plain)?) else {
        return Ok(None);
    };
    let quoted = Mode {
        keep_quotes: true,
        ..plain
    };
    let quotes = |text: &str| text.matches(['\'', '"']).count();
    let before: usize = lex(rest, quoted)?.iter().map(|word| quotes(word)).sum();
    Ok(Some(Parts {
        expand: before == quotes(&name),
        name,
        chomp,
    }))
}

/// Heredocs are found with a backslash whatever the escape character of the file is.
fn lex(text: &str, mode: Mode) -> Result<Vec<String>, ExpandError> {
    Lexer::new(text, '\\', mode, &|_| None)
        .run()
        .map(|expanded| expanded.words)
}
