use std::convert::Infallible;

use launchway_model::Algorithm;

use super::*;
use crate::document::Document;
use crate::store::Hasher;

/// Documents by their digest.
#[derive(Default)]
struct Documents {
    bytes: HashMap<Digest, Bytes>,
    known: HashMap<Digest, Arc<ManifestInfo>>,
}

impl Documents {
    fn blob(&mut self, text: &str) -> String {
        let digest = Hasher::of(Algorithm::Sha256, text.as_bytes());
        let bytes = Bytes::from(text.to_owned());
        self.bytes.insert(digest.clone(), bytes);
        digest.to_string()
    }

    fn manifest(&mut self, media_type: &str, text: &str) -> String {
        let digest: Digest = self.blob(text).parse().unwrap();
        let info = ManifestInfo {
            digest: digest.clone(),
            media_type: media_type.to_owned(),
            size: text.len() as u64,
            document: Document::parse(media_type, text.as_bytes()).unwrap(),
        };
        self.known.insert(digest.clone(), Arc::new(info));
        digest.to_string()
    }

    fn image(&mut self, config: &str, layers: &[(&str, u64, &str)]) -> String {
        let config = self.blob(config);
        let layers: Vec<_> = layers
            .iter()
            .map(|(name, size, annotations)| {
                let digest = Hasher::of(Algorithm::Sha256, name.as_bytes());
                format!(r#"{{"mediaType":"application/x","digest":"{digest}","size":{size},"annotations":{{{annotations}}}}}"#)
            })
            .collect();
        self.manifest(
            media::MANIFEST,
            &format!(
                r#"{{"schemaVersion":2,"config":{{"mediaType":"{}","digest":"{config}","size":9}},"layers":[{}]}}"#,
                media::CONFIG,
                layers.join(",")
            ),
        )
    }

    fn take_apart(&self, digest: &str) -> Detail {
        let info = &self.known[&digest.parse().unwrap()];
        let read = |digest: &Digest| Ok::<_, Infallible>(self.bytes.get(digest).cloned());
        take_apart(info, &self.known, read).unwrap()
    }
}

fn entry(media_type: &str, digest: &str, more: &str) -> String {
    format!(r#"{{"mediaType":"{media_type}","digest":"{digest}","size":1{more}}}"#)
}

fn index(entries: &[String]) -> String {
    let entries = entries.join(",");
    format!(r#"{{"schemaVersion":2,"manifests":[{entries}],"annotations":{{"who":"me"}}}}"#)
}

const CONFIG: &str = r#"{"architecture":"arm64","os":"linux","variant":"v8","created":"2026-01-02T03:04:05Z",
    "config":{"User":"app","Entrypoint":["/bin/run"],"Cmd":["-v"],"WorkingDir":"/srv","ExposedPorts":{"80/tcp":{}}},
    "rootfs":{"type":"layers","diff_ids":[]},
    "history":[{"created_by":"COPY a"},{"created_by":"ENV x","empty_layer":true},{},{"created_by":"RUN b"}]}"#;

#[test]
fn an_image_shows_its_configuration_and_who_made_which_layer() {
    let mut documents = Documents::default();
    let layers = [("a", 100, ""), ("b", 20, ""), ("c", 3, ""), ("d", 4, "")];
    let image = documents.image(CONFIG, &layers);
    let detail = documents.take_apart(&image);
    let [part] = &detail.parts[..] else {
        panic!("one part: {detail:?}");
    };
    assert_eq!(part.label, "linux/arm64");
    assert_eq!(part.size, detail.size + 9 + 127);
    let config = part.config.as_ref().unwrap();
    assert_eq!(config.created.as_deref(), Some("2026-01-02T03:04:05Z"));
    assert_eq!(config.user.as_deref(), Some("app"));
    assert_eq!(config.entrypoint, ["/bin/run"]);
    assert_eq!(config.command, ["-v"]);
    assert_eq!(config.directory.as_deref(), Some("/srv"));
    assert_eq!(config.ports, ["80/tcp"]);
    let made_by: Vec<_> = part
        .layers
        .iter()
        .map(|layer| layer.made_by.as_deref())
        .collect();
    // A history may be shorter than the layers, and need not say anything.
    assert_eq!(made_by, [Some("COPY a"), None, Some("RUN b"), None]);
}

#[test]
fn an_index_shows_platforms_in_its_order_and_attestations_apart() {
    let mut documents = Documents::default();
    let amd64 = documents.image(
        r#"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers"}}"#,
        &[],
    );
    let arm64 = documents.image(CONFIG, &[("a", 1, "")]);
    let attestation = documents.image(
        "{}",
        &[
            (
                "p",
                5,
                r#""in-toto.io/predicate-type":"https://slsa.dev/provenance/v1""#,
            ),
            (
                "s",
                6,
                r#""in-toto.io/predicate-type":"https://spdx.dev/Document""#,
            ),
        ],
    );
    let inner = index(&[entry(media::MANIFEST, &arm64, "")]);
    let inner = documents.manifest(media::INDEX, &inner);
    let marked = format!(
        r#","platform":{{"os":"unknown","architecture":"unknown"}},"annotations":{{"{REFERENCE_TYPE}":"attestation-manifest","{REFERENCE_DIGEST}":"{arm64}"}}"#
    );
    let gone = format!("sha256:{}", "0".repeat(64));
    let outer = index(&[
        entry(media::MANIFEST, &attestation, &marked),
        entry(media::INDEX, &inner, ""),
        entry(
            media::MANIFEST,
            &amd64,
            r#","platform":{"os":"linux","architecture":"amd64"}"#,
        ),
        entry(media::MANIFEST, &gone, ""),
    ]);
    let outer = documents.manifest(media::INDEX, &outer);
    let detail = documents.take_apart(&outer);
    let labels: Vec<_> = detail
        .parts
        .iter()
        .map(|part| part.label.as_str())
        .collect();
    assert_eq!(labels, ["linux/arm64", "linux/amd64"]);
    assert_eq!(detail.more_parts, 1);
    assert_eq!(detail.annotations["who"], "me");
    let [attached] = &detail.attached[..] else {
        panic!("one attestation: {detail:?}");
    };
    assert_eq!(
        (attached.kind.as_str(), attached.about.as_str()),
        (
            "https://slsa.dev/provenance/v1, https://spdx.dev/Document",
            "linux/arm64"
        )
    );
}

#[test]
fn what_is_no_image_is_shown_by_its_kind() {
    let mut documents = Documents::default();
    let empty = documents.blob("{}");
    let text = format!(
        r#"{{"schemaVersion":2,"artifactType":"application/vnd.test","config":{},"layers":[]}}"#,
        entry(media::EMPTY, &empty, "")
    );
    let artifact = documents.manifest(media::MANIFEST, &text);
    let detail = documents.take_apart(&artifact);
    assert_eq!(detail.parts[0].label, "application/vnd.test");
    assert_eq!(detail.parts[0].config, None);
}

#[test]
fn documents_that_cannot_be_read_are_left_out() {
    let mut documents = Documents::default();
    let config_gone = documents.image(CONFIG, &[]);
    let config = Hasher::of(Algorithm::Sha256, CONFIG.as_bytes());
    documents.bytes.remove(&config);
    let detail = documents.take_apart(&config_gone);
    assert_eq!(detail.parts[0].config, None);
    documents.bytes.clear();
    assert!(documents.take_apart(&config_gone).parts.is_empty());
}
