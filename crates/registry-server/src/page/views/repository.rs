//! `/images/NAME`: all tags of a repository, and what it holds without one.

use super::{
    Part, address_of, address_of_root, document, figures, home, legend, platforms, sizes_of, table,
    tags,
};
use crate::page::PageNumber;
use crate::page::html::{Count, Html};
use crate::page::survey::{Repository, Survey};

const TAGS_SHOWN: usize = 200;
/// More without a tag than this are counted instead of shown.
const UNTAGGED_SHOWN: usize = 200;

pub(in crate::page) fn repository(
    survey: &Survey,
    repository: &Repository,
    number: PageNumber,
) -> String {
    document(&repository.name, &home(), |html| {
        html.markup("<h1>").text(&repository.name);
        html.markup("</h1>\n");
        let mut all = vec![
            ("Tags", Count::plain(repository.tags.len())),
            ("Images", Count::plain(repository.images)),
            ("Referrers", Count::plain(repository.referrers)),
        ];
        all.extend(sizes_of(repository.sizes));
        figures(html, &all);
        html.markup(
            "<p class=\"dim\">Of the repository as a whole, unique bytes are in no other \
             repository.</p>\n",
        );
        html.markup("<h2>Tags</h2>\n");
        let part = Part::new(number, TAGS_SHOWN, repository.tags.len());
        if repository.tags.is_empty() {
            html.markup("<p>There are none.</p>\n");
        } else {
            part.links(html, &address_of(&repository.name), "tag");
            tags(html, survey, repository, part);
            part.links(html, &address_of(&repository.name), "tag");
            legend(html);
        }
        // Once, not on every page of tags.
        if part.number == 1 && !repository.untagged.is_empty() {
            untagged(html, survey, repository);
        }
    })
}

fn untagged(html: &mut Html, survey: &Survey, repository: &Repository) {
    let columns = [
        ("Digest", "digests"),
        ("What it is", ""),
        ("About", ""),
        ("Size", "number"),
        ("Unique", "number"),
        ("Shared", "number"),
    ];
    html.markup("<h2>Without a tag</h2>\n");
    html.markup("<table role=\"table\"><caption class=\"unseen\">Without a tag in ");
    html.text(&repository.name).markup("</caption>\n");
    table::head(html, &columns);
    for root in repository.untagged.iter().take(UNTAGGED_SHOWN) {
        let root = &survey.roots[*root];
        table::row(html, |row| {
            row.header(&columns[0], |html| {
                html.markup("<a href=\"")
                    .text(address_of_root(survey, root))
                    .markup("\">")
                    .short_digest(&root.digest)
                    .markup("</a>");
            });
            row.cell(&columns[1], |html| platforms(html, root));
            row.cell(&columns[2], |html| {
                if let Some(subject) = &root.subject {
                    html.short_digest(subject);
                }
            });
            row.cells_of_sizes(&columns[3..], root.sizes);
        });
    }
    html.markup("</tbody></table>\n");
    if let Some(more) = repository.untagged.len().checked_sub(UNTAGGED_SHOWN)
        && more > 0
    {
        html.markup("<p>and ")
            .text(Count(more, "more such manifest"))
            .markup("</p>\n");
    }
}
