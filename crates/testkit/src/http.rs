//! An HTTP/1.1 server that answers by a table of steps, wrongly where the table says so.
//!
//! Each request takes the first step that fits it and is not used up. Whatever fits no step is
//! answered with 599 and remembered, and [`Server::finish`] then fails the test.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

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

/// What a step answers, and where it goes wrong.
#[derive(Clone, Debug)]
pub struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: Bytes,
    delay: Duration,
    fault: Fault,
    reads_body: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    None,
    /// The connection is reset instead of an answer.
    Reset,
    /// The connection is reset after so many bytes of the body.
    ResetAfter(usize),
    /// The connection is closed in good order after so many bytes of the body.
    CloseAfter(usize),
    /// So many bytes of the body come, and then nothing more.
    StallAfter(usize),
    /// Nothing comes at all.
    Silence,
    /// The bytes of the body come instead of an answer.
    Raw,
}

impl Answer {
    pub fn status(status: u16) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: Bytes::new(),
            delay: Duration::ZERO,
            fault: Fault::None,
            reads_body: true,
        }
    }

    /// The connection is reset instead of an answer.
    pub fn reset() -> Self {
        let mut answer = Self::status(0);
        answer.fault = Fault::Reset;
        answer
    }

    /// Nothing comes, and the connection stays open.
    pub fn silence() -> Self {
        let mut answer = Self::status(0);
        answer.fault = Fault::Silence;
        answer
    }

    /// These bytes come, whatever they are, and the connection is closed.
    pub fn raw(bytes: impl Into<Bytes>) -> Self {
        let mut answer = Self::status(0).body(bytes);
        answer.fault = Fault::Raw;
        answer
    }

    #[must_use]
    pub fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// The body; its length is told unless a header tells another one.
    #[must_use]
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// A page for people, as proxies answer.
    #[must_use]
    pub fn html(self, text: &str) -> Self {
        self.header("content-type", "text/html")
            .body(format!("<html><body>{text}</body></html>"))
    }

    /// A registry's error document.
    #[must_use]
    pub fn error(self, code: &str, message: &str) -> Self {
        self.header("content-type", "application/json")
            .body(format!(
                r#"{{"errors":[{{"code":"{code}","message":"{message}"}}]}}"#
            ))
    }

    #[must_use]
    pub fn delay(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    #[must_use]
    pub fn reset_after(mut self, bytes: usize) -> Self {
        self.fault = Fault::ResetAfter(bytes);
        self
    }

    #[must_use]
    pub fn close_after(mut self, bytes: usize) -> Self {
        self.fault = Fault::CloseAfter(bytes);
        self
    }

    #[must_use]
    pub fn stall_after(mut self, bytes: usize) -> Self {
        self.fault = Fault::StallAfter(bytes);
        self
    }

    /// Answers as soon as the head of the request is there, and then closes the connection.
    #[must_use]
    pub fn early(mut self) -> Self {
        self.reads_body = false;
        self
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

#[derive(Debug, Default)]
struct Script {
    steps: Vec<Step>,
    seen: Vec<Seen>,
    unexpected: Vec<String>,
    connections: usize,
}

/// A running server.
#[derive(Debug)]
pub struct Server {
    host: String,
    script: Arc<Mutex<Script>>,
    task: JoinHandle<()>,
}

impl Server {
    /// Starts a server with a table.
    pub async fn start(steps: Vec<Step>) -> Self {
        Self::start_with(|_| steps).await
    }

    /// Starts a server whose table needs its address (`127.0.0.1:port`).
    pub async fn start_with(steps: impl FnOnce(&str) -> Vec<Step>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port of the loopback interface is free");
        let host = listener
            .local_addr()
            .expect("a bound listener has an address")
            .to_string();
        let script = Arc::new(Mutex::new(Script {
            steps: steps(&host),
            ..Script::default()
        }));
        let shared = Arc::clone(&script);
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                shared.lock().expect("no holder panics").connections += 1;
                let script = Arc::clone(&shared);
                connections.spawn(async move {
                    // A client that goes away is no concern of the server.
                    let _ = serve(stream, &script).await;
                });
            }
        });
        Self { host, script, task }
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

async fn serve(mut stream: TcpStream, script: &Mutex<Script>) -> io::Result<()> {
    let mut buffer = BytesMut::new();
    loop {
        let Some(mut seen) = read_head(&mut stream, &mut buffer).await? else {
            return Ok(());
        };
        let (at, answer) = choose(script, &seen);
        if answer.reads_body {
            seen.body = read_body(&mut stream, &mut buffer, &seen).await?;
            script.lock().expect("no holder panics").seen[at].body = seen.body.clone();
        }
        tokio::time::sleep(answer.delay).await;
        if !reply(&mut stream, &seen, &answer).await? || !answer.reads_body {
            return Ok(());
        }
    }
}

/// Takes the step for a request, and notes the request.
fn choose(script: &Mutex<Script>, seen: &Seen) -> (usize, Answer) {
    let mut script = script.lock().expect("no holder panics");
    script.seen.push(seen.clone());
    let at = script.seen.len() - 1;
    let answer = match script.steps.iter_mut().find(|step| step.fits(seen)) {
        Some(step) => {
            if let Some(left) = &mut step.left {
                *left -= 1;
            }
            step.answer.clone()
        }
        None => {
            let line = format!("{} {} {:?}", seen.method, seen.target, seen.headers);
            script.unexpected.push(line);
            Answer::status(599)
        }
    };
    (at, answer)
}

pub(crate) async fn fill(stream: &mut TcpStream, buffer: &mut BytesMut) -> io::Result<bool> {
    Ok(stream.read_buf(buffer).await? > 0)
}

pub(crate) async fn read_head(
    stream: &mut TcpStream,
    buffer: &mut BytesMut,
) -> io::Result<Option<Seen>> {
    let end = loop {
        if let Some(end) = buffer.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            break end;
        }
        if !fill(stream, buffer).await? {
            return Ok(None);
        }
    };
    let head = buffer.split_to(end + 4);
    let head = String::from_utf8_lossy(&head);
    let mut lines = head.split("\r\n");
    let mut first = lines.next().unwrap_or_default().split(' ');
    let method = first.next().unwrap_or_default().to_owned();
    let target = first.next().unwrap_or_default().to_owned();
    let headers = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.trim().to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    Ok(Some(Seen {
        method,
        target,
        headers,
        body: Bytes::new(),
    }))
}

pub(crate) async fn read_body(
    stream: &mut TcpStream,
    buffer: &mut BytesMut,
    seen: &Seen,
) -> io::Result<Bytes> {
    let broken = || io::Error::from(io::ErrorKind::UnexpectedEof);
    if seen.header("transfer-encoding") == Some("chunked") {
        let mut body = BytesMut::new();
        loop {
            let end = loop {
                if let Some(end) = buffer.windows(2).position(|bytes| bytes == b"\r\n") {
                    break end;
                }
                if !fill(stream, buffer).await? {
                    return Err(broken());
                }
            };
            let line = buffer.split_to(end + 2);
            let line = String::from_utf8_lossy(&line[..end]).into_owned();
            let size = usize::from_str_radix(&line, 16).map_err(io::Error::other)?;
            while buffer.len() < size + 2 {
                if !fill(stream, buffer).await? {
                    return Err(broken());
                }
            }
            body.extend_from_slice(&buffer.split_to(size));
            let _line_end = buffer.split_to(2);
            if size == 0 {
                return Ok(body.freeze());
            }
        }
    }
    let length: usize = match seen.header("content-length") {
        Some(length) => length.parse().map_err(io::Error::other)?,
        None => 0,
    };
    while buffer.len() < length {
        if !fill(stream, buffer).await? {
            return Err(broken());
        }
    }
    Ok(buffer.split_to(length).freeze())
}

/// Answers a request; false when the connection is over.
async fn reply(stream: &mut TcpStream, seen: &Seen, answer: &Answer) -> io::Result<bool> {
    match answer.fault {
        Fault::Reset => {
            stream.set_zero_linger()?;
            return Ok(false);
        }
        Fault::Silence => return std::future::pending().await,
        Fault::Raw => {
            stream.write_all(&answer.body).await?;
            stream.shutdown().await?;
            return Ok(false);
        }
        _ => {}
    }
    let mut head = format!("HTTP/1.1 {} x\r\n", answer.status);
    for (name, value) in &answer.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    let tells_length = answer
        .headers
        .iter()
        .any(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    if !tells_length && answer.status != 204 {
        head.push_str(&format!("content-length: {}\r\n", answer.body.len()));
    }
    head.push_str("\r\n");
    stream.write_all(head.as_bytes()).await?;
    if seen.method == "HEAD" {
        return Ok(true);
    }
    let upto = match answer.fault {
        Fault::ResetAfter(bytes) | Fault::CloseAfter(bytes) | Fault::StallAfter(bytes) => {
            bytes.min(answer.body.len())
        }
        _ => answer.body.len(),
    };
    stream.write_all(&answer.body[..upto]).await?;
    stream.flush().await?;
    match answer.fault {
        Fault::ResetAfter(_) => {
            // What is still on its way would be lost with the reset, and the test would not be the same twice.
            tokio::time::sleep(Duration::from_millis(50)).await;
            stream.set_zero_linger()?;
            Ok(false)
        }
        Fault::CloseAfter(_) => {
            stream.shutdown().await?;
            Ok(false)
        }
        Fault::StallAfter(_) => std::future::pending().await,
        _ => Ok(true),
    }
}
