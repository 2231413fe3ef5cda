//! Wrong files, wrong arguments, wrong registries: each is told clearly, with a code and a place, and
//! nothing is written.

use std::os::unix::fs::symlink;

use launchway_testkit::proxy::{Harm, Proxy, Rule};

use crate::lab::{Family, Lab, files_below};

/// A family that is wrong in one way.
struct Case {
    what: &'static str,
    spoil: fn(&Family),
    arguments: &'static [&'static str],
    code: i32,
    said: &'static [&'static str],
}

#[test]
fn wrong_families_are_told_before_anything_is_written() {
    let Some(lab) = Lab::new("wrong_families_are_told_before_anything_is_written") else {
        return;
    };
    let registry = lab.registry("registry");
    let before = registry.everything();
    let release: &[&str] = &["release", "v1.0.0"];
    let cases = [
        Case {
            what: "an unknown key",
            spoil: |family| {
                family.edit(
                    "launchway.toml",
                    "rolling = [\"base-latest\"]",
                    "roling = [\"base-latest\"]",
                )
            },
            arguments: release,
            code: 2,
            said: &["LW0101", "did you mean `rolling`?", "launchway.toml:"],
        },
        Case {
            what: "two problems at once",
            spoil: |family| {
                family.edit("launchway.toml", "name = \"toolbox\"", "name = 7");
                family.edit("launchway.toml", "from = \"base\"", "form = \"base\"");
            },
            arguments: release,
            code: 2,
            said: &["LW0102", "LW0101", "errors"],
        },
        Case {
            what: "no TOML",
            spoil: |family| family.append("launchway.toml", "[["),
            arguments: release,
            code: 2,
            said: &["LW0100", "launchway.toml:"],
        },
        Case {
            what: "a circle",
            spoil: |family| {
                family.edit(
                    "launchway.toml",
                    "[image.base]\n",
                    "[image.base]\nfrom = \"tool\"\n",
                )
            },
            arguments: release,
            code: 2,
            said: &["LW011", "launchway.toml:"],
        },
        Case {
            what: "an image built from itself",
            spoil: |family| {
                family.edit(
                    "launchway.toml",
                    "[image.base]\n",
                    "[image.base]\nfrom = \"base\"\n",
                )
            },
            arguments: release,
            code: 2,
            said: &["LW0111", "launchway.toml:"],
        },
        Case {
            what: "one tag twice",
            spoil: |family| {
                family.edit(
                    "launchway.toml",
                    "tags = [\"v{version}{suffix}\"]",
                    "tags = [\"v{version}\"]",
                )
            },
            arguments: release,
            code: 2,
            said: &["LW0137"],
        },
        Case {
            what: "a platform that the base does not have",
            spoil: |family| {
                family.edit(
                    "launchway.toml",
                    "from = \"base\"",
                    "from = \"base\"\nplatforms = [\"linux/riscv64\"]",
                )
            },
            arguments: release,
            code: 2,
            said: &["LW0113"],
        },
        Case {
            what: "no family file",
            spoil: |family| std::fs::remove_file(family.folder.join("launchway.toml")).unwrap(),
            arguments: release,
            code: 2,
            said: &["LW0601", "launchway init"],
        },
        Case {
            what: "no Dockerfile",
            spoil: |family| std::fs::remove_file(family.folder.join("Dockerfile.tool")).unwrap(),
            arguments: release,
            code: 2,
            said: &["LW0602", "launchway.toml:", "Dockerfile.tool"],
        },
        Case {
            what: "a context that is not there",
            spoil: |family| {
                family.edit(
                    "launchway.toml",
                    "dockerfile = \"Dockerfile.tool\"",
                    "dockerfile = \"Dockerfile.tool\"\ncontext = \"nowhere\"",
                )
            },
            arguments: release,
            code: 2,
            said: &["LW0603", "nowhere"],
        },
        Case {
            what: "an instruction that does not exist",
            spoil: |family| family.append("Dockerfile.tool", "COPPY a b\n"),
            arguments: release,
            code: 2,
            said: &["LW0201", "Dockerfile.tool:", "COPY"],
        },
        Case {
            what: "a stage that does not exist",
            spoil: |family| {
                family.edit("Dockerfile.tool", "FROM base AS three", "FROM base AS tree")
            },
            arguments: release,
            code: 2,
            said: &["LW0219", "three"],
        },
        Case {
            what: "a source that does not exist, at plan time",
            spoil: |family| family.edit("Dockerfile.base", "COPY etc/motd", "COPY etc/modt"),
            arguments: &["plan", "v1.0.0"],
            code: 2,
            said: &["LW0604", "Dockerfile.base:4", "did you mean `etc/motd`?"],
        },
        Case {
            what: "the same in a release",
            spoil: |family| family.edit("Dockerfile.base", "COPY etc/motd", "COPY etc/modt"),
            arguments: release,
            code: 2,
            said: &["LW0604", "Dockerfile.base:4"],
        },
        Case {
            what: "a link that leaves the context",
            spoil: |family| {
                std::fs::remove_file(family.folder.join("etc/motd")).unwrap();
                symlink("/etc/hostname", family.folder.join("etc/motd")).unwrap();
            },
            arguments: release,
            code: 2,
            said: &["LW0604", "Dockerfile.base:4", "etc/motd"],
        },
        Case {
            what: "a folder that is a link out of the context",
            spoil: |family| {
                std::fs::remove_dir_all(family.folder.join("etc")).unwrap();
                symlink("../../../../../../../etc", family.folder.join("etc")).unwrap();
                family.edit(
                    "Dockerfile.base",
                    "COPY etc/motd /etc/motd",
                    "COPY etc/passwd /etc/passwd",
                );
            },
            arguments: release,
            code: 2,
            said: &["LW0604"],
        },
        Case {
            what: "a feature that is not built on the base",
            spoil: |family| {
                family.edit("Dockerfile.tool", "FROM base AS three", "FROM one AS three")
            },
            arguments: &["plan", "v1"],
            code: 2,
            said: &["LW0608"],
        },
        Case {
            what: "no version",
            spoil: |_| {},
            arguments: &["release", "latest"],
            code: 2,
            said: &["LW0608", "v1.2.3"],
        },
        Case {
            what: "a registry that cannot be",
            spoil: |_| {},
            arguments: &["release", "v1.0.0", "--registry", "NO"],
            code: 2,
            said: &["--registry NO", "ghcr.io/name"],
        },
        Case {
            what: "a mirror without =",
            spoil: |_| {},
            arguments: &["release", "v1.0.0", "--mirror", "docker.io"],
            code: 2,
            said: &["--mirror docker.io", "docker.io=HOST"],
        },
        Case {
            what: "a mirror with a prefix that cannot be",
            spoil: |_| {},
            arguments: &[
                "release",
                "v1.0.0",
                "--mirror",
                "docker.io=127.0.0.1:1/UPPER",
            ],
            code: 2,
            said: &["UPPER"],
        },
        Case {
            what: "a platform that cannot be",
            spoil: |_| {},
            arguments: &["release", "v1.0.0", "--platform", "amd64"],
            code: 2,
            said: &["--platform amd64", "linux/amd64"],
        },
        Case {
            what: "a host that cannot be",
            spoil: |_| {},
            arguments: &["release", "v1.0.0", "--plain-http", "a/b"],
            code: 2,
            said: &["--plain-http a/b"],
        },
        Case {
            what: "a variant that is not there",
            spoil: |_| {},
            arguments: &["release", "v1.0.0", "--only", "al"],
            code: 2,
            said: &["LW0304", "did you mean `all`?"],
        },
        Case {
            what: "an image that is not there",
            spoil: |_| {},
            arguments: &["tag", "bas"],
            code: 2,
            said: &["bas", "did you mean `base`?"],
        },
        Case {
            what: "a base that does not exist",
            spoil: |family| family.edit("Dockerfile.base", "busybox:1", "busybox:2"),
            arguments: release,
            code: 1,
            said: &["LW0605", "busybox:2", "check its name"],
        },
    ];
    for case in cases {
        let family = lab.family(&[&registry.prefix()], &registry.host);
        (case.spoil)(&family);
        let files = files_below(&family.folder);
        let machine = lab.machine(case.what);
        let done = machine.text(&family, case.arguments);
        assert_eq!(done.code, Some(case.code), "{}: {}", case.what, done.stderr);
        for part in case.said {
            assert!(
                done.stderr.contains(part),
                "{}: {part:?} is not said:\n{}",
                case.what,
                done.stderr
            );
        }
        assert_eq!(done.stdout, "", "{}", case.what);
        assert_eq!(registry.everything(), before, "{}", case.what);
        assert_eq!(files_below(&family.folder), files, "{}", case.what);
        std::fs::remove_dir_all(&family.folder).unwrap();
    }
}

#[test]
fn features_must_stand_on_the_base() {
    let Some(lab) = Lab::new("features_must_stand_on_the_base") else {
        return;
    };
    let registry = lab.registry("registry");
    let family = lab.family(&[&registry.prefix()], &registry.host);
    family.edit(
        "Dockerfile.tool",
        "FROM base AS two",
        &format!(
            "FROM {}/library/busybox:1 AS two\nRUN mkdir -p /usr/local/bin\n",
            registry.host
        ),
    );
    let done = lab.machine("a").text(&family, &["release", "v1.0.0"]);
    done.expect(1).says("tool/feature/two").says("FROM base");
    let tags = registry.tags();
    assert!(!tags.contains_key("v1.0.0-two") && !tags.contains_key("latest"));
}

#[test]
fn wrong_registries_are_told_apart() {
    let Some(lab) = Lab::new("wrong_registries_are_told_apart") else {
        return;
    };
    let bases = lab.registry("bases");
    let html = Proxy::start(
        "127.0.0.1:9",
        vec![Rule::new(
            "*",
            "",
            Harm::Answer {
                status: 200,
                headers: vec![("content-type".to_owned(), "text/html".to_owned())],
                body: "<html>welcome</html>".to_owned(),
            },
        )],
    );
    let machine = lab.machine("a");
    let down = "127.0.0.1:9/fam";
    for (prefix, code, said) in [
        (down.to_owned(), 4, "127.0.0.1:9"),
        (format!("{}/fam", html.host()), 4, "LW0303"),
        // Nothing but this machine itself is spoken to without TLS.
        ("192.0.2.1:1/fam".to_owned(), 4, "192.0.2.1:1"),
    ] {
        let family = lab.family(&[&prefix], &bases.host);
        if prefix.starts_with("192") {
            // The registry's address is on this machine, but not loopback, so TLS is tried.
            let address = own_address();
            let Some(address) = address else { continue };
            let listener = std::net::TcpListener::bind((address.as_str(), 0)).unwrap();
            let port = listener.local_addr().unwrap().port();
            let seen = std::thread::spawn(move || {
                let mut first = Vec::new();
                for _ in 0..1 {
                    if let Ok((mut stream, _)) = listener.accept() {
                        let mut bytes = [0_u8; 1];
                        let _ = std::io::Read::read(&mut stream, &mut bytes);
                        first.push(bytes[0]);
                    }
                }
                first
            });
            family.edit(
                "launchway.toml",
                "192.0.2.1:1",
                &format!("{address}:{port}"),
            );
            machine.text(&family, &["release", "v1.0.0"]).expect(4);
            // A TLS handshake starts with 22; HTTP would start with a letter.
            assert_eq!(seen.join().unwrap(), [22]);
            continue;
        }
        let done = machine.text(&family, &["release", "v1.0.0"]);
        done.expect(code).says(said);
        assert!(!done.stderr.contains("panicked"), "{}", done.stderr);
    }
    // The same for what images are made from.
    let family = lab.family(&[&bases.prefix()], &html.host());
    machine
        .text(&family, &["release", "v1.0.0"])
        .expect(1)
        .says("LW0605");
    assert!(bases.tags().is_empty());
}

/// An address of this machine that is not loopback.
fn own_address() -> Option<String> {
    // Nothing is sent: connecting a datagram socket only picks the address.
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    let address = socket.local_addr().ok()?.ip();
    (!address.is_loopback()).then(|| address.to_string())
}

#[test]
fn plain_dockerfiles_are_told_the_same_way() {
    let Some(lab) = Lab::new("plain_dockerfiles_are_told_the_same_way") else {
        return;
    };
    let registry = lab.registry("registry");
    let before = registry.everything();
    let folder = lab.folder("context");
    let path = folder.folder.display().to_string();
    let machine = lab.machine("a");
    let tag = format!("{}/x:1", registry.prefix());
    let from = format!("FROM {}/library/busybox:1\n", registry.host);
    for (dockerfile, arguments, code, said) in [
        (None, &[][..], 2, &["cannot read", "Dockerfile"][..]),
        (Some("RUN true\n"), &[], 2, &["LW020"]),
        (
            Some("FROM scratch\nADD https://x.invalid/a.git?no=1 /a\n"),
            &[],
            2,
            &["LW0228", ":2"],
        ),
        (
            Some("FROM scratch\nCOPY nothing /x\n"),
            &[],
            1,
            &["LW0502", ":2", "nothing"],
        ),
        (
            Some("FROM scratch\nRUN --mount=type=secret,id=s,required=true [\"/x\"]\n"),
            &[],
            1,
            &["LW0507", "`s`"],
        ),
        (Some(from.as_str()), &["--tag", "a/B"], 2, &["--tag", "^"]),
        (Some(from.as_str()), &["--push"], 2, &["--push"]),
        (
            Some(from.as_str()),
            &["--platform", "x"],
            2,
            &["--platform x"],
        ),
        (
            Some(from.as_str()),
            &["--platform", "linux/riscv64"],
            1,
            &["linux/riscv64"],
        ),
        (
            Some(from.as_str()),
            &["--target", "nope"],
            2,
            &["LW0219", "nope"],
        ),
        (Some(from.as_str()), &["--secret", "src=x"], 2, &["id"]),
        (
            Some(from.as_str()),
            &["--secret", "id=unset-here"],
            2,
            &["unset-here"],
        ),
        (
            Some(from.as_str()),
            &["--build-context", "a=b"],
            2,
            &["docker-image://"],
        ),
        (
            Some(from.as_str()),
            &["--output", "type=what,dest=x"],
            2,
            &["--output"],
        ),
    ] {
        let _ = std::fs::remove_file(folder.folder.join("Dockerfile"));
        if let Some(text) = dockerfile {
            folder.write("Dockerfile", text);
        }
        let mut all = vec!["dockerfile", "build", "--progress", "plain"];
        if !arguments.contains(&"--tag") && !arguments.contains(&"--push") {
            all.extend(["--tag", &tag, "--push"]);
        }
        all.extend(arguments);
        all.push(&path);
        let done = machine.run(&all);
        assert_eq!(
            done.code,
            Some(code),
            "{dockerfile:?} {arguments:?}: {}",
            done.stderr
        );
        for part in said {
            assert!(
                done.stderr.contains(part),
                "{dockerfile:?} {arguments:?}: {part:?} is not said:\n{}",
                done.stderr
            );
        }
        assert_eq!(
            registry.everything(),
            before,
            "{dockerfile:?} {arguments:?}"
        );
    }
}
