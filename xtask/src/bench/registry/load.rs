//! The lines that compare servers: one load for both, over files on disk.
//!
//! The load is threads that block, each with one connection, which take blobs from a common list
//! until it is empty. The bytes are the same for both servers; every blob has another digest. Files
//! are on disk and each server flushes what it usually does; what was pushed is pulled from the
//! machine's cache of files.

use std::fs;
use std::io::Read as _;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use anyhow::{Context, Result, bail};

use super::images::{self, Noise};
use super::wire::Connection;
use crate::launchway::Launchway;
use crate::servers::Server;
use crate::{example, shell};

/// How many clients there are at once.
pub(super) const CLIENTS: [usize; 3] = [1, 4, 16];

const BLOBS: usize = 32;
const SIZE: usize = 16 * 1024 * 1024;
const REPOSITORY: &str = "bench/load";

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Embedded,
    Distribution,
}

impl Kind {
    pub(super) const ALL: [Self; 2] = [Self::Embedded, Self::Distribution];

    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Embedded => "launchway registry serve",
            Self::Distribution => "docker-registry",
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    Push,
    Pull,
}

impl Direction {
    pub(super) const ALL: [Self; 2] = [Self::Push, Self::Pull];

    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Push => "push",
            Self::Pull => "pull",
        }
    }
}

/// One server under one load.
pub(super) struct Throughput {
    pub(super) kind: Kind,
    pub(super) direction: Direction,
    pub(super) clients: usize,
    pub(super) samples: Vec<Load>,
}

#[derive(Clone, Copy)]
pub(super) struct Load {
    /// Millions of bytes in a second.
    pub(super) rate: f64,
    /// The server's processor time, in seconds.
    pub(super) processor: f64,
    /// The most memory that the server had during this, in bytes.
    pub(super) memory: u64,
}

pub(super) fn measure(launchway: &Launchway, runs: usize) -> Result<Vec<Throughput>> {
    let blobs = Blobs::make()?;
    let folder = shell::target().join("bench-registry");
    let mut all = Vec::new();
    for direction in Direction::ALL {
        for clients in CLIENTS {
            for kind in Kind::ALL {
                all.push(Throughput {
                    kind,
                    direction,
                    clients,
                    samples: Vec::new(),
                });
            }
        }
    }
    for round in 0..runs {
        for clients in CLIENTS {
            for turn in 0..Kind::ALL.len() {
                let kind = Kind::ALL[(round + turn) % Kind::ALL.len()];
                for (direction, load) in one_run(launchway, kind, clients, &blobs, &folder)? {
                    all.iter_mut()
                        .filter(|one| {
                            one.kind == kind && one.clients == clients && one.direction == direction
                        })
                        .for_each(|one| one.samples.push(load));
                }
            }
        }
    }
    fs::remove_dir_all(&folder)?;
    Ok(all)
}

/// A new server with nothing in it takes all blobs and gives them out again.
fn one_run(
    launchway: &Launchway,
    kind: Kind,
    clients: usize,
    blobs: &Blobs,
    folder: &Path,
) -> Result<[(Direction, Load); 2]> {
    example::replace_folder(folder)?;
    let root = folder.join("files");
    let server = match kind {
        Kind::Embedded => Server::embedded(launchway.program(), &root)?,
        Kind::Distribution => Server::distribution(&root)?,
    };
    // What was written before is not this one's to wait for.
    shell::quietly(&mut Command::new("sync"))?;
    let host = server.host();
    let pid = server.pid();
    let pushed = under_load(
        pid,
        clients,
        |connection, number| {
            let (start, digest) = &blobs.distinct[number];
            let mut bytes = start.as_slice().chain(blobs.common.as_slice());
            connection.put_blob(REPOSITORY, digest, &mut bytes, blobs.length())
        },
        &host,
    )?;
    let pulled = under_load(
        pid,
        clients,
        |connection, number| {
            let (_, digest) = &blobs.distinct[number];
            let read = connection.get_and_forget(&format!("/v2/{REPOSITORY}/blobs/{digest}"))?;
            if read != blobs.length() {
                bail!("{digest} came back with {read} bytes");
            }
            Ok(())
        },
        &host,
    )?;
    Ok([(Direction::Push, pushed), (Direction::Pull, pulled)])
}

/// Lets so many clients do the work for each blob's number.
fn under_load(
    pid: u32,
    clients: usize,
    work: impl Fn(&mut Connection, usize) -> Result<()> + Sync,
    host: &str,
) -> Result<Load> {
    forget_peak(pid)?;
    let before = processor_time(pid)?;
    let next = AtomicUsize::new(0);
    let start = Instant::now();
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..clients)
            .map(|_| {
                scope.spawn(|| -> Result<()> {
                    let mut connection = Connection::open(host)?;
                    loop {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        if number >= BLOBS {
                            return Ok(());
                        }
                        work(&mut connection, number)?;
                    }
                })
            })
            .collect();
        for thread in threads {
            let ended = thread.join();
            ended.unwrap_or_else(|_| bail!("a client of the load ended early"))?;
        }
        Ok::<(), anyhow::Error>(())
    })?;
    let wall = start.elapsed().as_secs_f64();
    Ok(Load {
        rate: (BLOBS * SIZE) as f64 / 1e6 / wall,
        processor: processor_time(pid)? - before,
        memory: peak(pid)?,
    })
}

/// What goes up and comes down: a start of its own for each blob, and the rest in common.
struct Blobs {
    distinct: Vec<([u8; 8], String)>,
    common: Vec<u8>,
}

impl Blobs {
    fn make() -> Result<Self> {
        let mut common = Vec::with_capacity(SIZE - 8);
        Noise::new(4)
            .take(SIZE as u64 - 8)
            .read_to_end(&mut common)?;
        let distinct = (0..BLOBS as u64)
            .map(|number| {
                let start = number.to_le_bytes();
                (start, images::digest(&[&start, &common]))
            })
            .collect();
        Ok(Self { distinct, common })
    }

    fn length(&self) -> u64 {
        self.common.len() as u64 + 8
    }
}

/// User and system time of a process that runs, in seconds.
fn processor_time(pid: u32) -> Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name in parentheses may hold anything.
    let (_, fields) = stat.rsplit_once(')').context("cannot read /proc")?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok());
    let (user, system) = ticks(11).zip(ticks(12)).context("cannot read /proc")?;
    // The kernel counts in hundredths for everyone who reads this.
    Ok((user + system) / 100.0)
}

/// Lets the kernel start again with a process's greatest use of memory.
fn forget_peak(pid: u32) -> Result<()> {
    fs::write(format!("/proc/{pid}/clear_refs"), "5")
        .context("cannot reset the server's memory peak")
}

fn peak(pid: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let kib: u64 = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .and_then(|value| value.trim().strip_suffix(" kB"))
        .and_then(|number| number.parse().ok())
        .context("the kernel tells no memory peak")?;
    Ok(kib * 1024)
}
