//! No secret comes out: not in an error, not in an event, not in a debug print.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use launchway_registry::{
    BlobBody, BlobSource, ClientOptions, Credential, ManifestTarget, Probe, Secret,
};
use launchway_testkit::http::{Answer, Server, Step};

use crate::support::{Always, INDEX, client_with_events, digest, options, repository, tagged};

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

/// Every call, by basic login and by token, refused by a registry that repeats what it was sent.
#[tokio::test]
async fn every_call_that_is_refused() {
    let pair = STANDARD.encode(format!("u:{PASSWORD}"));
    let bytes = b"content".as_slice();
    let wanted = digest(bytes);
    let manifest = "/v2/a/manifests/x".to_owned();
    let blob = format!("/v2/a/blobs/{wanted}");
    let calls: [(&'static str, String); 10] = [
        ("GET", "/v2/".to_owned()),
        ("HEAD", manifest.clone()),
        ("GET", manifest.clone()),
        ("PUT", manifest.clone()),
        ("DELETE", manifest),
        ("GET", "/v2/a/tags/list".to_owned()),
        ("GET", format!("/v2/a/referrers/{wanted}")),
        // The tag that stands in for the list of referrers.
        ("GET", format!("/v2/a/manifests/{wanted}").replace(':', "-")),
        ("GET", blob.clone()),
        // The address of an upload is a secret as well.
        ("PUT", "/up/1".to_owned()),
    ];
    for is_basic in [true, false] {
        let knows = if is_basic {
            format!("{pair} {PASSWORD}")
        } else {
            TOKEN.to_owned()
        };
        let proof = if is_basic {
            format!("Basic {pair}")
        } else {
            format!("Bearer {TOKEN}")
        };
        let refusal = Answer::status(400)
            .header("x-echo", knows.clone())
            // Long enough to be cut in the middle of the secret.
            .error(
                &format!("DENIED {knows}"),
                &format!("{}{knows} https://x/y?sig={SIGNATURE}", "x".repeat(290)),
            );
        let begun = Answer::status(202).header("location", format!("/up/1?state={SIGNATURE}"));
        let server = Server::start_with(|host| {
            let challenge = if is_basic {
                "Basic realm=\"r\"".to_owned()
            } else {
                format!("Bearer realm=\"http://{host}/t\"")
            };
            let challenge = Answer::status(401).header("www-authenticate", challenge);
            let token = Answer::status(200).body(format!(r#"{{"token":"{TOKEN}"}}"#));
            let mut steps = vec![Step::new("GET", "/t", token).always()];
            let with_proof = |method, path: &str, answer: &Answer| {
                Step::new(method, path, answer.clone())
                    .with("authorization", proof.clone())
                    .always()
            };
            steps.extend(
                calls
                    .iter()
                    .map(|(method, path)| with_proof(method, path, &refusal)),
            );
            steps.push(with_proof("HEAD", &blob, &Answer::status(404)));
            steps.push(with_proof("POST", "/v2/a/blobs/uploads/", &begun));
            let all = calls.iter().map(|(method, path)| (*method, path.as_str()));
            let others = [("HEAD", blob.as_str()), ("POST", "/v2/a/blobs/uploads/")];
            steps.extend(
                all.chain(others)
                    .map(|(method, path)| Step::new(method, path, challenge.clone()).always()),
            );
            // Where an upload stands, and that it is over.
            for method in ["GET", "DELETE", "PATCH"] {
                steps.push(Step::new(method, "/up/1", Answer::status(404)).always());
            }
            steps
        })
        .await;
        let options = ClientOptions {
            credentials: Arc::new(Always::basic("u", PASSWORD)),
            ..options()
        };
        let mut said = vec![format!("{options:?}")];
        let (client, told) = client_with_events(options);
        let reference = tagged(&server, "a:x");
        let repository = repository(&server, "a");
        let folder = tempfile::tempdir().unwrap();
        let source = BlobSource {
            digest: wanted.clone(),
            size: bytes.len() as u64,
            body: BlobBody::Bytes(Bytes::from_static(b"content")),
        };
        let index = Bytes::from_static(b"{}");
        let tag = ManifestTarget::Tag("x".parse().unwrap());
        let size = bytes.len() as u64;
        let to = folder.path().join("blob");
        let results = [
            client.ping(repository.host()).await.err(),
            client.manifest(&reference).await.err(),
            client
                .put_manifest(&repository, tag, INDEX, index)
                .await
                .err(),
            client.delete(&reference).await.err(),
            client.tags(&repository).await.err(),
            client.referrers(&repository, &wanted, None).await.err(),
            client
                .pull_blob(&repository, &wanted, size, &to)
                .await
                .err(),
            client.read_blob(&repository, &wanted, 100).await.err(),
            client.push_blob(&repository, &source, &[]).await.err(),
        ];
        for error in results {
            let error = error.unwrap();
            assert_eq!(error.status, Some(400), "{error}");
            said.push(format!("{error} {error:?}"));
        }
        match client.probe(&reference).await {
            Probe::Unknown(error) => said.push(format!("{error} {error:?}")),
            other => panic!("{other:?}"),
        }
        said.push(format!("{client:?}"));
        said.extend(
            told.lock()
                .unwrap()
                .iter()
                .map(|event| format!("{event:?}")),
        );
        for text in &said {
            for secret in [PASSWORD, TOKEN, SIGNATURE, pair.as_str()] {
                for part in [secret, &secret[..8]] {
                    assert!(!text.contains(part), "{text}");
                }
            }
        }
    }
}
