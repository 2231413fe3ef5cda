//! What the live view knows: which nodes wait, run and are done, and what travels.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use launchway_engine::{Event as Build, Step};
use launchway_model::Platform;
use launchway_plan::{NodeId, NodeState, Phase, Plan};
use launchway_registry::{ClientEvent, Direction};
use launchway_release::Event;

use super::story::{Entry, Mark, StepKey, Story, Told, step_key, who};

/// The rate of a transfer is that of the last moments.
const RATE_OVER: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(crate) struct Live {
    pub(crate) story: Story,
    /// When the first event came.
    pub(crate) began: Option<Instant>,
    pub(crate) phase: Option<Phase>,
    /// In the order of the plan; those that no plan has announced follow.
    pub(crate) nodes: Vec<Node>,
    /// By the repository, and whether it is a pull.
    pub(crate) transfers: BTreeMap<(String, bool), Transfer>,
    /// Nothing more will come.
    pub(crate) over: bool,
}

#[derive(Debug)]
pub(crate) struct Node {
    /// Empty for a build without a release.
    pub(crate) id: String,
    pub(crate) works: Vec<Work>,
}

/// A node on one platform.
#[derive(Debug)]
pub(crate) struct Work {
    pub(crate) platform: String,
    pub(crate) state: State,
    /// The steps so far, and how many of them were cached.
    pub(crate) steps: usize,
    pub(crate) cached: usize,
    pub(crate) running: Vec<Running>,
    /// Since when it is smoke-tested.
    pub(crate) smoke: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Waiting,
    /// Published already.
    Reused,
    Running {
        since: Instant,
        graft: bool,
    },
    Done {
        took: Duration,
    },
    Failed,
}

#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) key: StepKey,
    pub(crate) step: Step,
    pub(crate) since: Instant,
}

#[derive(Debug, Default)]
pub(crate) struct Transfer {
    blobs: BTreeMap<String, (u64, u64)>,
    /// When how many bytes more had moved.
    moved: VecDeque<(Instant, u64)>,
}

impl Transfer {
    pub(crate) fn done(&self) -> u64 {
        self.blobs.values().map(|(done, _)| done).sum()
    }

    pub(crate) fn total(&self) -> u64 {
        self.blobs.values().map(|(_, total)| total).sum()
    }

    pub(crate) fn is_over(&self) -> bool {
        self.blobs.values().all(|(done, total)| done >= total)
    }

    /// Bytes a second, once there is something to tell from.
    pub(crate) fn rate(&self, now: Instant) -> Option<u64> {
        let (first, _) = self.moved.front()?;
        let over = now.saturating_duration_since(*first).as_secs_f64();
        let bytes: u64 = self.moved.iter().skip(1).map(|(_, bytes)| bytes).sum();
        (over >= 0.5).then(|| (bytes as f64 / over) as u64)
    }

    fn progress(&mut self, digest: String, done: u64, total: u64, now: Instant) {
        let before = self.blobs.insert(digest, (done, total)).map_or(0, |b| b.0);
        self.moved.push_back((now, done.saturating_sub(before)));
        while self
            .moved
            .front()
            .is_some_and(|(at, _)| now.saturating_duration_since(*at) > RATE_OVER)
        {
            self.moved.pop_front();
        }
    }
}

impl Live {
    pub(crate) fn new() -> Self {
        Self {
            story: Story::brief(),
            began: None,
            phase: None,
            nodes: Vec::new(),
            transfers: BTreeMap::new(),
            over: false,
        }
    }

    /// Announces what will come, so that waiting nodes are seen.
    pub(crate) fn begin(&mut self, plan: &Plan) {
        self.nodes = plan
            .graph
            .nodes
            .iter()
            .filter_map(|node| {
                let state = match plan.nodes.get(&node.id)?.state {
                    NodeState::Reuse { .. } => State::Reused,
                    NodeState::Make => State::Waiting,
                    NodeState::NotNeeded => return None,
                };
                let works = node.platforms.iter();
                Some(Node {
                    id: node.id.to_string(),
                    works: works.map(|p| Work::new(p.to_string(), state)).collect(),
                })
            })
            .collect();
    }

    /// Takes an event in and gives the lines that stay.
    pub(crate) fn tell(&mut self, told: Told<'_>, now: Instant) -> Vec<Entry> {
        self.began.get_or_insert(now);
        let (steps, cached) = match told {
            Told::Release(Event::NodeDone { node, platform, .. }) => {
                let work = self.work(node.as_str(), &platform.to_string());
                (work.steps, work.cached)
            }
            _ => (0, 0),
        };
        self.take(told, now);
        let mut entries = self.story.tell(told);
        entries.retain(|entry| {
            !matches!(
                entry.mark,
                Mark::Start | Mark::Output | Mark::Cached | Mark::Phase
            )
        });
        // Cached steps are not worth a line each, but how many there were is.
        if let (true, Some(done)) = (cached > 0, entries.first_mut()) {
            done.text
                .push_str(&format!(" ({cached} of {steps} steps cached)"));
        }
        entries
    }

    fn take(&mut self, told: Told<'_>, now: Instant) {
        match told {
            Told::Build(event) => {
                let work = self.work("", "");
                if work.state == State::Waiting {
                    work.state = State::Running {
                        since: now,
                        graft: false,
                    };
                }
                work.build("", event, now);
            }
            Told::Release(event) => self.release(event, now),
        }
    }

    fn release(&mut self, event: &Event, now: Instant) {
        match event {
            Event::PhaseStarted(phase) => {
                self.phase = Some(*phase);
                if *phase > Phase::Publish {
                    self.transfers.clear();
                }
            }
            Event::NodeStarted {
                node,
                platform,
                graft,
            } => {
                self.of(node, platform).state = State::Running {
                    since: now,
                    graft: *graft,
                };
            }
            Event::Build {
                node,
                platform,
                event,
            } => {
                let who = who(node, platform);
                self.of(node, platform).build(&who, event, now);
            }
            Event::NodeDone {
                node,
                platform,
                took,
            } => self.of(node, platform).end(State::Done { took: *took }),
            Event::NodeFailed { node, platform } => self.of(node, platform).end(State::Failed),
            Event::SmokeStarted { node, platform } => {
                self.of(node, platform).smoke = Some(now);
            }
            Event::SmokeDone { node, platform, .. } | Event::SmokeFailed { node, platform, .. } => {
                self.of(node, platform).smoke = None;
            }
            Event::Transfer(ClientEvent::BlobProgress {
                repository,
                digest,
                direction,
                done,
                total,
            }) => {
                let key = (repository.to_string(), *direction == Direction::Pull);
                let transfer = self.transfers.entry(key.clone()).or_default();
                transfer.progress(digest.to_string(), *done, *total, now);
                if transfer.is_over() {
                    self.transfers.remove(&key);
                }
            }
            Event::RegistryFailed { registry, .. } => {
                let below = format!("{registry}/");
                self.transfers
                    .retain(|(repository, _), _| !repository.starts_with(&below));
            }
            Event::Linted { .. }
            | Event::Conflict { .. }
            | Event::PushStarted { .. }
            | Event::PushDone { .. }
            | Event::Transfer(
                ClientEvent::Request { .. }
                | ClientEvent::Retry { .. }
                | ClientEvent::Limited { .. }
                | ClientEvent::Concurrency { .. }
                | ClientEvent::Quota { .. }
                | ClientEvent::MirrorRests { .. },
            )
            | Event::Tagged { .. }
            | Event::Verified { .. }
            | Event::Rolled { .. }
            | Event::Recorded { .. }
            | Event::Warning(_) => {}
        }
    }

    fn of(&mut self, node: &NodeId, platform: &Platform) -> &mut Work {
        self.work(node.as_str(), &platform.to_string())
    }

    fn work(&mut self, id: &str, platform: &str) -> &mut Work {
        let at = self.nodes.iter().position(|node| node.id == id);
        let at = at.unwrap_or_else(|| {
            self.nodes.push(Node {
                id: id.to_owned(),
                works: Vec::new(),
            });
            self.nodes.len() - 1
        });
        let works = &mut self.nodes[at].works;
        let at = works.iter().position(|work| work.platform == platform);
        let at = at.unwrap_or_else(|| {
            works.push(Work::new(platform.to_owned(), State::Waiting));
            works.len() - 1
        });
        &mut works[at]
    }
}

impl Work {
    fn new(platform: String, state: State) -> Self {
        Self {
            platform,
            state,
            steps: 0,
            cached: 0,
            running: Vec::new(),
            smoke: None,
        }
    }

    fn end(&mut self, state: State) {
        self.state = state;
        self.running.clear();
    }

    fn build(&mut self, who: &str, event: &Build, now: Instant) {
        match event {
            Build::StepStarted(step) => {
                self.steps += 1;
                self.running.push(Running {
                    key: step_key(who, step),
                    step: step.clone(),
                    since: now,
                });
            }
            Build::StepCached(step) | Build::StepDone(step, _) | Build::StepFailed(step, _) => {
                self.cached += usize::from(matches!(event, Build::StepCached(_)));
                let key = step_key(who, step);
                self.running.retain(|running| running.key != key);
            }
            Build::Output(..) | Build::Waiting(..) | Build::Warning(_) => {}
        }
    }
}
