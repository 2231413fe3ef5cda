//! The corpus is right: BuildKit builds every case. `LAUNCHWAY_CORPUS_ONLY` picks cases by words.

use std::fs;
use std::path::{Path, PathBuf};

use launchway_testkit::{corpus, flatten, peers};

/// Builds everything, so it runs when asked for; the differential test builds them all anyway.
#[test]
fn buildkit_builds_every_case() {
    let Ok(only) = std::env::var("LAUNCHWAY_CORPUS_ONLY") else {
        return;
    };
    let Some(docker) = peers::docker() else {
        return peers::skipped("buildkit_builds_every_case", "docker");
    };
    let work = empty(Path::new(env!("CARGO_TARGET_TMPDIR")).join("corpus"));
    let bases = corpus::bases(&docker, &empty(work.join("base"))).expect("making the base");
    let words: Vec<&str> = only.split_whitespace().collect();
    let mut failed = Vec::new();
    for case in corpus::cases().expect("reading the corpus") {
        if !words.is_empty() && !words.iter().any(|word| case.name.contains(word)) {
            continue;
        }
        let context = empty(work.join("context"));
        let layout = work.join("layout");
        let _ = fs::remove_dir_all(&layout);
        let built = case
            .context(&context)
            .and_then(|()| case.build_with_buildkit(&docker, &context, &bases, &layout));
        let result = match built {
            Ok(()) if case.fails => Err("was accepted".to_owned()),
            Err(error) if case.fails => {
                let text = error.to_string();
                let line = text.lines().rfind(|line| line.starts_with("ERROR"));
                eprintln!("{}: {}", case.name, line.unwrap_or("refused"));
                continue;
            }
            Ok(()) => flatten::flatten(&layout, None)
                .map(|image| image.entries.len())
                .map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        match result {
            Ok(entries) => eprintln!("{}: {entries} entries", case.name),
            Err(error) => failed.push(format!("{}: {error}", case.name)),
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n\n"));
}

#[test]
fn every_case_can_be_read() {
    let cases = corpus::cases().expect("reading the corpus");
    assert!(cases.len() >= 100, "{} cases", cases.len());
    for case in cases {
        let context = empty(Path::new(env!("CARGO_TARGET_TMPDIR")).join("context"));
        case.context(&context).expect("preparing a context");
        assert!(!context.join("case.toml").exists(), "{}", case.name);
        assert!(!context.join("prepare.sh").exists(), "{}", case.name);
    }
}

fn empty(path: PathBuf) -> PathBuf {
    let _ = fs::remove_dir_all(&path);
    fs::create_dir_all(&path).expect("making a folder");
    path
}
