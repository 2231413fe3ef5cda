//! `/v2/NAME/blobs/DIGEST`.

use std::sync::Arc;

use http::header::{self, HeaderValue};
use http::{Method, Response, StatusCode};
use launchway_model::Digest;

use super::mirror::{self, Found};
use super::{Answer, Call, DOCKER_CONTENT_DIGEST, Inner, is_known, plain, set, text, value};
use crate::access::Caller;
use crate::body::Body;
use crate::error::{ApiError, Code};
use crate::range::{Wanted, wanted};
use crate::route::{RepositoryName, parse_digest};
use crate::store::DeleteBlob;

pub(super) async fn get(
    inner: &Arc<Inner>,
    name: RepositoryName,
    digest: &str,
    call: &Call<'_>,
    caller: &Caller,
) -> Answer {
    let digest = parse_digest(digest)?;
    let unknown = || ApiError::new(Code::BlobUnknown, format!("{name} has no blob {digest}"));
    let content = find(inner, &name, &digest, call.method, caller)
        .await?
        .ok_or_else(unknown)?;
    let size = match &content {
        Found::Here(_, size) => *size,
        Found::OnItsWay(transfer) => transfer.size,
        Found::Elsewhere(size) => *size,
    };
    let common = |response: &mut Response<Body>| {
        let digest = digest.to_string();
        set(response, header::ETAG, value(format!("\"{digest}\"")));
        set(response, DOCKER_CONTENT_DIGEST, value(digest));
        set(
            response,
            header::ACCEPT_RANGES,
            HeaderValue::from_static("bytes"),
        );
    };
    if is_known(call, &digest) {
        let mut response = plain(StatusCode::NOT_MODIFIED);
        common(&mut response);
        return Ok(response);
    }
    let range = match call.method {
        // Only GET has ranges (RFC 9110, section 14.2).
        &Method::GET => wanted(text(call.headers, header::RANGE), size),
        _ => Wanted::Whole,
    };
    let (status, part) = match range {
        Wanted::Whole => (StatusCode::OK, 0..size),
        Wanted::Part(part) => (StatusCode::PARTIAL_CONTENT, part),
        Wanted::Unsatisfiable => {
            return Err(
                ApiError::new(Code::SizeInvalid, format!("the blob has {size} bytes"))
                    .status(StatusCode::RANGE_NOT_SATISFIABLE)
                    .header(header::CONTENT_RANGE, value(format!("bytes */{size}"))),
            );
        }
    };
    let body = match content {
        Found::Here(file, _) => Body::file(file, part.clone()),
        Found::OnItsWay(transfer) => transfer.body(part.clone()),
        Found::Elsewhere(_) => Body::empty(),
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    common(&mut response);
    set(
        &mut response,
        header::CONTENT_LENGTH,
        HeaderValue::from(part.end - part.start),
    );
    set(
        &mut response,
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/octet-stream"),
    );
    if status == StatusCode::PARTIAL_CONTENT {
        let range = format!("bytes {}-{}/{size}", part.start, part.end - 1);
        set(&mut response, header::CONTENT_RANGE, value(range));
    }
    Ok(response)
}

/// The blob from the repository here, or from where this registry has it from.
async fn find(
    inner: &Arc<Inner>,
    name: &RepositoryName,
    digest: &Digest,
    method: &Method,
    caller: &Caller,
) -> Result<Option<Found>, ApiError> {
    let Some(mirror) = &inner.mirror else {
        let repository = inner.repository(name.clone(), Code::NameUnknown).await?;
        let asked = digest.clone();
        let found = super::blocking(move || repository.open_blob(&asked)).await?;
        return Ok(found.map(|(file, size)| Found::Here(file, size)));
    };
    let (asked, wanted) = (name.clone(), digest.clone());
    let shares = inner.door.reads_everything(caller);
    let here = inner.blocking(move |inner| {
        let blobs = inner.store.blobs();
        let repository = match inner.store.repository(&asked)? {
            Some(repository) => repository,
            None => return Ok(None),
        };
        if let Some(found) = repository.open_blob(&wanted)? {
            return Ok(Some(found));
        }
        // Fetched for another repository, and this one's manifests name it as well.
        let is_ours = repository.snapshot()?.size_of(&wanted).is_some();
        if shares && is_ours && blobs.mount_from_pool(&repository.blobs(), &wanted)? {
            return repository.open_blob(&wanted);
        }
        Ok(None)
    });
    match super::stored(here.await)? {
        Some((file, size)) => Ok(Some(Found::Here(file, size))),
        None if *method == Method::HEAD => mirror::look(inner, mirror, name, digest).await,
        None => mirror::fetch(inner, mirror, name, digest).await,
    }
}

pub(super) async fn delete(inner: &Arc<Inner>, name: RepositoryName, digest: &str) -> Answer {
    let digest = parse_digest(digest)?;
    let repository = inner.repository(name.clone(), Code::NameUnknown).await?;
    let asked = digest.clone();
    match super::blocking(move || repository.delete_blob(&asked)).await? {
        DeleteBlob::Deleted => Ok(plain(StatusCode::ACCEPTED)),
        DeleteBlob::Unknown => Err(ApiError::new(
            Code::BlobUnknown,
            format!("{name} has no blob {digest}"),
        )),
        DeleteBlob::UsedBy(user) => Err(ApiError::new(
            Code::Unsupported,
            format!("the blob is in use: delete the manifest {user} first"),
        )),
    }
}
