//! Running a build that may never end.

use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

/// How often a build is looked at.
const PAUSE: Duration = Duration::from_millis(15);
/// How long a build that was told to stop may clean up.
const GRACE: Duration = Duration::from_secs(10);

/// How a build ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Exited(ExitStatus),
    TimedOut,
}

impl End {
    pub(crate) fn succeeded(self) -> bool {
        matches!(self, Self::Exited(status) if status.success())
    }
}

/// Runs it in a process group of its own, so that nothing of it is left when it is stopped. What it
/// says goes to the file `log`.
pub(crate) fn run(command: &mut Command, log: &Path, timeout: Duration) -> io::Result<End> {
    let out = File::create(log)?;
    let mut child = command
        .stdin(Stdio::null())
        .stdout(out.try_clone()?)
        .stderr(out)
        .process_group(0)
        .spawn()?;
    if let Some(status) = wait(&mut child, timeout)? {
        return Ok(End::Exited(status));
    }
    signal(&child, Signal::TERM);
    if wait(&mut child, GRACE)?.is_none() {
        signal(&child, Signal::KILL);
        child.wait()?;
    }
    Ok(End::TimedOut)
}

fn wait(child: &mut Child, patience: Duration) -> io::Result<Option<ExitStatus>> {
    let started = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if started.elapsed() > patience {
            return Ok(None);
        }
        std::thread::sleep(PAUSE);
    }
}

fn signal(child: &Child, signal: Signal) {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    if let Some(pid) = pid {
        // It may have ended by itself in between.
        let _ = kill_process_group(pid, signal);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(script: &str, timeout: Duration) -> (End, String) {
        let log = tempfile::NamedTempFile::new().expect("making a file");
        let end = run(Command::new("sh").args(["-c", script]), log.path(), timeout);
        let said = std::fs::read_to_string(log.path()).expect("reading the log");
        (end.expect("running sh"), said)
    }

    #[test]
    fn what_it_says_is_kept_and_its_end_is_told() {
        let (end, said) = of("echo out; echo err >&2; exit 3", Duration::from_secs(60));
        assert_eq!(said, "out\nerr\n");
        assert!(!end.succeeded() && end != End::TimedOut);
    }

    #[test]
    fn what_never_ends_is_stopped_with_all_it_started() {
        let (end, said) = of("sleep 1000 & echo $!; wait", Duration::from_secs(3));
        assert_eq!(end, End::TimedOut);
        let left = Path::new("/proc").join(said.trim()).join("status");
        // It was told to end; when it does is for the kernel to say.
        let alive = || {
            let state = std::fs::read_to_string(&left).unwrap_or_default();
            !state.is_empty() && !state.contains("State:\tZ")
        };
        while alive() {
            std::thread::sleep(PAUSE);
        }
    }
}
