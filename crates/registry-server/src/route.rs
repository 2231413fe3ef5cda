//! What a path asks for.

use std::borrow::Cow;
use std::fmt;

use http::Method;
use launchway_model::{Digest, RegistryHost, Repository, Tag};
use percent_encoding::percent_decode_str;

use crate::access::{Action, Need};
use crate::error::{ApiError, Code};
use crate::page::Place;

/// A repository's name without a host, by the specification's grammar. Being one, it is safe as a
/// relative path: no part of it is empty, `.` or `..`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(crate) struct RepositoryName(Box<str>);

impl RepositoryName {
    pub(crate) fn parse(text: &str) -> Result<Self, ApiError> {
        // The model's grammar has a host in front; any will do.
        let host: RegistryHost = "localhost".parse().expect("localhost is a host");
        match Repository::new(host, text) {
            Ok(repository) => Ok(Self(repository.path().into())),
            Err(error) => Err(ApiError::new(
                Code::NameInvalid,
                format!("{text:?} is no repository name: {error}"),
            )),
        }
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RepositoryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The endpoints. Digests, tags and upload ids are still text: what is said about a wrong one
/// depends on the method.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Route {
    Page(Place),
    Base,
    /// Where tokens are issued.
    Token,
    Catalog,
    Tags(RepositoryName),
    Manifest(RepositoryName, String),
    Blob(RepositoryName, String),
    Uploads(RepositoryName),
    Upload(RepositoryName, String),
    Referrers(RepositoryName, String),
}

impl Route {
    pub(crate) fn parse(path: &str) -> Result<Self, ApiError> {
        match path {
            "/" => return Ok(Self::Page(Place::Overview)),
            "/token" => return Ok(Self::Token),
            _ => {}
        }
        let nowhere = || {
            ApiError::new(Code::Unsupported, "no such endpoint").status(http::StatusCode::NOT_FOUND)
        };
        if let Some(rest) = path.strip_prefix("/images/") {
            let rest = percent_decode_str(rest).decode_utf8_lossy();
            return Place::parse(&rest).map(Self::Page).ok_or_else(nowhere);
        }
        let rest = match path.strip_prefix("/v2") {
            Some("" | "/") => return Ok(Self::Base),
            Some(rest) => rest.strip_prefix('/').ok_or_else(nowhere)?,
            None => return Err(nowhere()),
        };
        let parts: Vec<Cow<'_, str>> = rest
            .split('/')
            .map(|part| percent_decode_str(part).decode_utf8_lossy())
            .collect();
        let parts: Vec<&str> = parts.iter().map(AsRef::as_ref).collect();
        let name = |parts: &[&str]| RepositoryName::parse(&parts.join("/"));
        // Names have slashes and may hold words such as `blobs`, so the end of the path decides.
        Ok(match parts.as_slice() {
            ["_catalog"] => Self::Catalog,
            [repository @ .., "tags", "list"] => Self::Tags(name(repository)?),
            [repository @ .., "blobs", "uploads", ""] | [repository @ .., "blobs", "uploads"] => {
                Self::Uploads(name(repository)?)
            }
            [repository @ .., "blobs", "uploads", id] => {
                Self::Upload(name(repository)?, (*id).to_owned())
            }
            [repository @ .., "blobs", digest] => {
                Self::Blob(name(repository)?, (*digest).to_owned())
            }
            [repository @ .., "manifests", reference] => {
                Self::Manifest(name(repository)?, (*reference).to_owned())
            }
            [repository @ .., "referrers", digest] => {
                Self::Referrers(name(repository)?, (*digest).to_owned())
            }
            _ => return Err(nowhere()),
        })
    }

    /// What a caller needs to be let through; nothing to fetch a token.
    pub(crate) fn need(&self, method: &Method) -> Option<Need> {
        let reads = matches!(*method, Method::GET | Method::HEAD);
        let repository =
            |name: &RepositoryName, action| Some(Need::Repository(name.clone(), action));
        match self {
            Self::Token => None,
            Self::Page(_) => Some(Need::Page),
            Self::Base => Some(Need::Login),
            Self::Catalog => Some(Need::Catalog),
            Self::Tags(name) | Self::Referrers(name, _) => repository(name, Action::Pull),
            Self::Manifest(name, _) | Self::Blob(name, _) => match *method {
                _ if reads => repository(name, Action::Pull),
                Method::DELETE => repository(name, Action::Delete),
                _ => repository(name, Action::Push),
            },
            // An upload belongs to whoever makes it, so asking how it stands is part of pushing.
            Self::Uploads(name) | Self::Upload(name, _) => repository(name, Action::Push),
        }
    }
}

/// The last part of a manifest's path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ManifestReference {
    Tag(Tag),
    Digest(Digest),
}

impl ManifestReference {
    /// `wrong_tag` is the code for what is neither a tag nor a digest.
    pub(crate) fn parse(text: &str, wrong_tag: Code) -> Result<Self, ApiError> {
        if text.contains(':') {
            return parse_digest(text).map(Self::Digest);
        }
        text.parse()
            .map(Self::Tag)
            .map_err(|error| ApiError::new(wrong_tag, format!("{text:?} is no tag: {error}")))
    }
}

pub(crate) fn parse_digest(text: &str) -> Result<Digest, ApiError> {
    text.parse().map_err(|error| {
        ApiError::new(
            Code::DigestInvalid,
            format!("{text:?} is no digest: {error}"),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> RepositoryName {
        RepositoryName::parse(text).unwrap()
    }

    #[test]
    fn paths_are_read_from_their_end() {
        for (path, want) in [
            ("/", Route::Page(Place::Overview)),
            ("/images/a/b", Route::Page(Place::Repository(name("a/b")))),
            ("/v2", Route::Base),
            ("/v2/", Route::Base),
            ("/v2/_catalog", Route::Catalog),
            ("/v2/a/tags/list", Route::Tags(name("a"))),
            ("/v2/a/b/tags/list", Route::Tags(name("a/b"))),
            ("/v2/tags/list/tags/list", Route::Tags(name("tags/list"))),
            (
                "/v2/a/manifests/v1",
                Route::Manifest(name("a"), "v1".into()),
            ),
            (
                "/v2/a/manifests/sha256%3A00",
                Route::Manifest(name("a"), "sha256:00".into()),
            ),
            ("/v2/a/blobs/x", Route::Blob(name("a"), "x".into())),
            (
                "/v2/a/blobs/x/blobs/y",
                Route::Blob(name("a/blobs/x"), "y".into()),
            ),
            ("/v2/a/blobs/uploads/", Route::Uploads(name("a"))),
            ("/v2/a/blobs/uploads", Route::Uploads(name("a"))),
            (
                "/v2/a/blobs/uploads/id",
                Route::Upload(name("a"), "id".into()),
            ),
            ("/v2/a/referrers/x", Route::Referrers(name("a"), "x".into())),
        ] {
            assert_eq!(Route::parse(path).unwrap(), want, "{path}");
        }
    }

    #[test]
    fn bad_paths_are_refused() {
        let long = format!("/v2/{}/tags/list", "a".repeat(256));
        for (path, status) in [
            ("/v1/", 404),
            ("/images", 404),
            ("/images/", 404),
            ("/images/%3Cscript%3E", 404),
            ("/v2x", 404),
            ("/favicon.ico", 404),
            ("/v2/a", 404),
            ("/v2/a/tags", 404),
            ("/v2/A/tags/list", 400),
            ("/v2//tags/list", 400),
            ("/v2/tags/list", 400),
            ("/v2/../tags/list", 400),
            ("/v2/%2e%2e/tags/list", 400),
            ("/v2/a/..%2f..%2fetc/blobs/x", 400),
            ("/v2/a/%00/blobs/x", 400),
            ("/v2/a./tags/list", 400),
            ("/v2/a_/tags/list", 400),
            (long.as_str(), 400),
        ] {
            assert_eq!(Route::parse(path).unwrap_err().status, status, "{path}");
        }
    }
}
