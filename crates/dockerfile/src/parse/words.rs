//! How a logical line falls into an instruction, flags and words. Each instruction has its own
//! way; these are all of them.

use super::line::Piece;

/// An instruction's name, its flags and the rest.
#[derive(Clone, Debug)]
pub(crate) struct Split<'a> {
    pub(crate) name: Piece<'a>,
    pub(crate) flags: Vec<Word<'a>>,
    pub(crate) arguments: Piece<'a>,
}

/// A word: as the reading rules leave it, and where it stands.
#[derive(Clone, Debug)]
pub(crate) struct Word<'a> {
    pub(crate) text: String,
    pub(crate) piece: Piece<'a>,
}

/// What the arguments of an instruction that can be JSON are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Json {
    Strings(Vec<String>),
    /// An array that holds something else than strings; Docker refuses it.
    NotStrings,
    /// No array, or malformed; Docker takes it for the other form.
    Malformed,
}

/// The spaces that Docker splits at.
fn is_blank(c: char) -> bool {
    matches!(c, '\t' | '\u{b}' | '\u{c}' | '\r' | ' ')
}

pub(crate) fn split<'a>(line: Piece<'a>, escape: char) -> Split<'a> {
    let line = line.trim();
    let text = line.text();
    let name_end = text.find(is_blank).unwrap_or(text.len());
    let (flags, arguments) = split_flags(line.from(name_end), escape);
    Split {
        name: line.part(0..name_end),
        flags,
        arguments: arguments.trim(),
    }
}

/// Words that start with `--`, up to the first that does not; `--` alone ends them. Quotes are
/// taken off.
fn split_flags<'a>(rest: Piece<'a>, escape: char) -> (Vec<Word<'a>>, Piece<'a>) {
    let text = rest.text();
    let mut flags = Vec::new();
    let mut at = 0;
    loop {
        at += text[at..].len() - text[at..].trim_start().len();
        if !text[at..].starts_with("--") {
            return (flags, rest.from(at));
        }
        let mut word = String::new();
        let mut quote = None;
        let mut end = text.len();
        let mut input = text[at..].char_indices();
        while let Some((offset, next)) = input.next() {
            match (next, quote) {
                (_, None) if next.is_whitespace() => {
                    end = at + offset;
                    break;
                }
                ('\'' | '"', None) => quote = Some(next),
                (_, Some(open)) if next == open => quote = None,
                _ if next == escape => {
                    if let Some((_, escaped)) = input.next() {
                        word.push(escaped);
                    }
                }
                _ => word.push(next),
            }
        }
        if word == "--" {
            return (flags, rest.from(end));
        }
        flags.push(Word {
            text: word,
            piece: rest.part(at..end),
        });
        at = end;
    }
}

/// Words between spaces; quotes mean nothing.
pub(crate) fn blank_separated<'a>(arguments: Piece<'a>) -> Vec<Piece<'a>> {
    let text = arguments.text();
    let mut words = Vec::new();
    let mut at = 0;
    for word in text.split(is_blank) {
        if !word.is_empty() {
            words.push(arguments.part(at..at + word.len()));
        }
        // Every separator is one byte.
        at += word.len() + 1;
    }
    words
}

/// Words between spaces that are neither quoted nor escaped; quotes and escapes are kept.
pub(crate) fn quoted_words<'a>(arguments: Piece<'a>, escape: char) -> Vec<Word<'a>> {
    let text = arguments.text();
    let mut words = Vec::new();
    let mut at = 0;
    loop {
        at += text[at..].len() - text[at..].trim_start().len();
        if at == text.len() {
            return words;
        }
        let mut word = String::new();
        let mut quote = None;
        let mut end = text.len();
        let mut input = text[at..].char_indices();
        while let Some((offset, next)) = input.next() {
            match (next, quote) {
                (_, None) if next.is_whitespace() => {
                    end = at + offset;
                    break;
                }
                ('\'' | '"', None) => quote = Some(next),
                (_, Some(open)) if next == open => quote = None,
                _ => {}
            }
            // Nothing can be escaped between single quotes.
            if next == escape && quote != Some('\'') {
                let Some((_, escaped)) = input.next() else {
                    break;
                };
                word.push(next);
                word.push(escaped);
            } else {
                word.push(next);
            }
        }
        if !word.is_empty() {
            words.push(Word {
                text: word,
                piece: arguments.part(at..end),
            });
        }
        at = end;
    }
}

/// `NAME VALUE WITH SPACES`, the old form of `ENV` and `LABEL`.
pub(crate) fn name_and_rest<'a>(arguments: Piece<'a>) -> Option<(Piece<'a>, Piece<'a>)> {
    let text = arguments.text();
    let name_end = text.find(is_blank)?;
    let rest = text[name_end..].trim_start_matches(is_blank);
    Some((
        arguments.part(0..name_end),
        arguments.from(text.len() - rest.len()),
    ))
}

pub(crate) fn json(arguments: &str) -> Json {
    if !arguments.trim_start().starts_with('[') {
        return Json::Malformed;
    }
    let Ok(values) = serde_json::from_str::<Vec<serde_json::Value>>(arguments) else {
        return Json::Malformed;
    };
    let strings = values.into_iter().map(|value| match value {
        serde_json::Value::String(text) => Some(text),
        _ => None,
    });
    strings
        .collect::<Option<Vec<_>>>()
        .map_or(Json::NotStrings, Json::Strings)
}
