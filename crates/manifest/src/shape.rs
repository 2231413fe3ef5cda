//! Whether a document has the shape that [`keys`](crate::keys) gives: known keys only, each of its
//! type, none missing. What the values mean is not looked at.

use launchway_diagnostics::{Diagnostic, SourceId, Span, closest};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::codes;
use crate::keys::{Form, Shape, TableSpec};

pub(crate) struct ShapeCheck<'t> {
    pub(crate) source: SourceId,
    pub(crate) text: &'t str,
    pub(crate) diagnostics: Vec<Diagnostic>,
}

impl ShapeCheck<'_> {
    /// Checks a table that is written at `head`.
    pub(crate) fn table(&mut self, table: &DeTable<'_>, spec: &TableSpec, head: Span) {
        let mut meant: Vec<&str> = Vec::new();
        for (key, value) in table {
            match spec.key(key.get_ref()) {
                Some(known) => self.value(&format!("`{}`", known.name), value, &known.shape),
                None => meant.extend(self.unknown_key(key, spec)),
            }
        }
        for key in spec.keys.iter().filter(|key| key.required) {
            // A misspelt key was reported already.
            if !table.contains_key(key.name) && !meant.contains(&key.name) {
                let problem =
                    Diagnostic::error(codes::MISSING_KEY, format!("`{}` is missing", key.name))
                        .at(head, format!("{} needs it", spec.title))
                        .note(key.doc);
                self.diagnostics.push(problem);
            }
        }
        for choice in spec.choices {
            let found: Vec<Span> = table
                .iter()
                .filter(|(key, _)| choice.keys.contains(&key.get_ref().as_ref()))
                .map(|(key, _)| self.span(key))
                .collect();
            let [one, other] = choice.keys;
            if let [first, second] = found[..] {
                let problem = Diagnostic::error(
                    codes::ONE_OF,
                    format!("`{one}` and `{other}` exclude each other"),
                )
                .at(first.max(second), "this or the other")
                .also(first.min(second), "the other")
                .help(format!(
                    "{} takes one of them; take the other out",
                    spec.title
                ));
                self.diagnostics.push(problem);
            } else if found.is_empty() && choice.needed {
                let problem = Diagnostic::error(
                    codes::ONE_OF,
                    format!("neither `{one}` nor `{other}` is given"),
                )
                .at(head, format!("{} needs one of them", spec.title));
                self.diagnostics.push(problem);
            }
        }
    }

    /// Checks a value; `name` is what messages call it.
    fn value(&mut self, name: &str, value: &Spanned<DeValue<'_>>, shape: &Shape) {
        let span = self.span(value);
        match (shape, value.get_ref()) {
            (Shape::Text(form) | Shape::TextOrTable(form, _), DeValue::String(text)) => {
                self.text(name, text, span, *form);
            }
            (Shape::TextOrTable(_, spec) | Shape::Table(spec), DeValue::Table(table)) => {
                self.table(table, spec, span);
            }
            (Shape::Bool, DeValue::Boolean(_)) => {}
            (Shape::Integer { min, max }, DeValue::Integer(integer)) => {
                let number = integer_value(integer);
                if !number.is_some_and(|number| (*min..=*max).contains(&number)) {
                    let problem =
                        Diagnostic::error(codes::BAD_VALUE, format!("{name} is out of range"))
                            .at(span, format!("from {min} to {max}"));
                    self.diagnostics.push(problem);
                }
            }
            (Shape::List { of, at_least }, DeValue::Array(items)) => {
                if items.len() < *at_least {
                    self.empty_list(name, span);
                }
                let entry = format!("an entry of {name}");
                for item in items {
                    self.value(&entry, item, of);
                }
            }
            (Shape::Map { of, at_least, .. }, DeValue::Table(table)) => {
                if table.len() < *at_least {
                    let problem = Diagnostic::error(codes::MISSING_KEY, format!("{name} is empty"))
                        .at(span, "describe at least one");
                    self.diagnostics.push(problem);
                }
                for (key, value) in table {
                    self.value(&format!("`{}`", key.get_ref()), value, of);
                }
            }
            (_, found) => self.wrong_type(name, span, found, shape),
        }
    }

    fn text(&mut self, name: &str, text: &str, span: Span, form: Form) {
        let problem = match form {
            Form::Free | Form::TagSuffix => return,
            Form::Word(words) if !words.contains(&text) => {
                let problem =
                    Diagnostic::error(codes::BAD_VALUE, format!("{name} cannot be {text:?}"))
                        .at(span, format!("one of {}", quoted(words)));
                match closest(text, words.iter().copied()) {
                    Some(word) => problem.help(format!("did you mean `{word}`?")),
                    None => problem,
                }
            }
            Form::Word(_) => return,
            _ if text.trim().is_empty() => {
                Diagnostic::error(codes::BAD_VALUE, format!("{name} is empty"))
                    .at(span, "nothing is written here")
            }
            _ => return,
        };
        self.diagnostics.push(problem);
    }

    fn empty_list(&mut self, name: &str, span: Span) {
        let problem = if name == "`features`" {
            Diagnostic::error(codes::EMPTY_FEATURES, "the list of features is empty")
                .at(span, "lists nothing")
                .help("list at least one feature, or leave `features` out")
        } else {
            Diagnostic::error(codes::BAD_VALUE, format!("{name} is empty"))
                .at(span, "lists nothing")
                .help("list at least one")
        };
        self.diagnostics.push(problem);
    }

    fn wrong_type(&mut self, name: &str, span: Span, found: &DeValue<'_>, shape: &Shape) {
        let noun = match found {
            DeValue::String(_) => "a text",
            DeValue::Integer(_) => "a whole number",
            DeValue::Float(_) => "a number",
            DeValue::Boolean(_) => "`true` or `false`",
            DeValue::Datetime(_) => "a date",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        };
        let mut problem =
            Diagnostic::error(codes::WRONG_TYPE, format!("{name} takes {}", shape.noun()))
                .at(span, format!("this is {noun}"));
        let written = self.text.get(span.range()).unwrap_or_default();
        let scalar = !matches!(found, DeValue::Array(_) | DeValue::Table(_));
        problem = match shape {
            Shape::Text(Form::Duration) if scalar => problem.help(format!(
                "say the unit, as in \"{written}s\" or \"{written}m\""
            )),
            Shape::Text(_) | Shape::TextOrTable(..) if scalar => {
                problem.help(format!("put it in quotes: \"{written}\""))
            }
            Shape::List { of, .. }
                if matches!((of, found), (Shape::Text(_), DeValue::String(_))) =>
            {
                // A command is a list of words, not a line for a shell.
                let is_command = matches!(name, "`run`" | "`cmd`" | "`entrypoint`");
                let words: Vec<&str> = if is_command {
                    written.split_whitespace().collect()
                } else {
                    vec![written]
                };
                problem.help(format!("put it in brackets: [{}]", words.join("\", \"")))
            }
            Shape::Bool if matches!(found, DeValue::String(_)) => {
                problem.help("leave the quotes out")
            }
            _ => problem,
        };
        self.diagnostics.push(problem);
    }

    /// Reports a key that is not known, and gives the one that was probably meant.
    fn unknown_key(
        &mut self,
        key: &Spanned<std::borrow::Cow<'_, str>>,
        spec: &TableSpec,
    ) -> Option<&'static str> {
        let name = key.get_ref();
        let problem = Diagnostic::error(codes::UNKNOWN_KEY, format!("unknown key `{name}`"))
            .at(self.span(key), format!("not a key of {}", spec.title));
        let meant = closest(name, spec.keys.iter().map(|key| key.name));
        self.diagnostics.push(match meant {
            Some(meant) => problem.help(format!("did you mean `{meant}`?")),
            None => {
                let known: Vec<&str> = spec.keys.iter().map(|key| key.name).collect();
                problem.help(format!("{} takes {}", spec.title, quoted(&known)))
            }
        });
        meant
    }

    fn span<T>(&self, spanned: &Spanned<T>) -> Span {
        Span::new(self.source, spanned.span())
    }
}

/// The integer's value, when it fits.
pub(crate) fn integer_value(integer: &toml::de::DeInteger<'_>) -> Option<i64> {
    i64::from_str_radix(integer.as_str(), integer.radix()).ok()
}

/// Words for a message: `` `a`, `b` ``.
pub(crate) fn quoted<T: AsRef<str>>(words: &[T]) -> String {
    let words: Vec<String> = words
        .iter()
        .map(|word| format!("`{}`", word.as_ref()))
        .collect();
    words.join(", ")
}
