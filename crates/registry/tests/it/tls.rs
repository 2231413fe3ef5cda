//! Whom the client trusts, how it finds out that a server wants TLS, and HTTP/2.

use std::path::PathBuf;
use std::sync::atomic::Ordering;

use launchway_model::{Reference, RegistryHost};
use launchway_registry::{Client, ClientOptions, ErrorClass, RegistryError};
use launchway_testkit::http::{Answer, Server, Step};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::support::{client, client_with, options, tagged};
use crate::tls_server::{Authority, Certificate, First, OnPlain, TlsServer};

fn trusting(file: PathBuf) -> Client {
    client_with(ClientOptions {
        ca_bundle: Some(file),
        ..options()
    })
}

fn reference(server: &TlsServer) -> Reference {
    format!("{}/a:x", server.address).parse().unwrap()
}

async fn refused(client: &Client, server: &TlsServer) -> RegistryError {
    client.manifest(&reference(server)).await.unwrap_err()
}

/// Loopback is spoken to without TLS at first; a server that wants it is found out, whatever it does
/// with plain HTTP.
#[tokio::test]
async fn a_registry_on_this_machine_may_speak_tls() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new(directory.path(), "ca");
    for on_plain in [OnPlain::Refuse, OnPlain::Close, OnPlain::Alert] {
        for protocols in [&["h2", "http/1.1"][..], &["http/1.1"], &[]] {
            let certificate = Certificate::good(&authority);
            let server = TlsServer::start(&certificate, protocols, on_plain, First::Answer).await;
            let client = trusting(authority.file.clone());
            for _ in 0..3 {
                client.manifest(&reference(&server)).await.unwrap();
            }
            // One in plain HTTP, and one by TLS that is used again.
            assert_eq!(server.connections(), 2, "{on_plain:?}");
            let h2 = server.counts.h2.load(Ordering::SeqCst);
            assert_eq!(h2, usize::from(protocols.contains(&"h2")));
            let host: RegistryHost = server.address.to_string().parse().unwrap();
            client.ping(&host).await.unwrap();
            assert_eq!(
                *server.counts.requests.lock().unwrap(),
                [
                    "HEAD /v2/a/manifests/x",
                    "GET /v2/a/manifests/x",
                    "GET /v2/a/manifests/x",
                    "GET /v2/a/manifests/x",
                    "GET /v2/"
                ]
            );
        }
    }
}

/// Who speaks plain HTTP is never asked for TLS.
#[tokio::test]
async fn the_usual_registry_on_this_machine_costs_nothing_more() {
    let path = "/v2/a/manifests/x";
    let answer = Answer::status(200)
        .header("content-type", crate::support::INDEX)
        .body("{}");
    let server = Server::start(vec![
        Step::new("GET", path, Answer::status(404)),
        Step::new("GET", path, Answer::status(400)),
        Step::new("GET", path, answer),
    ])
    .await;
    // Not even the file with the certificates is looked at.
    let client = trusting(PathBuf::from("/nonexistent/ca.pem"));
    let reference = tagged(&server, "a:x");
    for class in [ErrorClass::Missing, ErrorClass::Permanent] {
        assert_eq!(client.manifest(&reference).await.unwrap_err().class, class);
    }
    client.manifest(&reference).await.unwrap();
    server.finish();
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn certificates_that_do_not_verify() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new(directory.path(), "ca");
    let other = Authority::new(directory.path(), "other");
    let good = || Certificate::good(&authority);
    for (certificate, trusted, want) in [
        (
            good(),
            &other,
            "is signed by an authority that is not trusted here; add the authority to the system's \
             store, or name a PEM file with it in SSL_CERT_FILE",
        ),
        (
            Certificate {
                until_year: 2001,
                ..good()
            },
            &authority,
            "is not valid now: ",
        ),
        (
            Certificate {
                name: "registry.example",
                ..good()
            },
            &authority,
            "is not for 127.0.0.1:",
        ),
        (
            Certificate {
                is_authority: true,
                ..good()
            },
            &authority,
            "it says CA:TRUE; make one that says CA:FALSE",
        ),
    ] {
        let server = TlsServer::start(&certificate, &[], OnPlain::Refuse, First::Answer).await;
        let error = refused(&trusting(trusted.file.clone()), &server).await;
        assert!(error.detail.contains(want), "{error}");
        assert!(error.detail.contains("127.0.0.1:"), "{error}");
        assert_eq!(error.code().to_string(), "LW0406");
        assert_eq!((error.class, error.attempts), (ErrorClass::Permanent, 1));
    }
    // The name that the certificate is for is told.
    let certificate = Certificate {
        name: "registry.example",
        ..good()
    };
    let server = TlsServer::start(&certificate, &[], OnPlain::Refuse, First::Answer).await;
    let error = refused(&trusting(authority.file.clone()), &server).await;
    assert!(error.detail.contains("registry.example"), "{error}");
}

#[tokio::test]
async fn a_file_of_authorities_that_cannot_be_used() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new(directory.path(), "ca");
    let empty = directory.path().join("empty.pem");
    std::fs::write(&empty, "no certificate\n").unwrap();
    let certificate = Certificate::good(&authority);
    let server = TlsServer::start(&certificate, &[], OnPlain::Refuse, First::Answer).await;
    // By a redirect to TLS, since only that says for sure that TLS is meant.
    let redirecting = Server::start(vec![
        Step::new(
            "GET",
            "/v2/a/manifests/x",
            Answer::status(307).header("location", format!("https://{}/x", server.address)),
        )
        .always(),
    ])
    .await;
    for (file, want) in [
        (empty, "there is none in it"),
        (directory.path().join("lost.pem"), "No such file"),
    ] {
        let error = trusting(file.clone())
            .manifest(&tagged(&redirecting, "a:x"))
            .await
            .unwrap_err();
        assert!(error.detail.contains(want), "{error}");
        assert!(error.detail.contains(file.to_str().unwrap()), "{error}");
        assert_eq!(error.code().to_string(), "LW0406");
    }
}

/// Who does not speak TLS where it is expected: what to do about it is said.
#[tokio::test]
async fn a_registry_without_tls_where_it_is_expected() {
    for (answer, class, code) in [
        (
            &b"HTTP/1.0 400 Bad Request\r\n\r\n"[..],
            ErrorClass::Permanent,
            "LW0407",
        ),
        (b"", ErrorClass::Transient, "LW0401"),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let plain = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let _ = stream.read(&mut [0; 4096]).await;
                let _ = stream.write_all(answer).await;
            }
        });
        let redirecting = Server::start(vec![
            Step::new(
                "GET",
                "/v2/a/manifests/x",
                Answer::status(307).header("location", format!("https://{address}/x")),
            )
            .always(),
        ])
        .await;
        let error = client()
            .manifest(&tagged(&redirecting, "a:x"))
            .await
            .unwrap_err();
        let want = format!(
            "if plain HTTP is intended, list the host under `plain-http` or give --plain-http \
             {address}"
        );
        assert!(error.detail.contains(&want), "{error}");
        assert_eq!(error.class, class);
        assert_eq!(error.code().to_string(), code);
        plain.abort();
    }
}

/// What HTTP/2 servers do to single requests is a stumble like others.
#[tokio::test]
async fn streams_that_are_refused_or_broken_are_tried_again() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new(directory.path(), "ca");
    for first in [First::Refuse, First::GoAway, First::Break] {
        let certificate = Certificate::good(&authority);
        let server = TlsServer::start(&certificate, &["h2"], OnPlain::Refuse, first).await;
        let client = trusting(authority.file.clone());
        let result = client.manifest(&reference(&server)).await;
        assert!(result.is_ok(), "{first:?}: {result:?}");
        assert!(server.counts.h2.load(Ordering::SeqCst) > 0);
    }
}
