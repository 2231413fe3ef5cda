//! BuildKit's build checks with what only the outside knows: what base images set.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use launchway_dockerfile::{
    BaseImage, BuildInputs, CheckInputs, Finding, StageBase, check, outside_bases,
};
use launchway_engine::{EngineError, Image, Images, NamedSource, NamedSources};
use launchway_model::{Platform, Reference};
use launchway_oci::spec::ImageConfig;

use crate::contexts::NamedContext;
use crate::images::Puller;
use crate::single::SingleBuild;

/// What the checks found in one Dockerfile.
pub struct Checked {
    pub findings: Vec<Finding>,
    /// Base images that could not be asked, and why. Where a stage starts from one, variables
    /// without a value are not found.
    pub unknown: Vec<(String, String)>,
}

/// What is known of images from outside, each for one platform.
pub(crate) type BaseImages = BTreeMap<(StageBase, Platform), BaseImage>;

/// Checks a Dockerfile without building it. `stages` are those that the target needs.
pub async fn check_only(
    build: &SingleBuild,
    platform: &Platform,
    stages: &BTreeSet<usize>,
    all_stages: bool,
    puller: &Puller,
) -> Checked {
    let names: BTreeSet<String> = build.named.keys().cloned().collect();
    let inputs = build.inputs(platform, &names);
    let mut images = BaseImages::new();
    let mut unknown = Vec::new();
    for (base, platform) in outside_bases(&build.dockerfile, &inputs) {
        let (text, reference) = match &base {
            StageBase::Named(name) => match build.named.get(name) {
                Some(NamedContext::Image(reference)) => (name, Ok(reference.clone())),
                Some(NamedContext::Layout { .. }) => {
                    (name, Err("layouts are looked at in builds only".to_owned()))
                }
                // Files of a folder come without a configuration.
                _ => {
                    images.insert((base, platform), BaseImage::default());
                    continue;
                }
            },
            StageBase::External(text) => {
                let parsed: Result<Reference, _> = text.parse();
                (text, parsed.map_err(|error| error.to_string()))
            }
            StageBase::Scratch | StageBase::Stage(_) => continue,
        };
        let found = match reference {
            Ok(reference) => {
                let found = puller.find(&reference, &platform).await;
                found.map_err(|error| error.to_string())
            }
            Err(why) => Err(why),
        };
        match found {
            Ok(remote) => {
                images.insert((base, platform), base_image(&remote.config));
            }
            Err(why) => unknown.push((text.clone(), why)),
        }
    }
    Checked {
        findings: findings(build, &inputs, stages, all_stages, &images),
        unknown,
    }
}

/// What the checks find with what is known of base images.
pub(crate) fn findings(
    build: &SingleBuild,
    inputs: &BuildInputs<'_>,
    stages: &BTreeSet<usize>,
    all_stages: bool,
    images: &BaseImages,
) -> Vec<Finding> {
    let inputs = CheckInputs {
        build: *inputs,
        settings: &build.checks,
        stages,
        all_stages,
        args_are_known: true,
        ignore: Some(build.context.ignore_rules()),
        images,
    };
    check(&build.dockerfile, &inputs)
}

pub(crate) fn base_image(config: &ImageConfig) -> BaseImage {
    let variables = config.config.env.iter().flatten();
    let env = variables.map(|variable| {
        let (name, value) = variable.split_once('=').unwrap_or((variable, ""));
        (name.to_owned(), value.to_owned())
    });
    let shell = config.config.shell.as_ref();
    BaseImage {
        env: env.collect(),
        has_shell: shell.is_some_and(|shell| !shell.is_empty()),
        onbuild: config.config.on_build.clone().unwrap_or_default(),
        platform: Platform::new(&config.os, &config.architecture, config.variant.as_deref()).ok(),
    }
}

/// Images on their way to the engine, with a look at what they set.
pub(crate) struct Watched<'a> {
    images: &'a dyn Images,
    named: &'a dyn NamedSources,
    seen: Mutex<BaseImages>,
}

impl<'a> Watched<'a> {
    pub(crate) fn new(images: &'a dyn Images, named: &'a dyn NamedSources) -> Self {
        Self {
            images,
            named,
            seen: Mutex::default(),
        }
    }

    pub(crate) fn seen(&self) -> BaseImages {
        self.seen
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .clone()
    }

    fn keep(&self, base: StageBase, platform: &Platform, image: BaseImage) {
        let mut seen = self
            .seen
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        seen.insert((base, platform.clone()), image);
    }
}

impl Images for Watched<'_> {
    fn image(&self, reference: &str, platform: &Platform) -> Result<Image, EngineError> {
        let image = self.images.image(reference, platform)?;
        let base = StageBase::External(reference.to_owned());
        self.keep(base, platform, base_image(&image.config));
        Ok(image)
    }
}

impl NamedSources for Watched<'_> {
    fn source(&self, name: &str, platform: &Platform) -> Result<NamedSource, EngineError> {
        let source = self.named.source(name, platform)?;
        let image = match &source {
            NamedSource::Image(image) => base_image(&image.config),
            NamedSource::Folder(_) => BaseImage::default(),
        };
        self.keep(StageBase::Named(name.to_owned()), platform, image);
        Ok(source)
    }
}
