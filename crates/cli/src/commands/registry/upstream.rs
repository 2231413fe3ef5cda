//! The registry that `--mirror-of` names, as the embedded registry asks it.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt as _};
use futures_util::stream::StreamExt as _;
use launchway_model::{Digest, Reference, RegistryHost, Repository, Tag, is_loopback_host};
use launchway_oci::spec::Descriptor;
use launchway_registry::{
    Client, ClientOptions, CredentialPaths, DockerCredentials, ErrorClass, Probe, RegistryError,
    RetryPolicy,
};
use launchway_registry_server::{Upstream, UpstreamBlob, UpstreamError, UpstreamManifest};

use crate::failure::Failure;
use crate::settings::Settings;

/// How long the upstream may be silent: clients of the mirror wait all the while.
const PATIENCE: Duration = Duration::from_secs(30);

pub(super) struct ClientUpstream {
    client: Client,
    host: RegistryHost,
    /// Put before the names that clients use.
    prefix: Option<String>,
    name: String,
}

impl ClientUpstream {
    /// Reads `[https://|http://]HOST[/PREFIX]`.
    pub(super) fn open(text: &str, settings: &Settings) -> Result<Self, Failure> {
        let wrong = |why: String| {
            Failure::usage(
                format!("--mirror-of {text}: {why}"),
                "write it as https://HOST or https://HOST/PREFIX, for example https://docker.io",
            )
        };
        let (scheme, rest) = text.split_once("://").unwrap_or(("https", text));
        let rest = rest.trim_end_matches('/');
        let (host, prefix) = match rest.split_once('/') {
            Some((host, prefix)) => (host, Some(prefix.to_owned())),
            None => (rest, None),
        };
        let host: RegistryHost = host
            .parse()
            .map_err(|error: launchway_model::ReferenceError| wrong(error.to_string()))?;
        if let Some(prefix) = &prefix {
            Repository::new(host.clone(), prefix).map_err(|error| wrong(error.to_string()))?;
        }
        let plain_http = match scheme {
            "http" => vec![host.clone()],
            "https" if text.contains("://") && is_loopback_host(host.name()) => {
                let why = "hosts of this machine are spoken to over plain HTTP; write http://";
                return Err(wrong(why.to_owned()));
            }
            "https" => Vec::new(),
            other => return Err(wrong(format!("{other}:// is no way to reach a registry"))),
        };
        let paths = CredentialPaths::usual(|name| settings.variable(name).cloned());
        let credentials = DockerCredentials::load(&paths)
            .map_err(|error| Failure::caused("cannot read the registry credentials", &error))?;
        let options = ClientOptions {
            plain_http,
            credentials: Arc::new(credentials),
            // Somebody waits for the answer, and may get an older one.
            retry: RetryPolicy {
                attempts: 2,
                pauses: vec![Duration::from_secs(1)],
                throttle_deadline: Duration::from_secs(10),
            },
            ..ClientOptions::default()
        };
        let client = Client::with_patience(options, PATIENCE)
            .map_err(|error| Failure::caused("cannot set up the registry client", &error))?;
        let name = match &prefix {
            Some(prefix) => format!("{host}/{prefix}"),
            None => host.to_string(),
        };
        Ok(Self {
            client,
            host,
            prefix,
            name,
        })
    }

    /// The repository upstream; names that upstream could not have are nowhere.
    fn repository(&self, name: &str) -> Option<Repository> {
        let path = match &self.prefix {
            Some(prefix) => format!("{prefix}/{name}"),
            None => name.to_owned(),
        };
        Repository::new(self.host.clone(), &path).ok()
    }
}

impl Upstream for ClientUpstream {
    fn name(&self) -> &str {
        &self.name
    }

    fn is_called(&self, namespace: &str) -> bool {
        // Docker Hub has several names, which a host that is parsed has lost.
        namespace
            .parse::<RegistryHost>()
            .is_ok_and(|host| host == self.host)
    }

    fn resolve<'a>(
        &'a self,
        repository: &'a str,
        tag: &'a Tag,
    ) -> BoxFuture<'a, Result<Option<Digest>, UpstreamError>> {
        async move {
            let Some(repository) = self.repository(repository) else {
                return Ok(None);
            };
            match self.client.probe(&repository.with_tag(tag.clone())).await {
                Probe::Present(found) => Ok(Some(found.digest)),
                Probe::Absent => Ok(None),
                Probe::Unknown(error) => Err(UpstreamError(error.to_string())),
            }
        }
        .boxed()
    }

    fn manifest<'a>(
        &'a self,
        repository: &'a str,
        digest: &'a Digest,
    ) -> BoxFuture<'a, Result<Option<UpstreamManifest>, UpstreamError>> {
        async move {
            let Some(repository) = self.repository(repository) else {
                return Ok(None);
            };
            let reference: Reference = repository.with_digest(digest.clone());
            let manifest = absent_is_none(self.client.manifest(&reference).await)?;
            Ok(manifest.map(|manifest| UpstreamManifest {
                media_type: manifest.media_type,
                bytes: manifest.bytes,
            }))
        }
        .boxed()
    }

    fn blob<'a>(
        &'a self,
        repository: &'a str,
        digest: &'a Digest,
        size: Option<u64>,
    ) -> BoxFuture<'a, Result<Option<UpstreamBlob>, UpstreamError>> {
        async move {
            let Some(repository) = self.repository(repository) else {
                return Ok(None);
            };
            let size = match size {
                Some(size) => Some(size),
                None => absent_is_none(self.client.blob_size(&repository, digest).await)?,
            };
            let Some(size) = size else {
                return Ok(None);
            };
            let reader = self.client.blob_reader(&repository, digest, size);
            let pieces = reader.read_from(0);
            let pieces =
                pieces.map(|piece| piece.map_err(|error| UpstreamError(error.to_string())));
            let pieces = pieces.boxed();
            Ok(Some(UpstreamBlob { size, pieces }))
        }
        .boxed()
    }

    fn tags<'a>(
        &'a self,
        repository: &'a str,
    ) -> BoxFuture<'a, Result<Option<Vec<Tag>>, UpstreamError>> {
        async move {
            match self.repository(repository) {
                Some(repository) => absent_is_none(self.client.tags(&repository).await),
                None => Ok(None),
            }
        }
        .boxed()
    }

    fn referrers<'a>(
        &'a self,
        repository: &'a str,
        subject: &'a Digest,
    ) -> BoxFuture<'a, Result<Vec<Descriptor>, UpstreamError>> {
        async move {
            let Some(repository) = self.repository(repository) else {
                return Ok(Vec::new());
            };
            let found = self.client.referrers(&repository, subject, None).await;
            Ok(absent_is_none(found)?.unwrap_or_default())
        }
        .boxed()
    }
}

/// Only a registry's own word that there is no such thing counts as absent.
fn absent_is_none<T>(result: Result<T, RegistryError>) -> Result<Option<T>, UpstreamError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.class == ErrorClass::Missing => Ok(None),
        Err(error) => Err(UpstreamError(error.to_string())),
    }
}
