//! The last process before the command: gives up what the command must not have, and becomes it.

use std::ffi::{CString, OsStr, OsString};
use std::fs::File;
use std::io::{self, Seek, Write};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use rustix::fs::{
    CWD, FileType, Gid, MemfdFlags, Mode, OFlags, Uid, fchown, fstat, memfd_create, openat,
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit, setsid, umask};
use rustix::thread::{
    CapabilitySet, CapabilitySets, clear_ambient_capability_set,
    remove_capability_from_bounding_set, set_capabilities, set_no_new_privs, set_thread_groups,
    set_thread_res_gid, set_thread_res_uid,
};

use super::{Refused, Step, sys};
use crate::elf;
use crate::error::ExecFailure;
use crate::spec::{ResourceLimit, UserIds};
use crate::wire::{Order, Report};

/// What Docker leaves to root in a container.
const CAPABILITIES: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::FSETID)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::MKNOD)
    .union(CapabilitySet::NET_RAW)
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::SETUID)
    .union(CapabilitySet::SETFCAP)
    .union(CapabilitySet::SETPCAP)
    .union(CapabilitySet::NET_BIND_SERVICE)
    .union(CapabilitySet::SYS_CHROOT)
    .union(CapabilitySet::KILL)
    .union(CapabilitySet::AUDIT_WRITE);

/// Used when the environment has no `PATH`.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Open files a command may have, if the host permits as many. Docker's usual value; without a limit some programs
/// spend minutes closing what is not open.
const OPEN_FILES: u64 = 1 << 20;

pub(super) fn run(order: &Order, filter: &[sys::FilterInstruction], mut caller: &UnixStream) -> ! {
    let report = match prepare(order, filter) {
        Ok(()) => start(order),
        Err(refused) => refused.report(),
    };
    // With the caller gone there is nobody to tell.
    let _ = caller.write_all(&report.encode());
    sys::exit_now(127)
}

fn prepare(order: &Order, filter: &[sys::FilterInstruction]) -> Result<(), Refused> {
    let spec = &order.spec;
    setsid().step("starting a session")?;
    connect_streams(order)?;
    umask(Mode::from_raw_mode(0o022));
    limit_open_files().step("limiting open files")?;
    limit_core_files().step("limiting core files")?;
    for limit in &spec.limits.resources {
        limit_resource(limit).step(format_args!(
            "setting the limit {} (may it be raised?)",
            limit.name
        ))?;
    }
    sys::reset_signals();
    enter_working_directory(&spec.cwd)?;
    sys::close_on_exec_all().step("closing the helper's files")?;

    if spec.no_new_privileges {
        set_no_new_privs(true).step("giving up new privileges")?;
    }
    // While the process still may: without no_new_privs it takes a capability that goes with the next step.
    sys::install_syscall_filter(filter).step("installing the syscall filter")?;
    bound_capabilities().step("bounding the capabilities")?;
    become_user(&spec.user)?;
    let kept = if spec.user.uid == 0 {
        CAPABILITIES
    } else {
        CapabilitySet::empty()
    };
    let sets = CapabilitySets {
        effective: kept,
        permitted: kept,
        inheritable: CapabilitySet::empty(),
    };
    set_capabilities(None, sets).step("dropping capabilities")?;
    // Refused where ambient capabilities do not exist.
    let _ = clear_ambient_capability_set();
    Ok(())
}

/// Standard input from the order, and output that a user other than root may open again through /dev/stdout.
fn connect_streams(order: &Order) -> Result<(), Refused> {
    let input: OwnedFd = match &order.stdin {
        None => openat(
            CWD,
            "/dev/null",
            OFlags::RDONLY | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .step("opening /dev/null")?,
        Some(bytes) => {
            let memory =
                memfd_create("stdin", MemfdFlags::CLOEXEC).step("keeping the standard input")?;
            let mut file = File::from(memory);
            file.write_all(bytes).step("keeping the standard input")?;
            file.rewind().step("keeping the standard input")?;
            file.into()
        }
    };
    rustix::stdio::dup2_stdin(&input).step("connecting the standard input")?;
    let own = |stream: BorrowedFd<'_>| {
        if fstat(stream)
            .is_ok_and(|status| FileType::from_raw_mode(status.st_mode) == FileType::Fifo)
        {
            // Refused for ids that do not exist in this user namespace, where the command will not start either.
            let _ = fchown(
                stream,
                Some(Uid::from_raw(order.spec.user.uid)),
                Some(Gid::from_raw(order.spec.user.gid)),
            );
        }
    };
    own(rustix::stdio::stdout());
    own(rustix::stdio::stderr());
    Ok(())
}

fn limit_open_files() -> io::Result<()> {
    let most = getrlimit(Resource::Nofile)
        .maximum
        .map_or(OPEN_FILES, |maximum| maximum.min(OPEN_FILES));
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: Some(most),
            maximum: Some(most),
        },
    )
    .map_err(Into::into)
}

/// A program that crashes leaves no core file in the layer, unless it asks for that itself.
fn limit_core_files() -> io::Result<()> {
    let maximum = getrlimit(Resource::Core).maximum;
    let limit = Rlimit {
        current: Some(0),
        maximum,
    };
    setrlimit(Resource::Core, limit).map_err(Into::into)
}

fn limit_resource(limit: &ResourceLimit) -> io::Result<()> {
    let resource = match limit.name.as_str() {
        "core" => Resource::Core,
        "cpu" => Resource::Cpu,
        "data" => Resource::Data,
        "fsize" => Resource::Fsize,
        "locks" => Resource::Locks,
        "memlock" => Resource::Memlock,
        "msgqueue" => Resource::Msgqueue,
        "nice" => Resource::Nice,
        "nofile" => Resource::Nofile,
        "nproc" => Resource::Nproc,
        "rss" => Resource::Rss,
        "rtprio" => Resource::Rtprio,
        "rttime" => Resource::Rttime,
        "sigpending" => Resource::Sigpending,
        "stack" => Resource::Stack,
        _ => return Err(io::Error::from_raw_os_error(libc::EINVAL)),
    };
    let limit = Rlimit {
        current: limit.soft,
        maximum: limit.hard,
    };
    setrlimit(resource, limit).map_err(Into::into)
}

/// A path through /proc could lead to a directory that this process holds open; none does, and if one did, it would not
/// be below the root.
fn enter_working_directory(path: &Path) -> Result<(), Refused> {
    let step = || format!("entering the working directory {}", path.display());
    rustix::process::chdir(path).step(step())?;
    let reached = rustix::process::getcwd(Vec::new()).step(step())?;
    if reached.to_bytes().starts_with(b"/") {
        Ok(())
    } else {
        Err(io::Error::from_raw_os_error(libc::EXDEV)).step(step())
    }
}

fn bound_capabilities() -> io::Result<()> {
    for bit in 0..u64::BITS {
        let capability = CapabilitySet::from_bits_retain(1 << bit);
        if CAPABILITIES.contains(capability) {
            continue;
        }
        match remove_capability_from_bounding_set(capability) {
            // Beyond the last one that this kernel knows.
            Err(rustix::io::Errno::INVAL) => break,
            other => other?,
        }
    }
    Ok(())
}

fn become_user(user: &UserIds) -> Result<(), Refused> {
    let groups: Vec<Gid> = user
        .groups
        .iter()
        .map(|group| Gid::from_raw(*group))
        .collect();
    match set_thread_groups(&groups) {
        // A user namespace with a single id must not drop groups, and has none to add.
        Err(rustix::io::Errno::PERM) if user.groups.iter().all(|group| *group == user.gid) => {}
        other => other.step("setting the supplementary groups")?,
    }
    let gid = Gid::from_raw(user.gid);
    set_thread_res_gid(gid, gid, gid)
        .step(format_args!("becoming group {} (is it mapped?)", user.gid))?;
    let uid = Uid::from_raw(user.uid);
    set_thread_res_uid(uid, uid, uid)
        .step(format_args!("becoming user {} (is it mapped?)", user.uid))
}

/// Becomes the command, or tells why that is impossible.
fn start(order: &Order) -> Report {
    let spec = &order.spec;
    let Some(first) = spec.argv.first() else {
        return Report::NotExecuted {
            program: PathBuf::new(),
            cause: ExecFailure::NotFound,
        };
    };
    let name = |text: &OsStr| CString::new(text.as_bytes()).ok();
    let arguments: Option<Vec<CString>> = spec.argv.iter().map(|word| name(word)).collect();
    let environment: Option<Vec<CString>> = spec
        .env
        .iter()
        .map(|(key, value)| {
            let mut pair = key.clone();
            pair.push("=");
            pair.push(value);
            name(&pair)
        })
        .collect();
    let (Some(arguments), Some(environment)) = (arguments, environment) else {
        return Report::NotExecuted {
            program: first.into(),
            cause: ExecFailure::Other(libc::EINVAL),
        };
    };

    let mut refused = None;
    for candidate in candidates(order, first) {
        let Some(path) = name(candidate.as_os_str()) else {
            continue;
        };
        let error = sys::exec(&path, &arguments, &environment);
        match error.raw_os_error() {
            // Something by that name is there, but cannot be run: look on, and tell this when nothing better comes.
            Some(libc::EACCES) if !candidate.is_dir() => refused = Some((candidate, error)),
            Some(libc::EACCES | libc::ENOTDIR) => {}
            Some(libc::ENOENT) if !candidate.exists() => {}
            _ => {
                let cause = explain(&candidate, &error);
                return Report::NotExecuted {
                    program: candidate,
                    cause,
                };
            }
        }
    }
    match refused {
        Some((program, error)) => {
            let cause = explain(&program, &error);
            Report::NotExecuted { program, cause }
        }
        None if is_path(first) && Path::new(first).is_dir() => Report::NotExecuted {
            program: first.into(),
            cause: ExecFailure::Directory,
        },
        None if is_path(first) => Report::NotExecuted {
            program: first.into(),
            cause: ExecFailure::NotFound,
        },
        None => Report::NotExecuted {
            program: first.into(),
            cause: ExecFailure::NotInPath,
        },
    }
}

fn is_path(word: &OsStr) -> bool {
    word.as_bytes().contains(&b'/')
}

/// The files that a first word of a command can mean.
fn candidates(order: &Order, word: &OsStr) -> Vec<PathBuf> {
    if is_path(word) || word.is_empty() {
        return vec![PathBuf::from(word)];
    }
    let path: OsString = super::init::variable(order, "PATH")
        .cloned()
        .unwrap_or_else(|| DEFAULT_PATH.into());
    // An empty entry means the working directory; joined with "." it stays a path and is not looked up again.
    std::env::split_paths(&path)
        .map(|directory| {
            if directory.as_os_str().is_empty() {
                Path::new(".").join(word)
            } else {
                directory.join(word)
            }
        })
        .collect()
}

fn explain(program: &Path, error: &io::Error) -> ExecFailure {
    match error.raw_os_error() {
        Some(libc::ENOENT) => match elf::interpreter(program) {
            Some(interpreter) => ExecFailure::InterpreterMissing(interpreter),
            None => ExecFailure::NotFound,
        },
        Some(libc::EACCES) if program.is_dir() => ExecFailure::Directory,
        Some(libc::EACCES) => ExecFailure::PermissionDenied,
        Some(libc::ENOEXEC) => ExecFailure::Format(elf::machine(program)),
        other => ExecFailure::Other(other.unwrap_or(libc::EIO)),
    }
}
