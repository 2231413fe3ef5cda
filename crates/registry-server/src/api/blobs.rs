//! `/v2/NAME/blobs/DIGEST`.

use std::sync::Arc;

use http::header::{self, HeaderValue};
use http::{Method, Response, StatusCode};

use super::{Answer, Call, DOCKER_CONTENT_DIGEST, Inner, is_known, plain, set, text, value};
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
) -> Answer {
    let digest = parse_digest(digest)?;
    let unknown = || ApiError::new(Code::BlobUnknown, format!("{name} has no blob {digest}"));
    let repository = inner.repository(name.clone(), Code::NameUnknown).await?;
    let asked = digest.clone();
    let (file, size) = super::blocking(move || repository.open_blob(&asked))
        .await?
        .ok_or_else(unknown)?;
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
    let mut response = Response::new(Body::file(file, part.clone()));
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
