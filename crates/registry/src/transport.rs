//! Carries one request to its answer: connections, redirects, patience, events. Knows nothing of
//! tokens or of trying again.

use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{AUTHORIZATION, CONTENT_TYPE, LOCATION, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use jiff::Timestamp;
use launchway_model::RegistryHost;
use reqwest::Url;
use tokio::time::{Instant, timeout};

use crate::answer::{ErrorBody, Failure, classify, hint};
use crate::body::Payload;
use crate::connections::Connections;
use crate::endpoint::{Endpoints, Speaks, authority, same_server, shown};
use crate::faults::{Fault, fault_class, fault_of, may_expect_tls, speaks_tls};
use crate::limit::{Change, Limits, Place};
use crate::moments::retry_after;
use crate::quota::Quotas;
use crate::redact::without_secrets;
use crate::retry::Gates;
use crate::{ClientEvent, ErrorClass};

/// How many redirects are followed for one request.
const HOPS: usize = 5;
/// Less than this in the time of one patience is as good as silence, in bytes.
const WORTH_WAITING: u64 = 4 * 1024;
/// How much of an error body is read.
const ERROR_BODY: u64 = 16 * 1024;
/// How many times the patience a registry gets to store an upload it has received in full.
const STORING: u32 = 5;
/// How long a server on this machine has to answer the question whether it speaks TLS.
const HANDSHAKE: Duration = Duration::from_secs(2);

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
    place: Place,
    told: Teller,
    patience: Duration,
    /// How long the body was waited for since it last brought something worth the wait, and what
    /// has come since.
    waited: Duration,
    came: u64,
}

/// Tells about one host.
#[derive(Clone)]
struct Teller {
    emit: Emit,
    host: RegistryHost,
}

impl Teller {
    fn change(&self, change: Option<Change>) {
        if let Some((from, to)) = change {
            (self.emit)(ClientEvent::Concurrency {
                host: self.host.clone(),
                from,
                to,
            });
        }
    }
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

    /// Whether this is a page for people, as something in between answers that wants a login.
    pub(crate) fn is_page(&self) -> bool {
        let named = self.text(CONTENT_TYPE.as_str()).unwrap_or_default();
        named.to_ascii_lowercase().starts_with("text/html")
    }

    /// The next piece of the body; None at its end. Patience ends with silence, and also when too
    /// little comes all the while.
    pub(crate) async fn piece(&mut self) -> Result<Option<Bytes>, Failure> {
        let begun = Instant::now();
        let left = self.patience.saturating_sub(self.waited);
        let piece = match timeout(left, self.response.chunk()).await {
            Ok(piece) => piece.map_err(|error| fault_of(error, &authority(&self.url)))?,
            Err(_) => return Err(silence()),
        };
        self.waited += begun.elapsed();
        self.came += piece.as_ref().map_or(0, |piece| piece.len() as u64);
        if self.came >= WORTH_WAITING {
            (self.waited, self.came) = (Duration::ZERO, 0);
        }
        Ok(piece)
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
            .and_then(|value| retry_after(value, Timestamp::now()));
        let strayed = self.strayed.then(|| authority(&self.url));
        // Redirects are followed for reads only; of others it is worth knowing where they lead.
        let elsewhere = self
            .status()
            .is_redirection()
            .then(|| self.text(LOCATION.as_str()))
            .flatten()
            .and_then(|location| self.url.join(location).ok());
        let mut body = BytesMut::new();
        // A body that breaks off is judged by what came of it.
        while (body.len() as u64) < ERROR_BODY
            && let Ok(Some(piece)) = self.piece().await
        {
            body.extend_from_slice(&piece);
        }
        body.truncate(ERROR_BODY as usize);
        // Before anything is cut, and after anything is decoded.
        let text = without_secrets(&String::from_utf8_lossy(&body), secrets);
        let body = ErrorBody::read(text.as_bytes());
        let class = match classify(status, &body) {
            // A storage server refuses links that are too old; the registry gives a fresh one.
            ErrorClass::Auth if strayed.is_some() => ErrorClass::Transient,
            class => class,
        };
        // Who asks for a pause because of too much work is left alone in the same way.
        let overloaded = matches!(status, 502..=504) && wait.is_some();
        if class == ErrorClass::Throttled || overloaded {
            let change = self.place.limited();
            self.told.change(change);
        }
        self.place.give_back();
        let mut detail = without_secrets(&body.text, secrets);
        if let Some(elsewhere) = elsewhere {
            detail = format!("a redirect to {} that is not followed", shown(&elsewhere));
        }
        if let Some(hint) = hint(status) {
            detail = format!("{hint} {detail}").trim_end().to_owned();
        }
        if let Some(host) = strayed {
            detail = format!("by {host}, where the registry had sent us {detail}")
                .trim_end()
                .to_owned();
        }
        Failure {
            wait,
            ..Failure::new(class, detail).with_status(status)
        }
    }
}

fn silence() -> Failure {
    Failure::new(fault_class(Fault::Silence), "no answer in time")
}

type Emit = Arc<dyn Fn(ClientEvent) + Send + Sync>;

/// The way to any number of servers.
pub(crate) struct Transport {
    connections: Connections,
    pub(crate) endpoints: Endpoints,
    pub(crate) emit: Emit,
    pub(crate) gates: Gates,
    limits: Limits,
    quotas: Quotas,
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
        connections: Connections,
        endpoints: Endpoints,
        emit: Emit,
        patience: Duration,
    ) -> Self {
        Self {
            connections,
            endpoints,
            emit,
            gates: Gates::default(),
            limits: Limits::default(),
            quotas: Quotas::default(),
            patience,
        }
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
            url = self.endpoints.as_spoken(url);
            let strayed = !same_server(&url, &self.endpoints.as_spoken(request.url.clone()));
            let authorization = authorization.filter(|_| !strayed);
            let mut answer = self.hop(host, request, &url, authorization).await;
            if self.turns_out_tls(&url, &answer).await {
                drop(answer);
                url = self.endpoints.as_spoken(url);
                answer = self.hop(host, request, &url, authorization).await;
            }
            let (response, place) =
                answer.map_err(|stumble| stumble.into_failure(&authority(&url)))?;
            let answer = Answer {
                response,
                url: url.clone(),
                strayed,
                place,
                told: self.teller(&url, host),
                patience: self.patience,
                waited: Duration::ZERO,
                came: 0,
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

    /// Finds out whether a server on this machine, spoken to for the first time and answering plain
    /// HTTP oddly, wants TLS. The usual one answers well and is never asked this.
    async fn turns_out_tls(
        &self,
        url: &Url,
        answer: &Result<(reqwest::Response, Place), Stumble>,
    ) -> bool {
        if !self.endpoints.is_unknown(url) {
            return false;
        }
        let odd = match answer {
            Ok((response, _)) => response.status() == StatusCode::BAD_REQUEST,
            Err(Stumble::Http(error)) => may_expect_tls(error),
            Err(Stumble::Other(_)) => return false,
        };
        let mut speaks = Speaks::Plain;
        let mut probe = url.clone();
        if odd && probe.set_scheme("https").is_ok() {
            probe.set_query(None);
            if let Ok(client) = self.connections.to(&probe) {
                let asked = client.head(probe).send();
                let answer = timeout(HANDSHAKE.min(self.patience), asked).await;
                let is_tls = match answer {
                    Ok(Ok(_)) => true,
                    Ok(Err(error)) => speaks_tls(&error),
                    Err(_) => false,
                };
                if is_tls {
                    speaks = Speaks::Tls;
                }
            }
        }
        if speaks == Speaks::Plain && answer.is_err() {
            // Nothing is known yet, and the next try may meet it in a better state.
            return false;
        }
        self.endpoints.learn(url, speaks);
        speaks == Speaks::Tls
    }

    /// Whom to name when something is told about the server of a URL.
    fn teller(&self, url: &Url, host: &RegistryHost) -> Teller {
        Teller {
            emit: Arc::clone(&self.emit),
            host: authority(url).parse().unwrap_or_else(|_| host.clone()),
        }
    }

    async fn hop(
        &self,
        host: &RegistryHost,
        request: &Request,
        url: &Url,
        authorization: Option<&HeaderValue>,
    ) -> Result<(reqwest::Response, Place), Stumble> {
        let client = self.connections.to(url)?;
        let mut place = self.limits.place(&authority(url)).await;
        // While this one waited for its place, another may have been told to wait.
        let left = self.gates.left(host);
        if !left.is_zero() {
            return Err(Failure::not_sent(left).into());
        }
        let mut message = client
            .request(request.method.clone(), url.clone())
            .headers(request.headers.clone());
        if let Some(authorization) = authorization {
            message = message.header(AUTHORIZATION, authorization);
        }
        let mut sent = None;
        if let Some(payload) = &request.payload {
            if payload.needs_requests() {
                place.give_back();
            }
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
                Ok(result) => break result.map_err(Stumble::Http),
                Err(_) => {
                    let now = sent.as_ref().map_or(0, |sent| sent.bytes());
                    // A source that has to wait has limits of its own.
                    let is_ours = sent
                        .as_ref()
                        .is_some_and(|sent| sent.waits_for_its_source());
                    silences = if now > before || is_ours {
                        0
                    } else {
                        silences + 1
                    };
                    let allowed = match &request.payload {
                        Some(Payload::Blob { size, .. }) if now >= *size => STORING,
                        _ => 1,
                    };
                    if silences >= allowed {
                        break Err(silence().into());
                    }
                    before = now;
                }
            }
        };
        let told = self.teller(url, host);
        (self.emit)(ClientEvent::Request {
            method: request.method.to_string(),
            host: told.host.clone(),
            path: url.path().to_owned(),
            status: result
                .as_ref()
                .ok()
                .map(|response| response.status().as_u16()),
            elapsed: begun.elapsed(),
        });
        let response = result?;
        if let Some(quota) = self.quotas.watch(&authority(url), response.headers()) {
            (self.emit)(ClientEvent::Quota {
                host: told.host.clone(),
                limit: quota.limit,
                remaining: quota.remaining,
                window: quota.window,
                low: quota.is_low(),
            });
        }
        match response.status().as_u16() {
            // The next one is let in when this answer has been understood.
            429 => {}
            // No praise, as it may turn out to be a limit, or overload.
            403 | 500.. => place.give_back(),
            _ => {
                told.change(place.succeeded());
                place.give_back();
            }
        }
        Ok((response, place))
    }
}

/// Why a request got no answer.
enum Stumble {
    Http(reqwest::Error),
    Other(Failure),
}

impl From<Failure> for Stumble {
    fn from(failure: Failure) -> Self {
        Self::Other(failure)
    }
}

impl Stumble {
    fn into_failure(self, host: &str) -> Failure {
        match self {
            Self::Http(error) => fault_of(error, host),
            Self::Other(failure) => failure,
        }
    }
}
