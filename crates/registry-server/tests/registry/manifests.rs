use launchway_testkit::sha256;

use crate::support::{CONFIG, Fixture, INDEX, MANIFEST, descriptor, index, manifest};

#[tokio::test]
async fn a_manifest_comes_back_byte_for_byte() {
    let fixture = Fixture::new();
    let config = fixture.blob("app", "{}").await;
    // Spaces, unknown fields and order are the client's.
    let text = format!(
        "\n{}  ",
        manifest(&config, 2, &[], r#", "zz":[1] , "aa":{} "#)
    );
    let digest = sha256(text.as_bytes());
    let put = fixture.put("app", "v1", MANIFEST, &text).await;
    assert_eq!(put.status, 201);
    assert_eq!(put.header("docker-content-digest"), digest);
    assert_eq!(
        put.header("location"),
        format!("/v2/app/manifests/{digest}")
    );
    assert_eq!(put.header("oci-tag"), "");
    for reference in ["v1", &digest, &digest.replace(':', "%3A")] {
        let path = format!("/v2/app/manifests/{reference}");
        let got = fixture.get(&path).await;
        assert_eq!(got.body, text);
        assert_eq!(got.header("content-type"), MANIFEST);
        assert_eq!(got.header("docker-content-digest"), digest);
        let head = fixture.ask("HEAD", &path).await;
        assert_eq!(head.status, 200);
        assert_eq!(head.header("content-length"), text.len().to_string());
        assert_eq!(head.header("content-type"), MANIFEST);
        let known = [("if-none-match", format!("W/\"x\", \"{digest}\""))];
        let known = known
            .each_ref()
            .map(|(name, value)| (*name, value.as_str()));
        let reply = fixture.send("GET", &path, &known, "").await;
        assert_eq!(reply.status, 304);
    }
}

#[tokio::test]
async fn one_push_sets_several_tags() {
    let fixture = Fixture::new();
    let text = index(&[], "");
    let digest = sha256(text.as_bytes());
    let reference = format!("{digest}?tag=1.2.3&tag=1.2&tag=1&tag=1");
    let put = fixture.put("app", &reference, INDEX, &text).await;
    assert_eq!(put.status, 201);
    let said: Vec<_> = put.headers.get_all("oci-tag").iter().collect();
    assert_eq!(said, ["1.2.3", "1.2", "1"]);
    for tag in ["1.2.3", "1.2", "1"] {
        let got = fixture.get(&format!("/v2/app/manifests/{tag}")).await;
        assert_eq!(got.header("docker-content-digest"), digest);
    }
    let bad = format!("{digest}?tag=a&tag=-b");
    let refused = fixture.put("app", &bad, INDEX, &text).await;
    refused.refused(400, "MANIFEST_INVALID");
}

#[tokio::test]
async fn sha512_is_a_digest_like_any_other() {
    let fixture = Fixture::new();
    let text = index(&[], r#","annotations":{"a":"b"}"#);
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA512, text.as_bytes());
    let hex: String = hash.as_ref().iter().map(|b| format!("{b:02x}")).collect();
    let digest = format!("sha512:{hex}");
    let put = fixture
        .put("app", &format!("{digest}?tag=long"), INDEX, &text)
        .await;
    assert_eq!(put.status, 201, "{put:?}");
    let got = fixture.get("/v2/app/manifests/long").await;
    assert_eq!(got.header("docker-content-digest"), digest);
    assert_eq!(got.body, text);
}

#[tokio::test]
async fn bad_pushes_are_refused_with_the_right_code() {
    let fixture = Fixture::new();
    let config = fixture.blob("app", "{}").await;
    let good = manifest(&config, 2, &[], "");
    let other = sha256(b"other");
    let lacks = manifest(&config, 2, &[(&other, 5), (&sha256(b"z"), 1)], "");
    let confused = manifest(&config, 2, &[], r#","manifests":[]"#);
    let sparse = index(&[descriptor(MANIFEST, "never pushed")], "");
    let large = manifest(
        &config,
        2,
        &[],
        &format!(r#","x":"{}""#, "x".repeat(8 << 20)),
    );
    for (reference, media_type, text, status, code) in [
        (
            other.as_str(),
            MANIFEST,
            good.as_str(),
            400,
            "DIGEST_INVALID",
        ),
        ("sha256:12", MANIFEST, &good, 400, "DIGEST_INVALID"),
        ("-v", MANIFEST, &good, 400, "MANIFEST_INVALID"),
        ("v1", INDEX, &good, 400, "MANIFEST_INVALID"),
        ("v1", "text/plain", &good, 400, "MANIFEST_INVALID"),
        ("v1", MANIFEST, "", 400, "MANIFEST_INVALID"),
        ("v1", MANIFEST, "{", 400, "MANIFEST_INVALID"),
        ("v1", MANIFEST, &confused, 400, "MANIFEST_INVALID"),
        ("v1", MANIFEST, &lacks, 400, "MANIFEST_BLOB_UNKNOWN"),
        ("v1", INDEX, &sparse, 400, "MANIFEST_BLOB_UNKNOWN"),
        ("v1", MANIFEST, &large, 413, "SIZE_INVALID"),
    ] {
        let reply = fixture.put("app", reference, media_type, text).await;
        reply.refused(status, code);
    }
    let reply = fixture.put("app", "v1", MANIFEST, &lacks).await;
    assert_eq!(reply.json()["errors"].as_array().unwrap().len(), 2);
    assert_eq!(
        fixture.get("/v2/app/tags/list").await.json()["tags"],
        serde_json::json!([])
    );
    // The type in the document is enough, parameters are passed over.
    let path = "/v2/app/manifests/v1";
    assert_eq!(
        fixture.send("PUT", path, &[], good.clone()).await.status,
        201
    );
    let parameters = format!("{MANIFEST}; charset=utf-8");
    let reply = fixture.put("app", "v1", &parameters, &good).await;
    assert_eq!(reply.status, 201);
    assert_eq!(fixture.get(path).await.header("content-type"), MANIFEST);
}

#[tokio::test]
async fn large_manifests_are_taken() {
    let fixture = Fixture::new();
    let text = index(
        &[],
        &format!(r#","annotations":{{"x":"{}"}}"#, "y".repeat(5 << 20)),
    );
    assert_eq!(fixture.put("app", "big", INDEX, &text).await.status, 201);
    let got = fixture.get("/v2/app/manifests/big").await;
    assert!(got.body == text);
}

#[tokio::test]
async fn unknown_manifests_are_not_found() {
    let fixture = Fixture::new();
    fixture.image("app", "v1", "").await;
    let absent = sha256(b"absent");
    // A blob is no manifest, even when its digest is asked for as one.
    let layer = sha256(b"layer ");
    for (path, status, code) in [
        ("/v2/app/manifests/v2".to_owned(), 404, "MANIFEST_UNKNOWN"),
        (
            format!("/v2/app/manifests/{absent}"),
            404,
            "MANIFEST_UNKNOWN",
        ),
        (
            format!("/v2/app/manifests/{layer}"),
            404,
            "MANIFEST_UNKNOWN",
        ),
        ("/v2/app/manifests/.INVALID".into(), 404, "MANIFEST_UNKNOWN"),
        ("/v2/app/manifests/sha1:ab".into(), 400, "DIGEST_INVALID"),
        ("/v2/none/manifests/v1".into(), 404, "NAME_UNKNOWN"),
    ] {
        fixture.get(&path).await.refused(status, code);
        assert_eq!(fixture.ask("HEAD", &path).await.status, status);
        fixture.ask("DELETE", &path).await.refused(status, code);
    }
    let reply = fixture.ask("POST", "/v2/app/manifests/v1").await;
    reply.refused(405, "UNSUPPORTED");
    assert_eq!(reply.header("allow"), "GET, HEAD, PUT, DELETE");
}

#[tokio::test]
async fn tags_and_manifests_are_deleted_at_once() {
    let fixture = Fixture::new();
    let first = sha256(fixture.image("app", "v1", "1").await.as_bytes());
    fixture.image("app", "latest", "1").await;
    let second = sha256(fixture.image("app", "latest", "2").await.as_bytes());
    let exists = async |reference: &str| {
        let path = format!("/v2/app/manifests/{reference}");
        fixture.ask("HEAD", &path).await.status == 200
    };
    assert!(exists(&first).await && exists(&second).await);
    assert_eq!(
        fixture.ask("DELETE", "/v2/app/manifests/v1").await.status,
        202
    );
    assert!(!exists("v1").await);
    assert!(exists(&first).await, "the manifest outlives its last tag");
    let path = format!("/v2/app/manifests/{second}");
    assert_eq!(fixture.ask("DELETE", &path).await.status, 202);
    assert!(!exists("latest").await && !exists(&second).await);
    assert!(exists(&first).await);
    let listed = fixture.get("/v2/app/tags/list").await.json();
    assert_eq!(listed["tags"], serde_json::json!([]));
}

#[tokio::test]
async fn children_of_an_index_can_be_asked_for_and_deleted() {
    let fixture = Fixture::new();
    let child = fixture.image("app", "child", "c").await;
    let inner = index(&[descriptor(MANIFEST, &child)], "");
    assert_eq!(fixture.put("app", "inner", INDEX, &inner).await.status, 201);
    let outer = index(&[descriptor(INDEX, &inner)], "");
    assert_eq!(fixture.put("app", "outer", INDEX, &outer).await.status, 201);
    let path = format!("/v2/app/manifests/{}", sha256(child.as_bytes()));
    assert_eq!(fixture.ask("DELETE", &path).await.status, 202);
    fixture.get(&path).await.refused(404, "MANIFEST_UNKNOWN");
    assert_eq!(fixture.get("/v2/app/manifests/outer").await.body, outer);
}

#[tokio::test]
async fn a_subject_is_acknowledged_and_may_come_later() {
    let fixture = Fixture::new();
    let config = fixture.blob("app", "{}").await;
    let subject = descriptor(MANIFEST, "comes later");
    let text = manifest(&config, 2, &[], &format!(r#","subject":{subject}"#));
    let put = fixture
        .put("app", &sha256(text.as_bytes()), MANIFEST, &text)
        .await;
    assert_eq!(put.status, 201);
    assert_eq!(put.header("oci-subject"), sha256(b"comes later"));
    let wrong = text
        .replace(CONFIG, "")
        .replace(r#""size":11"#, r#""size":"11""#);
    let put = fixture.put("app", "x", MANIFEST, &wrong).await;
    put.refused(400, "MANIFEST_INVALID");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_pushes_at_once_all_count() {
    let fixture = Fixture::new();
    let config = fixture.blob("app", "{}").await;
    let fixture = std::sync::Arc::new(fixture);
    let pushes: Vec<_> = (0..60)
        .map(|number| {
            let (fixture, config) = (std::sync::Arc::clone(&fixture), config.clone());
            tokio::spawn(async move {
                // Every fifth points at what is not there, and takes nobody with it.
                let config = if number % 5 == 0 {
                    sha256(b"none")
                } else {
                    config
                };
                let salt = format!(r#","annotations":{{"n":"{number}"}}"#);
                let text = manifest(&config, 2, &[], &salt);
                let tag = format!("t{number}");
                let reply = fixture.put("app", &tag, MANIFEST, &text).await;
                (number, text, reply)
            })
        })
        .collect();
    let mut tags = Vec::new();
    for push in pushes {
        let (number, text, reply) = push.await.unwrap();
        if number % 5 == 0 {
            reply.refused(400, "MANIFEST_BLOB_UNKNOWN");
            continue;
        }
        assert_eq!(reply.status, 201);
        let got = fixture.get(&format!("/v2/app/manifests/t{number}")).await;
        assert_eq!(got.body, text);
        tags.push(format!("t{number}"));
    }
    tags.sort();
    let listed = fixture.get("/v2/app/tags/list").await.json();
    assert_eq!(listed["tags"], serde_json::json!(tags));
}
