//! Connections for a registry: TLS, and the limits that keep one client from starving the others.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;

use crate::{Event, Registry, Tls};

/// How long a client may take for its side of a TLS handshake, and for the first byte after it.
const GREETING: Duration = Duration::from_secs(30);
/// How long sent bytes may stay unacknowledged before the connection is given up: a client that
/// asks for a blob and never reads it.
const UNREAD: Duration = Duration::from_secs(5 * 60);
/// How much is read from a connection at once; more of a head than this is refused with a 431.
const BUFFER: usize = 256 << 10;
/// How often uploads that nobody touches are looked for.
const SWEEP: Duration = Duration::from_secs(60);

/// How connections are treated.
#[derive(Clone, Debug)]
pub struct ServeOptions {
    /// Speak TLS, and nothing else.
    pub tls: Option<Tls>,
    /// How many connections there may be at once. More wait until one ends.
    pub connections: usize,
    /// How long a client may take to send the head of a request, idle time between requests
    /// included. The default is longer than clients keep idle connections (90 s is usual), so that
    /// it is they who close one, and no request meets a connection that is just going away.
    pub head_time: Duration,
    /// How long requests under way may go on after the shutdown was asked for.
    pub grace: Duration,
}

impl Default for ServeOptions {
    fn default() -> Self {
        Self {
            tls: None,
            connections: 1000,
            head_time: Duration::from_secs(120),
            grace: Duration::from_secs(10),
        }
    }
}

/// [`serve_with`] the default options: plain HTTP.
pub async fn serve(
    listener: TcpListener,
    registry: Arc<Registry>,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    serve_with(listener, registry, ServeOptions::default(), shutdown).await
}

/// Serves a registry over HTTP/1.1 and HTTP/2 until `shutdown` is ready; then no connection is taken
/// any more, and requests under way get some time to finish.
///
/// The only error is a listener that cannot accept at all.
pub async fn serve_with(
    listener: TcpListener,
    registry: Arc<Registry>,
    options: ServeOptions,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let mut shutdown = pin!(shutdown);
    let builder = Arc::new(builder(&options));
    let slots = Arc::new(Semaphore::new(options.connections));
    let graceful = GracefulShutdown::new();
    let mut sweep = tokio::time::interval(SWEEP);
    loop {
        let accept = async {
            // One that is not accepted waits in the listener's queue.
            let slot = Arc::clone(&slots).acquire_owned().await;
            (slot, listener.accept().await)
        };
        let (slot, accepted) = tokio::select! {
            accepted = accept => accepted,
            _ = sweep.tick() => {
                registry.sweep();
                continue;
            }
            () = &mut shutdown => break,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) if is_passing(&error) => {
                // Out of descriptors: some come back when connections end.
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
            Err(error) => return Err(error),
        };
        prepare(&stream);
        let (registry, builder) = (Arc::clone(&registry), Arc::clone(&builder));
        let (tls, watcher) = (options.tls.clone(), graceful.watcher());
        tokio::spawn(async move {
            let _slot = slot;
            match tls {
                None => {
                    if greets(stream.readable()).await {
                        converse(&builder, TokioIo::new(stream), registry, false, watcher).await;
                    }
                }
                Some(tls) => {
                    let Some(acceptor) = acceptor(tls, &registry).await else {
                        return;
                    };
                    if let Ok(Ok(stream)) =
                        tokio::time::timeout(GREETING, acceptor.accept(stream)).await
                    {
                        converse(&builder, TokioIo::new(stream), registry, true, watcher).await;
                    }
                }
            }
        });
    }
    drop(listener);
    let _ = tokio::time::timeout(options.grace, graceful.shutdown()).await;
    Ok(())
}

fn builder(options: &ServeOptions) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(options.head_time)
        .max_buf_size(BUFFER)
        .keep_alive(true);
    // Windows large enough that one stream fills a fast line.
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(options.head_time)
        .adaptive_window(true)
        .max_header_list_size(64 << 10)
        .max_concurrent_streams(256);
    builder
}

fn prepare(stream: &TcpStream) {
    // Without these the connection works all the same, only less well. Answers are small and come
    // in one piece; waiting to fill a segment only delays them.
    let _ = stream.set_nodelay(true);
    let _ = rustix::net::sockopt::set_socket_keepalive(stream, true);
    let unread = u32::try_from(UNREAD.as_millis()).unwrap_or(u32::MAX);
    let _ = rustix::net::sockopt::set_tcp_user_timeout(stream, unread);
}

async fn greets(first: impl Future<Output = io::Result<()>>) -> bool {
    matches!(tokio::time::timeout(GREETING, first).await, Ok(Ok(())))
}

async fn acceptor(tls: Tls, registry: &Registry) -> Option<TlsAcceptor> {
    let (config, problem) = tokio::task::spawn_blocking(move || tls.current())
        .await
        .ok()?;
    if let Some(problem) = problem {
        registry.tell(|| Event::Warned {
            reason: format!("{problem}; the certificate read before stays"),
        });
    }
    Some(TlsAcceptor::from(config))
}

async fn converse<I>(
    builder: &auto::Builder<TokioExecutor>,
    io: TokioIo<I>,
    registry: Arc<Registry>,
    secure: bool,
    watcher: Watcher,
) where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request| {
        let registry = Arc::clone(&registry);
        async move { Ok::<_, Infallible>(registry.answer(request, secure).await) }
    });
    let connection = builder.serve_connection(io, service);
    // A connection that breaks is the client's affair, and the client knows.
    let _ = watcher.watch(connection.into_owned()).await;
}

/// Whether the next `accept` may well succeed.
fn is_passing(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    // EMFILE, ENFILE, ENOBUFS, ENOMEM have no kinds of their own.
    let raw = error
        .raw_os_error()
        .map(rustix::io::Errno::from_raw_os_error);
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionReset | Interrupted
    ) || matches!(
        raw,
        Some(
            rustix::io::Errno::MFILE
                | rustix::io::Errno::NFILE
                | rustix::io::Errno::NOBUFS
                | rustix::io::Errno::NOMEM
        )
    )
}
