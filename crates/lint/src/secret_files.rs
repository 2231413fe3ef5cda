//! Files whose names say that they hold credentials. The content decides whether they do.

use crate::Hit;
use crate::scan::{can_be_secret, has_secret_name, line_ends, url_credentials};

/// How a file is told to hold a credential.
enum Sign {
    /// One of these words, with something after it that can be a secret.
    Assigned(&'static [&'static str]),
    /// A password inside a URL.
    Url,
    /// A variable whose name says so.
    Variables,
    /// Anything at all.
    Content,
}

struct Known {
    /// The end of the path, whole names.
    path: &'static str,
    sign: Sign,
    what: &'static str,
}

const fn known(path: &'static str, sign: Sign, what: &'static str) -> Known {
    Known { path, sign, what }
}

const FILES: &[Known] = &[
    known(
        ".npmrc",
        Sign::Assigned(&["_authToken", "_auth", "_password"]),
        "npm credentials",
    ),
    known(
        ".yarnrc.yml",
        Sign::Assigned(&["npmAuthToken", "npmAuthIdent"]),
        "Yarn credentials",
    ),
    known(".git-credentials", Sign::Url, "Git credentials"),
    known(".git/config", Sign::Url, "Git credentials"),
    known(".gitconfig", Sign::Url, "Git credentials"),
    known(
        ".netrc",
        Sign::Assigned(&["password"]),
        "credentials of .netrc",
    ),
    known(".pypirc", Sign::Assigned(&["password"]), "PyPI credentials"),
    known("pip.conf", Sign::Url, "credentials of a package index"),
    known(
        ".config/pip/pip.conf",
        Sign::Url,
        "credentials of a package index",
    ),
    known(
        ".docker/config.json",
        Sign::Assigned(&["auth", "identitytoken", "registrytoken", "password"]),
        "registry credentials",
    ),
    known(
        ".dockercfg",
        Sign::Assigned(&["auth"]),
        "registry credentials",
    ),
    known(
        "containers/auth.json",
        Sign::Assigned(&["auth"]),
        "registry credentials",
    ),
    known(
        ".aws/credentials",
        Sign::Assigned(&["aws_secret_access_key", "aws_session_token"]),
        "AWS credentials",
    ),
    known(
        ".kube/config",
        Sign::Assigned(&["client-key-data", "token", "password"]),
        "Kubernetes credentials",
    ),
    known(
        "gcloud/application_default_credentials.json",
        Sign::Assigned(&["private_key", "refresh_token"]),
        "Google Cloud credentials",
    ),
    known(
        "gcloud/credentials.db",
        Sign::Content,
        "Google Cloud credentials",
    ),
    known(
        ".config/gh/hosts.yml",
        Sign::Assigned(&["oauth_token"]),
        "GitHub credentials",
    ),
    known(
        ".cargo/credentials",
        Sign::Assigned(&["token"]),
        "Cargo credentials",
    ),
    known(
        ".cargo/credentials.toml",
        Sign::Assigned(&["token"]),
        "Cargo credentials",
    ),
    known(
        ".gem/credentials",
        Sign::Assigned(&["rubygems_api_key"]),
        "RubyGems credentials",
    ),
    known(
        ".m2/settings.xml",
        Sign::Assigned(&["<password"]),
        "Maven credentials",
    ),
    known(
        ".composer/auth.json",
        Sign::Assigned(&["github.com", "gitlab.com", "password", "token"]),
        "Composer credentials",
    ),
    known(
        "composer/auth.json",
        Sign::Assigned(&["github.com", "gitlab.com", "password", "token"]),
        "Composer credentials",
    ),
    known(
        ".terraform.d/credentials.tfrc.json",
        Sign::Assigned(&["token"]),
        "Terraform credentials",
    ),
    known(".vault-token", Sign::Content, "a Vault token"),
    known(".pgpass", Sign::Content, "PostgreSQL passwords"),
    known(
        ".my.cnf",
        Sign::Assigned(&["password"]),
        "MySQL credentials",
    ),
    known(".s3cfg", Sign::Assigned(&["secret_key"]), "S3 credentials"),
    known(".env", Sign::Variables, "secrets of an environment file"),
    known(
        ".env.local",
        Sign::Variables,
        "secrets of an environment file",
    ),
    known(
        ".env.production",
        Sign::Variables,
        "secrets of an environment file",
    ),
];

/// Whether the name of a file is one of those that hold credentials.
pub(crate) fn is_known(path: &[u8]) -> bool {
    find(path).is_some()
}

fn find(path: &[u8]) -> Option<&'static Known> {
    FILES.iter().find(|known| {
        path.strip_suffix(known.path.as_bytes())
            .is_some_and(|before| before.is_empty() || before.ends_with(b"/"))
    })
}

/// The credentials of a file that is known to hold such.
pub(crate) fn credentials(path: &[u8], content: &[u8]) -> Option<Hit> {
    let known = find(path)?;
    let text = String::from_utf8_lossy(content);
    let at = match &known.sign {
        Sign::Content => text.find(|c: char| !c.is_whitespace()),
        Sign::Url => url_credentials(&text),
        Sign::Variables => variables(&text),
        Sign::Assigned(words) => words.iter().filter_map(|word| assigned(&text, word)).min(),
    }?;
    Some(Hit {
        what: known.what,
        line: line_ends(&text.as_bytes()[..at]) + 1,
    })
}

/// Where something is assigned to a word: `word = x`, `word: x`, `"word": "x"`, `word x`, `<word>x`.
fn assigned(text: &str, word: &str) -> Option<usize> {
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        if let Some(at) = assigned_in(line.trim_end(), word) {
            return Some(start + at);
        }
        start += line.len();
    }
    None
}

fn assigned_in(line: &str, word: &str) -> Option<usize> {
    let whole = line.trim_start();
    if whole.starts_with(['#', ';']) {
        return None;
    }
    // What starts with slashes is a comment, unless it is an address without its scheme.
    let counts_from = match whole.starts_with("//") {
        true => line.find(':')?,
        false => 0,
    };
    line.match_indices(word)
        .filter(|(at, _)| *at >= counts_from)
        .filter(|(at, _)| !line[..*at].ends_with(char::is_alphanumeric))
        .find(|(at, _)| gets_value(&line[at + word.len()..]))
        .map(|(at, _)| at)
}

/// Whether what follows a word assigns something to it that can be a secret.
fn gets_value(rest: &str) -> bool {
    /// No secret needs more to be told from what is none, in characters.
    const ENOUGH: usize = 200;
    let value = rest.trim_start_matches(['"', '\'', ' ', '\t', '>']);
    let value = value.trim_start_matches(['=', ':']).trim_start();
    if value.len() == rest.len() {
        return false;
    }
    let end = value.char_indices().nth(ENOUGH);
    let value = end.map_or(value, |(end, _)| &value[..end]);
    let value = value.trim_matches(['"', '\'', ',', ' ']);
    can_be_secret(value.split(['"', '\'', '<', ',']).next().unwrap_or(""))
}

/// Where a variable with a telling name gets a value.
fn variables(text: &str) -> Option<usize> {
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        let here = at;
        at += line.len();
        let line = line.trim();
        let line = line.strip_prefix("export ").unwrap_or(line);
        let Some((name, value)) = line.split_once('=') else {
            continue;
        };
        if !name.starts_with('#') && has_secret_name(name.trim()) && can_be_secret(value) {
            return Some(here);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_told_by_name_and_content() {
        for (path, content, want) in [
            (
                "root/.npmrc",
                "a=b\n//host/:_authToken=s3cr3t-of-mine\n",
                Some(2),
            ),
            ("root/.npmrc", "//host/:_authToken=${NPM_TOKEN}\n", None),
            (
                "root/.npmrc",
                "registry=https://host/\n# _authToken=s3cr3t\n",
                None,
            ),
            ("app/x.npmrc", "//host/:_authToken=s3cr3t-of-mine\n", None),
            (
                "root/.git-credentials",
                "https://me:hunter2@host\n",
                Some(1),
            ),
            ("root/.git-credentials", "https://host\n", None),
            (
                "src/.git/config",
                "[remote]\n url = https://x:abcdef@host/r\n",
                Some(2),
            ),
            ("src/.git/config", "[remote]\n url = https://host/r\n", None),
            (
                "root/.netrc",
                "machine h login me password hunter2\n",
                Some(1),
            ),
            (
                "root/.docker/config.json",
                "{\"auths\":{\"h\":{\"auth\":\"bWU6eA==\"}}}",
                Some(1),
            ),
            ("root/.docker/config.json", "{\"auths\":{}}", None),
            (
                "root/.docker/config.json",
                "{\"credsStore\":\"desktop\"}",
                None,
            ),
            (
                "root/.aws/credentials",
                "[default]\naws_secret_access_key = abc/def\n",
                Some(2),
            ),
            ("root/.aws/credentials", "[default]\n", None),
            (
                "root/.m2/settings.xml",
                "<server>\n<password>hunter2</password>",
                Some(2),
            ),
            (
                "root/.m2/settings.xml",
                "<password>${env.PW}</password>",
                None,
            ),
            (
                "root/.cargo/credentials.toml",
                "[registry]\ntoken = \"abcdef\"\n",
                Some(2),
            ),
            ("app/.env", "PORT=80\nDB_PASSWORD=hunter2\n", Some(2)),
            ("app/.env", "PORT=80\nDB_PASSWORD=\n", None),
            ("app/.env.example", "DB_PASSWORD=hunter2\n", None),
            ("root/.pgpass", "h:5432:db:me:hunter2\n", Some(1)),
            ("root/.vault-token", "\n", None),
        ] {
            let hit = credentials(path.as_bytes(), content.as_bytes());
            assert_eq!(hit.map(|hit| hit.line), want, "{path}: {content}");
        }
    }
}
