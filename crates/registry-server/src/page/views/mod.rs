//! The pages as HTML, out of values. Nothing here reads anything.

mod image;
mod overview;
mod repository;
mod table;

use super::html::{Count, Html, Size};
use super::survey::{Repository, Root, Sizes, Survey};
use super::{PageNumber, STYLE};

pub(super) use image::image;
pub(super) use overview::overview;
pub(super) use repository::repository;

/// Three layers. In the document, since browsers ask for an icon in any case.
const ICON: &str = "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E\
    %3Cpath fill='%230757b8' d='M8 1 1 5l7 4 7-4zM3 8 1 9l7 4 7-4-2-1-5 3zM3 11l-2 1 7 4 7-4-2-1-5 3z'/%3E%3C/svg%3E";

/// A document around `main`. `trail` is what lies above it: address and name.
fn document(title: &str, trail: &[(String, &str)], main: impl FnOnce(&mut Html)) -> String {
    let mut html = Html::new();
    html.markup("<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n");
    html.markup("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n");
    html.markup("<meta name=\"color-scheme\" content=\"light dark\">\n<title>");
    html.text(title);
    html.markup("</title>\n<link rel=\"icon\" href=\"")
        .markup(ICON);
    html.markup("\">\n<style>");
    html.markup(STYLE);
    html.markup("</style>\n</head>\n<body>\n");
    if !trail.is_empty() {
        html.markup("<nav aria-label=\"Breadcrumb\"><ol>");
        for (to, name) in trail {
            html.markup("<li>").link(to, name).markup("</li>");
        }
        html.markup("</ol></nav>\n");
    }
    html.markup("<main>\n");
    main(&mut html);
    html.markup("</main>\n</body>\n</html>\n");
    html.finish()
}

/// What is said where a repository or an image is not.
pub(super) fn nothing_here() -> String {
    document("Nothing here", &home(), |html| {
        html.markup("<h1>Nothing here</h1>\n");
        html.markup("<p>There is no such repository or image. It may have been deleted.</p>\n");
    })
}

fn home() -> [(String, &'static str); 1] {
    [("/".to_owned(), "Registry")]
}

fn address_of(repository: &str) -> String {
    format!("/images/{repository}")
}

/// The page of a root, by its first tag where it has one.
fn address_of_root(survey: &Survey, root: &Root) -> String {
    let repository = &survey.repositories[root.repository].name;
    match root.tags.first() {
        Some(tag) => format!("/images/{repository}:{tag}"),
        None => format!("/images/{repository}@{}", root.digest),
    }
}

/// A list of figures, each with its name.
fn figures(html: &mut Html, figures: &[(&'static str, String)]) {
    html.markup("<dl class=\"figures\">\n");
    for (name, value) in figures {
        html.markup("<div><dt>").markup(name).markup("</dt><dd>");
        html.text(value).markup("</dd></div>\n");
    }
    html.markup("</dl>\n");
}

fn sizes_of(sizes: Sizes) -> [(&'static str, String); 3] {
    [
        ("Size", Size(sizes.total).to_string()),
        ("Unique", Size(sizes.unique).to_string()),
        ("Shared", Size(sizes.shared()).to_string()),
    ]
}

/// Which platforms, or what else it is.
fn platforms(html: &mut Html, root: &Root) {
    if let Some(kind) = &root.artifact_type {
        html.markup("<span class=\"dim\">").text(kind);
        html.markup("</span>");
        return;
    }
    for (place, platform) in root.platforms.iter().enumerate() {
        if place > 0 {
            html.markup(", ");
        }
        html.markup("<span class=\"platform\">").text(platform);
        html.markup("</span>");
    }
}

/// The table of a repository's tags from `skip` on, `take` of them.
fn tags(html: &mut Html, survey: &Survey, repository: &Repository, part: Part) {
    let columns = [
        ("Tag", "names"),
        ("Digest", "digests"),
        ("Platforms", ""),
        ("Size", "number"),
        ("Unique", "number"),
        ("Shared", "number"),
    ];
    html.markup("<table role=\"table\"><caption class=\"unseen\">Tags of ");
    html.text(&repository.name).markup("</caption>\n");
    table::head(html, &columns);
    for (tag, root) in repository.tags.iter().skip(part.skip()).take(part.length) {
        let root = &survey.roots[*root];
        table::row(html, |row| {
            row.header(&columns[0], |html| {
                html.link(format_args!("/images/{}:{tag}", repository.name), tag);
            });
            row.cell(&columns[1], |html| {
                html.short_digest(&root.digest);
            });
            row.cell(&columns[2], |html| platforms(html, root));
            row.cells_of_sizes(&columns[3..], root.sizes);
        });
    }
    html.markup("</tbody></table>\n");
}

/// A part of a long list.
#[derive(Clone, Copy)]
struct Part {
    number: usize,
    length: usize,
    total: usize,
}

impl Part {
    fn new(number: PageNumber, length: usize, total: usize) -> Self {
        Self {
            number: number.0.min(total.div_ceil(length)).max(1),
            length,
            total,
        }
    }

    fn skip(self) -> usize {
        (self.number - 1) * self.length
    }

    /// Links to the parts around this one; nothing where there is only one.
    fn links(self, html: &mut Html, address: &str, what: &'static str) {
        let parts = self.total.div_ceil(self.length);
        if parts < 2 {
            return;
        }
        html.markup("<nav class=\"parts\" aria-label=\"Pages\">");
        if self.number > 1 {
            let to = format!("{address}?page={}", self.number - 1);
            html.markup("<a rel=\"prev\" href=\"").text(to);
            html.markup("\">Previous</a> ");
        }
        html.markup("<span>page ").text(self.number);
        html.markup(" of ").text(parts).markup(", ");
        html.text(Count(self.total, what)).markup("</span>");
        if self.number < parts {
            let to = format!("{address}?page={}", self.number + 1);
            html.markup(" <a rel=\"next\" href=\"").text(to);
            html.markup("\">Next</a>");
        }
        html.markup("</nav>\n");
    }
}

/// What the words over the columns of sizes mean.
fn legend(html: &mut Html) {
    html.markup(
        "<p class=\"dim\">Unique bytes are in no other image of this registry; shared bytes are in \
         at least one. Tags of one repository that name the same image count as one.</p>\n",
    );
}

#[cfg(test)]
mod tests;
