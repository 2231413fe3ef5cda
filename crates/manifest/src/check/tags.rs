//! Tags: what two images or variants publish in one repository must differ, and a rolling tag must
//! not be a release tag of any version.
//!
//! Templates are compared by what they give for a sample release. All images are given the same
//! version, as nothing keeps two of them from being released under it.

use std::collections::{BTreeMap, BTreeSet};

use launchway_diagnostics::{Diagnostic, Span, Spanned};
use launchway_model::{ImageName, InputHash, Tag};

use crate::codes;
use crate::family::{Family, Image, Variant};
use crate::template::{Placeholder, TagRenderError, TagTemplate, TagValues};

const SAMPLE_VERSION: &str = "1.2.3";

/// A tag that one image or variant publishes.
struct Published<'f> {
    image: &'f Image,
    variant: Option<&'f Variant>,
    /// Where its template stands; the content tag has its image's place.
    span: Span,
    template: &'f TagTemplate,
    tag: Tag,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Release,
    Rolling,
}

pub(super) fn check(family: &Family, diagnostics: &mut Vec<Diagnostic>) {
    let mut published = Vec::new();
    for image in &family.images {
        suffixes(image, diagnostics);
        publish(image, &mut published, diagnostics);
    }
    duplicates(&published, diagnostics);
    rolling_that_are_releases(&published, diagnostics);
    too_long_for_a_registry(family, diagnostics);
}

/// Two variants with one suffix, as far as a tag uses it.
fn suffixes(image: &Image, diagnostics: &mut Vec<Diagnostic>) {
    let used = image
        .tags
        .iter()
        .chain(&image.rolling)
        .any(|template| template.uses(Placeholder::Suffix));
    let mut first: BTreeMap<&str, &Variant> = BTreeMap::new();
    for variant in &image.variants {
        match first.get(variant.suffix.as_str()) {
            Some(other) if used => {
                let problem = Diagnostic::error(
                    codes::DUPLICATE_SUFFIX,
                    format!(
                        "variants `{}` and `{}` have the same suffix {:?}",
                        other.name, variant.name, variant.suffix
                    ),
                )
                .at(variant.span, "the second")
                .also(other.span, "the first")
                .help("set `suffix` of one of them, or leave it out: it is \"-NAME\" then");
                diagnostics.push(problem);
            }
            Some(_) => {}
            None => {
                first.insert(&variant.suffix, variant);
            }
        }
    }
}

/// Renders the tags of an image, and reports those that are none.
fn publish<'f>(
    image: &'f Image,
    published: &mut Vec<Published<'f>>,
    diagnostics: &mut Vec<Diagnostic>,
) {
    let releases = image.tags.iter().map(|template| (template, Kind::Release));
    let rolling = image
        .rolling
        .iter()
        .map(|template| (template, Kind::Rolling));
    for (template, kind) in releases.chain(rolling) {
        for variant in variants(image) {
            match render(image, variant, template, published.len()) {
                Ok(tag) => published.push(Published {
                    image,
                    variant,
                    span: template.span,
                    template,
                    tag,
                    kind,
                }),
                Err(error) => {
                    diagnostics.push(not_a_tag(&error, template.span, variant));
                    break;
                }
            }
        }
    }
    for variant in variants(image) {
        if let Err(error) = render(image, variant, &image.content_tag, 0) {
            let span = variant.map_or(image.span, |variant| variant.span);
            diagnostics.push(not_a_tag(&error, span, variant));
        }
    }
    for feature in image.features.values() {
        let hash = sample_hash(0);
        let values = TagValues {
            image: image.name.as_str(),
            feature: Some(feature.name.as_str()),
            hash: Some(&hash),
            ..TagValues::default()
        };
        if let Err(error) = image.feature_tag.render(&values) {
            diagnostics.push(not_a_tag(&error, feature.span, None));
        }
    }
}

/// Each variant, or the image itself when it has none.
fn variants(image: &Image) -> impl Iterator<Item = Option<&Variant>> {
    let itself = image.variants.is_empty().then_some(None);
    image.variants.iter().map(Some).chain(itself)
}

fn render(
    image: &Image,
    variant: Option<&Variant>,
    template: &TagTemplate,
    number: usize,
) -> Result<Tag, TagRenderError> {
    let hash = sample_hash(number);
    template.render(&TagValues {
        image: image.name.as_str(),
        hash: Some(&hash),
        variant: variant.map(|variant| variant.name.as_str()),
        feature: None,
        version: Some(SAMPLE_VERSION),
        suffix: variant.map_or("", |variant| variant.suffix.as_str()),
    })
}

/// An image whose repository could not be read has an empty one.
fn has_repository(image: &Image) -> bool {
    !image.repository.value.is_empty()
}

/// Different contents have different hashes.
fn sample_hash(number: usize) -> InputHash {
    let mut bytes = [0; 32];
    // The digits that tags show come first.
    bytes[..8].copy_from_slice(&(number as u64).to_le_bytes());
    InputHash::from_sha256(bytes)
}

fn not_a_tag(error: &TagRenderError, span: Span, variant: Option<&Variant>) -> Diagnostic {
    let problem = Diagnostic::error(codes::BAD_TAG, error.to_string());
    let problem = match error {
        TagRenderError::NotATag { source, .. } => problem.at(span, source.to_string()),
        _ => problem.at(span, "cannot be filled in"),
    };
    match variant {
        Some(variant) => problem.note(format!("this is so for variant `{}`", variant.name)),
        None => problem,
    }
}

/// The same tag twice in one repository. One report for each pair of templates.
fn duplicates(published: &[Published<'_>], diagnostics: &mut Vec<Diagnostic>) {
    let mut first: BTreeMap<(&str, &Tag), &Published<'_>> = BTreeMap::new();
    let mut reported: BTreeSet<(Span, Span)> = BTreeSet::new();
    for one in published.iter().filter(|one| has_repository(one.image)) {
        let place = (one.image.repository.as_str(), &one.tag);
        let Some(other) = first.get(&place) else {
            first.insert(place, one);
            continue;
        };
        // The suffixes were reported already.
        let same_suffix = one.image.name == other.image.name
            && one.span == other.span
            && one.template.uses(Placeholder::Suffix)
            && one.variant.map(|variant| &variant.suffix)
                == other.variant.map(|variant| &variant.suffix);
        if same_suffix || !reported.insert((other.span, one.span)) {
            continue;
        }
        let place = format!("{}:{}", one.image.repository.value, one.tag);
        let (first, second) = (whose(other), whose(one));
        let message = if first == second {
            format!("{first} would publish `{place}` twice")
        } else {
            format!("{first} and {second} would both publish `{place}`")
        };
        let problem = Diagnostic::error(codes::DUPLICATE_TAG, message);
        diagnostics.push(if one.span == other.span {
            let problem = problem
                .at(one.span, "the same for both")
                .note(sample_note(one));
            problem.help("add `{suffix}`, so that variants differ")
        } else if one.image.name == other.image.name {
            problem
                .at(one.span, "the second")
                .also(other.span, "the first")
                .note(sample_note(one))
                .help("take one of them out, or make them differ")
        } else {
            problem
                .at(one.span, "the second")
                .also(other.span, "the first")
                .note(sample_note(one))
                .help("add `{image}` or another word to one of them, or use different repositories")
        });
    }
}

fn whose(published: &Published<'_>) -> String {
    match published.variant {
        Some(variant) => format!("variant `{}` of `{}`", variant.name, published.image.name),
        None => format!("`{}`", published.image.name),
    }
}

fn sample_note(published: &Published<'_>) -> String {
    let versioned = published.template.placeholders().any(|(used, _)| {
        matches!(
            used,
            Placeholder::Version | Placeholder::Major | Placeholder::Minor
        )
    });
    if versioned {
        format!("as filled in for a release {SAMPLE_VERSION}")
    } else {
        "so it is in every release".to_owned()
    }
}

/// Rolling tags that a release of some version could have.
fn rolling_that_are_releases(published: &[Published<'_>], diagnostics: &mut Vec<Diagnostic>) {
    let mut reported: BTreeSet<(Span, Span)> = BTreeSet::new();
    for rolling in published.iter().filter(|one| one.kind == Kind::Rolling) {
        for release in published.iter().filter(|one| one.kind == Kind::Release) {
            let same_place = release.image.repository.value == rolling.image.repository.value;
            // Equal tags were reported as duplicates.
            if !same_place || !has_repository(rolling.image) || release.tag == rolling.tag {
                continue;
            }
            let Some(version) = version_that_gives(release, rolling.tag.as_str()) else {
                continue;
            };
            if reported.insert((rolling.span, release.span)) {
                let problem = Diagnostic::error(
                    codes::ROLLING_TAG_IS_RELEASE_TAG,
                    format!(
                        "rolling tag `{}` is the release tag of version {version}",
                        rolling.tag
                    ),
                )
                .at(rolling.span, "moves with every release")
                .also(release.span, "never to change once it is published")
                .help("choose another word for the rolling tag");
                diagnostics.push(problem);
            }
        }
    }
}

/// The version for which a release would publish this tag.
fn version_that_gives<'t>(release: &Published<'_>, tag: &'t str) -> Option<&'t str> {
    let rendered = release.tag.as_str();
    let at = rendered.find(SAMPLE_VERSION)?;
    let version = tag
        .strip_prefix(&rendered[..at])?
        .strip_suffix(&rendered[at + SAMPLE_VERSION.len()..])?;
    let mut parts = version.splitn(3, '.');
    let number = |part: Option<&str>| {
        part.is_some_and(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()))
    };
    let whole = number(parts.next())
        && number(parts.next())
        && parts
            .next()
            .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    whole.then_some(version)
}

/// A repository's path that is fine alone, but not below a registry's prefix.
fn too_long_for_a_registry(family: &Family, diagnostics: &mut Vec<Diagnostic>) {
    let mut reported: BTreeSet<&ImageName> = BTreeSet::new();
    for image in family.images.iter().filter(|image| has_repository(image)) {
        for registry in &family.registries {
            let repository: &Spanned<String> = &image.repository;
            if let Err(error) = registry.repository(&repository.value)
                && reported.insert(&image.name)
            {
                let problem = Diagnostic::error(
                    codes::BAD_REPOSITORY,
                    format!("{} has no place on {}", image.name, registry.value),
                )
                .at(repository.span, error.to_string())
                .also(registry.span, "the prefix that stands before it");
                diagnostics.push(problem);
            }
        }
    }
}
