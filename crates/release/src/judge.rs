//! The lint of what was pushed.

use std::sync::Arc;

use launchway_lint::{Report, lint};
use launchway_model::{Platform, Reference};
use launchway_plan::Node;

use crate::error::ReleaseError;
use crate::event::Event;
use crate::images::{RemoteImage, blocking};
use crate::survey::{Survey, survey};
use crate::work::Shop;

/// Judges one platform of what stands behind a reference, by the policy of its node. The report says
/// whether it passed.
pub(crate) async fn judge(
    shop: &Arc<Shop>,
    node: &Node,
    platform: &Platform,
    reference: &Reference,
    base: Option<&Reference>,
) -> Result<Arc<Report>, ReleaseError> {
    let missing = || ReleaseError::Broken(format!("{} has no lint policy", node.id));
    let held = node.lint.clone().ok_or_else(missing)?;
    let policy = held.policies.get(platform).cloned().ok_or_else(missing)?;
    // The registry is asked, so that what is judged is what stands there.
    shop.puller.client().manifest(reference).await?;
    let remote = shop.puller.find(reference, platform).await?;
    let inherited = inherited(shop, node, platform, &remote, base).await?;
    let image = shop.puller.layers(&remote).await?;
    let store = shop.puller.store().clone();
    let report = blocking(move || {
        let sizes: Vec<u64> = remote.layers.iter().map(|layer| layer.size).collect();
        let surveyed = survey(
            &store,
            &Survey {
                config: &remote.config,
                layers: &image.layers,
                sizes: &sizes,
                inherited,
                mounts: &held.mounts,
            },
        )?;
        let report = lint(&surveyed.image, &policy);
        Ok((report, policy))
    });
    let (report, policy) = report.await?;
    let report = Arc::new(report);
    shop.tell(Event::Linted {
        node: node.id.clone(),
        platform: platform.clone(),
        report: Arc::clone(&report),
        unused: policy
            .allows
            .iter()
            .zip(&report.allowed)
            .filter(|(_, used)| **used == 0)
            .map(|(allow, _)| match &allow.path {
                Some(path) => format!("{} at {}", allow.rule, path.as_str()),
                None => allow.rule.to_string(),
            })
            .collect(),
    });
    Ok(report)
}

/// How many of an image's layers are those of what it was built on: the family's base, or an image from
/// elsewhere that FROM named. Nothing when that cannot be told.
async fn inherited(
    shop: &Arc<Shop>,
    node: &Node,
    platform: &Platform,
    image: &RemoteImage,
    base: Option<&Reference>,
) -> Result<Option<usize>, ReleaseError> {
    let mut below: Vec<Reference> = base.into_iter().cloned().collect();
    if below.is_empty() {
        for (name, digest) in &node.pins.bases {
            if let Ok(mut reference) = name.parse::<Reference>() {
                reference.digest = Some(digest.clone());
                below.push(reference);
            }
        }
    }
    let ours = &image.config.rootfs.diff_ids;
    let mut most = None;
    for reference in below {
        // Building needed it, so it is there; an image of another platform fits nothing.
        let Ok(found) = shop.puller.find(&reference, platform).await else {
            continue;
        };
        let theirs = &found.config.rootfs.diff_ids;
        if !theirs.is_empty() && ours.starts_with(theirs) {
            most = most.max(Some(theirs.len()));
        }
    }
    Ok(most)
}
