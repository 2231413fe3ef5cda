//! What registries tell about their quotas: `RateLimit-Limit: 100;w=21600` and
//! `RateLimit-Remaining: 76;w=21600`, as Docker Hub answers to requests for manifests
//! (docs.docker.com, "Docker Hub usage and limits").

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use http::HeaderMap;

/// A quota is low when a tenth of it or less is left.
const LOW: u64 = 10;

/// What is left of a quota.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Quota {
    pub(crate) limit: u64,
    pub(crate) remaining: u64,
    pub(crate) window: Option<Duration>,
}

impl Quota {
    fn read(headers: &HeaderMap) -> Option<Self> {
        let header = |name: &str| headers.get(name)?.to_str().ok();
        let (limit, window) = parse(header("ratelimit-limit")?)?;
        let (remaining, own_window) = parse(header("ratelimit-remaining")?)?;
        Some(Self {
            limit,
            remaining,
            window: window.or(own_window),
        })
    }

    fn level(&self) -> Level {
        if self.remaining == 0 {
            Level::Spent
        } else if self.is_low() {
            Level::Low
        } else {
            Level::Plenty
        }
    }

    pub(crate) fn is_low(&self) -> bool {
        self.remaining <= self.limit / LOW
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    Plenty,
    Low,
    Spent,
}

/// What was last told about each host.
#[derive(Debug, Default)]
pub(crate) struct Quotas(Mutex<HashMap<String, Level>>);

impl Quotas {
    /// Takes in an answer; gives what is worth telling.
    pub(crate) fn watch(&self, authority: &str, headers: &HeaderMap) -> Option<Quota> {
        let quota = Quota::read(headers)?;
        let level = quota.level();
        let mut told = self.0.lock().expect("no holder of the quotas panics");
        // A new window starts over in silence.
        let before = told.insert(authority.to_owned(), level);
        before.is_none_or(|before| level > before).then_some(quota)
    }
}

/// A number with parameters, the first of a list.
fn parse(value: &str) -> Option<(u64, Option<Duration>)> {
    let first = value.split(',').next().unwrap_or_default();
    let mut parts = first.split(';').map(str::trim);
    let number = parts.next()?.parse().ok()?;
    let window = parts
        .filter_map(|part| part.split_once('='))
        .find(|(name, _)| name.trim() == "w")
        .and_then(|(_, seconds)| seconds.trim().parse().ok())
        .map(Duration::from_secs);
    Some((number, window))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read() {
        let seconds = |s| Some(Duration::from_secs(s));
        for (value, want) in [
            ("100;w=21600", Some((100, seconds(21_600)))),
            (" 76 ; w = 60 ", Some((76, seconds(60)))),
            ("100", Some((100, None))),
            ("100;w=soon", Some((100, None))),
            ("10, 100;w=60", Some((10, None))),
            ("many", None),
            ("-1", None),
            ("", None),
        ] {
            assert_eq!(parse(value), want, "{value}");
        }
    }

    #[test]
    fn told_first_and_when_little_is_left() {
        let quotas = Quotas::default();
        let headers = |remaining: u64| {
            HeaderMap::from_iter([
                (
                    http::HeaderName::from_static("ratelimit-limit"),
                    "100;w=21600".parse().unwrap(),
                ),
                (
                    http::HeaderName::from_static("ratelimit-remaining"),
                    format!("{remaining};w=21600").parse().unwrap(),
                ),
            ])
        };
        for (remaining, told) in [
            (76, true),
            (75, false),
            (11, false),
            (10, true),
            (9, false),
            (0, true),
            (0, false),
            // The window is over.
            (99, false),
            (5, true),
        ] {
            let quota = quotas.watch("h", &headers(remaining));
            assert_eq!(quota.is_some(), told, "{remaining}");
            if let Some(quota) = quota {
                assert_eq!(quota.is_low(), remaining <= 10);
                assert_eq!(quota.window, Some(Duration::from_secs(21_600)));
            }
        }
        assert!(quotas.watch("other", &headers(50)).is_some());
        assert_eq!(quotas.watch("h", &HeaderMap::new()), None);
    }
}
