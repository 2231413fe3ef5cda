//! A plan as programs read it.

use launchway_plan::to_json;

use crate::world::{DEV, World};

fn bytes(world: &World) -> String {
    serde_json::to_string_pretty(&to_json(&world.plan())).unwrap()
}

#[test]
fn the_same_plan_gives_the_same_bytes() {
    let world = World::new(DEV)
        .released()
        .version("1.1.0")
        .pin("PI_VERSION", "0.76.0");
    assert_eq!(bytes(&world), bytes(&world));
}

#[test]
fn the_form_is_this() {
    let world = World::new(DEV)
        .released()
        .version("1.1.0")
        .pin("PI_VERSION", "0.76.0")
        .holds("b dev:latest unknown");
    let plan = world.plan();
    let value = to_json(&plan);
    let keys = |value: &serde_json::Value| -> Vec<String> {
        value.as_object().unwrap().keys().cloned().collect()
    };
    assert_eq!(
        keys(&value),
        [
            "actions",
            "degraded",
            "nodes",
            "registries",
            "remarks",
            "schema",
            "version"
        ]
    );
    assert_eq!(value["schema"], "launchway.plan.v1");
    assert_eq!(value["version"], "1.1.0");
    assert_eq!(
        value["registries"],
        serde_json::json!(["docker.io/me", "ghcr.io/me"])
    );
    assert_eq!(
        value["degraded"],
        serde_json::json!([{ "registry": "ghcr.io/me", "why": "down" }])
    );
    let nodes = value["nodes"].as_array().unwrap();
    let node = &plan.graph.nodes[4];
    assert_eq!(
        nodes[4],
        serde_json::json!({
            "id": "dev/pi",
            "image": "dev",
            "role": "variant",
            "feature": null,
            "variant": "pi",
            "repository": "dev",
            "content-tag": format!("dev-pi-{}", node.hash.short()),
            "input-hash": node.hash.to_string(),
            "platforms": ["linux/amd64"],
            "inputs": node.inputs,
            "make": { "graft": {
                "base": "base",
                "features": ["dev/feature/opencode", "dev/feature/pi"],
                "on-conflict": "the later feature is built on top of the earlier ones",
            } },
            "release-tags": ["v1.1.0-pi"],
            "rolling-tags": ["latest-pi"],
            "state": "make",
            "tested": false,
            "digest": null,
            "reason": "PI_VERSION 0.75.0 → 0.76.0; base unchanged",
        })
    );
    assert_eq!(nodes[0]["state"], "reuse");
    assert_eq!(
        nodes[0]["make"]["build"],
        serde_json::json!({
            "dockerfile": "Dockerfile.base", "context": ".", "target": null, "args": {},
            "base": null, "neutral": false,
        })
    );
    let actions: Vec<String> = value["actions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|action| {
            let registry = action["registry"].as_str().unwrap_or("-");
            let reference = action["reference"].as_str().unwrap_or("-");
            let tag = reference.rsplit_once(':').map_or("-", |(_, tag)| tag);
            let hashes = plan.graph.nodes.iter().map(|node| node.hash.short());
            let tag = hashes.fold(tag.to_owned(), |tag, hash| tag.replace(&hash, "HASH"));
            let expect = match action["expect"].as_str() {
                Some("absent") => "absent",
                Some(_) => "a digest",
                None => "-",
            };
            format!(
                "{} {} {registry} {tag} {expect}",
                action["action"].as_str().unwrap(),
                action["node"].as_str().unwrap_or("-")
            )
        })
        .collect();
    assert_eq!(
        actions,
        [
            "build dev/feature/pi - - -",
            "graft dev/pi - - -",
            "push dev/feature/pi docker.io/me dev-pi-HASH absent",
            "push dev/pi docker.io/me dev-pi-HASH absent",
            "smoke dev/base - - -",
            "smoke dev/pi - - -",
            "tag dev/base docker.io/me v1.1.0 absent",
            "tag dev/pi docker.io/me v1.1.0-pi absent",
            "verify - docker.io/me - -",
            "roll dev/pi docker.io/me latest-pi a digest",
            "record - docker.io/me launchway-record-v1.1.0 -",
        ]
    );
}
