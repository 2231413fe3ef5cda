use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use launchway_model::{Algorithm, Digest};
use launchway_oci::spec::{Annotations, media};

use super::*;
use crate::document::Document;
use crate::page::detail::{Attached, Config, Detail, Layer, Part as ImagePart};
use crate::page::gather::DiskUse;
use crate::page::survey::{Holdings, survey};
use crate::store::{Hasher, ManifestInfo};

const NASTY: &str = "\"><script>alert('1')</script><b a=";

fn digest_of(text: &str) -> Digest {
    Hasher::of(Algorithm::Sha256, text.as_bytes())
}

/// A repository with this many tags, each an artifact of this type.
fn holdings(name: &str, tags: usize, kind: &str) -> Holdings {
    let mut held = Holdings {
        name: name.to_owned(),
        tags: BTreeMap::new(),
        manifests: HashMap::new(),
    };
    for number in 0..tags {
        let text = serde_json::json!({
            "schemaVersion": 2, "artifactType": kind, "layers": [],
            "config": {"mediaType": "application/x", "digest": digest_of(&number.to_string()).to_string(), "size": 7},
        });
        let text = text.to_string();
        let digest = digest_of(&text);
        let info = ManifestInfo {
            digest: digest.clone(),
            media_type: media::MANIFEST.to_owned(),
            size: text.len() as u64,
            document: Document::parse(media::MANIFEST, text.as_bytes()).unwrap(),
        };
        held.manifests.insert(digest.clone(), Arc::new(info));
        held.tags.insert(format!("t{number:04}"), digest);
    }
    held
}

fn count_of(html: &str, what: &str) -> usize {
    html.matches(what).count()
}

#[test]
fn nothing_that_was_pushed_becomes_markup() {
    let survey = survey(&[holdings("a", 1, NASTY)], &HashMap::new());
    let repository = &survey.repositories[0];
    let nasty = || NASTY.to_owned();
    let detail = Detail {
        tag: Some(nasty()),
        digest: survey.roots[0].digest.clone(),
        media_type: nasty(),
        size: 1,
        artifact_type: Some(nasty()),
        subject: None,
        annotations: Annotations::from([(nasty(), nasty())]),
        parts: vec![ImagePart {
            label: nasty(),
            digest: digest_of("x"),
            size: 1,
            config: Some(Config {
                digest: nasty(),
                created: Some(nasty()),
                user: Some(nasty()),
                entrypoint: vec![nasty()],
                command: vec![nasty()],
                directory: Some(nasty()),
                ports: vec![nasty()],
            }),
            layers: vec![Layer {
                digest: digest_of("y"),
                size: 1,
                media_type: nasty(),
                made_by: Some(nasty()),
            }],
        }],
        more_parts: 0,
        attached: vec![Attached {
            digest: digest_of("z"),
            kind: nasty(),
            about: nasty(),
            size: 1,
        }],
    };
    for html in [
        overview(&survey, None, PageNumber(1)),
        super::repository(&survey, repository, PageNumber(1)),
        image(&survey, repository, &detail),
    ] {
        assert!(!html.contains("<script"), "{html}");
        assert!(!html.contains("<b "), "{html}");
        assert!(html.contains("&lt;script&gt;alert(&#39;1&#39;)"), "{html}");
        let document = "<!doctype html>\n<html lang=\"en\">";
        assert!(html.starts_with(document), "{html}");
        // Nothing comes from elsewhere.
        let html = html.replace("xmlns='http://www.w3.org/2000/svg'", "");
        for word in ["http:", "https:", "src=", "@import", "url("] {
            assert!(!html.contains(word), "{word}");
        }
    }
}

#[test]
fn long_lists_come_in_parts() {
    let survey = survey(&[holdings("a", 450, "application/x")], &HashMap::new());
    let repository = &survey.repositories[0];
    for (number, rows, first, links) in [
        (1, 200, "t0000", (0, 2)),
        (2, 200, "t0200", (2, 2)),
        (3, 50, "t0400", (2, 0)),
        // Behind the last there is the last.
        (9, 50, "t0400", (2, 0)),
    ] {
        let html = super::repository(&survey, repository, PageNumber(number));
        assert_eq!(count_of(&html, "role=\"rowheader\""), rows, "{number}");
        assert!(html.contains(&format!(">{first}</a>")), "{number}");
        let found = (
            count_of(&html, "rel=\"prev\""),
            count_of(&html, "rel=\"next\""),
        );
        assert_eq!(found, links, "{number}");
    }
    let html = overview(&survey, None, PageNumber(1));
    assert_eq!(count_of(&html, "role=\"rowheader\""), 10);
    assert!(html.contains("All 450 tags of a</a>"), "{html}");
}

#[test]
fn many_repositories_come_in_parts() {
    let many: Vec<_> = (0..120)
        .map(|number| holdings(&format!("r{number:03}"), 1, "application/x"))
        .collect();
    let survey = survey(&many, &HashMap::new());
    for (number, sections, first) in [(1, 50, "r000"), (2, 50, "r050"), (3, 20, "r100")] {
        let html = overview(&survey, None, PageNumber(number));
        assert_eq!(count_of(&html, "<section>"), sections, "{number}");
        let heading = format!("<h2><a href=\"/images/{first}\">");
        assert!(html.contains(&heading), "{number}");
        assert!(html.contains(&format!("page {number} of 3, 120 repositories")));
    }
}

#[test]
fn the_totals_say_what_was_saved_and_what_lies_about() {
    let two = [
        holdings("a", 1, "application/x"),
        holdings("b", 1, "application/x"),
    ];
    let survey = survey(&two, &HashMap::new());
    let disk = DiskUse {
        stored: 5_000_000,
        loose: 2_000,
        absent: 3,
    };
    let html = overview(&survey, Some(&disk), PageNumber(1));
    let size = Size(survey.once).to_string();
    for text in [
        format!("{size} are saved because each blob is stored once."),
        "<dt>Stored</dt><dd>5.0 MB</dd>".to_owned(),
        "2.0 kB on the disk belong to no manifest.".to_owned(),
        "3 blobs that manifests name are not stored here.".to_owned(),
    ] {
        assert!(html.contains(&text), "{text}: {html}");
    }
}
