//! The pages at `/` and below `/images/`: what the registry holds, for people.
//!
//! Documents without scripts and without anything from elsewhere. Four steps, a module each:
//! `gather` reads the store, `survey` does the arithmetic of shared bytes, `detail` takes one image
//! apart, `views` writes HTML. Only `gather` touches the disk; only `html` knows how to escape.

mod detail;
mod gather;
mod html;
mod survey;
mod views;

use std::sync::Arc;
use std::sync::LazyLock;

use base64::Engine as _;
use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{Response, StatusCode};
use launchway_model::Algorithm;

use crate::access::{Action, Caller};
use crate::api::{Inner, with_bytes};
use crate::body::Body;
use crate::error::ApiError;
use crate::query::Query;
use crate::route::{ManifestReference, RepositoryName};
use crate::store::{Hasher, StoreError};

pub(crate) use gather::Memory;

/// In the document itself, so that it is one request; the policy below names it by its hash.
const STYLE: &str = include_str!("style.css");

/// What the browser may do with a page: show it, with this one style.
static POLICY: LazyLock<HeaderValue> = LazyLock::new(|| {
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, STYLE.as_bytes());
    let hash = base64::engine::general_purpose::STANDARD.encode(hash);
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{hash}'; img-src data:; base-uri 'none'; form-action 'none'; \
         frame-ancestors 'none'"
    );
    HeaderValue::try_from(policy).expect("a policy is plain ASCII")
});

/// Which page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Overview,
    Repository(RepositoryName),
    Image(RepositoryName, ManifestReference),
}

impl Place {
    /// What stands behind `/images/`: `NAME`, `NAME:TAG` or `NAME@DIGEST`. None of them needs an
    /// escape in an address.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if let Some((name, digest)) = text.split_once('@') {
            let name = RepositoryName::parse(name).ok()?;
            let digest = digest.parse().ok()?;
            return Some(Self::Image(name, ManifestReference::Digest(digest)));
        }
        let Some((name, tag)) = text.split_once(':') else {
            return RepositoryName::parse(text).ok().map(Self::Repository);
        };
        let name = RepositoryName::parse(name).ok()?;
        let tag = tag.parse().ok()?;
        Some(Self::Image(name, ManifestReference::Tag(tag)))
    }
}

/// Which part of a long list, counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct PageNumber(usize);

impl PageNumber {
    /// A number that is none shows the first part: an address typed wrongly is no reason for an
    /// error page.
    fn of(query: &Query<'_>) -> Self {
        let number = query.get("page").and_then(|text| text.parse().ok());
        Self(number.filter(|number| *number > 0).unwrap_or(1))
    }
}

/// Who looks at a page. Repositories that somebody may not pull from are not there for him.
pub(crate) struct Viewer {
    pub(crate) caller: Caller,
}

impl Viewer {
    fn sees(&self, inner: &Inner, name: &RepositoryName) -> bool {
        inner.door.may(&self.caller, name, Action::Pull)
    }

    /// Whether figures about the disk as a whole are for him.
    fn sees_everything(&self, inner: &Inner) -> bool {
        inner.door.reads_everything(&self.caller)
    }
}

/// Answers with a page. `known` tells whether the client has the bytes of this digest already.
pub(crate) async fn answer(
    inner: &Arc<Inner>,
    place: Place,
    viewer: Viewer,
    query: &Query<'_>,
    known: impl Fn(&launchway_model::Digest) -> bool,
) -> Result<Response<Body>, ApiError> {
    let number = PageNumber::of(query);
    let page = inner
        .blocking(move |inner| render(inner, &place, &viewer, number))
        .await?;
    let status = match page {
        Some(_) => StatusCode::OK,
        None => StatusCode::NOT_FOUND,
    };
    let html = Bytes::from(page.unwrap_or_else(views::nothing_here));
    let digest = Hasher::of(Algorithm::Sha256, &html);
    let mut response = if status == StatusCode::OK && known(&digest) {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        response
    } else {
        let mut response = with_bytes(html, HeaderValue::from_static("text/html; charset=utf-8"));
        *response.status_mut() = status;
        response
    };
    let etag = HeaderValue::try_from(format!("\"{digest}\"")).expect("a digest is plain ASCII");
    let headers = response.headers_mut();
    headers.insert(header::ETAG, etag);
    // Kept, and asked about every time: a push is seen at once.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(header::CONTENT_SECURITY_POLICY, POLICY.clone());
    headers.insert(
        header::REFERRER_POLICY,
        HeaderValue::from_static("no-referrer"),
    );
    Ok(response)
}

/// The document; `None` when there is no such repository or image.
fn render(
    inner: &Inner,
    place: &Place,
    viewer: &Viewer,
    number: PageNumber,
) -> Result<Option<String>, StoreError> {
    let sees = |name: &RepositoryName| viewer.sees(inner, name);
    let survey = inner.page.survey(&inner.store, sees)?;
    Ok(match place {
        Place::Overview => {
            let disk = match viewer.sees_everything(inner) {
                true => Some(gather::disk_use(&inner.store, &survey)?),
                false => None,
            };
            Some(views::overview(&survey, disk.as_ref(), number))
        }
        Place::Repository(name) => survey
            .repository(name.as_str())
            .map(|repository| views::repository(&survey, repository, number)),
        Place::Image(name, reference) => {
            let Some(repository) = survey.repository(name.as_str()) else {
                return Ok(None);
            };
            gather::image(&inner.store, name, reference)?
                .map(|image| views::image(&survey, repository, &image))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_references() {
        let name = |text: &str| RepositoryName::parse(text).unwrap();
        let hex = "a".repeat(64);
        let digest = format!("sha256:{hex}").parse().unwrap();
        for (text, want) in [
            ("a", Some(Place::Repository(name("a")))),
            ("a/b", Some(Place::Repository(name("a/b")))),
            (
                "a/b:V1.0_x",
                Some(Place::Image(
                    name("a/b"),
                    ManifestReference::Tag("V1.0_x".parse().unwrap()),
                )),
            ),
            (
                &format!("a/b@sha256:{hex}"),
                Some(Place::Image(name("a/b"), ManifestReference::Digest(digest))),
            ),
            ("", None),
            ("A", None),
            ("a/", None),
            ("a:", None),
            ("a:b:c", None),
            ("a:b/c", None),
            ("a@b", None),
            ("../a", None),
            ("a:<b>", None),
        ] {
            assert_eq!(Place::parse(text), want, "{text}");
        }
    }

    #[test]
    fn a_page_number_is_at_least_one() {
        for (query, want) in [
            ("", 1),
            ("page=", 1),
            ("page=0", 1),
            ("page=-1", 1),
            ("page=x", 1),
            ("page=99999999999999999999999999", 1),
            ("page=7", 7),
        ] {
            let query = Query::parse(Some(query));
            assert_eq!(PageNumber::of(&query).0, want);
        }
    }
}
