//! What the tests of this directory share.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::BoxFuture;
use launchway_model::{Digest, Reference, RegistryHost, Repository};
use launchway_registry::{
    Client, ClientEvent, ClientOptions, Credential, Credentials, CredentialsError, RetryPolicy,
    Secret,
};
use launchway_testkit::http::Server;

pub(crate) const INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(crate) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// A policy for servers on the same machine.
pub(crate) fn quick() -> RetryPolicy {
    RetryPolicy {
        attempts: 3,
        pauses: vec![Duration::from_millis(2)],
        throttle_deadline: Duration::from_secs(5),
    }
}

pub(crate) fn options() -> ClientOptions {
    ClientOptions {
        retry: quick(),
        ..ClientOptions::default()
    }
}

pub(crate) fn client() -> Client {
    client_with(options())
}

/// So patient that a busy machine does not look like a server that is silent.
pub(crate) fn client_with(options: ClientOptions) -> Client {
    Client::with_patience(options, Duration::from_secs(30)).unwrap()
}

/// A client that loses patience soon, for servers that are silent on purpose.
pub(crate) fn impatient() -> Client {
    Client::with_patience(options(), Duration::from_secs(1)).unwrap()
}

/// The client for a case of a table, by its name.
pub(crate) fn client_for(name: &str) -> Client {
    match name.contains("silen") || name.contains("stall") {
        true => impatient(),
        false => client(),
    }
}

/// A client that writes down what it tells.
pub(crate) fn client_with_events(options: ClientOptions) -> (Client, Arc<Mutex<Vec<ClientEvent>>>) {
    let told = Arc::new(Mutex::new(Vec::new()));
    let writer = Arc::clone(&told);
    let client = client_with(ClientOptions {
        events: Some(Arc::new(move |event| writer.lock().unwrap().push(event))),
        ..options
    });
    (client, told)
}

pub(crate) fn repository(server: &Server, path: &str) -> Repository {
    let host: RegistryHost = server.host().parse().unwrap();
    Repository::new(host, path).unwrap()
}

pub(crate) fn tagged(server: &Server, text: &str) -> Reference {
    format!("{}/{text}", server.host()).parse().unwrap()
}

pub(crate) fn digest(bytes: &[u8]) -> Digest {
    launchway_testkit::sha256(bytes).parse().unwrap()
}

/// Bytes that no two places of have in common.
pub(crate) fn content(length: usize) -> Vec<u8> {
    (0..length as u64)
        .map(|at| (at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as u8)
        .collect()
}

/// One credential for every registry.
pub(crate) struct Always(pub(crate) Credential);

impl Always {
    pub(crate) fn basic(username: &str, password: &str) -> Self {
        Self(Credential::Basic {
            username: username.to_owned(),
            password: Secret::new(password),
        })
    }
}

impl Credentials for Always {
    fn lookup<'a>(
        &'a self,
        _host: &'a RegistryHost,
        _path: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Option<Credential>, CredentialsError>> {
        Box::pin(std::future::ready(Ok(Some(self.0.clone()))))
    }
}
