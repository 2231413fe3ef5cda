use http::StatusCode;
use launchway_testkit::sha256;

use crate::support::Fixture;

#[tokio::test]
async fn a_blob_comes_back_whole_and_in_parts() {
    let fixture = Fixture::new();
    let digest = fixture.blob("a/b", "0123456789").await;
    let path = format!("/v2/a/b/blobs/{digest}");
    for (range, status, body, content_range) in [
        ("", 200, "0123456789", ""),
        ("bytes=2-4", 206, "234", "bytes 2-4/10"),
        ("bytes=7-", 206, "789", "bytes 7-9/10"),
        ("bytes=-2", 206, "89", "bytes 8-9/10"),
        ("bytes=0-999", 206, "0123456789", "bytes 0-9/10"),
        ("bytes=1-2,4-5", 200, "0123456789", ""),
        ("lines=1-2", 200, "0123456789", ""),
    ] {
        let headers: &[_] = if range.is_empty() {
            &[]
        } else {
            &[("range", range)]
        };
        let reply = fixture.send("GET", &path, headers, "").await;
        assert_eq!(reply.status, status, "{range}");
        assert_eq!(reply.body, body, "{range}");
        assert_eq!(reply.header("content-range"), content_range, "{range}");
        assert_eq!(reply.header("content-length"), body.len().to_string());
        assert_eq!(reply.header("docker-content-digest"), digest);
        assert_eq!(reply.header("accept-ranges"), "bytes");
    }
    let beyond = fixture
        .send("GET", &path, &[("range", "bytes=10-")], "")
        .await;
    beyond.refused(416, "SIZE_INVALID");
    assert_eq!(beyond.header("content-range"), "bytes */10");

    let head = fixture
        .send("HEAD", &path, &[("range", "bytes=0-1")], "")
        .await;
    assert_eq!(head.status, 200);
    assert_eq!(head.header("content-length"), "10");
    assert!(head.body.is_empty());

    let quoted = format!("\"{digest}\"");
    let known = fixture
        .send("GET", &path, &[("if-none-match", &quoted)], "")
        .await;
    assert_eq!(known.status, StatusCode::NOT_MODIFIED);
    assert!(known.body.is_empty());
}

#[tokio::test]
async fn large_blobs_are_streamed_in_order() {
    let fixture = Fixture::new();
    let bytes: Vec<u8> = (0..5_000_011_u32).map(|n| (n / 7) as u8).collect();
    let digest = fixture.blob("big", bytes.clone()).await;
    let reply = fixture.get(&format!("/v2/big/blobs/{digest}")).await;
    assert!(reply.body == bytes);
    let part = fixture
        .send(
            "GET",
            &format!("/v2/big/blobs/{digest}"),
            &[("range", "bytes=524287-3145729")],
            "",
        )
        .await;
    assert!(part.body == bytes[524_287..=3_145_729]);
}

#[tokio::test]
async fn what_is_not_there_is_said_with_the_right_code() {
    let fixture = Fixture::new();
    fixture.blob("here", "x").await;
    let other = sha256(b"y");
    let upper = other.to_uppercase();
    for (path, status, code) in [
        (format!("/v2/here/blobs/{other}"), 404, "BLOB_UNKNOWN"),
        (format!("/v2/gone/blobs/{other}"), 404, "NAME_UNKNOWN"),
        (format!("/v2/HERE/blobs/{other}"), 400, "NAME_INVALID"),
        (format!("/v2/here/blobs/{upper}"), 400, "DIGEST_INVALID"),
        ("/v2/here/blobs/md5:00".into(), 400, "DIGEST_INVALID"),
        ("/v2/here/blobs/latest".into(), 400, "DIGEST_INVALID"),
        ("/v2/here/blobs/sha256:..".into(), 400, "DIGEST_INVALID"),
        ("/v2/here/nothing".into(), 404, "UNSUPPORTED"),
    ] {
        fixture.get(&path).await.refused(status, code);
        let head = fixture.ask("HEAD", &path).await;
        assert_eq!(head.status, status);
        assert!(head.body.is_empty(), "HEAD has no body");
        fixture.ask("DELETE", &path).await.refused(status, code);
    }
}

#[tokio::test]
async fn a_deleted_blob_is_gone_at_once_and_only_here() {
    let fixture = Fixture::new();
    let digest = fixture.blob("one", "shared").await;
    fixture.blob("two", "shared").await;
    let path = format!("/v2/one/blobs/{digest}");
    assert_eq!(fixture.ask("DELETE", &path).await.status, 202);
    fixture.get(&path).await.refused(404, "BLOB_UNKNOWN");
    fixture
        .ask("DELETE", &path)
        .await
        .refused(404, "BLOB_UNKNOWN");
    let there = fixture.get(&format!("/v2/two/blobs/{digest}")).await;
    assert_eq!(there.body, "shared");
}

#[tokio::test]
async fn a_blob_that_an_image_needs_stays() {
    let fixture = Fixture::new();
    let manifest = fixture.image("app", "v1", "").await;
    let layer = sha256(b"layer ");
    let path = format!("/v2/app/blobs/{layer}");
    fixture
        .ask("DELETE", &path)
        .await
        .refused(405, "UNSUPPORTED");
    let digest = sha256(manifest.as_bytes());
    let itself = format!("/v2/app/blobs/{digest}");
    fixture
        .ask("DELETE", &itself)
        .await
        .refused(405, "UNSUPPORTED");
    let image = format!("/v2/app/manifests/{digest}");
    assert_eq!(fixture.ask("DELETE", &image).await.status, 202);
    assert_eq!(fixture.ask("DELETE", &path).await.status, 202);
}
