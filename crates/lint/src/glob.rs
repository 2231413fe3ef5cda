//! Patterns of paths.

/// A pattern of absolute paths: `*` stands for any characters of one name, `?` for one of them, `**` for
/// any number of names. A pattern matches what it names and everything below.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glob {
    text: String,
    parts: Vec<String>,
}

impl Glob {
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self {
            text: text.to_owned(),
            parts: text
                .split('/')
                .filter(|part| !part.is_empty())
                .map(str::to_owned)
                .collect(),
        }
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    #[must_use]
    pub fn matches(&self, path: &str) -> bool {
        let names: Vec<&str> = path.split('/').filter(|name| !name.is_empty()).collect();
        parts_match(&self.parts, &names)
    }
}

fn parts_match(parts: &[String], names: &[&str]) -> bool {
    match parts.split_first() {
        None => true,
        Some((part, rest)) if part == "**" => {
            (0..=names.len()).any(|skipped| parts_match(rest, &names[skipped..]))
        }
        Some((part, rest)) => names.split_first().is_some_and(|(name, below)| {
            name_matches(part.as_bytes(), name.as_bytes()) && parts_match(rest, below)
        }),
    }
}

/// One star at a time, going back to the last one: never more than the product of the lengths.
fn name_matches(pattern: &[u8], name: &[u8]) -> bool {
    let (mut p, mut n) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(&byte) if byte == b'?' || byte == name[n] => {
                p += 1;
                n += 1;
            }
            _ => match star {
                Some((at, taken)) => {
                    p = at + 1;
                    n = taken + 1;
                    star = Some((at, taken + 1));
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|&byte| byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_paths_and_what_is_below() {
        for (pattern, path, want) in [
            ("/etc/ssl", "/etc/ssl", true),
            ("/etc/ssl", "/etc/ssl/private/a.key", true),
            ("/etc/ssl", "/etc/ssl2", false),
            ("etc/*.conf", "/etc/a.conf", true),
            ("etc/*.conf", "/etc/a/b.conf", false),
            ("**/*.key", "/a/b/c.key", true),
            ("**/*.key", "/c.key", true),
            ("**/*.key", "/c.keys", false),
            ("/srv/**/test", "/srv/test/x", true),
            ("/srv/**/test", "/srv/a/b/test", true),
            ("/a?c", "/abc", true),
            ("/a?c", "/ac", false),
            ("/*a*b*", "/xxaxxbxx", true),
            ("/*a*b", "/xxaxxbxx", false),
            ("env:TOKEN", "env:TOKEN", true),
            ("env:*", "env:TOKEN", true),
            ("env:*", "label:TOKEN", false),
        ] {
            assert_eq!(Glob::new(pattern).matches(path), want, "{pattern} {path}");
        }
    }
}
