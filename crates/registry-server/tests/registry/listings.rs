use launchway_testkit::sha256;
use serde_json::json;

use crate::support::{CONFIG, Fixture, INDEX, MANIFEST, descriptor, index, manifest};

#[tokio::test]
async fn tags_come_in_pages() {
    let fixture = Fixture::new();
    let text = index(&[], "");
    for tag in ["b", "a", "C", "1.10", "1.9", "_x"] {
        assert_eq!(fixture.put("app", tag, INDEX, &text).await.status, 201);
    }
    for (query, tags, link) in [
        ("", json!(["1.10", "1.9", "C", "_x", "a", "b"]), ""),
        ("?n=0", json!([]), ""),
        ("?n=2", json!(["1.10", "1.9"]), "n=2&last=1%2E9"),
        ("?n=2&last=1.9", json!(["C", "_x"]), "n=2&last=%5Fx"),
        ("?n=2&last=_x", json!(["a", "b"]), ""),
        ("?last=a", json!(["b"]), ""),
        ("?last=between", json!([]), ""),
        ("?last=D", json!(["_x", "a", "b"]), ""),
        ("?n=6", json!(["1.10", "1.9", "C", "_x", "a", "b"]), ""),
        ("?n=99999", json!(["1.10", "1.9", "C", "_x", "a", "b"]), ""),
    ] {
        let reply = fixture.get(&format!("/v2/app/tags/list{query}")).await;
        assert_eq!(
            reply.json(),
            json!({"name": "app", "tags": tags}),
            "{query}"
        );
        let want = match link {
            "" => String::new(),
            link => format!("</v2/app/tags/list?{link}>; rel=\"next\""),
        };
        assert_eq!(reply.header("link"), want, "{query}");
    }
    for bad in ["x", "-1", "1.5"] {
        let reply = fixture.get(&format!("/v2/app/tags/list?n={bad}")).await;
        reply.refused(400, "UNSUPPORTED");
    }
    let nowhere = fixture.get("/v2/nowhere/tags/list").await;
    nowhere.refused(404, "NAME_UNKNOWN");
}

#[tokio::test]
async fn the_catalog_knows_nested_names() {
    let fixture = Fixture::new();
    let names = [
        "a",
        "a/b",
        "a/blobs",
        "a/blobs/sha256",
        "blobs",
        "z/index.json",
    ];
    for name in names {
        fixture.blob(name, "x").await;
    }
    let all = fixture.get("/v2/_catalog").await.json();
    assert_eq!(all, json!({ "repositories": names }));
    let page = fixture.get("/v2/_catalog?n=2&last=a/b").await;
    assert_eq!(
        page.json()["repositories"],
        json!(["a/blobs", "a/blobs/sha256"])
    );
    assert_eq!(
        page.header("link"),
        "</v2/_catalog?n=2&last=a%2Fblobs%2Fsha256>; rel=\"next\""
    );
}

#[tokio::test]
async fn referrers_are_found_and_filtered() {
    let fixture = Fixture::new();
    let image = fixture.image("app", "v1", "").await;
    let subject = descriptor(MANIFEST, &image);
    let config = fixture.blob("app", "{}").await;
    let about = |more: &str| manifest(&config, 2, &[], &format!(r#","subject":{subject}{more}"#));
    let sbom = about(r#","artifactType":"app/sbom+x","annotations":{"k":"v"}"#);
    let plain = about("");
    let listed = index(&[], &format!(r#","subject":{subject}"#));
    for (media_type, text) in [(MANIFEST, &sbom), (MANIFEST, &plain), (INDEX, &listed)] {
        let put = fixture
            .put("app", &sha256(text.as_bytes()), media_type, text)
            .await;
        assert_eq!(put.status, 201);
    }
    let digest = sha256(image.as_bytes());
    let path = format!("/v2/app/referrers/{digest}");
    let reply = fixture.get(&path).await;
    assert_eq!(reply.header("content-type"), INDEX);
    assert_eq!(reply.header("oci-filters-applied"), "");
    let mut want = [
        (
            sha256(sbom.as_bytes()),
            json!("app/sbom+x"),
            json!({"k": "v"}),
        ),
        (sha256(plain.as_bytes()), json!(CONFIG), json!(null)),
        (sha256(listed.as_bytes()), json!(null), json!(null)),
    ];
    want.sort_by(|a, b| a.0.cmp(&b.0));
    let got = reply.json();
    let got: Vec<_> = got["manifests"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| {
            let digest = entry["digest"].as_str().unwrap().to_owned();
            (
                digest,
                entry["artifactType"].clone(),
                entry["annotations"].clone(),
            )
        })
        .collect();
    assert_eq!(got, want);

    for filter in ["app/sbom+x", "app%2Fsbom%2Bx"] {
        let filtered = fixture.get(&format!("{path}?artifactType={filter}")).await;
        assert_eq!(filtered.header("oci-filters-applied"), "artifactType");
        let manifests = filtered.json()["manifests"].clone();
        assert_eq!(manifests.as_array().unwrap().len(), 1);
        assert_eq!(manifests[0]["digest"], sha256(sbom.as_bytes()));
    }
    let gone = format!("/v2/app/manifests/{}", sha256(sbom.as_bytes()));
    assert_eq!(fixture.ask("DELETE", &gone).await.status, 202);
    let left = fixture.get(&path).await.json();
    assert_eq!(left["manifests"].as_array().unwrap().len(), 2);

    for empty in ["app", "nowhere"] {
        let path = format!("/v2/{empty}/referrers/{}", sha256(b"nothing"));
        let reply = fixture.get(&path).await;
        assert_eq!(reply.status, 200);
        assert_eq!(reply.json()["manifests"], json!([]));
    }
    let bad = fixture.get("/v2/app/referrers/v1").await;
    bad.refused(400, "DIGEST_INVALID");
}

#[tokio::test]
async fn many_referrers_come_in_pages() {
    let fixture = Fixture::new();
    let subject = descriptor(MANIFEST, "subject");
    let mut want = Vec::new();
    for n in 0..5 {
        let padding = "p".repeat(1 << 20);
        let more = format!(r#","subject":{subject},"annotations":{{"n":"{n}","p":"{padding}"}}"#);
        let text = index(&[], &more);
        let digest = sha256(text.as_bytes());
        assert_eq!(fixture.put("app", &digest, INDEX, &text).await.status, 201);
        want.push(digest);
    }
    want.sort();
    let mut got = Vec::new();
    let mut path = format!("/v2/app/referrers/{}", sha256(b"subject"));
    loop {
        let reply = fixture.get(&path).await;
        assert!(reply.body.len() < 4_000_000);
        for entry in reply.json()["manifests"].as_array().unwrap() {
            got.push(entry["digest"].as_str().unwrap().to_owned());
        }
        match reply.header("link").split_once('>') {
            Some((link, _)) => path = link.trim_start_matches('<').to_owned(),
            None => break,
        }
    }
    assert_eq!(got, want);
}
