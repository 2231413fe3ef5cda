//! Which mirror is asked next: by what became of earlier requests, so that one that fails costs little.
//!
//! A mirror that failed rests, longer each time. One that answered badly, but at once, comes behind the
//! healthy ones while it rests. One that was slow to fail or sent content that is not what was
//! asked for is not asked at all meanwhile. The registry itself comes last and is always asked.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use launchway_model::{RegistryHost, Repository};
use tokio::time::Instant;

use crate::answer::Failure;
use crate::core::Core;
use crate::retry::reason;
use crate::{ClientEvent, ErrorClass, moments};

/// The first rest.
const SHORTEST: Duration = Duration::from_secs(5);
/// No rest is longer, so that a mirror that was repaired is found again.
const LONGEST: Duration = Duration::from_secs(10 * 60);
/// A failure that took longer is slow.
const SLOW: Duration = Duration::from_secs(1);
/// A mirror that took long to fail rests so many times as long: it costs a tenth of the time at most.
const SHARE: u32 = 10;

/// How one mirror has been.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Health {
    /// Failures in a row.
    failures: u32,
    rest: Option<Rest>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Rest {
    until: Instant,
    /// Whether it is not asked at all meanwhile.
    out: bool,
}

/// What a failure says about the mirror.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sign {
    took: Duration,
    /// How long it asked to be left alone.
    asked: Option<Duration>,
    /// It sent something that cannot be used.
    lied: bool,
}

impl Health {
    fn failed(&mut self, sign: Sign, now: Instant) -> Duration {
        let doubled = SHORTEST * (1 << self.failures.min(10));
        self.failures = self.failures.saturating_add(1);
        let rest = doubled
            .max(sign.took * SHARE)
            .min(LONGEST)
            .max(sign.asked.unwrap_or_default().min(LONGEST));
        let out = sign.lied || sign.took >= SLOW || sign.asked.is_some();
        self.rest = Some(Rest {
            until: now + rest,
            out,
        });
        rest
    }

    fn resting(&self, now: Instant) -> Option<Rest> {
        self.rest.filter(|rest| rest.until > now)
    }
}

/// The mirrors to ask, in order: the healthy ones as they were given, then those that rest, the one
/// soonest to be done with it first.
fn order<T>(mirrors: Vec<T>, health: impl Fn(&T) -> Health, now: Instant) -> Vec<T> {
    let mut ranked: Vec<(Option<Instant>, T)> = mirrors
        .into_iter()
        .filter_map(|mirror| match health(&mirror).resting(now) {
            Some(rest) if rest.out => None,
            rest => Some((rest.map(|rest| rest.until), mirror)),
        })
        .collect();
    ranked.sort_by_key(|(until, _)| *until);
    ranked.into_iter().map(|(_, mirror)| mirror).collect()
}

/// How all mirrors have been.
#[derive(Debug, Default)]
pub(crate) struct Mirrors(Mutex<HashMap<RegistryHost, Health>>);

impl Mirrors {
    fn of(&self, host: &RegistryHost) -> Health {
        let health = self.0.lock().expect("no holder of the health panics");
        health.get(host).copied().unwrap_or_default()
    }

    fn well(&self, host: &RegistryHost) {
        let mut health = self.0.lock().expect("no holder of the health panics");
        health.remove(host);
    }

    fn failed(&self, host: &RegistryHost, sign: Sign) -> Duration {
        let mut health = self.0.lock().expect("no holder of the health panics");
        let health = health.entry(host.clone()).or_default();
        health.failed(sign, Instant::now())
    }
}

/// A mirror that is being asked.
pub(crate) struct Trial<'a> {
    core: &'a Core,
    mirror: RegistryHost,
    begun: Instant,
}

impl Core {
    /// The copies of a repository on mirrors, in the order in which they are to be asked now.
    pub(crate) fn mirrors_of(&self, repository: &Repository) -> Vec<Repository> {
        let copies = self.transport.endpoints.copies_of(repository);
        order(copies, |copy| self.mirrors.of(copy.host()), Instant::now())
    }

    /// Passes over a mirror that sent other content than was asked for.
    pub(crate) fn distrust(&self, mirror: &Repository, why: &Failure) {
        let sign = Sign {
            took: Duration::ZERO,
            asked: None,
            lied: true,
        };
        self.rest(mirror.host(), sign, reason(why));
    }

    fn rest(&self, mirror: &RegistryHost, sign: Sign, reason: String) {
        let rest = self.mirrors.failed(mirror, sign);
        self.emit(ClientEvent::MirrorRests {
            mirror: mirror.clone(),
            until: moments::after(rest),
            reason,
        });
    }

    /// Begins to ask a mirror.
    pub(crate) fn trial(&self, mirror: &Repository) -> Trial<'_> {
        Trial {
            core: self,
            mirror: mirror.host().clone(),
            begun: Instant::now(),
        }
    }
}

impl Trial<'_> {
    /// Takes in what became of it, and gives what it brought.
    pub(crate) fn judge<T>(self, result: Result<T, Failure>) -> Option<T> {
        match result {
            Ok(found) => {
                self.succeeded();
                Some(found)
            }
            Err(failure) => {
                self.failed(&failure);
                None
            }
        }
    }

    pub(crate) fn succeeded(self) {
        self.core.mirrors.well(&self.mirror);
    }

    pub(crate) fn failed(self, failure: &Failure) {
        // Not everything has to be on a mirror.
        if failure.class == ErrorClass::Missing {
            return self.succeeded();
        }
        if !failure.not_sent {
            let sign = Sign {
                took: self.begun.elapsed(),
                asked: failure.wait,
                lied: failure.class == ErrorClass::Permanent && failure.status.is_none(),
            };
            self.core.rest(&self.mirror, sign, reason(failure));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUICK: Sign = Sign {
        took: Duration::from_millis(5),
        asked: None,
        lied: false,
    };

    #[test]
    fn rests_grow_with_failures_and_with_what_they_cost() {
        let seconds = Duration::from_secs;
        let now = Instant::now();
        let mut health = Health::default();
        let rests: Vec<u64> = (0..10)
            .map(|_| health.failed(QUICK, now).as_secs())
            .collect();
        assert_eq!(rests, [5, 10, 20, 40, 80, 160, 320, 600, 600, 600]);
        for (sign, rest, out) in [
            (QUICK, 5, false),
            (
                Sign {
                    lied: true,
                    ..QUICK
                },
                5,
                true,
            ),
            (
                Sign {
                    took: seconds(20),
                    ..QUICK
                },
                200,
                true,
            ),
            (
                Sign {
                    took: seconds(600),
                    ..QUICK
                },
                600,
                true,
            ),
            (
                Sign {
                    asked: Some(seconds(90)),
                    ..QUICK
                },
                90,
                true,
            ),
            (
                Sign {
                    asked: Some(Duration::MAX),
                    ..QUICK
                },
                600,
                true,
            ),
        ] {
            let mut health = Health::default();
            assert_eq!(health.failed(sign, now), seconds(rest), "{sign:?}");
            assert_eq!(health.resting(now).map(|rest| rest.out), Some(out));
            assert_eq!(health.resting(now + seconds(rest)), None);
        }
    }

    #[test]
    fn healthy_ones_come_first_and_bad_ones_not_at_all() {
        let now = Instant::now();
        let seconds = Duration::from_secs;
        let failed = |signs: &[Sign]| {
            let mut health = Health::default();
            for sign in signs {
                health.failed(*sign, now);
            }
            health
        };
        let lied = Sign {
            lied: true,
            ..QUICK
        };
        let health = |name: &&str| match *name {
            "twice" => failed(&[QUICK, QUICK]),
            "once" => failed(&[QUICK]),
            "liar" => failed(&[lied]),
            _ => Health::default(),
        };
        let all = vec!["twice", "liar", "a", "once", "b"];
        for (later, want) in [
            (0, &["a", "b", "once", "twice"][..]),
            (6, &["liar", "a", "once", "b", "twice"]),
            (60, &["twice", "liar", "a", "once", "b"]),
        ] {
            assert_eq!(order(all.clone(), health, now + seconds(later)), want);
        }
    }
}
