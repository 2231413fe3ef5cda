//! Git repositories as `ADD` and build contexts name them: `URL#REF:FOLDER`, or with a query.
//!
//! The forms and their meaning are BuildKit's (`frontend/dockerfile/dfgitutil`).

use std::collections::BTreeMap;

/// A repository and what of it is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GitSource {
    pub transport: GitTransport,
    /// The repository as git takes it, without user and password where these are the web's.
    pub remote: String,
    /// User and password that stood in an http(s) URL, as they were written.
    pub user_info: Option<String>,
    /// A branch, a tag, or all digits of a commit; the default branch when not given.
    pub reference: Option<String>,
    /// The first digits of the commit that it has to be.
    pub commit: Option<String>,
    /// A folder of the repository without slashes at its ends; empty for all of it.
    pub folder: String,
    pub keep_git_dir: Option<bool>,
    pub submodules: bool,
    /// Files keep the time at which they were checked out, instead of their commit's.
    pub time_of_checkout: bool,
    /// The commit is taken as it is, without a look at what the reference is at the moment.
    pub fetch_by_commit: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GitTransport {
    Http,
    Https,
    Git,
    Ssh,
}

impl GitSource {
    /// Whether what it gives is known from its words alone.
    pub fn is_pinned(&self) -> bool {
        let full = |text: &Option<String>| text.as_deref().is_some_and(is_commit);
        full(&self.reference) || full(&self.commit)
    }

    /// As it may be shown: without user, password and query.
    pub fn shown(&self) -> String {
        let mut text = self.remote.clone();
        let reference = self.reference.as_deref().unwrap_or_default();
        if !reference.is_empty() || !self.folder.is_empty() {
            text.push('#');
            text.push_str(reference);
        }
        if !self.folder.is_empty() {
            text.push(':');
            text.push_str(&self.folder);
        }
        text
    }
}

/// Whether a text is all digits of a commit: 40 of them, or 64 in repositories with SHA-256.
pub fn is_commit(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// Reads a source of `ADD`; `None` when it is no repository. The error says what is wrong with one.
pub fn git_source(text: &str) -> Option<Result<GitSource, String>> {
    if text.starts_with("./") || text.starts_with("../") {
        return None;
    }
    let alphanumeric = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric());
    match text.split_once("://") {
        Some((scheme, rest)) if !scheme.is_empty() && alphanumeric(scheme) => {
            let (transport, scheme) = match scheme.to_ascii_lowercase().as_str() {
                "http" => (GitTransport::Http, "http"),
                "https" => (GitTransport::Https, "https"),
                "git" => (GitTransport::Git, "git"),
                "ssh" => (GitTransport::Ssh, "ssh"),
                _ => return None,
            };
            of_url(transport, scheme, rest, false)
        }
        _ => of_scp(text),
    }
}

/// Reads a build context; besides what `ADD` takes, that is `github.com/…`.
pub fn git_context(text: &str) -> Option<Result<GitSource, String>> {
    match text.starts_with("github.com/") {
        true => of_url(GitTransport::Https, "https", text, true),
        false => git_source(text),
    }
}

fn of_url(
    transport: GitTransport,
    scheme: &str,
    rest: &str,
    any_path: bool,
) -> Option<Result<GitSource, String>> {
    let (rest, fragment) = rest.split_once('#').unwrap_or((rest, ""));
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, path) = match rest.find('/') {
        Some(at) => rest.split_at(at),
        None => (rest, ""),
    };
    let is_web = matches!(transport, GitTransport::Http | GitTransport::Https);
    // Other URLs of the web are files.
    if is_web && !any_path && !decoded(path, false)?.ends_with(".git") {
        return None;
    }
    let (user_info, host) = match authority.rsplit_once('@') {
        Some((user, host)) => (Some(user), host),
        None => (None, authority),
    };
    let path = path.replace(' ', "%20");
    let remote = match user_info {
        Some(user) if !is_web => {
            let user = user.split(':').next().unwrap_or_default();
            format!("{scheme}://{user}@{host}{path}")
        }
        _ => format!("{scheme}://{host}{path}"),
    };
    let Some(fragment) = decoded(fragment, false) else {
        return Some(Err("its fragment has a broken escape".to_owned()));
    };
    let mut pairs = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        // As in Go's reader of queries, what is broken is passed over.
        pairs.extend(decoded(name, true).zip(decoded(value, true)));
    }
    let user_info = user_info.filter(|_| is_web).map(str::to_owned);
    Some(
        checked_host(authority, host)
            .and_then(|()| put_together(transport, remote, user_info, &fragment, pairs)),
    )
}

/// `user@host:path`, as ssh and git take it.
fn of_scp(text: &str) -> Option<Result<GitSource, String>> {
    let (user, rest) = text.split_once('@')?;
    let (host, rest) = rest.split_once(':')?;
    let of_user = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    let of_host = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.');
    if user.is_empty()
        || host.is_empty()
        || !user.chars().all(of_user)
        || !host.chars().all(of_host)
    {
        return None;
    }
    let (rest, fragment) = rest.split_once('#').unwrap_or((rest, ""));
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    let mut pairs = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        pairs.push((decoded(name, true)?, decoded(value, true)?));
    }
    let remote = format!("{user}@{host}:{path}");
    Some(
        checked_host(user, host)
            .and_then(|()| put_together(GitTransport::Ssh, remote, None, fragment, pairs)),
    )
}

/// Programs that get a name which starts with a dash take it for an option.
fn checked_host(authority: &str, host: &str) -> Result<(), String> {
    let odd =
        |c: char| c.is_control() || c.is_whitespace() || matches!(c, '\\' | '"' | '\'' | '<' | '>');
    let dashes = authority.starts_with('-') || host.starts_with('-');
    if host.is_empty() || dashes || authority.contains(odd) {
        return Err("it names no host".to_owned());
    }
    Ok(())
}

fn put_together(
    transport: GitTransport,
    remote: String,
    user_info: Option<String>,
    fragment: &str,
    pairs: Vec<(String, String)>,
) -> Result<GitSource, String> {
    let (reference, folder) = fragment.split_once(':').unwrap_or((fragment, ""));
    let mut source = GitSource {
        transport,
        remote,
        user_info,
        reference: Some(reference.to_owned()).filter(|text| !text.is_empty()),
        commit: None,
        folder: clean_folder(folder),
        keep_git_dir: None,
        submodules: true,
        time_of_checkout: false,
        fetch_by_commit: false,
    };
    query(&mut source, pairs)?;
    let reference = source.reference.as_deref().unwrap_or_default();
    if !is_reference(reference) {
        return Err(format!(
            "`{reference}` is no name of a branch, a tag or a commit"
        ));
    }
    if let Some(commit) = &source.commit
        && !commit.bytes().all(|byte| byte.is_ascii_hexdigit())
    {
        return Err(format!("`{commit}` is no commit"));
    }
    if source.remote.chars().any(char::is_control) || source.folder.contains('\0') {
        return Err("it has control characters".to_owned());
    }
    Ok(source)
}

fn query(source: &mut GitSource, pairs: Vec<(String, String)>) -> Result<(), String> {
    let mut known = BTreeMap::new();
    for (name, value) in pairs {
        if known.insert(name.clone(), value).is_some() {
            return Err(format!("`{name}` is given twice"));
        }
    }
    let mut references: Vec<String> = source.reference.iter().cloned().collect();
    for (name, value) in known {
        let flag = || match value.as_str() {
            "" | "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(true),
            "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(false),
            _ => Err(format!("`{name}` is not `true` or `false`")),
        };
        let full = |prefix: &str| match value.starts_with(prefix) {
            true => value.clone(),
            false => format!("{prefix}{value}"),
        };
        let is_flag = matches!(&*name, "keep-git-dir" | "submodules" | "fetch-by-commit");
        if value.is_empty() && !is_flag {
            return Err(format!("`{name}` has no value"));
        }
        match name.as_str() {
            "ref" => references.push(value),
            "tag" => references.push(full("refs/tags/")),
            "branch" => references.push(full("refs/heads/")),
            "checksum" | "commit" => match &source.commit {
                Some(other) if *other != value => {
                    return Err("`commit` and `checksum` differ".to_owned());
                }
                _ => source.commit = Some(value),
            },
            "subdir" => {
                let folder = clean_folder(&value);
                if !source.folder.is_empty() && source.folder != folder {
                    return Err(format!(
                        "two folders are named: {} and {folder}",
                        source.folder
                    ));
                }
                source.folder = folder;
            }
            "keep-git-dir" => source.keep_git_dir = Some(flag()?),
            "submodules" => source.submodules = flag()?,
            "fetch-by-commit" => source.fetch_by_commit = flag()?,
            "mtime" => match value.as_str() {
                "checkout" => source.time_of_checkout = true,
                "commit" => source.time_of_checkout = false,
                _ => return Err("`mtime` is not `checkout` or `commit`".to_owned()),
            },
            _ => return Err(format!("`{name}` means nothing to a repository")),
        }
    }
    references.dedup();
    if let [first, second, ..] = references.as_slice() {
        return Err(format!("two references are named: {first} and {second}"));
    }
    source.reference = references.pop();
    if source.fetch_by_commit {
        let full = source.is_pinned();
        if !full {
            return Err("`fetch-by-commit` needs all digits of a commit".to_owned());
        }
    }
    Ok(())
}

/// Without `.` and `..`, which end at the root of the repository.
fn clean_folder(folder: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in folder.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            other => parts.push(other),
        }
    }
    parts.join("/")
}

/// Whether git could have a reference of that name (`git check-ref-format`), so that none becomes
/// an option or a pattern of names.
pub fn is_reference(name: &str) -> bool {
    let odd = |c: char| c.is_control() || " ~^:?*[\\".contains(c);
    !(name.starts_with('-')
        || name.contains(odd)
        || name.contains("..")
        || name.contains("@{")
        || name.contains("//")
        || name.starts_with('/')
        || name.ends_with(['/', '.'])
        || name
            .split('/')
            .any(|part| part.starts_with('.') || part.ends_with(".lock")))
}

/// `%41` is `A`; `None` when an escape is broken. In a query, a plus is a space.
fn decoded(text: &str, in_query: bool) -> Option<String> {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'%' => {
                let digits = text.get(at + 1..at + 3)?;
                if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                    return None;
                }
                out.push(u8::from_str_radix(digits, 16).ok()?);
                at += 2;
            }
            b'+' if in_query => out.push(b' '),
            byte => out.push(byte),
        }
        at += 1;
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

    #[test]
    fn what_is_a_repository() {
        for (text, is) in [
            ("https://h/a.git", true),
            ("HTTPS://h/a.git#x", true),
            ("http://h:1/a%2Egit", true),
            ("https://h/a", false),
            ("https://h/a.git/", false),
            ("https://h/a.tar?x=.git", false),
            ("git://h/a", true),
            ("ssh://git@h/a", true),
            ("git@h:a", true),
            ("a-b_1@h.x:p/q.git?ref=x#y", true),
            ("a.b@h:c", false),
            ("ftp://h/a.git", false),
            ("file:///a.git", false),
            ("ext::sh -c x", false),
            ("./git@h:a", false),
            ("../git@h:a", false),
            ("github.com/a/b", false),
            ("a@b", false),
            ("a", false),
        ] {
            assert_eq!(git_source(text).is_some(), is, "{text}");
        }
        assert!(git_context("github.com/a/b").is_some());
        assert!(git_context("github.org/a/b").is_none());
    }

    #[test]
    fn parts_of_a_source() {
        let read = |text: &str| git_source(text).unwrap().unwrap();
        let short = |source: &GitSource| {
            (
                source.remote.clone(),
                source.reference.clone().unwrap_or_default(),
                source.folder.clone(),
            )
        };
        for (text, remote, reference, folder) in [
            ("https://u:p@h/a.git", "https://h/a.git", "", ""),
            ("https://h/a.git#v1:x/y/", "https://h/a.git", "v1", "x/y"),
            ("https://h/a.git#:x/../../y", "https://h/a.git", "", "y"),
            ("git://h/a#a/b", "git://h/a", "a/b", ""),
            ("ssh://git:p@h:22/a", "ssh://git@h:22/a", "", ""),
            ("git@h:a/b.git#main:d", "git@h:a/b.git", "main", "d"),
            ("git@h:a?branch=m&subdir=d", "git@h:a", "refs/heads/m", "d"),
            (
                "https://h/a.git?tag=v%2B1",
                "https://h/a.git",
                "refs/tags/v+1",
                "",
            ),
            ("https://h/a.git?ref=x#x:d", "https://h/a.git", "x", "d"),
            ("https://h/a b.git", "https://h/a%20b.git", "", ""),
        ] {
            let want = (remote.to_owned(), reference.to_owned(), folder.to_owned());
            assert_eq!(short(&read(text)), want, "{text}");
        }
        let full = read(&format!(
            "https://u:p@h/a.git?checksum={COMMIT}&keep-git-dir=1&submodules=false&mtime=checkout"
        ));
        assert_eq!(full.user_info.as_deref(), Some("u:p"));
        assert_eq!(full.commit.as_deref(), Some(COMMIT));
        assert_eq!(full.keep_git_dir, Some(true));
        assert!(!full.submodules && full.time_of_checkout && full.is_pinned());
        assert_eq!(full.shown(), "https://h/a.git");
        assert!(read(&format!("git://h/a#{COMMIT}")).is_pinned());
        assert!(!read("git://h/a#0123456").is_pinned());
        assert!(!read("git://h/a?commit=0123456").is_pinned());
        assert!(read("git://h/a?keep-git-dir").keep_git_dir == Some(true));
        assert_eq!(read("git://h/a#x:y").shown(), "git://h/a#x:y");
    }

    #[test]
    fn what_is_wrong_with_a_repository() {
        for (text, why) in [
            ("https://h/a.git?bogus=1", "means nothing"),
            ("https://h/a.git?ref=x&ref=y", "twice"),
            ("https://h/a.git?ref=", "no value"),
            ("https://h/a.git?ref=x#y", "two references"),
            ("https://h/a.git?tag=x&branch=x", "two references"),
            ("https://h/a.git?subdir=x#:y", "two folders"),
            ("https://h/a.git?submodules=maybe", "`true` or `false`"),
            ("https://h/a.git?mtime=now", "`checkout` or `commit`"),
            ("https://h/a.git?commit=xyz", "no commit"),
            ("https://h/a.git?commit=1&checksum=2", "differ"),
            ("https://h/a.git?fetch-by-commit=1", "all digits"),
            ("https://h/a.git#%zz", "escape"),
            ("https:///a.git", "no host"),
            ("ssh://-oProxyCommand=x/a", "no host"),
            ("git@-h:a", "no host"),
            ("-x@h:a", "no host"),
            ("git://h/a\nb", "control"),
            ("git://h/a#--upload-pack=x", "no name"),
            ("git://h/a#a..b", "no name"),
            ("git://h/a#a*", "no name"),
            ("git://h/a?ref=a:b", "no name"),
            ("git://h/a#x.lock", "no name"),
            ("git://h/a#.x", "no name"),
        ] {
            let error = git_source(text).unwrap().unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
    proptest::proptest! {
        #[test]
        fn any_text_can_be_read(
            text in "(https?|git|ssh|[a-z]{0,4})(://)?[-a-z@:]{0,6}[/:]?[^\\n]{0,30}(\\.git)?[?#]?\\PC{0,30}"
        ) {
            for read in [git_source(&text), git_context(&text)].into_iter().flatten().flatten() {
                // Nothing that git or ssh could take for an option, and nothing secret to show.
                proptest::prop_assert!(!read.remote.starts_with('-'), "{read:?}");
                let reference = read.reference.as_deref().unwrap_or_default();
                proptest::prop_assert!(!reference.starts_with('-'), "{read:?}");
                let parts: Vec<&str> = read.folder.split('/').collect();
                proptest::prop_assert!(!parts.contains(&".."), "{read:?}");
                if let Some(user_info) = &read.user_info {
                    let host = read.remote.split("://").nth(1).unwrap_or_default();
                    proptest::prop_assert!(!host.starts_with(&format!("{user_info}@")), "{read:?}");
                }
            }
        }
    }
}
