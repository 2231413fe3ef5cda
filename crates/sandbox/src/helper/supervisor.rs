//! The process the caller started: leaves the caller's namespaces, stacks the layers, watches the caller and the clock, reports the end.

use std::ffi::CString;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{CWD, MemfdFlags, SealFlags, fcntl_add_seals, fstat, memfd_create};
use rustix::io::Errno;
use rustix::mount::{MountPropagationFlags, OpenTreeFlags, mount_change, open_tree};
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitOptions, pidfd_open, pidfd_send_signal, waitpid,
};
use rustix::thread::UnshareFlags;

use super::{Refused, SHIELDED_MARKER, Step, cgroup, init, root, seccomp, sys};
use crate::spec::{LimitsHit, Network, RunSpec};
use crate::wire::{Order, Report};

const OWN_PROGRAM: &str = "/proc/self/exe";

/// Starts the program again from a read-only mount of itself that exists nowhere else.
///
/// A command can reach the program file it was started by through /proc: with this it finds it unwritable, whatever it
/// does and whenever it does it.
pub(super) fn shield() -> ! {
    let refused = match shielded_program() {
        Ok(program) => {
            let name = CString::new(SHIELDED_MARKER).expect("the marker holds no zero byte");
            let source = sys::exec_file(program.as_fd(), &[name]);
            Refused {
                step: String::from("starting the helper from a read-only mount"),
                source,
            }
        }
        Err(refused) => refused,
    };
    let code = match rustix::io::dup(rustix::stdio::stdin()) {
        Ok(caller) => send(&UnixStream::from(caller), &refused.report()),
        Err(_) => 1,
    };
    sys::exit_now(code)
}

fn shielded_program() -> Result<OwnedFd, Refused> {
    sys::unshare(UnshareFlags::NEWNS).step("creating a mount namespace")?;
    mount_change(
        "/",
        MountPropagationFlags::PRIVATE | MountPropagationFlags::REC,
    )
    .step("separating the mounts from the host's")?;
    let running = File::open(OWN_PROGRAM).step("opening the helper's program")?;
    match read_only_mount(&running)
        .step("making the helper's program read-only (needs Linux 5.12)")?
    {
        Some(mount) => Ok(mount),
        None => sealed_copy(running).step("copying the helper's program"),
    }
}

/// A read-only mount of the running program, unless its path leads to another file by now. The link in /proc itself
/// leads to a mount of the namespace that was left, which cannot be copied.
fn read_only_mount(running: &File) -> io::Result<Option<OwnedFd>> {
    let path = std::fs::read_link(OWN_PROGRAM)?;
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let mount = match open_tree(CWD, &path, flags) {
        Err(Errno::NOENT) => return Ok(None),
        other => other?,
    };
    let (wanted, found) = (fstat(running)?, fstat(&mount)?);
    if (wanted.st_dev, wanted.st_ino) != (found.st_dev, found.st_ino) {
        return Ok(None);
    }
    sys::set_mount_attributes(mount.as_fd(), sys::MOUNT_READ_ONLY)?;
    Ok(Some(mount))
}

/// A copy of the running program in memory that cannot be changed any more.
fn sealed_copy(mut running: File) -> io::Result<OwnedFd> {
    let memory = memfd_create("launchway", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    let mut copy = File::from(memory);
    io::copy(&mut running, &mut copy)?;
    fcntl_add_seals(
        &copy,
        SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE,
    )?;
    Ok(copy.into())
}

/// Carries out the order that waits on standard input.
pub(super) fn run() -> ! {
    let code = match rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3) {
        Ok(caller) => {
            let mut caller = UnixStream::from(caller);
            let report = carry_out(&mut caller).unwrap_or_else(|refused| refused.report());
            send(&caller, &report)
        }
        Err(_) => 1,
    };
    sys::exit_now(code)
}

fn carry_out(caller: &mut UnixStream) -> Result<Report, Refused> {
    sys::close_on_exec_all().step("closing the caller's files")?;
    let order = Order::read(caller).step("reading the order")?;
    let filter = seccomp::filter().step("choosing the syscall filter")?;
    // Kept from here on: it goes, with its group, when this function is left.
    let group = match cgroup::create(&order.spec.limits) {
        Ok(group) => group,
        Err(cgroup::NotKept { limit, why }) => {
            return Ok(Report::NotKept {
                limit: limit.to_owned(),
                why,
            });
        }
    };
    let (root, leftovers) = root::prepare(&order.spec)?;
    separate(&order.spec)?;
    let deadline = order
        .spec
        .timeout
        .and_then(|timeout| Instant::now().checked_add(timeout));

    let own = rustix::process::getpid();
    let supervisor =
        pidfd_open(own, PidfdFlags::empty()).step("opening the supervisor's process")?;
    match sys::fork().step("starting the first process of the sandbox")? {
        sys::Forked::Child => init::run(&order, root, &filter, caller, &supervisor, group),
        sys::Forked::Parent(init) => {
            drop((order, root));
            let report = watch(caller, init, deadline)?;
            // A failure here comes after the word of init, and counts more.
            leftovers.clear()?;
            let hit = group.as_ref().map(cgroup::Group::hit).unwrap_or_default();
            if hit != LimitsHit::default() {
                // The first report counts for the end: that of init, or this one.
                send(caller, &report);
                return Ok(Report::Hit(hit));
            }
            Ok(report)
        }
    }
}

/// Leaves every namespace but those of users and, where asked, the network. The process namespace begins with the next
/// child.
fn separate(spec: &RunSpec) -> Result<(), Refused> {
    let mut flags = UnshareFlags::NEWPID | UnshareFlags::NEWIPC | UnshareFlags::NEWUTS;
    if spec.network == Network::None {
        flags |= UnshareFlags::NEWNET;
    }
    sys::unshare(flags).step("creating namespaces")?;
    // Keys of the caller's session are not for the command. Refused where there are no keys at all.
    let _ = sys::new_session_keyring();
    rustix::system::sethostname(spec.hostname.as_bytes()).step("setting the host name")?;
    if spec.network == Network::None {
        sys::loopback_up().step("starting the loopback interface")?;
    }
    Ok(())
}

/// Waits for init to end, and ends it when the caller is gone or says so, or when the time is up.
fn watch(caller: &UnixStream, init: Pid, deadline: Option<Instant>) -> Result<Report, Refused> {
    let process = pidfd_open(init, PidfdFlags::empty()).step("watching the sandbox")?;
    let mut end = None;
    while end.is_none() {
        let timeout =
            match deadline.map(|deadline| deadline.saturating_duration_since(Instant::now())) {
                Some(left) if left.is_zero() => {
                    end = Some(Report::TimedOut);
                    break;
                }
                left => left.and_then(|left| rustix::event::Timespec::try_from(left).ok()),
            };
        let mut events = [
            PollFd::new(&process, PollFlags::IN),
            PollFd::new(caller, PollFlags::IN),
        ];
        match poll(&mut events, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error).step("watching the sandbox"),
        }
        if !events[0].revents().is_empty() {
            break;
        }
        // The caller never sends a second message: a word from it, or its end, both mean that it has had enough.
        if !events[1].revents().is_empty() {
            end = Some(Report::Signaled(libc::SIGKILL));
        }
    }
    if end.is_some() {
        // Fails only when init ended meanwhile.
        let _ = pidfd_send_signal(&process, Signal::KILL);
    }
    // Init is gone only when everything in its process namespace is.
    let status = loop {
        match waitpid(Some(init), WaitOptions::empty()) {
            Ok(Some((_, status))) => break status,
            Ok(None) | Err(Errno::INTR) => {}
            Err(error) => return Err(error).step("waiting for the sandbox"),
        }
    };
    // Init reported by itself when it ended by itself, and the first report counts.
    Ok(end.unwrap_or_else(|| Report::Lost(status.terminating_signal().unwrap_or(0))))
}

/// The exit code to end with: a caller that is gone is no reason for noise.
fn send(mut caller: &UnixStream, report: &Report) -> i32 {
    i32::from(caller.write_all(&report.encode()).is_err())
}
