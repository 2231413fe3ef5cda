//! Each way in which a request gets no answer: its class, its words, and how often it was tried.

use launchway_model::Reference;
use launchway_registry::{ClientOptions, ErrorClass};
use launchway_testkit::http::{Answer, Server, Step};

use crate::support::{INDEX, client, client_for, client_with, options, tagged};

fn good() -> Answer {
    Answer::status(200)
        .header("content-type", INDEX)
        .body(r#"{"schemaVersion":2,"manifests":[]}"#)
}

#[tokio::test]
async fn faults_of_a_server() {
    for (name, answer, want) in [
        ("reset", Answer::reset(), "the connection broke off"),
        ("closed", Answer::raw(""), "the connection broke off"),
        (
            "reset in the body",
            good().reset_after(5),
            "the connection broke off",
        ),
        (
            "shorter than its length",
            good().close_after(5),
            "the connection broke off",
        ),
        ("silent", Answer::silence(), "no answer in time"),
        (
            "silent in the body",
            good().stall_after(5),
            "no answer in time",
        ),
        (
            "not HTTP",
            Answer::raw("SSH-2.0-x\r\n\r\n"),
            "the answer is not HTTP",
        ),
        (
            "a head without an end",
            Answer::raw(format!("HTTP/1.1 200 x\r\nx: {}", "y".repeat(1 << 20))),
            "the answer is not HTTP",
        ),
    ] {
        let step = Step::new("GET", "/v2/a/manifests/x", answer).times(3);
        let server = Server::start(vec![step]).await;
        let error = client_for(name)
            .manifest(&tagged(&server, "a:x"))
            .await
            .unwrap_err();
        assert!(error.detail.contains(want), "{name}: {error}");
        assert_eq!(error.class, ErrorClass::Transient, "{name}");
        assert_eq!((error.attempts, error.status), (3, None), "{name}");
        assert_eq!(error.code().to_string(), "LW0401");
        server.finish();
    }
}

#[tokio::test]
async fn nobody_there() {
    let gone = Server::start(Vec::new()).await;
    let reference = tagged(&gone, "a:x");
    drop(gone);
    tokio::task::yield_now().await;
    let error = client().manifest(&reference).await.unwrap_err();
    assert!(error.detail.contains("no connection: "), "{error}");
    assert_eq!((error.class, error.attempts), (ErrorClass::Transient, 3));
}

/// A label of a name has 63 characters at most, so nobody has to be asked for this one.
#[tokio::test]
async fn a_name_that_leads_nowhere() {
    let host = format!("{}.example", "x".repeat(64));
    let reference: Reference = format!("{host}/a:x").parse().unwrap();
    let client = client_with(ClientOptions {
        plain_http: vec![host.parse().unwrap()],
        ..options()
    });
    let error = client.manifest(&reference).await.unwrap_err();
    let want = format!("the name {host} leads to no address");
    assert!(error.detail.contains(&want), "{error}");
    assert_eq!((error.class, error.attempts), (ErrorClass::Transient, 3));
}

/// Only reads follow redirects; of others it is said where they lead, without the query.
#[tokio::test]
async fn a_write_that_is_sent_elsewhere() {
    let server = Server::start(vec![Step::new(
        "PUT",
        "/v2/a/manifests/x",
        Answer::status(307).header("location", "https://b.example/x?sig=s3cret"),
    )])
    .await;
    let reference = tagged(&server, "a:x");
    let error = client()
        .put_manifest(
            &reference.repository,
            launchway_registry::ManifestTarget::Tag("x".parse().unwrap()),
            INDEX,
            bytes::Bytes::from_static(b"{}"),
        )
        .await
        .unwrap_err();
    assert_eq!(
        error.detail,
        "a redirect to https://b.example/x that is not followed"
    );
    assert_eq!(error.class, ErrorClass::Permanent);
    server.finish();
}
