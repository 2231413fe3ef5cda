//! Files that everybody can write to, and programs that lend their owner's rights.

use std::collections::BTreeMap;

use crate::stack::Stacked;
use crate::{Finding, Image, Kind, Level, Rule, Spot};

pub(crate) fn permissions(image: &Image, stacked: &Stacked<'_>) -> Vec<Finding> {
    let mut writable: BTreeMap<usize, Vec<Spot>> = BTreeMap::new();
    let mut lending: BTreeMap<(usize, bool), Vec<Spot>> = BTreeMap::new();
    for (path, layer, entry) in stacked.own(image) {
        let mode = entry.mode;
        let is_open = match entry.kind {
            Kind::File => mode & 0o002 != 0,
            // The sticky bit keeps people from deleting what is not theirs.
            Kind::Dir => mode & 0o1002 == 0o002,
            Kind::Symlink | Kind::Special | Kind::Whiteout => false,
        };
        if is_open && !path.starts_with(b"dev/") {
            // A directory that the base has open already is not this image's doing.
            let below = image.layers[..image.inherited].iter().rev();
            let before = below.filter_map(|layer| layer.entries.get(path)).next();
            if before.is_none_or(|before| before.mode != mode) {
                let mut spot = Spot::file(path, 0);
                spot.note = Some(format!("mode {mode:04o}"));
                writable.entry(layer).or_default().push(spot);
            }
        }
        if entry.kind == Kind::File && mode & 0o6000 != 0 && mode & 0o111 != 0 {
            let mut spot = Spot::file(path, 0);
            let who = match mode & 0o6000 {
                0o4000 => "setuid",
                0o2000 => "setgid",
                _ => "setuid and setgid",
            };
            spot.note = Some(format!(
                "{who}, mode {mode:04o}, owner {}:{}",
                entry.uid, entry.gid
            ));
            let is_usual = is_system_place(path) && mode & 0o022 == 0;
            lending.entry((layer, !is_usual)).or_default().push(spot);
        }
    }
    let writable = writable.into_iter().map(|(layer, spots)| {
        Finding::new(
            Rule::WorldWritable,
            "everybody in the container can change these",
            "take the right away in the instruction that gives it: `chmod o-w`, COPY --chmod=…; a shared directory needs the sticky bit, `chmod 1777`",
        )
        .with(spots, false)
        .in_layer(layer)
    });
    let lending = lending.into_iter().map(|((layer, odd), spots)| {
        let mut finding = Finding::new(
            Rule::Setuid,
            "programs that run with the rights of their owner or group",
            "take the bit away where nobody needs it: `chmod a-s`",
        )
        .with(spots, false)
        .in_layer(layer);
        // Outside of the places where packages put them, they are seldom meant.
        if odd {
            finding.level = Level::Warn;
        }
        finding
    });
    writable.chain(lending).collect()
}

fn is_system_place(path: &[u8]) -> bool {
    [
        &b"usr/bin/"[..],
        b"usr/sbin/",
        b"bin/",
        b"sbin/",
        b"usr/lib/",
        b"usr/libexec/",
        b"lib/",
    ]
    .iter()
    .any(|place| path.starts_with(place))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Entry;
    use crate::rules::testing::{dir, file, image, link, mode, told};

    fn check(inherited: usize, layers: &[&[(&str, Entry)]], want: &[&str]) {
        let image = image(inherited, layers);
        let findings = permissions(&image, &Stacked::new(&image));
        let told: Vec<String> = told(&findings)
            .into_iter()
            .zip(&findings)
            .map(|(text, finding)| format!("{} {text}", finding.level.name()))
            .collect();
        assert_eq!(told, want);
    }

    #[test]
    fn what_everybody_can_write_to_is_found() {
        check(
            0,
            &[&[
                ("a", mode(0o666, file(1))),
                ("b", mode(0o664, file(1))),
                ("open", dir(0o777)),
                ("tmp", dir(0o1777)),
                ("link", mode(0o777, link("a"))),
                ("dev/shm", dir(0o777)),
            ]],
            &["warn world-writable@0 0 0: /a, /open"],
        );
        // As the base has it.
        let cache = || dir(0o777);
        check(
            1,
            &[
                &[("var/x", cache())],
                &[("var/x", cache()), ("var/x/y", file(1))],
            ],
            &[],
        );
        check(
            1,
            &[&[("var/x", dir(0o755))], &[("var/x", cache())]],
            &["warn world-writable@1 0 0: /var/x"],
        );
    }

    #[test]
    fn lent_rights_are_noted_and_odd_ones_warned_of() {
        check(
            1,
            &[
                &[("usr/bin/su", mode(0o4755, file(1)))],
                &[
                    ("usr/bin/sudo", mode(0o4755, file(1))),
                    ("opt/app/tool", mode(0o4755, file(1))),
                    ("usr/bin/loose", mode(0o4775, file(1))),
                    ("srv/shared", dir(0o2775)),
                    // Mandatory locking of old, no program.
                    ("srv/data", mode(0o2644, file(1))),
                ],
            ],
            &[
                "note setuid@1 0 0: /usr/bin/sudo",
                "warn setuid@1 0 0: /opt/app/tool, /usr/bin/loose",
            ],
        );
    }
}
