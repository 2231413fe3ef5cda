//! Over TLS.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use launchway_registry_server::{ServeOptions, Tls, TlsError};
use rcgen::{CertifiedKey, KeyPair};
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{
    ClientConfig, ClientConnection, Error, RootCertStore, StreamOwned, crypto,
};

use crate::serving::Server;
use crate::support::options;

/// A new certificate for this machine, in `cert.pem` and `key.pem`.
pub(crate) fn certify(directory: &Path) -> CertificateDer<'static> {
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let CertifiedKey { cert, signing_key } = rcgen::generate_simple_self_signed(names).unwrap();
    fs::write(directory.join("key.pem"), signing_key.serialize_pem()).unwrap();
    fs::write(directory.join("cert.pem"), cert.pem()).unwrap();
    cert.der().clone()
}

pub(crate) fn tls(directory: &Path) -> Result<Tls, TlsError> {
    Tls::open(&directory.join("cert.pem"), &directory.join("key.pem"))
}

/// What a client that trusts only this certificate gets, and the protocol that was agreed on.
fn get(
    address: SocketAddr,
    trusted: &CertificateDer<'static>,
    protocols: &[&str],
) -> std::io::Result<(String, Option<Vec<u8>>)> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let provider = Arc::new(crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols
        .iter()
        .map(|name| name.as_bytes().to_vec())
        .collect();
    let name = ServerName::try_from("localhost").unwrap();
    let connection = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut stream = StreamOwned::new(connection, TcpStream::connect(address)?);
    let head = "GET /v2/ HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    if protocols == ["h2"] {
        stream.conn.complete_io(&mut stream.sock)?;
    } else {
        stream.write_all(head.as_bytes())?;
    }
    let agreed = stream.conn.alpn_protocol().map(<[u8]>::to_vec);
    let mut text = Vec::new();
    if protocols != ["h2"] {
        stream.read_to_end(&mut text)?;
    }
    Ok((String::from_utf8_lossy(&text).into_owned(), agreed))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_certificate_is_spoken_for_and_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let first = certify(directory.path());
    let serving = ServeOptions {
        tls: Some(tls(directory.path()).unwrap()),
        ..ServeOptions::default()
    };
    let root = directory.path().join("root");
    let server = Server::start_with(&root, options(), serving).await;
    let (address, place) = (server.address, directory.path().to_owned());
    tokio::task::spawn_blocking(move || {
        for (protocols, want) in [
            (&["http/1.1"][..], Some(b"http/1.1".to_vec())),
            (&["h2"], Some(b"h2".to_vec())),
            (&[], None),
        ] {
            let (answer, agreed) = get(address, &first, protocols).unwrap();
            assert_eq!(agreed, want);
            if protocols != ["h2"] {
                assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
            }
        }
        // Somebody who speaks no TLS gets no answer that looks like one.
        let mut plain = TcpStream::connect(address).unwrap();
        plain
            .write_all(b"GET /v2/ HTTP/1.1\r\nhost: x\r\n\r\n")
            .unwrap();
        let mut text = Vec::new();
        let _ = plain.read_to_end(&mut text);
        assert!(!text.starts_with(b"HTTP"), "{text:?}");
        // A key that does not match is not taken over.
        let other = KeyPair::generate().unwrap();
        fs::write(place.join("key.pem"), other.serialize_pem()).unwrap();
        get(address, &first, &[]).unwrap();
        let second = certify(&place);
        let patience = Instant::now();
        while get(address, &second, &[]).is_err() {
            assert!(
                patience.elapsed() < Duration::from_secs(60),
                "it never changes"
            );
            std::thread::sleep(Duration::from_millis(100));
        }
        let stale = get(address, &first, &[]).unwrap_err();
        let reason = stale
            .get_ref()
            .and_then(|inner| inner.downcast_ref::<Error>());
        assert!(
            matches!(reason, Some(Error::InvalidCertificate(_))),
            "{stale}"
        );
    })
    .await
    .unwrap();
    server.stop().await;
}

#[test]
fn what_is_wrong_with_the_files_is_said() {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path();
    let (certificate, key) = (place.join("cert.pem"), place.join("key.pem"));
    let expect = |want: &str| {
        let error = tls(place).expect_err(want).to_string();
        assert!(error.contains(want), "{error}");
    };
    expect("cannot read");
    certify(place);
    tls(place).unwrap();
    let good = fs::read(&certificate).unwrap();
    fs::write(&certificate, "").unwrap();
    expect("cert.pem has no certificate in it");
    fs::write(
        &certificate,
        "-----BEGIN CERTIFICATE-----\n?\n-----END CERTIFICATE-----\n",
    )
    .unwrap();
    expect("cert.pem is no PEM file");
    fs::write(
        &certificate,
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    )
    .unwrap();
    expect("cannot use the certificate in");
    fs::write(&certificate, &good).unwrap();
    fs::write(&key, &good).unwrap();
    expect("key.pem has no private key in it");
    fs::write(&key, KeyPair::generate().unwrap().serialize_pem()).unwrap();
    expect("is not the one of the certificate");
}
