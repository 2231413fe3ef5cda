//! Trying again: how often, after which pause, and how long a registry may make us wait.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Mutex;
use std::time::Duration;

use jiff::{Span, Timestamp};
use launchway_model::RegistryHost;
use tokio::time::Instant;

use crate::answer::Failure;
use crate::{ClientEvent, ErrorClass, RegistryError, RetryPolicy};

/// Until when each host asked not to be spoken to. Shared by all calls, so that one throttled
/// answer holds back the others as well.
#[derive(Debug, Default)]
pub(crate) struct Gates(Mutex<HashMap<RegistryHost, Instant>>);

impl Gates {
    fn close(&self, host: &RegistryHost, wait: Duration) {
        let until = Instant::now() + wait;
        let mut gates = self.0.lock().expect("no holder of the gates panics");
        let gate = gates.entry(host.clone()).or_insert(until);
        *gate = (*gate).max(until);
    }

    fn left(&self, host: &RegistryHost) -> Duration {
        let gates = self.0.lock().expect("no holder of the gates panics");
        gates.get(host).map_or(Duration::ZERO, |until| {
            until.saturating_duration_since(Instant::now())
        })
    }
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
            self.hold_back(left, &throttled("the registry asked for a pause"))
                .await?;
        }
        self.made += 1;
        Ok(())
    }

    /// The last try brought something: earlier failures no longer count.
    pub(crate) fn progressed(&mut self) {
        self.failed = 0;
    }

    /// Pauses as the failure wants it, or gives up.
    pub(crate) async fn again(&mut self, failure: Failure) -> Result<(), RegistryError> {
        if !failure.class.is_retryable() {
            return Err(self.give_up(failure));
        }
        if let Some(wait) = failure.wait
            && failure.class == ErrorClass::Throttled
        {
            let wait = wait.max(self.shortest());
            self.gates.close(self.host, wait);
            return self.hold_back(wait, &failure).await;
        }
        self.failed += 1;
        if self.failed >= self.policy.attempts.max(1) {
            return Err(self.give_up(failure));
        }
        let pause = pause_before(self.policy, self.failed, jitter());
        let pause = match failure.wait {
            Some(asked) => pause.max(asked.min(self.policy.throttle_deadline)),
            None => pause,
        };
        self.tell(pause, &failure);
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
        }
    }

    /// Waits because the registry asked for it, as long as the deadline allows.
    async fn hold_back(&mut self, wait: Duration, failure: &Failure) -> Result<(), RegistryError> {
        if self.held_back + wait > self.policy.throttle_deadline {
            let until = until(wait);
            let mut failure = failure.clone();
            failure.detail = if failure.detail.is_empty() {
                format!("the registry accepts no requests until {until}")
            } else {
                format!(
                    "{}; the registry accepts no requests until {until}",
                    failure.detail
                )
            };
            return Err(self.give_up(failure));
        }
        self.held_back += wait;
        self.tell(wait, failure);
        tokio::time::sleep(wait).await;
        Ok(())
    }

    fn tell(&self, pause: Duration, failure: &Failure) {
        let reason = match failure.status {
            Some(status) if failure.detail.is_empty() => format!("answered {status}"),
            Some(status) => format!("answered {status}, {}", failure.detail),
            None => failure.detail.clone(),
        };
        (self.emit)(ClientEvent::Retry {
            request: self.request.clone(),
            pause,
            reason,
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

fn throttled(detail: &str) -> Failure {
    Failure::new(ErrorClass::Throttled, detail)
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

/// The moment after a wait, for people.
fn until(wait: Duration) -> String {
    let seconds = i64::try_from(wait.as_secs()).unwrap_or(i64::MAX);
    let then = Span::new()
        .try_seconds(seconds)
        .and_then(|span| Timestamp::now().checked_add(span));
    match then {
        Ok(then) => then.strftime("%Y-%m-%d %H:%M:%S UTC").to_string(),
        Err(_) => format!("{seconds} seconds from now"),
    }
}

/// Reads `Retry-After`: seconds, or an HTTP date (RFC 9110 section 10.2.3).
pub(crate) fn retry_after(value: &str, now: Timestamp) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let then = jiff::fmt::rfc2822::parse(value).ok()?.timestamp();
    Some(Duration::try_from(then.duration_since(now)).unwrap_or_default())
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
    fn retry_after_is_seconds_or_a_date() {
        let now: Timestamp = "2026-01-02T03:04:05Z".parse().unwrap();
        let seconds = |s| Some(Duration::from_secs(s));
        for (value, want) in [
            ("7", seconds(7)),
            (" 0 ", seconds(0)),
            ("Fri, 02 Jan 2026 03:05:05 GMT", seconds(60)),
            ("Fri, 02 Jan 2026 03:00:00 GMT", seconds(0)),
            ("soon", None),
            ("-1", None),
            ("", None),
        ] {
            assert_eq!(retry_after(value, now), want, "{value}");
        }
    }
}
