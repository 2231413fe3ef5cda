//! What two builds of one Dockerfile say about each other. Takes what was said and decides.

use crate::corpus;
use crate::flatten::Difference;

use super::{Attempt, Outcome};

/// Stands for the whole image in the list of a case that Launchway refuses on purpose.
const REFUSED: &str = "the build is refused";

/// In BuildKit's words: it is not the Dockerfile, something is out of reach.
const OUT_OF_REACH: &[&str] = &[
    "failed to resolve source metadata",
    "failed to do request",
    "pull access denied",
    "dial tcp",
    "no such host",
    "i/o timeout",
    "TLS handshake",
    "unexpected status from HEAD request",
];

/// The outcome, unless both were built and the images have to be compared.
pub(super) fn ends(theirs: &Attempt, ours: &Attempt) -> Option<Outcome> {
    use super::process::End::TimedOut;
    if theirs.end == TimedOut {
        return Some(Outcome::TimedOut("BuildKit"));
    }
    if ours.end == TimedOut {
        return Some(Outcome::TimedOut("Launchway"));
    }
    let built = (theirs.end.succeeded(), ours.end.succeeded());
    let buildkit = || reason_of_buildkit(&theirs.said);
    let launchway = || reason_of_launchway(&ours.said);
    if !built.1 && !is_told(ours) {
        // Refusing is fine, crashing or leaving half an image is not.
        return Some(Outcome::Broken(format!(
            "Launchway ended without saying why, or left something behind: {:?}\n{}",
            ours.end, ours.said
        )));
    }
    match built {
        (true, true) => None,
        (false, _) if is_out_of_reach(&theirs.said) => Some(Outcome::Unavailable(buildkit())),
        (true, false) => Some(Outcome::OnlyBuildKitBuilds(launchway())),
        (false, true) => Some(Outcome::OnlyLaunchwayBuilds(buildkit())),
        (false, false) => Some(Outcome::BothRefuse {
            buildkit: buildkit(),
            launchway: launchway(),
        }),
    }
}

/// Differences that BuildKit has with itself say nothing about Launchway.
pub(super) fn without_what_varies(differences: Vec<Difference>, varies: &[Difference]) -> Outcome {
    let of_itself = |one: &Difference| varies.iter().any(|other| other.what == one.what);
    let (same, other): (Vec<_>, Vec<_>) = differences.into_iter().partition(of_itself);
    if other.is_empty() {
        Outcome::Varies(same)
    } else {
        Outcome::Differs(other)
    }
}

/// Holds an outcome against what a case of this project's corpus says of itself; `built` says whether
/// Launchway made an image.
pub(super) fn expected(case: &corpus::Case, outcome: Outcome, built: bool) -> Outcome {
    if case.fails {
        return match outcome {
            Outcome::Unavailable(reason) if built => Outcome::OnlyLaunchwayBuilds(reason),
            Outcome::Unavailable(reason) => Outcome::BothRefuse {
                buildkit: reason.clone(),
                launchway: reason,
            },
            Outcome::Same | Outcome::Differs(_) => Outcome::Broken("both build it".to_owned()),
            other => other,
        };
    }
    let differences = match outcome {
        Outcome::OnlyLaunchwayBuilds(reason) if case.newer && reason.contains("unknown flag") => {
            return Outcome::Newer;
        }
        Outcome::BothRefuse {
            buildkit,
            launchway,
        } => {
            return Outcome::Broken(format!(
                "it should be built\nBuildKit: {buildkit}\nLaunchway: {launchway}"
            ));
        }
        Outcome::Unavailable(reason) => return Outcome::Broken(reason),
        Outcome::OnlyBuildKitBuilds(reason) if listed(case, REFUSED) => vec![Difference {
            what: REFUSED.to_owned(),
            left: None,
            right: Some(reason),
        }],
        Outcome::Same => Vec::new(),
        Outcome::Differs(differences) => differences,
        other => return other,
    };
    let gone: Vec<&String> = case
        .differs
        .iter()
        .filter(|path| !differences.iter().any(|found| found.what == **path))
        .collect();
    if !gone.is_empty() {
        return Outcome::Broken(format!(
            "{gone:?} are the same by now, so case.toml should not list them"
        ));
    }
    if differences.is_empty() {
        Outcome::Same
    } else if differences.iter().all(|found| listed(case, &found.what)) {
        Outcome::Chosen(differences)
    } else {
        Outcome::Differs(differences)
    }
}

fn listed(case: &corpus::Case, what: &str) -> bool {
    case.differs.iter().any(|path| path == what)
}

/// What is refused is refused in words, with an exit code of its own, and nothing is left behind.
fn is_told(ours: &Attempt) -> bool {
    let super::process::End::Exited(status) = ours.end else {
        return false;
    };
    matches!(status.code(), Some(1 | 2)) && ours.said.contains("error") && !ours.layout.exists()
}

fn is_out_of_reach(said: &str) -> bool {
    // What a step of the Dockerfile prints does not count.
    let last = error_line(said);
    OUT_OF_REACH.iter().any(|words| last.contains(words))
}

fn error_line(said: &str) -> &str {
    let found = said.lines().rfind(|line| line.starts_with("ERROR"));
    found.or_else(|| said.lines().last()).unwrap_or_default()
}

fn reason_of_buildkit(said: &str) -> String {
    let mut line = error_line(said);
    for head in ["ERROR: ", "failed to build: ", "failed to solve: "] {
        line = line.strip_prefix(head).unwrap_or(line);
    }
    line.to_owned()
}

/// The first error's code and message, and what stands in the notes where it says more.
fn reason_of_launchway(said: &str) -> String {
    let mut lines = said.lines().skip_while(|line| !line.starts_with("error"));
    let Some(first) = lines.next() else {
        return said.lines().last().unwrap_or_default().to_owned();
    };
    let note = lines.find_map(|line| line.trim_start().strip_prefix("= note: "));
    match note {
        Some(note) => format!("{first} ({note})"),
        None => first.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conform::process::End;
    use std::os::unix::process::ExitStatusExt as _;
    use std::path::PathBuf;
    use std::process::ExitStatus;

    const NO: &str = "error[LW0204]: RUN --mount=type=ssh\n --> Dockerfile:2:18\n";

    fn attempt(code: i32, said: &str) -> Attempt {
        Attempt {
            end: End::Exited(ExitStatus::from_raw(code << 8)),
            said: said.to_owned(),
            layout: PathBuf::from("/nowhere/at/all"),
            seconds: 0.0,
        }
    }

    fn of(theirs: (i32, &str), ours: (i32, &str)) -> &'static str {
        let outcome = ends(&attempt(theirs.0, theirs.1), &attempt(ours.0, ours.1));
        outcome.map_or("compare", |outcome| outcome.word())
    }

    #[test]
    fn ends_of_builds() {
        for (theirs, ours, want) in [
            ((0, ""), (0, ""), "compare"),
            ((0, ""), (1, NO), "only-buildkit-builds"),
            ((1, "ERROR: no"), (0, ""), "only-launchway-builds"),
            ((1, "ERROR: no"), (2, NO), "both-refuse"),
            (
                (1, "ERROR: a: dial tcp 1.2.3.4: refused"),
                (2, NO),
                "unavailable",
            ),
            (
                (1, "dial tcp is what the step prints\nERROR: exit code: 1"),
                (1, NO),
                "both-refuse",
            ),
            (
                (1, "ERROR: no"),
                (101, "thread panicked, an error"),
                "broken",
            ),
            ((0, ""), (1, "nothing of use"), "broken"),
        ] {
            assert_eq!(of(theirs, ours), want, "{theirs:?} {ours:?}");
        }
    }

    #[test]
    fn what_varies_by_itself_is_no_difference() {
        let of = |paths: &[&str]| -> Vec<Difference> {
            let difference = |path: &&str| Difference {
                what: (*path).to_owned(),
                left: None,
                right: None,
            };
            paths.iter().map(difference).collect()
        };
        let outcome = without_what_varies(of(&["/date"]), &of(&["/date", "/log"]));
        assert_eq!(outcome, Outcome::Varies(of(&["/date"])));
        let outcome = without_what_varies(of(&["/date", "/f"]), &of(&["/date"]));
        assert_eq!(outcome, Outcome::Differs(of(&["/f"])));
    }

    #[test]
    fn reasons_are_short() {
        assert_eq!(
            reason_of_buildkit("#1 x\nERROR: failed to build: failed to solve: it is wrong"),
            "it is wrong"
        );
        assert_eq!(
            reason_of_launchway(&format!("warning: w\n{NO}  = note: why\n")),
            "error[LW0204]: RUN --mount=type=ssh (why)"
        );
    }

    #[test]
    fn a_case_says_what_is_expected_of_it() {
        let of = |case: &corpus::Case, outcome| expected(case, outcome, true);
        let mut case = corpus::Case::named("a/b");
        let differs = |what: &str| {
            Outcome::Differs(vec![Difference {
                what: what.to_owned(),
                left: None,
                right: None,
            }])
        };
        let refused = || Outcome::BothRefuse {
            buildkit: "a".to_owned(),
            launchway: "b".to_owned(),
        };
        assert_eq!(of(&case, Outcome::Same), Outcome::Same);
        assert_eq!(of(&case, differs("/x")).word(), "differs");
        assert_eq!(of(&case, refused()).word(), "broken");
        case.differs = vec!["/x".to_owned()];
        assert_eq!(of(&case, differs("/x")).word(), "chosen");
        assert_eq!(of(&case, differs("/y")).word(), "broken");
        assert_eq!(of(&case, Outcome::Same).word(), "broken");
        case.differs = vec![REFUSED.to_owned()];
        let only = Outcome::OnlyBuildKitBuilds("why".to_owned());
        assert_eq!(of(&case, only).word(), "chosen");
        case.fails = true;
        assert_eq!(of(&case, refused()).word(), "both-refuse");
        assert_eq!(of(&case, Outcome::Same).word(), "broken");
        // A server out of reach refuses for both, but not when one of them builds all the same.
        let gone = || Outcome::Unavailable("dial tcp".to_owned());
        assert_eq!(expected(&case, gone(), false).word(), "both-refuse");
        assert_eq!(
            expected(&case, gone(), true).word(),
            "only-launchway-builds"
        );
    }
}
