//! How many requests are under way at the same time, quotas, and mirrors that rest.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use launchway_registry::{Client, ClientEvent, ClientOptions, Probe, RetryPolicy};
use launchway_testkit::http::{Answer, Server, Step};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::support::{INDEX, client_with_events, digest, options, quick, tagged};

const CAPACITY: usize = 3;

#[derive(Default)]
struct Load {
    under_way: AtomicUsize,
    refused: AtomicUsize,
    served: AtomicUsize,
}

/// Answers requests for manifests, and refuses those that find too many others under way.
async fn serve(mut stream: TcpStream, load: Arc<Load>) {
    let mut buffer = Vec::new();
    loop {
        while !buffer.ends_with(b"\r\n\r\n") {
            let mut piece = [0; 4096];
            match stream.read(&mut piece).await {
                Ok(0) | Err(_) => return,
                Ok(read) => buffer.extend_from_slice(&piece[..read]),
            }
        }
        buffer.clear();
        let others = load.under_way.fetch_add(1, Ordering::SeqCst);
        let answer = if others >= CAPACITY {
            load.refused.fetch_add(1, Ordering::SeqCst);
            "HTTP/1.1 429 x\r\ncontent-length: 0\r\n\r\n".to_owned()
        } else {
            tokio::time::sleep(Duration::from_millis(10)).await;
            load.served.fetch_add(1, Ordering::SeqCst);
            format!(
                "HTTP/1.1 200 x\r\ncontent-length: 7\r\ncontent-type: {INDEX}\r\n\
                 docker-content-digest: {}\r\n\r\n",
                digest(b"x")
            )
        };
        load.under_way.fetch_sub(1, Ordering::SeqCst);
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

#[tokio::test]
async fn a_registry_that_can_take_only_so_much_at_a_time() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = listener.local_addr().unwrap();
    let load = Arc::new(Load::default());
    let shared = Arc::clone(&load);
    let server = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, Arc::clone(&shared)));
        }
    });
    let (client, told) = client_with_events(ClientOptions {
        retry: RetryPolicy {
            throttle_deadline: Duration::from_secs(60),
            ..quick()
        },
        ..options()
    });
    let probe_many = async |client: &Client, repository: &str| {
        let probes = (0..100).map(|at| {
            let reference = format!("{host}/{repository}:t{at}").parse().unwrap();
            let client = client.clone();
            async move { client.probe(&reference).await }
        });
        for probe in futures_util::future::join_all(probes).await {
            assert!(matches!(probe, Probe::Present(_)), "{probe:?}");
        }
    };
    probe_many(&client, "first").await;
    let refused_first = load.refused.load(Ordering::SeqCst);
    probe_many(&client, "second").await;
    let refused_then = load.refused.load(Ordering::SeqCst) - refused_first;
    assert_eq!(load.served.load(Ordering::SeqCst), 200);
    // It goes up to what is refused and down again, so a few refusals are the price of knowing.
    assert!(refused_then < 50, "{refused_first} and then {refused_then}");
    let changes: Vec<(u32, u32)> = told
        .lock()
        .unwrap()
        .iter()
        .filter_map(|event| match event {
            ClientEvent::Concurrency { from, to, .. } => Some((*from, *to)),
            _ => None,
        })
        .collect();
    assert_eq!(changes[0], (16, 8));
    let cuts = changes.iter().filter(|(from, to)| to < from);
    assert!(cuts.count() >= 2, "{changes:?}");
    for pair in changes.windows(2) {
        assert_eq!(pair[0].1, pair[1].0, "{changes:?}");
    }
    let mut settled = changes.iter().skip(3);
    assert!(settled.all(|(_, to)| *to < 16), "{changes:?}");
    server.abort();
}

#[tokio::test]
async fn a_quota_is_told_when_it_is_first_seen_and_when_it_runs_low() {
    let left = |remaining: u32| {
        Answer::status(200)
            .header("content-type", INDEX)
            .header("docker-content-digest", digest(b"x").to_string())
            .header("RateLimit-Limit", "100;w=21600")
            .header("RateLimit-Remaining", format!("{remaining};w=21600"))
            .header("Docker-RateLimit-Source", "192.0.2.7")
    };
    let steps = [76, 75, 10, 9].map(|n| Step::new("HEAD", "/v2/a/manifests/x", left(n)));
    let server = Server::start(steps.to_vec()).await;
    let (client, told) = client_with_events(options());
    for _ in 0..4 {
        let probe = client.probe(&tagged(&server, "a:x")).await;
        assert!(matches!(probe, Probe::Present(_)), "{probe:?}");
    }
    let told = told.lock().unwrap();
    let quotas: Vec<&ClientEvent> = told
        .iter()
        .filter(|event| matches!(event, ClientEvent::Quota { .. }))
        .collect();
    let quota = |remaining, low| ClientEvent::Quota {
        host: server.host().parse().unwrap(),
        limit: 100,
        remaining,
        window: Some(Duration::from_secs(21_600)),
        low,
    };
    assert_eq!(quotas, [&quota(76, false), &quota(10, true)]);
}
