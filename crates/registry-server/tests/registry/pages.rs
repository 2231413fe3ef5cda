//! The pages over HTTP: which there are, conditions, headers. What they look like is for a browser
//! to say.

use std::sync::Arc;

use launchway_registry_server::Access;

use crate::access::{access, basic, open, push_blob, with};
use crate::support::{Fixture, INDEX, MANIFEST, ask, descriptor, index, manifest};

fn text(reply: &crate::support::Reply) -> String {
    String::from_utf8(reply.body.to_vec()).unwrap()
}

#[tokio::test]
async fn the_pages_show_what_is_there() {
    let fixture = Fixture::new();
    let empty = fixture.get("/").await;
    assert_eq!(empty.header("content-type"), "text/html; charset=utf-8");
    assert!(text(&empty).contains("Nothing has been pushed"));
    let child = fixture.image("tools/app", "v1", "x").await;
    let platform = r#","platform":{"os":"linux","architecture":"<b>"}}"#;
    let entry = descriptor(MANIFEST, &child).replace('}', platform);
    let both = index(&[entry, descriptor(MANIFEST, &child)], "");
    let put = fixture.put("tools/app", "all", INDEX, &both).await;
    assert_eq!(put.status, 201);
    let digest = put.header("docker-content-digest").to_owned();
    for (path, status, parts) in [
        (
            "/",
            200,
            &[
                "<a href=\"/images/tools/app\">tools/app</a>",
                "<a href=\"/images/tools/app:v1\">v1</a>",
                "<a href=\"/images/tools/app:all\">all</a>",
                "linux/arm64",
            ][..],
        ),
        (
            "/images/tools/app",
            200,
            &[">v1</a>", ">all</a>", "linux/arm64"],
        ),
        (
            "/images/tools/app:all",
            200,
            &[
                &digest,
                "<h2>linux/arm64</h2>",
                "<a href=\"/images/tools/app:v1\">:v1</a>",
            ],
        ),
        (
            &format!("/images/tools/app@{digest}"),
            200,
            &["<h2>linux/arm64</h2>", "Also tagged"],
        ),
        ("/images/tools/app:none", 404, &["Nothing here"]),
        ("/images/none", 404, &["Nothing here"]),
        (
            &format!("/images/tools/app@sha256:{}", "0".repeat(64)),
            404,
            &["Nothing here"],
        ),
    ] {
        let reply = fixture.get(path).await;
        assert_eq!(reply.status, status, "{path}");
        let text = text(&reply);
        for part in parts {
            assert!(text.contains(part), "{part} in {path}: {text}");
        }
        assert!(!text.contains("<b>"));
        let policy = reply.header("content-security-policy");
        assert!(policy.starts_with("default-src 'none'; style-src 'sha256-"));
        assert!(!policy.contains("unsafe"));
        assert_eq!(reply.header("cache-control"), "no-cache");
        assert_eq!(reply.header("x-content-type-options"), "nosniff");
        assert_eq!(fixture.ask("HEAD", path).await.status, status);
        let post = fixture.ask("POST", path).await;
        post.refused(405, "UNSUPPORTED");
    }
}

#[tokio::test]
async fn a_page_is_sent_again_when_something_changed() {
    let fixture = Fixture::new();
    fixture.image("app", "v1", "x").await;
    let pages = ["/", "/images/app", "/images/app:v1"];
    let mut tags = Vec::new();
    for page in pages {
        let first = fixture.get(page).await;
        let etag = first.header("etag").to_owned();
        let headers = [("if-none-match", etag.as_str())];
        let again = fixture.send("GET", page, &headers, "").await;
        assert_eq!(
            (again.status.as_u16(), again.body.len()),
            (304, 0),
            "{page}"
        );
        assert_eq!(again.header("etag"), etag);
        tags.push(etag);
    }
    // Another image with the same layer: what was unique is shared now.
    let layer = "layer x";
    let config = fixture.blob("other", "{}").await;
    let layer_digest = fixture.blob("other", layer).await;
    let text = manifest(&config, 2, &[(&layer_digest, layer.len())], "");
    assert_eq!(
        fixture.put("other", "v1", MANIFEST, &text).await.status,
        201
    );
    for (page, etag) in pages.iter().zip(&tags) {
        let headers = [("if-none-match", etag.as_str())];
        let now = fixture.send("GET", page, &headers, "").await;
        assert_eq!(now.status, 200, "{page}");
    }
}

#[tokio::test]
async fn what_no_manifest_needs_is_told_apart() {
    let fixture = Fixture::new();
    fixture.image("app", "v1", "x").await;
    let before = text(&fixture.get("/").await);
    assert!(!before.contains("belong to no manifest"), "{before}");
    fixture.blob("app", "y".repeat(5_000)).await;
    let after = text(&fixture.get("/").await);
    assert!(
        after.contains("5.0 kB on the disk belong to no manifest"),
        "{after}"
    );
}

#[tokio::test]
async fn what_another_program_wrote_into_a_repository_counts_as_stored() {
    let fixture = Fixture::new();
    fixture.image("app", "v1", "x").await;
    let before = text(&fixture.get("/").await);
    // A blob that is only in the repository, and not in the pool.
    for pooled in std::fs::read_dir(fixture.root().join("blobs/sha256")).unwrap() {
        std::fs::remove_file(pooled.unwrap().path()).unwrap();
    }
    assert_eq!(text(&fixture.get("/").await), before);
    for blob in std::fs::read_dir(fixture.root().join("repositories/app/blobs/sha256")).unwrap() {
        let path = blob.unwrap().path();
        if std::fs::read(&path).unwrap() == b"layer x" {
            std::fs::remove_file(&path).unwrap();
        }
    }
    let after = text(&fixture.get("/").await);
    assert!(
        after.contains("1 blob that manifests name is not stored here"),
        "{after}"
    );
}

#[tokio::test]
async fn pages_show_a_user_what_the_user_may_pull() {
    let directory = tempfile::tempdir().unwrap();
    let ruled = Access {
        permit: Some(Arc::new(|user, repository, _| {
            user.is_some_and(|user| repository.starts_with(user))
        })),
        ..access(directory.path(), None)
    };
    let registry = open(directory.path(), ruled);
    let (ann, bob) = (basic("ann", "secret"), basic("bob", "secret"));
    for (how, name) in [(&ann, "ann/app"), (&bob, "bob/app")] {
        let config = launchway_testkit::sha256(b"{}");
        assert_eq!(push_blob(&registry, how, name, "{}").await.status, 201);
        let image = manifest(&config, 2, &[], "");
        let path = format!("/v2/{name}/manifests/v1");
        let headers = [("authorization", how.as_str()), ("content-type", MANIFEST)];
        let put = ask(&registry, "PUT", &path, &headers, image).await;
        assert_eq!(put.status, 201);
    }
    assert_eq!(
        with(&registry, "", "GET", "/images/ann/app").await.status,
        401
    );
    for (how, path, status, sees) in [
        (&ann, "/", 200, true),
        (&bob, "/", 200, false),
        (&ann, "/images/ann/app", 200, true),
        (&bob, "/images/ann/app", 404, false),
        (&ann, "/images/ann/app:v1", 200, true),
        (&bob, "/images/ann/app:v1", 404, false),
        // The layers are the same; with whom they are shared is not for everybody.
        (&bob, "/images/bob/app:v1", 200, false),
    ] {
        let page = with(&registry, how, "GET", path).await;
        assert_eq!(page.status, status, "{path}");
        assert_eq!(text(&page).contains("ann/app"), sees, "{path}");
    }
}
