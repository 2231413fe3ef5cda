//! Over a socket, without any client's help.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use launchway_registry_server::{Options, Registry, ServeOptions, serve_with};
use launchway_testkit::sha256;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::support::options;

/// A registry that listens until it is stopped.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    stop: oneshot::Sender<()>,
    task: JoinHandle<std::io::Result<()>>,
}

impl Server {
    pub(crate) async fn start(root: &Path) -> Self {
        Self::start_with(root, options(), ServeOptions::default()).await
    }

    pub(crate) async fn start_with(root: &Path, options: Options, serving: ServeOptions) -> Self {
        let registry = Arc::new(Registry::open(root, options).unwrap());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(serve_with(listener, registry, serving, async {
            let _ = stopped.await;
        }));
        Self {
            address,
            stop,
            task,
        }
    }

    pub(crate) async fn stop(self) {
        self.stop.send(()).unwrap();
        self.task.await.unwrap().unwrap();
    }
}

/// One request on a connection; the answer's status, head and body.
pub(crate) fn exchange(
    stream: &mut TcpStream,
    method: &str,
    path: &str,
    body: &[u8],
) -> std::io::Result<(u16, String, Vec<u8>)> {
    let length = body.len();
    let head = format!("{method} {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n");
    stream.write_all(head.as_bytes())?;
    stream.write_all(body)?;
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).to_lowercase();
    let status = head[9..12].parse().unwrap();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "))
        .map_or(0, |length| length.parse::<usize>().unwrap());
    let mut body = vec![0; if method == "HEAD" { 0 } else { length }];
    stream.read_exact(&mut body)?;
    Ok((status, head, body))
}

#[tokio::test(flavor = "multi_thread")]
async fn one_connection_serves_many_requests() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path()).await;
    let address = server.address;
    tokio::task::spawn_blocking(move || {
        let mut stream = TcpStream::connect(address).unwrap();
        let bytes: Vec<u8> = (0..64 << 20_u32).map(|n: u32| (n >> 3) as u8).collect();
        let digest = sha256(&bytes);
        for (method, path, body, want) in [
            ("GET", "/v2/".to_owned(), &b""[..], 200),
            ("HEAD", "/v2/app/tags/list".into(), b"", 404),
            (
                "POST",
                format!("/v2/app/blobs/uploads/?digest={digest}"),
                &bytes,
                201,
            ),
            ("HEAD", format!("/v2/app/blobs/{digest}"), b"", 200),
            // A refusal before the body was read leaves the connection usable.
            ("PUT", "/v2/APP/manifests/x".into(), &bytes[..100_000], 400),
            ("GET", "/".into(), b"", 200),
        ] {
            let (status, head, _) = exchange(&mut stream, method, &path, body).unwrap();
            assert_eq!(status, want, "{method} {path}: {head}");
        }
        let path = format!("/v2/app/blobs/{digest}");
        let (status, _, body) = exchange(&mut stream, "GET", &path, b"").unwrap();
        assert_eq!(status, 200);
        assert!(body == bytes, "64 MiB come back as they went");
    })
    .await
    .unwrap();
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_under_way_outlives_the_shutdown() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path()).await;
    let address = server.address;
    let digest = sha256(b"slowly");
    let mut stream = TcpStream::connect(address).unwrap();
    write!(
        stream,
        "POST /v2/app/blobs/uploads/?digest={digest} HTTP/1.1\r\nhost: x\r\ncontent-length: 6\r\n\r\nslow"
    )
    .unwrap();
    // Answered after the head above was read: the upload has begun.
    let mut other = TcpStream::connect(address).unwrap();
    tokio::task::spawn_blocking(move || exchange(&mut other, "GET", "/v2/", b"").unwrap())
        .await
        .unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    let stopping = tokio::spawn(server.stop());
    let answer = tokio::task::spawn_blocking(move || {
        while TcpStream::connect(address).is_ok() {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        stream.write_all(b"ly").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    });
    let answer = answer.await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    stopping.await.unwrap();
}

/// What is sent in pieces with pauses, and how it ends.
fn drip(address: SocketAddr, first: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(first.as_bytes()).unwrap();
    let mut text = Vec::new();
    // A reset says as much as an end.
    let _ = stream.read_to_end(&mut text);
    String::from_utf8_lossy(&text).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn who_stops_sending_is_let_go() {
    let directory = tempfile::tempdir().unwrap();
    let short = Duration::from_millis(200);
    let options = Options {
        body_silence: short,
        ..options()
    };
    let serving = ServeOptions {
        head_time: short,
        ..ServeOptions::default()
    };
    let server = Server::start_with(directory.path(), options, serving).await;
    let address = server.address;
    let digest = sha256(b"never comes");
    let body = format!(
        "POST /v2/app/blobs/uploads/?digest={digest} HTTP/1.1\r\nhost: x\r\ncontent-length: 11\r\n\r\nnev"
    );
    tokio::task::spawn_blocking(move || {
        for (first, want) in [
            ("GET /v2/ HTTP/1.1\r\nhost", ""),
            (body.as_str(), "HTTP/1.1 408"),
            (
                "PUT /v2/app/manifests/v1 HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n{",
                "HTTP/1.1 408",
            ),
        ] {
            let answer = drip(address, first);
            assert!(answer.starts_with(want), "{first}: {answer}");
        }
    })
    .await
    .unwrap();
    let uploads = directory.path().join("uploads");
    assert_eq!(std::fs::read_dir(uploads).unwrap().count(), 0);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_without_end_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path()).await;
    let address = server.address;
    tokio::task::spawn_blocking(move || {
        for length in [70 << 10, 4 << 20] {
            let head = format!(
                "GET /v2/ HTTP/1.1\r\nhost: x\r\nx-long: {}\r\n\r\n",
                "y".repeat(length)
            );
            let mut stream = TcpStream::connect(address).unwrap();
            // It need not take all of it to refuse it.
            let _ = stream.write_all(head.as_bytes());
            let mut start = [0; 12];
            if stream.read_exact(&mut start).is_ok() {
                assert_eq!(start, *b"HTTP/1.1 431", "{length}");
            } else {
                assert!(length > 1 << 20, "{length}: no answer");
            }
        }
        let mut stream = TcpStream::connect(address).unwrap();
        assert_eq!(exchange(&mut stream, "GET", "/v2/", b"").unwrap().0, 200);
    })
    .await
    .unwrap();
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_beyond_the_limit_wait_for_their_turn() {
    let directory = tempfile::tempdir().unwrap();
    let serving = ServeOptions {
        connections: 2,
        ..ServeOptions::default()
    };
    let server = Server::start_with(directory.path(), options(), serving).await;
    let address = server.address;
    tokio::task::spawn_blocking(move || {
        let mut first = TcpStream::connect(address).unwrap();
        let mut second = TcpStream::connect(address).unwrap();
        for stream in [&mut first, &mut second] {
            assert_eq!(exchange(stream, "GET", "/v2/", b"").unwrap().0, 200);
        }
        let mut third = TcpStream::connect(address).unwrap();
        third
            .set_read_timeout(Some(Duration::from_millis(200)))
            .unwrap();
        write!(third, "GET /v2/ HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
        third
            .read_exact(&mut [0])
            .expect_err("two others hold it up");
        drop(first);
        third.set_read_timeout(None).unwrap();
        let mut start = [0; 12];
        third.read_exact(&mut start).unwrap();
        assert_eq!(start, *b"HTTP/1.1 200");
    })
    .await
    .unwrap();
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_waits_only_so_long() {
    let directory = tempfile::tempdir().unwrap();
    let serving = ServeOptions {
        grace: Duration::from_millis(100),
        ..ServeOptions::default()
    };
    let server = Server::start_with(directory.path(), options(), serving).await;
    let mut stream = TcpStream::connect(server.address).unwrap();
    let digest = sha256(b"slowly");
    write!(
        stream,
        "POST /v2/app/blobs/uploads/?digest={digest} HTTP/1.1\r\nhost: x\r\ncontent-length: 6\r\n\r\nslow"
    )
    .unwrap();
    // The rest never comes, and the server is gone all the same.
    server.stop().await;
}
