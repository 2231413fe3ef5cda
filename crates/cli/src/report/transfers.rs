//! What travels, as lines for logs: how far something large is, now and then, and that it has come. The
//! live view shows the same as it goes.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use launchway_registry::{ClientEvent, Direction};

use super::story::{Entry, Mark, entry};
use super::text::{duration, size};

/// How often it is told how far a transfer is. What is over sooner is not told of.
const EVERY: Duration = Duration::from_secs(3);
/// A blob of so many bytes has a line when it has come; smaller ones have one when they took long.
const WORTH_A_LINE: u64 = 1_000_000;

/// What is under way, by the repository, and whether it is a pull.
#[derive(Debug, Default)]
pub(crate) struct Transfers(BTreeMap<(String, bool), Transfer>);

#[derive(Debug)]
struct Transfer {
    blobs: BTreeMap<String, Blob>,
    /// When it began, or was last told of.
    told: Instant,
}

#[derive(Debug)]
struct Blob {
    done: u64,
    total: u64,
    began: Instant,
}

impl Transfers {
    pub(crate) fn tell(&mut self, event: &ClientEvent, now: Instant) -> Option<Entry> {
        let ClientEvent::BlobProgress {
            repository,
            digest,
            direction,
            done,
            total,
        } = event
        else {
            return None;
        };
        let is_pull = *direction == Direction::Pull;
        let key = (repository.to_string(), is_pull);
        let transfer = self.0.entry(key.clone()).or_insert_with(|| Transfer {
            blobs: BTreeMap::new(),
            told: now,
        });
        let blob = transfer
            .blobs
            .entry(digest.to_string())
            .or_insert_with(|| Blob {
                done: 0,
                total: 0,
                began: now,
            });
        (blob.done, blob.total) = (*done, *total);
        if done < total {
            if now.saturating_duration_since(transfer.told) < EVERY {
                return None;
            }
            transfer.told = now;
            let verb = if is_pull { "pulling" } else { "pushing" };
            let text = format!(
                "{verb} {repository}: {} of {}",
                size(transfer.blobs.values().map(|blob| blob.done).sum()),
                size(transfer.blobs.values().map(|blob| blob.total).sum())
            );
            return Some(entry("", Mark::Start, text));
        }
        let took = now.saturating_duration_since(blob.began);
        if transfer.blobs.values().all(|blob| blob.done >= blob.total) {
            self.0.remove(&key);
        }
        // Pushes have lines of their own, with what was there already.
        (is_pull && (*total >= WORTH_A_LINE || took >= EVERY)).then(|| {
            let text = format!(
                "pulled {repository} {}: {} {}",
                digest.short(),
                size(*total),
                duration(took)
            );
            entry("", Mark::Done, text)
        })
    }
}

#[cfg(test)]
mod tests {
    use launchway_model::{Digest, RegistryHost, Repository};

    use super::*;

    #[test]
    fn large_pulls_are_told_of_now_and_then_and_at_their_end() {
        use Direction::{Pull, Push};

        let host: RegistryHost = "ghcr.io".parse().unwrap();
        let repository = Repository::new(host, "me/box").unwrap();
        let mut transfers = Transfers::default();
        let began = Instant::now();
        let mut tell = |seconds: u64, blob: u8, direction, done, total| {
            let event = ClientEvent::BlobProgress {
                repository: repository.clone(),
                digest: Digest::sha256([blob; 32]),
                direction,
                done,
                total,
            };
            let now = began + Duration::from_secs(seconds);
            transfers.tell(&event, now).map(|entry| entry.text)
        };
        let mut lines = Vec::new();
        for (seconds, blob, direction, done, total) in [
            (0, 1, Pull, 0, 900),
            // Small, and there at once.
            (0, 1, Pull, 900, 900),
            (0, 2, Pull, 0, 40_000_000),
            (1, 3, Pull, 0, 2_000_000),
            (2, 2, Pull, 10_000_000, 40_000_000),
            (3, 3, Pull, 1_000_000, 2_000_000),
            (4, 3, Pull, 2_000_000, 2_000_000),
            (4, 2, Pull, 11_000_000, 40_000_000),
            (7, 2, Pull, 38_000_000, 40_000_000),
            (8, 2, Pull, 40_000_000, 40_000_000),
            (9, 4, Push, 1, 5_000_000),
            (15, 4, Push, 2_000_000, 5_000_000),
            (16, 4, Push, 5_000_000, 5_000_000),
        ] {
            lines.extend(tell(seconds, blob, direction, done, total));
        }
        assert_eq!(
            lines,
            [
                "pulling ghcr.io/me/box: 11.0 MB of 42.0 MB",
                "pulled ghcr.io/me/box 030303030303: 2.0 MB 3.0s",
                "pulling ghcr.io/me/box: 40.0 MB of 42.0 MB",
                "pulled ghcr.io/me/box 020202020202: 40.0 MB 8.0s",
                "pushing ghcr.io/me/box: 2.0 MB of 5.0 MB",
            ]
        );
    }
}
