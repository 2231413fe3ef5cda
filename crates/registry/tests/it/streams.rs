//! Blobs that are sent while they are read, from another registry or from elsewhere.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use launchway_registry::{
    BlobBody, BlobReadError, BlobReader, BlobSource, BlobStream, Client, ClientOptions, ErrorClass,
    Mirror, PushOutcome,
};
use launchway_testkit::http::{Answer, Server, Step};

use crate::push::{UPLOADS, begun, blob, head};
use crate::support::{client, client_with, content, digest, options, repository};
use crate::uploads::{last_put, post, put, status};

/// A blob of the source's repository `s`, to be sent to `a`.
fn passed_on(client: &Client, source: &Server, bytes: &[u8]) -> BlobSource {
    let (from, size) = (repository(source, "s"), bytes.len() as u64);
    BlobSource {
        body: BlobBody::Stream(client.blob_reader(&from, &digest(bytes), size)),
        ..blob(bytes)
    }
}

fn stored(bytes: &[u8], answer: Answer) -> Step {
    Step::new("GET", format!("/v2/s/blobs/{}", digest(bytes)), answer)
}

#[tokio::test]
async fn a_blob_goes_from_one_registry_to_another() {
    let bytes = content(3_000_000);
    let half = 1_700_000;
    let whole = || Answer::status(200).body(bytes.clone());
    let rest = Answer::status(206)
        .header("content-range", format!("bytes {half}-2999999/3000000"))
        .body(bytes[half..].to_vec());
    for (name, steps) in [
        ("at once", vec![stored(&bytes, whole())]),
        (
            "the source breaks off",
            vec![
                stored(&bytes, whole().reset_after(half)).without("range"),
                stored(&bytes, Answer::status(503)),
                stored(&bytes, rest).with("range", format!("bytes={half}-")),
            ],
        ),
    ] {
        let source = Server::start(steps).await;
        let target = Server::start(vec![
            head(&bytes, 404),
            Step::new("POST", UPLOADS, begun("/up/1")),
            Step::new("PUT", "/up/1", Answer::status(201)).with("content-length", "3000000"),
        ])
        .await;
        let client = client();
        let passed = passed_on(&client, &source, &bytes);
        let outcome = client
            .push_blob(&repository(&target, "a"), &passed, &[])
            .await;
        assert_eq!(outcome, Ok(PushOutcome::Uploaded), "{name}");
        assert_eq!(target.finish()[2].body, bytes, "{name}");
        source.finish();
    }
}

/// While the source has to wait, the target's silence is no failure.
#[tokio::test]
async fn a_source_that_has_to_wait_breaks_nothing_off() {
    let bytes = content(300_000);
    let limited = Answer::status(429).header("retry-after", "1");
    let whole = Answer::status(200).body(bytes.clone());
    let source = Server::start(vec![stored(&bytes, limited), stored(&bytes, whole)]).await;
    let target = Server::start(vec![
        head(&bytes, 404),
        post(1),
        put(1, Answer::status(201)),
    ])
    .await;
    let client = client();
    let passed = passed_on(&client, &source, &bytes);
    let outcome = client
        .push_blob(&repository(&target, "a"), &passed, &[])
        .await;
    assert_eq!(outcome, Ok(PushOutcome::Uploaded));
    target.finish();
    source.finish();
}

/// Gives one content in pieces of a mebibyte, and notes where it was asked to begin.
#[derive(Debug, Default)]
struct Memory {
    content: Bytes,
    breaks_off_at: Option<usize>,
    asked: Mutex<Vec<u64>>,
}

impl BlobReader for Memory {
    fn read_from(&self, offset: u64) -> BlobStream {
        self.asked.lock().unwrap().push(offset);
        let end = self.breaks_off_at.unwrap_or(self.content.len());
        let mut pieces: Vec<_> = self.content[offset as usize..end]
            .chunks(1 << 20)
            .map(|piece| Ok(Bytes::copy_from_slice(piece)))
            .collect();
        if self.breaks_off_at.is_some() {
            pieces.push(Err(BlobReadError::Local("the tape is torn".to_owned())));
        }
        Box::pin(futures_util::stream::iter(pieces))
    }
}

fn from_memory(memory: &Arc<Memory>, want: &[u8]) -> BlobSource {
    BlobSource {
        body: BlobBody::Stream(Arc::clone(memory) as Arc<dyn BlobReader>),
        ..blob(want)
    }
}

/// What breaks off at the target is read from the source again, but not all of it.
#[tokio::test]
async fn a_stream_goes_on_where_the_target_is() {
    let bytes = content(6 << 20);
    let range = format!("5000000-{}", bytes.len() - 1);
    let server = Server::start(vec![
        head(&bytes, 404).always(),
        post(1),
        put(1, Answer::reset()),
        status(1, "0-4999999", 2),
        put(2, Answer::status(201)).with("content-range", range),
    ])
    .await;
    let memory = Arc::new(Memory {
        content: Bytes::from(bytes.clone()),
        ..Memory::default()
    });
    let outcome = client()
        .push_blob(
            &repository(&server, "a"),
            &from_memory(&memory, &bytes),
            &[],
        )
        .await;
    assert_eq!(outcome, Ok(PushOutcome::Uploaded));
    assert!(last_put(&server.finish()).body == bytes[5_000_000..]);
    assert_eq!(*memory.asked.lock().unwrap(), [0, 4 << 20]);
}

/// Wrong content of a source is never completed at the target.
#[tokio::test]
async fn what_a_source_gives_wrong_is_not_completed() {
    let bytes = content(3_000_000);
    let mut turned = bytes.clone();
    turned[5] ^= 1;
    let right = || Answer::status(200).body(bytes.clone());
    let wrong = || Answer::status(200).body(turned.clone());
    let short = || Answer::status(200).body(bytes[..2_000_000].to_vec());
    let longer = || Answer::status(200).body([bytes.as_slice(), b"x"].concat());
    for (name, answers, asked) in [
        ("wrong and then right", vec![wrong(), right()], None),
        (
            "wrong twice",
            vec![wrong(), wrong()],
            Some("does not match its digest"),
        ),
        (
            "too long",
            vec![longer(), longer()],
            Some("does not match its digest"),
        ),
        ("not there", vec![Answer::status(404)], Some("answered 404")),
        (
            "too short",
            vec![short(), Answer::status(416), short()],
            Some("only 2000000 of"),
        ),
    ] {
        let source = Server::start(
            answers
                .into_iter()
                .map(|answer| stored(&bytes, answer))
                .collect(),
        )
        .await;
        let target = Server::start(vec![
            head(&bytes, 404),
            Step::new("POST", UPLOADS, begun("/up/1")).always(),
            put(1, Answer::status(201)).always(),
            Step::new("DELETE", "/up/1", Answer::status(204)).always(),
        ])
        .await;
        let client = client();
        let passed = passed_on(&client, &source, &bytes);
        let outcome = client
            .push_blob(&repository(&target, "a"), &passed, &[])
            .await;
        source.finish();
        let complete: Vec<Bytes> = target
            .finish()
            .into_iter()
            .filter(|seen| seen.method == "PUT" && !seen.body.is_empty())
            .map(|seen| seen.body)
            .collect();
        match asked {
            None => {
                assert_eq!(outcome, Ok(PushOutcome::Uploaded), "{name}");
                assert!(complete == [bytes.clone()], "{name}");
            }
            Some(want) => {
                let error = outcome.unwrap_err().to_string();
                assert!(error.contains(want), "{name}: {error}");
                assert!(complete.is_empty(), "{name}");
                assert_eq!(target.lines().last().unwrap(), "DELETE /up/1", "{name}");
            }
        }
    }
}

/// The error names the source where the source failed, and the target is told that nothing comes.
#[tokio::test]
async fn a_source_that_breaks_is_named() {
    let bytes = content(3 << 20);
    let server = Server::start(vec![
        head(&bytes, 404),
        post(1),
        put(1, Answer::status(201)),
        Step::new("DELETE", "/up/1", Answer::status(204)),
    ])
    .await;
    let memory = Arc::new(Memory {
        content: Bytes::from(bytes.clone()),
        breaks_off_at: Some(2 << 20),
        ..Memory::default()
    });
    let error = client()
        .push_blob(
            &repository(&server, "a"),
            &from_memory(&memory, &bytes),
            &[],
        )
        .await
        .unwrap_err();
    assert_eq!(error.class, ErrorClass::Permanent);
    assert!(error.detail.contains("the tape is torn"), "{error}");
    server.finish();
}

/// What a mirror gives wrong comes from the registry itself.
#[tokio::test]
async fn another_source_is_asked_after_wrong_content() {
    let bytes = content(2_000_000);
    let mirror = Server::start(vec![stored(
        &bytes,
        Answer::status(200).body(vec![7; bytes.len()]),
    )])
    .await;
    let origin = Server::start(vec![stored(
        &bytes,
        Answer::status(200).body(bytes.clone()),
    )])
    .await;
    let target = Server::start(vec![
        head(&bytes, 404),
        Step::new("POST", UPLOADS, begun("/up/1")).times(2),
        put(1, Answer::status(201)).times(2),
        Step::new("DELETE", "/up/1", Answer::status(204)),
    ])
    .await;
    let client = client_with(ClientOptions {
        mirrors: vec![Mirror {
            of: origin.host().parse().unwrap(),
            host: mirror.host().parse().unwrap(),
            prefix: None,
        }],
        ..options()
    });
    let passed = passed_on(&client, &origin, &bytes);
    let outcome = client
        .push_blob(&repository(&target, "a"), &passed, &[])
        .await;
    assert_eq!(outcome, Ok(PushOutcome::Uploaded));
    assert!(last_put(&target.finish()).body == bytes);
    mirror.finish();
    origin.finish();
}
