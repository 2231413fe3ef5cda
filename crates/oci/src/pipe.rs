//! Byte streams between threads: reading ahead, and finding out how a stream is compressed.

use std::io::{self, BufRead, BufReader, Read};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;

const CHUNK: usize = 256 * 1024;
/// How many chunks the reading side is ahead at most.
const AHEAD: usize = 8;

/// What the other thread has read.
pub(crate) struct PipeReader {
    chunks: Receiver<io::Result<Vec<u8>>>,
    current: Vec<u8>,
    at: usize,
}

/// Reads `input` in a thread of its own while `consume` works on what has been read.
pub(crate) fn read_ahead<R: Read + Send, T>(
    mut input: R,
    consume: impl FnOnce(&mut PipeReader) -> T,
) -> T {
    thread::scope(|scope| {
        let (sender, chunks) = sync_channel(AHEAD);
        scope.spawn(move || {
            loop {
                let mut chunk = vec![0; CHUNK];
                let filled = fill(&mut input, &mut chunk);
                let last = !matches!(filled, Ok(CHUNK));
                let message = filled.map(|length| {
                    chunk.truncate(length);
                    chunk
                });
                // When nobody listens any more the consumer has failed, and says so itself.
                if sender.send(message).is_err() || last {
                    return;
                }
            }
        });
        let mut reader = PipeReader {
            chunks,
            current: Vec::new(),
            at: 0,
        };
        let result = consume(&mut reader);
        drop(reader);
        result
    })
}

/// Reads until the buffer is full or the input ends.
pub(crate) fn fill(input: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match input.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(got) => filled += got,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

impl Read for PipeReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at == self.current.len() {
            match self.chunks.recv() {
                Ok(chunk) => self.current = chunk?,
                Err(_) => self.current.clear(),
            }
            self.at = 0;
        }
        let length = buffer.len().min(self.current.len() - self.at);
        buffer[..length].copy_from_slice(&self.current[self.at..self.at + length]);
        self.at += length;
        Ok(length)
    }
}

/// The plain bytes of an input that may be compressed with gzip (any number of members) or zstd
/// (any number of frames); its first bytes tell.
pub(crate) fn decompressed<'a>(
    mut input: impl Read + Send + 'a,
) -> io::Result<Box<dyn Read + Send + 'a>> {
    let mut head = [0; 6];
    let length = fill(&mut input, &mut head)?;
    let head = &head[..length];
    let whole = BufReader::with_capacity(CHUNK, io::Cursor::new(head.to_vec()).chain(input));
    Ok(match head {
        [0x1f, 0x8b, ..] => Box::new(flate2::bufread::MultiGzDecoder::new(whole)),
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => zstd_decoder(whole)?,
        [b'B', b'Z', b'h', ..] => return Err(unsupported("bzip2")),
        [0xfd, b'7', b'z', b'X', b'Z', 0] => return Err(unsupported("xz")),
        _ => Box::new(whole),
    })
}

fn zstd_decoder<'a>(input: impl BufRead + Send + 'a) -> io::Result<Box<dyn Read + Send + 'a>> {
    Ok(Box::new(zstd::stream::read::Decoder::with_buffer(input)?))
}

fn unsupported(codec: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::Unsupported,
        format!("compression with {codec} is not supported, only gzip and zstd are"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    struct FailsAfter(usize);

    impl Read for FailsAfter {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            if self.0 == 0 {
                return Err(io::Error::other("the disk is on fire"));
            }
            let length = buffer.len().min(self.0);
            self.0 -= length;
            Ok(length)
        }
    }

    #[test]
    fn everything_arrives_and_errors_do_too() {
        for size in [0, 1, CHUNK, CHUNK + 1, CHUNK * 20] {
            let input = vec![7; size];
            let mut got = Vec::new();
            read_ahead(&input[..], |reader| reader.read_to_end(&mut got)).unwrap();
            assert_eq!(got.len(), size);
        }
        let mut got = Vec::new();
        let error = read_ahead(FailsAfter(CHUNK * 3), |reader| reader.read_to_end(&mut got));
        assert_eq!(error.unwrap_err().to_string(), "the disk is on fire");
    }

    #[test]
    fn a_consumer_that_stops_early_does_not_hang() {
        read_ahead(FailsAfter(CHUNK * 100), |reader| {
            let mut one = [0];
            reader.read_exact(&mut one)
        })
        .unwrap();
    }
}
