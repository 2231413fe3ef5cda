//! Floating versions of a family, asked of the places the family names.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use launchway_diagnostics::Diagnostic;
use launchway_model::VersionName;
use launchway_observe::{Npm, NpmConfig, NpmInputs, NpmRetry, VersionError, resolve_versions};
use launchway_release::{Project, Versions, codes};

use crate::settings::Settings;

/// Asks npm registries, as configured for the user who runs this.
pub(crate) struct Observed {
    environment: BTreeMap<String, String>,
}

impl Observed {
    pub(crate) fn new(settings: &Settings) -> Self {
        Self {
            environment: settings.environment_text(),
        }
    }
}

impl Versions for Observed {
    fn resolve<'a>(
        &'a self,
        project: &'a Project,
        wanted: &'a BTreeSet<VersionName>,
    ) -> BoxFuture<'a, Result<BTreeMap<VersionName, String>, Vec<Diagnostic>>> {
        async move {
            if wanted.is_empty() {
                return Ok(BTreeMap::new());
            }
            let inputs = NpmInputs {
                registry: project
                    .family
                    .npm
                    .registry
                    .as_ref()
                    .map(|registry| registry.value.clone()),
                environment: self.environment.clone(),
                project: project.root.clone(),
            };
            let config = NpmConfig::load(inputs).map_err(|error| {
                vec![Diagnostic::error(
                    codes::VERSION_UNRESOLVED,
                    error.to_string(),
                )]
            })?;
            let npm = Npm::new(config, NpmRetry::default());
            let all = &project.family.versions;
            let sources = all.iter().filter(|(name, _)| wanted.contains(*name));
            let sources = sources
                .map(|(name, source)| (name.clone(), source.clone()))
                .collect();
            let mut resolved = BTreeMap::new();
            let mut problems = Vec::new();
            for (name, answer) in resolve_versions(&sources, &npm).await {
                match answer {
                    Ok(version) => {
                        resolved.insert(name, version.version);
                    }
                    Err(error) => problems.push(problem(&name, &error, project)),
                }
            }
            if problems.is_empty() {
                Ok(resolved)
            } else {
                Err(problems)
            }
        }
        .boxed()
    }
}

fn problem(name: &VersionName, error: &VersionError, project: &Project) -> Diagnostic {
    let mut problem =
        Diagnostic::error(codes::VERSION_UNRESOLVED, format!("cannot resolve {name}"));
    problem = match project.family.versions.get(name) {
        Some(source) => problem.at(source.span, error.to_string()),
        None => problem.note(error.to_string()),
    };
    let mut cause = std::error::Error::source(error);
    while let Some(next) = cause {
        problem = problem.note(next.to_string());
        cause = next.source();
    }
    match error {
        VersionError::NoRegistry { .. } => problem
            .help("set `registry` under [npm], or configure npm (`npm config set registry …`)"),
        _ => problem.note("a version that cannot be resolved is never replaced by another"),
    }
}
