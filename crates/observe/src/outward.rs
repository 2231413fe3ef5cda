//! What all questions that are asked outside of registries of images have in common.

use std::error::Error as _;
use std::time::Duration;

use reqwest::redirect::{Action, Attempt, Policy};
use reqwest::{ClientBuilder, Url};

/// How long a server may stay silent.
const PATIENCE: Duration = Duration::from_secs(30);

/// A client with our name, patience and rules for redirects.
pub(crate) fn build(builder: ClientBuilder) -> reqwest::Result<reqwest::Client> {
    builder
        .user_agent(concat!("launchway/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(PATIENCE)
        .read_timeout(PATIENCE)
        .redirect(Policy::custom(follow))
        .build()
}

pub(crate) fn is_loopback(url: &Url) -> bool {
    launchway_model::is_loopback_host(url.host_str().unwrap_or_default())
}

/// The innermost cause, without the URL.
pub(crate) fn words(error: reqwest::Error) -> String {
    let error = error.without_url();
    if error.is_timeout() {
        return "no answer in time".to_owned();
    }
    let mut last = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        last = cause.to_string();
        next = cause.source();
    }
    last
}

/// Follows a few redirects, and none from TLS to plain text or from elsewhere to this machine. The
/// library leaves the token behind when the host changes.
fn follow(attempt: Attempt<'_>) -> Action {
    let from = attempt.previous().last();
    let was_secure = from.is_some_and(|url| url.scheme() == "https");
    let was_here = from.is_some_and(is_loopback);
    let downgrades = was_secure && attempt.url().scheme() != "https";
    let comes_home = !was_here && is_loopback(attempt.url());
    if downgrades || comes_home || attempt.previous().len() > 5 {
        attempt.stop()
    } else {
        attempt.follow()
    }
}
