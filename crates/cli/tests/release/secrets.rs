//! Secrets reach the steps that ask for them, and nothing else.

use std::fs;
use std::io::Read as _;
use std::path::Path;

use crate::lab::{Lab, content};

const VALUE: &str = "correct-horse-battery-staple";
const OTHER: &str = "tr0ub4dor-and-three";

/// Every file below a folder that holds a text, also inside gzip.
fn holding(folder: &Path, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    let holds = |bytes: &[u8]| {
        bytes
            .windows(text.len())
            .any(|part| part == text.as_bytes())
    };
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            let Ok(kind) = entry.file_type() else {
                continue;
            };
            if kind.is_dir() {
                folders.push(path);
            } else if kind.is_file() {
                let bytes = fs::read(&path).expect("reading a file");
                // Programs are big and hold no secrets.
                let mut unpacked = Vec::new();
                if bytes.starts_with(&[0x1f, 0x8b]) && bytes.len() < 500_000 {
                    let _ =
                        flate2::read::MultiGzDecoder::new(&bytes[..]).read_to_end(&mut unpacked);
                }
                if bytes.len() < 500_000 && (holds(&bytes) || holds(&unpacked)) {
                    found.push(path.display().to_string());
                }
            }
        }
    }
    found
}

#[test]
fn secrets_leave_no_trace() {
    let Some(lab) = Lab::new("secrets_leave_no_trace") else {
        return;
    };
    let registry = lab.registry("registry");
    let family = lab.family(&[&registry.prefix()], &registry.host);
    family.append(
        "launchway.toml",
        "[build]\nsecrets = [{ id = \"token\", env = \"THE_TOKEN\" }, { id = \"key\", file = \"../key\" }]\n",
    );
    fs::write(lab.path().join("key"), OTHER).unwrap();
    family.edit(
        "Dockerfile.tool",
        "ARG TWO_VERSION\n",
        "ARG TWO_VERSION\nRUN --mount=type=secret,id=token,required=true --mount=type=secret,id=key,target=/key \\\n    wc -c < /run/secrets/token > /opt/length && wc -c < /key >> /opt/length\n",
    );
    let machine = lab.machine("a").with("THE_TOKEN", VALUE);
    let done = machine.json(&family, &["release", "v1.0.0"]);
    done.expect(0);
    let plan = machine.json(&family, &["plan", "v1.0.0"]);
    let wanted =
        launchway_testkit::sha256(format!("{}\n{}\n", VALUE.len(), OTHER.len()).as_bytes());
    assert_eq!(
        content(&registry.image("v1.0.0-two"), "opt/length"),
        Some(wanted.as_str())
    );
    for value in [VALUE, OTHER] {
        for said in [&done.stdout, &done.stderr, &plan.stdout] {
            assert!(!said.contains(value), "a secret was told");
        }
        assert_eq!(holding(&machine.state, value), [""; 0]);
        assert_eq!(holding(&registry.root, value), [""; 0]);
    }
    // The look would have found it.
    let planted = lab.path().join("planted");
    fs::create_dir(&planted).unwrap();
    fs::write(planted.join("x"), format!("a{VALUE}b")).unwrap();
    assert_eq!(holding(&planted, VALUE).len(), 1);

    // Another value is the same build; no value is told.
    let machine = lab.machine("a").with("THE_TOKEN", "changed");
    machine
        .text(&family, &["release", "v1.0.0"])
        .expect(0)
        .says("nothing to do");
    family.edit("Dockerfile.tool", "wc -c < /key", "cat /key | wc -c");
    let before = registry.tags();
    let done = lab.machine("a").text(&family, &["release", "v1.0.1"]);
    done.expect(1).says("LW0507").says("token");
    assert!(!registry.tags().contains_key("v1.0.1-two"));
    assert_eq!(registry.tags()["latest-two"], before["latest-two"]);
}
