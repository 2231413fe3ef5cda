//! What nobody needs at run time: caches of package managers, temporary files, logs, manuals.

use std::collections::BTreeMap;

use super::MIN_WASTE;
use crate::caches::{Cache, cache_of};
use crate::stack::Stacked;
use crate::{Entry, Finding, Image, Rule, Spot};

/// What every installation writes to its log is not worth a word, in bytes.
const MIN_LOGS: u64 = 500_000;
/// Manuals are worth a word from here on, in bytes.
const MIN_DOCUMENTATION: u64 = 5_000_000;

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Cache(&'static Cache),
    Temporary,
    Logs,
    Manuals,
}

type Files<'a> = Vec<(&'a [u8], &'a Entry)>;

/// Only what is seen in the end: a cache that is deleted later is told of as deleted.
pub(crate) fn leftovers(image: &Image, stacked: &Stacked<'_>) -> Vec<Finding> {
    let mut groups: BTreeMap<(usize, Kind), Files<'_>> = BTreeMap::new();
    // Names of one file in and out of a cache: the file is in use.
    let mut used = BTreeMap::new();
    for (path, layer, entry) in stacked.own_files(image) {
        let kind = kind_of(path);
        if let (Some(inode), None) = (entry.inode, &kind) {
            used.insert((layer, inode), ());
        }
        if let Some(kind) = kind {
            groups.entry((layer, kind)).or_default().push((path, entry));
        }
    }
    let mut findings = Vec::new();
    for ((layer, kind), files) in groups {
        let mut counted = used.clone();
        let spots: Vec<Spot> = files
            .into_iter()
            .filter(|(_, entry)| {
                entry.size > 0
                    && entry
                        .inode
                        .is_none_or(|inode| counted.insert((layer, inode), ()).is_none())
            })
            .map(|(path, entry)| Spot::file(path, entry.size))
            .collect();
        let bytes: u64 = spots.iter().map(|spot| spot.bytes).sum();
        let least = match kind {
            Kind::Manuals => MIN_DOCUMENTATION,
            Kind::Logs => MIN_LOGS,
            _ => MIN_WASTE,
        };
        if bytes < least {
            continue;
        }
        let wasted = kind != Kind::Manuals;
        let finding = match kind {
            Kind::Cache(cache) => Finding::new(Rule::PackageCache, cache.what, cache.help),
            Kind::Temporary => Finding::new(
                Rule::Leftovers,
                "temporary files",
                "delete them in the RUN that makes them, or give it a place that leaves no trace: RUN --mount=type=tmpfs,target=/tmp",
            ),
            Kind::Logs => Finding::new(
                Rule::Leftovers,
                "logs of the build",
                "delete them in the RUN that writes them, or RUN --mount=type=tmpfs,target=/var/log",
            ),
            Kind::Manuals => Finding::new(
                Rule::Documentation,
                "manuals and translations",
                "on Debian, leave them out with path-exclude in /etc/dpkg/dpkg.cfg.d; dnf has --setopt=tsflags=nodocs",
            ),
        };
        findings.push(finding.with(spots, wasted).in_layer(layer));
    }
    findings
}

/// Whether the bytes of a file are counted here, so that nobody else counts them.
pub(crate) fn is_leftover(path: &[u8]) -> bool {
    kind_of(path).is_some_and(|kind| kind != Kind::Manuals)
}

fn kind_of(path: &[u8]) -> Option<Kind> {
    if let Some(cache) = cache_of(path) {
        return Some(Kind::Cache(cache));
    }
    let starts = |with: &[&[u8]]| with.iter().any(|start| path.starts_with(start));
    if starts(&[b"tmp/", b"var/tmp/"]) {
        Some(Kind::Temporary)
    } else if starts(&[b"var/log/"]) {
        Some(Kind::Logs)
    } else if starts(&[
        b"usr/share/doc/",
        b"usr/share/man/",
        b"usr/share/info/",
        b"usr/share/locale/",
        b"usr/share/gtk-doc/",
        b"usr/local/share/man/",
        b"usr/local/share/doc/",
    ]) {
        Some(Kind::Manuals)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::testing::{file, image, removed, told};

    fn check(inherited: usize, layers: &[&[(&str, Entry)]], want: &[&str]) {
        let image = image(inherited, layers);
        assert_eq!(told(&leftovers(&image, &Stacked::new(&image))), want);
    }

    #[test]
    fn each_kind_and_layer_is_a_finding() {
        let big = || file(6_000_000);
        check(
            0,
            &[
                &[
                    ("var/lib/apt/lists/a", big()),
                    ("var/lib/apt/lists/b", big()),
                    ("tmp/x/y", big()),
                    ("var/log/dpkg.log", big()),
                    ("usr/share/doc/x", big()),
                    ("app/x", big()),
                ],
                &[("home/me/.cache/pip/x", big())],
            ],
            &[
                "package-cache@0 12000000 12000000: /var/lib/apt/lists/a, /var/lib/apt/lists/b",
                "leftovers@0 6000000 6000000: /tmp/x/y",
                "leftovers@0 6000000 6000000: /var/log/dpkg.log",
                "documentation@0 6000000 0: /usr/share/doc/x",
                "package-cache@1 6000000 6000000: /home/me/.cache/pip/x",
            ],
        );
    }

    #[test]
    fn the_base_crumbs_and_what_is_deleted_are_passed_over() {
        let list = "var/lib/apt/lists/a";
        check(1, &[&[(list, file(6_000_000))], &[("a", file(1))]], &[]);
        check(0, &[&[(list, file(90_000))]], &[]);
        check(0, &[&[(list, file(6_000_000))], &[(list, removed())]], &[]);
        check(0, &[&[("usr/share/doc/x", file(900_000))]], &[]);
    }

    #[test]
    fn a_store_that_is_linked_into_place_is_in_use() {
        let one = |inode| Entry {
            inode: Some(inode),
            ..file(6_000_000)
        };
        let store = "root/.local/share/pnpm/store";
        check(
            0,
            &[&[
                (&format!("{store}/a"), one(1)),
                ("app/node_modules/a", one(1)),
                (&format!("{store}/b"), one(2)),
                (&format!("{store}/c"), one(2)),
            ]],
            &["package-cache@0 6000000 6000000: /root/.local/share/pnpm/store/b"],
        );
    }
}
