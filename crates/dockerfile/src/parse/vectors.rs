//! BuildKit's own test data, read from a folder that is not part of this project: the one that
//! `LAUNCHWAY_VECTORS` names, or `../shared/vectors` beside the workspace.

use std::fs;
use std::path::{Path, PathBuf};

use launchway_diagnostics::SourceMap;

use super::line::Piece;
use super::words::{self, Json};
use super::{lines, parse};
use crate::{expand, expand_words};

/// The folder, or nothing and a word about it. Where nothing may be skipped, that is a failure.
fn vectors(name: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("LAUNCHWAY_VECTORS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors"),
        PathBuf::from,
    );
    let path = folder.join("buildkit").join(name);
    if path.exists() {
        return Some(path);
    }
    assert!(
        std::env::var_os("CI").is_none(),
        "no {name} of BuildKit, and in CI nothing is skipped; LAUNCHWAY_VECTORS names the folder that has it"
    );
    println!("skipped: no {name} of BuildKit; LAUNCHWAY_VECTORS names the folder that has it");
    None
}

fn rows(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap();
    let rows = text
        .lines()
        .filter(|row| !row.starts_with('#') && !row.trim().is_empty());
    rows.map(str::to_owned).collect()
}

#[test]
fn variables_in_words() {
    let Some(path) = vectors("envVarTest") else {
        return;
    };
    let lookup = |name: &str| {
        let value = match name {
            "PWD" => "/home",
            "SHELL" => "bash",
            "KOREAN" => "한국어",
            "NULL" => "",
            _ => return None,
        };
        Some(value.to_owned())
    };
    let rows = rows(&path);
    for row in &rows {
        let (platform, rest) = row.split_once('|').unwrap();
        let (word, want) = rest.split_once('|').unwrap();
        if platform == "W" {
            continue;
        }
        let got = expand(word.trim(), '\\', &lookup);
        let got = got.unwrap_or_else(|_| "error".to_owned());
        assert_eq!(got, want.trim(), "{row}");
    }
    assert!(rows.len() > 100);
}

#[test]
fn splitting_into_words() {
    let Some(path) = vectors("wordsTest") else {
        return;
    };
    let mut variables = std::collections::BTreeMap::new();
    let rows = rows(&path);
    for row in &rows {
        if let Some(definition) = row.strip_prefix("ENV ") {
            let (name, value) = definition.split_once('=').unwrap();
            variables.insert(name.to_owned(), value.to_owned());
            continue;
        }
        let (text, want) = row.split_once('|').unwrap();
        let got = expand_words(text.trim(), '\\', &|name| variables.get(name).cloned());
        let got = got.map_or_else(|_| "error".to_owned(), |words| words.join(","));
        assert_eq!(got, want.strip_prefix(' ').unwrap_or(want), "{row}");
    }
    assert!(rows.len() > 20);
}

#[test]
fn lines_flags_and_words() {
    let Some(folder) = vectors("testfiles") else {
        return;
    };
    let mut files = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let folder = entry.unwrap().path();
        let text = fs::read_to_string(folder.join("Dockerfile")).unwrap();
        let want = fs::read_to_string(folder.join("result")).unwrap();
        let mut sources = SourceMap::new();
        let id = sources.add("Dockerfile", text.as_str());
        let read = lines::read(id, &text);
        let escape = read.directives.escape;
        let dumped = read.lines.iter().map(|line| dump(line.whole(), escape));
        let dumped: Vec<String> = dumped.map(|line| format!("({line})")).collect();
        assert_eq!(dumped.join("\n"), want.trim(), "{}", folder.display());
        files += 1;
    }
    assert!(files > 30);
}

#[test]
fn whole_files() {
    let Some(folder) = vectors("testfiles") else {
        return;
    };
    // These are about lines alone and hold instructions that mean nothing.
    let senseless = ["flags", "health", "json"];
    for entry in fs::read_dir(folder).unwrap() {
        let folder = entry.unwrap().path();
        let name = folder.file_name().unwrap().to_string_lossy().into_owned();
        let text = fs::read_to_string(folder.join("Dockerfile")).unwrap();
        let mut sources = SourceMap::new();
        let id = sources.add(name.as_str(), text.as_str());
        let parsed = parse(id, &text);
        if !senseless.contains(&name.as_str()) {
            // Some of them ADD from the network, which is refused, and some have no FROM.
            let expected = [crate::codes::NOT_SUPPORTED, crate::codes::NO_STAGE];
            let errors = parsed
                .diagnostics
                .iter()
                .filter(|problem| problem.is_error() && !expected.contains(&problem.code));
            assert_eq!(errors.collect::<Vec<_>>(), Vec::<&_>::new(), "{name}");
        }
    }
}

#[test]
fn wrong_files() {
    let Some(folder) = vectors("testfiles-negative") else {
        return;
    };
    for entry in fs::read_dir(folder).unwrap() {
        let folder = entry.unwrap().path();
        let text = fs::read_to_string(folder.join("Dockerfile")).unwrap();
        let mut sources = SourceMap::new();
        let id = sources.add("Dockerfile", text.as_str());
        assert!(
            parse(id, &text).dockerfile.is_none(),
            "{}",
            folder.display()
        );
    }
}

/// A line in the notation of the result files.
fn dump(line: Piece<'_>, escape: char) -> String {
    let split = words::split(line, escape);
    let name = split.name.text().to_lowercase();
    let mut out = name.clone();
    if !split.flags.is_empty() {
        let flags = split.flags.iter().map(|flag| quote(&flag.text));
        out.push_str(&format!(" [{}]", flags.collect::<Vec<_>>().join(" ")));
    }
    let arguments = split.arguments;
    let rest = match name.as_str() {
        _ if arguments.is_empty() => Vec::new(),
        "onbuild" => {
            out.push_str(&format!(" ({})", dump(arguments, escape)));
            Vec::new()
        }
        "env" | "label" => dump_pairs(arguments, escape),
        "arg" => words::quoted_words(arguments, escape)
            .into_iter()
            .map(|word| word.text)
            .collect(),
        "from" | "expose" => strings(words::blank_separated(arguments)),
        "add" | "copy" | "volume" => match words::json(arguments.text()) {
            Json::Strings(strings) => strings,
            _ => strings(words::blank_separated(arguments)),
        },
        "run" | "cmd" | "entrypoint" | "shell" => dump_command(arguments),
        "healthcheck" => match words::name_and_rest(arguments) {
            None => vec![arguments.text().to_owned()],
            Some((kind, rest)) => {
                let mut all = vec![kind.text().to_owned()];
                all.extend(dump_command(rest));
                all
            }
        },
        _ => vec![arguments.text().to_owned()],
    };
    for word in rest {
        out.push(' ');
        out.push_str(&quote(&word));
    }
    out
}

fn strings(pieces: Vec<Piece<'_>>) -> Vec<String> {
    pieces
        .into_iter()
        .map(|piece| piece.text().to_owned())
        .collect()
}

fn dump_command(arguments: Piece<'_>) -> Vec<String> {
    match words::json(arguments.text()) {
        Json::Strings(strings) => strings,
        _ => vec![arguments.text().to_owned()],
    }
}

fn dump_pairs(arguments: Piece<'_>, escape: char) -> Vec<String> {
    let words = words::quoted_words(arguments, escape);
    if !words[0].text.contains('=') {
        let (name, value) = words::name_and_rest(arguments).unwrap();
        return vec![
            name.text().to_owned(),
            value.text().to_owned(),
            String::new(),
        ];
    }
    let pairs = words.iter().flat_map(|word| {
        let (name, value) = word.text.split_once('=').unwrap();
        [name.to_owned(), value.to_owned(), "=".to_owned()]
    });
    pairs.collect()
}

/// Go's `strconv.Quote`.
fn quote(text: &str) -> String {
    let mut quoted = "\"".to_owned();
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\u{7}' => quoted.push_str("\\a"),
            '\u{8}' => quoted.push_str("\\b"),
            '\u{b}' => quoted.push_str("\\v"),
            '\u{c}' => quoted.push_str("\\f"),
            c if c.is_control() => quoted.push_str(&format!("\\x{:02x}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}
