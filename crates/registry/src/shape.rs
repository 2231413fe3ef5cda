//! What kind of manifest some bytes are.
//!
//! The bytes themselves say it, and they are what the digest stands for: first their `mediaType`,
//! which has to fit their shape (a list of manifests, or a config with layers), then the
//! `Content-Type` they came with where it fits, and at last the shape alone. A manifest that is
//! both kinds at once is refused, because two readers would see two images in it
//! (opencontainers/image-spec advisory GHSA-77vh-xpmg-72qh).

use launchway_model::Digest;
use launchway_oci::spec::media;
use serde::Deserialize;
use serde_json::{Map, Value};

/// Docker's format before 2015, signed and unsigned.
const SCHEMA_1: [&str; 2] = [
    "application/vnd.docker.distribution.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v1+prettyjws",
];

/// What was read from a manifest.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Read {
    pub(crate) media_type: String,
    /// The blobs it names: config and layers.
    pub(crate) blobs: Vec<Digest>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    Index,
    Manifest,
    /// Neither, such as an artifact manifest of old.
    Other,
}

#[derive(Deserialize)]
struct Pointer {
    digest: String,
}

/// Reads bytes that came with a `Content-Type`.
pub(crate) fn read(bytes: &[u8], content_type: Option<&str>) -> Result<Read, String> {
    let Ok(object) = serde_json::from_slice::<Map<String, Value>>(bytes) else {
        return Err("what came is no manifest: it is not a JSON object".to_owned());
    };
    let own = object.get("mediaType").and_then(Value::as_str);
    let is_old = |name: &str| SCHEMA_1.contains(&name);
    let version = object.get("schemaVersion").and_then(Value::as_u64);
    if version == Some(1) || own.is_some_and(is_old) {
        return Err(
            "the manifest has Docker's old format (schema 1), which is not read: push the \
             image again with a current tool"
                .to_owned(),
        );
    }
    let shape = match (
        object.contains_key("manifests"),
        object.contains_key("config") || object.contains_key("layers"),
    ) {
        (true, true) => {
            return Err(
                "the manifest is an index and an image at once, so nobody can tell what it means"
                    .to_owned(),
            );
        }
        (true, false) => Shape::Index,
        (false, true) => Shape::Manifest,
        (false, false) => Shape::Other,
    };
    let media_type = match (own, content_type) {
        (Some(own), _) if !fits(own, shape) => {
            return Err(format!(
                "the manifest says that it is {own:?}, and its content is something else"
            ));
        }
        (Some(own), _) if is_known(own) => own,
        (_, Some(named)) if is_known(named) && fits(named, shape) => named,
        (own, named) => match shape {
            Shape::Index => media::INDEX,
            Shape::Manifest => media::MANIFEST,
            Shape::Other => own.or(named).unwrap_or(media::MANIFEST),
        },
    };
    Ok(Read {
        media_type: media_type.to_owned(),
        blobs: blobs(&object),
    })
}

fn is_known(media_type: &str) -> bool {
    media::is_index(media_type) || media::is_manifest(media_type)
}

/// Whether a manifest of this type may have this shape. Other types may have any.
fn fits(media_type: &str, shape: Shape) -> bool {
    match shape {
        Shape::Index => !media::is_manifest(media_type),
        Shape::Manifest => !media::is_index(media_type),
        Shape::Other => true,
    }
}

fn blobs(object: &Map<String, Value>) -> Vec<Digest> {
    let layers = object.get("layers").and_then(Value::as_array);
    object
        .get("config")
        .into_iter()
        .chain(layers.into_iter().flatten())
        .filter_map(|descriptor| Pointer::deserialize(descriptor).ok())
        .filter_map(|pointer| pointer.digest.parse().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_type_of_a_manifest() {
        let own = |name: &str, rest: &str| format!(r#"{{"mediaType":"{name}"{rest}}}"#);
        let (index, image) = (r#","manifests":[]"#, r#","config":{},"layers":[]"#);
        let html = Some("text/html");
        for (text, content_type, want) in [
            (
                own(media::INDEX, index),
                Some(media::INDEX),
                Ok(media::INDEX),
            ),
            (own(media::INDEX, index), None, Ok(media::INDEX)),
            (
                own(media::INDEX, index),
                Some(media::MANIFEST),
                Ok(media::INDEX),
            ),
            (
                own(media::DOCKER_MANIFEST, image),
                html,
                Ok(media::DOCKER_MANIFEST),
            ),
            (
                own(media::MANIFEST, index),
                Some(media::INDEX),
                Err("something else"),
            ),
            (own(media::DOCKER_LIST, image), None, Err("something else")),
            (
                r#"{"manifests":[]}"#.into(),
                Some(media::DOCKER_LIST),
                Ok(media::DOCKER_LIST),
            ),
            (
                r#"{"manifests":[]}"#.into(),
                Some(media::MANIFEST),
                Ok(media::INDEX),
            ),
            (r#"{"manifests":[]}"#.into(), html, Ok(media::INDEX)),
            (r#"{"layers":[]}"#.into(), None, Ok(media::MANIFEST)),
            (own("x/y", r#","blobs":[]"#), Some("x/z"), Ok("x/y")),
            ("{}".into(), Some(media::MANIFEST), Ok(media::MANIFEST)),
            ("{}".into(), Some("x/z"), Ok("x/z")),
            ("{}".into(), None, Ok(media::MANIFEST)),
            (
                r#"{"mediaType":7,"manifests":[]}"#.into(),
                None,
                Ok(media::INDEX),
            ),
            (
                r#"{"manifests":[],"layers":[]}"#.into(),
                None,
                Err("at once"),
            ),
            (r#"{"schemaVersion":1}"#.into(), None, Err("schema 1")),
            (own(SCHEMA_1[1], ""), None, Err("schema 1")),
            ("[]".into(), None, Err("not a JSON object")),
            ("<html>".into(), html, Err("not a JSON object")),
        ] {
            match (read(text.as_bytes(), content_type), want) {
                (Ok(got), Ok(want)) => assert_eq!(got.media_type, want, "{text}"),
                (Err(got), Err(want)) => assert!(got.contains(want), "{text}: {got}"),
                (got, _) => panic!("{text}: {got:?}"),
            }
        }
    }

    #[test]
    fn the_blobs_a_manifest_names() {
        let digest = |byte| Digest::sha256([byte; 32]);
        let text = format!(
            r#"{{"config":{{"digest":"{}"}},"layers":[{{"digest":"{}"}},{{"digest":"x"}},7]}}"#,
            digest(1),
            digest(2)
        );
        let read = read(text.as_bytes(), None).unwrap();
        assert_eq!(read.blobs, [digest(1), digest(2)]);
        let odd = super::read(br#"{"config":7,"layers":{}}"#, None).unwrap();
        assert_eq!(odd.blobs, []);
    }
}
