//! What a family file says, once it has been found free of errors.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use launchway_diagnostics::{Span, Spanned};
use launchway_model::{
    FeatureName, ImageName, Platform, ReferenceError, RegistryHost, Repository, StepLimits,
    VariantName, VersionName,
};

use crate::{LintSettings, TagTemplate, TextTemplate};

/// Everything one `launchway.toml` describes.
///
/// All paths are relative to the folder the file stands in, written with `/`, without `.` or `..`
/// parts; the folder itself is `.`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Family {
    pub name: Spanned<String>,
    /// What is built unless an image says otherwise; never empty.
    pub platforms: Vec<Spanned<Platform>>,
    /// Where images are published; never empty, the first is the primary.
    pub registries: Vec<Spanned<RegistryPrefix>>,
    /// Registries that are spoken to without TLS, besides the machine itself.
    pub plain_http: Vec<Spanned<RegistryHost>>,
    /// Patterns of files that no content hash and no build context holds, besides the usual junk.
    pub ignore: Vec<Spanned<String>>,
    pub versions: BTreeMap<VersionName, Spanned<VersionSource>>,
    pub npm: NpmSettings,
    pub build: BuildSettings,
    pub retry: RetrySettings,
    /// What every image is held to.
    pub lint: Option<LintSettings>,
    /// In the file's order, except that a base stands before the images built from it.
    pub images: Vec<Image>,
}

/// A registry and the part of a repository's path that all images share there:
/// `docker.io/joakimp`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RegistryPrefix {
    pub host: RegistryHost,
    pub prefix: Option<String>,
}

/// Why a text is not a registry with an optional prefix. `at` is the byte offset of the first
/// wrong character.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct RegistryPrefixError {
    pub at: usize,
    pub reason: &'static str,
}

/// Where a concrete version comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VersionSource {
    /// A package of an npm registry. `accept` is a dist-tag or a semver range as npm reads it;
    /// without it the dist-tag `latest` counts.
    Npm {
        package: String,
        accept: Option<Spanned<String>>,
    },
    /// Written down: `X = "1.2.3"`.
    Pinned(String),
}

#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct NpmSettings {
    /// The registry's address, when the family names one; otherwise the user's npm configuration
    /// decides.
    pub registry: Option<Spanned<String>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuildSettings {
    /// Whether RUN steps trust the host's certificate authorities, without a trace in the image.
    pub host_ca: bool,
    /// The longest a RUN step may take.
    pub timeout: Duration,
    pub secrets: Vec<Secret>,
    pub ssh: Vec<SshAgent>,
    pub compression: Compression,
    /// What a RUN step that does not say otherwise sees of the network.
    pub network: Network,
    /// What else a RUN step may use.
    pub limits: StepLimits,
    /// Whether setuid programs gain nothing in RUN steps.
    pub no_new_privileges: bool,
}

impl Default for BuildSettings {
    fn default() -> Self {
        Self {
            host_ca: false,
            timeout: Duration::from_secs(60 * 60),
            secrets: Vec::new(),
            ssh: Vec::new(),
            compression: Compression::Gzip,
            network: Network::Host,
            limits: StepLimits::default(),
            no_new_privileges: false,
        }
    }
}

/// Something for `RUN --mount=type=secret,id=…`: exactly one of `file` and `env` is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Secret {
    pub id: String,
    /// A file of the host, as written; it may lie outside the family's folder.
    pub file: Option<String>,
    /// A variable of Launchway's own environment.
    pub env: Option<String>,
}

/// Something for `RUN --mount=type=ssh,id=…`: a socket, or keys, or the agent of the environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SshAgent {
    pub id: String,
    /// A path of the host, as written.
    pub socket: Option<String>,
    /// Files of the host, as written; none when there is a socket.
    pub keys: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    Gzip,
    Zstd,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    Host,
    None,
}

/// How often a registry write is tried. The pause after attempt `n` is `pauses[n - 1]`; when there
/// are fewer pauses the last one is repeated, and without any there is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetrySettings {
    /// At least one.
    pub attempts: u32,
    pub pauses: Vec<Duration>,
}

impl Default for RetrySettings {
    fn default() -> Self {
        Self {
            attempts: 3,
            pauses: vec![Duration::from_secs(15), Duration::from_secs(30)],
        }
    }
}

/// One buildable thing with its own repository and tags.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    pub name: ImageName,
    /// The head of its table.
    pub span: Span,
    /// The image of this family it is built from; that one has no variants.
    pub from: Option<Spanned<ImageName>>,
    pub dockerfile: Spanned<String>,
    /// The build context, `.` by default.
    pub context: Spanned<String>,
    /// The stage to build; the last one by default.
    pub target: Option<Spanned<String>>,
    /// The path below each registry's prefix.
    pub repository: Spanned<String>,
    pub content_tag: TagTemplate,
    pub feature_tag: TagTemplate,
    /// What stands before the version in a release's git tag: `v`, `base-rust-v`, or nothing.
    pub release_prefix: String,
    /// Immutable tags of a release.
    pub tags: Vec<Spanned<TagTemplate>>,
    /// Tags that move to the newest release.
    pub rolling: Vec<Spanned<TagTemplate>>,
    /// The family's when the image names none; a subset of its base's.
    pub platforms: Vec<Spanned<Platform>>,
    /// Build arguments besides the family's versions.
    pub args: BTreeMap<String, Spanned<TextTemplate>>,
    pub recipe: Recipe,
    /// Every feature its variants list, and those with a table of their own.
    pub features: BTreeMap<FeatureName, Feature>,
    /// In the file's order. An image without `[image.NAME.variant]` has none and is published as
    /// it is.
    pub variants: Vec<Variant>,
    pub smoke: Vec<SmokeTest>,
    /// What it is held to, over the family's.
    pub lint: Option<LintSettings>,
    /// Absolute paths where users mount something; those of its bases count, too.
    pub runtime_mounts: Vec<Spanned<String>>,
    pub labels: BTreeMap<String, Spanned<TextTemplate>>,
}

/// How an image's content hash is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recipe {
    /// The default: every input with its path, kind, mode and content, framed. Without `inputs`
    /// they are derived from the Dockerfile's COPY and ADD.
    Tree {
        inputs: Option<Vec<Spanned<String>>>,
    },
    /// `hash = "concat"`: contents one after the other, then sha256. Without `inputs` the
    /// Dockerfile and then what it copies.
    Concat {
        inputs: Option<Vec<Spanned<String>>>,
    },
    /// `hash = "file"`: sha256 of one file, the Dockerfile when none is named.
    File { path: Option<Spanned<String>> },
}

/// A Dockerfile stage built directly on the base.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Feature {
    pub name: FeatureName,
    /// Its table, or the first place that mentions it.
    pub span: Span,
    /// The stage; the feature's own name by default.
    pub target: Spanned<String>,
    /// Whether it is built on one platform and reused on the others.
    pub neutral: bool,
    pub args: BTreeMap<String, Spanned<TextTemplate>>,
}

/// One published flavour of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variant {
    pub name: VariantName,
    pub span: Span,
    /// What `{suffix}` stands for: `-NAME` by default, may be empty.
    pub suffix: String,
    pub flavour: Flavour,
    pub overrides: Overrides,
}

/// What makes a variant differ from its siblings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Flavour {
    /// Grafted from features, in this order; never empty.
    Features(Vec<Spanned<FeatureName>>),
    /// The Dockerfile built with these arguments on top of the image's own; may be empty.
    Args(BTreeMap<String, Spanned<TextTemplate>>),
}

/// Settings of a variant's configuration that win over what its features say.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Overrides {
    pub entrypoint: Option<Vec<String>>,
    pub cmd: Option<Vec<String>>,
    pub user: Option<String>,
    pub workdir: Option<String>,
}

/// A check that runs against what is going to be published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SmokeTest {
    pub span: Span,
    pub action: SmokeAction,
    /// What must be contained in the standard output.
    pub stdout: Option<Spanned<TextTemplate>>,
    /// The exit status that counts as passed.
    pub exit: i32,
    /// Only these variants.
    pub variants: Option<Vec<Spanned<VariantName>>>,
    /// Only variants that have all of these.
    pub features: Option<Vec<Spanned<FeatureName>>>,
    pub timeout: Duration,
    /// The image's own user by default.
    pub user: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SmokeAction {
    /// A command and its arguments, taken as they are: no shell, no placeholders.
    Run(Vec<String>),
    /// A script of the family's folder.
    Script(Spanned<String>),
}

impl Family {
    pub fn image(&self, name: &ImageName) -> Option<&Image> {
        self.images.iter().find(|image| image.name == *name)
    }
}

impl Variant {
    /// Whether this variant is in a smoke test's selection.
    pub fn is_selected_by(&self, test: &SmokeTest) -> bool {
        let named = test
            .variants
            .as_ref()
            .is_none_or(|names| names.iter().any(|name| name.value == self.name));
        let has = |wanted: &Spanned<FeatureName>| match &self.flavour {
            Flavour::Features(features) => {
                features.iter().any(|feature| feature.value == wanted.value)
            }
            Flavour::Args(_) => false,
        };
        named
            && test
                .features
                .as_ref()
                .is_none_or(|wanted| wanted.iter().all(has))
    }
}

impl RegistryPrefix {
    /// The repository of this registry with a path below the prefix.
    pub fn repository(&self, path: &str) -> Result<Repository, ReferenceError> {
        match &self.prefix {
            Some(prefix) => Repository::new(self.host.clone(), &format!("{prefix}/{path}")),
            None => Repository::new(self.host.clone(), path),
        }
    }
}

impl FromStr for RegistryPrefix {
    type Err = RegistryPrefixError;

    fn from_str(text: &str) -> Result<Self, RegistryPrefixError> {
        let (first, prefix) = match text.split_once('/') {
            Some((first, prefix)) => (first, Some(prefix)),
            None => (text, None),
        };
        if !first.contains(['.', ':']) && first != "localhost" {
            return Err(RegistryPrefixError {
                at: 0,
                reason: "a registry is named by its host first, as in docker.io/NAME",
            });
        }
        let host: RegistryHost = first.parse().map_err(shifted(0))?;
        if let Some(prefix) = prefix {
            Repository::new(host.clone(), prefix).map_err(shifted(first.len() + 1))?;
        }
        Ok(Self {
            host,
            prefix: prefix.map(str::to_owned),
        })
    }
}

fn shifted(by: usize) -> impl Fn(ReferenceError) -> RegistryPrefixError {
    move |error| RegistryPrefixError {
        at: by + error.at,
        reason: error.reason,
    }
}

impl fmt::Display for RegistryPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.host)?;
        match &self.prefix {
            Some(prefix) => write!(f, "/{prefix}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registries_are_a_host_and_perhaps_a_prefix() {
        for (text, repository) in [
            ("docker.io/joakimp", "docker.io/joakimp/devbox"),
            ("docker.io", "docker.io/devbox"),
            ("localhost/a/b", "localhost/a/b/devbox"),
            ("127.0.0.1:5000", "127.0.0.1:5000/devbox"),
        ] {
            let registry: RegistryPrefix = text.parse().unwrap();
            assert_eq!(registry.to_string(), text);
            assert_eq!(
                registry.repository("devbox").unwrap().to_string(),
                repository
            );
        }
        for (text, at) in [
            ("joakimp", 0),
            ("joakimp/devbox", 0),
            ("docker.io/Joakimp", 10),
            ("docker.io/", 10),
            ("host:99999/x", 5),
        ] {
            assert_eq!(text.parse::<RegistryPrefix>().unwrap_err().at, at, "{text}");
        }
    }
}
