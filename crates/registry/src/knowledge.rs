//! What was learned about registries so far, so that nothing is asked twice.

use std::collections::{HashMap, HashSet};
use std::sync::Mutex;

use launchway_model::{Digest, RegistryHost, Repository};

/// Shared by all calls of a client.
#[derive(Debug, Default)]
pub(crate) struct Knowledge {
    /// Whether a blob is in a repository, as far as it was asked or done here.
    blobs: Mutex<HashMap<(Repository, Digest), bool>>,
    /// Blobs that a manifest read from the repository names. They should be there, which is good
    /// enough for trying to mount them and not for leaving them out.
    named: Mutex<HashSet<(Repository, Digest)>>,
    /// How long a body a registry takes, where that is not everything.
    longest: Mutex<HashMap<RegistryHost, u64>>,
}

impl Knowledge {
    /// Whether a blob is in a repository.
    pub(crate) fn blob(&self, repository: &Repository, digest: &Digest) -> Option<bool> {
        let blobs = self.blobs.lock().expect("no holder of the blobs panics");
        blobs.get(&(repository.clone(), digest.clone())).copied()
    }

    pub(crate) fn remember_blob(&self, repository: &Repository, digest: &Digest, present: bool) {
        let mut blobs = self.blobs.lock().expect("no holder of the blobs panics");
        blobs.insert((repository.clone(), digest.clone()), present);
    }

    /// Whether a blob should be in a repository.
    pub(crate) fn is_named(&self, repository: &Repository, digest: &Digest) -> bool {
        let named = self.named.lock().expect("no holder of the names panics");
        named.contains(&(repository.clone(), digest.clone()))
    }

    pub(crate) fn remember_named(&self, repository: &Repository, digest: Digest) {
        let mut named = self.named.lock().expect("no holder of the names panics");
        named.insert((repository.clone(), digest));
    }

    /// How long a body a registry takes at most; None when it refused none so far.
    pub(crate) fn longest_body(&self, host: &RegistryHost) -> Option<u64> {
        let longest = self.longest.lock().expect("no holder of the limits panics");
        longest.get(host).copied()
    }

    pub(crate) fn remember_longest_body(&self, host: &RegistryHost, length: u64) {
        let mut longest = self.longest.lock().expect("no holder of the limits panics");
        let limit = longest.entry(host.clone()).or_insert(length);
        *limit = (*limit).min(length);
    }
}
