//! Takes the values of secrets out of what a step writes.
//!
//! A step may print what it was given, on purpose or not (`set -x`, a failing tool that shows its
//! settings). Logs travel further than secrets should, so every value that the step mounts is replaced
//! there. This is a net, not a wall: a value that is printed encoded or cut apart goes through.

use std::collections::HashMap;

use launchway_sandbox::Stream;

/// Stands for a value.
const INSTEAD: &[u8] = b"***";
/// Shorter values are parts of ordinary words, and hiding those would make the log unreadable.
const SHORTEST: usize = 4;
/// The same for single lines of a value that has several.
const SHORTEST_LINE: usize = 8;

/// Replaces values in two streams that come in pieces.
#[derive(Default)]
pub(crate) struct Redactor {
    /// By how they begin, so that a secret of many lines does not make every byte of a log dear; the
    /// longest first.
    values: HashMap<[u8; SHORTEST], Vec<Vec<u8>>>,
    /// What may be the beginning of a value, of each stream.
    held: [Vec<u8>; 2],
}

impl Redactor {
    /// For secrets with these contents.
    pub(crate) fn new<'s>(secrets: impl IntoIterator<Item = &'s [u8]>) -> Self {
        let mut values = Vec::new();
        for secret in secrets {
            let whole = secret.trim_ascii();
            if whole.len() >= SHORTEST {
                values.push(whole.to_vec());
            }
            // Programs often show one line of a file, and terminals end lines in their own way.
            let lines = whole.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
            values.extend(
                lines
                    .filter(|line| line.len() >= SHORTEST_LINE)
                    .map(<[u8]>::to_vec),
            );
        }
        values.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        values.dedup();
        let mut by_start: HashMap<[u8; SHORTEST], Vec<Vec<u8>>> = HashMap::new();
        for value in values {
            if let Some(start) = value.first_chunk() {
                by_start.entry(*start).or_default().push(value);
            }
        }
        Self {
            values: by_start,
            held: Default::default(),
        }
    }

    /// Takes a piece in and gives what can be shown by now.
    pub(crate) fn push(&mut self, stream: Stream, bytes: &[u8]) -> Vec<u8> {
        if self.values.is_empty() {
            return bytes.to_vec();
        }
        let mut held = std::mem::take(self.held_of(stream));
        held.extend_from_slice(bytes);
        let mut shown = Vec::with_capacity(held.len());
        let mut at = 0;
        while at < held.len() {
            let rest = &held[at..];
            match self.found(rest) {
                Some(Found::Whole(length)) => {
                    shown.extend_from_slice(INSTEAD);
                    at += length;
                }
                Some(Found::Beginning) => break,
                None => {
                    shown.push(rest[0]);
                    at += 1;
                }
            }
        }
        held.drain(..at);
        *self.held_of(stream) = held;
        shown
    }

    /// What was held back at the end, by stream.
    pub(crate) fn finish(&mut self) -> [(Stream, Vec<u8>); 2] {
        [Stream::Stdout, Stream::Stderr].map(|stream| (stream, self.last(stream)))
    }

    /// The end of a stream: nothing more can complete a value, but a shorter one may be in it.
    fn last(&mut self, stream: Stream) -> Vec<u8> {
        let held = std::mem::take(self.held_of(stream));
        let mut shown = Vec::with_capacity(held.len());
        let mut at = 0;
        while at < held.len() {
            let rest = &held[at..];
            let alike = rest.first_chunk().and_then(|start| self.values.get(start));
            let whole =
                alike.and_then(|values| values.iter().find(|value| rest.starts_with(value)));
            match whole {
                Some(value) => {
                    shown.extend_from_slice(INSTEAD);
                    at += value.len();
                }
                None => {
                    shown.push(rest[0]);
                    at += 1;
                }
            }
        }
        shown
    }

    /// The longest first: a longer one that may still come is waited for.
    fn found(&self, rest: &[u8]) -> Option<Found> {
        match rest.first_chunk() {
            Some(start) => self.values.get(start)?.iter().find_map(|value| {
                if rest.starts_with(value) {
                    Some(Found::Whole(value.len()))
                } else if value.starts_with(rest) {
                    Some(Found::Beginning)
                } else {
                    None
                }
            }),
            // No value is as short.
            None => {
                let begins = self.values.keys().any(|start| start.starts_with(rest));
                begins.then_some(Found::Beginning)
            }
        }
    }

    fn held_of(&mut self, stream: Stream) -> &mut Vec<u8> {
        &mut self.held[usize::from(stream == Stream::Stderr)]
    }
}

enum Found {
    Whole(usize),
    Beginning,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// All that is shown of a text that comes in pieces of this length.
    fn shown(secrets: &[&str], text: &str, piece: usize) -> String {
        let mut redactor = Redactor::new(secrets.iter().map(|secret| secret.as_bytes()));
        let mut out = Vec::new();
        for bytes in text.as_bytes().chunks(piece) {
            out.extend(redactor.push(Stream::Stdout, bytes));
        }
        for (_, bytes) in redactor.finish() {
            out.extend(bytes);
        }
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn values_are_replaced_wherever_they_are_cut() {
        for (secrets, text, want) in [
            (&["hunter22"][..], "a hunter22 b", "a *** b"),
            (&["hunter22\n"], "hunter22hunter22", "******"),
            (&["hunter22"], "hunter2 hunter23", "hunter2 hunter23"),
            (&["aaab"], "aaaaab", "aa***"),
            (&["abcd", "abcdef"], "abcdef abcde", "*** ***e"),
            (&["abcd", "abcdef"], "abcde", "***e"),
            (&["a", ""], "a banana", "a banana"),
            (
                &["key = one two\nother line\nx"],
                "+ other line\r\n",
                "+ ***\r\n",
            ),
            (&[], "hunter22", "hunter22"),
        ] {
            for piece in 1..=text.len() {
                assert_eq!(shown(secrets, text, piece), want, "{text:?} by {piece}");
            }
        }
    }

    #[test]
    fn streams_do_not_mix_and_nothing_waits_without_need() {
        let mut redactor = Redactor::new([b"hunter22".as_slice()]);
        assert_eq!(
            redactor.push(Stream::Stdout, b"Password: hun"),
            b"Password: "
        );
        assert_eq!(redactor.push(Stream::Stderr, b"ter22"), b"ter22");
        assert_eq!(redactor.push(Stream::Stdout, b"ger"), b"hunger");
    }

    /// Without the order of the values this takes minutes.
    #[test]
    fn a_secret_of_many_lines_is_no_burden() {
        let secret: String = (0..20_000)
            .map(|line| format!("{line:08} of it\n"))
            .collect();
        let text = "a line of a log that has nothing to do with it\n".repeat(20_000);
        assert_eq!(shown(&[&secret], &text, 4096), text);
        assert_eq!(shown(&[&secret], "00000007 of it", 3), "***");
    }

    proptest! {
        #[test]
        fn no_value_is_ever_shown(
            secret in "[ab]{4,6}",
            other in "[ab]{4,9}",
            text in "[ab ]{0,60}",
            piece in 1_usize..7,
        ) {
            let out = shown(&[&secret, &other], &text, piece);
            prop_assert!(!out.contains(&secret) && !out.contains(&other), "{out}");
            // What holds none of them is left alone.
            if !text.contains(&secret) && !text.contains(&other) {
                prop_assert_eq!(out, text);
            }
        }
    }
}
