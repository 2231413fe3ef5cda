//! Uploads that break off, go on, or are cut into chunks.

use launchway_registry::{ClientEvent, ErrorClass, PushOutcome, RegistryError};
use launchway_testkit::http::{Answer, Seen, Server, Step};

use crate::push::{UPLOADS, begun, blob, head};
use crate::support::{
    client, client_for, client_with_events, content, digest, options, repository,
};

const SIZE: usize = 1_500_000;
const HALF: usize = 500_000;

pub(crate) fn post(at: u32) -> Step {
    Step::new("POST", UPLOADS, begun(&format!("/up/{at}")))
}

pub(crate) fn put(at: u32, answer: Answer) -> Step {
    Step::new("PUT", format!("/up/{at}"), answer)
}

/// What the registry says it has, and where the upload goes on.
pub(crate) fn status(at: u32, range: &str, next: u32) -> Step {
    let answer = Answer::status(204)
        .header("range", range)
        .header("location", format!("/up/{next}"));
    Step::new("GET", format!("/up/{at}"), answer)
}

pub(crate) fn last_put(seen: &[Seen]) -> &Seen {
    seen.iter().rev().find(|seen| seen.method == "PUT").unwrap()
}

/// What becomes of a blob that is pushed to a registry that takes these steps, and all of them.
async fn pushed(bytes: &[u8], steps: Vec<Step>) -> Result<PushOutcome, RegistryError> {
    let server = Server::start(steps).await;
    let outcome = client()
        .push_blob(&repository(&server, "a"), &blob(bytes), &[])
        .await;
    server.finish();
    outcome
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
        let outcome = client_for(name)
            .push_blob(&repository(&server, "a"), &blob(&bytes), &[])
            .await;
        assert_eq!(outcome, Ok(PushOutcome::Uploaded), "{name}");
        assert_eq!(server.finish().last().unwrap().body, bytes, "{name}");
    }
}

#[tokio::test]
async fn an_upload_whose_answer_got_lost_is_not_sent_again() {
    let bytes = content(1000);
    let outcome = pushed(
        &bytes,
        vec![
            head(&bytes, 404),
            post(1),
            put(1, Answer::reset()),
            head(&bytes, 200),
        ],
    );
    assert_eq!(outcome.await, Ok(PushOutcome::Uploaded));
}

/// The registry stored the blob and then said nothing, each time.
#[tokio::test]
async fn the_answer_to_the_last_try_may_be_lost_too() {
    let bytes = content(1000);
    let outcome = pushed(
        &bytes,
        vec![
            head(&bytes, 404).times(3),
            post(1),
            put(1, Answer::reset()),
            status(1, "0-0", 2),
            put(2, Answer::reset()),
            status(2, "0-0", 3),
            put(3, Answer::reset()),
            head(&bytes, 200),
        ],
    );
    assert_eq!(outcome.await, Ok(PushOutcome::Uploaded));
}

#[tokio::test]
async fn what_beginning_took_is_not_held_against_sending() {
    let bytes = content(1000);
    let fails = Step::new("POST", UPLOADS, Answer::status(504)).times(2);
    let outcome = pushed(
        &bytes,
        vec![
            head(&bytes, 404).always(),
            fails,
            post(1),
            put(1, Answer::status(500)),
            status(1, "0-0", 2),
            put(2, Answer::status(500)),
            status(2, "0-0", 3),
            put(3, Answer::status(201)),
        ],
    );
    assert_eq!(outcome.await, Ok(PushOutcome::Uploaded));
}

/// A registry that lets us begin each time, and takes nothing, does not keep us for ever.
#[tokio::test]
async fn beginning_anew_is_no_progress() {
    let bytes = content(1000);
    let outcome = pushed(
        &bytes,
        vec![
            head(&bytes, 404).always(),
            Step::new("POST", UPLOADS, begun("/up/1")).times(3),
            put(1, Answer::status(404)).times(3),
        ],
    );
    let error = outcome.await.unwrap_err();
    assert_eq!((error.class, error.attempts), (ErrorClass::Transient, 3));
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
