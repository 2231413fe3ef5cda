//! The text of a `--mount` to its fields.

use std::ops::Range;

use launchway_diagnostics::{Diagnostic, Span, Spanned, closest};

use super::{Field, Key, MountFlag, MountKind, bad};
use crate::{codes, expand};

const KEYS: [(&str, Key); 19] = [
    ("type", Key::Type),
    ("from", Key::From),
    ("source", Key::Source),
    ("src", Key::Source),
    ("target", Key::Target),
    ("dst", Key::Target),
    ("destination", Key::Target),
    ("readonly", Key::ReadOnly),
    ("ro", Key::ReadOnly),
    ("readwrite", Key::ReadWrite),
    ("rw", Key::ReadWrite),
    ("required", Key::Required),
    ("size", Key::Size),
    ("id", Key::Id),
    ("sharing", Key::Sharing),
    ("mode", Key::Mode),
    ("uid", Key::Uid),
    ("gid", Key::Gid),
    ("env", Key::Env),
];

/// Reads the value of a `--mount`. Fields without variables are checked at once.
pub(crate) fn parse(
    flag: &Spanned<String>,
    escape: char,
    problems: &mut Vec<Diagnostic>,
) -> Result<MountFlag, Diagnostic> {
    let mut fields = Vec::new();
    for (text, place) in split_fields(flag)? {
        fields.push(read_field(flag, &text, place)?);
    }
    let mut mount = MountFlag {
        kind: known_kind(&fields)?,
        from: None,
        span: flag.span,
        fields,
    };
    mount.from = mount.text(Key::From).filter(|from| !from.is_empty());
    if let Some(from) = &mount.from {
        crate::parse::check_from(from, escape, problems);
        if mount.kind == Some(MountKind::Tmpfs) {
            problems.push(
                Diagnostic::warning(codes::USELESS_FIELD, "a tmpfs mount is always empty")
                    .at(from.span, "has no effect"),
            );
            mount.from = None;
        }
    }
    let expand_checked = |word: &str| expand(word, escape, &|_| None);
    let variable = |field: &Field| {
        field
            .value
            .as_ref()
            .is_some_and(|value| value.contains('$'))
    };
    if !mount.fields.iter().any(variable) {
        mount.resolve(&expand_checked)?;
    }
    Ok(mount)
}

/// The comma-separated fields with their ranges; a field can be put in double quotes.
fn split_fields(flag: &Spanned<String>) -> Result<Vec<(String, Range<usize>)>, Diagnostic> {
    let text = flag.value.as_str();
    let mut fields = Vec::new();
    let mut at = 0;
    loop {
        let rest = &text[at..];
        let (field, length) = match rest.strip_prefix('"') {
            None => {
                let length = rest.find(',').unwrap_or(rest.len());
                (rest[..length].to_owned(), length)
            }
            Some(_) => {
                quoted_field(rest).ok_or_else(|| bad(flag.span, "a quoted field is not closed"))?
            }
        };
        fields.push((field, at..at + length));
        at += length;
        if at == text.len() {
            return Ok(fields);
        }
        // The comma.
        at += 1;
    }
}

/// A field that starts with a quote, which a doubled quote stands for, and its length.
fn quoted_field(text: &str) -> Option<(String, usize)> {
    let mut field = String::new();
    let mut input = text.char_indices().skip(1).peekable();
    while let Some((at, next)) = input.next() {
        if next != '"' {
            field.push(next);
        } else if input.next_if(|(_, after)| *after == '"').is_some() {
            field.push('"');
        } else {
            let end = at + 1;
            let closed = text[end..].is_empty() || text[end..].starts_with(',');
            return closed.then_some((field, end));
        }
    }
    None
}

fn read_field(
    flag: &Spanned<String>,
    text: &str,
    place: Range<usize>,
) -> Result<Field, Diagnostic> {
    let start = flag.span.start as usize;
    // A value that was put together from quotes or several lines has no places of its own.
    let exact = flag.span.range().len() == flag.value.len() && flag.value[place.clone()] == *text;
    let span = |range: Range<usize>| {
        if exact {
            let from = start + place.start;
            Span::new(flag.span.source, from + range.start..from + range.end)
        } else {
            flag.span
        }
    };
    let (name, value) = match text.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (text, None),
    };
    let name_span = span(0..name.len());
    let lower = name.to_ascii_lowercase();
    let Some(&(_, key)) = KEYS.iter().find(|(known, _)| *known == lower) else {
        let mut problem = bad(name_span, "no field of a mount");
        if let Some(near) = closest(&lower, KEYS.map(|(known, _)| known)) {
            problem = problem.help(format!("did you mean `{near}`?"));
        }
        return Err(problem);
    };
    if value.is_none() && !matches!(key, Key::ReadOnly | Key::ReadWrite | Key::Required) {
        return Err(bad(name_span, "needs a value"));
    }
    Ok(Field {
        key,
        name: Spanned::new(name.to_owned(), name_span),
        value: value.map(|value| Spanned::new(value.to_owned(), span(name.len() + 1..text.len()))),
    })
}

/// The type, unless a variable has to tell it.
fn known_kind(fields: &[Field]) -> Result<Option<MountKind>, Diagnostic> {
    let mut types = fields.iter().rev().filter(|field| field.key == Key::Type);
    match types.next().and_then(|field| field.value.as_ref()) {
        None => Ok(Some(MountKind::Bind)),
        Some(value) if value.contains('$') => Ok(None),
        Some(value) => kind(value).map(Some),
    }
}

pub(super) fn kind(value: &Spanned<String>) -> Result<MountKind, Diagnostic> {
    match value.to_ascii_lowercase().as_str() {
        "bind" => Ok(MountKind::Bind),
        "cache" => Ok(MountKind::Cache),
        "secret" => Ok(MountKind::Secret),
        "tmpfs" => Ok(MountKind::Tmpfs),
        "ssh" => Ok(MountKind::Ssh),
        other => {
            let known = ["bind", "cache", "secret", "ssh", "tmpfs"];
            let mut problem = bad(value.span, "no type of mount");
            if let Some(near) = closest(other, known) {
                problem = problem.help(format!("did you mean `{near}`?"));
            }
            Err(problem)
        }
    }
}
