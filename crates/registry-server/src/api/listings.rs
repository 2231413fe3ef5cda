//! Lists: the catalog, tags, referrers.

use std::sync::Arc;

use http::Response;
use http::header::{self, HeaderName, HeaderValue};
use launchway_model::Digest;
use launchway_oci::spec::{Descriptor, Index, media};

use super::mirror::{self, Freshness};
use super::{Answer, Inner, json, set, typed_json, value};
use crate::body::Body;
use crate::error::{ApiError, Code};
use crate::query::Query;
use crate::route::{RepositoryName, parse_digest};

const OCI_FILTERS_APPLIED: HeaderName = HeaderName::from_static("oci-filters-applied");
/// How much of a list of referrers goes into one answer, in bytes; clients need to be able to read
/// manifests of 4 MB, and no more.
const REFERRERS_LIMIT: usize = 3 << 20;

pub(super) async fn catalog(inner: &Arc<Inner>, query: &Query<'_>) -> Answer {
    let page = Page::of(query)?;
    let names = super::stored(inner.blocking(|inner| inner.store.names()).await)?;
    let (names, more) = page.cut(names.iter().map(RepositoryName::as_str));
    let mut response = json(&serde_json::json!({ "repositories": names }));
    page.link(&mut response, "/v2/_catalog", &names, more);
    Ok(response)
}

pub(super) async fn tags(inner: &Arc<Inner>, name: RepositoryName, query: &Query<'_>) -> Answer {
    let page = Page::of(query)?;
    let (all, freshness) = all_tags(inner, &name).await?;
    let (tags, more) = page.cut(all.iter().map(String::as_str));
    let mut response = json(&serde_json::json!({ "name": name.as_str(), "tags": tags }));
    page.link(&mut response, &format!("/v2/{name}/tags/list"), &tags, more);
    response.headers_mut().extend(freshness.header());
    Ok(response)
}

/// Every tag, sorted; a mirror's are its upstream's.
async fn all_tags(
    inner: &Arc<Inner>,
    name: &RepositoryName,
) -> Result<(Vec<String>, Freshness), ApiError> {
    let mut freshness = Freshness::Fresh;
    if let Some(mirror) = &inner.mirror {
        match mirror.upstream.tags(name.as_str()).await {
            Ok(Some(tags)) => {
                let mut tags: Vec<_> = tags.iter().map(ToString::to_string).collect();
                tags.sort_unstable();
                return Ok((tags, freshness));
            }
            Ok(None) => {
                let message = format!("there is no repository {name}");
                return Err(ApiError::new(Code::NameUnknown, message));
            }
            Err(error) => {
                mirror::tell_stale(
                    inner,
                    mirror,
                    &format!("the list of tags of {name}"),
                    &error,
                );
                freshness = Freshness::Stale;
            }
        }
    }
    let repository = inner.repository(name.clone(), Code::NameUnknown).await?;
    let snapshot = super::stored(super::blocking(move || repository.snapshot()).await)?;
    Ok((snapshot.tags.keys().cloned().collect(), freshness))
}

/// A part of a sorted list: `n` entries behind `last`.
struct Page<'a> {
    count: Option<usize>,
    last: Option<&'a str>,
}

impl<'a> Page<'a> {
    fn of(query: &'a Query<'_>) -> Result<Self, ApiError> {
        let count = query.get("n").map(str::parse).transpose().map_err(|_| {
            ApiError::new(
                Code::Unsupported,
                "n is the number of entries that are wanted",
            )
            .status(http::StatusCode::BAD_REQUEST)
        })?;
        Ok(Self {
            count,
            last: query.get("last"),
        })
    }

    /// The entries of this page, and whether there are more. A page of none has no next one.
    fn cut<'l>(&self, entries: impl Iterator<Item = &'l str>) -> (Vec<&'l str>, bool) {
        let mut rest = entries.skip_while(|entry| self.last.is_some_and(|last| *entry <= last));
        let count = self.count.unwrap_or(usize::MAX);
        let page: Vec<_> = rest.by_ref().take(count).collect();
        let more = !page.is_empty() && rest.next().is_some();
        (page, more)
    }

    /// `Link` to the next page when there is one.
    fn link(&self, response: &mut Response<Body>, path: &str, entries: &[&str], more: bool) {
        if let (true, Some(last), Some(count)) = (more, entries.last(), self.count) {
            let count = count.to_string();
            link(response, path, &[("n", count.as_str()), ("last", last)]);
        }
    }
}

pub(super) async fn referrers(
    inner: &Arc<Inner>,
    name: RepositoryName,
    digest: &str,
    query: &Query<'_>,
) -> Answer {
    let subject = parse_digest(digest)?;
    let wanted = query.get("artifactType");
    let last = query.get("last").map(parse_digest).transpose()?;
    let (all, freshness) = all_referrers(inner, &name, &subject).await?;
    let mut index = Index {
        schema_version: 2,
        media_type: Some(media::INDEX.to_owned()),
        artifact_type: None,
        manifests: Vec::new(),
        subject: None,
        annotations: None,
    };
    let mut size = 0;
    let mut next = None;
    for descriptor in all {
        let is_done = last.as_ref().is_some_and(|last| {
            let digest = descriptor.digest.parse::<Digest>();
            digest.is_ok_and(|digest| digest <= *last)
        });
        let is_other =
            wanted.is_some_and(|wanted| descriptor.artifact_type.as_deref() != Some(wanted));
        if is_done || is_other {
            continue;
        }
        size += serde_json::to_vec(&descriptor).map_or(0, |text| text.len());
        if size > REFERRERS_LIMIT && !index.manifests.is_empty() {
            next = index.manifests.last().map(|last| last.digest.clone());
            break;
        }
        index.manifests.push(descriptor);
    }
    let mut response = typed_json(&index, media::INDEX);
    if wanted.is_some() {
        set(
            &mut response,
            OCI_FILTERS_APPLIED,
            HeaderValue::from_static("artifactType"),
        );
    }
    if let Some(last) = next {
        let mut parameters = vec![("last", last.as_str())];
        parameters.extend(wanted.map(|wanted| ("artifactType", wanted)));
        let path = format!("/v2/{name}/referrers/{subject}");
        link(&mut response, &path, &parameters);
    }
    response.headers_mut().extend(freshness.header());
    Ok(response)
}

/// Everything that refers to a manifest, in the order of digests; a mirror's is its upstream's.
async fn all_referrers(
    inner: &Arc<Inner>,
    name: &RepositoryName,
    subject: &Digest,
) -> Result<(Vec<Descriptor>, Freshness), ApiError> {
    let mut freshness = Freshness::Fresh;
    if let Some(mirror) = &inner.mirror {
        match mirror.upstream.referrers(name.as_str(), subject).await {
            Ok(mut all) => {
                all.retain(|descriptor| descriptor.digest.parse::<Digest>().is_ok());
                all.sort_by_key(|descriptor| descriptor.digest.parse::<Digest>().ok());
                return Ok((all, freshness));
            }
            Err(error) => {
                let what = format!("the list of what refers to {subject}");
                mirror::tell_stale(inner, mirror, &what, &error);
                freshness = Freshness::Stale;
            }
        }
    }
    // A subject, and so its repository, may come later than what refers to it: nothing is unknown
    // here, and a 404 would tell a client that the registry lacks this endpoint.
    let asked = name.clone();
    let snapshot = inner.blocking(move |inner| {
        let repository = inner.store.repository(&asked)?;
        repository
            .map(|repository| repository.snapshot())
            .transpose()
    });
    let snapshot = super::stored(snapshot.await)?;
    let infos = snapshot
        .iter()
        .flat_map(|snapshot| snapshot.referrers(subject));
    let all = infos.map(|info| Descriptor {
        media_type: info.media_type.clone(),
        digest: info.digest.to_string(),
        size: info.size,
        artifact_type: info.document.artifact_type.clone(),
        annotations: info.document.annotations.clone(),
        platform: None,
    });
    Ok((all.collect(), freshness))
}

/// `Link` to the next page (RFC 8288).
fn link(response: &mut Response<Body>, path: &str, parameters: &[(&str, &str)]) {
    let encode =
        |text| percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC);
    let query: Vec<_> = parameters
        .iter()
        .map(|(key, value)| format!("{key}={}", encode(value)))
        .collect();
    let text = format!("<{path}?{}>; rel=\"next\"", query.join("&"));
    set(response, header::LINK, value(text));
}
