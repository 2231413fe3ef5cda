//! Logins from variables, and that nothing the program says holds a secret.

use std::process::{Command, Output};

use launchway_testkit::http::{Answer, Server, Step};

use crate::serving::PROGRAM;

const PASSWORD: &str = "p4ssw0rd-of-mine";
/// `u:` and the password, as basic logins send it.
const PAIR: &str = "dTpwNHNzdzByZC1vZi1taW5l";
const TOKEN: &str = "t0ken-of-the-registry";
const SIGNATURE: &str = "s1gnature-of-the-storage";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

async fn run(server: &Server, arguments: &[&str]) -> Output {
    let home = tempfile::tempdir().expect("a folder of its own");
    let host = server.host().replace(['.', ':'], "_");
    let mut command = Command::new(PROGRAM);
    command
        .env_clear()
        .env("HOME", home.path())
        .env(format!("LAUNCHWAY_REGISTRY_{host}_USERNAME"), "u")
        .env(format!("LAUNCHWAY_REGISTRY_{host}_PASSWORD"), PASSWORD)
        .current_dir(home.path())
        .args(arguments);
    tokio::task::spawn_blocking(move || {
        let output = command.output().expect("running the program");
        drop(home);
        output
    })
    .await
    .expect("the program is waited for")
}

fn said(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    text(&output.stdout) + &text(&output.stderr)
}

/// Servers that repeat what they were told, to every command and in both formats.
#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_told() {
    let body = r#"{"schemaVersion":2,"manifests":[]}"#;
    let echo = |knows: &str| {
        Answer::status(403).error(
            "DENIED",
            &format!("you sent {knows} to https://x/y?sig={SIGNATURE}"),
        )
    };
    let basic = || Answer::status(401).header("www-authenticate", "Basic realm=\"r\"");
    let bearer = |host: &str| {
        Answer::status(401).header(
            "www-authenticate",
            format!("Bearer realm=\"http://{host}/token\",service=\"s\""),
        )
    };
    let pair = format!("Basic {PAIR}");
    let token = format!("Bearer {TOKEN}");
    let server = Server::start_with(|host| {
        let mut steps = vec![
            Step::new(
                "GET",
                "/token",
                Answer::status(200).body(format!(r#"{{"token":"{TOKEN}"}}"#)),
            )
            .with("authorization", pair.clone())
            .always(),
            Step::new("GET", "/refuses", echo(&format!("{PAIR} {PASSWORD}"))).always(),
        ];
        for method in ["HEAD", "GET"] {
            let path = |repository: &str| format!("/v2/{repository}/manifests/x");
            let good = Answer::status(200).header("content-type", INDEX).body(body);
            steps.extend([
                // A basic login that is refused, one by a token that is refused, a token server
                // that refuses, and one that is let in.
                Step::new(method, path("basic"), echo(&format!("{PAIR} {PASSWORD}")))
                    .with("authorization", pair.clone())
                    .always(),
                Step::new(method, path("basic"), basic()).always(),
                Step::new(method, path("bearer"), echo(TOKEN))
                    .with("authorization", token.clone())
                    .always(),
                Step::new(method, path("bearer"), bearer(host)).always(),
                Step::new(
                    method,
                    path("tokens"),
                    Answer::status(401).header(
                        "www-authenticate",
                        format!("Bearer realm=\"http://{host}/refuses\""),
                    ),
                )
                .always(),
                Step::new(method, path("good"), good)
                    .with("authorization", token.clone())
                    .always(),
                Step::new(method, path("good"), bearer(host)).always(),
            ]);
        }
        steps
    })
    .await;
    let variables = format!(
        "the login is from the variables LAUNCHWAY_REGISTRY_{}_USERNAME",
        server.host().replace(['.', ':'], "_")
    );
    for (repository, is_good) in [
        ("basic", false),
        ("bearer", false),
        ("tokens", false),
        ("good", true),
    ] {
        let reference = format!("{}/{repository}:x", server.host());
        for command in [
            vec!["digest", &reference],
            vec!["inspect", &reference],
            vec!["copy", &reference, "oci:copy:x"],
        ] {
            for format in ["text", "json"] {
                let mut arguments = vec!["--format", format];
                arguments.extend(&command);
                let output = run(&server, &arguments).await;
                let said = said(&output);
                for secret in [PASSWORD, PAIR, TOKEN, SIGNATURE] {
                    assert!(!said.contains(secret), "{arguments:?}: {said}");
                }
                if !is_good {
                    assert!(!output.status.success(), "{arguments:?}: {said}");
                    assert!(said.contains(&variables), "{arguments:?}: {said}");
                }
            }
        }
        if is_good {
            let output = run(&server, &["digest", &reference]).await;
            assert!(output.status.success(), "{}", said(&output));
        }
    }
}
