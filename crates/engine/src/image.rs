//! What the engine builds from and what it gives back.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use launchway_model::{Digest, Platform};
use launchway_oci::{Layer, Stack, spec};

use crate::EngineError;

/// An image in the local store: its configuration and its unpacked layers, bottom first.
#[derive(Clone, Debug)]
pub struct Image {
    pub config: spec::ImageConfig,
    pub layers: Vec<Layer>,
    /// How many of these layers came with the image that it was built on.
    pub inherited: usize,
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
            inherited: 0,
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

/// Images of one build, each asked for once: a tag that moves meanwhile stands for one image in all
/// stages, and stages that start from the same one cost one request.
pub(crate) struct KnownImages<'a> {
    images: &'a dyn Images,
    known: Mutex<BTreeMap<(String, String), Place>>,
}

/// Where an image comes to be; locked while it is fetched.
type Place = Arc<Mutex<Known>>;

#[derive(Default)]
enum Known {
    #[default]
    Unasked,
    Here(Box<Image>),
    /// The build ends with the error that was told then.
    Failed,
}

impl<'a> KnownImages<'a> {
    pub(crate) fn new(images: &'a dyn Images) -> Self {
        Self {
            images,
            known: Mutex::default(),
        }
    }

    /// The image, from before when it was asked for. Others that want it wait meanwhile; when it
    /// cannot be had, they are told that the build is over, as it is.
    pub(crate) fn get(&self, reference: &str, platform: &Platform) -> Result<Image, EngineError> {
        let place = {
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            let key = (reference.to_owned(), platform.to_string());
            Arc::clone(known.entry(key).or_default())
        };
        let mut place = place.lock().unwrap_or_else(PoisonError::into_inner);
        match &*place {
            Known::Unasked => {}
            Known::Here(image) => return Ok((**image).clone()),
            Known::Failed => return Err(EngineError::Cancelled),
        }
        let image = self.images.image(reference, platform);
        *place = match &image {
            Ok(image) => Known::Here(Box::new(image.clone())),
            Err(_) => Known::Failed,
        };
        image
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// Has all images but one, and counts what it is asked for.
    struct Counting(AtomicUsize);

    impl Images for Counting {
        fn image(&self, reference: &str, platform: &Platform) -> Result<Image, EngineError> {
            self.0.fetch_add(1, Ordering::SeqCst);
            match reference {
                "none" => Err(EngineError::io("ask")(std::io::ErrorKind::NotFound.into())),
                _ => Ok(Image::empty(platform)),
            }
        }
    }

    #[test]
    fn an_image_is_asked_for_once_for_each_platform() {
        let counting = Counting(AtomicUsize::new(0));
        let known = KnownImages::new(&counting);
        let [amd64, arm64] = ["linux/amd64", "linux/arm64"].map(|text| text.parse().unwrap());
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| assert!(known.get("a", &amd64).is_ok()));
            }
        });
        assert_eq!(counting.0.load(Ordering::SeqCst), 1);
        assert!(known.get("a", &arm64).is_ok());
        assert!(known.get("b", &amd64).is_ok());
        assert_eq!(counting.0.load(Ordering::SeqCst), 3);
    }

    #[test]
    fn what_cannot_be_had_is_asked_for_once_and_told_once() {
        let counting = Counting(AtomicUsize::new(0));
        let known = KnownImages::new(&counting);
        let platform = "linux/amd64".parse().unwrap();
        let told = std::thread::scope(|scope| {
            let asking: Vec<_> = (0..8)
                .map(|_| scope.spawn(|| known.get("none", &platform).unwrap_err()))
                .collect();
            let errors = asking.into_iter().map(|asked| asked.join().unwrap());
            errors
                .filter(|error| !matches!(error, EngineError::Cancelled))
                .count()
        });
        assert_eq!((told, counting.0.load(Ordering::SeqCst)), (1, 1));
    }
}
