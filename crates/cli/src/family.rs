//! Arguments and steps that every command about a family shares.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use launchway_diagnostics::{Colour, SourceMap, render_all};
use launchway_manifest::RegistryPrefix;
use launchway_model::{Platform, RegistryHost, VariantName};
use launchway_registry::Mirror;
use launchway_release::{Asked, Project};

use crate::failure::Failure;
use crate::settings::Settings;

#[derive(Args)]
pub(crate) struct FamilyArguments {
    /// The family file
    #[arg(long, short, default_value = "launchway.toml", value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Use this registry instead of the file's; may be given several times
    #[arg(long, value_name = "HOST[/PREFIX]")]
    registry: Vec<String>,
    /// Only these platforms instead of the file's, separated by commas
    #[arg(long, value_delimiter = ',', value_name = "PLATFORM")]
    platform: Vec<String>,
    #[command(flatten)]
    pub(crate) network: NetworkArguments,
}

#[derive(Args)]
pub(crate) struct NetworkArguments {
    /// Read images of a registry from elsewhere: docker.io=HOST[/PREFIX]; may be given several times
    #[arg(long, value_name = "REGISTRY=HOST[/PREFIX]")]
    mirror: Vec<String>,
    /// Speak plain HTTP with this host (with loopback hosts it is the rule); may be given several times
    #[arg(long, value_name = "HOST")]
    plain_http: Vec<String>,
}

impl FamilyArguments {
    /// Reads the family and everything it names.
    pub(crate) fn load(&self, settings: &Settings) -> Result<Arc<Project>, Failure> {
        let project = Project::load(&self.file, settings.host_platform.clone())
            .map_err(|problems| Failure::diagnosed(problems.diagnostics, problems.sources))?;
        Ok(Arc::new(project))
    }

    pub(crate) fn registries(&self, project: &Project) -> Result<Vec<RegistryPrefix>, Failure> {
        if self.registry.is_empty() {
            return Ok(project
                .family
                .registries
                .iter()
                .map(|registry| registry.value.clone())
                .collect());
        }
        self.registry
            .iter()
            .map(|text| {
                text.parse()
                    .map_err(|error: launchway_manifest::RegistryPrefixError| {
                        Failure::usage(
                            format!("--registry {text}: {error}"),
                            "write it as HOST or HOST/PREFIX, for example ghcr.io/name",
                        )
                    })
            })
            .collect()
    }

    pub(crate) fn platforms(&self) -> Result<Option<Vec<Platform>>, Failure> {
        if self.platform.is_empty() {
            return Ok(None);
        }
        self.platform
            .iter()
            .map(|text| parse_platform(text))
            .collect::<Result<Vec<_>, _>>()
            .map(Some)
    }

    pub(crate) fn asked(
        &self,
        project: &Project,
        version: Option<String>,
        only: &[String],
        promote: bool,
    ) -> Result<Asked, Failure> {
        let only = only
            .iter()
            .map(|name| {
                name.parse::<VariantName>().map_err(|error| {
                    Failure::usage(
                        format!("--only {name}: {error}"),
                        "name a variant of the family file",
                    )
                })
            })
            .collect::<Result<BTreeSet<_>, _>>()?;
        Ok(Asked {
            version,
            registries: self.registries(project)?,
            platforms: self.platforms()?,
            only: (!only.is_empty()).then_some(only),
            promote,
        })
    }
}

impl NetworkArguments {
    pub(crate) fn mirrors(&self) -> Result<Vec<Mirror>, Failure> {
        self.mirror
            .iter()
            .map(|text| {
                let wrong = |why: String| {
                    Failure::usage(
                        format!("--mirror {text}: {why}"),
                        "write it as docker.io=HOST or docker.io=HOST/PREFIX",
                    )
                };
                let (of, to) = text
                    .split_once('=')
                    .ok_or_else(|| wrong("there is no `=`".to_owned()))?;
                let of: RegistryHost = of
                    .parse()
                    .map_err(|error: launchway_model::ReferenceError| wrong(error.to_string()))?;
                let (host, prefix) = match to.split_once('/') {
                    Some((host, prefix)) => (host, Some(prefix.to_owned())),
                    None => (to, None),
                };
                let host = host
                    .parse()
                    .map_err(|error: launchway_model::ReferenceError| wrong(error.to_string()))?;
                Ok(Mirror { of, host, prefix })
            })
            .collect()
    }

    pub(crate) fn plain_http(&self) -> Result<Vec<RegistryHost>, Failure> {
        self.plain_http
            .iter()
            .map(|text| {
                text.parse()
                    .map_err(|error: launchway_model::ReferenceError| {
                        Failure::usage(
                            format!("--plain-http {text}: {error}"),
                            "name a host, with its port if it has one",
                        )
                    })
            })
            .collect()
    }
}

pub(crate) fn parse_platform(text: &str) -> Result<Platform, Failure> {
    text.parse()
        .map_err(|error: launchway_model::PlatformError| {
            Failure::usage(
                format!("--platform {text}: {error}"),
                "for example linux/amd64 or linux/arm64",
            )
        })
}

/// Shows warnings on stderr.
pub(crate) fn warn(
    diagnostics: &[launchway_diagnostics::Diagnostic],
    sources: &SourceMap,
    settings: &Settings,
) {
    if !diagnostics.is_empty() {
        let colour = if settings.colour {
            Colour::Always
        } else {
            Colour::Never
        };
        eprintln!("{}\n", render_all(diagnostics, sources, colour));
    }
}
