//! The tags and tests of a node, and that no tag is published twice.

use std::collections::BTreeMap;

use launchway_diagnostics::{Diagnostic, Span};
use launchway_manifest::{Image, Placeholder, SmokeTest, TagTemplate, TagValues, Variant};
use launchway_model::Tag;

use super::build::Builder;
use super::hash::{Hashed, uses_older_recipe};
use super::{Lint, Make, Node, NodeId, Role, Rolling, Smoke};
use crate::line::ReleaseLine;
use crate::{ReleaseVersion, codes};

impl Builder<'_> {
    pub(super) fn push_node(
        &mut self,
        image: &Image,
        role: Role,
        suffix: &str,
        hashed: Hashed,
        make: Make,
    ) {
        let version = self.request.version.as_ref().map(ReleaseVersion::to_string);
        let (id, feature, variant) = match &role {
            Role::Image => (NodeId::image(&image.name), None, None),
            Role::Feature(name) => (
                NodeId::feature(&image.name, name),
                Some(name.as_str()),
                None,
            ),
            Role::Variant(name) => (
                NodeId::variant(&image.name, name),
                None,
                Some(name.as_str()),
            ),
        };
        let values = &TagValues {
            image: image.name.as_str(),
            hash: Some(&hashed.hash),
            variant,
            feature,
            version: version.as_deref(),
            suffix,
        };
        let template = match &role {
            Role::Feature(_) => &image.feature_tag,
            Role::Image | Role::Variant(_) => &image.content_tag,
        };
        let Some(content_tag) = self.tag(template, values, image.span) else {
            return;
        };
        let user_facing = !matches!(role, Role::Feature(_));
        let (mut release_tags, mut rolling_tags) = (Vec::new(), Vec::new());
        let mut release_line = None;
        if user_facing {
            let versioned = self.request.version.is_some();
            let can_render = |template: &TagTemplate| {
                versioned
                    || ![Placeholder::Version, Placeholder::Major, Placeholder::Minor]
                        .iter()
                        .any(|placeholder| template.uses(*placeholder))
            };
            for template in image
                .tags
                .iter()
                .filter(|template| can_render(&template.value))
            {
                release_tags.extend(self.tag(&template.value, values, template.span));
            }
            release_line = image
                .tags
                .iter()
                .find_map(|template| ReleaseLine::new(&template.value, values));
            for template in image
                .rolling
                .iter()
                .filter(|template| can_render(&template.value))
            {
                if let Some(tag) = self.tag(&template.value, values, template.span) {
                    rolling_tags.push(Rolling {
                        tag,
                        major: template.value.uses(Placeholder::Major),
                        minor: template.value.uses(Placeholder::Minor),
                    });
                }
            }
        }
        let smoke = if user_facing {
            self.smoke(image, &role)
        } else {
            Vec::new()
        };
        let lint = user_facing.then(|| self.lint(image)).flatten();
        self.nodes.push(Node {
            id,
            image: image.name.clone(),
            role,
            repository: image.repository.value.clone(),
            hash: hashed.hash,
            legacy: uses_older_recipe(image),
            content_tag,
            platforms: self.platforms(image),
            make,
            inputs: hashed.inputs,
            pins: hashed.pins,
            smoke,
            lint,
            release_tags,
            release_line,
            rolling_tags,
        });
    }

    fn tag(&mut self, template: &TagTemplate, values: &TagValues<'_>, span: Span) -> Option<Tag> {
        match template.render(values) {
            Ok(tag) => Some(tag),
            Err(error) => {
                self.problems
                    .push(Diagnostic::error(codes::BAD_TAG, error.to_string()).at(span, ""));
                None
            }
        }
    }

    fn smoke(&mut self, image: &Image, role: &Role) -> Vec<Smoke> {
        let variant = match role {
            Role::Variant(name) => image.variants.iter().find(|variant| variant.name == *name),
            Role::Image | Role::Feature(_) => None,
        };
        let mut tests = Vec::new();
        for test in &image.smoke {
            if !applies(test, variant) {
                continue;
            }
            let stdout = test
                .stdout
                .as_ref()
                .map(|text| self.text(&text.value, text.span));
            tests.push(Smoke {
                action: test.action.clone(),
                stdout,
                exit: test.exit,
                timeout: test.timeout,
                user: test.user.clone(),
            });
        }
        tests
    }

    fn lint(&self, image: &Image) -> Option<Lint> {
        let policies = self.platforms(image).into_iter().filter_map(|platform| {
            let policy = self.family.lint_policy(image, &platform)?;
            Some((platform, policy))
        });
        let policies: BTreeMap<_, _> = policies.collect();
        (!policies.is_empty()).then(|| Lint {
            policies,
            mounts: self.family.runtime_mounts(image),
        })
    }

    pub(super) fn check_collisions(&mut self) {
        let mut seen: BTreeMap<(&str, &str), &NodeId> = BTreeMap::new();
        let mut found = Vec::new();
        for node in &self.nodes {
            for tag in node.all_tags() {
                let key = (node.repository.as_str(), tag.as_str());
                if let Some(other) = seen.insert(key, &node.id) {
                    let place = format!("{}:{tag}", node.repository);
                    let message = if *other == node.id {
                        format!("`{other}` would be published as {place} twice")
                    } else {
                        format!(
                            "`{}` and `{other}` would both be published as {place}",
                            node.id
                        )
                    };
                    found.push(
                        Diagnostic::error(codes::TAG_COLLISION, message)
                            .help("give one of them another tag, suffix or repository"),
                    );
                }
            }
        }
        self.problems.extend(found);
    }
}

/// Whether a smoke test is meant for a variant (or for an image without variants).
fn applies(test: &SmokeTest, variant: Option<&Variant>) -> bool {
    match variant {
        Some(variant) => variant.is_selected_by(test),
        None => test.variants.is_none() && test.features.is_none(),
    }
}
