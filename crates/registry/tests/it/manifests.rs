//! Asking for, reading and putting manifests.

use bytes::Bytes;
use launchway_registry::{
    ClientOptions, ErrorClass, MANIFEST_LIMIT, ManifestTarget, Mirror, Probe,
};
use launchway_testkit::http::{Answer, Server, Step};

use crate::support::{
    INDEX, MANIFEST, client, client_for, client_with, digest, options, repository, tagged,
};

const BODY: &str =
    r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}"#;

fn found() -> Answer {
    Answer::status(200)
        .header("content-type", INDEX)
        .header("docker-content-digest", digest(BODY.as_bytes()).to_string())
        .body(BODY)
}

#[tokio::test]
async fn a_probe_is_one_head() {
    let server = Server::start(vec![
        Step::new("HEAD", "/v2/a/b/manifests/x", found()).times(2),
    ])
    .await;
    let client = client();
    for _ in 0..2 {
        match client.probe(&tagged(&server, "a/b:x")).await {
            Probe::Present(found) => {
                assert_eq!(found.digest, digest(BODY.as_bytes()));
                assert_eq!(found.media_type, INDEX);
                assert_eq!(found.size, BODY.len() as u64);
            }
            other => panic!("{other:?}"),
        }
    }
    server.finish();
    assert_eq!(server.connections(), 1, "the connection is used again");
}

/// Present, absent, or nobody can tell.
#[tokio::test]
async fn a_probe_has_three_answers() {
    use ErrorClass::{Auth, Permanent, Transient};
    let head = |answer: Answer| vec![Step::new("HEAD", "/v2/a/manifests/x", answer).always()];
    for (name, steps, want) in [
        ("404 empty", head(Answer::status(404)), None),
        ("404 HTML", head(Answer::status(404).html("lost")), None),
        (
            "404 proper",
            head(Answer::status(404).error("MANIFEST_UNKNOWN", "no")),
            None,
        ),
        (
            "401 without a challenge",
            head(Answer::status(401)),
            Some(Auth),
        ),
        ("500", head(Answer::status(500)), Some(Transient)),
        ("503", head(Answer::status(503)), Some(Transient)),
        ("reset", head(Answer::reset()), Some(Transient)),
        ("silence", head(Answer::silence()), Some(Transient)),
        (
            "no HTTP",
            head(Answer::raw("SSH-2.0-x\r\n")),
            Some(Transient),
        ),
        ("418", head(Answer::status(418)), Some(Permanent)),
        (
            "403",
            vec![
                Step::new("HEAD", "/v2/a/manifests/x", Answer::status(403)),
                Step::new(
                    "GET",
                    "/v2/a/manifests/x",
                    Answer::status(403).error("DENIED", "no"),
                ),
            ],
            Some(Auth),
        ),
        (
            "a digest of something else",
            head(
                Answer::status(200)
                    .header("docker-content-digest", "nonsense")
                    .header("content-type", "text/html"),
            )
            .into_iter()
            .chain([Step::new(
                "GET",
                "/v2/a/manifests/x",
                Answer::status(200).html("hello"),
            )])
            .collect(),
            Some(Permanent),
        ),
    ] {
        let server = Server::start(steps).await;
        let got = match client_for(name).probe(&tagged(&server, "a:x")).await {
            Probe::Absent => None,
            Probe::Unknown(error) => {
                assert!(error.to_string().contains(server.host()), "{error}");
                Some(error.class)
            }
            Probe::Present(found) => panic!("{name}: {found:?}"),
        };
        assert_eq!(got, want, "{name}");
    }
}

#[tokio::test]
async fn nobody_listening_is_unknown() {
    let server = Server::start(Vec::new()).await;
    let reference = tagged(&server, "a:x");
    drop(server);
    tokio::task::yield_now().await;
    let probe = client().probe(&reference).await;
    assert!(
        matches!(&probe, Probe::Unknown(error) if error.class == ErrorClass::Transient),
        "{probe:?}"
    );
}

#[tokio::test]
async fn a_head_that_tells_too_little_is_made_up_for() {
    for head in [
        Answer::status(200).header("content-type", INDEX),
        Answer::status(405),
        Answer::status(200).header("docker-content-digest", digest(b"x").to_string()),
    ] {
        let server = Server::start(vec![
            Step::new("HEAD", "/v2/a/manifests/x", head),
            Step::new("GET", "/v2/a/manifests/x", found()),
        ])
        .await;
        let probe = client().probe(&tagged(&server, "a:x")).await;
        assert!(
            matches!(&probe, Probe::Present(found) if found.digest == digest(BODY.as_bytes())),
            "{probe:?}"
        );
        server.finish();
    }
}

#[tokio::test]
async fn manifests_are_verified() {
    let other = digest(b"something else");
    for (name, target, answer, want) in [
        ("by tag", "a:x".to_owned(), found(), None),
        (
            "the wrong bytes for a digest",
            format!("a@{other}"),
            Answer::status(200).header("content-type", INDEX).body(BODY),
            Some("content does not match its digest"),
        ),
        (
            "not what the header says",
            "a:x".to_owned(),
            Answer::status(200)
                .header("docker-content-digest", other.to_string())
                .body(BODY),
            Some("content does not match its digest"),
        ),
        (
            "HTML",
            "a:x".to_owned(),
            Answer::status(200).html("please log in"),
            Some("no manifest"),
        ),
        (
            "too large",
            "a:x".to_owned(),
            Answer::status(200).body(vec![b' '; MANIFEST_LIMIT as usize + 1]),
            Some("larger than the 8 MiB"),
        ),
    ] {
        let reference = target
            .trim_start_matches("a")
            .trim_start_matches([':', '@']);
        let path = format!("a/manifests/{reference}");
        let server = Server::start(vec![
            Step::new("GET", format!("/v2/{path}"), answer).always(),
        ])
        .await;
        let result = client().manifest(&tagged(&server, &target)).await;
        match (result, want) {
            (Ok(manifest), None) => {
                assert_eq!(manifest.bytes, BODY);
                assert_eq!(manifest.media_type, INDEX);
                assert_eq!(manifest.digest, digest(BODY.as_bytes()));
            }
            (Err(error), Some(want)) => {
                assert_eq!(error.class, ErrorClass::Permanent, "{name}");
                assert!(error.to_string().contains(want), "{name}: {error}");
                assert_eq!(server.lines().len(), 1, "{name}: asked again");
            }
            (result, _) => panic!("{name}: {result:?}"),
        }
    }
}

#[tokio::test]
async fn the_type_is_taken_from_the_manifest_when_the_server_forgets_it() {
    let server = Server::start(vec![Step::new(
        "GET",
        "/v2/a/manifests/x",
        Answer::status(200)
            .header("content-type", "application/octet-stream")
            .body(BODY),
    )])
    .await;
    let manifest = client().manifest(&tagged(&server, "a:x")).await.unwrap();
    assert_eq!(manifest.media_type, INDEX);
}

#[tokio::test]
async fn what_the_registry_stored_is_compared() {
    let put = |told: &str| {
        vec![
            Step::new(
                "PUT",
                "/v2/a/manifests/x",
                Answer::status(201).header("docker-content-digest", told),
            )
            .with("content-type", INDEX),
        ]
    };
    let bytes = Bytes::from_static(BODY.as_bytes());
    for (told, good) in [
        (digest(BODY.as_bytes()).to_string(), true),
        (digest(b"other").to_string(), false),
        ("nonsense".to_owned(), true),
    ] {
        let server = Server::start(put(&told)).await;
        let tag = ManifestTarget::Tag("x".parse().unwrap());
        let result = client()
            .put_manifest(&repository(&server, "a"), tag, INDEX, bytes.clone())
            .await;
        match result {
            Ok(digest_put) => {
                assert!(good, "{told}");
                assert_eq!(digest_put, digest(BODY.as_bytes()));
            }
            Err(error) => {
                assert!(!good, "{error}");
                assert_eq!(error.class, ErrorClass::Permanent);
            }
        }
        assert_eq!(server.finish()[0].body, BODY);
    }
}

#[tokio::test]
async fn a_manifest_is_put_under_its_digest() {
    let path = format!("/v2/a/manifests/{}", digest(BODY.as_bytes()));
    let server = Server::start(vec![Step::new("PUT", path, Answer::status(201))]).await;
    client()
        .put_manifest(
            &repository(&server, "a"),
            ManifestTarget::Digest,
            INDEX,
            Bytes::from_static(BODY.as_bytes()),
        )
        .await
        .unwrap();
    server.finish();
}

#[tokio::test]
async fn mirrors_are_asked_first_and_never_probed() {
    let broken = Server::start(vec![
        Step::new("GET", "/v2/cache/a/manifests/x", Answer::status(404)),
        Step::new("HEAD", "/v2/cache/a/manifests/x", Answer::status(500)),
    ])
    .await;
    let copy = Server::start(vec![
        Step::new("GET", "/v2/a/manifests/x", found()),
        Step::new("HEAD", "/v2/a/manifests/x", found()),
    ])
    .await;
    let origin = Server::start(vec![Step::new(
        "HEAD",
        "/v2/a/manifests/x",
        Answer::status(404),
    )])
    .await;
    let mirror = |server: &Server, prefix: Option<&str>| Mirror {
        of: origin.host().parse().unwrap(),
        host: server.host().parse().unwrap(),
        prefix: prefix.map(str::to_owned),
    };
    let client = client_with(ClientOptions {
        mirrors: vec![mirror(&broken, Some("cache")), mirror(&copy, None)],
        ..options()
    });
    let reference = tagged(&origin, "a:x");
    assert_eq!(client.manifest(&reference).await.unwrap().bytes, BODY);
    assert!(matches!(
        client.resolve(&reference).await,
        Probe::Present(_)
    ));
    assert_eq!(client.probe(&reference).await, Probe::Absent);
    for server in [&broken, &copy, &origin] {
        server.finish();
    }
}

#[tokio::test]
async fn redirects_are_followed_when_reading() {
    let target = Server::start(vec![
        Step::new("GET", "/elsewhere", found()),
        Step::new("HEAD", "/elsewhere", found()),
    ])
    .await;
    let location = format!("http://{}/elsewhere?sig=1", target.host());
    let away = || Answer::status(307).header("location", location.clone());
    let server = Server::start(vec![
        Step::new("GET", "/v2/a/manifests/x", away()),
        Step::new("HEAD", "/v2/a/manifests/x", away()),
        Step::new("PUT", "/v2/a/manifests/x", away()),
    ])
    .await;
    let client = client();
    let reference = tagged(&server, "a:x");
    assert!(client.manifest(&reference).await.is_ok());
    assert!(matches!(client.probe(&reference).await, Probe::Present(_)));
    let put = client
        .put_manifest(
            &reference.repository,
            ManifestTarget::Tag("x".parse().unwrap()),
            MANIFEST,
            Bytes::from_static(b"{}"),
        )
        .await;
    assert_eq!(put.unwrap_err().class, ErrorClass::Permanent);
    server.finish();
    target.finish();
}

#[tokio::test]
async fn redirects_without_an_end_are_left() {
    let server = Server::start(vec![
        Step::new(
            "GET",
            "/v2/a/manifests/x",
            Answer::status(302).header("location", "/v2/a/manifests/x"),
        )
        .always(),
    ])
    .await;
    let error = client()
        .manifest(&tagged(&server, "a:x"))
        .await
        .unwrap_err();
    assert_eq!(error.class, ErrorClass::Permanent);
    assert!(error.detail.contains("redirects"), "{error}");
}

#[tokio::test]
async fn deleting() {
    use ErrorClass::{Missing, Permanent};
    let unsupported = Answer::status(405).error("UNSUPPORTED", "The operation is unsupported.");
    let in_use = Answer::status(405).error("UNSUPPORTED", "it is in use");
    for (answer, want) in [
        (Answer::status(202), None),
        (Answer::status(400), Some((Permanent, ""))),
        (Answer::status(404), Some((Missing, ""))),
        (
            Answer::status(405),
            Some((Permanent, "deleting is switched off")),
        ),
        (unsupported, Some((Permanent, "deleting is switched off"))),
        (in_use, Some((Permanent, "UNSUPPORTED: it is in use"))),
    ] {
        let blob = digest(b"blob");
        let server = Server::start(vec![
            Step::new("DELETE", "/v2/a/manifests/x", answer.clone()),
            Step::new("DELETE", format!("/v2/a/blobs/{blob}"), answer),
        ])
        .await;
        let client = client();
        let by_tag = client.delete(&tagged(&server, "a:x")).await;
        if let Err(error) = &by_tag
            && error.class == Permanent
        {
            assert!(error.detail.contains("by their digest only"), "{error}");
        }
        for result in [
            by_tag,
            client.delete_blob(&repository(&server, "a"), &blob).await,
        ] {
            match (result, &want) {
                (Ok(()), None) => {}
                (Err(error), Some((class, detail))) => {
                    assert_eq!(error.class, *class);
                    assert!(error.detail.contains(detail), "{error}");
                }
                (result, want) => panic!("{want:?}: {result:?}"),
            }
        }
        server.finish();
    }
}

/// What is no manifest of today, or more than one, is told as that.
#[tokio::test]
async fn manifests_that_cannot_be_used() {
    let old = "application/vnd.docker.distribution.manifest.v1+prettyjws";
    for (content_type, body, want) in [
        (
            old,
            r#"{"schemaVersion":1,"name":"a","fsLayers":[]}"#,
            "schema 1",
        ),
        (
            INDEX,
            r#"{"schemaVersion":2,"manifests":[],"config":{},"layers":[]}"#,
            "an index and an image at once",
        ),
        (
            INDEX,
            r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","manifests":[]}"#,
            "its content is something else",
        ),
    ] {
        let answer = Answer::status(200)
            .header("content-type", content_type)
            .body(body);
        let server = Server::start(vec![Step::new("GET", "/v2/a/manifests/x", answer)]).await;
        let error = client()
            .manifest(&tagged(&server, "a:x"))
            .await
            .unwrap_err();
        assert_eq!(error.class, ErrorClass::Permanent);
        assert!(error.detail.contains(want), "{error}");
        server.finish();
    }
}

#[tokio::test]
async fn a_manifest_too_large_to_be_read_again_is_not_put() {
    let server = Server::start(Vec::new()).await;
    let tag = ManifestTarget::Tag("x".parse().unwrap());
    let bytes = Bytes::from(vec![b' '; MANIFEST_LIMIT as usize + 1]);
    let error = client()
        .put_manifest(&repository(&server, "a"), tag, INDEX, bytes)
        .await
        .unwrap_err();
    assert!(error.detail.contains("larger than the 8 MiB"), "{error}");
    server.finish();
}

/// The headers of one answer may be many, but not without end.
#[tokio::test]
async fn huge_headers_do_no_harm() {
    let answer = (0..80).fold(found(), |answer, at| {
        answer.header(&format!("x-{at}"), "y".repeat(1000))
    });
    let endless = Answer::raw(format!("HTTP/1.1 200 OK\r\nx: {}", "y".repeat(4 << 20)));
    for (answer, good) in [(answer, true), (endless, false)] {
        let server =
            Server::start(vec![Step::new("GET", "/v2/a/manifests/x", answer).always()]).await;
        let result = client().manifest(&tagged(&server, "a:x")).await;
        assert_eq!(result.is_ok(), good, "{result:?}");
    }
}
