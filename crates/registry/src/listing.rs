//! Lists that come in pages: tags and repositories, and referrers by the same header.
//!
//! Where a list goes on is the registry's secret: the link is followed as it came, never built
//! here. It has to stay on the same server and may not lead in circles.

use std::collections::HashSet;

use bytes::Bytes;
use http::header::LINK;
use http::{HeaderMap, Method};
use launchway_model::{RegistryHost, Repository, Tag};
use reqwest::Url;
use serde::Deserialize;

use crate::answer::Failure;
use crate::auth::{Access, Actions};
use crate::core::Core;
use crate::endpoint::{authority, same_server};
use crate::retry::Tries;
use crate::transport::Request;
use crate::{RegistryError, link};

/// The largest page that is read, in bytes.
const PAGE_LIMIT: u64 = 16 * 1024 * 1024;
/// A list with more pages than this is taken for one that never ends.
pub(crate) const PAGES: usize = 10_000;
/// A list with more names than this is not read.
const NAMES: usize = 1_000_000;
/// How many names a page may have. It is the most that distribution allows, and what others cut to
/// their own limit.
const PER_PAGE: &str = "1000";

#[derive(Deserialize)]
struct WireTags {
    #[serde(default)]
    tags: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct WireCatalog {
    #[serde(default)]
    repositories: Option<Vec<String>>,
}

/// One page of a list, its headers and where the next one is.
pub(crate) struct Page {
    pub(crate) bytes: Bytes,
    pub(crate) headers: HeaderMap,
    pub(crate) next: Option<Url>,
}

/// The pages of one list, as they are read one after the other.
pub(crate) struct Pages {
    seen: HashSet<Url>,
}

impl Pages {
    pub(crate) fn starting_at(url: &Url) -> Self {
        Self {
            seen: HashSet::from([url.clone()]),
        }
    }

    /// Whether a page may be read next.
    pub(crate) fn turn_to(&mut self, next: &Url) -> Result<(), Failure> {
        if self.seen.len() >= PAGES {
            return Err(Failure::permanent("the list does not end"));
        }
        if !self.seen.insert(next.clone()) {
            return Err(Failure::permanent("the list leads back to a page it had"));
        }
        Ok(())
    }
}

impl Core {
    pub(crate) async fn tags(&self, repository: &Repository) -> Result<Vec<Tag>, RegistryError> {
        let tries = self.tries(&Method::GET, repository, "tags/list");
        let url = self
            .url(repository, "tags/list")
            .map_err(|failure| tries.give_up(failure))?;
        let names = self
            .names(&Access::to(repository, Actions::Pull), url, tries, |page| {
                let wire: WireTags = serde_json::from_slice(page).ok()?;
                Some(wire.tags.unwrap_or_default())
            })
            .await?;
        Ok(names.iter().filter_map(|name| name.parse().ok()).collect())
    }

    pub(crate) async fn catalog(
        &self,
        host: &RegistryHost,
    ) -> Result<Vec<Repository>, RegistryError> {
        let tries = self.tries_of_host(host, format!("GET {host}/v2/_catalog"));
        let url = self
            .transport
            .endpoints
            .url(host, "_catalog")
            .map_err(|failure| tries.give_up(failure))?;
        let names = self
            .names(&Access::catalog(host), url, tries, |page| {
                let wire: WireCatalog = serde_json::from_slice(page).ok()?;
                Some(wire.repositories.unwrap_or_default())
            })
            .await?;
        let repository = |name: &String| Repository::new(host.clone(), name).ok();
        Ok(names.iter().filter_map(repository).collect())
    }

    /// Reads all pages of a list of names.
    async fn names(
        &self,
        access: &Access,
        list: Url,
        mut tries: Tries<'_>,
        read: impl Fn(&[u8]) -> Option<Vec<String>>,
    ) -> Result<Vec<String>, RegistryError> {
        let mut url = list.clone();
        url.query_pairs_mut().append_pair("n", PER_PAGE);
        let asked = url.clone();
        let mut pages = Pages::starting_at(&url);
        let mut names = Vec::new();
        loop {
            tries.start().await?;
            let page = match self.page(access, &url).await {
                Ok(page) => page,
                // There are registries that refuse a larger page than their own.
                Err(failure) if failure.status == Some(400) && url == asked => {
                    url = list.clone();
                    continue;
                }
                Err(failure) => {
                    tries.again(failure).await?;
                    continue;
                }
            };
            tries.progressed();
            names.extend(read(&page.bytes).ok_or_else(|| {
                tries.give_up(Failure::permanent("what came is no list of names"))
            })?);
            if names.len() > NAMES {
                return Err(tries.give_up(Failure::permanent(format!(
                    "the list has more than {NAMES} names"
                ))));
            }
            let Some(next) = page.next else {
                // A list that grows while it is read may tell a name twice.
                let mut told = HashSet::new();
                names.retain(|name| told.insert(name.clone()));
                return Ok(names);
            };
            pages
                .turn_to(&next)
                .map_err(|failure| tries.give_up(failure))?;
            url = next;
        }
    }

    /// One try to read one page.
    pub(crate) async fn page(&self, access: &Access, url: &Url) -> Result<Page, Failure> {
        let request = Request::new(Method::GET, url.clone());
        let answer = self.ask(access, &request).await?;
        let headers = answer.headers().clone();
        let next = headers
            .get_all(LINK)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .find_map(link::next)
            .map(|target| next_page(url, &answer.url, target))
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

/// Where a list goes on. `answered` is where the page came from, after redirects.
fn next_page(asked: &Url, answered: &Url, target: &str) -> Result<Url, Failure> {
    let mut next = answered
        .join(target)
        .map_err(|_| Failure::permanent("the list goes on at an address that is none"))?;
    // A registry behind a proxy that ends TLS may not know that it is reached by TLS.
    if next.scheme() == "http" && asked.scheme() == "https" && authority(&next) == authority(asked)
    {
        let upgraded = next.set_scheme("https");
        debug_assert!(upgraded.is_ok(), "http can become https");
    }
    if !same_server(&next, asked) {
        return Err(Failure::permanent(format!(
            "the list goes on on another server, {}, where it is not read",
            authority(&next)
        )));
    }
    Ok(next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_a_list_may_go_on() {
        let asked = Url::parse("https://r.io/v2/a/tags/list?n=1000").unwrap();
        let moved = Url::parse("https://r.io/other/tags/list").unwrap();
        let stray = Url::parse("https://s.io/v2/a/tags/list").unwrap();
        for (answered, target, want) in [
            (
                &asked,
                "/v2/a/tags/list?last=x%2F%3D&n=2",
                Some("https://r.io/v2/a/tags/list?last=x%2F%3D&n=2"),
            ),
            (
                &asked,
                "?last=x",
                Some("https://r.io/v2/a/tags/list?last=x"),
            ),
            (
                &asked,
                "list?last=x",
                Some("https://r.io/v2/a/tags/list?last=x"),
            ),
            (&asked, "https://r.io/x", Some("https://r.io/x")),
            (&asked, "https://r.io:443/x", Some("https://r.io/x")),
            (&asked, "http://r.io/x", Some("https://r.io/x")),
            (&asked, "//r.io/x", Some("https://r.io/x")),
            (
                &moved,
                "?last=x",
                Some("https://r.io/other/tags/list?last=x"),
            ),
            (&stray, "?last=x", None),
            (&asked, "//s.io/x", None),
            (&asked, "https://s.io/x", None),
            (&asked, "https://r.io:444/x", None),
            (&asked, "http://r.io:80/x", Some("https://r.io/x")),
            (&asked, "http://r.io:8080/x", None),
            (&asked, "file:///etc/passwd", None),
            (&asked, "https://", None),
        ] {
            let found = next_page(&asked, answered, target).ok();
            assert_eq!(found.as_ref().map(Url::as_str), want, "{target}");
        }
    }

    #[test]
    fn a_list_that_leads_in_circles_is_left() {
        let page = |at: usize| Url::parse(&format!("https://r.io/{at}")).unwrap();
        let mut pages = Pages::starting_at(&page(0));
        assert!(pages.turn_to(&page(1)).is_ok());
        assert!(pages.turn_to(&page(0)).is_err());
        for at in 2..PAGES {
            assert!(pages.turn_to(&page(at)).is_ok());
        }
        assert!(pages.turn_to(&page(PAGES)).is_err());
    }
}
