//! What the engine builds from and what it gives back.

use launchway_model::{Digest, Platform};
use launchway_oci::{Layer, Stack, spec};

use crate::EngineError;

/// An image in the local store: its configuration and its unpacked layers, bottom first.
#[derive(Clone, Debug)]
pub struct Image {
    pub config: spec::ImageConfig,
    pub layers: Vec<Layer>,
}

impl Image {
    /// An image with nothing in it.
    pub fn empty(platform: &Platform) -> Self {
        Self {
            config: spec::ImageConfig {
                architecture: platform.architecture().to_owned(),
                variant: platform.variant().map(str::to_owned),
                os: platform.os().to_owned(),
                rootfs: spec::RootFs {
                    kind: "layers".to_owned(),
                    diff_ids: Vec::new(),
                },
                ..spec::ImageConfig::default()
            },
            layers: Vec::new(),
        }
    }

    pub fn diff_ids(&self) -> Vec<Digest> {
        self.layers
            .iter()
            .map(|layer| layer.diff_id.clone())
            .collect()
    }

    /// The file system as one tree.
    pub fn stack(&self) -> Stack {
        Stack {
            layers: self.layers.clone(),
        }
    }
}

/// Where images from outside the build come from. The engine itself knows no registries.
pub trait Images: Sync {
    /// The image of a reference for one platform, its layers unpacked in the engine's store.
    fn image(&self, reference: &str, platform: &Platform) -> Result<Image, EngineError>;
}
