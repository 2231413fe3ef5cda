//! What the registries hold.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::join3;
use futures_util::{StreamExt as _, stream};
use launchway_model::{Digest, Reference, Repository, Tag};
use launchway_oci::spec::Annotations;
use launchway_plan::{Inventory, Observed, Questions};
use launchway_registry::{Client, ErrorClass, Probe};
use serde::Deserialize;

use crate::AT_ONCE;

/// Answers everything a plan depends on: what stands behind each reference, and which tags there
/// are in the repositories where rolling tags may move.
///
/// Only the registry itself says what a tag stands for; a mirror may lag behind. The annotations
/// are read by digest, once for all tags of a repository that stand for the same, and not at all
/// where they are `known`.
pub async fn inventory(
    client: &Client,
    questions: &Questions,
    known: &BTreeMap<Digest, Annotations>,
) -> Inventory {
    let (mut references, bare, tags) = join3(
        observe(client, &questions.references, known),
        exists(client, &questions.bare),
        tags(client, &questions.repositories),
    )
    .await;
    references.extend(bare);
    Inventory { references, tags }
}

/// Whether references are there, without what they say of themselves.
async fn exists(
    client: &Client,
    references: &BTreeSet<Reference>,
) -> BTreeMap<Reference, Observed> {
    stream::iter(references.iter().cloned())
        .map(|reference| async move {
            let observed = match client.probe(&reference).await {
                Probe::Present(found) => Observed::Present {
                    digest: found.digest,
                    annotations: Annotations::default(),
                },
                Probe::Absent => Observed::Absent,
                Probe::Unknown(error) => Observed::Unknown {
                    why: error.to_string(),
                },
            };
            (reference, observed)
        })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await
}

/// What stands behind each reference, with the annotations of its index or manifest.
async fn observe(
    client: &Client,
    references: &BTreeSet<Reference>,
    known: &BTreeMap<Digest, Annotations>,
) -> BTreeMap<Reference, Observed> {
    let probes: Vec<(Reference, Probe)> = stream::iter(references.iter().cloned())
        .map(|reference| async move {
            let probe = client.probe(&reference).await;
            (reference, probe)
        })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    let present: BTreeSet<Reference> = probes
        .iter()
        .filter_map(|(reference, probe)| match probe {
            Probe::Present(found) if known.contains_key(&found.digest) => None,
            Probe::Present(found) => Some(by_digest(reference, &found.digest)),
            Probe::Absent | Probe::Unknown(_) => None,
        })
        .collect();
    let annotations: BTreeMap<Reference, Result<Annotations, String>> = stream::iter(present)
        .map(|reference| async move {
            let annotations = annotations(client, &reference).await;
            (reference, annotations)
        })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    let observed = |reference: &Reference, probe: Probe| match probe {
        Probe::Absent => Observed::Absent,
        Probe::Unknown(error) => Observed::Unknown {
            why: error.to_string(),
        },
        Probe::Present(found) => {
            let known = known.get(&found.digest).cloned().map(Ok);
            let read = || {
                annotations
                    .get(&by_digest(reference, &found.digest))
                    .cloned()
            };
            match known.or_else(read) {
                Some(Ok(annotations)) => Observed::Present {
                    digest: found.digest,
                    annotations,
                },
                Some(Err(why)) => Observed::Unknown { why },
                None => unreachable!("the manifest of every present reference was asked for"),
            }
        }
    };
    probes
        .into_iter()
        .map(|(reference, probe)| {
            let observed = observed(&reference, probe);
            (reference, observed)
        })
        .collect()
}

fn by_digest(reference: &Reference, digest: &Digest) -> Reference {
    reference.repository.with_digest(digest.clone())
}

/// An index and a manifest alike.
#[derive(Deserialize)]
struct Annotated {
    #[serde(default)]
    annotations: Option<Annotations>,
}

async fn annotations(client: &Client, reference: &Reference) -> Result<Annotations, String> {
    let manifest = client
        .manifest(reference)
        .await
        .map_err(|error| error.to_string())?;
    let read: Annotated = serde_json::from_slice(&manifest.bytes)
        .map_err(|error| format!("cannot read the manifest {reference}: {error}"))?;
    Ok(read.annotations.unwrap_or_default())
}

/// The tags of repositories; none of a repository that does not exist yet. Repositories whose
/// registry gives no answer are left out.
async fn tags(
    client: &Client,
    repositories: &BTreeSet<Repository>,
) -> BTreeMap<Repository, Vec<Tag>> {
    stream::iter(repositories.iter().cloned())
        .map(|repository| async move {
            let tags = match client.tags(&repository).await {
                Ok(tags) => Some(tags),
                Err(error) if error.class == ErrorClass::Missing => Some(Vec::new()),
                Err(_) => None,
            };
            (repository, tags)
        })
        .buffer_unordered(AT_ONCE)
        .filter_map(|(repository, tags)| std::future::ready(tags.map(|tags| (repository, tags))))
        .collect()
        .await
}

#[cfg(test)]
mod tests {
    use launchway_oci::spec::media;
    use launchway_registry::{ClientOptions, RetryPolicy};
    use launchway_testkit::http::{Answer, Server, Step};
    use launchway_testkit::sha256;

    use super::*;

    fn client() -> Client {
        let retry = RetryPolicy {
            attempts: 1,
            ..RetryPolicy::default()
        };
        Client::new(ClientOptions {
            retry,
            ..ClientOptions::default()
        })
        .unwrap()
    }

    fn manifest(body: &str) -> Answer {
        Answer::status(200)
            .header("docker-content-digest", sha256(body.as_bytes()))
            .header("content-type", media::INDEX)
            .body(body.to_owned())
    }

    #[tokio::test]
    async fn every_question_gets_one_of_three_answers() {
        let index = r#"{"schemaVersion":2,"manifests":[],"annotations":{"a":"b"}}"#;
        let plain = r#"{"schemaVersion":2,"manifests":[]}"#;
        let broken = "not json";
        let digest = |body: &str| sha256(body.as_bytes());
        let at = |name: &str| format!("/v2/f/devbox/manifests/{name}");
        let server = Server::start(vec![
            Step::new("HEAD", at("base-1"), manifest(index)),
            Step::new("HEAD", at("latest"), manifest(index)),
            Step::new("HEAD", at("plain"), manifest(plain)),
            Step::new("HEAD", at("broken"), manifest(broken)),
            Step::new("HEAD", at("gone"), Answer::status(404)),
            Step::new("HEAD", at("down"), Answer::status(503)),
            // Once, though two tags stand for it.
            Step::new("GET", at(&digest(index)), manifest(index)),
            // Nobody reads what a record says, and what was known before.
            Step::new("HEAD", at("record"), manifest("a record")),
            Step::new("HEAD", at("no-record"), Answer::status(404)),
            Step::new("GET", at(&digest(broken)), manifest(broken)),
            Step::new(
                "GET",
                "/v2/f/devbox/tags/list",
                Answer::status(200).body(r#"{"name":"f/devbox","tags":["v1.0.0","latest"]}"#),
            ),
            Step::new(
                "GET",
                "/v2/f/new/tags/list",
                Answer::status(404).error("NAME_UNKNOWN", "no"),
            ),
            Step::new("GET", "/v2/f/down/tags/list", Answer::status(503)),
        ])
        .await;
        let reference = |tag: &str| -> Reference {
            format!("{}/f/devbox:{tag}", server.host()).parse().unwrap()
        };
        let repository =
            |name: &str| -> Repository { format!("{}/f/{name}", server.host()).parse().unwrap() };
        let tags = ["base-1", "latest", "plain", "broken", "gone", "down"];
        let questions = Questions {
            references: tags.iter().map(|tag| reference(tag)).collect(),
            repositories: ["devbox", "new", "down"]
                .iter()
                .map(|name| repository(name))
                .collect(),
            bare: ["record", "no-record"].map(reference).into(),
        };
        let known = BTreeMap::from([(
            digest(plain).parse().unwrap(),
            Annotations::from([("known".to_owned(), "before".to_owned())]),
        )]);
        let found = inventory(&client(), &questions, &known).await;
        let present = |body: &str, annotations: &[(&str, &str)]| Observed::Present {
            digest: digest(body).parse().unwrap(),
            annotations: annotations
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
        };
        assert_eq!(
            found.of(&reference("base-1")),
            present(index, &[("a", "b")])
        );
        assert_eq!(
            found.of(&reference("latest")),
            present(index, &[("a", "b")])
        );
        assert_eq!(
            found.of(&reference("plain")),
            present(plain, &[("known", "before")])
        );
        assert_eq!(found.of(&reference("record")), present("a record", &[]));
        assert_eq!(found.of(&reference("no-record")), Observed::Absent);
        assert_eq!(found.of(&reference("gone")), Observed::Absent);
        for tag in ["broken", "down"] {
            let observed = found.of(&reference(tag));
            assert!(matches!(observed, Observed::Unknown { .. }), "{observed:?}");
        }
        let names: Vec<&str> = found.tags[&repository("devbox")]
            .iter()
            .map(Tag::as_str)
            .collect();
        assert_eq!(names, ["v1.0.0", "latest"]);
        assert_eq!(found.tags[&repository("new")], []);
        assert!(!found.tags.contains_key(&repository("down")));
        server.finish();
    }
}
