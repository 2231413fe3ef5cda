//! Refusals as the distribution specification writes them.

use http::header::{ALLOW, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue};
use http::{Response, StatusCode};

use crate::body::Body;
use crate::store::StoreError;

/// The error codes of the specification (section "Error Codes"), and one of our own for what they
/// do not cover.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Code {
    BlobUnknown,
    BlobUploadInvalid,
    BlobUploadUnknown,
    Denied,
    DigestInvalid,
    ManifestBlobUnknown,
    ManifestInvalid,
    ManifestUnknown,
    NameInvalid,
    NameUnknown,
    SizeInvalid,
    Unauthorized,
    Unsupported,
    /// Not the client's fault.
    Unknown,
}

impl Code {
    fn as_str(self) -> &'static str {
        match self {
            Self::BlobUnknown => "BLOB_UNKNOWN",
            Self::BlobUploadInvalid => "BLOB_UPLOAD_INVALID",
            Self::BlobUploadUnknown => "BLOB_UPLOAD_UNKNOWN",
            Self::Denied => "DENIED",
            Self::DigestInvalid => "DIGEST_INVALID",
            Self::ManifestBlobUnknown => "MANIFEST_BLOB_UNKNOWN",
            Self::ManifestInvalid => "MANIFEST_INVALID",
            Self::ManifestUnknown => "MANIFEST_UNKNOWN",
            Self::NameInvalid => "NAME_INVALID",
            Self::NameUnknown => "NAME_UNKNOWN",
            Self::SizeInvalid => "SIZE_INVALID",
            Self::Unauthorized => "UNAUTHORIZED",
            Self::Unsupported => "UNSUPPORTED",
            Self::Unknown => "UNKNOWN",
        }
    }

    /// The status that goes with the code unless a place says otherwise.
    fn status(self) -> StatusCode {
        match self {
            Self::BlobUnknown
            | Self::BlobUploadUnknown
            | Self::ManifestUnknown
            | Self::NameUnknown => StatusCode::NOT_FOUND,
            Self::BlobUploadInvalid
            | Self::DigestInvalid
            | Self::ManifestBlobUnknown
            | Self::ManifestInvalid
            | Self::NameInvalid
            | Self::SizeInvalid => StatusCode::BAD_REQUEST,
            Self::Denied => StatusCode::FORBIDDEN,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::Unsupported => StatusCode::METHOD_NOT_ALLOWED,
            Self::Unknown => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

/// A refusal: a status, one or more coded errors, and headers a client needs to go on.
#[derive(Debug)]
pub(crate) struct ApiError {
    pub(crate) status: StatusCode,
    errors: Vec<(Code, String)>,
    headers: Vec<(HeaderName, HeaderValue)>,
    /// What went wrong inside, for the log.
    pub(crate) internal: Option<String>,
}

impl ApiError {
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            status: code.status(),
            errors: vec![(code, message.into())],
            headers: Vec::new(),
            internal: None,
        }
    }

    /// One error of the same code per message; a `MANIFEST_BLOB_UNKNOWN` names every blob.
    pub(crate) fn several(code: Code, messages: Vec<String>) -> Self {
        Self {
            status: code.status(),
            errors: messages
                .into_iter()
                .map(|message| (code, message))
                .collect(),
            headers: Vec::new(),
            internal: None,
        }
    }

    /// The method is not one of those that the path answers to.
    pub(crate) fn method(allowed: &'static str) -> Self {
        Self::new(
            Code::Unsupported,
            format!("this path answers to {allowed} only"),
        )
        .header(ALLOW, HeaderValue::from_static(allowed))
    }

    pub(crate) fn status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }

    pub(crate) fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    pub(crate) fn into_response(self) -> Response<Body> {
        let errors: Vec<_> = self
            .errors
            .iter()
            .map(|(code, message)| serde_json::json!({"code": code.as_str(), "message": message}))
            .collect();
        let text = serde_json::json!({ "errors": errors }).to_string();
        let mut response = Response::new(Body::empty());
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(CONTENT_LENGTH, HeaderValue::from(text.len()));
        headers.extend(self.headers);
        *response.body_mut() = Body::full(text);
        response
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        // The io error beneath names no path, so the client may see it: "no space left" helps.
        let reason = match std::error::Error::source(&error) {
            Some(source) => format!("{error}: {source}"),
            None => error.to_string(),
        };
        Self {
            internal: Some(reason.clone()),
            ..Self::new(Code::Unknown, reason)
        }
    }
}
