//! Connections to servers, and whom they trust. TLS is set up when the first server needs it: reading
//! the system's certificates takes longer than a request to this machine.

use std::fmt;
use std::fs;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;

use http::header::{ACCEPT_ENCODING, USER_AGENT};
use http::{HeaderMap, HeaderValue};
use launchway_model::is_loopback_host;
use reqwest::{Certificate, Client, ClientBuilder, Url};

use crate::ClientError;
use crate::answer::Failure;
use crate::codes;
use crate::faults::fault_of;

type Made = OnceLock<Result<Client, Failure>>;

/// The pools of connections, by what they need.
pub(crate) struct Connections {
    /// To this machine, without TLS and without a proxy.
    loopback: Client,
    /// To this machine, with TLS and without a proxy.
    loopback_tls: Made,
    /// To all others.
    outside: Made,
    headers: HeaderMap,
    /// The certificates to trust instead of the system's.
    ca_bundle: Option<PathBuf>,
    patience: Duration,
}

impl fmt::Debug for Connections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connections").finish_non_exhaustive()
    }
}

impl Connections {
    /// `patience` is how long making a connection may take.
    pub(crate) fn new(
        user_agent: &str,
        ca_bundle: Option<PathBuf>,
        patience: Duration,
    ) -> Result<Self, ClientError> {
        let mut headers = HeaderMap::new();
        let user_agent = HeaderValue::from_str(user_agent).map_err(|_| ClientError::UserAgent)?;
        headers.insert(USER_AGENT, user_agent);
        // Digests are of the bytes as stored; a coding put on by a cache in between would hide them.
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        let loopback = builder(&headers, patience)
            .no_proxy()
            .tls_certs_only([])
            .build()
            .map_err(|error| ClientError::Http(fault_of(error, "").detail))?;
        Ok(Self {
            loopback,
            loopback_tls: OnceLock::new(),
            outside: OnceLock::new(),
            headers,
            ca_bundle,
            patience,
        })
    }

    /// The connections to the server of a URL.
    pub(crate) fn to(&self, url: &Url) -> Result<&Client, Failure> {
        let is_loopback = is_loopback_host(url.host_str().unwrap_or_default());
        let made = match (is_loopback, url.scheme()) {
            (true, "https") => self
                .loopback_tls
                .get_or_init(|| self.with_trust(builder(&self.headers, self.patience).no_proxy())),
            (true, _) => return Ok(&self.loopback),
            (false, _) => self
                .outside
                .get_or_init(|| self.with_trust(builder(&self.headers, self.patience))),
        };
        made.as_ref().map_err(Clone::clone)
    }

    fn with_trust(&self, mut builder: ClientBuilder) -> Result<Client, Failure> {
        if let Some(path) = &self.ca_bundle {
            let wrong = |reason: String| {
                Failure::permanent(format!(
                    "cannot use the certificates in {}: {reason}",
                    path.display()
                ))
                .with_code(codes::CERTIFICATE)
            };
            let pem = fs::read(path).map_err(|error| wrong(error.to_string()))?;
            let certificates = Certificate::from_pem_bundle(&pem)
                .map_err(|error| wrong(fault_of(error, "").detail))?;
            if certificates.is_empty() {
                return Err(wrong("there is none in it".to_owned()));
            }
            builder = builder.tls_certs_only(certificates);
        }
        builder.build().map_err(|error| {
            Failure::permanent(format!("cannot set up TLS: {}", fault_of(error, "").detail))
                .with_code(codes::CERTIFICATE)
        })
    }
}

fn builder(headers: &HeaderMap, patience: Duration) -> ClientBuilder {
    Client::builder()
        .default_headers(headers.clone())
        .redirect(reqwest::redirect::Policy::none())
        .referer(false)
        .connect_timeout(patience)
        .tcp_nodelay(true)
}
