//! What happened, in words: every event as lines with a mark that says what kind of line it is. The
//! plain view, the live view's lasting lines and the quiet view choose among them.

use std::collections::BTreeMap;

use launchway_engine::{Event as Build, Step};
use launchway_lint::{Level, Report};
use launchway_model::{Digest, Platform, Reference};
use launchway_plan::{NodeId, Phase};
use launchway_release::Event;

use super::network;
use super::output::Output;
use super::text::{Paint, clean, count, cut, duration, size};

/// An instruction is named by its beginning; the whole of it stands in the Dockerfile.
const STEP_COLUMNS: usize = 100;
const BRIEF_STEP_COLUMNS: usize = 50;

/// One event, of a release or of a lone build.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Told<'a> {
    Release(&'a Event),
    Build(&'a Build),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mark {
    Phase,
    Start,
    Output,
    Cached,
    Done,
    Note,
    Warning,
    Failed,
    /// The last lines of a failed step again, for views that do not show output.
    Last,
}

impl Mark {
    pub(crate) fn paint(self) -> Paint {
        match self {
            Self::Phase => Paint::Bold,
            Self::Start | Self::Note => Paint::Plain,
            Self::Output | Self::Cached | Self::Last => Paint::Dim,
            Self::Done => Paint::Good,
            Self::Warning => Paint::Warning,
            Self::Failed => Paint::Bad,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The node and platform it is about; empty when it is about neither.
    pub(crate) who: String,
    pub(crate) mark: Mark,
    pub(crate) text: String,
}

/// Which step: whose, of which stage, and its number.
pub(crate) type StepKey = (String, String, usize);

pub(crate) fn step_key(who: &str, step: &Step) -> StepKey {
    (who.to_owned(), step.stage.clone(), step.number)
}

pub(crate) fn who(node: &NodeId, platform: &Platform) -> String {
    format!("{node} {platform}")
}

pub(crate) fn phase_words(phase: Phase) -> &'static str {
    match phase {
        Phase::Make => "making",
        Phase::Publish => "publishing",
        Phase::Lint => "linting",
        Phase::Smoke => "smoke testing",
        Phase::Tag => "writing release tags",
        Phase::Verify => "verifying",
        Phase::Roll => "moving rolling tags",
        Phase::Record => "recording",
    }
}

/// Remembers the output of the running steps, and nothing else.
#[derive(Debug, Default)]
pub(crate) struct Story {
    running: BTreeMap<StepKey, Output>,
    /// Digests are short; the end of a step says which it was, because its start is not shown.
    brief: bool,
}

impl Story {
    pub(crate) fn brief() -> Self {
        Self {
            brief: true,
            ..Self::default()
        }
    }

    pub(crate) fn tell(&mut self, told: Told<'_>) -> Vec<Entry> {
        match told {
            Told::Build(event) => self.build("", event),
            Told::Release(Event::Build {
                node,
                platform,
                event,
            }) => self.build(&who(node, platform), event),
            Told::Release(event) => release(event, self.brief),
        }
    }

    /// What stands on the last line of a running step.
    pub(crate) fn current_line(&self, key: &StepKey) -> Option<String> {
        self.running.get(key)?.current()
    }

    /// The unfinished lines of all steps that still run.
    pub(crate) fn finish(&mut self) -> Vec<Entry> {
        let running = std::mem::take(&mut self.running);
        running
            .into_iter()
            .filter_map(|((who, _, _), mut output)| {
                let text = output.finish()?;
                Some(entry(&who, Mark::Output, text))
            })
            .collect()
    }

    fn build(&mut self, who: &str, event: &Build) -> Vec<Entry> {
        match event {
            Build::StepStarted(step) => {
                self.running.insert(step_key(who, step), Output::default());
                vec![entry(who, Mark::Start, step_line(step))]
            }
            Build::Output(step, bytes) => {
                let output = self.running.entry(step_key(who, step)).or_default();
                let lines = output.push(bytes);
                let mine = self.running.keys().filter(|(other, _, _)| other == who);
                // Where several steps of one build talk at once, each line says whose it is.
                let whose = match mine.count() {
                    0 | 1 => String::new(),
                    _ => format!("{} ", step_name(step)),
                };
                let lines = lines.into_iter().map(|line| format!("{whose}{line}"));
                lines.map(|line| entry(who, Mark::Output, line)).collect()
            }
            Build::Waiting(step, why) => {
                let text = format!("{} waits: {why}", step_name(step));
                vec![entry(who, Mark::Note, text)]
            }
            Build::StepCached(step) => {
                self.running.remove(&step_key(who, step));
                let text = format!("{} cached", step_name(step));
                vec![entry(who, Mark::Cached, text)]
            }
            Build::StepDone(step, took) => {
                let (mut entries, _) = self.end(who, step);
                let name = if self.brief {
                    cut(&step_line(step), BRIEF_STEP_COLUMNS)
                } else {
                    step_name(step)
                };
                let text = format!("{name} done {}", duration(*took));
                entries.push(entry(who, Mark::Done, text));
                entries
            }
            Build::StepFailed(step, took) => {
                let (mut entries, last) = self.end(who, step);
                let mut name = step_line(step);
                if self.brief {
                    name = cut(&name, BRIEF_STEP_COLUMNS);
                }
                let text = format!("{name} failed after {}", duration(*took));
                entries.push(entry(who, Mark::Failed, text));
                let last = last.into_iter();
                entries.extend(last.map(|line| entry(who, Mark::Last, line)));
                entries
            }
            Build::Warning(text) => several(who, Mark::Warning, "warning: ", text),
        }
    }

    /// Ends a step: its unfinished line, and its last lines.
    fn end(&mut self, who: &str, step: &Step) -> (Vec<Entry>, Vec<String>) {
        let mut output = self
            .running
            .remove(&step_key(who, step))
            .unwrap_or_default();
        let rest = output.finish();
        let entries = rest.map(|line| entry(who, Mark::Output, line));
        (
            entries.into_iter().collect(),
            output.remembered().cloned().collect(),
        )
    }
}

/// `[opencode 2/5]`
pub(crate) fn step_name(step: &Step) -> String {
    format!("[{} {}/{}]", clean(&step.stage), step.number, step.of)
}

/// `[opencode 2/5] RUN npm install …`
pub(crate) fn step_line(step: &Step) -> String {
    let text = cut(&clean(&step.text), STEP_COLUMNS);
    format!("{} {text}", step_name(step))
}

fn release(event: &Event, brief: bool) -> Vec<Entry> {
    let at = |reference: &Reference, digest: &Digest| {
        if brief {
            format!("{reference} {}", digest.short())
        } else {
            format!("{reference}@{digest}")
        }
    };
    match event {
        Event::PhaseStarted(phase) => vec![entry("", Mark::Phase, phase_words(*phase))],
        Event::NodeStarted {
            node,
            platform,
            graft,
        } => {
            let text = if *graft { "grafting" } else { "building" };
            vec![entry(&who(node, platform), Mark::Start, text)]
        }
        // Told by `Story::tell`.
        Event::Build { .. } => Vec::new(),
        Event::NodeDone {
            node,
            platform,
            took,
        } => {
            let text = format!("done {}", duration(*took));
            vec![entry(&who(node, platform), Mark::Done, text)]
        }
        Event::NodeFailed { node, platform } => {
            vec![entry(&who(node, platform), Mark::Failed, "failed")]
        }
        Event::Conflict {
            node,
            platform,
            path,
            first,
            second,
        } => {
            let path = clean(path);
            let text = format!(
                "{first} and {second} both change {path}: {second} is built on top of {first}"
            );
            vec![entry(&who(node, platform), Mark::Note, text)]
        }
        Event::PushStarted { node, registry } => {
            let text = format!("pushing to {registry}");
            vec![entry(node.as_str(), Mark::Start, text)]
        }
        Event::PushDone {
            node,
            registry: _,
            reference,
            digest,
            sent,
            shared,
            took,
        } => {
            let text = format!(
                "pushed {}: {} sent, {} shared, {}",
                at(reference, digest),
                size(*sent),
                size(*shared),
                duration(*took)
            );
            vec![entry(node.as_str(), Mark::Done, text)]
        }
        Event::Transfer(event) => network::entries(event),
        Event::Linted {
            node,
            platform,
            report,
            unused,
        } => linted(&who(node, platform), report, unused),
        Event::SmokeStarted { node, platform } => {
            vec![entry(&who(node, platform), Mark::Start, "smoke testing")]
        }
        Event::SmokeDone {
            node,
            platform,
            tests,
            took,
        } => {
            let tests = count(*tests, "smoke test", "smoke tests");
            let text = format!("{tests} passed {}", duration(*took));
            vec![entry(&who(node, platform), Mark::Done, text)]
        }
        Event::SmokeFailed {
            node,
            platform,
            test,
            why,
        } => {
            let head = format!("smoke test `{}` failed: ", clean(test));
            several(&who(node, platform), Mark::Failed, &head, why)
        }
        Event::Tagged { reference, digest } => {
            vec![entry(
                "",
                Mark::Done,
                format!("tagged {}", at(reference, digest)),
            )]
        }
        Event::Verified {
            registry,
            references,
        } => {
            let references = count(*references, "reference", "references");
            vec![entry(
                "",
                Mark::Done,
                format!("verified {references} on {registry}"),
            )]
        }
        Event::Rolled { reference, digest } => {
            vec![entry(
                "",
                Mark::Done,
                format!("rolled {}", at(reference, digest)),
            )]
        }
        Event::Recorded { reference, digest } => {
            vec![entry(
                "",
                Mark::Done,
                format!("recorded {}", at(reference, digest)),
            )]
        }
        Event::RegistryFailed { registry, why } => several(
            "",
            Mark::Failed,
            &format!("registry {registry} failed: "),
            why,
        ),
        Event::Warning(text) => several("", Mark::Warning, "warning: ", text),
    }
}

pub(super) fn entry(who: &str, mark: Mark, text: impl Into<String>) -> Entry {
    Entry {
        who: who.to_owned(),
        mark,
        text: text.into(),
    }
}

/// Findings in a line each, with the instruction to blame.
fn linted(who: &str, report: &Report, unused: &[String]) -> Vec<Entry> {
    let mut entries = Vec::new();
    for finding in &report.findings {
        let (word, mark) = match finding.level {
            Level::Deny => ("error", Mark::Failed),
            Level::Warn => ("warning", Mark::Warning),
            Level::Note | Level::Allow => continue,
        };
        let place = finding.spots.first().map_or("", |spot| &spot.path);
        let weight = match finding.wasted {
            0 => String::new(),
            wasted => format!(", {} wasted", size(wasted)),
        };
        let text = format!(
            "{word}[{}] {}{weight}: {}",
            finding.rule,
            finding.title,
            clean(place)
        );
        entries.push(entry(who, mark, text));
        let instruction = finding
            .layer
            .and_then(|layer| report.layers[layer].instruction.as_deref());
        if let Some(instruction) = instruction {
            let words: Vec<&str> = instruction.split_whitespace().collect();
            let text = format!("  made by {}", cut(&clean(&words.join(" ")), 120));
            entries.push(entry(who, mark, text));
        }
    }
    for one in unused {
        let text = format!("nothing is found of what is allowed: {}", clean(one));
        entries.push(entry(who, Mark::Warning, text));
    }
    let (mark, head) = if report.is_passed() {
        (Mark::Done, "lint passed".to_owned())
    } else {
        (
            Mark::Failed,
            format!("lint failed: {}", clean(&report.why())),
        )
    };
    let text = format!("{head}; {}", crate::show_lint::summary(report));
    entries.push(entry(who, mark, text));
    entries
}

/// A text that may have several lines, with something before the first.
fn several(who: &str, mark: Mark, head: &str, text: &str) -> Vec<Entry> {
    let mut lines = text.trim_end().lines();
    let first = lines.next().unwrap_or_default();
    let mut entries = vec![entry(who, mark, format!("{head}{}", clean(first)))];
    entries.extend(lines.map(|line| entry(who, mark, format!("  {}", clean(line)))));
    entries
}
