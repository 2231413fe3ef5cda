//! A server that speaks TLS, with HTTP/1.1 or HTTP/2 as the client likes, and certificates of any
//! quality.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use rcgen::{CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_rustls::server::TlsStream;

use crate::support::{INDEX, digest};

/// A certificate authority of its own, in a file.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    pub(crate) file: PathBuf,
}

impl Authority {
    pub(crate) fn new(directory: &Path, name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.distinguished_name = rcgen::DistinguishedName::new();
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, name);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let file = directory.join(format!("{name}.pem"));
        std::fs::write(&file, issuer.pem()).unwrap();
        Self { issuer, file }
    }
}

/// What a server's certificate says.
pub(crate) struct Certificate<'a> {
    pub(crate) by: &'a Authority,
    pub(crate) name: &'static str,
    pub(crate) until_year: i32,
    /// Whether it says that it is an authority's own.
    pub(crate) is_authority: bool,
}

impl<'a> Certificate<'a> {
    pub(crate) fn good(by: &'a Authority) -> Self {
        Self {
            by,
            name: "127.0.0.1",
            until_year: 2100,
            is_authority: false,
        }
    }
}

/// What it does with plain HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnPlain {
    Close,
    /// As servers written in Go do.
    Refuse,
    /// The handshake fails on it, and the alert is sent.
    Alert,
}

/// How it treats the first GET by HTTP/2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum First {
    Answer,
    /// Refuses the stream.
    Refuse,
    /// Says that it goes away.
    GoAway,
    /// Breaks the stream off after half of the body.
    Break,
}

#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) connections: AtomicUsize,
    pub(crate) h2: AtomicUsize,
    /// Method and path of each request that was answered or broken.
    pub(crate) requests: Mutex<Vec<String>>,
}

pub(crate) struct TlsServer {
    pub(crate) address: SocketAddr,
    pub(crate) counts: Arc<Counts>,
    task: JoinHandle<()>,
}

impl Drop for TlsServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

const BODY: &[u8] = br#"{"schemaVersion":2,"manifests":[]}"#;

impl TlsServer {
    pub(crate) async fn start(
        certificate: &Certificate<'_>,
        protocols: &[&str],
        on_plain: OnPlain,
        first: First,
    ) -> Self {
        let mut params = CertificateParams::new(vec![certificate.name.to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2000, 1, 1);
        params.not_after = rcgen::date_time_ymd(certificate.until_year, 1, 1);
        if certificate.is_authority {
            params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        }
        let key = KeyPair::generate().unwrap();
        let signed = params.signed_by(&key, &certificate.by.issuer).unwrap();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let mut config =
            ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_no_client_auth()
                .with_single_cert(vec![signed.der().clone()], key)
                .unwrap();
        config.alpn_protocols = protocols
            .iter()
            .map(|name| name.as_bytes().to_vec())
            .collect();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let counts = Arc::new(Counts::default());
        let shared = Arc::clone(&counts);
        let first = Arc::new(Mutex::new(first));
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                shared.connections.fetch_add(1, Ordering::SeqCst);
                let (acceptor, counts) = (acceptor.clone(), Arc::clone(&shared));
                let first = Arc::clone(&first);
                tokio::spawn(async move {
                    if let Some(stream) = accept(stream, &acceptor, on_plain).await {
                        if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
                            counts.h2.fetch_add(1, Ordering::SeqCst);
                            serve_h2(stream, &counts, &first).await;
                        } else {
                            serve(stream, &counts).await;
                        }
                    }
                });
            }
        });
        Self {
            address,
            counts,
            task,
        }
    }

    pub(crate) fn connections(&self) -> usize {
        self.counts.connections.load(Ordering::SeqCst)
    }
}

async fn accept(
    mut stream: TcpStream,
    acceptor: &TlsAcceptor,
    on_plain: OnPlain,
) -> Option<TlsStream<TcpStream>> {
    let mut start = [0];
    stream.peek(&mut start).await.ok()?;
    // A handshake begins with its record type.
    if start[0] != 0x16 && on_plain != OnPlain::Alert {
        let mut rest = [0; 4096];
        let _ = stream.read(&mut rest).await;
        if on_plain == OnPlain::Refuse {
            let text = "Client sent an HTTP request to an HTTPS server.\n";
            let answer = format!(
                "HTTP/1.0 400 Bad Request\r\nContent-Length: {}\r\n\r\n{text}",
                text.len()
            );
            let _ = stream.write_all(answer.as_bytes()).await;
        }
        return None;
    }
    acceptor.accept(stream).await.ok()
}

async fn serve(mut stream: TlsStream<TcpStream>, counts: &Counts) {
    loop {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            match stream.read_u8().await {
                Ok(byte) => head.push(byte),
                Err(_) => return,
            }
        }
        let head = String::from_utf8_lossy(&head).into_owned();
        let line: Vec<&str> = head.split(' ').take(2).collect();
        counts.requests.lock().unwrap().push(line.join(" "));
        let mut answer = format!(
            "HTTP/1.1 200 x\r\ncontent-length: {}\r\ncontent-type: {INDEX}\r\n\
             docker-content-digest: {}\r\n\r\n",
            BODY.len(),
            digest(BODY)
        )
        .into_bytes();
        if line[0] != "HEAD" {
            answer.extend_from_slice(BODY);
        }
        if stream.write_all(&answer).await.is_err() || stream.flush().await.is_err() {
            return;
        }
    }
}

async fn serve_h2(stream: TlsStream<TcpStream>, counts: &Counts, first: &Mutex<First>) {
    let Ok(mut connection) = h2::server::handshake(stream).await else {
        return;
    };
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        let line = format!("{} {}", request.method(), request.uri().path());
        counts.requests.lock().unwrap().push(line);
        let is_head = request.method() == http::Method::HEAD;
        let treat = if is_head {
            First::Answer
        } else {
            std::mem::replace(&mut *first.lock().unwrap(), First::Answer)
        };
        match treat {
            First::Refuse => {
                respond.send_reset(h2::Reason::REFUSED_STREAM);
                continue;
            }
            First::GoAway => {
                connection.abrupt_shutdown(h2::Reason::ENHANCE_YOUR_CALM);
                continue;
            }
            First::Answer | First::Break => {}
        }
        let answer = http::Response::builder()
            .header("content-type", INDEX)
            .header("content-length", BODY.len())
            .header("docker-content-digest", digest(BODY).to_string())
            .body(())
            .unwrap();
        let Ok(mut body) = respond.send_response(answer, is_head) else {
            return;
        };
        if treat == First::Break {
            let _ = body.send_data(Bytes::from_static(&BODY[..10]), false);
            body.send_reset(h2::Reason::INTERNAL_ERROR);
        } else if !is_head {
            let _ = body.send_data(Bytes::from_static(BODY), true);
        }
    }
}
