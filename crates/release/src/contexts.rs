//! Named contexts of a plain Dockerfile: from what was asked for to what the engine takes.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use launchway_context::{Context, JunkRules, read_ignore_rules};
use launchway_dockerfile::GitSource;
use launchway_engine::{
    Cancellation, CheckedOut, EngineError, Image, NamedSource, NamedSources, NativeEngine,
    RepositoryError, Rights,
};
use launchway_model::{Digest, Platform, Reference};
use launchway_observe::{Web, WebValidators};
use launchway_oci::spec::{Descriptor, ImageConfig, Index, Manifest, media};
use launchway_oci::{Store, TempPath, is_attestation, is_layout, select_platform};
use tokio::runtime::Handle;

use crate::images::Puller;
use crate::single::SingleBuild;

/// What a name in FROM, `--from` or `from=` stands for. A source that has to be fetched as files
/// becomes a folder of the store's, as [`NamedContext::File`] does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NamedContext {
    /// An image of a registry.
    Image(Reference),
    /// The empty image.
    Scratch,
    /// A folder of this machine, without what its `.dockerignore` leaves out.
    Folder(PathBuf),
    /// An image of an OCI layout; without a tag and a digest, its only one.
    Layout {
        path: PathBuf,
        tag: Option<String>,
        digest: Option<Digest>,
    },
    /// A Git repository.
    Repository(GitSource),
    /// A file of the web, which the context holds under the name `context`.
    File(String),
}

/// The name of the one file in the context of a URL, as in BuildKit.
const FILE_NAME: &str = "context";
/// The annotations that name an image of a layout.
const NAMES: [&str; 2] = [
    "org.opencontainers.image.ref.name",
    "io.containerd.image.name",
];

type Failed = Box<dyn std::error::Error + Send + Sync>;

/// A source, once somebody has got it.
type Got = Arc<Mutex<Option<NamedSource>>>;

/// The named contexts of one build, got when they are asked for and kept until it ends.
pub(crate) struct Contexts {
    build: Arc<SingleBuild>,
    puller: Puller,
    engine: NativeEngine,
    cancellation: Cancellation,
    runtime: Handle,
    known: Mutex<BTreeMap<(String, Platform), Got>>,
    fetched: Mutex<Vec<TempPath>>,
    taken: Mutex<Vec<CheckedOut>>,
}

impl Contexts {
    /// To be made inside a tokio runtime, and used outside of its async threads.
    pub(crate) fn new(
        build: Arc<SingleBuild>,
        puller: Puller,
        engine: NativeEngine,
        cancellation: Cancellation,
    ) -> Self {
        Self {
            build,
            puller,
            engine,
            cancellation,
            runtime: Handle::current(),
            known: Mutex::default(),
            fetched: Mutex::default(),
            taken: Mutex::default(),
        }
    }

    fn get(&self, context: &NamedContext, platform: &Platform) -> Result<NamedSource, Failed> {
        match context {
            NamedContext::Scratch => {
                let mut image = Image::empty(platform);
                image.config.config.working_dir = Some("/".to_owned());
                Ok(NamedSource::Image(Box::new(image)))
            }
            NamedContext::Image(reference) => {
                let image = self.runtime.block_on(async {
                    let remote = self.puller.find(reference, platform).await?;
                    self.puller.layers(&remote).await
                })?;
                Ok(NamedSource::Image(Box::new(image)))
            }
            NamedContext::Folder(path) => {
                // No Dockerfile is in a named context, so there is one ignore file only.
                let rules = read_ignore_rules(path, &path.join("Dockerfile.none"))?;
                let context = Context::open(path, rules, JunkRules::none())?;
                Ok(NamedSource::Folder(Arc::new(context)))
            }
            NamedContext::Layout { path, tag, digest } => {
                let image = image_of_layout(
                    self.puller.store(),
                    path,
                    tag.as_deref(),
                    digest.as_ref(),
                    platform,
                )?;
                Ok(NamedSource::Image(Box::new(image)))
            }
            NamedContext::Repository(source) => {
                let rights = Rights {
                    secrets: &self.build.secrets,
                    agents: &self.build.agents,
                };
                let taken = self
                    .engine
                    .check_out(source, false, &rights, &self.cancellation)
                    .map_err(|error| told_of(source, &error))?;
                // As in BuildKit, a repository's own ignore rules say nothing here.
                let context = Context::open(taken.path(), Default::default(), JunkRules::none())?;
                self.taken
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(taken);
                Ok(NamedSource::Folder(Arc::new(context)))
            }
            NamedContext::File(url) => {
                let folder = self.puller.store().temp_path();
                std::fs::create_dir(&folder)?;
                let mut file = File::create(folder.path().join(FILE_NAME))?;
                let web = Web::default();
                let known = WebValidators::default();
                self.runtime.block_on(web.get(url, &known, &mut file))?;
                let context = Context::open(folder.path(), Default::default(), JunkRules::none())?;
                self.fetched
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(folder);
                Ok(NamedSource::Folder(Arc::new(context)))
            }
        }
    }
}

impl NamedSources for Contexts {
    fn source(&self, name: &str, platform: &Platform) -> Result<NamedSource, EngineError> {
        let key = (name.to_owned(), platform.clone());
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let own = Arc::clone(known.entry(key).or_default());
        drop(known);
        // Stages run side by side, and all have to see the same: the second one waits.
        let mut own = own.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = &*own {
            return Ok(found.clone());
        }
        let failed = |source: Failed| EngineError::Image {
            reference: name.to_owned(),
            source,
        };
        let context = self
            .build
            .named
            .get(name)
            .ok_or_else(|| failed("it was not given".into()))?;
        let found = self.get(context, platform).map_err(|error| {
            // What was stopped has no other fault.
            match self.cancellation.is_cancelled() {
                true => EngineError::Cancelled,
                false => failed(error),
            }
        })?;
        *own = Some(found.clone());
        Ok(found)
    }
}

/// Why a repository could not be taken, and what helps.
fn told_of(source: &GitSource, error: &RepositoryError) -> String {
    let help = error.help().map(|help| format!("\n{help}"));
    format!("{}: {error}{}", source.shown(), help.unwrap_or_default())
}

/// Takes one image out of a layout, with nothing else that may be in it.
fn image_of_layout(
    store: &Store,
    layout: &Path,
    tag: Option<&str>,
    digest: Option<&Digest>,
    platform: &Platform,
) -> Result<Image, Failed> {
    if !is_layout(layout) {
        return Err(format!("{} is no OCI layout", layout.display()).into());
    }
    let index: Index = serde_json::from_slice(&std::fs::read(layout.join("index.json"))?)?;
    let wanted = match digest {
        Some(digest) => Descriptor {
            digest: digest.to_string(),
            ..chosen_by_digest(store, layout, &index, digest)?
        },
        None => chosen(&index, tag)
            .map_err(|why| format!("{}: {why}", layout.display()))?
            .clone(),
    };
    let mut document = take(store, layout, &wanted)?;
    if media::is_index(&wanted.media_type) {
        let index: Index = serde_json::from_slice(&document)?;
        document = take(store, layout, select_platform(&index, platform)?)?;
    }
    let manifest: Manifest = serde_json::from_slice(&document)?;
    let config: ImageConfig = serde_json::from_slice(&take(store, layout, &manifest.config)?)?;
    if config.rootfs.diff_ids.len() != manifest.layers.len() {
        return Err("its configuration and its manifest have different numbers of layers".into());
    }
    let mut layers = Vec::new();
    for (layer, diff_id) in manifest.layers.iter().zip(&config.rootfs.diff_ids) {
        let diff_id: Digest = diff_id.parse()?;
        let known = store.layer(&diff_id);
        layers.push(match known {
            Some(layer) => layer,
            None => {
                let blob = bring(store, layout, layer)?;
                store.import_layer(&blob, &layer.media_type, &diff_id)?
            }
        });
    }
    Ok(Image {
        config,
        layers,
        inherited: 0,
    })
}

/// The image of a tag, or else the only one: buildx does not mind a tag that is not there when there
/// is nothing to choose from.
fn chosen<'i>(index: &'i Index, tag: Option<&str>) -> Result<&'i Descriptor, String> {
    let tag = tag.unwrap_or("latest");
    let images: Vec<&Descriptor> = index
        .manifests
        .iter()
        .filter(|manifest| !is_attestation(manifest))
        .collect();
    let names = |image: &&&Descriptor| {
        let annotations = image.annotations.iter().flatten();
        annotations
            .filter(|(key, _)| NAMES.contains(&key.as_str()))
            .any(|(_, name)| name == tag)
    };
    match (images.iter().find(names), images.as_slice()) {
        (Some(image), _) => Ok(image),
        (None, [only]) => Ok(only),
        (None, []) => Err("it holds no image".to_owned()),
        (None, _) => Err(format!("it has no image of the tag `{tag}`")),
    }
}

/// Something a layout holds by digest, whether or not its index names it.
fn chosen_by_digest(
    store: &Store,
    layout: &Path,
    index: &Index,
    digest: &Digest,
) -> Result<Descriptor, Failed> {
    let listed = index
        .manifests
        .iter()
        .find(|manifest| manifest.digest == digest.to_string());
    if let Some(listed) = listed {
        return Ok(listed.clone());
    }
    let unknown = Descriptor {
        media_type: String::new(),
        digest: digest.to_string(),
        size: 0,
        artifact_type: None,
        annotations: None,
        platform: None,
    };
    let document: serde_json::Value = serde_json::from_slice(&take(store, layout, &unknown)?)?;
    let media_type = match document.get("manifests") {
        Some(_) => media::INDEX,
        None => media::MANIFEST,
    };
    Ok(Descriptor {
        media_type: media_type.to_owned(),
        ..unknown
    })
}

/// Brings a document into the store, and reads it there.
fn take(store: &Store, layout: &Path, descriptor: &Descriptor) -> Result<Vec<u8>, Failed> {
    let digest = bring(store, layout, descriptor)?;
    Ok(store.read_blob(&digest)?)
}

/// Brings a blob into the store, where it is checked against its digest.
fn bring(store: &Store, layout: &Path, descriptor: &Descriptor) -> Result<Digest, Failed> {
    let digest: Digest = descriptor.digest.parse()?;
    if !store.has_blob(&digest) {
        let path = layout
            .join("blobs")
            .join(digest.algorithm().as_str())
            .join(digest.hex());
        store.copy_blob(&path, &digest)?;
    }
    Ok(digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_of_a_layout_is_found_as_buildx_finds_it() {
        let image = |digest: &str, name: Option<&str>| {
            let annotations =
                name.map(|name| serde_json::json!({"org.opencontainers.image.ref.name": name}));
            serde_json::json!({
                "mediaType": media::MANIFEST, "digest": digest, "size": 1, "annotations": annotations,
            })
        };
        let index = |manifests: Vec<serde_json::Value>| -> Index {
            let text = serde_json::json!({"schemaVersion": 2, "manifests": manifests});
            serde_json::from_value(text).expect("an index")
        };
        let two = index(vec![image("one", Some("1")), image("two", Some("latest"))]);
        let one = index(vec![image("one", Some("1"))]);
        for (index, tag, want) in [
            (&two, Some("1"), Some("one")),
            (&two, None, Some("two")),
            (&two, Some("3"), None),
            (&one, None, Some("one")),
            (&one, Some("other"), Some("one")),
            (&index(vec![]), None, None),
        ] {
            let found = chosen(index, tag).ok().map(|found| found.digest.as_str());
            assert_eq!(found, want, "{tag:?}");
        }
    }
}
