//! Texts with placeholders: tags (`v{version}{suffix}`) and values that mention resolved versions
//! (`{OPENCODE_VERSION}`). A literal brace is written twice: `{{` and `}}`.

use std::fmt;
use std::ops::Range;

use launchway_model::{InputHash, ReferenceError, Tag, VersionName};

/// Something a tag can be made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Placeholder {
    /// The first twelve digits of the input hash.
    Hash,
    Image,
    Variant,
    Feature,
    /// The version that is released, without the release prefix.
    Version,
    /// The variant's suffix; nothing for an image without variants.
    Suffix,
    Major,
    Minor,
}

impl Placeholder {
    pub const ALL: [Self; 8] = [
        Self::Hash,
        Self::Image,
        Self::Variant,
        Self::Feature,
        Self::Version,
        Self::Suffix,
        Self::Major,
        Self::Minor,
    ];

    /// The word between the braces.
    pub fn word(self) -> &'static str {
        match self {
            Self::Hash => "hash",
            Self::Image => "image",
            Self::Variant => "variant",
            Self::Feature => "feature",
            Self::Version => "version",
            Self::Suffix => "suffix",
            Self::Major => "major",
            Self::Minor => "minor",
        }
    }
}

/// What is wrong with a template, and which bytes of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{problem}")]
pub struct TemplateError {
    pub range: Range<usize>,
    pub problem: TemplateProblem,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateProblem {
    #[error("`{{` is not closed")]
    Unclosed,
    #[error("`}}` closes nothing")]
    Unopened,
    #[error("unknown placeholder `{{{0}}}`")]
    UnknownPlaceholder(String),
    #[error("`{{{0}}}` cannot be the name of a version")]
    NotAName(String),
    #[error("{0:?} cannot stand in a tag")]
    NotInATag(char),
}

/// What a tag template is filled with. Absent values are an error only for a template that asks
/// for them.
#[derive(Clone, Copy, Debug, Default)]
pub struct TagValues<'a> {
    pub image: &'a str,
    pub hash: Option<&'a InputHash>,
    pub variant: Option<&'a str>,
    pub feature: Option<&'a str>,
    /// The version that is released, without the release prefix.
    pub version: Option<&'a str>,
    /// Empty for an image without variants.
    pub suffix: &'a str,
}

/// Why a template gives no tag.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TagRenderError {
    #[error("fill {{{word}}} of tag template {template:?}: no value here")]
    NoValue {
        template: String,
        word: &'static str,
    },
    #[error("fill {{{word}}} of tag template {template:?}: version {version:?} has no such part")]
    NoSuchPart {
        template: String,
        word: &'static str,
        version: String,
    },
    #[error("tag template {template:?} gives {text:?}, which is not a tag")]
    NotATag {
        template: String,
        text: String,
        source: ReferenceError,
    },
}

/// A parsed template of a tag.
#[derive(Clone, PartialEq, Eq)]
pub struct TagTemplate {
    text: String,
    pieces: Vec<Piece<Placeholder>>,
}

/// A parsed text that may mention versions of the family.
#[derive(Clone, PartialEq, Eq)]
pub struct TextTemplate {
    text: String,
    pieces: Vec<Piece<VersionName>>,
}

/// A text mentions a version that has no value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("fill {{{name}}} of {template:?}: no such version")]
pub struct UnknownVersion {
    pub template: String,
    pub name: VersionName,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Piece<P> {
    Literal(String),
    /// The placeholder and its bytes in the template, braces included.
    Filled(P, Range<usize>),
}

impl TagTemplate {
    /// Reads a template; all that is wrong with it is reported.
    pub fn parse(text: &str) -> Result<Self, Vec<TemplateError>> {
        let mut errors = Vec::new();
        let pieces = split(text, &mut errors, |word| {
            Placeholder::ALL
                .into_iter()
                .find(|placeholder| placeholder.word() == word)
                .ok_or_else(|| TemplateProblem::UnknownPlaceholder(word.to_owned()))
        });
        let in_tag = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
        // Braces are left to the splitter, which has a better answer; doubled ones never fit.
        let bad = text
            .char_indices()
            .find(|&(_, c)| !in_tag(c) && !matches!(c, '{' | '}'))
            .or_else(|| {
                let doubled = text.find("{{").or_else(|| text.find("}}"))?;
                errors
                    .is_empty()
                    .then(|| text[doubled..].chars().next().map(|c| (doubled, c)))?
            });
        if let Some((at, c)) = bad
            && !errors.iter().any(|error| error.range.contains(&at))
        {
            errors.push(TemplateError {
                range: at..at + c.len_utf8(),
                problem: TemplateProblem::NotInATag(c),
            });
        }
        if errors.is_empty() {
            Ok(Self {
                text: text.to_owned(),
                pieces,
            })
        } else {
            Err(errors)
        }
    }

    /// The template as written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The placeholders in order, each with its bytes in the template.
    pub fn placeholders(&self) -> impl Iterator<Item = (Placeholder, Range<usize>)> + '_ {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Filled(placeholder, range) => Some((*placeholder, range.clone())),
            Piece::Literal(_) => None,
        })
    }

    pub fn uses(&self, placeholder: Placeholder) -> bool {
        self.placeholders().any(|(used, _)| used == placeholder)
    }

    /// Whether what it gives names one content or one release for ever.
    pub fn is_immutable(&self) -> bool {
        self.uses(Placeholder::Hash) || self.uses(Placeholder::Version)
    }

    pub fn render(&self, values: &TagValues<'_>) -> Result<Tag, TagRenderError> {
        let mut text = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Literal(literal) => text.push_str(literal),
                Piece::Filled(placeholder, _) => text.push_str(&self.value(*placeholder, values)?),
            }
        }
        text.parse().map_err(|source| TagRenderError::NotATag {
            template: self.text.clone(),
            text,
            source,
        })
    }

    fn value(
        &self,
        placeholder: Placeholder,
        values: &TagValues<'_>,
    ) -> Result<String, TagRenderError> {
        let part = |at: usize| {
            values.version.map(|version| {
                let part = version.split('.').nth(at).unwrap_or("");
                let digits: String = part.chars().take_while(char::is_ascii_digit).collect();
                if digits.is_empty() {
                    Err(TagRenderError::NoSuchPart {
                        template: self.text.clone(),
                        word: placeholder.word(),
                        version: version.to_owned(),
                    })
                } else {
                    Ok(digits)
                }
            })
        };
        let value = match placeholder {
            Placeholder::Hash => values.hash.map(InputHash::short),
            Placeholder::Image => Some(values.image.to_owned()),
            Placeholder::Variant => values.variant.map(str::to_owned),
            Placeholder::Feature => values.feature.map(str::to_owned),
            Placeholder::Version => values.version.map(str::to_owned),
            Placeholder::Suffix => Some(values.suffix.to_owned()),
            Placeholder::Major => part(0).transpose()?,
            Placeholder::Minor => part(1).transpose()?,
        };
        value.ok_or_else(|| TagRenderError::NoValue {
            template: self.text.clone(),
            word: placeholder.word(),
        })
    }
}

impl TextTemplate {
    /// Reads a template; all that is wrong with it is reported. Whether the versions exist is not
    /// known here.
    pub fn parse(text: &str) -> Result<Self, Vec<TemplateError>> {
        let mut errors = Vec::new();
        let pieces = split(text, &mut errors, |word| {
            word.parse::<VersionName>()
                .map_err(|_| TemplateProblem::NotAName(word.to_owned()))
        });
        if errors.is_empty() {
            Ok(Self {
                text: text.to_owned(),
                pieces,
            })
        } else {
            Err(errors)
        }
    }

    /// The template as written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The versions it mentions, each with its bytes in the template, braces included.
    pub fn versions(&self) -> impl Iterator<Item = (&VersionName, Range<usize>)> + '_ {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Filled(name, range) => Some((name, range.clone())),
            Piece::Literal(_) => None,
        })
    }

    /// The text with every version filled in.
    pub fn render(
        &self,
        version: impl Fn(&VersionName) -> Option<String>,
    ) -> Result<String, UnknownVersion> {
        let mut text = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Literal(literal) => text.push_str(literal),
                Piece::Filled(name, _) => {
                    let value = version(name).ok_or_else(|| UnknownVersion {
                        template: self.text.clone(),
                        name: name.clone(),
                    })?;
                    text.push_str(&value);
                }
            }
        }
        Ok(text)
    }
}

/// Cuts a template at its placeholders and undoubles braces.
fn split<P>(
    text: &str,
    errors: &mut Vec<TemplateError>,
    read: impl Fn(&str) -> Result<P, TemplateProblem>,
) -> Vec<Piece<P>> {
    let mut pieces = Vec::new();
    let mut literal = String::new();
    let mut at = 0;
    while let Some(c) = text[at..].chars().next() {
        let rest = &text[at..];
        if rest.starts_with("{{") || rest.starts_with("}}") {
            literal.push(c);
            at += 2;
        } else if c == '{' {
            let Some(length) = rest[1..]
                .find(['{', '}'])
                .filter(|length| rest[1 + length..].starts_with('}'))
            else {
                errors.push(TemplateError {
                    range: at..at + 1,
                    problem: TemplateProblem::Unclosed,
                });
                at += 1;
                continue;
            };
            let range = at..at + length + 2;
            match read(&rest[1..=length]) {
                Ok(placeholder) => {
                    if !literal.is_empty() {
                        pieces.push(Piece::Literal(std::mem::take(&mut literal)));
                    }
                    pieces.push(Piece::Filled(placeholder, range.clone()));
                }
                Err(problem) => errors.push(TemplateError {
                    range: range.clone(),
                    problem,
                }),
            }
            at = range.end;
        } else if c == '}' {
            errors.push(TemplateError {
                range: at..at + 1,
                problem: TemplateProblem::Unopened,
            });
            at += 1;
        } else {
            literal.push(c);
            at += c.len_utf8();
        }
    }
    if !literal.is_empty() {
        pieces.push(Piece::Literal(literal));
    }
    pieces
}

macro_rules! shown_as_written {
    ($($type:ty),*) => {$(
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.text)
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.text, f)
            }
        }
    )*};
}
shown_as_written!(TagTemplate, TextTemplate);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_filled_in() {
        let hash = InputHash::from_sha256([0xab; 32]);
        let values = TagValues {
            image: "devbox",
            hash: Some(&hash),
            variant: Some("omos"),
            feature: None,
            version: Some("1.15.12b"),
            suffix: "-omos",
        };
        for (template, want) in [
            ("base-{hash}", Ok("base-abababababab")),
            ("v{version}{suffix}", Ok("v1.15.12b-omos")),
            ("v{major}.{minor}", Ok("v1.15")),
            ("{image}_{variant}", Ok("devbox_omos")),
            (
                "{feature}",
                Err("fill {feature} of tag template \"{feature}\": no value here"),
            ),
            (
                "{suffix}",
                Err("tag template \"{suffix}\" gives \"-omos\", which is not a tag"),
            ),
        ] {
            let tag = TagTemplate::parse(template).unwrap().render(&values);
            match want {
                Ok(want) => assert_eq!(tag.unwrap().as_str(), want),
                Err(want) => assert_eq!(tag.unwrap_err().to_string(), want),
            }
        }
        let edge = TagValues {
            version: Some("edge"),
            ..values
        };
        assert!(matches!(
            TagTemplate::parse("{minor}").unwrap().render(&edge),
            Err(TagRenderError::NoSuchPart { word: "minor", .. })
        ));
    }

    #[test]
    fn a_name_for_ever_holds_a_version_or_a_hash() {
        for (template, want) in [
            ("v{version}", true),
            ("x-{hash}", true),
            ("v{major}.{minor}", false),
            ("latest{suffix}", false),
        ] {
            assert_eq!(TagTemplate::parse(template).unwrap().is_immutable(), want);
        }
    }

    #[test]
    fn everything_wrong_with_a_tag_template_is_told() {
        for (template, want) in [
            (
                "v{vresion}-{x}",
                vec![
                    (1..10, "unknown placeholder `{vresion}`"),
                    (11..14, "unknown placeholder `{x}`"),
                ],
            ),
            ("v{version", vec![(1..2, "`{` is not closed")]),
            ("v{a{hash}", vec![(1..2, "`{` is not closed")]),
            ("v}", vec![(1..2, "`}` closes nothing")]),
            (
                "a b{c}",
                vec![
                    (3..6, "unknown placeholder `{c}`"),
                    (1..2, "' ' cannot stand in a tag"),
                ],
            ),
            ("a{{b", vec![(1..2, "'{' cannot stand in a tag")]),
        ] {
            let errors = TagTemplate::parse(template).unwrap_err();
            let got: Vec<_> = errors
                .iter()
                .map(|error| (error.range.clone(), error.problem.to_string()))
                .collect();
            let want: Vec<_> = want
                .into_iter()
                .map(|(range, text)| (range, text.to_owned()))
                .collect();
            assert_eq!(got, want, "{template}");
        }
    }

    #[test]
    fn texts_mention_versions_and_double_their_braces() {
        let text = TextTemplate::parse("{{\"v\": \"{PI}\"}}").unwrap();
        let names: Vec<_> = text
            .versions()
            .map(|(name, range)| (name.as_str(), range))
            .collect();
        assert_eq!(names, [("PI", 8..12)]);
        assert_eq!(
            text.render(|_| Some("1.2".to_owned())),
            Ok("{\"v\": \"1.2\"}".to_owned())
        );
        assert_eq!(text.render(|_| None).unwrap_err().name.as_str(), "PI");
        let errors = TextTemplate::parse("{\"v\": 1}").unwrap_err();
        assert_eq!(
            errors[0].problem,
            TemplateProblem::NotAName("\"v\": 1".into())
        );
    }
}
