//! The first two phases: every node is made, and published as soon as it is done.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared, join_all};
use launchway_model::{Digest, Platform};
use launchway_plan::{Action, Make, Node, NodeId, Phase};

use super::Transaction;
use crate::error::ReleaseError;
use crate::images::until_cancelled;
use crate::publish::{copy, push};
use crate::work::{Shop, Works};

type SharedPush = Shared<BoxFuture<'static, Result<Digest, ReleaseError>>>;

impl Transaction {
    /// Makes every node the plan asks for, and publishes each as soon as it is done.
    pub(super) async fn make_and_publish(&mut self) {
        let makes = self.start(Phase::Make);
        let publications = self.start(Phase::Publish);
        if makes.is_empty() && publications.is_empty() {
            return;
        }
        let works = Arc::new(Works::new(&self.shop));
        let mut pushes: BTreeMap<(NodeId, usize), SharedPush> = BTreeMap::new();
        // The plan lists what nodes are made of before the nodes.
        for action in &publications {
            let (node, registry, future) = match action {
                Action::Push {
                    node: id,
                    registry,
                    content_tag,
                    expect,
                } => {
                    let node = self.node(id).clone();
                    let parts: Vec<SharedPush> = parts(&node)
                        .iter()
                        .filter_map(|part| pushes.get(&(part.clone(), *registry)).cloned())
                        .collect();
                    let (shop, works) = (Arc::clone(&self.shop), Arc::clone(&works));
                    let (registry, content_tag, expect) =
                        (*registry, content_tag.clone(), expect.clone());
                    let future = async move {
                        // A graft's blobs are those of its parts: once they are there, it costs
                        // manifests only. While something is built, its parts are pushed.
                        let made = join_all(
                            node.platforms
                                .iter()
                                .map(|platform| works.get(&node.id, platform)),
                        );
                        let (made, parts) = futures_util::future::join(made, join_all(parts)).await;
                        for part in parts {
                            part?;
                        }
                        made.into_iter().collect::<Result<Vec<_>, _>>()?;
                        push(&shop, &works, &node, registry, &content_tag, &expect).await
                    };
                    (id, registry, future.boxed())
                }
                Action::Copy {
                    node,
                    digest,
                    from,
                    to,
                    content_tag,
                    expect,
                } => {
                    let shop = Arc::clone(&self.shop);
                    let source = self.shop.repository(*from, self.node(node));
                    let (digest, content_tag, expect) =
                        (digest.clone(), content_tag.clone(), expect.clone());
                    let future = async move {
                        copy(&shop, &digest, &source, &content_tag, &expect).await?;
                        Ok(digest)
                    };
                    (node, *to, future.boxed())
                }
                _ => continue,
            };
            pushes.insert((node.clone(), registry), future.shared());
        }
        // Every shared future is driven by a task of its own, so that builds overlap with pushes.
        let makes: Vec<(NodeId, Platform)> = makes
            .iter()
            .filter_map(|action| match action {
                Action::Build { node, platform } | Action::Graft { node, platform } => {
                    Some((node.clone(), platform.clone()))
                }
                _ => None,
            })
            .collect();
        let made = join_all(
            makes
                .iter()
                .map(|(node, platform)| drive(works.get(node, platform))),
        );
        let pushed = join_all(
            pushes
                .values()
                .cloned()
                .map(|push| unless_interrupted(&self.shop, push)),
        );
        let (made, pushed) = futures_util::future::join(made, pushed).await;
        for ((node, _), result) in makes.iter().zip(made) {
            if let Err(error) = result {
                self.fail(error, Some(node), None);
            }
        }
        for ((node, registry), result) in pushes.keys().zip(pushed) {
            match result {
                Ok(digest) => {
                    self.pushed.insert((node.clone(), *registry));
                    self.published.insert((node.clone(), *registry), digest);
                }
                // It was never made, which is told above and is no fault of this registry.
                Err(_) if self.failed_nodes.contains(node) => {}
                Err(error) => {
                    self.fail(error, Some(node), Some(*registry));
                }
            }
        }
        // What was not published anywhere cannot be tagged anywhere.
        let nodes: BTreeSet<NodeId> = pushes.keys().map(|(node, _)| node.clone()).collect();
        for node in nodes {
            let anywhere = self
                .published
                .keys()
                .any(|(published, _)| *published == node);
            if !anywhere {
                self.failed_nodes.insert(node);
            }
        }
    }
}

/// Drives a publication, and drops it on interruption: what was sent stays, and nothing refers to it.
async fn unless_interrupted(shop: &Arc<Shop>, push: SharedPush) -> Result<Digest, ReleaseError> {
    until_cancelled(&shop.cancellation, drive(push)).await
}

/// Drives a shared future on a task of its own.
async fn drive<T: Clone + Send + Sync + 'static>(
    future: Shared<BoxFuture<'static, Result<T, ReleaseError>>>,
) -> Result<T, ReleaseError> {
    match tokio::spawn(future).await {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    }
}

fn parts(node: &Node) -> Vec<NodeId> {
    match &node.make {
        Make::Build(recipe) => recipe.base.iter().map(|(_, id)| id.clone()).collect(),
        Make::Graft(recipe) => std::iter::once(&recipe.base)
            .chain(&recipe.features)
            .cloned()
            .collect(),
    }
}
