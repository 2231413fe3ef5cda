//! How a run's description gets to the helper and its outcome back: length-prefixed fields, in memory only, between two
//! processes of the same program. Nothing is stored, so there is no version.

use std::ffi::{OsStr, OsString};
use std::io::{self, Read};
use std::net::IpAddr;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::elf::Machine;
use crate::error::ExecFailure;
use crate::spec::{
    Content, LayersMount, Limits, LimitsHit, MountSpec, Network, Pids, ResourceLimit, RunSpec,
    Stacking, UserIds,
};

/// What the helper is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Order {
    pub(crate) spec: RunSpec,
    pub(crate) stdin: Option<Vec<u8>>,
}

/// What the helper says, at least once; the first report counts, unless a failure follows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Report {
    Exited(i32),
    Signaled(i32),
    TimedOut,
    /// A step of the preparation failed with an OS error.
    Failed {
        step: String,
        errno: i32,
    },
    NotExecuted {
        program: PathBuf,
        cause: ExecFailure,
    },
    /// The first process of the sandbox died of this signal without saying anything.
    Lost(i32),
    /// A limit that was asked for is beyond this machine.
    NotKept {
        limit: String,
        why: String,
    },
    /// Comes after another report.
    Hit(LimitsHit),
}

impl Order {
    /// With its length in front.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let Self { spec, stdin } = self;
        let mut out = Writer::default();
        out.list(&spec.lower, |out, path| out.path(path));
        out.path(match &spec.stacking {
            Stacking::Overlay => Path::new(""),
            Stacking::Copy => Path::new("copy"),
            Stacking::Fuse { program } => program,
        });
        out.optional(spec.upper.as_ref(), |out, path| out.path(path));
        out.optional(spec.work.as_ref(), |out, path| out.path(path));
        out.list(&spec.mounts, Writer::mount);
        out.list(&spec.argv, |out, word| out.bytes(word.as_bytes()));
        out.list(&spec.env, |out, (name, value)| {
            out.bytes(name.as_bytes());
            out.bytes(value.as_bytes());
        });
        out.path(&spec.cwd);
        out.number(spec.user.uid.into());
        out.number(spec.user.gid.into());
        out.list(&spec.user.groups, |out, group| out.number((*group).into()));
        out.bytes(spec.hostname.as_bytes());
        out.flag(spec.network == Network::None);
        out.optional(spec.resolv_conf.as_ref(), |out, path| out.path(path));
        out.optional(spec.hosts.as_ref(), |out, path| out.path(path));
        out.list(&spec.extra_hosts, |out, (name, address)| {
            out.bytes(name.as_bytes());
            out.bytes(address.to_string().as_bytes());
        });
        out.optional(spec.shm_size.as_ref(), |out, size| out.number(*size));
        out.limits(&spec.limits);
        out.optional(spec.timeout.as_ref(), |out, timeout| {
            out.number(u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX));
        });
        out.flag(spec.no_new_privileges);
        out.optional(stdin.as_ref(), |out, bytes| out.bytes(bytes));
        let mut framed = u64::try_from(out.0.len())
            .unwrap_or(u64::MAX)
            .to_le_bytes()
            .to_vec();
        framed.append(&mut out.0);
        framed
    }

    pub(crate) fn read(from: &mut impl Read) -> io::Result<Self> {
        let mut length = [0; 8];
        from.read_exact(&mut length)?;
        let length = u64::from_le_bytes(length);
        let mut bytes = Vec::new();
        from.take(length).read_to_end(&mut bytes)?;
        if u64::try_from(bytes.len()) != Ok(length) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut input = Reader(&bytes);
        let spec = RunSpec {
            lower: input.list(Reader::path)?,
            stacking: match input.path()? {
                path if path.as_os_str().is_empty() => Stacking::Overlay,
                path if path.is_relative() => Stacking::Copy,
                program => Stacking::Fuse { program },
            },
            upper: input.optional(Reader::path)?,
            work: input.optional(Reader::path)?,
            mounts: input.list(Reader::mount)?,
            argv: input.list(Reader::os_string)?,
            env: input.list(|input| Ok((input.os_string()?, input.os_string()?)))?,
            cwd: input.path()?,
            user: UserIds {
                uid: input.small()?,
                gid: input.small()?,
                groups: input.list(Reader::small)?,
            },
            hostname: input.text()?,
            network: if input.flag()? {
                Network::None
            } else {
                Network::Host
            },
            resolv_conf: input.optional(Reader::path)?,
            hosts: input.optional(Reader::path)?,
            extra_hosts: input.list(|input| Ok((input.text()?, input.address()?)))?,
            shm_size: input.optional(Reader::number)?,
            limits: input.limits()?,
            timeout: input.optional(Reader::number)?.map(Duration::from_millis),
            no_new_privileges: input.flag()?,
        };
        Ok(Self {
            spec,
            stdin: input.optional(|input| input.bytes().map(<[u8]>::to_vec))?,
        })
    }
}

impl Report {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Writer::default();
        match self {
            Self::Exited(code) => out.tagged(0, *code),
            Self::Signaled(signal) => out.tagged(1, *signal),
            Self::TimedOut => out.tagged(2, 0),
            Self::Failed { step, errno } => {
                out.tagged(3, *errno);
                out.bytes(step.as_bytes());
            }
            Self::NotExecuted { program, cause } => {
                out.tagged(4, 0);
                out.path(program);
                out.failure(cause);
            }
            Self::Lost(signal) => out.tagged(5, *signal),
            Self::NotKept { limit, why } => {
                out.tagged(6, 0);
                out.bytes(limit.as_bytes());
                out.bytes(why.as_bytes());
            }
            Self::Hit(hit) => {
                out.tagged(7, 0);
                out.flag(hit.memory);
                out.flag(hit.pids);
            }
        }
        out.0
    }

    /// All whole reports that the bytes begin with.
    pub(crate) fn decode_all(bytes: &[u8]) -> Vec<Self> {
        let mut input = Reader(bytes);
        std::iter::from_fn(|| Self::decode(&mut input)).collect()
    }

    fn decode(input: &mut Reader<'_>) -> Option<Self> {
        let tag = input.number().ok()?;
        let number = input.signed().ok()?;
        Some(match tag {
            0 => Self::Exited(number),
            1 => Self::Signaled(number),
            2 => Self::TimedOut,
            3 => Self::Failed {
                step: input.text().ok()?,
                errno: number,
            },
            4 => Self::NotExecuted {
                program: input.path().ok()?,
                cause: input.failure().ok()?,
            },
            5 => Self::Lost(number),
            6 => Self::NotKept {
                limit: input.text().ok()?,
                why: input.text().ok()?,
            },
            7 => Self::Hit(LimitsHit {
                memory: input.flag().ok()?,
                pids: input.flag().ok()?,
            }),
            _ => return None,
        })
    }
}

#[derive(Default)]
struct Writer(Vec<u8>);

impl Writer {
    fn number(&mut self, value: u64) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    fn signed(&mut self, value: i32) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    fn tagged(&mut self, tag: u64, value: i32) {
        self.number(tag);
        self.signed(value);
    }

    fn flag(&mut self, value: bool) {
        self.0.push(u8::from(value));
    }

    fn bytes(&mut self, value: &[u8]) {
        self.number(u64::try_from(value.len()).unwrap_or(u64::MAX));
        self.0.extend_from_slice(value);
    }

    fn path(&mut self, value: &Path) {
        self.bytes(value.as_os_str().as_bytes());
    }

    fn optional<T>(&mut self, value: Option<&T>, write: impl FnOnce(&mut Self, &T)) {
        self.flag(value.is_some());
        if let Some(value) = value {
            write(self, value);
        }
    }

    fn list<T>(&mut self, values: &[T], mut write: impl FnMut(&mut Self, &T)) {
        self.number(u64::try_from(values.len()).unwrap_or(u64::MAX));
        for value in values {
            write(self, value);
        }
    }

    fn mount(&mut self, mount: &MountSpec) {
        match mount {
            MountSpec::Bind {
                source,
                target,
                read_only,
            } => {
                self.number(0);
                self.path(source);
                self.path(target);
                self.flag(*read_only);
            }
            MountSpec::Layers(layers) => {
                self.number(3);
                self.list(&layers.lower, |out, path| out.path(path));
                self.optional(layers.changes.as_ref(), |out, (upper, work)| {
                    out.path(upper);
                    out.path(work);
                });
                self.path(&layers.path);
                self.flag(layers.directory);
                self.path(&layers.target);
            }
            MountSpec::Tmpfs { target, size, mode } => {
                self.number(1);
                self.path(target);
                self.optional(size.as_ref(), |out, size| out.number(*size));
                self.number((*mode).into());
            }
            MountSpec::File {
                content,
                target,
                mode,
                uid,
                gid,
            } => {
                self.number(2);
                self.bytes(&content.0);
                self.path(target);
                for number in [mode, uid, gid] {
                    self.number((*number).into());
                }
            }
        }
    }

    fn limits(&mut self, limits: &Limits) {
        let number = |out: &mut Self, number: &u64| out.number(*number);
        self.optional(limits.memory.as_ref(), number);
        self.optional(limits.memory_and_swap.as_ref(), number);
        match limits.pids {
            Pids::Default => self.number(0),
            Pids::Limit(pids) => {
                self.number(1);
                self.number(pids.into());
            }
            Pids::Unlimited => self.number(2),
        }
        self.optional(limits.cpus.as_ref(), number);
        self.list(&limits.resources, |out, limit| {
            out.bytes(limit.name.as_bytes());
            out.optional(limit.soft.as_ref(), number);
            out.optional(limit.hard.as_ref(), number);
        });
        self.optional(limits.cgroup_parent.as_ref(), |out, path| out.path(path));
    }

    fn failure(&mut self, cause: &ExecFailure) {
        match cause {
            ExecFailure::NotFound => self.tagged(0, 0),
            ExecFailure::NotInPath => self.tagged(1, 0),
            ExecFailure::PermissionDenied => self.tagged(2, 0),
            ExecFailure::Directory => self.tagged(3, 0),
            ExecFailure::InterpreterMissing(path) => {
                self.tagged(4, 0);
                self.path(path);
            }
            ExecFailure::Format(machine) => {
                self.tagged(5, 0);
                self.optional(machine.as_ref(), |out, machine| {
                    out.number(machine.0.into())
                });
            }
            ExecFailure::Other(errno) => self.tagged(6, *errno),
        }
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn raw(&mut self, length: usize) -> io::Result<&'a [u8]> {
        let (head, tail) = self
            .0
            .split_at_checked(length)
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        self.0 = tail;
        Ok(head)
    }

    fn number(&mut self) -> io::Result<u64> {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(self.raw(8)?);
        Ok(u64::from_le_bytes(bytes))
    }

    fn signed(&mut self) -> io::Result<i32> {
        let mut bytes = [0; 4];
        bytes.copy_from_slice(self.raw(4)?);
        Ok(i32::from_le_bytes(bytes))
    }

    fn small(&mut self) -> io::Result<u32> {
        u32::try_from(self.number()?).map_err(|_| io::ErrorKind::InvalidData.into())
    }

    fn flag(&mut self) -> io::Result<bool> {
        Ok(self.raw(1)? == [1])
    }

    fn bytes(&mut self) -> io::Result<&'a [u8]> {
        let length = usize::try_from(self.number()?).map_err(|_| io::ErrorKind::InvalidData)?;
        self.raw(length)
    }

    fn os_string(&mut self) -> io::Result<OsString> {
        self.bytes().map(|bytes| OsString::from_vec(bytes.to_vec()))
    }

    fn path(&mut self) -> io::Result<PathBuf> {
        self.bytes()
            .map(|bytes| PathBuf::from(OsStr::from_bytes(bytes)))
    }

    fn text(&mut self) -> io::Result<String> {
        String::from_utf8(self.bytes()?.to_vec()).map_err(|_| io::ErrorKind::InvalidData.into())
    }

    fn optional<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> io::Result<T>,
    ) -> io::Result<Option<T>> {
        if self.flag()? {
            read(self).map(Some)
        } else {
            Ok(None)
        }
    }

    fn list<T>(&mut self, mut read: impl FnMut(&mut Self) -> io::Result<T>) -> io::Result<Vec<T>> {
        let count = self.number()?;
        (0..count).map(|_| read(self)).collect()
    }

    fn mount(&mut self) -> io::Result<MountSpec> {
        Ok(match self.number()? {
            0 => MountSpec::Bind {
                source: self.path()?,
                target: self.path()?,
                read_only: self.flag()?,
            },
            1 => MountSpec::Tmpfs {
                target: self.path()?,
                size: self.optional(Self::number)?,
                mode: self.small()?,
            },
            2 => MountSpec::File {
                content: Content(self.bytes()?.to_vec()),
                target: self.path()?,
                mode: self.small()?,
                uid: self.small()?,
                gid: self.small()?,
            },
            3 => MountSpec::Layers(LayersMount {
                lower: self.list(Self::path)?,
                changes: self.optional(|input| Ok((input.path()?, input.path()?)))?,
                path: self.path()?,
                directory: self.flag()?,
                target: self.path()?,
            }),
            _ => return Err(io::ErrorKind::InvalidData.into()),
        })
    }

    fn address(&mut self) -> io::Result<IpAddr> {
        self.text()?
            .parse()
            .map_err(|_| io::ErrorKind::InvalidData.into())
    }

    fn limits(&mut self) -> io::Result<Limits> {
        Ok(Limits {
            memory: self.optional(Self::number)?,
            memory_and_swap: self.optional(Self::number)?,
            pids: match self.number()? {
                0 => Pids::Default,
                1 => Pids::Limit(self.small()?),
                _ => Pids::Unlimited,
            },
            cpus: self.optional(Self::number)?,
            resources: self.list(|input| {
                Ok(ResourceLimit {
                    name: input.text()?,
                    soft: input.optional(Self::number)?,
                    hard: input.optional(Self::number)?,
                })
            })?,
            cgroup_parent: self.optional(Self::path)?,
        })
    }

    fn failure(&mut self) -> io::Result<ExecFailure> {
        let tag = self.number()?;
        let errno = self.signed()?;
        Ok(match tag {
            0 => ExecFailure::NotFound,
            1 => ExecFailure::NotInPath,
            2 => ExecFailure::PermissionDenied,
            3 => ExecFailure::Directory,
            4 => ExecFailure::InterpreterMissing(self.path()?),
            5 => ExecFailure::Format(
                self.optional(Self::small)?
                    .map(|machine| Machine(u16::try_from(machine).unwrap_or(u16::MAX))),
            ),
            _ => ExecFailure::Other(errno),
        })
    }
}

#[cfg(test)]
#[path = "wire_tests.rs"]
mod tests;
