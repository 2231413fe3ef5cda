//! The output of a step, from bytes as they come to lines that can be shown.

use std::collections::VecDeque;

use super::text::clean;

/// More than anybody reads on one line; what goes on without an end is cut there, so that memory
/// stays bounded.
const LONGEST_LINE: usize = 64 * 1024;

/// How many lines are remembered for the case that the step fails.
const REMEMBERED: usize = 20;

/// Collects one step's output.
#[derive(Debug, Default)]
pub(crate) struct Output {
    partial: Vec<u8>,
    last: VecDeque<String>,
}

impl Output {
    /// Takes more bytes and gives the lines they complete.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Vec<String> {
        let mut lines = Vec::new();
        let mut rest = bytes;
        while let Some(at) = rest.iter().position(|byte| *byte == b'\n') {
            self.partial.extend_from_slice(&rest[..at]);
            rest = &rest[at + 1..];
            lines.push(self.complete());
        }
        self.partial.extend_from_slice(rest);
        if self.partial.len() > LONGEST_LINE {
            // A progress display that only ever returns to the start of its line.
            match self.partial.iter().rposition(|byte| *byte == b'\r') {
                Some(at) if at + 1 < self.partial.len() => drop(self.partial.drain(..=at)),
                _ => lines.push(self.complete()),
            }
        }
        lines
    }

    /// The unfinished line at the end, if there is one.
    pub(crate) fn finish(&mut self) -> Option<String> {
        (!self.partial.is_empty()).then(|| self.complete())
    }

    /// What stands on the last line now, finished or not.
    pub(crate) fn current(&self) -> Option<String> {
        let partial = shown(&self.partial);
        if partial.trim().is_empty() {
            self.last.iter().rfind(|l| !l.trim().is_empty()).cloned()
        } else {
            Some(partial)
        }
    }

    /// The last lines, the oldest first.
    pub(crate) fn remembered(&self) -> impl Iterator<Item = &String> {
        self.last.iter()
    }

    fn complete(&mut self) -> String {
        let line = shown(&self.partial);
        self.partial.clear();
        if self.last.len() == REMEMBERED {
            self.last.pop_front();
        }
        self.last.push_back(line.clone());
        line
    }
}

/// What a terminal would show of a line: after a return, later text stands over earlier.
fn shown(line: &[u8]) -> String {
    let end = line
        .iter()
        .rposition(|byte| *byte != b'\r')
        .map_or(0, |at| at + 1);
    let line = &line[..end];
    let start = line
        .iter()
        .rposition(|byte| *byte == b'\r')
        .map_or(0, |at| at + 1);
    clean(&String::from_utf8_lossy(&line[start..]))
        .trim_end()
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_lines_come_out() {
        for (chunks, expected) in [
            (&["a", "b\nc"][..], &["ab", "c"][..]),
            (&["one\r\ntwo\r\n"], &["one", "two"]),
            (&["10%\r50%\r", "100%\ndone\n"], &["100%", "done"]),
            (&["10%\r20%\r"], &["20%"]),
            (&["\u{1b}[32mok", "\u{1b}[0m\n\n"], &["ok", ""]),
            (&["trailing  \n"], &["trailing"]),
            (&[""], &[]),
        ] {
            let mut output = Output::default();
            let mut lines: Vec<String> = chunks
                .iter()
                .flat_map(|chunk| output.push(chunk.as_bytes()))
                .collect();
            lines.extend(output.finish());
            assert_eq!(lines, expected, "{chunks:?}");
        }
    }

    #[test]
    fn letters_cut_in_two_are_whole_and_bad_bytes_are_marked() {
        let mut output = Output::default();
        assert!(output.push(b"gr\xc3").is_empty());
        assert_eq!(output.push(b"\xbcn\n\xff\n"), ["grün", "\u{fffd}"]);
    }

    #[test]
    fn endless_lines_are_bounded() {
        let mut output = Output::default();
        let lines = output.push(&vec![b'x'; LONGEST_LINE + 1]);
        assert_eq!(lines.len(), 1);
        let progress = "50%\r".repeat(LONGEST_LINE / 2) + "60%";
        assert!(output.push(progress.as_bytes()).is_empty());
        assert!(output.partial.len() < 10);
        assert_eq!(output.current().as_deref(), Some("60%"));
    }

    #[test]
    fn the_last_lines_are_remembered() {
        let mut output = Output::default();
        for number in 0..100 {
            output.push(format!("line {number}\n").as_bytes());
        }
        let last: Vec<&String> = output.remembered().collect();
        assert_eq!(last.len(), REMEMBERED);
        assert_eq!(last[0], "line 80");
        output.push(b"\n");
        assert_eq!(output.current().as_deref(), Some("line 99"));
    }
}
