//! What goes over, in which order, and what does not.

use std::sync::Arc;

use launchway_model::{Digest, Platform};
use launchway_transfer::{
    Copied, Copy, Destination, Holds, Name, Planned, TransferError, Verdict, copy, plan,
};

use crate::images::{Images, digest, family};
use crate::memory::Memory;

fn asked(source: &Memory) -> Copy {
    Copy {
        source: Arc::new(source.clone()),
        name: Name::Tag("v1".to_owned()),
        platforms: Vec::new(),
        referrers: false,
        parallel: 3,
    }
}

fn to(place: &Memory) -> Destination {
    Destination {
        place: Arc::new(place.clone()),
        tag: Some("v1".to_owned()),
        digest: None,
    }
}

fn platforms(names: &[&str]) -> Vec<Platform> {
    names.iter().map(|name| name.parse().unwrap()).collect()
}

async fn run(asked: &Copy, destinations: &[Destination]) -> Vec<Verdict<Copied>> {
    copy(asked, destinations, &|_| {}).await.unwrap()
}

async fn one(asked: &Copy, destination: Destination) -> Verdict<Copied> {
    run(asked, &[destination]).await.pop().unwrap()
}

fn source() -> (Memory, Images, Digest) {
    let (images, root) = family();
    let root = digest(&root);
    let source = Memory::new("there").with(&images, "v1", &root);
    (source, images, root)
}

#[tokio::test]
async fn everything_goes_over_and_the_tag_comes_last() {
    let (source, images, root) = source();
    let here = Memory::new("here");
    let copied = one(&asked(&source), to(&here)).await.unwrap();
    assert_eq!(copied.digest, root);
    assert_eq!(copied.platforms, platforms(&["linux/amd64", "linux/arm64"]));
    assert_eq!(copied.documents, images.documents.len());
    assert_eq!(copied.sent.blobs, images.blobs.len());
    assert_eq!(
        (here.documents(), here.blobs()),
        (source.documents(), source.blobs())
    );
    for document in &images.documents {
        assert_eq!(here.bytes(document.digest()), document.raw.bytes);
    }
    assert_eq!(here.tag("v1"), Some(root.clone()));
    // Children before parents is checked by the place itself.
    let puts = here.calls("put ");
    assert_eq!(puts.last(), Some(&format!("put tag v1 {root}")));
    assert_eq!(here.calls("put tag").len(), 1);
    assert_eq!(here.calls("finish").len(), 1);
    // What two images share is read once, and nothing is asked twice.
    assert_eq!(source.calls("blob ").len(), images.blobs.len());
    assert_eq!(source.calls("manifest ").len(), images.documents.len());
    assert_eq!(source.calls("referrers").len(), 0);
    assert_eq!(here.calls("probe").len(), 1);
    assert_eq!(here.calls("has").len(), 0);
}

#[tokio::test]
async fn what_is_there_costs_one_question_on_each_side() {
    let (source, _, root) = source();
    let here = Memory::new("here");
    one(&asked(&source), to(&here)).await.unwrap();
    for platforms in [Vec::new(), platforms(&["linux/arm64"])] {
        let asked = Copy {
            platforms,
            ..asked(&source)
        };
        one(&asked, to(&here)).await.unwrap();
        source.forget_calls();
        here.forget_calls();
        let copied = one(&asked, to(&here)).await.unwrap();
        assert!(copied.up_to_date);
        assert_eq!(copied.digest == root, asked.platforms.is_empty());
        assert_eq!(source.calls(""), ["manifest v1"]);
        assert_eq!(here.calls(""), ["probe v1"]);
    }
}

#[tokio::test]
async fn a_copy_that_broke_off_leaves_no_tag_and_goes_on_where_it_was() {
    let (source, images, root) = source();
    let here = Memory::new("here");
    let missing = launchway_oci::Hasher::digest(b"of arm64");
    here.refuse(&missing);
    let error = one(&asked(&source), to(&here)).await.unwrap_err();
    assert!(matches!(error, TransferError::Blob { digest, .. } if digest == missing));
    assert_eq!(here.tag("v1"), None);
    assert_eq!(here.documents(), Vec::<Digest>::new());
    let there_before = here.blobs().len();
    here.refuse_nothing();
    let copied = one(&asked(&source), to(&here)).await.unwrap();
    assert_eq!(copied.present.blobs, there_before);
    assert_eq!(copied.sent.blobs, images.blobs.len() - there_before);
    assert_eq!(here.tag("v1"), Some(root));
}

#[tokio::test]
async fn one_platform_is_the_image_itself_and_several_are_a_shorter_index() {
    let (source, images, root) = source();
    let chosen = |names: &[&str]| Copy {
        platforms: platforms(names),
        ..asked(&source)
    };

    let here = Memory::new("here");
    let copied = one(&chosen(&["linux/arm64"]), to(&here)).await.unwrap();
    assert!(!copied.shortened);
    assert_eq!(here.documents(), std::slice::from_ref(&copied.digest));
    assert_eq!(here.bytes(&copied.digest), source.bytes(&copied.digest));
    assert_eq!(here.blobs().len(), 3);

    // All there are is the index itself.
    let here = Memory::new("here");
    let all = chosen(&["linux/arm64", "linux/amd64"]);
    assert_eq!(one(&all, to(&here)).await.unwrap().digest, root);

    let mut images = images;
    let third = images.image("s390x", &["of s390x"]);
    let old: Vec<_> =
        serde_json::from_slice::<serde_json::Value>(&source.bytes(&root)).unwrap()["manifests"]
            .as_array()
            .cloned()
            .unwrap();
    let mut entries = old.clone();
    entries.insert(1, third);
    let wider = digest(&images.index(&entries));
    let source = Memory::new("there").with(&images, "v1", &wider);
    let here = Memory::new("here");
    let asked = Copy {
        source: Arc::new(source),
        ..all
    };
    let copied = one(&asked, to(&here)).await.unwrap();
    assert!(copied.shortened);
    let bytes = here.bytes(&copied.digest);
    let index: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
    // The two images with what attests them; everything else about the index stays.
    assert_eq!(index["manifests"].as_array().unwrap(), &old[..4]);
    assert_eq!(index["annotations"]["made.by"], "the test");
}

#[tokio::test]
async fn a_platform_that_is_not_there_is_told_with_those_that_are() {
    let (source, _, _) = source();
    let here = Memory::new("here");
    let wanted = Copy {
        platforms: platforms(&["linux/arm64", "linux/s390x"]),
        ..asked(&source)
    };
    let error = copy(&wanted, &[to(&here)], &|_| {}).await.unwrap_err();
    assert_eq!(error.to_string(), "there has nothing for linux/s390x");
    assert_eq!(error.help().unwrap(), "there are linux/amd64, linux/arm64");
    assert_eq!(here.calls("put"), Vec::<String>::new());

    // A lone image says it in its configuration.
    let mut images = Images::default();
    let root = digest(&images.image("amd64", &["x"]));
    let lone = Memory::new("there").with(&images, "v1", &root);
    for (name, good) in [("linux/amd64", true), ("linux/arm64", false)] {
        let wanted = Copy {
            platforms: platforms(&[name]),
            ..asked(&lone)
        };
        let result = copy(&wanted, &[to(&Memory::new("here"))], &|_| {}).await;
        match result {
            Ok(_) => assert!(good),
            Err(error) => {
                assert!(!good);
                assert_eq!(error.help().unwrap(), "there are linux/amd64");
            }
        }
    }
}

#[tokio::test]
async fn referrers_go_along_when_asked_and_so_do_theirs() {
    let (mut images, root) = family();
    let note = images.referrer(&root, "a note");
    let about_note = images.referrer(&note, "a note about the note");
    let child = images.documents[0].descriptor();
    let child = serde_json::to_value(child).unwrap();
    let about_child = images.referrer(&child, "a note about one platform");
    let root = digest(&root);
    let source = Memory::new("there").with(&images, "v1", &root);

    let here = Memory::new("here");
    one(&asked(&source), to(&here)).await.unwrap();
    assert!(!here.documents().contains(&digest(&note)));

    // The image is there already; only what refers to it is looked after.
    source.forget_calls();
    here.forget_calls();
    let wanted = Copy {
        referrers: true,
        ..asked(&source)
    };
    let copied = one(&wanted, to(&here)).await.unwrap();
    assert!(!copied.up_to_date);
    for descriptor in [&note, &about_note, &about_child] {
        assert!(here.documents().contains(&digest(descriptor)));
    }
    assert_eq!(
        (here.documents(), here.blobs()),
        (source.documents(), source.blobs())
    );
    // Three texts; the image has the empty configuration they share.
    assert_eq!(here.calls("put blob").len(), 3);
    assert_eq!(here.calls("put tag"), [format!("put tag v1 {root}")]);
    assert_eq!(
        here.calls("put ").last(),
        Some(&format!("put tag v1 {root}"))
    );
}

#[tokio::test]
async fn another_digest_than_the_one_named_is_refused() {
    let (source, _, root) = source();
    let here = Memory::new("here");
    let named = |digest: &Digest| Destination {
        digest: Some(digest.clone()),
        tag: None,
        ..to(&here)
    };
    let other = Digest::sha256([7; 32]);
    let error = one(&asked(&source), named(&other)).await.unwrap_err();
    assert!(
        matches!(error, TransferError::OtherDigest { wanted, found, .. }
        if wanted == other && found == root)
    );
    assert_eq!(here.calls("put"), Vec::<String>::new());
    one(&asked(&source), named(&root)).await.unwrap();
    assert_eq!(here.calls("put root"), [format!("put root {root}")]);
}

#[tokio::test]
async fn destinations_fail_each_for_itself() {
    let (source, images, root) = source();
    let (good, bad) = (Memory::new("good"), Memory::new("bad"));
    bad.refuse(&launchway_oci::Hasher::digest(b"shared"));
    let verdicts = run(&asked(&source), &[to(&bad), to(&good)]).await;
    assert!(verdicts[0].is_err());
    assert_eq!(verdicts[1].as_ref().unwrap().digest, root);
    assert_eq!((bad.tag("v1"), good.tag("v1")), (None, Some(root)));
    // The source's documents are read once for both.
    assert_eq!(source.calls("manifest ").len(), images.documents.len());
}

#[tokio::test]
async fn within_a_repository_only_the_tag_is_written() {
    let (images, root) = family();
    let root = digest(&root);
    let place = Memory::new("there").at("r.io/a").with(&images, "v1", &root);
    let destination = Destination {
        tag: Some("v2".to_owned()),
        ..to(&place)
    };
    one(&asked(&place), destination).await.unwrap();
    assert_eq!(
        place.calls(""),
        [
            "manifest v1".to_owned(),
            format!("put tag v2 {root}"),
            "finish".to_owned()
        ]
    );
}

#[tokio::test]
async fn a_place_for_one_image_takes_one() {
    let (source, _, _) = source();
    let here = Memory::new("here").holding(Holds::OneImage);
    let error = one(&asked(&source), to(&here)).await.unwrap_err();
    assert_eq!(error.help().unwrap(), "choose one: --platform linux/amd64");
    let wanted = Copy {
        platforms: platforms(&["linux/arm64"]),
        ..asked(&source)
    };
    let copied = one(&wanted, to(&here)).await.unwrap();
    assert_eq!(here.documents(), [copied.digest]);

    // Where an index has one image there is nothing to choose.
    let mut images = Images::default();
    let image = images.image("amd64", &["x"]);
    let about = images.attestation(&image);
    let root = digest(&images.index(&[image.clone(), about]));
    let source = Memory::new("there").with(&images, "v1", &root);
    let here = Memory::new("here").holding(Holds::OneImage);
    let copied = one(&asked(&source), to(&here)).await.unwrap();
    assert_eq!(copied.digest, digest(&image));
}

#[tokio::test]
async fn a_plan_says_what_the_copy_then_does_and_writes_nothing() {
    let (source, images, _) = source();
    let here = Memory::new("here");
    here.refuse(&launchway_oci::Hasher::digest(b"of riscv64"));
    one(&asked(&source), to(&here)).await.unwrap_err();
    here.refuse_nothing();
    here.forget_calls();
    let planned = plan(&asked(&source), &[to(&here)])
        .await
        .unwrap()
        .pop()
        .unwrap();
    let Planned {
        copied: planned,
        blobs,
    } = planned.unwrap();
    assert_eq!(here.calls("put"), Vec::<String>::new());
    assert_eq!(blobs.len(), images.blobs.len());
    let copied = one(&asked(&source), to(&here)).await.unwrap();
    assert_eq!(planned, copied);
}

#[tokio::test]
async fn foreign_layers_stay_where_they_are() {
    let mut images = Images::default();
    let config = images.blob(
        "application/vnd.oci.image.config.v1+json",
        r#"{"architecture":"amd64","os":"windows","rootfs":{"type":"layers"}}"#,
    );
    let foreign = serde_json::json!({
        "mediaType": "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
        "digest": Digest::sha256([1; 32]).to_string(),
        "size": 5,
        "urls": ["https://elsewhere"],
    });
    let root = digest(&images.document(&serde_json::json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": config,
        "layers": [foreign],
    })));
    let there = Memory::new("there").with(&images, "v1", &root);
    let here = Memory::new("here");
    // Only planned: the place in memory is strict and would miss the layer.
    let planned = plan(&asked(&there), &[to(&here)]).await.unwrap();
    let Planned { copied, .. } = planned.into_iter().next().unwrap().unwrap();
    assert_eq!((copied.foreign, copied.sent.blobs), (1, 1));
}
