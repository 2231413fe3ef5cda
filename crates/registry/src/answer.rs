//! What an answer means: the one table that sorts statuses and transport faults into classes, and
//! the reading of error bodies.

use std::error::Error;
use std::io;
use std::time::Duration;

use serde::Deserialize;

use crate::ErrorClass;
use crate::redact::{clean, without_queries};

/// One try that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) class: ErrorClass,
    pub(crate) status: Option<u16>,
    pub(crate) detail: String,
    /// How long the registry asked us to wait, counted from now.
    pub(crate) wait: Option<Duration>,
}

impl Failure {
    pub(crate) fn new(class: ErrorClass, detail: impl Into<String>) -> Self {
        Self {
            class,
            status: None,
            detail: detail.into(),
            wait: None,
        }
    }

    pub(crate) fn permanent(detail: impl Into<String>) -> Self {
        Self::new(ErrorClass::Permanent, detail)
    }

    pub(crate) fn transient(detail: impl Into<String>) -> Self {
        Self::new(ErrorClass::Transient, detail)
    }

    pub(crate) fn with_status(mut self, status: u16) -> Self {
        self.status = Some(status);
        self
    }
}

/// What an error body says, as far as it says anything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ErrorBody {
    /// The registry's error codes, upper case: `NAME_UNKNOWN`.
    pub(crate) codes: Vec<String>,
    /// For people: codes and messages, cleaned; empty when the body held nothing of use.
    pub(crate) text: String,
    /// Whether the body, read as plain text, speaks of a rate limit.
    pub(crate) speaks_of_rate: bool,
}

#[derive(Deserialize)]
struct WireErrors {
    #[serde(default)]
    errors: Vec<WireError>,
    /// Some token servers and caches answer `{"details": "…"}` or `{"message": "…"}` instead.
    details: Option<String>,
    message: Option<String>,
}

#[derive(Deserialize)]
struct WireError {
    #[serde(default)]
    code: Option<String>,
    #[serde(default)]
    message: Option<String>,
}

impl ErrorBody {
    /// Reads a body of any kind. HTML and other foreign bodies are named, not repeated: they are
    /// long and may hold signed URLs.
    pub(crate) fn read(body: &[u8]) -> Self {
        let text = String::from_utf8_lossy(body);
        let lower = text.to_ascii_lowercase();
        let speaks_of_rate = [
            "toomanyrequests",
            "too many requests",
            "rate limit",
            "rate exceeded",
        ]
        .iter()
        .any(|words| lower.contains(words));
        let Ok(wire) = serde_json::from_str::<WireErrors>(&text) else {
            let text = if lower.trim_start().starts_with('<') {
                if lower.contains("<html") || lower.contains("<!doctype html") {
                    "with an HTML page"
                } else {
                    "with an XML document"
                }
            } else {
                ""
            };
            return Self {
                codes: Vec::new(),
                text: text.to_owned(),
                speaks_of_rate,
            };
        };
        let mut codes = Vec::new();
        let mut said = Vec::new();
        for error in wire.errors {
            let code = error.code.map(|code| clean(&code).to_ascii_uppercase());
            let message = error.message.map(|message| clean(&message));
            match (&code, message.filter(|message| !message.is_empty())) {
                (Some(code), Some(message)) => said.push(format!("{code}: {message}")),
                (Some(code), None) => said.push(code.clone()),
                (None, Some(message)) => said.push(message),
                (None, None) => {}
            }
            codes.extend(code);
        }
        said.extend(wire.details.or(wire.message).map(|text| clean(&text)));
        said.truncate(3);
        Self {
            codes,
            text: without_queries(&said.join("; ")),
            speaks_of_rate,
        }
    }

    fn has(&self, code: &str) -> bool {
        self.codes.iter().any(|found| found == code)
    }
}

/// The class of an answer that is no success.
pub(crate) fn classify(status: u16, body: &ErrorBody) -> ErrorClass {
    let unknown = || {
        ["NAME_UNKNOWN", "MANIFEST_UNKNOWN", "BLOB_UNKNOWN"]
            .iter()
            .any(|code| body.has(code))
    };
    match status {
        401 => ErrorClass::Auth,
        // Some registries answer a rate limit with 403, and then only the body tells.
        403 if body.speaks_of_rate => ErrorClass::Throttled,
        403 => ErrorClass::Auth,
        404 => ErrorClass::Missing,
        408 | 425 => ErrorClass::Transient,
        429 => ErrorClass::Throttled,
        400..=499 if body.has("TOOMANYREQUESTS") => ErrorClass::Throttled,
        400..=499 if unknown() => ErrorClass::Missing,
        // 520 to 524 and 530 are what one large content network answers when the registry behind it stumbles.
        500 | 502 | 503 | 504 | 520..=524 | 530 => ErrorClass::Transient,
        _ => ErrorClass::Permanent,
    }
}

/// How a request can fail without an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// No connection: refused, unreachable, or the name is not known (which passes as often as not).
    Connect,
    /// The connection broke off.
    Reset,
    /// Nothing was heard for too long.
    Silence,
    /// What came is not HTTP.
    NotHttp,
    /// The other side does not speak TLS.
    NotTls,
    /// The certificate is not trusted, or TLS failed otherwise.
    Tls,
    /// The request itself could not be made.
    Request,
}

/// The class of a transport fault.
pub(crate) fn fault_class(fault: Fault) -> ErrorClass {
    match fault {
        Fault::Connect | Fault::Reset | Fault::Silence | Fault::NotHttp => ErrorClass::Transient,
        Fault::NotTls | Fault::Tls | Fault::Request => ErrorClass::Permanent,
    }
}

/// Sorts an error of the HTTP library and says it in words, without the URL (its query may be signed).
pub(crate) fn fault_of(error: reqwest::Error) -> Failure {
    let error = error.without_url();
    let mut fault = if error.is_timeout() {
        Fault::Silence
    } else if error.is_builder() {
        Fault::Request
    } else if error.is_connect() {
        Fault::Connect
    } else {
        Fault::Reset
    };
    let mut last = error.to_string();
    let mut next: Option<&(dyn Error + 'static)> = error.source();
    while let Some(cause) = next {
        last = cause.to_string();
        if let Some(tls) = cause.downcast_ref::<rustls::Error>() {
            fault = match tls {
                rustls::Error::InvalidMessage(_) => Fault::NotTls,
                _ => Fault::Tls,
            };
            break;
        }
        if let Some(http) = cause.downcast_ref::<hyper::Error>()
            && http.is_parse()
        {
            fault = Fault::NotHttp;
        }
        // An io::Error hides the error it wraps from `source`.
        next = match cause.downcast_ref::<io::Error>() {
            Some(io) => io
                .get_ref()
                .map(|inner| inner as &(dyn Error + 'static))
                .or(cause.source()),
            None => cause.source(),
        };
    }
    let detail = match fault {
        Fault::NotTls => {
            "the registry does not speak TLS; if that is intended, list its host under `plain-http`"
                .to_owned()
        }
        Fault::Connect => format!("no connection: {}", without_queries(&clean(&last))),
        Fault::Silence => "no answer in time".to_owned(),
        Fault::Reset => format!(
            "the connection broke off: {}",
            without_queries(&clean(&last))
        ),
        Fault::NotHttp => format!("the answer is not HTTP: {}", clean(&last)),
        Fault::Tls => format!("TLS failed: {}", clean(&last)),
        Fault::Request => without_queries(&clean(&last)),
    };
    Failure::new(fault_class(fault), detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(status: u16, body: &str, want: ErrorClass) {
        let read = ErrorBody::read(body.as_bytes());
        assert_eq!(classify(status, &read), want, "{status} {body}");
    }

    #[test]
    fn every_status_has_its_class() {
        use ErrorClass::{Auth, Missing, Permanent, Throttled, Transient};
        let code = |code: &str| format!(r#"{{"errors":[{{"code":"{code}","message":"m"}}]}}"#);
        for (status, body, want) in [
            (400, String::new(), Permanent),
            (400, code("DIGEST_INVALID"), Permanent),
            (400, code("NAME_UNKNOWN"), Missing),
            (400, code("TOOMANYREQUESTS"), Throttled),
            (401, code("UNAUTHORIZED"), Auth),
            (401, code("NAME_UNKNOWN"), Auth),
            (402, String::new(), Permanent),
            (403, code("DENIED"), Auth),
            (403, code("NAME_UNKNOWN"), Auth),
            (403, code("TOOMANYREQUESTS"), Throttled),
            (403, "<html>Rate limit reached</html>".into(), Throttled),
            (403, r#"{"message":"rate limit"}"#.into(), Throttled),
            (403, "<html>no</html>".into(), Auth),
            (404, String::new(), Missing),
            (404, "<html>lost</html>".into(), Missing),
            (404, code("MANIFEST_UNKNOWN"), Missing),
            (405, String::new(), Permanent),
            (408, String::new(), Transient),
            (409, String::new(), Permanent),
            (413, String::new(), Permanent),
            (416, String::new(), Permanent),
            (418, String::new(), Permanent),
            (425, String::new(), Transient),
            (429, String::new(), Throttled),
            (500, "<html>oops</html>".into(), Transient),
            (501, String::new(), Permanent),
            (502, String::new(), Transient),
            (503, String::new(), Transient),
            (504, String::new(), Transient),
            (505, String::new(), Permanent),
            (507, String::new(), Permanent),
            (520, String::new(), Transient),
            (530, String::new(), Transient),
            (302, String::new(), Permanent),
        ] {
            check(status, &body, want);
        }
    }

    #[test]
    fn every_fault_has_its_class() {
        for (fault, want) in [
            (Fault::Connect, ErrorClass::Transient),
            (Fault::Reset, ErrorClass::Transient),
            (Fault::Silence, ErrorClass::Transient),
            (Fault::NotHttp, ErrorClass::Transient),
            (Fault::NotTls, ErrorClass::Permanent),
            (Fault::Tls, ErrorClass::Permanent),
            (Fault::Request, ErrorClass::Permanent),
        ] {
            assert_eq!(fault_class(fault), want, "{fault:?}");
        }
    }

    #[test]
    fn bodies_of_any_kind_are_read() {
        for (body, text) in [
            ("", ""),
            ("plain words", ""),
            ("<!DOCTYPE html><p>x", "with an HTML page"),
            (
                "<?xml version='1.0'?><Error>secret</Error>",
                "with an XML document",
            ),
            ("{}", ""),
            ("[1]", ""),
            (r#"{"errors":null}"#, ""),
            (r#"{"details":"bad password"}"#, "bad password"),
            (
                r#"{"errors":[{"code":"denied","message":"no\u001b[31m way"}]}"#,
                "DENIED: no[31m way",
            ),
            (
                r#"{"errors":[{"code":"X","message":"see https://s3/x?sig=abc now"}]}"#,
                "X: see https://s3/x?… now",
            ),
        ] {
            assert_eq!(ErrorBody::read(body.as_bytes()).text, text, "{body}");
        }
    }
}
