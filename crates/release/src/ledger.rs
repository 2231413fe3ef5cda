//! The ledger of a family: what each registry still lacks of each release, as far as this machine
//! has seen it.
//!
//! The registries alone say what is there, and a plan asks them. The ledger is for people: it
//! reminds them of a release that one registry never got whole, also when they go on to the next.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use launchway_manifest::RegistryPrefix;
use launchway_model::Reference;
use launchway_plan::{Plan, concerned};
use serde::{Deserialize, Serialize};

const SCHEMA: &str = "launchway.ledger.v1";

/// What one registry lacks of one release.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// As in the family file, such as `ghcr.io/me`.
    pub registry: String,
    pub version: String,
    /// When it was first found lacking, RFC 3339.
    pub since: String,
    /// What kept the last run from finishing it.
    pub why: String,
    pub references: BTreeSet<String>,
}

/// What came of one registry in one run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lack {
    pub registry: String,
    pub why: String,
    pub references: BTreeSet<Reference>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    entries: Vec<Entry>,
}

#[derive(Serialize, Deserialize)]
struct Wire {
    schema: String,
    entries: Vec<Entry>,
}

impl Ledger {
    /// The ledger of a family, empty when there is none. One that cannot be read is taken for
    /// empty: it is no more than a reminder, and the next run writes it anew.
    pub fn load(state: &Path, family: &str) -> Self {
        let wire = fs::read(path(state, family))
            .ok()
            .and_then(|bytes| serde_json::from_slice::<Wire>(&bytes).ok());
        let entries = wire.filter(|wire| wire.schema == SCHEMA);
        Self {
            entries: entries.map(|wire| wire.entries).unwrap_or_default(),
        }
    }

    /// Writes the ledger; it is never seen half-written.
    pub fn save(&self, state: &Path, family: &str) -> io::Result<()> {
        let path = path(state, family);
        if self.entries.is_empty() {
            return match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            };
        }
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let wire = Wire {
            schema: SCHEMA.to_owned(),
            entries: self.entries.clone(),
        };
        let bytes = serde_json::to_vec_pretty(&wire).map_err(io::Error::other)?;
        let partial = path.with_extension("part");
        fs::write(&partial, bytes)?;
        fs::rename(partial, path)
    }

    /// Takes in how a run of a release ended: what the plan is about and `lacks` does not name
    /// stands where it should. What other runs were about is left as it is; a run of the whole
    /// family is about everything, though it has no use for parts whose images are complete.
    pub fn settle(&mut self, plan: &Plan, lacks: &[Lack], now: &str) {
        let Some(version) = plan.version.as_ref().map(ToString::to_string) else {
            return;
        };
        let request = &plan.graph.request;
        let is_whole = request.only.is_none() && request.images.is_none();
        for (at, registry) in plan.registries.iter().enumerate() {
            let registry = registry.to_string();
            let lack = lacks.iter().find(|lack| lack.registry == registry);
            if is_whole {
                self.settle_one(&registry, &version, None, lack, now);
                continue;
            }
            let settled: BTreeSet<String> = concerned(plan, at)
                .iter()
                .map(ToString::to_string)
                .collect();
            self.settle_one(&registry, &version, Some(&settled), lack, now);
        }
    }

    /// `settled` is what the run was about; none for everything.
    fn settle_one(
        &mut self,
        registry: &str,
        version: &str,
        settled: Option<&BTreeSet<String>>,
        lack: Option<&Lack>,
        now: &str,
    ) {
        let is_it = |entry: &Entry| entry.registry == registry && entry.version == version;
        let before = self.entries.iter().find(|entry| is_it(entry)).cloned();
        self.entries.retain(|entry| !is_it(entry));
        let mut references: BTreeSet<String> = match (&before, settled) {
            (Some(before), Some(settled)) => {
                before.references.difference(settled).cloned().collect()
            }
            _ => BTreeSet::new(),
        };
        references.extend(
            lack.iter()
                .flat_map(|lack| lack.references.iter().map(ToString::to_string)),
        );
        if references.is_empty() {
            return;
        }
        let why = lack.map(|lack| lack.why.clone());
        let why = why.or_else(|| before.as_ref().map(|before| before.why.clone()));
        self.entries.push(Entry {
            registry: registry.to_owned(),
            version: version.to_owned(),
            since: before.map_or_else(|| now.to_owned(), |before| before.since),
            why: why.unwrap_or_default(),
            references,
        });
        let order = |entry: &Entry| (entry.registry.clone(), entry.since.clone());
        self.entries.sort_by_key(order);
    }

    /// What these registries lack, apart from one release. Registries that the family was
    /// published to before are nobody's business any more.
    pub fn besides<'a>(
        &'a self,
        version: Option<&'a str>,
        registries: &'a [RegistryPrefix],
    ) -> impl Iterator<Item = &'a Entry> {
        let registries: BTreeSet<String> = registries.iter().map(ToString::to_string).collect();
        let entries = self.entries.iter();
        entries.filter(move |entry| {
            version != Some(entry.version.as_str()) && registries.contains(&entry.registry)
        })
    }
}

/// Turns what is lacking into words: for each registry, why. `failed` says what happened to the
/// registries themselves; the rest was kept back by something of the release.
pub(crate) fn lacks(
    plan: &Plan,
    done: &BTreeSet<Reference>,
    failed: &BTreeMap<usize, String>,
    blocked: &str,
) -> Vec<Lack> {
    let lacking = launchway_plan::lacking(plan, done).into_iter();
    let lacks = lacking.map(|(at, references)| {
        let degraded = plan
            .degraded
            .iter()
            .find(|degraded| degraded.registry == at);
        let why = failed
            .get(&at)
            .or(degraded.map(|degraded| &degraded.why))
            .map_or(blocked, String::as_str);
        Lack {
            registry: plan.registries[at].to_string(),
            why: why.to_owned(),
            references,
        }
    });
    lacks.collect()
}

/// What registries lack when nothing could be done: those that could not be asked.
pub fn unasked(plan: &Plan) -> Vec<Lack> {
    lacks(plan, &BTreeSet::new(), &BTreeMap::new(), "")
}

fn path(state: &Path, family: &str) -> PathBuf {
    state.join("releases").join(format!("{family}.ledger.json"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn lack(why: &str, tags: &[&str]) -> Lack {
        let references = tags
            .iter()
            .map(|tag| format!("b.io/x:{tag}").parse().unwrap());
        Lack {
            registry: "b.io".to_owned(),
            why: why.to_owned(),
            references: references.collect(),
        }
    }

    /// `VERSION since SINCE (WHY): TAGS`, a line each.
    fn shown(ledger: &Ledger) -> String {
        let lines = ledger.entries.iter().map(|entry| {
            let tags = entry
                .references
                .iter()
                .map(|name| name.rsplit(':').next().unwrap());
            let tags: Vec<&str> = tags.collect();
            format!(
                "{} since {} ({}): {}",
                entry.version,
                entry.since,
                entry.why,
                tags.join(" ")
            )
        });
        lines.collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn entries_come_stay_and_go() {
        let mut ledger = Ledger::default();
        let all = set(&["b.io/x:1", "b.io/x:latest"]);
        let mut run =
            |version: &str, about: Option<&BTreeSet<String>>, lack: Option<Lack>, now: &str| {
                ledger.settle_one("b.io", version, about, lack.as_ref(), now);
                shown(&ledger)
            };
        let down = lack("no connection", &["1", "latest"]);
        assert_eq!(
            run("1.0.0", Some(&all), Some(down), "mon"),
            "1.0.0 since mon (no connection): 1 latest"
        );
        // It still lacks one of them, for another reason.
        assert_eq!(
            run(
                "1.0.0",
                Some(&all),
                Some(lack("refused", &["latest"])),
                "tue"
            ),
            "1.0.0 since mon (refused): latest"
        );
        // The next release does not make it whole.
        assert_eq!(
            run("2.0.0", None, None, "wed"),
            "1.0.0 since mon (refused): latest"
        );
        // A run about something else of this release neither.
        assert_eq!(
            run("1.0.0", Some(&set(&["b.io/x:1"])), None, "wed"),
            "1.0.0 since mon (refused): latest"
        );
        assert_eq!(run("1.0.0", None, None, "thu"), "");
    }

    #[test]
    fn reminders_are_about_other_releases_on_these_registries() {
        let mut ledger = Ledger::default();
        for (registry, version) in [("b.io", "1.0.0"), ("b.io", "2.0.0"), ("old.io", "1.0.0")] {
            ledger.settle_one(registry, version, None, Some(&lack("down", &["1"])), "mon");
        }
        let registries = ["b.io".parse().unwrap()];
        let versions = |version: Option<&str>| {
            let entries = ledger.besides(version, &registries);
            let versions: Vec<String> = entries.map(|entry| entry.version.clone()).collect();
            versions
        };
        assert_eq!(versions(None), ["1.0.0", "2.0.0"]);
        assert_eq!(versions(Some("1.0.0")), ["2.0.0"]);
    }

    #[test]
    fn it_is_kept_on_disk_until_it_is_empty() {
        let state = tempfile::tempdir().unwrap();
        let mut ledger = Ledger::default();
        assert_eq!(Ledger::load(state.path(), "fam"), ledger);
        ledger.settle_one("b.io", "1.0.0", None, Some(&lack("down", &["1"])), "mon");
        ledger.save(state.path(), "fam").unwrap();
        assert_eq!(Ledger::load(state.path(), "fam"), ledger);
        assert_eq!(Ledger::load(state.path(), "other"), Ledger::default());
        ledger.settle_one("b.io", "1.0.0", None, None, "tue");
        ledger.save(state.path(), "fam").unwrap();
        assert_eq!(
            fs::read_dir(state.path().join("releases")).unwrap().count(),
            0
        );
        fs::write(path(state.path(), "fam"), "{").unwrap();
        assert_eq!(Ledger::load(state.path(), "fam"), Ledger::default());
    }
}
