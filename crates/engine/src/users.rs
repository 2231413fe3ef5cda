//! Users and groups of an image, from its own `/etc/passwd` and `/etc/group`.
//!
//! `USER` and `--chown` take `name|uid[:group|gid]`. A numeric user needs no entry. The forms and
//! their defaults follow the Dockerfile reference, sections USER and COPY --chown.

use std::io::Read as _;
use std::path::Path;

use launchway_oci::{Stack, Tree, resolve};

/// The identity a process runs under.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// The groups the user is a member of, its own one among them, as runc sets them.
    pub(crate) groups: Vec<u32>,
    /// The home directory of the passwd entry.
    pub(crate) home: Option<String>,
}

/// Why a user or group cannot be told.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum UserError {
    #[error("no user `{0}` in the image's /etc/passwd")]
    NoUser(String),
    #[error("no group `{0}` in the image's /etc/group")]
    NoGroup(String),
    #[error("`{0}` is not of the form user[:group]")]
    Form(String),
    #[error("`{0}` is more than 2147483647, the highest number of a user or group")]
    TooHigh(u32),
}

/// As in runc. The kernel takes the highest number of all for "stay who you are", which is root.
const HIGHEST: u32 = i32::MAX.cast_unsigned();

/// The two files, read once.
pub(crate) struct Accounts {
    passwd: Vec<Vec<String>>,
    group: Vec<Vec<String>>,
}

impl Accounts {
    pub(crate) fn of(stack: &Stack) -> Self {
        Self::parse(&text(stack, "etc/passwd"), &text(stack, "etc/group"))
    }

    fn parse(passwd: &str, group: &str) -> Self {
        let lines = |text: &str, fields: usize| -> Vec<Vec<String>> {
            text.lines()
                .map(|line| line.split(':').map(str::to_owned).collect::<Vec<_>>())
                .filter(|fields_of_line| fields_of_line.len() >= fields)
                .collect()
        };
        Self {
            passwd: lines(passwd, 4),
            group: lines(group, 3),
        }
    }

    /// The identity of a `USER` value; an empty one is root.
    pub(crate) fn identity(&self, spec: &str) -> Result<Identity, UserError> {
        let (user, group) = split(spec)?;
        let user = if user.is_empty() { "0" } else { user };
        let entry = self.user(user);
        let (uid, own_gid, name, home) = match (entry, user.parse::<u32>()) {
            (Some(entry), _) => (
                number(&entry[2]),
                number(&entry[3]),
                Some(entry[0].as_str()),
                entry.get(5).filter(|home| !home.is_empty()).cloned(),
            ),
            (None, Ok(uid)) => (uid, 0, None, None),
            (None, Err(_)) => return Err(UserError::NoUser(user.to_owned())),
        };
        let gid = match group {
            Some(group) => self.gid(group)?,
            None => own_gid,
        };
        let mut groups = match (group, name) {
            (None, Some(name)) => self.memberships(name),
            _ => Vec::new(),
        };
        groups.push(gid);
        groups.sort_unstable();
        groups.dedup();
        if let Some(id) = [uid].iter().chain(&groups).find(|id| **id > HIGHEST) {
            return Err(UserError::TooHigh(*id));
        }
        Ok(Identity {
            uid,
            gid,
            groups,
            home,
        })
    }

    /// The owner of a `--chown` value, and what of it the image does not know. A number without a
    /// group stands for both. As in BuildKit a name that is not there is root: only a warning can
    /// say that this was hardly meant.
    pub(crate) fn owner(&self, spec: &str) -> ((u32, u32), Vec<UserError>) {
        let (user, group) = match spec.split_once(':') {
            Some((user, group)) => (user, Some(group)),
            None => (spec, None),
        };
        let mut unknown = Vec::new();
        let (uid, own_gid) = match (user, user.parse::<u32>()) {
            (_, Ok(uid)) => (uid, uid),
            ("" | "root", _) => (0, 0),
            _ => match self.passwd.iter().find(|entry| entry[0] == user) {
                Some(entry) => (number(&entry[2]), number(&entry[3])),
                None => {
                    unknown.push(UserError::NoUser(user.to_owned()));
                    (0, 0)
                }
            },
        };
        let gid = match group.map(|group| (group, group.parse::<u32>())) {
            None => own_gid,
            Some((_, Ok(gid))) => gid,
            Some(("" | "root", _)) => 0,
            Some((group, _)) => match self.group.iter().find(|entry| entry[0] == group) {
                Some(entry) => number(&entry[2]),
                None => {
                    unknown.push(UserError::NoGroup(group.to_owned()));
                    own_gid
                }
            },
        };
        ((uid, gid), unknown)
    }

    fn user(&self, name_or_id: &str) -> Option<&Vec<String>> {
        let by_name = self.passwd.iter().find(|entry| entry[0] == name_or_id);
        by_name.or_else(|| {
            let uid: u32 = name_or_id.parse().ok()?;
            self.passwd.iter().find(|entry| entry[2].parse() == Ok(uid))
        })
    }

    fn gid(&self, group: &str) -> Result<u32, UserError> {
        match self.group.iter().find(|entry| entry[0] == group) {
            Some(entry) => Ok(number(&entry[2])),
            None => group
                .parse()
                .map_err(|_| UserError::NoGroup(group.to_owned())),
        }
    }

    fn memberships(&self, name: &str) -> Vec<u32> {
        let member = |entry: &&Vec<String>| {
            entry
                .get(3)
                .is_some_and(|members| members.split(',').any(|member| member == name))
        };
        let entries = self.group.iter().filter(member);
        entries.map(|entry| number(&entry[2])).collect()
    }
}

fn split(spec: &str) -> Result<(&str, Option<&str>), UserError> {
    match spec.split_once(':') {
        Some((user, group)) if group.contains(':') || user.is_empty() => {
            Err(UserError::Form(spec.to_owned()))
        }
        Some((user, "")) => Ok((user, None)),
        Some((user, group)) => Ok((user, Some(group))),
        None => Ok((spec, None)),
    }
}

/// Numbers that do not parse count as 0, as libc's atoi has it.
fn number(text: &str) -> u32 {
    text.parse().unwrap_or(0)
}

fn text(stack: &Stack, path: &str) -> String {
    const LIMIT: u64 = 16 << 20;
    let read = || -> std::io::Result<String> {
        let path = resolve(stack, Path::new(path), true)?;
        let mut bytes = Vec::new();
        stack.open(&path)?.take(LIMIT).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    // An image without the file has no names, only numbers.
    read().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accounts() -> Accounts {
        Accounts::parse(
            "root:x:0:0:root:/root:/bin/bash\ndev:x:1000:1001:Dev:/home/dev:/bin/sh\n42:x:7:8::/forty:\n",
            "root:x:0:\nstaff:x:50:dev,other\nsudo:x:27:dev\ndev:x:1001:\n",
        )
    }

    #[test]
    fn identities() {
        let accounts = accounts();
        let of = |spec: &str| {
            let identity = accounts.identity(spec).unwrap();
            (identity.uid, identity.gid, identity.groups)
        };
        assert_eq!(of(""), (0, 0, vec![0]));
        assert_eq!(of("dev"), (1000, 1001, vec![27, 50, 1001]));
        assert_eq!(of("1000"), (1000, 1001, vec![27, 50, 1001]));
        assert_eq!(of("dev:staff"), (1000, 50, vec![50]));
        assert_eq!(of("dev:9"), (1000, 9, vec![9]));
        assert_eq!(of("4242"), (4242, 0, vec![0]));
        assert_eq!(of("42"), (7, 8, vec![8]));
        assert_eq!(
            accounts.identity("dev").unwrap().home.as_deref(),
            Some("/home/dev")
        );
        assert_eq!(
            accounts.identity("nobody"),
            Err(UserError::NoUser("nobody".into()))
        );
        assert_eq!(
            accounts.identity("dev:none"),
            Err(UserError::NoGroup("none".into()))
        );
        assert_eq!(
            of("2147483647:2147483647"),
            (HIGHEST, HIGHEST, vec![HIGHEST])
        );
        for spec in ["4294967295", "2147483648", "0:4294967295"] {
            let refused = accounts.identity(spec);
            assert!(matches!(refused, Err(UserError::TooHigh(_))), "{spec}");
        }
        assert_eq!(
            accounts.identity("a:b:c"),
            Err(UserError::Form("a:b:c".into()))
        );
    }

    #[test]
    fn owners() {
        let accounts = accounts();
        for (spec, owner, unknown) in [
            ("1234", (1234, 1234), 0),
            ("1234:50", (1234, 50), 0),
            ("1234:", (1234, 0), 0),
            ("dev:", (1000, 0), 0),
            ("root", (0, 0), 0),
            (":50", (0, 50), 0),
            ("dev", (1000, 1001), 0),
            ("dev:staff", (1000, 50), 0),
            ("dev:root", (1000, 0), 0),
            ("1000:staff", (1000, 50), 0),
            ("42", (42, 42), 0),
            ("ghost", (0, 0), 1),
            ("dev:ghosts", (1000, 1001), 1),
            ("1:2:3", (1, 1), 1),
        ] {
            let found = accounts.owner(spec);
            assert_eq!((found.0, found.1.len()), (owner, unknown), "{spec}");
        }
    }
}
