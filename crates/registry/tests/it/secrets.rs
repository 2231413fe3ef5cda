//! No secret comes out: not in an error, not in an event, not in a debug print.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use launchway_registry::{ClientOptions, Credential, Probe, Secret};
use launchway_testkit::http::{Answer, Server, Step};

use crate::support::{Always, client_with_events, digest, options, repository, tagged};

const PASSWORD: &str = "p4ssw0rd-of-mine";
const TOKEN: &str = "t0ken-of-the-registry";
const SIGNATURE: &str = "s1gnature-of-the-storage";

/// Servers that repeat everything they were given, in every place they can.
#[tokio::test]
async fn servers_that_repeat_what_they_were_told() {
    let basic = STANDARD.encode(format!("u:{PASSWORD}"));
    // A server knows what it was sent or gave out itself.
    let echo = |status: u16, knows: &str| {
        Answer::status(status).header("x-echo", knows).error(
            "DENIED",
            &format!("you sent {knows} to https://x/y?sig={SIGNATURE}"),
        )
    };
    let bytes = b"content";
    let blob = format!("/v2/a/blobs/{}", digest(bytes));
    let storage = Server::start(vec![
        Step::new(
            "GET",
            "/object",
            Answer::status(403)
                .header("content-type", "application/xml")
                .body(format!(
                    "<?xml version='1.0'?><Error><Key>{SIGNATURE}</Key></Error>"
                )),
        )
        .times(3),
    ])
    .await;
    let away = format!("http://{}/object?X-Sig={SIGNATURE}", storage.host());
    let credentials = [
        Always::basic("u", PASSWORD),
        Always(Credential::IdentityToken(Secret::new(PASSWORD))),
    ];
    for credential in credentials {
        let is_basic = matches!(credential.0, Credential::Basic { .. });
        let knows = if is_basic {
            format!("{basic} or {PASSWORD}")
        } else {
            PASSWORD.to_owned()
        };
        let challenge = |host: &str| {
            Answer::status(401).header(
                "www-authenticate",
                format!("Bearer realm=\"http://{host}/t\",service=\"s\""),
            )
        };
        let token = Answer::status(200).body(format!(r#"{{"token":"{TOKEN}"}}"#));
        let server = Server::start_with(|host| {
            let ask = if is_basic { "GET" } else { "POST" };
            vec![
                // The token server refuses and repeats.
                Step::new("GET", "/v2/z/manifests/x", challenge(host)),
                Step::new(ask, "/t", echo(401, &knows)),
                // The registry refuses and repeats.
                Step::new(ask, "/t", token),
                Step::new("GET", "/v2/a/manifests/x", echo(400, TOKEN)),
                Step::new("HEAD", "/v2/a/manifests/x", echo(500, TOKEN)).times(3),
                // The storage refuses; its address is a secret.
                Step::new(
                    "GET",
                    blob.clone(),
                    Answer::status(307).header("location", away.clone()),
                )
                .always(),
            ]
        })
        .await;
        let (client, told) = client_with_events(ClientOptions {
            credentials: Arc::new(credential),
            ..options()
        });
        let mut said = Vec::new();
        let error = client.manifest(&tagged(&server, "z:x")).await.unwrap_err();
        said.push(format!("{error} {error:?}"));
        let error = client.manifest(&tagged(&server, "a:x")).await.unwrap_err();
        said.push(format!("{error} {error:?}"));
        match client.probe(&tagged(&server, "a:x")).await {
            Probe::Unknown(error) => said.push(format!("{error} {error:?}")),
            other => panic!("{other:?}"),
        }
        if is_basic {
            let error = client
                .read_blob(&repository(&server, "a"), &digest(bytes), 100)
                .await
                .unwrap_err();
            said.push(format!("{error} {error:?}"));
        }
        said.push(format!("{client:?}"));
        let told = told.lock().unwrap();
        said.extend(told.iter().map(|event| format!("{event:?}")));
        for text in &said {
            for secret in [PASSWORD, TOKEN, SIGNATURE, basic.as_str()] {
                assert!(!text.contains(secret), "{text}");
            }
        }
        server.finish();
    }
    storage.finish();
}

/// An address that cannot be reached is named, but not its query.
#[tokio::test]
async fn an_unreachable_redirect() {
    let gone = Server::start(Vec::new()).await;
    let away = format!("http://{}/object?X-Sig={SIGNATURE}", gone.host());
    drop(gone);
    tokio::task::yield_now().await;
    let blob = format!("/v2/a/blobs/{}", digest(b"x"));
    let server = Server::start(vec![
        Step::new("GET", blob, Answer::status(307).header("location", away)).always(),
    ])
    .await;
    let (client, told) = client_with_events(options());
    let error = client
        .read_blob(&repository(&server, "a"), &digest(b"x"), 10)
        .await
        .unwrap_err();
    let said = format!("{error} {error:?} {:?}", told.lock().unwrap());
    assert!(!said.contains(SIGNATURE), "{said}");
}
