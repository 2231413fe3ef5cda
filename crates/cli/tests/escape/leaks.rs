//! Secrets where they do not belong, and output that a terminal would obey.

use std::fs;
use std::path::{Path, PathBuf};

use crate::lab::{BUSYBOX, Lab};

const VALUE: &str = "correct-horse-battery-staple";

#[test]
fn a_secret_reaches_its_step_alone() {
    const NAME: &str = "a_secret_reaches_its_step_alone";
    let dockerfile = format!(
        "{BUSYBOX}RUN --mount=type=secret,id=token busybox grep -q {} /run/secrets/token\n\
         RUN --mount=type=secret,id=token,env=TOKEN [ ${{#TOKEN}} = {} ]\n\
         RUN --mount=type=secret,id=token,target=/etc/deep/token,mode=0440,uid=5 busybox test -s /etc/deep/token\n\
         RUN ! busybox test -e /run/secrets/token; [ -z \"$TOKEN\" ]; ! busybox grep -rqs battery /run /etc /dev/shm /tmp /proc/1/environ\n",
        "horse",
        VALUE.len()
    );
    let Some(lab) = Lab::with_busybox(NAME, &dockerfile) else {
        return;
    };
    let file = lab.path("token");
    fs::write(&file, VALUE).expect("writing the secret");
    let secret = format!("id=token,src={}", file.display());
    let layout = lab.path("layout");
    let output = format!("type=oci,tar=false,dest={}", layout.display());
    let outcome = lab.build(&["--secret", &secret, "--output", &output, "--format", "json"]);
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    assert!(!outcome.stderr.contains(VALUE) && !outcome.stdout.contains(VALUE));
    for place in [lab.state(), layout] {
        assert_eq!(holders(&place, VALUE), Vec::<PathBuf>::new());
    }
    // Another value is no reason to build again: it is no part of the key.
    fs::write(&file, "another value, as long ").expect("writing the secret");
    let outcome = lab.build(&["--secret", &secret]);
    assert!(outcome.stderr.contains("cached"), "{}", outcome.stderr);
    // A step that fails tells its output, not the secret; nor does the error.
    lab.write(
        "Dockerfile",
        &format!("{BUSYBOX}RUN --mount=type=secret,id=token,env=TOKEN,required busybox false\n"),
    );
    fs::write(&file, VALUE).expect("writing the secret");
    let outcome = lab.build(&["--secret", &secret]);
    assert_eq!(outcome.code, Some(1));
    assert!(!outcome.stderr.contains(VALUE), "{}", outcome.stderr);
    // Nothing stands where other programs look.
    let shared = holders(Path::new("/dev/shm"), VALUE);
    assert_eq!(shared, Vec::<PathBuf>::new());
}

/// Files that hold a text.
fn holders(folder: &Path, text: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let Ok(kind) = entry.file_type() else {
            continue;
        };
        if kind.is_dir() {
            found.extend(holders(&path, text));
        } else if kind.is_file()
            && fs::read(&path).is_ok_and(|bytes| {
                bytes
                    .windows(text.len())
                    .any(|window| window == text.as_bytes())
            })
        {
            found.push(path);
        }
    }
    found
}

/// A build log is no place from which to change the title of a window, hide lines or paste into a shell.
#[test]
fn output_does_not_steer_the_terminal() {
    const NAME: &str = "output_does_not_steer_the_terminal";
    let nasty = r"\033]0;owned\007\033[2J\033[1A\033[8m\302\2332J\033P+q544e\033\\\r\bhidden\n";
    for end in ["true", "false"] {
        for format in ["text", "json"] {
            // What the Dockerfile says is told as it is in JSON, which is for programs.
            let own = if format == "text" {
                "\u{1b}[31m\u{9b}2J"
            } else {
                ""
            };
            let dockerfile = format!(
                "{BUSYBOX}RUN busybox printf '{nasty}'; busybox printf '{nasty}' >&2; {end} # {own}\n"
            );
            let Some(lab) = Lab::with_busybox(NAME, &dockerfile) else {
                return;
            };
            let outcome = lab.build(&["--no-cache", "--format", format]);
            assert_eq!(
                outcome.code,
                Some(i32::from(end == "false")),
                "{}",
                outcome.stderr
            );
            for text in [&outcome.stderr, &outcome.stdout] {
                let bad: Vec<char> = text
                    .chars()
                    .filter(|c| c.is_control() && !matches!(c, '\n' | '\t'))
                    .collect();
                assert!(bad.is_empty(), "{format} {end}: {bad:?} in {text:?}");
            }
        }
    }
}

/// A step that writes without end is read no faster than its output can be shown, and its error does not keep it all.
#[test]
fn output_without_end_fills_no_memory() {
    const NAME: &str = "output_without_end_fills_no_memory";
    let Some(lab) = Lab::with_busybox(
        NAME,
        &format!(
            "{BUSYBOX}RUN busybox yes | busybox tr -d '\\n' | busybox head -c 25000000; false\n"
        ),
    ) else {
        return;
    };
    let command = lab.command(&["--no-cache"]);
    let mut limited = std::process::Command::new("sh");
    // Most of what is reserved is never used; what is kept of the output would be.
    limited.args(["-c", "ulimit -d 120000; exec \"$@\"", "sh"]);
    limited.arg(command.get_program()).args(command.get_args());
    let outcome = crate::lab::outcome(&mut limited);
    assert_eq!(
        outcome.code,
        Some(1),
        "{}",
        &outcome.stderr[..outcome.stderr.len().min(2000)]
    );
    assert!(outcome.stderr.contains("LW0501"));
}
