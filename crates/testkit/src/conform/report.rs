//! What came of a whole corpus: sums by topic, reasons in groups, as text and as JSON.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::flatten::Difference;

use super::{Outcome, Verdict};

/// So many differences of a case are shown; the JSON has all.
const SHOWN: usize = 12;

/// Verdicts, ready to be shown.
pub struct Report<'a> {
    pub verdicts: &'a [Verdict],
}

/// How many cases of a topic ended how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Score {
    pub cases: usize,
    pub same: usize,
    pub both_refuse: usize,
    pub chosen: usize,
    pub newer: usize,
    pub wrong: usize,
    pub unavailable: usize,
}

impl Score {
    fn count(&mut self, outcome: &Outcome) {
        self.cases += 1;
        *match outcome {
            Outcome::Same | Outcome::Varies(_) => &mut self.same,
            Outcome::BothRefuse { .. } => &mut self.both_refuse,
            Outcome::Chosen(_) => &mut self.chosen,
            Outcome::Newer => &mut self.newer,
            Outcome::Unavailable(_) => &mut self.unavailable,
            Outcome::Differs(_)
            | Outcome::OnlyBuildKitBuilds(_)
            | Outcome::OnlyLaunchwayBuilds(_)
            | Outcome::TimedOut(_)
            | Outcome::Broken(_) => &mut self.wrong,
        } += 1;
    }

    pub fn add(&mut self, other: &Self) {
        self.cases += other.cases;
        self.same += other.same;
        self.both_refuse += other.both_refuse;
        self.chosen += other.chosen;
        self.newer += other.newer;
        self.wrong += other.wrong;
        self.unavailable += other.unavailable;
    }

    fn columns(&self) -> [usize; 7] {
        [
            self.cases,
            self.same,
            self.both_refuse,
            self.chosen,
            self.newer,
            self.wrong,
            self.unavailable,
        ]
    }
}

/// The sums of every topic.
pub fn scores<'a>(
    outcomes: impl IntoIterator<Item = (&'a str, &'a Outcome)>,
) -> BTreeMap<String, Score> {
    let mut scores: BTreeMap<String, Score> = BTreeMap::new();
    for (topic, outcome) in outcomes {
        scores.entry(topic.to_owned()).or_default().count(outcome);
    }
    scores
}

impl Report<'_> {
    /// Cases in which something is wrong.
    pub fn wrong(&self) -> usize {
        let wrong = self.verdicts.iter().filter(|one| !one.outcome.is_fine());
        wrong.count()
    }

    /// For people.
    pub fn text(&self) -> String {
        let mut out = String::new();
        self.table(&mut out);
        for (title, kinds) in [
            ("differ", &["differs"][..]),
            ("only BuildKit builds", &["only-buildkit-builds"]),
            ("only Launchway builds", &["only-launchway-builds"]),
            ("took too long", &["timed-out"]),
            ("broken", &["broken"]),
            ("same but for what varies by itself", &["varies"]),
            ("both refuse", &["both-refuse"]),
            ("cannot be told here", &["unavailable"]),
        ] {
            let found: Vec<&Verdict> = self
                .verdicts
                .iter()
                .filter(|one| kinds.contains(&one.outcome.word()))
                .collect();
            if !found.is_empty() {
                let _ = writeln!(out, "\n{title} ({}):", found.len());
                groups(&found, &mut out);
            }
        }
        self.counts(&mut out);
        out
    }

    /// For programs: `launchway.conform.v1`.
    pub fn json(&self) -> Value {
        let scores = self.scores();
        let mut all = Score::default();
        scores.values().for_each(|score| all.add(score));
        json!({
            "schema": "launchway.conform.v1",
            "score": json_of_score(&all),
            "topics": scores
                .iter()
                .map(|(topic, score)| (topic.clone(), json_of_score(score)))
                .collect::<serde_json::Map<_, _>>(),
            "cases": self.verdicts.iter().map(json_of_verdict).collect::<Vec<_>>(),
        })
    }

    fn scores(&self) -> BTreeMap<String, Score> {
        let outcomes = self.verdicts.iter();
        scores(outcomes.map(|one| (one.topic.as_str(), &one.outcome)))
    }

    fn table(&self, out: &mut String) {
        const TITLES: [&str; 7] = [
            "cases", "same", "refuse", "chosen", "newer", "wrong", "untold",
        ];
        let scores = self.scores();
        let mut all = Score::default();
        scores.values().for_each(|score| all.add(score));
        let width = scores.keys().map(String::len).max().unwrap_or(0).max(8);
        let mut row = |name: &str, cells: [String; 7]| {
            let _ = write!(out, "{name:width$}");
            for cell in cells {
                let _ = write!(out, " {cell:>7}");
            }
            out.push('\n');
        };
        row("topic", TITLES.map(str::to_owned));
        for (topic, score) in &scores {
            row(topic, score.columns().map(number));
        }
        row("all", all.columns().map(number));
    }

    fn counts(&self, out: &mut String) {
        for (what, of) in [
            (
                "layers",
                (|one: &Verdict| one.layers) as fn(&Verdict) -> Option<[usize; 2]>,
            ),
            ("lines of history", |one| one.history),
        ] {
            let both: Vec<(&Verdict, [usize; 2])> = self
                .verdicts
                .iter()
                .filter_map(|one| Some((one, of(one)?)))
                .collect();
            let other: Vec<String> = both
                .iter()
                .filter(|(_, [left, right])| left != right)
                .map(|(one, [left, right])| format!("{} ({left}, {right})", one.name))
                .collect();
            if both.is_empty() {
                continue;
            }
            let same = both.len() - other.len();
            let _ = write!(out, "\nas many {what} in {same} of {} images", both.len());
            let shown = other.iter().take(SHOWN).map(String::as_str);
            let shown: Vec<&str> = shown.collect();
            if !shown.is_empty() {
                let more = if other.len() > SHOWN { ", …" } else { "" };
                let _ = write!(out, "; not in {}{more}", shown.join(", "));
            }
        }
        out.push('\n');
    }
}

/// One verdict with all that is known of it.
pub(super) fn told(verdict: &Verdict) -> String {
    let mut out = format!("{}: {}\n", verdict.name, verdict.outcome.word());
    match &verdict.outcome {
        Outcome::Differs(differences)
        | Outcome::Chosen(differences)
        | Outcome::Varies(differences) => {
            for difference in differences {
                indented(&mut out, &shown(difference));
            }
        }
        other => indented(&mut out, &reason(other)),
    }
    out
}

fn number(count: usize) -> String {
    match count {
        0 => ".".to_owned(),
        count => count.to_string(),
    }
}

/// Cases under what they have in common.
fn groups(verdicts: &[&Verdict], out: &mut String) {
    let mut groups: BTreeMap<String, (String, Vec<&str>)> = BTreeMap::new();
    for verdict in verdicts {
        if let Outcome::Differs(differences) = &verdict.outcome {
            let _ = writeln!(out, "  {}", verdict.name);
            for difference in differences.iter().take(SHOWN) {
                indented(out, &shown(difference));
            }
            if differences.len() > SHOWN {
                let _ = writeln!(out, "    … and {} more", differences.len() - SHOWN);
            }
            continue;
        }
        let reason = reason(&verdict.outcome);
        let group = groups
            .entry(common(&reason))
            .or_insert_with(|| (reason, Vec::new()));
        group.1.push(&verdict.name);
    }
    let mut groups: Vec<(String, Vec<&str>)> = groups.into_values().collect();
    groups.sort_by_key(|(_, names)| std::cmp::Reverse(names.len()));
    for (reason, names) in groups {
        let _ = writeln!(out, "  {} ({})", names.join(", "), names.len());
        indented(out, &reason);
    }
}

/// Names, numbers and digests differ from case to case.
fn common(reason: &str) -> String {
    let mut out = String::new();
    let mut quoted = None;
    for c in reason.chars() {
        match quoted {
            Some(end) if c == end => quoted = None,
            Some(_) => continue,
            None if c == '`' || c == '"' => quoted = Some(c),
            None if c.is_ascii_digit() => {}
            None => out.push(c),
        }
    }
    out
}

fn reason(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Same | Outcome::Newer => String::new(),
        Outcome::Varies(differences) => {
            let paths: Vec<&str> = differences.iter().map(|one| one.what.as_str()).collect();
            paths.join(", ")
        }
        Outcome::Chosen(differences) | Outcome::Differs(differences) => {
            let lines: Vec<String> = differences.iter().map(shown).collect();
            lines.join("\n")
        }
        Outcome::BothRefuse {
            buildkit,
            launchway,
        } => format!("BuildKit:  {buildkit}\nLaunchway: {launchway}"),
        Outcome::OnlyBuildKitBuilds(reason) => format!("Launchway: {reason}"),
        Outcome::OnlyLaunchwayBuilds(reason) => format!("BuildKit: {reason}"),
        Outcome::Unavailable(reason) | Outcome::Broken(reason) => reason.clone(),
        Outcome::TimedOut(engine) => (*engine).to_owned(),
    }
}

fn shown(difference: &Difference) -> String {
    let side = |side: &Option<String>| side.clone().unwrap_or_else(|| "nothing".to_owned());
    format!(
        "{}\n  BuildKit:  {}\n  Launchway: {}",
        difference.what,
        side(&difference.left),
        side(&difference.right)
    )
}

fn indented(out: &mut String, text: &str) {
    for line in text.lines() {
        let _ = writeln!(out, "    {line}");
    }
}

fn json_of_score(score: &Score) -> Value {
    json!({
        "cases": score.cases,
        "same": score.same,
        "bothRefuse": score.both_refuse,
        "chosen": score.chosen,
        "newer": score.newer,
        "wrong": score.wrong,
        "unavailable": score.unavailable,
    })
}

fn json_of_verdict(verdict: &Verdict) -> Value {
    let mut value = json!({
        "name": verdict.name,
        "topic": verdict.topic,
        "outcome": verdict.outcome.word(),
        "fine": verdict.outcome.is_fine(),
        "seconds": {"buildkit": verdict.seconds[0], "launchway": verdict.seconds[1]},
    });
    for (name, counts) in [("layers", verdict.layers), ("history", verdict.history)] {
        if let Some([buildkit, launchway]) = counts {
            value[name] = json!({"buildkit": buildkit, "launchway": launchway});
        }
    }
    match &verdict.outcome {
        Outcome::Same | Outcome::Newer => {}
        Outcome::Differs(differences)
        | Outcome::Chosen(differences)
        | Outcome::Varies(differences) => {
            value["differences"] = differences
                .iter()
                .map(|one| json!({"what": one.what, "buildkit": one.left, "launchway": one.right}))
                .collect();
        }
        Outcome::BothRefuse {
            buildkit,
            launchway,
        } => value["refused"] = json!({"buildkit": buildkit, "launchway": launchway}),
        other => value["reason"] = reason(other).into(),
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(name: &str, outcome: Outcome) -> Verdict {
        Verdict {
            name: name.to_owned(),
            topic: name.split('/').next().unwrap_or_default().to_owned(),
            outcome,
            layers: Some([2, 1]),
            history: None,
            seconds: [0.5, 0.25],
        }
    }

    #[test]
    fn a_report_says_how_many_and_why() {
        let verdicts = [
            verdict("a/one", Outcome::Same),
            verdict(
                "a/two",
                Outcome::OnlyBuildKitBuilds("no `x` at 3".to_owned()),
            ),
            verdict(
                "b/one",
                Outcome::OnlyBuildKitBuilds("no `y` at 4".to_owned()),
            ),
            verdict(
                "b/two",
                Outcome::Differs(vec![Difference {
                    what: "/etc".to_owned(),
                    left: Some("file".to_owned()),
                    right: None,
                }]),
            ),
        ];
        let report = Report {
            verdicts: &verdicts,
        };
        assert_eq!(report.wrong(), 3);
        assert_eq!(
            report.text(),
            "\
topic      cases    same  refuse  chosen   newer   wrong  untold
a              2       1       .       .       .       1       .
b              2       .       .       .       .       2       .
all            4       1       .       .       .       3       .

differ (1):
  b/two
    /etc
      BuildKit:  file
      Launchway: nothing

only BuildKit builds (2):
  a/two, b/one (2)
    Launchway: no `x` at 3

as many layers in 0 of 4 images; not in a/one (2, 1), a/two (2, 1), b/one (2, 1), b/two (2, 1)
"
        );
        let json = report.json();
        assert_eq!(json["score"]["wrong"], 3);
        assert_eq!(json["topics"]["a"]["same"], 1);
        assert_eq!(json["cases"][3]["differences"][0]["what"], "/etc");
    }
}
