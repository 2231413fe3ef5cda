//! What no file of this project may hold.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::shell;

/// A file with more lines has more than one reason to exist.
const LONGEST_FILE: usize = 600;

const UNSAFE: &str = concat!("uns", "afe");

/// The crate that may talk to the kernel behind the compiler's back.
const UNSAFE_CRATE: &str = "crates/sandbox/";

/// Crates that may print. The others return values and emit events.
const PRINTERS: &[&str] = &["crates/cli/", "crates/testkit/", "examples/", "xtask/"];

/// Where packages of other people come from is the user's to say, not ours. The names are written
/// in two halves because this file is searched, too.
const PACKAGE_HOSTS: &[&str] = &[
    concat!("registry.npm", "js.org"),
    concat!("registry.yarn", "pkg.com"),
    concat!("npm.pkg.", "github.com"),
    concat!("static.crates", ".io"),
    concat!("index.crates", ".io"),
    concat!("files.python", "hosted.org"),
    concat!("pypi", ".org"),
    concat!("ruby", "gems.org"),
    concat!("proxy.go", "lang.org"),
    concat!("deb.deb", "ian.org"),
    concat!("ftp.deb", "ian.org"),
    concat!("security.deb", "ian.org"),
    concat!("snapshot.deb", "ian.org"),
    concat!("archive.ubu", "ntu.com"),
    concat!("ports.ubu", "ntu.com"),
    concat!("deb.node", "source.com"),
    concat!("dl-cdn.al", "pinelinux.org"),
];

/// Paths that exist on the machine of one developer.
const MACHINE_PATHS: &[&str] = &[
    concat!("/wo", "rk/main"),
    concat!("/wo", "rk/shared"),
    concat!("/root/.ca", "rgo"),
    concat!("/root/.ca", "che/"),
    concat!("/root/.ru", "stup"),
    concat!("/tm", "p/t-"),
];

/// Written by cargo, which names its registry there.
const GENERATED: &[&str] = &["Cargo.lock"];

pub(super) fn check() -> Result<Vec<String>> {
    let root = shell::root();
    let list = shell::read(Command::new("git").current_dir(&root).args([
        "ls-files",
        "--cached",
        "--others",
        "--exclude-standard",
    ]))?;
    // What is not text, or listed and not there any more, cannot be read.
    let files: Vec<(&str, String)> = list
        .lines()
        .filter(|name| !GENERATED.contains(name))
        .filter_map(|name| Some((name, fs::read_to_string(root.join(name)).ok()?)))
        .collect();
    let tests: BTreeSet<PathBuf> = files
        .iter()
        .flat_map(|(name, text)| test_modules(name, text))
        .collect();
    let mut broken = Vec::new();
    for (name, text) in &files {
        broken.extend(forbidden_words(name, text));
        if Path::new(name)
            .extension()
            .is_some_and(|extension| extension == "rs")
        {
            let tests = tests.contains(Path::new(name));
            broken.extend(house_rules(name, text, tests));
        }
    }
    Ok(broken)
}

fn forbidden_words(name: &str, text: &str) -> Vec<String> {
    let mut broken = Vec::new();
    for (number, line) in numbered(text) {
        for host in PACKAGE_HOSTS.iter().filter(|host| line.contains(**host)) {
            broken.push(format!("{name}:{number}: names the package host {host}; take it from the user's configuration"));
        }
        for path in MACHINE_PATHS.iter().filter(|path| line.contains(**path)) {
            broken.push(format!(
                "{name}:{number}: names {path}, which exists on one machine only"
            ));
        }
    }
    broken
}

/// The files of modules that are compiled for tests only.
fn test_modules(name: &str, text: &str) -> Vec<PathBuf> {
    let path = Path::new(name);
    let folder = match path.file_stem().and_then(|stem| stem.to_str()) {
        Some("lib" | "main" | "mod") | None => path.with_file_name(""),
        Some(_) => path.with_extension(""),
    };
    let lines = text.lines().map(str::trim);
    lines
        .clone()
        .zip(lines.skip(1))
        .filter(|(first, _)| *first == "#[cfg(test)]")
        .filter_map(|(_, second)| second.strip_prefix("mod ")?.strip_suffix(';'))
        .map(|module| folder.join(format!("{module}.rs")))
        .collect()
}

fn house_rules(name: &str, text: &str, only_tests: bool) -> Vec<String> {
    let mut broken = Vec::new();
    let lines = text.lines().count();
    if lines > LONGEST_FILE {
        broken.push(format!(
            "{name}: {lines} lines; split it (the limit is {LONGEST_FILE})"
        ));
    }
    let apart = only_tests
        || ["/tests/", "/examples/", "/src/bin/"]
            .iter()
            .any(|folder| name.contains(folder));
    let may_print = apart || PRINTERS.iter().any(|printer| name.starts_with(printer));
    // A test module may have a file of its own.
    let mut in_tests = name.ends_with("tests.rs");
    for (number, line) in numbered(text) {
        let code = line.split("//").next().unwrap_or_default();
        in_tests |= code.trim_start().starts_with("#[cfg(test)]");
        if !name.starts_with(UNSAFE_CRATE) && has_word(code, UNSAFE) {
            broken.push(format!(
                "{name}:{number}: {UNSAFE} code is for {UNSAFE_CRATE} alone"
            ));
        }
        let prints = [
            concat!("print", "ln!("),
            concat!("eprint", "!("),
            concat!("print", "!("),
        ]
        .iter()
        .any(|print| code.contains(print));
        if prints && !in_tests && !may_print {
            broken.push(format!(
                "{name}:{number}: prints; return a value or emit an event"
            ));
        }
    }
    broken
}

fn numbered(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines()
        .enumerate()
        .map(|(index, line)| (index + 1, line))
}

/// The word alone, neither quoted nor part of a longer name such as a lint's.
fn has_word(code: &str, word: &str) -> bool {
    code.match_indices(word).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        let after = code[at + word.len()..].chars().next();
        let part = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || "_-\"'`".contains(c));
        !part(before) && !part(after)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_found_alone_only() {
        let word = UNSAFE;
        for (code, found) in [
            (format!("{word} {{ call() }}"), true),
            (format!("pub {word} fn f() {{}}"), true),
            (format!("#![deny({word}_code)]"), false),
            (format!("let text = \"{word}\";"), false),
        ] {
            assert_eq!(has_word(&code, word), found, "{code}");
        }
    }

    #[test]
    fn a_printing_library_is_found_but_not_its_tests() {
        let call = concat!("print", "ln!(\"x\");");
        let text =
            format!("fn f() {{\n    {call}\n}}\n#[cfg(test)]\nmod tests {{\n    {call}\n}}\n");
        let broken = house_rules("crates/oci/src/lib.rs", &text, false);
        assert_eq!(broken.len(), 1, "{broken:?}");
        assert!(broken[0].starts_with("crates/oci/src/lib.rs:2:"));
        assert!(house_rules("crates/cli/src/main.rs", &text, false).is_empty());
        assert!(house_rules("crates/oci/src/tests.rs", &text, true).is_empty());
    }

    #[test]
    fn modules_for_tests_are_known_by_their_declaration() {
        let text = "mod a;\n#[cfg(test)]\nmod b;\n";
        for (declared_in, file) in [
            ("crates/x/src/lib.rs", "crates/x/src/b.rs"),
            ("crates/x/src/parse/mod.rs", "crates/x/src/parse/b.rs"),
            ("crates/x/src/parse.rs", "crates/x/src/parse/b.rs"),
        ] {
            assert_eq!(test_modules(declared_in, text), [PathBuf::from(file)]);
        }
    }
}
