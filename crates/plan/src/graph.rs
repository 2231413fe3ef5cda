//! The hashed graph: base → features → variants.
//!
//! A node's hash holds its parent's hash, not its parent's digest, so the whole graph is hashed
//! before anything is built.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use launchway_diagnostics::{Diagnostic, Span, Spanned};
use launchway_manifest::{
    Family, Feature, Flavour, Image, Overrides, Placeholder, Recipe, SmokeAction, SmokeTest,
    TagTemplate, TagValues, TextTemplate, Variant,
};
use launchway_model::{
    ContentHasher, FeatureName, ImageName, InputHash, Platform, Tag, VariantName,
};

use crate::{Facts, Pins, ReleaseVersion, TargetFacts, TargetKey, codes};

/// The name of a node within its family: `base`, `devbox/feature/opencode`, `devbox/omos`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(String);

impl NodeId {
    pub fn image(image: &ImageName) -> Self {
        Self(image.to_string())
    }

    pub fn feature(image: &ImageName, feature: &FeatureName) -> Self {
        Self(format!("{image}/feature/{feature}"))
    }

    pub fn variant(image: &ImageName, variant: &VariantName) -> Self {
        Self(format!("{image}/{variant}"))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for NodeId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a node is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// An image without variants.
    Image,
    Feature(FeatureName),
    Variant(VariantName),
}

/// One thing that is built and published.
#[derive(Clone, Debug)]
pub struct Node {
    pub id: NodeId,
    pub image: ImageName,
    pub role: Role,
    /// The repository's path below each registry's prefix.
    pub repository: String,
    pub hash: InputHash,
    /// Whether the hash is of an older recipe, whose published tags carry no annotations.
    pub legacy: bool,
    pub content_tag: Tag,
    pub platforms: Vec<Platform>,
    pub make: Make,
    /// What the hash was made of, by name, for explaining: version, digest or short hash.
    pub inputs: BTreeMap<String, String>,
    /// The pins this node depends on, for its annotations.
    pub pins: Pins,
    pub smoke: Vec<Smoke>,
    pub release_tags: Vec<Tag>,
    pub rolling_tags: Vec<Rolling>,
}

/// A tag that moves from release to release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rolling {
    pub tag: Tag,
    /// What stands before and after the version in this node's release tags, to find the releases
    /// that the tag may already follow; absent when the image has no release tags.
    pub follows: Option<(String, String)>,
    /// Only releases with this major (and minor) version are followed.
    pub major: bool,
    pub minor: bool,
}

/// How a node comes to be.
#[derive(Clone, Debug)]
pub enum Make {
    Build(BuildRecipe),
    Graft(GraftRecipe),
}

#[derive(Clone, Debug)]
pub struct BuildRecipe {
    /// Paths as in the family file, relative to its folder.
    pub dockerfile: String,
    pub context: String,
    pub target: Option<String>,
    /// The declared arguments only.
    pub args: BTreeMap<String, String>,
    pub labels: BTreeMap<String, String>,
    /// The family image that is a named context of the Dockerfile.
    pub base: Option<(ImageName, NodeId)>,
    /// Built on one platform and reused on the others.
    pub neutral: bool,
    pub overrides: Overrides,
}

#[derive(Clone, Debug)]
pub struct GraftRecipe {
    pub base: NodeId,
    /// In the order of the variant's list: later ones win and are built on earlier ones.
    pub features: Vec<NodeId>,
    pub labels: BTreeMap<String, String>,
    pub overrides: Overrides,
}

/// A smoke test with everything filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Smoke {
    pub action: SmokeAction,
    pub stdout: Option<String>,
    pub exit: i32,
    pub timeout: Duration,
    pub user: Option<String>,
}

/// What was asked for on the command line, beside the family file.
#[derive(Clone, Debug, Default)]
pub struct Request {
    pub version: Option<ReleaseVersion>,
    /// Platforms instead of the file's.
    pub platforms: Option<Vec<Platform>>,
    /// Only these variants are published.
    pub only: Option<BTreeSet<VariantName>>,
    /// Whether rolling tags move.
    pub promote: bool,
}

/// All nodes, bases before what is built on them.
#[derive(Clone, Debug)]
pub struct Graph {
    pub nodes: Vec<Node>,
    pub request: Request,
}

impl Graph {
    pub fn node(&self, id: &NodeId) -> Option<&Node> {
        self.nodes.iter().find(|node| node.id == *id)
    }

    /// The image or variant that a person names: `base`, `devbox/omos`; a lone variant name too.
    pub fn find(&self, name: &str) -> Option<&Node> {
        self.nodes
            .iter()
            .find(|node| node.id.as_str() == name)
            .or_else(|| {
                let mut matching = self.nodes.iter().filter(
                    |node| matches!(&node.role, Role::Variant(variant) if variant.as_str() == name),
                );
                matching.next().filter(|_| matching.next().is_none())
            })
    }
}

/// The hashed graph of a family, or everything that stands in its way.
pub fn graph(
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

struct Builder<'a> {
    family: &'a Family,
    facts: &'a Facts,
    pins: &'a Pins,
    request: &'a Request,
    nodes: Vec<Node>,
    problems: Vec<Diagnostic>,
}

/// The hash of a node and what went into it, by name.
struct Hashed {
    hash: InputHash,
    inputs: BTreeMap<String, String>,
    pins: Pins,
}

impl Builder<'_> {
    fn check_only(&mut self) {
        let Some(only) = &self.request.only else {
            return;
        };
        let known: Vec<&str> = self
            .family
            .images
            .iter()
            .flat_map(|image| &image.variants)
            .map(|variant| variant.name.as_str())
            .collect();
        for name in only.iter().filter(|name| !known.contains(&name.as_str())) {
            let problem = Diagnostic::error(
                codes::UNKNOWN_VARIANT,
                format!("no variant is named `{name}`"),
            );
            let hint = match launchway_diagnostics::closest(name.as_str(), known.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("the variants are {}", known.join(", ")),
            };
            self.problems.push(problem.help(hint));
        }
    }

    fn platforms(&self, image: &Image) -> Vec<Platform> {
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
        let Some(recipe) = self.recipe(image, target, &image.args, parent, false) else {
            return;
        };
        let Some(hashed) = self.hash_build(image, &recipe) else {
            return;
        };
        self.push_node(image, Role::Image, "", hashed, Make::Build(recipe));
    }

    fn feature(&mut self, image: &Image, feature: &Feature, parent: &(ImageName, NodeId)) {
        let mut args = image.args.clone();
        args.extend(feature.args.clone());
        let target = Some(feature.target.value.clone());
        let Some(mut recipe) =
            self.recipe(image, target, &args, Some(parent.clone()), feature.neutral)
        else {
            return;
        };
        recipe.labels.clear();
        let Some(hashed) = self.hash_build(image, &recipe) else {
            return;
        };
        self.push_node(
            image,
            Role::Feature(feature.name.clone()),
            "",
            hashed,
            Make::Build(recipe),
        );
    }

    fn variant(&mut self, image: &Image, variant: &Variant, parent: Option<(ImageName, NodeId)>) {
        let (make, hashed) = match &variant.flavour {
            Flavour::Args(own) => {
                let mut args = image.args.clone();
                args.extend(own.clone());
                let target = image.target.as_ref().map(|target| target.value.clone());
                let Some(mut recipe) = self.recipe(image, target, &args, parent, false) else {
                    return;
                };
                recipe.overrides = variant.overrides.clone();
                let Some(hashed) = self.hash_build(image, &recipe) else {
                    return;
                };
                (Make::Build(recipe), hashed)
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
    ) -> Option<BuildRecipe> {
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
        Some(BuildRecipe {
            dockerfile: image.dockerfile.value.clone(),
            context: image.context.value.clone(),
            target,
            args: values,
            labels: self.labels(image),
            base,
            neutral,
            overrides: Overrides::default(),
        })
    }

    fn labels(&mut self, image: &Image) -> BTreeMap<String, String> {
        let labels = image.labels.iter();
        labels
            .map(|(name, text)| (name.clone(), self.text(&text.value, text.span)))
            .collect()
    }

    fn facts(
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

    fn text(&mut self, text: &TextTemplate, span: Span) -> String {
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

    /// The hash of something built from a Dockerfile.
    fn hash_build(&mut self, image: &Image, recipe: &BuildRecipe) -> Option<Hashed> {
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
        let mut instructions = ContentHasher::new("launchway/instructions/1");
        let mut context = ContentHasher::new("launchway/contexts/1");
        for platform in &platforms {
            let facts = self.facts(image, recipe.target.as_deref(), platform)?;
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
            if recipe.args.get(name.as_str()) == Some(version) {
                pins.versions.insert(name.clone(), version.clone());
            }
        }
        hash_config(&mut hasher, &recipe.labels, &recipe.overrides);
        let own = hasher.finish();
        let hash = match (&image.recipe, self.facts.legacy.get(&image.name)) {
            (Recipe::Tree { .. }, _) | (_, None) => own,
            (Recipe::Concat { .. } | Recipe::File { .. }, Some(legacy)) => *legacy,
        };
        Some(Hashed { hash, inputs, pins })
    }

    /// The hash of a stack of layers.
    fn hash_graft(&mut self, image: &Image, recipe: &GraftRecipe) -> Option<Hashed> {
        let mut inputs = BTreeMap::new();
        let mut pins = Pins::default();
        let mut hasher = ContentHasher::new("launchway/graft/1");
        let parents: Vec<&Node> = std::iter::once(&recipe.base)
            .chain(&recipe.features)
            .map(|id| self.nodes.iter().find(|node| node.id == *id))
            .collect::<Option<_>>()?;
        hasher.number("parts", parents.len() as u64);
        for part in parents {
            hasher.text("part", part.id.as_str());
            hasher.field("hash", part.hash.as_bytes());
            pins.versions.extend(part.pins.versions.clone());
            pins.bases.extend(part.pins.bases.clone());
            match &part.role {
                Role::Feature(feature) => {
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
        hash_config(&mut hasher, &recipe.labels, &recipe.overrides);
        Some(Hashed {
            hash: hasher.finish(),
            inputs,
            pins,
        })
    }

    fn push_node(&mut self, image: &Image, role: Role, suffix: &str, hashed: Hashed, make: Make) {
        let version = self.request.version.as_ref().map(ReleaseVersion::to_string);
        let (id, feature, variant) = match &role {
            Role::Image => (NodeId::image(&image.name), None, None),
            Role::Feature(name) => (
                NodeId::feature(&image.name, name),
                Some(name.as_str()),
                None,
            ),
            Role::Variant(name) => (
                NodeId::variant(&image.name, name),
                None,
                Some(name.as_str()),
            ),
        };
        let values = &TagValues {
            image: image.name.as_str(),
            hash: Some(&hashed.hash),
            variant,
            feature,
            version: version.as_deref(),
            suffix,
        };
        let template = match &role {
            Role::Feature(_) => &image.feature_tag,
            Role::Image | Role::Variant(_) => &image.content_tag,
        };
        let Some(content_tag) = self.tag(template, values, image.span) else {
            return;
        };
        let user_facing = !matches!(role, Role::Feature(_));
        let (mut release_tags, mut rolling_tags) = (Vec::new(), Vec::new());
        if user_facing {
            let versioned = self.request.version.is_some();
            let can_render = |template: &TagTemplate| {
                versioned
                    || ![Placeholder::Version, Placeholder::Major, Placeholder::Minor]
                        .iter()
                        .any(|placeholder| template.uses(*placeholder))
            };
            for template in image
                .tags
                .iter()
                .filter(|template| can_render(&template.value))
            {
                release_tags.extend(self.tag(&template.value, values, template.span));
            }
            let follows = image
                .tags
                .first()
                .and_then(|first| around_version(&first.value, values));
            for template in image
                .rolling
                .iter()
                .filter(|template| can_render(&template.value))
            {
                if let Some(tag) = self.tag(&template.value, values, template.span) {
                    rolling_tags.push(Rolling {
                        tag,
                        follows: follows.clone(),
                        major: template.value.uses(Placeholder::Major),
                        minor: template.value.uses(Placeholder::Minor),
                    });
                }
            }
        }
        let smoke = if user_facing {
            self.smoke(image, &role)
        } else {
            Vec::new()
        };
        self.nodes.push(Node {
            id,
            image: image.name.clone(),
            role,
            repository: image.repository.value.clone(),
            hash: hashed.hash,
            legacy: !matches!(image.recipe, Recipe::Tree { .. }) && image.variants.is_empty(),
            content_tag,
            platforms: self.platforms(image),
            make,
            inputs: hashed.inputs,
            pins: hashed.pins,
            smoke,
            release_tags,
            rolling_tags,
        });
    }

    fn tag(&mut self, template: &TagTemplate, values: &TagValues<'_>, span: Span) -> Option<Tag> {
        match template.render(values) {
            Ok(tag) => Some(tag),
            Err(error) => {
                self.problems
                    .push(Diagnostic::error(codes::BAD_TAG, error.to_string()).at(span, ""));
                None
            }
        }
    }

    fn smoke(&mut self, image: &Image, role: &Role) -> Vec<Smoke> {
        let variant = match role {
            Role::Variant(name) => image.variants.iter().find(|variant| variant.name == *name),
            Role::Image | Role::Feature(_) => None,
        };
        let mut tests = Vec::new();
        for test in &image.smoke {
            if !applies(test, variant) {
                continue;
            }
            let stdout = test
                .stdout
                .as_ref()
                .map(|text| self.text(&text.value, text.span));
            tests.push(Smoke {
                action: test.action.clone(),
                stdout,
                exit: test.exit,
                timeout: test.timeout,
                user: test.user.clone(),
            });
        }
        tests
    }

    fn check_collisions(&mut self) {
        let mut seen: BTreeMap<(&str, &str), &NodeId> = BTreeMap::new();
        let mut found = Vec::new();
        for node in &self.nodes {
            let rolling = node.rolling_tags.iter().map(|rolling| &rolling.tag);
            for tag in std::iter::once(&node.content_tag)
                .chain(&node.release_tags)
                .chain(rolling)
            {
                let key = (node.repository.as_str(), tag.as_str());
                if let Some(other) = seen.insert(key, &node.id)
                    && *other != node.id
                {
                    let message = format!(
                        "`{}` and `{other}` would both be published as {}:{tag}",
                        node.id, node.repository
                    );
                    found.push(
                        Diagnostic::error(codes::TAG_COLLISION, message)
                            .help("give one of them another tag, suffix or repository"),
                    );
                }
            }
        }
        self.problems.extend(found);
    }
}

/// What stands before and after `{version}` in a release tag.
fn around_version(template: &TagTemplate, values: &TagValues<'_>) -> Option<(String, String)> {
    const MARK: &str = "0.0.0";
    let marked = TagValues {
        version: Some(MARK),
        ..*values
    };
    let tag = template.render(&marked).ok()?;
    tag.as_str()
        .split_once(MARK)
        .map(|(before, after)| (before.to_owned(), after.to_owned()))
}

fn hash_config(
    hasher: &mut ContentHasher,
    labels: &BTreeMap<String, String>,
    overrides: &Overrides,
) {
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
}

/// Whether a smoke test is meant for a variant (or for an image without variants).
fn applies(test: &SmokeTest, variant: Option<&Variant>) -> bool {
    match variant {
        Some(variant) => variant.is_selected_by(test),
        None => test.variants.is_none() && test.features.is_none(),
    }
}
