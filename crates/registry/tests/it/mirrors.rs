//! Which mirror is asked, after what became of earlier requests.

use launchway_registry::{ClientEvent, ClientOptions, Mirror};
use launchway_testkit::http::{Answer, Server, Step};

use crate::support::{INDEX, client_with_events, digest, options, repository, tagged};

fn mirrors(of: &Server, hosts: &[&Server]) -> ClientOptions {
    let mirror = |host: &&Server| Mirror {
        of: of.host().parse().unwrap(),
        host: host.host().parse().unwrap(),
        prefix: None,
    };
    ClientOptions {
        mirrors: hosts.iter().map(mirror).collect(),
        ..options()
    }
}

fn manifest() -> Answer {
    Answer::status(200)
        .header("content-type", INDEX)
        .body(r#"{"schemaVersion":2,"manifests":[]}"#)
}

/// The second mirror and the registry serve all else, while the first rests.
#[tokio::test]
async fn a_mirror_that_fails_comes_last() {
    let path = |tag: &str| format!("/v2/a/manifests/{tag}");
    let bad = Server::start(vec![Step::new("GET", path("t1"), Answer::status(500))]).await;
    let good = Server::start(vec![
        Step::new("GET", path("t1"), manifest()),
        Step::new("GET", path("t2"), manifest()),
        Step::new("GET", path("t3"), Answer::status(404)),
    ])
    .await;
    bad.extend(vec![Step::new("GET", path("t3"), Answer::status(404))]);
    let origin = Server::start(vec![Step::new("GET", path("t3"), manifest())]).await;
    let (client, told) = client_with_events(mirrors(&origin, &[&bad, &good]));
    for tag in ["a:t1", "a:t2", "a:t3"] {
        client.manifest(&tagged(&origin, tag)).await.unwrap();
    }
    for server in [&bad, &good, &origin] {
        server.finish();
    }
    let told = told.lock().unwrap();
    let rests: Vec<(&str, &str)> = told
        .iter()
        .filter_map(|event| match event {
            ClientEvent::MirrorRests { mirror, reason, .. } => {
                Some((mirror.as_str(), reason.as_str()))
            }
            _ => None,
        })
        .collect();
    assert_eq!(rests, [(bad.host(), "answered 500")]);
}

/// What a mirror says is checked; one that lies is not asked again for a while.
#[tokio::test]
async fn a_mirror_that_lies_is_passed_over() {
    let (one, two) = (b"one".as_slice(), b"two".as_slice());
    let blob = |bytes: &[u8]| format!("/v2/a/blobs/{}", digest(bytes));
    let liar = Server::start(vec![Step::new(
        "GET",
        blob(one),
        Answer::status(200).body("eno"),
    )])
    .await;
    let good = |bytes: &'static [u8]| Answer::status(200).body(bytes);
    let honest = Server::start(vec![
        Step::new("GET", blob(one), good(one)),
        Step::new("GET", blob(two), good(two)),
    ])
    .await;
    let origin = Server::start(Vec::new()).await;
    let (client, told) = client_with_events(mirrors(&origin, &[&liar, &honest]));
    let repository = repository(&origin, "a");
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().join("blob");
    client
        .pull_blob(&repository, &digest(one), 3, &to)
        .await
        .unwrap();
    assert_eq!(std::fs::read(&to).unwrap(), one);
    let read = client.read_blob(&repository, &digest(two), 100).await;
    assert_eq!(read.unwrap(), two);
    for server in [&liar, &honest, &origin] {
        server.finish();
    }
    let told = told.lock().unwrap();
    assert!(
        told.iter().any(|event| matches!(
            event,
            ClientEvent::MirrorRests { mirror, reason, .. }
                if mirror.as_str() == liar.host() && reason.contains("does not match")
        )),
        "{told:?}"
    );
}
