//! The certificate and key that the registry answers TLS with.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject as _};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{self, ServerConfig};

/// How often the files are looked at, at most.
const LOOK: Duration = Duration::from_secs(1);

/// A certificate with its key, from PEM files. They are read again when they change; if they cannot
/// be used then, what they said before holds. Cloning gives the same.
#[derive(Clone, Debug)]
pub struct Tls {
    inner: Arc<Inner>,
}

/// Why there can be no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("cannot read {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{} is no PEM file", path.display())]
    Pem { path: PathBuf, source: pem::Error },
    #[error("{} has no certificate in it", path.display())]
    NoCertificate { path: PathBuf },
    #[error("{} has no private key in it", path.display())]
    NoKey { path: PathBuf },
    #[error("the key in {} is not the one of the certificate in {}", key.display(), certificate.display())]
    Mismatch { certificate: PathBuf, key: PathBuf },
    #[error("cannot use the certificate in {} with the key in {}", certificate.display(), key.display())]
    Unusable {
        certificate: PathBuf,
        key: PathBuf,
        source: rustls::Error,
    },
}

#[derive(Debug)]
struct Inner {
    certificate: PathBuf,
    key: PathBuf,
    now: Mutex<State>,
}

#[derive(Debug)]
struct State {
    config: Arc<ServerConfig>,
    stamps: [Option<Stamp>; 2],
    looked: Instant,
}

type Stamp = (u64, u64, u64, (i64, i64));

impl Tls {
    /// Reads the chain (the server's own certificate first) and its key. Blocks on the disk.
    pub fn open(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        let stamps = stamps(certificate, key);
        let config = read(certificate, key)?;
        Ok(Self {
            inner: Arc::new(Inner {
                certificate: certificate.to_owned(),
                key: key.to_owned(),
                now: Mutex::new(State {
                    config: Arc::new(config),
                    stamps,
                    looked: Instant::now(),
                }),
            }),
        })
    }

    /// What the next connection is answered with, and what is wrong with files that changed. Looks
    /// at the disk once a second.
    pub(crate) fn current(&self) -> (Arc<ServerConfig>, Option<TlsError>) {
        let Inner {
            certificate,
            key,
            now,
        } = &*self.inner;
        let mut now = now
            .lock()
            .expect("nothing panics while it holds a certificate");
        let mut problem = None;
        if now.looked.elapsed() >= LOOK {
            now.looked = Instant::now();
            let found = stamps(certificate, key);
            if found != now.stamps {
                // The two files are replaced one after the other; in between they do not match, and
                // the second change makes it good.
                now.stamps = found;
                match read(certificate, key) {
                    Ok(config) => now.config = Arc::new(config),
                    Err(error) => problem = Some(error),
                }
            }
        }
        (Arc::clone(&now.config), problem)
    }
}

fn stamps(certificate: &Path, key: &Path) -> [Option<Stamp>; 2] {
    let stamp = |meta: Metadata| {
        let changed = (meta.ctime(), meta.ctime_nsec());
        (meta.dev(), meta.ino(), meta.size(), changed)
    };
    [certificate, key].map(|path| fs::metadata(path).ok().map(stamp))
}

fn read(certificate: &Path, key: &Path) -> Result<ServerConfig, TlsError> {
    let text = |path: &Path| {
        fs::read(path).map_err(|source| TlsError::Read {
            path: path.to_owned(),
            source,
        })
    };
    let pem = |path: &Path| {
        let path = path.to_owned();
        move |source| TlsError::Pem { path, source }
    };
    let chain: Vec<_> = CertificateDer::pem_slice_iter(&text(certificate)?)
        .collect::<Result<_, _>>()
        .map_err(pem(certificate))?;
    if chain.is_empty() {
        return Err(TlsError::NoCertificate {
            path: certificate.to_owned(),
        });
    }
    let found = match PrivateKeyDer::from_pem_slice(&text(key)?) {
        Ok(found) => found,
        Err(pem::Error::NoItemsFound) => {
            return Err(TlsError::NoKey {
                path: key.to_owned(),
            });
        }
        Err(error) => return Err(pem(key)(error)),
    };
    let unusable = |source| match source {
        rustls::Error::InconsistentKeys(_) => TlsError::Mismatch {
            certificate: certificate.to_owned(),
            key: key.to_owned(),
        },
        source => TlsError::Unusable {
            certificate: certificate.to_owned(),
            key: key.to_owned(),
            source,
        },
    };
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(unusable)?
        .with_no_client_auth()
        .with_single_cert(chain, found)
        .map_err(unusable)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}
