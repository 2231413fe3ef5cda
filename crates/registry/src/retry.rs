//! Trying again: how often, after which pause, and how long a registry may make us wait.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Mutex;
use std::time::Duration;

use launchway_model::RegistryHost;
use tokio::time::Instant;

use crate::answer::Failure;
use crate::{ClientEvent, ErrorClass, RegistryError, RetryPolicy, moments};

/// How much longer a gate has to be closed than was told before, to be worth telling again.
const WORTH_TELLING: Duration = Duration::from_secs(1);
/// The longest random part of a pause that a registry asked for.
const STAGGER: Duration = Duration::from_secs(5);

/// Until when each host asked not to be spoken to. Shared by all calls, so that one throttled
/// answer holds back the others as well.
#[derive(Debug, Default)]
pub(crate) struct Gates(Mutex<HashMap<RegistryHost, Instant>>);

impl Gates {
    /// Closes a gate for so long; whether that is news.
    fn close(&self, host: &RegistryHost, wait: Duration) -> bool {
        let now = Instant::now();
        let until = later(now, wait);
        let mut gates = self.0.lock().expect("no holder of the gates panics");
        let before = gates.insert(host.clone(), until);
        match before {
            Some(before) if before > until => {
                gates.insert(host.clone(), before);
                false
            }
            Some(before) => before <= now || until > before + WORTH_TELLING,
            None => true,
        }
    }

    /// How long a host still wants to be left alone.
    pub(crate) fn left(&self, host: &RegistryHost) -> Duration {
        let gates = self.0.lock().expect("no holder of the gates panics");
        gates.get(host).map_or(Duration::ZERO, |until| {
            until.saturating_duration_since(Instant::now())
        })
    }
}

/// A moment that far ahead; waits beyond the clock's end are as good as a hundred years.
fn later(now: Instant, wait: Duration) -> Instant {
    const CENTURY: Duration = Duration::from_secs(100 * 365 * 24 * 3600);
    now + wait.min(CENTURY)
}

/// The tries of one call.
pub(crate) struct Tries<'a> {
    policy: &'a RetryPolicy,
    gates: &'a Gates,
    emit: &'a (dyn Fn(ClientEvent) + Send + Sync),
    host: &'a RegistryHost,
    request: String,
    made: u32,
    /// Failures since the last progress; what is held against `attempts`.
    failed: u32,
    /// How often the registry refused for being asked too much, without saying how long to wait.
    refused: u32,
    /// How long was waited because the registry asked for it.
    held_back: Duration,
}

impl<'a> Tries<'a> {
    pub(crate) fn new(
        policy: &'a RetryPolicy,
        gates: &'a Gates,
        emit: &'a (dyn Fn(ClientEvent) + Send + Sync),
        host: &'a RegistryHost,
        request: String,
    ) -> Self {
        Self {
            policy,
            gates,
            emit,
            host,
            request,
            made: 0,
            failed: 0,
            refused: 0,
            held_back: Duration::ZERO,
        }
    }

    /// Counts a try, after waiting for a host that asked for peace.
    pub(crate) async fn start(&mut self) -> Result<(), RegistryError> {
        loop {
            let left = self.gates.left(self.host);
            if left.is_zero() {
                break;
            }
            let asked = Failure::new(ErrorClass::Throttled, "the registry asked for a pause");
            self.hold_back(left, staggered(left, jitter()), &asked)
                .await?;
        }
        self.made += 1;
        Ok(())
    }

    /// The last try brought something: earlier failures no longer count.
    pub(crate) fn progressed(&mut self) {
        self.failed = 0;
        self.refused = 0;
    }

    /// Pauses as the failure wants it, or gives up.
    pub(crate) async fn again(&mut self, failure: Failure) -> Result<(), RegistryError> {
        if failure.not_sent {
            // Another call closed the gate before this try left; the next one waits before it.
            self.made -= 1;
            return Ok(());
        }
        if !failure.class.is_retryable() {
            return Err(self.give_up(failure));
        }
        let limited = failure.class == ErrorClass::Throttled;
        if !limited {
            self.failed += 1;
            if self.failed >= self.policy.attempts.max(1) {
                return Err(self.give_up(failure));
            }
        }
        if let Some(asked) = failure.wait {
            let wait = asked.max(self.shortest());
            let is_news = self.gates.close(self.host, wait);
            if is_news && self.held_back.saturating_add(wait) <= self.policy.throttle_deadline {
                self.tell_limit(wait, &failure);
            }
            return self
                .hold_back(wait, staggered(wait, jitter()), &failure)
                .await;
        }
        if limited {
            // Refusals for being asked too much are no failures: only the deadline ends them.
            self.refused += 1;
            let wait = back_off(self.shortest(), self.refused, jitter());
            if self.held_back.saturating_add(wait) <= self.policy.throttle_deadline {
                self.tell_pause(wait, &failure);
            }
            return self.hold_back(wait, wait, &failure).await;
        }
        let pause = pause_before(self.policy, self.failed, jitter());
        self.tell_pause(pause, &failure);
        tokio::time::sleep(pause).await;
        Ok(())
    }

    /// The error that this failure ends the call with.
    pub(crate) fn give_up(&self, failure: Failure) -> RegistryError {
        RegistryError {
            class: failure.class,
            request: self.request.clone(),
            status: failure.status,
            detail: failure.detail,
            attempts: self.made,
            narrower: failure.code,
        }
    }

    /// Waits because the registry limits us, as long as the deadline allows: it is `wait` that is held
    /// against the deadline, and `pause` that is slept.
    async fn hold_back(
        &mut self,
        wait: Duration,
        pause: Duration,
        failure: &Failure,
    ) -> Result<(), RegistryError> {
        let held_back = self.held_back.saturating_add(wait);
        if held_back > self.policy.throttle_deadline {
            let mut failure = failure.clone();
            let until = moments::shown(moments::after(wait));
            let limit = format!(
                "limited until {until}, and a call waits {} s at most",
                self.policy.throttle_deadline.as_secs()
            );
            failure.detail = if failure.detail.is_empty() {
                limit
            } else {
                format!("{}; {limit}", failure.detail)
            };
            return Err(self.give_up(failure));
        }
        self.held_back = held_back;
        tokio::time::sleep(pause).await;
        Ok(())
    }

    fn tell_pause(&self, pause: Duration, failure: &Failure) {
        (self.emit)(ClientEvent::Retry {
            request: self.request.clone(),
            pause,
            reason: reason(failure),
        });
    }

    fn tell_limit(&self, wait: Duration, failure: &Failure) {
        let left = self.policy.throttle_deadline.saturating_sub(self.held_back);
        (self.emit)(ClientEvent::Limited {
            host: self.host.clone(),
            until: moments::after(wait),
            gives_up: moments::after(left),
            reason: reason(failure),
        });
    }

    /// A registry that asks for no pause at all still gets one, so that nobody spins.
    fn shortest(&self) -> Duration {
        self.policy
            .pauses
            .first()
            .copied()
            .unwrap_or_default()
            .clamp(Duration::from_millis(1), Duration::from_secs(1))
    }
}

/// What came, in words.
pub(crate) fn reason(failure: &Failure) -> String {
    match failure.status {
        Some(status) if failure.detail.is_empty() => format!("answered {status}"),
        Some(status) => format!("answered {status}, {}", failure.detail),
        None => failure.detail.clone(),
    }
}

/// A pause that was asked for, and a tenth more at random: never less, and not all at once.
fn staggered(wait: Duration, jitter: f64) -> Duration {
    wait.saturating_add((wait / 10).min(STAGGER).mul_f64(jitter))
}

/// The pause after so many refusals in a row: twice as long each time, up to 64 times the shortest;
/// half of it at random.
fn back_off(shortest: Duration, refused: u32, jitter: f64) -> Duration {
    let longest = shortest * (1 << (refused.max(1) - 1).min(6));
    longest.mul_f64(0.5 + 0.5 * jitter)
}

/// The pause after the given number of failures; `jitter` is between 0 and 1.
fn pause_before(policy: &RetryPolicy, failures: u32, jitter: f64) -> Duration {
    let at = (failures.max(1) - 1) as usize;
    let pause = policy
        .pauses
        .get(at)
        .or(policy.pauses.last())
        .copied()
        .unwrap_or_default();
    pause.mul_f64(0.9 + 0.2 * jitter)
}

/// A number between 0 and 1. The standard library seeds its hash maps at random; that is random enough here.
fn jitter() -> f64 {
    let random = RandomState::new().hash_one(0_u8);
    f64::from((random >> 32) as u32) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_follow_the_policy() {
        let seconds = |list: &[u64]| RetryPolicy {
            pauses: list.iter().map(|s| Duration::from_secs(*s)).collect(),
            ..RetryPolicy::default()
        };
        for (pauses, failures, jitter, want) in [
            (&[10, 30][..], 1, 0.5, 10.0),
            (&[10, 30], 2, 0.5, 30.0),
            (&[10, 30], 9, 0.5, 30.0),
            (&[10], 1, 0.0, 9.0),
            (&[10], 1, 1.0, 11.0),
            (&[], 1, 0.5, 0.0),
        ] {
            let pause = pause_before(&seconds(pauses), failures, jitter);
            assert!((pause.as_secs_f64() - want).abs() < 1e-6, "{pause:?}");
        }
        let jitter = jitter();
        assert!((0.0..=1.0).contains(&jitter));
    }

    #[test]
    fn asked_pauses_are_never_shortened_and_refusals_back_off() {
        let seconds = Duration::from_secs;
        for (wait, jitter, want) in [
            (seconds(10), 0.0, seconds(10)),
            (seconds(10), 1.0, seconds(11)),
            (seconds(600), 1.0, seconds(605)),
        ] {
            assert_eq!(staggered(wait, jitter), want);
        }
        for (refused, jitter, want) in [
            (1, 1.0, seconds(1)),
            (1, 0.0, Duration::from_millis(500)),
            (3, 1.0, seconds(4)),
            (99, 1.0, seconds(64)),
        ] {
            assert_eq!(back_off(seconds(1), refused, jitter), want);
        }
    }

    #[test]
    fn a_closed_gate_is_told_once() {
        let gates = Gates::default();
        let host: RegistryHost = "a.io".parse().unwrap();
        assert!(gates.close(&host, Duration::from_secs(60)));
        assert!(!gates.close(&host, Duration::from_secs(60)), "the burst");
        assert!(!gates.close(&host, Duration::from_secs(1)));
        assert!(gates.left(&host) > Duration::from_secs(50));
        assert!(gates.close(&host, Duration::MAX));
        let other = "b.io".parse().unwrap();
        assert_eq!(gates.left(&other), Duration::ZERO);
    }
}
