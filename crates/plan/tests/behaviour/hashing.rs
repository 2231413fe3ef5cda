//! What changes the hash of which node.

use launchway_plan::{Graph, Make, Pins};

use crate::world::{DEV, World, sha};

/// The nodes whose hash differs from the plain family's; `*` when their number does.
fn changed(world: &World) -> String {
    differ(&World::new(DEV).graph(), &world.graph())
}

fn differ(before: &Graph, after: &Graph) -> String {
    assert_eq!(before.nodes.len(), after.nodes.len());
    let pairs = before.nodes.iter().zip(&after.nodes);
    let different = pairs.filter(|(one, other)| {
        assert_eq!(one.id, other.id);
        let tags = one.content_tag == other.content_tag;
        assert_eq!(one.hash == other.hash, tags, "{}", one.id);
        one.hash != other.hash
    });
    let names: Vec<&str> = different.map(|(one, _)| one.id.as_str()).collect();
    names.join(" ")
}

const ALL: &str = "base dev/feature/opencode dev/feature/pi dev/base dev/pi";

#[test]
fn the_same_inputs_give_the_same_graph() {
    assert_eq!(changed(&World::new(DEV)), "");
    let debug = |world: World| format!("{:?}", world.graph());
    assert_eq!(debug(World::new(DEV)), debug(World::new(DEV)));
}

#[test]
fn a_change_reaches_what_is_made_of_it_and_nothing_else() {
    let target = |name: &str, change: fn(&mut launchway_plan::TargetFacts)| {
        changed(&World::new(DEV).target(name, change))
    };
    let instruction: fn(&mut launchway_plan::TargetFacts) =
        |facts| facts.instructions.push("RUN more".into());
    assert_eq!(target("base", instruction), ALL);
    assert_eq!(target("dev:pi", instruction), "dev/feature/pi dev/pi");
    assert_eq!(
        target("dev:opencode", instruction),
        "dev/feature/opencode dev/base dev/pi"
    );
    // Content does not move over the boundary between two instructions.
    assert_eq!(
        target("dev:pi", |facts| facts.instructions =
            vec!["RUN devRUN ".into(), "pi".into()]),
        "dev/feature/pi dev/pi"
    );
    let context: fn(&mut launchway_plan::TargetFacts) = |facts| {
        facts.context = launchway_model::ContentHasher::new("other").finish();
    };
    assert_eq!(target("base", context), ALL);
    assert_eq!(target("dev:pi", context), "dev/feature/pi dev/pi");
}

#[test]
fn the_digest_of_an_external_image_counts() {
    let with = |digest: &str| {
        let mut world = World::new(DEV).target("dev:pi", |facts| {
            facts.external.insert("node:20".into());
        });
        world.pins.bases.insert("node:20".into(), sha(digest));
        world.graph()
    };
    assert_eq!(differ(&with("one"), &with("one")), "");
    assert_eq!(differ(&with("one"), &with("two")), "dev/feature/pi dev/pi");
    // A pin that nobody uses does not.
    let mut world = World::new(DEV);
    world.pins.bases.insert("node:20".into(), sha("one"));
    assert_eq!(changed(&world), "");
    let pins = &with("one").nodes[4].pins;
    assert_eq!(pins.bases.len(), 1);
}

#[test]
fn a_version_counts_where_it_is_declared() {
    let pinned = |name: &str| changed(&World::new(DEV).pin(name, "9.9.9"));
    assert_eq!(
        pinned("OPENCODE_VERSION"),
        "dev/feature/opencode dev/base dev/pi"
    );
    assert_eq!(pinned("PI_VERSION"), "dev/feature/pi dev/pi");
    assert_eq!(pinned("OTHER_VERSION"), "");
}

#[test]
fn the_family_file_counts() {
    for (from, to, want) in [
        ("[\"linux/amd64\"]", "[\"linux/arm64\"]", ALL),
        (
            "[\"linux/amd64\"]",
            "[\"linux/amd64\", \"linux/arm64\"]",
            ALL,
        ),
        // Labels stand on what people pull.
        (
            "from = \"base\"\n",
            "from = \"base\"\nlabels = { a = \"b\" }\n",
            "dev/base dev/pi",
        ),
        (
            "pi = { features = [\"opencode\", \"pi\"] }",
            "pi = { features = [\"opencode\", \"pi\"], user = \"me\" }",
            "dev/pi",
        ),
        (
            "pi = { features = [\"opencode\", \"pi\"] }",
            "pi = { features = [\"opencode\", \"pi\"], cmd = [] }",
            "dev/pi",
        ),
        // An argument counts where the Dockerfile declares it.
        (
            "from = \"base\"\n",
            "from = \"base\"\nargs = { PI_VERSION = \"1\", NOBODY = \"1\" }\n",
            "dev/feature/pi dev/pi",
        ),
        (
            "run = [\"true\"]\n",
            "run = [\"true\"]\n[image.dev.feature.pi]\nargs = { PI_VERSION = \"1\" }\n",
            "dev/feature/pi dev/pi",
        ),
        (
            "run = [\"true\"]\n",
            "run = [\"true\"]\n[image.dev.feature.pi]\nneutral = true\n",
            "dev/feature/pi dev/pi",
        ),
        // Names of tags, registries and tests do not.
        ("\"latest{suffix}\"", "\"newest{suffix}\"", ""),
        (", \"ghcr.io/me\"", "", ""),
        ("run = [\"true\"]", "run = [\"false\"]", ""),
    ] {
        let text = DEV.replace(from, to);
        assert_ne!(text, DEV);
        assert_eq!(changed(&World::new(&text)), want, "{to}");
    }
    // The order of features does, as later ones win.
    let text = DEV.replace("\"opencode\", \"pi\"", "\"pi\", \"opencode\"");
    let hash = |text: &str| World::new(text).graph().find("pi").unwrap().hash;
    assert_ne!(hash(&text), hash(DEV));
}

#[test]
fn platforms_asked_for_count_in_any_order() {
    let with = |platforms: &[&str]| {
        let text = DEV.replace("[\"linux/amd64\"]", "[\"linux/amd64\", \"linux/arm64\"]");
        let mut world = World::new(&text);
        let platforms = platforms.iter().map(|platform| platform.parse().unwrap());
        world.request.platforms = Some(platforms.collect());
        world.graph()
    };
    let one = with(&["linux/arm64", "linux/amd64", "linux/amd64"]);
    assert_eq!(differ(&one, &with(&["linux/amd64", "linux/arm64"])), "");
    assert_eq!(differ(&one, &with(&["linux/amd64"])), ALL);
}

#[test]
fn only_declared_arguments_are_passed_on() {
    let text = DEV.replace(
        "from = \"base\"\n",
        "from = \"base\"\nargs = { PI_VERSION = \"{OPENCODE_VERSION}\", NOBODY = \"1\" }\n",
    );
    let graph = World::new(&text).graph();
    let node = &graph.nodes[2];
    let Make::Build(recipe) = &node.make else {
        panic!("{}", node.id)
    };
    let args: Vec<(&str, &str)> = recipe
        .args
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    assert_eq!(args, [("PI_VERSION", "1.0.0")]);
    // What the argument mentions is what the node depends on.
    let pinned = |pins: &Pins| {
        let names = pins.versions.keys().map(ToString::to_string);
        names.collect::<Vec<_>>()
    };
    assert_eq!(pinned(&node.pins), ["OPENCODE_VERSION"]);
    assert_eq!(
        pinned(&World::new(DEV).graph().nodes[2].pins),
        ["PI_VERSION"]
    );
    assert_eq!(
        pinned(&World::new(DEV).graph().nodes[4].pins),
        ["OPENCODE_VERSION", "PI_VERSION"]
    );
    let text = DEV.replace(
        "from = \"base\"\n",
        "from = \"base\"\nlabels = { v = \"{PI_VERSION}\" }\n",
    );
    let graph = World::new(&text).graph();
    assert_eq!(
        pinned(&graph.nodes[3].pins),
        ["OPENCODE_VERSION", "PI_VERSION"]
    );
    assert_eq!(pinned(&graph.nodes[1].pins), ["OPENCODE_VERSION"]);
}

#[test]
fn older_recipes_give_the_content_tag() {
    for recipe in ["concat", "file"] {
        let text = DEV.replace("content-tag", &format!("hash = \"{recipe}\"\ncontent-tag"));
        let world = World::new(&text);
        let graph = world.graph();
        let legacy = world.facts.legacy.values().next().unwrap();
        assert_eq!(
            graph.nodes[0].content_tag.as_str(),
            format!("base-{}", legacy.short())
        );
        assert!(graph.nodes[0].legacy);
        let more = world
            .clone()
            .target("base", |facts| facts.instructions.push("RUN x".into()));
        assert_eq!(differ(&graph, &more.graph()), "");
        let mut other = world;
        for hash in other.facts.legacy.values_mut() {
            *hash = launchway_model::ContentHasher::new("other").finish();
        }
        assert_eq!(differ(&graph, &other.graph()), ALL);
    }
    // They know no features: an image with variants is hashed by what each is made of.
    let text = DEV.replace("from = \"base\"\n", "from = \"base\"\nhash = \"concat\"\n");
    assert_eq!(changed(&World::new(&text)), "");
}
