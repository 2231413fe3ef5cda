//! An image for two platforms as an OCI layout, made by hand.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use launchway_testkit::sha256;
use serde_json::{Value, json};

pub(super) const TAG: &str = "v1";
pub(super) const ARCHITECTURES: [&str; 2] = ["amd64", "arm64"];
pub(super) const INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(super) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

pub(super) struct Image {
    /// A layout whose `index.json` names the image's index by a tag.
    pub(super) layout: PathBuf,
    /// A layout whose `index.json` is the image's index.
    pub(super) flat: PathBuf,
    pub(super) index: String,
    /// In the order of [`ARCHITECTURES`].
    pub(super) platforms: Vec<Platform>,
}

/// Digests.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Platform {
    pub(super) manifest: String,
    pub(super) config: String,
    pub(super) layer: String,
    /// Of the layer's archive.
    pub(super) unpacked: String,
}

impl Image {
    /// `salt` makes it another image.
    pub(super) fn write(place: &Path, salt: &str) -> Self {
        let (layout, flat) = (place.join("layout"), place.join("flat"));
        let put = |bytes: &[u8]| {
            let digest = sha256(bytes);
            for layout in [&layout, &flat] {
                let path = layout.join("blobs").join(digest.replacen(':', "/", 1));
                let folder = path.parent().expect("a blob lies in a folder");
                fs::create_dir_all(folder).expect("making a folder");
                fs::write(path, bytes).expect("writing a blob");
            }
            digest
        };
        let mut platforms = Vec::new();
        let mut entries = Vec::new();
        for architecture in ARCHITECTURES {
            let archive = archive(&format!("{salt} for {architecture}\n"));
            let packed = gzip(&archive);
            let unpacked = sha256(&archive);
            let config = json!({
                "architecture": architecture, "os": "linux", "config": {"Cmd": ["/hello"]},
                "rootfs": {"type": "layers", "diff_ids": [&unpacked]},
                "history": [{"created_by": "test"}],
            });
            let config = config.to_string().into_bytes();
            let manifest = json!({
                "schemaVersion": 2, "mediaType": MANIFEST,
                "config": {"mediaType": CONFIG, "digest": put(&config), "size": config.len()},
                "layers": [{"mediaType": LAYER, "digest": put(&packed), "size": packed.len()}],
            });
            let manifest = manifest.to_string().into_bytes();
            entries.push(json!({
                "mediaType": MANIFEST, "digest": put(&manifest), "size": manifest.len(),
                "platform": {"os": "linux", "architecture": architecture},
            }));
            platforms.push(Platform {
                manifest: sha256(&manifest),
                config: sha256(&config),
                layer: sha256(&packed),
                unpacked,
            });
        }
        let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries});
        let index = index.to_string().into_bytes();
        let digest = put(&index);
        let annotations = json!({"org.opencontainers.image.ref.name": TAG});
        let entry = json!({
            "mediaType": INDEX, "digest": digest, "size": index.len(), "annotations": annotations,
        });
        let outer = json!({"schemaVersion": 2, "manifests": [entry]}).to_string();
        for (layout, text) in [(&layout, outer.as_bytes()), (&flat, &index)] {
            fs::write(layout.join("index.json"), text).expect("writing an index");
            let marker = r#"{"imageLayoutVersion":"1.0.0"}"#;
            fs::write(layout.join("oci-layout"), marker).expect("writing a marker");
        }
        Self {
            layout,
            flat,
            index: digest,
            platforms,
        }
    }
}

/// Reads back what a client wrote to a layout. Every blob on the way is hashed.
pub(super) fn read_layout(layout: &Path) -> (String, Vec<Platform>) {
    let read = |digest: &str| {
        let path = layout.join("blobs").join(digest.replacen(':', "/", 1));
        let bytes = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert_eq!(sha256(&bytes), digest, "{}", path.display());
        bytes
    };
    let json = |bytes: Vec<u8>| -> Value { serde_json::from_slice(&bytes).expect("it is JSON") };
    let outer = json(fs::read(layout.join("index.json")).expect("reading an index"));
    let index = digest_in(&outer["manifests"][0]);
    let entries = json(read(&index));
    let platforms = children(&entries).into_iter().map(|manifest| {
        let document = json(read(&manifest));
        let config = digest_in(&document["config"]);
        let layer = digest_in(&document["layers"][0]);
        let unpacked = json(read(&config))["rootfs"]["diff_ids"][0].clone();
        let mut archive = Vec::new();
        let packed = read(&layer);
        let mut reader = flate2::read::GzDecoder::new(packed.as_slice());
        std::io::copy(&mut reader, &mut archive).expect("a layer can be unpacked");
        assert_eq!(sha256(&archive), unpacked, "{layer}");
        Platform {
            manifest,
            config,
            layer,
            unpacked: sha256(&archive),
        }
    });
    (index, platforms.collect())
}

/// The manifests of an index, in the order of [`ARCHITECTURES`].
pub(super) fn children(index: &Value) -> Vec<String> {
    let entries = index["manifests"]
        .as_array()
        .expect("an index has manifests");
    let of = |architecture: &&str| {
        let mut entries = entries.iter();
        entries.find(|entry| entry["platform"]["architecture"] == **architecture)
    };
    ARCHITECTURES.iter().filter_map(of).map(digest_in).collect()
}

pub(super) fn digest_in(descriptor: &Value) -> String {
    let digest = descriptor["digest"].as_str();
    digest.expect("a descriptor has a digest").to_owned()
}

/// One executable file.
fn archive(content: &str) -> Vec<u8> {
    let mut header = tar::Header::new_ustar();
    header.set_size(content.len() as u64);
    header.set_mode(0o755);
    header.set_mtime(0);
    let mut archive = tar::Builder::new(Vec::new());
    archive
        .append_data(&mut header, "hello", content.as_bytes())
        .expect("writing to memory");
    archive.into_inner().expect("writing to memory")
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packer = GzEncoder::new(Vec::new(), Compression::default());
    packer.write_all(bytes).expect("writing to memory");
    packer.finish().expect("writing to memory")
}
