//! The patterns of `${name#…}`, `${name%…}` and `${name/…/…}`.

use super::ExpandError;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Piece {
    Literal(char),
    /// `?`
    One,
    /// `*`
    Many,
}

/// A pattern that was read to its end.
pub(super) struct Pattern(Vec<Piece>);

impl Pattern {
    pub(super) fn parse(text: &str) -> Result<Self, ExpandError> {
        let mut pieces = Vec::new();
        let mut input = text.chars().peekable();
        while let Some(next) = input.next() {
            pieces.push(match next {
                '*' => Piece::Many,
                '?' => Piece::One,
                '\\' => match input.peek() {
                    // These had to be escaped to stand between the braces at all.
                    Some('}' | '/') => continue,
                    Some(&escaped @ ('*' | '?' | '\\')) => {
                        input.next();
                        Piece::Literal(escaped)
                    }
                    _ => return Err(ExpandError::Pattern(text.to_owned())),
                },
                other => Piece::Literal(other),
            });
        }
        Ok(Self(pieces))
    }

    pub(super) fn trim_prefix(&self, value: &str, longest: bool) -> String {
        let value: Vec<char> = value.chars().collect();
        match matched_length(&self.0, &value, longest) {
            Some(length) => value[length..].iter().collect(),
            None => value.iter().collect(),
        }
    }

    pub(super) fn trim_suffix(&self, value: &str, longest: bool) -> String {
        // The shortest match at the end is the shortest one at the start of everything reversed.
        let value: Vec<char> = value.chars().rev().collect();
        let pieces: Vec<Piece> = self.0.iter().rev().copied().collect();
        let length = matched_length(&pieces, &value, longest).unwrap_or(0);
        value[length..].iter().rev().collect()
    }

    /// Matches are the leftmost and longest ones, and do not overlap. An empty pattern matches
    /// before every character and at the end.
    pub(super) fn replace(&self, value: &str, replacement: &str, all: bool) -> String {
        let value: Vec<char> = value.chars().collect();
        let mut result = String::new();
        let mut copied = 0;
        let mut at = 0;
        while at <= value.len() {
            match matched_length(&self.0, &value[at..], true) {
                None => at += 1,
                Some(length) => {
                    let touches_the_last = length == 0 && at == copied && at > 0;
                    if !touches_the_last {
                        result.extend(&value[copied..at]);
                        if all {
                            let matched: String = value[at..at + length].iter().collect();
                            fill_in(replacement, &matched, &mut result);
                        } else {
                            result.push_str(replacement);
                        }
                        copied = at + length;
                    }
                    at += length.max(1);
                    if !all {
                        break;
                    }
                }
            }
        }
        result.extend(&value[copied.min(value.len())..]);
        result
    }
}

/// What `//` puts in the place of a match: as in BuildKit a template of Go's regular expressions,
/// where `$0` is the match, other names are empty and `$$` is a dollar.
fn fill_in(template: &str, matched: &str, result: &mut String) {
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('$') {
        result.push_str(before);
        let of_name = |c: char| c.is_alphanumeric() || c == '_';
        let (name, left) = if let Some(inside) = after.strip_prefix('{') {
            let end = inside.find(|c| !of_name(c)).unwrap_or(inside.len());
            (&inside[..end], inside[end..].strip_prefix('}'))
        } else {
            let end = after.find(|c| !of_name(c)).unwrap_or(after.len());
            (&after[..end], Some(&after[end..]))
        };
        rest = match left {
            _ if after.starts_with('$') => {
                result.push('$');
                &after[1..]
            }
            Some(left) if !name.is_empty() => {
                if name.bytes().all(|byte| byte == b'0') && name.len() == 1 {
                    result.push_str(matched);
                }
                left
            }
            _ => {
                result.push('$');
                after
            }
        };
    }
    result.push_str(rest);
}

/// How many characters at the start of the text match all of the pattern.
fn matched_length(pieces: &[Piece], text: &[char], longest: bool) -> Option<usize> {
    // The set of places that the pieces so far can end at.
    let mut ends = vec![false; text.len() + 1];
    ends[0] = true;
    for piece in pieces {
        let mut next = vec![false; text.len() + 1];
        for (end, _) in ends.iter().enumerate().filter(|(_, reached)| **reached) {
            match piece {
                Piece::Literal(want) => {
                    if text.get(end) == Some(want) {
                        next[end + 1] = true;
                    }
                }
                Piece::One => {
                    if text.get(end).is_some_and(|&c| c != '\n') {
                        next[end + 1] = true;
                    }
                }
                Piece::Many => {
                    let rest = text[end..].iter().take_while(|&&c| c != '\n').count();
                    for reached in &mut next[end..=end + rest] {
                        if *reached {
                            // What an earlier place reached goes on from here to the same end.
                            break;
                        }
                        *reached = true;
                    }
                }
            }
        }
        ends = next;
    }
    if longest {
        ends.iter().rposition(|&reached| reached)
    } else {
        ends.iter().position(|&reached| reached)
    }
}
