//! The hashed graph: base → features → variants.
//!
//! A node's hash holds its parent's hash, not its parent's digest, so the whole graph is hashed
//! before anything is built.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use launchway_diagnostics::Diagnostic;
use launchway_lint::Policy;
use launchway_manifest::{Family, Overrides, SmokeAction};
use launchway_model::{FeatureName, ImageName, InputHash, Platform, Tag, VariantName};

use crate::line::ReleaseLine;
use crate::{Facts, Pins, ReleaseVersion};

mod build;
mod hash;
mod tags;

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
    /// What it is held to, when it is held to anything.
    pub lint: Option<Lint>,
    pub release_tags: Vec<Tag>,
    /// How the releases of this node are told among a repository's tags; absent when it has no
    /// release tags.
    pub release_line: Option<ReleaseLine>,
    pub rolling_tags: Vec<Rolling>,
}

impl Node {
    /// The image it is built on.
    pub fn parent(&self) -> Option<&NodeId> {
        match &self.make {
            Make::Build(recipe) => recipe.base.as_ref().map(|(_, id)| id),
            Make::Graft(recipe) => Some(&recipe.base),
        }
    }

    /// The content tag, the release tags and the rolling tags.
    pub(crate) fn all_tags(&self) -> impl Iterator<Item = &Tag> {
        let rolling = self.rolling_tags.iter().map(|rolling| &rolling.tag);
        std::iter::once(&self.content_tag)
            .chain(&self.release_tags)
            .chain(rolling)
    }

    /// Everything that must be there before it can be made.
    pub(crate) fn parts(&self) -> Vec<&NodeId> {
        match &self.make {
            Make::Build(_) => self.parent().into_iter().collect(),
            Make::Graft(recipe) => std::iter::once(&recipe.base)
                .chain(&recipe.features)
                .collect(),
        }
    }
}

/// A tag that moves from release to release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rolling {
    pub tag: Tag,
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

/// What a finished image is held to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lint {
    pub policies: BTreeMap<Platform, Policy>,
    /// Paths where something is mounted at run time.
    pub mounts: Vec<String>,
}

/// What was asked for on the command line, beside the family file.
#[derive(Clone, Debug, Default)]
pub struct Request {
    pub version: Option<ReleaseVersion>,
    /// Platforms instead of the file's.
    pub platforms: Option<Vec<Platform>>,
    /// The images that the release is about; the whole family's when absent.
    pub images: Option<BTreeSet<ImageName>>,
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

    /// What is published for its own sake: the variants that were asked for, and the images without
    /// variants. With `only` or `images`, of the other images the ones that something asked for is
    /// built on.
    pub(crate) fn asked_for(&self) -> BTreeSet<&NodeId> {
        let mut asked = BTreeSet::new();
        for node in self.nodes.iter().rev() {
            let images = self.request.images.as_ref();
            let about = images.is_none_or(|images| images.contains(&node.image));
            let named = match (&node.role, &self.request.only) {
                (Role::Feature(_), _) => false,
                (Role::Image | Role::Variant(_), None) => about,
                (Role::Image, Some(_)) => false,
                (Role::Variant(name), Some(only)) => about && only.contains(name),
            };
            if named || asked.contains(&node.id) {
                asked.insert(&node.id);
                asked.extend(node.parent());
            }
        }
        asked
    }

    /// Whether a node is built on another, directly or through others.
    pub(crate) fn descends(&self, node: &Node, from: &NodeId) -> bool {
        let mut parent = node.parent();
        while let Some(id) = parent {
            if id == from {
                return true;
            }
            parent = self.node(id).and_then(Node::parent);
        }
        false
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
    build::build(family, facts, pins, request)
}
