//! Logical lines: what is left of the file when comments and continuations are taken out, with
//! the way back to the places in the file.

use std::ops::Range;

use launchway_diagnostics::{SourceId, Span, Spanned};

use crate::{Heredoc, Written};

/// One instruction as a single line, and the heredocs that follow it.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    source: SourceId,
    text: String,
    /// Where a part of the text starts, and where in the file it came from; never empty.
    origins: Vec<(usize, usize)>,
    pub(crate) heredocs: Vec<Heredoc>,
    /// What stands in comments right above it.
    pub(crate) comments: Vec<String>,
    /// Where in the file the first empty line between continuations is.
    pub(crate) empty_line: Option<usize>,
    /// Where its last line ends in the file, heredocs included.
    pub(crate) end: usize,
}

/// A part of a [`Line`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Piece<'a> {
    line: &'a Line,
    start: usize,
    end: usize,
}

impl Line {
    pub(crate) fn new(source: SourceId, text: &str, origin: usize) -> Self {
        Self {
            source,
            text: text.to_owned(),
            origins: vec![(0, origin)],
            heredocs: Vec::new(),
            comments: Vec::new(),
            empty_line: None,
            end: origin + text.len(),
        }
    }

    /// Adds what stands on a continuation line.
    pub(crate) fn push(&mut self, text: &str, origin: usize) {
        if !text.is_empty() {
            self.origins.push((self.text.len(), origin));
            self.text.push_str(text);
        }
    }

    /// The line without spaces around it.
    pub(crate) fn whole(&self) -> Piece<'_> {
        let whole = Piece {
            line: self,
            start: 0,
            end: self.text.len(),
        };
        whole.trim()
    }

    fn origin(&self, at: usize) -> usize {
        let next = self.origins.partition_point(|&(start, _)| start <= at);
        let (start, origin) = self.origins[next.saturating_sub(1)];
        origin + (at - start)
    }

    fn span(&self, range: Range<usize>) -> Span {
        let start = self.origin(range.start);
        let end = if range.is_empty() {
            start
        } else {
            // The last byte of the range, because what follows it may stand on another line.
            self.origin(range.end - 1) + 1
        };
        Span::new(self.source, start..end)
    }
}

impl<'a> Piece<'a> {
    pub(crate) fn text(self) -> &'a str {
        &self.line.text[self.start..self.end]
    }

    pub(crate) fn is_empty(self) -> bool {
        self.start == self.end
    }

    pub(crate) fn span(self) -> Span {
        self.line.span(self.start..self.end)
    }

    /// How the statement that this is all of stands in the file.
    pub(crate) fn written(self, keyword: Piece<'_>) -> Written {
        let line = self.line;
        let start = self.span().range().start;
        Written {
            keyword: keyword.spanned(),
            whole: Span::new(line.source, start..line.end.max(start)),
            comments: line.comments.clone(),
            empty_line: line.empty_line.map(|at| Span::new(line.source, at..at)),
        }
    }

    pub(crate) fn heredocs(self) -> &'a [Heredoc] {
        &self.line.heredocs
    }

    /// A part, by offsets into this piece.
    pub(crate) fn part(self, range: Range<usize>) -> Self {
        Self {
            line: self.line,
            start: self.start + range.start,
            end: self.start + range.end,
        }
    }

    pub(crate) fn from(self, start: usize) -> Self {
        self.part(start..self.end - self.start)
    }

    pub(crate) fn trim(self) -> Self {
        let text = self.text();
        let start = text.len() - text.trim_start().len();
        let end = start + text.trim().len();
        self.part(start..end)
    }

    pub(crate) fn spanned(self) -> Spanned<String> {
        Spanned::new(self.text().to_owned(), self.span())
    }

    /// The text of an instruction with the heredocs of its line.
    pub(crate) fn with_heredocs(self) -> String {
        let mut text = self.text().to_owned();
        for heredoc in &self.line.heredocs {
            text.push('\n');
            text.push_str(&heredoc.content);
            text.push_str(&heredoc.name);
        }
        text
    }
}
