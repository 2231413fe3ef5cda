//! Repositories and agents in a family.

use std::fs;
use std::process::Command;

use launchway_testkit::git::{self, GitServer};
use launchway_testkit::http::Server;

use crate::lab::{Lab, content};

#[test]
fn a_family_takes_pinned_repositories_and_gives_agents_to_steps() {
    let Some(lab) = Lab::new("a_family_takes_pinned_repositories_and_gives_agents_to_steps") else {
        return;
    };
    let folder = lab.path().join("served");
    fs::create_dir(&folder).unwrap();
    if git::repositories(&folder).is_err() {
        assert!(std::env::var_os("CI").is_none(), "git is missing");
        launchway_testkit::peers::skipped("a_family_takes_pinned_repositories", "git");
        return;
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let server = runtime.block_on(Server::start_both(Vec::new(), GitServer::new(&folder)));
    let url = format!("http://{}/git/plain.git", server.host());
    let commit = git::run(&folder.join("plain.git"), &["rev-parse", "v1"]).unwrap();

    let registry = lab.registry("registry");
    let family = lab.family(&[&registry.prefix()], &registry.host);
    family.append(
        "launchway.toml",
        "[build]\nssh = [{ id = \"deploy\", keys = [\"../key\"] }]\n",
    );
    let steps = |reference: &str| {
        format!(
            "ARG TWO_VERSION\nADD {url}{reference} /opt/plain\n\
             RUN --mount=type=ssh,id=deploy,required test -S \"$SSH_AUTH_SOCK\"\n"
        )
    };
    family.edit("Dockerfile.tool", "ARG TWO_VERSION\n", &steps("#v1"));
    let machine = lab.machine("a");
    // A tag can be moved, so it is no input that a hash could be made of.
    let refused = machine.text(&family, &["plan", "v1.0.0"]);
    refused.expect(1).says("LW0516").says("#COMMIT");
    assert!(server.seen().is_empty());

    let dockerfile = family.read("Dockerfile.tool");
    family.write(
        "Dockerfile.tool",
        &dockerfile.replace("#v1", &format!("#{commit}")),
    );
    // The key is named in the file, so it has to be there.
    machine
        .text(&family, &["release", "v1.0.0"])
        .expect(1)
        .says("key");
    let key = lab.path().join("key");
    let made = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-f"])
        .arg(&key)
        .status();
    if !made.is_ok_and(|status| status.success()) {
        assert!(
            std::env::var_os("CI").is_none(),
            "openssh-client is missing"
        );
        launchway_testkit::peers::skipped("a_family_gives_agents_to_steps", "openssh-client");
        return;
    }
    machine.text(&family, &["release", "v1.0.0"]).expect(0);
    let wanted = launchway_testkit::sha256(b"one\n");
    let image = registry.image("v1.0.0-two");
    assert_eq!(content(&image, "opt/plain/file"), Some(wanted.as_str()));
    machine
        .text(&family, &["release", "v1.0.0"])
        .expect(0)
        .says("nothing to do");
}
