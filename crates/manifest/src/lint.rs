//! What images are held to, and what will be mounted over them.

use std::collections::BTreeMap;

use launchway_diagnostics::Span;
use launchway_lint::{Allow, Budgets, Glob, Level, Limit, Policy, Rule};
use launchway_model::Platform;

use crate::{Family, Image};

/// One `lint` table. What it leaves out is the family's, or the rule's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LintSettings {
    pub span: Span,
    pub wasted: Option<Limit>,
    /// Bytes of all layers as they travel.
    pub size: Option<u64>,
    pub platform_size: BTreeMap<Platform, u64>,
    pub deny_warnings: Option<bool>,
    pub levels: BTreeMap<Rule, Level>,
    pub allow: Vec<AllowedFinding>,
}

/// A finding that is known and accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowedFinding {
    pub span: Span,
    pub rule: Rule,
    pub path: Option<Glob>,
    pub reason: String,
}

impl Family {
    /// What an image is held to on a platform; nothing when neither it nor the family says.
    pub fn lint_policy(&self, image: &Image, platform: &Platform) -> Option<Policy> {
        let tables: Vec<&LintSettings> = image.lint.iter().chain(&self.lint).collect();
        if tables.is_empty() {
            return None;
        }
        // The image's own word comes first.
        let mut policy = Policy {
            deny_warnings: tables
                .iter()
                .find_map(|table| table.deny_warnings)
                .unwrap_or(false),
            budgets: Budgets {
                wasted: tables.iter().find_map(|table| table.wasted),
                size: tables.iter().find_map(|table| {
                    let own = table.platform_size.get(platform).copied();
                    own.or(table.size)
                }),
            },
            ..Policy::default()
        };
        for table in tables {
            for (rule, level) in &table.levels {
                policy.levels.entry(*rule).or_insert(*level);
            }
            policy.allows.extend(table.allow.iter().map(|allow| Allow {
                rule: allow.rule,
                path: allow.path.clone(),
                reason: allow.reason.clone(),
            }));
        }
        Some(policy)
    }

    /// Where something is mounted at run time: what the image says and what its bases say.
    pub fn runtime_mounts(&self, image: &Image) -> Vec<String> {
        let mut mounts: Vec<String> = Vec::new();
        let mut next = Some(image);
        // A circle of bases was refused; the number of images ends the walk all the same.
        for _ in 0..=self.images.len() {
            let Some(image) = next else { break };
            for mount in &image.runtime_mounts {
                if !mounts.contains(&mount.value) {
                    mounts.push(mount.value.clone());
                }
            }
            let base = image.from.as_ref();
            next = base.and_then(|from| self.image(&from.value));
        }
        mounts
    }
}
