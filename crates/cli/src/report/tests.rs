//! One release, seen by every view.

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use launchway_engine::{Event as Build, Step};
use launchway_model::{Digest, Platform, Reference, RegistryHost, Repository};
use launchway_plan::{NodeId, Phase};
use launchway_registry::{ClientEvent, Direction};
use launchway_release::Event;

use super::frame::frame;
use super::json::Json;
use super::live::Live;
use super::story::{Story, Told};
use super::{Format, Options, Reporter, Size, lasting_line, plain};

fn node(name: &str) -> NodeId {
    match name.split('/').collect::<Vec<_>>()[..] {
        [image] => NodeId::image(&image.parse().unwrap()),
        [image, "feature", feature] => {
            NodeId::feature(&image.parse().unwrap(), &feature.parse().unwrap())
        }
        [image, variant] => NodeId::variant(&image.parse().unwrap(), &variant.parse().unwrap()),
        _ => panic!("{name} is no node"),
    }
}

fn amd64() -> Platform {
    "linux/amd64".parse().unwrap()
}

fn repository() -> Repository {
    let host: RegistryHost = "ghcr.io".parse().unwrap();
    Repository::new(host, "me/box").unwrap()
}

fn reference(tag: &str) -> Reference {
    repository().with_tag(tag.parse().unwrap())
}

fn digest() -> Digest {
    Digest::sha256([0xab; 32])
}

fn step(number: usize, text: &str) -> Step {
    Step {
        stage: "tool".to_owned(),
        number,
        of: 3,
        text: text.to_owned(),
    }
}

fn build(event: Build) -> Event {
    Event::Build {
        node: node("box/feature/tool"),
        platform: amd64(),
        event,
    }
}

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn making() -> Vec<Event> {
    let install = step(3, "RUN npm install");
    vec![
        Event::PhaseStarted(Phase::Make),
        Event::NodeStarted {
            node: node("box/feature/tool"),
            platform: amd64(),
            graft: false,
        },
        build(Build::StepStarted(step(2, "COPY . /app"))),
        build(Build::StepCached(step(2, "COPY . /app"))),
        build(Build::StepStarted(install.clone())),
        build(Build::Output(install.clone(), b"10%\r50".to_vec())),
        build(Build::Output(
            install,
            b"%\r\x1b[32madded\x1b[0m 12\n\nlast".to_vec(),
        )),
    ]
}

fn release() -> Vec<Event> {
    let install = step(3, "RUN npm install");
    let mut events = making();
    events.extend([
        build(Build::StepDone(install, millis(12_300))),
        Event::NodeDone {
            node: node("box/feature/tool"),
            platform: amd64(),
            took: millis(65_000),
        },
        Event::Conflict {
            node: node("box/all"),
            platform: amd64(),
            path: "/etc/x".to_owned(),
            first: "box/feature/a".to_owned(),
            second: "box/feature/b".to_owned(),
        },
        Event::PhaseStarted(Phase::Publish),
        Event::PushStarted {
            node: node("box/all"),
            registry: "ghcr.io/me".to_owned(),
        },
        Event::Transfer(ClientEvent::Retry {
            request: "PUT ghcr.io/v2/me/box/manifests/x".to_owned(),
            pause: millis(15_000),
            reason: "503 service unavailable".to_owned(),
        }),
        Event::PushDone {
            node: node("box/all"),
            registry: "ghcr.io/me".to_owned(),
            reference: reference("all-0123"),
            digest: digest(),
            sent: 1_240_000,
            shared: 300_000_000,
            took: millis(3_400),
        },
        Event::PhaseStarted(Phase::Smoke),
        Event::SmokeStarted {
            node: node("box/all"),
            platform: amd64(),
        },
        Event::SmokeDone {
            node: node("box/all"),
            platform: amd64(),
            tests: 1,
            took: millis(440),
        },
        Event::Tagged {
            reference: reference("v1.0.0"),
            digest: digest(),
        },
        Event::Verified {
            registry: "ghcr.io/me".to_owned(),
            references: 3,
        },
        Event::Rolled {
            reference: reference("latest"),
            digest: digest(),
        },
        Event::Recorded {
            reference: reference("record"),
            digest: digest(),
        },
        Event::RegistryFailed {
            registry: "docker.io/me".to_owned(),
            why: "no answer\nfrom anybody".to_owned(),
        },
        Event::Warning("mind this".to_owned()),
    ]);
    events
}

fn failure() -> Vec<Event> {
    let install = step(3, "RUN npm install");
    let mut events = making();
    events.extend([
        build(Build::StepFailed(install, millis(400))),
        Event::NodeFailed {
            node: node("box/feature/tool"),
            platform: amd64(),
        },
        Event::SmokeFailed {
            node: node("box/all"),
            platform: amd64(),
            test: "tool --version".to_owned(),
            why: "it printed:\n1.0\x1b[2J".to_owned(),
        },
    ]);
    events
}

fn plain_lines(events: &[Event]) -> Vec<String> {
    let mut story = Story::default();
    let entries = events.iter().flat_map(|e| story.tell(Told::Release(e)));
    entries.filter_map(|e| plain::line(&e, false)).collect()
}

fn abs() -> String {
    format!("sha256:{}", "ab".repeat(32))
}

#[test]
fn a_log_says_everything_once() {
    let ab = abs();
    assert_eq!(
        plain_lines(&release()),
        [
            "== making ==",
            "box/feature/tool linux/amd64 │ building",
            "box/feature/tool linux/amd64 │ [tool 2/3] COPY . /app",
            "box/feature/tool linux/amd64 │ [tool 2/3] cached",
            "box/feature/tool linux/amd64 │ [tool 3/3] RUN npm install",
            "box/feature/tool linux/amd64 │   added 12",
            "box/feature/tool linux/amd64 │",
            "box/feature/tool linux/amd64 │   last",
            "box/feature/tool linux/amd64 │ [tool 3/3] done 12.3s",
            "box/feature/tool linux/amd64 │ done 1m05s",
            "box/all linux/amd64 │ box/feature/a and box/feature/b both change /etc/x: \
             box/feature/b is built on top of box/feature/a",
            "== publishing ==",
            "box/all │ pushing to ghcr.io/me",
            "PUT ghcr.io/v2/me/box/manifests/x: pause 15s: 503 service unavailable",
            &format!(
                "box/all │ pushed ghcr.io/me/box:all-0123@{ab}: 1.2 MB sent, 300.0 MB shared, 3.4s"
            ),
            "== smoke testing ==",
            "box/all linux/amd64 │ smoke testing",
            "box/all linux/amd64 │ 1 smoke test passed 0.4s",
            &format!("tagged ghcr.io/me/box:v1.0.0@{ab}"),
            "verified 3 references on ghcr.io/me",
            &format!("rolled ghcr.io/me/box:latest@{ab}"),
            &format!("recorded ghcr.io/me/box:record@{ab}"),
            "registry docker.io/me failed: no answer",
            "  from anybody",
            "warning: mind this",
        ]
    );
}

#[test]
fn a_log_of_a_failure_does_not_repeat_output() {
    assert_eq!(
        plain_lines(&failure())[5..],
        [
            "box/feature/tool linux/amd64 │   added 12",
            "box/feature/tool linux/amd64 │",
            "box/feature/tool linux/amd64 │   last",
            "box/feature/tool linux/amd64 │ [tool 3/3] RUN npm install failed after 0.4s",
            "box/feature/tool linux/amd64 │ failed",
            "box/all linux/amd64 │ smoke test `tool --version` failed: it printed:",
            "box/all linux/amd64 │   1.0",
        ]
    );
}

#[test]
fn quiet_shows_failures_with_their_last_lines() {
    let mut story = Story::default();
    let events = failure();
    let entries = events.iter().flat_map(|e| story.tell(Told::Release(e)));
    let lines: Vec<String> = entries
        .filter_map(|e| plain::quiet_line(&e, false))
        .collect();
    assert_eq!(
        lines[..5],
        [
            "box/feature/tool linux/amd64 │ [tool 3/3] RUN npm install failed after 0.4s",
            "box/feature/tool linux/amd64 │   added 12",
            "box/feature/tool linux/amd64 │",
            "box/feature/tool linux/amd64 │   last",
            "box/feature/tool linux/amd64 │ failed",
        ]
    );
}

fn json_lines(events: &[Event]) -> Vec<String> {
    let mut json = Json::default();
    let time = "2026-01-02T03:04:05.678901Z".parse().unwrap();
    let now = Instant::now();
    let lines = events
        .iter()
        .flat_map(|event| json.lines(Told::Release(event), time, now));
    lines
        .map(|line| {
            serde_json::from_str::<serde_json::Value>(&line).unwrap();
            line.replace(",\"time\":\"2026-01-02T03:04:05.678Z\"", "")
        })
        .collect()
}

#[test]
fn json_is_one_object_a_line() {
    let about = r#""node":"box/feature/tool","platform":"linux/amd64""#;
    let all = r#""node":"box/all","platform":"linux/amd64""#;
    let ab = abs();
    assert_eq!(
        json_lines(&release()),
        [
            r#"{"event":"phase-started","phase":"make"}"#,
            &format!(r#"{{"event":"node-started",{about},"graft":false}}"#),
            &format!(
                r#"{{"event":"step-started",{about},"stage":"tool","number":2,"of":3,"text":"COPY . /app"}}"#
            ),
            &format!(r#"{{"event":"step-cached",{about},"stage":"tool","number":2,"of":3}}"#),
            &format!(
                r#"{{"event":"step-started",{about},"stage":"tool","number":3,"of":3,"text":"RUN npm install"}}"#
            ),
            &format!(
                r#"{{"event":"step-output",{about},"stage":"tool","number":3,"of":3,"line":"added 12"}}"#
            ),
            &format!(
                r#"{{"event":"step-output",{about},"stage":"tool","number":3,"of":3,"line":""}}"#
            ),
            &format!(
                r#"{{"event":"step-output",{about},"stage":"tool","number":3,"of":3,"line":"last"}}"#
            ),
            &format!(
                r#"{{"event":"step-done",{about},"stage":"tool","number":3,"of":3,"seconds":12.3}}"#
            ),
            &format!(r#"{{"event":"node-done",{about},"seconds":65.0}}"#),
            &format!(
                r#"{{"event":"conflict",{all},"path":"/etc/x","first":"box/feature/a","second":"box/feature/b"}}"#
            ),
            r#"{"event":"phase-started","phase":"publish"}"#,
            r#"{"event":"push-started","node":"box/all","registry":"ghcr.io/me"}"#,
            r#"{"event":"retry","request":"PUT ghcr.io/v2/me/box/manifests/x","pause":15.0,"reason":"503 service unavailable"}"#,
            &format!(
                r#"{{"event":"push-done","node":"box/all","registry":"ghcr.io/me","reference":"ghcr.io/me/box:all-0123","digest":"{ab}","sent":1240000,"shared":300000000,"seconds":3.4}}"#
            ),
            r#"{"event":"phase-started","phase":"smoke"}"#,
            &format!(r#"{{"event":"smoke-started",{all}}}"#),
            &format!(r#"{{"event":"smoke-done",{all},"tests":1,"seconds":0.44}}"#),
            &format!(r#"{{"event":"tagged","reference":"ghcr.io/me/box:v1.0.0","digest":"{ab}"}}"#),
            r#"{"event":"verified","registry":"ghcr.io/me","references":3}"#,
            &format!(r#"{{"event":"rolled","reference":"ghcr.io/me/box:latest","digest":"{ab}"}}"#),
            &format!(
                r#"{{"event":"recorded","reference":"ghcr.io/me/box:record","digest":"{ab}"}}"#
            ),
            r#"{"event":"registry-failed","registry":"docker.io/me","why":"no answer\nfrom anybody"}"#,
            r#"{"event":"warning","message":"mind this"}"#,
        ]
    );
}

fn progress(done: u64, total: u64) -> Event {
    Event::Transfer(ClientEvent::BlobProgress {
        repository: repository(),
        digest: digest(),
        direction: Direction::Push,
        done,
        total,
    })
}

#[test]
fn json_progress_is_sparse_but_has_its_end() {
    let lines = json_lines(&[progress(1, 9), progress(2, 9), progress(9, 9)]);
    let done: Vec<bool> = lines
        .iter()
        .map(|l| l.ends_with(r#""done":9,"total":9}"#))
        .collect();
    assert_eq!(done, [false, true], "{lines:?}");
}

fn live(events: &[Event], now: Instant) -> (Live, Vec<String>) {
    let mut live = Live::new();
    let lasting = events
        .iter()
        .flat_map(|event| live.tell(Told::Release(event), now))
        .map(|entry| lasting_line(&entry, false))
        .collect();
    (live, lasting)
}

fn size(columns: usize, rows: usize) -> Size {
    Size { columns, rows }
}

#[test]
fn the_picture_shows_what_runs() {
    let now = Instant::now();
    let mut events = making();
    events.push(progress(0, 4_000_000));
    events.push(Event::NodeStarted {
        node: node("box/all"),
        platform: amd64(),
        graft: true,
    });
    let (mut live, lasting) = live(&events, now);
    assert_eq!(lasting, [""; 0]);
    live.tell(
        Told::Release(&progress(2_000_000, 4_000_000)),
        now + millis(500),
    );
    let lines = frame(&live, size(72, 24), false, now + millis(1000));
    assert_eq!(
        lines,
        [
            "making · 0 of 2 made                                                1.0s",
            "  box",
            "⣾   feature/tool  linux/amd64  [tool 3/3] RUN npm install           1.0s",
            "                                 last",
            "⣾   all           linux/amd64  grafting                             1.0s",
            "↑ push ██████████░░░░░░░░░░ 2.0 MB/4.0 MB 2.0 MB/s  ghcr.io/me/box",
        ]
    );
}

#[test]
fn a_plan_that_begins_shows_what_waits_and_what_is_reused() {
    use crate::show_plan::tests::{planned, present};
    let plan = planned(&|_, node, _| match node.id.as_str() {
        "base" => present(node),
        _ => launchway_plan::Observed::Absent,
    });
    let now = Instant::now();
    let mut live = Live::new();
    live.begin(&plan);
    live.tell(Told::Release(&Event::PhaseStarted(Phase::Make)), now);
    let done = Event::NodeDone {
        node: node("box/feature/tool"),
        platform: amd64(),
        took: millis(1200),
    };
    live.tell(Told::Release(&done), now);
    assert_eq!(
        frame(&live, size(60, 24), false, now),
        [
            "making · 1 of 8 made                                    0.0s",
            "= base                         reused",
            "  box",
            "✓   feature/tool  linux/amd64  done                     1.2s",
            "·                 linux/arm64  waiting",
            "·   feature/more               waiting",
            "·   plain                      waiting",
            "·   all                        waiting",
        ]
    );
}

#[test]
fn the_picture_always_fits() {
    let now = Instant::now();
    let mut events = making();
    for number in 0..9 {
        events.push(Event::NodeStarted {
            node: node(&format!("box/v{number}")),
            platform: amd64(),
            graft: true,
        });
        if number < 4 {
            events.push(Event::NodeDone {
                node: node(&format!("box/v{number}")),
                platform: amd64(),
                took: millis(10),
            });
        }
    }
    let (live, _) = live(&events, now);
    for rows in 0..20 {
        for columns in [1, 10, 40, 200] {
            let lines = frame(&live, size(columns, rows), true, now);
            assert!(lines.len() <= rows.saturating_sub(1), "{rows}: {lines:#?}");
            for line in &lines {
                assert!(
                    super::text::width(&super::text::clean(line)) <= columns,
                    "{line:?}"
                );
            }
        }
    }
    let lines = frame(&live, size(60, 13), false, now);
    assert_eq!(lines[11], "  … 2 more finished");
}

#[test]
fn what_is_finished_stays_and_a_failure_keeps_its_last_lines() {
    let now = Instant::now();
    let (_, lasting) = live(&release(), now);
    assert_eq!(
        lasting[..5],
        [
            "✓ box/feature/tool linux/amd64  [tool 3/3] RUN npm install done 12.3s",
            "✓ box/feature/tool linux/amd64  done 1m05s (1 of 2 steps cached)",
            "· box/all linux/amd64  box/feature/a and box/feature/b both change /etc/x: \
             box/feature/b is built on top of box/feature/a",
            "· PUT ghcr.io/v2/me/box/manifests/x: pause 15s: 503 service unavailable",
            "✓ box/all  pushed ghcr.io/me/box:all-0123 abababababab: 1.2 MB sent, 300.0 MB shared, 3.4s",
        ]
    );
    let (_, lasting) = live(&failure(), now);
    assert_eq!(
        lasting[..5],
        [
            "✗ box/feature/tool linux/amd64  [tool 3/3] RUN npm install failed after 0.4s",
            "    │ added 12",
            "    │",
            "    │ last",
            "✗ box/feature/tool linux/amd64  failed",
        ]
    );
}

#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Written {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

#[test]
fn a_lone_build_is_shown_by_every_format() {
    for (format, interactive, on_out, on_err) in [
        (Format::Auto, false, "", "[tool 1/3] RUN x\n  half\n"),
        (Format::Plain, true, "", "[tool 1/3] RUN x\n  half\n"),
        (Format::Quiet, true, "", ""),
    ] {
        let (out, err) = (Written::default(), Written::default());
        let options = Options {
            colour: false,
            interactive,
            size: Arc::new(|| None),
        };
        let reporter = Reporter::writing_to(
            format,
            options,
            Box::new(out.clone()),
            Box::new(err.clone()),
        );
        let tell = reporter.on_build();
        tell(Build::StepStarted(step(1, "RUN x")));
        tell(Build::Output(step(1, "RUN x"), b"half".to_vec()));
        reporter.finish();
        tell(Build::Warning("too late".to_owned()));
        assert_eq!((&*out.text(), &*err.text()), (on_out, on_err), "{format:?}");
    }
}

#[test]
fn the_live_view_ends_with_its_lasting_lines_and_the_cursor() {
    let err = Written::default();
    let options = Options {
        colour: true,
        interactive: true,
        size: Arc::new(|| None),
    };
    let out = Box::new(Written::default());
    let reporter = Reporter::writing_to(Format::Auto, options, out, Box::new(err.clone()));
    let tell = reporter.on_release();
    for event in failure() {
        tell(event);
    }
    drop(reporter);
    let text = err.text();
    for part in [
        "│ last",
        "failed after 0.4s",
        "smoke test `tool --version` failed",
    ] {
        assert!(text.contains(part), "{part}: {text:?}");
    }
    assert!(text.ends_with("\u{1b}[?25h"), "{text:?}");
}
