//! The walk over a word.

use super::ExpandError;
use super::pattern::Pattern;

/// How a word is read; the default is what most instructions want.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Mode {
    /// Quotes stay in the result.
    pub(crate) keep_quotes: bool,
    /// Escape characters stay in the result.
    pub(crate) keep_escapes: bool,
    /// Quotes have no meaning.
    pub(crate) ignore_quotes: bool,
    /// A variable without a value stays as it is written.
    pub(crate) keep_unset: bool,
}

/// A word read to its end.
pub(crate) struct Expanded {
    pub(crate) text: String,
    pub(crate) words: Vec<String>,
}

pub(crate) struct Lexer<'a> {
    input: std::iter::Peekable<std::str::Chars<'a>>,
    escape: char,
    mode: Mode,
    lookup: &'a dyn Fn(&str) -> Option<String>,
    depth: usize,
}

/// Nobody nests variables this deep; it keeps the stack small.
const DEEPEST: usize = 100;

type Result<T> = std::result::Result<T, ExpandError>;

impl<'a> Lexer<'a> {
    pub(crate) fn new(
        text: &'a str,
        escape: char,
        mode: Mode,
        lookup: &'a dyn Fn(&str) -> Option<String>,
    ) -> Self {
        Self {
            input: text.chars().peekable(),
            escape,
            mode,
            lookup,
            depth: 0,
        }
    }

    pub(crate) fn run(mut self) -> Result<Expanded> {
        let keep_escapes = self.mode.keep_escapes;
        let mut expanded = Expanded {
            text: String::new(),
            words: Vec::new(),
        };
        let mut words = Words::default();
        self.walk(None, keep_escapes, &mut expanded.text, &mut words)?;
        expanded.words = words.finish();
        Ok(expanded)
    }

    /// Reads to a closing character, or to the end when there is none. Says whether it was found.
    fn walk(
        &mut self,
        close: Option<char>,
        keep_escapes: bool,
        text: &mut String,
        words: &mut Words,
    ) -> Result<bool> {
        let outer = std::mem::replace(&mut self.mode.keep_escapes, keep_escapes);
        let closed = self.walk_inner(close, text, words);
        self.mode.keep_escapes = outer;
        closed
    }

    fn walk_inner(
        &mut self,
        close: Option<char>,
        text: &mut String,
        words: &mut Words,
    ) -> Result<bool> {
        while let Some(next) = self.input.next() {
            match next {
                _ if Some(next) == close => return Ok(true),
                '$' => {
                    let value = self.dollar()?;
                    text.push_str(&value);
                    words.split(&value);
                }
                '\'' if !self.mode.ignore_quotes => {
                    let quoted = self.single_quoted()?;
                    text.push_str(&quoted);
                    words.append(&quoted);
                }
                '"' if !self.mode.ignore_quotes => {
                    let quoted = self.double_quoted()?;
                    text.push_str(&quoted);
                    words.append(&quoted);
                }
                '<' => {
                    let arrow = self.arrow();
                    text.push_str(&arrow);
                    words.append(&arrow);
                }
                _ if next == self.escape => {
                    if self.mode.keep_escapes {
                        text.push(next);
                        words.append_char(next);
                    }
                    let Some(escaped) = self.input.next() else {
                        break;
                    };
                    text.push(escaped);
                    words.append_char(escaped);
                }
                _ => {
                    text.push(next);
                    words.split_char(next);
                }
            }
        }
        Ok(false)
    }

    fn single_quoted(&mut self) -> Result<String> {
        let mut quoted = String::new();
        if self.mode.keep_quotes {
            quoted.push('\'');
        }
        for next in self.input.by_ref() {
            if next == '\'' {
                if self.mode.keep_quotes {
                    quoted.push('\'');
                }
                return Ok(quoted);
            }
            quoted.push(next);
        }
        Err(ExpandError::OpenQuote("single"))
    }

    fn double_quoted(&mut self) -> Result<String> {
        let mut quoted = String::new();
        if self.mode.keep_quotes {
            quoted.push('"');
        }
        while let Some(next) = self.input.next() {
            match next {
                '"' => {
                    if self.mode.keep_quotes {
                        quoted.push('"');
                    }
                    return Ok(quoted);
                }
                '$' => quoted.push_str(&self.dollar()?),
                _ if next == self.escape => {
                    if self.mode.keep_escapes {
                        quoted.push(next);
                    }
                    match self.input.peek().copied() {
                        None => {}
                        Some(escaped) if escaped == '"' || escaped == '$' => {
                            self.input.next();
                            quoted.push(escaped);
                        }
                        Some(escaped) if escaped == self.escape => {
                            self.input.next();
                            quoted.push(escaped);
                        }
                        // Any other character is not escaped here: the escape stays.
                        Some(_) => quoted.push(next),
                    }
                }
                _ => quoted.push(next),
            }
        }
        Err(ExpandError::OpenQuote("double"))
    }

    /// `<`, or `<<` with the spaces that may stand before the delimiter of a heredoc.
    fn arrow(&mut self) -> String {
        let mut arrow = "<".to_owned();
        if self.input.next_if_eq(&'<').is_some() {
            arrow.push('<');
            while let Some(space) = self.input.next_if(|c| matches!(c, '\t' | '\r' | ' ')) {
                arrow.push(space);
            }
        }
        arrow
    }

    /// What follows a `$`.
    fn dollar(&mut self) -> Result<String> {
        if self.input.next_if_eq(&'{').is_none() {
            let name = self.name();
            if name.is_empty() {
                return Ok("$".to_owned());
            }
            return Ok(match (self.lookup)(&name) {
                Some(value) => value,
                None if self.mode.keep_unset => format!("${name}"),
                None => String::new(),
            });
        }
        match self.input.peek() {
            None => return Err(ExpandError::MissingBrace),
            Some('{' | '}' | ':') => return Err(ExpandError::BadSubstitution),
            Some(_) => {}
        }
        let name = self.name();
        let Some(first) = self.input.next() else {
            return Err(ExpandError::MissingBrace);
        };
        match first {
            '}' => Ok(match (self.lookup)(&name) {
                Some(value) => value,
                None if self.mode.keep_unset => format!("${{{name}}}"),
                None => String::new(),
            }),
            ':' => {
                let Some(modifier) = self.input.next() else {
                    return Err(ExpandError::MissingBrace);
                };
                if matches!(modifier, '#' | '%') {
                    return Err(ExpandError::Modifier(format!(":{modifier}")));
                }
                self.alternative(&name, modifier, true)
            }
            '+' | '-' | '?' => self.alternative(&name, first, false),
            '#' | '%' => self.trimmed(&name, first),
            '/' => self.replaced(&name),
            other => Err(ExpandError::Modifier(other.to_string())),
        }
    }

    /// `- + ?` and, when an empty value counts as none, `:- :+ :?`.
    fn alternative(&mut self, name: &str, modifier: char, empty_is_unset: bool) -> Result<String> {
        let colon = if empty_is_unset { ":" } else { "" };
        let word = self.until('}', false, ExpandError::MissingBrace)?;
        if !matches!(modifier, '-' | '+' | '?') {
            return Err(ExpandError::Modifier(format!("{colon}{modifier}")));
        }
        let value = (self.lookup)(name);
        if value.is_none() && self.mode.keep_unset {
            return Ok(format!("${{{name}{colon}{modifier}{word}}}"));
        }
        let is_set = value.is_some();
        let given = value.filter(|value| !(empty_is_unset && value.is_empty()));
        match (modifier, given) {
            ('-', given) => Ok(given.unwrap_or(word)),
            ('+', Some(_)) => Ok(word),
            ('+', None) => Ok(String::new()),
            (_, Some(value)) => Ok(value),
            (_, None) => Err(ExpandError::Required {
                name: name.to_owned(),
                message: match (word.is_empty(), is_set) {
                    (false, _) => word,
                    (true, true) => "must not be empty".to_owned(),
                    (true, false) => "must be set".to_owned(),
                },
            }),
        }
    }

    /// `# ## % %%`.
    fn trimmed(&mut self, name: &str, modifier: char) -> Result<String> {
        let word = self.until('}', true, ExpandError::MissingBrace)?;
        let value = (self.lookup)(name);
        if value.is_none() && self.mode.keep_unset {
            return Ok(format!("${{{name}{modifier}{word}}}"));
        }
        let value = value.unwrap_or_default();
        let (pattern, longest) = match word.strip_prefix(modifier) {
            Some(pattern) => (pattern, true),
            None => (word.as_str(), false),
        };
        let pattern = Pattern::parse(pattern)?;
        Ok(if modifier == '#' {
            pattern.trim_prefix(&value, longest)
        } else {
            pattern.trim_suffix(&value, longest)
        })
    }

    /// `/` and `//`.
    fn replaced(&mut self, name: &str) -> Result<String> {
        let all = self.input.next_if_eq(&'/').is_some();
        let pattern = self.until('/', true, ExpandError::MissingSlash)?;
        let replacement = self.until('}', true, ExpandError::MissingBrace)?;
        let value = (self.lookup)(name);
        if value.is_none() && self.mode.keep_unset {
            return Ok(format!("${{{name}/{pattern}/{replacement}}}"));
        }
        let value = value.unwrap_or_default();
        Ok(Pattern::parse(&pattern)?.replace(&value, &replacement, all))
    }

    fn until(&mut self, close: char, keep_escapes: bool, missing: ExpandError) -> Result<String> {
        if self.depth == DEEPEST {
            return Err(ExpandError::TooDeep(DEEPEST));
        }
        self.depth += 1;
        let mut text = String::new();
        let mut words = Words::default();
        let closed = self.walk(Some(close), keep_escapes, &mut text, &mut words);
        self.depth -= 1;
        if closed? { Ok(text) } else { Err(missing) }
    }

    /// A name, a run of digits, or one of the shell's special parameters.
    fn name(&mut self) -> String {
        let mut name = String::new();
        if self.input.peek().is_some_and(|c| c.is_numeric()) {
            while let Some(digit) = self.input.next_if(|c| c.is_numeric()) {
                name.push(digit);
            }
            return name;
        }
        let special = |c: &char| matches!(c, '@' | '*' | '#' | '?' | '-' | '$' | '!');
        if let Some(parameter) = self.input.next_if(special) {
            return parameter.to_string();
        }
        let of_a_name = |c: &char| c.is_alphabetic() || c.is_numeric() || *c == '_';
        while let Some(letter) = self.input.next_if(of_a_name) {
            name.push(letter);
        }
        name
    }
}

/// Collects words: ordinary spaces end one, quoted and escaped characters never do.
#[derive(Default)]
struct Words {
    done: Vec<String>,
    current: String,
}

impl Words {
    fn split_char(&mut self, next: char) {
        if !next.is_whitespace() {
            self.current.push(next);
        } else if !self.current.is_empty() {
            self.done.push(std::mem::take(&mut self.current));
        }
    }

    fn split(&mut self, text: &str) {
        for next in text.chars() {
            self.split_char(next);
        }
    }

    fn append(&mut self, text: &str) {
        self.current.push_str(text);
    }

    fn append_char(&mut self, next: char) {
        self.current.push(next);
    }

    fn finish(mut self) -> Vec<String> {
        if !self.current.is_empty() {
            self.done.push(self.current);
        }
        self.done
    }
}
