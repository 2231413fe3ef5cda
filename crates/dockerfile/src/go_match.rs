//! Glob patterns with the meaning of Go's `filepath.Match` on Unix.
//!
//! `*` matches any run of characters but `/`, `?` one character but `/`, `[a-z]` and `[^a-z]` one
//! of a class, and `\` takes the meaning from the next character.

/// The pattern is malformed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the pattern is malformed: a class is not closed or empty, or a backslash ends it")]
pub struct PatternError;

/// Whether a pattern matches the whole of a slash-separated path. A malformed pattern is an error
/// whatever the path is.
pub fn go_match(pattern: &str, name: &str) -> Result<bool, PatternError> {
    let tokens = parse(pattern)?;
    let name: Vec<char> = name.chars().collect();
    Ok(matches(&tokens, &name))
}

/// One step of a pattern. `AnyDirectories` and `Rest` are made by `.dockerignore` rules alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Token {
    Literal(char),
    /// `?`
    One,
    /// `*`
    Many,
    Class(Class),
    /// Nothing, or everything up to and with some `/`.
    AnyDirectories,
    /// Everything, `/` too.
    Rest,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Class {
    negated: bool,
    ranges: Vec<(char, char)>,
}

impl Class {
    fn has(&self, c: char) -> bool {
        let listed = self
            .ranges
            .iter()
            .any(|&(low, high)| (low..=high).contains(&c));
        listed != self.negated
    }
}

fn parse(pattern: &str) -> Result<Vec<Token>, PatternError> {
    let mut input = pattern.chars();
    let mut tokens = Vec::new();
    while let Some(next) = input.next() {
        tokens.push(match next {
            '*' => Token::Many,
            '?' => Token::One,
            '[' => Token::Class(parse_class(&mut input)?),
            '\\' => Token::Literal(input.next().ok_or(PatternError)?),
            other => Token::Literal(other),
        });
    }
    Ok(tokens)
}

/// What follows a `[`, with the `]`.
pub(crate) fn parse_class(input: &mut std::str::Chars<'_>) -> Result<Class, PatternError> {
    let mut class = Class {
        negated: false,
        ranges: Vec::new(),
    };
    if input.as_str().starts_with('^') {
        input.next();
        class.negated = true;
    }
    loop {
        if input.as_str().starts_with(']') && !class.ranges.is_empty() {
            input.next();
            return Ok(class);
        }
        let low = class_member(input)?;
        let high = if input.as_str().starts_with('-') {
            input.next();
            class_member(input)?
        } else {
            low
        };
        class.ranges.push((low, high));
    }
}

fn class_member(input: &mut std::str::Chars<'_>) -> Result<char, PatternError> {
    let member = match input.next() {
        None | Some('-' | ']') => return Err(PatternError),
        Some('\\') => input.next().ok_or(PatternError)?,
        Some(other) => other,
    };
    // A class is closed somewhere after each of its members.
    if input.as_str().is_empty() {
        return Err(PatternError);
    }
    Ok(member)
}

/// Whether the tokens match all of the text. Takes time proportional to tokens times text.
pub(crate) fn matches(tokens: &[Token], text: &[char]) -> bool {
    // The set of places in the text that the tokens so far can end at.
    let mut ends = vec![false; text.len() + 1];
    ends[0] = true;
    for token in tokens {
        let mut next = vec![false; text.len() + 1];
        for (end, _) in ends.iter().enumerate().filter(|(_, reached)| **reached) {
            let after = text.get(end).copied();
            match token {
                Token::Literal(want) => {
                    if after == Some(*want) {
                        next[end + 1] = true;
                    }
                }
                Token::One => {
                    if after.is_some_and(|c| c != '/') {
                        next[end + 1] = true;
                    }
                }
                Token::Class(class) => {
                    if after.is_some_and(|c| class.has(c)) {
                        next[end + 1] = true;
                    }
                }
                Token::Many => {
                    let rest = text[end..].iter().take_while(|&&c| c != '/').count();
                    for reached in &mut next[end..=end + rest] {
                        if *reached {
                            // An earlier place came by here and went on to the same end.
                            break;
                        }
                        *reached = true;
                    }
                }
                Token::AnyDirectories => {
                    next[end] = true;
                    for (place, _) in text
                        .iter()
                        .enumerate()
                        .skip(end)
                        .filter(|(_, c)| **c == '/')
                    {
                        next[place + 1] = true;
                    }
                }
                Token::Rest => next[end..].fill(true),
            }
            if matches!(token, Token::Rest) {
                break;
            }
        }
        ends = next;
    }
    ends[text.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_whole_paths() {
        for (pattern, name, want) in [
            ("abc", "abc", true),
            ("*", "abc", true),
            ("*", "a/b", false),
            ("*/*", "a/b", true),
            ("a*/b", "abc/b", true),
            ("a*/b", "a/c/b", false),
            ("a*b*c*x", "a1b2cc3x", true),
            ("a*b*c*x", "a1b2cc3y", false),
            (
                "*a*a*a*a*a*a*a*b",
                "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
                false,
            ),
            ("a?b", "açb", true),
            ("a?b", "a/b", false),
            ("[a-c]x", "bx", true),
            ("[^a-c]x", "bx", false),
            ("[^a]x", "/x", true),
            ("[\\]]", "]", true),
            ("[a\\-z]", "-", true),
            ("\\*", "*", true),
            ("\\*", "a", false),
            ("", "", true),
            ("**", "ab", true),
            ("x]", "x]", true),
        ] {
            assert_eq!(go_match(pattern, name), Ok(want), "{pattern} on {name}");
        }
    }

    #[test]
    fn refuses_what_is_malformed() {
        for pattern in [
            "[", "[]", "[^", "[]a]", "[-]", "[x-]", "[a-b-c]", "a\\", "z[", "[a",
        ] {
            assert_eq!(go_match(pattern, "a"), Err(PatternError), "{pattern}");
        }
    }

    proptest::proptest! {
        #[test]
        fn never_panics(pattern in "[-a\\[\\]^*?\\\\/]{0,12}", name in "[-ab/]{0,8}") {
            let _ = go_match(&pattern, &name);
        }

        #[test]
        fn never_panics_on_any_text(pattern: String, name: String) {
            let _ = go_match(&pattern, &name);
        }
    }
}
