//! `--annotation [TYPE[PLATFORM],…:]KEY=VALUE`, as buildx reads it.

use launchway_release::single::{AnnotationPlace, ImageAnnotation};

use super::Result;
use crate::failure::Failure;
use crate::family::parse_platform;

const HELP: &str = "write KEY=VALUE, or TYPE:KEY=VALUE with a type of manifest, index, \
                    manifest-descriptor, index-descriptor, and perhaps a platform: manifest[linux/amd64]";

/// All annotations; `one_platform` says that there will be no index.
pub(super) fn parse(given: &[String], one_platform: bool) -> Result<Vec<ImageAnnotation>> {
    let mut found = Vec::new();
    for text in given {
        let wrong = |why: &str| Failure::usage(format!("--annotation {text}: {why}"), HELP);
        let (key, value) = text
            .split_once('=')
            .ok_or_else(|| wrong("there is no `=`"))?;
        let (types, key) = key.split_once(':').unwrap_or(("manifest", key));
        if key.is_empty() {
            return Err(wrong("there is no key"));
        }
        for word in types.split(',') {
            let (kind, platform) = match word.split_once('[') {
                Some((kind, rest)) => {
                    let platform = rest
                        .strip_suffix(']')
                        .ok_or_else(|| wrong("the bracket is not closed"))?;
                    (kind, Some(parse_platform(platform)?))
                }
                None => (word, None),
            };
            let place = match kind {
                "manifest" => AnnotationPlace::Manifest,
                "index" => AnnotationPlace::Index,
                "manifest-descriptor" => AnnotationPlace::ManifestDescriptor,
                "index-descriptor" => AnnotationPlace::IndexDescriptor,
                _ => return Err(wrong("this type is not known")),
            };
            let of_index = matches!(
                place,
                AnnotationPlace::Index | AnnotationPlace::IndexDescriptor
            );
            if of_index && one_platform {
                return Err(wrong("an image of one platform has no index"));
            }
            found.push(ImageAnnotation {
                place,
                platform,
                key: key.to_owned(),
                value: value.to_owned(),
            });
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, one: bool) -> std::result::Result<Vec<ImageAnnotation>, String> {
        match parse(&[text.to_owned()], one) {
            Ok(found) => Ok(found),
            Err(Failure::Message { message, .. }) => Err(message),
            Err(_) => Err(String::new()),
        }
    }

    #[test]
    fn annotations_are_read_as_buildx_reads_them() {
        let of = |place, platform: Option<&str>| ImageAnnotation {
            place,
            platform: platform.map(|platform| platform.parse().expect("a platform")),
            key: "a.b".to_owned(),
            value: "c=d".to_owned(),
        };
        use AnnotationPlace::{Index, IndexDescriptor, Manifest, ManifestDescriptor};
        for (text, want) in [
            ("a.b=c=d", vec![of(Manifest, None)]),
            ("index:a.b=c=d", vec![of(Index, None)]),
            (
                "index,manifest:a.b=c=d",
                vec![of(Index, None), of(Manifest, None)],
            ),
            (
                "manifest-descriptor[linux/arm64]:a.b=c=d",
                vec![of(ManifestDescriptor, Some("linux/arm64"))],
            ),
            ("index-descriptor:a.b=c=d", vec![of(IndexDescriptor, None)]),
        ] {
            assert_eq!(read(text, false).as_ref(), Ok(&want), "{text}");
        }
        for (text, one, why) in [
            ("a", false, "no `=`"),
            ("=x", false, "no key"),
            ("nothing:a=b", false, "not known"),
            ("manifest[linux/amd64:a=b", false, "not closed"),
            ("index:a=b", true, "no index"),
        ] {
            let said = read(text, one).expect_err(text);
            assert!(said.contains(why), "{text}: {said}");
        }
    }
}
