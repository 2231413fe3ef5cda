//! What builds do about the cache by themselves: a bound on its age, its size, and the disk.
//!
//! The state folder belongs to the machine and not to one project, so the bounds come from the
//! environment and not from launchway.toml.

use std::path::Path;
use std::time::{Duration, SystemTime};

use launchway_engine::collect::{Freed, Inventory, Policy, decide, inventory, remove};

use crate::failure::Failure;
use crate::quantity::{Amount, age, amount};
use crate::report::text;
use crate::settings::Settings;
use crate::toolbox::Builder;

/// How often everything is looked at, when the disk has room.
const LOOK_EVERY: Duration = Duration::from_secs(24 * 3600);
/// What was used so lately stays, whatever the bounds say: a full disk must not make each build throw
/// away what the one before it made.
const SPARE: Duration = Duration::from_secs(3600);

const AGE: &str = "LAUNCHWAY_CACHE_MAX_AGE";
const SIZE: &str = "LAUNCHWAY_CACHE_MAX_SIZE";
const FREE: &str = "LAUNCHWAY_CACHE_MIN_FREE";

/// The bounds; one that is absent was turned off.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Bounds {
    pub(crate) max_age: Option<Duration>,
    pub(crate) max_size: Option<Amount>,
    pub(crate) min_free: Option<Amount>,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            max_age: Some(Duration::from_secs(30 * 24 * 3600)),
            max_size: Some(Amount::Share(50.0)),
            // A tenth of a large disk is more than a build needs.
            min_free: Some(Amount::ShareUpTo(10.0, 10_000_000_000)),
        }
    }
}

/// Bytes of the disk on which the state folder is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Disk {
    pub(crate) total: u64,
    pub(crate) free: u64,
}

pub(crate) fn disk(path: &Path) -> std::io::Result<Disk> {
    let disk = rustix::fs::statvfs(path)?;
    Ok(Disk {
        total: disk.f_blocks * disk.f_frsize,
        free: disk.f_bavail * disk.f_frsize,
    })
}

/// The bounds that the environment sets.
pub(crate) fn bounds(settings: &Settings) -> Result<Bounds, Failure> {
    let usual = Bounds::default();
    fn of<T>(
        settings: &Settings,
        name: &str,
        usual: Option<T>,
        parse: fn(&str) -> Result<T, String>,
    ) -> Result<Option<T>, Failure> {
        match settings.variable(name).map(|value| value.to_string_lossy()) {
            None => Ok(usual),
            Some(text) if text == "off" => Ok(None),
            Some(text) => parse(&text).map(Some).map_err(|why| {
                Failure::usage(
                    format!("{name} is {text:?}"),
                    format!("{why}, or off for no bound"),
                )
            }),
        }
    }
    Ok(Bounds {
        max_age: of(settings, AGE, usual.max_age, age)?,
        max_size: of(settings, SIZE, usual.max_size, amount)?,
        min_free: of(settings, FREE, usual.min_free, amount)?,
    })
}

/// What goes by the bounds. Without `whole` only the room on the disk is looked after.
pub(crate) fn policy(bounds: Bounds, disk: Disk, whole: bool) -> Policy {
    let seconds = |age: Duration| i64::try_from(age.as_secs()).unwrap_or(i64::MAX);
    let lacking = bounds
        .min_free
        .map(|free| free.of(disk.total).saturating_sub(disk.free));
    Policy {
        older_than: bounds.max_age.filter(|_| whole).map(seconds),
        keep_size: bounds
            .max_size
            .filter(|_| whole)
            .map(|size| size.of(disk.total)),
        free_bytes: lacking.filter(|bytes| *bytes > 0),
        spare: Some(seconds(SPARE)),
        ..Policy::default()
    }
}

/// Makes room before a build, when the disk lacks it.
pub(crate) fn before(builder: &Builder, settings: &Settings) -> Result<(), Failure> {
    let bounds = bounds(settings)?;
    tidy(builder, bounds, false, settings);
    Ok(())
}

/// Looks after the bounds once a day, at the end of a build.
pub(crate) fn after(builder: &Builder, settings: &Settings) {
    let Ok(bounds) = bounds(settings) else {
        return;
    };
    let stamp = builder.state.join("tidied");
    let is_due = match std::fs::metadata(&stamp).and_then(|metadata| metadata.modified()) {
        // A time to come is that of a clock which was wrong.
        Ok(time) => SystemTime::now()
            .duration_since(time)
            .map_or(true, |since| since >= LOOK_EVERY),
        Err(_) => true,
    };
    tidy(builder, bounds, is_due, settings);
    if is_due {
        // Without the stamp it is only looked again sooner.
        let _ = std::fs::write(&stamp, "");
    }
}

/// A build does not fail because of its cache: trouble is told.
fn tidy(builder: &Builder, bounds: Bounds, whole: bool, settings: &Settings) {
    match try_tidy(builder, bounds, whole) {
        Ok(None) => {}
        Ok(Some(freed)) if freed.removed.is_empty() => {}
        Ok(Some(freed)) => {
            if !matches!(settings.progress, crate::commands::Progress::Quiet) {
                let things = text::count(freed.removed.len(), "thing", "things");
                eprintln!(
                    "note: freed {} of the cache: {things} ({})",
                    text::size(freed.bytes()),
                    why(&freed)
                );
            }
        }
        Err(error) => {
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            let cause = cause.map(|cause| format!(": {cause}")).unwrap_or_default();
            eprintln!("warning: the cache could not be tidied: {error}{cause}");
        }
    }
}

fn why(freed: &Freed) -> &'static str {
    use launchway_engine::collect::Reason;
    let has = |wanted: fn(&Reason) -> bool| freed.removed.iter().any(|one| wanted(&one.why));
    match (
        has(|why| matches!(why, Reason::Unused(_))),
        has(|why| matches!(why, Reason::Space)),
    ) {
        (true, false) => "not used for long",
        (false, true) => "to make room",
        (true, true) => "not used for long, and to make room",
        (false, false) => "of no use any more",
    }
}

fn try_tidy(
    builder: &Builder,
    bounds: Bounds,
    whole: bool,
) -> Result<Option<Freed>, launchway_engine::EngineError> {
    let Ok(disk) = disk(&builder.state) else {
        return Ok(None);
    };
    let policy = policy(bounds, disk, whole);
    let has_rule =
        policy.older_than.is_some() || policy.keep_size.is_some() || policy.free_bytes.is_some();
    if !has_rule {
        return Ok(None);
    }
    let engine = builder.state.join("engine");
    let Inventory { items, .. } = inventory(&builder.store, &engine)?;
    let removals = decide(&items, &policy, now());
    remove(&builder.store, &engine, &items, removals).map(Some)
}

/// Seconds since 1970.
pub(crate) fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_become_rules() {
        let bounds = Bounds::default();
        let disk = |free| Disk { total: 1_000, free };
        let day = 24 * 3600;
        for (bounds, disk, whole, want) in [
            (bounds, disk(500), false, (None, None, None)),
            (bounds, disk(100), false, (None, None, None)),
            (bounds, disk(99), false, (None, None, Some(1))),
            (bounds, disk(500), true, (Some(30 * day), Some(500), None)),
            (
                bounds,
                disk(40),
                true,
                (Some(30 * day), Some(500), Some(60)),
            ),
            (
                Bounds {
                    max_age: None,
                    max_size: None,
                    min_free: None,
                },
                disk(0),
                true,
                (None, None, None),
            ),
            (
                Bounds {
                    min_free: Some(Amount::Bytes(300)),
                    ..bounds
                },
                disk(100),
                false,
                (None, None, Some(200)),
            ),
        ] {
            let policy = policy(bounds, disk, whole);
            assert_eq!(
                (policy.older_than, policy.keep_size, policy.free_bytes),
                want
            );
            assert_eq!(policy.spare, Some(3_600));
            assert!(!policy.all && policy.kinds.is_empty());
        }
    }
}
