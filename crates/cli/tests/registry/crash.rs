//! The registry is killed while several clients push, tag and delete. What was acknowledged is there
//! after the restart; what was under way has happened or has not; nothing is half.

mod layout;
mod pusher;
mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use launchway_testkit::sha256;

use crate::serving::Serving;
use crate::wire::Connection;
use layout::Layout;
use pusher::{Dice, Pusher, Round};
use world::{Key, Value};

const ROUNDS: u32 = 50;
const PUSHERS: u64 = 4;
/// Another number gives other content and other moments.
const SEED: &str = "LAUNCHWAY_CRASH_SEED";

fn seed() -> u64 {
    let named = std::env::var(SEED).ok();
    named.map_or(20_261_121, |text| {
        text.parse()
            .unwrap_or_else(|error| panic!("{SEED} is a number: {error}"))
    })
}

#[test]
fn what_was_acknowledged_survives_fifty_kills() {
    let folder = tempfile::tempdir().expect("making a folder");
    let root = folder.path().join("root");
    let seed = seed();
    eprintln!("{SEED}={seed}");
    let mut dice = Dice::new(seed);
    let mut pushers: Vec<Pusher> = (0..PUSHERS)
        .map(|number| Pusher::new(number, dice.next()))
        .collect();
    let mut layout = Layout::new(&root);
    let mut acknowledged = 0;
    let mut standing: BTreeMap<&str, Value> = BTreeMap::new();
    let mut server = Serving::start(&root, &[]);
    for round in 0..ROUNDS {
        let pause = Duration::from_micros(dice.below(250_000));
        eprintln!("round {round}: killed after {pause:?}");
        let host = server.host.clone();
        let begun = Instant::now();
        pushers = thread::scope(|scope| {
            let running: Vec<_> = pushers
                .into_iter()
                .map(|mut pusher| {
                    let host = &host;
                    scope.spawn(move || {
                        pusher.work_until_it_dies(host);
                        pusher
                    })
                })
                .collect();
            thread::sleep(pause.saturating_sub(begun.elapsed()));
            server.kill();
            let ended = running.into_iter().map(|thread| thread.join());
            ended
                .map(|pusher| pusher.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
                .collect()
        });
        server = Serving::start(&root, &[]);
        layout.check();
        let mut connection = Connection::open(&server.host).expect("the registry is back");
        let all = round + 1 == ROUNDS;
        let rounds: Vec<Round> = pushers
            .iter_mut()
            .map(|pusher| pusher.settle(all, |key| observe(&mut connection, key)))
            .collect();
        acknowledged += rounds.iter().map(|round| round.acknowledged).sum::<u64>();
        for repository in pusher::REPOSITORIES {
            let now = observe(&mut connection, &Key::tag(repository, pusher::CONTENDED));
            contended(repository, &now, standing.get(repository), &rounds);
            standing.insert(repository, now);
        }
        for location in rounds.iter().flat_map(|round| &round.halves) {
            let status = ask(&mut connection, "GET", location).0;
            assert_eq!(status, 404, "the upload {location} is forgotten");
        }
    }
    eprintln!("{acknowledged} requests were acknowledged");
    assert!(
        acknowledged > u64::from(ROUNDS) * 10,
        "the servers lived long enough for some work: {acknowledged}"
    );
}

#[test]
fn half_a_blob_is_never_seen() {
    let folder = tempfile::tempdir().expect("making a folder");
    let mut server = Serving::start(folder.path(), &[]);
    let bytes = vec![b'x'; 4 << 20];
    let path = format!("/v2/app/blobs/{}", sha256(&bytes));
    let mut half = TcpStream::connect(&server.host).expect("connecting");
    let head = format!(
        "POST /v2/app/blobs/uploads/?digest={} HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n",
        sha256(&bytes),
        bytes.len()
    );
    half.write_all(head.as_bytes()).expect("sending the head");
    half.write_all(&bytes[..3 << 20]).expect("sending a part");
    let uploads = folder.path().join("uploads");
    let arrived = || {
        let files = std::fs::read_dir(&uploads).expect("listing the uploads");
        files
            .flatten()
            .any(|file| file.metadata().is_ok_and(|meta| meta.len() > 0))
    };
    while !arrived() {
        thread::sleep(Duration::from_millis(2));
    }
    let get = |host: &str| {
        let mut connection = Connection::open(host).expect("connecting");
        ask(&mut connection, "GET", &path).0
    };
    assert_eq!(get(&server.host), 404);
    server.kill();
    assert!(arrived(), "the half is on the disk");
    let server = Serving::start(folder.path(), &[]);
    assert!(!arrived(), "the half is gone");
    assert_eq!(get(&server.host), 404);
    Layout::new(folder.path()).check();
}

/// The tag that everybody moves stands for what one of them moved it to last. Who was the very last
/// only the registry knows.
fn contended(repository: &str, now: &Value, before: Option<&Value>, rounds: &[Round]) {
    let here = |(moved, _): &&(&'static str, String)| *moved == repository;
    let moved = rounds.iter().flat_map(|round| &round.moved).filter(here);
    let mut candidates: BTreeSet<Value> = moved.map(|(_, digest)| Some(digest.clone())).collect();
    if candidates.is_empty() {
        candidates.insert(before.cloned().flatten());
    }
    let moving = rounds.iter().flat_map(|round| &round.moving).filter(here);
    candidates.extend(moving.map(|(_, digest)| Some(digest.clone())));
    assert!(
        candidates.contains(now),
        "{repository}:{} is {now:?} and none of {candidates:?}",
        pusher::CONTENDED
    );
}

/// The digest of the bytes that are there.
fn observe(connection: &mut Connection, key: &Key) -> Value {
    let (status, body) = ask(connection, "GET", &key.target());
    match status {
        200 => Some(sha256(&body)),
        404 => None,
        other => panic!("{key:?}: {other}"),
    }
}

fn ask(connection: &mut Connection, method: &str, target: &str) -> (u16, Vec<u8>) {
    let answer = connection
        .ask(method, target, "", &[])
        .unwrap_or_else(|error| panic!("{method} {target}: {error}"));
    (answer.status, answer.body)
}
