//! The line of releases a tag belongs to: which tags of a repository are releases of one node, and
//! of which version.

use launchway_manifest::{Placeholder, TagTemplate, TagValues};
use launchway_model::Tag;

use crate::ReleaseVersion;

/// A release tag's template with everything filled in but what differs from release to release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReleaseLine(Vec<Piece>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Literal(String),
    Version,
    Major,
    Minor,
    Hash,
}

/// What the pieces read so far say of the version.
#[derive(Clone, Default)]
struct Read {
    version: Option<ReleaseVersion>,
    major: Option<u64>,
    minor: Option<u64>,
}

impl ReleaseLine {
    /// Absent for a template without the version, which tells no releases apart.
    pub(crate) fn new(template: &TagTemplate, values: &TagValues<'_>) -> Option<Self> {
        if !template.uses(Placeholder::Version) {
            return None;
        }
        let text = template.as_str();
        let mut pieces = Vec::new();
        let mut at = 0;
        for (placeholder, range) in template.placeholders() {
            pieces.push(Piece::Literal(text[at..range.start].to_owned()));
            at = range.end;
            pieces.push(match placeholder {
                Placeholder::Version => Piece::Version,
                Placeholder::Major => Piece::Major,
                Placeholder::Minor => Piece::Minor,
                Placeholder::Hash => Piece::Hash,
                Placeholder::Image => Piece::Literal(values.image.to_owned()),
                Placeholder::Variant => Piece::Literal(values.variant?.to_owned()),
                Placeholder::Feature => Piece::Literal(values.feature?.to_owned()),
                Placeholder::Suffix => Piece::Literal(values.suffix.to_owned()),
            });
        }
        pieces.push(Piece::Literal(text[at..].to_owned()));
        Some(Self(pieces))
    }

    /// The version that a tag is the release of, if it belongs to this line.
    pub fn version_of(&self, tag: &Tag) -> Option<ReleaseVersion> {
        read(&self.0, tag.as_str(), Read::default())
    }
}

/// Reads from left to right; a version is as long as the rest allows.
fn read(pieces: &[Piece], text: &str, so_far: Read) -> Option<ReleaseVersion> {
    let Some((piece, rest)) = pieces.split_first() else {
        let version = so_far.version.filter(|_| text.is_empty())?;
        let fits = so_far.major.is_none_or(|major| major == version.major)
            && so_far.minor.is_none_or(|minor| minor == version.minor);
        return fits.then_some(version);
    };
    match piece {
        Piece::Literal(literal) => read(rest, text.strip_prefix(literal.as_str())?, so_far),
        Piece::Version => (1..=text.len()).rev().find_map(|end| {
            let version: ReleaseVersion = text.get(..end)?.parse().ok()?;
            if so_far
                .version
                .as_ref()
                .is_some_and(|other| *other != version)
            {
                return None;
            }
            let so_far = Read {
                version: Some(version),
                ..so_far.clone()
            };
            read(rest, &text[end..], so_far)
        }),
        Piece::Major | Piece::Minor => {
            let end = text
                .find(|c: char| !c.is_ascii_digit())
                .unwrap_or(text.len());
            let number = text[..end].parse().ok()?;
            let so_far = match piece {
                Piece::Major => Read {
                    major: Some(number),
                    ..so_far
                },
                _ => Read {
                    minor: Some(number),
                    ..so_far
                },
            };
            read(rest, &text[end..], so_far)
        }
        Piece::Hash => {
            let (hash, after) = text.split_at_checked(12)?;
            let is_hash = hash
                .bytes()
                .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
            is_hash.then(|| read(rest, after, so_far))?
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_told_from_other_tags() {
        for (template, suffix, tag, want) in [
            ("v{version}{suffix}", "", "v1.2.3", Some("1.2.3")),
            ("v{version}{suffix}", "", "v1.2.3b", Some("1.2.3b")),
            ("v{version}{suffix}", "", "v1.2.3-omos", Some("1.2.3-omos")),
            ("v{version}{suffix}", "", "v1.2", None),
            ("v{version}{suffix}", "", "latest", None),
            ("v{version}{suffix}", "", "x-v1.2.3", None),
            ("v{version}{suffix}", "-omos", "v1.2.3-omos", Some("1.2.3")),
            ("v{version}{suffix}", "-omos", "v1.2.3", None),
            (
                "v{version}{suffix}",
                "-pi",
                "v1.2.3-omos-pi",
                Some("1.2.3-omos"),
            ),
            ("r{major}_{version}", "", "r2_2.1.0", Some("2.1.0")),
            ("r{major}_{version}", "", "r1_2.1.0", None),
            ("{version}_{hash}", "", "1.0.0_0123456789ab", Some("1.0.0")),
            ("{version}_{hash}", "", "1.0.0_0123456789xy", None),
            ("{image}-{version}", "", "py-1.0.0", Some("1.0.0")),
            ("{image}-{version}", "", "py-3.13-1.0.0", None),
            ("{version}.{version}", "", "1.0.0.1.0.0", Some("1.0.0")),
            ("{version}.{version}", "", "1.0.0.1.0.1", None),
        ] {
            let template = TagTemplate::parse(template).unwrap();
            let values = TagValues {
                image: "py",
                suffix,
                ..TagValues::default()
            };
            let line = ReleaseLine::new(&template, &values).unwrap();
            let version = tag.parse().ok().and_then(|tag| line.version_of(&tag));
            let version = version.map(|version| version.to_string());
            assert_eq!(version.as_deref(), want, "{tag} in {template}");
        }
        let rolling = TagTemplate::parse("latest{suffix}").unwrap();
        assert_eq!(ReleaseLine::new(&rolling, &TagValues::default()), None);
    }
}
