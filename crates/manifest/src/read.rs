//! From a document's values to the family's. Values of the wrong type were already reported by
//! [`shape`](crate::shape) and are passed over here.

mod family;
mod image;
mod lint;
mod values;

pub(crate) use family::family;

use std::collections::BTreeSet;
use std::ops::Range;

use launchway_diagnostics::{Diagnostic, SourceId, Span, Spanned};
use launchway_model::VersionName;
use toml::de::{DeTable, DeValue};

use crate::keys::{Shape, TableSpec};
use crate::shape::integer_value;

/// Where the problems go, and what every part of the file may refer to.
pub(crate) struct Reader<'t> {
    pub(crate) source: SourceId,
    pub(crate) text: &'t str,
    pub(crate) diagnostics: Vec<Diagnostic>,
    /// The entries of `[versions]`.
    pub(crate) versions: BTreeSet<VersionName>,
    /// Whether some entry of `[versions]` could not be read, so that an unknown version may be it.
    pub(crate) versions_incomplete: bool,
    /// Names under `[image]` that are no names, so that `from` may mean one of them.
    pub(crate) unreadable_images: BTreeSet<String>,
}

/// The parts of the file that could be read. What could not be read is filled with something
/// harmless, after it was reported.
pub(crate) struct Draft {
    pub(crate) family: crate::Family,
    pub(crate) unreadable_images: BTreeSet<String>,
}

/// A table of the document, together with the keys it may hold.
pub(crate) struct Table<'d> {
    table: &'d DeTable<'d>,
    spec: &'static TableSpec,
    source: SourceId,
    /// Where it is written.
    span: Span,
}

/// A name that the user gave, and what stands under it.
struct Entry<'d> {
    name: Spanned<&'d str>,
    value: &'d toml::Spanned<DeValue<'d>>,
}

impl<'d> Table<'d> {
    pub(crate) fn new(
        table: &'d DeTable<'d>,
        spec: &'static TableSpec,
        source: SourceId,
        span: Span,
    ) -> Self {
        Self {
            table,
            spec,
            source,
            span,
        }
    }

    /// The value of a key; asking for a key that is not in the table of keys is a mistake here.
    fn get(&self, key: &str) -> Option<(&'d DeValue<'d>, Span)> {
        debug_assert!(
            self.spec.key(key).is_some(),
            "{key} is no key of {}",
            self.spec.title
        );
        let value = self.table.get(key)?;
        Some((value.get_ref(), Span::new(self.source, value.span())))
    }

    fn text(&self, key: &str) -> Option<Spanned<String>> {
        let (value, span) = self.get(key)?;
        Some(Spanned::new(value.as_str()?.to_owned(), span))
    }

    fn bool(&self, key: &str) -> Option<bool> {
        self.get(key)?.0.as_bool()
    }

    fn integer(&self, key: &str) -> Option<i64> {
        match self.get(key)?.0 {
            DeValue::Integer(integer) => integer_value(integer),
            _ => None,
        }
    }

    /// The texts of a list; `None` when the key is not there.
    fn texts(&self, key: &str) -> Option<Vec<Spanned<String>>> {
        let (value, _) = self.get(key)?;
        let items = value.as_array()?.iter();
        Some(
            items
                .filter_map(|item| {
                    let span = Span::new(self.source, item.span());
                    Some(Spanned::new(item.get_ref().as_str()?.to_owned(), span))
                })
                .collect(),
        )
    }

    fn table(&self, key: &str) -> Option<Table<'d>> {
        let (value, span) = self.get(key)?;
        let Shape::Table(spec) = &self.spec.key(key)?.shape else {
            return None;
        };
        Some(Table::new(value.as_table()?, spec, self.source, span))
    }

    /// The tables of a list of tables.
    fn tables(&self, key: &str) -> Vec<Table<'d>> {
        let Some(Shape::List {
            of: Shape::Table(spec),
            ..
        }) = self.spec.key(key).map(|key| &key.shape)
        else {
            return Vec::new();
        };
        let items = self.get(key).and_then(|(value, _)| value.as_array());
        items
            .into_iter()
            .flatten()
            .filter_map(|item| {
                let span = Span::new(self.source, item.span());
                Some(Table::new(
                    item.get_ref().as_table()?,
                    spec,
                    self.source,
                    span,
                ))
            })
            .collect()
    }

    /// The entries of a table whose names the user gives, in the file's order.
    fn entries(&self, key: &str) -> Vec<Entry<'d>> {
        let table = self.get(key).and_then(|(value, _)| value.as_table());
        let mut entries: Vec<Entry<'d>> = table
            .into_iter()
            .flatten()
            .map(|(name, value)| Entry {
                name: Spanned::new(name.get_ref().as_ref(), Span::new(self.source, name.span())),
                value,
            })
            .collect();
        entries.sort_by_key(|entry| entry.name.span);
        entries
    }

    /// The tables among the entries, each with its name.
    fn named_tables(&self, key: &str) -> Vec<(Spanned<&'d str>, Table<'d>)> {
        let Some(Shape::Map {
            of: Shape::Table(spec),
            ..
        }) = self.spec.key(key).map(|key| &key.shape)
        else {
            return Vec::new();
        };
        self.entries(key)
            .into_iter()
            .filter_map(|entry| {
                let span = Span::new(self.source, entry.value.span());
                let table = entry.value.get_ref().as_table()?;
                Some((entry.name, Table::new(table, spec, self.source, span)))
            })
            .collect()
    }
}

impl Reader<'_> {
    fn report(&mut self, problem: Diagnostic) {
        self.diagnostics.push(problem);
    }

    /// The place of some bytes of a text value. Where the text is written with escapes the bytes
    /// cannot be told apart, and the whole value is the place.
    fn inside(&self, value: &Spanned<String>, range: Range<usize>) -> Span {
        let Some(written) = self.text.get(value.span.range()) else {
            return value.span;
        };
        let quotes = if written.starts_with("\"\"\"") || written.starts_with("'''") {
            3
        } else {
            1
        };
        let plain = written
            .get(quotes..written.len().saturating_sub(quotes))
            .is_some_and(|inner| inner == value.value);
        if !plain {
            return value.span;
        }
        let start = value.span.start as usize + quotes;
        Span::new(self.source, start + range.start..start + range.end)
    }

    /// The place of the character at an offset of a text value. What is wrong from the start is
    /// wrong as a whole.
    fn character(&self, value: &Spanned<String>, at: usize) -> Span {
        if at == 0 {
            return value.span;
        }
        match value.value.get(at..).and_then(|rest| rest.chars().next()) {
            Some(c) => self.inside(value, at..at + c.len_utf8()),
            None => value.span,
        }
    }
}
