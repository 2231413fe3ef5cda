use bytes::Bytes;
use http::Request;
use http_body_util::channel::Channel;
use launchway_testkit::sha256;

use crate::support::{Fixture, Reply};

async fn start(fixture: &Fixture, query: &str) -> String {
    let reply = fixture
        .ask("POST", &format!("/v2/app/blobs/uploads/{query}"))
        .await;
    assert_eq!(reply.status, 202, "{reply:?}");
    assert_eq!(reply.header("range"), "0-0");
    assert!(!reply.header("docker-upload-uuid").is_empty());
    reply.header("location").to_owned()
}

fn is_stored(reply: &Reply, digest: &str) {
    assert_eq!(reply.status, 201, "{reply:?}");
    assert_eq!(reply.header("location"), format!("/v2/app/blobs/{digest}"));
    assert_eq!(reply.header("docker-content-digest"), digest);
}

#[tokio::test]
async fn every_way_to_push_ends_in_the_same_blob() {
    let digest = sha256(b"hello world");
    let finish = format!("?digest={digest}");
    // (what is patched: range and bytes), (what the last request brings)
    let ways: &[(&[(&str, &str)], &str)] = &[
        (&[], "hello world"),
        (&[("", "hello world")], ""),
        (&[("", "hello"), ("", " world")], ""),
        (&[("0-4", "hello"), ("5-10", " world")], ""),
        (&[("0-4", "hello")], " world"),
        (&[("", "hello"), ("5-5", " ")], "world"),
    ];
    for (chunks, last) in ways {
        let fixture = Fixture::new();
        let location = start(&fixture, "").await;
        let mut sent = 0;
        for (range, bytes) in *chunks {
            let headers: &[_] = match *range {
                "" => &[],
                range => &[("content-range", range)],
            };
            let reply = fixture.send("PATCH", &location, headers, *bytes).await;
            sent += bytes.len();
            assert_eq!(reply.status, 202);
            assert_eq!(reply.header("location"), location);
            assert_eq!(reply.header("range"), format!("0-{}", sent - 1));
            let status = fixture.get(&location).await;
            assert_eq!(status.status, 204);
            assert_eq!(status.header("range"), format!("0-{}", sent - 1));
        }
        let path = format!("{location}{finish}");
        is_stored(&fixture.send("PUT", &path, &[], *last).await, &digest);
        let blob = fixture.get(&format!("/v2/app/blobs/{digest}")).await;
        assert_eq!(blob.body, "hello world");
        fixture
            .get(&location)
            .await
            .refused(404, "BLOB_UPLOAD_UNKNOWN");
        let again = fixture.send("PUT", &path, &[], "").await;
        again.refused(404, "BLOB_UPLOAD_UNKNOWN");
    }
}

#[tokio::test]
async fn sha512_blobs_announced_or_not() {
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA512, b"abc");
    let hex: String = hash.as_ref().iter().map(|b| format!("{b:02x}")).collect();
    let digest = format!("sha512:{hex}");
    for query in ["", "?digest-algorithm=sha512", "?digest-algorithm=sha256"] {
        let fixture = Fixture::new();
        let location = start(&fixture, query).await;
        let path = format!("{location}?digest={}", digest.replace(':', "%3A"));
        is_stored(&fixture.send("PUT", &path, &[], "abc").await, &digest);
        let blob = fixture.get(&format!("/v2/app/blobs/{digest}")).await;
        assert_eq!(blob.body, "abc");
    }
    let fixture = Fixture::new();
    let reply = fixture
        .ask("POST", "/v2/app/blobs/uploads/?digest-algorithm=md5")
        .await;
    reply.refused(400, "DIGEST_INVALID");
}

#[tokio::test]
async fn chunks_out_of_order_are_refused_and_the_upload_goes_on() {
    let fixture = Fixture::new();
    let location = start(&fixture, "").await;
    let chunk = async |method: &str, range: &str, bytes: &'static str| {
        let path = match method {
            "PUT" => format!("{location}?digest={}", sha256(b"hello")),
            _ => location.clone(),
        };
        let headers = [("content-range", range)];
        fixture.send(method, &path, &headers, bytes).await
    };
    assert_eq!(chunk("PATCH", "0-1", "he").await.status, 202);
    for (method, range) in [
        ("PATCH", "3-4"),
        ("PATCH", "0-1"),
        ("PATCH", "bytes 3-4/5"),
        ("PATCH", "2"),
        ("PUT", "3-4"),
    ] {
        let reply = chunk(method, range, "lo").await;
        reply.refused(416, "BLOB_UPLOAD_INVALID");
        assert_eq!(reply.header("range"), "0-1");
        assert_eq!(reply.header("location"), location);
    }
    let headers = [("content-range", "2-4"), ("content-length", "2")];
    let reply = fixture.send("PATCH", &location, &headers, "ll").await;
    reply.refused(400, "SIZE_INVALID");
    assert_eq!(chunk("PUT", "2-4", "llo").await.status, 201);
}

#[tokio::test]
async fn bad_uploads_leave_nothing_behind() {
    let fixture = Fixture::new();
    let wrong = sha256(b"something else");
    let location = start(&fixture, "").await;
    for (path, status, code) in [
        (location.clone(), 400, "DIGEST_INVALID"),
        (format!("{location}?digest=nonsense"), 400, "DIGEST_INVALID"),
        (format!("{location}?digest={wrong}"), 400, "DIGEST_INVALID"),
        (
            format!("{location}?digest={wrong}"),
            404,
            "BLOB_UPLOAD_UNKNOWN",
        ),
        (location.replace("app", "other"), 404, "BLOB_UPLOAD_UNKNOWN"),
    ] {
        let reply = fixture.send("PUT", &path, &[], "bytes").await;
        reply.refused(status, code);
    }
    let path = format!("/v2/app/blobs/uploads/?digest={wrong}");
    let reply = fixture.send("POST", &path, &[], "bytes").await;
    reply.refused(400, "DIGEST_INVALID");
    assert!(crate::support::files(&fixture.root()).is_empty());
    let reply = fixture.ask("POST", "/v2/App/blobs/uploads/").await;
    reply.refused(400, "NAME_INVALID");
    let reply = fixture.ask("GET", "/v2/app/blobs/uploads/").await;
    reply.refused(405, "UNSUPPORTED");
}

#[tokio::test]
async fn an_upload_can_be_cancelled() {
    let fixture = Fixture::new();
    let location = start(&fixture, "").await;
    fixture.send("PATCH", &location, &[], "some").await;
    assert_eq!(fixture.ask("DELETE", &location).await.status, 204);
    for method in ["GET", "PATCH", "DELETE"] {
        let reply = fixture.ask(method, &location).await;
        reply.refused(404, "BLOB_UPLOAD_UNKNOWN");
    }
    assert!(crate::support::files(&fixture.root()).is_empty());
}

#[tokio::test]
async fn blobs_are_mounted_or_an_upload_starts() {
    let fixture = Fixture::new();
    let digest = fixture.blob("source", "shared").await;
    let absent = sha256(b"absent");
    for (query, status) in [
        (format!("mount={digest}&from=source"), 201),
        (format!("mount={digest}&from=nowhere"), 202),
        (format!("mount={digest}"), 201),
        (format!("mount={absent}&from=source"), 202),
        (format!("mount={absent}"), 202),
    ] {
        let path = format!("/v2/app/blobs/uploads/?{query}");
        let reply = fixture.ask("POST", &path).await;
        assert_eq!(reply.status, status, "{query}");
        if status == 201 {
            is_stored(&reply, &digest);
        } else {
            assert!(reply.header("location").contains("/uploads/"));
        }
    }
    let blob = fixture.get(&format!("/v2/app/blobs/{digest}")).await;
    assert_eq!(blob.body, "shared");
    let bad = fixture
        .ask("POST", "/v2/app/blobs/uploads/?mount=nonsense&from=source")
        .await;
    bad.refused(400, "DIGEST_INVALID");
}

#[tokio::test]
async fn a_newer_request_takes_an_upload_over() {
    let fixture = Fixture::new();
    let location = start(&fixture, "").await;
    let (mut sender, body) = Channel::<Bytes, std::io::Error>::new(4);
    let request = Request::patch(&location).body(body).unwrap();
    let registry = fixture.registry.clone();
    // Its connection is dead, and nobody has noticed.
    let stuck = tokio::spawn(async move { registry.handle(request).await });
    sender.send_data(Bytes::from_static(b"hel")).await.unwrap();
    // One thread runs both: afterwards the request waits for more.
    tokio::task::yield_now().await;
    let path = format!("{location}?digest={}", sha256(b"hello"));
    let mut have = 0;
    let reply = loop {
        let bytes = &b"hello"[have..];
        let range = format!("{have}-4");
        let headers = [("content-range", range.as_str())];
        let reply = fixture.send("PUT", &path, &headers, bytes).await;
        if reply.status != 416 {
            break reply;
        }
        let (_, last) = reply.header("range").split_once('-').unwrap();
        have = last.parse::<usize>().unwrap() + 1;
    };
    is_stored(&reply, &sha256(b"hello"));
    assert_eq!(stuck.await.unwrap().status(), 400);
}

#[tokio::test]
async fn a_broken_body_keeps_what_came() {
    let fixture = Fixture::new();
    let location = start(&fixture, "").await;
    let (mut sender, body) = Channel::<Bytes, std::io::Error>::new(4);
    let request = Request::patch(&location).body(body).unwrap();
    let registry = fixture.registry.clone();
    let patch = tokio::spawn(async move { registry.handle(request).await });
    sender
        .send_data(Bytes::from_static(b"first"))
        .await
        .unwrap();
    sender.abort(std::io::ErrorKind::ConnectionReset.into());
    assert_eq!(patch.await.unwrap().status(), 400);
    assert_eq!(fixture.get(&location).await.header("range"), "0-4");
    let path = format!("{location}?digest={}", sha256(b"first second"));
    let headers = [("content-range", "5-11")];
    let reply = fixture.send("PUT", &path, &headers, " second").await;
    is_stored(&reply, &sha256(b"first second"));
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_pushes_of_one_blob_are_one_blob() {
    let fixture = std::sync::Arc::new(Fixture::new());
    let bytes = Bytes::from(vec![7; 3_000_000]);
    let pushes: Vec<_> = (0..16)
        .map(|n| {
            let (fixture, bytes) = (fixture.clone(), bytes.clone());
            let name = if n % 2 == 0 { "even" } else { "odd" };
            tokio::spawn(async move { fixture.blob(name, bytes).await })
        })
        .collect();
    for push in pushes {
        push.await.unwrap();
    }
    let hex = sha256(&bytes)["sha256:".len()..].to_owned();
    let blobs: Vec<_> = crate::support::files(&fixture.root())
        .into_iter()
        .filter(|file| file.contains(&hex) || file.contains("uploads"))
        .collect();
    let want = ["blobs", "repositories/even/blobs", "repositories/odd/blobs"];
    assert_eq!(blobs, want.map(|at| format!("{at}/sha256/{hex}")));
    let inode = |path: &String| {
        use std::os::unix::fs::MetadataExt as _;
        std::fs::metadata(fixture.root().join(path)).unwrap().ino()
    };
    assert_eq!(inode(&blobs[0]), inode(&blobs[1]));
    assert_eq!(inode(&blobs[0]), inode(&blobs[2]));
}

#[tokio::test]
async fn forgotten_uploads_are_given_up() {
    let directory = tempfile::tempdir().unwrap();
    let options = launchway_registry_server::Options {
        upload_expiry: std::time::Duration::ZERO,
        ..crate::support::options()
    };
    let registry = launchway_registry_server::Registry::open(directory.path(), options).unwrap();
    let fixture = Fixture {
        directory,
        registry,
    };
    let first = start(&fixture, "").await;
    start(&fixture, "").await;
    fixture
        .get(&first)
        .await
        .refused(404, "BLOB_UPLOAD_UNKNOWN");
    let left = crate::support::files(&fixture.directory.path().join("uploads"));
    assert_eq!(left.len(), 1);
}
