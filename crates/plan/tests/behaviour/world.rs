//! A family, what is known of it, and registries that plans are carried out on in memory.

use std::collections::{BTreeMap, BTreeSet};

use launchway_diagnostics::{Colour, SourceMap, render_all};
use launchway_manifest::{Family, Flavour, Recipe, RegistryPrefix, parse};
use launchway_model::{ContentHasher, Digest, Reference};
use launchway_plan::{
    Action, Decision, Expect, Facts, Graph, Inventory, Observed, Pins, Plan, Request, TargetFacts,
    TargetKey, annotation, check, decide, graph,
};

use crate::shown::{shown, told};

/// One base, two features, two variants, two registries.
pub(crate) const DEV: &str = r#"
[family]
name = "f"
platforms = ["linux/amd64"]
registries = ["docker.io/me", "ghcr.io/me"]

[versions]
OPENCODE_VERSION = "1.0.0"
PI_VERSION = "0.75.0"

[image.base]
dockerfile = "Dockerfile.base"
repository = "dev"
content-tag = "base-{hash}"
rolling = ["base-latest"]

[image.dev]
from = "base"
dockerfile = "Dockerfile.variant"
repository = "dev"
tags = ["v{version}{suffix}"]
rolling = ["latest{suffix}"]

[image.dev.variant]
base = { features = ["opencode"], suffix = "" }
pi = { features = ["opencode", "pi"] }

[[image.dev.smoke]]
run = ["true"]
"#;

#[derive(Clone)]
pub(crate) struct World {
    pub(crate) family: Family,
    pub(crate) facts: Facts,
    pub(crate) pins: Pins,
    pub(crate) registries: Vec<RegistryPrefix>,
    pub(crate) request: Request,
    pub(crate) inventory: BTreeMap<Reference, Observed>,
    /// Tags that nobody probes, but that stand in listings.
    pub(crate) listed: Vec<Reference>,
    /// Registries that answer no listing.
    pub(crate) unlisted: BTreeSet<usize>,
}

pub(crate) fn sha(text: &str) -> Digest {
    let mut hasher = ContentHasher::new("test/1");
    hasher.text("text", text);
    Digest::sha256(*hasher.finish().as_bytes())
}

pub(crate) fn family(text: &str) -> Family {
    let mut sources = SourceMap::new();
    let parsed = parse(sources.add("launchway.toml", text), text);
    let problems = render_all(&parsed.diagnostics, &sources, Colour::Never);
    parsed.family.unwrap_or_else(|| panic!("{problems}"))
}

/// What every target has in common: two instructions, and the arguments named here by stage.
fn facts(family: &Family) -> Facts {
    let mut facts = Facts::default();
    for image in &family.images {
        let whole = image.target.as_ref().map(|target| target.value.clone());
        let mut targets = vec![whole];
        if image
            .variants
            .iter()
            .any(|variant| matches!(variant.flavour, Flavour::Features(_)))
        {
            targets = Vec::new();
        }
        targets.extend(
            image
                .features
                .values()
                .map(|feature| Some(feature.target.value.clone())),
        );
        for target in targets {
            for platform in &image.platforms {
                let stage = target.clone().unwrap_or_default();
                let declared = match stage.as_str() {
                    "opencode" => vec!["OPENCODE_VERSION"],
                    "pi" => vec!["PI_VERSION"],
                    "" => vec!["INSTALL"],
                    _ => vec![],
                };
                let mut hasher = ContentHasher::new("test/context/1");
                hasher.text("of", image.name.as_str());
                let key = TargetKey {
                    image: image.name.clone(),
                    target: target.clone(),
                    platform: platform.value.clone(),
                };
                let made = TargetFacts {
                    instructions: vec![format!("RUN {}", image.name), format!("RUN {stage}")],
                    declared_args: declared.into_iter().map(str::to_owned).collect(),
                    external: BTreeSet::new(),
                    context: hasher.finish(),
                };
                facts.targets.insert(key, made);
            }
        }
        if !matches!(image.recipe, Recipe::Tree { .. }) {
            let mut hasher = ContentHasher::new("test/legacy/1");
            hasher.text("of", image.name.as_str());
            facts.legacy.insert(image.name.clone(), hasher.finish());
        }
    }
    facts
}

impl World {
    pub(crate) fn new(text: &str) -> Self {
        let family = family(text);
        let mut pins = Pins::default();
        for (name, version) in [("OPENCODE_VERSION", "1.0.0"), ("PI_VERSION", "0.75.0")] {
            pins.versions
                .insert(name.parse().unwrap(), version.to_owned());
        }
        let request = Request {
            version: Some("1.0.0".parse().unwrap()),
            promote: true,
            ..Request::default()
        };
        Self {
            facts: facts(&family),
            registries: family
                .registries
                .iter()
                .map(|one| one.value.clone())
                .collect(),
            family,
            pins,
            request,
            inventory: BTreeMap::new(),
            listed: Vec::new(),
            unlisted: BTreeSet::new(),
        }
    }

    pub(crate) fn version(mut self, version: &str) -> Self {
        self.request.version = Some(version.parse().unwrap());
        self
    }

    pub(crate) fn pin(mut self, name: &str, version: &str) -> Self {
        self.pins
            .versions
            .insert(name.parse().unwrap(), version.to_owned());
        self
    }

    pub(crate) fn only(mut self, names: &[&str]) -> Self {
        let only = names.iter().map(|name| name.parse().unwrap());
        self.request.only = Some(only.collect());
        self
    }

    /// Changes what is known of a target on every platform: `base`, `dev:opencode`.
    pub(crate) fn target(mut self, name: &str, change: impl Fn(&mut TargetFacts)) -> Self {
        let (image, target) = match name.split_once(':') {
            Some((image, target)) => (image, Some(target)),
            None => (name, None),
        };
        let mut found = false;
        for (key, facts) in &mut self.facts.targets {
            if key.image.as_str() == image && key.target.as_deref() == target {
                change(facts);
                found = true;
            }
        }
        assert!(found, "{name}");
        self
    }

    pub(crate) fn graph(&self) -> Graph {
        graph(&self.family, &self.facts, &self.pins, &self.request)
            .unwrap_or_else(|problems| panic!("{}", told(&problems)))
    }

    /// What is wrong with the graph.
    pub(crate) fn problems(&self) -> String {
        let graph = graph(&self.family, &self.facts, &self.pins, &self.request);
        told(&graph.unwrap_err())
    }

    /// The state of one reference: `REGISTRY REFERENCE STATE`, a line each. A registry is `a`, `b`
    /// or `c`; a reference is `@NODE` for its content tag, else `REPOSITORY:TAG`. A state is
    /// `absent`, `unknown`, `foreign DIGEST`, `listed`, or `NODE DIGEST`: made from that node's
    /// inputs. A line `REGISTRY unlisted` takes the listing away.
    pub(crate) fn holds(mut self, table: &str) -> Self {
        let graph = self.graph();
        for line in table.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let words: Vec<&str> = line.split_whitespace().collect();
            let registry = usize::from(words[0].as_bytes()[0] - b'a');
            if words[1] == "unlisted" {
                self.unlisted.insert(registry);
                continue;
            }
            let node_named = |name: &str| {
                let named = graph.nodes.iter().find(|node| node.id.as_str() == name);
                named.unwrap_or_else(|| panic!("no node {name}"))
            };
            let (repository, tag) = match words[1].strip_prefix('@') {
                Some(name) => {
                    let node = node_named(name);
                    (node.repository.as_str(), node.content_tag.as_str())
                }
                None => words[1].split_once(':').unwrap(),
            };
            let repository = self.registries[registry].repository(repository).unwrap();
            let reference = repository.with_tag(tag.parse().unwrap());
            let observed = match words[2] {
                "absent" => Observed::Absent,
                "unknown" => Observed::Unknown {
                    why: "down".to_owned(),
                },
                "listed" => {
                    self.listed.push(reference);
                    continue;
                }
                "foreign" => Observed::Present {
                    digest: sha(words[3]),
                    annotations: BTreeMap::new(),
                },
                name => Observed::Present {
                    digest: sha(words[3]),
                    annotations: annotations(node_named(name)),
                },
            };
            self.inventory.insert(reference, observed);
        }
        self
    }

    pub(crate) fn inventory(&self) -> Inventory {
        let graph = self.graph();
        let questions = graph.questions(&self.registries).unwrap();
        let mut inventory = Inventory::default();
        for reference in questions.references.into_iter().chain(questions.bare) {
            let observed = self.inventory.get(&reference).cloned();
            inventory
                .references
                .insert(reference, observed.unwrap_or(Observed::Absent));
        }
        for repository in questions.repositories {
            let here = |prefix: &RegistryPrefix| {
                self.family.images.iter().any(|image| {
                    prefix.repository(&image.repository.value).as_ref() == Ok(&repository)
                })
            };
            if self.unlisted.iter().any(|at| here(&self.registries[*at])) {
                continue;
            }
            let present = self.inventory.iter().filter_map(|(reference, observed)| {
                matches!(observed, Observed::Present { .. }).then_some(reference)
            });
            let tags = present
                .chain(&self.listed)
                .filter(|reference| reference.repository == repository)
                .filter_map(|reference| reference.tag.clone());
            inventory.tags.insert(repository.clone(), tags.collect());
        }
        inventory
    }

    pub(crate) fn decide(&self) -> Decision {
        decide(self.graph(), &self.registries, &self.inventory())
    }

    /// The plan, which its checker accepts.
    pub(crate) fn plan(&self) -> Plan {
        match self.decide() {
            Decision::Plan(plan) => {
                assert_eq!(check(&plan), Ok(()));
                *plan
            }
            Decision::Refused(problems) => panic!("refused: {}", told(&problems)),
            Decision::Unknown(problems) => panic!("unknown: {}", told(&problems)),
        }
    }

    /// Why there is no plan.
    pub(crate) fn refusal(&self) -> String {
        match self.decide() {
            Decision::Plan(plan) => panic!("{}", shown(&plan)),
            Decision::Refused(problems) => format!("refused\n{}", told(&problems)),
            Decision::Unknown(problems) => format!("unknown\n{}", told(&problems)),
        }
    }

    /// Carries out the actions that `chosen` takes; each finds what it expects.
    pub(crate) fn apply(&mut self, plan: &Plan, chosen: impl Fn(usize, &Action) -> bool) {
        for (at, action) in plan.actions.iter().enumerate() {
            if chosen(at, action) {
                self.carry_out(plan, action);
            }
        }
    }

    /// What stands under a digest, anywhere on one registry.
    fn by_digest(&self, wanted: &Digest) -> Option<Observed> {
        let mut all = self.inventory.values();
        all.find(
            |observed| matches!(observed, Observed::Present { digest, .. } if digest == wanted),
        )
        .cloned()
    }

    fn carry_out(&mut self, plan: &Plan, action: &Action) {
        let (reference, expect, written) = match action {
            Action::Push {
                node,
                content_tag,
                expect,
                ..
            } => {
                let node = plan.graph.node(node).unwrap();
                let made = Observed::Present {
                    digest: sha(&node.hash.to_string()),
                    annotations: annotations(node),
                };
                (content_tag, expect, made)
            }
            Action::Copy {
                digest,
                content_tag,
                expect,
                ..
            } => (content_tag, expect, self.by_digest(digest).unwrap()),
            Action::Tag {
                node: id,
                registry,
                reference,
                expect,
            }
            | Action::Roll {
                node: id,
                registry,
                reference,
                expect,
            } => {
                let node = plan.graph.node(id).unwrap();
                let content = plan.registries[*registry]
                    .repository(&node.repository)
                    .unwrap()
                    .with_tag(node.content_tag.clone());
                let published = match plan.present.get(&(id.clone(), *registry)) {
                    Some(digest) => self.by_digest(digest).unwrap(),
                    None => self.inventory[&content].clone(),
                };
                (reference, expect, published)
            }
            Action::Record { reference, .. } => {
                let record = Observed::Present {
                    digest: sha("record"),
                    annotations: BTreeMap::new(),
                };
                self.inventory.insert(reference.clone(), record);
                return;
            }
            _ => return,
        };
        let before = self.inventory.get(reference);
        let found = match before {
            Some(Observed::Present { digest, .. }) => Expect::Digest(digest.clone()),
            _ => Expect::Absent,
        };
        assert_eq!(found, *expect, "{reference}");
        self.inventory.insert(reference.clone(), written);
    }

    /// Plans and carries everything out.
    pub(crate) fn released(mut self) -> Self {
        let plan = self.plan();
        self.apply(&plan, |_, _| true);
        self
    }

    /// Plans, and carries out what `chosen` takes.
    pub(crate) fn partly(mut self, chosen: impl Fn(usize, &Action) -> bool) -> Self {
        let plan = self.plan();
        self.apply(&plan, chosen);
        self
    }
}

pub(crate) fn annotations(node: &launchway_plan::Node) -> BTreeMap<String, String> {
    let inputs = node
        .inputs
        .iter()
        .map(|(name, value)| format!("{name:?}:{value:?}"));
    let inputs = format!("{{{}}}", inputs.collect::<Vec<_>>().join(","));
    BTreeMap::from([
        (annotation::INPUT_HASH.to_owned(), node.hash.to_string()),
        (annotation::INPUTS.to_owned(), inputs),
    ])
}
