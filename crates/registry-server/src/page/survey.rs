//! Who holds which bytes: the arithmetic of shared and unique sizes. No disk, no HTML.
//!
//! A *root* is what somebody asks a repository for: a manifest that has a tag, or one that no index
//! of the repository lists. Its closure is everything that belongs to it: its own bytes,
//! configuration and layers, and the closures of what it lists. Two tags of one repository that name
//! the same manifest are one root. The same image in two repositories is two roots, and all their
//! bytes are shared.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use launchway_model::{Digest, Platform};
use launchway_oci::spec::media;

use crate::document::{Content, ContentKind};
use crate::store::ManifestInfo;

/// What a repository holds, as its index and manifests say.
pub(super) struct Holdings {
    pub(super) name: String,
    pub(super) tags: BTreeMap<String, Digest>,
    pub(super) manifests: HashMap<Digest, Arc<ManifestInfo>>,
}

/// All repositories, counted through.
#[derive(Debug)]
pub(super) struct Survey {
    /// In the order of names.
    pub(super) repositories: Vec<Repository>,
    pub(super) roots: Vec<Root>,
    pub(super) blobs: HashMap<Digest, Blob>,
    /// Each blob counted as often as there are roots that hold it.
    pub(super) sum_of_images: u64,
    /// Each blob counted once.
    pub(super) once: u64,
}

#[derive(Debug)]
pub(super) struct Repository {
    pub(super) name: String,
    pub(super) tags: BTreeMap<String, RootId>,
    /// Roots without a tag, in the order of digests.
    pub(super) untagged: Vec<RootId>,
    by_digest: HashMap<Digest, RootId>,
    pub(super) sizes: Sizes,
    /// Roots that stand for themselves, and roots that are about something else.
    pub(super) images: usize,
    pub(super) referrers: usize,
}

#[derive(Debug)]
pub(super) struct Root {
    /// A place in [`Survey::repositories`].
    pub(super) repository: usize,
    pub(super) digest: Digest,
    pub(super) tags: Vec<String>,
    pub(super) sizes: Sizes,
    pub(super) platforms: BTreeSet<Platform>,
    /// What it is, where it is no image.
    pub(super) artifact_type: Option<String>,
    pub(super) subject: Option<Digest>,
}

/// A place in [`Survey::roots`].
pub(super) type RootId = usize;

/// Bytes of a root, or of all roots of a repository, each blob counted once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sizes {
    pub(super) total: u64,
    /// What nothing else here holds: it would be free if this were deleted.
    pub(super) unique: u64,
}

impl Sizes {
    pub(super) fn shared(self) -> u64 {
        self.total - self.unique
    }
}

#[derive(Debug)]
pub(super) struct Blob {
    pub(super) size: u64,
    /// Who holds it, each once.
    pub(super) roots: Vec<RootId>,
}

impl Survey {
    pub(super) fn repository(&self, name: &str) -> Option<&Repository> {
        let found = self
            .repositories
            .binary_search_by(|repository| repository.name.as_str().cmp(name));
        Some(&self.repositories[found.ok()?])
    }

    /// The roots other than `this` that hold a blob.
    pub(super) fn others(&self, digest: &Digest, this: Option<RootId>) -> Vec<&Root> {
        let blob = self.blobs.get(digest);
        blob.into_iter()
            .flat_map(|blob| &blob.roots)
            .filter(|root| Some(**root) != this)
            .map(|root| &self.roots[*root])
            .collect()
    }
}

impl Repository {
    pub(super) fn root(&self, digest: &Digest) -> Option<RootId> {
        self.by_digest.get(digest).copied()
    }
}

/// Configurations that say for which platform something is, since nothing else says it.
pub(super) fn silent_platforms(holdings: &Holdings) -> BTreeSet<&Digest> {
    let mut listed: HashSet<&Digest> = HashSet::new();
    let mut asked: HashSet<&Digest> = holdings.tags.values().collect();
    let manifests = holdings.manifests.values();
    for content in manifests.flat_map(|info| &info.document.content) {
        if let ContentKind::Manifest { platform, .. } = &content.kind {
            listed.insert(&content.digest);
            if platform.is_none() {
                asked.insert(&content.digest);
            }
        }
    }
    let manifests = holdings.manifests.values();
    manifests
        .filter(|info| asked.contains(&info.digest) || !listed.contains(&info.digest))
        .filter(|info| is_image(info))
        .filter_map(|info| info.document.config.as_ref())
        .collect()
}

/// Counts everything. `platforms` is what configurations say, by their digest.
pub(super) fn survey(
    holdings: &[Holdings],
    platforms: &HashMap<Digest, Option<Platform>>,
) -> Survey {
    let mut survey = Survey {
        repositories: Vec::with_capacity(holdings.len()),
        roots: Vec::new(),
        blobs: HashMap::new(),
        sum_of_images: 0,
        once: 0,
    };
    let mut sorted: Vec<&Holdings> = holdings.iter().collect();
    sorted.sort_by(|a, b| a.name.cmp(&b.name));
    for held in sorted {
        enter_repository(&mut survey, held, platforms);
    }
    for blob in survey.blobs.values() {
        survey.once = survey.once.saturating_add(blob.size);
        let mut repositories: Vec<usize> = blob
            .roots
            .iter()
            .map(|root| survey.roots[*root].repository)
            .collect();
        // Roots were entered one repository after the other.
        repositories.dedup();
        for root in &blob.roots {
            let sizes = &mut survey.roots[*root].sizes;
            sizes.total = sizes.total.saturating_add(blob.size);
            if blob.roots.len() == 1 {
                sizes.unique = sizes.unique.saturating_add(blob.size);
            }
        }
        for repository in &repositories {
            let sizes = &mut survey.repositories[*repository].sizes;
            sizes.total = sizes.total.saturating_add(blob.size);
            if repositories.len() == 1 {
                sizes.unique = sizes.unique.saturating_add(blob.size);
            }
        }
    }
    let sizes = survey.roots.iter().map(|root| root.sizes.total);
    survey.sum_of_images = sizes.fold(0, u64::saturating_add);
    survey
}

fn enter_repository(
    survey: &mut Survey,
    held: &Holdings,
    platforms: &HashMap<Digest, Option<Platform>>,
) {
    let place = survey.repositories.len();
    let mut tags_of: BTreeMap<&Digest, Vec<String>> = BTreeMap::new();
    for (tag, digest) in &held.tags {
        tags_of.entry(digest).or_default().push(tag.clone());
    }
    let listed: HashSet<&Digest> = held
        .manifests
        .values()
        .flat_map(|info| {
            let children = info.document.content.iter().filter(is_manifest);
            // What lists itself is not thereby listed by anything.
            children.filter(|child| child.digest != info.digest)
        })
        .map(|child| &child.digest)
        .collect();
    let mut roots: Vec<&Arc<ManifestInfo>> = held
        .manifests
        .values()
        .filter(|info| tags_of.contains_key(&info.digest) || !listed.contains(&info.digest))
        .collect();
    roots.sort_by(|a, b| a.digest.cmp(&b.digest));
    let about = roots.iter().filter(|info| info.document.subject.is_some());
    let referrers = about.count();
    let mut repository = Repository {
        name: held.name.clone(),
        tags: BTreeMap::new(),
        untagged: Vec::new(),
        by_digest: HashMap::new(),
        sizes: Sizes::default(),
        images: roots.len() - referrers,
        referrers,
    };
    for info in roots {
        let id = survey.roots.len();
        let tags = tags_of.remove(&info.digest).unwrap_or_default();
        for tag in &tags {
            repository.tags.insert(tag.clone(), id);
        }
        if tags.is_empty() {
            repository.untagged.push(id);
        }
        repository.by_digest.insert(info.digest.clone(), id);
        let found = close(survey, held, info, id, platforms);
        let artifact_type = match found.is_empty() {
            true => info.document.artifact_type.clone(),
            false => None,
        };
        survey.roots.push(Root {
            repository: place,
            digest: info.digest.clone(),
            tags,
            sizes: Sizes::default(),
            platforms: found,
            artifact_type: artifact_type.filter(|_| !is_image(info)),
            subject: info.document.subject.clone(),
        });
    }
    survey.repositories.push(repository);
}

/// Enters a root at every blob of its closure, and gives the platforms it has images for.
fn close(
    survey: &mut Survey,
    held: &Holdings,
    root: &ManifestInfo,
    id: RootId,
    platforms: &HashMap<Digest, Option<Platform>>,
) -> BTreeSet<Platform> {
    let mut found = BTreeSet::new();
    let mut hold = |digest: &Digest, size: u64| -> bool {
        if let Some(blob) = survey.blobs.get_mut(digest) {
            // This root's entries come one after the other, so a look at the last is enough.
            let new = blob.roots.last() != Some(&id);
            if new {
                blob.roots.push(id);
            }
            return new;
        }
        let roots = vec![id];
        survey.blobs.insert(digest.clone(), Blob { size, roots });
        true
    };
    hold(&root.digest, root.size);
    // A list and no recursion: a client may nest indexes as deep as it likes.
    let mut open: Vec<(&ManifestInfo, Option<&Platform>)> = vec![(root, None)];
    while let Some((info, told)) = open.pop() {
        if is_image(info) {
            let config = info.document.config.as_ref();
            let said = || platforms.get(config?)?.as_ref();
            let platform = told.or_else(said);
            found.extend(platform.filter(|platform| is_known(platform)).cloned());
        }
        for content in &info.document.content {
            // What lies there counts; a manifest's own length is known better than by its parent.
            let child = held.manifests.get(&content.digest);
            let is_new = hold(
                &content.digest,
                child.map_or(content.size, |child| child.size),
            );
            if let (ContentKind::Manifest { platform, .. }, Some(child), true) =
                (&content.kind, child, is_new)
            {
                open.push((child, platform.as_ref()));
            }
        }
    }
    found
}

fn is_manifest(content: &&Content) -> bool {
    matches!(content.kind, ContentKind::Manifest { .. })
}

/// Whether it can be run: its configuration is an image's. The document's artifact type is the
/// configuration's media type where it has none of its own.
fn is_image(info: &ManifestInfo) -> bool {
    let kind = info.document.artifact_type.as_deref();
    info.document.config.is_some() && matches!(kind, Some(media::CONFIG | media::DOCKER_CONFIG))
}

/// Attestations of BuildKit are images for `unknown/unknown`, and no platform.
pub(super) fn is_known(platform: &Platform) -> bool {
    platform.os() != "unknown" && platform.architecture() != "unknown"
}

#[cfg(test)]
#[path = "survey/tests.rs"]
mod tests;
