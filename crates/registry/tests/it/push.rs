//! Blobs to registries, and how many requests that takes.

use std::time::Duration;

use bytes::Bytes;
use launchway_registry::{
    BlobBody, BlobSource, ClientEvent, Direction, ErrorClass, ManifestTarget, PushOutcome,
};
use launchway_testkit::http::{Answer, Server, Step};

use crate::support::{MANIFEST, client, client_with_events, content, digest, options, repository};

pub(crate) const UPLOADS: &str = "/v2/a/blobs/uploads/";

pub(crate) fn blob(bytes: &[u8]) -> BlobSource {
    BlobSource {
        digest: digest(bytes),
        size: bytes.len() as u64,
        body: BlobBody::Bytes(Bytes::copy_from_slice(bytes)),
    }
}

pub(crate) fn head(bytes: &[u8], status: u16) -> Step {
    Step::new(
        "HEAD",
        format!("/v2/a/blobs/{}", digest(bytes)),
        Answer::status(status),
    )
}

pub(crate) fn begun(location: &str) -> Answer {
    Answer::status(202).header("location", location)
}

#[tokio::test]
async fn an_image_whose_blobs_are_there_costs_a_head_each_and_one_put() {
    let blobs: Vec<Vec<u8>> = (1..=5).map(|at| content(at * 10)).collect();
    let mut steps: Vec<Step> = blobs.iter().map(|bytes| head(bytes, 200)).collect();
    steps.push(Step::new("PUT", "/v2/a/manifests/x", Answer::status(201)).times(2));
    let server = Server::start(steps).await;
    let client = client();
    let target = repository(&server, "a");
    // The second time nothing but the manifest is left to say.
    for _ in 0..2 {
        for bytes in &blobs {
            let outcome = client.push_blob(&target, &blob(bytes), &[]).await.unwrap();
            assert_eq!(outcome, PushOutcome::AlreadyThere);
            assert!(client.blob_exists(&target, &digest(bytes)).await.unwrap());
        }
        let tag = ManifestTarget::Tag("x".parse().unwrap());
        client
            .put_manifest(&target, tag, MANIFEST, Bytes::from_static(b"{}"))
            .await
            .unwrap();
    }
    assert_eq!(server.finish().len(), 5 + 2);
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn a_blob_is_sent_in_one_stream() {
    let bytes = content(2_500_000);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("blob");
    std::fs::write(&path, &bytes).unwrap();
    let bodies = [
        BlobBody::File(path),
        BlobBody::Bytes(Bytes::from(bytes.clone())),
    ];
    for body in bodies {
        for absolute in [false, true] {
            let server = Server::start_with(|host| {
                let location = if absolute {
                    format!("http://{host}/up/1?_state=a%2Fb%3D")
                } else {
                    "/up/1?_state=a%2Fb%3D".to_owned()
                };
                vec![
                    head(&bytes, 404),
                    Step::new("POST", UPLOADS, begun(&location)),
                    Step::new("PUT", "/up/1", Answer::status(201))
                        .with("content-length", "2500000"),
                ]
            })
            .await;
            let source = BlobSource {
                body: body.clone(),
                ..blob(&bytes)
            };
            let (client, told) = client_with_events(options());
            let target = repository(&server, "a");
            let outcome = client.push_blob(&target, &source, &[]).await.unwrap();
            assert_eq!(outcome, PushOutcome::Uploaded);
            let seen = server.finish();
            assert_eq!(seen[1].header("content-length"), Some("0"));
            assert_eq!(seen[2].body, bytes);
            let sum = digest(&bytes).to_string().replace(':', "%3A");
            assert_eq!(seen[2].query(), format!("_state=a%2Fb%3D&digest={sum}"));
            let progress = told.lock().unwrap();
            assert!(progress.iter().any(|event| matches!(
                event,
                ClientEvent::BlobProgress {
                    direction: Direction::Push,
                    done: 2_500_000,
                    total: 2_500_000,
                    ..
                }
            )));
        }
    }
}

#[tokio::test]
async fn an_empty_blob_is_sent() {
    let server = Server::start(vec![
        head(b"", 404),
        Step::new("POST", UPLOADS, begun("/up/1")),
        Step::new("PUT", "/up/1", Answer::status(201)).with("content-length", "0"),
    ])
    .await;
    client()
        .push_blob(&repository(&server, "a"), &blob(b""), &[])
        .await
        .unwrap();
    server.finish();
}

#[tokio::test]
async fn mounting_from_a_sibling() {
    let bytes = content(100);
    let sum = digest(&bytes).to_string().replace(':', "%3A");
    let mount = format!("{UPLOADS}?mount={sum}&from=sibling");
    let post = |answer: Answer| Step::new("POST", mount.clone(), answer);
    let put = || {
        Step::new(
            "PUT",
            "/up/1?s=1&digest=".to_owned() + &sum,
            Answer::status(201),
        )
    };
    for (name, steps, want) in [
        (
            "mounted",
            vec![head(&bytes, 404), post(Answer::status(201))],
            PushOutcome::Mounted,
        ),
        (
            "refused, and the place given is used",
            vec![head(&bytes, 404), post(begun("/up/1?s=1")), put()],
            PushOutcome::Uploaded,
        ),
        (
            "not allowed to read the sibling",
            vec![
                head(&bytes, 404),
                post(Answer::status(403).error("DENIED", "no")),
                Step::new("POST", UPLOADS, begun("/up/1?s=1")),
                put(),
            ],
            PushOutcome::Uploaded,
        ),
        (
            "a stumble does not lose the mount",
            vec![
                head(&bytes, 404),
                post(Answer::status(500)),
                post(Answer::status(201)),
            ],
            PushOutcome::Mounted,
        ),
    ] {
        let server = Server::start(steps).await;
        let elsewhere = "ghcr.io/x/y".parse().unwrap();
        let sources = [
            elsewhere,
            repository(&server, "a"),
            repository(&server, "sibling"),
        ];
        let outcome = client()
            .push_blob(&repository(&server, "a"), &blob(&bytes), &sources)
            .await;
        assert_eq!(outcome, Ok(want), "{name}");
        server.finish();
    }
}

#[tokio::test]
async fn a_sibling_known_to_have_the_blob_is_preferred() {
    let bytes = content(100);
    let server = Server::start(vec![
        Step::new(
            "HEAD",
            format!("/v2/one/blobs/{}", digest(&bytes)),
            Answer::status(404),
        ),
        Step::new(
            "HEAD",
            format!("/v2/three/blobs/{}", digest(&bytes)),
            Answer::status(200),
        ),
        Step::new("POST", UPLOADS, Answer::status(201)),
    ])
    .await;
    let client = client();
    let siblings = ["one", "two", "three"].map(|name| repository(&server, name));
    for (sibling, present) in [(&siblings[0], false), (&siblings[2], true)] {
        let asked = client.blob_exists(sibling, &digest(&bytes)).await;
        assert_eq!(asked, Ok(present));
    }
    let outcome = client
        .push_blob(&repository(&server, "a"), &blob(&bytes), &siblings)
        .await;
    assert_eq!(outcome, Ok(PushOutcome::Mounted));
    let seen = server.finish();
    assert!(seen[2].query().ends_with("from=three"), "{seen:?}");
}

/// A repository whose manifest names the blob is mounted from without another question.
#[tokio::test]
async fn what_a_manifest_names_is_mounted_at_once() {
    let bytes = content(100);
    let sum = digest(&bytes).to_string().replace(':', "%3A");
    let manifest = format!(
        r#"{{"schemaVersion":2,"mediaType":"{MANIFEST}","config":{{"digest":"{}"}},"layers":[]}}"#,
        digest(&bytes)
    );
    let mount = |from: &str, answer: Answer| {
        Step::new("POST", format!("{UPLOADS}?mount={sum}&from={from}"), answer)
    };
    for (name, steps, want) in [
        (
            "one request",
            vec![mount("named", Answer::status(201))],
            PushOutcome::Mounted,
        ),
        (
            "refused, and it is not there: the place given is used",
            vec![
                mount("named", begun("/up/1")),
                head(&bytes, 404),
                Step::new("PUT", "/up/1", Answer::status(201)),
            ],
            PushOutcome::Uploaded,
        ),
        (
            "refused, and it is there: the upload is left",
            vec![
                mount("named", begun("/up/1")),
                head(&bytes, 200),
                Step::new("DELETE", "/up/1", Answer::status(204)),
            ],
            PushOutcome::AlreadyThere,
        ),
        (
            "refused, and another source has it",
            vec![
                mount("named", begun("/up/1")),
                Step::new(
                    "HEAD",
                    format!("/v2/other/blobs/{}", digest(&bytes)),
                    Answer::status(200),
                ),
                mount("other", Answer::status(201)),
                Step::new("DELETE", "/up/1", Answer::status(404)),
            ],
            PushOutcome::Mounted,
        ),
    ] {
        let mut steps = steps;
        let other_lacks_it = name != "refused, and another source has it";
        steps.push(Step::new(
            "GET",
            "/v2/named/manifests/x",
            Answer::status(200).body(manifest.clone()),
        ));
        let server = Server::start(steps).await;
        let client = client();
        let (named, other) = (repository(&server, "named"), repository(&server, "other"));
        let tag = "x".parse().unwrap();
        client.manifest(&named.with_tag(tag)).await.unwrap();
        let sources = if other_lacks_it {
            vec![named]
        } else {
            vec![other, named]
        };
        let outcome = client
            .push_blob(&repository(&server, "a"), &blob(&bytes), &sources)
            .await;
        assert_eq!(outcome, Ok(want), "{name}");
        server.finish();
    }
}

#[tokio::test]
async fn absence_is_asked_once() {
    let bytes = content(10);
    let server = Server::start(vec![
        head(&bytes, 404),
        Step::new("POST", UPLOADS, begun("/up/1")),
        Step::new("PUT", "/up/1", Answer::status(201)),
    ])
    .await;
    let client = client();
    let target = repository(&server, "a");
    assert_eq!(
        client.blob_exists(&target, &digest(&bytes)).await,
        Ok(false)
    );
    let outcome = client.push_blob(&target, &blob(&bytes), &[]).await;
    assert_eq!(outcome, Ok(PushOutcome::Uploaded));
    assert_eq!(client.blob_exists(&target, &digest(&bytes)).await, Ok(true));
    server.finish();
}

#[tokio::test]
async fn what_cannot_work_is_not_tried_again() {
    let bytes = content(1000);
    let directory = tempfile::tempdir().unwrap();
    let short = directory.path().join("short");
    std::fs::write(&short, b"short").unwrap();
    let post = |answer: Answer| Step::new("POST", UPLOADS, answer);
    let wrong_digest = Answer::status(400).error("DIGEST_INVALID", "provided digest did not match");
    for (name, steps, body, want) in [
        (
            "a refused digest",
            vec![
                head(&bytes, 404),
                post(begun("/up/1")),
                Step::new("PUT", "/up/1", wrong_digest),
            ],
            None,
            "DIGEST_INVALID",
        ),
        (
            "no place",
            vec![head(&bytes, 404), post(Answer::status(202))],
            None,
            "no place for the upload",
        ),
        (
            "a place without TLS",
            vec![head(&bytes, 404), post(begun("http://storage.example/up"))],
            None,
            "`plain-http`",
        ),
        ("a file of another size", vec![], Some(short), "has 5 bytes"),
        (
            "no file",
            vec![],
            Some(directory.path().join("missing")),
            "cannot read",
        ),
    ] {
        let server = Server::start(steps).await;
        let source = BlobSource {
            body: body.map_or(blob(&bytes).body, BlobBody::File),
            ..blob(&bytes)
        };
        let error = client()
            .push_blob(&repository(&server, "a"), &source, &[])
            .await
            .unwrap_err();
        assert_eq!(error.class, ErrorClass::Permanent, "{name}");
        assert!(error.detail.contains(want), "{name}: {error}");
        server.finish();
    }
}

#[tokio::test]
async fn an_upload_elsewhere_gets_no_credentials() {
    let bytes = content(100);
    let storage = Server::start(vec![
        Step::new("PUT", "/up", Answer::status(201)).without("authorization"),
    ])
    .await;
    let place = format!("http://{}/up?sig=s3cr3t", storage.host());
    let server = Server::start_with(|host| {
        vec![
            head(&bytes, 404),
            Step::new(
                "POST",
                UPLOADS,
                Answer::status(401).header(
                    "www-authenticate",
                    format!("Bearer realm=\"http://{host}/t\""),
                ),
            )
            .without("authorization"),
            Step::new("GET", "/t", Answer::status(200).body(r#"{"token":"tok"}"#)),
            Step::new("POST", UPLOADS, begun(&place)).with("authorization", "Bearer tok"),
        ]
    })
    .await;
    client()
        .push_blob(&repository(&server, "a"), &blob(&bytes), &[])
        .await
        .unwrap();
    server.finish();
    storage.finish();
}

#[tokio::test]
async fn those_who_push_the_same_blob_share_an_upload() {
    let bytes = content(100_000);
    let server = Server::start(vec![
        head(&bytes, 404),
        Step::new(
            "POST",
            UPLOADS,
            begun("/up/1").delay(Duration::from_millis(30)),
        ),
        Step::new("PUT", "/up/1", Answer::status(201)),
    ])
    .await;
    let client = client();
    let (target, source) = (repository(&server, "a"), blob(&bytes));
    let pushes = (0..5).map(|_| client.push_blob(&target, &source, &[]));
    for outcome in futures_util::future::join_all(pushes).await {
        assert_eq!(outcome, Ok(PushOutcome::Uploaded));
    }
    let later = client.push_blob(&target, &source, &[]).await;
    assert_eq!(later, Ok(PushOutcome::AlreadyThere));
    server.finish();
}

#[tokio::test]
async fn a_caller_who_goes_away_does_not_spoil_it_for_others() {
    let bytes = content(1000);
    let server = Server::start(vec![
        head(&bytes, 404),
        Step::new(
            "POST",
            UPLOADS,
            begun("/up/1").delay(Duration::from_millis(60)),
        ),
        Step::new("PUT", "/up/1", Answer::status(201)),
    ])
    .await;
    let client = client();
    let (target, source) = (repository(&server, "a"), blob(&bytes));
    let first = tokio::time::timeout(
        Duration::from_millis(20),
        client.push_blob(&target, &source, &[]),
    );
    let (first, second) = tokio::join!(first, client.push_blob(&target, &source, &[]));
    assert!(first.is_err());
    assert_eq!(second, Ok(PushOutcome::Uploaded));
    server.finish();
}
