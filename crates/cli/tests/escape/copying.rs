//! COPY, WORKDIR and contexts: links that lead out, and contexts that change while they are read.

use std::ffi::CString;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::lab::{BUSYBOX, Lab};
use crate::outside::{Outside, SECRET};

/// Everything in the state directory and the given output that could hold the words of the host.
#[track_caller]
fn nothing_leaked(lab: &Lab, what: &str) {
    fn search(folder: &Path, what: &str) {
        let Ok(entries) = fs::read_dir(folder) else {
            return;
        };
        for entry in entries.flatten() {
            let path = entry.path();
            let kind = entry.file_type().expect("looking at a file");
            if kind.is_dir() {
                search(&path, what);
            } else if kind.is_file() {
                let bytes = fs::read(&path).unwrap_or_default();
                let found = bytes
                    .windows(SECRET.len())
                    .any(|window| window == SECRET.as_bytes());
                assert!(
                    !found,
                    "{what}: {} has the words of the host",
                    path.display()
                );
            }
        }
    }
    search(&lab.state(), what);
}

#[test]
fn links_of_the_context_lead_nowhere_else() {
    const NAME: &str = "links_of_the_context_lead_nowhere_else";
    let outside = Outside::new();
    let up = format!("{}{}", "../".repeat(20), outside.path().display());
    for (what, source) in [
        ("the link itself", "COPY evil /x\n"),
        ("through the link", "COPY evil/secret /x\n"),
        ("a folder through the link", "COPY evil/folder /x\n"),
        ("a pattern", "COPY evil/s* /x/\n"),
        ("parents", "COPY --parents evil/secret /x/\n"),
        ("ADD", "ADD evil/folder /x\n"),
        (
            "a bind",
            "RUN --mount=type=bind,source=evil,target=/m busybox cp -rL /m /x\n",
        ),
        (
            "a bind of a file",
            "RUN --mount=type=bind,source=evil/secret,target=/m busybox cp /m /x\n",
        ),
        (
            "dots",
            "COPY ../../../../../../../../../../../../../../../../..@HOST@/secret /x\n",
        ),
        ("an absolute name", "COPY @HOST@/secret /x\n"),
    ] {
        for target in [outside.path().to_owned(), up.clone().into()] {
            let source = source.replace("@HOST@", &outside.path().display().to_string());
            let Some(lab) = Lab::with_busybox(NAME, &format!("{BUSYBOX}{source}")) else {
                return;
            };
            symlink(&target, lab.context().join("evil")).expect("making a link");
            let _ = lab.build(&[]);
            nothing_leaked(&lab, what);
        }
    }
    outside.untouched();
}

#[test]
fn links_of_a_stage_lead_nowhere_else() {
    const NAME: &str = "links_of_a_stage_lead_nowhere_else";
    let outside = Outside::new();
    let host = outside.folder().display().to_string();
    let up = format!("{}{host}", "../".repeat(20));
    for (what, step) in [
        ("a source", "COPY --from=evil /way/secret /x\n"),
        ("a source folder", "COPY --from=evil /way /x\n"),
        ("a pattern", "COPY --from=evil /way/s* /x/\n"),
        ("a destination", "COPY file /way/new\n"),
        ("a destination folder", "COPY file /way/\n"),
        ("a destination over a file", "COPY file /way/secret\n"),
        ("deep below", "COPY file /way/a/b/c/new\n"),
        ("a linked copy", "COPY --link file /way/new\n"),
        ("parents", "COPY --parents file /way/\n"),
        ("ADD", "ADD file /way/new\n"),
        ("ADD of an archive", "ADD inner.tar /way/\n"),
        ("WORKDIR", "WORKDIR /way/new\n"),
        (
            "WORKDIR and a step",
            "WORKDIR /way\nRUN busybox touch new; busybox cat secret\n",
        ),
        (
            "a step",
            "RUN busybox touch /way/new; busybox rm -rf /way/secret; true\n",
        ),
        ("a heredoc", "COPY <<EOT /way/new\nwords\nEOT\n"),
        (
            "a bind of a stage",
            "RUN --mount=type=bind,from=evil,source=/way,target=/m busybox cp -rL /m /x\n",
        ),
        (
            "a bind that is written to",
            "RUN --mount=type=bind,from=evil,source=/way,target=/m,rw busybox touch /m/new\n",
        ),
        (
            "a target",
            "RUN --mount=type=tmpfs,target=/way busybox touch /way/new\n",
        ),
        (
            "a target below",
            "RUN --mount=type=cache,target=/way/new busybox touch /way/new/x\n",
        ),
        (
            "a cache from a stage",
            "RUN --mount=type=cache,id=seeded,target=/m,from=evil,source=/way busybox cp -rL /m /x\n",
        ),
        (
            "a secret's target",
            "RUN --mount=type=secret,id=s,target=/way/new busybox cat /way/new\n",
        ),
    ] {
        for target in [&host, &up] {
            let dockerfile = format!(
                "{BUSYBOX}RUN busybox ln -s {target} /way\nFROM 0 AS evil\nFROM evil\nCOPY file /\n{step}"
            )
            .replace("FROM scratch\n", "FROM scratch AS made\n")
            .replace("FROM 0 AS", "FROM made AS");
            let Some(lab) = Lab::with_busybox(NAME, &dockerfile) else {
                return;
            };
            lab.write("file", "of the context");
            fs::copy(lab.context().join("file"), lab.context().join("inner")).expect("copying");
            let tar = std::process::Command::new("tar")
                .args(["-cf", "inner.tar", "inner"])
                .current_dir(lab.context())
                .status();
            assert!(tar.is_ok_and(|status| status.success()));
            lab.write("s", "a secret");
            let secret = format!("id=s,src={}", lab.context().join("s").display());
            let _ = lab.build(&["--secret", &secret]);
            outside.untouched();
            nothing_leaked(&lab, what);
        }
    }
}

/// Swaps a folder of the context for a link to the host and back, as fast as it goes, while it is copied.
#[test]
fn a_context_that_changes_while_it_is_copied() {
    const NAME: &str = "a_context_that_changes_while_it_is_copied";
    let outside = Outside::new();
    let Some(lab) = Lab::with_busybox(
        NAME,
        &format!("{BUSYBOX}COPY way /x\nCOPY way/file /y\nADD file /z\n"),
    ) else {
        return;
    };
    for number in 0..40 {
        lab.write(&format!("way/sub{number}/secret"), "of the context");
    }
    for name in ["way/file", "way/secret", "file"] {
        lab.write(name, "of the context");
    }
    let context = lab.context();
    symlink(outside.folder(), context.join("way-2")).expect("making a link");
    symlink(outside.secret(), context.join("file-2")).expect("making a link");
    symlink(outside.folder(), context.join("sub-2")).expect("making a link");
    fs::write(outside.folder().join("file"), SECRET).expect("writing a file");
    let pairs = [("way", "way-2"), ("file", "file-2"), ("way/sub20", "sub-2")];
    let over = AtomicBool::new(false);
    let (mut built, mut refused) = (0, 0);
    std::thread::scope(|scope| {
        for pair in pairs {
            let (context, over) = (&context, &over);
            scope.spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    exchange(&context.join(pair.0), &context.join(pair.1));
                    std::thread::yield_now();
                }
            });
        }
        for _ in 0..25 {
            match lab.build(&["--no-cache"]).code {
                Some(0) => built += 1,
                _ => refused += 1,
            }
        }
        over.store(true, Ordering::Relaxed);
    });
    eprintln!("{built} built, {refused} refused");
    nothing_leaked(&lab, "a race");
}

/// Swaps two names at once.
fn exchange(one: &Path, other: &Path) {
    use std::os::unix::ffi::OsStrExt as _;
    let name = |path: &Path| CString::new(path.as_os_str().as_bytes()).expect("a path");
    let _ = rustix::fs::renameat_with(
        rustix::fs::CWD,
        name(one),
        rustix::fs::CWD,
        name(other),
        rustix::fs::RenameFlags::EXCHANGE,
    );
}
