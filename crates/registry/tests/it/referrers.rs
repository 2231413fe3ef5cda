//! What refers to a manifest, on registries with a list and on those without.

use bytes::Bytes;
use launchway_registry::{ErrorClass, ManifestTarget};
use launchway_testkit::http::{Answer, Server, Step};

use crate::support::{INDEX, MANIFEST, client, digest, repository};

fn entry(name: &str, artifact_type: &str) -> String {
    format!(
        r#"{{"mediaType":"{MANIFEST}","digest":"{}","size":1,"artifactType":"{artifact_type}"}}"#,
        digest(name.as_bytes())
    )
}

fn index(entries: &[String]) -> Answer {
    Answer::status(200)
        .header("content-type", INDEX)
        .body(format!(
            r#"{{"schemaVersion":2,"mediaType":"{INDEX}","manifests":[{}]}}"#,
            entries.join(",")
        ))
}

#[tokio::test]
async fn the_list_comes_in_pages_and_is_filtered_here_too() {
    let subject = digest(b"subject");
    let path = format!("/v2/a/referrers/{subject}");
    let server = Server::start(vec![
        Step::new(
            "GET",
            format!("{path}?artifactType=x%2Fone"),
            index(&[entry("1", "x/one"), entry("2", "x/two")])
                .header("link", format!("<{path}?page=2>; rel=\"next\"")),
        ),
        Step::new(
            "GET",
            format!("{path}?page=2"),
            index(&[entry("3", "x/one")]),
        ),
    ])
    .await;
    let found = client()
        .referrers(&repository(&server, "a"), &subject, Some("x/one"))
        .await
        .unwrap();
    let found: Vec<&str> = found.iter().map(|found| found.digest.as_str()).collect();
    assert_eq!(found, [digest(b"1").to_string(), digest(b"3").to_string()]);
    server.finish();
}

#[tokio::test]
async fn without_a_list_a_tag_stands_in() {
    let subject = digest(b"subject");
    let list = format!("/v2/a/referrers/{subject}");
    let stand_in = format!("/v2/a/manifests/sha256-{}", subject.hex());
    for (name, list_answer, tag_answer, want) in [
        (
            "404",
            Answer::status(404),
            index(&[entry("1", "x/one")]),
            Ok(1),
        ),
        (
            "404 page",
            Answer::status(404).html("?"),
            Answer::status(404),
            Ok(0),
        ),
        ("405", Answer::status(405), Answer::status(404), Ok(0)),
        (
            "a page for people",
            Answer::status(200).html("hi"),
            Answer::status(404),
            Ok(0),
        ),
        (
            "the tag is something else",
            Answer::status(404),
            Answer::status(200)
                .header("content-type", MANIFEST)
                .body(format!(r#"{{"schemaVersion":2,"mediaType":"{MANIFEST}"}}"#)),
            Err(ErrorClass::Permanent),
        ),
    ] {
        let server = Server::start(vec![
            Step::new("GET", list.clone(), list_answer),
            Step::new("GET", stand_in.clone(), tag_answer),
        ])
        .await;
        let found = client()
            .referrers(&repository(&server, "a"), &subject, None)
            .await;
        let found = found.map(|found| found.len()).map_err(|error| error.class);
        assert_eq!(found, want, "{name}");
        server.finish();
    }
}

#[tokio::test]
async fn a_list_that_cannot_be_read_is_an_error() {
    let subject = digest(b"subject");
    let list = format!("/v2/a/referrers/{subject}");
    let server = Server::start(vec![Step::new("GET", list, Answer::status(500)).times(3)]).await;
    let found = client()
        .referrers(&repository(&server, "a"), &subject, None)
        .await;
    assert_eq!(found.unwrap_err().class, ErrorClass::Transient);
    server.finish();
}

fn referring() -> Bytes {
    let subject = digest(b"subject");
    Bytes::from(format!(
        r#"{{"schemaVersion":2,"mediaType":"{MANIFEST}","artifactType":"x/record",
            "config":{{"mediaType":"application/vnd.oci.empty.v1+json","digest":"{}","size":2}},
            "layers":[],"annotations":{{"k":"v"}},
            "subject":{{"mediaType":"{MANIFEST}","digest":"{subject}","size":7}}}}"#,
        digest(b"{}")
    ))
}

#[tokio::test]
async fn a_registry_with_lists_needs_no_tag() {
    let bytes = referring();
    let server = Server::start(vec![Step::new(
        "PUT",
        format!("/v2/a/manifests/{}", digest(&bytes)),
        Answer::status(201).header("oci-subject", digest(b"subject").to_string()),
    )])
    .await;
    client()
        .put_manifest(
            &repository(&server, "a"),
            ManifestTarget::Digest,
            MANIFEST,
            bytes,
        )
        .await
        .unwrap();
    server.finish();
}

#[tokio::test]
async fn the_tag_is_read_changed_and_written() {
    let bytes = referring();
    let put = format!("/v2/a/manifests/{}", digest(&bytes));
    let tag = format!("/v2/a/manifests/sha256-{}", digest(b"subject").hex());
    let own = format!(
        r#"{{"mediaType":"{MANIFEST}","digest":"{}","size":{},"artifactType":"x/record","annotations":{{"k":"v"}}}}"#,
        digest(&bytes),
        bytes.len()
    );
    let other = entry("1", "x/one");
    let before = index(std::slice::from_ref(&other));
    let after = index(&[other.clone(), own.clone()]);
    for (name, steps) in [
        (
            "the first",
            vec![
                Step::new("GET", tag.clone(), Answer::status(404)),
                Step::new("PUT", tag.clone(), Answer::status(201)).with("content-type", INDEX),
                Step::new("GET", tag.clone(), index(std::slice::from_ref(&own))),
            ],
        ),
        (
            "one more",
            vec![
                Step::new("GET", tag.clone(), before.clone()),
                Step::new("PUT", tag.clone(), Answer::status(201)),
                Step::new("GET", tag.clone(), after.clone()),
            ],
        ),
        (
            "there already",
            vec![Step::new("GET", tag.clone(), after.clone())],
        ),
        (
            "another writer was quicker",
            vec![
                Step::new("GET", tag.clone(), Answer::status(404)),
                Step::new("PUT", tag.clone(), Answer::status(500)),
                Step::new("PUT", tag.clone(), Answer::status(201)),
                Step::new("GET", tag.clone(), before.clone()).times(2),
                Step::new("PUT", tag.clone(), Answer::status(201)),
                Step::new("GET", tag.clone(), after.clone()),
            ],
        ),
    ] {
        let mut all = vec![Step::new("PUT", put.clone(), Answer::status(201))];
        all.extend(steps);
        let server = Server::start(all).await;
        client()
            .put_manifest(
                &repository(&server, "a"),
                ManifestTarget::Digest,
                MANIFEST,
                bytes.clone(),
            )
            .await
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        let seen = server.finish();
        let written = seen
            .iter()
            .rfind(|seen| seen.line() == format!("PUT {tag}"));
        if let Some(written) = written {
            let text = String::from_utf8(written.body.to_vec()).unwrap();
            assert!(text.contains(&own), "{name}: {text}");
        }
    }
}

/// A tag is anyone's to set. One that names the subject itself lists nothing, and is left alone.
#[tokio::test]
async fn the_subject_does_not_stand_in_for_its_own_list() {
    let body = format!(r#"{{"schemaVersion":2,"mediaType":"{INDEX}","manifests":[]}}"#);
    let subject = digest(body.as_bytes());
    let server = Server::start(vec![
        Step::new(
            "GET",
            format!("/v2/a/referrers/{subject}"),
            Answer::status(404),
        ),
        Step::new(
            "GET",
            format!("/v2/a/manifests/sha256-{}", subject.hex()),
            Answer::status(200).header("content-type", INDEX).body(body),
        )
        .times(2),
        Step::new("PUT", "/v2/a/manifests/x", Answer::status(201)),
    ])
    .await;
    let (client, repository) = (client(), repository(&server, "a"));
    let read = client.referrers(&repository, &subject, None).await;
    let signature = format!(
        r#"{{"schemaVersion":2,"config":{{"mediaType":"x/y","digest":"{subject}","size":1}},"layers":[],"subject":{{"mediaType":"{INDEX}","digest":"{subject}","size":1}}}}"#
    );
    let target = ManifestTarget::Tag("x".parse().unwrap());
    let put = client
        .put_manifest(&repository, target, MANIFEST, Bytes::from(signature))
        .await;
    for error in [read.unwrap_err(), put.unwrap_err()] {
        assert_eq!(error.class, ErrorClass::Permanent);
        assert!(error.detail.contains("the subject itself"), "{error}");
    }
    server.finish();
}
