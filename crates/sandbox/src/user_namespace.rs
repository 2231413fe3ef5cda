//! Running without root: the whole program is started again inside a user namespace in which it is root.

use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::mount::{MountPropagationFlags, mount_change};
use rustix::process::{WaitOptions, getegid, geteuid, getpid, waitpid};
use rustix::thread::{CapabilitySet, UnshareFlags, capabilities};
use thiserror::Error;

use crate::helper::sys;

/// Which ids exist in the user namespace this process is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdMapping {
    /// Not in a user namespace.
    Host,
    /// In a user namespace with this many ids, so images with several owners and users can be built.
    Range { count: u64 },
    /// Only root exists. Files of any other owner cannot be created and no other user can be switched to.
    Single,
}

#[derive(Debug, Error)]
pub enum UserNamespaceError {
    /// Threads cannot be moved into a user namespace, so this has to happen before any is started.
    #[error("entering a user namespace needs a process with a single thread, this one has {0}")]
    Threads(usize),
    #[error("creating a user namespace failed")]
    Create(#[source] io::Error),
    #[error("mapping ids into the user namespace failed: {0}")]
    Map(String),
    #[error("starting the program again inside the user namespace failed")]
    Exec(#[source] io::Error),
    #[error("the program is inside its user namespace but still not allowed to mount")]
    Powerless,
}

/// Tells the program that it was started again, so that it does not try forever.
const ENTERED: &str = "LAUNCHWAY_IN_USER_NAMESPACE";

/// True when this process may not mount and has to call [`enter_user_namespace`] before it can build.
#[must_use]
pub fn user_namespace_needed() -> bool {
    !geteuid().is_root()
        || !capabilities(None).is_ok_and(|sets| sets.effective.contains(CapabilitySet::SYS_ADMIN))
}

/// Starts the program again, with the same arguments and the same process id, as root of a new user and mount
/// namespace; does not return then. When that already happened, or is not needed, it tells which ids there are.
///
/// Ids come from `/etc/subuid` and `/etc/subgid` through `newuidmap` and `newgidmap`. Without those only root exists
/// inside ([`IdMapping::Single`]).
pub fn enter_user_namespace() -> Result<IdMapping, UserNamespaceError> {
    if !user_namespace_needed() {
        return Ok(id_mapping());
    }
    if std::env::var_os(ENTERED).is_some() {
        return Err(UserNamespaceError::Powerless);
    }
    let threads = sys::thread_count().map_err(UserNamespaceError::Create)?;
    if threads != 1 {
        return Err(UserNamespaceError::Threads(threads));
    }
    unshare_and_map()?;
    // Mounts of the namespace are to stay in it.
    mount_change(
        "/",
        MountPropagationFlags::PRIVATE | MountPropagationFlags::REC,
    )
    .map_err(|error| UserNamespaceError::Create(error.into()))?;
    let mut arguments = std::env::args_os();
    let mut again = Command::new("/proc/self/exe");
    if let Some(name) = arguments.next() {
        again.arg0(name);
    }
    Err(UserNamespaceError::Exec(
        again.args(arguments).env(ENTERED, "1").exec(),
    ))
}

/// Which ids this process may use.
#[must_use]
pub fn id_mapping() -> IdMapping {
    mapping_of(&fs::read_to_string("/proc/self/uid_map").unwrap_or_default())
}

fn mapping_of(map: &str) -> IdMapping {
    let rows: Vec<Vec<u64>> = map
        .lines()
        .map(|line| {
            line.split_whitespace()
                .filter_map(|word| word.parse().ok())
                .collect()
        })
        .collect();
    // The first namespace maps all ids to themselves.
    if rows.is_empty() || rows == [[0, 0, u64::from(u32::MAX)]] {
        return IdMapping::Host;
    }
    match rows.iter().filter_map(|row| row.get(2)).sum() {
        0 | 1 => IdMapping::Single,
        count => IdMapping::Range { count },
    }
}

/// Leaves the user namespace while a child that stays outside waits to write the mapping. Tells why only root exists
/// inside although the user has ranges.
pub(crate) fn unshare_and_map() -> Result<Option<String>, UserNamespaceError> {
    let (uid, gid) = (geteuid().as_raw(), getegid().as_raw());
    let user = user_name(uid);
    let ranges = (
        sub_range("/etc/subuid", uid, user.as_deref()),
        sub_range("/etc/subgid", uid, user.as_deref()),
    );
    let (mut inside, mut outside) = UnixStream::pair().map_err(UserNamespaceError::Create)?;
    let process = getpid().as_raw_nonzero().get();

    let (mapped, trouble) = match ranges {
        (Some(uids), Some(gids)) => {
            let child = match sys::fork().map_err(UserNamespaceError::Create)? {
                sys::Forked::Child => {
                    drop(inside);
                    let mut go = [0];
                    let outcome = match outside.read_exact(&mut go) {
                        Ok(()) => map("newuidmap", process, uid, uids)
                            .and_then(|()| map("newgidmap", process, gid, gids)),
                        Err(error) => Err(error.to_string()),
                    };
                    let _ = outside
                        .write_all(outcome.as_ref().err().map_or("", String::as_str).as_bytes());
                    sys::exit_now(i32::from(outcome.is_err()));
                }
                sys::Forked::Parent(child) => child,
            };
            drop(outside);
            sys::unshare(UnshareFlags::NEWUSER | UnshareFlags::NEWNS)
                .map_err(UserNamespaceError::Create)?;
            let mut trouble = String::new();
            inside
                .write_all(&[1])
                .map_err(|error| UserNamespaceError::Map(error.to_string()))?;
            inside
                .read_to_string(&mut trouble)
                .map_err(|error| UserNamespaceError::Map(error.to_string()))?;
            let _ = waitpid(Some(child), WaitOptions::empty());
            (trouble.is_empty(), Some(trouble))
        }
        _ => {
            sys::unshare(UnshareFlags::NEWUSER | UnshareFlags::NEWNS)
                .map_err(UserNamespaceError::Create)?;
            (false, None)
        }
    };
    if !mapped {
        map_single(uid, gid).map_err(UserNamespaceError::Map)?;
    }
    Ok(trouble.filter(|trouble| !trouble.is_empty()))
}

/// Root inside is the caller, and the ids from 1 on are the caller's range.
fn map(tool: &str, process: i32, own: u32, (first, count): (u32, u32)) -> Result<(), String> {
    let words = [
        process.to_string(),
        "0".into(),
        own.to_string(),
        "1".into(),
        "1".into(),
        first.to_string(),
        count.to_string(),
    ];
    let output = Command::new(tool)
        .args(words)
        .output()
        .map_err(|error| format!("{tool}: {error}"))?;
    if output.status.success() {
        Ok(())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
    }
}

/// What a user may do without help: be root inside. Both maps are written unless the group map was written before the
/// user map failed.
fn map_single(uid: u32, gid: u32) -> Result<(), String> {
    let write = |file: &str, text: String| {
        fs::write(format!("/proc/self/{file}"), text)
            .map_err(|error| format!("writing {file}: {error}"))
    };
    if fs::read_to_string("/proc/self/uid_map").is_ok_and(|map| map.trim().is_empty()) {
        write("uid_map", format!("0 {uid} 1\n"))?;
    }
    if fs::read_to_string("/proc/self/gid_map").is_ok_and(|map| map.trim().is_empty()) {
        write("setgroups", String::from("deny"))?;
        write("gid_map", format!("0 {gid} 1\n"))?;
    }
    Ok(())
}

/// Name of a user in `/etc/passwd`.
pub(crate) fn user_name(uid: u32) -> Option<String> {
    let table = fs::read_to_string("/etc/passwd").ok()?;
    table.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    })
}

/// The largest range of ids that a file like `/etc/subuid` gives to a user.
pub(crate) fn sub_range(file: &str, uid: u32, name: Option<&str>) -> Option<(u32, u32)> {
    range_in(&fs::read_to_string(file).ok()?, uid, name)
}

fn range_in(table: &str, uid: u32, name: Option<&str>) -> Option<(u32, u32)> {
    let own = uid.to_string();
    table
        .lines()
        .filter_map(|line| {
            let mut fields = line.trim().split(':');
            let owner = fields.next()?;
            let range = (
                fields.next()?.parse().ok()?,
                fields.next()?.parse::<u32>().ok()?,
            );
            (owner == own || Some(owner) == name).then_some(range)
        })
        .filter(|range| range.1 > 0)
        .max_by_key(|range| range.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mappings() {
        for (map, expected) in [
            ("         0          0 4294967295\n", IdMapping::Host),
            ("", IdMapping::Host),
            ("0 1000 1\n", IdMapping::Single),
            (
                "0 1000 1\n1 100000 65536\n",
                IdMapping::Range { count: 65537 },
            ),
            ("0 100000 65536\n", IdMapping::Range { count: 65536 }),
        ] {
            assert_eq!(mapping_of(map), expected, "{map:?}");
        }
    }

    #[test]
    fn ranges() {
        let table = "root:100000:65536\nanna:165536:65536\nanna:500000:70000\n1001:300000:65536\nbroken:x:y\nempty:1:0\n";
        for (uid, name, expected) in [
            (1000, Some("anna"), Some((500_000, 70_000))),
            (1001, Some("ben"), Some((300_000, 65_536))),
            (1001, None, Some((300_000, 65_536))),
            (1002, Some("empty"), None),
            (1003, Some("broken"), None),
            (1004, None, None),
        ] {
            assert_eq!(range_in(table, uid, name), expected, "{uid} {name:?}");
        }
    }
}
