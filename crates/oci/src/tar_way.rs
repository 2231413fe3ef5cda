//! What a layer's tar passes through on its way: hashes, compression, onlookers.

use std::io::{self, Read, Write};

use launchway_model::{Algorithm, Digest};

use crate::compress::{Encoder, threads};
use crate::hash::Hasher;
use crate::layers::{check_diff_id, descriptor};
use crate::spec::Descriptor;
use crate::{BlobWriter, CommitOptions, Compression, Stop, Store, StoreError};

/// Where a tar goes: through the hash of the diff id, and on into a compressed blob.
pub(crate) struct TarSink {
    hasher: Hasher,
    pub(crate) size: u64,
    blob: Option<(Compression, Encoder<BlobWriter>)>,
    stop: Stop,
}

pub(crate) struct Packed {
    pub(crate) diff_id: Digest,
    pub(crate) size: u64,
    pub(crate) blob: Option<Descriptor>,
}

impl TarSink {
    /// `algorithm` is that of the diff id.
    pub(crate) fn new(
        store: &Store,
        compression: Option<Compression>,
        algorithm: Algorithm,
    ) -> Result<Self, StoreError> {
        let blob = match compression {
            None => None,
            Some(compression) => {
                let encoder = Encoder::new(compression, threads(), store.blob_writer()?)
                    .map_err(compressing)?;
                Some((compression, encoder))
            }
        };
        Ok(Self {
            hasher: Hasher::with(algorithm),
            size: 0,
            blob,
            stop: Stop::default(),
        })
    }

    /// As [`new`](Self::new), for a layer that is made here.
    pub(crate) fn of_layer(store: &Store, options: &CommitOptions) -> Result<Self, StoreError> {
        let sink = Self::new(store, options.compress, Algorithm::Sha256)?;
        Ok(Self {
            stop: options.stop.clone(),
            ..sink
        })
    }

    pub(crate) fn finish(self, expected: Option<&Digest>) -> Result<Packed, StoreError> {
        let diff_id = self.hasher.finish();
        if let Some(expected) = expected {
            check_diff_id(expected, diff_id.clone())?;
        }
        let blob = match self.blob {
            None => None,
            Some((compression, encoder)) => {
                let writer = encoder.finish().map_err(compressing)?;
                let (digest, size) = writer.finish(None)?;
                Some(descriptor(compression.media_type(), &digest, size))
            }
        };
        Ok(Packed {
            diff_id,
            size: self.size,
            blob,
        })
    }
}

fn compressing(source: io::Error) -> StoreError {
    StoreError::Write {
        what: "compressed layer",
        source,
    }
}

impl Write for TarSink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.stop.is_asked() {
            return Err(io::Error::other("stopped"));
        }
        self.hasher.update(bytes);
        self.size += bytes.len() as u64;
        if let Some((_, encoder)) = &mut self.blob {
            encoder.write_all(bytes)?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Gives everything that is read to the sink too.
pub(crate) struct Tee<'a, R> {
    pub(crate) input: R,
    pub(crate) sink: &'a mut TarSink,
}

impl<R: Read> Read for Tee<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let got = self.input.read(buffer)?;
        self.sink.write_all(&buffer[..got])?;
        Ok(got)
    }
}

/// Looks at bytes as they pass.
pub(crate) trait See {
    fn see(&mut self, bytes: &[u8]);
}

pub(crate) struct Ignored;

impl See for Ignored {
    fn see(&mut self, _bytes: &[u8]) {}
}

pub(crate) struct Seen {
    pub(crate) hasher: Hasher,
    pub(crate) length: u64,
}

impl Seen {
    pub(crate) fn new(hasher: Hasher) -> Self {
        Self { hasher, length: 0 }
    }
}

impl See for Seen {
    fn see(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
        self.length += bytes.len() as u64;
    }
}

pub(crate) struct Watched<'a> {
    pub(crate) input: &'a mut dyn Read,
    pub(crate) seen: &'a mut dyn See,
}

impl Read for Watched<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let got = self.input.read(buffer)?;
        self.seen.see(&buffer[..got]);
        Ok(got)
    }
}
