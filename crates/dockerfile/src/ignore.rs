//! The rules of `.dockerignore`, as moby's pattern matcher has them.
//!
//! They are not gitignore's: patterns start at the root of the context, the last one that matches
//! decides, and `!` takes files in again even below a directory that is left out. Which file the
//! rules come from (`<Dockerfile>.dockerignore` first) is for the caller to know.

use crate::go_match::{Token, go_match, matches, parse_class};

/// Patterns in their order; the last one that matches decides.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IgnoreRules {
    rules: Vec<Rule>,
    problems: Vec<(usize, String)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Rule {
    /// `!`: takes in again what earlier rules left out.
    exception: bool,
    pattern: String,
    matcher: Matcher,
}

/// A leading and a trailing `**` compare ends of paths as plain texts, so `**file` matches
/// `myfile`. That is what moby does.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Matcher {
    Exact,
    Prefix(String),
    Suffix(String),
    Tokens(Vec<Token>),
}

impl IgnoreRules {
    /// Reads the text of a `.dockerignore`. Lines that are no pattern are left out and told by
    /// [`IgnoreRules::problems`]; Docker refuses to build with them.
    pub fn parse(text: &str) -> Self {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut rules = Self::default();
        for (index, line) in text.lines().enumerate() {
            if line.starts_with('#') || line.trim().is_empty() {
                continue;
            }
            let line = line.trim();
            let (mark, pattern) = match line.strip_prefix('!') {
                Some(rest) => ("!", rest.trim()),
                None => ("", line),
            };
            let mut pattern = if pattern.is_empty() {
                String::new()
            } else {
                clean(pattern)
            };
            if pattern.len() > 1 && pattern.starts_with('/') {
                pattern.remove(0);
            }
            rules.push(index + 1, &format!("{mark}{pattern}"));
        }
        rules
    }

    /// Rules from patterns that stand in no file, such as `--exclude`: `#` and a leading `/` have
    /// no meaning.
    pub fn from_patterns<T: AsRef<str>>(patterns: impl IntoIterator<Item = T>) -> Self {
        let mut rules = Self::default();
        for (index, pattern) in patterns.into_iter().enumerate() {
            rules.push(index + 1, pattern.as_ref());
        }
        rules
    }

    /// These rules after a list of patterns that they can make exceptions from.
    #[must_use]
    pub fn with_defaults(self, patterns: &[&str]) -> Self {
        let mut first = Self::from_patterns(patterns);
        first.rules.extend(self.rules);
        first.problems.extend(self.problems);
        first
    }

    /// Lines that are no pattern: their number, counted from one, and their text.
    pub fn problems(&self) -> &[(usize, String)] {
        &self.problems
    }

    /// The patterns in their order, and whether each is an exception.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn patterns(&self) -> impl Iterator<Item = (bool, &str)> {
        let rules = self.rules.iter();
        rules.map(|rule| (rule.exception, rule.pattern.as_str()))
    }

    /// Whether nothing is left out.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Whether a path, relative to the context and separated by slashes, is left out.
    pub fn is_excluded(&self, path: &str) -> bool {
        let path = path.trim_matches('/');
        if path.is_empty() || path == "." || self.rules.is_empty() {
            return false;
        }
        // Walks down from the top directory, because a rule counts for what is below a directory
        // only if it was looked at there: rules that could change nothing are skipped.
        let mut inherited = vec![false; self.rules.len()];
        let mut excluded = false;
        let all: Vec<char> = path.chars().collect();
        let (mut start, mut length) = (0, 0);
        let ends = path.match_indices('/').map(|(at, _)| at);
        for end in ends.chain([path.len()]) {
            length += path[start..end].chars().count();
            start = end;
            let ancestor = &all[..length];
            excluded = false;
            for (rule, matched) in self.rules.iter().zip(&mut inherited) {
                if !*matched {
                    if rule.exception != excluded {
                        continue;
                    }
                    *matched = rule.matches(&path[..end], ancestor);
                }
                if *matched {
                    excluded = !rule.exception;
                }
            }
        }
        excluded
    }

    /// Whether a source of `COPY` is left out for sure: never where a `!` rule could take some of
    /// it in again.
    pub fn excludes_source(&self, source: &str) -> bool {
        if self.rules.iter().any(|rule| rule.exception) {
            return false;
        }
        let source = clean(source);
        if source == "." || source == "/" {
            let all = |rule: &Rule| matches!(rule.pattern.as_str(), "*" | "**" | "**/*");
            return self.rules.iter().any(all);
        }
        self.is_excluded(&source)
    }

    /// Whether something below a directory that is left out may be taken in again by a `!` rule.
    /// When not, the directory need not be read.
    pub fn may_reinclude_below(&self, dir: &str) -> bool {
        let dir = dir.trim_matches('/');
        let exceptions = self.rules.iter().filter(|rule| rule.exception);
        let stems: Vec<&str> = exceptions
            .map(|rule| {
                let pattern = rule.pattern.as_str();
                let stem = pattern.strip_suffix("/**").or(pattern.strip_suffix("/*"));
                stem.unwrap_or(pattern)
            })
            .collect();
        if stems
            .iter()
            .any(|stem| stem.contains(['*', '[', ']', '?', '^', '\\']))
        {
            return true;
        }
        stems.iter().any(|stem| {
            let below = stem.strip_prefix(dir);
            dir.is_empty() || below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        })
    }

    fn push(&mut self, number: usize, text: &str) {
        let trimmed = text.trim();
        if trimmed.is_empty() {
            return;
        }
        let cleaned = clean(trimmed);
        let (exception, pattern) = match cleaned.strip_prefix('!') {
            Some(rest) => (true, rest.to_owned()),
            None => (false, cleaned),
        };
        if pattern.is_empty() || go_match(&pattern, ".").is_err() {
            self.problems.push((number, text.to_owned()));
            return;
        }
        self.rules.push(Rule {
            exception,
            matcher: compile(&pattern),
            pattern,
        });
    }
}

impl Rule {
    fn matches(&self, path: &str, chars: &[char]) -> bool {
        match &self.matcher {
            Matcher::Exact => path == self.pattern,
            Matcher::Prefix(prefix) => path.starts_with(prefix),
            Matcher::Suffix(suffix) => {
                path.ends_with(suffix) || suffix.strip_prefix('/') == Some(path)
            }
            Matcher::Tokens(tokens) => matches(tokens, chars),
        }
    }
}

/// The pattern is well-formed.
fn compile(pattern: &str) -> Matcher {
    let mut tokens = Vec::new();
    let mut input = pattern.chars();
    let mut plain = true;
    let mut leading = false;
    while let Some(next) = input.next() {
        match next {
            '*' if input.as_str().starts_with('*') => {
                let first = tokens.is_empty() && plain && !leading;
                input.next();
                if input.as_str().starts_with('/') {
                    input.next();
                }
                if !input.as_str().is_empty() {
                    tokens.push(Token::AnyDirectories);
                    leading = first;
                    plain = plain && first;
                } else if first {
                    return Matcher::Suffix(String::new());
                } else if plain && !leading {
                    return Matcher::Prefix(pattern[..pattern.len() - 2].to_owned());
                } else {
                    tokens.push(Token::Rest);
                    plain = false;
                }
            }
            '*' => {
                tokens.push(Token::Many);
                plain = false;
            }
            '?' => {
                tokens.push(Token::One);
                plain = false;
            }
            '[' => {
                if let Ok(class) = parse_class(&mut input) {
                    tokens.push(Token::Class(class));
                }
                plain = false;
            }
            '\\' => {
                tokens.push(Token::Literal(input.next().unwrap_or('\\')));
                plain = false;
            }
            ']' => {
                tokens.push(Token::Literal(']'));
                plain = false;
            }
            other => tokens.push(Token::Literal(other)),
        }
    }
    match (plain, leading) {
        (true, false) => Matcher::Exact,
        (true, true) => Matcher::Suffix(pattern[2..].to_owned()),
        (false, _) => Matcher::Tokens(tokens),
    }
}

/// Go's `filepath.Clean` on Unix: no `.`, no doubled `/`, no `..` that can be resolved.
pub(crate) fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            ".." if rooted => {}
            other => parts.push(other),
        }
    }
    let joined = parts.join("/");
    match (rooted, joined.is_empty()) {
        (true, _) => format!("/{joined}"),
        (false, true) => ".".to_owned(),
        (false, false) => joined,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_pattern() {
        for (pattern, path, want) in [
            ("**", "dir/file", true),
            ("**/**", "dir/file", true),
            ("dir/**", "dir", false),
            ("dir/**", "dir/a/b", true),
            ("**/dir", "dir/file", true),
            ("**/dir2/*", "dir/dir2/file", true),
            ("**/dir2/**", "dir/dir2/dir3/file", true),
            ("**file", "dir/myfile", true),
            ("**/file", "myfile", false),
            ("**/file*txt", "dir/dir/file.txt", true),
            ("**/**/*.txt", "file.txt", true),
            ("a**/*.txt", "a/dir/dir/file.txt", true),
            ("a/*.txt", "a/dir/file.txt", false),
            ("*.txt", "a/file.txt", false),
            ("node_modules", "node_modules/a/b", true),
            ("node_modules", "web/node_modules", false),
            ("/rooted", "rooted", true),
            ("./a//b/../c", "a/c", true),
            (".*", "foo", false),
            ("abc.def", "abcXdef", false),
            ("a[b-d]e", "ace", true),
            ("a[^b-d]e", "ace", false),
            ("a\\*b", "a*b", true),
            ("a(b)c|$", "a(b)c|$", true),
            ("docs/", "docs/a", true),
            ("a?c", "a/c", false),
        ] {
            let rules = IgnoreRules::parse(pattern);
            assert_eq!(rules.is_excluded(path), want, "{pattern} on {path}");
        }
    }

    #[test]
    fn the_last_match_wins() {
        for (patterns, path, want) in [
            (&["docs", "!docs/README.md"][..], "docs/README.md", false),
            (&["docs", "!docs/README.md"], "docs/other.md", true),
            (&["*", "!src", "src/gen"], "src/main.rs", false),
            (&["*", "!src", "src/gen"], "src/gen/a.rs", true),
            (&["*", "!src"], "target", true),
            (&["!a", "*"], "a", true),
            (&["**", "!util/web"], "util/web/foo", false),
            (&["**", "!util/web"], "util/other", true),
            (
                &["*.md", "!README*.md", "README-secret.md"],
                "README-secret.md",
                true,
            ),
            // The exception was skipped at `a`, where nothing was left out yet.
            (&["a/b", "!a"], "a/b", true),
        ] {
            let rules = IgnoreRules::parse(&patterns.join("\n"));
            assert_eq!(rules.is_excluded(path), want, "{patterns:?} on {path}");
        }
    }

    #[test]
    fn reads_a_file() {
        let rules = IgnoreRules::parse("\u{feff}# note\n\n  a  \r\n! /b\n #c\n!\n[x\n");
        assert!(rules.is_excluded("a"));
        assert!(rules.is_excluded("#c"));
        assert_eq!(
            rules.problems(),
            [(6, "!".to_owned()), (7, "[x".to_owned())]
        );
        assert!(!IgnoreRules::parse("*").is_excluded("."));
        let defaults = IgnoreRules::parse("!keep.swp").with_defaults(&["*.swp"]);
        assert!(defaults.is_excluded("a.swp") && !defaults.is_excluded("keep.swp"));
    }

    #[test]
    fn knows_which_directories_to_enter() {
        for (patterns, dir, want) in [
            ("docs", "docs", false),
            ("docs\n!docs/api/README.md", "docs", true),
            ("docs\n!docs/api/README.md", "docs/api", true),
            ("docs\n!docs/api/README.md", "docs/app", false),
            ("docs\n!docs/api/**", "docs", true),
            ("docs\n!doc", "docs", false),
            ("docs\n!**/*.md", "docs", true),
        ] {
            let rules = IgnoreRules::parse(patterns);
            assert_eq!(rules.may_reinclude_below(dir), want, "{patterns:?} {dir}");
        }
    }
}
