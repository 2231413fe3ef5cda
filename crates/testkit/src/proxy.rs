//! A proxy in front of a registry that works: it hands requests on, writes down what was asked, and
//! goes wrong where a table says so.
//!
//! Unlike [`http`](crate::http) the table names only what goes wrong. The proxy runs on a thread of
//! its own, for tests that drive a program from outside.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

use crate::http::{Seen, arrive, fill, read_body, read_head};

/// What goes wrong with a request.
#[derive(Clone, Debug)]
pub enum Harm {
    /// This is answered, and the registry never hears of it.
    Answer {
        status: u16,
        headers: Vec<(String, String)>,
        body: String,
    },
    /// The connection is reset at once.
    Reset,
    /// The registry does what was asked, but the connection is reset instead of an answer.
    LoseAnswer,
    /// The connection is reset after so many bytes of the request's body.
    ResetUpload(usize),
    /// Both connections end after so many bytes of the request's body, which the registry got.
    BreakUpload(usize),
    /// The connection is reset after so many bytes of the answer's body.
    ResetDownload(usize),
    /// The answer's body ends in good order after so many bytes.
    Truncate(usize),
    /// The last byte of the answer's body is another one.
    Corrupt,
    /// The request waits before it goes on.
    Delay(Duration),
    /// From now on every connection is reset.
    Die,
}

impl Harm {
    pub fn status(status: u16) -> Self {
        Self::Answer {
            status,
            headers: Vec::new(),
            body: String::new(),
        }
    }

    pub fn throttle(retry_after: impl Into<String>) -> Self {
        Self::Answer {
            status: 429,
            headers: vec![("retry-after".to_owned(), retry_after.into())],
            body: r#"{"errors":[{"code":"TOOMANYREQUESTS","message":"slow down"}]}"#.to_owned(),
        }
    }
}

/// A row of the table: the harm, and the requests it comes to.
#[derive(Clone, Debug)]
pub struct Rule {
    method: &'static str,
    part: String,
    harm: Harm,
    skip: u32,
    left: Option<u32>,
}

impl Rule {
    /// Comes to every request with this method (`*`: any) whose target contains `part`.
    pub fn new(method: &'static str, part: impl Into<String>, harm: Harm) -> Self {
        Self {
            method,
            part: part.into(),
            harm,
            skip: 0,
            left: None,
        }
    }

    #[must_use]
    pub fn times(mut self, times: u32) -> Self {
        self.left = Some(times);
        self
    }

    /// Leaves the first such requests alone.
    #[must_use]
    pub fn after(mut self, requests: u32) -> Self {
        self.skip = requests;
        self
    }

    fn fits(&self, seen: &Seen) -> bool {
        (self.method == "*" || self.method == seen.method) && seen.target.contains(&self.part)
    }
}

/// A request that came, and what was answered; nothing where the connection was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passed {
    pub method: String,
    pub target: String,
    pub status: Option<u16>,
    pub harmed: bool,
}

#[derive(Debug)]
struct State {
    upstream: SocketAddr,
    rules: Vec<Rule>,
    passed: Vec<Passed>,
    dead: bool,
}

/// A running proxy; it stops when dropped.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Proxy {
    /// Starts a proxy before `upstream` (`127.0.0.1:port`).
    pub fn start(upstream: &str, rules: Vec<Rule>) -> Self {
        let state = Arc::new(Mutex::new(State {
            upstream: upstream.parse().expect("the upstream is an address"),
            rules,
            passed: Vec::new(),
            dead: false,
        }));
        let listener = std::net::TcpListener::bind("127.0.0.1:0")
            .expect("a port of the loopback interface is free");
        listener
            .set_nonblocking(true)
            .expect("a listener can be asked not to block");
        let address = listener
            .local_addr()
            .expect("a bound listener has an address");
        let (stop, stopped) = oneshot::channel();
        let shared = Arc::clone(&state);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime can be made");
            runtime.block_on(async {
                let listener =
                    TcpListener::from_std(listener).expect("the listener does not block");
                tokio::select! {
                    () = accept(listener, shared) => {}
                    _ = stopped => {}
                }
            });
        });
        Self {
            address,
            state,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    /// `127.0.0.1:port`.
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    /// Replaces the table, and brings a dead proxy back to life.
    pub fn set_rules(&self, rules: Vec<Rule>) {
        let mut state = lock(&self.state);
        state.rules = rules;
        state.dead = false;
    }

    /// Hands requests on to somewhere else from now on.
    pub fn set_upstream(&self, upstream: &str) {
        lock(&self.state).upstream = upstream.parse().expect("the upstream is an address");
    }

    /// The requests since the last time this was asked.
    pub fn take_passed(&self) -> Vec<Passed> {
        std::mem::take(&mut lock(&self.state).passed)
    }

    /// How many of them came to harm.
    pub fn harmed(&self) -> usize {
        let state = lock(&self.state);
        state.passed.iter().filter(|one| one.harmed).count()
    }

    /// How many requests came since they were last taken.
    pub fn count(&self) -> usize {
        lock(&self.state).passed.len()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has been told already.
            let _ = thread.join();
        }
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().expect("no holder panics")
}

async fn accept(listener: TcpListener, state: Arc<Mutex<State>>) {
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let state = Arc::clone(&state);
        connections.spawn(async move {
            // A client that goes away is no concern of the proxy.
            let _ = serve(stream, &state).await;
        });
    }
}

async fn serve(mut stream: TcpStream, state: &Mutex<State>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = BytesMut::new();
    loop {
        if lock(state).dead {
            return stream.set_zero_linger();
        }
        let Some(mut seen) = read_head(&mut stream, &mut buffer).await? else {
            return Ok(());
        };
        let (at, harm, upstream) = note(state, &seen);
        match &harm {
            Some(Harm::Reset | Harm::Die) => return stream.set_zero_linger(),
            Some(Harm::ResetUpload(bytes)) => {
                while buffer.len() < *bytes && fill(&mut stream, &mut buffer).await? {}
                return stream.set_zero_linger();
            }
            Some(Harm::BreakUpload(bytes)) => {
                while buffer.len() < *bytes && fill(&mut stream, &mut buffer).await? {}
                let part = &buffer[..buffer.len().min(*bytes)];
                forward_part(upstream, &seen, part).await?;
                return stream.set_zero_linger();
            }
            _ => {}
        }
        seen.body = read_body(&mut stream, &mut buffer, &seen).await?;
        if let Some(Harm::Delay(delay)) = &harm {
            tokio::time::sleep(*delay).await;
        }
        let (head, mut body) = match &harm {
            Some(Harm::Answer {
                status,
                headers,
                body,
            }) => {
                let mut head = format!("HTTP/1.1 {status} x\r\n");
                for (name, value) in headers {
                    head.push_str(&format!("{name}: {value}\r\n"));
                }
                head.push_str(&format!("content-length: {}\r\n\r\n", body.len()));
                let body = if seen.method == "HEAD" { "" } else { body };
                (head, Bytes::copy_from_slice(body.as_bytes()))
            }
            _ => match forward(upstream, &seen).await {
                Ok(answer) => answer,
                Err(_) => return stream.set_zero_linger(),
            },
        };
        if let Some(Harm::LoseAnswer) = harm {
            return stream.set_zero_linger();
        }
        lock(state).passed[at].status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
        stream.write_all(head.as_bytes()).await?;
        match harm {
            Some(Harm::ResetDownload(bytes)) => {
                stream.write_all(&body[..bytes.min(body.len())]).await?;
                arrive(&stream).await;
                return stream.set_zero_linger();
            }
            Some(Harm::Truncate(bytes)) => {
                stream.write_all(&body[..bytes.min(body.len())]).await?;
                return stream.shutdown().await;
            }
            Some(Harm::Corrupt) => {
                let mut bytes = body.to_vec();
                if let Some(last) = bytes.last_mut() {
                    *last ^= 1;
                }
                body = bytes.into();
            }
            _ => {}
        }
        stream.write_all(&body).await?;
    }
}

/// Writes a request down, and finds what goes wrong with it.
fn note(state: &Mutex<State>, seen: &Seen) -> (usize, Option<Harm>, SocketAddr) {
    let mut state = lock(state);
    // Connections that were open already die with their next request.
    let mut harm = state.dead.then_some(Harm::Die);
    for rule in state.rules.iter_mut().filter(|rule| rule.fits(seen)) {
        if harm.is_some() {
            break;
        }
        if rule.skip > 0 {
            rule.skip -= 1;
            continue;
        }
        if rule.left == Some(0) {
            continue;
        }
        if let Some(left) = &mut rule.left {
            *left -= 1;
        }
        harm = Some(rule.harm.clone());
        break;
    }
    if matches!(harm, Some(Harm::Die)) {
        state.dead = true;
    }
    state.passed.push(Passed {
        method: seen.method.clone(),
        target: seen.target.clone(),
        status: None,
        harmed: harm.is_some(),
    });
    (state.passed.len() - 1, harm, state.upstream)
}

/// Hands on the beginning of a body, and then ends the connection in good order, so that all of it
/// arrives.
async fn forward_part(upstream: SocketAddr, seen: &Seen, part: &[u8]) -> io::Result<()> {
    let mut stream = TcpStream::connect(upstream).await?;
    let mut head = format!("{} {} HTTP/1.1\r\n", seen.method, seen.target);
    for (name, value) in &seen.headers {
        if name != "connection" {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
    }
    head.push_str("connection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(part).await?;
    stream.shutdown().await?;
    // Until the registry has done with it.
    while stream.read(&mut [0; 1024]).await? > 0 {}
    Ok(())
}

/// The answer's head, and its body as it came.
async fn forward(upstream: SocketAddr, seen: &Seen) -> io::Result<(String, Bytes)> {
    let mut stream = TcpStream::connect(upstream).await?;
    stream.set_nodelay(true)?;
    let mut head = format!("{} {} HTTP/1.1\r\n", seen.method, seen.target);
    for (name, value) in &seen.headers {
        if !["connection", "content-length", "transfer-encoding"].contains(&name.as_str()) {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
    }
    if !seen.body.is_empty() || ["PUT", "POST", "PATCH"].contains(&seen.method.as_str()) {
        head.push_str(&format!("content-length: {}\r\n", seen.body.len()));
    }
    head.push_str("connection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(&seen.body).await?;
    let mut answer = BytesMut::new();
    while stream.read_buf(&mut answer).await? > 0 {}
    let end = answer
        .windows(4)
        .position(|bytes| bytes == b"\r\n\r\n")
        .ok_or(io::ErrorKind::UnexpectedEof)?;
    let head = answer.split_to(end + 4);
    let head: String = String::from_utf8_lossy(&head)
        .split_inclusive("\r\n")
        .filter(|line| !line.to_ascii_lowercase().starts_with("connection:"))
        .collect();
    Ok((head, answer.freeze()))
}
