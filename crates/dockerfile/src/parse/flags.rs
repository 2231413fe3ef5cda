//! The `--flags` of instructions.

use launchway_diagnostics::{Diagnostic, Spanned, closest};

use super::words::{Split, Word};
use crate::codes;

/// What a flag takes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Takes {
    Value,
    /// May stand more than once.
    Values,
    /// Nothing, `true` or `false`.
    Bool,
    /// Docker has it; the text says why it cannot be built here.
    Refused(&'static str),
}

/// The flags of one instruction that are what they should be.
#[derive(Debug, Default)]
pub(crate) struct Flags {
    given: Vec<(&'static str, Spanned<String>)>,
}

impl Flags {
    /// The value of a flag, unless it is missing or empty.
    pub(crate) fn value(&self, name: &str) -> Option<Spanned<String>> {
        self.values(name).find(|value| !value.is_empty())
    }

    pub(crate) fn values<'a>(
        &'a self,
        name: &'a str,
    ) -> impl Iterator<Item = Spanned<String>> + 'a {
        let of_that_name = self.given.iter().filter(move |(given, _)| *given == name);
        of_that_name.map(|(_, value)| value.clone())
    }

    pub(crate) fn is_true(&self, name: &str) -> bool {
        self.values(name).any(|value| value.value == "true")
    }
}

/// Checks the flags of an instruction against those it has.
pub(crate) fn read(
    split: &Split<'_>,
    known: &[(&'static str, Takes)],
    problems: &mut Vec<Diagnostic>,
) -> Flags {
    let mut flags = Flags::default();
    for word in &split.flags {
        match read_one(split, known, word, &flags) {
            Ok(flag) => flags.given.push(flag),
            Err(problem) => problems.push(problem),
        }
    }
    flags
}

fn read_one(
    split: &Split<'_>,
    known: &[(&'static str, Takes)],
    word: &Word<'_>,
    earlier: &Flags,
) -> Result<(&'static str, Spanned<String>), Diagnostic> {
    let instruction = split.name.text().to_ascii_uppercase();
    let (flag, value) = match word.text.split_once('=') {
        Some((flag, value)) => (flag, Some(value)),
        None => (word.text.as_str(), None),
    };
    let bare = flag.trim_start_matches('-');
    let span = word.piece.span();
    let Some(&(name, takes)) = known
        .iter()
        .find(|(name, _)| flag.strip_prefix("--") == Some(name))
    else {
        let mut problem = Diagnostic::error(
            codes::UNKNOWN_FLAG,
            format!("{instruction} has no flag `{flag}`"),
        )
        .at(span, "unknown flag");
        if let Some(near) = closest(bare, known.iter().map(|(name, _)| *name)) {
            problem = problem.help(format!("did you mean `--{near}`?"));
        } else if known.is_empty() {
            problem = problem.note(format!("{instruction} has no flags at all"));
        }
        return Err(problem);
    };
    if let Takes::Refused(why) = takes {
        return Err(
            Diagnostic::error(codes::NOT_SUPPORTED, format!("{instruction} --{name}"))
                .at(span, why),
        );
    }
    if !matches!(takes, Takes::Values) && earlier.values(name).next().is_some() {
        return Err(bad(name, "is given twice").at(span, "the second one"));
    }
    let value = match (takes, value) {
        (Takes::Bool, None) => "true".to_owned(),
        (Takes::Bool, Some(value)) => match value.to_ascii_lowercase().as_str() {
            truth @ ("true" | "false") => truth.to_owned(),
            _ => return Err(bad(name, "is on or off").at(span, "not `true` or `false`")),
        },
        (_, None) => {
            return Err(bad(name, "needs a value").at(span, format!("write `--{name}=…`")));
        }
        (_, Some(value)) => value.to_owned(),
    };
    // Without quotes and escapes, the place of the value is known exactly.
    let raw = word.piece.text();
    let place = if raw == word.text && raw.contains('=') {
        word.piece.from(flag.len() + 1).span()
    } else {
        span
    };
    Ok((name, Spanned::new(value, place)))
}

fn bad(name: &str, what: &str) -> Diagnostic {
    Diagnostic::error(codes::BAD_FLAG, format!("--{name} {what}"))
}
