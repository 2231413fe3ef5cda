//! A family on disk: the parsed family file, its Dockerfiles and build contexts.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use launchway_context::{Context, ContextError, JunkRules, digest, read_ignore_rules, recipe};
use launchway_diagnostics::{Diagnostic, SourceMap, Span};
use launchway_dockerfile::{
    BuildInputs, CheckInputs, CheckSettings, ContextSource, Dockerfile, StageGraph, canonical,
    check, resolve,
};
use launchway_manifest::{Family, Flavour, Image, Recipe};
use launchway_model::{ContentHasher, ImageName, InputHash, Platform};
use launchway_plan::{Facts, TargetFacts, TargetKey};

use crate::codes;
use crate::error::ReleaseError;

/// A family with everything it names.
pub struct Project {
    /// The folder of the family file; every path in it starts here.
    pub root: PathBuf,
    pub family: Family,
    pub sources: SourceMap,
    /// What the Dockerfiles would better not have.
    pub warnings: Vec<Diagnostic>,
    build_platform: Platform,
    files: BTreeMap<ImageName, ImageSource>,
}

/// An image's Dockerfile and context.
pub struct ImageSource {
    pub dockerfile: Dockerfile,
    pub context: Context,
}

/// What stands in the way of reading a family.
#[derive(Debug)]
pub struct ProjectProblems {
    pub sources: SourceMap,
    pub diagnostics: Vec<Diagnostic>,
}

impl Project {
    /// Reads the family file at `path` and everything it names. All problems are reported.
    pub fn load(path: &Path, build_platform: Platform) -> Result<Self, ProjectProblems> {
        let mut sources = SourceMap::new();
        let mut diagnostics = Vec::new();
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) => {
                let message = format!("cannot read {}: {error}", path.display());
                let problem = Diagnostic::error(codes::NO_FAMILY_FILE, message)
                    .help("run in the folder that holds launchway.toml, give --file, or start with `launchway init`");
                return Err(ProjectProblems {
                    sources,
                    diagnostics: vec![problem],
                });
            }
        };
        let source = sources.add(path.display().to_string(), text.clone());
        let parsed = launchway_manifest::parse(source, &text);
        diagnostics.extend(parsed.diagnostics);
        let Some(family) = parsed.family else {
            return Err(ProjectProblems {
                sources,
                diagnostics,
            });
        };
        let folder = path
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty());
        // Sandboxes are told whole paths.
        let folder = folder.unwrap_or(Path::new("."));
        let root = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
        let mut files = BTreeMap::new();
        for image in &family.images {
            match load_image(&root, &family, image, &mut sources, &mut diagnostics) {
                Ok(Some(source)) => {
                    diagnostics.extend(checks(image, &source, &build_platform));
                    files.insert(image.name.clone(), source);
                }
                Ok(None) => {}
                Err(problem) => diagnostics.push(*problem),
            }
        }
        if diagnostics.iter().any(Diagnostic::is_error) {
            return Err(ProjectProblems {
                sources,
                diagnostics,
            });
        }
        Ok(Self {
            root,
            family,
            sources,
            warnings: diagnostics,
            build_platform,
            files,
        })
    }

    pub(crate) fn source(&self, image: &ImageName) -> Result<&ImageSource, ReleaseError> {
        self.files
            .get(image)
            .ok_or_else(|| ReleaseError::Broken(format!("the image `{image}` was not loaded")))
    }

    /// The stages of one target for one platform.
    pub(crate) fn stage_graph(
        &self,
        image: &ImageName,
        target: Option<&str>,
        args: &BTreeMap<String, String>,
        platform: &Platform,
    ) -> Result<StageGraph, ReleaseError> {
        let source = self.source(image)?;
        let described = self.family.image(image);
        let named: BTreeSet<String> = described
            .and_then(|image| image.from.as_ref())
            .map(|from| from.value.to_string())
            .into_iter()
            .collect();
        let inputs = BuildInputs {
            target,
            build_args: args,
            platform,
            build_platform: &self.build_platform,
            named_contexts: &named,
        };
        let graph = resolve(&source.dockerfile, &inputs)
            .map_err(|problems| ReleaseError::Diagnosed(Arc::new(problems)))?;
        match replaced(&source.dockerfile, &graph) {
            Some(problem) => Err(ReleaseError::Diagnosed(Arc::new(vec![problem]))),
            None => Ok(graph),
        }
    }

    /// What planning needs to know of every target, on these platforms.
    pub fn facts(
        &self,
        versions: &BTreeMap<String, String>,
        platforms: Option<&[Platform]>,
        digests: &ContextDigests,
    ) -> Result<Facts, Vec<Diagnostic>> {
        let mut facts = Facts::default();
        let mut problems = Vec::new();
        for image in &self.family.images {
            let own: Vec<Platform> = match platforms {
                Some(platforms) => platforms.to_vec(),
                None => image
                    .platforms
                    .iter()
                    .map(|platform| platform.value.clone())
                    .collect(),
            };
            for target in targets(image) {
                for platform in &own {
                    match self.target_facts(image, target.as_deref(), platform, versions, digests) {
                        Ok(found) => {
                            let key = TargetKey {
                                image: image.name.clone(),
                                target: target.clone(),
                                platform: platform.clone(),
                            };
                            facts.targets.insert(key, found);
                        }
                        Err(found) => problems.extend(found),
                    }
                }
            }
            match self.legacy(image) {
                Ok(Some(hash)) => {
                    facts.legacy.insert(image.name.clone(), hash);
                }
                Ok(None) => {}
                Err(problem) => problems.push(*problem),
            }
        }
        // One mistake in a Dockerfile shows on every platform and target; it is told once.
        let mut told: Vec<Diagnostic> = Vec::new();
        for problem in problems {
            if !told.contains(&problem) {
                told.push(problem);
            }
        }
        if told.is_empty() {
            Ok(facts)
        } else {
            Err(told)
        }
    }

    fn target_facts(
        &self,
        image: &Image,
        target: Option<&str>,
        platform: &Platform,
        args: &BTreeMap<String, String>,
        digests: &ContextDigests,
    ) -> Result<TargetFacts, Vec<Diagnostic>> {
        let graph = self
            .stage_graph(&image.name, target, args, platform)
            .map_err(diagnosed)?;
        // What a server will give is not known before it is asked, so it cannot be part of the hash.
        if !graph.unpinned_urls.is_empty() {
            let unpinned = graph.unpinned_urls.iter().map(|span| {
                Diagnostic::error(
                    launchway_engine::codes::UNPINNED_URL,
                    "ADD of a URL without a checksum",
                )
                .at(
                    *span,
                    "a family is made of what can be known before it is built",
                )
                .help("add --checksum=sha256:…; to a repository, #COMMIT with all its digits")
            });
            return Err(unpinned.collect());
        }
        let source = self.source(&image.name).map_err(diagnosed)?;
        let explicit = match &image.recipe {
            Recipe::Tree {
                inputs: Some(inputs),
            } => Some(
                inputs
                    .iter()
                    .map(|input| ContextSource {
                        pattern: Some(input.value.clone()),
                        excludes: Vec::new(),
                        parents: false,
                        span: input.span,
                    })
                    .collect(),
            ),
            Recipe::Tree { inputs: None } | Recipe::Concat { .. } | Recipe::File { .. } => None,
        };
        let wanted: &Vec<ContextSource> = explicit.as_ref().unwrap_or(&graph.context_sources);
        let context = digests
            .of(&image.name, source, wanted)
            .map_err(|problem| vec![*problem])?;
        Ok(TargetFacts {
            instructions: canonical(&source.dockerfile, &graph),
            declared_args: graph.declared_args.clone(),
            external: graph
                .external
                .iter()
                .map(|image| image.reference.clone())
                .collect(),
            context,
        })
    }

    fn legacy(&self, image: &Image) -> Result<Option<InputHash>, Box<Diagnostic>> {
        let junk = junk_rules(&self.family);
        let failed = |span: Span| {
            move |error: ContextError| {
                Box::new(
                    Diagnostic::error(codes::MISSING_INPUT, error.to_string())
                        .at(span, "an input of the hash"),
                )
            }
        };
        match &image.recipe {
            Recipe::Tree { .. } => Ok(None),
            Recipe::Concat { inputs } => {
                let span = inputs
                    .as_ref()
                    .and_then(|inputs| inputs.first())
                    .map_or(image.dockerfile.span, |input| input.span);
                let mut paths = vec![PathBuf::from(&image.dockerfile.value)];
                paths.extend(
                    inputs
                        .iter()
                        .flatten()
                        .map(|input| PathBuf::from(&input.value)),
                );
                recipe::concat(&self.root, &paths, &junk)
                    .map(Some)
                    .map_err(failed(span))
            }
            Recipe::File { path } => {
                let path = path.as_ref().unwrap_or(&image.dockerfile);
                recipe::file(&self.root, Path::new(&path.value))
                    .map(Some)
                    .map_err(failed(path.span))
            }
        }
    }
}

/// A target that the base takes the place of: a family has no use for one.
fn replaced(file: &Dockerfile, graph: &StageGraph) -> Option<Diagnostic> {
    let target = graph.stages.last().filter(|target| target.replaced)?;
    let name = file.stages[target.index].name.as_ref()?;
    let message = format!(
        "the stage `{}` to build is replaced by the base",
        name.value
    );
    Some(
        Diagnostic::error(launchway_dockerfile::codes::UNKNOWN_TARGET, message)
            .at(name.span, "nothing of this stage would be built")
            .help("rename the stage"),
    )
}

fn diagnosed(error: ReleaseError) -> Vec<Diagnostic> {
    match error {
        ReleaseError::Diagnosed(problems) => problems.to_vec(),
        other => vec![Diagnostic::error(codes::BROKEN, other.to_string())],
    }
}

/// The targets of an image's Dockerfile that are nodes of the family.
fn targets(image: &Image) -> BTreeSet<Option<String>> {
    let own = || image.target.as_ref().map(|target| target.value.clone());
    if image.variants.is_empty() {
        return BTreeSet::from([own()]);
    }
    let mut targets = BTreeSet::new();
    for variant in &image.variants {
        match &variant.flavour {
            Flavour::Args(_) => {
                targets.insert(own());
            }
            Flavour::Features(features) => {
                for feature in features {
                    let described = image.features.get(&feature.value);
                    targets.insert(described.map(|feature| feature.target.value.clone()));
                }
            }
        }
    }
    targets
}

fn junk_rules(family: &Family) -> JunkRules {
    JunkRules::with(family.ignore.iter().map(|pattern| pattern.value.as_str()))
}

fn load_image(
    root: &Path,
    family: &Family,
    image: &Image,
    sources: &mut SourceMap,
    diagnostics: &mut Vec<Diagnostic>,
) -> Result<Option<ImageSource>, Box<Diagnostic>> {
    let path = root.join(&image.dockerfile.value);
    let text = std::fs::read_to_string(&path).map_err(|error| {
        Diagnostic::error(
            codes::NO_DOCKERFILE,
            format!("cannot read the Dockerfile of `{}`", image.name),
        )
        .at(image.dockerfile.span, error.to_string())
    })?;
    let source = sources.add(path.display().to_string(), text.clone());
    let parsed = launchway_dockerfile::parse(source, &text);
    diagnostics.extend(parsed.diagnostics);
    let folder = root.join(&image.context.value);
    let no_context = |error: ContextError| {
        Diagnostic::error(
            codes::NO_CONTEXT,
            format!("cannot use the build context of `{}`", image.name),
        )
        .at(image.context.span, error.to_string())
    };
    let rules = read_ignore_rules(&folder, &path).map_err(no_context)?;
    let context = Context::open(&folder, rules, junk_rules(family))
        .map_err(no_context)?
        .staying();
    Ok(parsed.dockerfile.map(|dockerfile| ImageSource {
        dockerfile,
        context,
    }))
}

/// BuildKit's build checks of one Dockerfile, as far as they can be told from the text: nothing is
/// asked of a registry, and arguments come from the family.
fn checks(image: &Image, source: &ImageSource, platform: &Platform) -> Vec<Diagnostic> {
    let settings = CheckSettings::of(&source.dockerfile);
    let from = image.from.iter();
    let named: BTreeSet<String> = from.map(|from| from.value.to_string()).collect();
    let inputs = CheckInputs {
        build: BuildInputs {
            target: None,
            build_args: &BTreeMap::new(),
            platform,
            build_platform: platform,
            named_contexts: &named,
        },
        settings: &settings,
        stages: &(0..source.dockerfile.stages.len()).collect(),
        all_stages: true,
        args_are_known: false,
        ignore: Some(source.context.ignore_rules()),
        images: &BTreeMap::new(),
    };
    let found = check(&source.dockerfile, &inputs).into_iter();
    found
        .map(|finding| finding.diagnostic(settings.error))
        .collect()
}

/// Digests of context files, each computed once.
#[derive(Default)]
pub struct ContextDigests(std::sync::Mutex<BTreeMap<DigestKey, InputHash>>);

type DigestKey = (ImageName, Vec<(Option<String>, Vec<String>, bool)>);

impl ContextDigests {
    fn of(
        &self,
        image: &ImageName,
        source: &ImageSource,
        wanted: &[ContextSource],
    ) -> Result<InputHash, Box<Diagnostic>> {
        let list: Vec<_> = wanted
            .iter()
            .map(|one| (one.pattern.clone(), one.excludes.clone(), one.parents))
            .collect();
        let key = (image.clone(), list);
        let known = |digests: &Self| {
            digests
                .0
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner)
                .get(&key)
                .copied()
        };
        if let Some(hash) = known(self) {
            return Ok(hash);
        }
        let mut hasher = ContentHasher::new("launchway/context/1");
        hasher.number("sources", wanted.len() as u64);
        for one in wanted {
            let pattern = one.pattern.as_deref().unwrap_or("/");
            let selected = if one.parents {
                source.context.select_with_parents(pattern, &one.excludes)
            } else {
                source.context.select(pattern, &one.excludes)
            };
            let found = selected
                .and_then(|selected| digest(&source.context, &selected))
                .map_err(|error| missing(&error, one.span))?;
            hasher
                .text("source", pattern)
                .field("digest", found.hash.as_bytes());
        }
        let hash = hasher.finish();
        self.0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .insert(key, hash);
        Ok(hash)
    }
}

/// A missing input is an error, at the instruction that takes it.
fn missing(error: &ContextError, span: Span) -> Box<Diagnostic> {
    let mut problem =
        Diagnostic::error(codes::MISSING_INPUT, error.to_string()).at(span, "taken here");
    if let ContextError::Missing {
        closest: Some(near),
        ..
    } = error
    {
        problem = problem.help(format!("did you mean `{near}`?"));
    }
    Box::new(problem)
}
