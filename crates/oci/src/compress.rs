//! Compression of layers: parallel, and the same bytes on every machine.
//!
//! What the bytes depend on is fixed here: level, block and job size, header. How many threads
//! there are and how the input is cut into writes does not change them.

use std::io::{self, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use flate2::{Compress, FlushCompress};

use crate::spec::media;

/// How a layer is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Compression {
    Gzip,
    Zstd,
    /// Not at all.
    Uncompressed,
}

impl Compression {
    /// The media type of a layer compressed so.
    #[must_use]
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Gzip => media::LAYER_GZIP,
            Self::Zstd => media::LAYER_ZSTD,
            Self::Uncompressed => media::LAYER_TAR,
        }
    }
}

/// Chosen by measurement: 300 MB of `/usr` as a tar on one core, seconds of processor time and
/// size of the result.
///
/// | | seconds | MB |
/// |---|---|---|
/// | gzip -6 | 9.3 | 89.4 |
/// | zlib-rs 3 | 2.1 | 95.2 |
/// | zlib-rs 4 | 2.5 | 93.9 |
/// | **zlib-rs 5** | **2.7** | **92.6** |
/// | zlib-rs 6 | 3.3 | 92.3 |
/// | zlib-rs 7 | 5.7 | 91.7 |
/// | libdeflate 4, a member per MiB | 1.8 | 90.6 |
/// | libdeflate 6, a member per MiB | 2.5 | 88.4 |
/// | zstd 3 | 1.0 | 86.9 |
///
/// Level 6 costs a fifth more for 0.3 % less. libdeflate is better still, but cannot leave a
/// stream open, so every block would be a member of its own, and a reader that stops after the
/// first member would silently lose the rest.
const GZIP_LEVEL: u32 = 5;
/// Large enough that a flush per block costs nothing to speak of (with the dictionary blocks cost
/// no size at all), small enough that several threads have work in a small layer.
const GZIP_BLOCK: usize = 512 * 1024;
/// How far deflate can look back: that much of the block before is the next one's dictionary.
const GZIP_WINDOW: usize = 32 * 1024;
/// No times, no name, unknown system: nothing in the header comes from this machine.
const GZIP_HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];

const ZSTD_LEVEL: i32 = 3;
const ZSTD_JOB: u32 = 4 * 1024 * 1024;

/// As many threads as the machine gives this process.
pub(crate) fn threads() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// Compresses what is written to it.
pub(crate) enum Encoder<W: Write + Send + 'static> {
    Gzip(ParallelGzip<W>),
    Zstd(Box<zstd::stream::write::Encoder<'static, W>>),
    Plain(W),
}

impl<W: Write + Send + 'static> Encoder<W> {
    pub(crate) fn new(compression: Compression, threads: usize, out: W) -> io::Result<Self> {
        match compression {
            Compression::Gzip => Ok(Self::Gzip(ParallelGzip::new(threads, out))),
            Compression::Zstd => {
                let mut encoder = zstd::stream::write::Encoder::new(out, ZSTD_LEVEL)?;
                // With no worker at all zstd cuts its jobs differently, so there is always one.
                encoder.multithread(u32::try_from(threads.max(1)).unwrap_or(u32::MAX).min(64))?;
                encoder.set_parameter(zstd::zstd_safe::CParameter::JobSize(ZSTD_JOB))?;
                encoder.include_checksum(true)?;
                Ok(Self::Zstd(Box::new(encoder)))
            }
            Compression::Uncompressed => Ok(Self::Plain(out)),
        }
    }

    pub(crate) fn finish(self) -> io::Result<W> {
        match self {
            Self::Gzip(encoder) => encoder.finish(),
            Self::Zstd(encoder) => encoder.finish(),
            Self::Plain(out) => Ok(out),
        }
    }
}

impl<W: Write + Send + 'static> Write for Encoder<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Gzip(encoder) => encoder.write(bytes),
            Self::Zstd(encoder) => encoder.write(bytes),
            Self::Plain(out) => out.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        // Flushing would cut blocks where the caller happens to be.
        Ok(())
    }
}

/// A block on its way to a worker, with the block before it and where the result goes.
struct Job {
    block: Arc<Vec<u8>>,
    before: Option<Arc<Vec<u8>>>,
    result: SyncSender<io::Result<Deflated>>,
}

struct Deflated {
    bytes: Vec<u8>,
    crc: crc32fast::Hasher,
    /// Of the plain block; gzip counts modulo 2^32.
    length: u32,
}

/// One gzip member, made by several threads: each deflates blocks of fixed size that end on a byte
/// boundary (a sync flush), a last thread joins them in order and adds up the checksum.
pub(crate) struct ParallelGzip<W> {
    block: Vec<u8>,
    before: Option<Arc<Vec<u8>>>,
    jobs: SyncSender<Job>,
    in_order: SyncSender<Receiver<io::Result<Deflated>>>,
    joiner: JoinHandle<io::Result<W>>,
}

impl<W: Write + Send + 'static> ParallelGzip<W> {
    fn new(threads: usize, out: W) -> Self {
        let threads = threads.max(1);
        let (jobs, waiting) = sync_channel::<Job>(threads);
        let (in_order, results) = sync_channel(threads * 2);
        let waiting = Arc::new(Mutex::new(waiting));
        for _ in 0..threads {
            let waiting = Arc::clone(&waiting);
            thread::spawn(move || deflate_jobs(&waiting));
        }
        Self {
            block: Vec::with_capacity(GZIP_BLOCK),
            before: None,
            jobs,
            in_order,
            joiner: thread::spawn(move || join(out, &results)),
        }
    }

    fn send_block(&mut self) -> io::Result<()> {
        let block = Arc::new(std::mem::replace(
            &mut self.block,
            Vec::with_capacity(GZIP_BLOCK),
        ));
        let (result, receiver) = sync_channel(1);
        let job = Job {
            block: Arc::clone(&block),
            before: self.before.replace(block),
            result,
        };
        let gone = || io::Error::from(io::ErrorKind::BrokenPipe);
        self.in_order.send(receiver).map_err(|_| gone())?;
        self.jobs.send(job).map_err(|_| gone())
    }

    fn finish(mut self) -> io::Result<W> {
        let sent = if self.block.is_empty() {
            Ok(())
        } else {
            self.send_block()
        };
        drop(self.jobs);
        drop(self.in_order);
        // The joining thread knows the reason when sending failed.
        let out = self
            .joiner
            .join()
            .unwrap_or_else(|_| Err(io::Error::other("a compressing thread ended early")))?;
        sent.map(|()| out)
    }
}

impl<W: Write + Send + 'static> Write for ParallelGzip<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = bytes.len().min(GZIP_BLOCK - self.block.len());
        self.block.extend_from_slice(&bytes[..length]);
        if self.block.len() == GZIP_BLOCK {
            self.send_block()?;
        }
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn deflate_jobs(waiting: &Mutex<Receiver<Job>>) {
    loop {
        let job = waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .recv();
        let Ok(job) = job else { return };
        if job.result.send(deflate(&job)).is_err() {
            return;
        }
    }
}

/// Deflates one block. Each gets a compressor of its own: one that is reset still finds matches by
/// what it has seen before, so its output would depend on which blocks its thread happened to get.
fn deflate(job: &Job) -> io::Result<Deflated> {
    let mut compress = Compress::new(flate2::Compression::new(GZIP_LEVEL), false);
    if let Some(before) = &job.before {
        let start = before.len().saturating_sub(GZIP_WINDOW);
        compress
            .set_dictionary(&before[start..])
            .map_err(io::Error::other)?;
    }
    // Room for everything at once, because running out of room cuts deflate's own blocks.
    let mut bytes = Vec::with_capacity(job.block.len() + job.block.len() / 8 + 1024);
    compress
        .compress_vec(&job.block, &mut bytes, FlushCompress::Sync)
        .map_err(io::Error::other)?;
    // Space that is left over means that the flush is complete.
    if compress.total_in() != job.block.len() as u64 || bytes.len() == bytes.capacity() {
        return Err(io::Error::other("deflate did not take a whole block"));
    }
    let mut crc = crc32fast::Hasher::new();
    crc.update(&job.block);
    Ok(Deflated {
        bytes,
        crc,
        length: job.block.len() as u32,
    })
}

fn join<W: Write>(mut out: W, results: &Receiver<Receiver<io::Result<Deflated>>>) -> io::Result<W> {
    let mut crc = crc32fast::Hasher::new();
    let mut length = 0_u32;
    out.write_all(&GZIP_HEADER)?;
    for result in results {
        let Ok(deflated) = result.recv() else {
            return Err(io::Error::other("a compressing thread ended early"));
        };
        let deflated = deflated?;
        out.write_all(&deflated.bytes)?;
        crc.combine(&deflated.crc);
        length = length.wrapping_add(deflated.length);
    }
    // An empty last block, then the checksum and the length modulo 2^32.
    out.write_all(&[3, 0])?;
    out.write_all(&crc.finalize().to_le_bytes())?;
    out.write_all(&length.to_le_bytes())?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::process::{Command, Stdio};

    use super::*;

    /// Text with long repetitions across blocks and stretches that do not compress.
    fn sample(length: usize) -> Vec<u8> {
        let mut state = 1_u64;
        let mut out = Vec::with_capacity(length + 64);
        while out.len() < length {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            if (out.len() / 70_000) % 3 == 0 {
                out.extend_from_slice(&state.to_le_bytes());
            } else {
                out.extend_from_slice(format!("line {} of text\n", state >> 58).as_bytes());
            }
        }
        out.truncate(length);
        out
    }

    fn compressed(compression: Compression, threads: usize, plain: &[u8], cut: usize) -> Vec<u8> {
        let mut encoder = Encoder::new(compression, threads, Vec::new()).unwrap();
        for part in plain.chunks(cut) {
            encoder.write_all(part).unwrap();
        }
        encoder.finish().unwrap()
    }

    const SIZES: [usize; 7] = [
        0,
        1,
        1000,
        GZIP_BLOCK - 1,
        GZIP_BLOCK,
        GZIP_BLOCK + 1,
        9 * GZIP_BLOCK + 77,
    ];

    #[test]
    fn gives_the_plain_bytes_back() {
        for size in SIZES {
            let plain = sample(size);
            // One member: a reader that stops after the first one loses nothing.
            let gzip = compressed(Compression::Gzip, 3, &plain, 10_000);
            let mut got = Vec::new();
            let mut decoder = flate2::bufread::GzDecoder::new(&gzip[..]);
            decoder.read_to_end(&mut got).unwrap();
            assert!(got == plain, "gzip, {size} bytes");
            let zstd = compressed(Compression::Zstd, 3, &plain, 10_000);
            assert!(
                zstd::stream::decode_all(&zstd[..]).unwrap() == plain,
                "zstd, {size} bytes"
            );
        }
    }

    /// Machine code, because only varied data shows when a thread remembers earlier blocks.
    #[test]
    fn bytes_do_not_depend_on_threads_or_writes() {
        let own = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let plain = [sample(2 * GZIP_BLOCK + 5), own].concat();
        for compression in [Compression::Gzip, Compression::Zstd] {
            let one = compressed(compression, 1, &plain, 1 << 20);
            for (threads, cut) in [(0, 4096), (2, 333_333), (7, usize::MAX)] {
                let other = compressed(compression, threads, &plain, cut);
                assert!(one == other, "{compression:?} {threads} {cut}");
            }
        }
    }

    /// Programs that other people unpack layers with, as far as they are installed.
    #[test]
    fn other_programs_read_it() {
        let plain = sample(3 * GZIP_BLOCK + 5);
        let python =
            "import sys,gzip;sys.stdout.buffer.write(gzip.decompress(sys.stdin.buffer.read()))";
        for (compression, program, arguments) in [
            (Compression::Gzip, "gzip", &["-dc"][..]),
            (Compression::Gzip, "python3", &["-c", python]),
            (Compression::Zstd, "zstd", &["-dc"]),
        ] {
            let child = Command::new(program)
                .args(arguments)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn();
            let Ok(mut child) = child else {
                eprintln!("skipped: {program} is not installed");
                continue;
            };
            let bytes = compressed(compression, 2, &plain, 1 << 20);
            let mut stdin = child.stdin.take().unwrap();
            let writer = thread::spawn(move || stdin.write_all(&bytes));
            let output = child.wait_with_output().unwrap();
            writer.join().unwrap().unwrap();
            assert!(output.status.success(), "{program}");
            assert!(output.stdout == plain, "{program}");
        }
    }

    #[test]
    fn a_full_disk_is_reported() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::StorageFull.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let plain = sample(30 * GZIP_BLOCK);
        for compression in [Compression::Gzip, Compression::Zstd] {
            let mut encoder = Encoder::new(compression, 2, Full).unwrap();
            let written = encoder.write_all(&plain);
            let error = written.and_then(|()| encoder.finish().map(|_| ()));
            assert!(error.is_err(), "{compression:?}");
        }
    }
}
