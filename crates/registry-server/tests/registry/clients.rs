//! Real clients, each pulling what another pushed. A machine without them says so and passes.

use std::fs;
use std::path::Path;
use std::process::Command;

use launchway_testkit::peers;
use tempfile::TempDir;

use crate::serving::Server;
use crate::support::{Fixture, INDEX, MANIFEST, descriptor, index};

/// A root with one image for two platforms in `seed/app`, served.
async fn seeded() -> (TempDir, Server) {
    let fixture = Fixture::new();
    let mut children = Vec::new();
    for (architecture, tag) in [("amd64", "one"), ("arm64", "two")] {
        let archive = tar(&format!("hello from {architecture}\n"));
        let diff_id = launchway_testkit::sha256(&archive);
        let size = archive.len();
        let layer = fixture.blob("seed/app", archive).await;
        let config = format!(
            r#"{{"architecture":"{architecture}","os":"linux","config":{{"Cmd":["/hello"]}},"rootfs":{{"type":"layers","diff_ids":["{diff_id}"]}},"history":[{{"created_by":"test"}}]}}"#
        );
        let config_size = config.len();
        let config = fixture.blob("seed/app", config).await;
        let text = crate::support::manifest(&config, config_size, &[(&layer, size)], "");
        let put = fixture.put("seed/app", tag, MANIFEST, &text).await;
        assert_eq!(put.status, 201);
        let platform = format!(r#","platform":{{"os":"linux","architecture":"{architecture}"}}}}"#);
        children.push(descriptor(MANIFEST, &text).replace('}', &platform));
    }
    let text = index(&children, "");
    assert_eq!(
        fixture.put("seed/app", "v1", INDEX, &text).await.status,
        201
    );
    let Fixture {
        directory,
        registry,
    } = fixture;
    drop(registry);
    let server = Server::start(&directory.path().join("root")).await;
    (directory, server)
}

/// A tar archive with one file, written by hand: a header of 512 bytes, the content, two empty
/// blocks.
fn tar(content: &str) -> Vec<u8> {
    let mut block = vec![0; 512];
    let mut field =
        |at: usize, text: &str| block[at..at + text.len()].copy_from_slice(text.as_bytes());
    field(0, "hello");
    field(100, "0000755\0");
    field(108, "0000000\0");
    field(116, "0000000\0");
    field(124, &format!("{:011o}\0", content.len()));
    field(136, "00000000000\0");
    field(148, "        ");
    field(156, "0");
    field(257, "ustar\x0000");
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block.extend_from_slice(content.as_bytes());
    block.resize(2048, 0);
    block
}

async fn run(mut command: Command, arguments: &[&str]) -> String {
    command.args(arguments);
    let text = format!("{command:?}");
    let output = tokio::task::spawn_blocking(move || command.output().unwrap())
        .await
        .unwrap();
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}: {shown}{errors}");
    shown
}

fn tool(test: &str, name: &str) -> Option<Command> {
    let found = peers::tool(name);
    if found.is_none() {
        peers::skipped(test, name);
    }
    found
}

fn folder(directory: &Path, name: &str) -> String {
    directory.join(name).to_str().unwrap().to_owned()
}

fn digest_of(root: &Path, repository: &str, tag: &str) -> String {
    let path = root.join("root/repositories").join(repository);
    let text = fs::read(path.join("index.json")).unwrap();
    let index: serde_json::Value = serde_json::from_slice(&text).unwrap();
    let entries = index["manifests"].as_array().unwrap();
    let entry = entries
        .iter()
        .find(|entry| entry["annotations"]["org.opencontainers.image.ref.name"] == tag)
        .unwrap_or_else(|| panic!("{repository} has no {tag}: {index}"));
    entry["digest"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn crane() {
    let Some(_) = tool("crane", "crane") else {
        return;
    };
    let crane = || peers::tool("crane").expect("it was there a moment ago");
    let (directory, server) = seeded().await;
    let at = |what: &str| format!("{}/{what}", server.address);
    let seed = digest_of(directory.path(), "seed/app", "v1");
    run(
        crane(),
        &[
            "copy",
            "--insecure",
            &at("seed/app:v1"),
            &at("copied/by-crane:v1"),
        ],
    )
    .await;
    assert_eq!(digest_of(directory.path(), "copied/by-crane", "v1"), seed);
    let said = run(
        crane(),
        &["digest", "--insecure", &at("copied/by-crane:v1")],
    )
    .await;
    assert_eq!(said.trim(), seed);
    run(
        crane(),
        &["tag", "--insecure", &at("copied/by-crane:v1"), "latest"],
    )
    .await;
    let tags = run(crane(), &["ls", "--insecure", &at("copied/by-crane")]).await;
    assert_eq!(tags.lines().collect::<Vec<_>>(), ["latest", "v1"]);
    let all = run(
        crane(),
        &["catalog", "--insecure", &server.address.to_string()],
    )
    .await;
    assert_eq!(
        all.lines().collect::<Vec<_>>(),
        ["copied/by-crane", "seed/app"]
    );
    let layout = folder(directory.path(), "pulled");
    run(
        crane(),
        &[
            "pull",
            "--insecure",
            "--format",
            "oci",
            &at("seed/app:v1"),
            &layout,
        ],
    )
    .await;
    run(
        crane(),
        &[
            "push",
            "--insecure",
            "--index",
            &layout,
            &at("pushed/by-crane:v1"),
        ],
    )
    .await;
    // crane wraps what it pulled in an index of its own.
    let wrapped = run(
        crane(),
        &["manifest", "--insecure", &at("pushed/by-crane:v1")],
    )
    .await;
    assert!(wrapped.contains(&seed), "{wrapped}");
    let validated = at("copied/by-crane:v1");
    run(
        crane(),
        &["validate", "--insecure", "--fast", "--remote", &validated],
    )
    .await;
    let deleted = at(&format!("copied/by-crane@{seed}"));
    run(crane(), &["delete", "--insecure", &deleted]).await;
    let tags = run(crane(), &["ls", "--insecure", &at("copied/by-crane")]).await;
    assert_eq!(tags.trim(), "");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn skopeo_through_the_network_and_from_the_disk() {
    let Some(_) = tool("skopeo", "skopeo") else {
        return;
    };
    let skopeo = || {
        let mut command = peers::tool("skopeo").expect("it was there a moment ago");
        command.arg("--insecure-policy");
        command
    };
    let (directory, server) = seeded().await;
    let at = |what: &str| format!("docker://{}/{what}", server.address);
    let seed = digest_of(directory.path(), "seed/app", "v1");
    let copy = [
        "copy",
        "--all",
        "--preserve-digests",
        "--src-tls-verify=false",
        "--dest-tls-verify=false",
    ];
    let (from, to) = (at("seed/app:v1"), at("copied/by/skopeo:v1"));
    run(skopeo(), &[&copy[..], &[&from, &to]].concat()).await;
    assert_eq!(digest_of(directory.path(), "copied/by/skopeo", "v1"), seed);
    // The repository is a layout that skopeo reads without us.
    let layout = folder(
        &directory.path().join("root/repositories"),
        "copied/by/skopeo",
    );
    let raw = run(skopeo(), &["inspect", "--raw", &format!("oci:{layout}:v1")]).await;
    assert_eq!(launchway_testkit::sha256(raw.as_bytes()), seed);
    let other = format!("oci:{}:back", folder(directory.path(), "elsewhere"));
    run(
        skopeo(),
        &[
            "copy",
            "--all",
            "--preserve-digests",
            &format!("oci:{layout}:v1"),
            &other,
        ],
    )
    .await;
    let back = at("back/again:v1");
    run(skopeo(), &[&copy[..], &[&other, &back]].concat()).await;
    assert_eq!(digest_of(directory.path(), "back/again", "v1"), seed);
    let tags = run(
        skopeo(),
        &["list-tags", "--tls-verify=false", &at("seed/app")],
    )
    .await;
    assert!(tags.contains("\"one\""), "{tags}");
    // It writes to a repository's directory, and the registry shows it.
    let seed_layout = folder(&directory.path().join("root/repositories"), "seed/app");
    run(
        skopeo(),
        &[
            "copy",
            "--all",
            "--preserve-digests",
            &other,
            &format!("oci:{seed_layout}:by-skopeo"),
        ],
    )
    .await;
    let tags = run(
        skopeo(),
        &["list-tags", "--tls-verify=false", &at("seed/app")],
    )
    .await;
    assert!(tags.contains("\"by-skopeo\""), "{tags}");
    run(skopeo(), &["delete", "--tls-verify=false", &back]).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn oras_with_referrers() {
    let Some(_) = tool("oras", "oras") else {
        return;
    };
    let oras = || {
        let mut command = peers::tool("oras").expect("it was there a moment ago");
        command.env("NO_COLOR", "1");
        command
    };
    let (directory, server) = seeded().await;
    let at = |what: &str| format!("{}/{what}", server.address);
    let file = folder(directory.path(), "sbom.json");
    fs::write(&file, "{\"packages\":[]}").unwrap();
    let named = format!("{file}:application/json");
    run(
        oras(),
        &[
            "attach",
            "--plain-http",
            "--disable-path-validation",
            "--artifact-type",
            "test/sbom",
            &at("seed/app:v1"),
            &named,
        ],
    )
    .await;
    let found = run(
        oras(),
        &[
            "discover",
            "--plain-http",
            "--format",
            "json",
            &at("seed/app:v1"),
        ],
    )
    .await;
    assert!(found.contains("test/sbom"), "{found}");
    // The API was there, so no tag was made in its stead.
    let tags = run(oras(), &["repo", "tags", "--plain-http", &at("seed/app")]).await;
    assert_eq!(tags.lines().collect::<Vec<_>>(), ["one", "two", "v1"]);
    run(
        oras(),
        &[
            "copy",
            "-r",
            "--from-plain-http",
            "--to-plain-http",
            &at("seed/app:v1"),
            &at("copied/by-oras:v1"),
        ],
    )
    .await;
    let found = run(
        oras(),
        &[
            "discover",
            "--plain-http",
            "--format",
            "json",
            &at("copied/by-oras:v1"),
        ],
    )
    .await;
    assert!(found.contains("test/sbom"), "{found}");
    let seed = digest_of(directory.path(), "seed/app", "v1");
    assert_eq!(digest_of(directory.path(), "copied/by-oras", "v1"), seed);
    let blob = at(&format!(
        "copied/by-oras@{}",
        launchway_testkit::sha256(b"{\"packages\":[]}")
    ));
    let fetched = run(
        oras(),
        &["blob", "fetch", "--plain-http", "--output", "-", &blob],
    )
    .await;
    assert_eq!(fetched, "{\"packages\":[]}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn docker_pulls_and_pushes() {
    let Some(_) = peers::docker() else {
        peers::skipped(
            "docker_pulls_and_pushes",
            "docker with a daemon that answers",
        );
        return;
    };
    let docker = || peers::docker().expect("it was there a moment ago");
    let (directory, server) = seeded().await;
    let at = |what: &str| format!("{}/{what}", server.address);
    run(
        docker(),
        &["pull", "--platform", "linux/amd64", &at("seed/app:one")],
    )
    .await;
    run(
        docker(),
        &["tag", &at("seed/app:one"), &at("pushed/by-docker:v1")],
    )
    .await;
    run(docker(), &["push", &at("pushed/by-docker:v1")]).await;
    run(
        docker(),
        &["rmi", &at("pushed/by-docker:v1"), &at("seed/app:one")],
    )
    .await;
    let pushed = digest_of(directory.path(), "pushed/by-docker", "v1");
    if let Some(crane) = tool("docker_pulls_and_pushes, second half", "crane") {
        let by_crane = at("copied/by-crane:v1");
        run(
            crane,
            &["copy", "--insecure", &at("pushed/by-docker:v1"), &by_crane],
        )
        .await;
        assert_eq!(digest_of(directory.path(), "copied/by-crane", "v1"), pushed);
        run(docker(), &["pull", "--platform", "linux/amd64", &by_crane]).await;
        run(docker(), &["rmi", &by_crane]).await;
    }
    server.stop().await;
}
