//! What may pass between a client and an agent.
//!
//! The protocol is that of draft-ietf-sshm-ssh-agent: each message is its length in four
//! bytes, then a number that says what it is, then its content, which does not matter here.

use std::io::{self, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

const REQUEST_IDENTITIES: u8 = 11;
const IDENTITIES_ANSWER: u8 = 12;
const SIGN_REQUEST: u8 = 13;
const SIGN_RESPONSE: u8 = 14;
const FAILURE: u8 = 5;

/// The longest message that OpenSSH takes, in bytes.
const LONGEST: usize = 256 * 1024;

/// So many clients are served at a time.
const CONNECTIONS: usize = 64;

/// Serves clients until the listener is shut down.
pub(crate) fn serve(listener: &UnixListener, agent: &Path) {
    let open = Arc::new(AtomicUsize::new(0));
    while let Ok((client, _)) = listener.accept() {
        if open.fetch_add(1, Ordering::SeqCst) >= CONNECTIONS {
            open.fetch_sub(1, Ordering::SeqCst);
            continue;
        }
        let (agent, open) = (agent.to_owned(), Arc::clone(&open));
        std::thread::spawn(move || {
            // A client that breaks off or talks nonsense loses its connection, that is all.
            let _ = relay(client, &agent);
            open.fetch_sub(1, Ordering::SeqCst);
        });
    }
}

fn relay(mut client: UnixStream, agent: &Path) -> io::Result<()> {
    let mut upstream: Option<UnixStream> = None;
    while let Some(request) = read(&mut client)? {
        let wanted = match request.first() {
            Some(&REQUEST_IDENTITIES) => Some(IDENTITIES_ANSWER),
            Some(&SIGN_REQUEST) => Some(SIGN_RESPONSE),
            _ => None,
        };
        let answer = wanted.and_then(|wanted| {
            let answer = ask(&mut upstream, agent, &request).ok()?;
            (answer.first() == Some(&wanted)).then_some(answer)
        });
        write(&mut client, &answer.unwrap_or_else(|| vec![FAILURE]))?;
    }
    Ok(())
}

fn ask(upstream: &mut Option<UnixStream>, agent: &Path, request: &[u8]) -> io::Result<Vec<u8>> {
    let stream = match upstream {
        Some(stream) => stream,
        None => upstream.insert(UnixStream::connect(agent)?),
    };
    let answer = write(stream, request)
        .and_then(|()| read(stream))
        .and_then(|answer| answer.ok_or_else(|| io::ErrorKind::UnexpectedEof.into()));
    if answer.is_err() {
        *upstream = None;
    }
    answer
}

/// The next message; `None` at the end.
fn read(from: &mut impl Read) -> io::Result<Option<Vec<u8>>> {
    let mut length = [0; 4];
    match from.read_exact(&mut length) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    }
    let length = u32::from_be_bytes(length) as usize;
    if length == 0 || length > LONGEST {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut message = vec![0; length];
    from.read_exact(&mut message)?;
    Ok(Some(message))
}

fn write(to: &mut impl Write, message: &[u8]) -> io::Result<()> {
    let length = u32::try_from(message.len()).map_err(|_| io::ErrorKind::InvalidData)?;
    let mut whole = length.to_be_bytes().to_vec();
    whole.extend_from_slice(message);
    to.write_all(&whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_two_questions_reach_the_agent() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agent");
        let agent = UnixListener::bind(&path).unwrap();
        // An agent that says what it was asked for: the number of the question and one more.
        std::thread::spawn(move || {
            let (mut stream, _) = agent.accept().unwrap();
            while let Some(message) = read(&mut stream).unwrap() {
                write(&mut stream, &[message[0] + 1, 7]).unwrap();
            }
        });
        let (mut client, server) = UnixStream::pair().unwrap();
        let relaying = std::thread::spawn(move || relay(server, &path));
        for (question, answer) in [
            (REQUEST_IDENTITIES, &[IDENTITIES_ANSWER, 7][..]),
            (SIGN_REQUEST, &[SIGN_RESPONSE, 7]),
            // Add, remove, remove all, lock, unlock, add constrained, smart cards, extensions.
            (17, &[FAILURE]),
            (18, &[FAILURE]),
            (19, &[FAILURE]),
            (20, &[FAILURE]),
            (22, &[FAILURE]),
            (23, &[FAILURE]),
            (25, &[FAILURE]),
            (26, &[FAILURE]),
            (27, &[FAILURE]),
            (0, &[FAILURE]),
            (255, &[FAILURE]),
            (SIGN_REQUEST, &[SIGN_RESPONSE, 7]),
        ] {
            write(&mut client, &[question, 1, 2, 3]).unwrap();
            assert_eq!(read(&mut client).unwrap().unwrap(), answer, "{question}");
        }
        // A length that no message has ends the connection.
        client.write_all(&[0xff; 4]).unwrap();
        assert!(relaying.join().unwrap().is_err());
        assert_eq!(read(&mut client).unwrap(), None);
    }

    #[test]
    fn broken_messages() {
        let all = |bytes: &[u8]| read(&mut &*bytes);
        assert_eq!(all(&[]).unwrap(), None);
        assert_eq!(all(&[0, 0, 0, 1, 9]).unwrap(), Some(vec![9]));
        for bytes in [&[0, 0, 0, 0][..], &[0, 0, 0, 2, 9], &[0, 4, 0, 1]] {
            assert!(all(bytes).is_err(), "{bytes:?}");
        }
    }
}
