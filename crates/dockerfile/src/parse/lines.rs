//! The file as logical lines: directives, comments, continuations and heredocs.

use launchway_diagnostics::{Diagnostic, SourceId, Span, Spanned};

use super::heredoc::{announced, may_have_heredocs};
use super::line::Line;
use crate::checks::first_word;
use crate::{CheckSettings, Directives, Heredoc, codes};

/// How long BuildKit lets a line be, in bytes.
const LONGEST: usize = 65_535;

/// The file in lines, with every problem of that.
pub(crate) struct Lines {
    pub(crate) directives: Directives,
    pub(crate) lines: Vec<Line>,
    pub(crate) problems: Vec<Diagnostic>,
}

pub(crate) fn read(source: SourceId, text: &str) -> Lines {
    let first = if text.starts_with('\u{feff}') { 3 } else { 0 };
    let mut reader = Reader {
        source,
        text,
        at: first,
        first,
        in_directives: true,
        behind_interpreter: false,
        found: Lines {
            directives: Directives {
                syntax: None,
                escape: '\\',
                check: None,
            },
            lines: Vec::new(),
            problems: Vec::new(),
        },
        escape_given: false,
        comments: Vec::new(),
    };
    reader.other_syntax();
    while let Some((start, raw)) = reader.next_raw() {
        reader.line(start, raw);
    }
    reader.found
}

struct Reader<'a> {
    source: SourceId,
    text: &'a str,
    at: usize,
    /// Directives end at the first line that is none.
    in_directives: bool,
    /// Where the file starts.
    first: usize,
    /// Among directives after a `#!` line.
    behind_interpreter: bool,
    escape_given: bool,
    /// Those since the last instruction.
    comments: Vec<String>,
    found: Lines,
}

impl<'a> Reader<'a> {
    /// The next line of the file with its end, and where it starts.
    fn next_raw(&mut self) -> Option<(usize, &'a str)> {
        let rest = &self.text[self.at..];
        if rest.is_empty() {
            return None;
        }
        let length = rest.find('\n').map_or(rest.len(), |at| at + 1);
        let start = self.at;
        self.at += length;
        if rest[..length].trim_end_matches('\n').len() > LONGEST {
            self.found.problems.push(
                Diagnostic::error(
                    codes::LONG_LINE,
                    format!("a line of more than {LONGEST} bytes"),
                )
                .at(Span::new(self.source, start..start), "this line")
                .help("break it with a continuation, or put its content into a file")
                .note("BuildKit cannot read longer ones"),
            );
        }
        Some((start, &rest[..length]))
    }

    /// One line that starts something, and all that belongs to it.
    fn line(&mut self, start: usize, raw: &str) {
        let trimmed = without_end(raw).trim_start();
        let start = start + (without_end(raw).len() - trimmed.len());
        if self.in_directives {
            self.in_directives = self.directive(start, trimmed);
            // Behind a line that names an interpreter, other directives than `escape` still count.
            self.behind_interpreter = start == self.first && trimmed.starts_with("#!");
        } else if self.behind_interpreter {
            self.behind_interpreter = self.directive(start, trimmed);
        }
        if trimmed.starts_with('#') {
            if !self.in_directives && !self.behind_interpreter {
                self.comment(raw);
            }
            return;
        }
        let (content, mut continued) = self.continuation(trimmed);
        if content.is_empty() && !continued {
            return;
        }
        let mut line = Line::new(self.source, content, start);
        while continued && let Some((start, raw)) = self.next_raw() {
            let text = without_end(raw);
            if text.trim_start().starts_with('#') {
                continue;
            }
            if text.trim().is_empty() {
                line.empty_line.get_or_insert(start);
                continue;
            }
            let content;
            (content, continued) = self.continuation(text);
            line.push(content, start);
        }
        if line.whole().is_empty() {
            self.found.problems.push(
                Diagnostic::error(codes::UNKNOWN_INSTRUCTION, "a continuation of nothing")
                    .at(
                        Span::new(self.source, start..start + trimmed.len()),
                        "no instruction",
                    )
                    .help("remove the line"),
            );
            return;
        }
        self.heredocs(&mut line);
        line.end = self.text[..self.at].trim_end_matches(['\r', '\n']).len();
        line.comments = std::mem::take(&mut self.comments);
        self.found.lines.push(line);
    }

    /// Keeps a comment for the next instruction; an empty one parts it from those above. As in
    /// Docker, a comment that does not start its line keeps its `#`.
    fn comment(&mut self, raw: &str) {
        let mut text = raw.chars();
        text.next();
        let text = text.as_str().trim();
        if text.is_empty() {
            self.comments.clear();
        } else {
            self.comments.push(text.to_owned());
        }
    }

    /// A line without its continuation character, and whether it had one.
    fn continuation<'t>(&self, text: &'t str) -> (&'t str, bool) {
        let escape = self.found.directives.escape;
        let Some(before) = text.trim_end_matches([' ', '\t']).strip_suffix(escape) else {
            return (text, false);
        };
        if before.ends_with(escape) {
            (text, false)
        } else {
            (before, true)
        }
    }

    /// Whether the line is a directive.
    fn directive(&mut self, start: usize, line: &str) -> bool {
        let Some(rest) = line.strip_prefix('#') else {
            return false;
        };
        let Some((name, value)) = rest.split_once('=') else {
            return false;
        };
        let (name, value) = (
            name.trim(),
            Spanned::new(value.trim(), {
                let at = start + line.len() - value.trim_start().len();
                Span::new(self.source, at..at + value.trim().len())
            }),
        );
        if value.is_empty() {
            return false;
        }
        let lower = name.to_ascii_lowercase();
        if self.behind_interpreter && lower == "escape" {
            return true;
        }
        let repeated = match lower.as_str() {
            "escape" => std::mem::replace(&mut self.escape_given, true),
            "syntax" => self.found.directives.syntax.is_some(),
            "check" => self.found.directives.check.is_some(),
            _ => return false,
        };
        if repeated {
            self.found.problems.push(
                Diagnostic::error(
                    codes::BAD_DIRECTIVE,
                    format!("a second `{lower}` directive"),
                )
                .at(value.span, "each directive may stand once"),
            );
            return true;
        }
        let owned = value.clone().map(str::to_owned);
        match lower.as_str() {
            "escape" => match value.value {
                "\\" => {}
                "`" => self.found.directives.escape = '`',
                _ => self.found.problems.push(
                    Diagnostic::error(codes::BAD_DIRECTIVE, "no such escape character")
                        .at(value.span, "this is neither `\\` nor a backtick"),
                ),
            },
            "syntax" => {
                self.check_syntax(value.value, value.span);
                self.found.directives.syntax = Some(owned);
            }
            _ => {
                self.check_options(&owned);
                self.found.directives.check = Some(owned);
            }
        }
        true
    }

    /// Other languages name their frontend in `//` comments or in JSON.
    fn other_syntax(&mut self) {
        let text = &self.text[self.first..];
        let line = text.lines().find(|line| !line.starts_with("#!"));
        let in_comment = line.and_then(|line| {
            let (name, value) = line.strip_prefix("//")?.split_once('=')?;
            (name.trim().eq_ignore_ascii_case("syntax")).then(|| value.trim())
        });
        let (found, place) = match (in_comment, line) {
            (Some(value), _) => (value.to_owned(), value),
            (None, Some(line)) if line.trim_start().starts_with('{') => {
                let json: Option<serde_json::Value> = serde_json::from_str(text).ok();
                match json.and_then(|json| Some(json.get("syntax")?.as_str()?.to_owned())) {
                    Some(value) => (value, line),
                    None => return,
                }
            }
            _ => return,
        };
        let start = place.as_ptr() as usize - self.text.as_ptr() as usize;
        self.check_syntax(&found, Span::new(self.source, start..start + place.len()));
    }

    fn check_syntax(&mut self, syntax: &str, place: Span) {
        if is_stock_syntax(syntax) {
            return;
        }
        self.found.problems.push(
            Diagnostic::error(
                codes::NOT_SUPPORTED,
                format!("the Dockerfile asks for another language: {syntax}"),
            )
            .at(place, "not Docker's own `docker/dockerfile`")
            .note("Launchway reads Dockerfiles itself and runs no frontend images")
            .help("remove the directive if the file is an ordinary Dockerfile"),
        );
    }

    /// Looks whether the options of checks can be read, and name checks.
    fn check_options(&mut self, value: &Spanned<String>) {
        let problems = &mut self.found.problems;
        match CheckSettings::parse(first_word(value)) {
            Err(error) => problems.push(
                Diagnostic::error(codes::BAD_DIRECTIVE, "malformed options of checks")
                    .at(value.span, error.to_string())
                    .help("write for example `# check=skip=UndefinedVar,FromAsCasing;error=true`"),
            ),
            Ok(settings) => {
                for (name, near) in settings.unknown_rules() {
                    let message = format!("there is no check `{name}`");
                    let mut problem = Diagnostic::warning(codes::UNKNOWN_CHECK, message)
                        .at(value.span, "names no check, so this has no effect");
                    if let Some(near) = near {
                        problem = problem.help(format!("did you mean `{near}`?"));
                    }
                    problems.push(problem);
                }
            }
        }
    }

    /// Reads the heredocs that a line announces.
    fn heredocs(&mut self, line: &mut Line) {
        let escape = self.found.directives.escape;
        if !may_have_heredocs(line.whole(), escape) {
            return;
        }
        let announced = match announced(line.whole()) {
            Ok(announced) => announced,
            Err((error, span)) => {
                self.found.problems.push(
                    Diagnostic::error(codes::BAD_HEREDOC, "malformed delimiter of a heredoc")
                        .at(span, error.to_string()),
                );
                return;
            }
        };
        for heredoc in announced {
            let heredoc = self.heredoc(heredoc);
            line.heredocs.push(heredoc);
        }
    }

    fn heredoc(&mut self, mut heredoc: Heredoc) -> Heredoc {
        while let Some((_, raw)) = self.next_raw() {
            let mut end = without_end(raw);
            if heredoc.chomp {
                end = end.trim_start_matches('\t');
            }
            if end == heredoc.name {
                return heredoc;
            }
            heredoc.content.push_str(raw);
        }
        self.found.problems.push(
            Diagnostic::error(codes::BAD_HEREDOC, "a heredoc is not closed")
                .at(heredoc.span, "opened here")
                .help(format!(
                    "end it with a line that is `{}` alone",
                    heredoc.name
                )),
        );
        heredoc
    }
}

fn without_end(line: &str) -> &str {
    line.trim_end_matches(['\r', '\n'])
}

/// Whether a `syntax` is Docker's own frontend, in some version and from whatever registry: the
/// language read here.
pub fn is_stock_syntax(value: &str) -> bool {
    let image = value.trim().split(' ').next().unwrap_or_default();
    let image = image.split('@').next().unwrap_or_default();
    let (folder, name) = image.rsplit_once('/').unwrap_or(("", image));
    let name = name.split(':').next().unwrap_or_default();
    (folder == "docker" || folder.ends_with("/docker"))
        && matches!(name, "dockerfile" | "dockerfile-upstream")
}
