//! How each client pushes and pulls.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use launchway_testkit::{peers, sha256};
use serde_json::Value;

use super::image::{ARCHITECTURES, Image, Platform, TAG, digest_in, read_layout};
use super::registries::Registry;
use super::text;
use crate::serving::PROGRAM;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Client {
    Crane,
    Oras,
    Skopeo,
    Docker,
    Buildah,
    Launchway,
}

pub(super) const CLIENTS: [Client; 6] = [
    Client::Crane,
    Client::Oras,
    Client::Skopeo,
    Client::Docker,
    Client::Buildah,
    Client::Launchway,
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Limit {
    /// Of what it pulled, manifests, configurations and layers cannot be seen as they came.
    ShowsNoLayers,
    /// The index of what it pulled cannot be seen.
    ShowsNoIndex,
    /// What it pushes has another index than what it was given.
    WritesItsOwnIndex,
}

/// What a client says it has pulled.
pub(super) struct Pulled {
    pub(super) index: Option<String>,
    /// In the order of [`ARCHITECTURES`].
    pub(super) platforms: Vec<Got>,
}

pub(super) struct Got {
    pub(super) unpacked: String,
    pub(super) packed: Option<Platform>,
}

/// What clients work with: a registry, credentials for it, a folder.
pub(super) struct Bench<'a> {
    registry: &'a Registry,
    folder: PathBuf,
    /// A folder with `config.json`, and that file.
    configs: String,
    credentials: String,
}

impl Client {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Crane => "crane",
            Self::Oras => "oras",
            Self::Skopeo => "skopeo",
            Self::Docker => "docker",
            Self::Buildah => "buildah",
            Self::Launchway => "launchway",
        }
    }

    pub(super) fn is_here(self) -> bool {
        self.command().is_some()
    }

    fn command(self) -> Option<Command> {
        match self {
            Self::Launchway => Some(Command::new(PROGRAM)),
            Self::Docker => peers::docker(),
            other => peers::tool(other.name()),
        }
    }
}

impl<'a> Bench<'a> {
    pub(super) fn new(folder: &Path, registry: &'a Registry) -> Self {
        let configs = folder.join("configs");
        fs::create_dir_all(&configs).expect("making a folder");
        let credentials = configs.join("config.json");
        fs::write(&credentials, registry.credentials()).expect("writing credentials");
        let policy = r#"{"default":[{"type":"insecureAcceptAnything"}]}"#;
        fs::write(folder.join("policy.json"), policy).expect("writing a policy");
        Self {
            registry,
            folder: folder.to_owned(),
            configs: text(&configs),
            credentials: text(&credentials),
        }
    }

    /// Where a client pushes to.
    pub(super) fn path(&self, pusher: Client) -> String {
        format!("from/{}", pusher.name())
    }

    fn reference(&self, pusher: Client) -> String {
        format!("{}/{}:{TAG}", self.registry.host, self.path(pusher))
    }

    pub(super) fn push(&self, client: Client, image: &Image) {
        let to = self.reference(client);
        let docker = format!("docker://{to}");
        let layout = format!("oci:{}:{TAG}", image.layout.display());
        match client {
            Client::Crane => {
                self.run(
                    client,
                    &["push", "--insecure", "--index", &text(&image.flat), &to],
                );
            }
            Client::Oras => {
                let from = format!("{}:{TAG}", image.layout.display());
                let flags = ["copy", "--from-oci-layout", "--to-plain-http"];
                let config = ["--to-registry-config", &self.credentials];
                self.run(client, &[&flags[..], &config, &[&from, &to]].concat());
            }
            Client::Skopeo => {
                let flags = ["--insecure-policy", "copy", "--all", "--preserve-digests"];
                let secure = [
                    "--dest-tls-verify=false",
                    "--dest-authfile",
                    &self.credentials,
                ];
                self.run(client, &[&flags[..], &secure, &[&layout, &docker]].concat());
            }
            Client::Docker => {
                self.load(image, &to);
                self.run(client, &["push", &to]);
            }
            Client::Buildah => {
                self.run(client, &["manifest", "create", &to]);
                self.run(client, &["manifest", "add", "--all", &to, &layout]);
                let flags = ["manifest", "push", "--all", "--tls-verify=false"];
                let more = self.buildah_flags();
                let more: Vec<&str> = more.iter().map(String::as_str).collect();
                self.run(client, &[&flags[..], &more, &[&to, &docker]].concat());
            }
            Client::Launchway => {
                self.run(client, &["copy", &layout, &to]);
            }
        }
    }

    /// Gives docker an archive of the layout, which says what the image is called.
    fn load(&self, image: &Image, name: &str) {
        let path = image.layout.join("index.json");
        let text_of = fs::read_to_string(&path).expect("reading an index");
        let mut index: Value = serde_json::from_str(&text_of).expect("an index is JSON");
        index["manifests"][0]["annotations"]["io.containerd.image.name"] = name.into();
        fs::write(&path, index.to_string()).expect("writing an index");
        let file = image.layout.with_extension("tar");
        let archive = fs::File::create(&file).expect("making an archive");
        let mut archive = tar::Builder::new(archive);
        archive
            .append_dir_all(".", &image.layout)
            .and_then(|()| archive.finish())
            .expect("writing an archive");
        self.run(Client::Docker, &["load", "--input", &text(&file)]);
        self.run(Client::Docker, &["image", "inspect", name]);
    }

    pub(super) fn pull(&self, client: Client, pusher: Client, place: &Path) -> Pulled {
        let from = self.reference(pusher);
        let docker = format!("docker://{from}");
        let layout = format!("oci:{}:{TAG}", place.display());
        match client {
            Client::Crane => {
                let flags = ["pull", "--insecure", "--format", "oci", &from];
                self.run(client, &[&flags[..], &[&text(place)]].concat());
            }
            Client::Oras => {
                let to = format!("{}:{TAG}", place.display());
                let flags = ["copy", "--to-oci-layout", "--from-plain-http"];
                let config = ["--from-registry-config", &self.credentials];
                self.run(client, &[&flags[..], &config, &[&from, &to]].concat());
            }
            Client::Skopeo => {
                let flags = ["--insecure-policy", "copy", "--all", "--preserve-digests"];
                let secure = [
                    "--src-tls-verify=false",
                    "--src-authfile",
                    &self.credentials,
                ];
                self.run(client, &[&flags[..], &secure, &[&docker, &layout]].concat());
            }
            Client::Launchway => {
                self.run(client, &["copy", &from, &layout]);
            }
            Client::Docker => return self.pull_by_docker(&from),
            Client::Buildah => return self.pull_by_buildah(&from),
        }
        let (index, platforms) = read_layout(place);
        let got = platforms.into_iter().map(|platform| Got {
            unpacked: platform.unpacked.clone(),
            packed: Some(platform),
        });
        Pulled {
            index: Some(index),
            platforms: got.collect(),
        }
    }

    /// One platform after the other; each time it has to fetch, as nothing of it is kept.
    fn pull_by_docker(&self, from: &str) -> Pulled {
        let mut pulled = Pulled {
            index: None,
            platforms: Vec::new(),
        };
        for architecture in ARCHITECTURES {
            self.forget(from);
            let platform = format!("linux/{architecture}");
            self.run(Client::Docker, &["pull", "--platform", &platform, from]);
            let flags = ["image", "inspect", "--platform", &platform, from];
            let shown = self.run(Client::Docker, &flags);
            let shown: Value = serde_json::from_str(&shown).expect("docker shows JSON");
            let shown = &shown[0];
            assert_eq!(shown["Architecture"], architecture);
            pulled.platforms.push(Got {
                unpacked: word(&shown["RootFS"]["Layers"][0]),
                packed: None,
            });
            let digests = shown["RepoDigests"].as_array().into_iter().flatten();
            let (name, _) = from.rsplit_once(':').unwrap_or_default();
            let mut digests =
                digests.filter_map(|text| text.as_str()?.strip_prefix(name)?.strip_prefix('@'));
            pulled.index = digests.next().map(str::to_owned);
        }
        pulled
    }

    fn pull_by_buildah(&self, from: &str) -> Pulled {
        let docker = format!("docker://{from}");
        let platforms = ARCHITECTURES.map(|architecture| {
            let platform = format!("linux/{architecture}");
            let flags = ["pull", "--tls-verify=false", "--platform", &platform];
            let more = self.buildah_flags();
            let more: Vec<&str> = more.iter().map(String::as_str).collect();
            let id = self.run(Client::Buildah, &[&flags[..], &more, &[&docker]].concat());
            let id = id.lines().last().unwrap_or_default().trim();
            let shown = self.run(Client::Buildah, &["inspect", "--type", "image", id]);
            let shown: Value = serde_json::from_str(&shown).expect("buildah shows JSON");
            let (config, manifest) = (word(&shown["Config"]), word(&shown["Manifest"]));
            let document: Value = serde_json::from_str(&manifest).expect("a manifest is JSON");
            let unpacked: Value = serde_json::from_str(&config).expect("it is JSON");
            let unpacked = word(&unpacked["rootfs"]["diff_ids"][0]);
            Got {
                unpacked: unpacked.clone(),
                packed: Some(Platform {
                    manifest: sha256(manifest.as_bytes()),
                    config: sha256(config.as_bytes()),
                    layer: digest_in(&document["layers"][0]),
                    unpacked,
                }),
            }
        });
        Pulled {
            index: None,
            platforms: platforms.into(),
        }
    }

    /// Whether a client is refused what the first one pushed.
    pub(super) fn cannot_pull(&self, client: Client) -> bool {
        let from = self.reference(CLIENTS[0]);
        let docker = format!("docker://{from}");
        let place = text(&self.folder.join(client.name()));
        let arguments: Vec<String> = match client {
            Client::Crane => vec!["manifest".into(), "--insecure".into(), from],
            Client::Oras => {
                let config = ["--registry-config".into(), self.credentials.clone()];
                let words = ["manifest", "fetch", "--plain-http"].map(str::to_owned);
                [&words[..], &config, &[from]].concat()
            }
            Client::Skopeo => {
                let words = ["inspect", "--raw", "--tls-verify=false", "--authfile"];
                [
                    &words.map(str::to_owned)[..],
                    &[self.credentials.clone(), docker],
                ]
                .concat()
            }
            Client::Docker => {
                self.forget(&from);
                vec!["pull".into(), from]
            }
            Client::Buildah => {
                let words = ["pull", "--tls-verify=false"].map(str::to_owned);
                [&words[..], &self.buildah_flags(), &[docker]].concat()
            }
            Client::Launchway => vec!["copy".into(), from, format!("oci:{place}:{TAG}")],
        };
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let (succeeded, said) = self.try_to(client, &arguments);
        let says_why = [
            "401",
            "UNAUTHORIZED",
            "nauthorized",
            "no basic auth",
            "authentication",
        ];
        !succeeded && says_why.iter().any(|words| said.contains(words))
    }

    /// Takes away what was put into places of the machine.
    pub(super) fn clean(&self, clients: &[Client]) {
        if clients.contains(&Client::Docker) {
            for client in CLIENTS {
                self.forget(&self.reference(client));
            }
        }
    }

    fn forget(&self, reference: &str) {
        // It may never have been there.
        let _ = self.try_to(Client::Docker, &["image", "rm", "--force", reference]);
    }

    fn buildah_flags(&self) -> Vec<String> {
        let policy = text(&self.folder.join("policy.json"));
        [
            "--signature-policy",
            &policy,
            "--authfile",
            &self.credentials,
        ]
        .map(str::to_owned)
        .into()
    }

    /// What it says on stdout.
    #[track_caller]
    fn run(&self, client: Client, arguments: &[&str]) -> String {
        let (succeeded, said) = self.try_to(client, arguments);
        assert!(succeeded, "{} {arguments:?}:\n{said}", client.name());
        said
    }

    /// Whether it succeeded, and what it says: on stdout, or all of it where it failed.
    fn try_to(&self, client: Client, arguments: &[&str]) -> (bool, String) {
        let mut command = client.command().expect("it was there a moment ago");
        command.env("DOCKER_CONFIG", &self.configs);
        // Nothing of the person who runs this has a say.
        command.env("REGISTRY_AUTH_FILE", &self.credentials);
        if client == Client::Buildah {
            let folder = |name: &str| text(&self.folder.join(name));
            command.args(["--root", &folder("storage"), "--runroot", &folder("run")]);
            command.args(["--storage-driver", "vfs"]);
        }
        let output = command.args(arguments).stdin(Stdio::null()).output();
        let output = output.expect("starting a client");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        match output.status.success() {
            true => (true, said),
            false => (false, said + &String::from_utf8_lossy(&output.stderr)),
        }
    }
}

fn word(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
