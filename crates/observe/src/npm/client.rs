//! Asking an npm registry for the version behind a dist-tag or a range.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use launchway_diagnostics::closest;
use reqwest::header::{
    ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_ENCODING, HeaderValue, RETRY_AFTER,
};
use reqwest::{StatusCode, Url};
use semver::Version;
use serde::Deserialize;

use super::{NpmConfig, NpmConfigError, Range};
use crate::outward::{build, is_loopback, words};
use crate::{ResolvedVersion, VersionError};

/// The short form of a package's metadata, and JSON for registries that do not know it.
const ABBREVIATED: &str = "application/vnd.npm.install-v1+json, application/json;q=0.8";

/// The largest answer that is read, in bytes; the metadata of a package with thousands of versions
/// is some megabytes long.
const ANSWER_LIMIT: u64 = 128 * 1024 * 1024;

/// How often a question is asked again that got no usable answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NpmRetry {
    /// Tries in all; at least one is made.
    pub attempts: u32,
    /// The pause before the second try, the third, and so on; the last one repeats. A registry
    /// that asks for a longer one gets it, up to a minute.
    pub pauses: Vec<Duration>,
}

impl Default for NpmRetry {
    fn default() -> Self {
        Self {
            attempts: 3,
            pauses: vec![Duration::from_secs(1), Duration::from_secs(4)],
        }
    }
}

/// The npm registries of a configuration. Clones share connections.
#[derive(Clone, Debug)]
pub struct Npm {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    config: NpmConfig,
    retry: NpmRetry,
    /// For this machine: no proxy, no TLS.
    loopback: OnceLock<reqwest::Client>,
    /// For all others. Reading the system's certificates takes a while, so it waits until asked.
    outside: OnceLock<reqwest::Client>,
}

impl Npm {
    pub fn new(config: NpmConfig, retry: NpmRetry) -> Self {
        Self {
            shared: Arc::new(Shared {
                config,
                retry,
                loopback: OnceLock::new(),
                outside: OnceLock::new(),
            }),
        }
    }

    /// The version of a package that `accept` means now: a dist-tag, a version, or a range;
    /// `latest` without it.
    ///
    /// Of a range it is the version npm would install: the one tagged `latest` when that is in
    /// the range, otherwise the highest; deprecated versions only when there is no other.
    pub(crate) async fn resolve(
        &self,
        package: &str,
        accept: Option<&str>,
    ) -> Result<ResolvedVersion, VersionError> {
        let wanted = Wanted::read(accept)?;
        check_package(package)?;
        let registry = self
            .shared
            .config
            .registry(package)
            .await
            .map_err(|error| VersionError::Configuration(Arc::new(error)))?;
        let Some(registry) = registry else {
            return Err(VersionError::NoRegistry {
                package: package.to_owned(),
            });
        };
        let question = Question {
            shared: &self.shared,
            package,
            registry: &registry,
        };
        let found = match &wanted {
            Wanted::Tag(tag) => question.tag(tag).await?,
            Wanted::Range(text, range) => question.range(text, range).await?,
        };
        let asked = match &wanted {
            Wanted::Tag(text) | Wanted::Range(text, _) => text,
        };
        Ok(ResolvedVersion {
            version: found.version.to_string(),
            source: format!("npm {package}@{asked} from {}", shown(&registry)),
            deprecated: found.deprecated,
        })
    }
}

enum Wanted {
    Tag(String),
    Range(String, Range),
}

impl Wanted {
    fn read(accept: Option<&str>) -> Result<Self, VersionError> {
        let text = accept.map_or("latest", str::trim);
        if let Ok(range) = text.parse() {
            return Ok(Self::Range(text.to_owned(), range));
        }
        let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '~');
        if !text.is_empty() && text.chars().all(is_name) && !text.starts_with('.') {
            return Ok(Self::Tag(text.to_owned()));
        }
        Err(VersionError::BadAccept {
            accept: text.to_owned(),
        })
    }
}

/// `name` or `@scope/name`, of characters that npm lets into a URL.
fn check_package(package: &str) -> Result<(), VersionError> {
    let is_part = |part: &str| {
        let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '~');
        !part.is_empty() && !part.starts_with('.') && part.chars().all(good)
    };
    let good = match package.strip_prefix('@') {
        Some(rest) => rest
            .split_once('/')
            .is_some_and(|(scope, name)| is_part(scope) && is_part(name)),
        None => is_part(package),
    };
    if good {
        Ok(())
    } else {
        Err(VersionError::BadPackage {
            package: package.to_owned(),
        })
    }
}

/// The registry for people: no scheme, no slash at the end.
fn shown(registry: &Url) -> String {
    let host = registry.host_str().unwrap_or_default();
    let port = registry
        .port()
        .map_or_else(String::new, |port| format!(":{port}"));
    format!("{host}{port}{}", registry.path().trim_end_matches('/'))
}

#[derive(Debug)]
struct Picked {
    version: Version,
    deprecated: Option<String>,
}

/// One version's metadata, as far as it is read.
#[derive(Debug, Deserialize)]
struct Release {
    version: String,
    #[serde(default)]
    deprecated: Option<serde_json::Value>,
}

/// A package's metadata, as far as it is read.
#[derive(Debug, Deserialize)]
struct Package {
    #[serde(rename = "dist-tags", default)]
    tags: BTreeMap<String, String>,
    #[serde(default)]
    versions: BTreeMap<String, Release>,
}

/// The reason, or nothing: an empty text and `false` take a deprecation back.
fn deprecation(value: Option<&serde_json::Value>) -> Option<String> {
    match value? {
        serde_json::Value::String(reason) if !reason.is_empty() => Some(reason.clone()),
        serde_json::Value::Bool(true) => Some("deprecated".to_owned()),
        _ => None,
    }
}

struct Question<'a> {
    shared: &'a Shared,
    package: &'a str,
    registry: &'a Url,
}

impl Question<'_> {
    /// Asks for the one version behind a tag; not every registry can answer that, and a "no" does
    /// not tell a missing tag from a missing package, so the package's metadata comes second.
    async fn tag(&self, tag: &str) -> Result<Picked, VersionError> {
        if let Some(bytes) = self.get(Some(tag), "application/json").await?
            && let Ok(release) = serde_json::from_slice::<Release>(&bytes)
        {
            return self.picked(&release);
        }
        let package = self.package().await?;
        let Some(version) = package.tags.get(tag) else {
            return Err(VersionError::NoTag {
                package: self.package.to_owned(),
                tag: tag.to_owned(),
                closest: closest(tag, package.tags.keys().map(String::as_str)).map(str::to_owned),
            });
        };
        match package.versions.get(version) {
            Some(release) => self.picked(release),
            None => Err(self.unusable(format!("{tag} is {version}, which is not there"))),
        }
    }

    async fn range(&self, text: &str, range: &Range) -> Result<Picked, VersionError> {
        let package = self.package().await?;
        let mut found: Vec<(Version, Option<String>)> = package
            .versions
            .values()
            .filter_map(|release| {
                let version = Version::parse(&release.version).ok()?;
                let reason = deprecation(release.deprecated.as_ref());
                range.contains(&version).then_some((version, reason))
            })
            .collect();
        let latest = package.tags.get("latest").map(String::as_str);
        // The last is the best.
        found.sort_by(|(one, one_reason), (other, other_reason)| {
            let rank = |version: &Version, reason: &Option<String>| {
                let is_latest = latest == Some(version.to_string().as_str());
                (reason.is_none(), version.pre.is_empty(), is_latest)
            };
            rank(one, one_reason)
                .cmp(&rank(other, other_reason))
                .then_with(|| one.cmp(other))
        });
        match found.pop() {
            Some((version, deprecated)) => Ok(Picked {
                version,
                deprecated,
            }),
            None => Err(VersionError::NoMatch {
                package: self.package.to_owned(),
                range: text.to_owned(),
                latest: latest.map(str::to_owned),
            }),
        }
    }

    async fn package(&self) -> Result<Package, VersionError> {
        let Some(bytes) = self.get(None, ABBREVIATED).await? else {
            return Err(VersionError::NoPackage {
                package: self.package.to_owned(),
                registry: shown(self.registry),
            });
        };
        serde_json::from_slice(&bytes)
            .map_err(|error| self.unusable(format!("no package metadata: {error}")))
    }

    fn picked(&self, release: &Release) -> Result<Picked, VersionError> {
        let version = Version::parse(&release.version)
            .map_err(|error| self.unusable(format!("{:?}: {error}", release.version)))?;
        Ok(Picked {
            version,
            deprecated: deprecation(release.deprecated.as_ref()),
        })
    }

    fn unusable(&self, detail: String) -> VersionError {
        VersionError::Unusable {
            package: self.package.to_owned(),
            registry: shown(self.registry),
            detail,
        }
    }

    /// The body of the answer; `None` when the registry says that there is nothing, or that it
    /// does not know the question.
    async fn get(
        &self,
        below: Option<&str>,
        accept: &str,
    ) -> Result<Option<Vec<u8>>, VersionError> {
        // Package and tag were checked to need no other escape.
        let name = self.package.replace('/', "%2f");
        let path = match below {
            Some(below) => format!("{}{name}/{below}", self.registry.path()),
            None => format!("{}{name}", self.registry.path()),
        };
        let mut url = self.registry.clone();
        url.set_path(&path);
        let retry = &self.shared.retry;
        let mut attempt = 1;
        loop {
            let failure = match self.ask(&url, accept).await? {
                Answer::Found(bytes) => return Ok(Some(bytes)),
                Answer::Nothing => return Ok(None),
                Answer::Later(failure) => failure,
            };
            if attempt >= retry.attempts {
                return Err(VersionError::Unreachable {
                    package: self.package.to_owned(),
                    registry: shown(self.registry),
                    detail: failure.detail,
                    attempts: attempt,
                });
            }
            let at = (attempt as usize).min(retry.pauses.len());
            let pause = at
                .checked_sub(1)
                .map_or(Duration::ZERO, |at| retry.pauses[at]);
            let asked = failure
                .wait
                .unwrap_or_default()
                .min(Duration::from_secs(60));
            tokio::time::sleep(pause.max(asked)).await;
            attempt += 1;
        }
    }

    async fn ask(&self, url: &Url, accept: &str) -> Result<Answer, VersionError> {
        let client = self
            .shared
            .client_for(url)
            .map_err(|error| VersionError::Configuration(Arc::new(error)))?;
        let mut request = client
            .get(url.clone())
            .header(ACCEPT, accept)
            .header(ACCEPT_ENCODING, "gzip");
        if let Some(authorization) = self.shared.config.authorization(self.registry) {
            let mut value = HeaderValue::from_str(&authorization).map_err(|_| self.denied(None))?;
            value.set_sensitive(true);
            request = request.header(AUTHORIZATION, value);
        }
        let mut response = match request.send().await {
            Ok(response) => response,
            Err(error) => return Ok(Answer::later(words(error))),
        };
        let status = response.status();
        match status {
            StatusCode::OK => {}
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                return Err(self.denied(Some(status.as_u16())));
            }
            StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT => {
                let wait = response
                    .headers()
                    .get(RETRY_AFTER)
                    .and_then(|value| value.to_str().ok()?.trim().parse().ok())
                    .map(Duration::from_secs);
                return Ok(Answer::Later(Failure {
                    detail: format!("answered {}", status.as_u16()),
                    wait,
                }));
            }
            _ if status.is_client_error() => return Ok(Answer::Nothing),
            _ if status.is_server_error() => {
                return Ok(Answer::later(format!("answered {}", status.as_u16())));
            }
            _ => return Err(self.unusable(format!("answered {}", status.as_u16()))),
        }
        let is_packed = response
            .headers()
            .get(CONTENT_ENCODING)
            .is_some_and(|coding| coding == "gzip");
        let mut body = Vec::new();
        loop {
            match response.chunk().await {
                Ok(Some(chunk)) => body.extend_from_slice(&chunk),
                Ok(None) => break,
                Err(error) => return Ok(Answer::later(words(error))),
            }
            if body.len() as u64 > ANSWER_LIMIT {
                return Err(self.unusable("the answer is too long".to_owned()));
            }
        }
        if is_packed {
            let mut plain = Vec::new();
            let read = flate2::read::MultiGzDecoder::new(body.as_slice())
                .take(ANSWER_LIMIT)
                .read_to_end(&mut plain);
            if let Err(error) = read {
                return Err(self.unusable(format!("the answer cannot be unpacked: {error}")));
            }
            body = plain;
        }
        Ok(Answer::Found(body))
    }

    fn denied(&self, status: Option<u16>) -> VersionError {
        VersionError::Denied {
            package: self.package.to_owned(),
            registry: shown(self.registry),
            status,
        }
    }
}

enum Answer {
    Found(Vec<u8>),
    Nothing,
    /// Asking again may help.
    Later(Failure),
}

struct Failure {
    detail: String,
    /// How long the registry wants to be left alone.
    wait: Option<Duration>,
}

impl Answer {
    fn later(detail: String) -> Self {
        Self::Later(Failure { detail, wait: None })
    }
}

impl Shared {
    fn client_for(&self, url: &Url) -> Result<&reqwest::Client, NpmConfigError> {
        let (cell, builder) = if is_loopback(url) {
            let builder = reqwest::Client::builder().no_proxy().tls_certs_only([]);
            (&self.loopback, builder)
        } else {
            (&self.outside, reqwest::Client::builder())
        };
        if let Some(client) = cell.get() {
            return Ok(client);
        }
        let client = build(builder).map_err(|error| NpmConfigError::Tls(words(error)))?;
        Ok(cell.get_or_init(|| client))
    }
}
