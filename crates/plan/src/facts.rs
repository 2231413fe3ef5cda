//! What was read of the Dockerfiles and contexts, and the floating things made concrete.

use std::collections::{BTreeMap, BTreeSet};

use launchway_model::{Digest, ImageName, InputHash, Platform, VersionName};

/// Which build the facts are about: an image's Dockerfile, a target stage in it, a platform.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TargetKey {
    pub image: ImageName,
    /// The stage to build; the last one when absent.
    pub target: Option<String>,
    pub platform: Platform,
}

/// Everything about one target that decides its content, besides pins and arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetFacts {
    /// The instructions of the reachable stages, without comments and line continuations.
    pub instructions: Vec<String>,
    /// The build arguments that those stages declare.
    pub declared_args: BTreeSet<String>,
    /// Images from outside the family that those stages start from or copy from, as written after
    /// expansion.
    pub external: BTreeSet<String>,
    /// The digest of the context files those stages take.
    pub context: InputHash,
}

/// All facts of a family.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    pub targets: BTreeMap<TargetKey, TargetFacts>,
    /// The hashes by the older recipes, of the images that ask for one.
    pub legacy: BTreeMap<ImageName, InputHash>,
}

/// The floating things made concrete.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pins {
    pub versions: BTreeMap<VersionName, String>,
    /// External references, as in [`TargetFacts::external`], and the digest each stands for.
    pub bases: BTreeMap<String, Digest>,
}
