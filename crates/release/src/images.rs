//! Images of registries, brought into the local store.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::try_join_all;
use launchway_engine::{Cancellation, EngineError, Image, Images};
use launchway_manifest::RegistryPrefix;
use launchway_model::{Digest, Platform, Reference, Repository};
use launchway_oci::spec::{Descriptor, ImageConfig, Index, Manifest, media};
use launchway_oci::{Layer, Origin, Store, select_platform};
use launchway_registry::{Client, RawManifest, RegistryError};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use crate::error::ReleaseError;
use crate::sources::Sources;

/// How many blobs come in at once.
const PULLS: usize = 3;
/// How often somebody looks whether another process has got a blob.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How large a configuration may be, in bytes.
const CONFIG_LIMIT: u64 = 8 << 20;

/// One platform's image in a registry: its documents, not yet its layers.
#[derive(Clone, Debug)]
pub(crate) struct RemoteImage {
    pub(crate) repository: Repository,
    pub(crate) manifest_bytes: Bytes,
    pub(crate) manifest_digest: Digest,
    pub(crate) manifest_type: String,
    pub(crate) config_bytes: Bytes,
    pub(crate) config: ImageConfig,
    pub(crate) layers: Vec<Descriptor>,
}

/// Brings images from registries into a store.
#[derive(Clone)]
pub struct Puller {
    client: Client,
    store: Store,
    pulls: Arc<Semaphore>,
    sources: Arc<Sources>,
}

impl Puller {
    pub fn new(client: Client, store: Store) -> Self {
        Self {
            client,
            store,
            pulls: Arc::new(Semaphore::new(PULLS)),
            sources: Arc::default(),
        }
    }

    /// Reads what one of these registries holds from any of them.
    pub(crate) fn with_sources(mut self, registries: Vec<RegistryPrefix>) -> Self {
        self.sources = Arc::new(Sources::new(registries));
        self
    }

    /// The documents of one platform behind a reference.
    pub(crate) async fn find(
        &self,
        reference: &Reference,
        platform: &Platform,
    ) -> Result<RemoteImage, ReleaseError> {
        let repository = reference.repository.clone();
        let (bytes, media_type, digest) = self.document(reference).await?;
        let name = match (&reference.tag, &reference.digest) {
            (None, None) => format!("{reference}:latest"),
            _ => reference.to_string(),
        };
        self.store.name_image(&name, &digest, Origin::Pulled)?;
        let wrong = |why: String| ReleaseError::Differs {
            reference: reference.clone(),
            why,
        };
        let (bytes, media_type, digest) = if media::is_index(&media_type) {
            let index: Index = serde_json::from_slice(&bytes)
                .map_err(|error| wrong(format!("its index does not parse: {error}")))?;
            let chosen =
                select_platform(&index, platform).map_err(|error| wrong(error.to_string()))?;
            let digest: Digest = chosen
                .digest
                .parse()
                .map_err(|error| wrong(format!("its index is damaged: {error}")))?;
            self.document(&repository.with_digest(digest)).await?
        } else {
            (bytes, media_type, digest)
        };
        let manifest: Manifest = serde_json::from_slice(&bytes)
            .map_err(|error| wrong(format!("its manifest does not parse: {error}")))?;
        let config_digest: Digest = manifest
            .config
            .digest
            .parse()
            .map_err(|error| wrong(format!("its manifest is damaged: {error}")))?;
        let config_bytes = if self.store.has_blob(&config_digest) {
            Bytes::from(self.store.read_blob(&config_digest)?)
        } else {
            let bytes = self
                .small_blob(&repository, &config_digest, CONFIG_LIMIT)
                .await?;
            self.store.put_blob(&bytes)?;
            bytes
        };
        let config: ImageConfig = serde_json::from_slice(&config_bytes)
            .map_err(|error| wrong(format!("its configuration does not parse: {error}")))?;
        if config.rootfs.diff_ids.len() != manifest.layers.len() {
            return Err(wrong(
                "its configuration and its manifest have different numbers of layers".to_owned(),
            ));
        }
        Ok(RemoteImage {
            repository,
            manifest_bytes: bytes,
            manifest_digest: digest,
            manifest_type: media_type,
            config_bytes,
            config,
            layers: manifest.layers,
        })
    }

    /// A manifest or index; from the store when the reference has a digest that is there.
    async fn document(
        &self,
        reference: &Reference,
    ) -> Result<(Bytes, String, Digest), ReleaseError> {
        if let Some(digest) = reference
            .digest
            .as_ref()
            .filter(|digest| self.store.has_blob(digest))
        {
            let bytes = self.store.read_blob(digest)?;
            #[derive(serde::Deserialize)]
            #[serde(rename_all = "camelCase")]
            struct Typed {
                media_type: Option<String>,
                manifests: Option<serde_json::Value>,
            }
            if let Ok(typed) = serde_json::from_slice::<Typed>(&bytes) {
                let default = if typed.manifests.is_some() {
                    media::INDEX
                } else {
                    media::MANIFEST
                };
                let media_type = typed.media_type.unwrap_or_else(|| default.to_owned());
                return Ok((bytes.into(), media_type, digest.clone()));
            }
        }
        let manifest = match &reference.digest {
            // What a tag stands for is the registry's own affair.
            None => self.client.manifest(reference).await?,
            Some(digest) => self.manifest(&reference.repository, digest).await?,
        };
        self.store.put_blob(&manifest.bytes)?;
        Ok((manifest.bytes, manifest.media_type, manifest.digest))
    }

    /// A manifest or index by its digest, from wherever it can be had.
    pub(crate) async fn manifest(
        &self,
        repository: &Repository,
        digest: &Digest,
    ) -> Result<RawManifest, RegistryError> {
        let read = |source: Repository| async move {
            let reference = source.with_digest(digest.clone());
            self.client.manifest(&reference).await
        };
        self.sources.read(repository, read).await
    }

    /// A blob of at most `limit` bytes, from wherever it can be had.
    pub(crate) async fn small_blob(
        &self,
        repository: &Repository,
        digest: &Digest,
        limit: u64,
    ) -> Result<Bytes, RegistryError> {
        let read =
            |source: Repository| async move { self.client.read_blob(&source, digest, limit).await };
        self.sources.read(repository, read).await
    }

    /// What refers to a manifest, as the first registry that answers has it.
    pub(crate) async fn referrers(
        &self,
        repository: &Repository,
        digest: &Digest,
        artifact_type: &str,
    ) -> Result<Vec<Descriptor>, RegistryError> {
        let read = |source: Repository| async move {
            let client = &self.client;
            client.referrers(&source, digest, Some(artifact_type)).await
        };
        self.sources.read(repository, read).await
    }

    /// The image with its layers unpacked.
    pub(crate) async fn layers(&self, remote: &RemoteImage) -> Result<Image, ReleaseError> {
        let pulls = remote.layers.iter().zip(&remote.config.rootfs.diff_ids);
        let layers = try_join_all(
            pulls.map(|(layer, diff_id)| self.layer(&remote.repository, layer, diff_id)),
        )
        .await?;
        Ok(Image {
            config: remote.config.clone(),
            layers,
            inherited: 0,
        })
    }

    /// One layer, pulled and unpacked unless it is there.
    pub(crate) async fn layer(
        &self,
        repository: &Repository,
        layer: &Descriptor,
        diff_id: &str,
    ) -> Result<Layer, ReleaseError> {
        let damaged = |error: launchway_model::DigestError| {
            ReleaseError::Broken(format!("a manifest in {repository} is damaged: {error}"))
        };
        let diff_id: Digest = diff_id.parse().map_err(damaged)?;
        if let Some(layer) = self.store.layer(&diff_id) {
            return Ok(layer);
        }
        let digest = self.blob(repository, layer).await?;
        let (store, media_type) = (self.store.clone(), layer.media_type.clone());
        blocking(move || Ok(store.import_layer(&digest, &media_type, &diff_id)?)).await
    }

    /// One blob, pulled unless it is there.
    pub(crate) async fn blob(
        &self,
        repository: &Repository,
        blob: &Descriptor,
    ) -> Result<Digest, ReleaseError> {
        let digest: Digest =
            blob.digest
                .parse()
                .map_err(|error: launchway_model::DigestError| {
                    ReleaseError::Broken(format!("a manifest in {repository} is damaged: {error}"))
                })?;
        if self.store.has_blob(&digest) {
            return Ok(digest);
        }
        let _slot = self
            .pulls
            .acquire()
            .await
            .expect("the semaphore is never closed");
        // Another process may be at the same blob; then this one waits and takes what it got.
        let name = format!("blob-{}", digest.hex());
        let _turn = loop {
            match self.store.try_turn(&name)? {
                Some(turn) => break turn,
                None => tokio::time::sleep(LOOK_EVERY).await,
            }
        };
        if !self.store.has_blob(&digest) {
            let temporary = self.store.temp_path();
            let (client, wanted, path) = (&self.client, &digest, temporary.path());
            let read = |source: Repository| async move {
                client.pull_blob(&source, wanted, blob.size, path).await
            };
            self.sources.read(repository, read).await?;
            self.store.adopt_blob(temporary.path(), &digest)?;
        }
        Ok(digest)
    }

    pub fn client(&self) -> &Client {
        &self.client
    }

    pub fn store(&self) -> &Store {
        &self.store
    }
}

/// External images at the digests they were pinned to, for an engine that runs on a blocking thread.
pub struct PinnedImages {
    puller: Puller,
    pins: BTreeMap<String, Digest>,
    runtime: Handle,
}

impl PinnedImages {
    /// To be made inside a tokio runtime, and used outside of its async threads.
    pub fn new(puller: Puller, pins: BTreeMap<String, Digest>) -> Self {
        Self {
            puller,
            pins,
            runtime: Handle::current(),
        }
    }
}

impl Images for PinnedImages {
    fn image(&self, text: &str, platform: &Platform) -> Result<Image, EngineError> {
        let failed = |source: Box<dyn std::error::Error + Send + Sync>| EngineError::Image {
            reference: text.to_owned(),
            source,
        };
        let mut reference: Reference = text
            .parse()
            .map_err(|error: launchway_model::ReferenceError| failed(error.into()))?;
        if let Some(digest) = self.pins.get(text) {
            reference.digest = Some(digest.clone());
        }
        self.runtime
            .block_on(async {
                let remote = self.puller.find(&reference, platform).await?;
                self.puller.layers(&remote).await
            })
            .map_err(|error: ReleaseError| failed(error.into()))
    }
}

/// Runs blocking work off the async threads.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ReleaseError> + Send + 'static,
) -> Result<T, ReleaseError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    }
}

/// Work that is given up as soon as somebody cancels. What blocking threads do by then, they end.
pub async fn until_cancelled<T>(
    cancellation: &Cancellation,
    work: impl Future<Output = Result<T, ReleaseError>>,
) -> Result<T, ReleaseError> {
    let cancelled = async {
        while !cancellation.is_cancelled() {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    tokio::select! {
        result = work => result,
        () = cancelled => Err(ReleaseError::Cancelled),
    }
}
