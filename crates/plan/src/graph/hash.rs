//! What a node's hash is made of.

use std::collections::BTreeMap;

use launchway_diagnostics::Diagnostic;
use launchway_manifest::{Image, Overrides, Recipe};
use launchway_model::{ContentHasher, InputHash, Platform};

use super::build::{Builder, Filled, labels_mention};
use super::{GraftRecipe, Node, Role};
use crate::{Pins, codes};

/// The hash of a node and what went into it, by name.
pub(super) struct Hashed {
    pub(super) hash: InputHash,
    pub(super) inputs: BTreeMap<String, String>,
    pub(super) pins: Pins,
}

impl Builder<'_> {
    /// The hash of something built from a Dockerfile.
    pub(super) fn hash_build(&mut self, image: &Image, filled: &Filled) -> Option<Hashed> {
        let recipe = &filled.recipe;
        let mut inputs = BTreeMap::new();
        let mut pins = Pins::default();
        let mut hasher = ContentHasher::new("launchway/build/1");
        if let Some((name, id)) = &recipe.base {
            let parent = self.nodes.iter().find(|node| node.id == *id)?;
            hasher.text("base name", name.as_str());
            hasher.field("base", parent.hash.as_bytes());
            inputs.insert(name.to_string(), parent.hash.short());
            pins.versions.extend(parent.pins.versions.clone());
            pins.bases.extend(parent.pins.bases.clone());
        }
        let platforms = self.platforms(image);
        let names: Vec<String> = platforms.iter().map(Platform::to_string).collect();
        hasher.list("platforms", &names);
        inputs.insert("platforms".to_owned(), names.join(","));
        hasher.text("neutral", if recipe.neutral { "yes" } else { "no" });
        if recipe.neutral {
            inputs.insert("neutral".to_owned(), "yes".to_owned());
        }
        let mut instructions = ContentHasher::new("launchway/instructions/1");
        let mut context = ContentHasher::new("launchway/contexts/1");
        for platform in &platforms {
            let facts = self.facts(image, recipe.target.as_deref(), platform)?;
            hasher.text("platform", &platform.to_string());
            instructions.text("platform", &platform.to_string());
            instructions.list("instructions", &facts.instructions);
            context.text("platform", &platform.to_string());
            context.field("files", facts.context.as_bytes());
            for reference in &facts.external {
                if let Some(digest) = self.pins.bases.get(reference) {
                    inputs.insert(reference.clone(), digest.to_string());
                    pins.bases.insert(reference.clone(), digest.clone());
                    hasher
                        .text("external", reference)
                        .text("digest", &digest.to_string());
                } else {
                    let message = format!("the digest of `{reference}` is not known");
                    self.problems.push(
                        Diagnostic::error(codes::MISSING_FACTS, message)
                            .at(image.dockerfile.span, ""),
                    );
                    return None;
                }
            }
        }
        let (instructions, context) = (instructions.finish(), context.finish());
        hasher.field("instructions", instructions.as_bytes());
        hasher.field("context", context.as_bytes());
        inputs.insert("instructions".to_owned(), instructions.short());
        inputs.insert("context".to_owned(), context.short());
        for (name, value) in &recipe.args {
            hasher.text("arg", name).text("value", value);
            inputs.insert(name.clone(), value.clone());
        }
        for (name, version) in &self.pins.versions {
            if filled.mentioned.contains(name) || recipe.args.get(name.as_str()) == Some(version) {
                pins.versions.insert(name.clone(), version.clone());
            }
        }
        let settings = hash_settings(&recipe.labels, &recipe.overrides);
        hasher.field("settings", settings.hash.as_bytes());
        inputs.extend(settings.input());
        let hash = if uses_older_recipe(image) {
            let Some(legacy) = self.facts.legacy.get(&image.name) else {
                let message = format!(
                    "the hash of `{}` by its older recipe is not known",
                    image.name
                );
                self.problems
                    .push(Diagnostic::error(codes::MISSING_FACTS, message).at(image.span, ""));
                return None;
            };
            *legacy
        } else {
            hasher.finish()
        };
        Some(Hashed { hash, inputs, pins })
    }

    /// The hash of a stack of layers.
    pub(super) fn hash_graft(&mut self, image: &Image, recipe: &GraftRecipe) -> Option<Hashed> {
        let mut inputs = BTreeMap::new();
        let mut pins = Pins::default();
        let mut hasher = ContentHasher::new("launchway/graft/1");
        let parents: Vec<&Node> = std::iter::once(&recipe.base)
            .chain(&recipe.features)
            .map(|id| self.nodes.iter().find(|node| node.id == *id))
            .collect::<Option<_>>()?;
        let mut features = Vec::new();
        hasher.number("parts", parents.len() as u64);
        for part in parents {
            hasher.text("part", part.id.as_str());
            hasher.field("hash", part.hash.as_bytes());
            pins.versions.extend(part.pins.versions.clone());
            pins.bases.extend(part.pins.bases.clone());
            match &part.role {
                Role::Feature(feature) => {
                    features.push(feature.as_str());
                    for (name, value) in &part.inputs {
                        inputs.insert(format!("{feature}/{name}"), value.clone());
                    }
                }
                Role::Image | Role::Variant(_) => {
                    inputs.insert(part.image.to_string(), part.hash.short());
                }
            }
        }
        let platforms: Vec<String> = self
            .platforms(image)
            .iter()
            .map(Platform::to_string)
            .collect();
        hasher.list("platforms", &platforms);
        inputs.insert("platforms".to_owned(), platforms.join(","));
        inputs.insert("features".to_owned(), features.join(","));
        for name in &labels_mention(image) {
            if let Some(version) = self.pins.versions.get(name) {
                pins.versions.insert(name.clone(), version.clone());
            }
        }
        let settings = hash_settings(&recipe.labels, &recipe.overrides);
        hasher.field("settings", settings.hash.as_bytes());
        inputs.extend(settings.input());
        Some(Hashed {
            hash: hasher.finish(),
            inputs,
            pins,
        })
    }
}

/// Whether an image's hash is made the way its project made it before. Those recipes know neither
/// features nor arguments, so variants never use them.
pub(super) fn uses_older_recipe(image: &Image) -> bool {
    match image.recipe {
        Recipe::Tree { .. } => false,
        Recipe::Concat { .. } | Recipe::File { .. } => image.variants.is_empty(),
    }
}

/// What the family file says of an image's configuration.
struct Settings {
    hash: InputHash,
    said: bool,
}

impl Settings {
    /// The input as it is explained; nothing when the file says nothing.
    fn input(&self) -> Option<(String, String)> {
        self.said
            .then(|| ("settings".to_owned(), self.hash.short()))
    }
}

fn hash_settings(labels: &BTreeMap<String, String>, overrides: &Overrides) -> Settings {
    let mut hasher = ContentHasher::new("launchway/settings/1");
    hasher.number("labels", labels.len() as u64);
    for (name, value) in labels {
        hasher.text("label", name).text("value", value);
    }
    for (name, words) in [
        ("entrypoint", &overrides.entrypoint),
        ("cmd", &overrides.cmd),
    ] {
        match words {
            Some(words) => hasher.list(name, words),
            None => hasher.text(name, "inherited"),
        };
    }
    for (name, word) in [("user", &overrides.user), ("workdir", &overrides.workdir)] {
        hasher.list(name, word.iter().map(String::as_bytes).collect::<Vec<_>>());
    }
    Settings {
        hash: hasher.finish(),
        said: !labels.is_empty() || *overrides != Overrides::default(),
    }
}
