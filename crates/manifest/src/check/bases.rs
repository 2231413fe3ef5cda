//! `from`: every base exists, has no variants, is built for the platforms of what is built from
//! it, and no image is built from itself.

use std::collections::BTreeSet;

use launchway_diagnostics::{Diagnostic, closest};
use launchway_model::ImageName;

use crate::codes;
use crate::family::{Family, Image};
use crate::read::Draft;

pub(super) fn check(draft: &Draft, diagnostics: &mut Vec<Diagnostic>) {
    let family = &draft.family;
    for image in &family.images {
        let Some(from) = &image.from else { continue };
        let Some(base) = family.image(&from.value) else {
            // A name that was refused may well be what is meant here.
            let refused = |name: &String| name.eq_ignore_ascii_case(from.as_str());
            if !draft.unreadable_images.iter().any(refused) {
                diagnostics.push(unknown(family, image, from));
            }
            continue;
        };
        if let Some(variant) = base.variants.first() {
            let problem = Diagnostic::error(
                codes::AMBIGUOUS_BASE,
                format!("`{}` has variants and cannot be a base", base.name),
            )
            .at(from.span, "it is open which variant is meant")
            .also(variant.span, "one of its variants")
            .help("build from an image without variants");
            diagnostics.push(problem);
        }
        for platform in &image.platforms {
            let built = |of: &Image| of.platforms.iter().any(|one| one.value == platform.value);
            // A base whose platforms could not be read has none.
            if !built(base) && !base.platforms.is_empty() {
                let problem = Diagnostic::error(
                    codes::PLATFORM_NOT_IN_BASE,
                    format!(
                        "`{}` is to be built for {}, but its base `{}` is not",
                        image.name, platform.value, base.name
                    ),
                )
                .at(platform.span, "not a platform of the base")
                .also(from.span, "the base");
                diagnostics.push(problem.help(format!(
                    "add {} to the platforms of `{}`, or give `{}` platforms without it",
                    platform.value, base.name, image.name
                )));
            }
        }
    }
    cycles(family, diagnostics);
}

fn unknown(
    family: &Family,
    image: &Image,
    from: &launchway_diagnostics::Spanned<ImageName>,
) -> Diagnostic {
    let problem = Diagnostic::error(
        codes::UNKNOWN_IMAGE,
        format!("there is no image `{}`", from.value),
    )
    .at(from.span, "not an image of the family");
    let others = family
        .images
        .iter()
        .map(|other| &other.name)
        .filter(|name| **name != image.name);
    match closest(from.as_str(), others.map(ImageName::as_str)) {
        Some(meant) => problem.help(format!("did you mean `{meant}`?")),
        None => problem.help(
            "an image from elsewhere is named in the Dockerfile's FROM; leave `from` out then",
        ),
    }
}

fn cycles(family: &Family, diagnostics: &mut Vec<Diagnostic>) {
    let mut reported: BTreeSet<&ImageName> = BTreeSet::new();
    for image in &family.images {
        let mut path: Vec<&Image> = Vec::new();
        let mut next = Some(image);
        while let Some(at) = next {
            if reported.contains(&at.name) {
                break;
            }
            if let Some(start) = path.iter().position(|seen| seen.name == at.name) {
                diagnostics.push(cycle(&path[start..]));
                reported.extend(path[start..].iter().map(|image| &image.name));
                break;
            }
            path.push(at);
            next = at.from.as_ref().and_then(|from| family.image(&from.value));
        }
    }
}

fn cycle(circle: &[&Image]) -> Diagnostic {
    let mut names: Vec<&str> = circle.iter().map(|image| image.name.as_str()).collect();
    names.push(names[0]);
    let message = match circle {
        [only] => format!("`{}` is built from itself", only.name),
        _ => "images are built from one another in a circle".to_owned(),
    };
    let mut problem = Diagnostic::error(codes::CYCLE, message);
    for (at, image) in circle.iter().enumerate() {
        if let Some(from) = &image.from {
            let text = format!("`{}` is built from `{}`", image.name, from.value);
            problem = if at == 0 {
                problem.at(from.span, text)
            } else {
                problem.also(from.span, text)
            };
        }
    }
    if circle.len() > 1 {
        problem = problem.note(format!("the circle is {}", names.join(" → ")));
    }
    problem.help("take one `from` out")
}

/// The images in their order, except that a base stands before what is built from it. There are
/// no cycles any more.
pub(crate) fn bases_first(images: Vec<Image>) -> Vec<Image> {
    let mut waiting = images;
    let mut ordered: Vec<Image> = Vec::with_capacity(waiting.len());
    while !waiting.is_empty() {
        let ready = waiting.iter().position(|image| {
            image
                .from
                .as_ref()
                .is_none_or(|from| ordered.iter().any(|done| done.name == from.value))
        });
        // Without a ready one there would be a cycle; the file's order is kept then.
        ordered.push(waiting.remove(ready.unwrap_or(0)));
    }
    ordered
}
