//! Challenges, tokens and credentials.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use launchway_registry::{
    BlobBody, BlobSource, Client, ClientOptions, Credential, ErrorClass, Probe, PushOutcome, Secret,
};
use launchway_testkit::http::{Answer, Seen, Server, Step};

use crate::support::{Always, INDEX, client, client_with, digest, options, repository, tagged};

fn found() -> Answer {
    Answer::status(200)
        .header("content-type", INDEX)
        .header("docker-content-digest", digest(b"x").to_string())
}

fn challenge(host: &str) -> Answer {
    Answer::status(401).header(
        "www-authenticate",
        format!(r#"Bearer realm="http://{host}/token",service="s.io",scope="ignored""#),
    )
}

fn token(token: &str) -> Answer {
    Answer::status(200).body(format!(r#"{{"token":"{token}","expires_in":300}}"#))
}

fn client_as(credential: Always) -> Client {
    client_with(ClientOptions {
        credentials: Arc::new(credential),
        ..options()
    })
}

fn token_requests(seen: &[Seen]) -> Vec<&Seen> {
    seen.iter().filter(|seen| seen.path() == "/token").collect()
}

#[tokio::test]
async fn a_token_is_fetched_once_per_scope() {
    let server = Server::start_with(|host| {
        vec![
            Step::new("HEAD", "/v2/a/manifests/x", challenge(host)).without("authorization"),
            Step::new("GET", "/token", token("t1")),
            Step::new("HEAD", "/v2/a/manifests/x", found())
                .with("authorization", "Bearer t1")
                .times(2),
            Step::new("GET", "/token", token("t2")),
            Step::new("HEAD", "/v2/b/manifests/x", found()).with("authorization", "Bearer t2"),
        ]
    })
    .await;
    let client = client_as(Always::basic("u", "p:w"));
    for reference in ["a:x", "a:x", "b:x"] {
        let probe = client.probe(&tagged(&server, reference)).await;
        assert!(matches!(probe, Probe::Present(_)), "{probe:?}");
    }
    let seen = server.finish();
    let tokens = token_requests(&seen);
    for (token, repository) in tokens.iter().zip(["a", "b"]) {
        let basic = format!("Basic {}", STANDARD.encode("u:p:w"));
        assert_eq!(token.header("authorization"), Some(basic.as_str()));
        assert_eq!(
            token.query(),
            format!("service=s.io&scope=repository%3A{repository}%3Apull")
        );
    }
}

#[tokio::test]
async fn many_who_need_a_token_fetch_it_together() {
    let server = Server::start_with(|host| {
        vec![
            Step::new("HEAD", "/v2/a/manifests/x", challenge(host))
                .without("authorization")
                .always(),
            Step::new(
                "GET",
                "/token",
                token("t").delay(std::time::Duration::from_millis(50)),
            ),
            Step::new("HEAD", "/v2/a/manifests/x", found())
                .with("authorization", "Bearer t")
                .times(10),
        ]
    })
    .await;
    let client = client();
    let reference = tagged(&server, "a:x");
    let probes = (0..10).map(|_| client.probe(&reference));
    for probe in futures_util::future::join_all(probes).await {
        assert!(matches!(probe, Probe::Present(_)), "{probe:?}");
    }
    server.finish();
}

#[tokio::test]
async fn a_token_that_is_no_longer_believed_is_renewed_once() {
    let server = Server::start_with(|host| {
        vec![
            Step::new("HEAD", "/v2/a/manifests/x", challenge(host)).without("authorization"),
            Step::new("GET", "/token", token("t1")),
            Step::new("HEAD", "/v2/a/manifests/x", found()).with("authorization", "Bearer t1"),
            Step::new("HEAD", "/v2/a/manifests/x", challenge(host))
                .with("authorization", "Bearer t1"),
            Step::new("GET", "/token", token("t2")),
            Step::new("HEAD", "/v2/a/manifests/x", found()).with("authorization", "Bearer t2"),
            Step::new("HEAD", "/v2/a/manifests/x", challenge(host))
                .with("authorization", "Bearer t2"),
            Step::new("GET", "/token", token("t3")),
            Step::new("HEAD", "/v2/a/manifests/x", challenge(host))
                .with("authorization", "Bearer t3"),
        ]
    })
    .await;
    let client = client();
    let reference = tagged(&server, "a:x");
    for _ in 0..2 {
        assert!(matches!(client.probe(&reference).await, Probe::Present(_)));
    }
    let probe = client.probe(&reference).await;
    assert!(
        matches!(&probe, Probe::Unknown(error) if error.class == ErrorClass::Auth && error.status == Some(401)),
        "{probe:?}"
    );
    server.finish();
}

#[tokio::test]
async fn a_token_is_renewed_before_it_expires() {
    let short = Answer::status(200).body(r#"{"access_token":"t1","expires_in":0}"#);
    let server = Server::start_with(|host| {
        vec![
            Step::new("HEAD", "/v2/a/manifests/x", challenge(host)).without("authorization"),
            Step::new("GET", "/token", short),
            Step::new("HEAD", "/v2/a/manifests/x", found()).with("authorization", "Bearer t1"),
            Step::new("GET", "/token", token("t2")),
            Step::new("HEAD", "/v2/a/manifests/x", found()).with("authorization", "Bearer t2"),
        ]
    })
    .await;
    let client = client();
    for _ in 0..2 {
        let probe = client.probe(&tagged(&server, "a:x")).await;
        assert!(matches!(probe, Probe::Present(_)), "{probe:?}");
    }
    server.finish();
}

#[tokio::test]
async fn a_token_that_expires_during_an_upload() {
    let bytes = b"layer".as_slice();
    let server = Server::start_with(|host| {
        vec![
            Step::new(
                "HEAD",
                format!("/v2/a/blobs/{}", digest(bytes)),
                Answer::status(404),
            ),
            Step::new("POST", "/v2/a/blobs/uploads/", challenge(host)).without("authorization"),
            Step::new("GET", "/token", token("t1")),
            Step::new(
                "POST",
                "/v2/a/blobs/uploads/",
                Answer::status(202).header("location", "/up/1?state=s"),
            )
            .with("authorization", "Bearer t1"),
            Step::new("PUT", "/up/1", challenge(host)).with("authorization", "Bearer t1"),
            Step::new("GET", "/token", token("t2")),
            Step::new("PUT", "/up/1", Answer::status(201)).with("authorization", "Bearer t2"),
        ]
    })
    .await;
    let blob = BlobSource {
        digest: digest(bytes),
        size: bytes.len() as u64,
        body: BlobBody::Bytes(Bytes::from_static(b"layer")),
    };
    let outcome = client()
        .push_blob(&repository(&server, "a"), &blob, &[])
        .await
        .unwrap();
    assert_eq!(outcome, PushOutcome::Uploaded);
    let seen = server.finish();
    assert_eq!(seen.last().unwrap().body, bytes, "the body starts again");
    assert!(seen[2].query().contains("repository%3Aa%3Apull%2Cpush"));
}

#[tokio::test]
async fn an_identity_token_is_exchanged() {
    let server = Server::start_with(|host| {
        vec![
            Step::new("HEAD", "/v2/a/manifests/x", challenge(host)).without("authorization"),
            Step::new("POST", "/token", token("t1")).without("authorization"),
            Step::new("HEAD", "/v2/a/manifests/x", found()).with("authorization", "Bearer t1"),
        ]
    })
    .await;
    let client = client_as(Always(Credential::IdentityToken(Secret::new("re/fresh"))));
    let probe = client.probe(&tagged(&server, "a:x")).await;
    assert!(matches!(probe, Probe::Present(_)), "{probe:?}");
    let seen = server.finish();
    let form = String::from_utf8(seen[1].body.to_vec()).unwrap();
    assert_eq!(
        form,
        "grant_type=refresh_token&client_id=launchway&scope=repository%3Aa%3Apull\
         &refresh_token=re%2Ffresh&service=s.io"
    );
}

#[tokio::test]
async fn basic_is_answered_and_remembered() {
    let basic = format!("Basic {}", STANDARD.encode("u:p"));
    let server = Server::start(vec![
        Step::new(
            "HEAD",
            "/v2/a/manifests/x",
            Answer::status(401).header("www-authenticate", "Basic realm=\"r\""),
        )
        .without("authorization"),
        Step::new("HEAD", "/v2/a/manifests/x", found())
            .with("authorization", basic)
            .times(2),
    ])
    .await;
    let client = client_as(Always::basic("u", "p"));
    for _ in 0..2 {
        let probe = client.probe(&tagged(&server, "a:x")).await;
        assert!(matches!(probe, Probe::Present(_)), "{probe:?}");
    }
    server.finish();
}

#[tokio::test]
async fn nobody_logged_in_is_told() {
    let server = Server::start(vec![
        Step::new(
            "HEAD",
            "/v2/a/manifests/x",
            Answer::status(401).header("www-authenticate", "Basic realm=\"r\""),
        )
        .times(1),
    ])
    .await;
    match client().probe(&tagged(&server, "a:x")).await {
        Probe::Unknown(error) => {
            assert_eq!(error.class, ErrorClass::Auth);
            assert!(error.detail.contains("nobody is logged in"), "{error}");
        }
        other => panic!("{other:?}"),
    }
    server.finish();
}

#[tokio::test]
async fn tokens_are_not_fetched_just_anywhere() {
    for realm in [
        "http://tokens.example/token",
        "https://user:pw@tokens.example/token",
        "ftp://tokens.example/",
        // Addresses that only this machine or its network segment has.
        "http://169.254.169.254/token",
        "https://169.254.169.254/token",
        "https://[fe80::1]/token",
        "https://0.0.0.0/token",
        "http://10.0.0.1/token",
        "/token",
    ] {
        let server = Server::start(vec![Step::new(
            "HEAD",
            "/v2/a/manifests/x",
            Answer::status(401).header("www-authenticate", format!("Bearer realm=\"{realm}\"")),
        )])
        .await;
        let client = client_as(Always::basic("u", "hunter2"));
        match client.probe(&tagged(&server, "a:x")).await {
            Probe::Unknown(error) => {
                assert_eq!(error.class, ErrorClass::Permanent, "{realm}: {error}");
                assert!(!error.to_string().contains("hunter2"));
            }
            other => panic!("{realm}: {other:?}"),
        }
        server.finish();
    }
}

#[tokio::test]
async fn a_token_server_that_stumbles_is_asked_again() {
    let server = Server::start_with(|host| {
        vec![
            Step::new("HEAD", "/v2/a/manifests/x", challenge(host)).without("authorization"),
            Step::new("GET", "/token", Answer::status(500).html("oops")),
            Step::new("GET", "/token", token("t")),
            Step::new("HEAD", "/v2/a/manifests/x", found()).with("authorization", "Bearer t"),
        ]
    })
    .await;
    let probe = client().probe(&tagged(&server, "a:x")).await;
    assert!(matches!(probe, Probe::Present(_)), "{probe:?}");
    server.finish();
}

#[tokio::test]
async fn a_token_server_that_refuses_or_babbles() {
    for (answer, class) in [
        (
            Answer::status(401).error("UNAUTHORIZED", "wrong password"),
            ErrorClass::Auth,
        ),
        (Answer::status(403), ErrorClass::Auth),
        (Answer::status(404), ErrorClass::Permanent),
        (Answer::status(200).html("hello"), ErrorClass::Permanent),
        (Answer::status(200).body("{}"), ErrorClass::Permanent),
        (
            Answer::status(200).body("{\"token\":\"a\\nb\"}"),
            ErrorClass::Auth,
        ),
    ] {
        let server = Server::start_with(|host| {
            vec![
                Step::new("HEAD", "/v2/a/manifests/x", challenge(host)),
                Step::new("GET", "/token", answer),
            ]
        })
        .await;
        match client().probe(&tagged(&server, "a:x")).await {
            Probe::Unknown(error) => assert_eq!(error.class, class, "{error}"),
            other => panic!("{other:?}"),
        }
        server.finish();
    }
}

#[tokio::test]
async fn ping_tells_whether_credentials_were_needed() {
    let open = Server::start(vec![Step::new("GET", "/v2/", Answer::status(200))]).await;
    let host = open.host().parse().unwrap();
    assert!(!client().ping(&host).await.unwrap().authenticated);

    let closed = Server::start_with(|host| {
        vec![
            Step::new("GET", "/v2/", challenge(host)).without("authorization"),
            Step::new("GET", "/token", token("t")),
            Step::new("GET", "/v2/", Answer::status(200)).with("authorization", "Bearer t"),
        ]
    })
    .await;
    let host = closed.host().parse().unwrap();
    assert!(client().ping(&host).await.unwrap().authenticated);
}
