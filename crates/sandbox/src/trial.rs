//! Trying what a build needs, in a process of its own that ends with it: nothing is left behind.
//!
//! The caller starts this program again under another name. It enters a user namespace if it has to, as a build does, and
//! tells a line for each thing it tries.

use std::ffi::OsString;
use std::fmt::Display;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::fs::{Access, AtFlags, CWD, accessat};
use rustix::io::Errno;
use rustix::mount::{MountPropagationFlags, mount_change};
use rustix::process::{WaitOptions, waitpid};
use rustix::thread::UnshareFlags;

use crate::helper::{TRIAL_MARKER, control_group_trial, mounts, seccomp, sys};
use crate::stacking;
use crate::user_namespace::{self, UserNamespaceError};

/// Separates the fields of a line.
const SEPARATOR: char = '\u{1f}';

/// What came of trying something.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Trial {
    pub(crate) name: String,
    /// 0 when it worked.
    pub(crate) errno: i32,
    /// What the kernel or a program said.
    pub(crate) why: String,
    pub(crate) remedy: String,
}

/// Tries everything. Empty where the program cannot be started, which then has other worries.
pub(crate) fn try_all(program: &Path, directory: &Path) -> Vec<Trial> {
    let path: OsString = std::env::var_os("PATH").unwrap_or_default();
    let output = Command::new(program)
        .arg0(TRIAL_MARKER)
        .arg(directory)
        .env_clear()
        .env("PATH", path)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output();
    output.map_or_else(
        |_| Vec::new(),
        |output| parse(&String::from_utf8_lossy(&output.stdout)),
    )
}

fn parse(text: &str) -> Vec<Trial> {
    text.lines()
        .filter_map(|line| {
            let mut fields = line.split(SEPARATOR);
            Some(Trial {
                name: fields.next()?.to_owned(),
                errno: fields.next()?.parse().ok()?,
                why: fields.next()?.to_owned(),
                remedy: fields.next()?.to_owned(),
            })
        })
        .collect()
}

fn tell(name: &str, errno: i32, why: impl Display, remedy: &str) {
    let clean = |text: String| text.replace(['\n', SEPARATOR], " ");
    let fields = [
        name.to_owned(),
        errno.to_string(),
        clean(why.to_string()),
        clean(remedy.to_owned()),
    ];
    let line = fields.join(&SEPARATOR.to_string()) + "\n";
    // With the caller gone there is nobody to tell.
    let _ = rustix::io::write(rustix::stdio::stdout(), line.as_bytes());
}

fn tell_result(name: &str, result: io::Result<()>) {
    match result {
        Ok(()) => tell(name, 0, "", ""),
        Err(error) => tell(name, code(&error), &error, ""),
    }
}

fn code(error: &io::Error) -> i32 {
    error.raw_os_error().unwrap_or(libc::EIO)
}

/// The process that tries.
pub(crate) fn run() -> ! {
    let directory = std::env::args_os().nth(1).unwrap_or_else(|| "/".into());
    attempt(Path::new(&directory));
    sys::exit_now(0)
}

fn attempt(directory: &Path) {
    if user_namespace::user_namespace_needed() {
        match user_namespace::unshare_and_map() {
            Ok(trouble) => {
                tell("user-namespaces", 0, "", "");
                tell(
                    "newuidmap",
                    i32::from(trouble.is_some()),
                    trouble.unwrap_or_default(),
                    "",
                );
            }
            Err(UserNamespaceError::Create(error)) => {
                return tell("user-namespaces", code(&error), &error, "");
            }
            Err(error) => return tell("map-ids", libc::EPERM, error, ""),
        }
    } else if let Err(error) = sys::unshare(UnshareFlags::NEWNS) {
        return tell("mounts", code(&error), &error, "");
    }
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    let mounted = mount_change("/", private)
        .and_then(|()| mounts::new_file_system("tmpfs", &[], sys::MOUNT_NO_DEVICES))
        .map(drop);
    let works = mounted.is_ok();
    tell_result("mounts", mounted.map_err(io::Error::from));
    if works {
        try_stacking(directory);
    }
    for (limit, outcome) in control_group_trial() {
        match outcome {
            Ok(()) => tell(&format!("cgroup-{limit}"), 0, "", ""),
            Err(why) => tell(&format!("cgroup-{limit}"), 1, why, ""),
        }
    }
    tell_result(
        "network-namespace",
        apart(|| sys::unshare(UnshareFlags::NEWNET)),
    );
    tell_result("seccomp", apart(install_filter));
    let flags = UnshareFlags::NEWPID | UnshareFlags::NEWIPC | UnshareFlags::NEWUTS;
    let separated = sys::unshare(flags);
    let works = separated.is_ok();
    tell_result("namespaces", separated);
    if works {
        // The process namespace begins with the next child.
        let proc = || {
            mounts::new_file_system("proc", &[], sys::MOUNT_NO_DEVICES)
                .map(drop)
                .map_err(io::Error::from)
        };
        tell_result("proc", apart(proc));
    }
}

fn try_stacking(directory: &Path) {
    let mode = Access::WRITE_OK | Access::EXEC_OK;
    if let Err(error) = accessat(CWD, directory, mode, AtFlags::EACCESS) {
        return tell("store", error.raw_os_error(), error, "");
    }
    for (name, result) in [
        ("overlayfs", stacking::try_overlay(directory)),
        ("fuse-overlayfs", stacking::try_installed_fuse(directory)),
    ] {
        match result {
            Ok(()) => tell(name, 0, "", ""),
            Err(refused) => tell(name, 1, &refused.why, &refused.remedy),
        }
    }
}

fn install_filter() -> io::Result<()> {
    let filter = seccomp::filter()?;
    rustix::thread::set_no_new_privs(true)?;
    sys::install_syscall_filter(&filter)
}

/// In a child, whose end tells how it went.
fn apart(act: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    match sys::fork()? {
        sys::Forked::Child => {
            let code = act().err().map_or(0, |error| code(&error));
            sys::exit_now(code)
        }
        sys::Forked::Parent(child) => loop {
            match waitpid(Some(child), WaitOptions::empty()) {
                Ok(Some((_, status))) => {
                    return match status.exit_status() {
                        Some(0) => Ok(()),
                        Some(code) => Err(io::Error::from_raw_os_error(code)),
                        None => Err(io::Error::from_raw_os_error(libc::EIO)),
                    };
                }
                Ok(None) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read() {
        let line = ["proc", "1", "why not", "do this"].join(&SEPARATOR.to_string());
        let text = format!("noise of something else\n{line}\n");
        assert_eq!(
            parse(&text),
            [Trial {
                name: "proc".into(),
                errno: 1,
                why: "why not".into(),
                remedy: "do this".into(),
            }]
        );
    }
}
