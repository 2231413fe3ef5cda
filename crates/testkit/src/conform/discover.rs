//! Finding the Dockerfiles of a corpus, however it is laid out.
//!
//! Other builders keep theirs as one folder for each case with its context, as many files in one
//! folder that share a context, or both.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::{Case, Source};

/// What belongs to a Dockerfile or is made into one, by the end of its name.
const NOT_DOCKERFILES: &[&str] = &[
    "dockerignore",
    "containerignore",
    "in",
    "go",
    "rs",
    "py",
    "sh",
    "md",
    "rst",
    "json",
    "yaml",
    "yml",
    "toml",
    "j2",
    "tmpl",
    "template",
    "orig",
    "bak",
];

/// How to look.
#[derive(Clone, Debug, Default)]
pub struct Discovery {
    /// One context for all; otherwise each Dockerfile's own folder.
    pub context: Option<PathBuf>,
    /// Also files of any other name whose first instruction is FROM or ARG.
    pub any_name: bool,
}

/// Every Dockerfile below `root` as a case, sorted by name.
pub fn discover(root: &Path, how: &Discovery) -> io::Result<Vec<Case>> {
    let mut cases = Vec::new();
    walk(root, root, how, &mut cases)?;
    cases.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(cases)
}

fn walk(root: &Path, folder: &Path, how: &Discovery, cases: &mut Vec<Case>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let path = entry.path();
        let kind = entry.file_type()?;
        if kind.is_dir() {
            if entry.file_name() != ".git" {
                walk(root, &path, how, cases)?;
            }
            continue;
        }
        let Some(name) = entry.file_name().to_str().map(str::to_owned) else {
            continue;
        };
        let is_dockerfile = kind.is_file()
            && (is_name(&name) || (how.any_name && begins_like_one(&path).unwrap_or(false)));
        if is_dockerfile {
            let name = path.strip_prefix(root).unwrap_or(&path);
            let name = name.display().to_string();
            cases.push(Case {
                topic: topic(&name),
                name,
                source: Source::Foreign {
                    context: how.context.clone().unwrap_or_else(|| folder.to_owned()),
                    dockerfile: path,
                },
            });
        }
    }
    Ok(())
}

/// `Dockerfile`, `Dockerfile.x`, `Dockerfile_x`, `x.Dockerfile`, and the same with Containerfile.
fn is_name(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    let end = lower.rsplit('.').next().unwrap_or_default();
    if NOT_DOCKERFILES.contains(&end) {
        return false;
    }
    ["dockerfile", "containerfile"]
        .iter()
        .any(|word| lower.starts_with(word) || end == *word)
}

fn begins_like_one(path: &Path) -> io::Result<bool> {
    /// More than this is no Dockerfile of a test.
    const MOST: u64 = 64 << 10;
    if fs::metadata(path)?.len() > MOST {
        return Ok(false);
    }
    let Ok(text) = String::from_utf8(fs::read(path)?) else {
        return Ok(false);
    };
    let mut lines = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    let first = lines.next().unwrap_or_default().to_ascii_uppercase();
    Ok(first.starts_with("FROM ") || first.starts_with("ARG "))
}

/// The first word that tells cases of one corpus apart: `add` for `add-chown/Dockerfile` and for
/// `Dockerfile_test_add_404`.
fn topic(name: &str) -> String {
    let words = name
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty());
    let dull = |word: &&str| {
        let word = word.to_ascii_lowercase();
        !["test", "tests", "testdata"].contains(&word.as_str())
            && !word.starts_with("dockerfile")
            && !word.starts_with("containerfile")
    };
    let found = words.clone().find(dull);
    found.unwrap_or("other").to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_dockerfiles() {
        for (name, want) in [
            ("Dockerfile", true),
            ("Dockerfile.prod", true),
            ("Dockerfile_test_add", true),
            ("Dockerfile2", true),
            ("app.Dockerfile", true),
            ("app.dockerfile", true),
            ("Containerfile.bad", true),
            ("Dockerfile.dockerignore", false),
            ("Containerfile.in", false),
            ("dockerfile_test.go", false),
            ("README.md", false),
            ("1097", false),
        ] {
            assert_eq!(is_name(name), want, "{name}");
        }
    }

    #[test]
    fn topics_are_first_words() {
        for (name, want) in [
            ("add-chown/Dockerfile", "add"),
            ("Dockerfile_test_copy_root", "copy"),
            ("Dockerfile", "other"),
            ("testdata/volume/Dockerfile.2", "volume"),
        ] {
            assert_eq!(topic(name), want, "{name}");
        }
    }

    #[test]
    fn a_corpus_is_found_in_folders_and_in_files() {
        let root = tempfile::tempdir().expect("making a folder");
        for (path, text) in [
            ("a/Dockerfile", "FROM scratch\n"),
            ("a/file", "x"),
            ("flat/Dockerfile_one", "FROM scratch\n"),
            ("flat/Dockerfile_one.dockerignore", "x"),
            ("flat/1097", "# about\n\nFROM scratch\n"),
            (".git/Dockerfile", "FROM scratch\n"),
        ] {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().expect("a folder")).expect("making folders");
            fs::write(path, text).expect("writing");
        }
        let names = |how: &Discovery| -> Vec<String> {
            let cases = discover(root.path(), how).expect("looking");
            cases.into_iter().map(|case| case.name).collect()
        };
        let how = Discovery::default();
        assert_eq!(names(&how), ["a/Dockerfile", "flat/Dockerfile_one"]);
        let how = Discovery {
            any_name: true,
            context: None,
        };
        assert_eq!(
            names(&how),
            ["a/Dockerfile", "flat/1097", "flat/Dockerfile_one"]
        );
    }
}
