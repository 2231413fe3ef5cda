//! `/v2/NAME/blobs/uploads/` and the sessions below it.
//!
//! A session is a temporary file that knows the hash of what is in it. It lives in memory and ends
//! with the process; a client then starts again, as it has to with any registry.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Response, StatusCode};
use launchway_model::{Algorithm, Digest};
use tokio::sync::{OwnedMutexGuard, watch};

use super::{
    Answer, Call, DOCKER_CONTENT_DIGEST, Incoming, Inner, plain, receive, set, text, value,
};
use crate::access::{Action, Caller, REPOSITORY};
use crate::body::Body;
use crate::error::{ApiError, Code};
use crate::range;
use crate::route::{RepositoryName, parse_digest};
use crate::store::{UploadFile, random_id};

const UPLOAD_UUID: HeaderName = HeaderName::from_static("docker-upload-uuid");

/// The uploads under way.
pub(super) struct Uploads {
    sessions: Mutex<HashMap<String, Arc<Session>>>,
    expiry: Duration,
}

struct Session {
    repository: RepositoryName,
    file: Arc<tokio::sync::Mutex<UploadFile>>,
    /// Bytes received, readable while a request is busy with the file.
    progress: Arc<AtomicU64>,
    /// Changed by whoever wants the file: a request that still waits for a client that is long
    /// gone lets go of it.
    takeover: watch::Sender<u64>,
    touched: Mutex<Instant>,
}

impl Session {
    fn new(repository: RepositoryName, file: UploadFile) -> Self {
        Self {
            repository,
            progress: file.progress(),
            file: Arc::new(tokio::sync::Mutex::new(file)),
            takeover: watch::Sender::new(0),
            touched: Mutex::new(Instant::now()),
        }
    }

    /// The file, taken from any request that has it, and word of being displaced in turn.
    async fn take_over(
        &self,
    ) -> Result<(OwnedMutexGuard<UploadFile>, watch::Receiver<u64>), ApiError> {
        self.takeover.send_modify(|turn| *turn += 1);
        let displaced = self.takeover.subscribe();
        let file = Arc::clone(&self.file).lock_owned().await;
        if file.is_open() {
            Ok((file, displaced))
        } else {
            Err(no_such_upload())
        }
    }

    fn touch(&self) -> MutexGuard<'_, Instant> {
        self.touched
            .lock()
            .expect("nothing panics while it holds a time")
    }
}

impl Uploads {
    pub(super) fn new(expiry: Duration) -> Self {
        Self {
            sessions: Mutex::default(),
            expiry,
        }
    }

    fn sessions(&self) -> MutexGuard<'_, HashMap<String, Arc<Session>>> {
        self.sessions
            .lock()
            .expect("nothing panics while it holds the map of uploads")
    }

    fn get(&self, repository: &RepositoryName, id: &str) -> Result<Arc<Session>, ApiError> {
        let sessions = self.sessions();
        let session = sessions
            .get(id)
            .filter(|session| session.repository == *repository)
            .ok_or_else(no_such_upload)?;
        *session.touch() = Instant::now();
        Ok(Arc::clone(session))
    }

    /// Enters a session, and gives up those that nobody has touched for long.
    fn enter(&self, id: String, session: Session) {
        self.sweep();
        self.sessions().insert(id, Arc::new(session));
    }

    /// Gives up the sessions that nobody has touched for long.
    pub(super) fn sweep(&self) {
        let expiry = self.expiry;
        let expired: Vec<_> = self
            .sessions()
            .extract_if(|_, session| {
                Arc::strong_count(session) == 1 && session.touch().elapsed() > expiry
            })
            .collect();
        // Removes their files, which is no work to do under the lock.
        drop(expired);
    }

    fn remove(&self, id: &str) {
        let removed = self.sessions().remove(id);
        drop(removed);
    }
}

pub(super) async fn start(
    inner: &Arc<Inner>,
    name: RepositoryName,
    call: &Call<'_>,
    caller: &Caller,
    body: Incoming<'_>,
) -> Answer {
    if let Some(digest) = call.query.get("mount") {
        let digest = parse_digest(digest)?;
        let from = call
            .query
            .get("from")
            .map(RepositoryName::parse)
            .transpose()?;
        if let Some(source) = source(inner, call, caller, &name, from)?
            && mount(inner, &name, source, &digest).await?
        {
            return Ok(created(&name, &digest));
        }
        return open_session(inner, name, digest.algorithm()).await;
    }
    if let Some(digest) = call.query.get("digest") {
        let digest = parse_digest(digest)?;
        let file = new_file(inner, random_id(), digest.algorithm()).await?;
        let session = Session::new(name, file);
        let (file, displaced) = session.take_over().await?;
        let file = receive::append(file, body, displaced, inner.options.body_silence).await?;
        return store(inner, session.repository, file, digest).await;
    }
    let algorithm = match call.query.get("digest-algorithm") {
        None | Some("sha256") => Algorithm::Sha256,
        Some("sha512") => Algorithm::Sha512,
        Some(other) => {
            return Err(ApiError::new(
                Code::DigestInvalid,
                format!("unknown digest algorithm {other:?}, known are sha256 and sha512"),
            ));
        }
    };
    open_session(inner, name, algorithm).await
}

pub(super) fn status(inner: &Arc<Inner>, name: &RepositoryName, id: &str) -> Answer {
    let session = inner.uploads.get(name, id)?;
    let received = session.progress.load(Ordering::Acquire);
    Ok(in_progress(StatusCode::NO_CONTENT, name, id, received))
}

pub(super) async fn chunk(
    inner: &Arc<Inner>,
    name: &RepositoryName,
    id: &str,
    call: &Call<'_>,
    body: Incoming<'_>,
) -> Answer {
    let session = inner.uploads.get(name, id)?;
    let (file, displaced) = session.take_over().await?;
    let place = Place::check(call.headers, file.written(), name, id)?;
    let file = receive::append(file, body, displaced, inner.options.body_silence).await?;
    place.check_end(file.written())?;
    Ok(in_progress(StatusCode::ACCEPTED, name, id, file.written()))
}

pub(super) async fn finish(
    inner: &Arc<Inner>,
    name: RepositoryName,
    id: &str,
    call: &Call<'_>,
    body: Incoming<'_>,
) -> Answer {
    let session = inner.uploads.get(&name, id)?;
    let digest = call.query.get("digest").ok_or_else(|| {
        ApiError::new(
            Code::DigestInvalid,
            "an upload is finished with the digest of the blob as a parameter",
        )
    })?;
    let digest = parse_digest(digest)?;
    let (file, displaced) = session.take_over().await?;
    let place = Place::check(call.headers, file.written(), &name, id)?;
    let file = receive::append(file, body, displaced, inner.options.body_silence).await?;
    place.check_end(file.written())?;
    let answer = store(inner, name, file, digest).await;
    inner.uploads.remove(id);
    answer
}

pub(super) async fn cancel(inner: &Arc<Inner>, name: &RepositoryName, id: &str) -> Answer {
    let session = inner.uploads.get(name, id)?;
    let (mut file, _) = session.take_over().await?;
    inner.uploads.remove(id);
    super::blocking(move || file.discard()).await;
    Ok(plain(StatusCode::NO_CONTENT))
}

/// Where a chunk belongs, by its `Content-Range`.
struct Place {
    /// The offset behind the chunk's last byte.
    end: Option<u64>,
}

impl Place {
    /// A chunk that does not start where the upload ends is out of order.
    fn check(
        headers: &HeaderMap,
        received: u64,
        name: &RepositoryName,
        id: &str,
    ) -> Result<Self, ApiError> {
        let length = text(headers, header::CONTENT_LENGTH).and_then(|text| text.parse().ok());
        let Some(header) = text(headers, header::CONTENT_RANGE) else {
            return Ok(Self { end: None });
        };
        let out_of_order = |message: String| {
            let mut error = ApiError::new(Code::BlobUploadInvalid, message)
                .status(StatusCode::RANGE_NOT_SATISFIABLE);
            for (name, value) in in_progress(StatusCode::ACCEPTED, name, id, received).headers() {
                if name != header::CONTENT_LENGTH {
                    error = error.header(name.clone(), value.clone());
                }
            }
            error
        };
        let Some(range) = range::chunk(header) else {
            return Err(out_of_order(format!("{header:?} is no range of a chunk")));
        };
        if range.start != received {
            return Err(out_of_order(format!(
                "the chunk starts at {}, the upload stands at {received}",
                range.start
            )));
        }
        if length.is_some_and(|length: u64| length != range.end - range.start) {
            return Err(ApiError::new(
                Code::SizeInvalid,
                "the Content-Range and the Content-Length of the chunk differ",
            ));
        }
        Ok(Self {
            end: Some(range.end),
        })
    }

    fn check_end(&self, received: u64) -> Result<(), ApiError> {
        match self.end {
            Some(end) if end != received => Err(ApiError::new(
                Code::SizeInvalid,
                format!("the chunk was to end at {end}, it ended at {received}"),
            )),
            _ => Ok(()),
        }
    }
}

/// Where a mount may take its blob from.
enum Source {
    /// The first of these that has it.
    Repositories(Vec<RepositoryName>),
    /// Any repository.
    Pool,
}

/// Where this caller's mount may look; `None` when it may not look anywhere, and the blob is to be
/// sent. Nobody gets a blob by a mount that they could not have pulled.
fn source(
    inner: &Arc<Inner>,
    call: &Call<'_>,
    caller: &Caller,
    name: &RepositoryName,
    from: Option<RepositoryName>,
) -> Result<Option<Source>, ApiError> {
    let door = &inner.door;
    let Some(from) = from else {
        return Ok(match caller {
            _ if door.reads_everything(caller) => Some(Source::Pool),
            Caller::Bearer(scopes) => {
                let names = scopes
                    .iter()
                    .filter(|scope| scope.covers(REPOSITORY, &scope.name, Action::Pull))
                    .filter_map(|scope| RepositoryName::parse(&scope.name).ok());
                Some(Source::Repositories(names.collect()))
            }
            _ => None,
        });
    };
    if door.may(caller, &from, Action::Pull) {
        Ok(Some(Source::Repositories(vec![from])))
    } else if door.could_read(caller, &from) {
        // The client can have it, and only has to ask for a token that says so.
        Err(door.challenge_mount(&call.front, name, &from))
    } else {
        Ok(None)
    }
}

async fn mount(
    inner: &Arc<Inner>,
    name: &RepositoryName,
    source: Source,
    digest: &Digest,
) -> Result<bool, ApiError> {
    let (name, digest) = (name.clone(), digest.clone());
    let mounted = inner.blocking(move |inner| {
        let blobs = inner.store.blobs();
        let from = match source {
            Source::Repositories(names) => {
                let mut found = None;
                for from in names {
                    if let Some(from) = inner.store.repository(&from)?
                        && from.blob_size(&digest)?.is_some()
                    {
                        found = Some(from);
                        break;
                    }
                }
                match found {
                    None => return Ok(false),
                    found => found,
                }
            }
            Source::Pool if blobs.is_pooled(&digest) => None,
            Source::Pool => return Ok(false),
        };
        let to = inner.store.create_repository(&name)?.blobs();
        match from {
            Some(from) => blobs.mount(&from.blobs(), &to, &digest),
            None => blobs.mount_from_pool(&to, &digest),
        }
    });
    super::stored(mounted.await)
}

async fn new_file(
    inner: &Arc<Inner>,
    id: String,
    algorithm: Algorithm,
) -> Result<UploadFile, ApiError> {
    let created =
        inner.blocking(move |inner| UploadFile::create(inner.store.disk(), &id, algorithm));
    super::stored(created.await)
}

async fn open_session(inner: &Arc<Inner>, name: RepositoryName, algorithm: Algorithm) -> Answer {
    let id = random_id();
    let file = new_file(inner, id.clone(), algorithm).await?;
    let response = in_progress(StatusCode::ACCEPTED, &name, &id, 0);
    inner.uploads.enter(id, Session::new(name, file));
    Ok(response)
}

/// Puts a complete upload in its place if it is what it was said to be.
async fn store(
    inner: &Arc<Inner>,
    name: RepositoryName,
    mut file: OwnedMutexGuard<UploadFile>,
    digest: Digest,
) -> Answer {
    let response = created(&name, &digest);
    inner
        .blocking(move |inner| {
            let size = file.written();
            let Some((found, temp)) = file.finish(digest.algorithm())? else {
                return Err(no_such_upload());
            };
            if found != digest {
                return Err(ApiError::new(
                    Code::DigestInvalid,
                    format!("the digest of the {size} bytes received is {found}"),
                ));
            }
            let repository = inner.store.create_repository(&name)?;
            super::stored(repository.add_blob(&digest, temp, size))
        })
        .await?;
    Ok(response)
}

fn created(name: &RepositoryName, digest: &Digest) -> Response<Body> {
    let mut response = plain(StatusCode::CREATED);
    let location = value(format!("/v2/{name}/blobs/{digest}"));
    set(&mut response, header::LOCATION, location);
    set(
        &mut response,
        DOCKER_CONTENT_DIGEST,
        value(digest.to_string()),
    );
    response
}

fn in_progress(
    status: StatusCode,
    name: &RepositoryName,
    id: &str,
    received: u64,
) -> Response<Body> {
    let mut response = plain(status);
    let location = value(format!("/v2/{name}/blobs/uploads/{id}"));
    set(&mut response, header::LOCATION, location);
    // Inclusive, so there is no way to write that nothing came; `0-0` is what clients expect then.
    let range = format!("0-{}", received.saturating_sub(1));
    set(&mut response, header::RANGE, value(range));
    let id = HeaderValue::from_str(id).unwrap_or(HeaderValue::from_static(""));
    set(&mut response, UPLOAD_UUID, id);
    response
}

fn no_such_upload() -> ApiError {
    ApiError::new(
        Code::BlobUploadUnknown,
        "there is no such upload; it may have been finished, cancelled or given up",
    )
}
