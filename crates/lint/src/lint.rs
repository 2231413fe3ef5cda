//! All rules, under a policy.

use crate::rules;
use crate::stack::Stacked;
use crate::{Exceeded, Finding, Image, LayerTotals, Level, Policy, Report};

/// Judges an image. The same image and policy give the same report.
#[must_use]
pub fn lint(image: &Image, policy: &Policy) -> Report {
    let stacked = Stacked::new(image);
    let mut findings = rules::secrets(image, &stacked);
    findings.extend(rules::shadowed(image, &stacked));
    findings.extend(rules::leftovers(image, &stacked));
    findings.extend(rules::superseded(image, &stacked));
    findings.extend(rules::duplicates(image, &stacked));
    findings.extend(rules::permissions(image, &stacked));
    let mut allowed = vec![0; policy.allows.len()];
    let mut findings: Vec<Finding> = findings
        .into_iter()
        .filter_map(|finding| under(policy, finding, &mut allowed))
        .collect();
    findings.sort_by(|a, b| {
        let weight = |finding: &Finding| (finding.level, finding.wasted);
        weight(b)
            .cmp(&weight(a))
            .then_with(|| (a.rule, a.layer).cmp(&(b.rule, b.layer)))
    });
    let layers: Vec<LayerTotals> = image
        .layers
        .iter()
        .enumerate()
        .map(|(at, layer)| LayerTotals {
            digest: layer.digest.clone(),
            instruction: layer.instruction.clone(),
            inherited: !image.is_own(at),
            size: layer.size,
            files: stacked.unpacked[at].0,
            unpacked: stacked.unpacked[at].1,
            wasted: findings
                .iter()
                .filter(|finding| finding.layer == Some(at))
                .map(|finding| finding.wasted)
                .sum(),
        })
        .collect();
    let shipped = layers.iter().map(|layer| layer.unpacked).sum();
    let size = layers.iter().map(|layer| layer.size).sum();
    let wasted = findings.iter().map(|finding| finding.wasted).sum();
    let mut exceeded = Vec::new();
    let mut limit = |budget, limit: Option<u64>, found: u64| {
        if let Some(limit) = limit.filter(|limit| found > *limit) {
            exceeded.push(Exceeded {
                budget,
                limit,
                found,
            });
        }
    };
    let budgets = &policy.budgets;
    limit(
        "wasted",
        budgets.wasted.map(|limit| limit.bytes(shipped)),
        wasted,
    );
    limit("size", budgets.size, size);
    Report {
        findings,
        layers,
        shipped,
        size,
        wasted,
        allowed,
        exceeded,
    }
}

/// What is left of a finding under the policy.
fn under(policy: &Policy, mut finding: Finding, allowed: &mut [usize]) -> Option<Finding> {
    finding.level = policy.level(finding.rule, finding.level);
    if finding.level == Level::Allow {
        return None;
    }
    let wasted = finding.wasted > 0;
    let rule = finding.rule;
    let mut spots = std::mem::take(&mut finding.spots);
    spots.retain(|spot| {
        let mut covered = false;
        for (at, allow) in policy.allows.iter().enumerate() {
            if allow.covers(rule, &spot.path) {
                allowed[at] += 1;
                covered = true;
            }
        }
        !covered
    });
    if spots.is_empty() {
        return None;
    }
    finding.take(spots, wasted);
    Some(finding)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::testing::{file, image, removed, secret, told};
    use crate::{Allow, Glob, Limit, Rule};

    fn wasteful() -> Image {
        image(
            1,
            &[
                &[("etc/os-release", file(10))],
                &[
                    ("var/lib/apt/lists/a", file(3_000_000)),
                    ("big", file(2_000_000)),
                    ("app", file(5_000_000)),
                ],
                &[
                    ("big", removed()),
                    ("root/.npmrc", secret("npm credentials")),
                ],
            ],
        )
    }

    #[test]
    fn what_matters_most_comes_first_and_adds_up() {
        let report = lint(&wasteful(), &Policy::default());
        assert_eq!(
            told(&report.findings),
            [
                "secret-file@2 0 0: /root/.npmrc",
                "package-cache@1 3000000 3000000: /var/lib/apt/lists/a",
                "deleted-file@2 2000000 2000000: /big",
            ]
        );
        assert_eq!((report.wasted, report.shipped), (5_000_000, 10_000_110));
        assert_eq!((report.efficiency(), report.size), (500, 3000));
        let wasted: Vec<u64> = report.layers.iter().map(|layer| layer.wasted).collect();
        assert_eq!(wasted, [0, 3_000_000, 2_000_000]);
        assert!(!report.is_passed());
        assert_eq!(report.why(), "it has secret-file (/root/.npmrc)");
    }

    #[test]
    fn budgets_refuse_what_is_over_them() {
        let check = |wasted: Option<&str>, size: Option<u64>, want: &[(&str, u64, u64)]| {
            let mut policy = Policy::default();
            policy.levels.insert(Rule::SecretFile, Level::Warn);
            policy.budgets.wasted = wasted.map(|text| Limit::parse(text).unwrap());
            policy.budgets.size = size;
            let report = lint(&wasteful(), &policy);
            let found: Vec<_> = report
                .exceeded
                .iter()
                .map(|over| (over.budget, over.limit, over.found))
                .collect();
            assert_eq!(found, want);
            assert_eq!(report.is_passed(), want.is_empty());
        };
        check(None, None, &[]);
        check(Some("5MB"), Some(3000), &[]);
        check(Some("4.9MB"), None, &[("wasted", 4_900_000, 5_000_000)]);
        check(Some("50%"), None, &[]);
        check(
            Some("10%"),
            Some(2999),
            &[("wasted", 1_000_011, 5_000_000), ("size", 2999, 3000)],
        );
    }

    #[test]
    fn levels_and_allowed_paths_take_findings_out() {
        let mut policy = Policy::default();
        policy.levels.insert(Rule::DeletedFile, Level::Allow);
        let allow = |rule, path: Option<&str>| Allow {
            rule,
            path: path.map(Glob::new),
            reason: "known".into(),
        };
        policy.allows = vec![
            allow(Rule::SecretFile, Some("/root/.npmrc")),
            allow(Rule::PackageCache, Some("/srv")),
            allow(Rule::Setuid, None),
        ];
        let report = lint(&wasteful(), &policy);
        assert_eq!(
            told(&report.findings),
            ["package-cache@1 3000000 3000000: /var/lib/apt/lists/a"]
        );
        assert_eq!(report.allowed, [1, 0, 0]);
        assert_eq!(report.wasted, 3_000_000);
        assert!(report.is_passed());
        policy.deny_warnings = true;
        assert_eq!(lint(&wasteful(), &policy).denied(), 1);
    }
}
