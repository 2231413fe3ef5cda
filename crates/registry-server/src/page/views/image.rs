//! `/images/NAME:TAG` and `/images/NAME@DIGEST`: one image with its platforms and layers.

use super::{address_of, address_of_root, document, figures, home, sizes_of, table};
use crate::page::detail::{Attached, Config, Detail, Part};
use crate::page::html::{Clipped, Count, Html, Size};
use crate::page::survey::{Repository, RootId, Survey};

/// More sharers of a layer than this are counted instead of named.
const SHARERS_SHOWN: usize = 6;
/// Characters of what made a layer.
const STEP_SHOWN: usize = 160;
/// Characters of an annotation.
const ANNOTATION_SHOWN: usize = 400;

pub(in crate::page) fn image(survey: &Survey, repository: &Repository, image: &Detail) -> String {
    let name = match &image.tag {
        Some(tag) => format!("{}:{tag}", repository.name),
        None => format!("{}@{}", repository.name, image.digest.short()),
    };
    let trail = [
        home().as_slice(),
        &[(address_of(&repository.name), repository.name.as_str())],
    ]
    .concat();
    document(&name, &trail, |html| {
        html.markup("<h1>").text(&name).markup("</h1>\n");
        // A part of something else is no root of its own.
        let root = repository.root(&image.digest);
        if let Some(root) = root {
            figures(html, &sizes_of(survey.roots[root].sizes));
        }
        facts(html, survey, repository, image, root);
        for part in &image.parts {
            part_section(html, survey, repository, part, root);
        }
        if image.more_parts > 0 {
            html.markup("<p>and ")
                .text(Count(image.more_parts, "more manifest"))
                .markup(" that are not shown or not here</p>\n");
        }
        attached(html, repository, &image.attached);
    })
}

fn facts(
    html: &mut Html,
    survey: &Survey,
    repository: &Repository,
    image: &Detail,
    root: Option<RootId>,
) {
    html.markup("<dl class=\"facts\">\n<dt>Digest</dt><dd><code class=\"whole\">");
    html.text(&image.digest).markup("</code></dd>\n");
    html.markup("<dt>Media type</dt><dd>")
        .text(&image.media_type);
    html.markup(", ").text(Size(image.size)).markup("</dd>\n");
    if let Some(kind) = &image.artifact_type
        && image.parts.iter().all(|part| part.config.is_none())
    {
        html.markup("<dt>Artifact type</dt><dd>").text(kind);
        html.markup("</dd>\n");
    }
    if let Some(subject) = &image.subject {
        html.markup("<dt>About</dt><dd>")
            .link(
                format_args!("/images/{}@{subject}", repository.name),
                subject,
            )
            .markup("</dd>\n");
    }
    let tags = root.map_or(&[][..], |root| &survey.roots[root].tags);
    let others: Vec<_> = tags
        .iter()
        .filter(|tag| Some(*tag) != image.tag.as_ref())
        .collect();
    if !others.is_empty() {
        let shown = SHARERS_SHOWN * 4;
        html.markup("<dt>Also tagged</dt><dd>");
        for (place, tag) in others.iter().take(shown).enumerate() {
            html.markup(if place > 0 { ", " } else { "" })
                .link(format_args!("/images/{}:{tag}", repository.name), tag);
        }
        more(html, others.len(), shown);
        html.markup("</dd>\n");
    }
    for (key, value) in &image.annotations {
        html.markup("<dt>").text(Clipped(key, ANNOTATION_SHOWN));
        html.markup("</dt><dd>");
        html.text(Clipped(value, ANNOTATION_SHOWN));
        html.markup("</dd>\n");
    }
    html.markup("</dl>\n");
}

fn part_section(
    html: &mut Html,
    survey: &Survey,
    repository: &Repository,
    part: &Part,
    root: Option<RootId>,
) {
    html.markup("<section>\n<h2>").text(&part.label);
    html.markup("</h2>\n<dl class=\"facts\">\n");
    html.markup("<dt>Digest</dt><dd><code class=\"whole\">");
    html.text(&part.digest).markup("</code></dd>\n");
    html.markup("<dt>Size</dt><dd>").text(Size(part.size));
    html.markup(" with ")
        .text(Count(part.layers.len(), "layer"))
        .markup("</dd>\n");
    if let Some(config) = &part.config {
        configuration(html, config);
    }
    html.markup("</dl>\n");
    if !part.layers.is_empty() {
        layers(html, survey, repository, part, root);
    }
    html.markup("</section>\n");
}

fn configuration(html: &mut Html, config: &Config) {
    let command = |words: &[String]| serde_json::to_string(words).unwrap_or_default();
    let user = config.user.as_deref().unwrap_or("root (not set)");
    let mut rows = vec![("User", user.to_owned())];
    rows.extend(config.created.clone().map(|text| ("Created", text)));
    for (name, words) in [
        ("Entrypoint", &config.entrypoint),
        ("Command", &config.command),
    ] {
        if !words.is_empty() {
            rows.push((name, command(words)));
        }
    }
    rows.extend(config.directory.clone().map(|text| ("Directory", text)));
    if !config.ports.is_empty() {
        rows.push(("Ports", config.ports.join(", ")));
    }
    rows.push(("Configuration", config.digest.clone()));
    for (name, text) in rows {
        html.markup("<dt>").markup(name).markup("</dt><dd><code>");
        html.text(Clipped(&text, ANNOTATION_SHOWN));
        html.markup("</code></dd>\n");
    }
}

fn layers(
    html: &mut Html,
    survey: &Survey,
    repository: &Repository,
    part: &Part,
    root: Option<RootId>,
) {
    let columns = [
        ("Layer", "digests"),
        ("Size", "number"),
        ("Also in", "wide"),
        ("Made by", "wide"),
    ];
    html.markup("<table role=\"table\"><caption class=\"unseen\">Layers for ");
    html.text(&part.label).markup("</caption>\n");
    table::head(html, &columns);
    for layer in &part.layers {
        table::row(html, |row| {
            row.header(&columns[0], |html| {
                html.short_digest(&layer.digest);
            });
            row.cell(&columns[1], |html| {
                html.markup("<span title=\"").text(&layer.media_type);
                html.markup("\">").text(Size(layer.size)).markup("</span>");
            });
            row.cell(&columns[2], |html| {
                let others = survey.others(&layer.digest, root);
                for (place, other) in others.iter().take(SHARERS_SHOWN).enumerate() {
                    let home = &survey.repositories[other.repository].name;
                    let tag = match other.tags.first() {
                        Some(tag) => format!(":{tag}"),
                        None => format!("@{}", other.digest.short()),
                    };
                    html.markup(if place > 0 { ", " } else { "" });
                    let to = address_of_root(survey, other);
                    if *home == repository.name {
                        html.link(to, tag);
                    } else {
                        html.link(to, format_args!("{home}{tag}"));
                    }
                }
                more(html, others.len(), SHARERS_SHOWN);
            });
            row.cell(&columns[3], |html| {
                if let Some(step) = &layer.made_by {
                    html.markup("<code>").text(Clipped(step, STEP_SHOWN));
                    html.markup("</code>");
                }
            });
        });
    }
    html.markup("</tbody></table>\n");
}

fn attached(html: &mut Html, repository: &Repository, attached: &[Attached]) {
    if attached.is_empty() {
        return;
    }
    let columns = [
        ("What it is", "wide"),
        ("About", ""),
        ("Digest", "digests"),
        ("Size", "number"),
    ];
    html.markup("<section>\n<h2>Attestations and referrers</h2>\n");
    html.markup("<table role=\"table\"><caption class=\"unseen\">");
    html.markup("Attestations and referrers</caption>\n");
    table::head(html, &columns);
    for one in attached {
        table::row(html, |row| {
            row.header(&columns[0], |html| {
                html.link(
                    format_args!("/images/{}@{}", repository.name, one.digest),
                    Clipped(&one.kind, ANNOTATION_SHOWN),
                );
            });
            row.cell(&columns[1], |html| {
                match one.about.as_str() {
                    "" => html.markup("all of it"),
                    platform => html.text(platform),
                };
            });
            row.cell(&columns[2], |html| {
                html.short_digest(&one.digest);
            });
            row.cell(&columns[3], |html| {
                html.text(Size(one.size));
            });
        });
    }
    html.markup("</tbody></table>\n</section>\n");
}

fn more(html: &mut Html, all: usize, shown: usize) {
    if let Some(more) = all.checked_sub(shown)
        && more > 0
    {
        html.markup(" and ").text(more).markup(" more");
    }
}
