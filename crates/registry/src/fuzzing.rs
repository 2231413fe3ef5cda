//! What holds for anything a registry may say. The fuzzer of `fuzz/` tries to break it; the seeds
//! it starts from are tried with every run of the tests.

use std::path::Path;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use jiff::Timestamp;
use serde_json::Value;

use crate::answer::ErrorBody;
use crate::challenge::{self, Challenge};
use crate::docker_config::ConfigFile;
use crate::{link, moments, quota, range};

/// `WWW-Authenticate`: what is read is written so that it reads the same.
pub fn challenge(header: &str) {
    let found = challenge::parse(header);
    let mut written = Vec::new();
    for challenge in &found {
        written.push(match challenge {
            Challenge::Basic => "Basic".to_owned(),
            Challenge::Bearer {
                realm,
                service,
                scope,
            } => {
                let mut text = format!("Bearer realm={}", quoted(realm));
                for (name, value) in [("service", service), ("scope", scope)] {
                    if let Some(value) = value {
                        assert!(!value.is_empty(), "{header:?}");
                        text.push_str(&format!(",{name}={}", quoted(value)));
                    }
                }
                assert!(realm.len() <= header.len(), "{header:?}");
                text
            }
        });
    }
    assert_eq!(challenge::parse(&written.join(", ")), found, "{header:?}");
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// `Link`: the target stands in the header between brackets, and reads the same when it is alone.
pub fn link(header: &str) {
    if let Some(target) = link::next(header) {
        assert!(header.contains(&format!("<{target}>")), "{header:?}");
        let alone = format!("<{target}>; rel=\"next\"");
        assert_eq!(link::next(&alone), Some(target), "{header:?}");
    }
}

/// `Content-Range`: the part lies within the whole, and reads the same when it is written.
pub fn content_range(header: &str) {
    let Some(range) = range::content_range(header) else {
        return;
    };
    let length = range
        .last
        .checked_sub(range.first)
        .and_then(|d| d.checked_add(1));
    assert!(length.is_some_and(|length| length > 0), "{header:?}");
    assert!(
        range.size.is_none_or(|size| range.last < size),
        "{header:?}"
    );
    let size = range.size.map_or("*".to_owned(), |size| size.to_string());
    let written = format!("bytes {}-{}/{size}", range.first, range.last);
    assert_eq!(range::content_range(&written), Some(range), "{header:?}");
}

/// `Retry-After` and the headers of quotas: any wait has an end, and seconds read as they are.
pub fn waits(header: &str) {
    let now: Timestamp = "2026-01-02T03:04:05Z".parse().expect("this is a moment");
    if let Some(wait) = moments::retry_after(header, now) {
        assert!(!moments::shown(moments::after(wait)).is_empty());
        let seconds = wait.as_secs().to_string();
        let again = moments::retry_after(&seconds, now);
        assert_eq!(
            again,
            Some(Duration::from_secs(wait.as_secs())),
            "{header:?}"
        );
    }
    if let Ok(value) = HeaderValue::from_str(header) {
        let mut headers = HeaderMap::new();
        for name in ["ratelimit-limit", "ratelimit-remaining"] {
            headers.insert(HeaderName::from_static(name), value.clone());
        }
        let told = quota::Quotas::default().watch("host", &headers);
        if let Some(told) = told {
            assert_eq!(told.remaining, told.limit);
            assert!(!told.is_low() || told.limit == 0, "{header:?}");
        }
    }
}

/// Docker's configuration: what is wrong with it is said without its secrets.
pub fn docker_config(bytes: &[u8]) {
    let Err(error) = ConfigFile::parse(Path::new("config.json"), bytes) else {
        return;
    };
    let Ok(value) = serde_json::from_slice::<Value>(bytes) else {
        return;
    };
    let entries = value["auths"].as_object();
    for (key, entry) in entries.into_iter().flatten() {
        for name in ["auth", "password", "identitytoken", "registrytoken"] {
            let secret = entry[name].as_str().unwrap_or_default();
            // A short word may stand in any sentence, and the key is repeated.
            if secret.len() >= 8 && !key.contains(secret) && !OWN_WORDS.contains(secret) {
                let told = entries.is_some_and(|all| all.keys().any(|key| key.contains(secret)));
                assert!(told || !error.contains(secret), "{error}");
            }
        }
    }
}

/// Everything that an error about a configuration may say by itself.
const OWN_WORDS: &str = "it is not the JSON that Docker writes (line , column ) the entry for : \
                         `auth` is not base64 `auth` holds no user name and password";

/// The body of an error: what is repeated of it is short, plain, and without the queries of URLs.
pub fn error_body(bytes: &[u8]) {
    let body = ErrorBody::read(bytes);
    assert!(body.text.chars().count() <= 3 * 700, "{:?}", body.text);
    assert!(!body.text.chars().any(char::is_control), "{:?}", body.text);
    for url in body
        .text
        .split(|c: char| c.is_whitespace() || "\"'<>)".contains(c))
    {
        let Some((_, after)) = url.split_once("://") else {
            continue;
        };
        let query = after.split_once('?').map_or("", |(_, query)| query);
        assert!(query.chars().all(|c| c == '…'), "{:?}", body.text);
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    /// The seeds of a target.
    fn seeds(target: &str) -> impl Iterator<Item = Vec<u8>> {
        let all = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds");
        let files = std::fs::read_dir(all.join(target)).unwrap();
        let files: Vec<PathBuf> = files.map(|file| file.unwrap().path()).collect();
        assert!(!files.is_empty(), "{target} has seeds");
        files.into_iter().map(|file| std::fs::read(file).unwrap())
    }

    use super::*;

    fn texts(target: &str, check: fn(&str)) {
        seeds(target).for_each(|seed| check(&String::from_utf8_lossy(&seed)));
    }

    #[test]
    fn seeds_of_all_targets() {
        texts("challenge", challenge);
        texts("link", link);
        texts("content_range", content_range);
        texts("waits", waits);
        seeds("docker_config").for_each(|seed| docker_config(&seed));
        seeds("error_body").for_each(|seed| error_body(&seed));
    }
}
