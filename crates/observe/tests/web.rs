//! Files of the web, from a server that answers by script.

use launchway_observe::{Web, WebAnswer, WebError, WebValidators};
use launchway_testkit::http::{Answer, Server, Step};

const TIME: &str = "Sun, 06 Nov 1994 08:49:37 GMT";

async fn get(
    server: &Server,
    path: &str,
    known: &WebValidators,
) -> (Result<WebAnswer, WebError>, Vec<u8>) {
    let mut written = Vec::new();
    let url = format!("http://{}{path}", server.host());
    let answer = Web::default().get(&url, known, &mut written).await;
    (answer, written)
}

#[tokio::test]
async fn a_file_comes_with_what_tells_whether_it_changed() {
    let server = Server::start(vec![
        Step::new(
            "GET",
            "/f",
            Answer::status(200)
                .header("ETag", "\"one\"")
                .header("Last-Modified", TIME)
                .body("content"),
        )
        .without("If-None-Match"),
        Step::new("GET", "/f", Answer::status(304)).with("If-None-Match", "\"one\""),
    ])
    .await;
    let (answer, written) = get(&server, "/f", &WebValidators::default()).await;
    assert_eq!(written, b"content");
    let Ok(WebAnswer::New {
        validators,
        modified,
    }) = answer
    else {
        panic!("{answer:?}");
    };
    assert_eq!(modified, Some(784_111_777));
    let (answer, written) = get(&server, "/f", &validators).await;
    assert!(matches!(answer, Ok(WebAnswer::Unchanged)), "{answer:?}");
    assert!(written.is_empty());
    server.finish();
}

#[tokio::test]
async fn excuses_are_waited_out_and_refusals_are_not() {
    let server = Server::start(vec![
        Step::new("GET", "/busy", Answer::status(503)),
        Step::new("GET", "/busy", Answer::status(200).body("x")),
        Step::new("GET", "/gone", Answer::status(404)),
        Step::new(
            "GET",
            "/moved",
            Answer::status(302).header("Location", "/busy"),
        ),
        Step::new("GET", "/busy", Answer::status(200).body("y")),
        Step::new(
            "GET",
            "/round",
            Answer::status(302).header("Location", "/round"),
        )
        .always(),
    ])
    .await;
    let none = WebValidators::default();
    let (answer, written) = get(&server, "/busy", &none).await;
    assert!(answer.is_ok() && written == b"x", "{answer:?}");
    let (answer, written) = get(&server, "/moved", &none).await;
    assert!(answer.is_ok() && written == b"y", "{answer:?}");
    for (path, want) in [
        ("/gone", "the server answers 404 Not Found"),
        (
            "/round",
            "the server sends on to a place that is not followed",
        ),
    ] {
        let (answer, _) = get(&server, path, &none).await;
        assert_eq!(answer.unwrap_err().to_string(), want, "{path}");
    }
    server.finish();
}
