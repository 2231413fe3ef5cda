//! Reads from the store what pages show, and remembers what cannot have changed.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use launchway_model::{Digest, Platform};
use launchway_oci::spec::ImageConfig;

use super::detail::{self, Detail};
use super::survey::{self, Holdings, Survey};
use crate::MANIFEST_LIMIT;
use crate::route::{ManifestReference, RepositoryName};
use crate::store::{Snapshot, Store, StoreError};

/// The configuration of an image larger than this is not read for its platform.
const CONFIG_LIMIT: u64 = 1 << 20;
/// More platforms than this are not remembered; forgetting them costs reading files again.
const PLATFORMS_KEPT: usize = 50_000;

/// What was worked out for earlier requests. Digests name the same bytes forever, and snapshots are
/// never changed.
#[derive(Default)]
pub(crate) struct Memory {
    /// Held while a survey is made, so that several visitors wait for one instead of making each
    /// their own. Only pages take it.
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// What configurations say of their platform; `None` is one that says nothing.
    platforms: HashMap<Digest, Option<Platform>>,
    /// The last survey, and what it was made of.
    last: Option<(Vec<Seen>, Arc<Survey>)>,
}

/// A state of a repository. Weak, so that it tells one state from the next and keeps none alive.
type Seen = (RepositoryName, Weak<Snapshot>);

impl Memory {
    /// Everything the registry holds at this moment in repositories that `sees` lets through.
    pub(super) fn survey(
        &self,
        store: &Store,
        sees: impl Fn(&RepositoryName) -> bool,
    ) -> Result<Arc<Survey>, StoreError> {
        // What a panic left behind is a memory, and right as far as it goes.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let mut now = Vec::new();
        for name in store.names()?.into_iter().filter(&sees) {
            if let Some(repository) = store.repository(&name)? {
                let snapshot = repository.snapshot()?;
                now.push((name, repository, snapshot));
            }
        }
        if let Some((then, survey)) = &state.last
            && then.len() == now.len()
            && then.iter().zip(&now).all(|(then, now)| {
                then.0 == now.0 && Weak::ptr_eq(&then.1, &Arc::downgrade(&now.2))
            })
        {
            return Ok(Arc::clone(survey));
        }
        let holdings: Vec<Holdings> = now
            .iter()
            .map(|(name, _, snapshot)| Holdings {
                name: name.to_string(),
                tags: snapshot.tags.clone(),
                manifests: snapshot.manifests.clone(),
            })
            .collect();
        if state.platforms.len() > PLATFORMS_KEPT {
            state.platforms.clear();
        }
        for (held, (_, repository, _)) in holdings.iter().zip(&now) {
            for config in survey::silent_platforms(held) {
                if state.platforms.contains_key(config) {
                    continue;
                }
                // One that is not here may come later: that is not remembered.
                if let Some(bytes) = repository.read_blob(config, CONFIG_LIMIT)? {
                    state.platforms.insert(config.clone(), platform(&bytes));
                }
            }
        }
        let survey = Arc::new(survey::survey(&holdings, &state.platforms));
        let names = now
            .iter()
            .map(|(name, _, snapshot)| (name.clone(), Arc::downgrade(snapshot)))
            .collect();
        state.last = Some((names, Arc::clone(&survey)));
        Ok(survey)
    }
}

fn platform(config: &[u8]) -> Option<Platform> {
    let config: ImageConfig = serde_json::from_slice(config).ok()?;
    Platform::new(&config.os, &config.architecture, config.variant.as_deref()).ok()
}

/// What lies on the disk, beside what manifests speak of.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct DiskUse {
    /// All blobs, each once.
    pub(super) stored: u64,
    /// Those of them that no manifest needs.
    pub(super) loose: u64,
    /// What manifests need and is not here, in blobs: a mirror fetches it when it is asked for.
    pub(super) absent: usize,
}

pub(super) fn disk_use(store: &Store, survey: &Survey) -> Result<DiskUse, StoreError> {
    let mut pooled = HashSet::new();
    let mut loose = 0_u64;
    store.blobs().each_pooled(|digest, entry| {
        if survey.blobs.contains_key(&digest) {
            pooled.insert(digest);
        } else if let Ok(meta) = entry.metadata() {
            // It may have been deleted since the directory was read; then it is no use of the disk.
            loose = loose.saturating_add(meta.len());
        }
    })?;
    let mut disk = DiskUse {
        stored: loose,
        loose,
        absent: 0,
    };
    for (digest, blob) in &survey.blobs {
        if pooled.contains(digest) || is_in_a_repository(store, survey, digest, &blob.roots)? {
            disk.stored = disk.stored.saturating_add(blob.size);
        } else {
            disk.absent += 1;
        }
    }
    Ok(disk)
}

/// What another program wrote into a repository is not in the pool.
fn is_in_a_repository(
    store: &Store,
    survey: &Survey,
    digest: &Digest,
    roots: &[survey::RootId],
) -> Result<bool, StoreError> {
    let mut asked = None;
    for root in roots {
        let place = survey.roots[*root].repository;
        if asked.replace(place) == Some(place) {
            continue;
        }
        let Ok(name) = RepositoryName::parse(&survey.repositories[place].name) else {
            continue;
        };
        if let Some(repository) = store.repository(&name)?
            && repository.blob_size(digest)?.is_some()
        {
            return Ok(true);
        }
    }
    Ok(false)
}

/// One image, taken apart; `None` when there is none by this reference.
pub(super) fn image(
    store: &Store,
    name: &RepositoryName,
    reference: &ManifestReference,
) -> Result<Option<Detail>, StoreError> {
    let Some(repository) = store.repository(name)? else {
        return Ok(None);
    };
    let snapshot = repository.snapshot()?;
    let info = match reference {
        ManifestReference::Tag(tag) => snapshot.by_tag(tag.as_str()),
        ManifestReference::Digest(digest) => snapshot.manifests.get(digest),
    };
    let Some(info) = info else {
        return Ok(None);
    };
    let mut detail = detail::take_apart(info, &snapshot.manifests, |digest| {
        repository.read_blob(digest, MANIFEST_LIMIT)
    })?;
    if let ManifestReference::Tag(tag) = reference {
        detail.tag = Some(tag.to_string());
    }
    let parts = detail.parts.iter();
    let parts = parts.map(|part| (part.digest.clone(), part.label.clone()));
    let parts: Vec<_> = parts.filter(|(digest, _)| *digest != info.digest).collect();
    let subjects = std::iter::once((info.digest.clone(), String::new())).chain(parts);
    for (subject, about) in subjects {
        let referrers = snapshot.referrers(&subject);
        let attached = referrers.map(|info| detail::referrer(info, &about));
        detail.attached.extend(attached);
    }
    Ok(Some(detail))
}
