//! Bearer tokens: how they are asked for, what they are good for, and how they die.

use std::time::Duration;

use launchway_registry_server::{Access, Registry, Tokens};
use launchway_testkit::sha256;
use tempfile::TempDir;

use crate::access::{access, basic, open, push_blob, with};
use crate::support::{Reply, ask};

struct Bearer {
    registry: Registry,
    _directory: TempDir,
}

fn tokens(lifetime: Duration) -> Tokens {
    Tokens {
        lifetime,
        realm: None,
    }
}

impl Bearer {
    fn new(change: impl FnOnce(&mut Access)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut access = access(directory.path(), Some(tokens(Duration::from_secs(300))));
        change(&mut access);
        Self {
            registry: open(directory.path(), access),
            _directory: directory,
        }
    }

    /// Ann's token for a scope.
    async fn token(&self, scope: &str) -> String {
        let path = format!("/token?service=x&scope={scope}");
        let reply = with(&self.registry, &basic("ann", "secret"), "GET", &path).await;
        assert_eq!(reply.status, 200, "{reply:?}");
        let answer = reply.json();
        assert_eq!(answer["token"], answer["access_token"]);
        format!("Bearer {}", answer["token"].as_str().unwrap())
    }

    async fn with(&self, how: &str, method: &str, path: &str) -> Reply {
        with(&self.registry, how, method, path).await
    }

    async fn form(&self, form: &str) -> Reply {
        let headers = [("content-type", "application/x-www-form-urlencoded")];
        ask(&self.registry, "POST", "/token", &headers, form.to_owned()).await
    }
}

#[tokio::test]
async fn the_challenge_says_what_to_ask_for() {
    let bearer = Bearer::new(|_| {});
    let realm = r#"Bearer realm="http://reg.example:5000/token",service="reg.example:5000""#;
    let pulling = bearer.token("repository:app:pull").await;
    let short = r#",error="insufficient_scope""#;
    for (how, method, path, want) in [
        ("", "GET", "/v2/", String::new()),
        (
            "",
            "GET",
            "/v2/_catalog",
            r#",scope="registry:catalog:*""#.into(),
        ),
        (
            "",
            "HEAD",
            "/v2/a/b/manifests/v1",
            r#",scope="repository:a/b:pull""#.into(),
        ),
        (
            "",
            "POST",
            "/v2/app/blobs/uploads/",
            r#",scope="repository:app:pull,push""#.into(),
        ),
        (
            "",
            "DELETE",
            "/v2/app/manifests/v1",
            r#",scope="repository:app:delete""#.into(),
        ),
        (
            pulling.as_str(),
            "PUT",
            "/v2/app/manifests/v1",
            format!(r#",scope="repository:app:pull,push"{short}"#),
        ),
        (
            "Bearer x.y",
            "GET",
            "/v2/app/tags/list",
            r#",scope="repository:app:pull",error="invalid_token""#.into(),
        ),
    ] {
        let reply = bearer.with(how, method, path).await;
        assert_eq!(reply.status, 401, "{method} {path}");
        let header = reply.header("www-authenticate");
        assert_eq!(header, format!("{realm}{want}"), "{method} {path}");
    }
    // A browser knows no tokens.
    let page = bearer.with("", "GET", "/").await;
    assert!(page.header("www-authenticate").starts_with("Basic "));
    let elsewhere = Bearer::new(|access| {
        let realm = Some("https://login.example/token".into());
        access.tokens = Some(Tokens {
            realm,
            ..tokens(Duration::from_secs(1))
        });
    });
    let reply = elsewhere.with("", "GET", "/v2/").await;
    let header = reply.header("www-authenticate");
    assert!(header.starts_with(r#"Bearer realm="https://login.example/token","#));
}

#[tokio::test]
async fn a_token_is_good_for_what_it_was_asked_for() {
    let bearer = Bearer::new(|_| {});
    let everything = bearer.token("repository:app:*").await;
    let pushed = push_blob(&bearer.registry, &everything, "app", "x").await;
    assert_eq!(pushed.status, 201);
    let blob = format!("/v2/app/blobs/{}", sha256(b"x"));
    for (scope, method, path, status) in [
        ("repository:app:pull", "GET", blob.as_str(), 200),
        ("repository:app:pull", "DELETE", blob.as_str(), 401),
        ("repository:app:push", "GET", blob.as_str(), 401),
        ("repository:app:push", "POST", "/v2/app/blobs/uploads/", 202),
        ("repository:app:pull,push", "DELETE", blob.as_str(), 401),
        ("repository:other:*", "GET", blob.as_str(), 401),
        ("repository:app/x:*", "GET", blob.as_str(), 401),
        (
            "repository:other:pull&scope=repository:app:pull",
            "GET",
            blob.as_str(),
            200,
        ),
        (
            "repository:other:pull%20repository:app:pull",
            "GET",
            blob.as_str(),
            200,
        ),
        ("registry:catalog:*", "GET", "/v2/_catalog", 200),
        ("repository:app:pull", "GET", "/v2/_catalog", 401),
        ("", "GET", "/v2/", 200),
        ("", "GET", blob.as_str(), 401),
        ("repository:app:delete", "DELETE", blob.as_str(), 202),
    ] {
        let token = bearer.token(scope).await;
        let reply = bearer.with(&token, method, path).await;
        assert_eq!(reply.status, status, "{scope}: {method} {path}: {reply:?}");
    }
    // A password is as good as a token.
    let reply = bearer
        .with(&basic("ann", "secret"), "GET", "/v2/_catalog")
        .await;
    assert_eq!(reply.status, 200);
}

#[tokio::test]
async fn tokens_are_for_those_who_are_known() {
    let bearer = Bearer::new(|_| {});
    for how in ["", &basic("ann", "wrong"), &basic("", ""), "Bearer x"] {
        let reply = bearer
            .with(how, "GET", "/token?scope=repository:a:pull")
            .await;
        reply.refused(401, "UNAUTHORIZED");
        assert!(reply.header("www-authenticate").starts_with("Basic "));
    }
    let bearer = Bearer::new(|access| access.anonymous_pull = true);
    push_blob(
        &bearer.registry,
        &bearer.token("repository:app:*").await,
        "app",
        "x",
    )
    .await;
    let reply = bearer
        .with("", "GET", "/token?scope=repository:app:pull,push")
        .await;
    assert_eq!(reply.status, 200);
    let token = format!("Bearer {}", reply.json()["token"].as_str().unwrap());
    let blob = format!("/v2/app/blobs/{}", sha256(b"x"));
    for (method, path, status) in [
        ("GET", "/v2/", 200),
        ("GET", blob.as_str(), 200),
        ("POST", "/v2/app/blobs/uploads/", 401),
        ("DELETE", blob.as_str(), 401),
    ] {
        assert_eq!(
            bearer.with(&token, method, path).await.status,
            status,
            "{method} {path}"
        );
    }
}

#[tokio::test]
async fn a_refresh_token_fetches_others() {
    let bearer = Bearer::new(|_| {});
    let asked = "/token?service=x&offline_token=true";
    let reply = bearer.with(&basic("ann", "secret"), "GET", asked).await;
    let refresh = reply.json()["refresh_token"].as_str().unwrap().to_owned();
    let by_password = bearer
        .form("grant_type=password&username=ann&password=secret&access_type=offline&scope=repository:app:pull")
        .await;
    assert_eq!(by_password.status, 200, "{by_password:?}");
    assert!(by_password.json()["refresh_token"].is_string());
    let form = format!(
        "grant_type=refresh_token&refresh_token={refresh}&service=x&client_id=t&scope=repository:app:pull,push+repository:b:pull"
    );
    let reply = bearer.form(&form).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    let answer = reply.json();
    assert_eq!(
        answer["scope"],
        "repository:app:pull,push repository:b:pull"
    );
    assert_eq!(answer["refresh_token"], refresh);
    let token = format!("Bearer {}", answer["access_token"].as_str().unwrap());
    let reply = bearer.with(&token, "POST", "/v2/app/blobs/uploads/").await;
    assert_eq!(reply.status, 202);
    // Neither is good in the other's place.
    let as_access = format!("Bearer {refresh}");
    assert_eq!(bearer.with(&as_access, "GET", "/v2/").await.status, 401);
    let access = &token["Bearer ".len()..];
    for (form, status, error) in [
        (
            format!("grant_type=refresh_token&refresh_token={access}"),
            401,
            "invalid_grant",
        ),
        (
            "grant_type=refresh_token&refresh_token=x".into(),
            401,
            "invalid_grant",
        ),
        (
            "grant_type=password&username=ann&password=wrong".into(),
            401,
            "invalid_grant",
        ),
        ("grant_type=wish".into(), 400, "unsupported_grant_type"),
        ("x".repeat(100_000), 400, "invalid_request"),
    ] {
        let reply = bearer.form(&form).await;
        assert_eq!(reply.status, status, "{form:.60}");
        assert_eq!(reply.json()["error"], error);
    }
}

#[tokio::test]
async fn a_token_dies_in_the_middle_of_a_push() {
    let bearer = Bearer::new(|access| access.tokens = Some(tokens(Duration::from_millis(300))));
    let token = bearer.token("repository:app:push").await;
    let started = bearer.with(&token, "POST", "/v2/app/blobs/uploads/").await;
    assert_eq!(started.status, 202);
    let place = started.header("location").to_owned();
    let headers = [("authorization", token.as_str())];
    let chunk = ask(&bearer.registry, "PATCH", &place, &headers, "one ").await;
    assert_eq!(chunk.status, 202);
    tokio::time::sleep(Duration::from_millis(350)).await;
    let late = ask(&bearer.registry, "PATCH", &place, &headers, "two").await;
    late.refused(401, "UNAUTHORIZED");
    assert!(late.header("www-authenticate").contains("invalid_token"));
    // Another token takes it up where it was.
    let token = bearer.token("repository:app:push").await;
    let finish = format!("{place}?digest={}", sha256(b"one two"));
    let headers = [("authorization", token.as_str())];
    let done = ask(&bearer.registry, "PUT", &finish, &headers, "two").await;
    assert_eq!(done.status, 201, "{done:?}");
}

#[tokio::test]
async fn a_mount_takes_only_what_the_token_may_read() {
    let bearer = Bearer::new(|_| {});
    let all = bearer.token("repository:source:*").await;
    push_blob(&bearer.registry, &all, "source", "x").await;
    let digest = sha256(b"x");
    let named = format!("/v2/to/blobs/uploads/?mount={digest}&from=source");
    let unnamed = format!("/v2/to/blobs/uploads/?mount={digest}");
    let pushing = bearer.token("repository:to:push,pull").await;
    let reply = bearer.with(&pushing, "POST", &named).await;
    reply.refused(401, "UNAUTHORIZED");
    let header = reply.header("www-authenticate");
    assert!(
        header.contains(r#"scope="repository:to:pull,push repository:source:pull""#),
        "{header}"
    );
    assert_eq!(bearer.with(&pushing, "POST", &unnamed).await.status, 202);
    let both = bearer
        .token("repository:to:push,pull&scope=repository:source:pull")
        .await;
    assert_eq!(bearer.with(&both, "POST", &unnamed).await.status, 201);
    assert_eq!(bearer.with(&both, "POST", &named).await.status, 201);
}
