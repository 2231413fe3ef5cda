//! Single values: names, paths, lengths of time, platforms, templates.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

use launchway_diagnostics::{Code, Diagnostic, Span, Spanned, closest};
use launchway_model::{NameError, Platform, VersionName, parse_duration};

use super::{Reader, Table};
use crate::codes;
use crate::shape::quoted;
use crate::template::{Placeholder, TagTemplate, TemplateError, TemplateProblem, TextTemplate};

/// Architectures that there are base images and emulators for.
const ARCHITECTURES: &[&str] = &[
    "amd64", "arm64", "arm", "386", "riscv64", "ppc64le", "s390x", "loong64", "mips64le",
];

impl Reader<'_> {
    pub(super) fn name<T>(&mut self, what: &str, name: &Spanned<impl AsRef<str>>) -> Option<T>
    where
        T: FromStr<Err = NameError>,
    {
        let text = name.value.as_ref();
        match text.parse() {
            Ok(parsed) => Some(parsed),
            Err(error) => {
                let problem =
                    Diagnostic::error(codes::BAD_NAME, format!("{text:?} cannot name {what}"))
                        .at(name.span, error.to_string());
                let better: String = text
                    .to_lowercase()
                    .chars()
                    .map(|c| if c.is_whitespace() { '-' } else { c })
                    .collect();
                let fits = better != text && better.parse::<T>().is_ok();
                self.report(if fits {
                    problem.help(format!("write `{better}`"))
                } else {
                    problem
                });
                None
            }
        }
    }

    /// A list of names, each at most once.
    pub(super) fn names<T>(&mut self, what: &str, texts: Vec<Spanned<String>>) -> Vec<Spanned<T>>
    where
        T: FromStr<Err = NameError> + Clone + Ord + Display,
    {
        let names = texts
            .into_iter()
            .filter_map(|text| Some(Spanned::new(self.name(what, &text)?, text.span)))
            .collect();
        self.without_repeats(names)
    }

    /// Takes what stands twice in a list out, and reports it.
    pub(super) fn without_repeats<T: Ord + Clone + Display>(
        &mut self,
        items: Vec<Spanned<T>>,
    ) -> Vec<Spanned<T>> {
        let mut seen: BTreeMap<T, Span> = BTreeMap::new();
        items
            .into_iter()
            .filter(|item| {
                if let Some(first) = seen.get(&item.value) {
                    let problem =
                        Diagnostic::error(codes::REPEATED, format!("`{}` is repeated", item.value))
                            .at(item.span, "a second time")
                            .also(*first, "the first")
                            .help("take one of them out");
                    self.diagnostics.push(problem);
                    return false;
                }
                seen.insert(item.value.clone(), item.span);
                true
            })
            .collect()
    }

    pub(super) fn bad_value(&mut self, span: Span, message: String, label: &str) {
        self.report(Diagnostic::error(codes::BAD_VALUE, message).at(span, label));
    }

    pub(super) fn platforms(&mut self, table: &Table<'_>) -> Option<Vec<Spanned<Platform>>> {
        let texts = table.texts("platforms")?;
        let platforms = texts
            .into_iter()
            .filter_map(|text| Some(Spanned::new(self.platform(&text)?, text.span)))
            .collect();
        Some(self.without_repeats(platforms))
    }

    pub(super) fn platform(&mut self, text: &Spanned<String>) -> Option<Platform> {
        let problem = Diagnostic::error(
            codes::BAD_PLATFORM,
            format!("{:?} is not a platform to build for", text.value),
        );
        let problem = match text.value.parse::<Platform>() {
            Err(error) => {
                let problem = problem.at(text.span, error.to_string());
                match format!("linux/{}", text.value).parse::<Platform>() {
                    Ok(meant) if ARCHITECTURES.contains(&meant.architecture()) => {
                        problem.help(format!("write \"{meant}\""))
                    }
                    _ => problem,
                }
            }
            Ok(platform) if platform.os() != "linux" => {
                let words = problem.at(text.span, "only Linux images are built");
                match closest(platform.os(), ["linux"]) {
                    Some(_) => words.help("did you mean `linux`?"),
                    None => words,
                }
            }
            Ok(platform) if !ARCHITECTURES.contains(&platform.architecture()) => {
                let words = problem.at(text.span, "an unknown architecture");
                match closest(platform.architecture(), ARCHITECTURES.iter().copied()) {
                    Some(meant) => words.help(format!("did you mean `linux/{meant}`?")),
                    None => words.help(format!("known are {}", quoted(ARCHITECTURES))),
                }
            }
            Ok(platform) => return Some(platform),
        };
        self.report(problem);
        None
    }

    /// A path inside the family's folder, without `.` and `..` parts.
    pub(super) fn path(&mut self, text: Spanned<String>) -> Option<Spanned<String>> {
        match inside_folder(&text.value) {
            Ok(path) => Some(Spanned::new(path, text.span)),
            // An empty one was reported with the shape.
            Err(_) if text.value.trim().is_empty() => None,
            Err(reason) => {
                let problem = Diagnostic::error(
                    codes::BAD_PATH,
                    format!("{:?} is not a path of the family", text.value),
                )
                .at(text.span, reason)
                .note("paths are relative to the folder of the family file and stay inside it");
                self.report(problem);
                None
            }
        }
    }

    pub(super) fn paths(&mut self, texts: Vec<Spanned<String>>) -> Vec<Spanned<String>> {
        let paths = texts
            .into_iter()
            .filter_map(|text| self.path(text))
            .collect();
        self.without_repeats(paths)
    }

    /// A length of time that is not nothing.
    pub(super) fn time_limit(&mut self, table: &Table<'_>, key: &str) -> Option<Duration> {
        let text = table.text(key)?;
        let duration = self.duration(&text)?;
        if duration.is_zero() {
            self.bad_value(
                text.span,
                format!("`{key}` is nothing"),
                "nothing can be done in no time",
            );
            return None;
        }
        Some(duration)
    }

    pub(super) fn duration(&mut self, text: &Spanned<String>) -> Option<Duration> {
        let duration = parse_duration(&text.value);
        if duration.is_none() && !text.value.trim().is_empty() {
            let problem = Diagnostic::error(
                codes::BAD_VALUE,
                format!("{:?} is not a length of time", text.value),
            )
            .at(text.span, "numbers with the units `ms`, `s`, `m` or `h`")
            .help("write it like \"90s\", \"15m\" or \"1h30m\"");
            self.report(problem);
        }
        duration
    }

    /// A tag template that uses no other placeholders than those allowed.
    pub(super) fn tag_template(
        &mut self,
        text: &Spanned<String>,
        what: &str,
        allowed: &[Placeholder],
    ) -> Option<TagTemplate> {
        if text.value.trim().is_empty() {
            return None; // reported with the shape
        }
        let words: Vec<&str> = allowed
            .iter()
            .map(|placeholder| placeholder.word())
            .collect();
        let braced: Vec<String> = words.iter().map(|word| format!("{{{word}}}")).collect();
        let list = quoted(&braced);
        let template = match TagTemplate::parse(&text.value) {
            Ok(template) => template,
            Err(errors) => {
                for error in errors {
                    let code = match error.problem {
                        TemplateProblem::UnknownPlaceholder(_) => codes::UNKNOWN_PLACEHOLDER,
                        TemplateProblem::NotInATag(_) => codes::BAD_TAG,
                        _ => codes::BAD_TEMPLATE,
                    };
                    let problem = self.template_problem(text, &error, code);
                    let problem = match &error.problem {
                        TemplateProblem::UnknownPlaceholder(word) => {
                            match closest(word, words.iter().copied()) {
                                Some(meant) => problem.help(format!("did you mean `{{{meant}}}`?")),
                                None => problem.help(format!("{what} can have {list}")),
                            }
                        }
                        TemplateProblem::NotInATag(_) => {
                            problem.help("tags have letters, digits, `_`, `.` and `-`")
                        }
                        _ => problem.help(format!("placeholders are {list}")),
                    };
                    self.report(problem);
                }
                return None;
            }
        };
        let mut fits = true;
        for (placeholder, range) in template.placeholders() {
            if !allowed.contains(&placeholder) {
                fits = false;
                let problem = Diagnostic::error(
                    codes::MISPLACED_PLACEHOLDER,
                    format!("`{{{}}}` has no value in {what}", placeholder.word()),
                )
                .at(self.inside(text, range), "unknown at this place")
                .help(format!("{what} can have {list}"));
                self.report(problem);
            }
        }
        fits.then_some(template)
    }

    /// A text whose placeholders are entries of `[versions]`.
    pub(super) fn text_template(&mut self, text: Spanned<String>) -> Option<Spanned<TextTemplate>> {
        let template = match TextTemplate::parse(&text.value) {
            Ok(template) => template,
            Err(errors) => {
                for error in errors {
                    let problem = self
                        .template_problem(&text, &error, codes::BAD_TEMPLATE)
                        .help("write `{{` or `}}` for a brace that is meant literally");
                    self.report(problem);
                }
                return None;
            }
        };
        let mut known = true;
        for (name, range) in template.versions() {
            if !self.versions.contains(name) && !self.versions_incomplete {
                known = false;
                let span = self.inside(&text, range);
                let problem = self.unknown_version(name, span);
                self.report(problem);
            }
        }
        known.then(|| Spanned::new(template, text.span))
    }

    fn unknown_version(&self, name: &VersionName, span: Span) -> Diagnostic {
        let problem = Diagnostic::error(
            codes::UNKNOWN_VERSION,
            format!("there is no version `{name}`"),
        )
        .at(span, "not an entry of [versions]");
        match closest(name.as_str(), self.versions.iter().map(VersionName::as_str)) {
            Some(meant) => problem.help(format!("did you mean `{{{meant}}}`?")),
            None => problem.help(
                "add it to [versions], or write `{{` and `}}` if the braces are meant literally",
            ),
        }
    }

    fn template_problem(
        &self,
        text: &Spanned<String>,
        error: &TemplateError,
        code: Code,
    ) -> Diagnostic {
        let label = match error.problem {
            TemplateProblem::UnknownPlaceholder(_) => "no such placeholder",
            TemplateProblem::Unclosed => "opens a placeholder",
            TemplateProblem::Unopened => "a `{` is missing before it",
            TemplateProblem::NotAName(_) => "not a name",
            TemplateProblem::NotInATag(_) => "not in a tag",
        };
        Diagnostic::error(code, error.problem.to_string())
            .at(self.inside(text, error.range.clone()), label)
    }

    /// The texts of a table, by name: build arguments.
    pub(super) fn args(
        &mut self,
        table: &Table<'_>,
        key: &str,
    ) -> BTreeMap<String, Spanned<TextTemplate>> {
        let mut args = BTreeMap::new();
        for (name, text) in self.named_texts(table, key) {
            let value = self.text_template(text);
            if let (Some(name), Some(value)) =
                (self.name::<VersionName>("a build argument", &name), value)
            {
                args.insert(name.to_string(), value);
            }
        }
        args
    }

    /// The texts of a table, by name: labels.
    pub(super) fn labels(&mut self, table: &Table<'_>) -> BTreeMap<String, Spanned<TextTemplate>> {
        let mut labels = BTreeMap::new();
        for (name, text) in self.named_texts(table, "labels") {
            let value = self.text_template(text);
            if name.value.trim().is_empty() {
                self.report(
                    Diagnostic::error(codes::BAD_NAME, "a label without a name")
                        .at(name.span, "nothing is written here"),
                );
            } else if let Some(value) = value {
                labels.insert(name.value, value);
            }
        }
        labels
    }

    fn named_texts(&self, table: &Table<'_>, key: &str) -> Vec<(Spanned<String>, Spanned<String>)> {
        table
            .entries(key)
            .into_iter()
            .filter_map(|entry| {
                let text = entry.value.get_ref().as_str()?.to_owned();
                let span = Span::new(self.source, entry.value.span());
                Some((entry.name.map(str::to_owned), Spanned::new(text, span)))
            })
            .collect()
    }
}

/// The path without `.` and `..` parts, or why it cannot be inside the family's folder.
fn inside_folder(path: &str) -> Result<String, &'static str> {
    if path.starts_with('/') {
        return Err("an absolute path");
    }
    if path.contains('\\') {
        return Err("folders are separated by `/`");
    }
    if path.contains(|c: char| c.is_control()) {
        return Err("contains a control character");
    }
    if path.trim().is_empty() {
        return Err("nothing is written here");
    }
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop().ok_or("leaves the folder")?;
            }
            part => parts.push(part),
        }
    }
    if parts.is_empty() {
        Ok(".".to_owned())
    } else {
        Ok(parts.join("/"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_inside() {
        for (text, want) in [
            ("Dockerfile", Ok("Dockerfile")),
            ("./a//b/", Ok("a/b")),
            ("a/../b", Ok("b")),
            (".", Ok(".")),
            ("a/..", Ok(".")),
            ("..", Err("leaves the folder")),
            ("a/../../b", Err("leaves the folder")),
            ("/etc", Err("an absolute path")),
            ("a\\b", Err("folders are separated by `/`")),
        ] {
            assert_eq!(inside_folder(text), want.map(str::to_owned), "{text}");
        }
    }
}
