//! The registry client: everything Launchway asks of, and sends to, a registry over HTTP.
//!
//! One funnel makes every request and adds, in this order: mirrors (reads only), credentials and
//! tokens, retries, throttling, events. What an answer means is decided by one table
//! ([`ErrorClass`]). Content is verified against its digest before anybody sees it, manifests
//! stay the bytes they came as, and no secret (credential, token, signed URL) reaches an error, an
//! event or another host.
//!
//! This crate reads no environment and prints nothing: settings come in as [`ClientOptions`],
//! what happens goes out as [`ClientEvent`]. It does not know what an image is for.

mod answer;
mod auth;
mod body;
mod challenge;
mod client;
pub mod codes;
mod connections;
mod core;
mod credential_helper;
mod credentials;
mod docker_config;
mod endpoint;
mod environment;
mod error;
mod event;
mod faults;
mod fetch;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod keychain;
mod knowledge;
mod limit;
mod link;
mod listing;
mod manifests;
mod mirrors;
mod moments;
mod options;
mod pull;
mod push;
mod quota;
mod range;
mod redact;
mod referrers;
mod remote;
mod retry;
mod shape;
mod source;
mod system_credentials;
mod token;
mod transport;
mod upload;
mod verify;

pub use client::{
    BlobBody, BlobSource, Client, Found, MANIFEST_LIMIT, ManifestTarget, Ping, Probe, PushOutcome,
    RawManifest,
};
pub use credentials::{
    Credential, CredentialPaths, Credentials, CredentialsError, Login, NoCredentials, Secret,
};
pub use docker_config::DockerCredentials;
pub use error::{ClientError, ErrorClass, RegistryError};
pub use event::{ClientEvent, Direction};
pub use options::{ClientOptions, Mirror, RetryPolicy};
pub use source::{BlobReadError, BlobReader, BlobStream};
pub use system_credentials::{SystemCredentials, Variables};
