//! Tables that stay tables for assistive technology when a narrow screen shows each row as a card:
//! the roles say what changing `display` takes away.

use crate::page::html::{Html, Size};
use crate::page::survey::Sizes;

/// A column's heading and class.
pub(super) type Column = (&'static str, &'static str);

/// The head, and the beginning of the body.
pub(super) fn head(html: &mut Html, columns: &[Column]) {
    html.markup("<thead role=\"rowgroup\"><tr role=\"row\">");
    for (name, class) in columns {
        html.markup("<th role=\"columnheader\" scope=\"col\" class=\"");
        html.markup(class).markup("\">").markup(name);
        html.markup("</th>");
    }
    html.markup("</tr></thead>\n<tbody role=\"rowgroup\">\n");
}

pub(super) fn row(html: &mut Html, fill: impl FnOnce(&mut Row<'_>)) {
    html.markup("<tr role=\"row\">");
    fill(&mut Row(html));
    html.markup("</tr>\n");
}

pub(super) struct Row<'a>(&'a mut Html);

impl Row<'_> {
    /// The cell that says which row it is.
    pub(super) fn header(&mut self, column: &Column, fill: impl FnOnce(&mut Html)) {
        self.open("<th role=\"rowheader\" scope=\"row\" class=\"", column);
        fill(self.0);
        self.0.markup("</th>");
    }

    pub(super) fn cell(&mut self, column: &Column, fill: impl FnOnce(&mut Html)) {
        self.open("<td role=\"cell\" class=\"", column);
        fill(self.0);
        self.0.markup("</td>");
    }

    /// Three cells: all, unique, shared.
    pub(super) fn cells_of_sizes(&mut self, columns: &[Column], sizes: Sizes) {
        for (column, size) in columns
            .iter()
            .zip([sizes.total, sizes.unique, sizes.shared()])
        {
            self.cell(column, |html| {
                html.text(Size(size));
            });
        }
    }

    fn open(&mut self, tag: &'static str, (name, class): &Column) {
        self.0.markup(tag).markup(class);
        self.0.markup("\" data-label=\"").markup(name).markup("\">");
    }
}
