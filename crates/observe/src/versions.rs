//! Floating versions made concrete.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::future::join_all;
use launchway_diagnostics::Spanned;
use launchway_manifest::VersionSource;
use launchway_model::VersionName;

use crate::{Npm, NpmConfigError};

/// A concrete version and where it comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolvedVersion {
    pub version: String,
    /// In words, for people and records.
    pub source: String,
    /// Why its authors do not want it used any more.
    pub deprecated: Option<String>,
}

/// Why there is no concrete version. There is never a fallback.
#[derive(Clone, Debug, thiserror::Error)]
pub enum VersionError {
    #[error("cannot use the npm configuration")]
    Configuration(#[source] Arc<NpmConfigError>),
    #[error("no npm registry is known to ask for {package}")]
    NoRegistry { package: String },
    #[error("{package:?} is no npm package name")]
    BadPackage { package: String },
    #[error("{accept:?} is neither a dist-tag nor a version range")]
    BadAccept { accept: String },
    #[error("the npm registry {registry} has no package {package}")]
    NoPackage { package: String, registry: String },
    #[error("{package} has no dist-tag {tag:?}{}", suggestion(closest.as_deref()))]
    NoTag {
        package: String,
        tag: String,
        /// A tag that it was perhaps meant to be.
        closest: Option<String>,
    },
    #[error("no version of {package} is in the range {range:?}{}", newest(latest.as_deref()))]
    NoMatch {
        package: String,
        range: String,
        latest: Option<String>,
    },
    #[error("the npm registry {registry} did not let us read {package}{}", answered(*status))]
    Denied {
        package: String,
        registry: String,
        /// None when the token cannot even be sent.
        status: Option<u16>,
    },
    #[error(
        "cannot ask the npm registry {registry} for {package}: {detail}{}",
        tried(*attempts)
    )]
    Unreachable {
        package: String,
        registry: String,
        detail: String,
        attempts: u32,
    },
    #[error("cannot use what the npm registry {registry} answered for {package}: {detail}")]
    Unusable {
        package: String,
        registry: String,
        detail: String,
    },
}

fn suggestion(closest: Option<&str>) -> String {
    closest.map_or_else(String::new, |near| format!("; did you mean {near:?}?"))
}

fn newest(latest: Option<&str>) -> String {
    latest.map_or_else(String::new, |latest| format!("; the latest is {latest}"))
}

fn answered(status: Option<u16>) -> String {
    match status {
        Some(status) => format!(": it answered {status}"),
        None => ": the token in the npm configuration cannot be sent".to_owned(),
    }
}

fn tried(attempts: u32) -> String {
    if attempts > 1 {
        format!(" (tried {attempts} times)")
    } else {
        String::new()
    }
}

/// Resolves all versions of a family at the same time.
pub async fn resolve_versions(
    sources: &BTreeMap<VersionName, Spanned<VersionSource>>,
    npm: &Npm,
) -> BTreeMap<VersionName, Result<ResolvedVersion, VersionError>> {
    let one = |(name, source): (&VersionName, &Spanned<VersionSource>)| {
        let (name, source) = (name.clone(), source.value.clone());
        async move {
            let resolved = match source {
                VersionSource::Pinned(version) => Ok(ResolvedVersion {
                    version,
                    source: "the family file".to_owned(),
                    deprecated: None,
                }),
                VersionSource::Npm { package, accept } => {
                    let accept = accept.as_ref().map(|accept| accept.value.as_str());
                    npm.resolve(&package, accept).await
                }
            };
            (name, resolved)
        }
    };
    join_all(sources.iter().map(one))
        .await
        .into_iter()
        .collect()
}
