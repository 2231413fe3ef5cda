//! What has to be read before an image can be judged. Everything else is known from names and sizes.

use std::collections::{BTreeMap, BTreeSet};

use crate::rules::MIN_DUPLICATE;
use crate::stack::Stacked;
use crate::{Image, Kind, secret_files};

/// Files that are larger are not looked into.
pub const CONTENT_LIMIT: u64 = 512 << 10;

/// A file in a layer.
type Place = (usize, Vec<u8>);

/// The files whose digests make a difference and are not known: those of one size, and those that
/// replaced a file of their size.
#[must_use]
pub fn wanted_digests(image: &Image) -> Vec<Place> {
    let stacked = Stacked::new(image);
    let mut sizes: BTreeMap<u64, Vec<Place>> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for (path, layer) in &stacked.visible {
        let entry = &image.layers[*layer].entries[*path];
        let is_first = entry.inode.is_none_or(|inode| seen.insert((*layer, inode)));
        if entry.kind == Kind::File && entry.size >= MIN_DUPLICATE && is_first {
            let places = sizes.entry(entry.size).or_default();
            places.push((*layer, path.to_vec()));
        }
    }
    let mut wanted: BTreeSet<Place> = BTreeSet::new();
    for places in sizes.into_values() {
        let has_own = places.iter().any(|(layer, _)| image.is_own(*layer));
        if places.len() > 1 && has_own {
            wanted.extend(places);
        }
    }
    for hidden in &stacked.hidden {
        if let Some(other) = hidden.replaced
            && image.is_own(hidden.by)
            && other.kind == Kind::File
            && other.size == hidden.entry.size
            && other.size > 0
        {
            wanted.insert((hidden.layer, hidden.path.to_vec()));
            wanted.insert((hidden.by, hidden.path.to_vec()));
        }
    }
    wanted
        .into_iter()
        .filter(|(layer, path)| image.layers[*layer].entries[path].content.is_none())
        .collect()
}

/// The files whose content may hold a secret, the likeliest first. What a package manager unpacked is
/// the same for everybody and is left out.
#[must_use]
pub fn wanted_contents(image: &Image) -> Vec<Place> {
    let mut wanted = Vec::new();
    for (at, layer) in image.own() {
        for (path, entry) in &layer.entries {
            if entry.kind != Kind::File || entry.size < 8 || entry.size > CONTENT_LIMIT {
                continue;
            }
            let likely = secret_files::is_known(path) || has_likely_name(path);
            if likely || !is_packaged(path) {
                wanted.push((!likely, entry.size, (at, path.clone())));
            }
        }
    }
    wanted.sort();
    wanted.into_iter().map(|(_, _, place)| place).collect()
}

fn has_likely_name(path: &[u8]) -> bool {
    let name = path.rsplit(|&byte| byte == b'/').next().unwrap_or(path);
    let in_ssh = path
        .split(|&byte| byte == b'/')
        .any(|part| part == b".ssh" || part == b"ssh");
    (in_ssh && !name.ends_with(b".pub") && !is_packaged(path))
        || [&b".key"[..], b".pem", b".tfstate"]
            .iter()
            .any(|end| name.ends_with(end) && !is_packaged(path))
}

/// Files that come out of a package.
fn is_packaged(path: &[u8]) -> bool {
    const BELOW: &[&[u8]] = &[
        b"usr/share/",
        b"usr/lib/",
        b"usr/lib64/",
        b"usr/libexec/",
        b"usr/include/",
        b"usr/src/linux",
        b"usr/bin/",
        b"usr/sbin/",
        b"lib/",
        b"lib64/",
        b"bin/",
        b"sbin/",
        b"var/lib/dpkg/",
        b"var/lib/apt/",
        b"var/cache/",
        b"lib/apk/",
        b"usr/local/go/",
        b"usr/local/lib/python",
        b"usr/local/rustup/",
    ];
    const INSIDE: &[&[u8]] = &[
        b"/node_modules/",
        b"/site-packages/",
        b"/dist-packages/",
        b"/go/pkg/mod/",
        b"/cargo/registry/",
        b"/.cargo/registry/",
        b"/_cacache/",
        b"/.m2/repository/",
        b"/gems/",
        b"/vendor/",
    ];
    let rooted = [b"/", path].concat();
    BELOW.iter().any(|start| path.starts_with(start))
        || INSIDE
            .iter()
            .any(|part| rooted.windows(part.len()).any(|found| found == *part))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::testing::{file, image};

    #[test]
    fn only_what_makes_a_difference_is_hashed() {
        let image = image(
            1,
            &[
                &[("a", file(100_000)), ("b", file(100_000)), ("m", file(5))],
                &[
                    ("c", file(100_001)),
                    ("m", file(5)),
                    ("tiny", file(3)),
                    ("tiny2", file(3)),
                ],
            ],
        );
        // a and b are the base's affair; m was replaced by something of its size.
        assert_eq!(
            wanted_digests(&image),
            [(0, b"m".to_vec()), (1, b"m".to_vec())]
        );
    }

    #[test]
    fn likely_files_are_read_first_and_packaged_ones_never() {
        let image = image(
            0,
            &[&[
                ("app/main.js", file(100)),
                ("app/node_modules/x/test.pem", file(100)),
                ("app/node_modules/.npmrc", file(100)),
                ("root/.npmrc", file(200)),
                ("usr/lib/x/a.js", file(100)),
                ("app/large.json", file(CONTENT_LIMIT + 1)),
            ]],
        );
        let wanted: Vec<String> = wanted_contents(&image)
            .into_iter()
            .map(|(_, path)| String::from_utf8(path).unwrap())
            .collect();
        assert_eq!(
            wanted,
            ["app/node_modules/.npmrc", "root/.npmrc", "app/main.js"]
        );
    }
}
