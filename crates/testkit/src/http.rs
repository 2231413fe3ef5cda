//! An HTTP/1.1 server that answers by a table of steps, wrongly where the table says so.
//!
//! Each request takes the first step that fits it and is not used up. Whatever fits no step is
//! answered with 599 and remembered, and [`Server::finish`] then fails the test; unless there is a
//! [`Handler`], which answers what the table does not.

mod answer;
mod wire;

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use bytes::{Bytes, BytesMut};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

pub use answer::Answer;
use answer::Reading;
pub(crate) use wire::{arrive, fill, read_body, read_head};
use wire::{read_wanted, reply};

/// One row of the table: which request it fits, and what happens then.
#[derive(Clone, Debug)]
pub struct Step {
    method: &'static str,
    target: String,
    required: Vec<(String, Option<String>)>,
    answer: Answer,
    /// How many requests it still serves; None means any number.
    left: Option<u32>,
}

impl Step {
    /// Fits one request. A target without `?` fits every query.
    pub fn new(method: &'static str, target: impl Into<String>, answer: Answer) -> Self {
        Self {
            method,
            target: target.into(),
            required: Vec::new(),
            answer,
            left: Some(1),
        }
    }

    /// Fits a number of requests.
    #[must_use]
    pub fn times(mut self, times: u32) -> Self {
        self.left = Some(times);
        self
    }

    /// Fits any number of requests, also none.
    #[must_use]
    pub fn always(mut self) -> Self {
        self.left = None;
        self
    }

    /// Fits only requests with this header.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.required.push((name.to_owned(), Some(value.into())));
        self
    }

    /// Fits only requests without this header.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.required.push((name.to_owned(), None));
        self
    }

    fn fits(&self, seen: &Seen) -> bool {
        let target = if self.target.contains('?') {
            &seen.target
        } else {
            seen.path()
        };
        self.left != Some(0)
            && self.method == seen.method
            && self.target == target
            && self
                .required
                .iter()
                .all(|(name, value)| seen.header(name) == value.as_deref())
    }
}

/// A request that came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub method: String,
    /// Path and query, as they came.
    pub target: String,
    pub headers: Vec<(String, String)>,
    pub body: Bytes,
}

impl Seen {
    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    pub fn query(&self) -> &str {
        self.target.split_once('?').map_or("", |(_, query)| query)
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(found, _)| found.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// Method and path, for comparing with a list.
    pub fn line(&self) -> String {
        format!("{} {}", self.method, self.path())
    }
}

/// Answers what fits no step.
pub trait Handler: Send + 'static {
    /// Looks at the head of a request: how many bytes of its body are read before the answer, or
    /// all. The connection is closed after an answer that did not want all.
    fn reads(&mut self, _request: &Seen) -> Option<usize> {
        None
    }

    /// Answers a request; `whole` says whether its body is all there.
    fn answer(&mut self, request: &Seen, whole: bool) -> Answer;
}

#[derive(Default)]
struct Script {
    steps: Vec<Step>,
    handler: Option<Box<dyn Handler>>,
    seen: Vec<Seen>,
    unexpected: Vec<String>,
    connections: usize,
}

/// A running server.
pub struct Server {
    host: String,
    script: Arc<Mutex<Script>>,
    sent: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server")
            .field("host", &self.host)
            .finish_non_exhaustive()
    }
}

impl Server {
    /// Starts a server with a table.
    pub async fn start(steps: Vec<Step>) -> Self {
        Self::start_with(|_| steps).await
    }

    /// Starts a server whose table needs its address (`127.0.0.1:port`).
    pub async fn start_with(steps: impl FnOnce(&str) -> Vec<Step>) -> Self {
        Self::listen(|host| Script {
            steps: steps(host),
            ..Script::default()
        })
        .await
    }

    /// Starts a server without a table, whose handler needs its address.
    pub async fn start_handler<H: Handler>(handler: impl FnOnce(&str) -> H) -> Self {
        Self::listen(|host| Script {
            handler: Some(Box::new(handler(host))),
            ..Script::default()
        })
        .await
    }

    /// Starts a server whose handler answers what fits no step.
    pub async fn start_both<H: Handler>(steps: Vec<Step>, handler: H) -> Self {
        Self::listen(|_| Script {
            steps,
            handler: Some(Box::new(handler)),
            ..Script::default()
        })
        .await
    }

    async fn listen(script: impl FnOnce(&str) -> Script) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port of the loopback interface is free");
        let host = listener
            .local_addr()
            .expect("a bound listener has an address")
            .to_string();
        let script = Arc::new(Mutex::new(script(&host)));
        let sent = Arc::new(AtomicU64::new(0));
        let (shared, counter) = (Arc::clone(&script), Arc::clone(&sent));
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                shared.lock().expect("no holder panics").connections += 1;
                let (script, sent) = (Arc::clone(&shared), Arc::clone(&counter));
                connections.spawn(async move {
                    // A client that goes away is no concern of the server.
                    let _ = serve(stream, &script, &sent).await;
                });
            }
        });
        Self {
            host,
            script,
            sent,
            task,
        }
    }

    /// `127.0.0.1:port`.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Adds rows to the table.
    pub fn extend(&self, steps: Vec<Step>) {
        let mut script = self.script.lock().expect("no holder panics");
        script.steps.extend(steps);
    }

    /// The requests so far, in the order their heads came.
    pub fn seen(&self) -> Vec<Seen> {
        self.script.lock().expect("no holder panics").seen.clone()
    }

    /// Methods and paths of the requests so far.
    pub fn lines(&self) -> Vec<String> {
        self.seen().iter().map(Seen::line).collect()
    }

    /// How many connections were made.
    pub fn connections(&self) -> usize {
        self.script.lock().expect("no holder panics").connections
    }

    /// How many bytes of bodies went out, as far as the network took them.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Checks that the table is used up and that nothing else was asked, and gives the requests.
    ///
    /// # Panics
    /// When that is not so.
    #[track_caller]
    pub fn finish(&self) -> Vec<Seen> {
        let script = self.script.lock().expect("no holder panics");
        assert!(
            script.unexpected.is_empty(),
            "requests that fit no step: {:#?}",
            script.unexpected
        );
        let left: Vec<String> = script
            .steps
            .iter()
            .filter(|step| step.left.is_some_and(|left| left > 0))
            .map(|step| format!("{} {}", step.method, step.target))
            .collect();
        assert!(left.is_empty(), "steps that were not used: {left:#?}");
        script.seen.clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(mut stream: TcpStream, script: &Mutex<Script>, sent: &AtomicU64) -> io::Result<()> {
    let mut buffer = BytesMut::new();
    loop {
        let Some(mut seen) = read_head(&mut stream, &mut buffer).await? else {
            return Ok(());
        };
        let (at, choice) = choose(script, &seen);
        let reading = match &choice {
            Choice::Answer(answer) => answer.reading,
            Choice::Ask(reading) => *reading,
        };
        let (body, whole) = read_wanted(&mut stream, &mut buffer, &seen, reading).await?;
        seen.body = body;
        let answer = {
            let mut script = script.lock().expect("no holder panics");
            script.seen[at].body = seen.body.clone();
            match choice {
                Choice::Answer(answer) => *answer,
                Choice::Ask(_) => match &mut script.handler {
                    Some(handler) => handler.answer(&seen, whole),
                    None => Answer::status(599),
                },
            }
        };
        tokio::time::sleep(answer.delay).await;
        if !reply(&mut stream, &seen, &answer, sent).await? || reading != Reading::All {
            return Ok(());
        }
    }
}

/// Who answers a request.
enum Choice {
    Answer(Box<Answer>),
    /// The handler, once so much of the body is there.
    Ask(Reading),
}

/// Takes the step for a request, and notes the request.
fn choose(script: &Mutex<Script>, seen: &Seen) -> (usize, Choice) {
    let mut script = script.lock().expect("no holder panics");
    let script = &mut *script;
    script.seen.push(seen.clone());
    let at = script.seen.len() - 1;
    let choice = match script.steps.iter_mut().find(|step| step.fits(seen)) {
        Some(step) => {
            if let Some(left) = &mut step.left {
                *left -= 1;
            }
            Choice::Answer(Box::new(step.answer.clone()))
        }
        None => match &mut script.handler {
            Some(handler) => Choice::Ask(handler.reads(seen).map_or(Reading::All, Reading::Upto)),
            None => {
                let line = format!("{} {} {:?}", seen.method, seen.target, seen.headers);
                script.unexpected.push(line);
                Choice::Answer(Box::new(Answer::status(599)))
            }
        },
    };
    (at, choice)
}
