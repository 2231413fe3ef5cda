//! `/v2/NAME/manifests/REFERENCE`.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{self, HeaderName, HeaderValue};
use http::{Method, StatusCode};
use launchway_model::{Algorithm, Tag};

use super::mirror::{self, Freshness};
use super::{
    Answer, Call, DOCKER_CONTENT_DIGEST, Incoming, Inner, is_known, plain, set, text, value,
    with_bytes,
};
use crate::MANIFEST_LIMIT;
use crate::document::Document;
use crate::error::{ApiError, Code};
use crate::route::{ManifestReference, RepositoryName};
use crate::store::{ContentRule, Hasher, PutManifest, PutManifestError};

const OCI_SUBJECT: HeaderName = HeaderName::from_static("oci-subject");
const OCI_TAG: HeaderName = HeaderName::from_static("oci-tag");

pub(super) async fn get(
    inner: &Arc<Inner>,
    name: RepositoryName,
    reference: &str,
    call: &Call<'_>,
) -> Answer {
    let wanted = ManifestReference::parse(reference, Code::ManifestUnknown)?;
    let freshness = match &inner.mirror {
        Some(mirror) => mirror::refresh(inner, mirror, &name, &wanted).await?,
        None => Freshness::Fresh,
    };
    let repository = inner.repository(name.clone(), Code::NameUnknown).await?;
    let with_body = call.method == Method::GET;
    let found = super::blocking(move || {
        let snapshot = repository.snapshot()?;
        let info = match &wanted {
            ManifestReference::Tag(tag) => snapshot.by_tag(tag.as_str()),
            ManifestReference::Digest(digest) => snapshot.manifests.get(digest),
        };
        let Some(info) = info else {
            return Ok(None);
        };
        let bytes = if with_body {
            repository.read_blob(&info.digest, MANIFEST_LIMIT)?
        } else {
            Some(Bytes::new())
        };
        Ok(bytes.map(|bytes| (Arc::clone(info), bytes)))
    });
    let (info, bytes) = super::stored(found.await)?.ok_or_else(|| {
        ApiError::new(
            Code::ManifestUnknown,
            format!("{name} has no manifest {reference}"),
        )
    })?;
    let mut response = if is_known(call, &info.digest) {
        plain(StatusCode::NOT_MODIFIED)
    } else {
        let mut response = with_bytes(bytes, value(&info.media_type));
        set(
            &mut response,
            header::CONTENT_LENGTH,
            HeaderValue::from(info.size),
        );
        response
    };
    let digest = info.digest.to_string();
    set(&mut response, header::ETAG, value(format!("\"{digest}\"")));
    set(&mut response, DOCKER_CONTENT_DIGEST, value(digest));
    response.headers_mut().extend(freshness.header());
    Ok(response)
}

pub(super) async fn put(
    inner: &Arc<Inner>,
    name: RepositoryName,
    reference: &str,
    call: &Call<'_>,
    body: Incoming<'_>,
) -> Answer {
    let target = ManifestReference::parse(reference, Code::ManifestInvalid)?;
    let tags = tags_of(&target, call)?;
    let bytes = read(call, body, inner.options.body_silence).await?;
    let algorithm = match &target {
        ManifestReference::Digest(digest) => digest.algorithm(),
        ManifestReference::Tag(_) => Algorithm::Sha256,
    };
    let digest = Hasher::of(algorithm, &bytes);
    if let ManifestReference::Digest(claimed) = &target
        && *claimed != digest
    {
        return Err(ApiError::new(
            Code::DigestInvalid,
            format!("the manifest's digest is {digest}"),
        ));
    }
    let media_type = media_type(call, &bytes)?;
    let document = Document::parse(&media_type, &bytes)
        .map_err(|message| ApiError::new(Code::ManifestInvalid, message))?;

    let mut response = plain(StatusCode::CREATED);
    set(
        &mut response,
        header::LOCATION,
        value(format!("/v2/{name}/manifests/{digest}")),
    );
    set(
        &mut response,
        DOCKER_CONTENT_DIGEST,
        value(digest.to_string()),
    );
    if let Some(subject) = &document.subject {
        set(&mut response, OCI_SUBJECT, value(subject.to_string()));
    }
    if matches!(target, ManifestReference::Digest(_)) {
        for tag in &tags {
            response.headers_mut().append(OCI_TAG, value(tag.as_str()));
        }
    }
    let manifest = PutManifest {
        digest,
        media_type,
        bytes,
        document,
        tags,
        content: ContentRule::Present,
    };
    inner
        .blocking(move |inner| inner.store.create_repository(&name)?.put_manifest(manifest))
        .await
        .map_err(refusal)?;
    Ok(response)
}

pub(super) async fn delete(inner: &Arc<Inner>, name: RepositoryName, reference: &str) -> Answer {
    let target = ManifestReference::parse(reference, Code::ManifestUnknown)?;
    let repository = inner.repository(name.clone(), Code::NameUnknown).await?;
    let deleted = super::blocking(move || match &target {
        ManifestReference::Tag(tag) => repository.delete_tag(tag),
        ManifestReference::Digest(digest) => repository.delete_manifest(digest),
    });
    if deleted.await? {
        Ok(plain(StatusCode::ACCEPTED))
    } else {
        Err(ApiError::new(
            Code::ManifestUnknown,
            format!("{name} has no manifest {reference}"),
        ))
    }
}

/// The tags a push sets: the one in its path, or those in its query.
fn tags_of(target: &ManifestReference, call: &Call<'_>) -> Result<Vec<Tag>, ApiError> {
    if let ManifestReference::Tag(tag) = target {
        return Ok(vec![tag.clone()]);
    }
    let mut tags: Vec<Tag> = Vec::new();
    for text in call.query.all("tag") {
        let tag = text.parse::<Tag>().map_err(|error| {
            ApiError::new(
                Code::ManifestInvalid,
                format!("{text:?} is no tag: {error}"),
            )
        })?;
        if !tags.contains(&tag) {
            tags.push(tag);
        }
    }
    Ok(tags)
}

async fn read(
    call: &Call<'_>,
    mut body: Incoming<'_>,
    silence: Duration,
) -> Result<Bytes, ApiError> {
    let too_large = || {
        ApiError::new(
            Code::SizeInvalid,
            format!("a manifest has at most {MANIFEST_LIMIT} bytes here"),
        )
        .status(StatusCode::PAYLOAD_TOO_LARGE)
    };
    let announced = text(call.headers, header::CONTENT_LENGTH)
        .and_then(|length| length.parse::<u64>().ok())
        .or(body.size_hint().exact());
    if announced.is_some_and(|length| length > MANIFEST_LIMIT) {
        return Err(too_large());
    }
    let mut bytes = BytesMut::new();
    while let Some(frame) = super::receive::next(&mut body, silence).await? {
        bytes.extend_from_slice(&frame);
        if bytes.len() as u64 > MANIFEST_LIMIT {
            return Err(too_large());
        }
    }
    Ok(bytes.freeze())
}

/// The media type without its parameters; without the header, what the manifest says of itself.
fn media_type(call: &Call<'_>, bytes: &[u8]) -> Result<String, ApiError> {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Typed {
        media_type: String,
    }
    if let Some(header) = text(call.headers, header::CONTENT_TYPE) {
        let bare = header.split(';').next().unwrap_or_default().trim();
        return Ok(bare.to_ascii_lowercase());
    }
    match serde_json::from_slice::<Typed>(bytes) {
        Ok(typed) => Ok(typed.media_type),
        Err(_) => Err(ApiError::new(
            Code::ManifestInvalid,
            "a manifest is sent with a Content-Type, or says its mediaType",
        )),
    }
}

fn refusal(error: PutManifestError) -> ApiError {
    match error {
        PutManifestError::Missing(missing) => ApiError::several(
            Code::ManifestBlobUnknown,
            missing
                .iter()
                .map(|content| format!("{} is not in the repository", content.digest))
                .collect(),
        ),
        PutManifestError::Store(error) => error.into(),
    }
}
