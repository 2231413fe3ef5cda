//! Files that a later layer deletes, replaces, or stores again for the sake of their owner or mode.

use std::collections::BTreeMap;

use super::MIN_WASTE;
use crate::stack::{Hidden, Stacked};
use crate::{Finding, Image, Kind, Rule, Spot};

pub(crate) fn superseded(image: &Image, stacked: &Stacked<'_>) -> Vec<Finding> {
    let mut groups: BTreeMap<(Rule, usize, usize), Vec<Spot>> = BTreeMap::new();
    for hidden in &stacked.hidden {
        if hidden.bytes == 0 || !image.is_own(hidden.by) {
            continue;
        }
        let inherited = !image.is_own(hidden.layer);
        let (rule, note) = verdict(hidden);
        // The books of a package manager are written anew by whoever installs something.
        if inherited && is_bookkeeping(hidden.path) {
            continue;
        }
        let mut spot = Spot::file(hidden.path, hidden.bytes);
        spot.note = note;
        let group = (rule, hidden.layer, hidden.by);
        groups.entry(group).or_default().push(spot);
    }
    groups
        .into_iter()
        .filter(|(_, spots)| spots.iter().map(|spot| spot.bytes).sum::<u64>() >= MIN_WASTE)
        .map(|((rule, layer, by), spots)| {
            let inherited = !image.is_own(layer);
            let (title, help) = words(rule, inherited);
            // What the base holds is shipped with or without this image.
            let counts = !(inherited && rule == Rule::DeletedFile);
            let mut finding = Finding::new(rule, title, help)
                .with(spots, counts)
                .in_layer(by);
            finding.origin = Some(layer);
            if !counts {
                finding.level = crate::Level::Note;
            }
            finding
        })
        .collect()
}

fn verdict(hidden: &Hidden<'_>) -> (Rule, Option<String>) {
    let Some(other) = hidden.replaced else {
        return (Rule::DeletedFile, None);
    };
    let old = hidden.entry;
    let is_same = other.kind == Kind::File
        && other.size == old.size
        && old.content.is_some()
        && old.content == other.content;
    if !is_same {
        return (Rule::OverwrittenFile, None);
    }
    let mut changes = Vec::new();
    if (old.uid, old.gid) != (other.uid, other.gid) {
        let (from, to) = ((old.uid, old.gid), (other.uid, other.gid));
        changes.push(format!("owner {}:{} to {}:{}", from.0, from.1, to.0, to.1));
    }
    if old.mode != other.mode {
        changes.push(format!("mode {:04o} to {:04o}", old.mode, other.mode));
    }
    if changes.is_empty() {
        return (
            Rule::OverwrittenFile,
            Some("by the same content".to_owned()),
        );
    }
    (Rule::MetadataChange, Some(changes.join(", ")))
}

fn words(rule: Rule, inherited: bool) -> (&'static str, &'static str) {
    match (rule, inherited) {
        (Rule::DeletedFile, false) => (
            "deleted by a later layer, and shipped all the same",
            "delete files in the RUN that makes them, mount what is only needed for a while (RUN --mount=type=bind or type=cache), or take only what is needed out of a stage with COPY --from",
        ),
        (Rule::DeletedFile, true) => (
            "files of the base that are deleted, which saves nothing",
            "take a smaller base, or leave them",
        ),
        (Rule::MetadataChange, _) => (
            "stored a second time because owner or mode changed",
            "set both while copying, with COPY --chown=… --chmod=…, or in the RUN that makes the files",
        ),
        (_, false) => (
            "replaced by a later layer, and shipped all the same",
            "make each file once: move the instructions together, or into a stage of its own",
        ),
        (_, true) => (
            "files of the base that are shipped a second time",
            "take a newer base instead of upgrading it here, and change its files where they are made",
        ),
    }
}

fn is_bookkeeping(path: &[u8]) -> bool {
    const BOOKS: &[&[u8]] = &[
        b"var/lib/dpkg/",
        b"var/cache/debconf/",
        b"var/lib/apt/",
        b"var/cache/ldconfig/",
        b"etc/ld.so.cache",
        b"lib/apk/db/",
        b"usr/lib/apk/db/",
        b"var/lib/rpm/",
        b"usr/lib/sysimage/rpm/",
        b"var/lib/dnf/",
        b"var/log/",
        b"usr/share/info/dir",
        b"usr/share/mime/",
        b"etc/ssl/certs/ca-certificates.crt",
        b"etc/pki/",
    ];
    BOOKS.iter().any(|start| path.starts_with(start))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Entry;
    use crate::rules::testing::{content, dir, file, image, link, mode, removed, told};

    const BIG: u64 = 200_000;

    fn check(inherited: usize, layers: &[&[(&str, Entry)]], want: &[&str]) {
        let image = image(inherited, layers);
        let findings = superseded(&image, &Stacked::new(&image));
        assert_eq!(told(&findings), want);
        assert!(findings.iter().all(|finding| finding.origin.is_some()));
    }

    #[test]
    fn deleted_files_are_still_shipped() {
        let big = || file(BIG);
        check(
            0,
            &[
                &[("a/x", big()), ("a/y", big()), ("b", big())],
                &[("a", removed())],
            ],
            &["deleted-file@1 400000 400000: /a/x, /a/y"],
        );
        // Too little to speak of, and what stays.
        check(
            0,
            &[&[("a/x", file(10)), ("b", big())], &[("a", removed())]],
            &[],
        );
        // A directory that hides what was in it, but not what it has itself.
        let opaque = Entry {
            opaque: true,
            ..dir(0o755)
        };
        check(
            0,
            &[
                &[("a/x", big()), ("a/y", big())],
                &[("a", opaque), ("a/x", file(1))],
            ],
            &["deleted-file@1 400000 400000: /a/x, /a/y"],
        );
        // What takes the place of a directory.
        check(
            0,
            &[&[("a/x", big())], &[("a", link("b"))]],
            &["deleted-file@1 200000 200000: /a/x"],
        );
        // A base is shipped anyway.
        check(
            1,
            &[&[("a/x", big())], &[("a", removed())]],
            &["deleted-file@1 200000 0: /a/x"],
        );
        // Neither is what one layer of the base does to another.
        check(
            2,
            &[&[("a", big())], &[("a", removed())], &[("b", big())]],
            &[],
        );
    }

    #[test]
    fn hard_links_count_once_and_only_when_the_last_is_gone() {
        let one = || Entry {
            inode: Some(7),
            ..file(BIG)
        };
        let both = &[("x", one()), ("y", one())];
        check(0, &[both, &[("x", removed())]], &[]);
        check(
            0,
            &[both, &[("x", removed()), ("y", removed())]],
            &["deleted-file@1 200000 200000: /x"],
        );
    }

    #[test]
    fn replaced_files_are_told_from_changed_owners() {
        check(
            0,
            &[&[("a", content(BIG, "1"))], &[("a", content(BIG, "2"))]],
            &["overwritten-file@1 200000 200000: /a"],
        );
        check(
            0,
            &[
                &[("a", content(BIG, "1"))],
                &[("a", mode(0o755, content(BIG, "1")))],
            ],
            &["metadata-change@1 200000 200000: /a"],
        );
        let owned = Entry {
            uid: 5,
            ..content(BIG, "1")
        };
        let image = image(1, &[&[("a", content(BIG, "1"))], &[("a", owned)]]);
        let findings = superseded(&image, &Stacked::new(&image));
        assert_eq!(findings[0].rule, Rule::MetadataChange);
        assert_eq!(
            findings[0].spots[0].note.as_deref(),
            Some("owner 0:0 to 5:0")
        );
        // The same again, and nothing changed.
        check(
            0,
            &[&[("a", content(BIG, "1"))], &[("a", content(BIG, "1"))]],
            &["overwritten-file@1 200000 200000: /a"],
        );
        // Each pair of layers has its own.
        check(
            0,
            &[
                &[("a", file(BIG))],
                &[("b", file(BIG))],
                &[("a", file(1)), ("b", file(2))],
            ],
            &[
                "overwritten-file@2 200000 200000: /a",
                "overwritten-file@2 200000 200000: /b",
            ],
        );
    }

    #[test]
    fn the_books_of_package_managers_may_be_rewritten() {
        let books = "var/lib/dpkg/status";
        check(1, &[&[(books, file(BIG))], &[(books, file(BIG))]], &[]);
        check(
            0,
            &[&[(books, file(BIG))], &[(books, file(BIG))]],
            &["overwritten-file@1 200000 200000: /var/lib/dpkg/status"],
        );
    }
}
