//! What an image comes to: its layers applied on top of each other, as one value to compare.
//!
//! This is a second opinion. It reads OCI layouts as any builder writes them, with other code than
//! Launchway's own (`launchway-oci` is not used), checks every digest on the way, and knows nothing
//! of how the image was made.

mod compare;
mod layout;
mod tree;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::Path;

use serde_json::Value;

pub use compare::{Difference, compare, compare_times};

/// One image for one platform.
#[derive(Clone, Debug)]
pub struct Image {
    /// By path from the root, without a leading slash; the root itself is the empty path.
    pub entries: BTreeMap<Vec<u8>, Entry>,
    /// The whole configuration document.
    pub config: Value,
    /// The whole manifest.
    pub manifest: Value,
}

/// What stands at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub kind: Kind,
    /// The twelve permission bits.
    pub mode: u32,
    pub uid: u64,
    pub gid: u64,
    /// Seconds since 1970.
    pub mtime: i64,
    pub xattrs: BTreeMap<String, Vec<u8>>,
    /// The first path of the group of hard links that this belongs to, when there are several.
    pub linked_with: Option<Vec<u8>>,
}

/// What a path is, with what only things of that kind have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    File {
        size: u64,
        /// As in `sha256:…`.
        content: String,
    },
    Directory,
    Symlink {
        target: Vec<u8>,
    },
    CharDevice {
        major: u32,
        minor: u32,
    },
    BlockDevice {
        major: u32,
        minor: u32,
    },
    Fifo,
}

/// Why an image cannot be read. Always a fault of the image, or of the disk.
#[derive(Debug, thiserror::Error)]
pub enum FlattenError {
    #[error("cannot read {what}")]
    Read { what: String, source: io::Error },
    #[error("{what} is not the JSON it should be")]
    Json {
        what: String,
        source: serde_json::Error,
    },
    #[error("the image is wrong: {0}")]
    Wrong(String),
}

impl Image {
    pub fn layers(&self) -> usize {
        self.manifest["layers"].as_array().map_or(0, Vec::len)
    }

    pub fn history(&self) -> usize {
        self.config["history"].as_array().map_or(0, Vec::len)
    }
}

/// Reads the image for `platform` (`linux/arm64`) out of an OCI layout, a directory or a tar of one.
/// Without a platform there has to be exactly one image.
pub fn flatten(layout: &Path, platform: Option<&str>) -> Result<Image, FlattenError> {
    let layout = layout::Layout::open(layout)?;
    let manifest = layout.manifest(platform)?;
    let config = layout.json(&manifest["config"])?;
    let mut tree = tree::Tree::new();
    let empty = Vec::new();
    let layers = manifest["layers"].as_array().unwrap_or(&empty);
    let diff_ids = config["rootfs"]["diff_ids"].as_array().unwrap_or(&empty);
    if layers.len() != diff_ids.len() {
        return Err(FlattenError::Wrong(format!(
            "{} layers, but {} diff ids",
            layers.len(),
            diff_ids.len()
        )));
    }
    for (layer, diff_id) in layers.iter().zip(diff_ids) {
        let tar = layout.layer(layer, diff_id.as_str().unwrap_or_default())?;
        tree.apply(&tar)?;
    }
    Ok(Image {
        entries: tree.into_entries(),
        config,
        manifest,
    })
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Kind::File { size, content } => write!(f, "file of {size} bytes {content}")?,
            Kind::Directory => write!(f, "directory")?,
            Kind::Symlink { target } => {
                write!(f, "symbolic link to {}", String::from_utf8_lossy(target))?;
            }
            Kind::CharDevice { major, minor } => write!(f, "character device {major}:{minor}")?,
            Kind::BlockDevice { major, minor } => write!(f, "block device {major}:{minor}")?,
            Kind::Fifo => write!(f, "fifo")?,
        }
        write!(
            f,
            ", mode {:04o}, owner {}:{}",
            self.mode, self.uid, self.gid
        )?;
        if let Some(first) = &self.linked_with {
            write!(f, ", one file with {}", String::from_utf8_lossy(first))?;
        }
        for (name, value) in &self.xattrs {
            write!(f, ", {name}={}", value.escape_ascii())?;
        }
        Ok(())
    }
}
