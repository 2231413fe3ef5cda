//! How many requests may be under way to one host at the same time: fewer after the host limited
//! us, slowly more again as long as it keeps up (additive increase, multiplicative decrease).
//!
//! A place is held until the head of the answer is there. Bodies that come down hold none, so that
//! whoever reads one may make other requests meanwhile without waiting for itself.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How many at first. More bring nothing on the registries that were measured, and most limits are
/// on requests in a time, not on requests at a time.
const START: u32 = 16;
/// How many at most.
const MOST: u32 = 64;

/// Another number than before: from, to.
pub(crate) type Change = (u32, u32);

/// The number itself, as a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Pace {
    allowed: u32,
    /// Successes since the last change, as far as they used what is allowed.
    successes: u32,
    /// How often it was cut. A burst that was sent before a cut counts as one sign, not as many.
    cuts: u64,
}

impl Pace {
    const fn new() -> Self {
        Self {
            allowed: START,
            successes: 0,
            cuts: 0,
        }
    }

    /// A request that was sent after so many cuts was refused because there are too many.
    fn limited(&mut self, sent_after: u64) -> Option<Change> {
        if sent_after < self.cuts {
            return None;
        }
        self.cuts += 1;
        self.successes = 0;
        let from = self.allowed;
        self.allowed = (from / 2).max(1);
        (self.allowed != from).then_some((from, self.allowed))
    }

    /// A request was answered. Only when all places were taken does this say that more would do.
    fn succeeded(&mut self, sent_after: u64, all_taken: bool) -> Option<Change> {
        if sent_after < self.cuts || !all_taken {
            return None;
        }
        self.successes += 1;
        if self.successes < self.allowed || self.allowed >= MOST {
            return None;
        }
        self.successes = 0;
        self.allowed += 1;
        Some((self.allowed - 1, self.allowed))
    }
}

#[derive(Debug)]
struct State {
    pace: Pace,
    /// Places that are to go once whoever has them gives them back.
    surplus: u32,
}

/// One host's places. The semaphore lets the longest waiting in first, and takes back what a
/// caller that went away was given.
#[derive(Debug)]
struct Host {
    places: Arc<Semaphore>,
    state: Mutex<State>,
}

impl Host {
    fn new() -> Self {
        Self {
            places: Arc::new(Semaphore::new(START as usize)),
            state: Mutex::new(State {
                pace: Pace::new(),
                surplus: 0,
            }),
        }
    }

    fn adapt(&self, judge: impl FnOnce(&mut Pace) -> Option<Change>) -> Option<Change> {
        let mut state = self.state.lock().expect("no holder of the pace panics");
        let change = judge(&mut state.pace);
        match change {
            Some((from, to)) if to < from => {
                let gone = self.places.forget_permits((from - to) as usize) as u32;
                state.surplus += from - to - gone;
            }
            Some((from, to)) => {
                let back = (to - from).min(state.surplus);
                state.surplus -= back;
                self.places.add_permits((to - from - back) as usize);
            }
            None => {}
        }
        change
    }

    fn give_back(&self, permit: OwnedSemaphorePermit) {
        let mut state = self.state.lock().expect("no holder of the pace panics");
        if state.surplus > 0 {
            state.surplus -= 1;
            permit.forget();
        }
    }
}

/// The places of all hosts, by `host:port`.
#[derive(Debug, Default)]
pub(crate) struct Limits(Mutex<HashMap<String, Arc<Host>>>);

impl Limits {
    /// Waits for a place.
    pub(crate) async fn place(&self, authority: &str) -> Place {
        let host = {
            let mut hosts = self.0.lock().expect("no holder of the limits panics");
            match hosts.get(authority) {
                Some(host) => Arc::clone(host),
                None => {
                    let host = Arc::new(Host::new());
                    hosts.insert(authority.to_owned(), Arc::clone(&host));
                    host
                }
            }
        };
        let permit = Arc::clone(&host.places)
            .acquire_owned()
            .await
            .expect("the places are never closed");
        let sent_after = {
            let state = host.state.lock().expect("no holder of the pace panics");
            state.pace.cuts
        };
        Place {
            host,
            permit: Some(permit),
            sent_after,
        }
    }
}

/// A request that is under way. Dropping it gives the place back.
#[derive(Debug)]
pub(crate) struct Place {
    host: Arc<Host>,
    permit: Option<OwnedSemaphorePermit>,
    sent_after: u64,
}

impl Place {
    /// Lets the next one in; what the answer says can still be told.
    pub(crate) fn give_back(&mut self) {
        if let Some(permit) = self.permit.take() {
            self.host.give_back(permit);
        }
    }

    pub(crate) fn succeeded(&self) -> Option<Change> {
        let all_taken = self.host.places.available_permits() == 0;
        self.host
            .adapt(|pace| pace.succeeded(self.sent_after, all_taken))
    }

    pub(crate) fn limited(&self) -> Option<Change> {
        self.host.adapt(|pace| pace.limited(self.sent_after))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.give_back();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_burst_that_is_refused_is_one_sign() {
        let mut pace = Pace::new();
        assert_eq!(pace.limited(0), Some((16, 8)));
        // The others of the same burst.
        for _ in 0..15 {
            assert_eq!(pace.limited(0), None);
        }
        assert_eq!(pace.limited(1), Some((8, 4)));
        assert_eq!(pace.limited(2), Some((4, 2)));
        assert_eq!(pace.limited(3), Some((2, 1)));
        assert_eq!(pace.limited(4), None, "one is the least");
        assert_eq!(pace.allowed, 1);
    }

    #[test]
    fn a_round_of_successes_brings_one_more() {
        let mut pace = Pace::new();
        pace.limited(0);
        pace.limited(1);
        assert_eq!(pace.allowed, 4);
        let sent = pace.cuts;
        let changes: Vec<Change> = (0..4 + 5)
            .filter_map(|_| pace.succeeded(sent, true))
            .collect();
        assert_eq!(changes, [(4, 5), (5, 6)]);
        assert_eq!(pace.succeeded(sent - 1, true), None, "sent before the cut");
        for _ in 0..100 {
            assert_eq!(pace.succeeded(sent, false), None, "nobody had to wait");
        }
        for _ in 0..10_000 {
            pace.succeeded(sent, true);
        }
        assert_eq!(pace.allowed, MOST);
    }

    #[tokio::test]
    async fn places_go_when_they_are_given_back() {
        let limits = Limits::default();
        let mut taken = Vec::new();
        for _ in 0..START {
            taken.push(limits.place("h").await);
        }
        let host = Arc::clone(&taken[0].host);
        assert_eq!(taken[0].limited(), Some((16, 8)));
        assert_eq!(taken[1].limited(), None);
        taken.truncate(8);
        assert_eq!(host.places.available_permits(), 0, "eight are still taken");
        taken.truncate(7);
        assert_eq!(host.places.available_permits(), 1);
        taken.clear();
        assert_eq!(host.places.available_permits(), 8);
    }

    #[tokio::test]
    async fn who_stops_waiting_takes_no_place_along() {
        let limits = Limits::default();
        let mut taken = Vec::new();
        for _ in 0..START {
            taken.push(limits.place("h").await);
        }
        let waiting = tokio::time::timeout(Duration::from_millis(5), limits.place("h")).await;
        assert!(waiting.is_err());
        // Another host has places of its own.
        drop(limits.place("other").await);
        let host = Arc::clone(&taken[0].host);
        taken.clear();
        assert_eq!(host.places.available_permits(), START as usize);
    }
}
