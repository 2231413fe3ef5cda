//! One image: `[image.NAME]` and what belongs to it.

use std::collections::BTreeMap;
use std::time::Duration;

use launchway_diagnostics::{Diagnostic, Span, Spanned};
use launchway_model::{FeatureName, ImageName, Platform, RegistryHost, Repository, VariantName};

use super::{Reader, Table};
use crate::codes;
use crate::family::{Feature, Flavour, Image, Overrides, Recipe, SmokeAction, SmokeTest, Variant};
use crate::template::{Placeholder, TagTemplate};

/// What a smoke test may take when it does not say.
const SMOKE_TIMEOUT: Duration = Duration::from_secs(5 * 60);

impl Reader<'_> {
    /// Reads an image. All its problems are reported also when it has no usable name, and then
    /// there is no image. Anything else that could not be read was reported and is filled in, so
    /// that the image can be looked at beside the others: an empty repository is an unknown one.
    pub(super) fn image(
        &mut self,
        name: Option<&ImageName>,
        span: Span,
        table: &Table<'_>,
        family_platforms: &[Spanned<Platform>],
    ) -> Option<Image> {
        let from = table.text("from").and_then(|text| {
            if text.value.trim().is_empty() {
                return None; // reported with the shape
            }
            Some(Spanned::new(
                self.name::<ImageName>("an image", &text)?,
                text.span,
            ))
        });
        let dockerfile = table.text("dockerfile").and_then(|text| self.path(text));
        let context = match table.text("context") {
            Some(text) => self.path(text),
            None => Some(Spanned::new(".".to_owned(), span)),
        };
        let repository = self.repository(table);
        let variants = self.variants(table);
        let features = self.features(table, &variants);
        let has_variants = !table.entries("variant").is_empty();
        let (content_tag, feature_tag) = self.content_tags(table, has_variants);
        let release_prefix = self.release_prefix(table);
        let tags = self.release_tags(table, has_variants);
        let rolling = self.rolling_tags(table, has_variants);
        let platforms = match self.platforms(table) {
            Some(platforms) => platforms,
            None => family_platforms.to_vec(),
        };
        let args = self.args(table, "args");
        let recipe = self.recipe(table);
        let smoke = self.smoke_tests(table);
        let lint = self.lint(table);
        let runtime_mounts = self.runtime_mounts(table);
        let labels = self.labels(table);
        let unknown = || Spanned::new(String::new(), span);
        Some(Image {
            name: name?.clone(),
            span,
            from,
            dockerfile: dockerfile.unwrap_or_else(unknown),
            context: context.unwrap_or_else(unknown),
            target: table.text("target"),
            repository: repository.unwrap_or_else(unknown),
            content_tag,
            feature_tag,
            release_prefix,
            tags,
            rolling,
            platforms,
            args,
            recipe,
            features,
            variants,
            smoke,
            lint,
            runtime_mounts,
            labels,
        })
    }

    fn repository(&mut self, table: &Table<'_>) -> Option<Spanned<String>> {
        let text = table.text("repository")?;
        if text.value.trim().is_empty() {
            return None;
        }
        let anywhere: RegistryHost = "localhost".parse().ok()?;
        let problem = match Repository::new(anywhere, &text.value) {
            Ok(_) => match text.value.split_once('/') {
                Some((first, _)) if first.contains('.') || first == "localhost" => self
                    .bad_repository(&text, 0, "a registry is not part of it")
                    .help("registries are listed once, under [family]"),
                _ => return Some(text),
            },
            Err(error) => {
                let problem = self.bad_repository(&text, error.at, error.reason);
                if text.value[error.at..].starts_with(':') {
                    problem.help("tags are listed under `tags` and `rolling`")
                } else {
                    problem
                }
            }
        };
        self.report(problem);
        None
    }

    fn bad_repository(&self, text: &Spanned<String>, at: usize, reason: &str) -> Diagnostic {
        Diagnostic::error(
            codes::BAD_REPOSITORY,
            format!("{:?} is not a repository's path", text.value),
        )
        .at(self.character(text, at), reason)
    }

    fn content_tags(
        &mut self,
        table: &Table<'_>,
        has_variants: bool,
    ) -> (TagTemplate, TagTemplate) {
        use Placeholder::{Feature, Hash, Image, Suffix, Variant};
        let (default, allowed): (&str, &[Placeholder]) = if has_variants {
            ("{image}-{variant}-{hash}", &[Image, Variant, Suffix, Hash])
        } else {
            ("{image}-{hash}", &[Image, Suffix, Hash])
        };
        let content = self.content_tag(table, "content-tag", default, allowed);
        let feature = self.content_tag(
            table,
            "feature-tag",
            "{image}-{feature}-{hash}",
            &[Image, Feature, Hash],
        );
        (content, feature)
    }

    fn content_tag(
        &mut self,
        table: &Table<'_>,
        key: &str,
        default: &str,
        allowed: &[Placeholder],
    ) -> TagTemplate {
        let default = TagTemplate::parse(default).expect("the defaults are templates");
        let Some(text) = table.text(key) else {
            return default;
        };
        let Some(template) = self.tag_template(&text, &format!("`{key}`"), allowed) else {
            return default;
        };
        if !template.uses(Placeholder::Hash) {
            let problem = Diagnostic::error(
                codes::CONTENT_TAG_WITHOUT_HASH,
                format!("`{key}` is without `{{hash}}`"),
            )
            .at(text.span, "the same for every content")
            .help(format!("write {:?}", format!("{}-{{hash}}", text.value)));
            self.report(problem);
        }
        template
    }

    fn release_prefix(&mut self, table: &Table<'_>) -> String {
        let Some(text) = table.text("release-prefix") else {
            return String::new();
        };
        let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '/');
        if let Some((at, c)) = text.value.char_indices().find(|&(_, c)| !good(c)) {
            let span = self.character(&text, at);
            self.bad_value(
                span,
                format!("{c:?} cannot stand in a release prefix"),
                "letters, digits, '.', '_', '-' and '/'",
            );
        }
        text.value
    }

    fn release_tags(&mut self, table: &Table<'_>, has_variants: bool) -> Vec<Spanned<TagTemplate>> {
        let mut tags = Vec::new();
        for text in table.texts("tags").unwrap_or_default() {
            let allowed = allowed_in_releases(has_variants);
            let Some(template) = self.tag_template(&text, "`tags`", &allowed) else {
                continue;
            };
            if !template.uses(Placeholder::Version) {
                let problem = Diagnostic::error(
                    codes::RELEASE_TAG_WITHOUT_VERSION,
                    format!("release tag {:?} is without `{{version}}`", text.value),
                )
                .at(text.span, "the same for every release, yet never to change")
                .help("add `{version}`, or list it under `rolling`");
                self.report(problem);
            } else {
                tags.push(Spanned::new(template, text.span));
            }
        }
        tags
    }

    fn rolling_tags(&mut self, table: &Table<'_>, has_variants: bool) -> Vec<Spanned<TagTemplate>> {
        let mut tags = Vec::new();
        for text in table.texts("rolling").unwrap_or_default() {
            let allowed = allowed_in_releases(has_variants);
            let Some(template) = self.tag_template(&text, "`rolling`", &allowed) else {
                continue;
            };
            if let Some((placeholder, range)) = template
                .placeholders()
                .find(|(used, _)| matches!(used, Placeholder::Version | Placeholder::Hash))
            {
                let problem = Diagnostic::error(
                    codes::ROLLING_TAG_STANDS_STILL,
                    format!("rolling tag {:?} never moves", text.value),
                )
                .at(self.inside(&text, range), "makes another tag each time")
                .help(if placeholder == Placeholder::Version {
                    "list it under `tags`, or use `{major}` or `{minor}`"
                } else {
                    "contents have their own tag already, see `content-tag`"
                });
                self.report(problem);
            } else {
                tags.push(Spanned::new(template, text.span));
            }
        }
        tags
    }

    fn recipe(&mut self, table: &Table<'_>) -> Recipe {
        let texts = table.texts("inputs");
        let count = texts.as_ref().map_or(0, Vec::len);
        let inputs = texts.map(|texts| self.paths(texts));
        match table.text("hash").as_deref().map(String::as_str) {
            Some("concat") => Recipe::Concat { inputs },
            Some("file") => {
                if let Some((_, span)) = table.get("inputs").filter(|_| count > 1) {
                    let problem =
                        Diagnostic::error(codes::BAD_INPUTS, "`hash = \"file\"` hashes one file")
                            .at(span, format!("{count} files"))
                            .help("name one of them, or use `hash = \"concat\"`");
                    self.report(problem);
                }
                Recipe::File {
                    path: inputs.and_then(|inputs| inputs.into_iter().next()),
                }
            }
            _ => Recipe::Tree { inputs },
        }
    }

    /// The features that have a table, and those that variants list.
    fn features(
        &mut self,
        table: &Table<'_>,
        variants: &[Variant],
    ) -> BTreeMap<FeatureName, Feature> {
        let mut features = BTreeMap::new();
        for (text, table) in table.named_tables("feature") {
            let name = self.name::<FeatureName>("a feature", &text);
            let args = self.args(&table, "args");
            let Some(name) = name else { continue };
            let target = table
                .text("target")
                .unwrap_or_else(|| Spanned::new(name.to_string(), text.span));
            let feature = Feature {
                name: name.clone(),
                span: text.span,
                target,
                neutral: table.bool("neutral").unwrap_or(false),
                args,
            };
            features.insert(name, feature);
        }
        for variant in variants {
            let Flavour::Features(listed) = &variant.flavour else {
                continue;
            };
            for name in listed {
                features
                    .entry(name.value.clone())
                    .or_insert_with(|| Feature {
                        name: name.value.clone(),
                        span: name.span,
                        target: Spanned::new(name.to_string(), name.span),
                        neutral: false,
                        args: BTreeMap::new(),
                    });
            }
        }
        features
    }

    fn variants(&mut self, table: &Table<'_>) -> Vec<Variant> {
        let mut variants = Vec::new();
        for (text, table) in table.named_tables("variant") {
            let name = self.name::<VariantName>("a variant", &text);
            let flavour = match table.texts("features") {
                Some(features) => Flavour::Features(self.names("a feature", features)),
                None => Flavour::Args(self.args(&table, "args")),
            };
            let suffix = self.suffix(&table);
            let overrides = self.overrides(&table);
            if let Some(name) = name {
                variants.push(Variant {
                    suffix: suffix.unwrap_or_else(|| format!("-{name}")),
                    name,
                    span: text.span,
                    flavour,
                    overrides,
                });
            }
        }
        variants
    }

    fn suffix(&mut self, table: &Table<'_>) -> Option<String> {
        let text = table.text("suffix")?;
        let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if let Some((at, c)) = text.value.char_indices().find(|&(_, c)| !good(c)) {
            let problem = Diagnostic::error(codes::BAD_TAG, format!("{c:?} cannot stand in a tag"))
                .at(self.character(&text, at), "not in a tag")
                .help("tags have letters, digits, `_`, `.` and `-`");
            self.report(problem);
            return None;
        }
        Some(text.value)
    }

    fn overrides(&mut self, table: &Table<'_>) -> Overrides {
        let plain = |texts: Option<Vec<Spanned<String>>>| {
            texts.map(|texts| texts.into_iter().map(|text| text.value).collect())
        };
        let workdir = table.text("workdir");
        if let Some(workdir) = &workdir
            && !workdir.value.starts_with('/')
            && !workdir.value.trim().is_empty()
        {
            self.bad_value(
                workdir.span,
                format!("{:?} is not a working directory", workdir.value),
                "an absolute path, as it is inside the image",
            );
        }
        Overrides {
            entrypoint: plain(table.texts("entrypoint")),
            cmd: plain(table.texts("cmd")),
            user: table.text("user").map(|user| user.value),
            workdir: workdir.map(|workdir| workdir.value),
        }
    }

    fn smoke_tests(&mut self, table: &Table<'_>) -> Vec<SmokeTest> {
        let tables = table.tables("smoke");
        tables.iter().map(|table| self.smoke_test(table)).collect()
    }

    fn smoke_test(&mut self, table: &Table<'_>) -> SmokeTest {
        let run = table.texts("run").map(|words| {
            if let Some(first) = words.first()
                && first.value.trim().is_empty()
            {
                let message = "`run` names no command".to_owned();
                self.bad_value(first.span, message, "nothing is written here");
            }
            SmokeAction::Run(words.into_iter().map(|word| word.value).collect())
        });
        let script = table.text("script").and_then(|text| self.path(text));
        let stdout = table
            .text("stdout")
            .and_then(|text| self.text_template(text));
        let variants = table
            .texts("variants")
            .map(|names| self.names("a variant", names));
        let features = table
            .texts("features")
            .map(|names| self.names("a feature", names));
        let timeout = self.time_limit(table, "timeout");
        SmokeTest {
            span: table.span,
            // Without either it was reported with the shape.
            action: run
                .or(script.map(SmokeAction::Script))
                .unwrap_or_else(|| SmokeAction::Run(Vec::new())),
            stdout,
            exit: table
                .integer("exit")
                .and_then(|exit| i32::try_from(exit).ok())
                .unwrap_or(0),
            variants,
            features,
            timeout: timeout.unwrap_or(SMOKE_TIMEOUT),
            user: table.text("user").map(|user| user.value),
        }
    }
}

/// The placeholders of release tags and rolling tags.
fn allowed_in_releases(has_variants: bool) -> Vec<Placeholder> {
    use Placeholder::{Hash, Image, Major, Minor, Suffix, Variant, Version};
    let mut allowed = vec![Version, Major, Minor, Suffix, Image, Hash];
    if has_variants {
        allowed.push(Variant);
    }
    allowed
}
