//! Archives that ADD unpacks, made to write somewhere else.

use std::fs;

use crate::lab::{BUSYBOX, Lab};
use crate::outside::Outside;

/// What a member of an archive is.
enum Is<'a> {
    File,
    Link(&'a str),
    HardLink(&'a str),
    Directory,
    Node,
}

/// An archive in the plain old format, written by hand: tools refuse to make such.
fn archive(members: &[(&str, Is<'_>)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, is) in members {
        let (kind, target, content): (u8, &str, &[u8]) = match is {
            Is::File => (b'0', "", b"from the archive"),
            Is::HardLink(target) => (b'1', target, b""),
            Is::Link(target) => (b'2', target, b""),
            Is::Node => (b'4', "", b""),
            Is::Directory => (b'5', "", b""),
        };
        let mut head = [0_u8; 512];
        let mut put = |at: usize, bytes: &[u8]| head[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, name.as_bytes());
        put(100, b"0004755\0");
        put(108, b"0000000\0");
        put(116, b"0000000\0");
        put(124, format!("{:011o}\0", content.len()).as_bytes());
        put(136, b"00000000000\0");
        put(148, b"        ");
        put(156, &[kind]);
        put(157, target.as_bytes());
        put(257, b"ustar\x0000");
        put(329, b"0000376\0");
        put(337, b"0000000\0");
        let sum: u32 = head.iter().map(|byte| u32::from(*byte)).sum();
        head[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        out.extend_from_slice(&head);
        out.extend_from_slice(content);
        out.resize(out.len().next_multiple_of(512), 0);
    }
    out.resize(out.len() + 1024, 0);
    out
}

#[test]
fn archives_write_below_their_destination_only() {
    const NAME: &str = "archives_write_below_their_destination_only";
    let outside = Outside::new();
    let host = outside.folder().display().to_string();
    let up = format!("{}{}", "../".repeat(20), host.trim_start_matches('/'));
    let (inside_up, secret_up) = (format!("{up}/new"), format!("{up}/secret"));
    let (absolute, secret) = (format!("{host}/new"), format!("{host}/secret"));
    let through = "way/new";
    let cases: Vec<(&str, Vec<(&str, Is<'_>)>)> = vec![
        ("up", vec![(&inside_up, Is::File)]),
        ("absolute", vec![(&absolute, Is::File)]),
        ("over a file of the host", vec![(&secret, Is::File)]),
        (
            "a link, then a file through it",
            vec![("way", Is::Link(&host)), (through, Is::File)],
        ),
        (
            "the same, going up",
            vec![("way", Is::Link(&up)), (through, Is::File)],
        ),
        (
            "a link, then a folder of its name, then a file",
            vec![
                ("way", Is::Link(&host)),
                ("way", Is::Directory),
                (through, Is::File),
            ],
        ),
        (
            "two links",
            vec![
                ("a", Is::Link(&host)),
                ("way", Is::Link("a")),
                (through, Is::File),
            ],
        ),
        (
            "a file over a link to a file",
            vec![("way", Is::Link(&secret)), ("way", Is::File)],
        ),
        (
            "a hard link to a file of the host",
            vec![("way", Is::HardLink(&secret)), ("way", Is::File)],
        ),
        (
            "a hard link that goes up",
            vec![("way", Is::HardLink(&secret_up))],
        ),
        (
            "a hard link through a link",
            vec![("d", Is::Link(&host)), ("way", Is::HardLink("d/secret"))],
        ),
        ("a node, then opened", vec![("disk", Is::Node)]),
        (
            "dots for a name",
            vec![("..", Is::File), ("a/../../..", Is::Directory)],
        ),
    ];
    for (what, members) in cases {
        let dockerfile = format!(
            "{BUSYBOX}ADD evil.tar /into/\n\
             RUN [ ! -e /into/disk ] || ! busybox head -c 1 /into/disk\n\
             RUN ! busybox grep -r the-hosts-own-words /into\n"
        );
        let Some(lab) = Lab::with_busybox(NAME, &dockerfile) else {
            return;
        };
        fs::write(lab.context().join("evil.tar"), archive(&members)).expect("writing an archive");
        let outcome = lab.build(&[]);
        outside.untouched();
        // Refused as an archive, or unpacked where it belongs; a step that found something is neither.
        let fine = outcome.code == Some(0) || outcome.stderr.contains("LW0511");
        assert!(fine, "{what}: {}", outcome.stderr);
    }
}

/// Programs with the rights of root that an image has stand on the host, too; nobody gets there.
#[test]
fn nobody_else_enters_the_state_directory() {
    use std::os::unix::fs::PermissionsExt as _;
    const NAME: &str = "nobody_else_enters_the_state_directory";
    let dockerfile =
        format!("{BUSYBOX}RUN busybox cp /bin/busybox /su && busybox chmod 4755 /su\n");
    let Some(lab) = Lab::with_busybox(NAME, &dockerfile) else {
        return;
    };
    // As an older version would have made it.
    fs::create_dir_all(lab.state().join("root")).expect("making a folder");
    fs::set_permissions(lab.state().join("root"), fs::Permissions::from_mode(0o755))
        .expect("opening a folder to all");
    lab.digest(&[]);
    for kind in ["root", "rootless", "single"] {
        let Ok(about) = fs::metadata(lab.state().join(kind)) else {
            continue;
        };
        if kind == "root" && !crate::lab::is_root() {
            continue;
        }
        assert_eq!(about.permissions().mode() & 0o777, 0o700, "{kind}");
    }
}
