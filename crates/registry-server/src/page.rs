//! The page at `/`: what the registry holds, for people. One document, no scripts.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::Arc;

use bytes::Bytes;
use http::Response;
use http::header::{self, HeaderValue};
use launchway_model::Platform;
use launchway_oci::spec::ImageConfig;

use crate::api::{Inner, with_bytes};
use crate::body::Body;
use crate::document::ContentKind;
use crate::error::ApiError;
use crate::route::RepositoryName;
use crate::store::{ManifestInfo, Repository, Snapshot, StoreError};

/// More than this is counted instead of shown.
const REPOSITORIES_SHOWN: usize = 200;
const TAGS_SHOWN: usize = 100;
/// The configuration of an image larger than this is not read for its platform.
const CONFIG_LIMIT: u64 = 1 << 20;

const STYLE: &str = "\
:root{color-scheme:light dark;--line:#8884;--dim:#888}\
body{font:15px/1.5 system-ui,sans-serif;max-width:64rem;margin:2rem auto;padding:0 1rem}\
h1{font-size:1.4rem}h2{font-size:1.05rem;margin:2rem 0 .3rem}\
table{border-collapse:collapse;width:100%}\
th,td{text-align:left;padding:.25rem .8rem .25rem 0;border-top:1px solid var(--line);vertical-align:top}\
th{font-weight:500;color:var(--dim);border-top:0}\
td.size,th.size{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}\
code{font:13px ui-monospace,monospace}p{color:var(--dim)}";

pub(crate) async fn page(inner: &Arc<Inner>) -> Result<Response<Body>, ApiError> {
    let html = inner.blocking(render).await?;
    let mut response = with_bytes(
        Bytes::from(html),
        HeaderValue::from_static("text/html; charset=utf-8"),
    );
    response.headers_mut().insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'"),
    );
    Ok(response)
}

fn render(inner: &Inner) -> Result<String, StoreError> {
    let names = inner.store.names()?;
    let mut html =
        String::from("<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n");
    html.push_str("<meta name=\"viewport\" content=\"width=device-width\">\n");
    let _ = writeln!(
        html,
        "<title>Launchway registry</title>\n<style>{STYLE}</style>"
    );
    html.push_str("</head>\n<body>\n<h1>Launchway registry</h1>\n");
    if names.is_empty() {
        html.push_str("<p>Nothing has been pushed yet.</p>\n");
    }
    for name in names.iter().take(REPOSITORIES_SHOWN) {
        let Some(repository) = inner.store.repository(name)? else {
            continue;
        };
        let snapshot = repository.snapshot()?;
        section(&mut html, name, &repository, &snapshot)?;
    }
    if names.len() > REPOSITORIES_SHOWN {
        let more = names.len() - REPOSITORIES_SHOWN;
        let _ = writeln!(html, "<p>and {more} more repositories</p>");
    }
    html.push_str("</body>\n</html>\n");
    Ok(html)
}

fn section(
    html: &mut String,
    name: &RepositoryName,
    repository: &Repository,
    snapshot: &Snapshot,
) -> Result<(), StoreError> {
    let _ = writeln!(html, "<section>\n<h2>{}</h2>", Escaped(name.as_str()));
    if snapshot.tags.is_empty() {
        let _ = writeln!(
            html,
            "<p>{} manifests, no tags</p>",
            snapshot.manifests.len()
        );
    } else {
        html.push_str("<table>\n<tr><th>Tag</th><th>Digest</th><th>Platforms</th>");
        html.push_str("<th class=\"size\">Size</th></tr>\n");
        for (tag, digest) in snapshot.tags.iter().take(TAGS_SHOWN) {
            let Some(info) = snapshot.manifests.get(digest) else {
                continue;
            };
            let platforms: Vec<String> = platforms(repository, info)?
                .iter()
                .map(Platform::to_string)
                .collect();
            let _ = writeln!(
                html,
                "<tr><td>{}</td><td><code title=\"{digest}\">{}</code></td><td>{}</td><td class=\"size\">{}</td></tr>",
                Escaped(tag),
                digest.short(),
                Escaped(&platforms.join(", ")),
                Size(size(snapshot, info)),
            );
        }
        html.push_str("</table>\n");
    }
    if snapshot.tags.len() > TAGS_SHOWN {
        let more = snapshot.tags.len() - TAGS_SHOWN;
        let _ = writeln!(html, "<p>and {more} more tags</p>");
    }
    html.push_str("</section>\n");
    Ok(())
}

/// What an index says of its children, or what the configuration of an image says.
fn platforms(
    repository: &Repository,
    info: &ManifestInfo,
) -> Result<BTreeSet<Platform>, StoreError> {
    let listed = info
        .document
        .content
        .iter()
        .filter_map(|content| match &content.kind {
            ContentKind::Manifest { platform, .. } => platform.clone(),
            ContentKind::Blob => None,
        });
    // Attestations of BuildKit are listed as `unknown/unknown`.
    let mut found: BTreeSet<Platform> = listed
        .filter(|platform| platform.os() != "unknown")
        .collect();
    if let Some(config) = &info.document.config
        && let Some(bytes) = repository.read_blob(config, CONFIG_LIMIT)?
        && let Ok(config) = serde_json::from_slice::<ImageConfig>(&bytes)
        && let Ok(platform) =
            Platform::new(&config.os, &config.architecture, config.variant.as_deref())
    {
        found.insert(platform);
    }
    Ok(found)
}

/// Bytes that pulling this takes, each blob counted once.
fn size(snapshot: &Snapshot, info: &ManifestInfo) -> u64 {
    let mut counted = BTreeSet::from([&info.digest]);
    let mut sum = info.size;
    // A list and no recursion: a client may nest indexes as deep as it likes.
    let mut open = vec![info];
    while let Some(info) = open.pop() {
        for content in &info.document.content {
            if counted.insert(&content.digest) {
                sum = sum.saturating_add(content.size);
                open.extend(snapshot.manifests.get(&content.digest).map(AsRef::as_ref));
            }
        }
    }
    sum
}

/// Text as it may stand in an element or a quoted attribute.
struct Escaped<'a>(&'a str);

impl std::fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for c in self.0.chars() {
            match c {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

/// Bytes with a decimal unit, as registries show them.
struct Size(u64);

impl std::fmt::Display for Size {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        #[expect(clippy::cast_precision_loss, reason = "one decimal is shown")]
        let mut amount = self.0 as f64;
        let mut unit = "B";
        for larger in ["kB", "MB", "GB", "TB"] {
            if amount < 1000.0 {
                break;
            }
            amount /= 1000.0;
            unit = larger;
        }
        match unit {
            "B" => write!(f, "{amount:.0} B"),
            _ => write!(f, "{amount:.1} {unit}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_escaped_and_sizes_are_read() {
        assert_eq!(
            Escaped("<a href=\"x\">'&'</a>").to_string(),
            "&lt;a href=&quot;x&quot;&gt;&#39;&amp;&#39;&lt;/a&gt;"
        );
        for (bytes, want) in [
            (0, "0 B"),
            (999, "999 B"),
            (1_000, "1.0 kB"),
            (246_400_000, "246.4 MB"),
            (u64::MAX, "18446744.1 TB"),
        ] {
            assert_eq!(Size(bytes).to_string(), want);
        }
    }
}
