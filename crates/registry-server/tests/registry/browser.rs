//! The pages in a browser with scripts off: wide and narrow, light and dark.

use launchway_testkit::browser::{Browser, Screen, Shown};
use launchway_testkit::{peers, sha256};

use crate::serving::Server;
use crate::support::{CONFIG, Fixture, INDEX, MANIFEST};

const WIDE: Screen = Screen {
    width: 1280,
    dark: false,
};
const PHONE: Screen = Screen {
    width: 400,
    dark: false,
};
const DARK: Screen = Screen {
    width: 400,
    dark: true,
};

/// An image for one platform: a layer that all have, and one of its own.
async fn image(fixture: &Fixture, repository: &str, architecture: &str, own: &str) -> String {
    let step = "RUN apt-get update && apt-get install --yes --no-install-recommends a-package-with-a-long-name";
    let config = format!(
        r#"{{"architecture":"{architecture}","os":"linux","created":"2026-01-02T03:04:05Z","config":{{"User":"app","Entrypoint":["/bin/<run>"]}},"rootfs":{{"type":"layers","diff_ids":[]}},"history":[{{"created_by":"COPY base"}},{{"created_by":"{step}"}}]}}"#
    );
    let size = config.len();
    let config = fixture.blob(repository, config).await;
    let base = fixture.blob(repository, "base ".repeat(200_000)).await;
    let layer = fixture.blob(repository, own.repeat(1000)).await;
    let layers = [(base.as_str(), 1_000_000), (&layer, own.len() * 1000)];
    let text = crate::support::manifest(&config, size, &layers, "");
    let digest = sha256(text.as_bytes());
    let put = fixture.put(repository, &digest, MANIFEST, &text).await;
    assert_eq!(put.status, 201);
    format!(
        r#"{{"mediaType":"{MANIFEST}","digest":"{digest}","size":{},"platform":{{"os":"linux","architecture":"{architecture}"}}}}"#,
        text.len()
    )
}

/// Two repositories, images for two platforms, an attestation, a referrer.
async fn family() -> Fixture {
    let fixture = Fixture::new();
    for (repository, tags, own) in [
        (
            "team/app",
            &["v1.0.0-with-a-long-suffix", "latest"][..],
            "one ",
        ),
        ("team/app", &["v0.9.0"], "two "),
        ("team/tool", &["v3"], "three "),
    ] {
        let mut children = Vec::new();
        for architecture in ["amd64", "arm64"] {
            children.push(image(&fixture, repository, architecture, own).await);
        }
        let empty = fixture.blob(repository, "{}").await;
        let statement = fixture.blob(repository, own).await;
        let layer = format!(
            r#"{{"mediaType":"application/vnd.in-toto+json","digest":"{statement}","size":{},"annotations":{{"in-toto.io/predicate-type":"https://slsa.dev/provenance/v1"}}}}"#,
            own.len()
        );
        let attestation = format!(
            r#"{{"schemaVersion":2,"config":{{"mediaType":"{CONFIG}","digest":"{empty}","size":2}},"layers":[{layer}]}}"#
        );
        let digest = sha256(attestation.as_bytes());
        fixture
            .put(repository, &digest, MANIFEST, &attestation)
            .await;
        children.push(format!(
            r#"{{"mediaType":"{MANIFEST}","digest":"{digest}","size":{},"platform":{{"os":"unknown","architecture":"unknown"}}}}"#,
            attestation.len()
        ));
        let index = crate::support::index(&children, "");
        for tag in tags {
            assert_eq!(
                fixture.put(repository, tag, INDEX, &index).await.status,
                201
            );
        }
        let subject = crate::support::descriptor(INDEX, &index);
        let more = format!(r#","artifactType":"application/vnd.test.sbom","subject":{subject}"#);
        let sbom = crate::support::manifest(&empty, 2, &[(&statement, own.len())], &more);
        let digest = sha256(sbom.as_bytes());
        assert_eq!(
            fixture
                .put(repository, &digest, MANIFEST, &sbom)
                .await
                .status,
            201
        );
    }
    fixture
}

/// What holds on every page, on every screen.
#[track_caller]
fn sound(shown: &Shown, page: &str, screen: Screen) {
    let what = format!("{page} on {screen:?}");
    assert_eq!(shown.complaints, [""; 0], "{what}");
    assert!(
        shown.content_width <= shown.screen_width && shown.screen_width > 300,
        "{what} is {} wide",
        shown.content_width
    );
    let is = |wanted: &str| shown.outline.iter().any(|line| line.starts_with(wanted));
    // What a screen reader goes by: a title, the main part, headings, tables with named columns.
    for wanted in ["RootWebArea: ", "main: ", "heading: "] {
        assert!(is(wanted), "{what} has no {wanted}: {:#?}", shown.outline);
    }
    for wanted in ["table: ", "columnheader: Size", "rowheader: ", "cell: "] {
        assert!(is(wanted), "{what} has no {wanted}: {:#?}", shown.outline);
    }
    assert_eq!(
        shown.background == "rgb(255, 255, 255)",
        !screen.dark,
        "{what}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_are_fit_to_be_read() {
    let Fixture {
        directory,
        registry,
    } = family().await;
    drop(registry);
    let profile = directory.path().join("profile");
    let Some(mut browser) = Browser::start(&profile).unwrap() else {
        peers::skipped("pages_are_fit_to_be_read", "chromium");
        return;
    };
    let server = Server::start(&directory.path().join("root")).await;
    let address = server.address;
    tokio::task::spawn_blocking(move || {
        for (page, wanted) in [
            (
                "/",
                &[
                    "team/app",
                    "v1.0.0-with-a-long-suffix",
                    "linux/amd64, linux/arm64",
                    "team/tool",
                    "Sum of images",
                    "are saved because each blob is stored once",
                ][..],
            ),
            (
                "/images/team/app",
                &[
                    "latest",
                    "v0.9.0",
                    "Without a tag",
                    "application/vnd.test.sbom",
                ],
            ),
            (
                "/images/team/app:latest",
                &[
                    "linux/amd64\n",
                    "linux/arm64\n",
                    "[\"/bin/<run>\"]",
                    "2026-01-02T03:04:05Z",
                    ":v0.9.0",
                    "team/tool:v3",
                    "Attestations and referrers",
                    "https://slsa.dev/provenance/v1",
                    "application/vnd.test.sbom",
                ],
            ),
        ] {
            for screen in [WIDE, PHONE, DARK] {
                let url = format!("http://{address}{page}");
                let shown = browser.show(&url, screen).unwrap();
                sound(&shown, page, screen);
                for text in wanted {
                    let (said, text) = (&shown.text, *text);
                    assert!(said.contains(text), "{text} in {page} {screen:?}: {said}");
                }
                assert!(!shown.text.contains("unknown/unknown"), "{}", shown.text);
            }
        }
    })
    .await
    .unwrap();
    server.stop().await;
}
