//! The phases between publishing and tagging: what was pushed is judged, and tested.

use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, join_all};
use launchway_model::{Platform, Reference};
use launchway_plan::{Action, Node, NodeId, Phase};

use super::Transaction;
use crate::error::ReleaseError;
use crate::judge::judge;
use crate::smoke::smoke;
use crate::work::Shop;

/// One look at one platform of what stands behind a reference, which names a digest.
struct Subject {
    shop: Arc<Shop>,
    node: Node,
    platform: Platform,
    reference: Reference,
    /// What the node is built on, where the family has it.
    base: Option<Reference>,
}

impl Transaction {
    /// Judges what is about to be tagged. What does not pass is as good as a failed smoke test.
    pub(super) async fn lint(&mut self) {
        let tests = self.start(Phase::Lint).into_iter();
        let tests = tests.filter_map(|action| match action {
            Action::Lint { node, platform } => Some((node, platform)),
            _ => None,
        });
        let reports = self
            .on_published(tests.collect(), |subject| {
                async move {
                    let base = subject.base.as_ref();
                    judge(
                        &subject.shop,
                        &subject.node,
                        &subject.platform,
                        &subject.reference,
                        base,
                    )
                    .await
                }
                .boxed()
            })
            .await;
        for (node, platform, report) in reports {
            if !report.is_passed() {
                let error = ReleaseError::Lint {
                    node: node.to_string(),
                    platform: platform.to_string(),
                    why: report.why(),
                };
                self.fail(error, Some(&node), None);
            }
            self.judged.insert((node, platform), report);
        }
    }

    /// Tests everything that is about to be tagged, on every platform.
    pub(super) async fn smoke(&mut self) {
        let tests = self.start(Phase::Smoke).into_iter();
        let tests = tests.filter_map(|action| match action {
            Action::Smoke { node, platform } => Some((node, platform)),
            _ => None,
        });
        self.on_published(tests.collect(), |subject| {
            async move {
                smoke(
                    &subject.shop,
                    &subject.node,
                    &subject.platform,
                    &subject.reference,
                )
                .await
            }
            .boxed()
        })
        .await;
    }

    /// Looks at everything that was published of these nodes. A failure blocks its node.
    async fn on_published<T>(
        &mut self,
        tests: Vec<(NodeId, Platform)>,
        look: fn(Subject) -> BoxFuture<'static, Result<T, ReleaseError>>,
    ) -> Vec<(NodeId, Platform, T)> {
        let mut looks = Vec::new();
        for (id, platform) in tests {
            if self.failed_nodes.contains(&id) {
                continue;
            }
            for (digest, registries) in self.digests(&id) {
                let node = self.node(&id).clone();
                let subjects: Vec<(usize, Subject)> = registries
                    .into_iter()
                    .map(|registry| {
                        let repository = self.shop.repository(registry, &node);
                        let subject = Subject {
                            shop: Arc::clone(&self.shop),
                            reference: repository.with_digest(digest.clone()),
                            base: self.base_of(&node, registry),
                            node: node.clone(),
                            platform: platform.clone(),
                        };
                        (registry, subject)
                    })
                    .collect();
                let (shop, id, platform) = (Arc::clone(&self.shop), id.clone(), platform.clone());
                looks.push(async move {
                    let _turn = shop.turn().await;
                    let mut unable = Vec::new();
                    for (registry, subject) in subjects {
                        match look(subject).await {
                            // Another registry has the very same image.
                            Err(error @ ReleaseError::Registry(_)) => {
                                unable.push((registry, error));
                            }
                            verdict => return (id, platform, unable, Some(verdict)),
                        }
                    }
                    (id, platform, unable, None)
                });
            }
        }
        let mut found = Vec::new();
        for (node, platform, unable, verdict) in join_all(looks).await {
            for (registry, error) in unable {
                self.fail(error, Some(&node), Some(registry));
            }
            match verdict {
                Some(Ok(result)) => found.push((node, platform, result)),
                Some(Err(error)) => self.fail(error, Some(&node), None),
                // Nothing untested is tagged.
                None => {
                    self.failed_nodes.insert(node);
                }
            }
        }
        found
    }

    fn base_of(&self, node: &Node, registry: usize) -> Option<Reference> {
        let id = node.parent()?;
        let digest = self.published.get(&(id.clone(), registry))?;
        let repository = self.shop.repository(registry, self.node(id));
        Some(repository.with_digest(digest.clone()))
    }
}
