//! Single files of the web, as `ADD` of a URL takes them.

use std::io::{self, Write};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, UNIX_EPOCH};

use reqwest::header::{ETAG, HeaderName, IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED};
use reqwest::{StatusCode, Url};

use crate::outward::{build, is_loopback, words};

/// The largest file that is taken, in bytes.
const LIMIT: u64 = 16 << 30;

/// Tries in all, when a server is busy or out of reach.
const ATTEMPTS: u32 = 3;

/// Gets files by their URLs. Clones share connections.
#[derive(Clone, Debug, Default)]
pub struct Web {
    clients: Arc<Clients>,
}

#[derive(Debug, Default)]
struct Clients {
    /// For plain text on this machine: no proxy, no TLS.
    loopback: OnceLock<reqwest::Client>,
    outside: OnceLock<reqwest::Client>,
}

/// What a server said of a file, by which it can be asked later whether that has changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WebValidators {
    pub etag: Option<String>,
    pub last_modified: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WebAnswer {
    /// It is what the validators are of; nothing was written.
    Unchanged,
    New {
        validators: WebValidators,
        /// `Last-Modified` in seconds since 1970.
        modified: Option<i64>,
    },
}

/// Why a file cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum WebError {
    #[error("this is not a URL")]
    NotAUrl,
    #[error("the certificates of this machine cannot be used: {0}")]
    Tls(String),
    #[error("ask the server: {0}")]
    Unreachable(String),
    #[error("the server answers {0}")]
    Status(StatusCode),
    #[error("the server sends on to a place that is not followed")]
    Redirect,
    #[error("the file is larger than {LIMIT} bytes")]
    TooLarge,
    #[error("write the file")]
    Write(#[from] io::Error),
}

impl Web {
    /// Writes the file behind a URL, unless it is still what the validators are of.
    ///
    /// # Errors
    /// When it cannot be had; then part of it may be written.
    pub async fn get(
        &self,
        url: &str,
        known: &WebValidators,
        to: &mut (dyn Write + Send),
    ) -> Result<WebAnswer, WebError> {
        let url: Url = url.parse().map_err(|_| WebError::NotAUrl)?;
        let client = self.clients.of(&url)?;
        let mut response = ask(client, &url, known).await?;
        let status = response.status();
        if status == StatusCode::NOT_MODIFIED {
            return Ok(WebAnswer::Unchanged);
        }
        if status.is_redirection() {
            return Err(WebError::Redirect);
        }
        if !status.is_success() {
            return Err(WebError::Status(status));
        }
        let header = |name: HeaderName| {
            let value = response.headers().get(name)?.to_str().ok()?;
            Some(value.to_owned())
        };
        let validators = WebValidators {
            etag: header(ETAG),
            last_modified: header(LAST_MODIFIED),
        };
        let mut size = 0;
        while let Some(chunk) = response
            .chunk()
            .await
            .map_err(|error| WebError::Unreachable(words(error)))?
        {
            size += chunk.len() as u64;
            if size > LIMIT {
                return Err(WebError::TooLarge);
            }
            to.write_all(&chunk)?;
        }
        let modified = validators.last_modified.as_deref().and_then(seconds);
        Ok(WebAnswer::New {
            validators,
            modified,
        })
    }
}

impl Clients {
    fn of(&self, url: &Url) -> Result<&reqwest::Client, WebError> {
        let (cell, builder) = if is_loopback(url) && url.scheme() == "http" {
            let builder = reqwest::Client::builder().no_proxy().tls_certs_only([]);
            (&self.loopback, builder)
        } else {
            (&self.outside, reqwest::Client::builder())
        };
        if let Some(client) = cell.get() {
            return Ok(client);
        }
        let client = build(builder).map_err(|error| WebError::Tls(words(error)))?;
        Ok(cell.get_or_init(|| client))
    }
}

/// Asks until there is an answer that is no excuse.
async fn ask(
    client: &reqwest::Client,
    url: &Url,
    known: &WebValidators,
) -> Result<reqwest::Response, WebError> {
    let mut attempt = 1;
    loop {
        let mut request = client.get(url.clone());
        if let Some(etag) = &known.etag {
            request = request.header(IF_NONE_MATCH, etag);
        } else if let Some(time) = &known.last_modified {
            request = request.header(IF_MODIFIED_SINCE, time);
        }
        let answer = request.send().await;
        let busy = |status: StatusCode| {
            status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS
        };
        match answer {
            Ok(response) if attempt == ATTEMPTS || !busy(response.status()) => return Ok(response),
            Err(error) if attempt == ATTEMPTS => {
                return Err(WebError::Unreachable(words(error)));
            }
            Ok(_) | Err(_) => {}
        }
        tokio::time::sleep(Duration::from_millis(250) * attempt).await;
        attempt += 1;
    }
}

/// A time of HTTP in seconds since 1970, as BuildKit reads it: only the old form of RFC 850, which has a date like
/// `06-Nov-94`, may name another time zone than GMT, and none of them counts.
fn seconds(text: &str) -> Option<i64> {
    let is_zone =
        |word: &str| (3..=4).contains(&word.len()) && word.bytes().all(|b| b.is_ascii_uppercase());
    let old = text
        .rsplit_once(' ')
        .filter(|(time, zone)| time.contains('-') && is_zone(zone))
        .map(|(time, _)| format!("{time} GMT"));
    let time = httpdate::parse_http_date(old.as_deref().unwrap_or(text)).ok()?;
    i64::try_from(time.duration_since(UNIX_EPOCH).ok()?.as_secs()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_buildkit_reads_them() {
        for text in [
            "Sun, 06 Nov 1994 08:49:37 GMT",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sunday, 06-Nov-94 08:49:37 UTC",
            "Sunday, 06-Nov-94 08:49:37 EST",
            "Sun Nov  6 08:49:37 1994",
        ] {
            assert_eq!(seconds(text), Some(784_111_777), "{text}");
        }
        for text in [
            "Sun, 06 Nov 1994 08:49:37 UTC",
            "Sun, 06 Nov 1994 08:49:37 +0000",
            "Sunday, 06-Nov-94 08:49:37 +0000",
            "06-Nov-94 UTC",
            "",
        ] {
            assert_eq!(seconds(text), None, "{text}");
        }
    }
}
