//! Secrets by their looks: private keys, the tokens of well-known services, names that say so.
//!
//! What is found is told by kind and line, never by value.

use std::ops::Range;

use crate::secret_files;

/// A secret in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hit {
    /// What kind of secret, for people.
    pub what: &'static str,
    /// Counted from 1.
    pub line: usize,
}

/// A token: how it starts, which characters follow, and how many.
struct Token {
    start: &'static str,
    of: Alphabet,
    least: usize,
    most: usize,
    what: &'static str,
}

#[derive(Clone, Copy)]
enum Alphabet {
    Upper,
    Alnum,
    /// Letters, digits and `_`.
    Word,
    /// Letters, digits, `_` and `-`.
    Url,
    Hex,
}

const fn token(
    start: &'static str,
    of: Alphabet,
    least: usize,
    most: usize,
    what: &'static str,
) -> Token {
    Token {
        start,
        of,
        least,
        most,
        what,
    }
}

/// The forms are those the services document, or their scanners' partners publish.
const TOKENS: &[Token] = &[
    token("ghp_", Alphabet::Alnum, 36, 36, "a GitHub token"),
    token("gho_", Alphabet::Alnum, 36, 36, "a GitHub token"),
    token("ghu_", Alphabet::Alnum, 36, 36, "a GitHub token"),
    token("ghs_", Alphabet::Alnum, 36, 36, "a GitHub token"),
    token("ghr_", Alphabet::Alnum, 36, 36, "a GitHub token"),
    token("github_pat_", Alphabet::Word, 82, 82, "a GitHub token"),
    token("glpat-", Alphabet::Url, 20, 64, "a GitLab token"),
    token("npm_", Alphabet::Alnum, 36, 36, "an npm token"),
    token("pypi-AgE", Alphabet::Url, 50, 400, "a PyPI token"),
    token("dckr_pat_", Alphabet::Url, 24, 64, "a Docker Hub token"),
    token("AKIA", Alphabet::Upper, 16, 16, "an AWS access key"),
    token("ASIA", Alphabet::Upper, 16, 16, "an AWS access key"),
    token("xoxb-", Alphabet::Url, 24, 200, "a Slack token"),
    token("xoxp-", Alphabet::Url, 24, 200, "a Slack token"),
    token("sk_live_", Alphabet::Alnum, 24, 120, "a Stripe key"),
    token("rk_live_", Alphabet::Alnum, 24, 120, "a Stripe key"),
    token("sk-ant-", Alphabet::Url, 40, 200, "an Anthropic key"),
    token("sk-proj-", Alphabet::Url, 40, 250, "an OpenAI key"),
    token("hf_", Alphabet::Alnum, 34, 34, "a Hugging Face token"),
    token("dop_v1_", Alphabet::Hex, 64, 64, "a DigitalOcean token"),
    token("shpat_", Alphabet::Hex, 32, 32, "a Shopify token"),
    token("glsa_", Alphabet::Word, 41, 41, "a Grafana token"),
    token("hvs.", Alphabet::Url, 90, 300, "a Vault token"),
];

impl Alphabet {
    fn has(self, byte: u8) -> bool {
        match self {
            Self::Upper => byte.is_ascii_uppercase() || byte.is_ascii_digit(),
            Self::Alnum => byte.is_ascii_alphanumeric(),
            Self::Word => byte.is_ascii_alphanumeric() || byte == b'_',
            Self::Url => byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'),
            Self::Hex => byte.is_ascii_hexdigit(),
        }
    }
}

/// Looks at the beginning of a file, or all of it.
#[must_use]
pub fn look_at(path: &[u8], content: &[u8]) -> Vec<Hit> {
    let is_binary = content[..content.len().min(1024)].contains(&0);
    if is_binary {
        return Vec::new();
    }
    let keys = private_keys(content).into_iter();
    let mut found: Vec<(usize, &str)> = keys.map(|at| (at, "a private key")).collect();
    let tokens = tokens(content).into_iter();
    found.extend(tokens.map(|(span, what)| (span.start, what)));
    found.sort_by_key(|(at, _)| *at);
    let mut hits = Vec::from_iter(secret_files::credentials(path, content));
    let (mut line, mut counted) = (1, 0);
    for (at, what) in found {
        line += line_ends(&content[counted..at]);
        counted = at;
        hits.push(Hit { what, line });
    }
    hits.sort_by_key(|hit| hit.line);
    hits.dedup_by_key(|hit| hit.line);
    hits
}

pub(crate) fn line_ends(content: &[u8]) -> usize {
    content.iter().filter(|&&byte| byte == b'\n').count()
}

/// Where private keys in armour start: a head at the start of a line, with key material after it, so
/// that a program that only knows of keys is not taken for one.
fn private_keys(content: &[u8]) -> Vec<usize> {
    const HEAD: &[u8] = b"-----BEGIN ";
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(line_end) = content[at..].iter().position(|&byte| byte == b'\n') {
        let line = content[at..at + line_end].trim_ascii();
        let after = &content[at + line_end + 1..];
        let is_key = line.strip_prefix(HEAD).is_some_and(|rest| {
            rest.ends_with(b"-----")
                && rest.windows(11).any(|part| part == b"PRIVATE KEY")
                && rest.len() < 64
        });
        if is_key && has_key_material(after) {
            found.push(at);
        }
        at += line_end + 1;
    }
    found
}

fn has_key_material(after: &[u8]) -> bool {
    let mut lines = after
        .split(|&byte| byte == b'\n')
        .map(|line| line.trim_ascii());
    lines.by_ref().take(6).any(|line| {
        line.len() >= 40
            && line
                .iter()
                .all(|byte| byte.is_ascii_alphanumeric() || b"+/=".contains(byte))
    })
}

/// Where tokens of well-known services stand.
pub(crate) fn token_spans(content: &[u8]) -> Vec<Range<usize>> {
    tokens(content).into_iter().map(|(span, _)| span).collect()
}

pub(crate) fn tokens(content: &[u8]) -> Vec<(Range<usize>, &'static str)> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < content.len() {
        let first = content[at];
        // All of them start with one of these; the others are passed over quickly.
        if !b"gndpAxsrh".contains(&first) || (at > 0 && Alphabet::Word.has(content[at - 1])) {
            at += 1;
            continue;
        }
        let hit = TOKENS.iter().find_map(|token| {
            let body = content[at..].strip_prefix(token.start.as_bytes())?;
            let body = &body[..body.len().min(token.most + 1)];
            let length = body.iter().take_while(|byte| token.of.has(**byte)).count();
            // A longer word is something else, where the length is fixed.
            let ends = body
                .get(length)
                .is_none_or(|byte| !Alphabet::Word.has(*byte));
            let fits = (token.least..=token.most).contains(&length);
            (fits && ends && is_random(&body[..length]))
                .then_some((at..at + token.start.len() + length, token.what))
        });
        match hit {
            Some((span, what)) => {
                at = span.end;
                found.push((span, what));
            }
            None => at += 1,
        }
    }
    found
}

/// Whether a text can have been drawn by lot: documentation has EXAMPLE, xxxx and 1234 in its place.
fn is_random(text: &[u8]) -> bool {
    let upper = text.to_ascii_uppercase();
    let says_example = [&b"EXAMPLE"[..], b"XXXX", b"0000", b"PLACEHOLDER", b"YOUR"]
        .iter()
        .any(|word| upper.windows(word.len()).any(|part| part == *word));
    let mut seen = [false; 256];
    text.iter().for_each(|byte| seen[usize::from(*byte)] = true);
    let different = seen.iter().filter(|seen| **seen).count();
    let has_digit = text.iter().any(u8::is_ascii_digit);
    !says_example && has_digit && different >= 8.min(text.len() / 2)
}

/// Whether the name of a variable says that its value is a secret.
pub(crate) fn has_secret_name(name: &str) -> bool {
    let words: Vec<String> = name
        .split(|c: char| !c.is_ascii_alphanumeric())
        .map(str::to_ascii_uppercase)
        .collect();
    let last = words.last().map_or("", String::as_str);
    // These say where a secret is, or something about it.
    let is_about = matches!(
        last,
        "FILE"
            | "PATH"
            | "DIR"
            | "URL"
            | "URI"
            | "NAME"
            | "ID"
            | "LENGTH"
            | "TTL"
            | "EXPIRY"
            | "TYPE"
            | "HEADER"
            | "ENABLED"
            | "REQUIRED"
    );
    if is_about && !name.to_ascii_uppercase().ends_with("KEY_ID") {
        return false;
    }
    let single = |word: &String| {
        matches!(
            word.as_str(),
            "PASSWORD"
                | "PASSWD"
                | "PASSPHRASE"
                | "SECRET"
                | "TOKEN"
                | "CREDENTIAL"
                | "CREDENTIALS"
                | "APIKEY"
                | "PAT"
        )
    };
    let pair = |words: &[String]| {
        words[1] == "KEY"
            && matches!(
                words[0].as_str(),
                "API" | "SECRET" | "PRIVATE" | "ACCESS" | "ENCRYPTION" | "SIGNING" | "AUTH"
            )
    };
    words.iter().any(single) || words.windows(2).any(pair)
}

/// Whether a value can be a secret at all, and is no switch, place, variable or placeholder.
pub(crate) fn can_be_secret(value: &str) -> bool {
    let value = value.trim().trim_matches(['"', '\'']);
    let lower = value.to_ascii_lowercase();
    let is_word = matches!(
        lower.as_str(),
        "true"
            | "false"
            | "yes"
            | "no"
            | "none"
            | "null"
            | "on"
            | "off"
            | "changeme"
            | "dummy"
            | "unset"
            | "redacted"
            | "xxx"
            | "todo"
            | "secret"
            | "password"
            | "token"
    );
    let is_number = value.len() < 6 && value.bytes().all(|byte| byte.is_ascii_digit());
    let is_mask = value.bytes().all(|byte| b"*x-.".contains(&byte));
    let is_elsewhere = value.starts_with(['/', '$', '<', '{', '%']) || value.contains("${");
    !(value.len() < 3 || is_word || is_number || is_mask || is_elsewhere)
}

/// A password inside a URL: `https://user:password@host`. Gives where that starts.
pub(crate) fn url_credentials(text: &str) -> Option<usize> {
    let mut from = 0;
    while let Some(span) = url_password(text, from) {
        from = span.end;
        if can_be_secret(&text[span.clone()]) {
            return Some(span.start);
        }
    }
    None
}

/// Where the next password of a URL stands, whatever it is.
pub(crate) fn url_password(text: &str, mut from: usize) -> Option<Range<usize>> {
    while let Some(found) = text[from..].find("://") {
        let start = from + found + 3;
        let end = text[start..]
            .find(|c: char| c.is_whitespace() || matches!(c, '/' | '"' | '\'' | '<' | '>' | '`'))
            .map_or(text.len(), |end| start + end);
        from = start;
        if let Some((user, _)) = text[start..end].rsplit_once('@')
            && let Some((name, password)) = user.split_once(':')
        {
            let at = start + name.len() + 1;
            return Some(at..at + password.len());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Put together here, so that this file holds none.
    fn made(start: &str, length: usize) -> String {
        let body = "aB3dE6gH9jK2mN5pQ8sT1vW4yZ7".chars().cycle();
        format!("{start}{}", body.take(length).collect::<String>())
    }

    fn pem(kind: &str) -> String {
        let dashes = "-".repeat(5);
        let body = made("MII", 61);
        format!("{dashes}BEGIN {kind}{dashes}\n{body}\n{dashes}END {kind}{dashes}\n")
    }

    fn check(path: &str, content: &str, want: &[(&str, usize)]) {
        let hits = look_at(path.as_bytes(), content.as_bytes());
        let found: Vec<_> = hits.iter().map(|hit| (hit.what, hit.line)).collect();
        assert_eq!(found, want, "{path}: {content}");
    }

    #[test]
    fn private_keys_are_found_with_their_material() {
        for kind in [
            "PRIVATE KEY",
            "RSA PRIVATE KEY",
            "EC PRIVATE KEY",
            "OPENSSH PRIVATE KEY",
            "ENCRYPTED PRIVATE KEY",
            "PGP PRIVATE KEY BLOCK",
        ] {
            let text = format!("hello\n{}", pem(kind));
            check("srv/a.txt", &text, &[("a private key", 2)]);
        }
        check("srv/a.txt", &pem("CERTIFICATE"), &[]);
        check("srv/a.txt", &pem("PUBLIC KEY"), &[]);
        // A program that looks for keys.
        let head = format!("{0}BEGIN PRIVATE KEY{0}", "-".repeat(5));
        check(
            "srv/a.py",
            &format!("if '{head}' in text:\n    pass\n"),
            &[],
        );
        check("srv/a.py", &format!("{head}\nshort\n"), &[]);
    }

    #[test]
    fn tokens_are_found_by_form() {
        for token in TOKENS {
            let body = match token.of {
                Alphabet::Upper => "A1B2C3D4E5F6G7H8".to_owned(),
                Alphabet::Hex => "0a1b2c3d4e5f6789".repeat(4)[..token.least].to_owned(),
                _ => made("", token.least),
            };
            let text = format!("x\nkey = \"{}{body}\"\n", token.start);
            check("srv/a.txt", &text, &[(token.what, 2)]);
            // Part of a longer word it is none.
            check("srv/a.txt", &format!("z{}{body}", token.start), &[]);
        }
        check("srv/a.txt", &made("ghp_", 35), &[]);
        check("srv/a.txt", &made("ghp_", 37), &[]);
        check("srv/a.txt", &format!("AKIA{}EXAMPLE", "IOSFODNN7"), &[]);
        check("srv/a.txt", &format!("ghp_{}", "x".repeat(36)), &[]);
        check("srv/a.txt", "npm_config_registry npm_lifecycle_event", &[]);
        let binary = format!("\0{}", made("ghp_", 36));
        check("srv/a.bin", &binary, &[]);
    }

    /// Content of half a megabyte on which whoever starts anew at each place never comes to an end.
    #[test]
    fn content_that_repeats_itself_is_looked_through_soon() {
        for (path, part) in [
            ("srv/a.txt", "sk-ant-"),
            ("srv/a.txt", &*format!("{} ", made("ghp_", 36))),
            ("root/.npmrc", "_auth"),
            ("root/.npmrc", "_auth=$ "),
            ("root/.npmrc", "//_auth=$ "),
            ("root/.git-credentials", "://a:@"),
            ("app/.env", "TOKEN="),
            ("app/.env", "TOKEN=$\n"),
        ] {
            let content = part.repeat((512 << 10) / part.len());
            assert!(
                look_at(path.as_bytes(), content.as_bytes()).len() < 2,
                "{path}: {part}"
            );
        }
    }

    #[test]
    fn names_say_what_is_secret() {
        for name in [
            "TOKEN",
            "GITHUB_TOKEN",
            "db_password",
            "AWS_SECRET_ACCESS_KEY",
            "API_KEY",
            "STRIPE_API_KEY",
            "NPM_TOKEN",
            "SSH_PRIVATE_KEY",
        ] {
            assert!(has_secret_name(name), "{name}");
        }
        for name in [
            "PATH",
            "GPG_KEY",
            "GPG_KEYS",
            "TOKENIZERS_PARALLELISM",
            "POSTGRES_PASSWORD_FILE",
            "SECRET_NAME",
            "KEYBOARD",
            "TOKEN_URL",
            "PASSWORD_LENGTH",
            "PATTERN",
        ] {
            assert!(!has_secret_name(name), "{name}");
        }
        for value in ["hunter2", "a-b-c-d", "123456"] {
            assert!(can_be_secret(value), "{value}");
        }
        for value in [
            "",
            "true",
            "/run/secrets/x",
            "$X",
            "${X}",
            "changeme",
            "12",
            "****",
            "<token>",
        ] {
            assert!(!can_be_secret(value), "{value}");
        }
    }

    #[test]
    fn passwords_in_urls_are_found() {
        for (text, want) in [
            ("x https://me:hunter2@host/x", true),
            ("https://me@host/x", false),
            ("https://host:8080/a@b", false),
            ("https://me:$PASSWORD@host/x", false),
            ("https://me:${PASSWORD}@host/x", false),
            ("http://a/ http://b:hunter2@c", true),
            ("postgres://app:s3cr3t@db/app", true),
        ] {
            assert_eq!(url_credentials(text).is_some(), want, "{text}");
        }
    }
}
