//! What `--build-context` gives. The texts are buildx's; nothing is opened here but to tell a folder
//! from something else.

use std::collections::BTreeMap;
use std::path::Path;

use launchway_dockerfile::git_context;
use launchway_model::{Digest, Platform, Reference, Tag};
use launchway_release::single::NamedContext;

use super::Result;
use crate::failure::Failure;

const HELP: &str = "write NAME=DIR, NAME=oci-layout://DIR[:TAG|@DIGEST], NAME=docker-image://REFERENCE, \
                    NAME=https://HOST/FILE or NAME=https://HOST/REPOSITORY.git#REF:FOLDER";

/// The named contexts by their names. One that is given twice is what it was the last time.
pub(super) fn parse(given: &[String]) -> Result<BTreeMap<String, NamedContext>> {
    let mut named = BTreeMap::new();
    for text in given {
        let wrong = |why: String| Failure::usage(format!("--build-context {text}: {why}"), HELP);
        let (name, value) = text
            .split_once('=')
            .ok_or_else(|| wrong("there is no `=`".to_owned()))?;
        check_name(name).map_err(wrong)?;
        named.insert(name.to_owned(), context(value).map_err(wrong)?);
    }
    Ok(named)
}

/// A name is that of an image, perhaps for one platform.
fn check_name(name: &str) -> std::result::Result<(), String> {
    let (image, platform) = match name.split_once("::") {
        Some((image, platform)) => (image, Some(platform)),
        None => (name, None),
    };
    image
        .parse::<Reference>()
        .map_err(|error| format!("the name `{image}` is no name of an image: {error}"))?;
    if let Some(platform) = platform {
        platform
            .parse::<Platform>()
            .map_err(|error| error.to_string())?;
    }
    Ok(())
}

fn context(value: &str) -> std::result::Result<NamedContext, String> {
    if let Some(reference) = value.strip_prefix("docker-image://") {
        if reference == "scratch" {
            return Ok(NamedContext::Scratch);
        }
        let parsed = reference.parse::<Reference>();
        return parsed
            .map(NamedContext::Image)
            .map_err(|error| format!("`{reference}` is no reference of an image: {error}"));
    }
    if let Some(layout) = value.strip_prefix("oci-layout://") {
        return layout_of(layout);
    }
    if value.starts_with("target:") {
        return Err("targets are a thing of bake files".to_owned());
    }
    let path = Path::new(value);
    if let Some(repository) = git_context(value).filter(|_| !path.exists()) {
        return repository.map(NamedContext::Repository);
    }
    if value.starts_with("https://") || value.starts_with("http://") {
        return Ok(NamedContext::File(value.to_owned()));
    }
    match std::fs::metadata(path) {
        Ok(found) if found.is_dir() => Ok(NamedContext::Folder(path.to_owned())),
        Ok(_) => Err(format!("{value} is no folder")),
        Err(error) => Err(format!("cannot use {value}: {error}")),
    }
}

/// `DIR[:TAG][@DIGEST]`. A colon that no tag follows belongs to the path.
fn layout_of(text: &str) -> std::result::Result<NamedContext, String> {
    let (rest, digest) = match text.rsplit_once('@') {
        Some((rest, digest)) if digest.contains(':') && !digest.contains('/') => {
            let digest: Digest = digest
                .parse()
                .map_err(|error| format!("`{digest}` is no digest: {error}"))?;
            (rest, Some(digest))
        }
        _ => (text, None),
    };
    let (path, tag) = match rest.rsplit_once(':') {
        Some((path, tag)) if tag.parse::<Tag>().is_ok() => (path, Some(tag.to_owned())),
        _ => (rest, None),
    };
    if path.is_empty() {
        return Err("it names no folder".to_owned());
    }
    if !launchway_oci::is_layout(Path::new(path)) {
        return Err(format!("{path} is no OCI layout"));
    }
    Ok(NamedContext::Layout {
        path: path.into(),
        tag,
        digest,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> std::result::Result<NamedContext, String> {
        match parse(&[text.to_owned()]) {
            Ok(named) => Ok(named.into_values().next().expect("one was given")),
            Err(Failure::Message { message, .. }) => Err(message),
            Err(_) => Err(String::new()),
        }
    }

    #[test]
    fn contexts_are_read_as_buildx_reads_them() {
        let folder = tempfile::tempdir().expect("making a folder");
        let path = folder.path().display().to_string();
        std::fs::write(folder.path().join("oci-layout"), "{}").expect("writing");
        std::fs::write(folder.path().join("index.json"), "{}").expect("writing");
        let digest = format!("sha256:{}", "a".repeat(64));
        let layout = |tag: Option<&str>, digest: Option<&str>| NamedContext::Layout {
            path: folder.path().to_owned(),
            tag: tag.map(str::to_owned),
            digest: digest.map(|digest| digest.parse().expect("a digest")),
        };
        for (text, want) in [
            (
                format!("x={path}"),
                NamedContext::Folder(folder.path().to_owned()),
            ),
            (
                format!("docker.io/library/x:1={path}"),
                NamedContext::Folder(folder.path().to_owned()),
            ),
            (
                format!("x::linux/arm64={path}"),
                NamedContext::Folder(folder.path().to_owned()),
            ),
            (format!("x=oci-layout://{path}"), layout(None, None)),
            (
                format!("x=oci-layout://{path}:1.2"),
                layout(Some("1.2"), None),
            ),
            (
                format!("x=oci-layout://{path}@{digest}"),
                layout(None, Some(&digest)),
            ),
            (
                format!("x=oci-layout://{path}:1@{digest}"),
                layout(Some("1"), Some(&digest)),
            ),
            ("x=docker-image://scratch".to_owned(), NamedContext::Scratch),
            (
                "x=docker-image://a/b:1".to_owned(),
                NamedContext::Image("a/b:1".parse().expect("a reference")),
            ),
            (
                "x=https://h/f.tar".to_owned(),
                NamedContext::File("https://h/f.tar".to_owned()),
            ),
        ] {
            assert_eq!(one(&text).as_ref(), Ok(&want), "{text}");
        }
        for (text, why) in [
            ("x".to_owned(), "no `=`"),
            (format!("Upper={path}"), "no name of an image"),
            (format!("x::nowhere={path}"), "os/architecture"),
            (format!("x={path}/none"), "cannot use"),
            (format!("x={path}/index.json"), "no folder"),
            (format!("x=oci-layout://{path}/none"), "no OCI layout"),
            ("x=target:y".to_owned(), "bake"),
            ("x=https://h/r.git?no=1".to_owned(), "means nothing"),
            ("x=docker-image://Upper".to_owned(), "no reference"),
        ] {
            let said = one(&text).expect_err(&text);
            assert!(said.contains(why), "{text}: {said}");
        }
    }
}
