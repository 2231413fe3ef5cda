//! What `--output` asks for. The texts are buildx's; nothing is looked at or written here.

use std::path::PathBuf;

use launchway_diagnostics::closest;
use launchway_model::Reference;
use launchway_oci::{Compression, Stale};

use super::Result;
use crate::csv;
use crate::failure::Failure;

/// One result that is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Output {
    pub(super) to: Target,
    /// How layers are compressed, when this output says so.
    pub(super) compression: Option<Compression>,
    /// Whether the layers of base images are, too.
    pub(super) force_compression: bool,
    /// Whether file times later than `SOURCE_DATE_EPOCH` become it, where it is said.
    pub(super) rewrite_timestamp: Option<bool>,
    /// `annotation.KEY=VALUE` and `annotation-TYPE.KEY=VALUE`, as --annotation takes them.
    pub(super) annotations: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// The files, as a tar.
    Tar { to: Sink, split: bool },
    /// The files, in a folder.
    Local {
        folder: PathBuf,
        split: bool,
        stale: Stale,
    },
    /// An OCI layout as a tar, which `docker load` reads too.
    Archive { to: Sink, names: Vec<Reference> },
    /// An OCI layout as a folder.
    Layout {
        folder: PathBuf,
        names: Vec<Reference>,
    },
    /// The image stays in the local store, with these names, and may be pushed to them.
    Image {
        names: Vec<Reference>,
        push: bool,
        by_digest: bool,
    },
    /// Nothing but the step cache.
    CacheOnly,
}

/// Where a single file goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Sink {
    Stdout,
    File(PathBuf),
}

impl Target {
    /// Whether the image's documents and compressed layers are needed.
    pub(super) fn is_image(&self) -> bool {
        match self {
            Self::Archive { .. } | Self::Layout { .. } | Self::Image { .. } => true,
            Self::Tar { .. } | Self::Local { .. } | Self::CacheOnly => false,
        }
    }

    pub(super) fn is_stdout(&self) -> bool {
        matches!(
            self,
            Self::Tar {
                to: Sink::Stdout,
                ..
            } | Self::Archive {
                to: Sink::Stdout,
                ..
            }
        )
    }
}

const HELP: &str = "write DIR for a folder, - for a tar to stdout, or type=TYPE,dest=PATH with one \
                    of the types local, tar, oci, docker, image, registry, cacheonly";
const TYPES: [&str; 7] = [
    "local",
    "tar",
    "oci",
    "docker",
    "image",
    "registry",
    "cacheonly",
];
const NAMES: [&str; 20] = [
    "annotation.",
    "attestation-prefix",
    "compression",
    "compression-level",
    "dangling-name-prefix",
    "dest",
    "force-compression",
    "mode",
    "name",
    "name-canonical",
    "oci-mediatypes",
    "platform-split",
    "prefer-nondist-layers",
    "push",
    "push-by-digest",
    "rewrite-timestamp",
    "store",
    "tar",
    "type",
    "unpack",
];

/// What the fields of one `--output` say.
#[derive(Default)]
struct Fields {
    kind: Option<String>,
    dest: Option<String>,
    names: Vec<Reference>,
    push: bool,
    tar: Option<bool>,
    split: Option<bool>,
    compression: Option<Compression>,
    force_compression: bool,
    by_digest: bool,
    deletes: bool,
    rewrite_timestamp: Option<bool>,
    annotations: Vec<String>,
}

pub(super) fn parse(text: &str) -> Result<Output> {
    let wrong = |why: String| Failure::usage(format!("--output {text}: {why}"), HELP);
    if text == "-" {
        return Ok(plain(Target::Tar {
            to: Sink::Stdout,
            split: true,
        }));
    }
    let whole = csv::fields(text).map_err(|why| wrong(why.to_owned()))?;
    if whole.len() == 1 && whole[0] == text && !text.starts_with("type=") {
        if text.is_empty() || text.starts_with("dest=") {
            return Err(wrong("there is no type".to_owned()));
        }
        return Ok(plain(Target::Local {
            folder: text.into(),
            split: true,
            stale: Stale::Keep,
        }));
    }
    let mut fields = Fields::default();
    for (name, value) in csv::pairs(text).map_err(wrong)? {
        fields.take(&name, value, text).map_err(|why| match why {
            Why::Said(failure) => failure,
            Why::Wrong(why) => wrong(why),
        })?;
    }
    let to = fields.target().map_err(wrong)?;
    Ok(Output {
        to,
        compression: fields.compression,
        force_compression: fields.force_compression,
        rewrite_timestamp: fields.rewrite_timestamp,
        annotations: fields.annotations,
    })
}

fn plain(to: Target) -> Output {
    Output {
        to,
        compression: None,
        force_compression: false,
        rewrite_timestamp: None,
        annotations: Vec::new(),
    }
}

enum Why {
    Wrong(String),
    Said(Failure),
}

impl From<String> for Why {
    fn from(why: String) -> Self {
        Self::Wrong(why)
    }
}

impl Fields {
    fn take(&mut self, name: &str, value: String, text: &str) -> std::result::Result<(), Why> {
        if let Some(annotation) = name.strip_prefix("annotation") {
            let (kind, key) = annotation
                .split_once('.')
                .ok_or_else(|| "an annotation is written annotation.KEY=VALUE".to_owned())?;
            let kind = kind.trim_start_matches('-');
            let colon = if kind.is_empty() { "" } else { ":" };
            self.annotations.push(format!("{kind}{colon}{key}={value}"));
            return Ok(());
        }
        match name {
            "type" => self.kind = Some(value),
            "dest" => self.dest = Some(value),
            "name" => {
                for name in value.split(',').filter(|name| !name.is_empty()) {
                    let reference = super::parse_reference(&format!("--output {text}"), name)
                        .map_err(Why::Said)?;
                    self.names.push(reference);
                }
            }
            "push" => self.push = flag(name, &value)?,
            "tar" => self.tar = Some(flag(name, &value)?),
            "platform-split" => self.split = Some(flag(name, &value)?),
            "rewrite-timestamp" => self.rewrite_timestamp = Some(flag(name, &value)?),
            "compression" => {
                self.compression = Some(match value.as_str() {
                    "gzip" => Compression::Gzip,
                    "zstd" => Compression::Zstd,
                    "uncompressed" => Compression::Uncompressed,
                    other => {
                        return Err(Why::Wrong(format!(
                            "layers are compressed with gzip or zstd, or left uncompressed; {other} is \
                             not there"
                        )));
                    }
                });
            }
            "oci-mediatypes" => {
                if !flag(name, &value)? {
                    return Err(Why::Wrong(
                        "images are written with OCI's media types only, which every registry and \
                         Docker since 1.10 read"
                            .to_owned(),
                    ));
                }
            }
            "force-compression" => self.force_compression = flag(name, &value)?,
            "mode" => {
                self.deletes = match value.as_str() {
                    "copy" => false,
                    "delete" => true,
                    _ => return Err(Why::Wrong(format!("mode is copy or delete, not `{value}`"))),
                }
            }
            "push-by-digest" => self.by_digest = flag(name, &value)?,
            "registry.insecure" => {
                if flag(name, &value)? {
                    return Err(Why::Wrong(
                        "which registries speak HTTP is said with --plain-http".to_owned(),
                    ));
                }
            }
            // Of these the result does not depend: there is one local store, and no attestations.
            "compression-level"
            | "store"
            | "unpack"
            | "dangling-name-prefix"
            | "name-canonical"
            | "attestation-prefix"
            | "buildinfo"
            | "prefer-nondist-layers" => {}
            other => {
                let near = closest(other, NAMES)
                    .map(|near| format!("; did you mean `{near}`?"))
                    .unwrap_or_default();
                return Err(Why::Wrong(format!("unknown name `{other}`{near}")));
            }
        }
        Ok(())
    }

    fn target(&mut self) -> std::result::Result<Target, String> {
        let kind = self.kind.clone().ok_or("there is no type")?;
        let split = self.split.unwrap_or(true);
        let sink = |dest: Option<String>| match dest.as_deref() {
            None | Some("" | "-" | "/dev/stdout") => Sink::Stdout,
            Some(path) => Sink::File(path.into()),
        };
        let folder = |dest: Option<String>| match dest.as_deref() {
            None | Some("") => Err(format!("type={kind} needs a folder: dest=DIR")),
            Some("-") => Err(format!(
                "a folder cannot go to stdout; type={kind} needs dest=DIR"
            )),
            Some(path) => Ok(PathBuf::from(path)),
        };
        let dest = self.dest.take();
        let names = std::mem::take(&mut self.names);
        match kind.as_str() {
            "tar" => Ok(Target::Tar {
                to: sink(dest),
                split,
            }),
            "local" => Ok(Target::Local {
                folder: folder(dest)?,
                split,
                stale: match self.deletes {
                    true => Stale::Remove,
                    false => Stale::Keep,
                },
            }),
            "oci" | "docker" if self.tar == Some(false) => Ok(Target::Layout {
                folder: folder(dest)?,
                names,
            }),
            "docker" if dest.is_none() => Err(NO_DAEMON.to_owned()),
            "oci" | "docker" => Ok(Target::Archive {
                to: sink(dest),
                names,
            }),
            "image" | "registry" => {
                let tagged = |name: &&Reference| name.tag.is_some();
                if let Some(name) = names.iter().find(tagged).filter(|_| self.by_digest) {
                    return Err(format!(
                        "push-by-digest writes no tag, and {name} has one: leave it out"
                    ));
                }
                Ok(Target::Image {
                    names,
                    push: self.push || kind == "registry",
                    by_digest: self.by_digest,
                })
            }
            "cacheonly" => Ok(Target::CacheOnly),
            other => {
                let near = closest(other, TYPES)
                    .map(|near| format!("; did you mean `{near}`?"))
                    .unwrap_or_default();
                Err(format!("unknown type `{other}`{near}"))
            }
        }
    }
}

/// What there is to say to whoever wants an image in Docker.
pub(super) const NO_DAEMON: &str = "there is no daemon that could take the image; write it with \
                                    type=docker,dest=- and pipe it into `docker load`";

/// A truth value as Go writes it.
fn flag(name: &str, value: &str) -> std::result::Result<bool, String> {
    match value {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(false),
        _ => Err(format!("{name} is true or false, not `{value}`")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(text: &str) -> std::result::Result<Target, String> {
        match parse(text) {
            Ok(output) => Ok(output.to),
            Err(Failure::Message { message, .. }) => Err(message),
            Err(_) => Err(String::new()),
        }
    }

    #[test]
    fn outputs_are_read_as_buildx_reads_them() {
        let file = |path: &str| Sink::File(path.into());
        let tar = |to| Target::Tar { to, split: true };
        let archive = |to, names: &[&str]| Target::Archive {
            to,
            names: names
                .iter()
                .map(|name| name.parse().expect("a name"))
                .collect(),
        };
        let local = |folder: &str| Target::Local {
            folder: folder.into(),
            split: true,
            stale: Stale::Keep,
        };
        for (text, want) in [
            ("-", tar(Sink::Stdout)),
            ("out", local("out")),
            ("./a=b", local("./a=b")),
            ("type=tar", tar(Sink::Stdout)),
            ("type=tar,dest=-", tar(Sink::Stdout)),
            ("type=tar,dest=/dev/stdout", tar(Sink::Stdout)),
            ("type=tar,dest=x.tar", tar(file("x.tar"))),
            ("type=local,dest=out", local("out")),
            (r#"type=local,"dest=a,b""#, local("a,b")),
            (
                "type=local,dest=out,platform-split=false",
                Target::Local {
                    folder: "out".into(),
                    split: false,
                    stale: Stale::Keep,
                },
            ),
            (
                "type=local,dest=out,mode=delete",
                Target::Local {
                    folder: "out".into(),
                    split: true,
                    stale: Stale::Remove,
                },
            ),
            ("type=oci,dest=x", archive(file("x"), &[])),
            ("type=docker,dest=-", archive(Sink::Stdout, &[])),
            ("type=docker,dest=x,name=a:1", archive(file("x"), &["a:1"])),
            (
                "type=oci,tar=false,dest=d,name=a:1",
                Target::Layout {
                    folder: "d".into(),
                    names: vec!["a:1".parse().expect("a name")],
                },
            ),
            ("type=cacheonly", Target::CacheOnly),
            (
                r#"type=image,"name=a:1,b:2",push=true"#,
                Target::Image {
                    names: vec![
                        "a:1".parse().expect("a name"),
                        "b:2".parse().expect("a name"),
                    ],
                    push: true,
                    by_digest: false,
                },
            ),
            (
                "type=registry,name=x/y",
                Target::Image {
                    names: vec!["x/y".parse().expect("a name")],
                    push: true,
                    by_digest: false,
                },
            ),
            (
                "type=image,push-by-digest=true,push=true",
                Target::Image {
                    names: Vec::new(),
                    push: true,
                    by_digest: true,
                },
            ),
        ] {
            assert_eq!(target(text).as_ref(), Ok(&want), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_written_is_refused_with_a_reason() {
        const DIGEST: &str = "type=image,name=x@sha256:\
                              e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        for (text, why) in [
            ("", "no type"),
            ("dest=x", "no type"),
            ("type=tarr,dest=x", "did you mean `tar`?"),
            ("type=local", "needs a folder"),
            ("type=local,dest=-", "cannot go to stdout"),
            ("type=oci,tar=false,dest=-", "cannot go to stdout"),
            ("type=docker", "docker load"),
            ("type=tar,dst=x", "did you mean `dest`?"),
            ("type=oci,dest=x,oci-mediatypes=false", "OCI's media types"),
            (
                "type=oci,dest=x,compression=estargz",
                "estargz is not there",
            ),
            ("type=image,name=x:y,push-by-digest=true", "writes no tag"),
            ("type=oci,dest=x,tar=perhaps", "true or false"),
            ("type=image,name=UPPER", "UPPER"),
            (DIGEST, "has a digest"),
            ("type=local,dest=x,mode=move", "mode is copy or delete"),
            ("type=tar,\"dest=x", "not closed"),
        ] {
            let said = target(text).expect_err(text);
            assert!(said.contains(why), "{text}: {said}");
        }
    }

    #[test]
    fn annotations_of_an_output_are_those_of_the_flag() {
        let output = parse("type=oci,dest=x,annotation.a.b=c,annotation-index.d=e");
        let annotations = output.map(|output| output.annotations).unwrap_or_default();
        assert_eq!(annotations, ["a.b=c", "index:d=e"]);
    }
}
