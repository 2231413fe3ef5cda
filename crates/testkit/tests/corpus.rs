//! The corpus can be read, and what the documentation says of it is true. That builders agree on it
//! is for `crates/cli/tests/differential.rs`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use launchway_testkit::corpus::{self, Case};

#[test]
fn every_case_can_be_read() {
    let cases = corpus::cases().expect("reading the corpus");
    assert!(cases.len() >= 100, "{} cases", cases.len());
    for case in cases {
        let context = empty(Path::new(env!("CARGO_TARGET_TMPDIR")).join("context"));
        case.context(&context).expect("preparing a context");
        assert!(!context.join("case.toml").exists(), "{}", case.name);
        assert!(!context.join("prepare.sh").exists(), "{}", case.name);
        assert!(
            !(case.fails && (case.newer || !case.differs.is_empty())),
            "{}: what nobody builds cannot differ",
            case.name
        );
    }
}

/// The table between the marks of `docs/fidelity.md`. With `LAUNCHWAY_UPDATE_DOCS` it is written,
/// without it is compared. The differential test holds every case to what it says of itself, so
/// the sums are those of builds that were made.
#[test]
fn the_score_in_the_documentation_is_that_of_the_corpus() {
    const BEGIN: &str = "<!-- score -->\n";
    const END: &str = "<!-- end of score -->\n";
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/fidelity.md");
    let text = fs::read_to_string(&path).expect("reading docs/fidelity.md");
    let wanted = table(&corpus::cases().expect("reading the corpus"));
    let (before, rest) = text.split_once(BEGIN).expect("a mark");
    let (stands, after) = rest.split_once(END).expect("a mark at the end");
    if std::env::var_os("LAUNCHWAY_UPDATE_DOCS").is_some() {
        let text = format!("{before}{BEGIN}{wanted}{END}{after}");
        fs::write(&path, text).expect("writing docs/fidelity.md");
        return;
    }
    assert_eq!(
        stands, wanted,
        "LAUNCHWAY_UPDATE_DOCS=1 cargo nextest run -p launchway-testkit the_score writes it"
    );
}

fn table(cases: &[Case]) -> String {
    let mut topics: BTreeMap<&str, [usize; 5]> = BTreeMap::new();
    for case in cases {
        let row = topics.entry(case.topic()).or_default();
        let of = if case.fails {
            2
        } else if case.newer {
            3
        } else if case.differs.is_empty() {
            1
        } else {
            4
        };
        row[0] += 1;
        row[of] += 1;
    }
    let mut all = [0; 5];
    let mut out = "\n| topic | cases | same | refused by both | newer than this BuildKit | differs on purpose |\n|---|---|---|---|---|---|\n".to_owned();
    let mut row = |name: &str, counts: [usize; 5]| {
        let cells = counts.map(|count| match count {
            0 => " |".to_owned(),
            count => format!(" {count} |"),
        });
        out.push_str(&format!("| {name} |{}\n", cells.concat()));
    };
    for (topic, counts) in topics {
        row(topic, counts);
        for (sum, count) in all.iter_mut().zip(counts) {
            *sum += count;
        }
    }
    row("**all**", all);
    out.push('\n');
    out
}

fn empty(path: PathBuf) -> PathBuf {
    let _ = fs::remove_dir_all(&path);
    fs::create_dir_all(&path).expect("making a folder");
    path
}
