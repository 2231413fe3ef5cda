//! Features, variants, and the smoke tests that select among them.

use launchway_diagnostics::{Diagnostic, closest};
use launchway_model::{FeatureName, VariantName};

use crate::codes;
use crate::family::{Family, Flavour, Image};

pub(super) fn check(family: &Family, diagnostics: &mut Vec<Diagnostic>) {
    for image in &family.images {
        features_need_a_base(image, diagnostics);
        unused_features(image, diagnostics);
        smoke_selections(image, diagnostics);
    }
}

fn listed(image: &Image) -> impl Iterator<Item = &FeatureName> {
    image
        .variants
        .iter()
        .flat_map(|variant| match &variant.flavour {
            Flavour::Features(features) => features.as_slice(),
            Flavour::Args(_) => &[],
        })
        .map(|feature| &feature.value)
}

fn features_need_a_base(image: &Image, diagnostics: &mut Vec<Diagnostic>) {
    if image.from.is_some() {
        return;
    }
    let first = image.features.values().min_by_key(|feature| feature.span);
    if let Some(feature) = first {
        let problem = Diagnostic::error(
            codes::FEATURES_WITHOUT_BASE,
            format!("`{}` has features, but no base", image.name),
        )
        .at(feature.span, "a stage built on the base")
        .also(image.span, "names no base")
        .help("name the base with `from = \"IMAGE\"`, or let variants differ by `args`");
        diagnostics.push(problem);
    }
}

fn unused_features(image: &Image, diagnostics: &mut Vec<Diagnostic>) {
    for feature in image.features.values() {
        if !listed(image).any(|name| *name == feature.name) {
            let problem = Diagnostic::warning(
                codes::UNUSED_FEATURE,
                format!("feature `{}` is never built", feature.name),
            )
            .at(feature.span, "no variant lists it");
            let problem = match closest(
                feature.name.as_str(),
                listed(image).map(FeatureName::as_str),
            ) {
                Some(near) => problem.help(format!("a variant lists `{near}`; is it meant?")),
                None => problem.help("list it in a variant, or take it out"),
            };
            diagnostics.push(problem);
        }
    }
}

fn smoke_selections(image: &Image, diagnostics: &mut Vec<Diagnostic>) {
    for test in &image.smoke {
        let before = diagnostics.len();
        for name in test.variants.iter().flatten() {
            let names = || image.variants.iter().map(|variant| &variant.name);
            if !names().any(|known| *known == name.value) {
                let problem = Diagnostic::error(
                    codes::UNKNOWN_VARIANT,
                    format!("there is no variant `{}`", name.value),
                )
                .at(name.span, format!("not a variant of `{}`", image.name));
                diagnostics.push(suggest(
                    problem,
                    name.as_str(),
                    names().map(VariantName::as_str),
                ));
            }
        }
        for name in test.features.iter().flatten() {
            if !listed(image).any(|known| *known == name.value) {
                let problem = Diagnostic::error(
                    codes::UNKNOWN_FEATURE,
                    format!("there is no feature `{}`", name.value),
                )
                .at(
                    name.span,
                    format!("no variant of `{}` lists it", image.name),
                );
                diagnostics.push(suggest(
                    problem,
                    name.as_str(),
                    listed(image).map(FeatureName::as_str),
                ));
            }
        }
        let selects = image
            .variants
            .iter()
            .any(|variant| variant.is_selected_by(test));
        if diagnostics.len() == before && !image.variants.is_empty() && !selects {
            let problem =
                Diagnostic::warning(codes::SMOKE_SELECTS_NOTHING, "this smoke test never runs")
                    .at(
                        test.span,
                        "no variant is selected by `variants` and `features` together",
                    )
                    .help("a variant has to be among `variants` and to list all of `features`");
            diagnostics.push(problem);
        }
    }
}

fn suggest<'a>(
    problem: Diagnostic,
    word: &str,
    known: impl Iterator<Item = &'a str>,
) -> Diagnostic {
    match closest(word, known) {
        Some(meant) => problem.help(format!("did you mean `{meant}`?")),
        None => problem,
    }
}
