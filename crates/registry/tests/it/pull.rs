//! Blobs from registries that break off, lie and stall.

use std::time::Duration;

use launchway_registry::{ClientEvent, ClientOptions, Direction, ErrorClass, Mirror};
use launchway_testkit::http::{Answer, Server, Step};
use tempfile::TempDir;

use crate::support::{
    client, client_for, client_with, client_with_events, content, digest, options, repository,
};

/// Nothing but the named files is left behind.
fn check_files(directory: &TempDir, want: &[&str]) {
    let mut found: Vec<String> = std::fs::read_dir(directory.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    found.sort();
    assert_eq!(found, want);
}

#[tokio::test]
async fn a_blob_is_streamed_and_verified() {
    let bytes = content(3_000_000);
    let path = format!("/v2/a/blobs/{}", digest(&bytes));
    let server = Server::start(vec![Step::new(
        "GET",
        path,
        Answer::status(200).body(bytes.clone()),
    )])
    .await;
    let directory = tempfile::tempdir().unwrap();
    let to = directory.path().join("blob");
    let (client, told) = client_with_events(options());
    client
        .pull_blob(
            &repository(&server, "a"),
            &digest(&bytes),
            bytes.len() as u64,
            &to,
        )
        .await
        .unwrap();
    assert_eq!(std::fs::read(&to).unwrap(), bytes);
    check_files(&directory, &["blob"]);
    let last = told.lock().unwrap().last().cloned();
    assert!(
        matches!(
            last,
            Some(ClientEvent::BlobProgress {
                direction: Direction::Pull,
                done: 3_000_000,
                total: 3_000_000,
                ..
            })
        ),
        "{last:?}"
    );
    server.finish();
}

#[tokio::test]
async fn an_empty_blob() {
    let path = format!("/v2/a/blobs/{}", digest(b""));
    let server = Server::start(vec![Step::new("GET", path, Answer::status(200))]).await;
    let directory = tempfile::tempdir().unwrap();
    let to = directory.path().join("blob");
    client()
        .pull_blob(&repository(&server, "a"), &digest(b""), 0, &to)
        .await
        .unwrap();
    assert_eq!(std::fs::read(&to).unwrap(), b"");
}

/// Whatever breaks a transfer off, it goes on where it stopped.
#[tokio::test]
async fn a_transfer_goes_on_where_it_stopped() {
    let bytes = content(600_000);
    let path = format!("/v2/a/blobs/{}", digest(&bytes));
    let half = 250_000;
    let whole = || Answer::status(200).body(bytes.clone());
    let rest = |from: usize| {
        Answer::status(206)
            .header(
                "content-range",
                format!("bytes {from}-{}/{}", bytes.len() - 1, bytes.len()),
            )
            .body(bytes[from..].to_vec())
    };
    let part = |from: usize, to: usize| {
        Answer::status(206)
            .header("content-range", format!("bytes {from}-{}/*", to - 1))
            .body(bytes[from..to].to_vec())
    };
    let get = |answer: Answer| Step::new("GET", path.clone(), answer);
    let from_half = format!("bytes={half}-");
    for (name, steps) in [
        (
            "reset",
            vec![
                get(whole().reset_after(half)).without("range"),
                get(rest(half)).with("range", from_half.as_str()),
            ],
        ),
        (
            "half a body",
            vec![
                get(whole().close_after(half)).without("range"),
                get(rest(half)).with("range", from_half.as_str()),
            ],
        ),
        (
            "stall",
            vec![
                get(whole().stall_after(half)).without("range"),
                get(rest(half)).with("range", from_half.as_str()),
            ],
        ),
        (
            "a short body that looks complete",
            vec![
                get(Answer::status(200).body(bytes[..half].to_vec())).without("range"),
                get(rest(half)).with("range", from_half.as_str()),
            ],
        ),
        (
            "the range is passed over",
            vec![
                get(whole().reset_after(half)).without("range"),
                get(whole()).with("range", from_half.as_str()),
            ],
        ),
        (
            "the rest comes in two parts",
            vec![
                get(whole().reset_after(half)).without("range"),
                get(part(half, 400_000)).with("range", from_half.as_str()),
                get(rest(400_000)).with("range", "bytes=400000-"),
            ],
        ),
        (
            "the rest comes in crumbs",
            vec![
                get(whole().reset_after(half)).without("range"),
                get(part(half, half + 10)).with("range", from_half.as_str()),
                get(whole()).without("range"),
            ],
        ),
        (
            "another part comes",
            vec![
                get(whole().reset_after(half)).without("range"),
                get(rest(half + 1)).with("range", from_half.as_str()),
                get(whole()).without("range"),
            ],
        ),
        (
            "a part of something longer comes",
            vec![
                get(whole().reset_after(half)).without("range"),
                get(Answer::status(206)
                    .header("content-range", "bytes 250000-599999/600001")
                    .body(bytes[half..].to_vec()))
                .with("range", from_half.as_str()),
                get(whole()).without("range"),
            ],
        ),
        (
            "the range is refused",
            vec![
                get(whole().reset_after(half)).without("range"),
                get(Answer::status(416)).with("range", from_half.as_str()),
                get(whole()).without("range"),
            ],
        ),
        (
            "trouble between the halves",
            vec![
                get(whole().reset_after(half)).without("range"),
                get(Answer::status(502).html("bad gateway")).with("range", from_half.as_str()),
                get(rest(half)).with("range", from_half.as_str()),
            ],
        ),
    ] {
        let server = Server::start(steps).await;
        let directory = tempfile::tempdir().unwrap();
        let to = directory.path().join("blob");
        let result = client_for(name)
            .pull_blob(
                &repository(&server, "a"),
                &digest(&bytes),
                bytes.len() as u64,
                &to,
            )
            .await;
        assert!(result.is_ok(), "{name}: {result:?}");
        assert_eq!(std::fs::read(&to).unwrap(), bytes, "{name}");
        check_files(&directory, &["blob"]);
        server.finish();
    }
}

#[tokio::test]
async fn wrong_content_is_never_kept() {
    let bytes = content(200_000);
    let mut turned = bytes.clone();
    turned[77] ^= 1;
    let path = format!("/v2/a/blobs/{}", digest(&bytes));
    let longer = [bytes.clone(), b"more".to_vec()].concat();
    for body in [turned, longer, b"<html>log in</html>".repeat(20_000)] {
        // Once more, in case it was an accident of the way, and then no more.
        let answer = Answer::status(200).body(body);
        let server = Server::start(vec![Step::new("GET", path.clone(), answer).times(2)]).await;
        let directory = tempfile::tempdir().unwrap();
        let to = directory.path().join("blob");
        let error = client()
            .pull_blob(
                &repository(&server, "a"),
                &digest(&bytes),
                bytes.len() as u64,
                &to,
            )
            .await
            .unwrap_err();
        assert_eq!(error.class, ErrorClass::Permanent);
        assert!(
            error.detail.contains("content does not match its digest"),
            "{error}"
        );
        check_files(&directory, &[]);
        server.finish();
    }
}

#[tokio::test]
async fn giving_up_leaves_nothing() {
    let bytes = content(100_000);
    let path = format!("/v2/a/blobs/{}", digest(&bytes));
    let server = Server::start(vec![
        Step::new(
            "GET",
            path.clone(),
            Answer::status(200).body(bytes.clone()).reset_after(10),
        ),
        Step::new("GET", path, Answer::status(500)).times(2),
    ])
    .await;
    let directory = tempfile::tempdir().unwrap();
    let to = directory.path().join("blob");
    let error = client()
        .pull_blob(
            &repository(&server, "a"),
            &digest(&bytes),
            bytes.len() as u64,
            &to,
        )
        .await
        .unwrap_err();
    assert_eq!((error.class, error.attempts), (ErrorClass::Transient, 3));
    check_files(&directory, &[]);
    server.finish();
}

#[tokio::test]
async fn a_disk_that_takes_nothing_is_told() {
    let bytes = content(100_000);
    let path = format!("/v2/a/blobs/{}", digest(&bytes));
    let server = Server::start(vec![
        Step::new("GET", path, Answer::status(200).body(bytes.clone())).times(1),
    ])
    .await;
    let directory = tempfile::tempdir().unwrap();
    let to = directory.path().join("missing/blob");
    let error = client()
        .pull_blob(
            &repository(&server, "a"),
            &digest(&bytes),
            bytes.len() as u64,
            &to,
        )
        .await
        .unwrap_err();
    assert_eq!(error.class, ErrorClass::Permanent);
    assert!(error.detail.contains("cannot store the blob"), "{error}");
}

#[tokio::test]
async fn a_redirect_gets_no_credentials() {
    let bytes = content(1000);
    let storage = Server::start(vec![
        Step::new("GET", "/blob", Answer::status(403)).without("authorization"),
        Step::new("GET", "/blob", Answer::status(200).body(bytes.clone())).without("authorization"),
    ])
    .await;
    let location = format!("http://{}/blob?X-Signature=s3cr3t", storage.host());
    let path = format!("/v2/a/blobs/{}", digest(&bytes));
    let server = Server::start_with(|host| {
        vec![
            Step::new(
                "GET",
                path.clone(),
                Answer::status(401).header(
                    "www-authenticate",
                    format!("Bearer realm=\"http://{host}/t\""),
                ),
            )
            .without("authorization"),
            Step::new("GET", "/t", Answer::status(200).body(r#"{"token":"tok"}"#)),
            Step::new(
                "GET",
                path.clone(),
                Answer::status(307).header("location", location),
            )
            .with("authorization", "Bearer tok")
            .times(2),
        ]
    })
    .await;
    let directory = tempfile::tempdir().unwrap();
    let to = directory.path().join("blob");
    // The refusal by the storage server is a link that got too old: the registry gives a new one.
    client()
        .pull_blob(
            &repository(&server, "a"),
            &digest(&bytes),
            bytes.len() as u64,
            &to,
        )
        .await
        .unwrap();
    server.finish();
    storage.finish();
}

#[tokio::test]
async fn those_who_want_the_same_blob_share_a_transfer() {
    let bytes = content(500_000);
    let path = format!("/v2/a/blobs/{}", digest(&bytes));
    let answer = Answer::status(200)
        .body(bytes.clone())
        .delay(Duration::from_millis(50));
    let server = Server::start(vec![Step::new("GET", path, answer)]).await;
    let directory = tempfile::tempdir().unwrap();
    let client = client();
    let (source, wanted) = (repository(&server, "a"), digest(&bytes));
    let targets: Vec<_> = (0..4)
        .map(|at| directory.path().join(format!("blob{at}")))
        .collect();
    let pulls = targets
        .iter()
        .map(|to| client.pull_blob(&source, &wanted, bytes.len() as u64, to));
    for result in futures_util::future::join_all(pulls).await {
        result.unwrap();
    }
    for target in &targets {
        assert_eq!(std::fs::read(target).unwrap(), bytes);
    }
    check_files(&directory, &["blob0", "blob1", "blob2", "blob3"]);
    server.finish();
}

#[tokio::test]
async fn a_mirror_with_wrong_content_is_made_up_for() {
    let bytes = content(5000);
    let path = format!("/v2/a/blobs/{}", digest(&bytes));
    let wrong = Answer::status(200).body(vec![0; 5000]);
    let mirror = Server::start(vec![Step::new("GET", path.clone(), wrong)]).await;
    let origin = Server::start(vec![
        Step::new("GET", path, Answer::status(200).body(bytes.clone())).times(2),
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
    let directory = tempfile::tempdir().unwrap();
    let to = directory.path().join("blob");
    let source = repository(&origin, "a");
    client
        .pull_blob(&source, &digest(&bytes), bytes.len() as u64, &to)
        .await
        .unwrap();
    assert_eq!(std::fs::read(&to).unwrap(), bytes);
    // Who gave wrong content once is not asked again so soon.
    let read = client.read_blob(&source, &digest(&bytes), 5000).await;
    assert_eq!(read.unwrap(), bytes);
    mirror.finish();
    origin.finish();
}

#[tokio::test]
async fn small_blobs_are_read_into_memory() {
    let bytes = content(1000);
    let path = format!("/v2/a/blobs/{}", digest(&bytes));
    for (answer, limit, want) in [
        (Answer::status(200).body(bytes.clone()), 1000, None),
        (
            Answer::status(200).body(bytes.clone()),
            999,
            Some("larger than"),
        ),
        (Answer::status(200).body("x"), 1000, Some("does not match")),
        (Answer::status(404), 1000, Some("")),
    ] {
        // What is wrong is asked for once more.
        let times = if want == Some("does not match") { 2 } else { 1 };
        let server = Server::start(vec![Step::new("GET", path.clone(), answer).times(times)]).await;
        let result = client()
            .read_blob(&repository(&server, "a"), &digest(&bytes), limit)
            .await;
        match (result, want) {
            (Ok(read), None) => assert_eq!(read, bytes),
            (Err(error), Some(want)) => assert!(error.detail.contains(want), "{error}"),
            (result, _) => panic!("{result:?}"),
        }
        server.finish();
    }
}
