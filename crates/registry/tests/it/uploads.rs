//! Uploads that break off, go on, are cut into chunks, or come from another registry.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use launchway_registry::{
    BlobBody, BlobReadError, BlobReader, BlobSource, BlobStream, Client, ClientEvent,
    ClientOptions, ErrorClass, Mirror, PushOutcome,
};
use launchway_testkit::http::{Answer, Seen, Server, Step};

use crate::push::{UPLOADS, begun, blob, head};
use crate::support::{
    client, client_with, client_with_events, content, digest, options, repository,
};

const SIZE: usize = 1_500_000;
const HALF: usize = 500_000;

fn post(at: u32) -> Step {
    Step::new("POST", UPLOADS, begun(&format!("/up/{at}")))
}

fn put(at: u32, answer: Answer) -> Step {
    Step::new("PUT", format!("/up/{at}"), answer)
}

/// What the registry says it has, and where the upload goes on.
fn status(at: u32, range: &str, next: u32) -> Step {
    let answer = Answer::status(204)
        .header("range", range)
        .header("location", format!("/up/{next}"));
    Step::new("GET", format!("/up/{at}"), answer)
}

fn last_put(seen: &[Seen]) -> &Seen {
    seen.iter().rev().find(|seen| seen.method == "PUT").unwrap()
}

/// Whatever goes wrong, the whole body comes in the end, from its first byte.
#[tokio::test]
async fn uploads_start_over() {
    let bytes = content(SIZE);
    for (name, answer) in [
        ("500", Answer::status(500).html("oops")),
        ("503 before the body is read", Answer::status(503).early()),
        ("429", Answer::status(429).header("retry-after", "0")),
        (
            "the upload is forgotten",
            Answer::status(404).error("BLOB_UPLOAD_UNKNOWN", "what?"),
        ),
        ("reset after the body", Answer::reset()),
        ("reset at once", Answer::reset().early()),
        ("silence", Answer::silence()),
    ] {
        let server = Server::start(vec![
            head(&bytes, 404).always(),
            post(1),
            put(1, answer),
            Step::new("GET", "/up/1", Answer::status(404)).always(),
            post(2),
            put(2, Answer::status(201)),
        ])
        .await;
        let outcome = client()
            .push_blob(&repository(&server, "a"), &blob(&bytes), &[])
            .await;
        assert_eq!(outcome, Ok(PushOutcome::Uploaded), "{name}");
        assert_eq!(server.finish().last().unwrap().body, bytes, "{name}");
    }
}

#[tokio::test]
async fn an_upload_whose_answer_got_lost_is_not_sent_again() {
    let bytes = content(1000);
    let server = Server::start(vec![
        head(&bytes, 404),
        post(1),
        put(1, Answer::reset()),
        head(&bytes, 200),
    ])
    .await;
    let outcome = client()
        .push_blob(&repository(&server, "a"), &blob(&bytes), &[])
        .await;
    assert_eq!(outcome, Ok(PushOutcome::Uploaded));
    server.finish();
}

/// After a break the registry says how far it is, and what it says is believed when it can be.
#[tokio::test]
async fn uploads_go_on_where_the_registry_is() {
    let bytes = content(SIZE);
    let rest = || put(2, Answer::status(201)).with("content-range", "500000-1499999");
    let refused = Answer::status(400).error("DIGEST_INVALID", "no");
    for (name, steps, first_byte, last_at) in [
        (
            "from the middle",
            vec![status(1, "0-499999", 2), rest()],
            HALF,
            2,
        ),
        (
            "with the unit",
            vec![status(1, "bytes=0-499999", 2), rest()],
            HALF,
            2,
        ),
        (
            "all is there",
            vec![
                status(1, "0-1499999", 2),
                put(2, Answer::status(201)).with("content-length", "0"),
            ],
            SIZE,
            2,
        ),
        (
            "nothing is there",
            vec![
                status(1, "0-0", 2),
                put(2, Answer::status(201)).without("content-range"),
            ],
            0,
            2,
        ),
        (
            "more than was sent",
            vec![
                status(1, "0-1500000", 2),
                post(3),
                put(3, Answer::status(201)),
            ],
            0,
            3,
        ),
        (
            "not from the start",
            vec![status(1, "5-9", 2), post(3), put(3, Answer::status(201))],
            0,
            3,
        ),
        (
            "no word",
            vec![
                Step::new("GET", "/up/1", Answer::status(200)),
                post(3),
                put(3, Answer::status(201)),
            ],
            0,
            3,
        ),
        (
            "nobody knows the question",
            vec![
                Step::new("GET", "/up/1", Answer::status(405)),
                post(3),
                put(3, Answer::status(201)),
            ],
            0,
            3,
        ),
        (
            "the question breaks off again and again",
            vec![
                Step::new("GET", "/up/1", Answer::status(502)).times(2),
                post(3),
                put(3, Answer::status(201)),
            ],
            0,
            3,
        ),
        (
            "the question breaks off once",
            vec![
                Step::new("GET", "/up/1", Answer::reset()),
                status(1, "0-499999", 2),
                rest(),
            ],
            HALF,
            2,
        ),
        (
            "the rest is refused",
            vec![
                status(1, "0-499999", 2),
                put(2, refused.clone()),
                post(3),
                put(3, Answer::status(201)),
            ],
            0,
            3,
        ),
        (
            "the rest belongs elsewhere",
            vec![
                status(1, "0-699999", 2),
                put(2, Answer::status(416)).with("content-range", "700000-1499999"),
                status(2, "0-499999", 2),
                rest(),
            ],
            HALF,
            2,
        ),
        (
            "the upload is forgotten in between",
            vec![
                status(1, "0-499999", 2),
                put(2, Answer::status(404)),
                post(3),
                put(3, Answer::status(201)),
            ],
            0,
            3,
        ),
    ] {
        let mut all = vec![head(&bytes, 404).always(), post(1), put(1, Answer::reset())];
        all.extend(steps);
        let server = Server::start(all).await;
        let (client, told) = client_with_events(options());
        let outcome = client
            .push_blob(&repository(&server, "a"), &blob(&bytes), &[])
            .await;
        assert_eq!(outcome, Ok(PushOutcome::Uploaded), "{name}");
        let seen = server.finish();
        let last = last_put(&seen);
        assert_eq!(last.path(), format!("/up/{last_at}"), "{name}");
        assert_eq!(last.body, bytes[first_byte..], "{name}");
        let sum = digest(&bytes).to_string().replace(':', "%3A");
        assert_eq!(last.query(), format!("digest={sum}"), "{name}");
        let told = told.lock().unwrap();
        let done = told.iter().rev().find_map(|event| match event {
            ClientEvent::BlobProgress { done, total, .. } => Some((*done, *total)),
            _ => None,
        });
        assert_eq!(done, Some((SIZE as u64, SIZE as u64)), "{name}");
    }
}

/// A registry that takes half, says so, and refuses the rest does not keep us for ever.
#[tokio::test]
async fn an_upload_that_never_gets_anywhere_ends() {
    let bytes = content(3 << 20);
    let server = Server::start(vec![
        head(&bytes, 404).always(),
        Step::new("POST", UPLOADS, begun("/up/1")).always(),
        Step::new("PUT", "/up/1", Answer::status(400))
            .with("content-range", "2097152-3145727")
            .always(),
        put(1, Answer::reset()).always(),
        status(1, "0-2097151", 1).always(),
    ])
    .await;
    let error = client()
        .push_blob(&repository(&server, "a"), &blob(&bytes), &[])
        .await
        .unwrap_err();
    assert_eq!(error.class, ErrorClass::Transient);
    assert!(server.seen().len() < 40, "{}", server.seen().len());
}

fn patch(at: u32, range: &str, answer: Answer) -> Step {
    Step::new("PATCH", format!("/up/{at}"), answer).with("content-range", range)
}

/// The answer to a chunk.
fn taken(range: &str, next: u32) -> Answer {
    Answer::status(202)
        .header("range", range)
        .header("location", format!("/up/{next}"))
}

#[tokio::test]
async fn a_body_that_is_too_long_is_cut_into_chunks() {
    let bytes = content(300_000);
    let too_long =
        || put(1, Answer::status(413).html("too large")).with("content-length", "300000");
    for (name, first, steps) in [
        (
            "two halves",
            begun("/up/1"),
            vec![
                too_long(),
                patch(1, "0-149999", taken("0-149999", 2)),
                put(2, Answer::status(201)).with("content-range", "150000-299999"),
            ],
        ),
        (
            "said before the body was read",
            begun("/up/1"),
            vec![
                put(1, Answer::status(413).early()),
                patch(1, "0-149999", taken("0-149999", 2)),
                put(2, Answer::status(201)).with("content-range", "150000-299999"),
            ],
        ),
        (
            "still too long",
            begun("/up/1"),
            vec![
                too_long(),
                patch(1, "0-149999", Answer::status(413)),
                patch(1, "0-74999", taken("0-74999", 2)),
                patch(2, "75000-149999", taken("0-149999", 3)),
                patch(3, "150000-224999", taken("0-224999", 4)),
                put(4, Answer::status(201)).with("content-range", "225000-299999"),
            ],
        ),
        (
            "chunks may not be shorter",
            begun("/up/1").header("oci-chunk-min-length", "200000"),
            vec![
                too_long(),
                patch(1, "0-199999", taken("0-199999", 2)),
                put(2, Answer::status(201)).with("content-range", "200000-299999"),
            ],
        ),
        (
            "less is taken than was sent",
            begun("/up/1"),
            vec![
                too_long(),
                patch(1, "0-149999", taken("0-99999", 2)),
                patch(2, "100000-249999", taken("0-249999", 3)),
                put(3, Answer::status(201)).with("content-range", "250000-299999"),
            ],
        ),
        (
            "the registry is elsewhere",
            begun("/up/1"),
            vec![
                too_long(),
                patch(1, "0-149999", Answer::status(416)),
                status(1, "0-99999", 2),
                patch(2, "100000-249999", taken("0-249999", 3)),
                put(3, Answer::status(201)).with("content-range", "250000-299999"),
            ],
        ),
        (
            "no word of how much was taken",
            begun("/up/1"),
            vec![
                too_long(),
                patch(1, "0-149999", Answer::status(202)),
                put(1, Answer::status(201)).with("content-range", "150000-299999"),
            ],
        ),
        (
            "a chunk breaks off",
            begun("/up/1"),
            vec![
                too_long(),
                patch(1, "0-149999", Answer::reset()),
                status(1, "0-149999", 2),
                put(2, Answer::status(201)).with("content-range", "150000-299999"),
            ],
        ),
    ] {
        let mut all = vec![
            head(&bytes, 404).always(),
            Step::new("POST", UPLOADS, first),
        ];
        all.extend(steps);
        let server = Server::start(all).await;
        let client = client();
        let target = repository(&server, "a");
        let outcome = client.push_blob(&target, &blob(&bytes), &[]).await;
        assert_eq!(outcome, Ok(PushOutcome::Uploaded), "{name}");
        let seen = server.finish();
        let mut stored = vec![0; bytes.len()];
        for part in seen.iter().filter(|seen| seen.body.len() < bytes.len()) {
            let Some(range) = part.header("content-range") else {
                continue;
            };
            let from: usize = range.split('-').next().unwrap().parse().unwrap();
            stored[from..from + part.body.len()].copy_from_slice(&part.body);
        }
        assert!(stored == bytes, "{name}");
        if name == "two halves" {
            // What was learned holds for the next blob.
            let next = content(200_000);
            server.extend(vec![
                head(&next, 404),
                post(7),
                patch(7, "0-149999", taken("0-149999", 8)),
                put(8, Answer::status(201)).with("content-range", "150000-199999"),
            ]);
            let outcome = client.push_blob(&target, &blob(&next), &[]).await;
            assert_eq!(outcome, Ok(PushOutcome::Uploaded));
            server.finish();
        }
    }
}

#[tokio::test]
async fn a_registry_that_takes_no_body_at_all() {
    let bytes = content(100_000);
    let server = Server::start(vec![
        head(&bytes, 404),
        post(1),
        put(1, Answer::status(413)),
        patch(1, "0-65535", Answer::status(413)),
    ])
    .await;
    let error = client()
        .push_blob(&repository(&server, "a"), &blob(&bytes), &[])
        .await
        .unwrap_err();
    assert_eq!(
        (error.class, error.status),
        (ErrorClass::Permanent, Some(413))
    );
    server.finish();
}

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
