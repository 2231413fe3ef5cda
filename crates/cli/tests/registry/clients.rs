//! Every client pulls what every client pushed, from our registry and from distribution, with a
//! password and without.
//!
//! Each client pushes an image for two platforms from an OCI layout, each image with bytes of its
//! own, so that no puller has them already. Then each client pulls each image. What it got is
//! compared with the layout: the digest of the index, of each platform's manifest and
//! configuration, and each layer. Where a client does not show one of these, `limits` says so.

mod image;
mod registries;
mod tools;

use std::path::Path;

use launchway_testkit::peers;

use image::Image;
use registries::Registry;
use tools::{Bench, CLIENTS, Client, Limit};

/// `(client, what it cannot do or does not show, why)`.
///
/// Everything else of the table of clients against clients holds: six push, six pull, in four
/// registries.
const LIMITS: [(Client, Limit, &str); 3] = [
    (
        Client::Docker,
        Limit::ShowsNoLayers,
        "it unpacks what it pulls and shows the digests of the index and of the unpacked layers; it \
         has checked each blob against its digest on the way",
    ),
    (
        Client::Buildah,
        Limit::ShowsNoIndex,
        "it pulls one platform at a time and keeps no index; it shows manifest and configuration of \
         each",
    ),
    (
        Client::Buildah,
        Limit::WritesItsOwnIndex,
        "it makes its own index of the manifests it is given; these stay the same bytes",
    ),
];

fn limited(client: Client, limit: Limit) -> bool {
    LIMITS
        .iter()
        .any(|(who, what, _)| (*who, *what) == (client, limit))
}

#[test]
fn clients_and_our_registry() {
    all_with_all("clients_and_our_registry", Registry::ours(false));
}

#[test]
fn clients_and_our_registry_with_a_password() {
    let name = "clients_and_our_registry_with_a_password";
    all_with_all(name, Registry::ours(true));
}

#[test]
fn clients_and_distribution() {
    all_with_all("clients_and_distribution", Registry::distribution(false));
}

#[test]
fn clients_and_distribution_with_a_password() {
    let name = "clients_and_distribution_with_a_password";
    all_with_all(name, Registry::distribution(true));
}

fn all_with_all(test: &str, registry: Option<Registry>) {
    let Some(registry) = registry else {
        return peers::skipped(test, "docker-registry");
    };
    let mut missing: Vec<&str> = Vec::new();
    let mut there = Vec::new();
    for client in CLIENTS {
        match client.is_here() {
            true => there.push(client),
            false => missing.push(client.name()),
        }
    }
    // The others are tried with each other all the same.
    if !missing.is_empty() {
        peers::skipped(test, &missing.join(", "));
    }
    let folder = tempfile::tempdir().expect("making a folder");
    let bench = Bench::new(folder.path(), &registry);
    let mut pushed = Vec::new();
    for pusher in &there {
        let place = folder.path().join(format!("from-{}", pusher.name()));
        let image = Image::write(&place, &format!("{} {}", registry.host, pusher.name()));
        bench.push(*pusher, &image);
        let index = registry.digest_of(&bench.path(*pusher));
        match limited(*pusher, Limit::WritesItsOwnIndex) {
            true => registry.has_children(&bench.path(*pusher), &image),
            false => assert_eq!(
                index,
                image.index,
                "{} pushes what it was given",
                pusher.name()
            ),
        }
        pushed.push((*pusher, image, index));
    }
    for puller in &there {
        for (pusher, image, index) in &pushed {
            let what = format!("{} pulls what {} pushed", puller.name(), pusher.name());
            let place = folder
                .path()
                .join(format!("{}-{}", puller.name(), pusher.name()));
            let got = bench.pull(*puller, *pusher, &place);
            assert_eq!(
                got.index.is_none(),
                limited(*puller, Limit::ShowsNoIndex),
                "{what}"
            );
            if let Some(got) = &got.index {
                assert_eq!(got, index, "{what}");
            }
            assert_eq!(got.platforms.len(), image.platforms.len(), "{what}");
            for (platform, got) in image.platforms.iter().zip(&got.platforms) {
                assert_eq!(got.unpacked, platform.unpacked, "{what}");
                assert_eq!(
                    got.packed.is_none(),
                    limited(*puller, Limit::ShowsNoLayers),
                    "{what}"
                );
                if let Some(packed) = &got.packed {
                    let wanted = (&platform.manifest, &platform.config, &platform.layer);
                    assert_eq!(
                        (&packed.manifest, &packed.config, &packed.layer),
                        wanted,
                        "{what}"
                    );
                }
            }
        }
    }
    if registry.has_password() {
        let stranger = registry.without_password();
        let bench = Bench::new(&folder.path().join("stranger"), &stranger);
        for client in &there {
            let refused = bench.cannot_pull(*client);
            assert!(refused, "{} reads without a password", client.name());
        }
    }
    bench.clean(&there);
}

fn text(path: &Path) -> String {
    path.to_str().expect("a folder of ours is text").to_owned()
}
