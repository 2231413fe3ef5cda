//! Variables and quotes in words, as Docker reads them.
//!
//! The modifiers are `:- - :+ + :? ? # ## % %% / //`. Patterns know `*` and `?`, but no brackets.

mod lexer;
mod pattern;

pub(crate) use lexer::{Lexer, Mode};

/// Why a word cannot be expanded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExpandError {
    #[error("a {0} quote is not closed")]
    OpenQuote(&'static str),
    #[error("the `}}` that ends a variable is missing")]
    MissingBrace,
    #[error("the second `/` of a replacement is missing")]
    MissingSlash,
    #[error("no name stands after `${{`")]
    BadSubstitution,
    #[error("`{0}` is not a way to modify a variable")]
    Modifier(String),
    #[error("`{0}` is not a pattern: a backslash may only stand before `*`, `?` and itself")]
    Pattern(String),
    /// `${name:?message}` of a variable that has no value.
    #[error("variable {name}: {message}")]
    Required { name: String, message: String },
    #[error("variables are nested more than {0} deep")]
    TooDeep(usize),
}

/// One word: variables filled in, quotes and escapes processed.
pub fn expand(
    word: &str,
    escape: char,
    lookup: &dyn Fn(&str) -> Option<String>,
) -> Result<String, ExpandError> {
    Lexer::new(word, escape, Mode::default(), lookup)
        .run()
        .map(|expanded| expanded.text)
}

/// As [`expand`], then split at spaces that are not quoted. Words that are empty are left out.
pub fn expand_words(
    text: &str,
    escape: char,
    lookup: &dyn Fn(&str) -> Option<String>,
) -> Result<Vec<String>, ExpandError> {
    Lexer::new(text, escape, Mode::default(), lookup)
        .run()
        .map(|expanded| expanded.words)
}

/// Variables and escapes only; quotes are ordinary characters. For the heredocs of `COPY` and
/// `ADD`, whose escape character is always `\`.
pub fn expand_keep_quotes(
    text: &str,
    escape: char,
    lookup: &dyn Fn(&str) -> Option<String>,
) -> Result<String, ExpandError> {
    let mode = Mode {
        ignore_quotes: true,
        ..Mode::default()
    };
    Lexer::new(text, escape, mode, lookup)
        .run()
        .map(|expanded| expanded.text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lookup(name: &str) -> Option<String> {
        let value = match name {
            "FOO" => "xxyy",
            "EMPTY" => "",
            "FILE" => "/srv/app/app.tar.gz",
            "STAR" => "a*b*c",
            "SPACED" => " one  two ",
            _ => return None,
        };
        Some(value.to_owned())
    }

    fn check(cases: &[(&str, &str)]) {
        for (word, want) in cases {
            let got = expand(word, '\\', &lookup);
            assert_eq!(got.as_deref(), Ok(*want), "{word}");
        }
    }

    #[test]
    fn defaults_and_alternatives() {
        check(&[
            ("$FOO-$NONE-${FOO}", "xxyy--xxyy"),
            ("${FOO-d} ${EMPTY-d} ${NONE-d}", "xxyy  d"),
            ("${FOO:-d} ${EMPTY:-d} ${NONE:-d}", "xxyy d d"),
            ("${FOO+a} ${EMPTY+a} ${NONE+a}", "a a "),
            ("${FOO:+a} ${EMPTY:+a} ${NONE:+a}", "a  "),
            ("${NONE:-${EMPTY:-${FOO}}}", "xxyy"),
            ("${EMPTY?m}${FOO:?m}", "xxyy"),
            ("'$FOO'\"$FOO\"\\$FOO", "$FOOxxyy$FOO"),
        ]);
    }

    #[test]
    fn prefixes_suffixes_and_replacements() {
        check(&[
            ("${FILE##*/}", "app.tar.gz"),
            ("${FILE#*/}", "srv/app/app.tar.gz"),
            ("${FILE%.*}", "/srv/app/app.tar"),
            ("${FILE%%.*}", "/srv/app/app"),
            ("${FILE%/*}", "/srv/app"),
            ("${FILE/app/web}", "/srv/web/app.tar.gz"),
            ("${FILE//app/web}", "/srv/web/web.tar.gz"),
            ("${FILE//\\//_}", "_srv_app_app.tar.gz"),
            ("${STAR//\\*/-}", "a-b-c"),
            ("${STAR#?\\*}", "b*c"),
            ("${FOO#}${FOO%%$EMPTY}", "xxyyxxyy"),
            ("${FOO/$EMPTY/w}", "wxxyy"),
            ("${FOO//x?/-}", "-yy"),
            ("${NONE%%.*}|${NONE/a/b}", "|"),
            ("${FOO//x/'<$0>'}", "<x><x>yy"),
            ("${FOO//x/'$1'}|${FOO//x/'$$'}|${FOO//x/$}", "yy|$$yy|$$yy"),
            ("${FOO/x/'$1'}", "$1xyy"),
        ]);
    }

    #[test]
    fn names_what_is_wrong() {
        use ExpandError as E;
        for (word, want) in [
            ("'a", E::OpenQuote("single")),
            ("\"a", E::OpenQuote("double")),
            ("${FOO", E::MissingBrace),
            ("${", E::MissingBrace),
            ("${FOO:-a", E::MissingBrace),
            ("${FOO/a}", E::MissingSlash),
            ("${}", E::BadSubstitution),
            ("${FOO:#a}", E::Modifier(":#".to_owned())),
            ("${FOO=a}", E::Modifier("=".to_owned())),
            ("${FOO#\\x}", E::Pattern("\\x".to_owned())),
            (
                "${NONE?say it}",
                E::Required {
                    name: "NONE".to_owned(),
                    message: "say it".to_owned(),
                },
            ),
            (
                "${EMPTY:?}",
                E::Required {
                    name: "EMPTY".to_owned(),
                    message: "must not be empty".to_owned(),
                },
            ),
        ] {
            assert_eq!(expand(word, '\\', &lookup), Err(want), "{word}");
        }
    }

    #[test]
    fn nesting_has_an_end() {
        let word = "${NONE:-".repeat(100_000);
        assert!(matches!(
            expand(&word, '\\', &lookup),
            Err(ExpandError::TooDeep(_))
        ));
    }

    #[test]
    fn the_other_escape_character() {
        assert_eq!(
            expand("a`$b\\c`\"", '`', &lookup).as_deref(),
            Ok("a$b\\c\"")
        );
    }

    #[test]
    fn words_are_split_after_expansion() {
        for (text, want) in [
            ("a $SPACED b", vec!["a", "one", "two", "b"]),
            ("a\"$SPACED\"b", vec!["a one  two b"]),
            ("x${NONE:-y z}w", vec!["xy", "zw"]),
            ("'' \"a b\"", vec!["a b"]),
        ] {
            let got = expand_words(text, '\\', &lookup);
            assert_eq!(got, Ok(want.iter().map(|&s| s.to_owned()).collect()));
        }
    }

    #[test]
    fn heredocs_keep_their_quotes() {
        let text = "echo \"$FOO\" '$FOO' \\$FOO it's\n";
        assert_eq!(
            expand_keep_quotes(text, '\\', &lookup).as_deref(),
            Ok("echo \"xxyy\" 'xxyy' $FOO it's\n")
        );
    }
}
