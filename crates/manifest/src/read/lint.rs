//! What images are held to: `[lint]`, `[image.NAME.lint]`, `runtime-mounts`.

use std::collections::BTreeMap;

use launchway_diagnostics::{Diagnostic, Span, Spanned};
use launchway_lint::{AmountError, Glob, Level, Limit, Rule, parse_bytes};
use launchway_model::Platform;

use super::{Reader, Table};
use crate::codes;
use crate::lint::{AllowedFinding, LintSettings};

impl Reader<'_> {
    pub(super) fn lint(&mut self, table: &Table<'_>) -> Option<LintSettings> {
        let table = table.table("lint")?;
        Some(LintSettings {
            span: table.span,
            wasted: self.amount(&table, "wasted", Limit::parse),
            size: self.amount(&table, "size", parse_bytes),
            platform_size: self.platform_sizes(&table),
            deny_warnings: table.bool("deny-warnings"),
            levels: table
                .table("rules")
                .map(|rules| levels(&rules))
                .unwrap_or_default(),
            allow: table.tables("allow").iter().filter_map(allowed).collect(),
        })
    }

    /// Absolute paths, each at most once.
    pub(super) fn runtime_mounts(&mut self, table: &Table<'_>) -> Vec<Spanned<String>> {
        let mut mounts = Vec::new();
        for text in table.texts("runtime-mounts").unwrap_or_default() {
            if text.value.trim().is_empty() {
                continue; // reported with the shape
            }
            let names = text.value.split('/').filter(|name| !name.is_empty());
            if !text.value.starts_with('/') || names.clone().any(|name| name == "..") {
                self.bad_value(
                    text.span,
                    format!("{:?} is not a place to mount something", text.value),
                    "an absolute path, as it is inside the image",
                );
            } else if names.count() == 0 {
                self.bad_value(
                    text.span,
                    "nothing can be mounted over the whole image".to_owned(),
                    "a folder below it",
                );
            } else {
                mounts.push(text);
            }
        }
        self.without_repeats(mounts)
    }

    fn amount<T>(
        &mut self,
        table: &Table<'_>,
        key: &str,
        parse: impl Fn(&str) -> Result<T, AmountError>,
    ) -> Option<T> {
        let text = table.text(key)?;
        self.parsed(key, &text.value, text.span, parse)
    }

    fn parsed<T>(
        &mut self,
        key: &str,
        text: &str,
        span: Span,
        parse: impl Fn(&str) -> Result<T, AmountError>,
    ) -> Option<T> {
        if text.trim().is_empty() {
            return None; // reported with the shape
        }
        match parse(text) {
            Ok(amount) => Some(amount),
            Err(error) => {
                let message = format!("`{key}` is no size: {text:?}");
                self.bad_value(span, message, error.0);
                None
            }
        }
    }

    fn platform_sizes(&mut self, table: &Table<'_>) -> BTreeMap<Platform, u64> {
        let mut sizes = BTreeMap::new();
        for entry in table.entries("platform-size") {
            let name = Spanned::new(entry.name.value.to_owned(), entry.name.span);
            let platform = self.platform(&name);
            let span = Span::new(self.source, entry.value.span());
            let size = entry
                .value
                .get_ref()
                .as_str()
                .and_then(|text| self.parsed("platform-size", text, span, parse_bytes));
            if let (Some(platform), Some(size)) = (platform, size)
                && sizes.insert(platform.clone(), size).is_some()
            {
                let problem =
                    Diagnostic::error(codes::REPEATED, format!("`{platform}` is repeated"))
                        .at(name.span, "a second time")
                        .help("take one of them out");
                self.report(problem);
            }
        }
        sizes
    }
}

fn levels(table: &Table<'_>) -> BTreeMap<Rule, Level> {
    let of = |rule: Rule| {
        let level = table.text(rule.name())?.value.parse().ok()?;
        Some((rule, level))
    };
    Rule::ALL.into_iter().filter_map(of).collect()
}

/// None for what was reported with the shape.
fn allowed(table: &Table<'_>) -> Option<AllowedFinding> {
    Some(AllowedFinding {
        span: table.span,
        rule: table.text("rule")?.value.parse().ok()?,
        path: table.text("path").map(|text| Glob::new(&text.value)),
        reason: table.text("reason")?.value,
    })
}
