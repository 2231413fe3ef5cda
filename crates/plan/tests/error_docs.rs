//! `docs/errors.md` tells every code of the workspace, and no code has two meanings.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The codes a source file defines, each with its constant's name.
fn defined(source: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for (at, _) in source.match_indices("Code(\"LW") {
        let (before, after) = (&source[..at], &source[at + "Code(\"".len()..]);
        let code = after.split_once('"').map_or(after, |(code, _)| code);
        let line = before
            .rsplit_once("pub const ")
            .map_or("", |(_, line)| line);
        let name = line.split_once(':').map_or(line, |(name, _)| name);
        found.push((code.to_owned(), name.to_owned()));
    }
    found
}

/// The codes in the first column of the tables, in their order.
fn documented(text: &str) -> Vec<&str> {
    let cells = text.lines().filter_map(|line| line.strip_prefix("| LW"));
    cells
        .filter_map(|row| row.split_whitespace().next())
        .collect()
}

/// What is wrong between the definitions, by file, and the document.
fn problems(sources: &BTreeMap<String, String>, document: &str) -> Vec<String> {
    let mut problems = Vec::new();
    let mut all: BTreeMap<String, (String, String)> = BTreeMap::new();
    for (file, source) in sources {
        for (code, name) in defined(source) {
            let here = (file.clone(), name);
            match all.get(&code) {
                Some(first) => problems.push(format!(
                    "{code} is {} in {} and {} in {}",
                    first.1, first.0, here.1, here.0
                )),
                None => {
                    all.insert(code, here);
                }
            }
        }
    }
    let told = documented(document);
    if !told.is_sorted_by(|one, other| one < other) {
        problems
            .push("the codes of docs/errors.md are not sorted, or one is told twice".to_owned());
    }
    for (code, (file, name)) in &all {
        if !told.contains(&&code[2..]) {
            problems.push(format!(
                "{code} ({name} in {file}) is not in docs/errors.md"
            ));
        }
    }
    for code in told {
        if !all.contains_key(&format!("LW{code}")) {
            problems.push(format!(
                "LW{code} stands in docs/errors.md, but nothing defines it"
            ));
        }
    }
    problems
}

#[test]
fn every_code_has_one_meaning_and_is_documented() {
    let root: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut sources = BTreeMap::new();
    for entry in fs::read_dir(root.join("crates")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let file = format!("crates/{name}/src/codes.rs");
        if let Ok(source) = fs::read_to_string(root.join(&file)) {
            sources.insert(file, source);
        }
    }
    assert!(sources.contains_key("crates/plan/src/codes.rs"));
    let document = fs::read_to_string(root.join("docs/errors.md")).unwrap();
    let problems = problems(&sources, &document);
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn what_does_not_agree_is_found() {
    let source = |text: &str| text.to_owned();
    let sources = BTreeMap::from([
        (
            source("a"),
            source(
                "pub const ONE: Code = Code(\"LW0101\");\npub const TWO: Code =\n    Code(\"LW0102\");",
            ),
        ),
        (
            source("b"),
            source("pub const THREE: Code = Code(\"LW0101\");"),
        ),
    ]);
    assert_eq!(
        problems(
            &sources,
            "| code |\n| LW0103 | x | y |\n| LW0101 | x | y |\n"
        ),
        [
            "LW0101 is ONE in a and THREE in b",
            "the codes of docs/errors.md are not sorted, or one is told twice",
            "LW0102 (TWO in a) is not in docs/errors.md",
            "LW0103 stands in docs/errors.md, but nothing defines it",
        ]
    );
}
