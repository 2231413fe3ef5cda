//! The process is killed while blobs come in: what was acknowledged is there, what was not has left
//! no trace.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use launchway_registry_server::{Registry, serve};
use launchway_testkit::sha256;

use crate::serving::exchange;
use crate::support::{MANIFEST, ask, files, manifest, options};

const ROOT: &str = "LAUNCHWAY_TEST_REGISTRY_ROOT";

/// Not a test: what the tests below start in a process of its own.
#[test]
#[ignore = "a server that other tests start and kill"]
fn child() {
    let Some(root) = std::env::var_os(ROOT) else {
        return;
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let registry = Arc::new(Registry::open(Path::new(&root), options()).unwrap());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        println!("\nlistening {}", listener.local_addr().unwrap());
        serve(listener, registry, std::future::pending())
            .await
            .unwrap();
    });
}

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(root: &Path) -> (Killed, String) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "crash::child", "--ignored", "--nocapture"])
        .env(ROOT, root)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let output = BufReader::new(child.stdout.take().unwrap());
    let child = Killed(child);
    let address = output
        .lines()
        .find_map(|line| Some(line.unwrap().strip_prefix("listening ")?.to_owned()))
        .expect("the server says where it listens");
    (child, address)
}

/// Pushes images until the server dies; gives back what was acknowledged: digests of blobs, and
/// tags with their manifests.
fn push_until_it_dies(
    address: &str,
    worker: usize,
    round: usize,
) -> (Vec<String>, Vec<(String, String)>) {
    let (mut blobs, mut tags) = (Vec::new(), Vec::new());
    let mut push = || -> std::io::Result<()> {
        let mut stream = TcpStream::connect(address)?;
        for n in 0.. {
            // Half of the layers are the same for all workers.
            let salt = if n % 2 == 0 { worker } else { 99 };
            let layer = format!("{round} {salt} {n} ").repeat(20_000).into_bytes();
            let mut descriptors = Vec::new();
            for blob in [b"{}".to_vec(), layer] {
                let digest = sha256(&blob);
                let path = format!("/v2/app/blobs/uploads/?digest={digest}");
                let (status, head, _) = exchange(&mut stream, "POST", &path, &blob)?;
                assert_eq!(status, 201, "{head}");
                descriptors.push((digest.clone(), blob.len()));
                blobs.push(digest);
            }
            let [(config, size), (layer, layer_size)] = &descriptors[..] else {
                unreachable!("two blobs were pushed");
            };
            let text = manifest(config, *size, &[(layer, *layer_size)], "");
            let tag = format!("r{round}-w{worker}-{n}");
            let path = format!("/v2/app/manifests/{tag}");
            let (status, head, _) = exchange(&mut stream, "PUT", &path, text.as_bytes())?;
            assert_eq!(status, 201, "{head}");
            tags.push((tag, text));
        }
        Ok(())
    };
    push().expect_err("pushing ends when the server is killed");
    (blobs, tags)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_survives_a_kill() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("root");
    let (mut blobs, mut tags) = (Vec::new(), Vec::new());
    for round in 0..6 {
        let (server, address) = start(&root);
        let workers: Vec<_> = (0..4)
            .map(|worker| {
                let address = address.clone();
                std::thread::spawn(move || push_until_it_dies(&address, worker, round))
            })
            .collect();
        // An odd moment, and another one in every round.
        std::thread::sleep(Duration::from_millis(150 + 37 * round as u64));
        drop(server);
        for worker in workers {
            let (more_blobs, more_tags) = worker.join().unwrap();
            blobs.extend(more_blobs);
            tags.extend(more_tags);
        }
    }
    assert!(!tags.is_empty(), "the servers lived long enough for a push");

    // On the disk every blob is whole, and nothing hangs loose.
    let registry = Registry::open(&root, options()).unwrap();
    assert!(files(&root.join("uploads")).is_empty());
    for place in ["blobs/sha256", "repositories/app/blobs/sha256"] {
        for name in files(&root.join(place)) {
            let bytes = std::fs::read(root.join(place).join(&name)).unwrap();
            assert_eq!(sha256(&bytes), format!("sha256:{name}"), "{place}");
        }
    }
    for digest in blobs {
        let path = format!("/v2/app/blobs/{digest}");
        let reply = ask(&registry, "HEAD", &path, &[], "").await;
        assert_eq!(reply.status, 200, "{path}");
    }
    for (tag, text) in tags {
        let path = format!("/v2/app/manifests/{tag}");
        let reply = ask(&registry, "GET", &path, &[], "").await;
        assert_eq!(reply.body, text, "{path}");
        assert_eq!(reply.header("content-type"), MANIFEST);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn half_a_blob_is_never_seen() {
    let directory = tempfile::tempdir().unwrap();
    let (server, address) = start(directory.path());
    let bytes = vec![b'x'; 4 << 20];
    let digest = sha256(&bytes);
    let mut stream = TcpStream::connect(&address).unwrap();
    write!(
        stream,
        "POST /v2/app/blobs/uploads/?digest={digest} HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n",
        bytes.len()
    )
    .unwrap();
    stream.write_all(&bytes[..3 << 20]).unwrap();
    let uploads = directory.path().join("uploads");
    let arrived = || {
        files(&uploads)
            .iter()
            .any(|file| std::fs::metadata(uploads.join(file)).is_ok_and(|meta| meta.len() > 0))
    };
    while !arrived() {
        std::thread::sleep(Duration::from_millis(2));
    }
    let path = format!("/v2/app/blobs/{digest}");
    let mut other = TcpStream::connect(&address).unwrap();
    assert_eq!(exchange(&mut other, "GET", &path, b"").unwrap().0, 404);
    drop(server);
    assert!(arrived(), "the half is on the disk");
    let registry = Registry::open(directory.path(), options()).unwrap();
    assert!(files(directory.path()).is_empty());
    let reply = ask(&registry, "GET", &path, &[], "").await;
    assert_eq!(reply.status, 404);
}
