//! Whether two images of one Dockerfile are the same thing, though their steps ran at two times.

use std::path::Path;

use anyhow::{Context, Result};
use launchway_testkit::flatten::{self, Difference};

/// What differs from one run of the same commands to the next, with any builder: below these, or with these
/// ends, content may differ. Kind, mode and owner have to be the same there too.
const VARIES: [(&str, &str, &str); 9] = [
    ("/var/log/", "", "logs tell the time"),
    ("/var/cache/", "", "caches tell the time of what they know"),
    ("/etc/", "/passwd-", "backups"),
    ("", ".pyc", "compiled Python tells the time of its source"),
    ("/var/lib/dpkg/", "-old", "backups"),
    ("/var/lib/texmf/", "", "formats and lists tell the time"),
    ("/document/", ".log", "the log of TeX tells the time"),
    (
        "/etc/ssl/certs/",
        "ssl-cert-snakeoil.pem",
        "made at installation",
    ),
    (
        "/etc/ssl/private/",
        "ssl-cert-snakeoil.key",
        "made at installation",
    ),
];

pub(super) struct Verdict {
    /// Paths and fields that should be the same and are not.
    different: Vec<Difference>,
    /// Paths whose content may vary, and does.
    varying: usize,
    paths: usize,
    layers: [usize; 2],
    smoke: [String; 2],
}

impl Verdict {
    /// Reads both layouts and compares them, and what the smoke tests printed.
    pub(super) fn of(
        theirs: &Path,
        ours: &Path,
        their_smoke: String,
        our_smoke: String,
    ) -> Result<Self> {
        let read = |path: &Path| {
            flatten::flatten(path, None).with_context(|| format!("cannot read {}", path.display()))
        };
        let (theirs, ours) = (read(theirs)?, read(ours)?);
        let layers =
            [&theirs, &ours].map(|image| image.manifest["layers"].as_array().map_or(0, Vec::len));
        let found = flatten::compare(&theirs, &ours);
        let (varying, different): (Vec<_>, Vec<_>) = found.into_iter().partition(may_vary);
        Ok(Self {
            different,
            varying: varying.len(),
            paths: theirs.entries.len(),
            layers,
            smoke: [their_smoke, our_smoke],
        })
    }

    pub(super) fn equal(&self) -> bool {
        self.different.is_empty() && self.smoke[0] == self.smoke[1]
    }

    pub(super) fn line(&self) -> String {
        let [theirs, ours] = self.layers;
        let word = if self.equal() { "equal" } else { "differs" };
        format!(
            "{word}: {} paths, {} differ, {} of them as they may; layers {theirs}/{ours}; smoke {}",
            self.paths,
            self.different.len() + self.varying,
            self.varying,
            if self.smoke[0] == self.smoke[1] {
                "same"
            } else {
                "differs"
            }
        )
    }

    pub(super) fn details(&self) -> Vec<String> {
        const SHOWN: usize = 25;
        let mut lines: Vec<String> = self
            .different
            .iter()
            .take(SHOWN)
            .flat_map(|difference| {
                let text = difference.to_string();
                text.lines().map(str::to_owned).collect::<Vec<_>>()
            })
            .collect();
        if self.different.len() > SHOWN {
            lines.push(format!("and {} more", self.different.len() - SHOWN));
        }
        if self.smoke[0] != self.smoke[1] {
            for (builder, text) in super::BUILDERS.iter().zip(&self.smoke) {
                lines.push(format!("the smoke test of {builder} said:"));
                lines.extend(text.lines().map(|line| format!("  {line}")));
            }
        }
        lines
    }
}

/// Both have a file there, which differs in content alone, and it is known to.
fn may_vary(difference: &Difference) -> bool {
    let known = VARIES.iter().any(|(start, end, _)| {
        difference.what.starts_with(start) && difference.what.ends_with(end)
    });
    let (Some(left), Some(right)) = (&difference.left, &difference.right) else {
        return false;
    };
    known && but_content(left) == but_content(right) && but_content(left).is_some()
}

/// The description of a file without its size and digest; `None` for anything else.
fn but_content(text: &str) -> Option<&str> {
    text.strip_prefix("file of ")?
        .split_once(',')
        .map(|(_, rest)| rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn difference(what: &str, left: &str, right: &str) -> Difference {
        Difference {
            what: what.to_owned(),
            left: Some(left.to_owned()),
            right: Some(right.to_owned()),
        }
    }

    #[test]
    fn only_content_may_vary_and_only_where_it_is_known_to() {
        let one = "file of 3 bytes sha256:a, mode 0644, owner 0:0";
        let two = "file of 4 bytes sha256:b, mode 0644, owner 0:0";
        let writable = "file of 4 bytes sha256:b, mode 0666, owner 0:0";
        assert!(may_vary(&difference("/var/log/dpkg.log", one, two)));
        assert!(may_vary(&difference("/usr/lib/a.pyc", one, two)));
        assert!(!may_vary(&difference("/var/log/dpkg.log", one, writable)));
        assert!(!may_vary(&difference("/etc/passwd", one, two)));
        let missing = Difference {
            right: None,
            ..difference("/var/log/dpkg.log", one, two)
        };
        assert!(!may_vary(&missing));
    }
}
