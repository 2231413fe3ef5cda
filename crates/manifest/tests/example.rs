//! What whole files mean.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::time::Duration;

use launchway_diagnostics::{Colour, SourceMap, render_all};
use launchway_manifest::{
    Compression, Family, Flavour, Image, Network, Recipe, SmokeAction, TagValues, VersionSource,
    parse,
};
use launchway_model::{ByteSize, CpuCount, MemorySwap, PidsLimit};

fn family(text: &str) -> Family {
    let mut sources = SourceMap::new();
    let parsed = parse(sources.add("launchway.toml", text), text);
    let problems = render_all(&parsed.diagnostics, &sources, Colour::Never);
    assert_eq!(problems, "");
    parsed.family.unwrap()
}

fn image<'f>(family: &'f Family, name: &str) -> &'f Image {
    family.image(&name.parse().unwrap()).unwrap()
}

fn texts<T: ToString>(items: impl IntoIterator<Item = T>) -> Vec<String> {
    items.into_iter().map(|item| item.to_string()).collect()
}

#[test]
fn the_devbox_family_is_read_whole() {
    let family = family(include_str!("data/devbox.toml"));
    assert_eq!(family.name.value, "opencode-devbox");
    assert_eq!(
        texts(family.registries.iter().map(|one| &one.value)),
        ["docker.io/joakimp", "ghcr.io/joakimp"]
    );
    assert_eq!(
        family
            .versions
            .values()
            .map(|one| &one.value)
            .collect::<Vec<_>>()[0],
        &VersionSource::Npm {
            package: "opencode-ai".to_owned(),
            accept: None
        }
    );
    let devbox = image(&family, "devbox");
    assert_eq!(devbox.from.as_ref().unwrap().as_str(), "base");
    let variants: Vec<(String, &str, usize)> = devbox
        .variants
        .iter()
        .map(|variant| {
            let Flavour::Features(features) = &variant.flavour else {
                panic!("{variant:?}")
            };
            (
                variant.name.to_string(),
                variant.suffix.as_str(),
                features.len(),
            )
        })
        .collect();
    assert_eq!(
        variants,
        [
            ("base".to_owned(), "", 1),
            ("omos".to_owned(), "-omos", 2),
            ("with-pi".to_owned(), "-with-pi", 2),
            ("omos-with-pi".to_owned(), "-omos-with-pi", 3),
        ]
    );
    assert_eq!(texts(devbox.features.keys()), ["omos", "opencode", "pi"]);
    assert_eq!(
        devbox.features.values().next().unwrap().target.value,
        "omos"
    );
    assert_eq!(devbox.platforms, family.platforms);
    assert_eq!(devbox.content_tag.as_str(), "{image}-{variant}-{hash}");
    assert_eq!(devbox.recipe, Recipe::Tree { inputs: None });
    let smoke = &devbox.smoke[0];
    assert_eq!(
        smoke.action,
        SmokeAction::Run(vec!["opencode".into(), "--version".into()])
    );
    let stdout = smoke.stdout.as_ref().unwrap();
    assert_eq!(
        stdout.render(|name| Some(format!("<{name}>"))).unwrap(),
        "<OPENCODE_VERSION>"
    );
    let tag = devbox.tags[0].render(&TagValues {
        image: "devbox",
        version: Some("1.15.13"),
        suffix: "-omos",
        ..TagValues::default()
    });
    assert_eq!(tag.unwrap().as_str(), "v1.15.13-omos");
    assert_eq!(image(&family, "base").content_tag.as_str(), "base-{hash}");
}

#[test]
fn every_key_has_its_effect() {
    let family = family(include_str!("data/every-key.toml"));
    assert_eq!(
        texts(family.plain_http.iter().map(|one| &one.value)),
        ["registry.lan:5000"]
    );
    assert_eq!(family.ignore[0].value, "*.orig");
    assert_eq!(
        family.npm.registry.as_ref().unwrap().value,
        "https://npm.example.com/"
    );
    let accepts: Vec<_> = family
        .versions
        .iter()
        .map(|(name, source)| match &source.value {
            VersionSource::Npm { package, accept } => (
                name.as_str(),
                package.as_str(),
                accept.as_ref().map(|accept| accept.value.as_str()),
            ),
            VersionSource::Pinned(version) => (name.as_str(), "", Some(version.as_str())),
        })
        .collect();
    assert_eq!(
        accepts,
        [
            ("FIXED", "", Some("1.2.3")),
            ("NEWEST", "tool", None),
            ("TOOL_VERSION", "@scope/tool", Some("^1.2 || next")),
        ]
    );

    let build = &family.build;
    assert!(build.host_ca);
    assert_eq!(build.timeout, Duration::from_secs(5400));
    assert_eq!(build.compression, Compression::Zstd);
    assert_eq!(build.network, Network::None);
    let limits = &build.limits;
    assert_eq!(limits.memory, Some(ByteSize(3 << 29)));
    assert_eq!(
        limits.memory_swap,
        Some(MemorySwap::Limit(ByteSize(2 << 30)))
    );
    assert_eq!(limits.cpus, Some(CpuCount { thousandths: 500 }));
    assert_eq!(limits.pids, PidsLimit::Limit(500));
    assert_eq!(limits.shm_size, Some(ByteSize(128 << 20)));
    assert_eq!(limits.ulimits.len(), 2);
    assert_eq!(limits.ulimits[0].hard, Some(4096));
    assert!(build.no_new_privileges);
    assert_eq!(build.secrets[0].env.as_deref(), Some("TOKEN"));
    assert_eq!(build.secrets[1].file.as_deref(), Some("~/.netrc"));
    assert_eq!(build.secrets[1].id, "netrc");
    let agents: Vec<_> = build
        .ssh
        .iter()
        .map(|agent| (agent.id.as_str(), agent.socket.as_deref(), agent.keys.len()))
        .collect();
    assert_eq!(
        agents,
        [
            ("default", None, 0),
            ("deploy", None, 2),
            ("ci", Some("/run/agent.sock"), 0),
        ]
    );
    assert_eq!(family.retry.attempts, 5);
    assert_eq!(
        family.retry.pauses,
        [Duration::ZERO, Duration::from_millis(250)]
    );

    // A base stands before what is built from it, otherwise the file's order holds.
    assert_eq!(
        texts(family.images.iter().map(|image| &image.name)),
        ["bottom", "top", "single"]
    );
    let top = image(&family, "top");
    assert_eq!(top.dockerfile.value, "top/Dockerfile");
    assert_eq!(top.context.value, "top");
    assert_eq!(top.target.as_ref().unwrap().value, "final");
    assert_eq!(top.repository.value, "group/top");
    assert_eq!(top.content_tag.as_str(), "{image}_{variant}{suffix}-{hash}");
    assert_eq!(top.feature_tag.as_str(), "f-{image}-{feature}-{hash}");
    assert_eq!(top.release_prefix, "top-v");
    assert_eq!(
        texts(top.tags.iter().map(|tag| &tag.value)),
        ["v{version}{suffix}"]
    );
    assert_eq!(
        texts(top.rolling.iter().map(|tag| &tag.value)),
        ["v{major}.{minor}{suffix}"]
    );
    assert_eq!(
        texts(top.platforms.iter().map(|one| &one.value)),
        ["linux/arm64"]
    );
    let versions = |name: &launchway_model::VersionName| Some(format!("<{name}>"));
    let args: Vec<String> = top
        .args
        .values()
        .map(|value| value.render(versions).unwrap())
        .collect();
    assert_eq!(args, ["<TOOL_VERSION>/{literal}", "x"]);
    assert_eq!(
        top.labels["org.example.tool"].render(versions).unwrap(),
        "<FIXED>"
    );
    let Recipe::Tree {
        inputs: Some(inputs),
    } = &top.recipe
    else {
        panic!("{:?}", top.recipe)
    };
    assert_eq!(
        texts(inputs.iter().map(|one| &one.value)),
        ["top/Dockerfile", "rootfs"]
    );

    let tool = &top.features[&"tool".parse().unwrap()];
    assert_eq!(tool.target.value, "stage-of-tool");
    assert!(tool.neutral);
    assert_eq!(tool.args["WITH"].as_str(), "{NEWEST}");
    let other = &top.features[&"other".parse().unwrap()];
    assert_eq!(
        (other.target.value.as_str(), other.neutral),
        ("other", false)
    );

    let [full, plain] = &top.variants[..] else {
        panic!("{:?}", top.variants)
    };
    assert_eq!((full.name.as_str(), full.suffix.as_str()), ("full", ""));
    assert_eq!(full.overrides.entrypoint, Some(vec!["/init".to_owned()]));
    assert_eq!(full.overrides.cmd, Some(vec![]));
    assert_eq!(full.overrides.user.as_deref(), Some("1000:1000"));
    assert_eq!(full.overrides.workdir.as_deref(), Some("/work"));
    assert_eq!(plain.suffix, "-plain");
    let Flavour::Args(args) = &plain.flavour else {
        panic!("{plain:?}")
    };
    assert_eq!(args["SLIM"].as_str(), "yes");

    let [run, script] = &top.smoke[..] else {
        panic!("{:?}", top.smoke)
    };
    assert_eq!(run.exit, 3);
    assert_eq!(run.timeout, Duration::from_secs(90));
    assert_eq!(run.user.as_deref(), Some("nobody"));
    assert!(full.is_selected_by(run) && !plain.is_selected_by(run));
    assert!(full.is_selected_by(script) && plain.is_selected_by(script));
    assert_eq!((script.exit, script.timeout), (0, Duration::from_secs(300)));
    assert!(matches!(&script.action, SmokeAction::Script(path) if path.value == "tests/smoke.sh"));

    let concat = &image(&family, "bottom").recipe;
    assert!(matches!(concat, Recipe::Concat { inputs: Some(inputs) } if inputs.len() == 3));
    let file = &image(&family, "single").recipe;
    assert!(matches!(file, Recipe::File { path: Some(path) } if path.value == "single/Dockerfile"));
}
