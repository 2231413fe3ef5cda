//! Trying again, waiting when asked to, and saying so.

use std::time::Duration;

use launchway_registry::{ClientEvent, ClientOptions, ErrorClass, RetryPolicy};
use launchway_testkit::http::{Answer, Server, Step};

use crate::support::{
    INDEX, client, client_with, client_with_events, impatient, options, quick, tagged,
};

const PATH: &str = "/v2/a/manifests/x";

fn good() -> Answer {
    Answer::status(200)
        .header("content-type", INDEX)
        .body(r#"{"schemaVersion":2,"manifests":[]}"#)
}

fn steps(answers: Vec<Answer>) -> Vec<Step> {
    let step = |answer| Step::new("GET", PATH, answer);
    answers.into_iter().map(step).collect()
}

#[tokio::test]
async fn stumbles_are_got_over() {
    let silent = [Answer::silence(), good().stall_after(5)];
    let silent = silent.map(|trouble| (trouble, impatient()));
    let others = [
        Answer::status(408),
        Answer::status(425),
        Answer::status(429),
        Answer::status(500).html("oops"),
        Answer::status(502),
        Answer::status(503).header("retry-after", "0"),
        Answer::status(504),
        Answer::status(522),
        Answer::status(403).error("TOOMANYREQUESTS", "slow down"),
        Answer::reset(),
        Answer::raw("hello\r\n\r\n"),
        good().reset_after(5),
        good().close_after(5),
    ];
    let others = others.map(|trouble| (trouble, client()));
    for (trouble, client) in silent.into_iter().chain(others) {
        let server = Server::start(steps(vec![trouble.clone(), trouble.clone(), good()])).await;
        let result = client.manifest(&tagged(&server, "a:x")).await;
        assert!(result.is_ok(), "{trouble:?}: {result:?}");
        server.finish();
    }
}

#[tokio::test]
async fn the_last_try_is_the_last() {
    let server = Server::start(steps(vec![Answer::status(500); 3])).await;
    let error = client()
        .manifest(&tagged(&server, "a:x"))
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "cannot GET {}/a/manifests/x: answered 500 (tried 3 times)",
            server.host()
        )
    );
    assert_eq!(error.code().to_string(), "LW0401");
    server.finish();
}

#[tokio::test]
async fn what_cannot_change_is_asked_once() {
    for (status, class) in [
        (400, ErrorClass::Permanent),
        (403, ErrorClass::Auth),
        (404, ErrorClass::Missing),
        (410, ErrorClass::Permanent),
        (501, ErrorClass::Permanent),
    ] {
        let server = Server::start(steps(vec![Answer::status(status)])).await;
        let error = client()
            .manifest(&tagged(&server, "a:x"))
            .await
            .unwrap_err();
        assert_eq!((error.class, error.attempts), (class, 1));
        server.finish();
    }
}

/// As often as it takes, within the deadline: the tries of the policy are for failures.
#[tokio::test]
async fn a_registry_that_asks_for_patience_gets_it() {
    let busy = Answer::status(429)
        .header("retry-after", "0")
        .error("TOOMANYREQUESTS", "pull rate");
    let mut answers = vec![busy; 6];
    answers.push(good());
    let server = Server::start(steps(answers)).await;
    let (client, told) = client_with_events(options());
    client.manifest(&tagged(&server, "a:x")).await.unwrap();
    server.finish();
    let told = told.lock().unwrap();
    let reasons: Vec<&str> = told
        .iter()
        .filter_map(|event| match event {
            ClientEvent::Limited {
                host,
                until,
                gives_up,
                reason,
            } => {
                assert_eq!(host.as_str(), server.host());
                assert!(until <= gives_up);
                Some(reason.as_str())
            }
            _ => None,
        })
        .collect();
    assert_eq!(reasons.len(), 6);
    assert_eq!(reasons[0], "answered 429, TOOMANYREQUESTS: pull rate");
}

#[tokio::test]
async fn beyond_the_deadline_the_moment_is_told() {
    for (name, value) in [
        ("seconds", "3600"),
        ("a date", "Fri, 31 Dec 2100 23:59:59 GMT"),
        ("the end of time", "99999999999999999999"),
    ] {
        let answer = Answer::status(429).header("retry-after", value);
        let server = Server::start(steps(vec![answer])).await;
        let client = client();
        let reference = tagged(&server, "a:x");
        let error = client.manifest(&reference).await.unwrap_err();
        assert_eq!(error.class, ErrorClass::Throttled, "{name}");
        assert!(error.detail.contains("limited until "), "{name}: {error}");
        assert!(error.detail.contains(" UTC, and a call waits 5 s at most"));
        assert_eq!(error.code().to_string(), "LW0402");
        server.finish();
    }
}

/// A pause that is asked for with a 5xx is a failure as well: it counts as a try.
#[tokio::test]
async fn an_overloaded_registry_is_left_alone_for_as_long_as_it_says() {
    let busy = |after: &str| Answer::status(503).header("retry-after", after);
    let server = Server::start(steps(vec![busy("0"); 3])).await;
    let (client, told) = client_with_events(options());
    let error = client.manifest(&tagged(&server, "a:x")).await.unwrap_err();
    assert_eq!((error.class, error.attempts), (ErrorClass::Transient, 3));
    server.finish();
    let limits = |told: &[ClientEvent]| {
        let is_limit = |event: &&ClientEvent| matches!(event, ClientEvent::Limited { .. });
        told.iter().filter(is_limit).count()
    };
    assert_eq!(limits(&told.lock().unwrap()), 2);

    let server = Server::start(steps(vec![busy("3600")])).await;
    let error = client.manifest(&tagged(&server, "a:x")).await.unwrap_err();
    assert_eq!((error.class, error.attempts), (ErrorClass::Transient, 1));
    assert!(error.detail.contains("limited until "), "{error}");
    server.finish();
}

/// Without a word on how long, the deadline ends it, not the number of tries.
#[tokio::test]
async fn a_registry_that_refuses_too_many_requests_without_saying_for_how_long() {
    let mut answers = vec![Answer::status(429); 7];
    answers.push(good());
    let server = Server::start(steps(answers)).await;
    client().manifest(&tagged(&server, "a:x")).await.unwrap();
    server.finish();

    let server = Server::start(vec![Step::new("GET", PATH, Answer::status(429)).always()]).await;
    let client = client_with(ClientOptions {
        retry: RetryPolicy {
            throttle_deadline: Duration::from_millis(50),
            ..quick()
        },
        ..options()
    });
    let error = client.manifest(&tagged(&server, "a:x")).await.unwrap_err();
    assert_eq!(error.class, ErrorClass::Throttled);
    assert!(error.attempts > 3, "{error}");
}

/// One throttled answer holds back all calls to the host, without asking it again.
#[tokio::test]
async fn the_others_wait_as_well() {
    let answer = Answer::status(429).header("retry-after", "3600");
    let server = Server::start(steps(vec![answer])).await;
    let client = client_with(ClientOptions {
        retry: RetryPolicy {
            throttle_deadline: Duration::from_secs(60),
            ..quick()
        },
        ..options()
    });
    let reference = tagged(&server, "a:x");
    for _ in 0..3 {
        let error = client.manifest(&reference).await.unwrap_err();
        assert_eq!(error.class, ErrorClass::Throttled);
    }
    server.finish();
}

/// Callers run many of these at once on several threads.
#[test]
fn calls_can_be_spawned() {
    fn check<T: Send>(_: T) {}
    let client = client();
    let reference: launchway_model::Reference = "127.0.0.1:1/a:x".parse().unwrap();
    let repository = &reference.repository;
    let digest = crate::support::digest(b"x");
    let blob = launchway_registry::BlobSource {
        digest: digest.clone(),
        size: 1,
        body: launchway_registry::BlobBody::Bytes(bytes::Bytes::from_static(b"x")),
    };
    check(client.probe(&reference));
    check(client.resolve(&reference));
    check(client.manifest(&reference));
    check(client.pull_blob(repository, &digest, 1, std::path::Path::new("x")));
    check(client.read_blob(repository, &digest, 1));
    check(client.push_blob(repository, &blob, &[]));
    check(client.blob_exists(repository, &digest));
    check(client.tags(repository));
    check(client.referrers(repository, &digest, None));
    check(client.delete(&reference));
    check(client.ping(repository.host()));
    check(client.put_manifest(
        repository,
        launchway_registry::ManifestTarget::Digest,
        INDEX,
        bytes::Bytes::new(),
    ));
}
