//! Events for programs: one JSON object a line, on standard output.
//!
//! Every object has `event`, the kind in kebab-case, and `time`, RFC 3339 in UTC. The other fields
//! depend on the kind; durations are `seconds` with a fraction, sizes are bytes. In a build without
//! a release, `node` and `platform` are missing.
//!
//! | event | fields |
//! |---|---|
//! | `phase-started` | `phase`: make, publish, smoke, tag, verify, roll, record |
//! | `node-started` | `node`, `platform`, `graft` |
//! | `step-started` | `node`, `platform`, `stage`, `number`, `of`, `text` |
//! | `step-output` | `node`, `platform`, `stage`, `number`, `of`, `line`: one whole line without control characters |
//! | `step-cached` | `node`, `platform`, `stage`, `number`, `of` |
//! | `step-waiting` | `node`, `platform`, `stage`, `number`, `of`, `why` |
//! | `step-done`, `step-failed` | `node`, `platform`, `stage`, `number`, `of`, `seconds` |
//! | `node-done` | `node`, `platform`, `seconds` |
//! | `node-failed` | `node`, `platform` |
//! | `conflict` | `node`, `platform`, `path`, `first`, `second` |
//! | `push-started` | `node`, `registry` |
//! | `push-done` | `node`, `registry`, `reference`, `digest`, `sent`, `shared`, `seconds` |
//! | `request` | `method`, `host`, `path`, `status` (null without an answer), `seconds` |
//! | `retry` | `request`, `pause` in seconds, `reason` |
//! | `limited` | `host`, `until` and `gives_up` (RFC 3339), `reason` |
//! | `concurrency` | `host`, `from`, `to`: how many requests may be under way to it |
//! | `quota` | `host`, `limit`, `remaining`, `window` in seconds or null, `low` |
//! | `mirror-rests` | `mirror`, `until` (RFC 3339), `reason` |
//! | `blob-progress` | `repository`, `digest`, `direction`: pull or push, `done`, `total`; at most one a second for each blob, and one at its end |
//! | `smoke-started` | `node`, `platform` |
//! | `smoke-done` | `node`, `platform`, `tests`, `seconds` |
//! | `smoke-failed` | `node`, `platform`, `test`, `why` |
//! | `tagged`, `rolled`, `recorded` | `reference`, `digest` |
//! | `verified` | `registry`, `references` |
//! | `registry-failed` | `registry`, `why` |
//! | `warning` | `message`; `node` and `platform` when it is about a build of a release |

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use launchway_engine::{Event as Build, Step};
use launchway_plan::Phase;
use launchway_registry::{ClientEvent, Direction};
use launchway_release::Event;
use serde_json::{Value, json};

use super::output::Output;
use super::story::{StepKey, Told, step_key, who};

/// A blob that is being moved does not say so more often than this.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);

type Fields = Vec<(&'static str, Value)>;

/// Turns events into lines.
#[derive(Debug, Default)]
pub(crate) struct Json {
    running: BTreeMap<StepKey, (Fields, Output)>,
    progress: BTreeMap<(String, bool), Instant>,
}

impl Json {
    pub(crate) fn lines(&mut self, told: Told<'_>, time: Timestamp, now: Instant) -> Vec<String> {
        let objects = match told {
            Told::Build(event) => self.build("", Vec::new(), event),
            Told::Release(Event::Build {
                node,
                platform,
                event,
            }) => self.build(&who(node, platform), about(node, platform), event),
            Told::Release(Event::Transfer(event)) => {
                self.transfer(event, now).into_iter().collect()
            }
            Told::Release(event) => release(event).into_iter().collect(),
        };
        objects
            .into_iter()
            .map(|(event, fields)| line(event, fields, time))
            .collect()
    }

    /// The unfinished lines of the steps that still run.
    pub(crate) fn finish(&mut self, time: Timestamp) -> Vec<String> {
        let running = std::mem::take(&mut self.running);
        running
            .into_values()
            .filter_map(|(fields, mut output)| Some(output_line(&fields, output.finish()?)))
            .map(|(event, fields)| line(event, fields, time))
            .collect()
    }

    fn build(&mut self, who: &str, about: Fields, event: &Build) -> Vec<(&'static str, Fields)> {
        let of_step = |step: &Step| {
            let mut fields = about.clone();
            fields.extend([
                ("stage", json!(step.stage)),
                ("number", json!(step.number)),
                ("of", json!(step.of)),
            ]);
            fields
        };
        match event {
            Build::StepStarted(step) => {
                let mut fields = of_step(step);
                fields.push(("text", json!(step.text)));
                vec![("step-started", fields)]
            }
            Build::Output(step, bytes) => {
                let (fields, output) = self
                    .running
                    .entry(step_key(who, step))
                    .or_insert_with(|| (of_step(step), Output::default()));
                let lines = output.push(bytes).into_iter();
                lines.map(|line| output_line(fields, line)).collect()
            }
            Build::Waiting(step, why) => {
                let mut fields = of_step(step);
                fields.push(("why", json!(why)));
                vec![("step-waiting", fields)]
            }
            Build::StepCached(step) => vec![("step-cached", of_step(step))],
            Build::StepDone(step, took) | Build::StepFailed(step, took) => {
                let kind = match event {
                    Build::StepDone(..) => "step-done",
                    _ => "step-failed",
                };
                let rest = self.running.remove(&step_key(who, step));
                let rest = rest.and_then(|(_, mut output)| output.finish());
                let mut fields = of_step(step);
                let mut objects: Vec<_> = rest
                    .map(|text| output_line(&fields, text))
                    .into_iter()
                    .collect();
                fields.push(seconds(*took));
                objects.push((kind, fields));
                objects
            }
            Build::Warning(message) => {
                let mut fields = about.clone();
                fields.push(("message", json!(message)));
                vec![("warning", fields)]
            }
        }
    }

    fn transfer(&mut self, event: &ClientEvent, now: Instant) -> Option<(&'static str, Fields)> {
        Some(match event {
            ClientEvent::Request {
                method,
                host,
                path,
                status,
                elapsed,
            } => (
                "request",
                vec![
                    ("method", json!(method)),
                    ("host", json!(host.to_string())),
                    ("path", json!(path)),
                    ("status", json!(status)),
                    seconds(*elapsed),
                ],
            ),
            ClientEvent::Retry {
                request,
                pause,
                reason,
            } => (
                "retry",
                vec![
                    ("request", json!(request)),
                    ("pause", seconds(*pause).1),
                    ("reason", json!(reason)),
                ],
            ),
            ClientEvent::Limited {
                host,
                until,
                gives_up,
                reason,
            } => (
                "limited",
                vec![
                    ("host", json!(host.to_string())),
                    ("until", json!(moment(*until))),
                    ("gives_up", json!(moment(*gives_up))),
                    ("reason", json!(reason)),
                ],
            ),
            ClientEvent::Concurrency { host, from, to } => (
                "concurrency",
                vec![
                    ("host", json!(host.to_string())),
                    ("from", json!(from)),
                    ("to", json!(to)),
                ],
            ),
            ClientEvent::Quota {
                host,
                limit,
                remaining,
                window,
                low,
            } => (
                "quota",
                vec![
                    ("host", json!(host.to_string())),
                    ("limit", json!(limit)),
                    ("remaining", json!(remaining)),
                    ("window", json!(window.map(|window| window.as_secs()))),
                    ("low", json!(low)),
                ],
            ),
            ClientEvent::MirrorRests {
                mirror,
                until,
                reason,
            } => (
                "mirror-rests",
                vec![
                    ("mirror", json!(mirror.to_string())),
                    ("until", json!(moment(*until))),
                    ("reason", json!(reason)),
                ],
            ),
            ClientEvent::BlobProgress {
                repository,
                digest,
                direction,
                done,
                total,
            } => {
                let pull = *direction == Direction::Pull;
                let key = (format!("{repository}@{digest}"), pull);
                if done == total {
                    self.progress.remove(&key);
                } else {
                    let last = self.progress.get(&key);
                    if last.is_some_and(|last| now.duration_since(*last) < PROGRESS_EVERY) {
                        return None;
                    }
                    self.progress.insert(key, now);
                }
                (
                    "blob-progress",
                    vec![
                        ("repository", json!(repository.to_string())),
                        ("digest", json!(digest.to_string())),
                        ("direction", json!(if pull { "pull" } else { "push" })),
                        ("done", json!(done)),
                        ("total", json!(total)),
                    ],
                )
            }
        })
    }
}

fn release(event: &Event) -> Option<(&'static str, Fields)> {
    Some(match event {
        // Told by `Json::lines`, which remembers their output and progress.
        Event::Build { .. } | Event::Transfer(_) => return None,
        Event::PhaseStarted(phase) => {
            let phase = match phase {
                Phase::Make => "make",
                Phase::Publish => "publish",
                Phase::Lint => "lint",
                Phase::Smoke => "smoke",
                Phase::Tag => "tag",
                Phase::Verify => "verify",
                Phase::Roll => "roll",
                Phase::Record => "record",
            };
            ("phase-started", vec![("phase", json!(phase))])
        }
        Event::NodeStarted {
            node,
            platform,
            graft,
        } => {
            let mut fields = about(node, platform);
            fields.push(("graft", json!(graft)));
            ("node-started", fields)
        }
        Event::NodeDone {
            node,
            platform,
            took,
        } => {
            let mut fields = about(node, platform);
            fields.push(seconds(*took));
            ("node-done", fields)
        }
        Event::NodeFailed { node, platform } => ("node-failed", about(node, platform)),
        Event::Conflict {
            node,
            platform,
            path,
            first,
            second,
        } => {
            let mut fields = about(node, platform);
            fields.extend([
                ("path", json!(path)),
                ("first", json!(first)),
                ("second", json!(second)),
            ]);
            ("conflict", fields)
        }
        Event::PushStarted { node, registry } => (
            "push-started",
            vec![
                ("node", json!(node.as_str())),
                ("registry", json!(registry)),
            ],
        ),
        Event::PushDone {
            node,
            registry,
            reference,
            digest,
            sent,
            shared,
            took,
        } => (
            "push-done",
            vec![
                ("node", json!(node.as_str())),
                ("registry", json!(registry)),
                ("reference", json!(reference.to_string())),
                ("digest", json!(digest.to_string())),
                ("sent", json!(sent)),
                ("shared", json!(shared)),
                seconds(*took),
            ],
        ),
        Event::Linted {
            node,
            platform,
            report,
            unused,
        } => {
            let mut fields = about(node, platform);
            let findings = launchway_lint::to_json(report, &Default::default());
            fields.extend([
                ("passed", json!(report.is_passed())),
                ("size", json!(report.size)),
                ("unpacked", json!(report.shipped)),
                ("wasted", json!(report.wasted)),
                ("findings", findings["findings"].clone()),
                ("exceeded", findings["exceeded"].clone()),
                ("unused", json!(unused)),
            ]);
            ("linted", fields)
        }
        Event::SmokeStarted { node, platform } => ("smoke-started", about(node, platform)),
        Event::SmokeDone {
            node,
            platform,
            tests,
            took,
        } => {
            let mut fields = about(node, platform);
            fields.extend([("tests", json!(tests)), seconds(*took)]);
            ("smoke-done", fields)
        }
        Event::SmokeFailed {
            node,
            platform,
            test,
            why,
        } => {
            let mut fields = about(node, platform);
            fields.extend([("test", json!(test)), ("why", json!(why))]);
            ("smoke-failed", fields)
        }
        Event::Tagged { reference, digest } => ("tagged", of_tag(reference, digest)),
        Event::Rolled { reference, digest } => ("rolled", of_tag(reference, digest)),
        Event::Recorded { reference, digest } => ("recorded", of_tag(reference, digest)),
        Event::Verified {
            registry,
            references,
        } => (
            "verified",
            vec![
                ("registry", json!(registry)),
                ("references", json!(references)),
            ],
        ),
        Event::RegistryFailed { registry, why } => (
            "registry-failed",
            vec![("registry", json!(registry)), ("why", json!(why))],
        ),
        Event::Warning(message) => ("warning", vec![("message", json!(message))]),
    })
}

fn about(node: &launchway_plan::NodeId, platform: &launchway_model::Platform) -> Fields {
    vec![
        ("node", json!(node.as_str())),
        ("platform", json!(platform.to_string())),
    ]
}

fn of_tag(reference: &launchway_model::Reference, digest: &launchway_model::Digest) -> Fields {
    vec![
        ("reference", json!(reference.to_string())),
        ("digest", json!(digest.to_string())),
    ]
}

fn seconds(took: Duration) -> (&'static str, Value) {
    // Milliseconds are as fine as anybody needs, and stay short.
    ("seconds", json!(took.as_millis() as f64 / 1000.0))
}

fn output_line(fields: &Fields, line: String) -> (&'static str, Fields) {
    let mut fields = fields.clone();
    fields.push(("line", json!(line)));
    ("step-output", fields)
}

/// Written by hand so that `event` and `time` come first.
fn moment(time: Timestamp) -> String {
    format!("{time:.0}")
}

fn line(event: &str, fields: Fields, time: Timestamp) -> String {
    let mut line = format!("{{\"event\":\"{event}\",\"time\":\"{time:.3}\"");
    for (name, value) in fields {
        line.push_str(&format!(",\"{name}\":{value}"));
    }
    line.push('}');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_of_limits_quotas_and_mirrors() {
        let host = || "docker.io".parse().unwrap();
        let until = "2026-01-02T03:04:05.9Z".parse().unwrap();
        let events = [
            ClientEvent::Limited {
                host: host(),
                until,
                gives_up: until,
                reason: "answered 429".to_owned(),
            },
            ClientEvent::Concurrency {
                host: host(),
                from: 16,
                to: 8,
            },
            ClientEvent::Quota {
                host: host(),
                limit: 100,
                remaining: 9,
                window: Some(Duration::from_secs(21_600)),
                low: true,
            },
            ClientEvent::MirrorRests {
                mirror: host(),
                until,
                reason: "no answer in time".to_owned(),
            },
        ];
        let mut json = Json::default();
        let time = "2026-01-02T03:04:05.678Z".parse().unwrap();
        let lines: Vec<String> = events
            .map(Event::Transfer)
            .iter()
            .flat_map(|event| json.lines(Told::Release(event), time, Instant::now()))
            .map(|line| line.replace(",\"time\":\"2026-01-02T03:04:05.678Z\"", ""))
            .collect();
        assert_eq!(
            lines,
            [
                r#"{"event":"limited","host":"docker.io","until":"2026-01-02T03:04:05Z","gives_up":"2026-01-02T03:04:05Z","reason":"answered 429"}"#,
                r#"{"event":"concurrency","host":"docker.io","from":16,"to":8}"#,
                r#"{"event":"quota","host":"docker.io","limit":100,"remaining":9,"window":21600,"low":true}"#,
                r#"{"event":"mirror-rests","mirror":"docker.io","until":"2026-01-02T03:04:05Z","reason":"no answer in time"}"#,
            ]
        );
    }
}
