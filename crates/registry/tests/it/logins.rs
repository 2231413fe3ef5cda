//! Whose login it was, and where credentials never go.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use launchway_model::RegistryHost;
use launchway_registry::{
    Client, ClientOptions, Credential, Credentials, CredentialsError, ErrorClass, Login, Probe,
    RegistryError, Secret,
};
use launchway_testkit::http::{Answer, Server, Step};

use crate::support::{Always, INDEX, client, client_with, digest, options, repository, tagged};

const PATH: &str = "/v2/a/manifests/x";

fn found() -> Answer {
    Answer::status(200)
        .header("content-type", INDEX)
        .header("docker-content-digest", digest(b"x").to_string())
}

fn bearer(host: &str) -> Answer {
    Answer::status(401).header(
        "www-authenticate",
        format!("Bearer realm=\"http://{host}/token\""),
    )
}

fn basic() -> Answer {
    Answer::status(401).header("www-authenticate", "Basic realm=\"r\"")
}

/// A credential that says where it is from.
struct From(Credential);

impl Credentials for From {
    fn lookup<'a>(
        &'a self,
        _host: &'a RegistryHost,
        _path: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Option<Credential>, CredentialsError>> {
        Box::pin(std::future::ready(Ok(Some(self.0.clone()))))
    }

    fn login<'a>(
        &'a self,
        _host: &'a RegistryHost,
        _path: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Option<Login>, CredentialsError>> {
        let login = Login {
            credential: self.0.clone(),
            source: Some("the entry for x in /home/u/config.json".to_owned()),
        };
        Box::pin(std::future::ready(Ok(Some(login))))
    }
}

fn from_file() -> Client {
    client_with(ClientOptions {
        credentials: Arc::new(From(Credential::Basic {
            username: "u".to_owned(),
            password: Secret::new("hunter2"),
        })),
        ..options()
    })
}

async fn refused(client: &Client, server: &Server) -> RegistryError {
    match client.probe(&tagged(server, "a:x")).await {
        Probe::Unknown(error) => error,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_refused_login_tells_where_it_is_from() {
    let source = "the login is from the entry for x in /home/u/config.json";
    // By the registry, by its token server, and for lack of rights.
    let by_registry = Server::start(vec![Step::new("HEAD", PATH, basic()).times(2)]).await;
    let by_tokens = Server::start_with(|host| {
        vec![
            Step::new("HEAD", PATH, bearer(host)),
            Step::new(
                "GET",
                "/token",
                Answer::status(401).error("UNAUTHORIZED", "incorrect username or password"),
            ),
        ]
    })
    .await;
    let by_rights = Server::start_with(|host| {
        vec![
            Step::new("HEAD", PATH, bearer(host)).without("authorization"),
            Step::new(
                "GET",
                "/token",
                Answer::status(200).body(r#"{"token":"t"}"#),
            ),
            Step::new("HEAD", PATH, Answer::status(403)),
            Step::new("GET", PATH, Answer::status(403).error("DENIED", "no push")),
        ]
    })
    .await;
    for server in [by_registry, by_tokens, by_rights] {
        let error = refused(&from_file(), &server).await;
        assert_eq!(error.class, ErrorClass::Auth);
        assert!(error.detail.ends_with(source), "{error}");
        assert!(!format!("{error} {error:?}").contains("hunter2"));
        server.finish();
    }
}

#[tokio::test]
async fn that_nobody_is_logged_in_is_told() {
    let server = Server::start_with(|host| {
        vec![
            Step::new("HEAD", PATH, bearer(host)).times(2),
            Step::new(
                "GET",
                "/token",
                Answer::status(200).body(r#"{"token":"t"}"#),
            )
            .times(2),
        ]
    })
    .await;
    let error = refused(&client(), &server).await;
    let want = format!("nobody is logged in to {}", server.host());
    assert!(error.detail.ends_with(&want), "{error}");
}

/// Some token servers give a new refresh token with every exchange, and the old one is void then.
#[tokio::test]
async fn a_refresh_token_that_is_replaced_is_followed() {
    let token = |access: &str, refresh: &str| {
        Answer::status(200).body(format!(
            r#"{{"access_token":"{access}","expires_in":300,"refresh_token":"{refresh}"}}"#
        ))
    };
    let server = Server::start_with(|host| {
        vec![
            Step::new("HEAD", PATH, bearer(host)).without("authorization"),
            Step::new("POST", "/token", token("t1", "second")),
            Step::new("HEAD", PATH, found()).with("authorization", "Bearer t1"),
            Step::new("POST", "/token", token("t2", "third")),
            Step::new("HEAD", "/v2/b/manifests/x", found()).with("authorization", "Bearer t2"),
        ]
    })
    .await;
    let client = client_with(ClientOptions {
        credentials: Arc::new(Always(Credential::IdentityToken(Secret::new("first")))),
        ..options()
    });
    for reference in ["a:x", "b:x"] {
        let probe = client.probe(&tagged(&server, reference)).await;
        assert!(matches!(probe, Probe::Present(_)), "{probe:?}");
    }
    let sent: Vec<String> = server
        .finish()
        .iter()
        .filter(|seen| seen.path() == "/token")
        .map(|seen| String::from_utf8(seen.body.to_vec()).unwrap())
        .collect();
    assert!(sent[0].contains("refresh_token=first"), "{sent:?}");
    assert!(sent[1].contains("refresh_token=second"), "{sent:?}");
}

/// The same machine on another port is another server.
#[tokio::test]
async fn credentials_stay_where_they_were_asked_for() {
    let bytes = b"content";
    let blob = format!("/v2/a/blobs/{}", digest(bytes));
    let storage = Server::start(vec![
        Step::new("GET", "/object", Answer::status(200).body(&bytes[..]))
            .without("authorization")
            .without("cookie"),
        // A challenge from there is not answered.
        Step::new("GET", "/asks", basic())
            .without("authorization")
            .times(3),
    ])
    .await;
    let away = |path: &str| {
        Answer::status(307).header("location", format!("http://{}{path}", storage.host()))
    };
    let server = Server::start(vec![
        Step::new("GET", blob.clone(), basic()).without("authorization"),
        Step::new("GET", blob.clone(), away("/object")).with("authorization", "Basic dTpodW50ZXIy"),
        Step::new("GET", "/v2/b/manifests/x", away("/asks"))
            .with("authorization", "Basic dTpodW50ZXIy")
            .times(3),
    ])
    .await;
    let client = from_file();
    let read = client
        .read_blob(&repository(&server, "a"), &digest(bytes), 100)
        .await;
    assert_eq!(read.unwrap(), &bytes[..]);
    let error = client.manifest(&tagged(&server, "b:x")).await.unwrap_err();
    assert!(error.detail.contains(storage.host()), "{error}");
    server.finish();
    storage.finish();
}
