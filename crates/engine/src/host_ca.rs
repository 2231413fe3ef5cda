//! Trust in the host's certificate authorities for the time of a step.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use launchway_sandbox::MountSpec;

/// The host's certificates, to be trusted by RUN steps for the time of the step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostCa {
    /// A PEM bundle.
    pub bundle: PathBuf,
    /// A file that tells apt of the bundle; made by [`HostCa::prepare`].
    apt_conf: PathBuf,
}

/// Where the bundle stands inside a step.
const CA_TARGET: &str = "/run/launchway/ca-certificates.crt";
const APT_CONF_TARGET: &str = "/run/launchway/apt.conf";

/// Variables by which common programs take a bundle. They are set for the step only where neither
/// the image nor the Dockerfile sets them.
const CA_VARIABLES: [&str; 11] = [
    "SSL_CERT_FILE",
    "CURL_CA_BUNDLE",
    "REQUESTS_CA_BUNDLE",
    "PIP_CERT",
    "GIT_SSL_CAINFO",
    "NODE_EXTRA_CA_CERTS",
    "npm_config_cafile",
    "CARGO_HTTP_CAINFO",
    "AWS_CA_BUNDLE",
    "DENO_CERT",
    "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH",
];

impl HostCa {
    /// Takes a bundle, and keeps what apt needs beside the engine's state.
    pub fn prepare(bundle: &Path, state: &Path) -> std::io::Result<Self> {
        let bundle = bundle.canonicalize()?;
        std::fs::create_dir_all(state)?;
        let apt_conf = state.join("host-ca-apt.conf");
        let text = format!("Acquire::https::CaInfo \"{CA_TARGET}\";\n");
        if std::fs::read_to_string(&apt_conf).ok().as_deref() != Some(text.as_str()) {
            std::fs::write(&apt_conf, text)?;
        }
        Ok(Self { bundle, apt_conf })
    }

    pub(crate) fn mounts(&self) -> Vec<MountSpec> {
        [(&self.bundle, CA_TARGET), (&self.apt_conf, APT_CONF_TARGET)]
            .into_iter()
            .map(|(source, target)| MountSpec::Bind {
                source: source.clone(),
                target: target.into(),
                read_only: true,
            })
            .collect()
    }

    pub(crate) fn variables(&self, set: &BTreeMap<String, String>) -> Vec<(String, String)> {
        let names = CA_VARIABLES.iter().map(|name| (*name, CA_TARGET));
        names
            .chain([("APT_CONFIG", APT_CONF_TARGET)])
            .filter(|(name, _)| !set.contains_key(*name))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trust_never_replaces_what_is_set() {
        let folder = tempfile::tempdir().unwrap();
        let bundle = folder.path().join("bundle.pem");
        std::fs::write(&bundle, "PEM").unwrap();
        let ca = HostCa::prepare(&bundle, folder.path()).unwrap();
        let set = BTreeMap::from([("SSL_CERT_FILE".to_owned(), "/own".to_owned())]);
        let given = ca.variables(&set);
        assert!(given.iter().all(|(name, _)| name != "SSL_CERT_FILE"));
        assert!(given.contains(&("CURL_CA_BUNDLE".to_owned(), CA_TARGET.to_owned())));
        assert!(given.contains(&("APT_CONFIG".to_owned(), APT_CONF_TARGET.to_owned())));
    }
}
