//! The images that are moved around: made here, the same bytes on every machine.
//!
//! Layers are real ones, a tar in gzip, because some tools look into them; their one file does not
//! compress, so gzip only wraps it.

use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::Result;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

const MIB: u64 = 1024 * 1024;

/// An image in an OCI layout of its own.
pub(super) struct Image {
    pub(super) layout: PathBuf,
    /// Of the index or manifest that the layout's one tag names.
    pub(super) digest: String,
    /// Of all layers and configurations.
    pub(super) blobs: Vec<String>,
}

/// The tag that every layout here has.
pub(super) const TAG: &str = "v1";

/// Two platforms with three layers each, about 125 MB.
pub(super) fn two_platforms(folder: &Path) -> Result<Image> {
    let mut maker = Maker::new(folder)?;
    let mut children = Vec::new();
    for (seed, architecture) in [(1, "amd64"), (2, "arm64")] {
        let mut manifest = maker.manifest(architecture, seed, &[42 * MIB, 14 * MIB, 4 * MIB])?;
        manifest["platform"] = json!({ "architecture": architecture, "os": "linux" });
        children.push(manifest);
    }
    let index = maker.document(
        "application/vnd.oci.image.index.v1+json",
        &json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": children,
        }),
    )?;
    maker.finish(index)
}

/// One platform, one layer with so many bytes in it.
pub(super) fn one_layer(folder: &Path, bytes: u64) -> Result<Image> {
    let mut maker = Maker::new(folder)?;
    let manifest = maker.manifest("amd64", 3, &[bytes])?;
    maker.finish(manifest)
}

struct Maker {
    layout: PathBuf,
    blobs: Vec<String>,
}

impl Maker {
    fn new(folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder.join("blobs/sha256"))?;
        fs::write(
            folder.join("oci-layout"),
            json!({ "imageLayoutVersion": "1.0.0" }).to_string(),
        )?;
        Ok(Self {
            layout: folder.to_owned(),
            blobs: Vec::new(),
        })
    }

    /// Makes a manifest with these layers and gives its descriptor.
    fn manifest(&mut self, architecture: &str, seed: u64, layers: &[u64]) -> Result<Value> {
        let mut descriptors = Vec::new();
        let mut diff_ids = Vec::new();
        for (number, size) in (0..).zip(layers) {
            let (descriptor, diff_id) = self.layer(seed * 100 + number, *size)?;
            descriptors.push(descriptor);
            diff_ids.push(diff_id);
        }
        let config = self.document(
            "application/vnd.oci.image.config.v1+json",
            &json!({
                "architecture": architecture,
                "os": "linux",
                "config": {},
                "rootfs": { "type": "layers", "diff_ids": diff_ids },
            }),
        )?;
        self.blobs.extend(
            descriptors
                .iter()
                .chain([&config])
                .filter_map(|descriptor| descriptor["digest"].as_str().map(str::to_owned)),
        );
        self.document(
            "application/vnd.oci.image.manifest.v1+json",
            &json!({
                "schemaVersion": 2,
                "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "config": config,
                "layers": descriptors,
            }),
        )
    }

    /// Writes a layer with one file of so many bytes; gives its descriptor and diff id.
    fn layer(&mut self, seed: u64, size: u64) -> Result<(Value, String)> {
        let unfinished = self.layout.join("unfinished");
        let blob = Hashing::new(BufWriter::with_capacity(
            1 << 20,
            File::create(&unfinished)?,
        ));
        let tar = Hashing::new(GzEncoder::new(blob, Compression::none()));
        let mut archive = tar::Builder::new(tar);
        let mut header = tar::Header::new_ustar();
        header.set_path(format!("file-{seed}"))?;
        header.set_size(size);
        header.set_mode(0o644);
        header.set_cksum();
        archive.append(&header, Noise::new(seed).take(size))?;
        let (compressor, diff_id, _) = archive.into_inner()?.finish();
        let (mut file, digest, length) = compressor.finish()?.finish();
        file.flush()?;
        self.keep(&unfinished, &digest)?;
        let descriptor = json!({
            "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip",
            "digest": digest,
            "size": length,
        });
        Ok((descriptor, diff_id))
    }

    fn document(&mut self, kind: &str, value: &Value) -> Result<Value> {
        let unfinished = self.layout.join("unfinished");
        let mut file = Hashing::new(File::create(&unfinished)?);
        file.write_all(value.to_string().as_bytes())?;
        let (_, digest, length) = file.finish();
        self.keep(&unfinished, &digest)?;
        Ok(json!({ "mediaType": kind, "digest": digest, "size": length }))
    }

    fn keep(&mut self, unfinished: &Path, digest: &str) -> Result<()> {
        let place = self.layout.join("blobs").join(digest.replace(':', "/"));
        fs::rename(unfinished, place)?;
        Ok(())
    }

    fn finish(self, mut top: Value) -> Result<Image> {
        let digest = top["digest"].as_str().unwrap_or_default().to_owned();
        top["annotations"] = json!({ "org.opencontainers.image.ref.name": TAG });
        fs::write(
            self.layout.join("index.json"),
            json!({
                "schemaVersion": 2,
                "mediaType": "application/vnd.oci.image.index.v1+json",
                "manifests": [top],
            })
            .to_string(),
        )?;
        Ok(Image {
            layout: self.layout,
            digest,
            blobs: self.blobs,
        })
    }
}

/// A writer that knows the digest and the length of what went through it.
struct Hashing<W> {
    inner: W,
    hash: Sha256,
    length: u64,
}

impl<W: Write> Hashing<W> {
    fn new(inner: W) -> Self {
        Self {
            inner,
            hash: Sha256::new(),
            length: 0,
        }
    }

    fn finish(self) -> (W, String, u64) {
        (self.inner, name(&self.hash.finalize()), self.length)
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hash.update(&bytes[..written]);
        self.length += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// The digest of these parts, one after the other.
pub(super) fn digest(parts: &[&[u8]]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part);
    }
    name(&hash.finalize())
}

fn name(hash: &[u8]) -> String {
    let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

/// Bytes that do not compress and are the same for the same seed: one block of noise, numbered
/// each time it is repeated. It has no end.
pub(super) struct Noise {
    block: Vec<u8>,
    at: usize,
    number: u64,
}

impl Noise {
    pub(super) fn new(seed: u64) -> Self {
        // Xorshift: any number but zero does as a start.
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut block = Vec::with_capacity(1 << 20);
        while block.len() < 1 << 20 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            block.extend(state.to_le_bytes());
        }
        Self {
            block,
            at: 0,
            number: 0,
        }
    }
}

impl Read for Noise {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at == self.block.len() {
            self.at = 0;
            self.number += 1;
            self.block[..8].copy_from_slice(&self.number.to_le_bytes());
        }
        let count = buffer.len().min(self.block.len() - self.at);
        buffer[..count].copy_from_slice(&self.block[self.at..self.at + count]);
        self.at += count;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_repeats_for_a_seed_and_never_within_itself() -> Result<()> {
        let read = |seed| -> Result<Vec<u8>> {
            let mut bytes = Vec::new();
            Noise::new(seed).take(3 << 20).read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        let bytes = read(7)?;
        assert_eq!(bytes, read(7)?);
        assert_ne!(bytes, read(8)?);
        let (first, rest) = bytes.split_at(1 << 20);
        let (second, third) = rest.split_at(1 << 20);
        assert!(first != second && second != third);
        Ok(())
    }

    #[test]
    fn an_image_holds_what_its_digests_say() -> Result<()> {
        let folder = std::env::temp_dir().join(format!("xtask-image-{}", std::process::id()));
        let image = one_layer(&folder, 100_000)?;
        for blob in image.blobs.iter().chain([&image.digest]) {
            let bytes = fs::read(folder.join("blobs").join(blob.replace(':', "/")))?;
            assert_eq!(digest(&[&bytes]), *blob);
        }
        assert_eq!(image.blobs.len(), 2);
        fs::remove_dir_all(&folder)?;
        Ok(())
    }
}
