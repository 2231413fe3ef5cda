//! What the registry client tells, in words: pauses, limits, quotas and failing mirrors. Requests
//! and progress are for the other views.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use launchway_registry::ClientEvent;

use super::plain;
use super::story::{Entry, Mark, entry};
use super::text::{clean, pause};

/// Tells on stderr, for commands without a view of their own: what they wait for must not stay
/// unsaid.
pub(crate) fn notes(colour: bool, quiet: bool) -> Arc<dyn Fn(ClientEvent) + Send + Sync> {
    Arc::new(move |event| {
        for entry in entries(&event) {
            let line = if quiet {
                plain::quiet_line(&entry, colour)
            } else {
                plain::line(&entry, colour)
            };
            if let Some(line) = line {
                eprintln!("{line}");
            }
        }
    })
}

pub(super) fn entries(event: &ClientEvent) -> Vec<Entry> {
    let (mark, text) = match event {
        ClientEvent::Retry {
            request,
            pause: waits,
            reason,
        } => (
            Mark::Note,
            format!(
                "{}: pause {}: {}",
                clean(request),
                pause(*waits),
                clean(reason)
            ),
        ),
        ClientEvent::Limited {
            host,
            until,
            gives_up,
            reason,
        } => (
            Mark::Warning,
            format!(
                "{host} limits requests: waiting until {} (at most until {}): {}",
                moment(*until),
                moment(*gives_up),
                clean(reason)
            ),
        ),
        ClientEvent::Concurrency { host, from, to } if to < from => (
            Mark::Note,
            format!("{host}: at most {to} requests at a time now, {from} were too many"),
        ),
        ClientEvent::Quota {
            host,
            limit,
            remaining,
            window,
            low,
        } => {
            let over = window.map_or(String::new(), |window| format!(" in {}", span(window)));
            let text = format!("{host}: {remaining} of {limit} requests{over} left");
            if *low {
                let help = "log in or use a mirror (--mirror) for more";
                (Mark::Warning, format!("warning: {text}; {help}"))
            } else {
                (Mark::Note, text)
            }
        }
        ClientEvent::MirrorRests {
            mirror,
            until,
            reason,
        } => (
            Mark::Note,
            format!(
                "mirror {mirror} is passed over until {}: {}",
                moment(*until),
                clean(reason)
            ),
        ),
        ClientEvent::Concurrency { .. }
        | ClientEvent::Request { .. }
        | ClientEvent::BlobProgress { .. } => return Vec::new(),
    };
    vec![entry("", mark, text)]
}

/// A time of the near future.
fn moment(time: Timestamp) -> String {
    time.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

/// A window that a registry counts over, in its largest whole unit.
fn span(window: Duration) -> String {
    let seconds = window.as_secs();
    match seconds {
        0 => pause(window),
        _ if seconds.is_multiple_of(3600) => format!("{} h", seconds / 3600),
        _ if seconds.is_multiple_of(60) => format!("{} min", seconds / 60),
        _ => format!("{seconds} s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(event: &ClientEvent, want: &[&str]) {
        let lines: Vec<String> = entries(event).into_iter().map(|e| e.text).collect();
        assert_eq!(lines, want, "{event:?}");
    }

    #[test]
    fn what_the_client_tells_in_words() {
        let host = || "docker.io".parse().unwrap();
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        check(
            &ClientEvent::Limited {
                host: host(),
                until: at("2026-01-02T03:04:05Z"),
                gives_up: at("2026-01-02T03:15:05Z"),
                reason: "answered 429, TOOMANYREQUESTS: pull\u{1b}[1m rate".to_owned(),
            },
            &[
                "docker.io limits requests: waiting until 2026-01-02 03:04:05 UTC (at most until \
                 2026-01-02 03:15:05 UTC): answered 429, TOOMANYREQUESTS: pull rate",
            ],
        );
        for (from, to, want) in [
            (
                16,
                8,
                &["docker.io: at most 8 requests at a time now, 16 were too many"][..],
            ),
            (8, 9, &[]),
        ] {
            let host = host();
            check(&ClientEvent::Concurrency { host, from, to }, want);
        }
        for (remaining, window, low, want) in [
            (
                76,
                Some(21_600),
                false,
                "docker.io: 76 of 100 requests in 6 h left",
            ),
            (
                9,
                Some(90),
                true,
                "warning: docker.io: 9 of 100 requests in 90 s left; log in or use a mirror \
                 (--mirror) for more",
            ),
            (50, None, false, "docker.io: 50 of 100 requests left"),
        ] {
            check(
                &ClientEvent::Quota {
                    host: host(),
                    limit: 100,
                    remaining,
                    window: window.map(Duration::from_secs),
                    low,
                },
                &[want],
            );
        }
        check(
            &ClientEvent::MirrorRests {
                mirror: "m.lan:5000".parse().unwrap(),
                until: at("2026-01-02T03:04:05Z"),
                reason: "no answer in time".to_owned(),
            },
            &["mirror m.lan:5000 is passed over until 2026-01-02 03:04:05 UTC: no answer in time"],
        );
    }
}
