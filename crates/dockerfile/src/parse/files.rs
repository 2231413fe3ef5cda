//! `COPY` and `ADD`.

use launchway_diagnostics::{Diagnostic, Spanned};

use super::flags::{Flags, Takes};
use super::heredoc::delimiter;
use super::instruction::Reader;
use super::words::{self, Json, Split};
use crate::{Add, Copy, CopySource, codes, expand, git_source, go_match};

const COPY_FLAGS: [(&str, Takes); 6] = [
    ("from", Takes::Value),
    ("chown", Takes::Value),
    ("chmod", Takes::Value),
    ("link", Takes::Bool),
    ("exclude", Takes::Values),
    ("parents", Takes::Bool),
];

const ADD_FLAGS: [(&str, Takes); 7] = [
    ("chown", Takes::Value),
    ("chmod", Takes::Value),
    ("link", Takes::Bool),
    ("exclude", Takes::Values),
    ("checksum", Takes::Value),
    ("keep-git-dir", Takes::Bool),
    ("unpack", Takes::Bool),
];

pub(super) fn copy(reader: &mut Reader, split: &Split<'_>) -> Option<Copy> {
    let flags = reader.flags(split, &COPY_FLAGS);
    let exclude = excludes(reader, &flags);
    check_chmod(reader, &flags);
    let from = flags.value("from");
    if let Some(from) = &from {
        check_from(from, reader.escape, &mut reader.problems);
    }
    let (sources, destination) = sources_and_destination(reader, split)?;
    Some(Copy {
        sources,
        destination,
        from,
        chown: flags.value("chown"),
        chmod: flags.value("chmod"),
        link: flags.is_true("link"),
        exclude,
        parents: flags.is_true("parents"),
    })
}

pub(super) fn add(reader: &mut Reader, split: &Split<'_>) -> Option<Add> {
    let flags = reader.flags(split, &ADD_FLAGS);
    let exclude = excludes(reader, &flags);
    check_chmod(reader, &flags);
    let (sources, destination) = sources_and_destination(reader, split)?;
    let checksum = flags.value("checksum");
    if let Some(checksum) = &checksum
        && sources.len() != 1
    {
        reader.problems.push(
            Diagnostic::error(codes::BAD_FLAG, "--checksum is for a single source")
                .at(checksum.span, "there are several sources")
                .help("write an ADD of its own for each URL"),
        );
    }
    Some(Add {
        sources,
        destination,
        chown: flags.value("chown"),
        chmod: flags.value("chmod"),
        link: flags.is_true("link"),
        exclude,
        checksum,
        keep_git_dir: flags
            .values("keep-git-dir")
            .next()
            .map(|value| *value == "true"),
        unpack: flags.values("unpack").next().map(|value| *value == "true"),
    })
}

/// Whether a source is a file of the web, which `ADD` fetches. A URL that ends with `.git` is a
/// repository.
pub fn is_http_source(source: &str) -> bool {
    let Some((scheme, rest)) = source.split_once("://") else {
        return false;
    };
    let path = rest.split(['?', '#']).next().unwrap_or_default();
    matches!(scheme, "http" | "https") && !path.ends_with(".git")
}

/// Whether a source is a URL or a Git repository, which only `ADD` can take.
pub fn is_remote_source(source: &str) -> bool {
    let web = source
        .split_once("://")
        .is_some_and(|(scheme, _)| matches!(&*scheme.to_ascii_lowercase(), "http" | "https"));
    web || git_source(source).is_some()
}

/// The problem with a source that is remote, if the instruction cannot take it.
pub(crate) fn remote_source(instruction: &str, source: &Spanned<String>) -> Option<Diagnostic> {
    let repository = git_source(source);
    if instruction == "ADD" {
        return match repository {
            Some(Err(why)) => Some(
                Diagnostic::error(codes::BAD_REPOSITORY, "malformed URL of a Git repository")
                    .at(source.span, why)
                    .help("write URL#REF:FOLDER, or URL?ref=…&subdir=…"),
            ),
            _ if is_http_source(source) || repository.is_some() || !is_remote_source(source) => {
                None
            }
            _ => Some(
                Diagnostic::error(codes::NOT_SUPPORTED, "ADD of something that is not local")
                    .at(source.span, "write the scheme in small letters"),
            ),
        };
    }
    is_remote_source(source).then(|| {
        Diagnostic::error(
            codes::NOT_SUPPORTED,
            format!("{instruction} of something that is not local"),
        )
        .at(
            source.span,
            "COPY takes files of the context, a stage or an image",
        )
    })
}

/// A `--from` or `from=` with something to expand is an error, because stages are found before
/// anything is expanded.
pub(crate) fn check_from(from: &Spanned<String>, escape: char, problems: &mut Vec<Diagnostic>) {
    if expand(from, escape, &|_| None).ok().as_deref() != Some(from.as_str()) {
        problems.push(
            Diagnostic::error(
                codes::VARIABLE_IN_FROM,
                "`from` takes no variables and quotes",
            )
            .at(from.span, "not a plain name")
            .help("give it a stage of its own: `FROM image:$VERSION AS name`, then use the name"),
        );
    }
}

fn excludes(reader: &mut Reader, flags: &Flags) -> Vec<Spanned<String>> {
    let patterns: Vec<Spanned<String>> = flags.values("exclude").collect();
    for pattern in &patterns {
        let bare = pattern.strip_prefix('!').unwrap_or(pattern);
        if let Err(error) = go_match(bare, ".") {
            reader.problems.push(
                Diagnostic::error(codes::BAD_PATTERN, "malformed pattern")
                    .at(pattern.span, error.to_string()),
            );
        }
    }
    patterns
}

/// A number is checked at once; symbolic modes and variables when they are used.
fn check_chmod(reader: &mut Reader, flags: &Flags) {
    if let Some(mode) = flags.value("chmod")
        && mode.chars().all(|c| c.is_ascii_digit())
        && !u32::from_str_radix(&mode, 8).is_ok_and(|mode| mode <= 0o7777)
    {
        reader.problems.push(
            Diagnostic::error(codes::BAD_FLAG, "--chmod is not a mode")
                .at(mode.span, "not an octal number up to 7777"),
        );
    }
}

fn sources_and_destination(
    reader: &mut Reader,
    split: &Split<'_>,
) -> Option<(Vec<CopySource>, Spanned<String>)> {
    let name = split.name.text().to_ascii_uppercase();
    let mut words = reader.json_or_words(split)?;
    let destination = words.pop();
    let (Some(destination), false) = (destination, words.is_empty()) else {
        let help = format!("write `{name} source … destination`");
        reader.arguments(split, "needs a source and a destination", &help);
        return None;
    };
    let json = words::json(split.arguments.text()) != Json::Malformed;
    let is_heredoc = |word: &str| !json && delimiter(word).is_some();
    let mut good = true;
    let mut refuse = |problem: Diagnostic| {
        reader.problems.push(problem);
        good = false;
    };
    if is_heredoc(&destination) {
        refuse(
            Diagnostic::error(codes::BAD_HEREDOC, "a heredoc is no destination")
                .at(destination.span, "this is where the files go"),
        );
    }
    let mut sources = Vec::new();
    for word in words {
        if let Some(problem) = remote_source(&name, &word) {
            refuse(problem);
        } else if !json && matches!(word.as_str(), "<<" | "<<-") {
            refuse(
                Diagnostic::error(codes::BAD_HEREDOC, "a heredoc without a delimiter")
                    .at(word.span, "the delimiter must follow without a space"),
            );
        } else if !is_heredoc(&word) {
            sources.push(CopySource::Path(word));
        } else {
            let delimiter = delimiter(&word).unwrap_or_default();
            let read = split.arguments.heredocs().iter();
            match read.rev().find(|heredoc| heredoc.name == delimiter) {
                Some(heredoc) => sources.push(CopySource::Heredoc(heredoc.clone())),
                None => refuse(
                    Diagnostic::error(codes::BAD_HEREDOC, "a heredoc that cannot be read")
                        .at(word.span, "quotes on this line do not match"),
                ),
            }
        }
    }
    good.then_some((sources, destination))
}
