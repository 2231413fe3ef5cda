//! What refers to a manifest: the registry's own list, or the tag that stands in for it on
//! registries without one (distribution-spec, "Referrers Tag Schema").

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::Method;
use http::header::CONTENT_TYPE;
use launchway_model::{Digest, Repository, Tag};
use launchway_oci::spec::{Annotations, Descriptor, Index, media};
use serde::Deserialize;
use tokio::sync::Semaphore;

use crate::answer::Failure;
use crate::auth::{Access, Actions};
use crate::core::Core;
use crate::listing::Pages;
use crate::verify::digest_of;
use crate::{ErrorClass, RegistryError};

/// Lets one caller at a time change the stand-in tag of a subject, so that no entry is lost
/// between the reading and the writing, at least not within this process.
#[derive(Default)]
pub(crate) struct Turns(Mutex<HashMap<(Repository, Tag), Arc<Semaphore>>>);

impl Turns {
    fn of(&self, repository: &Repository, tag: &Tag) -> Arc<Semaphore> {
        let mut turns = self.0.lock().expect("no holder of the turns panics");
        let turn = turns.entry((repository.clone(), tag.clone()));
        Arc::clone(turn.or_insert_with(|| Arc::new(Semaphore::new(1))))
    }
}

/// The part of a manifest that tells what it refers to and what it is.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Referring {
    subject: Option<Descriptor>,
    artifact_type: Option<String>,
    config: Option<Descriptor>,
    annotations: Option<Annotations>,
}

/// The tag that stands in for the list of a subject: at most 64 digits of a digest stand in it.
fn stand_in(subject: &Digest) -> Tag {
    format!("{}-{:.64}", subject.algorithm().as_str(), subject.hex())
        .parse()
        .expect("an algorithm, a dash and hexadecimal digits are a tag")
}

/// Reads an index, and refuses everything else.
fn read_index(bytes: &[u8]) -> Result<Index, Failure> {
    serde_json::from_slice::<Index>(bytes)
        .ok()
        .filter(|index| {
            index.schema_version == 2
                && index
                    .media_type
                    .as_deref()
                    .is_none_or(|name| name == media::INDEX)
        })
        .ok_or_else(|| Failure::permanent("what stands in for the list of referrers is no index"))
}

impl Core {
    pub(crate) async fn referrers(
        &self,
        repository: &Repository,
        subject: &Digest,
        artifact_type: Option<&str>,
    ) -> Result<Vec<Descriptor>, RegistryError> {
        let listed = if self.keeps_referrers(repository) {
            self.listed_referrers(repository, subject, artifact_type)
                .await?
        } else {
            None
        };
        let mut found = match listed {
            Some(found) => found,
            None => {
                let index = self.stand_in_index(repository, subject).await?;
                index.map(|index| index.manifests).unwrap_or_default()
            }
        };
        // A registry may pass over the filter it was given.
        if let Some(wanted) = artifact_type {
            found.retain(|descriptor| descriptor.artifact_type.as_deref() == Some(wanted));
        }
        Ok(found)
    }

    fn keeps_referrers(&self, repository: &Repository) -> bool {
        let without = self
            .without_referrers
            .lock()
            .expect("no holder of the set panics");
        !without.contains(repository.host())
    }

    /// The registry's own list; None when it keeps none.
    async fn listed_referrers(
        &self,
        repository: &Repository,
        subject: &Digest,
        artifact_type: Option<&str>,
    ) -> Result<Option<Vec<Descriptor>>, RegistryError> {
        let what = format!("referrers/{subject}");
        let mut tries = self.tries(&Method::GET, repository, &what);
        let mut url = self
            .url(repository, &what)
            .map_err(|failure| tries.give_up(failure))?;
        if let Some(wanted) = artifact_type {
            url.query_pairs_mut().append_pair("artifactType", wanted);
        }
        let mut found = Vec::new();
        let mut pages = Pages::starting_at(&url);
        let access = Access::to(repository, Actions::Pull);
        loop {
            tries.start().await?;
            let page = match self.page(&access, &url).await {
                Ok(page) => page,
                // A registry with lists answers 200 even for a subject it does not have. The
                // others answer 404, and some of them what they answer to any unknown path.
                Err(failure)
                    if failure.class == ErrorClass::Missing
                        || matches!(failure.status, Some(400 | 405 | 406 | 501)) =>
                {
                    let mut without = self
                        .without_referrers
                        .lock()
                        .expect("no holder of the set panics");
                    without.insert(repository.host().clone());
                    return Ok(None);
                }
                Err(failure) => {
                    tries.again(failure).await?;
                    continue;
                }
            };
            tries.progressed();
            let is_index = page
                .headers
                .get(CONTENT_TYPE)
                .and_then(|value| value.to_str().ok())
                .is_some_and(|value| value.starts_with(media::INDEX));
            let Ok(index) = read_index(&page.bytes) else {
                if is_index {
                    let failure = Failure::permanent("what came is no list of referrers");
                    return Err(tries.give_up(failure));
                }
                // A page for people, from a registry that knows no such path.
                return Ok(None);
            };
            found.extend(index.manifests);
            let Some(next) = page.next else {
                return Ok(Some(found));
            };
            pages
                .turn_to(&next)
                .map_err(|failure| tries.give_up(failure))?;
            url = next;
        }
    }

    /// The index under the stand-in tag of a subject; None when there is none. Anyone may give the
    /// tag to anything, so what stands there has to be an index, and not the subject.
    async fn stand_in_index(
        &self,
        repository: &Repository,
        subject: &Digest,
    ) -> Result<Option<Index>, RegistryError> {
        let tag = stand_in(subject);
        let reference = repository.with_tag(tag.clone());
        let mut tries = self.tries(&Method::GET, repository, &format!("manifests/{tag}"));
        loop {
            tries.start().await?;
            match self.get_manifest(repository, &reference).await {
                Ok(manifest) => {
                    let is_subject = digest_of(subject.algorithm(), &manifest.bytes) == *subject;
                    let index = if is_subject {
                        Err(Failure::permanent(
                            "what stands in for the list of referrers is the subject itself",
                        ))
                    } else {
                        read_index(&manifest.bytes)
                    };
                    return index.map(Some).map_err(|failure| tries.give_up(failure));
                }
                Err(failure) if failure.class == ErrorClass::Missing => return Ok(None),
                Err(failure) => tries.again(failure).await?,
            }
        }
    }

    /// Enters a manifest that was put into the stand-in tag of its subject, if it has one.
    pub(crate) async fn refer_by_tag(
        &self,
        repository: &Repository,
        media_type: &str,
        digest: &Digest,
        bytes: &Bytes,
    ) -> Result<(), RegistryError> {
        let Ok(Referring {
            subject: Some(subject),
            artifact_type,
            config,
            annotations,
        }) = serde_json::from_slice::<Referring>(bytes)
        else {
            return Ok(());
        };
        let mut tries = self.tries(&Method::PUT, repository, &format!("manifests/{digest}"));
        let subject: Digest = subject.digest.parse().map_err(|_| {
            tries.give_up(Failure::permanent("the manifest's subject has no digest"))
        })?;
        let entry = Descriptor {
            media_type: media_type.to_owned(),
            digest: digest.to_string(),
            size: bytes.len() as u64,
            artifact_type: artifact_type.or(config.map(|config| config.media_type)),
            annotations,
            platform: None,
        };
        let tag = stand_in(&subject);
        let turns = self.turns.of(repository, &tag);
        let _turn = turns
            .acquire()
            .await
            .expect("the semaphore is never closed");
        // Another process may write between our reading and writing. What it wrote last counts,
        // so ours is looked for afterwards and entered again where it got lost.
        loop {
            tries.start().await?;
            if self.enter(repository, &subject, &entry).await? {
                return Ok(());
            }
            let index = self.stand_in_index(repository, &subject).await?;
            if index.is_some_and(|index| index.manifests.contains(&entry)) {
                return Ok(());
            }
            tries
                .again(Failure::transient(format!(
                    "another writer keeps overwriting the tag {tag}"
                )))
                .await?;
        }
    }

    /// Writes the entry into the index under the tag; true when it was there already.
    async fn enter(
        &self,
        repository: &Repository,
        subject: &Digest,
        entry: &Descriptor,
    ) -> Result<bool, RegistryError> {
        let mut index = self
            .stand_in_index(repository, subject)
            .await?
            .unwrap_or_else(|| Index {
                schema_version: 2,
                media_type: Some(media::INDEX.to_owned()),
                artifact_type: None,
                manifests: Vec::new(),
                subject: None,
                annotations: None,
            });
        if index.manifests.contains(entry) {
            return Ok(true);
        }
        index
            .manifests
            .retain(|descriptor| descriptor.digest != entry.digest);
        index.manifests.push(entry.clone());
        let bytes = serde_json::to_vec(&index).expect("an index is JSON");
        self.put_plain(
            repository,
            &stand_in(subject),
            media::INDEX,
            &Bytes::from(bytes),
        )
        .await?;
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_index_stands_in() {
        for (text, good) in [
            (r#"{"schemaVersion":2,"manifests":[]}"#, true),
            (
                r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}"#,
                true,
            ),
            (
                r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","manifests":[]}"#,
                false,
            ),
            (r#"{"schemaVersion":1,"manifests":[]}"#, false),
            (r#"{"schemaVersion":2}"#, false),
            ("<html>", false),
        ] {
            assert_eq!(read_index(text.as_bytes()).is_ok(), good, "{text}");
        }
    }

    #[test]
    fn the_tag_of_a_long_digest_is_cut() {
        assert_eq!(stand_in(&Digest::sha256([1; 32])).as_str().len(), 71);
        assert_eq!(stand_in(&Digest::sha512([1; 64])).as_str().len(), 71);
    }
}
