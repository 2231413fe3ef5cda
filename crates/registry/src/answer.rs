//! What an answer means: the one table that sorts statuses into classes, and the reading of error
//! bodies.

use std::time::Duration;

use launchway_diagnostics::Code;
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
    /// A code that says more than that of the class.
    pub(crate) code: Option<Code>,
    /// The request was held back here, because the registry had asked for a pause.
    pub(crate) not_sent: bool,
}

impl Failure {
    pub(crate) fn new(class: ErrorClass, detail: impl Into<String>) -> Self {
        Self {
            class,
            status: None,
            detail: detail.into(),
            wait: None,
            code: None,
            not_sent: false,
        }
    }

    pub(crate) fn permanent(detail: impl Into<String>) -> Self {
        Self::new(ErrorClass::Permanent, detail)
    }

    pub(crate) fn transient(detail: impl Into<String>) -> Self {
        Self::new(ErrorClass::Transient, detail)
    }

    /// The registry wants to be left alone for so long.
    pub(crate) fn not_sent(left: Duration) -> Self {
        Self {
            wait: Some(left),
            not_sent: true,
            ..Self::new(ErrorClass::Throttled, "the registry asked for a pause")
        }
    }

    pub(crate) fn with_code(mut self, code: Code) -> Self {
        self.code = Some(code);
        self
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
            "ratelimitexceeded",
            "rate exceeded",
            // Google's, which is about requests in a time; quotas of storage are worded otherwise.
            "quota exceeded for quota metric",
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
    let is_about = |codes: &[&str]| codes.iter().any(|code| body.has(code));
    let too_many = || is_about(&["TOOMANYREQUESTS"]);
    match status {
        401 => ErrorClass::Auth,
        429 => ErrorClass::Throttled,
        // Some registries answer a rate limit with 403, and then only the body tells.
        403 if body.speaks_of_rate => ErrorClass::Throttled,
        403 => ErrorClass::Auth,
        400..=499 if too_many() => ErrorClass::Throttled,
        // Who may not know that something exists is told so in two ways.
        404 if is_about(&["DENIED", "UNAUTHORIZED"]) => ErrorClass::Auth,
        404 => ErrorClass::Missing,
        // The time ran out, too early, or meant for another connection: none says no.
        408 | 425 | 421 => ErrorClass::Transient,
        400..=499 if is_about(&["NAME_UNKNOWN", "MANIFEST_UNKNOWN", "BLOB_UNKNOWN"]) => {
            ErrorClass::Missing
        }
        // 520 to 525, 527 and 530 are what one large content network answers when the registry
        // behind it stumbles. 526 is an invalid certificate there.
        500 | 502 | 503 | 504 | 520..=525 | 527 | 530 => ErrorClass::Transient,
        // What is left: redirects that lead nowhere, requests that are wrong, and servers that
        // cannot do what is asked (501, 505) or have no room (507).
        _ => ErrorClass::Permanent,
    }
}

/// What a status says that its number does not.
pub(crate) fn hint(status: u16) -> Option<&'static str> {
    match status {
        407 => Some("a proxy on the way wants a login"),
        451 => Some("not available for legal reasons"),
        507 => Some("the registry has no room left"),
        511 => Some("the network wants a login first (a captive portal)"),
        _ => None,
    }
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
        let page = |text: &str| format!("<html>{text}</html>");
        let none = String::new;
        for (status, body, want) in [
            (300, none(), Permanent),
            (301, none(), Permanent),
            (302, none(), Permanent),
            (303, none(), Permanent),
            (304, none(), Permanent),
            (307, none(), Permanent),
            (308, none(), Permanent),
            (400, none(), Permanent),
            (400, code("DIGEST_INVALID"), Permanent),
            (400, code("NAME_UNKNOWN"), Missing),
            (400, code("TOOMANYREQUESTS"), Throttled),
            (401, none(), Auth),
            (401, code("UNAUTHORIZED"), Auth),
            (401, code("NAME_UNKNOWN"), Auth),
            (402, none(), Permanent),
            (403, none(), Auth),
            (403, code("DENIED"), Auth),
            (403, code("NAME_UNKNOWN"), Auth),
            (403, code("TOOMANYREQUESTS"), Throttled),
            (403, page("Rate limit reached"), Throttled),
            (403, page("429 Too Many Requests"), Throttled),
            (403, r#"{"message":"secondary rate limit"}"#.into(), Throttled),
            (
                403,
                r#"{"errors":[{"code":"DENIED","message":"Quota exceeded for quota metric 'Requests'"}]}"#.into(),
                Throttled,
            ),
            (
                403,
                r#"{"errors":[{"code":"DENIED","message":"storage quota exceeded"}]}"#.into(),
                Auth,
            ),
            (403, page("no"), Auth),
            (403, "plain words".into(), Auth),
            (404, none(), Missing),
            (404, page("lost"), Missing),
            (404, code("NAME_UNKNOWN"), Missing),
            (404, code("MANIFEST_UNKNOWN"), Missing),
            (404, code("BLOB_UNKNOWN"), Missing),
            (404, code("BLOB_UPLOAD_UNKNOWN"), Missing),
            (404, code("NAME_INVALID"), Missing),
            (404, code("DENIED"), Auth),
            (404, code("UNAUTHORIZED"), Auth),
            (404, code("TOOMANYREQUESTS"), Throttled),
            (405, none(), Permanent),
            (405, code("UNSUPPORTED"), Permanent),
            (406, none(), Permanent),
            (407, none(), Permanent),
            (408, none(), Transient),
            (409, none(), Permanent),
            (409, code("DENIED"), Permanent),
            (410, none(), Permanent),
            (411, none(), Permanent),
            (412, none(), Permanent),
            (413, none(), Permanent),
            (413, code("SIZE_INVALID"), Permanent),
            (414, none(), Permanent),
            (415, none(), Permanent),
            (416, none(), Permanent),
            (418, none(), Permanent),
            (421, none(), Transient),
            (422, none(), Permanent),
            (425, none(), Transient),
            (426, none(), Permanent),
            (428, none(), Permanent),
            (429, none(), Throttled),
            (429, page("slow down"), Throttled),
            (429, code("DENIED"), Throttled),
            (431, none(), Permanent),
            (451, none(), Permanent),
            (499, none(), Permanent),
            (500, none(), Transient),
            (500, page("oops"), Transient),
            (500, code("UNKNOWN"), Transient),
            (501, none(), Permanent),
            (502, none(), Transient),
            (502, page("Bad Gateway"), Transient),
            (503, none(), Transient),
            (504, none(), Transient),
            (505, none(), Permanent),
            (506, none(), Permanent),
            (507, none(), Permanent),
            (508, none(), Permanent),
            (510, none(), Permanent),
            (511, page("log in to the wifi"), Permanent),
            (520, none(), Transient),
            (521, none(), Transient),
            (522, none(), Transient),
            (523, none(), Transient),
            (524, none(), Transient),
            (525, none(), Transient),
            (526, none(), Permanent),
            (527, none(), Transient),
            (530, none(), Transient),
            (599, none(), Permanent),
        ] {
            check(status, &body, want);
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
