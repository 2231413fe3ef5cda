//! The digests behind the images that Dockerfiles start from.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::{StreamExt as _, stream};
use launchway_model::{Digest, Reference, ReferenceError};
use launchway_registry::{Client, Probe, RegistryError};

use crate::AT_ONCE;

/// Why a base image has no digest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PinError {
    #[error("{reference:?} names no image")]
    Reference {
        reference: String,
        #[source]
        source: ReferenceError,
    },
    #[error("there is no image {reference}")]
    Missing { reference: Reference },
    #[error("cannot find out what {reference} is")]
    Unknown {
        reference: Reference,
        #[source]
        source: RegistryError,
    },
}

/// The digest of the index or manifest that each reference stands for now, as a pull would get
/// it, mirrors included: one request each. A reference that has a digest keeps it, without a
/// request.
pub async fn pin_bases(
    client: &Client,
    references: &BTreeSet<String>,
) -> BTreeMap<String, Result<Digest, PinError>> {
    stream::iter(references.iter().cloned())
        .map(|text| async move {
            let digest = pin(client, &text).await;
            (text, digest)
        })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await
}

async fn pin(client: &Client, text: &str) -> Result<Digest, PinError> {
    let reference: Reference = text.parse().map_err(|source| PinError::Reference {
        reference: text.to_owned(),
        source,
    })?;
    if let Some(digest) = reference.digest {
        return Ok(digest);
    }
    match client.resolve(&reference).await {
        Probe::Present(found) => Ok(found.digest),
        Probe::Absent => Err(PinError::Missing { reference }),
        Probe::Unknown(source) => Err(PinError::Unknown { reference, source }),
    }
}

#[cfg(test)]
mod tests {
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

    #[tokio::test]
    async fn tags_become_digests_and_digests_stay() {
        let digest = sha256(b"index");
        let found = Answer::status(200)
            .header("docker-content-digest", &digest)
            .header("content-type", launchway_oci::spec::media::INDEX)
            .header("content-length", "5");
        let server = Server::start(vec![
            Step::new("HEAD", "/v2/library/debian/manifests/12", found),
            Step::new(
                "HEAD",
                "/v2/library/debian/manifests/none",
                Answer::status(404),
            ),
            Step::new(
                "HEAD",
                "/v2/library/debian/manifests/down",
                Answer::status(500),
            ),
        ])
        .await;
        let at = |rest: &str| format!("{}/library/debian{rest}", server.host());
        let pinned = at(&format!("@{}", sha256(b"other")));
        let references = BTreeSet::from([
            at(":12"),
            at(":none"),
            at(":down"),
            pinned.clone(),
            "Not/An Image".to_owned(),
        ]);
        let pins = pin_bases(&client(), &references).await;
        assert_eq!(pins.len(), references.len());
        assert_eq!(pins[&at(":12")], Ok(digest.parse().unwrap()));
        assert_eq!(pins[&pinned], Ok(sha256(b"other").parse().unwrap()));
        let shown = |text: &str| pins[text].as_ref().unwrap_err().to_string();
        assert_eq!(
            shown(&at(":none")),
            format!("there is no image {}", at(":none"))
        );
        assert_eq!(
            shown(&at(":down")),
            format!("cannot find out what {} is", at(":down"))
        );
        assert_eq!(shown("Not/An Image"), "\"Not/An Image\" names no image");
        server.finish();
    }
}
