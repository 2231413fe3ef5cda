//! The endpoints: one module per kind of thing, one function per method.

mod blobs;
mod listings;
mod manifests;
mod mirror;
mod receive;
mod token;
mod uploads;

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt as _;

use crate::access::{Door, Front};
use crate::body::Body;
use crate::error::{ApiError, Code};
use crate::query::Query;
use crate::route::{RepositoryName, Route};
use crate::store::{Repository, Store, StoreError};
use crate::{Event, Options, page};

const DOCKER_CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");
const API_VERSION: HeaderName = HeaderName::from_static("docker-distribution-api-version");
/// How much of a body nobody wants is read so that the client gets to see the answer.
const DRAIN: usize = 256 << 10;
const DRAIN_TIME: Duration = Duration::from_secs(2);
/// How many bytes the headers of a request may have in all.
const HEADERS: usize = 64 << 10;

type BoxError = Box<dyn std::error::Error + Send + Sync>;
/// A request's body, whatever its type was.
type Incoming<'a> = Pin<&'a mut (dyn http_body::Body<Data = Bytes, Error = BoxError> + Send + 'a)>;
type Answer = Result<Response<Body>, ApiError>;

/// A registry's state.
pub(crate) struct Inner {
    pub(crate) store: Store,
    /// What pages remember.
    pub(crate) page: page::Memory,
    uploads: uploads::Uploads,
    pub(crate) door: Door,
    mirror: Option<mirror::Mirror>,
    options: Options,
}

/// The head of a request, taken apart.
struct Call<'a> {
    method: &'a Method,
    headers: &'a HeaderMap,
    query: Query<'a>,
    /// How the client reached us, for addresses that it is told.
    front: Front,
}

impl Inner {
    pub(crate) fn new(store: Store, mut options: Options) -> Self {
        Self {
            store,
            page: page::Memory::default(),
            door: Door::new(options.access.take()),
            mirror: options
                .mirror
                .take()
                // What is fetched has to be put somewhere.
                .filter(|_| !options.read_only)
                .map(mirror::Mirror::new),
            uploads: uploads::Uploads::new(options.upload_expiry),
            options,
        }
    }

    pub(crate) fn tell(&self, event: impl FnOnce() -> Event) {
        if let Some(events) = &self.options.events {
            events(event());
        }
    }

    /// Passes on that the file of users has become unusable.
    fn tell_of_users(&self) {
        if let Some(reason) = self
            .door
            .access()
            .and_then(|access| access.users.take_problem())
        {
            self.tell(|| Event::Warned { reason });
        }
    }

    /// Throws away uploads that nobody has touched for long.
    pub(crate) fn sweep(&self) {
        self.uploads.sweep();
    }

    /// The repository, or a refusal with this code.
    async fn repository(
        self: &Arc<Self>,
        name: RepositoryName,
        missing: Code,
    ) -> Result<Arc<Repository>, ApiError> {
        let text = name.to_string();
        self.blocking(move |inner| inner.store.repository(&name))
            .await?
            .ok_or_else(|| ApiError::new(missing, format!("there is no repository {text}")))
    }

    /// Runs what blocks on a thread for it.
    pub(crate) async fn blocking<T, E>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: Send + 'static,
    {
        let inner = Arc::clone(self);
        blocking(move || work(&inner)).await
    }
}

/// Runs what blocks on a thread for it; a panic there goes on here.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(value) => value,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(error) => panic!("a blocking task is never cancelled: {error}"),
        },
    }
}

/// Answers a request; every refusal has become a response.
pub(crate) async fn answer<B>(
    inner: &Arc<Inner>,
    request: Request<B>,
    secure: bool,
) -> Response<Body>
where
    B: http_body::Body<Data = Bytes> + Send,
    B::Error: Into<BoxError>,
{
    let (head, body) = request.into_parts();
    // Fused, because what is left of a body may be asked for after it has ended or failed.
    let body = pin!(body.map_err(Into::into));
    let mut body = pin!(body.fuse());
    let call = Call {
        method: &head.method,
        headers: &head.headers,
        query: Query::parse(head.uri.query()),
        front: Front {
            secure,
            host: host(&head),
        },
    };
    let result = dispatch(inner, head.uri.path(), &call, body.as_mut()).await;
    let mut response = match result {
        Ok(response) => response,
        Err(error) => {
            if let Some(reason) = &error.internal {
                inner.tell(|| Event::Failed {
                    path: head.uri.path().to_owned(),
                    reason: reason.clone(),
                });
            }
            // A client that is still sending would see a reset instead of the reason.
            if !call.headers.contains_key(header::EXPECT) {
                drain(body.as_mut()).await;
            }
            error.into_response()
        }
    };
    let headers = response.headers_mut();
    headers.insert(API_VERSION, HeaderValue::from_static("registry/2.0"));
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    if head.method == Method::HEAD {
        *response.body_mut() = Body::empty();
    }
    response
}

async fn dispatch(inner: &Arc<Inner>, path: &str, call: &Call<'_>, body: Incoming<'_>) -> Answer {
    let size: usize = call
        .headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len())
        .sum();
    if size > HEADERS {
        let message = format!("the headers of a request have at most {HEADERS} bytes here");
        return Err(ApiError::new(Code::Unsupported, message)
            .status(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE));
    }
    let route = Route::parse(path)?;
    let Some(need) = route.need(call.method) else {
        return token::issue(inner, call, body).await;
    };
    let caller = inner.door.identify(call.headers, &call.front, &need).await;
    inner.tell_of_users();
    let caller = caller?;
    inner.door.require(&caller, &need, &call.front)?;
    let reads = matches!(*call.method, Method::GET | Method::HEAD);
    if let Some(mirror) = &inner.mirror {
        mirror.check_namespace(call.query.get("ns"))?;
        if !reads {
            return Err(mirror.refusal());
        }
    }
    if !reads && inner.options.read_only {
        return Err(ApiError::new(
            Code::Unsupported,
            "this registry is read-only",
        ));
    }
    match route {
        Route::Page(place) if reads => {
            let viewer = page::Viewer { caller };
            let known = |digest: &_| is_known(call, digest);
            page::answer(inner, place, viewer, &call.query, known).await
        }
        Route::Base if reads => Ok(json(&serde_json::json!({}))),
        Route::Catalog if reads => listings::catalog(inner, &call.query).await,
        Route::Tags(name) if reads => listings::tags(inner, name, &call.query).await,
        Route::Referrers(name, digest) if reads => {
            listings::referrers(inner, name, &digest, &call.query).await
        }
        Route::Token
        | Route::Page(_)
        | Route::Base
        | Route::Catalog
        | Route::Tags(_)
        | Route::Referrers(..) => Err(ApiError::method("GET, HEAD")),
        Route::Manifest(name, reference) => match *call.method {
            Method::GET | Method::HEAD => manifests::get(inner, name, &reference, call).await,
            Method::PUT => manifests::put(inner, name, &reference, call, body).await,
            Method::DELETE => manifests::delete(inner, name, &reference).await,
            _ => Err(ApiError::method("GET, HEAD, PUT, DELETE")),
        },
        Route::Blob(name, digest) => match *call.method {
            Method::GET | Method::HEAD => blobs::get(inner, name, &digest, call, &caller).await,
            Method::DELETE => blobs::delete(inner, name, &digest).await,
            _ => Err(ApiError::method("GET, HEAD, DELETE")),
        },
        Route::Uploads(name) => match *call.method {
            Method::POST => uploads::start(inner, name, call, &caller, body).await,
            _ => Err(ApiError::method("POST")),
        },
        Route::Upload(name, id) => match *call.method {
            Method::GET | Method::HEAD => uploads::status(inner, &name, &id),
            Method::PATCH => uploads::chunk(inner, &name, &id, call, body).await,
            Method::PUT => uploads::finish(inner, name, &id, call, body).await,
            Method::DELETE => uploads::cancel(inner, &name, &id).await,
            _ => Err(ApiError::method("GET, HEAD, PATCH, PUT, DELETE")),
        },
    }
}

/// The host and port that the client used, as it says.
fn host(head: &http::request::Parts) -> Option<String> {
    let authority = head.uri.authority().map(http::uri::Authority::as_str);
    let named = authority.or_else(|| text(&head.headers, header::HOST))?;
    // It comes back in addresses and headers: nothing that is not a host gets that far.
    let authority: http::uri::Authority = named.parse().ok()?;
    (!authority.as_str().contains('@')).then(|| authority.to_string())
}

async fn drain(mut body: Incoming<'_>) {
    let read = async {
        let mut left = DRAIN;
        while let Some(Ok(frame)) = body.frame().await {
            let length = frame.data_ref().map_or(0, Bytes::len);
            if length > left {
                break;
            }
            left -= length;
        }
    };
    // Whether it worked or not, the answer goes out now.
    let _ = tokio::time::timeout(DRAIN_TIME, read).await;
}

/// An answer without a body.
fn plain(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    if status != StatusCode::NO_CONTENT && status != StatusCode::NOT_MODIFIED {
        set(&mut response, header::CONTENT_LENGTH, HeaderValue::from(0));
    }
    response
}

fn json(value: &impl serde::Serialize) -> Response<Body> {
    typed_json(value, "application/json")
}

fn typed_json(value: &impl serde::Serialize, media_type: &'static str) -> Response<Body> {
    let text = serde_json::to_vec(value).expect("answers are plain data");
    with_bytes(text.into(), HeaderValue::from_static(media_type))
}

pub(crate) fn with_bytes(bytes: Bytes, media_type: HeaderValue) -> Response<Body> {
    let length = HeaderValue::from(bytes.len());
    let mut response = Response::new(Body::full(bytes));
    set(&mut response, header::CONTENT_LENGTH, length);
    set(&mut response, header::CONTENT_TYPE, media_type);
    response
}

fn set(response: &mut Response<Body>, name: HeaderName, value: HeaderValue) {
    response.headers_mut().insert(name, value);
}

/// A header's value out of text whose grammar is a subset of what headers hold.
fn value(text: impl AsRef<str>) -> HeaderValue {
    HeaderValue::from_str(text.as_ref()).expect("names, tags and digests are plain ASCII")
}

/// Whether a conditional request (RFC 9110, section 13.1.2) has these very bytes already.
fn is_known(call: &Call<'_>, digest: &launchway_model::Digest) -> bool {
    let Some(list) = text(call.headers, header::IF_NONE_MATCH) else {
        return false;
    };
    let digest = digest.to_string();
    list.split(',').any(|tag| {
        let tag = tag.trim();
        let tag = tag.strip_prefix("W/").unwrap_or(tag);
        tag == "*" || tag.trim_matches('"') == digest
    })
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

/// `Result` of a store's work in the words of an endpoint.
fn stored<T>(result: Result<T, StoreError>) -> Result<T, ApiError> {
    result.map_err(ApiError::from)
}
