//! Layers and archives that lie or try to leave their place.

use launchway_testkit::proxy::{Harm, Proxy, Rule};
use launchway_testkit::sha256;
use serde_json::json;

use crate::lab::{Lab, architecture, files_below};
use crate::lab_registry::Registry;
use crate::wire;

/// Pushes an image of one layer that is made by hand, as `library/evil:TAG`.
fn push_layer(registry: &Registry, tag: &str, tar: &[u8]) {
    let diff_id = sha256(tar);
    let config = json!({
        "architecture": architecture(), "os": "linux",
        "rootfs": { "type": "layers", "diff_ids": [diff_id] }, "config": {},
    })
    .to_string();
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": { "mediaType": "application/vnd.oci.image.config.v1+json", "digest": sha256(config.as_bytes()), "size": config.len() },
        "layers": [{ "mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": diff_id, "size": tar.len() }],
    })
    .to_string();
    wire::push_blob(&registry.host, "library/evil", &diff_id, tar);
    wire::push_blob(
        &registry.host,
        "library/evil",
        &sha256(config.as_bytes()),
        config.as_bytes(),
    );
    let put = wire::put(
        &registry.host,
        &format!("/v2/library/evil/manifests/{tag}"),
        "application/vnd.oci.image.manifest.v1+json",
        manifest.as_bytes(),
    );
    assert_eq!(put.status, 201);
}

/// A tar of entries whose names are taken as they are.
fn tar(entries: &[(&str, tar::EntryType, &str)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, kind, content) in entries {
        let mut header = tar::Header::new_ustar();
        header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
        header.set_entry_type(*kind);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        let body = match kind {
            tar::EntryType::Symlink | tar::EntryType::Link => {
                header
                    .set_link_name_literal(content)
                    .expect("a link name fits");
                ""
            }
            _ => content,
        };
        header.set_size(body.len() as u64);
        header.set_cksum();
        bytes.extend_from_slice(header.as_bytes());
        bytes.extend_from_slice(body.as_bytes());
        bytes.resize(bytes.len().next_multiple_of(512), 0);
    }
    bytes.resize(bytes.len() + 1024, 0);
    bytes
}

#[test]
fn archives_that_escape_do_not() {
    let Some(lab) = Lab::new("archives_that_escape_do_not") else {
        return;
    };
    use tar::EntryType::{Link, Regular, Symlink};
    let registry = lab.registry("registry");
    let outside = lab.path().join("outside");
    std::fs::create_dir(&outside).unwrap();
    let absolute = outside.join("hit").display().to_string();
    let folder = outside.display().to_string();
    let machine = lab.machine("a");
    let up = "../../../../../../../../../../../..";
    let archives: Vec<(&str, Vec<u8>)> = vec![
        ("dots", tar(&[(&format!("{up}{absolute}"), Regular, "hit")])),
        (
            "link",
            tar(&[("out", Symlink, &folder), ("out/hit", Regular, "hit")]),
        ),
        (
            "relative",
            tar(&[
                ("out", Symlink, &format!("{up}{folder}")),
                ("out/hit", Regular, "hit"),
            ]),
        ),
        ("hard", tar(&[("stolen", Link, "/etc/passwd")])),
        (
            "hard-up",
            tar(&[("stolen", Link, &format!("{up}/etc/passwd"))]),
        ),
    ];
    for (name, archive) in &archives {
        push_layer(&registry, name, archive);
        // As a layer of the base.
        let family = lab.family(&[&registry.prefix()], &registry.host);
        family.edit(
            "Dockerfile.base",
            "library/busybox:1",
            &format!("library/evil:{name}"),
        );
        family.edit("Dockerfile.base", "RUN mkdir -p /usr/local/bin /opt\n", "");
        let before = registry.tags();
        let done = machine.text(&family, &["release", "v1.0.0"]);
        assert_eq!(files_below(&outside), [""; 0], "{name} as a layer");
        assert!(!done.stderr.contains("panicked"), "{name}: {}", done.stderr);
        done.expect(1).says("LW0513").says("Dockerfile.base:1");
        assert_eq!(registry.tags(), before, "{name}");

        // As an archive that ADD unpacks.
        let family = lab.family(&[&registry.prefix()], &registry.host);
        std::fs::write(family.folder.join("a.tar"), archive).unwrap();
        family.append("Dockerfile.base", "ADD a.tar /in/here/\n");
        let done = machine.text(&family, &["release", "v1.0.0"]);
        assert_eq!(files_below(&outside), [""; 0], "{name} in ADD");
        assert!(!done.stderr.contains("panicked"), "{name}: {}", done.stderr);
        assert_eq!(done.code, Some(1), "{name} in ADD: {}", done.stderr);
        done.says("LW0511").says("Dockerfile.base:6");
        assert_eq!(registry.tags(), before, "{name}");
    }
}

#[test]
fn a_base_whose_layer_is_not_what_it_says_is_refused() {
    let Some(lab) = Lab::new("a_base_whose_layer_is_not_what_it_says_is_refused") else {
        return;
    };
    let registry = lab.registry("registry");
    let proxy = Proxy::start(
        &registry.host,
        vec![Rule::new("GET", "/library/busybox/blobs/", Harm::Corrupt)],
    );
    let family = lab.family(&[&registry.prefix()], &proxy.host());
    let machine = lab.machine("a");
    let done = machine.text(&family, &["release", "v1.0.0"]);
    done.expect(1).says("LW0513").says("digest");
    assert!(registry.tags().is_empty());
    // Nothing of it was kept.
    proxy.set_rules(Vec::new());
    machine.release(&family, &["v1.0.0"]);
}
