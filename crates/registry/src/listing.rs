//! Lists that come in pages: tags, and referrers by the same header.

use bytes::Bytes;
use http::header::LINK;
use http::{HeaderMap, Method};
use launchway_model::{Repository, Tag};
use reqwest::Url;
use serde::Deserialize;

use crate::answer::Failure;
use crate::auth::{Access, Actions};
use crate::core::Core;
use crate::endpoint::same_server;
use crate::transport::Request;
use crate::{RegistryError, link};

/// The largest page that is read, in bytes.
const PAGE_LIMIT: u64 = 16 * 1024 * 1024;
/// A list with more pages than this is taken for one that never ends.
pub(crate) const PAGES: usize = 10_000;

#[derive(Deserialize)]
struct WireTags {
    #[serde(default)]
    tags: Option<Vec<String>>,
}

/// One page of a list, its headers and where the next one is.
pub(crate) struct Page {
    pub(crate) bytes: Bytes,
    pub(crate) headers: HeaderMap,
    pub(crate) next: Option<Url>,
}

impl Core {
    pub(crate) async fn tags(&self, repository: &Repository) -> Result<Vec<Tag>, RegistryError> {
        let mut tries = self.tries(&Method::GET, repository, "tags/list");
        let mut tags = Vec::new();
        let mut url = self
            .url(repository, "tags/list")
            .map_err(|failure| tries.give_up(failure))?;
        for _ in 0..PAGES {
            tries.start().await?;
            let page = match self.page(repository, &url).await {
                Ok(page) => page,
                Err(failure) => {
                    tries.again(failure).await?;
                    continue;
                }
            };
            tries.progressed();
            let wire: WireTags = serde_json::from_slice(&page.bytes)
                .map_err(|_| tries.give_up(Failure::permanent("what came is no list of tags")))?;
            let found = wire.tags.unwrap_or_default();
            tags.extend(found.iter().filter_map(|tag| tag.parse::<Tag>().ok()));
            match page.next {
                Some(next) => url = next,
                None => return Ok(tags),
            }
        }
        Err(tries.give_up(Failure::permanent("the list of tags does not end")))
    }

    /// One try to read one page.
    pub(crate) async fn page(&self, repository: &Repository, url: &Url) -> Result<Page, Failure> {
        let request = Request::new(Method::GET, url.clone());
        let answer = self
            .ask(&Access::to(repository, Actions::Pull), &request)
            .await?;
        let headers = answer.headers().clone();
        let next = headers
            .get_all(LINK)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .find_map(link::next)
            .map(|target| {
                url.join(target)
                    .ok()
                    .filter(|next| same_server(next, url) && next != url)
                    .ok_or_else(|| Failure::permanent("the list goes on where it cannot be read"))
            })
            .transpose()?;
        let bytes = answer
            .bytes(PAGE_LIMIT)
            .await?
            .ok_or_else(|| Failure::permanent("a page of the list is too large"))?;
        Ok(Page {
            bytes,
            headers,
            next,
        })
    }
}
