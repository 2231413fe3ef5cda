//! `/`: all repositories with the first of their tags.

use super::{Part, address_of, document, figures, legend, sizes_of, tags};
use crate::page::PageNumber;
use crate::page::gather::DiskUse;
use crate::page::html::{Count, Html, Size};
use crate::page::survey::{Repository, Survey};

const REPOSITORIES_SHOWN: usize = 50;
/// The page of a repository has all of them.
const TAGS_SHOWN: usize = 10;

/// Without `disk` nothing is said about what lies on it.
pub(in crate::page) fn overview(
    survey: &Survey,
    disk: Option<&DiskUse>,
    number: PageNumber,
) -> String {
    document("Launchway registry", &[], |html| {
        html.markup("<h1>Launchway registry</h1>\n");
        if survey.repositories.is_empty() {
            html.markup("<p>Nothing has been pushed yet.</p>\n");
            return;
        }
        totals(html, survey, disk);
        let part = Part::new(number, REPOSITORIES_SHOWN, survey.repositories.len());
        let repositories = survey.repositories.iter();
        for repository in repositories.skip(part.skip()).take(part.length) {
            section(html, survey, repository);
        }
        part.links(html, "/", "repository");
        legend(html);
    })
}

fn totals(html: &mut Html, survey: &Survey, disk: Option<&DiskUse>) {
    let tags = survey.repositories.iter().map(|found| found.tags.len());
    let images = survey.repositories.iter().map(|found| found.images);
    let mut all = vec![
        ("Repositories", Count::plain(survey.repositories.len())),
        ("Tags", Count::plain(tags.sum())),
        ("Images", Count::plain(images.sum())),
        ("Sum of images", Size(survey.sum_of_images).to_string()),
    ];
    all.push(match disk {
        Some(disk) => ("Stored", Size(disk.stored).to_string()),
        None => ("Each blob once", Size(survey.once).to_string()),
    });
    figures(html, &all);
    html.markup("<p>");
    if let Some(saved) = survey.sum_of_images.checked_sub(survey.once)
        && saved > 0
    {
        html.text(Size(saved))
            .markup(" are saved because each blob is stored once. ");
    }
    let nothing = DiskUse::default();
    let disk = disk.unwrap_or(&nothing);
    if disk.loose > 0 {
        html.text(Size(disk.loose))
            .markup(" on the disk belong to no manifest. ");
    }
    if disk.absent > 0 {
        let verb = if disk.absent == 1 { "is" } else { "are" };
        html.text(Count(disk.absent, "blob"))
            .markup(" that manifests name ")
            .markup(verb)
            .markup(" not stored here. ");
    }
    html.markup("</p>\n");
}

fn section(html: &mut Html, survey: &Survey, repository: &Repository) {
    let address = address_of(&repository.name);
    html.markup("<section>\n<h2>")
        .link(&address, &repository.name)
        .markup("</h2>\n<p class=\"line\">");
    html.text(Count(repository.tags.len(), "tag"));
    if !repository.untagged.is_empty() {
        html.markup(", ")
            .text(Count(repository.untagged.len(), "manifest"));
        html.markup(" without a tag");
    }
    for (name, size) in sizes_of(repository.sizes) {
        html.markup(" · ").markup(name).markup(" ").text(size);
    }
    html.markup("</p>\n");
    if !repository.tags.is_empty() {
        let part = Part::new(PageNumber(1), TAGS_SHOWN, repository.tags.len());
        tags(html, survey, repository, part);
    }
    if repository.tags.len() > TAGS_SHOWN {
        html.markup("<p><a href=\"")
            .text(&address)
            .markup("\">All ");
        html.text(Count(repository.tags.len(), "tag"))
            .markup(" of ")
            .text(&repository.name)
            .markup("</a></p>\n");
    }
    html.markup("</section>\n");
}
