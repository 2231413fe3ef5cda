//! Connections for a registry.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::TcpListener;

use crate::Registry;

/// How long a client may take to send the head of a request, idle time between requests included.
/// Longer than clients keep idle connections (90 s is usual), so that it is they who close one, and
/// no request meets a connection that is just going away.
const HEAD_TIME: Duration = Duration::from_secs(120);
/// How long requests under way may go on after the shutdown was asked for.
const GRACE: Duration = Duration::from_secs(10);

/// Serves a registry over HTTP/1.1 and cleartext HTTP/2 until `shutdown` is ready; then no
/// connection is taken any more, and requests under way get ten seconds to finish.
///
/// The only error is a listener that cannot accept at all.
pub async fn serve(
    listener: TcpListener,
    registry: Arc<Registry>,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let mut shutdown = pin!(shutdown);
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .keep_alive(true);
    // Windows large enough that one stream fills a fast line.
    builder
        .http2()
        .timer(TokioTimer::new())
        .adaptive_window(true)
        .max_concurrent_streams(256);
    let graceful = GracefulShutdown::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
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
        // Answers are small and come in one piece; waiting to fill a segment only delays them.
        let _ = stream.set_nodelay(true);
        let registry = Arc::clone(&registry);
        let service = service_fn(move |request| {
            let registry = Arc::clone(&registry);
            async move { Ok::<_, Infallible>(registry.handle(request).await) }
        });
        let connection = builder.serve_connection(TokioIo::new(stream), service);
        let connection = graceful.watch(connection.into_owned());
        tokio::spawn(async move {
            // A connection that breaks is the client's affair, and the client knows.
            let _ = connection.await;
        });
    }
    drop(listener);
    let _ = tokio::time::timeout(GRACE, graceful.shutdown()).await;
    Ok(())
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
