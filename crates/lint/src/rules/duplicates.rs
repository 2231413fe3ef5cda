//! The same content more than once.

use std::collections::{BTreeMap, BTreeSet};

use super::leftovers::is_leftover;
use crate::image::shown;
use crate::stack::Stacked;
use crate::{Finding, Image, Kind, Rule, Spot};

/// Files from here on are compared, in bytes.
pub(crate) const MIN_DUPLICATE: u64 = 64 << 10;

/// The copies of one layer together are worth a word from here on, in bytes.
const MIN_TOTAL: u64 = 1_000_000;

/// The layer that made it, its path and its size.
type Copy<'a> = (usize, &'a [u8], u64);

pub(crate) fn duplicates(image: &Image, stacked: &Stacked<'_>) -> Vec<Finding> {
    // The lowest layer's first: that one is the original.
    let mut found: BTreeMap<&[u8], Vec<Copy<'_>>> = BTreeMap::new();
    let mut names = BTreeSet::new();
    for (path, layer) in &stacked.visible {
        let entry = &image.layers[*layer].entries[*path];
        let is_first = entry
            .inode
            .is_none_or(|inode| names.insert((*layer, inode)));
        if let (Kind::File, true, Some(content)) = (entry.kind, is_first, &entry.content)
            && entry.size >= MIN_DUPLICATE
            && !is_leftover(path)
        {
            // A layer that only changed its owner did not make it.
            let made = image.layers.iter().position(|layer| {
                let entry = layer.entries.get(*path);
                entry.is_some_and(|entry| entry.content.as_ref() == Some(content))
            });
            let places = found.entry(content).or_default();
            places.push((made.unwrap_or(*layer), path, entry.size));
        }
    }
    let mut groups: BTreeMap<usize, Vec<Spot>> = BTreeMap::new();
    for mut places in found.into_values().filter(|places| places.len() > 1) {
        places.sort();
        let (first_layer, first, _) = places[0];
        for (layer, path, size) in places.into_iter().skip(1) {
            // What one package has twice is its maker's affair.
            if !image.is_own(layer) || layer == first_layer && is_packaged(path) {
                continue;
            }
            let mut spot = Spot::file(path, size);
            spot.note = Some(if layer == first_layer {
                format!("the same as {}", shown(first))
            } else {
                format!("the same as {} of layer {}", shown(first), first_layer + 1)
            });
            groups.entry(layer).or_default().push(spot);
        }
    }
    groups
        .into_iter()
        .filter(|(_, spots)| spots.iter().map(|spot| spot.bytes).sum::<u64>() >= MIN_TOTAL)
        .map(|(layer, spots)| {
            Finding::new(
                Rule::DuplicateFile,
                "stored more than once",
                "install it once, or keep one of them and link to it: `ln -s` anywhere, `ln` within one layer",
            )
            .with(spots, true)
            .in_layer(layer)
        })
        .collect()
}

/// Files that came out of a distribution's package.
fn is_packaged(path: &[u8]) -> bool {
    const PLACES: &[&[u8]] = &[
        b"usr/share/",
        b"usr/lib/",
        b"usr/lib64/",
        b"usr/libexec/",
        b"usr/bin/",
        b"usr/include/",
        b"lib/",
    ];
    const OTHERS: &[&[u8]] = &[b"/node_modules/", b"/site-packages/"];
    PLACES.iter().any(|place| path.starts_with(place))
        && !OTHERS
            .iter()
            .any(|part| path.windows(part.len()).any(|found| found == *part))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Entry;
    use crate::rules::testing::{content, image, removed, told};

    const BIG: u64 = 700_000;

    fn check(inherited: usize, layers: &[&[(&str, Entry)]], want: &[&str]) {
        let image = image(inherited, layers);
        assert_eq!(told(&duplicates(&image, &Stacked::new(&image))), want);
    }

    #[test]
    fn copies_are_found_in_and_across_layers() {
        check(
            0,
            &[
                &[
                    ("a", content(BIG, "1")),
                    ("b", content(BIG, "1")),
                    ("c", content(BIG, "1")),
                ],
                &[
                    ("d", content(BIG, "1")),
                    ("e", content(2_000_000, "2")),
                    ("f", content(2_000_000, "2")),
                ],
            ],
            &[
                "duplicate-file@0 1400000 1400000: /b, /c",
                "duplicate-file@1 2700000 2700000: /f, /d",
            ],
        );
    }

    #[test]
    fn links_trifles_and_the_base_are_passed_over() {
        let one = || Entry {
            inode: Some(1),
            ..content(2_000_000, "1")
        };
        check(0, &[&[("a", one()), ("b", one())]], &[]);
        check(
            0,
            &[&[("a", content(BIG, "1")), ("b", content(BIG, "1"))]],
            &[],
        );
        let big = || content(2_000_000, "1");
        check(
            1,
            &[&[("a", big()), ("b", big())], &[("c", content(5, "2"))]],
            &[],
        );
        check(
            1,
            &[&[("a", big())], &[("b", big())]],
            &["duplicate-file@1 2000000 2000000: /b"],
        );
        // A package may have what it likes, but only once.
        let (lib, other) = ("usr/lib/x/a", "usr/lib/x/b");
        check(0, &[&[(lib, big()), (other, big())]], &[]);
        check(
            0,
            &[&[(lib, big())], &[(other, big())]],
            &["duplicate-file@1 2000000 2000000: /usr/lib/x/b"],
        );
        let owned = || Entry { uid: 7, ..big() };
        check(
            0,
            &[&[("a", big())], &[("b", big())], &[("a", owned())]],
            &["duplicate-file@1 2000000 2000000: /b"],
        );
        // One that no container sees is told of elsewhere, and so is a cache.
        check(
            0,
            &[&[("a", big()), ("b", big())], &[("b", removed())]],
            &[],
        );
        check(0, &[&[("a", big()), ("tmp/b", big())]], &[]);
    }
}
