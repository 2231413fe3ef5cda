//! Process 1 of the sandbox: enters the root, starts the command, reaps what is left over, and reports.

use std::ffi::OsString;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{
    DumpableBehavior, Pid, Signal, WaitOptions, WaitStatus, set_dumpable_behavior,
    set_parent_process_death_signal, wait,
};
use rustix::thread::UnshareFlags;

use super::cgroup::Group;
use super::root::Root;
use super::{Refused, Step, command, sys};
use crate::wire::{Order, Report};

pub(super) fn run(
    order: &Order,
    root: Root,
    filter: &[sys::FilterInstruction],
    caller: &UnixStream,
    supervisor: &OwnedFd,
    group: Option<Group>,
) -> ! {
    let report = live(order, root, filter, caller, supervisor, group)
        .unwrap_or_else(|refused| refused.report());
    let mut caller = caller;
    // With the caller gone there is nobody to tell.
    let _ = caller.write_all(&report.encode());
    // Everything that still runs in the sandbox is killed by the kernel now.
    sys::exit_now(0)
}

fn live(
    order: &Order,
    root: Root,
    filter: &[sys::FilterInstruction],
    caller: &UnixStream,
    supervisor: &OwnedFd,
    group: Option<Group>,
) -> Result<Report, Refused> {
    set_parent_process_death_signal(Some(Signal::KILL))
        .step("tying the sandbox to its supervisor")?;
    // The signal only tells of ends to come.
    let mut events = [PollFd::new(supervisor, PollFlags::IN)];
    if poll(
        &mut events,
        Some(&Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        }),
    )
    .step("looking at the supervisor")?
        != 0
    {
        sys::exit_now(1);
    }

    if let Some(group) = group {
        group.enter().step("entering the control group")?;
    }
    // Hides where in the host's control groups the build is; kernels without control groups refuse it.
    match sys::unshare(UnshareFlags::NEWCGROUP) {
        Err(error) if error.raw_os_error() != Some(libc::EINVAL) => {
            return Err(error).step("creating a cgroup namespace");
        }
        _ => {}
    }
    expect_to_be_killed();
    root.enter(order.spec.shm_size)?;
    // The command may look at process 1, but not into it.
    set_dumpable_behavior(DumpableBehavior::NotDumpable).step("shielding the first process")?;
    match sys::fork().step("starting the command's process")? {
        sys::Forked::Child => command::run(order, filter, caller),
        sys::Forked::Parent(command) => reap(command),
    }
}

/// A caller that the kernel is to spare when memory runs out does not pass that on to its steps.
fn expect_to_be_killed() {
    const ADJUSTMENT: &str = "/proc/self/oom_score_adj";
    let spared = std::fs::read_to_string(ADJUSTMENT)
        .is_ok_and(|text| text.trim().parse::<i32>().is_ok_and(|score| score < 0));
    if spared {
        // Refused to nobody: it makes things worse for this process.
        let _ = std::fs::write(ADJUSTMENT, "0");
    }
}

/// Waits for everything until the command itself has ended.
fn reap(command: Pid) -> Result<Report, Refused> {
    loop {
        match wait(WaitOptions::empty()) {
            Ok(Some((process, status))) if process == command => return Ok(outcome(status)),
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error).step("waiting for the command"),
        }
    }
}

fn outcome(status: WaitStatus) -> Report {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => Report::Exited(code),
        (None, Some(signal)) => Report::Signaled(signal),
        (None, None) => Report::Lost(0),
    }
}

/// Value of a variable in the command's environment; the last one counts, as in a shell.
pub(super) fn variable<'a>(order: &'a Order, name: &str) -> Option<&'a OsString> {
    order
        .spec
        .env
        .iter()
        .rev()
        .find(|(key, _)| key == name)
        .map(|(_, value)| value)
}
