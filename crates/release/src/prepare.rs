//! From a family on disk to a checked plan: observe everything, then decide.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures_util::stream::{self, StreamExt as _};
use launchway_diagnostics::Diagnostic;
use launchway_manifest::{Family, Image, RegistryPrefix, TagValues, VersionSource};
use launchway_model::{Digest, ImageName, Platform, Reference, VariantName, VersionName};
use launchway_observe::{PinError, inventory, pin_bases as pin_bases_of};
use launchway_oci::spec::Annotations;
use launchway_plan::{
    Decision, Facts, Graph, Pins, Plan, ReleaseVersion, Request, annotation, check, decide, graph,
};
use launchway_registry::Client;

use crate::codes;
use crate::error::ReleaseError;
use crate::images::blocking;
use crate::project::{ContextDigests, Project};

/// How many questions are put to registries at once.
const QUESTIONS: usize = 16;

/// What was asked for, apart from what the family file says.
#[derive(Clone, Debug)]
pub struct Asked {
    /// As typed: `v1.2.3` or `1.2.3`.
    pub version: Option<String>,
    pub registries: Vec<RegistryPrefix>,
    pub platforms: Option<Vec<Platform>>,
    pub only: Option<BTreeSet<VariantName>>,
    pub promote: bool,
}

/// Resolves the floating versions of a family; all at once, each with its own outcome.
pub trait Versions: Send + Sync {
    fn resolve<'a>(
        &'a self,
        project: &'a Project,
        wanted: &'a BTreeSet<VersionName>,
    ) -> futures_util::future::BoxFuture<'a, Result<BTreeMap<VersionName, String>, Vec<Diagnostic>>>;
}

/// The hashed graph with what it was made from.
pub struct Hashed {
    pub graph: Graph,
    pub pins: Pins,
    /// Versions that were taken over from a release that had begun before.
    pub resumed: Option<Reference>,
    /// What is known of digests already.
    pub known: BTreeMap<Digest, Annotations>,
}

fn diagnosed(problems: Vec<Diagnostic>) -> ReleaseError {
    ReleaseError::Diagnosed(Arc::new(problems))
}

/// Reads versions, contexts and bases, and hashes the graph.
pub async fn hash(
    project: &Arc<Project>,
    client: &Client,
    versions: &dyn Versions,
    asked: &Asked,
) -> Result<Hashed, ReleaseError> {
    let release = asked
        .version
        .as_deref()
        .map(|text| release_of(&project.family, text))
        .transpose()
        .map_err(|problem| diagnosed(vec![*problem]))?;
    let (version, images) = match release {
        Some(release) => (Some(release.version), release.images),
        None => (None, None),
    };
    // Contexts are read while registries answer; what is read is kept for the real question below.
    let digests = Arc::new(ContextDigests::default());
    let (early_project, early_digests, platforms) = (
        Arc::clone(project),
        Arc::clone(&digests),
        asked.platforms.clone(),
    );
    let reading = blocking(move || {
        // Problems are found again, and told, once the versions are known.
        let _ = early_project.facts(&BTreeMap::new(), platforms.as_deref(), &early_digests);
        Ok(())
    });
    let pinning = async {
        let begun = match &version {
            Some(version) => begun(project, client, asked, version).await,
            None => Begun::default(),
        };
        let mut pins = begun.pins;
        let missing: BTreeSet<VersionName> = project
            .family
            .versions
            .keys()
            .filter(|name| !pins.versions.contains_key(*name))
            .cloned()
            .collect();
        pins.versions.extend(
            versions
                .resolve(project, &missing)
                .await
                .map_err(diagnosed)?,
        );
        Ok::<_, ReleaseError>((pins, begun.from, begun.known))
    };
    let (pinned, read) = futures_util::future::join(pinning, reading).await;
    read?;
    let (mut pins, resumed, observed) = pinned?;
    let known: BTreeMap<String, String> = pins
        .versions
        .iter()
        .map(|(name, version)| (name.to_string(), version.clone()))
        .collect();
    let (now_project, now_digests, platforms) = (
        Arc::clone(project),
        Arc::clone(&digests),
        asked.platforms.clone(),
    );
    let facts = blocking(move || {
        now_project
            .facts(&known, platforms.as_deref(), &now_digests)
            .map_err(diagnosed)
    })
    .await?;
    pin_bases(client, &facts, &mut pins).await?;
    let request = Request {
        version,
        platforms: asked.platforms.clone(),
        images,
        only: asked.only.clone(),
        promote: asked.promote,
    };
    let graph = graph(&project.family, &facts, &pins, &request).map_err(diagnosed)?;
    Ok(Hashed {
        graph,
        pins,
        resumed,
        known: observed,
    })
}

/// Asks the registries and decides. The plan has passed its checker.
pub async fn plan(
    client: &Client,
    hashed: Hashed,
    registries: &[RegistryPrefix],
) -> Result<Plan, ReleaseError> {
    let questions = hashed.graph.questions(registries).map_err(diagnosed)?;
    let inventory = inventory(client, &questions, &hashed.known).await;
    let mut plan = match decide(hashed.graph, registries, &inventory) {
        Decision::Plan(plan) => *plan,
        Decision::Refused(problems) => return Err(diagnosed(problems)),
        Decision::Unknown(problems) => return Err(ReleaseError::Unknown(Arc::new(problems))),
    };
    if let Some(from) = hashed.resumed {
        plan.remarks.push(format!(
            "this release had begun: its versions are those of {from}"
        ));
    }
    check(&plan).map_err(|violations| {
        diagnosed(
            violations
                .into_iter()
                .map(|violation| {
                    Diagnostic::error(codes::BROKEN, violation.to_string()).help(
                        "please report this with the output of `launchway plan --format json`",
                    )
                })
                .collect(),
        )
    })?;
    Ok(plan)
}

/// What a release is about: its version, and the images whose release prefix was typed; the whole
/// family when it has one prefix only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Release {
    pub version: ReleaseVersion,
    pub images: Option<BTreeSet<ImageName>>,
}

/// Reads what was typed. A prefix of the family is taken off only when a whole version follows, so
/// that `base-python-` never swallows `base-python-3.13-`.
pub fn release_of(family: &Family, text: &str) -> Result<Release, Box<Diagnostic>> {
    let released: Vec<&Image> = family
        .images
        .iter()
        .filter(|image| !image.tags.is_empty())
        .collect();
    let prefixes: BTreeSet<&str> = released
        .iter()
        .map(|image| image.release_prefix.as_str())
        .collect();
    let names = || {
        prefixes
            .iter()
            .map(|prefix| format!("{prefix}1.2.3"))
            .collect::<Vec<_>>()
            .join(", ")
    };
    let typed = prefixes.iter().find_map(|prefix| {
        let version = text.strip_prefix(prefix)?.parse::<ReleaseVersion>().ok()?;
        Some((*prefix, version))
    });
    if let Some((prefix, version)) = typed {
        let named = released
            .iter()
            .filter(|image| image.release_prefix == prefix);
        let images = (prefixes.len() > 1).then(|| named.map(|image| image.name.clone()).collect());
        return Ok(Release { version, images });
    }
    let problem = |message: String| {
        Box::new(
            Diagnostic::error(codes::BAD_VERSION, message)
                .help(format!("releases of this family are called {}", names())),
        )
    };
    match text.parse::<ReleaseVersion>() {
        Ok(version) if prefixes.len() < 2 => Ok(Release {
            version,
            images: None,
        }),
        Ok(_) => Err(problem(format!(
            "`{text}` does not say which images are released"
        ))),
        Err(error) => Err(problem(format!(
            "`{text}` is not a release of this family: {error}"
        ))),
    }
}

/// What there is of a release already.
#[derive(Default)]
struct Begun {
    pins: Pins,
    /// Whose pins they are, first of all.
    from: Option<Reference>,
    known: BTreeMap<Digest, Annotations>,
}

/// The pins of a release of this version that began before: whatever floated then stays as it was.
async fn begun(
    project: &Project,
    client: &Client,
    asked: &Asked,
    version: &ReleaseVersion,
) -> Begun {
    let mut references = Vec::new();
    for registry in &asked.registries {
        for image in &project.family.images {
            references.extend(release_references(image, registry, version));
        }
    }
    let answers = stream::iter(references)
        .map(|reference| async move {
            let manifest = client.manifest(&reference).await.ok()?;
            let annotations = annotations_of(&manifest.bytes)?;
            Some((reference, manifest.digest, annotations))
        })
        .buffered(QUESTIONS)
        .collect::<Vec<_>>()
        .await;
    // Each variant knows the versions it is made of; together they are those of the release.
    let mut begun = Begun::default();
    for (reference, digest, annotations) in answers.into_iter().flatten() {
        let pins = pins_of(&annotations);
        begun.known.insert(digest, annotations);
        let Some(pins) = pins else {
            continue;
        };
        begun.from.get_or_insert(reference);
        // What the file itself pins does not float: there, the file is right.
        let floats = |name: &VersionName| {
            let source = project.family.versions.get(name);
            source.is_some_and(|source| matches!(source.value, VersionSource::Npm { .. }))
        };
        let floating = pins.versions.into_iter().filter(|(name, _)| floats(name));
        begun.pins.versions.extend(floating);
        begun.pins.bases.extend(pins.bases);
    }
    begun
}

fn release_references(
    image: &Image,
    registry: &RegistryPrefix,
    version: &ReleaseVersion,
) -> Vec<Reference> {
    let Ok(repository) = registry.repository(&image.repository.value) else {
        return Vec::new();
    };
    let text = version.to_string();
    let flavours: Vec<(Option<&str>, &str)> = if image.variants.is_empty() {
        vec![(None, "")]
    } else {
        image
            .variants
            .iter()
            .map(|variant| (Some(variant.name.as_str()), variant.suffix.as_str()))
            .collect()
    };
    let mut references = Vec::new();
    for (variant, suffix) in flavours {
        let values = TagValues {
            image: image.name.as_str(),
            hash: None,
            variant,
            feature: None,
            version: Some(&text),
            suffix,
        };
        let tags = image
            .tags
            .iter()
            .filter_map(|template| template.value.render(&values).ok());
        references.extend(tags.map(|tag| repository.with_tag(tag)));
    }
    references
}

fn pins_of(annotations: &Annotations) -> Option<Pins> {
    let value: serde_json::Value = serde_json::from_str(annotations.get(annotation::PINS)?).ok()?;
    let mut pins = Pins::default();
    for (name, version) in value.get("versions")?.as_object()? {
        pins.versions
            .insert(name.parse().ok()?, version.as_str()?.to_owned());
    }
    for (reference, digest) in value.get("bases")?.as_object()? {
        pins.bases
            .insert(reference.clone(), digest.as_str()?.parse().ok()?);
    }
    Some(pins)
}

/// Finds the digest of every external image that is not pinned yet.
async fn pin_bases(client: &Client, facts: &Facts, pins: &mut Pins) -> Result<(), ReleaseError> {
    let wanted = facts.targets.values().flat_map(|facts| &facts.external);
    let missing: BTreeSet<String> = wanted
        .filter(|reference| !pins.bases.contains_key(*reference))
        .cloned()
        .collect();
    let mut problems = Vec::new();
    for (reference, answer) in pin_bases_of(client, &missing).await {
        match answer {
            Ok(digest) => {
                pins.bases.insert(reference, digest);
            }
            Err(error) => problems.push(base_problem(&error)),
        }
    }
    if problems.is_empty() {
        Ok(())
    } else {
        Err(diagnosed(problems))
    }
}

fn base_problem(error: &PinError) -> Diagnostic {
    let problem = Diagnostic::error(codes::BASE_UNAVAILABLE, error.to_string());
    let problem = match std::error::Error::source(error) {
        Some(cause) => problem.note(cause.to_string()),
        None => problem,
    };
    problem.help(match error {
        PinError::Reference { .. } => "write it as name[:tag][@digest]",
        PinError::Missing { .. } => {
            "check its name; an image of the family is named by its key and listed under `from`"
        }
        PinError::Unknown { .. } => {
            "pin it with @sha256:…, or serve it from a mirror with --mirror"
        }
    })
}

/// The annotations of an index or a manifest; none of what is neither.
fn annotations_of(bytes: &[u8]) -> Option<Annotations> {
    #[derive(serde::Deserialize)]
    struct Annotated {
        annotations: Option<Annotations>,
    }
    let parsed: Option<Annotated> = serde_json::from_slice(bytes).ok();
    Some(parsed?.annotations.unwrap_or_default())
}
