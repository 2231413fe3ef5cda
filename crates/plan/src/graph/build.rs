//! From the family file to nodes.

use std::collections::{BTreeMap, BTreeSet};

use launchway_diagnostics::{Diagnostic, Span, Spanned};
use launchway_manifest::{Family, Feature, Flavour, Image, Overrides, TextTemplate, Variant};
use launchway_model::{FeatureName, ImageName, Platform, VersionName};

use super::{BuildRecipe, GraftRecipe, Graph, Make, Node, NodeId, Request, Role};
use crate::{Facts, Pins, TargetFacts, TargetKey, codes};

/// Makes every node, bases first, or tells everything that stands in the way.
pub(super) fn build(
    family: &Family,
    facts: &Facts,
    pins: &Pins,
    request: &Request,
) -> Result<Graph, Vec<Diagnostic>> {
    let mut builder = Builder {
        family,
        facts,
        pins,
        request,
        nodes: Vec::new(),
        problems: Vec::new(),
    };
    builder.check_only();
    for image in &family.images {
        builder.image(image);
    }
    builder.check_collisions();
    if builder.problems.is_empty() {
        Ok(Graph {
            nodes: builder.nodes,
            request: request.clone(),
        })
    } else {
        Err(builder.problems)
    }
}

pub(super) struct Builder<'a> {
    pub(super) family: &'a Family,
    pub(super) facts: &'a Facts,
    pub(super) pins: &'a Pins,
    pub(super) request: &'a Request,
    pub(super) nodes: Vec<Node>,
    pub(super) problems: Vec<Diagnostic>,
}

/// A recipe, and the versions that its arguments and labels mention.
pub(super) struct Filled {
    pub(super) recipe: BuildRecipe,
    pub(super) mentioned: BTreeSet<VersionName>,
}

impl Builder<'_> {
    fn check_only(&mut self) {
        let Some(only) = &self.request.only else {
            return;
        };
        let mut known: Vec<&str> = Vec::new();
        for variant in self.family.images.iter().flat_map(|image| &image.variants) {
            if !known.contains(&variant.name.as_str()) {
                known.push(variant.name.as_str());
            }
        }
        for name in only.iter().filter(|name| !known.contains(&name.as_str())) {
            let problem = Diagnostic::error(
                codes::UNKNOWN_VARIANT,
                format!("no variant is named `{name}`"),
            );
            let hint = match launchway_diagnostics::closest(name.as_str(), known.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None if known.is_empty() => "no image of this family has variants".to_owned(),
                None => format!("the variants are {}", known.join(", ")),
            };
            self.problems.push(problem.help(hint));
        }
    }

    pub(super) fn platforms(&self, image: &Image) -> Vec<Platform> {
        let mut platforms: Vec<Platform> = match &self.request.platforms {
            Some(asked) => asked.clone(),
            None => image.platforms.iter().map(|p| p.value.clone()).collect(),
        };
        platforms.sort();
        platforms.dedup();
        platforms
    }

    fn image(&mut self, image: &Image) {
        let parent = image.from.as_ref().map(|from| {
            let name = from.value.clone();
            (name.clone(), NodeId::image(&name))
        });
        if image.variants.is_empty() {
            self.plain(image, parent);
            return;
        }
        let mut features: Vec<&FeatureName> = Vec::new();
        for variant in &image.variants {
            if let Flavour::Features(listed) = &variant.flavour {
                for feature in listed {
                    if !features.contains(&&feature.value) {
                        features.push(&feature.value);
                    }
                }
            }
        }
        for name in features {
            if let (Some(feature), Some(parent)) = (image.features.get(name), &parent) {
                self.feature(image, feature, parent);
            }
        }
        for variant in &image.variants {
            self.variant(image, variant, parent.clone());
        }
    }

    fn plain(&mut self, image: &Image, parent: Option<(ImageName, NodeId)>) {
        let target = image.target.as_ref().map(|target| target.value.clone());
        let Some(filled) = self.recipe(image, target, &image.args, parent, false) else {
            return;
        };
        let Some(hashed) = self.hash_build(image, &filled) else {
            return;
        };
        self.push_node(image, Role::Image, "", hashed, Make::Build(filled.recipe));
    }

    fn feature(&mut self, image: &Image, feature: &Feature, parent: &(ImageName, NodeId)) {
        let mut args = image.args.clone();
        args.extend(feature.args.clone());
        let target = Some(feature.target.value.clone());
        let Some(mut filled) =
            self.recipe(image, target, &args, Some(parent.clone()), feature.neutral)
        else {
            return;
        };
        // Labels are for what people pull; in a feature they would only make it differ.
        filled.recipe.labels.clear();
        filled.mentioned = mentioned_by(&filled.recipe, &args);
        let Some(hashed) = self.hash_build(image, &filled) else {
            return;
        };
        self.push_node(
            image,
            Role::Feature(feature.name.clone()),
            "",
            hashed,
            Make::Build(filled.recipe),
        );
    }

    fn variant(&mut self, image: &Image, variant: &Variant, parent: Option<(ImageName, NodeId)>) {
        let (make, hashed) = match &variant.flavour {
            Flavour::Args(own) => {
                let mut args = image.args.clone();
                args.extend(own.clone());
                let target = image.target.as_ref().map(|target| target.value.clone());
                let Some(mut filled) = self.recipe(image, target, &args, parent, false) else {
                    return;
                };
                filled.recipe.overrides = variant.overrides.clone();
                let Some(hashed) = self.hash_build(image, &filled) else {
                    return;
                };
                (Make::Build(filled.recipe), hashed)
            }
            Flavour::Features(features) => {
                // The manifest guarantees a base where features are listed.
                let Some((_, base)) = parent else { return };
                let labels = self.labels(image);
                let recipe = GraftRecipe {
                    base,
                    features: features
                        .iter()
                        .map(|feature| NodeId::feature(&image.name, &feature.value))
                        .collect(),
                    labels,
                    overrides: variant.overrides.clone(),
                };
                let Some(hashed) = self.hash_graft(image, &recipe) else {
                    return;
                };
                (Make::Graft(recipe), hashed)
            }
        };
        self.push_node(
            image,
            Role::Variant(variant.name.clone()),
            &variant.suffix,
            hashed,
            make,
        );
    }

    fn recipe(
        &mut self,
        image: &Image,
        target: Option<String>,
        args: &BTreeMap<String, Spanned<TextTemplate>>,
        base: Option<(ImageName, NodeId)>,
        neutral: bool,
    ) -> Option<Filled> {
        let mut declared = BTreeSet::new();
        for platform in self.platforms(image) {
            declared.extend(
                self.facts(image, target.as_deref(), &platform)?
                    .declared_args
                    .clone(),
            );
        }
        let mut values: BTreeMap<String, String> = self
            .pins
            .versions
            .iter()
            .map(|(name, version)| (name.to_string(), version.clone()))
            .collect();
        for (name, text) in args {
            values.insert(name.clone(), self.text(&text.value, text.span));
        }
        values.retain(|name, _| declared.contains(name));
        let recipe = BuildRecipe {
            dockerfile: image.dockerfile.value.clone(),
            context: image.context.value.clone(),
            target,
            args: values,
            labels: self.labels(image),
            base,
            neutral,
            overrides: Overrides::default(),
        };
        let mut mentioned = mentioned_by(&recipe, args);
        mentioned.extend(labels_mention(image));
        Some(Filled { recipe, mentioned })
    }

    pub(super) fn labels(&mut self, image: &Image) -> BTreeMap<String, String> {
        let labels = image.labels.iter();
        labels
            .map(|(name, text)| (name.clone(), self.text(&text.value, text.span)))
            .collect()
    }

    pub(super) fn facts(
        &mut self,
        image: &Image,
        target: Option<&str>,
        platform: &Platform,
    ) -> Option<TargetFacts> {
        let key = TargetKey {
            image: image.name.clone(),
            target: target.map(str::to_owned),
            platform: platform.clone(),
        };
        let found = self.facts.targets.get(&key).cloned();
        if found.is_none() {
            let message = format!(
                "nothing is known of the Dockerfile of `{}` on {platform}",
                image.name
            );
            self.problems
                .push(Diagnostic::error(codes::MISSING_FACTS, message).at(image.span, ""));
        }
        found
    }

    pub(super) fn text(&mut self, text: &TextTemplate, span: Span) -> String {
        match text.render(|name| self.pins.versions.get(name).cloned()) {
            Ok(text) => text,
            Err(error) => {
                self.problems.push(
                    Diagnostic::error(codes::UNPINNED_VERSION, error.to_string())
                        .at(span, "used here")
                        .help("add it to [versions]"),
                );
                String::new()
            }
        }
    }
}

/// The versions that an image's labels mention.
pub(super) fn labels_mention(image: &Image) -> BTreeSet<VersionName> {
    let labels = image.labels.values();
    labels
        .flat_map(|text| text.value.versions().map(|(version, _)| version.clone()))
        .collect()
}

/// The versions that a recipe's arguments mention.
fn mentioned_by(
    recipe: &BuildRecipe,
    args: &BTreeMap<String, Spanned<TextTemplate>>,
) -> BTreeSet<VersionName> {
    args.iter()
        .filter(|(name, _)| recipe.args.contains_key(*name))
        .flat_map(|(_, text)| text.value.versions().map(|(version, _)| version.clone()))
        .collect()
}
