//! Times as registries write them and as people read them.

use std::time::Duration;

use jiff::civil::DateTime;
use jiff::fmt::strtime::BrokenDownTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

/// Reads `Retry-After`: seconds, or an HTTP date (RFC 9110 section 10.2.3).
pub(crate) fn retry_after(value: &str, now: Timestamp) -> Option<Duration> {
    let value = value.trim();
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        // More digits than fit are a very long time.
        return Some(Duration::from_secs(value.parse().unwrap_or(u64::MAX)));
    }
    let then = http_date(value)?;
    Some(Duration::try_from(then.duration_since(now)).unwrap_or_default())
}

/// The three forms that RFC 9110 section 5.6.7 has a reader accept. The day of the week says
/// nothing that the date does not say, and is not looked at.
fn http_date(value: &str) -> Option<Timestamp> {
    if let Ok(zoned) = jiff::fmt::rfc2822::parse(value) {
        return Some(zoned.timestamp());
    }
    let (day, rest) = value.split_once(' ')?;
    let format = if day.ends_with(',') {
        "%d-%b-%y %H:%M:%S GMT"
    } else {
        "%b %d %H:%M:%S %Y"
    };
    let rest = rest.split_whitespace().collect::<Vec<_>>().join(" ");
    let parsed: DateTime = BrokenDownTime::parse(format, &rest)
        .and_then(|time| time.to_datetime())
        .ok()?;
    let zoned = parsed.to_zoned(TimeZone::UTC).ok()?;
    Some(zoned.timestamp())
}

/// The moment after a wait. One beyond all calendars is the last there is.
pub(crate) fn after(wait: Duration) -> Timestamp {
    SignedDuration::try_from(wait)
        .ok()
        .and_then(|wait| Timestamp::now().checked_add(wait).ok())
        .unwrap_or(Timestamp::MAX)
}

/// A moment, for people.
pub(crate) fn shown(moment: Timestamp) -> String {
    moment.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now: Timestamp = "2026-01-02T03:04:05Z".parse().unwrap();
        let seconds = |s| Some(Duration::from_secs(s));
        for (value, want) in [
            ("7", seconds(7)),
            (" 0 ", seconds(0)),
            ("99999999999999999999999", seconds(u64::MAX)),
            ("Fri, 02 Jan 2026 03:05:05 GMT", seconds(60)),
            ("Fri, 02 Jan 2026 03:00:00 GMT", seconds(0)),
            ("Friday, 02-Jan-26 03:05:05 GMT", seconds(60)),
            ("Fri Jan  2 03:05:05 2026", seconds(60)),
            ("Fri Jan 12 03:04:05 2026", seconds(10 * 24 * 3600)),
            // The wrong day of the week.
            ("Monday, 02-Jan-26 03:05:05 GMT", seconds(60)),
            ("soon", None),
            ("soon or later", None),
            ("-1", None),
            ("1.5", None),
            ("", None),
        ] {
            assert_eq!(retry_after(value, now), want, "{value}");
        }
    }

    #[test]
    fn any_wait_has_an_end() {
        assert_eq!(after(Duration::MAX), Timestamp::MAX);
        assert_eq!(
            shown("2026-01-02T03:04:05.6Z".parse().unwrap()),
            "2026-01-02 03:04:05 UTC"
        );
    }
}
