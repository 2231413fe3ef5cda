//! Requests off the wire and answers onto it, the latter wrongly where they say so.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::Seen;
use super::answer::{Answer, Fault, Reading};

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

/// As much of a request's body as the answer wants; true when that is all of it.
pub(super) async fn read_wanted(
    stream: &mut TcpStream,
    buffer: &mut BytesMut,
    seen: &Seen,
    reading: Reading,
) -> io::Result<(Bytes, bool)> {
    let Reading::Upto(limit) = reading else {
        return Ok((read_body(stream, buffer, seen).await?, true));
    };
    // The framing of chunks counts as well: nobody asks for an exact number of those.
    let length = match seen.header("content-length") {
        Some(length) => length.parse().map_err(io::Error::other)?,
        None if seen.header("transfer-encoding").is_some() => usize::MAX,
        None => 0,
    };
    let wanted = limit.min(length);
    while buffer.len() < wanted && fill(stream, buffer).await? {}
    let some = buffer.split_to(wanted.min(buffer.len()));
    Ok((some.freeze(), wanted == length))
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

/// Answers a request; false when the connection is over. Counts the bytes that went out.
pub(super) async fn reply(
    stream: &mut TcpStream,
    seen: &Seen,
    answer: &Answer,
    sent: &AtomicU64,
) -> io::Result<bool> {
    match answer.fault {
        Fault::Reset => {
            stream.set_zero_linger()?;
            return Ok(false);
        }
        Fault::Close => {
            stream.shutdown().await?;
            return Ok(false);
        }
        Fault::Silence => return std::future::pending().await,
        Fault::Raw => {
            stream.write_all(&answer.body).await?;
            stream.shutdown().await?;
            return Ok(false);
        }
        Fault::RawEndless => {
            return repeat(stream, &answer.body, Duration::from_millis(1), sent).await;
        }
        _ => {}
    }
    let head = head_of(answer);
    match answer.fault {
        Fault::ResetInHead(bytes) => {
            stream.write_all(&head[..bytes.min(head.len())]).await?;
            arrive(stream).await;
            stream.set_zero_linger()?;
            return Ok(false);
        }
        Fault::DripHead(pause) => drip(stream, &head, pause, sent).await?,
        _ => stream.write_all(&head).await?,
    }
    if seen.method == "HEAD" {
        return Ok(true);
    }
    let upto = match answer.fault {
        Fault::ResetAfter(bytes) | Fault::CloseAfter(bytes) | Fault::StallAfter(bytes) => {
            bytes.min(answer.body.len())
        }
        Fault::DripBody(_) | Fault::Endless => 0,
        _ => answer.body.len(),
    };
    stream.write_all(&answer.body[..upto]).await?;
    stream.flush().await?;
    sent.fetch_add(upto as u64, Ordering::Relaxed);
    match answer.fault {
        Fault::ResetAfter(_) => {
            arrive(stream).await;
            stream.set_zero_linger()?;
            Ok(false)
        }
        Fault::CloseAfter(_) => {
            stream.shutdown().await?;
            Ok(false)
        }
        Fault::StallAfter(_) => std::future::pending().await,
        Fault::DripBody(pause) => {
            drip(stream, &answer.body, pause, sent).await?;
            Ok(true)
        }
        Fault::Endless => repeat(stream, &answer.body, Duration::ZERO, sent).await,
        _ => Ok(true),
    }
}

fn head_of(answer: &Answer) -> Vec<u8> {
    let mut head = format!("HTTP/1.1 {} x\r\n", answer.status);
    for (name, value) in &answer.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    let tells_length = answer
        .headers
        .iter()
        .any(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    if answer.fault == Fault::Endless {
        head.push_str("connection: close\r\n");
    } else if !tells_length && !matches!(answer.status, 204 | 304) {
        head.push_str(&format!("content-length: {}\r\n", answer.body.len()));
    }
    head.push_str("\r\n");
    head.into_bytes()
}

/// Waits until the other side has read all that was sent. What is still on its way would be lost with a
/// reset, and the test would not be the same twice.
pub(crate) async fn arrive(stream: &TcpStream) {
    const PAUSE: Duration = Duration::from_millis(5);
    /// Nobody waits for ever for a client that does not read.
    const MOST: usize = 2000;
    for _ in 0..MOST {
        tokio::time::sleep(PAUSE).await;
        if is_on_its_way(stream) != Some(true) {
            return;
        }
    }
}

/// Whether the kernel holds bytes of a connection of this machine, on either side (proc(5), /proc/net/tcp).
fn is_on_its_way(stream: &TcpStream) -> Option<bool> {
    let ports = (
        stream.local_addr().ok()?.port(),
        stream.peer_addr().ok()?.port(),
    );
    let table = std::fs::read_to_string("/proc/net/tcp").ok()?;
    let mut queued = table.lines().skip(1).filter_map(|line| {
        let mut words = line.split_whitespace().skip(1);
        let mut port = || u16::from_str_radix(words.next()?.split_once(':')?.1, 16).ok();
        let ends = (port()?, port()?);
        let (sent, received) = words.nth(1)?.split_once(':')?;
        let is_empty = |queue: &str| queue.bytes().all(|digit| digit == b'0');
        if ends == ports {
            Some(!is_empty(sent))
        } else if (ends.1, ends.0) == ports {
            Some(!is_empty(received))
        } else {
            None
        }
    });
    Some(queued.any(|any| any))
}

async fn drip(
    stream: &mut TcpStream,
    bytes: &[u8],
    pause: Duration,
    sent: &AtomicU64,
) -> io::Result<()> {
    for byte in bytes {
        tokio::time::sleep(pause).await;
        stream.write_all(std::slice::from_ref(byte)).await?;
        sent.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

/// Ends only when the client goes away.
async fn repeat(
    stream: &mut TcpStream,
    bytes: &[u8],
    pause: Duration,
    sent: &AtomicU64,
) -> io::Result<bool> {
    loop {
        stream.write_all(bytes).await?;
        sent.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        tokio::time::sleep(pause).await;
    }
}
