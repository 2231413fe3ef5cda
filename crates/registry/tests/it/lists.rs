//! Tags and repositories, page by page.

use launchway_registry::ErrorClass;
use launchway_testkit::http::{Answer, Server, Step};

use crate::support::{client, repository};

#[tokio::test]
async fn tags_come_in_pages() {
    let page = |body: &str, link: Option<&str>| {
        let answer = Answer::status(200).body(body.to_owned());
        match link {
            Some(link) => answer.header("link", link),
            None => answer,
        }
    };
    let list = "/v2/a/tags/list";
    let server = Server::start_with(|host| {
        vec![
            Step::new(
                "GET",
                list,
                page(
                    r#"{"name":"a","tags":["v1","v2"]}"#,
                    Some("</v2/a/tags/list?last=v2&n=2>; rel=\"next\""),
                ),
            )
            .times(1),
            Step::new("GET", format!("{list}?last=v2&n=2"), Answer::status(503)),
            Step::new(
                "GET",
                format!("{list}?last=v2&n=2"),
                page(
                    r#"{"tags":["v3","not a tag"]}"#,
                    Some(&format!("<http://{host}{list}?last=v4>; rel=next")),
                ),
            ),
            Step::new(
                "GET",
                format!("{list}?last=v4"),
                page(r#"{"tags":null}"#, None),
            ),
        ]
    })
    .await;
    let tags = client().tags(&repository(&server, "a")).await.unwrap();
    let tags: Vec<&str> = tags.iter().map(|tag| tag.as_str()).collect();
    assert_eq!(tags, ["v1", "v2", "v3"]);
    server.finish();
}

#[tokio::test]
async fn the_catalog_comes_in_pages_with_its_own_scope() {
    let server = Server::start_with(|host| {
        vec![
            Step::new(
                "GET",
                "/v2/_catalog?n=1000",
                Answer::status(401).header(
                    "www-authenticate",
                    format!("Bearer realm=\"http://{host}/t\",service=\"s\""),
                ),
            )
            .without("authorization"),
            Step::new(
                "GET",
                "/t?service=s&scope=registry%3Acatalog%3A*",
                Answer::status(200).body(r#"{"token":"tok"}"#),
            ),
            Step::new(
                "GET",
                "/v2/_catalog?n=1000",
                Answer::status(200)
                    .header("link", "<?last=x%2Fy>; rel=next")
                    .body(r#"{"repositories":["a","x/y","Not/One"]}"#),
            )
            .with("authorization", "Bearer tok"),
            Step::new(
                "GET",
                "/v2/_catalog?last=x%2Fy",
                Answer::status(200).body(r#"{"repositories":null}"#),
            )
            .with("authorization", "Bearer tok"),
        ]
    })
    .await;
    let found = client()
        .catalog(&server.host().parse().unwrap())
        .await
        .unwrap();
    assert_eq!(found, ["a", "x/y"].map(|path| repository(&server, path)));
    server.finish();
}

#[tokio::test]
async fn lists_that_cannot_be_read_to_their_end() {
    let list = "/v2/a/tags/list";
    let page = |link: &str| {
        Answer::status(200)
            .header("link", format!("<{link}>; rel=next"))
            .body(r#"{"tags":["x"]}"#)
    };
    for (name, steps, want) in [
        (
            "another server",
            vec![Step::new("GET", list, page("http://127.0.0.1:1/x"))],
            "another server",
        ),
        (
            "a circle",
            vec![
                Step::new("GET", format!("{list}?n=1000"), page("/v2/a/tags/list?2")),
                Step::new("GET", format!("{list}?2"), page("/v2/a/tags/list?3")),
                Step::new("GET", format!("{list}?3"), page("/v2/a/tags/list?2")),
            ],
            "leads back",
        ),
        (
            "no list",
            vec![Step::new("GET", list, Answer::status(200).html("x"))],
            "no list",
        ),
    ] {
        let server = Server::start(steps).await;
        let error = client().tags(&repository(&server, "a")).await.unwrap_err();
        assert_eq!(error.class, ErrorClass::Permanent, "{name}");
        assert!(error.detail.contains(want), "{name}: {error}");
        server.finish();
    }
}

#[tokio::test]
async fn a_registry_that_refuses_the_length_of_a_page_is_asked_without() {
    let server = Server::start(vec![
        Step::new("GET", "/v2/a/tags/list?n=1000", Answer::status(400)),
        Step::new(
            "GET",
            "/v2/a/tags/list",
            Answer::status(200).body(r#"{"tags":["x"]}"#),
        ),
    ])
    .await;
    let tags = client().tags(&repository(&server, "a")).await.unwrap();
    assert_eq!(tags.len(), 1);
    assert_eq!(server.finish()[1].query(), "");
}
