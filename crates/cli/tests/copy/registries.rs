//! Copies that go through registries: what they ask, what they do again, and how they fail.

use std::fs;
use std::process::Command;

use launchway_testkit::proxy::{Harm, Proxy, Rule};
use serde_json::{Value, json};

use crate::lab::Lab;

/// How many blobs the image of the lab has: two configurations, three layers, and the attestation's
/// two.
const BLOBS: usize = 7;
/// Its index, two images and the attestation.
const DOCUMENTS: usize = 4;

fn requests(proxy: &Proxy) -> usize {
    proxy.take_passed().len()
}

#[test]
fn a_copy_asks_no_more_than_it_has_to() {
    let lab = Lab::new();
    let digest = lab.image();
    let (source, target) = (lab.registry("source"), lab.registry("target"));
    let from = Proxy::start(&source.host, Vec::new());
    let to = Proxy::start(&target.host, Vec::new());
    let name = |proxy: &Proxy, name: &str| format!("{}/{name}", proxy.host());
    assert_eq!(
        lab.good(&["copy", "oci:image:v1", &name(&from, "app:v1")])
            .trim(),
        digest
    );
    requests(&from);

    // Cold: each document and blob is read once; for a blob there are a question, a beginning and
    // the blob itself; and the tag is looked at once.
    lab.good(&["copy", &name(&from, "app:v1"), &name(&to, "app:v1")]);
    assert_eq!(requests(&from), DOCUMENTS + BLOBS);
    assert!(requests(&to) <= 1 + 3 * BLOBS + DOCUMENTS);

    // Again: one question on each side.
    let told = lab.json(&["copy", &name(&from, "app:v1"), &name(&to, "app:v1")]);
    assert_eq!(told["destinations"][0]["state"], "up-to-date");
    assert_eq!((requests(&from), requests(&to)), (1, 1));

    // To another repository: every blob is mounted by one request.
    let told = lab.json(&["copy", &name(&to, "app:v1"), &name(&to, "other:v1")]);
    assert_eq!(told["destinations"][0]["mounted"]["blobs"], BLOBS);
    assert_eq!(requests(&to), 1 + DOCUMENTS + BLOBS + DOCUMENTS);

    // Another tag: the index is read, and written.
    lab.good(&["copy", &name(&to, "app:v1"), &name(&to, "app:v2")]);
    assert_eq!(requests(&to), 2);
    for name in [name(&to, "app:v2"), name(&to, "other:v1")] {
        assert_eq!(lab.good(&["digest", &name]).trim(), digest);
    }
}

#[test]
fn a_copy_that_failed_has_written_no_tag_and_is_finished_by_the_next() {
    let lab = Lab::new();
    let digest = lab.image();
    let target = lab.registry("target");
    let proxy = Proxy::start(
        &target.host,
        vec![Rule::new("PUT", "/blobs/uploads/", Harm::status(400)).after(3)],
    );
    let name = format!("{}/app:v1", proxy.host());
    let ran = lab.run(&["copy", "oci:image:v1", &name, "--jobs", "1"]);
    assert_eq!(ran.code, Some(1), "{}", ran.err);
    assert!(ran.err.contains("error[LW0405]"), "{}", ran.err);
    assert_eq!(lab.run(&["digest", &name]).code, Some(1));
    proxy.set_rules(Vec::new());
    let planned = lab.json(&["copy", "oci:image:v1", &name, "--dry-run"]);
    let told = lab.json(&["copy", "oci:image:v1", &name]);
    let [planned, told] = [&planned, &told].map(|value| &value["destinations"][0]);
    for value in [planned, told] {
        assert_eq!(value["present"]["blobs"], 3);
        assert_eq!(value["sent"]["blobs"], BLOBS - 3);
        assert_eq!(value["digest"], digest);
    }
    assert_eq!(lab.good(&["digest", &name]).trim(), digest);
}

#[test]
fn one_destination_that_is_down_does_not_hold_up_the_other() {
    let lab = Lab::new();
    let digest = lab.image();
    let good = lab.registry("good");
    let bad = Proxy::start(&good.host, vec![Rule::new("*", "/v2/", Harm::status(401))]);
    let names = [
        format!("{}/app:v1", bad.host()),
        format!("{}/app:v1", good.host),
        "oci:copy:v1".to_owned(),
    ];
    let [one, two, three] = names.each_ref().map(String::as_str);
    let ran = lab.run(&["copy", "oci:image:v1", one, two, three]);
    assert_eq!(ran.code, Some(1), "{}", ran.err);
    assert_eq!(ran.out, format!("{digest} {two}\n{digest} {three}\n"));
    assert!(ran.err.contains("error[LW0403]"), "{}", ran.err);
    let ran = lab.run(&["copy", "oci:image:v1", one, two, "--format", "json"]);
    let told: Value = serde_json::from_str(&ran.out).expect("it is JSON");
    let states = ["failed", "up-to-date"];
    for (at, state) in states.iter().enumerate() {
        assert_eq!(told["destinations"][at]["state"], *state);
    }
}

#[test]
fn layouts_and_archives_and_registries_give_one_digest() {
    let lab = Lab::new();
    let digest = lab.image();
    let registry = lab.registry("registry");
    let remote = format!("{}/app:v1", registry.host);
    let mut from = "oci:image:v1";
    for to in [remote.as_str(), "oci-archive:a.tar:v1", "oci:again:v1"] {
        assert_eq!(lab.good(&["copy", from, to]).trim(), digest);
        assert_eq!(lab.good(&["digest", to]).trim(), digest);
        from = to;
    }
    let blobs = |layout: &str| {
        let mut names: Vec<_> = fs::read_dir(lab.path().join(layout).join("blobs/sha256"))
            .expect("listing a folder")
            .map(|entry| entry.expect("listing a folder").file_name())
            .collect();
        names.sort();
        names
    };
    assert_eq!(blobs("again"), blobs("image"));
}

#[test]
fn referrers_go_along_when_asked() {
    let lab = Lab::new();
    let digest = lab.image();
    let (source, target) = (lab.registry("source"), lab.registry("target"));
    lab.good(&["copy", "oci:image:v1", &format!("{}/app:v1", source.host)]);
    let note = refer(&source.host, "app", &digest);
    let about_note = refer(&source.host, "app", &note);
    let from = format!("{}/app:v1", source.host);
    let to = format!("{}/app:v1", target.host);
    lab.good(&["copy", &from, &to]);
    let found = lab.json(&["inspect", &to]);
    assert_eq!(found["referrers"], serde_json::json!([]));
    lab.good(&["copy", "--referrers", &from, &to]);
    let found = lab.json(&["inspect", &to]);
    assert_eq!(found["referrers"][0]["digest"], note);
    // Through a layout, which has no list of them, too.
    lab.good(&["copy", "--referrers", &to, "oci:kept:v1"]);
    let third = lab.registry("third");
    let to = format!("{}/app", third.host);
    lab.good(&["copy", "--referrers", "oci:kept:v1", &format!("{to}:v1")]);
    for digest in [&note, &about_note] {
        assert_eq!(
            lab.good(&["digest", &format!("{to}@{digest}")]).trim(),
            digest
        );
    }
}

#[test]
fn what_goes_by_sha512_is_found_by_it_after_a_copy() {
    let lab = Lab::new();
    let (source, target) = (lab.registry("source"), lab.registry("target"));
    let empty = launchway_testkit::sha256(b"{}");
    let path = format!("/v2/app/blobs/uploads/?digest={empty}");
    let send = |method: &str, path: &str, media_type: &str, body: &[u8]| {
        send(&source.host, method, path, media_type, body);
    };
    send("POST", &path, "application/octet-stream", b"{}");
    let config = json!({ "mediaType": "application/vnd.oci.image.config.v1+json", "digest": empty, "size": 2 });
    let media_type = "application/vnd.oci.image.manifest.v1+json";
    let manifest =
        json!({ "schemaVersion": 2, "mediaType": media_type, "config": config, "layers": [] })
            .to_string();
    fs::write(lab.path().join("manifest"), &manifest).expect("writing the manifest");
    let sum = Command::new("sha512sum")
        .arg(lab.path().join("manifest"))
        .output()
        .expect("sha512sum runs");
    let sum = String::from_utf8(sum.stdout).expect("a sum is text");
    let digest = format!("sha512:{}", sum.split_whitespace().next().expect("a sum"));
    let path = format!("/v2/app/manifests/{digest}");
    send("PUT", &path, media_type, manifest.as_bytes());
    let index_type = "application/vnd.oci.image.index.v1+json";
    let index = json!({
        "schemaVersion": 2,
        "mediaType": index_type,
        "manifests": [{ "mediaType": media_type, "digest": digest, "size": manifest.len(),
            "platform": { "os": "linux", "architecture": "amd64" } }],
    });
    let index = index.to_string();
    send("PUT", "/v2/app/manifests/v1", index_type, index.as_bytes());

    let to = format!("{}/app", target.host);
    let from = format!("{}/app:v1", source.host);
    lab.good(&["copy", &from, &format!("{to}:v1"), "oci:kept:v1"]);
    let third = lab.registry("third");
    let again = format!("{}/app", third.host);
    lab.good(&["copy", "oci:kept:v1", &format!("{again}:v1")]);
    for to in [to, again] {
        let found = lab.good(&["digest", &format!("{to}@{digest}")]);
        assert_eq!(found.trim(), digest);
        let child = lab.good(&["digest", "--platform", "linux/amd64", &format!("{to}:v1")]);
        assert_eq!(child.trim(), digest);
    }
}

/// Puts an artifact that refers to something, and gives its digest.
fn refer(host: &str, repository: &str, subject: &str) -> String {
    let empty = launchway_testkit::sha256(b"{}");
    let path = format!("/v2/{repository}/blobs/uploads/?digest={empty}");
    send(host, "POST", &path, "application/octet-stream", b"{}");
    let config = serde_json::json!({ "mediaType": "application/vnd.oci.empty.v1+json", "digest": empty, "size": 2 });
    let manifest = serde_json::json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "artifactType": "application/vnd.test.note",
        "config": config,
        "layers": [config],
        "subject": { "mediaType": "application/vnd.oci.image.index.v1+json", "digest": subject, "size": 1 },
    })
    .to_string();
    let digest = launchway_testkit::sha256(manifest.as_bytes());
    let path = format!("/v2/{repository}/manifests/{digest}");
    let media_type = "application/vnd.oci.image.manifest.v1+json";
    send(host, "PUT", &path, media_type, manifest.as_bytes());
    digest
}

fn send(host: &str, method: &str, path: &str, media_type: &str, body: &[u8]) {
    use std::io::{Read as _, Write as _};
    let mut stream = std::net::TcpStream::connect(host).expect("connecting");
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: {media_type}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).expect("sending");
    stream.write_all(body).expect("sending");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("receiving");
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
}
