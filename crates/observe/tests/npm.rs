//! Floating versions, resolved against a registry that answers by script, and against the one that
//! this machine is configured for.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::time::Duration;

use launchway_diagnostics::{SourceMap, Span, Spanned};
use launchway_manifest::VersionSource;
use launchway_model::VersionName;
use launchway_observe::{
    Npm, NpmConfig, NpmInputs, NpmRetry, ResolvedVersion, VersionError, resolve_versions,
};
use launchway_testkit::http::{Answer, Server, Step};

fn spanned<T>(value: T) -> Spanned<T> {
    let source = SourceMap::new().add("launchway.toml", "");
    Spanned::new(value, Span::new(source, 0..0))
}

fn npm(registry: &str, more: &[(&str, &str)]) -> Npm {
    let inputs = NpmInputs {
        registry: (!registry.is_empty()).then(|| registry.to_owned()),
        environment: more
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        project: "/nonexistent".into(),
    };
    let retry = NpmRetry {
        attempts: 3,
        pauses: vec![Duration::from_millis(1)],
    };
    let config = NpmConfig::load(inputs).expect("there are no files that could be wrong");
    Npm::new(config, retry)
}

async fn resolve(
    npm: &Npm,
    package: &str,
    accept: Option<&str>,
) -> Result<ResolvedVersion, VersionError> {
    let name: VersionName = "X".parse().expect("X is a name");
    let source = VersionSource::Npm {
        package: package.to_owned(),
        accept: accept.map(|accept| spanned(accept.to_owned())),
    };
    let sources = BTreeMap::from([(name.clone(), spanned(source))]);
    let mut found = resolve_versions(&sources, npm).await;
    found.remove(&name).expect("every version gets an answer")
}

fn release(version: &str, more: &str) -> String {
    format!(r#"{{"name":"p","version":"{version}"{more}}}"#)
}

fn package(tags: &[(&str, &str)], versions: &[(&str, &str)]) -> String {
    let tags: Vec<String> = tags
        .iter()
        .map(|(tag, version)| format!(r#""{tag}":"{version}""#))
        .collect();
    let versions: Vec<String> = versions
        .iter()
        .map(|(version, more)| format!(r#""{version}":{}"#, release(version, more)))
        .collect();
    format!(
        r#"{{"name":"p","dist-tags":{{{}}},"versions":{{{}}}}}"#,
        tags.join(","),
        versions.join(",")
    )
}

const OLD: &str = r#","deprecated":"use another""#;
const TAKEN_BACK: &str = r#","deprecated":"""#;

#[tokio::test]
async fn a_tag_is_one_small_request() {
    let server = Server::start(vec![
        Step::new(
            "GET",
            "/npm/p/latest",
            Answer::status(200).body(release("1.2.3", "")),
        ),
        Step::new(
            "GET",
            "/npm/@s%2fp/next",
            Answer::status(200).body(release("2.0.0-rc.1", OLD)),
        ),
    ])
    .await;
    let npm = npm(&format!("http://{}/npm", server.host()), &[]);
    let (latest, next) = (
        resolve(&npm, "p", None).await.unwrap(),
        resolve(&npm, "@s/p", Some("next")).await.unwrap(),
    );
    assert_eq!(latest.version, "1.2.3");
    assert_eq!(
        latest.source,
        format!("npm p@latest from {}/npm", server.host())
    );
    assert_eq!(latest.deprecated, None);
    assert_eq!(next.version, "2.0.0-rc.1");
    assert_eq!(next.deprecated.as_deref(), Some("use another"));
    server.finish();
}

#[tokio::test]
async fn a_range_takes_what_npm_would_install() {
    let metadata = package(
        &[("latest", "1.5.2"), ("next", "2.0.0-rc.1")],
        &[
            ("0.74.9", ""),
            ("0.75.0", ""),
            ("0.75.5", TAKEN_BACK),
            ("0.75.6", OLD),
            ("0.76.0-beta.1", ""),
            ("1.5.2", ""),
            // Published, but not made the latest yet.
            ("1.6.0", ""),
            ("2.0.0-rc.1", ""),
            ("3.0.0", OLD),
        ],
    );
    let answer = Answer::status(200).body(metadata);
    let asked = Step::new("GET", "/p", answer)
        .with(
            "accept",
            "application/vnd.npm.install-v1+json, application/json;q=0.8",
        )
        .always();
    let server = Server::start(vec![asked]).await;
    let npm = npm(&format!("http://{}/", server.host()), &[]);
    for (range, want) in [
        ("0.75", "0.75.5"),
        ("~0.74", "0.74.9"),
        ("^1", "1.5.2"),
        ("*", "1.5.2"),
        (">1.5.2 <2", "1.6.0"),
        ("2.0.0-rc.1", "2.0.0-rc.1"),
        (">=2.0.0-rc.0 <3", "2.0.0-rc.1"),
        // Nothing else is left.
        ("3.x", "3.0.0"),
        ("0.75.6", "0.75.6"),
        ("0.9 || 0.74", "0.74.9"),
    ] {
        let found = resolve(&npm, "p", Some(range)).await.unwrap();
        assert_eq!(found.version, want, "{range}");
    }
    let error = resolve(&npm, "p", Some("^9")).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "no version of p is in the range \"^9\"; the latest is 1.5.2"
    );
    assert_eq!(error.code().0, "LW0343");
}

#[tokio::test]
async fn registries_without_the_small_answer_are_asked_for_the_whole() {
    let metadata = package(
        &[("latest", "1.5.2"), ("canary", "2.0.0-0")],
        &[("1.5.2", ""), ("2.0.0-0", "")],
    );
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(metadata.as_bytes()).unwrap();
    let whole = Answer::status(200)
        .header("content-encoding", "gzip")
        .body(packed.finish().unwrap());
    let server = Server::start(vec![
        Step::new("GET", "/p/canary", Answer::status(405)),
        Step::new("GET", "/p/latest", Answer::status(200).html("hello")),
        Step::new("GET", "/p/canery", Answer::status(404)),
        Step::new("GET", "/none/latest", Answer::status(404)),
        Step::new("GET", "/none", Answer::status(404)),
        Step::new("GET", "/p", whole)
            .with("accept-encoding", "gzip")
            .times(3),
    ])
    .await;
    let npm = npm(&format!("http://{}/", server.host()), &[]);
    let found = resolve(&npm, "p", Some("canary")).await.unwrap();
    assert_eq!(found.version, "2.0.0-0");
    let found = resolve(&npm, "p", None).await.unwrap();
    assert_eq!(found.version, "1.5.2");
    let error = resolve(&npm, "p", Some("canery")).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "p has no dist-tag \"canery\"; did you mean \"canary\"?"
    );
    let error = resolve(&npm, "none", None).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("the npm registry {} has no package none", server.host())
    );
    server.finish();
}

#[tokio::test]
async fn what_fails_for_a_moment_is_asked_again() {
    let good = || Answer::status(200).body(release("1.0.0", ""));
    let server = Server::start(vec![
        Step::new("GET", "/a/latest", Answer::status(503)),
        Step::new("GET", "/a/latest", Answer::reset()),
        Step::new("GET", "/a/latest", good()),
        Step::new(
            "GET",
            "/b/latest",
            Answer::status(429).header("retry-after", "0"),
        ),
        Step::new("GET", "/b/latest", good().reset_after(5)),
        Step::new("GET", "/b/latest", good()),
        Step::new("GET", "/c/latest", Answer::status(500)).times(3),
        Step::new("GET", "/d/latest", Answer::status(403)),
    ])
    .await;
    let npm = npm(&format!("http://{}/", server.host()), &[]);
    assert_eq!(resolve(&npm, "a", None).await.unwrap().version, "1.0.0");
    assert_eq!(resolve(&npm, "b", None).await.unwrap().version, "1.0.0");
    let error = resolve(&npm, "c", None).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "cannot ask the npm registry {} for c: answered 500 (tried 3 times)",
            server.host()
        )
    );
    assert_eq!(error.code().0, "LW0441");
    let error = resolve(&npm, "d", None).await.unwrap_err();
    assert!(matches!(
        error,
        VersionError::Denied {
            status: Some(403),
            ..
        }
    ));
    server.finish();
}

#[tokio::test]
async fn a_registry_that_is_down_is_an_error_and_not_a_guess() {
    // Bound and dropped again: nobody listens there.
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let npm = npm(&format!("http://{port}/"), &[]);
    let error = resolve(&npm, "p", None).await.unwrap_err();
    assert!(
        matches!(error, VersionError::Unreachable { attempts: 3, .. }),
        "{error}"
    );
}

#[tokio::test]
async fn a_token_is_sent_to_its_own_registry_and_follows_no_redirect() {
    let other = Server::start(vec![
        Step::new(
            "GET",
            "/p/latest",
            Answer::status(200).body(release("2.0.0", "")),
        )
        .without("authorization"),
    ])
    .await;
    let own = Server::start(vec![
        Step::new(
            "GET",
            "/p/latest",
            Answer::status(200).body(release("1.0.0", "")),
        )
        .with("authorization", "Bearer t0k3n"),
        Step::new(
            "GET",
            "/moved/latest",
            Answer::status(302).header("location", format!("http://{}/p/latest", other.host())),
        )
        .with("authorization", "Bearer t0k3n"),
    ])
    .await;
    let npm = npm(
        "",
        &[
            ("npm_config_registry", &format!("http://{}/", own.host())),
            (&format!("npm_config_//{}/:_authToken", own.host()), "t0k3n"),
        ],
    );
    assert_eq!(resolve(&npm, "p", None).await.unwrap().version, "1.0.0");
    assert_eq!(resolve(&npm, "moved", None).await.unwrap().version, "2.0.0");
    own.finish();
    other.finish();
}

#[tokio::test]
async fn wrong_words_are_refused_without_asking() {
    let server = Server::start(Vec::new()).await;
    let asked = npm(&format!("http://{}/", server.host()), &[]);
    for (name, accept, want) in [
        ("../x", None, "\"../x\" is no npm package name"),
        ("@scope", None, "\"@scope\" is no npm package name"),
        ("a/b", None, "\"a/b\" is no npm package name"),
        (
            "p",
            Some(">=1 foo"),
            "\">=1 foo\" is neither a dist-tag nor a version range",
        ),
        (
            "p",
            Some("a/b"),
            "\"a/b\" is neither a dist-tag nor a version range",
        ),
    ] {
        let error = resolve(&asked, name, accept).await.unwrap_err();
        assert_eq!(error.to_string(), want);
    }
    // Neither a setting nor an npm to ask.
    let nowhere = npm("", &[("PATH", "/nonexistent")]);
    let error = resolve(&nowhere, "p", None).await.unwrap_err();
    assert_eq!(error.to_string(), "no npm registry is known to ask for p");
    server.finish();
}

#[tokio::test]
async fn all_versions_are_asked_for_at_the_same_time() {
    let slow = |version: &str| {
        Answer::status(200)
            .body(release(version, ""))
            .delay(Duration::from_millis(100))
    };
    let server = Server::start(vec![
        Step::new("GET", "/a/latest", slow("1.0.0")),
        Step::new("GET", "/b/latest", slow("2.0.0")),
        Step::new("GET", "/c/latest", Answer::status(404)),
        Step::new("GET", "/c", Answer::status(404)),
    ])
    .await;
    let npm = npm(&format!("http://{}/", server.host()), &[]);
    let source = |package: &str| {
        spanned(VersionSource::Npm {
            package: package.to_owned(),
            accept: None,
        })
    };
    let pinned = spanned(VersionSource::Pinned("9.9".to_owned()));
    let name = |text: &str| -> VersionName { text.parse().unwrap() };
    let sources = BTreeMap::from([
        (name("A"), source("a")),
        (name("B"), source("b")),
        (name("C"), source("c")),
        (name("D"), pinned),
    ]);
    let found = resolve_versions(&sources, &npm).await;
    let version = |text: &str| found[&name(text)].as_ref().unwrap().version.clone();
    assert_eq!(
        (version("A"), version("B")),
        ("1.0.0".into(), "2.0.0".into())
    );
    assert_eq!(version("D"), "9.9");
    assert!(matches!(
        found[&name("C")],
        Err(VersionError::NoPackage { .. })
    ));
    // While the first answer was on its way the other questions had come.
    assert!(server.connections() >= 3);
    server.finish();
}

/// Runs where the registry of this machine's npm configuration can be reached, and the variable
/// says so; continuous integration sets it.
#[tokio::test]
async fn the_configured_registry_answers() {
    if std::env::var_os("LAUNCHWAY_ONLINE_TESTS").is_none_or(|value| value != "1") {
        eprintln!("skipped: LAUNCHWAY_ONLINE_TESTS is not 1");
        return;
    }
    let inputs = NpmInputs {
        registry: None,
        environment: std::env::vars().collect(),
        project: std::env::current_dir().unwrap(),
    };
    let npm = Npm::new(NpmConfig::load(inputs).unwrap(), NpmRetry::default());
    let pi = "@earendil-works/pi-coding-agent";
    let ranged = resolve(&npm, pi, Some("0.75")).await.unwrap();
    assert!(ranged.version.starts_with("0.75."), "{ranged:?}");
    let latest = resolve(&npm, "opencode-ai", None).await.unwrap();
    assert!(latest.version.contains('.'), "{latest:?}");
    let missing = resolve(&npm, pi, Some("no-such-tag")).await.unwrap_err();
    assert!(matches!(missing, VersionError::NoTag { .. }), "{missing}");
}
