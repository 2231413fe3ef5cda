//! Carries one request to its answer: connections, redirects, patience, events. Knows nothing of
//! tokens or of trying again.

use std::fmt;
use std::pin::pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{ACCEPT_ENCODING, AUTHORIZATION, LOCATION, RETRY_AFTER, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use jiff::Timestamp;
use launchway_model::{RegistryHost, is_loopback_host};
use reqwest::Url;
use tokio::time::{Instant, timeout};

use crate::answer::{ErrorBody, Failure, Fault, classify, fault_class, fault_of};
use crate::body::Payload;
use crate::endpoint::{Endpoints, authority, same_server};
use crate::redact::without_secrets;
use crate::{ClientError, ClientEvent, ErrorClass};

/// How many redirects are followed for one request.
const HOPS: usize = 5;
/// How much of an error body is read.
const ERROR_BODY: u64 = 16 * 1024;
/// How many times the patience a registry gets to store an upload it has received in full.
const STORING: u32 = 5;

/// One request, ready to be sent any number of times.
pub(crate) struct Request {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    pub(crate) payload: Option<Payload>,
}

impl Request {
    pub(crate) fn new(method: Method, url: Url) -> Self {
        Self {
            method,
            url,
            headers: HeaderMap::new(),
            payload: None,
        }
    }

    #[must_use]
    pub(crate) fn header(mut self, name: http::HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    #[must_use]
    pub(crate) fn payload(mut self, payload: Payload) -> Self {
        self.payload = Some(payload);
        self
    }
}

/// The head of an answer, its body still to be read.
pub(crate) struct Answer {
    response: reqwest::Response,
    /// Where it came from, after redirects.
    pub(crate) url: Url,
    /// Whether a redirect led to another server than the one asked.
    pub(crate) strayed: bool,
    patience: Duration,
}

impl Answer {
    pub(crate) fn status(&self) -> StatusCode {
        self.response.status()
    }

    pub(crate) fn headers(&self) -> &HeaderMap {
        self.response.headers()
    }

    /// A header as text; None when it is missing or no text.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.headers().get(name)?.to_str().ok()
    }

    /// The next piece of the body; None at its end.
    pub(crate) async fn piece(&mut self) -> Result<Option<Bytes>, Failure> {
        match timeout(self.patience, self.response.chunk()).await {
            Ok(piece) => piece.map_err(fault_of),
            Err(_) => Err(silence()),
        }
    }

    /// The whole body, up to `limit` bytes; None when there is more.
    pub(crate) async fn bytes(mut self, limit: u64) -> Result<Option<Bytes>, Failure> {
        if self
            .response
            .content_length()
            .is_some_and(|length| length > limit)
        {
            return Ok(None);
        }
        let mut all = BytesMut::new();
        while let Some(piece) = self.piece().await? {
            if all.len() as u64 + piece.len() as u64 > limit {
                return Ok(None);
            }
            all.extend_from_slice(&piece);
        }
        Ok(Some(all.freeze()))
    }

    /// Reads a short rest of the body, so that the connection can be used again.
    pub(crate) async fn drain(self) {
        // Only the connection is at stake; a failure here says nothing about the answer.
        let _ = self.bytes(ERROR_BODY).await;
    }

    /// The failure this answer stands for. `secrets` are taken out of what the registry says.
    pub(crate) async fn into_failure(mut self, secrets: &[&str]) -> Failure {
        let status = self.status().as_u16();
        let wait = self
            .headers()
            .get(RETRY_AFTER)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| crate::retry::retry_after(value, Timestamp::now()));
        let strayed = self.strayed.then(|| authority(&self.url));
        let mut body = BytesMut::new();
        // A body that breaks off is judged by what came of it.
        while (body.len() as u64) < ERROR_BODY
            && let Ok(Some(piece)) = self.piece().await
        {
            body.extend_from_slice(&piece);
        }
        body.truncate(ERROR_BODY as usize);
        let body = ErrorBody::read(&body);
        let class = match classify(status, &body) {
            // A storage server refuses links that are too old; the registry gives a fresh one.
            ErrorClass::Auth if strayed.is_some() => ErrorClass::Transient,
            class => class,
        };
        let mut detail = without_secrets(&body.text, secrets);
        if let Some(host) = strayed {
            detail = format!("by {host}, where the registry had sent us {detail}")
                .trim_end()
                .to_owned();
        }
        Failure {
            class,
            status: Some(status),
            detail,
            wait,
        }
    }
}

fn silence() -> Failure {
    Failure::new(fault_class(Fault::Silence), "no answer in time")
}

fn builder(headers: &HeaderMap, patience: Duration) -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .default_headers(headers.clone())
        .redirect(reqwest::redirect::Policy::none())
        .referer(false)
        .connect_timeout(patience)
        .tcp_nodelay(true)
}

type Emit = Arc<dyn Fn(ClientEvent) + Send + Sync>;

/// Connections to any number of servers.
pub(crate) struct Transport {
    /// For this machine: no proxy, no TLS.
    loopback: reqwest::Client,
    /// For all others. Made when first needed: reading the system's certificates takes longer than
    /// a request to this machine.
    outside: OnceLock<Result<reqwest::Client, Failure>>,
    headers: HeaderMap,
    pub(crate) endpoints: Endpoints,
    pub(crate) emit: Emit,
    patience: Duration,
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transport").finish_non_exhaustive()
    }
}

impl Transport {
    /// `patience` is how long a server may stay silent.
    pub(crate) fn new(
        endpoints: Endpoints,
        emit: Emit,
        user_agent: &str,
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
            .map_err(|error| ClientError::Http(fault_of(error).detail))?;
        Ok(Self {
            loopback,
            outside: OnceLock::new(),
            headers,
            endpoints,
            emit,
            patience,
        })
    }

    fn client_for(&self, url: &Url) -> Result<&reqwest::Client, Failure> {
        if is_loopback_host(url.host_str().unwrap_or_default()) {
            return Ok(&self.loopback);
        }
        let make = || {
            let client = builder(&self.headers, self.patience).build();
            client.map_err(|error| {
                Failure::permanent(format!("cannot set up TLS: {}", fault_of(error).detail))
            })
        };
        self.outside
            .get_or_init(make)
            .as_ref()
            .map_err(Clone::clone)
    }

    /// Sends a request and follows redirects where that is safe: reads only, and without
    /// `authorization` once another server is asked.
    pub(crate) async fn exchange(
        &self,
        host: &RegistryHost,
        request: &Request,
        authorization: Option<&HeaderValue>,
    ) -> Result<Answer, Failure> {
        let mut url = request.url.clone();
        for _ in 0..=HOPS {
            let strayed = !same_server(&url, &request.url);
            let authorization = authorization.filter(|_| !strayed);
            let response = self.hop(host, request, &url, authorization).await?;
            let answer = Answer {
                response,
                url: url.clone(),
                strayed,
                patience: self.patience,
            };
            let follows = matches!(answer.status().as_u16(), 301 | 302 | 303 | 307 | 308)
                && matches!(request.method, Method::GET | Method::HEAD);
            if !follows {
                return Ok(answer);
            }
            let next = answer
                .text(LOCATION.as_str())
                .and_then(|location| url.join(location).ok())
                .ok_or_else(|| {
                    Failure::permanent("a redirect that leads nowhere")
                        .with_status(answer.status().as_u16())
                })?;
            self.endpoints.check_sent_to(&url, &next)?;
            answer.drain().await;
            url = next;
        }
        Err(Failure::permanent(format!("more than {HOPS} redirects")))
    }

    async fn hop(
        &self,
        host: &RegistryHost,
        request: &Request,
        url: &Url,
        authorization: Option<&HeaderValue>,
    ) -> Result<reqwest::Response, Failure> {
        let client = self.client_for(url)?;
        let mut message = client
            .request(request.method.clone(), url.clone())
            .headers(request.headers.clone());
        if let Some(authorization) = authorization {
            message = message.header(AUTHORIZATION, authorization);
        }
        let mut sent = None;
        if let Some(payload) = &request.payload {
            let (body, count) = payload.start()?;
            message = message.body(body);
            sent = Some(count);
        }
        let begun = Instant::now();
        let mut answer = pin!(message.send());
        let mut before = 0;
        let mut silences = 0;
        let result = loop {
            match timeout(self.patience, &mut answer).await {
                Ok(result) => break result.map_err(fault_of),
                Err(_) => {
                    let now = sent.as_ref().map_or(0, |sent| sent.load(Ordering::Relaxed));
                    silences = if now > before { 0 } else { silences + 1 };
                    let allowed = match &request.payload {
                        Some(Payload::Blob { size, .. }) if now >= *size => STORING,
                        _ => 1,
                    };
                    if silences >= allowed {
                        break Err(silence());
                    }
                    before = now;
                }
            }
        };
        (self.emit)(ClientEvent::Request {
            method: request.method.to_string(),
            host: authority(url).parse().unwrap_or_else(|_| host.clone()),
            path: url.path().to_owned(),
            status: result
                .as_ref()
                .ok()
                .map(|response| response.status().as_u16()),
            elapsed: begun.elapsed(),
        });
        result
    }
}
