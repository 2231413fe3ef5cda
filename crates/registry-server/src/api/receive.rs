//! Taking in a request's body: bounded in memory, never waiting for ever, and the disk and the
//! hash working while the network does.

use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use http_body_util::BodyExt as _;
use tokio::sync::{OwnedMutexGuard, watch};
use tokio::task::JoinHandle;

use super::Incoming;
use crate::error::{ApiError, Code};
use crate::store::{StoreError, UploadFile};

/// Bytes that are handed to the disk at once; at most twice this is held per upload.
const BATCH: usize = 512 << 10;

/// The next piece of a body; `None` at its end. A sender that is silent for longer than this has
/// gone away.
pub(super) async fn next(
    body: &mut Incoming<'_>,
    silence: Duration,
) -> Result<Option<Bytes>, ApiError> {
    loop {
        let frame = tokio::time::timeout(silence, body.frame())
            .await
            .map_err(|_| {
                ApiError::new(Code::BlobUploadInvalid, "the body stopped coming")
                    .status(StatusCode::REQUEST_TIMEOUT)
            })?;
        match frame {
            None => return Ok(None),
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) if data.is_empty() => {}
                Ok(data) => return Ok(Some(data)),
                // Trailers.
                Err(_) => {}
            },
            Some(Err(error)) => {
                return Err(ApiError::new(
                    Code::BlobUploadInvalid,
                    format!("the body broke off: {error}"),
                ));
            }
        }
    }
}

type Guard = OwnedMutexGuard<UploadFile>;

/// Appends a body to an upload. Whatever happens, what was received before it is appended, and the
/// upload can go on from there. Ends with an error when `displaced` changes: another request has
/// taken the upload over.
pub(super) async fn append(
    upload: Guard,
    mut body: Incoming<'_>,
    mut displaced: watch::Receiver<u64>,
    silence: Duration,
) -> Result<Guard, ApiError> {
    let mut writer = Writer::Idle(upload);
    let mut batch = Vec::new();
    let mut size = 0;
    let end = loop {
        let piece = tokio::select! {
            piece = next(&mut body, silence) => piece,
            _ = displaced.changed() => Err(ApiError::new(
                Code::BlobUploadInvalid,
                "another request has taken this upload over",
            )),
        };
        match piece {
            Ok(Some(piece)) => {
                size += piece.len();
                batch.push(piece);
            }
            Ok(None) => break Ok(()),
            Err(error) => break Err(error),
        }
        if size >= BATCH {
            writer = Writer::start(writer.finish().await?, batch);
            batch = Vec::new();
            size = 0;
        }
    };
    let mut upload = writer.finish().await?;
    if !batch.is_empty() {
        upload = Writer::start(upload, batch).finish().await?;
    }
    end.map(|()| upload)
}

/// The disk's side: the file is with us, or with a thread that writes to it. A request that is
/// dropped meanwhile leaves the thread to finish and let go of the file.
enum Writer {
    Idle(Guard),
    Busy(JoinHandle<(Guard, Result<(), StoreError>)>),
}

impl Writer {
    fn start(mut upload: Guard, batch: Vec<Bytes>) -> Self {
        Self::Busy(tokio::task::spawn_blocking(move || {
            let result = upload.append(&batch);
            (upload, result)
        }))
    }

    async fn finish(self) -> Result<Guard, ApiError> {
        match self {
            Self::Idle(upload) => Ok(upload),
            Self::Busy(task) => {
                let (upload, result) = match task.await {
                    Ok(done) => done,
                    Err(error) => match error.try_into_panic() {
                        Ok(panic) => std::panic::resume_unwind(panic),
                        Err(error) => panic!("a blocking task is never cancelled: {error}"),
                    },
                };
                result?;
                Ok(upload)
            }
        }
    }
}
