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

/// One `**` at a time, going back to the last one, as [`name_matches`] does with stars.
fn parts_match(parts: &[String], names: &[&str]) -> bool {
    let (mut p, mut n) = (0, 0);
    let mut any: Option<(usize, usize)> = None;
    while let Some(part) = parts.get(p) {
        if part == "**" {
            any = Some((p, n));
            p += 1;
            continue;
        }
        match names.get(n) {
            Some(name) if name_matches(part.as_bytes(), name.as_bytes()) => {
                p += 1;
                n += 1;
            }
            _ => match any {
                Some((at, taken)) if taken < names.len() => {
                    p = at + 1;
                    n = taken + 1;
                    any = Some((at, taken + 1));
                }
                _ => return false,
            },
        }
    }
    true
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
            ("/srv/**/test/**/x", "/srv/test/a/test/b/x/y", true),
            ("/srv/**/test/**/x", "/srv/a/x/test/y", false),
            ("/**/**/a", "/a", true),
            ("/a/**", "/a", true),
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

    /// Whoever tries all ways to put names into ten gaps never comes to an end.
    #[test]
    fn many_gaps_and_a_deep_path_are_matched_soon() {
        let pattern = "/**/a".repeat(10) + "/b";
        assert!(!Glob::new(&pattern).matches(&"/a".repeat(1000)));
    }
}
