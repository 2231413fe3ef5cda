//! The `index.json` of a layout: which images are in it, and what they go by.

use std::collections::BTreeSet;

use launchway_model::{Digest, Reference};
use launchway_oci::spec::{Descriptor, media};
use serde_json::{Map, Value, json};

use crate::Name;

/// The tag in a layout.
pub(crate) const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// The whole reference in archives of containerd and Docker.
pub(crate) const FULL_NAME: &str = "io.containerd.image.name";

/// The entries as they are, with everything in them that this program does not know.
#[derive(Clone, Debug)]
pub(crate) struct IndexFile {
    fields: Map<String, Value>,
    entries: Vec<Value>,
}

/// Why a name leads nowhere; with the names there are.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NotFound {
    Absent(Vec<String>),
    Ambiguous(Vec<String>),
}

impl IndexFile {
    pub(crate) fn empty() -> Self {
        let mut fields = Map::new();
        fields.insert("schemaVersion".to_owned(), json!(2));
        fields.insert("mediaType".to_owned(), json!(media::INDEX));
        Self {
            fields,
            entries: Vec::new(),
        }
    }

    pub(crate) fn read(bytes: &[u8]) -> Result<Self, String> {
        let value: Value = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        let Value::Object(mut fields) = value else {
            return Err("it is no JSON object".to_owned());
        };
        let entries = match fields.remove("manifests") {
            Some(Value::Array(entries)) => entries,
            None | Some(Value::Null) => Vec::new(),
            Some(_) => return Err("its `manifests` are no list".to_owned()),
        };
        for entry in &entries {
            let digest = entry["digest"].as_str().unwrap_or_default();
            digest
                .parse::<Digest>()
                .map_err(|error| format!("an entry has the digest {digest:?}: {error}"))?;
        }
        Ok(Self { fields, entries })
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut fields = self.fields.clone();
        fields.insert("manifests".to_owned(), Value::Array(self.entries.clone()));
        serde_json::to_vec(&Value::Object(fields)).expect("the index is plain JSON")
    }

    /// The digests of all entries, without repetition.
    pub(crate) fn digests(&self) -> Vec<Digest> {
        let found: BTreeSet<Digest> = self.entries.iter().filter_map(digest).collect();
        found.into_iter().collect()
    }

    /// The media type an entry gives its document.
    pub(crate) fn media_type(&self, wanted: &Digest) -> Option<String> {
        let entry = self
            .entries
            .iter()
            .find(|one| digest(one).as_ref() == Some(wanted))?;
        Some(entry["mediaType"].as_str()?.to_owned())
    }

    /// The digest of what a name stands for. A digest stands for itself.
    pub(crate) fn find(&self, name: &Name) -> Result<Digest, NotFound> {
        let fits: Vec<&Value> = match name {
            Name::Digest(digest) => return Ok(digest.clone()),
            Name::Tag(tag) => {
                let exact = self.with(|entry| text(entry, REF_NAME) == Some(tag));
                match exact.is_empty() {
                    true => self.with(|entry| is_called(entry, tag)),
                    false => exact,
                }
            }
            Name::Only => {
                let named = self.with(|entry| text(entry, REF_NAME).is_some());
                match named.is_empty() {
                    true => self.with(|_| true),
                    false => named,
                }
            }
        };
        let mut digests: Vec<Digest> = fits.into_iter().filter_map(digest).collect();
        digests.sort();
        digests.dedup();
        match &digests[..] {
            [only] => Ok(only.clone()),
            [] => Err(NotFound::Absent(self.names())),
            _ => Err(NotFound::Ambiguous(self.names())),
        }
    }

    fn with(&self, fits: impl Fn(&Value) -> bool) -> Vec<&Value> {
        self.entries.iter().filter(|entry| fits(entry)).collect()
    }

    /// How the images here can be asked for.
    fn names(&self) -> Vec<String> {
        let mut names = BTreeSet::new();
        for entry in &self.entries {
            let name = text(entry, FULL_NAME).or_else(|| text(entry, REF_NAME));
            let digest = entry["digest"].as_str().unwrap_or_default();
            names.insert(name.unwrap_or(digest).to_owned());
        }
        names.into_iter().collect()
    }

    /// Lists a document. Its name is taken away from whatever had it.
    pub(crate) fn put(&mut self, descriptor: &Descriptor, name: Option<&EntryName>) {
        let wanted = Some(descriptor.digest.as_str());
        if let Some(name) = name {
            let mut kept = Vec::new();
            for mut entry in std::mem::take(&mut self.entries) {
                let has_name = text(&entry, REF_NAME) == Some(&name.tag)
                    && text(&entry, FULL_NAME) == name.full.as_deref();
                if has_name && entry["digest"].as_str() == wanted {
                    continue;
                }
                if has_name && let Some(all) = entry["annotations"].as_object_mut() {
                    // The image stays, without a name.
                    all.remove(REF_NAME);
                    all.remove(FULL_NAME);
                    let rest = all.is_empty();
                    if rest && let Some(entry) = entry.as_object_mut() {
                        entry.remove("annotations");
                    }
                }
                kept.push(entry);
            }
            // Without its name an entry may say again what another one says.
            for entry in kept {
                let nameless = text(&entry, REF_NAME).is_none();
                if !(nameless && entry["digest"].as_str() == wanted) {
                    self.entries.push(entry);
                }
            }
        } else if self
            .entries
            .iter()
            .any(|entry| entry["digest"].as_str() == wanted)
        {
            return;
        }
        let mut descriptor = descriptor.clone();
        if let Some(name) = name {
            let annotations = descriptor.annotations.get_or_insert_default();
            annotations.insert(REF_NAME.to_owned(), name.tag.clone());
            if let Some(full) = &name.full {
                annotations.insert(FULL_NAME.to_owned(), full.clone());
            }
        }
        self.entries
            .push(serde_json::to_value(descriptor).expect("a descriptor is plain JSON"));
    }
}

/// What an entry is to go by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EntryName {
    pub(crate) tag: String,
    pub(crate) full: Option<String>,
}

fn digest(entry: &Value) -> Option<Digest> {
    entry["digest"].as_str()?.parse().ok()
}

fn text<'a>(entry: &'a Value, annotation: &str) -> Option<&'a str> {
    entry["annotations"][annotation].as_str()
}

/// Whether one of the entry's names is another spelling of this reference.
fn is_called(entry: &Value, name: &str) -> bool {
    let Ok(wanted) = with_tag(name) else {
        return false;
    };
    [FULL_NAME, REF_NAME]
        .iter()
        .filter_map(|annotation| text(entry, annotation))
        .any(|own| with_tag(own).is_ok_and(|own| own == wanted))
}

/// A reference as Docker reads it; without a tag it is `latest`.
pub(crate) fn with_tag(text: &str) -> Result<Reference, launchway_model::ReferenceError> {
    let mut reference: Reference = text.parse()?;
    if reference.tag.is_none() && reference.digest.is_none() {
        reference.tag = Some("latest".parse()?);
    }
    Ok(reference)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn descriptor(of: u8) -> Descriptor {
        Descriptor {
            media_type: media::MANIFEST.to_owned(),
            digest: Digest::sha256([of; 32]).to_string(),
            size: 2,
            artifact_type: None,
            annotations: None,
            platform: None,
        }
    }

    fn name(tag: &str) -> EntryName {
        EntryName {
            tag: tag.to_owned(),
            full: None,
        }
    }

    #[test]
    fn a_name_moves_and_leaves_the_image() {
        let mut index = IndexFile::empty();
        index.put(&descriptor(1), Some(&name("v1")));
        index.put(&descriptor(1), Some(&name("v1")));
        index.put(&descriptor(1), None);
        assert_eq!(index.entries.len(), 1);
        index.put(&descriptor(2), Some(&name("v1")));
        assert_eq!(index.entries.len(), 2);
        assert_eq!(
            index.find(&Name::Tag("v1".to_owned())),
            Ok(Digest::sha256([2; 32]))
        );
        // The first one can still be named, and takes no second place.
        index.put(&descriptor(1), Some(&name("v0")));
        assert_eq!(index.entries.len(), 2);
        let again = IndexFile::read(&index.bytes()).unwrap();
        assert_eq!(again.entries, index.entries);
    }

    #[test]
    fn names_are_found_in_any_spelling() {
        let mut index = IndexFile::empty();
        let full = EntryName {
            tag: "1".to_owned(),
            full: Some("docker.io/library/app:1".to_owned()),
        };
        index.put(&descriptor(1), Some(&full));
        index.put(&descriptor(2), Some(&name("localhost/x:v2")));
        for (text, want) in [
            ("1", Some(1)),
            ("app:1", Some(1)),
            ("docker.io/library/app:1", Some(1)),
            ("app", None),
            ("localhost/x:v2", Some(2)),
            ("2", None),
        ] {
            let found = index.find(&Name::Tag(text.to_owned())).ok();
            assert_eq!(found, want.map(|of| Digest::sha256([of; 32])), "{text}");
        }
        assert_eq!(
            index.find(&Name::Only),
            Err(NotFound::Ambiguous(vec![
                "docker.io/library/app:1".to_owned(),
                "localhost/x:v2".to_owned()
            ]))
        );
    }

    #[test]
    fn unknown_fields_stay() {
        let text = format!(
            r#"{{"annotations":{{"a":"b"}},"manifests":[{{"digest":"{}","mediaType":"m","new":[1],"size":1}}],"schemaVersion":2}}"#,
            Digest::sha256([1; 32])
        );
        let index = IndexFile::read(text.as_bytes()).unwrap();
        assert_eq!(String::from_utf8(index.bytes()).unwrap(), text);
        assert!(IndexFile::read(b"[]").is_err());
        assert!(IndexFile::read(br#"{"manifests":[{}]}"#).is_err());
    }
}
