//! Who may do what: passwords, and what is shown to whom.

use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use launchway_registry_server::{
    Access, Action, Event, EventSink, Options, Registry, Tokens, Users, UsersError,
};
use launchway_testkit::sha256;

use crate::support::{MANIFEST, Reply, ask, options};

/// `secret` and `other`, at the lowest cost there is.
const SECRET: &str = "$2y$04$IiXn/awtkLHT1YnOtML4EurW7zzmhfDg4sBFEwpN7YfN7ebxXNyni";

pub(crate) fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

/// Users `ann` and `bob`, both with the password `secret`.
pub(crate) fn access(directory: &Path, tokens: Option<Tokens>) -> Access {
    let file = directory.join("htpasswd");
    fs::write(&file, format!("ann:{SECRET}\nbob:{SECRET}\n")).unwrap();
    Access {
        users: Users::open(&file).unwrap(),
        realm: "a \"quoted\" registry".into(),
        anonymous_pull: false,
        tokens,
        permit: None,
    }
}

pub(crate) fn open(directory: &Path, access: Access) -> Registry {
    let options = Options {
        access: Some(access),
        ..options()
    };
    Registry::open(&directory.join("root"), options).unwrap()
}

/// One request with a credential, or with none when it is empty.
pub(crate) async fn with(registry: &Registry, how: &str, method: &str, path: &str) -> Reply {
    let headers = [("authorization", how), ("host", "reg.example:5000")];
    let from = usize::from(how.is_empty());
    ask(registry, method, path, &headers[from..], "").await
}

pub(crate) async fn push_blob(registry: &Registry, how: &str, name: &str, bytes: &str) -> Reply {
    let path = format!(
        "/v2/{name}/blobs/uploads/?digest={}",
        sha256(bytes.as_bytes())
    );
    let headers = [("authorization", how)];
    ask(registry, "POST", &path, &headers, bytes.to_owned()).await
}

#[tokio::test]
async fn every_endpoint_wants_a_password() {
    let directory = tempfile::tempdir().unwrap();
    let registry = open(directory.path(), access(directory.path(), None));
    let right = basic("ann", "secret");
    for (method, path, status) in [
        ("GET", "/", 200),
        ("GET", "/v2/", 200),
        ("GET", "/v2/_catalog", 200),
        ("GET", "/v2/app/tags/list", 404),
        ("GET", "/v2/app/manifests/v1", 404),
        ("PUT", "/v2/app/manifests/v1", 400),
        ("DELETE", "/v2/app/manifests/v1", 404),
        ("HEAD", "/v2/app/blobs/sha256:00", 400),
        ("POST", "/v2/app/blobs/uploads/", 202),
        ("PATCH", "/v2/app/blobs/uploads/x", 404),
        ("GET", "/v2/app/referrers/x", 400),
        ("GET", "/token", 404),
    ] {
        let reply = with(&registry, &right, method, path).await;
        assert_eq!(reply.status, status, "{method} {path}: {reply:?}");
        if path == "/token" {
            continue;
        }
        for wrong in [
            "",
            &basic("ann", "wrong"),
            &basic("ann", ""),
            &basic("nobody", "secret"),
            &basic("", ""),
            "Basic ?",
            "Bearer x",
            "Digest x",
            "Basic",
        ] {
            let reply = with(&registry, wrong, method, path).await;
            assert_eq!(reply.status, 401, "{wrong} {method} {path}: {reply:?}");
            if method != "HEAD" {
                assert_eq!(reply.code(), "UNAUTHORIZED");
            }
            assert_eq!(
                reply.header("www-authenticate"),
                r#"Basic realm="a \"quoted\" registry", charset="UTF-8""#
            );
        }
    }
}

#[tokio::test]
async fn a_file_that_changes_is_read_again() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("htpasswd");
    let warned = Arc::new(Mutex::new(Vec::new()));
    let sink: EventSink = {
        let warned = Arc::clone(&warned);
        Arc::new(move |event| {
            if let Event::Warned { reason } = event {
                warned.lock().unwrap().push(reason);
            }
        })
    };
    let options = Options {
        access: Some(access(directory.path(), None)),
        events: Some(sink),
        ..options()
    };
    let registry = Registry::open(&directory.path().join("root"), options).unwrap();
    let status = async |user: &str| {
        let reply = with(&registry, &basic(user, "secret"), "GET", "/v2/").await;
        reply.status.as_u16()
    };
    assert_eq!((status("ann").await, status("cleo").await), (200, 401));
    fs::write(&file, format!("cleo:{SECRET}\n")).unwrap();
    assert_eq!((status("ann").await, status("cleo").await), (401, 200));
    assert!(warned.lock().unwrap().is_empty());
    fs::write(&file, "cleo:$apr1$x$y\nmallory:plain\n").unwrap();
    assert_eq!((status("cleo").await, status("mallory").await), (200, 401));
    let told = warned.lock().unwrap().join("\n");
    assert!(
        told.contains("line 1: the password of cleo is hashed with MD5")
            && told.contains("line 2: ")
            && told.contains("stay"),
        "{told}"
    );
    fs::remove_file(&file).unwrap();
    assert_eq!(status("cleo").await, 200);
}

#[test]
fn a_file_that_is_not_there_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let error = Users::open(&directory.path().join("none")).unwrap_err();
    assert!(matches!(error, UsersError::Read { .. }), "{error}");
}

#[tokio::test]
async fn everybody_may_read_when_told_so() {
    let directory = tempfile::tempdir().unwrap();
    let open_to_read = Access {
        anonymous_pull: true,
        ..access(directory.path(), None)
    };
    let registry = open(directory.path(), open_to_read);
    let right = basic("ann", "secret");
    let digest = sha256(b"x");
    assert_eq!(push_blob(&registry, &right, "app", "x").await.status, 201);
    let blob = format!("/v2/app/blobs/{digest}");
    for (how, method, path, status) in [
        ("", "GET", blob.as_str(), 200),
        ("", "GET", "/v2/_catalog", 200),
        ("", "GET", "/", 200),
        ("", "GET", "/v2/app/tags/list", 200),
        ("", "DELETE", blob.as_str(), 401),
        ("", "POST", "/v2/app/blobs/uploads/", 401),
        // Clients that push find out here that they have to log in.
        ("", "GET", "/v2/", 401),
        // Who has a password wants to know that it is wrong.
        (basic("ann", "wrong").as_str(), "GET", blob.as_str(), 401),
    ] {
        let reply = with(&registry, how, method, path).await;
        assert_eq!(reply.status, status, "{how} {method} {path}");
    }
}

#[tokio::test]
async fn rules_narrow_down_what_users_may_do() {
    let directory = tempfile::tempdir().unwrap();
    let ruled = Access {
        permit: Some(Arc::new(|user, repository, action| {
            user.is_some_and(|user| repository.starts_with(user)) || action == Action::Pull
        })),
        ..access(directory.path(), None)
    };
    let registry = open(directory.path(), ruled);
    let ann = basic("ann", "secret");
    assert_eq!(push_blob(&registry, &ann, "ann/app", "x").await.status, 201);
    let refused = push_blob(&registry, &ann, "bob/app", "x").await;
    refused.refused(403, "DENIED");
    let blob = format!("/v2/ann/app/blobs/{}", sha256(b"x"));
    let bob = basic("bob", "secret");
    assert_eq!(with(&registry, &bob, "GET", &blob).await.status, 200);
    with(&registry, &bob, "DELETE", &blob)
        .await
        .refused(403, "DENIED");
}

#[tokio::test]
async fn nobody_mounts_what_they_cannot_read() {
    let directory = tempfile::tempdir().unwrap();
    let ruled = Access {
        permit: Some(Arc::new(|user, repository, _| {
            user.is_some_and(|user| repository.starts_with(user))
        })),
        ..access(directory.path(), None)
    };
    let registry = open(directory.path(), ruled);
    let (ann, bob) = (basic("ann", "secret"), basic("bob", "secret"));
    push_blob(&registry, &ann, "ann/app", "hers").await;
    let digest = sha256(b"hers");
    for (how, to, from, status) in [
        (&bob, "bob/app", "", 202),
        (&bob, "bob/app", "&from=ann/app", 202),
        (&bob, "bob/app", "&from=none", 202),
        (&ann, "ann/two", "&from=ann/app", 201),
    ] {
        let path = format!("/v2/{to}/blobs/uploads/?mount={digest}{from}");
        let reply = with(&registry, how, "POST", &path).await;
        assert_eq!(reply.status, status, "{path}");
    }
    let stolen = format!("/v2/bob/app/blobs/{digest}");
    assert_eq!(with(&registry, &bob, "GET", &stolen).await.status, 404);
}

#[tokio::test]
async fn refusals_come_before_anything_is_done() {
    let directory = tempfile::tempdir().unwrap();
    let registry = open(directory.path(), access(directory.path(), None));
    let headers = [("content-type", MANIFEST)];
    let path = "/v2/app/manifests/v1";
    let reply = ask(&registry, "PUT", path, &headers, "{}").await;
    assert_eq!(reply.status, 401);
    let root = directory.path().join("root");
    assert_eq!(
        crate::support::files(&root),
        Vec::<String>::new(),
        "nothing was made"
    );
}
